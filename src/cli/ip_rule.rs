//! `portcullis ip-rule`: from which addresses an account's tokens may be used.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde::Serialize;

use super::account::on_or_off;
use super::exit::Failure;
use super::session::Session;
use super::shape::{IpRuleShape, IpRulesShape, word};
use super::table;
use crate::core::ip::{IpRules, canonical, parse_cidr};
use crate::core::record::{AccountId, Action};
use crate::store::{Command, IpRuleView, Outcome, Store, StoreError};

/// IP rules: allow, deny, list, remove, enable, disable and try.
#[derive(Debug, Subcommand)]
pub(super) enum IpRuleCommand {
    /// Add addresses to the allow list; this does not put the rules in force
    #[command(after_help = LISTS)]
    Allow(Add),
    /// Add addresses to the deny list; this does not put the rules in force
    #[command(after_help = LISTS)]
    Deny(Add),
    /// List the rules of an account
    List(Account),
    /// Remove rules by their addresses
    Remove(Remove),
    /// Put all rules of an account in force
    #[command(after_help = "Try an address first: portcullis ip-rule try --account N --ip A")]
    Enable(Account),
    /// Put all rules of an account out of force; they are kept
    Disable(Account),
    /// Say what would happen to a request from an address, and why
    Try(Try),
}

const LISTS: &str = "The most specific matching rule wins, allow or deny. Where none matches, the \
                     address is denied if there is any allow rule, else allowed. One CIDR cannot \
                     be in both lists.\n\nExample:\n  portcullis ip-rule allow --account 1 \
                     192.0.2.0/24 2001:db8::/32 --name office";

/// An account.
#[derive(Debug, Args)]
pub(super) struct Account {
    /// The account
    #[arg(long, value_name = "N")]
    account: AccountId,
}

/// Rules to add.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// The account
    #[arg(long, value_name = "N")]
    account: AccountId,
    /// Addresses or CIDRs; host bits are masked
    #[arg(required = true, value_parser = parse_cidr)]
    cidr: Vec<IpNet>,
    /// What people call them
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
}

/// Rules to remove.
#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The account
    #[arg(long, value_name = "N")]
    account: AccountId,
    /// Addresses or CIDRs of the rules
    #[arg(required = true, value_parser = parse_cidr)]
    cidr: Vec<IpNet>,
}

/// An address to try.
#[derive(Debug, Args)]
pub(super) struct Try {
    /// The account
    #[arg(long, value_name = "N")]
    account: AccountId,
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    ip: IpAddr,
}

/// What would happen to an address.
#[derive(Serialize)]
struct Trial<'v> {
    account_id: AccountId,
    ip: IpAddr,
    enabled: bool,
    /// What happens now.
    verdict: Action,
    /// What happens, or would, with the rules in force.
    verdict_if_enabled: Action,
    /// The rule that decides, if one matches.
    rule: Option<IpRuleShape<'v>>,
    why: String,
}

pub(super) fn run(command: IpRuleCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let store = session.open()?.store;
    let store: &dyn Store = &store;
    match command {
        IpRuleCommand::Allow(add) => add_rules(store, Action::Allow, &add, session),
        IpRuleCommand::Deny(add) => add_rules(store, Action::Deny, &add, session),
        IpRuleCommand::List(Account { account }) => list(store, account, session),
        IpRuleCommand::Remove(remove) => remove_rules(store, &remove, session),
        IpRuleCommand::Enable(Account { account }) => enable(store, account, true, session),
        IpRuleCommand::Disable(Account { account }) => enable(store, account, false, session),
        IpRuleCommand::Try(trial) => try_address(store, &trial, session),
    }
}

fn add_rules(
    store: &dyn Store,
    action: Action,
    add: &Add,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let account_id = add.account;
    let command = |cidr: &IpNet| {
        let name = add.name.clone();
        Command::AddIpRule { account_id, action, cidr: *cidr, name }
    };
    let outcomes = store.apply_all(&session.actor(), add.cidr.iter().map(command).collect());
    let word = word(action);
    for (cidr, outcome) in add.cidr.iter().zip(&outcomes) {
        match outcome {
            Ok(Outcome::Changed { .. }) => session.say(&format!("{word} {cidr}: added")),
            Ok(Outcome::Unchanged { .. }) => session.say(&format!("{word} {cidr}: there already")),
            Err(_) => {}
        }
    }
    if !store.account(account_id)?.ip_rules_enabled {
        session.say(&format!(
            "the rules of account {account_id} are not in force: `portcullis ip-rule enable \
             --account {account_id}` puts them in force"
        ));
    }
    let rules = store.ip_rules(account_id)?;
    finish(&rules, &add.cidr, outcomes, session)
}

fn remove_rules(
    store: &dyn Store,
    remove: &Remove,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let account_id = remove.account;
    let rules = store.ip_rules(account_id)?;
    let command = |cidr: &IpNet| Command::RemoveIpRule { account_id, cidr: *cidr };
    let outcomes = store.apply_all(&session.actor(), remove.cidr.iter().map(command).collect());
    for (cidr, outcome) in remove.cidr.iter().zip(&outcomes) {
        if outcome.is_ok() {
            session.say(&format!("{cidr}: removed"));
        }
    }
    finish(&rules, &remove.cidr, outcomes, session)
}

/// Prints the rules that were touched, as JSON, and fails with the refusals if there are any.
fn finish(
    rules: &[IpRuleView],
    given: &[IpNet],
    outcomes: Vec<Result<Outcome, StoreError>>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    if session.json {
        let done = |cidr: &IpNet| {
            given.iter().zip(&outcomes).any(|(given, outcome)| {
                outcome.is_ok() && canonical(*given).is_ok_and(|given| given == *cidr)
            })
        };
        let touched = rules.iter().filter(|rule| done(&rule.cidr)).map(IpRuleShape::listed);
        session.print_json(&touched.collect::<Vec<_>>())?;
    }
    let refusals: Vec<StoreError> = outcomes.into_iter().filter_map(Result::err).collect();
    let Some((last, others)) = refusals.split_last() else { return Ok(()) };
    for refusal in others {
        session.say(&format!("portcullis: {refusal}"));
    }
    Err(last.clone().into())
}

fn list(store: &dyn Store, account: AccountId, session: &mut Session<'_>) -> Result<(), Failure> {
    let enabled = store.account(account)?.ip_rules_enabled;
    let rules = store.ip_rules(account)?;
    if session.json {
        return session.print_json(&rules.iter().map(IpRuleShape::listed).collect::<Vec<_>>());
    }
    let row = |view: &IpRuleView| {
        vec![view.id.to_string(), word(view.action), view.cidr.to_string(), view.name.clone()]
    };
    let rows: Vec<_> = rules.iter().map(row).collect();
    session.print(&table::table(&["ID", "ACTION", "CIDR", "NAME"], &rows))?;
    session.say(&format!("the rules of account {account} are {}", on_or_off(enabled)));
    Ok(())
}

fn enable(
    store: &dyn Store,
    account_id: AccountId,
    enabled: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let command = Command::EnableIpRules { account_id, enabled };
    let now = match store.apply(&session.actor(), command)? {
        Outcome::Changed { .. } => "now",
        Outcome::Unchanged { .. } => "already",
    };
    let line = format!("the rules of account {account_id} are {now} {}", on_or_off(enabled));
    session.report(&IpRulesShape { account_id, enabled }, &line)
}

fn try_address(store: &dyn Store, trial: &Try, session: &mut Session<'_>) -> Result<(), Failure> {
    let enabled = store.account(trial.account)?.ip_rules_enabled;
    let views = store.ip_rules(trial.account)?;
    let result = judge(trial, enabled, &views);
    if session.json {
        return session.print_json(&result);
    }
    session.print(&table::fields(&[
        ("verdict", word(result.verdict)),
        ("if_enabled", word(result.verdict_if_enabled)),
        ("rules", on_or_off(enabled).to_owned()),
        ("why", result.why),
    ]))
}

fn judge<'v>(trial: &Try, enabled: bool, views: &'v [IpRuleView]) -> Trial<'v> {
    let pairs: Vec<_> = views.iter().map(|view| (view.action, view.cidr)).collect();
    let rules = IpRules::compile(&pairs);
    let verdict_if_enabled =
        if rules.admits(Some(trial.ip)) { Action::Allow } else { Action::Deny };
    let matching = rules.matching(trial.ip);
    let rule = matching.and_then(|(_, cidr)| views.iter().find(|view| view.cidr == cidr));
    let because = match (rule, verdict_if_enabled) {
        (Some(rule), _) => format!(
            "the most specific matching rule is {} {}{}",
            word(rule.action),
            rule.cidr,
            if rule.name.is_empty() { String::new() } else { format!(" ({})", rule.name) }
        ),
        (None, Action::Deny) => "no rule matches, and there is an allow rule".to_owned(),
        (None, Action::Allow) => "no rule matches, and there is no allow rule".to_owned(),
    };
    let why = if enabled {
        because
    } else {
        format!("the rules are disabled and let every address in; if they were enabled: {because}")
    };
    Trial {
        account_id: trial.account,
        ip: trial.ip,
        enabled,
        verdict: if enabled { verdict_if_enabled } else { Action::Allow },
        verdict_if_enabled,
        rule: rule.map(IpRuleShape::listed),
        why,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cli::Exit;
    use crate::cli::harness::Harness;

    #[test]
    fn rules_are_canonical_listed_and_removed() {
        let harness = Harness::with_account();
        let ran = harness.ok("ip-rule allow --account 1 10.1.2.3/8 ::ffff:1.2.3.4 --name office");
        assert!(ran.stderr.contains("10.0.0.0/8: added") && ran.stderr.contains("not in force"));
        let rules = harness.json("ip-rule list --account 1 --json");
        let id = &rules[0]["id"];
        let expected = json!({
            "id": id, "account_id": 1, "action": "allow", "cidr": "10.0.0.0/8", "name": "office"
        });
        assert_eq!(rules[0], expected);
        assert_eq!(rules[1]["cidr"], "1.2.3.4/32");
        let listed = harness.ok("ip-rule list --account 1");
        assert!(listed.stdout.contains("allow   10.0.0.0/8"), "{listed:?}");
        assert!(listed.stderr.contains("disabled"));
        let removed = harness.json("ip-rule remove --account 1 10.9.9.9/8 --json");
        assert_eq!(removed, json!([expected]));
        let gone = harness.run(&["ip-rule", "remove", "--account", "1", "10.0.0.0/8"]);
        assert!(gone.expect(Exit::Failed).stderr.contains("ip-rule list"));
    }

    #[test]
    fn one_refused_rule_does_not_keep_the_others_out() {
        let harness = Harness::with_account();
        harness.ok("ip-rule allow --account 1 10.0.0.0/8");
        let arguments =
            ["ip-rule", "deny", "--account", "1", "10.0.0.0/8", "10.1.0.0/16", "--json"];
        let ran = harness.run(&arguments).expect(Exit::Failed);
        assert!(ran.stderr.contains("cannot be in both"), "{ran:?}");
        assert_eq!(ran.json().as_array().unwrap().len(), 1);
        assert_eq!(ran.json()[0]["cidr"], "10.1.0.0/16");
        harness.run(&["ip-rule", "allow", "--account", "1", "10.0.0.300"]).expect(Exit::Usage);
    }

    #[test]
    fn trying_an_address_says_what_happens_what_would_and_why() {
        let harness = Harness::with_account();
        harness.ok("ip-rule allow --account 1 10.0.0.0/8 --name office");
        harness.ok("ip-rule deny --account 1 10.1.0.0/16");
        let cases = [
            ("10.2.0.1", "allow", "allow 10.0.0.0/8 (office)"),
            ("10.1.0.1", "deny", "deny 10.1.0.0/16"),
            ("::ffff:10.1.0.1", "deny", "deny 10.1.0.0/16"),
            ("192.0.2.1", "deny", "no rule matches, and there is an allow rule"),
        ];
        for (ip, verdict, _) in cases {
            let tried = harness.json(&format!("ip-rule try --account 1 --ip {ip} --json"));
            assert_eq!(tried["verdict"], "allow", "{ip}");
            assert_eq!(tried["verdict_if_enabled"], verdict, "{ip}");
            assert!(tried["why"].as_str().unwrap().contains("disabled"), "{ip}");
        }
        harness.ok("ip-rule enable --account 1");
        for (ip, verdict, why) in cases {
            let tried = harness.ok(&format!("ip-rule try --account 1 --ip {ip}")).stdout;
            assert!(tried.contains(&format!("verdict: {verdict}\n")), "{ip}: {tried}");
            assert!(tried.contains(why), "{ip}: {tried}");
        }
        assert_eq!(harness.json("ip-rule disable --account 1 --json")["enabled"], false);
    }
}
