//! `[limits]`: what one client or all of them together may take up.

use std::time::Duration;

use super::Limits;
use super::duration::parse_duration;
use super::read::{Table, integer, text};
use super::report::Mistake;
use super::schema;
use super::tree::Node;

/// Less would refuse ordinary requests.
const HEADER_BYTES_MIN: usize = 1_024;
const HEADER_BYTES_LIMIT: usize = 16 * 1_048_576;
const HEADERS_LIMIT: usize = 10_000;
const CONNECTIONS_LIMIT: usize = 1_000_000;
const DEFAULT_FAILURES: Option<(u64, Duration)> = Some((100, Duration::from_secs(60)));

/// Reads `[limits]`.
pub(super) fn read(root: &Table<'_>) -> Limits {
    let limits = root.section("limits");
    limits.allow(&schema::names(schema::keys("limits")));
    warn_of_failed_credentials(&limits);
    Limits {
        header_bytes: limits.count("header_bytes", 65_536, HEADER_BYTES_MIN..=HEADER_BYTES_LIMIT),
        headers: limits.count("headers", 100, 1..=HEADERS_LIMIT),
        body_bytes: limits.take("body_bytes", integer).filter(|bytes| *bytes > 0),
        header_timeout: limits.timeout("header_timeout", Duration::from_secs(10)),
        connections: limits.count("connections", 10_000, 1..=CONNECTIONS_LIMIT),
    }
}

fn warn_of_failed_credentials(limits: &Table<'_>) {
    let Some(failures) = limits.take("failed_credentials", failed_credentials) else { return };
    if failures != DEFAULT_FAILURES {
        limits.warn(
            "failed_credentials",
            Mistake::new("this version does not yet limit failed credentials: no effect"),
        );
    }
}

fn failed_credentials(node: &Node) -> Result<Option<(u64, Duration)>, Mistake> {
    let given = text(node)?;
    if given == "off" {
        return Ok(None);
    }
    let rate = given.split_once('/').and_then(|(count, window)| {
        let count: u64 = count.parse().ok().filter(|count| *count > 0)?;
        let window = parse_duration(window).ok().filter(|window| !window.is_zero())?;
        Some((count, window))
    });
    rate.map(Some).ok_or_else(|| {
        Mistake::new("not a limit: expected a number, `/` and a duration, or \"off\"")
            .help("write for instance \"100/1m\"")
    })
}
