//! Environment variables: `PORTCULLIS_SECTION__KEY` goes before what the file says.

use std::collections::BTreeMap;

use super::read::Table;
use super::report::{Mistake, Report};
use super::schema::{self, INTROSPECTION, Key, Kind, LIMIT_GROUP, UPSTREAM, UPSTREAMS};
use super::source::{At, Source, shown};
use super::suggest;
use super::tree::{Entries, Entry, Node, Value, parse_value};

const PREFIX: &str = "PORTCULLIS_";
/// Stands between the section and the key; names without it are not settings.
const SEPARATOR: &str = "__";

/// Environment variables by name.
pub(super) type Environment = BTreeMap<String, String>;

/// The environment of this process, for [`super::load`]. Bytes that are not UTF-8 are replaced,
/// so that such a value is refused where it is used instead of being overlooked.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (lossy(name), lossy(value)))
}

/// What a variable holds that `key` names. One that is not set is reported there.
pub(super) fn value<'e>(
    variable: &str,
    environment: &'e Environment,
    table: &Table<'_>,
    key: &str,
    help: Option<&str>,
) -> Option<&'e str> {
    let value = environment.get(variable);
    if value.is_none() {
        let message = format!("the environment variable {} is not set", shown(variable));
        table.error(key, help.into_iter().fold(Mistake::new(message), Mistake::help));
    }
    value.map(String::as_str)
}

/// Sections that hold a section for each name, by their part of a variable's name.
const NAMED: [(&str, &[&str], &[Key]); 2] = [
    ("UPSTREAMS__", &[UPSTREAMS], UPSTREAM),
    ("LIMITS__GROUPS__", &["limits", "groups"], LIMIT_GROUP),
];

/// Keys that name a variable which holds a secret, by their section.
const NAMING: [(&[&str], &str); 3] = [
    (&["keys"], "digest_env"),
    (&["feed"], "token_env"),
    (&["legacy", "introspection"], "secret_env"),
];

/// A setting that a variable names.
struct Setting {
    /// The section, or for one with a name what it is in and its name.
    path: Vec<String>,
    key: &'static str,
    kind: Kind,
}

/// Puts every override into the tree, and reports those that name no setting or cannot be read.
pub(super) fn apply(entries: &mut Entries, environment: &Environment, report: &Report) {
    let mut unknown = Vec::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(PREFIX).filter(|rest| rest.contains(SEPARATOR)) else {
            continue;
        };
        match setting(rest, entries) {
            Some(setting) => graft(entries, &setting, name, value, report),
            None => unknown.push(name),
        }
    }
    for name in unknown {
        if !is_named_by_config(entries, name) {
            let at = At::whole(report.add(Source::opaque(name)));
            report.error(at, unknown_variable(name, entries));
        }
    }
}

fn setting(rest: &str, entries: &Entries) -> Option<Setting> {
    let (section, key) = rest.rsplit_once(SEPARATOR)?;
    let find = |keys: &'static [Key], path: Vec<String>| {
        let (key, kind) = keys.iter().find(|(known, _)| known.to_ascii_uppercase() == key)?;
        Some(Setting { path, key, kind: *kind })
    };
    for (prefix, within, keys) in NAMED {
        if let Some(variable) = section.strip_prefix(prefix) {
            let path = within.iter().map(|section| (*section).to_owned());
            return find(keys, path.chain([known_name(variable, within, entries)]).collect());
        }
    }
    if section == "LEGACY__INTROSPECTION" {
        return find(INTROSPECTION, ["legacy", "introspection"].map(str::to_owned).to_vec());
    }
    let known = schema::SECTIONS.iter().find(|(name, _)| name.to_ascii_uppercase() == section);
    let (name, keys) = known?;
    find(keys, vec![(*name).to_owned()])
}

/// The name in the file that the variable means; one that the file lacks is made, in lower case.
fn known_name(variable: &str, within: &[&str], entries: &Entries) -> String {
    let known = names(within, entries).find(|name| variable_part(name) == variable);
    known.map_or_else(|| variable.to_ascii_lowercase(), str::to_owned)
}

fn names<'e>(within: &[&str], entries: &'e Entries) -> impl Iterator<Item = &'e str> {
    section(within, entries).into_iter().flat_map(|named| named.keys().map(String::as_str))
}

/// The section that lies in these, the last one in the others.
fn section<'e>(within: &[&str], entries: &'e Entries) -> Option<&'e Entries> {
    within.iter().try_fold(entries, |table, section| {
        match table.get(*section).map(|entry| &entry.node.value) {
            Some(Value::Table(inner)) => Some(inner),
            _ => None,
        }
    })
}

fn variable_part(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

fn graft(entries: &mut Entries, setting: &Setting, name: &str, value: &str, report: &Report) {
    let source = report.add(Source::opaque(name));
    let at = At::whole(source);
    let node = read(setting, value, source, report).unwrap_or_else(|mistake| {
        report.error(at, mistake);
        Node { at, value: Value::Broken }
    });
    let mut table = entries;
    for step in &setting.path {
        let entry = table.entry(step.clone()).or_insert_with(|| Entry {
            key: at,
            node: Node { at, value: Value::Table(Entries::new()) },
        });
        // A section that is no table is reported when it is read.
        let Value::Table(inner) = &mut entry.node.value else { return };
        table = inner;
    }
    table.insert(setting.key.to_owned(), Entry { key: at, node });
}

fn read(setting: &Setting, value: &str, source: usize, report: &Report) -> Result<Node, Mistake> {
    let quoted = value.starts_with(['"', '\'']);
    if setting.kind == Kind::Text && !quoted {
        return Ok(Node { at: At::whole(source), value: Value::Text(value.to_owned()) });
    }
    parse_value(value, source, report).map_err(|mistake| {
        mistake.help("arrays, numbers and booleans are written as in the file: '[\"a\", \"b\"]'")
    })
}

/// Variables that hold a secret and may be called anything.
fn is_named_by_config(entries: &Entries, name: &str) -> bool {
    NAMING.iter().any(|(within, key)| {
        let named = section(within, entries).and_then(|section| section.get(*key));
        matches!(named.map(|entry| &entry.node.value), Some(Value::Text(text)) if text == name)
    })
}

fn unknown_variable(name: &str, entries: &Entries) -> Mistake {
    let known = variables(entries);
    let near = suggest::closest(name, known.iter().map(String::as_str));
    let help = near.map_or_else(
        || {
            format!(
                "settings are {PREFIX}SECTION{SEPARATOR}KEY, for instance PORTCULLIS_GATE__LISTEN"
            )
        },
        |near| format!("did you mean `{near}`?"),
    );
    Mistake::new(format!("the environment variable {} names no setting", shown(name))).help(help)
}

fn variables(entries: &Entries) -> Vec<String> {
    let of = |section: &str, keys: &[Key]| -> Vec<String> {
        let name =
            |(key, _): &Key| format!("{PREFIX}{section}{SEPARATOR}{key}").to_ascii_uppercase();
        keys.iter().map(name).collect()
    };
    let sections = schema::SECTIONS.iter().flat_map(|(section, keys)| of(section, keys));
    let named = NAMED.iter().flat_map(|(prefix, within, keys)| {
        names(within, entries).flat_map(move |name| {
            let section = format!("{prefix}{}", variable_part(name));
            of(&section, keys)
        })
    });
    sections.chain(named).collect()
}
