//! Credentials out of other gateways' files, made into tokens.
//!
//! Those files say who a key belongs to, and neither account nor rights: these come from options.

use zeroize::Zeroizing;

use super::batch::Numbered;
use super::fields::Reason;
use super::line::Line;
use super::redact::HIDDEN;
use crate::cli::token::digest_of;
use crate::core::digest::DigestKeys;
use crate::core::record::{AccountId, Grant, Timestamp, TokenState, Verifier};
use crate::core::token::Secret;
use crate::store::{Command, NewToken};

/// A key as another gateway has it, with where it stands.
pub(super) struct Credential {
    /// Line of the file.
    pub(super) line: u64,
    /// Whose it is, for people, and for the rejects.
    pub(super) client: String,
    /// What the gateway knows of it; or why it cannot be taken.
    pub(super) key: Result<Key, Reason>,
}

/// A key that can be taken.
pub(super) struct Key {
    /// The key itself, or the SHA-256 of it in hexadecimal digits.
    pub(super) text: Zeroizing<String>,
    /// When it ends: so many seconds after it was made.
    pub(super) lifetime: Option<i64>,
    /// When it was made, where that is known.
    pub(super) created_at: Option<Timestamp>,
}

impl Key {
    /// One of which nothing else is known.
    pub(super) fn new(text: String) -> Self {
        Self { text: Zeroizing::new(text), lifetime: None, created_at: None }
    }
}

/// How clients become tokens.
pub(super) struct Foreign {
    /// The account of all of them; without one, a map's values name it.
    pub(super) account: Option<AccountId>,
    /// What each may do.
    pub(super) grants: Vec<Grant>,
    /// Whether 64 hexadecimal digits are the SHA-256 of a key rather than a key.
    pub(super) hex_is_sha256: bool,
    /// Now: when a token was made of which that is not known.
    pub(super) now: Timestamp,
}

impl Foreign {
    /// The line that asks for the credential's token.
    pub(super) fn number(&self, credential: Credential, keys: &DigestKeys) -> Numbered {
        let Credential { line: number, client, key } = credential;
        let shown = Zeroizing::new(format!("{HIDDEN} {client}"));
        let read = key.and_then(|key| self.token(&client, &key, keys));
        Numbered { number, text: Some(shown), read }
    }

    fn token(&self, client: &str, key: &Key, keys: &DigestKeys) -> Result<Line, Reason> {
        let (account_id, name) = self.owner(client)?;
        let (verifier, secret) = self.verifier(&key.text, keys)?;
        let created_at = key.created_at.unwrap_or(self.now);
        let token = NewToken {
            account_id,
            name,
            user_id: None,
            state: TokenState::Active,
            created_at,
            not_before: None,
            expires_at: key.lifetime.map(|seconds| Timestamp(created_at.0.saturating_add(seconds))),
            allow_ips: Vec::new(),
            grants: self.grants.clone(),
            verifier,
        };
        let projects = self.grants.iter().filter_map(|grant| grant.project_id).collect();
        let command = Command::CreateToken(Box::new(token));
        Ok(Line { projects, secret, ..Line::about(account_id, command) })
    }

    /// With an account, the client is a name; without one it is `ACCOUNT` or `ACCOUNT/NAME`.
    fn owner(&self, client: &str) -> Result<(AccountId, String), Reason> {
        if let Some(account) = self.account {
            let name = if client.is_empty() { "imported" } else { client };
            return Ok((account, name.to_owned()));
        }
        let (account, name) = client.split_once('/').unwrap_or((client, "imported"));
        let digits = !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
        match account.parse() {
            Ok(account) if digits && !name.is_empty() => Ok((account, name.to_owned())),
            _ => Err("the value is neither ACCOUNT nor ACCOUNT/NAME, such as 7/ci: give \
                      --account N to take values as names"
                .to_owned()),
        }
    }

    fn verifier(
        &self,
        text: &Zeroizing<String>,
        keys: &DigestKeys,
    ) -> Result<(Verifier, Option<Secret>), Reason> {
        let mut sha256 = [0; 32];
        if self.hex_is_sha256 && hex::decode_to_slice(text.as_bytes(), &mut sha256).is_ok() {
            return Ok((Verifier::Sha256(sha256), None));
        }
        let secret = Secret::parse(text.to_string()).map_err(|why| format!("the key: {why}"))?;
        Ok((digest_of(&secret, keys), Some(secret)))
    }
}
