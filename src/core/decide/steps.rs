//! Steps 3 to 7: whether the token and its account are in use, and from where and for what.

use super::describe::{describe_ip_denial, describe_narrowing, describe_no_route, describe_route};
use super::ids::id;
use super::{Case, Step, Trace, fix};
use crate::core::index::Token;
use crate::core::record::Timestamp;
use crate::core::routes::Unmatched;
use crate::core::verdict::Reason;

/// Step 3.
#[inline]
pub(super) fn validity<T: Trace>(
    case: &Case<'_>,
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
            (Reason::NotYetValid, Some(at)) => {
                format!("token {} is not valid before {at}; it is {now}", token.id)
            }
            (Reason::Expired, Some(at)) => {
                format!("token {} expired at {at}; it is {now}", token.id)
            }
            _ => format!("token {} is revoked, for good", token.id),
        },
        || fix::validity(case, token, reason),
    );
    Err(reason)
}

/// Step 4.
#[inline]
pub(super) fn account<T: Trace>(
    case: &Case<'_>,
    token: &Token<'_>,
    trace: &mut T,
) -> Result<(), Reason> {
    let account = token.account;
    if account.is_usable() {
        trace.pass(Step::Account, || {
            format!("account {} is open, plan {}", account.id(), account.plan())
        });
        return Ok(());
    }
    let id = account.id();
    trace.fail(
        Step::Account,
        || match account.is_open() {
            true => format!("the plan of account {id} is cancelled"),
            false => format!("account {id} is closed, plan {}", account.plan()),
        },
        || fix::account(case, token),
    );
    Err(Reason::AccountClosed)
}

/// Step 5.
#[inline]
pub(super) fn ip_rules<T: Trace>(
    case: &Case<'_>,
    token: &Token<'_>,
    trace: &mut T,
) -> Result<(), Reason> {
    let facts = case.facts;
    let client =
        || facts.client.map_or("an unknown address".to_owned(), |client| client.to_string());
    let id = token.account.id();
    let rules = token.account.ip_rules();
    if let Some(rules) = rules
        && !rules.admits(facts.client)
    {
        trace.fail(
            Step::IpRules,
            || describe_ip_denial(id, rules, facts.client),
            || fix::ip_rules(case, id, rules),
        );
        return Err(Reason::IpDenied);
    }
    if let Some(narrowing) = token.allow_ips
        && !facts.client.is_some_and(|client| narrowing.contains(client))
    {
        trace.fail(
            Step::IpRules,
            || describe_narrowing(token.id, narrowing, facts.client),
            || fix::allow_ips(case, token),
        );
        return Err(Reason::TokenIpDenied);
    }
    trace.pass(Step::IpRules, || match rules {
        Some(_) => format!("{} is let in by the rules of account {id}", client()),
        None => format!("the rules of account {id} are not enabled"),
    });
    Ok(())
}

/// Step 6: gives the upstream.
#[inline]
pub(super) fn route<T: Trace>(case: &Case<'_>, trace: &mut T) -> Result<usize, Reason> {
    let Case { index, target, .. } = *case;
    if let Some(route) = target.route {
        trace.pass(Step::Route, || describe_route(index.policy(), route));
        return Ok(route.upstream);
    }
    match index.policy().routes.unmatched() {
        Unmatched::Authenticated { upstream } if target.barred.is_none() => {
            trace.pass(Step::Route, || "none, but any valid token may pass unmatched".to_owned());
            Ok(upstream)
        }
        Unmatched::Authenticated { .. } | Unmatched::Deny => {
            trace.fail(Step::Route, || describe_no_route(case), || fix::route(case));
            Err(Reason::NoRoute)
        }
    }
}

/// Step 7.
#[inline]
pub(super) fn account_scope<T: Trace>(
    case: &Case<'_>,
    token: &Token<'_>,
    trace: &mut T,
) -> Result<(), Reason> {
    let Some(capture) = case.target.route.and_then(|route| route.account) else {
        trace.pass(Step::AccountScope, || "the path names no account".to_owned());
        return Ok(());
    };
    let text = case.target.captures.text(case.facts.path, capture);
    let own = token.account.id();
    if id(text) == Some(own) {
        trace.pass(Step::AccountScope, || format!("account {own} is the token's"));
        return Ok(());
    }
    trace.fail(
        Step::AccountScope,
        || format!("the path names account {text}, token {} is of account {own}", token.id),
        || fix::account_scope(case, token, text),
    );
    Err(Reason::WrongAccount)
}
