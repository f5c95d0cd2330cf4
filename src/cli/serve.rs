//! `portcullis serve`: runs what the configuration enables, until SIGTERM or SIGINT.

use tracing_subscriber::filter::LevelFilter;

use super::exit::Failure;
use super::session::Session;
use crate::app::{self, AppError, Gate};
use crate::config::{self, Diagnostic};
use crate::observe::log;

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let config = session.load_config()?;
    let environment = begin(session, &config.warnings);
    let gate = Gate::start(config, environment)?;
    gate.run(Box::pin(std::future::pending()))
        .map_err(|error| Failure::failed(format!("the gate cannot run: {error}")))
}

/// What comes before a process that goes on: says what was warned of, starts the log, and forbids
/// what could show secrets. Gives its environment.
pub(super) fn begin(session: &mut Session<'_>, warnings: &[Diagnostic]) -> Vec<(String, String)> {
    session.say_raw(&config::render(warnings));
    let environment = session.around.environment.clone();
    log::start(LevelFilter::INFO, |name| environment.get(name).cloned());
    app::harden();
    environment.into_iter().collect()
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Self::failed(error.to_string())
    }
}
