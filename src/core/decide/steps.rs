//! Steps 3 to 7: whether the token and its account are in use, and from where and for what.

use super::ids::id;
use super::{Step, Target, Trace};
use crate::core::facts::Facts;
use crate::core::index::{Index, Token};
use crate::core::record::Timestamp;
use crate::core::routes::Unmatched;
use crate::core::verdict::Reason;

/// Step 3.
#[inline]
pub(super) fn validity<T: Trace>(
    token: &Token<'_>,
    now: Timestamp,
    trace: &mut T,
) -> Result<(), Reason> {
    let (reason, since) = if token.revoked {
        (Reason::Revoked, None)
    } else if let Some(from) = token.not_before.filter(|from| now < *from) {
        (Reason::NotYetValid, Some(from))
    } else if let Some(until) = token.expires.filter(|until| now >= *until) {
        (Reason::Expired, Some(until))
    } else {
        trace.pass(Step::Validity, || "active, and within its time".to_owned());
        return Ok(());
    };
    trace.fail(
        Step::Validity,
        || match (reason, since) {
            (Reason::NotYetValid, Some(at)) => format!("not valid before {at}"),
            (Reason::Expired, Some(at)) => format!("expired at {at}"),
            _ => "revoked, for good".to_owned(),
        },
        || {
            format!(
                "make a new one: `portcullis token create --account {} --name NAME --grant SET`",
                token.account.id()
            )
        },
    );
    Err(reason)
}

/// Step 4.
#[inline]
pub(super) fn account<T: Trace>(token: &Token<'_>, trace: &mut T) -> Result<(), Reason> {
    let account = token.account;
    if account.is_usable() {
        trace.pass(Step::Account, || {
            format!("account {} is open, plan {}", account.id(), account.plan())
        });
        return Ok(());
    }
    let id = account.id();
    match account.open {
        true => trace.fail(
            Step::Account,
            || format!("the plan of account {id} is cancelled"),
            || format!("`portcullis account set-plan {id} PLAN`"),
        ),
        false => trace.fail(
            Step::Account,
            || format!("account {id} is closed"),
            || format!("`portcullis account open {id}`"),
        ),
    }
    Err(Reason::AccountClosed)
}

/// Step 5.
#[inline]
pub(super) fn ip_rules<T: Trace>(
    token: &Token<'_>,
    facts: &Facts<'_>,
    trace: &mut T,
) -> Result<(), Reason> {
    let client =
        || facts.client.map_or("an unknown address".to_owned(), |client| client.to_string());
    let id = token.account.id();
    if let Some(rules) = &token.account.ip_rules
        && !rules.admits(facts.client)
    {
        let why = || match facts.client.and_then(|client| rules.matching(client)) {
            Some((action, cidr)) => format!(
                "{}: the rule {action:?} {cidr} of account {id} matches most specifically",
                client()
            ),
            None => {
                format!("{}: no rule of account {id} matches, and it has allow rules", client())
            }
        };
        trace.fail(Step::IpRules, why, || {
            format!("`portcullis ip-rule allow --account {id} {}`", client())
        });
        return Err(Reason::IpDenied);
    }
    if let Some(narrowing) = token.allow_ips
        && !facts.client.is_some_and(|client| narrowing.contains(client))
    {
        trace.fail(Step::IpRules, || format!("{}: outside the token's own allow_ips", client()), || {
            format!("make a token that may be used from there: `portcullis token create --account {id} --allow-ip {} …`", client())
        });
        return Err(Reason::TokenIpDenied);
    }
    trace.pass(Step::IpRules, || match token.account.ip_rules {
        Some(_) => format!("{} is let in by the rules of account {id}", client()),
        None => format!("the rules of account {id} are not enabled"),
    });
    Ok(())
}

/// Step 6: gives the upstream.
#[inline]
pub(super) fn route<T: Trace>(
    index: &Index,
    target: &Target<'_>,
    trace: &mut T,
) -> Result<usize, Reason> {
    if let Some(route) = target.route {
        trace.pass(Step::Route, || route.path().to_owned());
        return Ok(route.upstream);
    }
    match index.policy().routes.unmatched() {
        Unmatched::Authenticated { upstream } if !target.method_missing => {
            trace.pass(Step::Route, || "none, but any valid token may pass unmatched".to_owned());
            Ok(upstream)
        }
        Unmatched::Authenticated { .. } | Unmatched::Deny => {
            let detail = || match target.method_missing {
                true => "the path is in the route table, but not with this method".to_owned(),
                false => "no route has this host and path".to_owned(),
            };
            trace.fail(Step::Route, detail, || {
                "add a [[route]] to routes.toml, then reload".to_owned()
            });
            Err(Reason::NoRoute)
        }
    }
}

/// Step 7.
#[inline]
pub(super) fn account_scope<T: Trace>(
    token: &Token<'_>,
    target: &Target<'_>,
    facts: &Facts<'_>,
    trace: &mut T,
) -> Result<(), Reason> {
    let Some(capture) = target.route.and_then(|route| route.account) else {
        trace.pass(Step::AccountScope, || "the path names no account".to_owned());
        return Ok(());
    };
    let text = target.captures.text(facts.path, capture);
    let own = token.account.id();
    if id(text) == Some(own) {
        trace.pass(Step::AccountScope, || format!("account {own} is the token's"));
        return Ok(());
    }
    trace.fail(
        Step::AccountScope,
        || format!("the path names account {text}, the token is of account {own}"),
        || format!("use a token of account {text}, or the path of account {own}"),
    );
    Err(Reason::WrongAccount)
}
