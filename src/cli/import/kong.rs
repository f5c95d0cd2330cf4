//! Kong's declarative configuration: keys of its key-auth plugin, under their consumers or in a
//! list of their own.

use super::fields::Reason;
use super::foreign::{Credential, Key};
use super::yaml::{DocumentError, Found, Node, Shared, error};
use crate::core::record::Timestamp;

/// Keys of a credential that mean something here or nothing at all.
const KNOWN: [&str; 6] = ["key", "consumer", "id", "tags", "created_at", "ttl"];

/// The keys of all consumers, by line.
pub(super) fn find(documents: &[Shared]) -> Result<Vec<Credential>, DocumentError> {
    let mut found = Found::default();
    for document in documents {
        if document.get("_format_version").is_none() {
            return Err(error(
                document.line,
                "there is no `_format_version`: this is not Kong's declarative configuration",
            ));
        }
        for consumer in list(document, "consumers")? {
            let name = consumer_name(consumer);
            for credential in list(consumer, "keyauth_credentials")? {
                found.push(read(credential, name.clone()))?;
            }
        }
        for credential in list(document, "keyauth_credentials")? {
            let name = credential.get("consumer").and_then(reference);
            found.push(read(credential, name))?;
        }
    }
    if found.is_empty() {
        return Err(error(1, "there are no `keyauth_credentials` in it"));
    }
    Ok(found.into_credentials())
}

fn list<'n>(node: &'n Node, key: &str) -> Result<&'n [Shared], DocumentError> {
    match node.get(key) {
        None => Ok(&[]),
        Some(list) if list.is_null() => Ok(&[]),
        Some(list) => {
            list.list().ok_or_else(|| error(list.line, &format!("`{key}` must be a list")))
        }
    }
}

fn consumer_name(consumer: &Node) -> Option<String> {
    let named = ["username", "custom_id", "id"].into_iter().find_map(|key| consumer.text(key));
    named.map(str::to_owned)
}

/// A consumer by its name, or by an object with one of its keys.
fn reference(consumer: &Node) -> Option<String> {
    match consumer.scalar() {
        Some(name) => Some(name.to_owned()),
        None => consumer_name(consumer),
    }
}

fn read(credential: &Node, client: Option<String>) -> Credential {
    let key = match &client {
        None => Err("the key has no consumer: name one with `consumer`".to_owned()),
        Some(_) => read_key(credential),
    };
    Credential { line: credential.line, client: client.unwrap_or_default(), key }
}

fn read_key(credential: &Node) -> Result<Key, Reason> {
    let text = credential.text("key").ok_or("`key` is missing or no text")?;
    // `{vault://env/key}`: what is meant is somewhere else.
    if text.starts_with("{vault://") {
        return Err("`key` refers to a vault: put the key itself in its place".to_owned());
    }
    if text.starts_with("${{") {
        return Err("`key` is a template: render the file first (`deck file render`)".to_owned());
    }
    credential.only(&KNOWN)?;
    let number = |key: &str| match credential.get(key) {
        None => Ok(None),
        Some(node) if node.is_null() => Ok(None),
        Some(node) => {
            let number = node.scalar().and_then(|text| text.parse::<i64>().ok());
            number.map(Some).ok_or_else(|| format!("`{key}` must be a whole number of seconds"))
        }
    };
    Ok(Key {
        created_at: number("created_at")?.map(Timestamp),
        // Kong keeps a key for good where this is 0.
        lifetime: number("ttl")?.filter(|seconds| *seconds > 0),
        ..Key::new(text.to_owned())
    })
}
