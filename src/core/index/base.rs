//! The base: everything as of one snapshot, read-only and packed.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::account::Account;
use super::grants::{self, Grants};
use super::ids::{IdKey, IdRow};
use super::overlay::Overlay;
use super::slow::{CandidateKey, SlowToken, SlowTokens};
use super::table::{Bits, NEVER, NO_EXTRA, NOTHING, REVOKED, Slot, Table, pack_time};
use super::token::{Extra, OwnedToken, Token, unpack_expiry};
use super::{IndexError, Policy, fast_bits};
use crate::core::record::{AccountId, Record, TokenRecord, TokenState, Verifier};

/// Everything as of one snapshot.
#[derive(Debug)]
pub(super) struct Base {
    table: Table,
    grants: Vec<u64>,
    extras: Vec<Extra>,
    accounts: Vec<Account>,
    positions: HashMap<AccountId, u32, FixedState>,
    pub(super) ids: HashMap<IdKey, IdRow, FixedState>,
    pub(super) slow: SlowTokens,
    pub(super) has_sha256: bool,
}

impl Base {
    pub(super) fn tokens(&self) -> usize {
        self.table.len() + self.slow.len()
    }

    /// Bytes of the token table and its grants: what grows with the number of tokens.
    pub(super) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
            + self.grants.capacity() * size_of::<u64>()
            + self.extras.capacity() * size_of::<Extra>()
            + self.accounts.capacity() * size_of::<Account>()
    }

    pub(super) fn account(&self, id: AccountId) -> Option<&Account> {
        self.positions.get(&id).map(|position| &self.accounts[*position as usize])
    }

    pub(super) fn contains(&self, bits: Bits) -> bool {
        self.table.find(bits).is_some()
    }

    /// The token of these bits. Its account is the base's: the overlay may know a newer one.
    #[inline]
    pub(super) fn find(&self, bits: Bits) -> Option<Token<'_>> {
        self.table.find(bits).map(|slot| self.view(slot))
    }

    #[inline]
    fn view<'i>(&'i self, slot: &Slot) -> Token<'i> {
        let extra = self.extra(slot);
        Token {
            id: slot.id,
            account: &self.accounts[slot.account as usize],
            user: extra.and_then(|extra| extra.user),
            revoked: slot.extra & REVOKED != 0,
            not_before: extra.and_then(|extra| extra.not_before),
            expires: unpack_expiry(slot.expires),
            grants: self.grants(slot),
            allow_ips: extra.and_then(|extra| extra.allow_ips.as_ref()),
            slow: false,
        }
    }

    #[inline]
    fn extra(&self, slot: &Slot) -> Option<&Extra> {
        let position = slot.extra & !REVOKED;
        (position != NO_EXTRA).then(|| &self.extras[position as usize])
    }

    #[inline]
    fn grants(&self, slot: &Slot) -> Grants<'_> {
        match slot.grants {
            NOTHING => Grants::NONE,
            offset => Grants::starting_at(&self.grants[offset as usize..]),
        }
    }

    /// The next base: this one with the overlay's changes in their places.
    pub(super) fn fold(&self, overlay: &Overlay) -> Result<Self, IndexError> {
        let mut next = BaseBuilder {
            has_sha256: self.has_sha256 || overlay.has_sha256,
            ids: self.ids.clone(),
            ..BaseBuilder::default()
        };
        for account in
            self.accounts.iter().map(|account| overlay.account(account.id).unwrap_or(account))
        {
            next.add_account(account.clone())?;
        }
        for account in
            overlay.accounts().filter(|account| !self.positions.contains_key(&account.id))
        {
            next.add_account(account.clone())?;
        }
        for slot in self.table.iter().filter(|slot| !overlay.contains(slot.bits)) {
            let extra = self.extra(slot).cloned();
            next.add_slot(*slot, self.grants(slot).words(), extra)?;
        }
        for (bits, token) in overlay.tokens() {
            next.add_owned(bits, token)?;
        }
        for (key, row) in overlay.ids() {
            match row {
                Some(row) => drop(next.ids.insert(key, row)),
                None => drop(next.ids.remove(&key)),
            }
        }
        let kept = self.slow.iter().filter(|token| !overlay.slow.contains(token.token.id));
        kept.chain(overlay.slow.iter().filter_map(|(_, token)| token)).for_each(|token| {
            next.slow.insert(token.clone());
        });
        Ok(next.finish())
    }
}

/// Collects a snapshot's records, accounts before what refers to them.
#[derive(Debug, Default)]
pub(super) struct BaseBuilder {
    slots: Vec<Slot>,
    grants: Vec<u64>,
    extras: Vec<Extra>,
    accounts: Vec<Account>,
    positions: HashMap<AccountId, u32, FixedState>,
    ids: HashMap<IdKey, IdRow, FixedState>,
    slow: SlowTokens,
    has_sha256: bool,
}

impl BaseBuilder {
    pub(super) fn add(&mut self, record: Record, policy: &Policy) -> Result<(), IndexError> {
        match record {
            Record::Account(account) => self.add_account(Account::new(&account)),
            Record::Token(token) => self.add_token(&token, policy),
            Record::Id(id) => {
                if let Some((key, row)) = IdRow::of(&id, &policy.routes) {
                    self.ids.insert(key, row);
                }
                Ok(())
            }
            Record::IdRemoved { account_id, index, id } => {
                if let Some(key) = IdKey::of(account_id, &index, id, &policy.routes) {
                    self.ids.remove(&key);
                }
                Ok(())
            }
        }
    }

    pub(super) fn finish(mut self) -> Base {
        self.grants.shrink_to_fit();
        self.extras.shrink_to_fit();
        self.accounts.shrink_to_fit();
        Base {
            table: Table::new(self.slots),
            grants: self.grants,
            extras: self.extras,
            accounts: self.accounts,
            positions: self.positions,
            ids: self.ids,
            slow: self.slow,
            has_sha256: self.has_sha256,
        }
    }

    fn add_account(&mut self, account: Account) -> Result<(), IndexError> {
        let position = index_u32(self.accounts.len(), "accounts")?;
        match self.positions.insert(account.id, position) {
            // Said twice: the later one counts.
            Some(earlier) => {
                self.positions.insert(account.id, earlier);
                self.accounts[earlier as usize] = account;
            }
            None => self.accounts.push(account),
        }
        Ok(())
    }

    fn add_token(&mut self, record: &TokenRecord, policy: &Policy) -> Result<(), IndexError> {
        self.position(record.id, record.account_id)?;
        match &record.verifier {
            Verifier::Digest { .. } | Verifier::Sha256(_) => {
                let Some(bits) = fast_bits(&record.verifier, &policy.keys) else { return Ok(()) };
                self.has_sha256 |= matches!(record.verifier, Verifier::Sha256(_));
                self.add_fast(bits, record, policy)
            }
            Verifier::Hash { .. } | Verifier::Introspect { .. } => {
                self.slow.insert(Arc::new(SlowToken::new(record, policy)));
                Ok(())
            }
        }
    }

    fn add_fast(
        &mut self,
        bits: Bits,
        record: &TokenRecord,
        policy: &Policy,
    ) -> Result<(), IndexError> {
        let mut words = Vec::new();
        grants::pack(&record.grants, &policy.permission_sets, &mut words);
        let slot = Slot {
            bits,
            id: record.id,
            account: self.position(record.id, record.account_id)?,
            grants: NOTHING,
            expires: record.expires_at.map_or(NEVER, |at| pack_time(at.0)),
            extra: if record.state == TokenState::Revoked { REVOKED } else { 0 },
        };
        let extra = Extra::of(record);
        self.add_slot(slot, &words, (!extra.is_nothing()).then_some(extra))
    }

    fn add_owned(&mut self, bits: Bits, token: &OwnedToken) -> Result<(), IndexError> {
        let slot = Slot {
            bits,
            id: token.id,
            account: self.position(token.id, token.account)?,
            grants: NOTHING,
            expires: token.expires,
            extra: if token.revoked { REVOKED } else { 0 },
        };
        self.add_slot(slot, &token.grants, (!token.extra.is_nothing()).then(|| token.extra.clone()))
    }

    /// Adds a slot with its grants and extra put where they now are.
    fn add_slot(
        &mut self,
        slot: Slot,
        words: &[u64],
        extra: Option<Extra>,
    ) -> Result<(), IndexError> {
        let grants = match words.is_empty() {
            true => NOTHING,
            false => index_u32(self.grants.len(), "grants")?,
        };
        self.grants.extend_from_slice(words);
        let position = match extra {
            None => NO_EXTRA,
            Some(extra) => {
                let position = index_u32(self.extras.len(), "users and narrowings of tokens")?;
                self.extras.push(extra);
                position
            }
        };
        self.slots.push(Slot { grants, extra: slot.extra & REVOKED | position, ..slot });
        Ok(())
    }

    fn position(&self, token: u64, account: AccountId) -> Result<u32, IndexError> {
        let position = self.positions.get(&account);
        position.copied().ok_or(IndexError::UnknownAccount { token, account })
    }
}

impl SlowToken {
    pub(super) fn new(record: &TokenRecord, policy: &Policy) -> Self {
        let (encoded, selector) = match &record.verifier {
            Verifier::Hash { encoded, selector } => (Some(encoded.as_str().into()), selector),
            Verifier::Introspect { selector } => (None, selector),
            Verifier::Digest { .. } | Verifier::Sha256(_) => (None, &None),
        };
        Self {
            token: OwnedToken::new(record, &policy.permission_sets),
            encoded,
            key: CandidateKey::new(selector.as_deref(), record.account_id),
            version: record.version,
        }
    }
}

fn index_u32(position: usize, what: &'static str) -> Result<u32, IndexError> {
    u32::try_from(position)
        .ok()
        .filter(|position| *position < NO_EXTRA)
        .ok_or(IndexError::Full(what))
}
