//! `portcullis token verify`: which token a secret is, read where nobody else can see it.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize;

use crate::cli::exit::{Exit, Failure};
use crate::cli::session::{Opened, Session};
use crate::cli::{shape, table};
use crate::core::digest::DigestKeys;
use crate::core::record::{AccountId, Timestamp, TokenId, TokenState, UserId, Verifier};
use crate::core::token::{Malformed, Secret};
use crate::legacy::verifier::{Bounds, PasswordHash};
use crate::store::{Store, StoreError, TokenFilter, TokenView};

/// Which token a secret is, and whether it is valid now.
#[derive(Serialize)]
struct Finding<'v> {
    valid: bool,
    /// Why not; the words of the gate's metrics and logs.
    reason: Option<&'static str>,
    id: Option<TokenId>,
    account_id: Option<AccountId>,
    user_id: Option<UserId>,
    name: Option<&'v str>,
    state: Option<TokenState>,
    verifier: Option<&'static str>,
}

pub(super) fn run(source: &[String], session: &mut Session<'_>) -> Result<(), Failure> {
    if source != ["-"] {
        // What was given may be a secret: it is not repeated.
        return Err(Failure::usage(
            "token verify takes `-` and reads the secret from standard input: on the command \
             line it could be seen by others",
        ));
    }
    let Opened { config, store } = session.open()?;
    let secret = match read_secret(session)? {
        Ok(secret) => secret,
        Err(why) => return report(None, Some(malformed(why)), &why.to_string(), session),
    };
    let Some(view) = find(&store, &config.keys, &secret, session)? else {
        return report(None, Some("unknown_token"), "no token has this secret", session);
    };
    let (reason, why) = standing(&view, session.around.now);
    report(Some(&view), reason, why, session)
}

/// The secret on standard input.
pub(in crate::cli) fn read_secret(
    session: &mut Session<'_>,
) -> Result<Result<Secret, Malformed>, Failure> {
    let mut line = session.read_secret_line()?;
    if line.is_empty() {
        return Err(Failure::usage("standard input is empty: give the secret as one line"));
    }
    let text = String::from_utf8(std::mem::take(&mut *line)).map_err(|error| {
        error.into_bytes().zeroize();
        Malformed::Alphabet
    });
    Ok(text.and_then(Secret::parse))
}

/// The token that has this secret, however it is recognised.
pub(in crate::cli) fn find(
    store: &dyn Store,
    keys: &DigestKeys,
    secret: &Secret,
    session: &mut Session<'_>,
) -> Result<Option<TokenView>, Failure> {
    match find_fast(store, keys, secret)? {
        Some(found) => Ok(Some(found)),
        None => find_slow(store, secret, session),
    }
}

/// By digest under any key, then by SHA-256, as the gate does.
pub(in crate::cli) fn find_fast(
    store: &dyn Store,
    keys: &DigestKeys,
    secret: &Secret,
) -> Result<Option<TokenView>, StoreError> {
    for verifier in fast_verifiers(keys, secret) {
        if let Some(view) = store.token_by_verifier(&verifier)? {
            return Ok(Some(view));
        }
    }
    Ok(None)
}

/// Every fast verifier that this secret could be known by.
pub(in crate::cli) fn fast_verifiers(
    keys: &DigestKeys,
    secret: &Secret,
) -> impl Iterator<Item = Verifier> {
    let bytes = secret.expose().as_bytes();
    let digest = |key: &crate::core::digest::DigestKey| Verifier::Digest {
        key_id: key.id().to_owned(),
        digest: key.digest(bytes),
    };
    let sha256 = Verifier::Sha256(Sha256::digest(bytes).into());
    keys.iter().map(digest).chain(std::iter::once(sha256))
}

/// By password hash: those whose selector begins the secret, then those without one.
fn find_slow(
    store: &dyn Store,
    secret: &Secret,
    session: &mut Session<'_>,
) -> Result<Option<TokenView>, Failure> {
    let mut candidates = Candidates::default();
    store.tokens(&TokenFilter::default(), &mut |view| {
        candidates.consider(view, secret);
        Ok(())
    })?;
    if candidates.remote > 0 {
        session.say(&format!(
            "{} tokens are known to an introspection endpoint only, which this command does not ask",
            candidates.remote
        ));
    }
    let Candidates { selected, unselected, .. } = candidates;
    let hashes = selected.len() + unselected.len();
    if hashes > 0 {
        session.say(&format!("trying {hashes} password hashes"));
    }
    let bounds = Bounds::default();
    for id in selected.into_iter().chain(unselected) {
        let view = store.token(id)?;
        if let Verifier::Hash { encoded, .. } = &view.verifier
            && PasswordHash::parse(encoded, &bounds)
                .is_ok_and(|hash| hash.verify(secret.expose().as_bytes()))
        {
            return Ok(Some(view));
        }
    }
    Ok(None)
}

/// Tokens with a slow verifier that this secret could be, by number: hashes are long.
#[derive(Default)]
struct Candidates {
    selected: Vec<TokenId>,
    unselected: Vec<TokenId>,
    remote: usize,
}

impl Candidates {
    fn consider(&mut self, view: TokenView, secret: &Secret) {
        let begins = |selector: &str| secret.expose().starts_with(selector);
        match view.verifier {
            Verifier::Hash { selector: Some(selector), .. } => {
                if begins(&selector) {
                    self.selected.push(view.id);
                }
            }
            Verifier::Hash { selector: None, .. } => self.unselected.push(view.id),
            Verifier::Introspect { selector } => {
                self.remote += usize::from(selector.as_deref().is_none_or(begins));
            }
            Verifier::Digest { .. } | Verifier::Sha256(_) => {}
        }
    }
}

fn malformed(why: Malformed) -> &'static str {
    match why {
        Malformed::Length | Malformed::Alphabet => "malformed_credential",
        Malformed::Checksum => "bad_checksum",
    }
}

fn standing(view: &TokenView, now: Timestamp) -> (Option<&'static str>, &'static str) {
    if view.state == TokenState::Revoked {
        return (Some("revoked"), "the token is revoked");
    }
    if view.not_before.is_some_and(|start| now < start) {
        return (Some("not_yet_valid"), "the token is not yet valid");
    }
    if view.expires_at.is_some_and(|end| end <= now) {
        return (Some("expired"), "the token has expired");
    }
    (None, "the token is valid")
}

/// Prints the finding; anything but a valid token ends with the exit code of a denial.
fn report(
    view: Option<&TokenView>,
    reason: Option<&'static str>,
    why: &str,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    if session.json {
        session.print_json(&Finding {
            valid: reason.is_none(),
            reason,
            id: view.map(|view| view.id),
            account_id: view.map(|view| view.account_id),
            user_id: view.and_then(|view| view.user_id),
            name: view.map(|view| view.name.as_str()),
            state: view.map(|view| view.state),
            verifier: view.map(|view| view.verifier.kind()),
        })?;
    } else if let Some(view) = view {
        session.print(&table::fields(&[
            ("id", view.id.to_string()),
            ("account_id", view.account_id.to_string()),
            ("name", view.name.clone()),
            ("state", shape::word(view.state)),
            ("verifier", view.verifier.kind().to_owned()),
            ("verdict", reason.unwrap_or("valid").to_owned()),
        ]))?;
    }
    match reason {
        None => Ok(()),
        Some(_) => Err(Failure { exit: Exit::Denied, message: Some(why.to_owned()) }),
    }
}
