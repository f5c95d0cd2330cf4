//! `[legacy]`: the slow lane for tokens of before the cutoff.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::env::Environment;
use super::files::Files;
use super::read::{Table, expected, name};
use super::report::Mistake;
use super::schema;
use super::source::shown;
use super::tree::{Node, Value};
use super::{Legacy, Upgrade, introspection, listen};
use crate::core::record::Timestamp;

const THREADS_LIMIT: usize = 256;
const QUEUE_LIMIT: usize = 65_536;
/// Most that `candidates_limit` may be.
pub(crate) const CANDIDATES_LIMIT: usize = 16;
const DEFAULT_CPU_SHARE: f64 = 0.25;
/// First second of 2023-07-19, UTC.
const DEFAULT_CUTOFF_END: Timestamp = Timestamp(1_689_724_800);

const SOCKET_EXAMPLE: &str = "write for instance socket = \"unix:/run/portcullis/lane.sock\"";

/// Reads `[legacy]`.
pub(super) fn read(root: &Table<'_>, files: &Files, environment: &Environment) -> Legacy {
    let introspection = introspection::read(&root.section("legacy"), files, environment);
    Legacy { introspection, ..read_lane(root, files.base()) }
}

/// Reads what a lane that is a process of its own needs of it: nothing that introspection is for.
pub(super) fn read_lane(root: &Table<'_>, base: &Path) -> Legacy {
    let legacy = root.section("legacy");
    legacy.allow(&schema::names(schema::keys("legacy")));
    let socket = legacy.take("socket", |node| socket(node, base));
    if legacy.node("admin").is_some() && legacy.is_without("socket") {
        let message = "`admin` has no effect without [legacy] `socket`: it is that process's";
        legacy.warn("admin", Mistake::new(message).help(SOCKET_EXAMPLE));
    }
    Legacy {
        enabled: legacy.flag("enabled", true),
        cutoff_end: legacy.take("cutoff", cutoff_end).unwrap_or(DEFAULT_CUTOFF_END),
        threads: legacy.count("threads", 1, 1..=THREADS_LIMIT),
        cpu_share: legacy.take("cpu_share", share).unwrap_or(DEFAULT_CPU_SHARE),
        queue_limit: legacy.count("queue_limit", 64, 1..=QUEUE_LIMIT),
        candidates_limit: legacy.count("candidates_limit", 4, 1..=CANDIDATES_LIMIT),
        cache_ttl: legacy.duration("cache_ttl", Duration::from_secs(15 * 60)),
        deadline: legacy.timeout("deadline", Duration::from_secs(10)),
        upgrade: upgrade(&legacy),
        socket,
        admin: legacy.take("admin", |node| listen::listen(node, base)),
        introspection: None,
    }
}

/// Says that the lane cannot be served: there is no socket for it.
pub(super) fn require_socket(root: &Table<'_>) {
    let legacy = root.section("legacy");
    if legacy.is_without("socket") {
        let message = "[legacy] `socket` is required: it is where gates ask the lane";
        legacy.error("socket", Mistake::new(message).help(SOCKET_EXAMPLE));
    }
}

/// A unix socket: what crosses it are secrets, and who is at its other end can be told.
fn socket(node: &Node, base: &Path) -> Result<PathBuf, Mistake> {
    let given = name(node)?;
    let path = given.strip_prefix("unix:").ok_or_else(|| {
        Mistake::new(format!("{} is no unix socket: secrets go nowhere else", shown(given)))
            .help(SOCKET_EXAMPLE)
    })?;
    listen::unix_path(path, base)
}

fn upgrade(legacy: &Table<'_>) -> Upgrade {
    let words = [("never", Upgrade::Never), ("on_first_use", Upgrade::OnFirstUse)];
    legacy.word("upgrade", &words).unwrap_or(Upgrade::Never)
}

fn cutoff_end(node: &Node) -> Result<Timestamp, Mistake> {
    let (Value::Text(given) | Value::Datetime(given)) = &node.value else {
        return Err(expected("a date such as \"2023-07-18\"", &node.value));
    };
    end_of_day(given).ok_or_else(|| {
        Mistake::new("not a date of the calendar")
            .help("write year-month-day, like \"2023-07-18\"; the day, in UTC, still counts")
    })
}

/// The first second after a day, UTC. Only `YYYY-MM-DD`: the parser also takes times and other
/// forms, which would be cut off unsaid.
fn end_of_day(given: &str) -> Option<Timestamp> {
    let is_day = given.len() == 10 && given.bytes().filter(|byte| *byte == b'-').count() == 2;
    let date: Date = given.parse().ok().filter(|_| is_day)?;
    let next = date.tomorrow().ok()?.to_zoned_datetime(TimeZone::UTC).ok()?;
    Some(Timestamp(next.timestamp().as_second()))
}

fn share(node: &Node) -> Result<f64, Mistake> {
    let share = match &node.value {
        Value::Float(share) => *share,
        Value::Integer(whole) => *whole as f64,
        other => return Err(expected("a number above 0 and up to 1", other)),
    };
    if share > 0.0 && share <= 1.0 {
        return Ok(share);
    }
    Err(Mistake::new(format!("must be above 0 and at most 1, but is {share}"))
        .help("it is the share of the CPU quota that password hashes may use: 0.25 is a quarter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cutoff_ends_with_the_day() {
        assert_eq!(end_of_day("2023-07-18"), Some(DEFAULT_CUTOFF_END));
        assert_eq!(end_of_day("2024-02-29"), Some(Timestamp(1_709_251_200)));
    }

    #[test]
    fn other_forms_of_dates_are_refused() {
        for text in ["20230718", "2023-7-18", "2023-02-29", "18.07.2023", "2023-07-18T00:00:00", ""]
        {
            assert_eq!(end_of_day(text), None, "{text}");
        }
    }
}
