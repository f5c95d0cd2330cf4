//! Reads tables and values from the tree; what does not fit is reported where it stands.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::duration::parse_duration;
use super::report::{Mistake, Report};
use super::source::{At, shown};
use super::suggest;
use super::tree::{Entries, Node, Value};

static NO_ENTRIES: Entries = Entries::new();

/// One table, and where to report what is wrong in it.
#[derive(Clone)]
pub(super) struct Table<'a> {
    label: String,
    /// Where its header stands.
    pub at: At,
    entries: &'a Entries,
    /// Where mistakes go.
    pub report: &'a Report,
}

impl<'a> Table<'a> {
    /// The top of a document.
    pub fn root(entries: &'a Entries, source: usize, report: &'a Report) -> Self {
        Self { label: String::new(), at: At::line(source, 1), entries, report }
    }

    /// A value as a table that people know as `label`, for instance `[gate]`.
    pub fn of(label: String, node: &'a Node, report: &'a Report) -> Option<Self> {
        match &node.value {
            Value::Table(entries) => Some(Self { label, at: node.at, entries, report }),
            other => {
                report.error(node.at, expected("a table", other));
                None
            }
        }
    }

    /// The table of that name; an empty one, standing where this one does, if there is none.
    pub fn section(&self, name: &str) -> Self {
        let label = format!("[{name}]");
        let found = self.entries.get(name);
        found.and_then(|entry| Self::of(label.clone(), &entry.node, self.report)).unwrap_or(Self {
            label,
            at: found.map_or(self.at, |entry| entry.key),
            entries: &NO_ENTRIES,
            report: self.report,
        })
    }

    /// The table of that name in the section `within`; likewise an empty one if there is none.
    pub fn subsection(&self, within: &str, name: &str) -> Self {
        Self { label: format!("[{within}.{name}]"), ..self.section(name) }
    }

    /// A table in this one that is not there.
    pub fn nothing(name: &str, within: &Self) -> Self {
        let (label, at) = (within.labelled(name), within.at);
        Self { label, at, entries: &NO_ENTRIES, report: within.report }
    }

    /// What people know a table in this one as, for instance `[gate] tls`.
    pub fn labelled(&self, name: &str) -> String {
        format!("{} {name}", self.label)
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reports every key that is not one of these.
    pub fn allow(&self, known: &[&str]) {
        for (key, entry) in self.entries {
            if !known.contains(&key.as_str()) {
                self.report.error(entry.key, self.unknown(key, known));
            }
        }
    }

    fn unknown(&self, key: &str, known: &[&str]) -> Mistake {
        let key_shown = shown(key);
        let message = if self.label.is_empty() {
            format!("unknown section or key {key_shown}")
        } else {
            format!("unknown key {key_shown} in {}", self.label)
        };
        Mistake::new(message).help(suggest::help(key, known.iter().copied()))
    }

    /// Keys, where they stand, and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, At, &'a Node)> + use<'a> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry.key, &entry.node))
    }

    /// The value of a key.
    pub fn node(&self, key: &str) -> Option<&'a Node> {
        let node = &self.entries.get(key)?.node;
        (!matches!(node.value, Value::Broken)).then_some(node)
    }

    /// Whether a key is not there at all.
    pub fn is_without(&self, key: &str) -> bool {
        !self.entries.contains_key(key)
    }

    /// Where the value of a key stands, or else the table.
    pub fn at(&self, key: &str) -> At {
        self.entries.get(key).map_or(self.at, |entry| entry.node.at)
    }

    /// Notes an error at the value of a key, or else at the table.
    pub fn error(&self, key: &str, mistake: Mistake) {
        self.report.error(self.at(key), mistake);
    }

    /// Notes a warning likewise.
    pub fn warn(&self, key: &str, mistake: Mistake) {
        self.report.warn(self.at(key), mistake);
    }

    /// The value of a key as `read` understands it; a mistake is reported.
    pub fn take<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'a Node) -> Result<T, Mistake>,
    ) -> Option<T> {
        let node = self.node(key)?;
        read(node).map_err(|mistake| self.report.error(node.at, mistake)).ok()
    }

    /// Likewise, where the key has to be there; `help` says what to write.
    pub fn required<'h, T>(
        &self,
        key: &str,
        help: impl Into<Option<&'h str>>,
        read: impl FnOnce(&'a Node) -> Result<T, Mistake>,
    ) -> Option<T> {
        if self.is_without(key) {
            self.miss(key, help.into());
        }
        self.take(key, read)
    }

    fn miss(&self, key: &str, help: Option<&str>) {
        // The place of a table that is not there does not show which it is.
        let is_there = !std::ptr::eq(self.entries, &NO_ENTRIES);
        let within = if is_there { String::new() } else { format!("{} ", self.label) };
        let mistake = Mistake::new(format!("{within}`{key}` is required"));
        self.error(key, help.into_iter().fold(mistake, Mistake::help));
    }

    /// Every item of an array as `read` understands it; mistakes are reported and left out.
    pub fn each<T>(
        &self,
        key: &str,
        read: impl Fn(&'a Node) -> Result<T, Mistake>,
    ) -> Option<Vec<T>> {
        let items = self.take(key, array)?;
        let read_or_report =
            |item: &'a Node| read(item).map_err(|mistake| self.report.error(item.at, mistake)).ok();
        Some(items.iter().filter_map(read_or_report).collect())
    }

    /// Likewise, of an array that has to be there, with an item at least.
    pub fn required_each<'h, T>(
        &self,
        key: &str,
        help: impl Into<Option<&'h str>>,
        read: impl Fn(&'a Node) -> Result<T, Mistake>,
    ) -> Vec<T> {
        let is_empty = |node| array(node).is_ok_and(<[Node]>::is_empty);
        if self.is_without(key) || self.node(key).is_some_and(is_empty) {
            self.miss(key, help.into());
        }
        self.each(key, read).unwrap_or_default()
    }

    /// A boolean, or the default.
    pub fn flag(&self, key: &str, default: bool) -> bool {
        self.take(key, boolean).unwrap_or(default)
    }

    /// A whole number within bounds, or the default.
    pub fn count(&self, key: &str, default: usize, bounds: RangeInclusive<usize>) -> usize {
        self.take(key, |node| count(node, bounds)).unwrap_or(default)
    }

    /// A duration, or the default.
    pub fn duration(&self, key: &str, default: Duration) -> Duration {
        self.take(key, duration).unwrap_or(default)
    }

    /// A duration that is not nothing, or the default.
    pub fn timeout(&self, key: &str, default: Duration) -> Duration {
        let positive = |node: &Node| match duration(node)? {
            Duration::ZERO => Err(Mistake::new("must be longer than nothing")
                .help(format!("the default is \"{}s\"", default.as_secs()))),
            positive => Ok(positive),
        };
        self.take(key, positive).unwrap_or(default)
    }

    /// A text that is not empty.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.take(key, text).filter(|text| !text.is_empty())
    }

    /// One of the words.
    pub fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        self.take(key, |node| word(node, words))
    }
}

/// "expected …, found …".
pub(super) fn expected(what: &str, found: &Value) -> Mistake {
    Mistake::new(format!("expected {what}, found {}", found.kind()))
}

/// A string.
pub(super) fn text(node: &Node) -> Result<&str, Mistake> {
    match &node.value {
        Value::Text(text) => Ok(text),
        other => Err(expected("a string", other)),
    }
}

/// A string that is not empty.
pub(super) fn name(node: &Node) -> Result<&str, Mistake> {
    match text(node)? {
        "" => Err(Mistake::new("must not be empty")),
        name => Ok(name),
    }
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node) -> Result<bool, Mistake> {
    match &node.value {
        Value::Boolean(boolean) => Ok(*boolean),
        other => Err(expected("true or false", other)),
    }
}

/// A whole number that is not negative.
pub(super) fn integer(node: &Node) -> Result<u64, Mistake> {
    match &node.value {
        Value::Integer(integer) => u64::try_from(*integer)
            .map_err(|_| Mistake::new(format!("must not be negative, but is {integer}"))),
        other => Err(expected("an integer", other)),
    }
}

/// A whole number within bounds.
pub(super) fn count(node: &Node, bounds: RangeInclusive<usize>) -> Result<usize, Mistake> {
    let given = integer(node)?;
    let count = usize::try_from(given).ok().filter(|count| bounds.contains(count));
    count.ok_or_else(|| {
        let (low, high) = bounds.into_inner();
        Mistake::new(format!("must be from {low} to {high}, but is {given}"))
    })
}

/// A duration such as "30s".
pub(super) fn duration(node: &Node) -> Result<Duration, Mistake> {
    match &node.value {
        Value::Text(text) => parse_duration(text).map_err(|error| Mistake::new(error.to_string())),
        Value::Integer(number) => Err(expected("a duration such as \"30s\"", &node.value)
            .help(format!("write \"{number}s\" if seconds are meant"))),
        other => Err(expected("a duration such as \"30s\"", other)),
    }
}

/// An array.
pub(super) fn array(node: &Node) -> Result<&[Node], Mistake> {
    match &node.value {
        Value::Array(items) => Ok(items),
        Value::Text(_) => Err(expected("an array", &node.value)
            .help("put the value in brackets, items apart by commas: [\"a\", \"b\"]")),
        other => Err(expected("an array", other)),
    }
}

/// One of the words.
pub(super) fn word<T: Copy>(node: &Node, words: &[(&str, T)]) -> Result<T, Mistake> {
    let given = text(node)?;
    let known = words.iter().find(|(word, _)| *word == given);
    known.map(|(_, meaning)| *meaning).ok_or_else(|| {
        Mistake::new(format!("{} is not known here", shown(given)))
            .help(suggest::help(given, words.iter().map(|(word, _)| *word)))
    })
}
