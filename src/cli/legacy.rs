//! `portcullis legacy`: which legacy tokens are still in use, and what they cost.

use clap::{Args, Subcommand};

use super::exit::Failure;
use super::session::{Opened, Session};
use super::table;
use super::values::{self, Moment};
use crate::core::record::AccountId;
use crate::store::Store;
use crate::usage::{LegacyToken, report};

/// Legacy tokens: report.
#[derive(Debug, Subcommand)]
pub(super) enum LegacyCommand {
    /// List legacy tokens by use, with the time that their hashes took, the hottest first
    #[command(after_help = "Example: portcullis legacy report --since 30d\n\n\
        Gates write their counts from time to time ([usage] interval) and when they end; days are \
        UTC, and kept for 100. REMEMBERED are requests that took no hash. SAVED is what rotating this token and those above it would save of \
        the CPU time that all of them took.")]
    Report(Report),
}

/// Over which time, and whose.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// From this day on, UTC: a duration before now, or a time
    #[arg(long, value_name = "7d|TIME", default_value = "7d", value_parser = values::moment)]
    since: Moment,
    /// Of this account only
    #[arg(long, value_name = "N")]
    account: Option<AccountId>,
}

pub(super) fn run(command: &LegacyCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let LegacyCommand::Report(Report { since, account }) = command;
    let Opened { store, .. } = session.open()?;
    let now = session.around.now;
    let tokens = report(store.legacy_uses(*account, since.before(now), now)?);
    match session.json {
        true => session.print_json(&tokens),
        false => session.print(&render(&tokens)),
    }
}

/// A table, and a line that adds it up.
fn render(tokens: &[LegacyToken]) -> String {
    let heading = [
        "ID",
        "ACCOUNT",
        "REQUESTS",
        "REMEMBERED",
        "VERIFICATIONS",
        "HASH SECONDS",
        "SAVED",
        "NAME",
    ];
    let row = |token: &LegacyToken| {
        vec![
            token.id.to_string(),
            token.account_id.to_string(),
            token.requests.to_string(),
            token.remembered.to_string(),
            token.verifications.to_string(),
            format!("{:.3}", token.hash_seconds),
            format!("{:.1} %", token.saved_share * 100.0),
            table::printable(&token.name),
        ]
    };
    let table = table::table(&heading, &tokens.iter().map(row).collect::<Vec<_>>());
    let requests: u64 = tokens.iter().map(|token| token.requests).sum();
    let remembered: u64 = tokens.iter().map(|token| token.remembered).sum();
    let seconds = tokens.last().map_or(0.0, |token| token.saved_seconds);
    let tokens = tokens.len();
    format!(
        "{table}{tokens} legacy tokens, {requests} requests, {remembered} of them from memory, {seconds:.3} s of hashing\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::harness::{Harness, NOW};
    use super::*;
    use crate::cli::Exit;
    use crate::core::record::{Timestamp, TokenId};
    use crate::store::{SqliteStore, TokenUse, VerifyCost};

    const DAY: i64 = 86_400;

    /// Three legacy tokens.
    fn harness() -> Harness {
        let harness = Harness::with_account();
        let line = |name: &&str| {
            let hash = bcrypt::hash(name, 4).unwrap();
            format!(
                r#"{{"account_id":1,"name":"{name}","created_at":"2022-03-01T00:00:00Z","grants":[{{"permission_set":"job_admin"}}],"hash":"{hash}","selector":"{name}"}}
"#
            )
        };
        harness.write("lines", &["one", "two", "three"].iter().map(line).collect::<String>());
        harness.ok("import lines");
        harness
    }

    fn id(harness: &Harness, name: &str) -> TokenId {
        let tokens = harness.json("--json token list --account 1");
        let is_named = |token: &&serde_json::Value| token["name"] == name;
        tokens.as_array().unwrap().iter().find(is_named).unwrap()["id"].as_u64().unwrap()
    }

    /// Requests with tokens so many days ago, each verified twice in so many microseconds.
    fn add(harness: &Harness, uses: &[(&str, i64, u64, u64)]) {
        let config = crate::config::load(&harness.path("portcullis.toml"), []).unwrap();
        let path = harness.path("portcullis.db");
        let store = SqliteStore::open(&path, crate::app::store_rules(&config)).unwrap();
        for (name, days, requests, hash_micros) in uses {
            let (token_id, last_at) = (id(harness, name), Timestamp(NOW - days * DAY));
            let (requests, last_used_at) = (*requests, last_at);
            let used = TokenUse { token_id, requests, last_used_at, last_address: None };
            let hash_micros = *hash_micros;
            let cost = VerifyCost { token_id, verifications: 2, hash_micros, last_at };
            store.record_uses(&[used], &[cost]).unwrap();
        }
    }

    #[test]
    fn the_most_used_come_first_with_what_rotating_them_would_save() {
        let harness = harness();
        add(&harness, &[("one", 0, 5, 250_000), ("two", 0, 80, 1_500_000)]);
        add(&harness, &[("one", 1, 10, 250_000), ("three", 20, 900, 1_000)]);
        let report = harness.json("--json legacy report");
        let row = |at: usize, key: &str| report[at][key].clone();
        assert_eq!(report.as_array().unwrap().len(), 2);
        assert_eq!((row(0, "name"), row(1, "name")), ("two".into(), "one".into()));
        assert_eq!((row(1, "requests"), row(1, "verifications")), (15.into(), 4.into()));
        assert_eq!((row(1, "remembered"), row(0, "remembered")), (11.into(), 78.into()));
        assert_eq!((row(1, "hash_seconds"), row(0, "saved_share")), (0.5.into(), 0.75.into()));
        assert_eq!((row(1, "saved_seconds"), row(1, "saved_share")), (2.0.into(), 1.0.into()));
        let longer = harness.json("--json legacy report --since 30d");
        assert_eq!((&longer[0]["name"], &longer[0]["requests"]), (&"three".into(), &900.into()));
        let text = harness.ok("legacy report").stdout;
        assert!(text.contains("75.0 %"), "{text}");
        assert!(
            text.ends_with(
                "2 legacy tokens, 95 requests, 89 of them from memory, 2.000 s of hashing\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_token_that_can_no_longer_be_used_is_not_one_to_rotate() {
        let harness = harness();
        add(&harness, &[("one", 0, 5, 1), ("two", 0, 80, 1), ("three", 0, 7, 1)]);
        harness.ok(&format!("token revoke {}", id(&harness, "two")));
        harness.ok(&format!("token rotate {} --grace 0s", id(&harness, "three")));
        let report = harness.json("--json legacy report");
        assert_eq!(report.as_array().unwrap().len(), 1);
        assert_eq!(report[0]["name"], "one");
    }

    #[test]
    fn one_that_is_only_guessed_at_costs_all_the_same_and_another_account_is_not_told() {
        let harness = harness();
        add(&harness, &[("one", 0, 0, 9_000)]);
        assert_eq!(harness.json("--json legacy report --account 1")[0]["hash_seconds"], 0.009);
        harness.run(&["legacy", "report", "--account", "9"]).expect(Exit::Failed);
        assert_eq!(harness.json("--json legacy report --account 0"), serde_json::json!([]));
    }
}
