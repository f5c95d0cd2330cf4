//! The rules of the domain that can be judged without looking into the database.

use ipnet::IpNet;

use super::{NewToken, Rules, StoreError};
use crate::core::ip;
use crate::core::permissions::{Access, Family, Level, PermissionSet, PermissionSets};
use crate::core::record::{AccountId, Category, Grant, Plan, Timestamp, Verifier};
use crate::core::token::SELECTOR_LIMIT;

/// Most characters of a name.
const NAME_LIMIT: usize = 200;
/// Most characters of an encoded password hash; the longest that is accepted has about 200.
const HASH_LIMIT: usize = 1024;
/// Most characters of the id of a digest key.
const KEY_ID_LIMIT: usize = 64;
/// The resource that managing service tokens takes.
const SERVICE_TOKENS: &str = "Service tokens";

/// Checks a name: 1 to 200 characters, none of them a control character.
pub(crate) fn name(of: &str, name: &str) -> Result<(), StoreError> {
    if name.is_empty() {
        return Err(StoreError::Rule(format!("{of} needs a name")));
    }
    optional_name(of, name)
}

/// Checks a name that may be empty.
pub(crate) fn optional_name(of: &str, name: &str) -> Result<(), StoreError> {
    if name.chars().count() > NAME_LIMIT || name.chars().any(char::is_control) {
        return Err(StoreError::Rule(format!(
            "the name of {of} may have at most {NAME_LIMIT} characters and no control characters"
        )));
    }
    Ok(())
}

/// A number as the database keeps it.
pub(super) fn number(what: &str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| {
        StoreError::Rule(format!("{what} {number} is too large: at most {}", i64::MAX))
    })
}

/// The canonical form of a prefix.
pub(super) fn cidr(given: IpNet) -> Result<IpNet, StoreError> {
    ip::canonical(given).map_err(|why| StoreError::Rule(format!("{given}: {why}")))
}

/// Checks the category of an id-index row: one that an environment can have.
pub(super) fn environment_category(category: Option<Category>) -> Result<(), StoreError> {
    if category == Some(Category::All) {
        return Err(StoreError::Rule(
            "an environment has one category: development, staging, production or other; \
             `all` is for grants"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Checks what concerns only the token itself and its grants' sets. Where a token need not be
/// `whole`, sets may be gone from the configuration: grants of them cover nothing.
pub(super) fn token(token: &NewToken, whole: bool, rules: &Rules) -> Result<(), StoreError> {
    name("a token", &token.name)?;
    verifier(&token.verifier, token.created_at, rules)?;
    let gone = |grant: &Grant| rules.permission_sets.find(&grant.permission_set).is_none();
    token.grants.iter().try_for_each(|grant| match whole || !gone(grant) {
        true => scope(grant, &rules.permission_sets),
        false => name("a permission set", &grant.permission_set),
    })
}

/// Checks the grants that a token shall have: that there are the sets, and in that scope.
pub(super) fn grants(grants: &[Grant], rules: &Rules) -> Result<(), StoreError> {
    grants.iter().try_for_each(|grant| scope(grant, &rules.permission_sets))
}

/// Whether the grants let a service token of an account on this plan manage service tokens.
pub(super) fn manages_tokens(grants: &[Grant], plan: Plan, sets: &PermissionSets) -> bool {
    let Some(need) = sets.need(SERVICE_TOKENS, Level::Write) else { return false };
    let gives = |grant: &Grant| {
        let set = sets.find(&grant.permission_set).map(|id| sets.set(id));
        set.is_some_and(|set| set.allowed_on(plan) && set.access().covers(need))
    };
    grants.iter().any(|grant| grant.project_id.is_none() && gives(grant))
}

/// Checks that there is a moment at which the token is valid. Not for an import: a token that was
/// rotated before it became valid comes out of an export so.
pub(super) fn validity(token: &NewToken) -> Result<(), StoreError> {
    match (token.not_before, token.expires_at) {
        (Some(from), Some(until)) if from >= until => Err(StoreError::Rule(
            "the token would never be valid: `not_before` must be earlier than `expires_at`"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Checks that the plan allows every grant on a service token.
pub(super) fn plan(
    grants: &[Grant],
    account: AccountId,
    plan: Plan,
    sets: &PermissionSets,
) -> Result<(), StoreError> {
    for grant in grants {
        let set = permission_set(sets, &grant.permission_set)?;
        if !set.allowed_on(plan) {
            return Err(StoreError::Rule(not_on_plan(set, account, plan, sets)));
        }
    }
    Ok(())
}

/// Checks how a secret is recognised, for a token made at that time.
pub(super) fn verifier(
    verifier: &Verifier,
    created_at: Timestamp,
    rules: &Rules,
) -> Result<(), StoreError> {
    if verifier.is_slow() && created_at >= rules.cutoff_end {
        return Err(StoreError::Rule(format!(
            "a token made after the cutoff cannot have a slow verifier ({}): make a new one with \
             `portcullis token create`, or move `[legacy] cutoff` if it was set too early",
            verifier.kind()
        )));
    }
    match verifier {
        Verifier::Digest { key_id, .. } => key_id_form(key_id),
        Verifier::Sha256(_) => Ok(()),
        Verifier::Hash { encoded, selector: given } => {
            hash(encoded)?;
            selector(given.as_deref())
        }
        Verifier::Introspect { selector: given } => selector(given.as_deref()),
    }
}

fn key_id_form(key_id: &str) -> Result<(), StoreError> {
    let fits = (1..=KEY_ID_LIMIT).contains(&key_id.len())
        && key_id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if fits {
        return Ok(());
    }
    Err(StoreError::Rule(format!(
        "the id of a digest key has 1 to {KEY_ID_LIMIT} printable characters and no colon"
    )))
}

fn hash(encoded: &str) -> Result<(), StoreError> {
    let fits = (1..=HASH_LIMIT).contains(&encoded.len()) && !encoded.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    Err(StoreError::Rule(format!("an encoded hash has 1 to {HASH_LIMIT} printable characters")))
}

fn selector(selector: Option<&str>) -> Result<(), StoreError> {
    let fits = |text: &str| {
        (1..=SELECTOR_LIMIT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    };
    if selector.is_none_or(fits) {
        return Ok(());
    }
    Err(StoreError::Rule(format!(
        "a selector is the first 1 to {SELECTOR_LIMIT} characters of the token, 0x21 to 0x7E"
    )))
}

/// Checks that the set exists and can have the project and the environments that the grant names.
fn scope(grant: &Grant, sets: &PermissionSets) -> Result<(), StoreError> {
    let set = permission_set(sets, &grant.permission_set)?;
    if set.family() == Family::Account && grant.project_id.is_some() {
        return Err(StoreError::Rule(format!(
            "permission set `{}` is about the whole account: grant it without a project",
            set.name()
        )));
    }
    if !grant.writable_environment_categories.is_empty() && !writes_in_environments(set) {
        return Err(StoreError::Rule(format!(
            "permission set `{}` has no writable environments: grant it without environment \
             categories{}",
            set.name(),
            list(", or use one of", sets.iter().filter(|set| writes_in_environments(set)))
        )));
    }
    Ok(())
}

fn writes_in_environments(set: &PermissionSet) -> bool {
    set.environment_write() != Access::NONE
}

fn permission_set<'s>(
    sets: &'s PermissionSets,
    name: &str,
) -> Result<&'s PermissionSet, StoreError> {
    sets.find(name).map(|id| sets.set(id)).ok_or_else(|| {
        let help = nearest(sets, name).map_or_else(
            || list("; there are", sets.iter()),
            |known| format!(": did you mean `{known}`?"),
        );
        StoreError::NotFound(format!("there is no permission set `{}`{help}", printable(name)))
    })
}

/// A name that was given, cut and cleaned for a message.
fn printable(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).take(64).collect()
}

fn nearest<'s>(sets: &'s PermissionSets, name: &str) -> Option<&'s str> {
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(known, name);
    sets.iter()
        .map(PermissionSet::name)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .filter(|known| likeness(known) >= 0.6)
}

fn list<'s>(lead: &str, sets: impl Iterator<Item = &'s PermissionSet>) -> String {
    let names: Vec<&str> = sets.map(PermissionSet::name).collect();
    if names.is_empty() { String::new() } else { format!("{lead} {}", names.join(", ")) }
}

fn not_on_plan(
    set: &PermissionSet,
    account: AccountId,
    plan: Plan,
    sets: &PermissionSets,
) -> String {
    let allowed: Vec<&str> = sets.allowed_on(plan).collect();
    let allows = if allowed.is_empty() {
        "allows no permission set on a service token".to_owned()
    } else {
        format!("allows {}", allowed.join(", "))
    };
    let plans: Vec<&str> = set.plans().map(Plan::name).collect();
    let remedy = if plans.is_empty() {
        "no plan allows it on a service token".to_owned()
    } else {
        format!("it needs {}: `portcullis account set-plan {account} PLAN`", plans.join(" or "))
    };
    format!(
        "account {account} is on plan {plan}, which {allows}; `{}` is not among them, {remedy}",
        set.name()
    )
}
