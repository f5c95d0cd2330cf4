//! `[limits]`: what one client or all of them together may take up.

use std::time::Duration;

use super::rate::rate_or_off;
use super::read::{Table, duration, integer};
use super::report::Mistake;
use super::schema::{self, LIMIT_GROUP};
use super::upstreams::check_name;
use super::{LimitGroup, Limits, Rate};

/// Less would refuse ordinary requests.
const HEADER_BYTES_MIN: usize = 1_024;
const HEADER_BYTES_LIMIT: usize = 16 * 1_048_576;
const HEADERS_LIMIT: usize = 10_000;
const CONNECTIONS_LIMIT: usize = 1_000_000;
const DEFAULT_FAILURES: Rate = Rate { count: 100, per: Duration::from_secs(60) };
/// Each takes up to 2 MiB.
const GROUPS_LIMIT: usize = 32;
/// No longer than the longest period.
const COOLDOWN_LIMIT: Duration = Duration::from_secs(31 * 86_400);

/// The group of routes that name none.
pub(super) const DEFAULT_GROUP: &str = "default";
/// What a route says that shall be in no group.
pub(super) const NO_GROUP: &str = "off";

/// Reads `[limits]`.
pub(super) fn read(root: &Table<'_>) -> Limits {
    let limits = root.section("limits");
    limits.allow(&schema::names(schema::keys("limits")));
    Limits {
        header_bytes: limits.count("header_bytes", 65_536, HEADER_BYTES_MIN..=HEADER_BYTES_LIMIT),
        headers: limits.count("headers", 100, 1..=HEADERS_LIMIT),
        body_bytes: limits.take("body_bytes", integer).filter(|bytes| *bytes > 0),
        header_timeout: limits.timeout("header_timeout", Duration::from_secs(10)),
        connections: limits.count("connections", 10_000, 1..=CONNECTIONS_LIMIT),
        failed_credentials: limits
            .take("failed_credentials", rate_or_off)
            .unwrap_or(Some(DEFAULT_FAILURES)),
        groups: groups(&groups_section(root)),
    }
}

/// `[limits.groups]`.
pub(super) fn groups_section<'a>(root: &Table<'a>) -> Table<'a> {
    root.section("limits").subsection("limits", "groups")
}

fn groups(section: &Table<'_>) -> Vec<LimitGroup> {
    let groups: Vec<LimitGroup> = section
        .iter()
        .filter_map(|(name, key, node)| {
            let checked = match name {
                NO_GROUP => Err(Mistake::new("`off` is what routes say that are in no group")),
                _ => check_name("a group of limits", name),
            };
            checked.unwrap_or_else(|mistake| section.report.error(key, mistake));
            group(name, &Table::of(format!("[limits.groups.{name}]"), node, section.report)?)
        })
        .collect();
    if groups.len() > GROUPS_LIMIT {
        let message =
            format!("there are {} groups of limits, at most {GROUPS_LIMIT} fit", groups.len());
        section.report.error(section.at, Mistake::new(message));
    }
    groups
}

fn group(name: &str, table: &Table<'_>) -> Option<LimitGroup> {
    let errors = table.report.errors();
    table.allow(&schema::names(LIMIT_GROUP));
    let rate = |key| table.take(key, rate_or_off).flatten();
    let (account, token) = (rate("account"), rate("token"));
    if table.node("account").is_none() && table.node("token").is_none() {
        let mistake = Mistake::new("the group limits nothing: `account` or `token` is required");
        table.report.error(table.at, mistake.help("write for instance account = \"5000/1m\""));
    }
    let cooldown = table.take("cooldown", duration).filter(|cooldown| !cooldown.is_zero());
    if let Some(cooldown) = cooldown {
        check_cooldown(cooldown, &[account, token])
            .unwrap_or_else(|mistake| table.error("cooldown", mistake));
    }
    let group = LimitGroup { name: name.to_owned(), account, token, cooldown };
    (table.report.errors() == errors).then_some(group)
}

/// After a cooldown the whole quota is there again: it must not come back sooner than without one.
fn check_cooldown(cooldown: Duration, rates: &[Option<Rate>]) -> Result<(), Mistake> {
    if cooldown > COOLDOWN_LIMIT {
        return Err(Mistake::new("a cooldown is at most 31d"));
    }
    match rates.iter().flatten().find(|rate| rate.per > cooldown) {
        None => Ok(()),
        Some(rate) => Err(Mistake::new(format!(
            "a cooldown shorter than the period of {rate} would give the quota back too soon"
        ))
        .help("make it at least as long as the period, or leave it out")),
    }
}
