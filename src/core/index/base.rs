//! The base: everything as of one snapshot, read-only and packed.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::account::{Account, OwnedAccount};
use super::accounts::{Accounts, AccountsBuilder};
use super::details::{Detail, Details, DetailsBuilder};
use super::ids::{IdKey, IdRow, IdRows};
use super::overlay::Overlay;
use super::slow::{CandidateKey, SlowToken, SlowTokens};
use super::table::{Bits, NOTHING, REVOKED, Slot, Table, TableBuilder, WIDE_ID};
use super::token::{Extra, OwnedToken, Token, unpack_expiry};
use super::{IndexError, Memory, Policy, fast_bits};
use crate::core::record::{AccountId, Record, TokenId, TokenRecord, Verifier};

/// Everything as of one snapshot.
#[derive(Debug)]
pub(super) struct Base {
    table: Table,
    details: Details,
    accounts: Accounts,
    pub(super) ids: IdRows,
    pub(super) slow: SlowTokens,
    pub(super) has_sha256: bool,
}

impl Base {
    pub(super) fn tokens(&self) -> usize {
        self.table.len() + self.slow.len()
    }

    pub(super) fn memory(&self) -> Memory {
        Memory {
            tokens: self.table.memory_bytes(),
            grants: self.details.memory_bytes(),
            accounts: self.accounts.memory_bytes(),
            ip_rules: self.accounts.aside_bytes(),
            ids: self.ids.memory_bytes(),
        }
    }

    pub(super) fn account(&self, id: AccountId) -> Option<Account<'_>> {
        self.accounts.find(id)
    }

    pub(super) fn contains(&self, bits: Bits) -> bool {
        self.table.find(bits).is_some()
    }

    /// Asks memory for where the token of these bits would be.
    #[inline]
    pub(super) fn touch(&self, bits: Bits) {
        self.table.touch(bits);
    }

    /// The slot of these bits; asks memory for what it points to.
    #[inline]
    pub(super) fn approach(&self, bits: Bits) -> Option<&Slot> {
        let slot = self.table.find(bits)?;
        self.accounts.touch(slot.account);
        if let Some(position) = slot.details() {
            self.details.touch(position);
        }
        Some(slot)
    }

    /// The token of a slot. Its account is the base's: the overlay may know a newer one.
    #[inline]
    pub(super) fn view<'i>(&'i self, slot: &Slot) -> Token<'i> {
        let detail = self.detail(slot);
        Token {
            id: id_of(slot, &detail),
            account: self.accounts.at(slot.account),
            user: detail.user,
            revoked: slot.details & REVOKED != 0,
            not_before: detail.not_before,
            expires: unpack_expiry(slot.expires),
            grants: detail.grants,
            allow_ips: detail.allow_ips,
            slow: false,
        }
    }

    #[inline]
    fn detail(&self, slot: &Slot) -> Detail<'_> {
        slot.details().map_or(Detail::NOTHING, |position| self.details.at(position))
    }

    /// The next base: this one with the overlay's changes in their places.
    pub(super) fn fold(&self, overlay: &Overlay) -> Result<Self, IndexError> {
        let mut next = BaseBuilder {
            has_sha256: self.has_sha256 || overlay.has_sha256,
            accounts: AccountsBuilder::like(&self.accounts),
            ids: IdRows::like(&self.ids),
            ..BaseBuilder::default()
        };
        let unchanged = self.accounts.iter().filter(|old| overlay.account(old.id()).is_none());
        for account in unchanged.chain(overlay.accounts().map(OwnedAccount::view)) {
            next.add_account(account)?;
        }
        for (key, row) in self.ids.iter().filter(|(key, _)| overlay.id(*key).is_none()) {
            next.add_id(key, Some(row))?;
        }
        for (key, row) in overlay.ids().filter(|(_, row)| row.is_some()) {
            next.add_id(key, row)?;
        }
        let kept = self.slow.iter().filter(|token| !overlay.slow.contains(token.token.id));
        kept.chain(overlay.slow.iter().filter_map(|(_, token)| token)).for_each(|token| {
            next.slow.insert(token.clone());
        });
        let table = self.fold_tokens(overlay, &mut next)?;
        Ok(Self { table, ..next.finish() })
    }

    /// The next base's table, made a part at a time, so that hardly more than both is in memory.
    fn fold_tokens(&self, overlay: &Overlay, next: &mut BaseBuilder) -> Result<Table, IndexError> {
        let mut changed: Vec<(Bits, &OwnedToken)> = overlay.tokens().collect();
        changed.sort_unstable_by_key(|(bits, _)| *bits);
        let mut changed = changed.into_iter().peekable();
        Table::by_ranges(self.table.len() + overlay.added(), |range, slots| {
            for slot in self.table.range(range.clone()) {
                if !overlay.contains(slot.bits) {
                    slots.push(next.copied(slot, &self.view(slot))?);
                }
            }
            while let Some((bits, token)) = changed.next_if(|(bits, _)| range.contains(&bits[0])) {
                slots.push(next.owned(bits, token)?);
            }
            Ok(())
        })
    }
}

/// Collects a snapshot's records, accounts before what refers to them.
#[derive(Debug, Default)]
pub(super) struct BaseBuilder {
    slots: TableBuilder,
    details: DetailsBuilder,
    accounts: AccountsBuilder,
    ids: IdRows,
    slow: SlowTokens,
    has_sha256: bool,
}

impl BaseBuilder {
    pub(super) fn add(&mut self, record: Record, policy: &Policy) -> Result<(), IndexError> {
        match record {
            Record::Account(account) => self.add_account(OwnedAccount::new(&account).view()),
            Record::Token(token) => self.add_token(&token, policy),
            Record::Id(id) => match IdRow::of(&id, &policy.routes) {
                Some((key, row)) => self.add_id(key, Some(row)),
                None => Ok(()),
            },
            Record::IdRemoved { account_id, index, id } => {
                match IdKey::of(account_id, &index, id, &policy.routes) {
                    Some(key) => self.add_id(key, None),
                    None => Ok(()),
                }
            }
        }
    }

    pub(super) fn finish(mut self) -> Base {
        self.ids.shrink();
        let (accounts, moved) = self.accounts.finish();
        Base {
            table: self.slots.finish(|slot| slot.account = where_now(slot.account, &moved)),
            details: self.details.finish(),
            accounts,
            ids: self.ids,
            slow: self.slow,
            has_sha256: self.has_sha256,
        }
    }

    fn add_account(&mut self, account: Account<'_>) -> Result<(), IndexError> {
        self.accounts.add(account).ok_or(IndexError::Full("accounts"))
    }

    fn add_id(&mut self, key: IdKey, row: Option<IdRow>) -> Result<(), IndexError> {
        self.ids.put(key, row).ok_or(IndexError::Full("rows of the id index"))
    }

    fn add_token(&mut self, record: &TokenRecord, policy: &Policy) -> Result<(), IndexError> {
        self.position(record.id, record.account_id)?;
        match &record.verifier {
            Verifier::Digest { .. } | Verifier::Sha256(_) => {
                let Some(bits) = fast_bits(&record.verifier, &policy.keys) else { return Ok(()) };
                self.has_sha256 |= matches!(record.verifier, Verifier::Sha256(_));
                let slot = self.owned(bits, &OwnedToken::new(record, &policy.permission_sets))?;
                self.slots.push(slot);
                Ok(())
            }
            Verifier::Hash { .. } | Verifier::Introspect { .. } => {
                self.slow.insert(Arc::new(SlowToken::new(record, policy)));
                Ok(())
            }
        }
    }

    /// The slot of a token that was in no base.
    fn owned(&mut self, bits: Bits, token: &OwnedToken) -> Result<Slot, IndexError> {
        let OwnedToken { id, account, revoked, expires, grants, extra } = token;
        let slot = Slot {
            bits,
            account: self.position(*id, *account)?,
            expires: *expires,
            details: if *revoked { REVOKED } else { 0 },
            ..Slot::EMPTY
        };
        self.slot(slot, *id, extra.clone(), grants)
    }

    /// The slot of a token of another base.
    fn copied(&mut self, slot: &Slot, token: &Token<'_>) -> Result<Slot, IndexError> {
        let account = self.position(token.id, token.account.id())?;
        let extra = Extra {
            user: token.user,
            not_before: token.not_before,
            allow_ips: token.allow_ips.cloned(),
        };
        self.slot(Slot { account, ..*slot }, token.id, extra, token.grants.bytes())
    }

    /// A slot with its number and details put where they now are.
    fn slot(
        &mut self,
        slot: Slot,
        id: TokenId,
        extra: Extra,
        grants: &[u8],
    ) -> Result<Slot, IndexError> {
        let narrow = u32::try_from(id).ok().filter(|id| *id != WIDE_ID);
        let wide = narrow.is_none().then_some(id);
        let details = self.details.add(wide, extra, grants);
        let position = details.map_err(|_| IndexError::Full("grants"))?.unwrap_or(NOTHING);
        let details = slot.details & REVOKED | position;
        Ok(Slot { id: narrow.unwrap_or(WIDE_ID), details, ..slot })
    }

    fn position(&self, token: TokenId, account: AccountId) -> Result<u32, IndexError> {
        self.accounts.position(account).ok_or(IndexError::UnknownAccount { token, account })
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

#[inline]
fn id_of(slot: &Slot, detail: &Detail<'_>) -> TokenId {
    detail.wide_id.unwrap_or(u64::from(slot.id))
}

/// Where an account is that was at this position when its token came.
fn where_now(mut position: u32, moved: &HashMap<u32, u32, FixedState>) -> u32 {
    while let Some(later) = moved.get(&position) {
        position = *later;
    }
    position
}
