//! The overlay: what changed since the base, looked up first.

use std::sync::Arc;

use super::account::{Account, OwnedAccount};
use super::base::Base;
use super::ids::{IdKey, IdRow};
use super::slow::{SlowChanges, SlowToken};
use super::table::Bits;
use super::token::OwnedToken;
use super::trie::Trie;
use super::{Policy, fast_bits};
use crate::core::record::{AccountId, Record, TokenRecord, Verifier};

/// The changes since the base. Cloning shares; a change copies little.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    tokens: Trie<Bits, Arc<OwnedToken>>,
    /// Those of `tokens` that the base does not have.
    added: usize,
    accounts: Trie<AccountId, Arc<OwnedAccount>>,
    ids: Trie<IdKey, Option<IdRow>>,
    pub(super) slow: SlowChanges,
    pub(super) has_sha256: bool,
}

impl Overlay {
    pub(super) fn len(&self) -> usize {
        self.tokens.len() + self.accounts.len() + self.ids.len() + self.slow.len()
    }

    pub(super) fn put(&mut self, record: &Record, policy: &Policy, base: &Base) {
        match record {
            Record::Account(account) => {
                self.accounts.insert(account.id, Arc::new(OwnedAccount::new(account)));
            }
            Record::Token(token) => self.put_token(token, policy, base),
            Record::Id(id) => {
                if let Some((key, row)) = IdRow::of(id, &policy.routes) {
                    self.ids.insert(key, Some(row));
                }
            }
            Record::IdRemoved { account_id, index, id } => {
                if let Some(key) = IdKey::of(*account_id, index, *id, &policy.routes) {
                    self.ids.insert(key, None);
                }
            }
        }
    }

    fn put_token(&mut self, record: &TokenRecord, policy: &Policy, base: &Base) {
        match &record.verifier {
            Verifier::Digest { .. } | Verifier::Sha256(_) => {
                // Hardly any was a slow one before; noting it for all would double the overlay.
                if base.slow.contains(record.id) || self.slow.contains(record.id) {
                    self.slow.remove(record.id);
                }
                let Some(bits) = fast_bits(&record.verifier, &policy.keys) else { return };
                self.has_sha256 |= matches!(record.verifier, Verifier::Sha256(_));
                let token = OwnedToken::new(record, &policy.permission_sets);
                if self.tokens.insert(bits, Arc::new(token)) && !base.contains(bits) {
                    self.added += 1;
                }
            }
            Verifier::Hash { .. } | Verifier::Introspect { .. } => {
                self.slow.insert(Arc::new(SlowToken::new(record, policy)));
            }
        }
    }

    /// The changes since these were as `before`, over a base that holds those.
    pub(super) fn since(&self, before: &Self, base: &Base) -> Self {
        let tokens = self.tokens.since(&before.tokens, Arc::ptr_eq);
        let added = tokens.iter().filter(|(bits, _)| !base.contains(**bits)).count();
        Self {
            tokens,
            added,
            accounts: self.accounts.since(&before.accounts, Arc::ptr_eq),
            ids: self.ids.since(&before.ids, PartialEq::eq),
            slow: self.slow.since(&before.slow),
            has_sha256: self.has_sha256,
        }
    }

    /// Fast tokens that the base does not have.
    pub(super) fn added(&self) -> usize {
        self.added
    }

    #[inline]
    pub(super) fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    #[inline]
    pub(super) fn has_accounts(&self) -> bool {
        !self.accounts.is_empty()
    }

    pub(super) fn token(&self, bits: Bits) -> Option<&OwnedToken> {
        self.tokens.get(&bits).map(Arc::as_ref)
    }

    pub(super) fn contains(&self, bits: Bits) -> bool {
        self.tokens.get(&bits).is_some()
    }

    pub(super) fn tokens(&self) -> impl Iterator<Item = (Bits, &OwnedToken)> {
        self.tokens.iter().map(|(bits, token)| (*bits, token.as_ref()))
    }

    pub(super) fn account(&self, id: AccountId) -> Option<Account<'_>> {
        self.accounts.get(&id).map(|account| account.view())
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = &OwnedAccount> {
        self.accounts.iter().map(|(_, account)| account.as_ref())
    }

    /// The row of a key: `None` unchanged, `Some(None)` removed.
    pub(super) fn id(&self, key: IdKey) -> Option<Option<IdRow>> {
        self.ids.get(&key).copied()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = (IdKey, Option<IdRow>)> {
        self.ids.iter().map(|(key, row)| (*key, *row))
    }
}
