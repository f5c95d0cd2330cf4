//! What one transaction of a bulk import does, as one entry of the audit log says it: how many of
//! which events, which tokens, and a digest of everything that was written.

use std::collections::BTreeMap;

use blake3::Hasher;
use serde::Serialize;
use serde_json::{Value, json};

use super::execute::Event;
use crate::core::record::AccountId;

/// Counts events of an import. Those of a command count once it has succeeded.
#[derive(Default)]
pub(super) struct Tally {
    counts: BTreeMap<&'static str, u64>,
    accounts: Accounts,
    tokens: Option<(u64, u64)>,
    digest: Hasher,
    /// What the present command wrote, in order.
    pending: Vec<Pending>,
    /// The texts of it.
    text: Vec<u8>,
}

/// Whether everything concerns one account.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Accounts {
    #[default]
    None,
    One(AccountId),
    Several,
}

struct Pending {
    event: &'static str,
    account: AccountId,
    token: Option<u64>,
}

impl Tally {
    /// Notes an event of the present command.
    pub(super) fn count(
        &mut self,
        event: &Event,
        subject: &str,
        before: &impl Serialize,
        after: &impl Serialize,
    ) {
        // A line of JSON, which no two events share. Not by way of a value, which would have to be
        // made for each of a million tokens.
        let line = (event.name, event.account, subject, before, after);
        serde_json::to_writer(&mut self.text, &line)
            .expect("invariant: keys are texts, and a vector takes all");
        self.text.push(b'\n');
        let token = subject.strip_prefix("token:").and_then(|id| id.parse().ok());
        self.pending.push(Pending { event: event.name, account: event.account, token });
    }

    /// Takes the present command's events in, or forgets them where it failed.
    pub(super) fn settle(&mut self, succeeded: bool) {
        if succeeded && !self.pending.is_empty() {
            self.digest.update(&self.text);
            let mut pending = std::mem::take(&mut self.pending);
            pending.drain(..).for_each(|pending| self.take_in(&pending));
            self.pending = pending;
        }
        self.pending.clear();
        self.text.clear();
    }

    /// The account, if it was one alone, and what the entry says; `None` where nothing happened.
    pub(super) fn conclude(self) -> Option<(Option<AccountId>, Value)> {
        if self.counts.is_empty() {
            return None;
        }
        let account = match self.accounts {
            Accounts::One(id) => Some(id),
            Accounts::None | Accounts::Several => None,
        };
        let tokens = self.tokens.map(|(first, last)| json!({ "first": first, "last": last }));
        let digest = self.digest.finalize().to_hex();
        let after = json!({ "events": self.counts, "tokens": tokens, "blake3": digest.as_str() });
        Some((account, after))
    }

    fn take_in(&mut self, pending: &Pending) {
        *self.counts.entry(pending.event).or_default() += 1;
        self.accounts = match self.accounts {
            Accounts::None => Accounts::One(pending.account),
            Accounts::One(id) if id == pending.account => self.accounts,
            Accounts::One(_) | Accounts::Several => Accounts::Several,
        };
        if let Some(token) = pending.token {
            let (first, last) = self.tokens.unwrap_or((token, token));
            self.tokens = Some((first.min(token), last.max(token)));
        }
    }
}
