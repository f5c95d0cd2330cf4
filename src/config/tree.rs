//! TOML as a tree in which every value knows where it was written.
//!
//! Values from environment variables are grafted into the same tree, so that readers need not
//! know where a value came from to say what is wrong with it.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{Mistake, Report};
use super::source::At;

/// The keys of a table.
pub(super) type Entries = BTreeMap<String, Entry>;

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where the key stands.
    pub key: At,
    /// The value.
    pub node: Node,
}

/// A value.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it stands; of a table with a header, the header.
    pub at: At,
    /// What it is.
    pub value: Value,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Entries),
    /// Already reported; readers treat it as absent.
    Broken,
}

impl Value {
    /// The kind of value, with its article, for "expected …, found …".
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime(_) => "a date or time",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
            Self::Broken => "an invalid value",
        }
    }
}

/// Parses a document. Syntax errors are reported, and then there is no tree, unless the only
/// errors are repeated keys: after those, what else is wrong can still be told.
pub(super) fn parse(text: &str, source: usize, report: &Report) -> Option<Entries> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut last_line = None;
    for error in &errors {
        let at = error.span().map_or(At::whole(source), |span| At::span(source, span));
        // The parser goes on after an error, and what it says next about the same line is
        // mostly a consequence.
        let line = Some(report.line(at));
        if line != last_line {
            report.error(at, syntax_mistake(error));
        }
        last_line = line;
    }
    let usable = errors.iter().all(is_repetition);
    usable.then(|| entries(table.into_inner(), source, report))
}

/// Parses one value, for instance of an environment variable.
pub(super) fn parse_value(text: &str, source: usize, report: &Report) -> Result<Node, Mistake> {
    match DeValue::parse(text) {
        Ok(value) => Ok(node(value, source, report)),
        Err(error) => Err(syntax_mistake(&error)),
    }
}

fn is_repetition(error: &toml::de::Error) -> bool {
    error.message().starts_with("duplicate key")
}

fn syntax_mistake(error: &toml::de::Error) -> Mistake {
    if is_repetition(error) {
        return Mistake::new("duplicate key: it was already set above").help("keep one of the two");
    }
    Mistake::new(format!("not valid TOML: {}", error.message()))
}

fn entries(table: DeTable<'_>, source: usize, report: &Report) -> Entries {
    let entry = |(key, value): (Spanned<std::borrow::Cow<'_, str>>, Spanned<DeValue<'_>>)| {
        let at = At::span(source, key.span());
        (key.into_inner().into_owned(), Entry { key: at, node: node(value, source, report) })
    };
    table.into_iter().map(entry).collect()
}

fn node(value: Spanned<DeValue<'_>>, source: usize, report: &Report) -> Node {
    let at = At::span(source, value.span());
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Value::Integer(integer),
            Err(_) => broken(at, "a number that does not fit in 64 bits", report),
        },
        DeValue::Float(float) => match float.as_str().parse() {
            Ok(float) => Value::Float(float),
            Err(_) => broken(at, "not a number", report),
        },
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
        DeValue::Array(array) => {
            Value::Array(array.into_iter().map(|item| node(item, source, report)).collect())
        }
        DeValue::Table(table) => Value::Table(entries(table, source, report)),
    };
    Node { at, value }
}

fn broken(at: At, message: &str, report: &Report) -> Value {
    report.error(at, Mistake::new(message));
    Value::Broken
}
