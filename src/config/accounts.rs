//! `accounts.toml`: accounts and what they have, as `portcullis apply` makes them. Never a secret.

use std::collections::BTreeMap;
use std::path::Path;

use ipnet::IpNet;

use super::diagnostic::Diagnostic;
use super::load::parse_file;
use super::read::{Table, array, boolean, expected, integer, name, text, word};
use super::report::{Mistake, Report};
use super::source::{At, shown};
use super::tree::{Node, Value};
use crate::core::grant::parse_grant;
use crate::core::ip::parse_cidr;
use crate::core::record::{
    AccountId, AccountState, Action, Category, Grant, Licence, Plan, ProjectId, Timestamp, UserId,
};
use crate::time::parse_time_or_date;

/// Something that was declared, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared<T> {
    /// The line of its header, from 1.
    pub line: usize,
    /// What it shall be.
    pub item: T,
}

/// An account and what it shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// What it has bought.
    pub plan: Plan,
    /// Open or closed.
    pub state: AccountState,
    /// Whether its IP rules are in force; none: as they are.
    pub ip_rules_enabled: Option<bool>,
    /// Its projects.
    pub projects: Vec<Declared<Project>>,
    /// Its users.
    pub users: Vec<Declared<User>>,
    /// Its IP rules.
    pub ip_rules: Vec<Declared<IpRule>>,
    /// Rows of its id index.
    pub ids: Vec<Declared<Id>>,
    /// Its tokens, service tokens and personal ones.
    pub tokens: Vec<Declared<Token>>,
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its number.
    pub id: ProjectId,
    /// Its name.
    pub name: String,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub id: UserId,
    /// The user's name.
    pub name: String,
    /// The user's licence.
    pub licence: Licence,
    /// Whether the user administers the account.
    pub admin: bool,
}

/// An IP rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpRule {
    /// Allow or deny.
    pub action: Action,
    /// The prefix, canonical.
    pub cidr: IpNet,
    /// Its name; none: whatever it is called.
    pub name: Option<String>,
}

/// A row of the id index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    /// Name of the index.
    pub index: String,
    /// The id in paths.
    pub id: u64,
    /// The project that it belongs to.
    pub project_id: ProjectId,
    /// Category of its environment.
    pub environment_category: Option<Category>,
}

/// A token, known by its name and user. What is not declared is as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// The user, for a personal token.
    pub user_id: Option<UserId>,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// Prefixes that narrow where it may be used from, canonical and sorted.
    pub allow_ips: Option<Vec<IpNet>>,
    /// First second at which it is valid.
    pub not_before: Option<Timestamp>,
    /// First second at which it is no longer valid.
    pub expires_at: Option<Timestamp>,
}

const ACCOUNT_KEYS: [&str; 10] = [
    "id",
    "name",
    "plan",
    "state",
    "ip_rules_enabled",
    "project",
    "user",
    "ip_rule",
    "id_index",
    "token",
];
const STATES: [(&str, AccountState); 2] =
    [("open", AccountState::Open), ("closed", AccountState::Closed)];
const ACTIONS: [(&str, Action); 2] = [("allow", Action::Allow), ("deny", Action::Deny)];

/// Reads a file of accounts.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn load_accounts(file: &Path) -> Result<Vec<Declared<Account>>, Vec<Diagnostic>> {
    let report = Report::default();
    let accounts = read_file(file, &report);
    let (errors, _) = report.finish();
    if errors.is_empty() { Ok(accounts.unwrap_or_default()) } else { Err(errors) }
}

fn read_file(file: &Path, report: &Report) -> Option<Vec<Declared<Account>>> {
    let (entries, source) = parse_file(file, None, report)?;
    let document = Table::root(&entries, source, report);
    document.allow(&["account"]);
    let accounts = list(&document, "account", "[[account]]", account);
    if accounts.is_empty() && report.errors() == 0 {
        let mistake = Mistake::new("there is no account").help("write for instance [[account]]");
        report.error(document.at, mistake);
    }
    no_two(&document, &accounts, |account| format!("account {}", account.id));
    Some(accounts)
}

fn account(table: &Table<'_>) -> Option<Account> {
    table.allow(&ACCOUNT_KEYS);
    let words = Plan::ALL.map(|plan| (plan.name(), plan));
    let id = table.required("id", None, integer);
    let name = table.required("name", None, name);
    let plan = table.required("plan", None, |node| word(node, &words));
    let state = table.word("state", &STATES).unwrap_or(AccountState::Open);
    let ip_rules_enabled = table.take("ip_rules_enabled", boolean);
    let projects = list(table, "project", "[[account.project]]", project);
    let users = list(table, "user", "[[account.user]]", user);
    let ip_rules = list(table, "ip_rule", "[[account.ip_rule]]", ip_rule);
    let ids = list(table, "id_index", "[[account.id_index]]", id_row);
    let tokens = list(table, "token", "[[account.token]]", token);
    no_two(table, &projects, |project| format!("project {}", project.id));
    no_two(table, &users, |user| format!("user {}", user.id));
    no_two(table, &ip_rules, |rule| format!("an IP rule for {}", rule.cidr));
    no_two(table, &ids, |row| format!("{} {}", row.index, row.id));
    no_two(table, &tokens, |token| match token.user_id {
        Some(user) => format!("a token {} of user {user}", shown(&token.name)),
        None => format!("a service token {}", shown(&token.name)),
    });
    let (id, name, plan) = (id?, name?.to_owned(), plan?);
    Some(Account {
        id,
        name,
        plan,
        state,
        ip_rules_enabled,
        projects,
        users,
        ip_rules,
        ids,
        tokens,
    })
}

fn project(table: &Table<'_>) -> Option<Project> {
    table.allow(&["id", "name"]);
    let (id, name) = (table.required("id", None, integer), table.required("name", None, name));
    Some(Project { id: id?, name: name?.to_owned() })
}

fn user(table: &Table<'_>) -> Option<User> {
    table.allow(&["id", "name", "licence", "admin"]);
    let words = Licence::ALL.map(|licence| (licence.name(), licence));
    let (id, name) = (table.required("id", None, integer), table.required("name", None, name));
    let licence = table.required("licence", None, |node| word(node, &words));
    let admin = table.flag("admin", false);
    Some(User { id: id?, name: name?.to_owned(), licence: licence?, admin })
}

fn ip_rule(table: &Table<'_>) -> Option<IpRule> {
    table.allow(&["action", "cidr", "name"]);
    let action = table.required("action", None, |node| word(node, &ACTIONS));
    let cidr = table.required("cidr", None, cidr);
    let name = table.take("name", text).map(str::to_owned);
    Some(IpRule { action: action?, cidr: cidr?, name })
}

fn id_row(table: &Table<'_>) -> Option<Id> {
    table.allow(&["index", "id", "project_id", "environment_category"]);
    let words: Vec<_> = Category::ALL
        .into_iter()
        .filter(|category| *category != Category::All)
        .map(|category| (category.name(), category))
        .collect();
    let index = table.required("index", None, name);
    let (id, project) =
        (table.required("id", None, integer), table.required("project_id", None, integer));
    let environment_category = table.word("environment_category", &words);
    let (index, id, project_id) = (index?.to_owned(), id?, project?);
    Some(Id { index, id, project_id, environment_category })
}

fn token(table: &Table<'_>) -> Option<Token> {
    no_secret(table);
    table.allow(&["name", "user_id", "grants", "allow_ips", "not_before", "expires_at"]);
    let name = table.required("name", None, name);
    let example = "write for instance grants = [\"job_admin:42\"]";
    let grants = table.required_each("grants", example, grant);
    let allow_ips = table.each("allow_ips", cidr).map(|mut prefixes| {
        prefixes.sort();
        prefixes.dedup();
        prefixes
    });
    let user_id = table.take("user_id", integer);
    let (not_before, expires_at) = (table.take("not_before", time), table.take("expires_at", time));
    let name = name?.to_owned();
    Some(Token { name, user_id, grants, allow_ips, not_before, expires_at })
}

/// Secrets are made, not declared: whoever writes one here is told so before anything else.
fn no_secret(table: &Table<'_>) {
    for key in ["token", "secret", "digest", "sha256", "hash"] {
        if table.node(key).is_some() {
            let mistake = Mistake::new("a declared token has no secret: apply makes one");
            table.error(key, mistake.help(
                "remove it here; tokens that were made elsewhere come in by `portcullis import`",
            ));
        }
    }
}

/// The tables under a key, such as `[[account.user]]`.
fn list<T>(
    table: &Table<'_>,
    key: &str,
    label: &str,
    read: impl Fn(&Table<'_>) -> Option<T>,
) -> Vec<Declared<T>> {
    let items = table.take(key, array).unwrap_or_default();
    let declared = |item| {
        let table = Table::of(label.to_owned(), item, table.report)?;
        Some(Declared { line: table.report.line(table.at), item: read(&table)? })
    };
    items.iter().filter_map(declared).collect()
}

fn no_two<T>(table: &Table<'_>, declared: &[Declared<T>], what: impl Fn(&T) -> String) {
    let mut seen = BTreeMap::new();
    for one in declared {
        let what = what(&one.item);
        if let Some(first) = seen.get(&what) {
            let at = At::line(table.at.source, one.line);
            let mistake = Mistake::new(format!("{what} is declared twice: first at line {first}"));
            table.report.error(at, mistake.help("keep one of the two"));
        } else {
            seen.insert(what, one.line);
        }
    }
}

fn cidr(node: &Node) -> Result<IpNet, Mistake> {
    parse_cidr(text(node)?).map_err(|error| Mistake::new(error.to_string()))
}

fn grant(node: &Node) -> Result<Grant, Mistake> {
    parse_grant(text(node)?).map_err(|error| Mistake::new(error.to_string()))
}

fn time(node: &Node) -> Result<Timestamp, Mistake> {
    let given = match &node.value {
        Value::Text(text) | Value::Datetime(text) => text,
        other => return Err(expected("a time such as \"2027-01-01T00:00:00Z\"", other)),
    };
    parse_time_or_date(given).map_err(|error| Mistake::new(error.to_string()))
}
