//! A YAML or JSON document as a tree that knows its lines.
//!
//! An alias shares what its anchor names instead of copying it, and whoever walks a tree has a
//! [`Budget`], so that a few lines cannot stand for billions of nodes.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle};
use zeroize::Zeroizing;

use super::fields::{Reason, shown};
use super::foreign::Credential;
use super::redact::hide_runs;

/// Most bytes of a document, which is read whole: some 500,000 credentials.
pub(super) const SIZE_LIMIT: u64 = 64 << 20;
/// Most nestings, also by aliases.
const DEPTH_LIMIT: usize = 64;
/// Most nodes that are visited.
const NODES_LIMIT: usize = 8_000_000;

/// A node, perhaps in several places.
pub(super) type Shared = Rc<Node>;

/// A node and the line at which it begins.
pub(super) struct Node {
    pub(super) line: u64,
    depth: usize,
    value: Value,
}

enum Value {
    /// Its text, and whether it is one beyond doubt: not read as a number, a truth or nothing.
    Scalar(Zeroizing<String>, bool),
    List(Vec<Shared>),
    Map(Vec<(String, Shared)>),
}

/// Why a document cannot be read. Holds nothing of it but keys.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {what}")]
pub(super) struct DocumentError {
    line: u64,
    what: String,
}

/// An error at a line.
pub(super) fn error(line: u64, what: &str) -> DocumentError {
    DocumentError { line, what: what.to_owned() }
}

/// How many nodes may still be visited.
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(NODES_LIMIT)
    }
}

impl Budget {
    /// Counts a visit.
    pub(super) fn spend(&mut self, node: &Node) -> Result<(), DocumentError> {
        self.0 = self.0.checked_sub(1).ok_or_else(|| {
            error(node.line, "its aliases stand for too many nodes: write it without aliases")
        })?;
        Ok(())
    }
}

/// The credentials of a document.
#[derive(Default)]
pub(super) struct Found {
    credentials: Vec<Credential>,
    /// Whose each key is, and on which line.
    clients: HashMap<[u8; 32], (String, u64)>,
}

impl Found {
    /// Takes one; refused where another client has the same key.
    pub(super) fn push(&mut self, mut credential: Credential) -> Result<(), DocumentError> {
        if self.credentials.len() >= NODES_LIMIT {
            return Err(error(credential.line, "there are too many credentials"));
        }
        if let Ok(key) = &credential.key {
            let hash = *blake3::hash(key.text.as_bytes()).as_bytes();
            let known = self.clients.get(&hash);
            if let Some((_, line)) = known.filter(|(client, _)| *client != credential.client) {
                credential.key =
                    Err(format!("line {line} gives the same key to another client: it is theirs"));
            } else if known.is_none() {
                self.clients.insert(hash, (credential.client.clone(), credential.line));
            }
        }
        self.credentials.push(credential);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.credentials.is_empty()
    }

    /// By line.
    pub(super) fn into_credentials(mut self) -> Vec<Credential> {
        self.credentials.sort_by_key(|credential| credential.line);
        self.credentials
    }
}

impl Node {
    /// What a key of a map stands for.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(known, _)| known == key).map(|(_, node)| node.as_ref())
    }

    /// The items of a list.
    pub(super) fn list(&self) -> Option<&[Shared]> {
        if let Value::List(items) = &self.value { Some(items) } else { None }
    }

    /// A text or number as it is written.
    pub(super) fn scalar(&self) -> Option<&str> {
        if let Value::Scalar(text, _) = &self.value { Some(text) } else { None }
    }

    /// The text that a key stands for; a number needs quotation marks to be one.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value {
            Value::Scalar(text, true) => Some(text),
            _ => None,
        }
    }

    /// Whether it is written as nothing.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(text, false) if is_null(text))
    }

    /// What is directly below.
    pub(super) fn children(&self) -> impl Iterator<Item = &Node> {
        let (list, map): (&[Shared], &[(String, Shared)]) = match &self.value {
            Value::Scalar(..) => (&[], &[]),
            Value::List(items) => (items, &[]),
            Value::Map(entries) => (&[], entries),
        };
        list.iter().chain(map.iter().map(|(_, node)| node)).map(Rc::as_ref)
    }

    /// Refuses keys that are none of these.
    pub(super) fn only(&self, keys: &[&str]) -> Result<(), Reason> {
        let Value::Map(entries) = &self.value else { return Err("it must be a map".to_owned()) };
        match entries.iter().find(|(key, _)| !keys.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, _)) => {
                Err(format!("unknown key `{}`: expected are {}", shown(key), keys.join(", ")))
            }
        }
    }
}

/// Reads every document of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Shared>, DocumentError> {
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(error(1, &format!("it has more than {SIZE_LIMIT} bytes: split it")));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| error(1, "it is not UTF-8"))?;
    let mut tree = Tree::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|why| {
            error(why.marker().line() as u64, &format!("not YAML: {}", hide_runs(why.info())))
        })?;
        tree.take(event, span.start.line() as u64)?;
    }
    if tree.documents.is_empty() {
        return Err(error(1, "it is empty"));
    }
    Ok(tree.documents)
}

/// A tree that grows by events.
#[derive(Default)]
struct Tree {
    documents: Vec<Shared>,
    open: Vec<Open>,
    anchors: HashMap<usize, Shared>,
}

/// A list or map whose end has not come yet.
struct Open {
    line: u64,
    anchor: usize,
    value: Value,
    /// The key whose value comes next.
    key: Option<String>,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, line: u64) -> Result<(), DocumentError> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_text = style != ScalarStyle::Plain || !is_other(&text);
                let value = Value::Scalar(Zeroizing::new(text.into_owned()), is_text);
                self.put(line, anchor, value)
            }
            Event::SequenceStart(anchor, _) => self.begin(line, anchor, Value::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(line, anchor, Value::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { line, anchor, value, .. } =
                    self.open.pop().expect("invariant: an end has a beginning");
                self.put(line, anchor, value)
            }
            Event::Alias(anchor) => {
                let named = self.anchors.get(&anchor).cloned();
                let node = named.ok_or_else(|| error(line, "an alias stands within its anchor"))?;
                self.attach(line, node)
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, line: u64, anchor: usize, value: Value) -> Result<(), DocumentError> {
        if self.open.len() >= DEPTH_LIMIT {
            return Err(too_deep(line));
        }
        self.open.push(Open { line, anchor, value, key: None });
        Ok(())
    }

    fn put(&mut self, line: u64, anchor: usize, value: Value) -> Result<(), DocumentError> {
        let mut node = Node { line, depth: 0, value };
        node.depth = 1 + node.children().map(|child| child.depth).max().unwrap_or(0);
        if node.depth > DEPTH_LIMIT {
            return Err(too_deep(line));
        }
        let node = Rc::new(node);
        // Anchors are numbered from 1.
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.attach(line, node)
    }

    fn attach(&mut self, line: u64, node: Shared) -> Result<(), DocumentError> {
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match (&mut open.value, open.key.take()) {
            (Value::Map(entries), Some(key)) => entries.push((key, node)),
            (Value::Map(entries), None) => {
                let key = node.scalar().ok_or_else(|| error(line, "a key must be a text"))?;
                if entries.iter().any(|(known, _)| known == key) {
                    return Err(error(line, &format!("`{}` is there twice", shown(key))));
                }
                open.key = Some(key.to_owned());
            }
            (Value::List(items), _) => items.push(node),
            (Value::Scalar(..), _) => unreachable!("invariant: only lists and maps are open"),
        }
        Ok(())
    }
}

fn too_deep(line: u64) -> DocumentError {
    error(line, &format!("it is nested more than {DEPTH_LIMIT} times"))
}

/// Whether YAML reads this as something else than a text where no quotation marks say otherwise.
fn is_other(text: &str) -> bool {
    let number = || text.bytes().any(|b| b.is_ascii_digit()) && text.parse::<f64>().is_ok();
    is_null(text) || ["true", "false"].contains(&text.to_ascii_lowercase().as_str()) || number()
}

fn is_null(text: &str) -> bool {
    ["", "~"].contains(&text) || text.eq_ignore_ascii_case("null")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let documents = match parse(text.as_bytes()) {
            Ok(documents) => documents,
            Err(error) => return error.to_string(),
        };
        let mut budget = Budget::default();
        fn walk(node: &Node, budget: &mut Budget) -> Result<(), DocumentError> {
            budget.spend(node)?;
            node.children().try_for_each(|child| walk(child, budget))
        }
        let walked = documents.iter().try_for_each(|document| walk(document, &mut budget));
        walked.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn nodes_know_their_lines_and_what_is_a_text() {
        let documents = parse(b"a:\n  - b: 'c'\n    n: 12\n  - {b: d}\n").unwrap();
        let list = documents[0].get("a").unwrap().list().unwrap();
        assert_eq!((list[0].line, list[0].text("b")), (2, Some("c")));
        assert_eq!((list[0].text("n"), list[0].get("n").unwrap().scalar()), (None, Some("12")));
        assert_eq!((list[1].line, list[1].text("b")), (4, Some("d")));
        let json = parse(b"{\"a\": [\n{\"b\": \"1\"}]}").unwrap();
        assert_eq!(json[0].get("a").unwrap().list().unwrap()[0].text("b"), Some("1"));
    }

    #[test]
    fn aliases_share_and_are_bounded() {
        let documents = parse(b"a: &x {b: c}\nd: *x\n").unwrap();
        assert_eq!(documents[0].get("d").unwrap().text("b"), Some("c"));
        let mut bomb = "a0: &a0 x\n".to_owned();
        for level in 1..30 {
            let below = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(refusal(&bomb).contains("too many nodes"), "{}", refusal(&bomb));
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(!refusal(&deep).is_empty());
        assert!(refusal("a: &x [*x]").contains("within its anchor"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let cases = [
            ("a: 1\na: 2", "2: `a` is there twice"),
            ("? [a]\n: b", "a key must be a text"),
            ("a: [", "not YAML"),
            ("", "1: it is empty"),
        ];
        for (text, expected) in cases {
            assert!(refusal(text).contains(expected), "{text}: {}", refusal(text));
        }
    }
}
