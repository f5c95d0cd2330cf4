//! Logs: on standard error, so that data on standard output stays clean.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Sets the level, as `debug` or `portcullis::feed=debug,info`.
const LEVEL_VARIABLE: &str = "PORTCULLIS_LOG";
/// `json` for one JSON object a line.
const FORMAT_VARIABLE: &str = "PORTCULLIS_LOG_FORMAT";

/// Starts logging as the environment asks, `default` where it does not. Later calls do nothing.
pub fn start(default: LevelFilter, environment: impl Fn(&str) -> Option<String>) {
    let filter = EnvFilter::builder()
        .with_default_directive(default.into())
        .parse_lossy(environment(LEVEL_VARIABLE).unwrap_or_default());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    // A second subscriber is refused, and the first goes on.
    let _ = match environment(FORMAT_VARIABLE).as_deref() {
        Some("json") => builder.json().try_init(),
        _ => builder.try_init(),
    };
}
