//! Environment variables: `PORTCULLIS_SECTION__KEY` goes before what the file says.

use std::collections::BTreeMap;

use super::report::{Mistake, Report};
use super::schema::{self, Key, Kind, UPSTREAM, UPSTREAMS};
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

/// A setting that a variable names.
struct Setting {
    /// The section, or for an upstream `upstreams` and its name.
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
    if let Some(upstream) = section.strip_prefix("UPSTREAMS__") {
        return find(UPSTREAM, vec![UPSTREAMS.to_owned(), upstream_name(upstream, entries)]);
    }
    let known = schema::SECTIONS.iter().find(|(name, _)| name.to_ascii_uppercase() == section);
    let (name, keys) = known?;
    find(keys, vec![(*name).to_owned()])
}

/// The upstream of the file that the variable means; one that the file lacks is made, in lower
/// case.
fn upstream_name(variable: &str, entries: &Entries) -> String {
    let known = upstreams(entries).find(|name| variable_part(name) == variable);
    known.map_or_else(|| variable.to_ascii_lowercase(), str::to_owned)
}

fn upstreams(entries: &Entries) -> impl Iterator<Item = &str> {
    let table = match entries.get(UPSTREAMS).map(|entry| &entry.node.value) {
        Some(Value::Table(upstreams)) => Some(upstreams),
        _ => None,
    };
    table.into_iter().flat_map(|upstreams| upstreams.keys().map(String::as_str))
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
    [("keys", "digest_env"), ("feed", "token_env")].iter().any(|(section, key)| {
        let Some(Value::Table(section)) = entries.get(*section).map(|entry| &entry.node.value)
        else {
            return false;
        };
        let named = section.get(*key).map(|entry| &entry.node.value);
        matches!(named, Some(Value::Text(text)) if text == name)
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
    let of_upstream =
        |name: &str| of(&format!("{UPSTREAMS}{SEPARATOR}{}", variable_part(name)), UPSTREAM);
    sections.chain(upstreams(entries).flat_map(of_upstream)).collect()
}
