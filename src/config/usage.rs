//! `[usage]`: whether and how often the use of tokens is written down.

use std::time::Duration;

use super::Usage;
use super::read::Table;
use super::schema;

/// Reads `[usage]`.
pub(super) fn read(root: &Table<'_>) -> Usage {
    let usage = root.section("usage");
    usage.allow(&schema::names(schema::keys("usage")));
    Usage {
        enabled: usage.flag("enabled", true),
        interval: usage.timeout("interval", Duration::from_secs(10)),
    }
}
