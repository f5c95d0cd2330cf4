//! A token as a decision sees it, wherever it is kept.

use super::account::Account;
use super::grants::{self, Grants};
use super::table::{NEVER, pack_time};
use crate::core::ip::PrefixSet;
use crate::core::permissions::PermissionSets;
use crate::core::record::{AccountId, Timestamp, TokenId, TokenRecord, TokenState, TokenUser};

/// A token with its account: all that a decision needs, borrowed from one index.
#[derive(Clone, Copy, Debug)]
pub struct Token<'i> {
    pub(crate) id: TokenId,
    pub(crate) account: Account<'i>,
    pub(crate) user: Option<TokenUser>,
    pub(crate) revoked: bool,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) grants: Grants<'i>,
    pub(crate) allow_ips: Option<&'i PrefixSet>,
    pub(crate) slow: bool,
}

impl<'i> Token<'i> {
    /// Its number.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// Its account.
    pub fn account(&self) -> Account<'i> {
        self.account
    }

    /// Its user, for a personal token.
    pub fn user(&self) -> Option<TokenUser> {
        self.user
    }

    /// Its grants, those included that the account's plan suspends.
    pub fn grants(&self) -> Grants<'i> {
        self.grants
    }

    /// Whether it is a legacy token, recognised by the slow lane.
    pub fn is_slow(&self) -> bool {
        self.slow
    }
}

/// What few tokens have.
#[derive(Clone, Debug)]
pub(super) struct Extra {
    pub(super) user: Option<TokenUser>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) allow_ips: Option<PrefixSet>,
}

impl Extra {
    pub(super) fn of(record: &TokenRecord) -> Self {
        Self {
            user: record.user,
            not_before: record.not_before,
            allow_ips: (!record.allow_ips.is_empty())
                .then(|| PrefixSet::compile(&record.allow_ips)),
        }
    }
}

/// A token outside the base's table: in the overlay, or slow.
#[derive(Clone, Debug)]
pub(super) struct OwnedToken {
    pub(super) id: TokenId,
    pub(super) account: AccountId,
    pub(super) revoked: bool,
    pub(super) expires: u32,
    pub(super) grants: Box<[u8]>,
    pub(super) extra: Extra,
}

impl OwnedToken {
    pub(super) fn new(record: &TokenRecord, sets: &PermissionSets) -> Self {
        let mut packed = Vec::new();
        grants::pack(&record.grants, sets, &mut packed);
        Self {
            id: record.id,
            account: record.account_id,
            revoked: record.state == TokenState::Revoked,
            expires: record.expires_at.map_or(NEVER, |at| pack_time(at.0)),
            grants: packed.into(),
            extra: Extra::of(record),
        }
    }

    pub(super) fn view<'i>(&'i self, account: Account<'i>, slow: bool) -> Token<'i> {
        Token {
            id: self.id,
            account,
            user: self.extra.user,
            revoked: self.revoked,
            not_before: self.extra.not_before,
            expires: unpack_expiry(self.expires),
            grants: Grants::starting_at(&self.grants),
            allow_ips: self.extra.allow_ips.as_ref(),
            slow,
        }
    }
}

#[inline]
pub(super) fn unpack_expiry(expires: u32) -> Option<Timestamp> {
    (expires != NEVER).then_some(Timestamp(i64::from(expires)))
}
