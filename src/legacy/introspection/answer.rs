//! What an introspection endpoint says of a token (RFC 7662, section 2.2), and whose it makes it.

use serde_json::{Map, Value};

use crate::config::Introspection;
use crate::core::index::Candidate;
use crate::core::record::Timestamp;

/// A claim's value, and whether it has to agree.
pub(super) type Mapped = Option<Option<u64>>;

/// An answer that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The token is not valid, or not for us.
    Inactive,
    /// It is.
    Active(Claims),
}

/// What the answer says that a token has to agree with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) account: Mapped,
    pub(super) user: Mapped,
    /// First second at which the answer no longer holds.
    pub(super) expires: Option<Timestamp>,
}

/// Why an answer says nothing. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("the answer is not a JSON object")]
    NotJson,
    #[error("the answer lacks `active`, true or false (RFC 7662, section 2.2)")]
    NoActive,
    #[error("`{0}` of the answer is not what RFC 7662 says that it is")]
    Claim(&'static str),
}

/// Reads an answer. What it says of validity, audience and scope is judged here.
pub(super) fn read(
    body: &[u8],
    settings: &Introspection,
    now: Timestamp,
) -> Result<Answer, AnswerError> {
    let members: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| AnswerError::NotJson)?;
    match members.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Ok(Answer::Inactive),
        _ => return Err(AnswerError::NoActive),
    }
    let expires = seconds(&members, "exp")?;
    let is_over = expires.is_some_and(|expires| expires <= now);
    let is_early = seconds(&members, "nbf")?.is_some_and(|from| now < from);
    if is_over || is_early || !is_for_us(&members, settings)? {
        return Ok(Answer::Inactive);
    }
    let mapped = |claim: &Option<String>| mapped(&members, claim.as_deref());
    let (Some(account), Some(user)) = (mapped(&settings.account), mapped(&settings.user)) else {
        return Ok(Answer::Inactive);
    };
    Ok(Answer::Active(Claims { account, user, expires }))
}

/// What a claim says, where one is mapped. `None` where it names somebody whom no number of ours
/// does: that must not pass for naming nobody, with which tokens without a user agree.
fn mapped(members: &Map<String, Value>, claim: Option<&str>) -> Option<Mapped> {
    let Some(claim) = claim else { return Some(None) };
    match members.get(claim) {
        None | Some(Value::Null) => Some(Some(None)),
        Some(value) => number(value).map(|number| Some(Some(number))),
    }
}

/// Whether audience and scope are those that are asked for.
fn is_for_us(members: &Map<String, Value>, settings: &Introspection) -> Result<bool, AnswerError> {
    let audience = match members.get("aud") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        Some(_) => return Err(AnswerError::Claim("aud")),
    };
    let scope = match members.get("scope") {
        None | Some(Value::Null) => "",
        Some(Value::String(scope)) => scope.as_str(),
        Some(_) => return Err(AnswerError::Claim("scope")),
    };
    let scope: Vec<&str> = scope.split(' ').collect();
    let has = |wanted: &Option<String>, given: &[&str]| {
        wanted.as_deref().is_none_or(|wanted| given.contains(&wanted))
    };
    Ok(has(&settings.audience, &audience) && has(&settings.scope, &scope))
}

/// A time in seconds since 1970 (RFC 7519, section 2), whole or not.
fn seconds(
    members: &Map<String, Value>,
    claim: &'static str,
) -> Result<Option<Timestamp>, AnswerError> {
    match members.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            // Cut off, not rounded up: what is remembered ends no later.
            Some(seconds) => Ok(Some(Timestamp(seconds as i64))),
            None => Err(AnswerError::Claim(claim)),
        },
    }
}

/// A number of ours, as a number or as text.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten()
        }
        _ => None,
    }
}

/// The tokens among those asked about that agree with the answer. More than one: it cannot be
/// said whose the secret is.
pub(super) fn agreeing<'c>(
    candidates: &'c [Candidate],
    claims: &Claims,
) -> impl Iterator<Item = &'c Candidate> {
    let agrees = |claim: Mapped, own: Option<u64>| claim.is_none_or(|claimed| claimed == own);
    let (account, user) = (claims.account, claims.user);
    candidates.iter().filter(move |candidate| {
        candidate.encoded.is_none()
            && agrees(account, Some(candidate.account_id))
            && agrees(user, candidate.user_id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::legacy::introspection::tests::settings;

    const NOW: Timestamp = Timestamp(1_000);

    fn read_with(settings: &Introspection, body: &str) -> Result<Answer, AnswerError> {
        read(body.as_bytes(), settings, NOW)
    }

    fn is_active(settings: &Introspection, body: &str) -> bool {
        matches!(read_with(settings, body), Ok(Answer::Active(_)))
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        let settings = Introspection { scope: None, ..settings() };
        assert!(is_active(&settings, r#"{"active":true}"#));
        assert_eq!(read_with(&settings, r#"{"active":false}"#), Ok(Answer::Inactive));
        for unclear in [r#"{"active":"true"}"#, r#"{"active":1}"#, "{}", r#"{"active":null}"#] {
            assert_eq!(read_with(&settings, unclear), Err(AnswerError::NoActive), "{unclear}");
        }
        for garbage in ["", "active", "<html>", "[true]", "true", r#"{"active":true"#] {
            assert_eq!(read_with(&settings, garbage), Err(AnswerError::NotJson), "{garbage}");
        }
    }

    #[test]
    fn it_holds_from_nbf_until_exp() {
        let settings = Introspection { scope: None, ..settings() };
        for (claims, active) in [
            (r#""exp":1001"#, true),
            (r#""exp":1000"#, false),
            (r#""exp":1000.9"#, false),
            (r#""nbf":1000"#, true),
            (r#""nbf":1001"#, false),
            (r#""exp":null"#, true),
        ] {
            assert_eq!(is_active(&settings, &format!(r#"{{"active":true,{claims}}}"#)), active);
        }
        let wrong = read_with(&settings, r#"{"active":true,"exp":"soon"}"#);
        assert_eq!(wrong, Err(AnswerError::Claim("exp")));
    }

    #[test]
    fn audience_and_scope_must_be_those_that_are_configured() {
        let settings = Introspection { audience: Some("api".to_owned()), ..settings() };
        for (claims, active) in [
            (r#""aud":"api","scope":"read jobs""#, true),
            (r#""aud":["web","api"],"scope":"jobs""#, true),
            (r#""aud":"api","scope":"jobs2""#, false),
            (r#""aud":"api""#, false),
            (r#""scope":"jobs""#, false),
            (r#""aud":["web"],"scope":"jobs""#, false),
        ] {
            assert_eq!(is_active(&settings, &format!(r#"{{"active":true,{claims}}}"#)), active);
        }
        let wrong = read_with(&settings, r#"{"active":true,"aud":7,"scope":"jobs"}"#);
        assert_eq!(wrong, Err(AnswerError::Claim("aud")));
    }

    fn candidate(token_id: u64, account_id: u64, user_id: Option<u64>) -> Candidate {
        Candidate { token_id, account_id, user_id, version: 1, encoded: None }
    }

    fn chosen(claims: &str, settings: &Introspection) -> Vec<u64> {
        let body = format!(r#"{{"active":true,"scope":"jobs"{claims}}}"#);
        let Ok(Answer::Active(claims)) = read_with(settings, &body) else { panic!("{body}") };
        let hashed = Candidate { encoded: Some("$2b$".into()), ..candidate(4, 1, None) };
        let all = [candidate(1, 1, None), candidate(2, 1, Some(7)), candidate(3, 2, None), hashed];
        agreeing(&all, &claims).map(|candidate| candidate.token_id).collect()
    }

    #[test]
    fn a_token_agrees_by_account_and_user_where_those_are_mapped() {
        let settings = settings();
        assert_eq!(chosen(r#","account":1,"user":"7""#, &settings), [2]);
        assert_eq!(chosen(r#","account":"2""#, &settings), [3]);
        assert_eq!(chosen(r#","account":1"#, &settings), [1]);
        assert_eq!(chosen(r#","account":1,"user":8"#, &settings), [0_u64; 0]);
        assert_eq!(chosen("", &settings), [0_u64; 0], "of no account");
        assert_eq!(chosen(r#","account":1,"user":null"#, &settings), [1]);
        let unmapped = Introspection { user: None, ..settings };
        assert_eq!(chosen(r#","account":1"#, &unmapped), [1, 2]);
        assert_eq!(chosen(r#","account":1,"user":"alice""#, &unmapped), [1, 2]);
    }

    #[test]
    fn a_claim_that_is_no_number_is_not_taken_for_one_that_is_missing() {
        let settings = settings();
        for value in
            [r#""alice""#, r#""""#, "7.0", "-1", "[7]", "{}", "true", "18446744073709551616"]
        {
            for claims in
                [format!(r#""account":1,"user":{value}"#), format!(r#""account":{value},"user":7"#)]
            {
                let body = format!(r#"{{"active":true,"scope":"jobs",{claims}}}"#);
                assert_eq!(read_with(&settings, &body), Ok(Answer::Inactive), "{body}");
            }
        }
    }
}
