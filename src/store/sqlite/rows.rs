//! Between columns and the domain's values.

use std::str::FromStr;

use ipnet::IpNet;
use rusqlite::Row;

use crate::core::digest::Digest;
use crate::core::record::Timestamp;
use crate::core::record::{
    AccountState, Action, Category, Grant, Licence, TokenId, TokenRecord, TokenState, TokenUser,
    Verifier,
};
use crate::store::{StoreError, TokenView};

/// Columns of a token, for [`TokenRow::read`], with its user's licence.
pub(super) const TOKEN_COLUMNS: &str = "
    t.id, t.account_id, t.name, t.user_id, t.state, t.created_at, t.not_before, t.expires_at,
    t.allow_ips, t.key_id, t.digest, t.sha256, t.hash, t.selector, t.rotated_to, t.version,
    u.licence, coalesce(t.updated_at, t.created_at)
    FROM tokens t LEFT JOIN users u ON u.account_id = t.account_id AND u.id = t.user_id";

/// A token as the database has it, its grants aside.
pub(super) struct TokenRow {
    view: TokenView,
    licence: Option<Licence>,
    version: u64,
}

impl TokenRow {
    /// Reads [`TOKEN_COLUMNS`]; the grants are put in afterwards.
    pub(super) fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        let licence = match row.get_ref(16)?.as_str_or_null().map_err(|_| damaged("a licence"))? {
            Some(name) => Some(parse_name(name)?),
            None => None,
        };
        let view = TokenView {
            id: number(row, 0)?,
            account_id: number(row, 1)?,
            name: row.get(2)?,
            user_id: optional_number(row, 3)?,
            state: parse_token_state(text(row, 4)?)?,
            created_at: Timestamp(row.get(5)?),
            updated_at: Timestamp(row.get(17)?),
            not_before: row.get::<_, Option<i64>>(6)?.map(Timestamp),
            expires_at: row.get::<_, Option<i64>>(7)?.map(Timestamp),
            allow_ips: parse_prefixes(text(row, 8)?)?,
            grants: Vec::new(),
            verifier: read_verifier(row)?,
            rotated_to: optional_number(row, 14)?,
        };
        Ok(Self { view, licence, version: number(row, 15)? })
    }

    pub(super) fn id(&self) -> TokenId {
        self.view.id
    }

    pub(super) fn into_view(self, grants: Vec<Grant>) -> TokenView {
        TokenView { grants, ..self.view }
    }

    pub(super) fn into_record(self, grants: Vec<Grant>) -> TokenRecord {
        let TokenView { id, account_id, user_id, state, not_before, expires_at, .. } = self.view;
        // Only revoked tokens outlive their user, so that the licence no longer decides anything.
        let licence = self.licence.unwrap_or(Licence::ReadOnly);
        TokenRecord {
            id,
            account_id,
            user: user_id.map(|id| TokenUser { id, licence }),
            state,
            not_before,
            expires_at,
            allow_ips: self.view.allow_ips,
            grants,
            verifier: self.view.verifier,
            version: self.version,
        }
    }
}

/// A verifier spread over its columns.
pub(super) struct VerifierColumns<'v> {
    pub(super) key_id: Option<&'v str>,
    pub(super) digest: Option<&'v [u8; 32]>,
    pub(super) sha256: Option<&'v [u8; 32]>,
    pub(super) hash: Option<&'v str>,
    pub(super) introspect: bool,
    pub(super) selector: Option<&'v str>,
}

impl<'v> VerifierColumns<'v> {
    pub(super) fn of(verifier: &'v Verifier) -> Self {
        let none = Self {
            key_id: None,
            digest: None,
            sha256: None,
            hash: None,
            introspect: false,
            selector: None,
        };
        match verifier {
            Verifier::Digest { key_id, digest } => {
                Self { key_id: Some(key_id), digest: Some(&digest.0), ..none }
            }
            Verifier::Sha256(sha256) => Self { sha256: Some(sha256), ..none },
            Verifier::Hash { encoded, selector } => {
                Self { hash: Some(encoded), selector: selector.as_deref(), ..none }
            }
            Verifier::Introspect { selector } => {
                Self { introspect: true, selector: selector.as_deref(), ..none }
            }
        }
    }
}

fn read_verifier(row: &Row<'_>) -> Result<Verifier, StoreError> {
    if let Some(digest) = row.get::<_, Option<[u8; 32]>>(10)? {
        return Ok(Verifier::Digest { key_id: row.get(9)?, digest: Digest(digest) });
    }
    if let Some(sha256) = row.get::<_, Option<[u8; 32]>>(11)? {
        return Ok(Verifier::Sha256(sha256));
    }
    let selector = row.get(13)?;
    Ok(match row.get::<_, Option<String>>(12)? {
        Some(encoded) => Verifier::Hash { encoded, selector },
        None => Verifier::Introspect { selector },
    })
}

/// Reads the columns `token_id, permission_set, project_id, categories`.
pub(super) fn read_grant(row: &Row<'_>) -> Result<(u64, Grant), StoreError> {
    let grant = Grant {
        permission_set: row.get(1)?,
        project_id: optional_number(row, 2)?,
        writable_environment_categories: split(text(row, 3)?)
            .map(parse_name)
            .collect::<Result<_, _>>()?,
    };
    Ok((number(row, 0)?, grant))
}

pub(super) fn number(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    Ok(row.get::<_, i64>(column)? as u64)
}

pub(super) fn optional_number(row: &Row<'_>, column: usize) -> Result<Option<u64>, StoreError> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|number| number as u64))
}

pub(super) fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, StoreError> {
    row.get_ref(column)?.as_str().map_err(|_| damaged("a text"))
}

/// Reads a name of a plan, licence or category.
pub(super) fn parse_name<T: FromStr>(name: &str) -> Result<T, StoreError> {
    name.parse().map_err(|_| damaged("the name of a plan, licence or category"))
}

pub(super) fn parse_cidr(cidr: &str) -> Result<IpNet, StoreError> {
    cidr.parse().map_err(|_| damaged("a CIDR"))
}

pub(super) fn prefixes_text(prefixes: &[IpNet]) -> String {
    prefixes.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",")
}

pub(super) fn categories_text(categories: &[Category]) -> String {
    categories.iter().map(|category| category.name()).collect::<Vec<_>>().join(",")
}

fn parse_prefixes(text: &str) -> Result<Vec<IpNet>, StoreError> {
    split(text).map(parse_cidr).collect()
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.is_empty())
}

pub(super) fn state_name(state: AccountState) -> &'static str {
    match state {
        AccountState::Open => "open",
        AccountState::Closed => "closed",
    }
}

pub(super) fn parse_state(name: &str) -> Result<AccountState, StoreError> {
    match name {
        "open" => Ok(AccountState::Open),
        "closed" => Ok(AccountState::Closed),
        _ => Err(damaged("the state of an account")),
    }
}

pub(super) fn token_state_name(state: TokenState) -> &'static str {
    match state {
        TokenState::Active => "active",
        TokenState::Revoked => "revoked",
    }
}

fn parse_token_state(name: &str) -> Result<TokenState, StoreError> {
    match name {
        "active" => Ok(TokenState::Active),
        "revoked" => Ok(TokenState::Revoked),
        _ => Err(damaged("the state of a token")),
    }
}

pub(super) fn action_name(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
    }
}

pub(super) fn parse_action(name: &str) -> Result<Action, StoreError> {
    match name {
        "allow" => Ok(Action::Allow),
        "deny" => Ok(Action::Deny),
        _ => Err(damaged("the action of an IP rule")),
    }
}

/// The error for something that this program did not write. Never says what it is.
pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Database(format!(
        "{what} cannot be read: the file is damaged or was changed by hand; restore a backup"
    ))
}
