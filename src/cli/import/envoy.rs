//! Envoy's `api_key_auth` filter: its credentials, wherever in a configuration the filter is, or
//! in a file that is the filter's configuration and nothing else.

use super::fields::Reason;
use super::foreign::{Credential, Key};
use super::yaml::{Budget, DocumentError, Found, Node, Shared, error};

/// Types of the filter's configuration: for a listener, and for a route of it.
const TYPES: [&str; 2] = [
    "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
    "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute",
];

/// The credentials of every such filter, by line.
pub(super) fn find(documents: &[Shared]) -> Result<Vec<Credential>, DocumentError> {
    let mut found = Found::default();
    let mut filters = 0;
    let mut budget = Budget::default();
    for document in documents {
        visit(document, &mut budget, &mut |node| {
            filters += 1;
            read_list(node, &mut found)
        })?;
        if filters == 0 && document.get("credentials").is_some() {
            filters += 1;
            read_list(document, &mut found)?;
        }
    }
    if filters == 0 {
        return Err(error(
            1,
            "there is no filter of type `envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth` \
             in it, and it is not the configuration of one",
        ));
    }
    if found.is_empty() {
        return Err(error(1, "the api_key_auth filter has no `credentials`"));
    }
    Ok(found.into_credentials())
}

/// Calls `each` for every configuration of the filter.
fn visit(
    node: &Node,
    budget: &mut Budget,
    each: &mut dyn FnMut(&Node) -> Result<(), DocumentError>,
) -> Result<(), DocumentError> {
    budget.spend(node)?;
    // `type.googleapis.com/` and the like before the name says where the type is described.
    let type_url = node.text("@type").and_then(|url| url.rsplit('/').next());
    if type_url.is_some_and(|name| TYPES.contains(&name)) {
        return each(node);
    }
    node.children().try_for_each(|child| visit(child, budget, each))
}

fn read_list(filter: &Node, found: &mut Found) -> Result<(), DocumentError> {
    let Some(credentials) = filter.get("credentials") else { return Ok(()) };
    let list = credentials
        .list()
        .ok_or_else(|| error(credentials.line, "`credentials` must be a list"))?;
    list.iter().try_for_each(|credential| found.push(read(credential)))
}

fn read(credential: &Node) -> Credential {
    let client = credential.text("client").unwrap_or_default().to_owned();
    let key = read_key(credential, &client);
    Credential { line: credential.line, client, key }
}

fn read_key(credential: &Node, client: &str) -> Result<Key, Reason> {
    let text = credential.text("key").ok_or("`key` is missing or no text")?;
    if client.is_empty() {
        return Err("`client` is missing or no text".to_owned());
    }
    credential.only(&["key", "client"])?;
    Ok(Key::new(text.to_owned()))
}
