//! The accounts of a base.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::account::Account;
use super::positions::Positions;
use super::prefetch::prefetch_run;
use super::runs::Runs;
use crate::core::ip::IpRules;
use crate::core::record::AccountId;

/// Words that most accounts need no more of.
const MOST: usize = 40;

/// The accounts, found by number or, as tokens do, by position.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    words: Runs<u32>,
    /// Rules of those that have many.
    aside: Vec<Arc<IpRules>>,
    positions: Positions,
}

impl Accounts {
    #[inline]
    pub(super) fn at(&self, position: u32) -> Account<'_> {
        Account::starting_at(self.words.starting_at(position), &self.aside)
    }

    /// Asks memory for an account.
    #[inline]
    pub(super) fn touch(&self, position: u32) {
        prefetch_run(self.words.starting_at(position), MOST);
    }

    pub(super) fn find(&self, id: AccountId) -> Option<Account<'_>> {
        self.position(id).map(|position| self.at(position))
    }

    #[inline]
    pub(super) fn position(&self, id: AccountId) -> Option<u32> {
        self.positions.find(hash(id), |position| self.at(position).id() == id)
    }

    /// Each once, in an order of no meaning.
    pub(super) fn iter(&self) -> impl Iterator<Item = Account<'_>> {
        self.positions.iter().map(|position| self.at(position))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.words.memory_bytes() + self.positions.memory_bytes()
    }

    /// Bytes of rules of those that have many.
    pub(super) fn aside_bytes(&self) -> usize {
        let rules = self.aside.iter().map(|rules| size_of::<IpRules>() + rules.heap_bytes());
        rules.sum::<usize>() + self.aside.capacity() * size_of::<Arc<IpRules>>()
    }
}

/// Collects accounts.
#[derive(Debug, Default)]
pub(super) struct AccountsBuilder {
    accounts: Accounts,
    /// Where accounts are that came again, by where they were before.
    moved: HashMap<u32, u32, FixedState>,
}

impl AccountsBuilder {
    /// None yet, and room for as many as there are.
    pub(super) fn like(other: &Accounts) -> Self {
        let positions = Positions::with_room(other.positions.len());
        Self { accounts: Accounts { positions, ..Accounts::default() }, ..Self::default() }
    }

    /// Adds an account; where it came before, this one counts. `None` once positions have run out.
    pub(super) fn add(&mut self, account: Account<'_>) -> Option<()> {
        let run = account.words_with_aside(&mut self.accounts.aside);
        let position = self.accounts.words.push(&run)?;
        let Accounts { words, aside, positions } = &mut self.accounts;
        let id_at = |position| id_at(words, aside, position);
        let is_it = |position| id_at(position) == account.id();
        let before = positions.insert(hash(account.id()), position, is_it, |at| hash(id_at(at)));
        if let Some(before) = before {
            self.moved.insert(before, position);
        }
        Some(())
    }

    pub(super) fn position(&self, id: AccountId) -> Option<u32> {
        self.accounts.position(id)
    }

    /// The accounts, and what became of the positions of those that came again.
    pub(super) fn finish(self) -> (Accounts, HashMap<u32, u32, FixedState>) {
        let Self { accounts: Accounts { mut words, mut aside, mut positions }, moved } = self;
        words.shrink();
        aside.shrink_to_fit();
        positions.shrink(|position| hash(id_at(&words, &aside, position)));
        (Accounts { words, aside, positions }, moved)
    }
}

fn hash(id: AccountId) -> u64 {
    FixedState::default().hash_one(id)
}

fn id_at(words: &Runs<u32>, aside: &[Arc<IpRules>], position: u32) -> AccountId {
    Account::starting_at(words.starting_at(position), aside).id()
}
