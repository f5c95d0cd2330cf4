//! What the steps find, in words: for `explain`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::holdings::{counts, projects_with};
use super::permission::{PROJECTS_HEADER_BYTES, Scope};
use super::{Barred, Case, id};
use crate::core::explain::Recognition;
use crate::core::facts::CredentialError;
use crate::core::index::{GrantView, Index, Policy, Rules, Token};
use crate::core::ip::PrefixSet;
use crate::core::permissions::Access;
use crate::core::record::{AccountId, Action, TokenId};
use crate::core::routes::{Lookup, Project, Requires, Route};
use crate::core::token::{Malformed, has_our_prefix};
use crate::core::verdict::Reason;

/// Most things of a kind that are listed.
const LISTED_LIMIT: usize = 8;
/// Methods that a path is tried with (RFC 9110 section 9, RFC 5789).
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

pub(super) fn describe_credential(error: CredentialError) -> &'static str {
    match error {
        CredentialError::Missing => "no credential",
        CredentialError::Several => "more than one credential",
        CredentialError::Scheme => {
            "the scheme is neither `Bearer` nor `Token`, or no token follows it"
        }
        CredentialError::Malformed(Malformed::Length) => {
            "a token made elsewhere has 16 to 512 bytes"
        }
        CredentialError::Malformed(Malformed::Alphabet) => {
            "a token has only the bytes 0x21 to 0x7E"
        }
        CredentialError::Malformed(Malformed::Checksum) => {
            "the prefix is ours but the checksum is wrong: mistyped or cut off"
        }
    }
}

pub(super) fn describe_need(policy: &Policy, need: Access) -> String {
    match need == Access::NONE {
        true => "any grant".to_owned(),
        false => format!("the grants give {}", policy.permission_sets.describe(need)),
    }
}

/// A token whose secret the slow lane has verified lately.
pub(super) fn describe_recalled(token: &Token<'_>) -> String {
    format!("token {}, a legacy token: {}", token.id(), Recognition::Memory)
}

/// Of the secret nothing is said but whether it begins as ours do.
pub(super) fn describe_unknown(index: &Index, secret: &[u8]) -> String {
    let keys: Vec<&str> = index.policy().keys.iter().map(|key| key.id()).collect();
    let legacy = match (index.policy().candidates_limit, has_our_prefix(secret)) {
        (_, true) => "it is of this service, so no legacy token either",
        (0, _) => "legacy tokens are off",
        _ => "no legacy token could be it",
    };
    let keys = listed(keys.into_iter());
    format!("none of {} tokens has this digest (keys: {keys}); {legacy}", index.tokens())
}

/// The prefix of one address alone.
pub(super) fn host_prefix(address: IpAddr) -> IpNet {
    IpNet::from(address.to_canonical())
}

pub(super) fn describe_ip_denial(
    account: AccountId,
    rules: Rules<'_>,
    client: Option<IpAddr>,
) -> String {
    let Some(client) = client else {
        return format!("an unknown address, and the rules of account {account} are enabled");
    };
    match rules.matching(client) {
        Some((action, cidr)) => {
            let action = if action == Action::Allow { "allow" } else { "deny" };
            format!(
                "{client}: the rule `{action} {cidr}` of account {account} matches most \
                 specifically"
            )
        }
        None => {
            let allow = rules
                .to_vec()
                .into_iter()
                .filter(|rule| rule.0 == Action::Allow)
                .map(|rule| rule.1);
            format!(
                "{client}: no rule of account {account} matches, and it lets in only {}",
                prefixes(allow)
            )
        }
    }
}

pub(super) fn describe_narrowing(
    token: TokenId,
    narrowing: &PrefixSet,
    client: Option<IpAddr>,
) -> String {
    let client = client.map_or("an unknown address".to_owned(), |client| client.to_string());
    format!("{client}: token {token} may be used only from {}", prefixes(narrowing.iter()))
}

fn prefixes(prefixes: impl Iterator<Item = IpNet>) -> String {
    let mut prefixes: Vec<IpNet> = prefixes.collect();
    prefixes.sort();
    listed(prefixes.into_iter())
}

/// The first few, and how many more there are.
fn listed(things: impl ExactSizeIterator<Item: ToString>) -> String {
    let more = things.len().saturating_sub(LISTED_LIMIT);
    let shown: Vec<String> = things.take(LISTED_LIMIT).map(|thing| thing.to_string()).collect();
    let shown = shown.join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

pub(super) fn describe_route(policy: &Policy, route: &Route) -> String {
    let requires = match &route.requires {
        Requires::Permission(need) => policy.permission_sets.describe(*need),
        Requires::Authenticated => "any valid token".to_owned(),
        Requires::OwnUser(_) => "a personal token of that user".to_owned(),
        Requires::Public => "nothing".to_owned(),
    };
    format!("{} requires {requires}", route.path())
}

pub(super) fn describe_no_route(case: &Case<'_>) -> String {
    let Case { facts, target, .. } = *case;
    match (target.barred, facts.host) {
        (Some(Barred::Method), _) => format!(
            "the path is in the route table with {}, not with {}",
            describe_methods(case),
            facts.method
        ),
        (Some(Barred::Certificate(route)), _) => format!(
            "{} is for clients with a certificate of {}, and {}",
            route.path(),
            route.client_names.join(" or "),
            match facts.client_names {
                [] => "this one shows none".to_owned(),
                names => format!("this one's is of {}", names.join(", ")),
            }
        ),
        (None, Some(host)) => format!("no route has this path on host {host}"),
        (None, None) => "no route has this path".to_owned(),
    }
}

/// The methods that the path is in the table with.
pub(super) fn describe_methods(case: &Case<'_>) -> String {
    let (facts, routes) = (case.facts, &case.index.policy().routes);
    let known =
        |method: &&str| matches!(routes.lookup(method, facts.host, facts.path), Lookup::Route(..));
    let methods: Vec<&str> = METHODS.into_iter().filter(known).collect();
    if methods.is_empty() { "another method".to_owned() } else { methods.join(", ") }
}

pub(super) fn describe_lack(
    case: &Case<'_>,
    token: &Token<'_>,
    route: &Route,
    scope: Result<Scope, Reason>,
    need: Access,
) -> String {
    let policy = case.index.policy();
    let place = match scope {
        Err(reason) => return describe_no_scope(case, token, route, reason),
        Ok(Scope::All) => "on all projects".to_owned(),
        Ok(Scope::One { project, category, covered_by_all }) => {
            let category = category.map(|category| format!(", a {category} environment"));
            let unknown = match covered_by_all {
                true => "",
                false => ", which is not among the account's projects",
            };
            format!("on project {project}{}{unknown}", category.unwrap_or_default())
        }
        Ok(Scope::Any) => "on any project".to_owned(),
        Ok(Scope::Defer) => match projects_with(policy, token, need).count() {
            0 => "on any project".to_owned(),
            count => {
                return format!(
                    "the upstream would have to be told {count} projects, which take more than \
                     {PROJECTS_HEADER_BYTES} bytes"
                );
            }
        },
    };
    let what = match need == Access::NONE {
        true => "a grant".to_owned(),
        false => policy.permission_sets.describe(need),
    };
    format!("{what} is needed {place}; token {} has {}", token.id, describe_grants(policy, token))
}

/// Why it is not known which project a request is about.
fn describe_no_scope(case: &Case<'_>, token: &Token<'_>, route: &Route, reason: Reason) -> String {
    let text = |capture| case.target.captures.text(case.facts.path, capture);
    match &route.project {
        _ if reason == Reason::BadRequest => {
            "the project's query parameter is there twice, or encoded".to_owned()
        }
        Project::Index { index, capture } if id(text(*capture)).is_some() => format!(
            "{} {} is not in the id index of account {}",
            case.index.policy().routes.name_of(*index),
            text(*capture),
            token.account.id()
        ),
        Project::Index { capture, .. } => format!("`{}` is not an id", text(*capture)),
        _ => "the project's id is not a number".to_owned(),
    }
}

fn describe_grants(policy: &Policy, token: &Token<'_>) -> String {
    let grant = |grant: GrantView| {
        let set = policy.permission_sets.set(grant.set).name();
        let place = match grant.project {
            Some(project) => format!(" on project {project}"),
            None => " on all projects".to_owned(),
        };
        let categories: Vec<String> =
            grant.categories.iter().map(|category| category.to_string()).collect();
        let writing = match categories.is_empty() {
            true => String::new(),
            false => format!(", writing in {}", categories.join(" and ")),
        };
        let suspended = match counts(policy, token, &grant) {
            true => String::new(),
            false => format!(" (suspended: not on plan {})", token.account.plan()),
        };
        format!("{set}{place}{writing}{suspended}")
    };
    let grants: Vec<String> = token.grants.iter().map(grant).collect();
    if grants.is_empty() { "no grants".to_owned() } else { listed(grants.into_iter()) }
}
