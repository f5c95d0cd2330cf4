//! Tokens that only the slow lane can recognise, and how candidates for a guess are found.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::token::OwnedToken;
use super::trie::Trie;
use crate::core::record::{AccountId, TokenId};
use crate::core::token::SELECTOR_LIMIT;

/// A token whose verifier is slow.
#[derive(Debug)]
pub(super) struct SlowToken {
    pub(super) token: OwnedToken,
    /// The password hash; `None` where a remote endpoint would have to be asked.
    pub(super) encoded: Option<Arc<str>>,
    pub(super) key: CandidateKey,
    pub(super) version: u64,
}

/// By what candidates are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CandidateKey {
    /// The leading characters of the secret, padded with NUL.
    Selector([u8; SELECTOR_LIMIT], u8),
    /// The account in the path.
    Account(AccountId),
}

impl CandidateKey {
    pub(super) fn new(selector: Option<&str>, account: AccountId) -> Self {
        match selector {
            Some(selector) if (1..=SELECTOR_LIMIT).contains(&selector.len()) => {
                Self::leading(selector.as_bytes(), selector.len())
            }
            _ => Self::Account(account),
        }
    }

    /// The key of a secret's first `length` bytes.
    fn leading(secret: &[u8], length: usize) -> Self {
        let mut bytes = [0; SELECTOR_LIMIT];
        bytes[..length].copy_from_slice(&secret[..length]);
        Self::Selector(bytes, length as u8)
    }
}

/// The slow tokens of a base. The revoked ones are no candidates, and they do not come back: so a
/// key has few, as few as may be tried for one guess.
#[derive(Clone, Debug, Default)]
pub(super) struct SlowTokens {
    tokens: HashMap<TokenId, Arc<SlowToken>, FixedState>,
    candidates: HashMap<CandidateKey, Vec<TokenId>, FixedState>,
    lengths: u8,
}

impl SlowTokens {
    pub(super) fn insert(&mut self, token: Arc<SlowToken>) {
        let id = token.token.id;
        if !token.token.revoked {
            self.lengths |= length_bit(token.key);
            let ids = self.candidates.entry(token.key).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        self.tokens.insert(id, token);
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn contains(&self, id: TokenId) -> bool {
        self.tokens.contains_key(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<SlowToken>> {
        self.tokens.values()
    }
}

/// The slow tokens that were added or changed since the base.
#[derive(Clone, Debug, Default)]
pub(super) struct SlowChanges {
    tokens: Trie<TokenId, Option<Arc<SlowToken>>>,
    candidates: Trie<CandidateKey, Arc<Vec<TokenId>>>,
    lengths: u8,
}

impl SlowChanges {
    pub(super) fn insert(&mut self, token: Arc<SlowToken>) {
        let id = token.token.id;
        let known = self.candidates.get(&token.key);
        if !token.token.revoked && !known.is_some_and(|ids| ids.contains(&id)) {
            self.lengths |= length_bit(token.key);
            let mut ids = known.map(|ids| ids.to_vec()).unwrap_or_default();
            ids.push(id);
            self.candidates.insert(token.key, Arc::new(ids));
        }
        self.tokens.insert(id, Some(token));
    }

    /// Forgets a slow token that has become a fast one.
    pub(super) fn remove(&mut self, id: TokenId) {
        self.tokens.insert(id, None);
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The changes since these were as `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let same = |now: &Option<Arc<SlowToken>>, then: &Option<Arc<SlowToken>>| match (now, then) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then),
            (None, None) => true,
            _ => false,
        };
        Self {
            tokens: self.tokens.since(&before.tokens, same),
            candidates: self.candidates.since(&before.candidates, Arc::ptr_eq),
            lengths: self.lengths,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TokenId, Option<&Arc<SlowToken>>)> {
        self.tokens.iter().map(|(id, token)| (*id, token.as_ref()))
    }

    pub(super) fn contains(&self, id: TokenId) -> bool {
        self.tokens.get(&id).is_some()
    }
}

/// The slow tokens as they are now: the changes first, then the base.
#[derive(Clone, Copy)]
pub(super) struct SlowView<'i> {
    pub(super) base: &'i SlowTokens,
    pub(super) changes: &'i SlowChanges,
}

impl<'i> SlowView<'i> {
    pub(super) fn is_empty(self) -> bool {
        self.base.tokens.is_empty() && self.changes.tokens.is_empty()
    }

    pub(super) fn find(self, id: TokenId) -> Option<&'i Arc<SlowToken>> {
        match self.changes.tokens.get(&id) {
            Some(changed) => changed.as_ref(),
            None => self.base.tokens.get(&id),
        }
    }

    /// The tokens that the secret could be: those with its leading characters, the longest
    /// selector first, then those of the account that have no selector.
    pub(super) fn candidates(
        self,
        secret: &'i [u8],
        account: Option<AccountId>,
    ) -> impl Iterator<Item = &'i Arc<SlowToken>> {
        let lengths = self.base.lengths | self.changes.lengths;
        let known =
            move |length: &usize| lengths >> (length - 1) & 1 != 0 && secret.len() >= *length;
        let selectors = (1..=SELECTOR_LIMIT).rev().filter(known);
        let keys = selectors.map(move |length| CandidateKey::leading(secret, length));
        keys.chain(account.map(CandidateKey::Account)).flat_map(move |key| self.keyed(key))
    }

    fn keyed(self, key: CandidateKey) -> impl Iterator<Item = &'i Arc<SlowToken>> {
        let base = self.base.candidates.get(&key).map_or(&[][..], Vec::as_slice);
        let changed = self.changes.candidates.get(&key).map_or(&[][..], |ids| ids.as_slice());
        let added = changed.iter().filter(move |id| !base.contains(id));
        base.iter()
            .chain(added)
            .filter_map(move |id| self.find(*id))
            .filter(move |token| token.key == key)
    }
}

fn length_bit(key: CandidateKey) -> u8 {
    match key {
        CandidateKey::Selector(_, length) => 1 << (length - 1),
        CandidateKey::Account(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::index::token::Extra;

    fn slow(id: TokenId, revoked: bool) -> Arc<SlowToken> {
        let extra = Extra { user: None, not_before: None, allow_ips: None };
        let token =
            OwnedToken { id, account: 1, revoked, expires: 0, grants: Box::default(), extra };
        let (encoded, key) = (Some("hash".into()), CandidateKey::Account(1));
        Arc::new(SlowToken { token, encoded, key, version: 1 })
    }

    /// Trying them cost time at every guess, and finding their place at every insertion.
    #[test]
    fn revoked_tokens_are_found_and_are_no_candidates() {
        let (mut base, mut changes) = (SlowTokens::default(), SlowChanges::default());
        for id in 0..10 {
            base.insert(slow(id, id != 5));
            changes.insert(slow(id + 10, id != 5));
        }
        assert_eq!(base.candidates[&CandidateKey::Account(1)], [5]);
        assert_eq!(changes.candidates.get(&CandidateKey::Account(1)).unwrap()[..], [15]);
        let view = SlowView { base: &base, changes: &changes };
        assert!((0..20).all(|id| view.find(id).is_some()));
        changes.insert(slow(5, true));
        let view = SlowView { base: &base, changes: &changes };
        assert!(view.find(5).is_some_and(|found| found.token.revoked));
    }
}
