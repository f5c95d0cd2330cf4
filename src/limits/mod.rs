//! Rate limits, step 9 of the decision, for every front end: by account and by token in groups of
//! routes, and by address for credentials that fail.
//!
//! All workers count in the same tables of fixed size, without a lock or an allocation, so that a
//! limit holds for the gate. Time is passed in. Counts are kept in memory only: a restart begins
//! with unused quotas, a reload keeps those whose limit stays as it was.

mod counter;
mod explain;
mod failures;
mod gcra;
mod table;

pub use explain::explain_without_counts;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::config::{LimitGroup, Rate};
use crate::core::facts::Facts;
use crate::core::verdict::{Denial, LimitKeys, Permit, Reason};

pub(crate) use counter::Counter;
pub(crate) use failures::client_key;
pub(crate) use table::WhenFull;

use failures::Failures;

/// A request that step 9 refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The refusal.
    pub denial: Denial,
    /// When it is worth trying again, in whole seconds.
    pub retry_after_seconds: u64,
}

/// The limits of one configuration, and what is used of them.
#[derive(Debug)]
pub struct Limits {
    epoch: Instant,
    groups: Vec<Group>,
    failures: Option<Arc<Failures>>,
}

/// The limits of one group of routes.
#[derive(Debug)]
struct Group {
    settings: LimitGroup,
    account: Option<Arc<Counter>>,
    token: Option<Arc<Counter>>,
}

impl Limits {
    /// Step 9 for a request that steps 0 to 8 permit: uses its account's and its token's quota,
    /// or says why not and uses neither.
    ///
    /// # Errors
    /// [`Refused`], with the reason `rate_limited`.
    #[inline]
    pub fn admit(
        &self,
        permit: &Permit<'_>,
        facts: &Facts<'_>,
        now: impl FnOnce() -> Instant,
    ) -> Result<(), Refused> {
        if self.groups.is_empty() {
            return Ok(());
        }
        let Some((keys, group)) = permit.limit_keys().and_then(|keys| self.group(keys)) else {
            return Ok(());
        };
        let waited = group.take(keys, self.nanos(now()));
        waited.map_err(|wait| Refused {
            denial: permit.refuse(Reason::RateLimited, facts),
            retry_after_seconds: seconds(wait),
        })
    }

    /// Step 9 for a request that an earlier step refuses with a 401: counts a credential that
    /// failed. `Some` where the address has had too many of them; then it is told that instead,
    /// which says nothing about the token.
    pub fn fail(
        &self,
        denial: Denial,
        client: Option<IpAddr>,
        now: impl FnOnce() -> Instant,
    ) -> Option<Refused> {
        let failures = self.failures.as_ref().filter(|_| denial.reason.status(false) == 401)?;
        let now = self.nanos(now());
        let counted = match denial.reason {
            // Nothing was tried.
            Reason::NoCredential => failures.look(client, now),
            _ => failures.note(client, now),
        };
        let wait = counted.err()?;
        Some(Refused {
            denial: Denial { reason: Reason::FailureLimited, ..denial },
            retry_after_seconds: seconds(wait),
        })
    }

    /// For how many seconds the slow lane is closed to an address, whose credentials have failed
    /// too often; `None`: it is open. Counts nothing.
    pub fn lane_closed(
        &self,
        client: Option<IpAddr>,
        now: impl FnOnce() -> Instant,
    ) -> Option<u64> {
        let failures = self.failures.as_ref()?;
        failures.look(client, self.nanos(now())).err().map(seconds)
    }

    fn group(&self, keys: LimitKeys) -> Option<(LimitKeys, &Group)> {
        Some((keys, self.groups.get(keys.group?)?))
    }

    #[inline]
    fn nanos(&self, now: Instant) -> u64 {
        // 584 years.
        now.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

impl Group {
    /// Uses one of the account's quota and one of the token's, or neither.
    fn take(&self, keys: LimitKeys, now: u64) -> Result<(), u64> {
        let (account, token) = (id_key(keys.account), id_key(keys.token));
        if let Some(counter) = &self.account
            && counter.look(account, now).is_err()
        {
            // Begins a cooldown, where there is one.
            counter.take(account, now)?;
            // Another worker gave one back since.
            counter.give_back(account);
        }
        if let Some(counter) = &self.token {
            counter.take(token, now)?;
        }
        let Some(counter) = &self.account else { return Ok(()) };
        counter.take(account, now).inspect_err(|_| {
            // Another worker used the last one since.
            self.token.iter().for_each(|counter| counter.give_back(token));
        })
    }
}

/// Ids have at most 19 digits.
pub(crate) fn id_key(id: u64) -> u64 {
    id.saturating_add(1)
}

/// Whole seconds, rounded up: whoever waits for so long does not come too early.
fn seconds(nanos: u64) -> u64 {
    nanos.div_ceil(1_000_000_000).max(1)
}

/// The limits in force, handed on from one configuration to the next.
#[derive(Debug)]
pub struct SharedLimits {
    epoch: Instant,
    /// Locked once a configuration and worker, never for a request besides.
    latest: Mutex<Arc<Limits>>,
}

impl SharedLimits {
    /// Nothing used yet, of no limits. `epoch` is not later than any time that is passed in.
    pub fn new(epoch: Instant) -> Self {
        let none = Limits { epoch, groups: Vec::new(), failures: None };
        Self { epoch, latest: Mutex::new(Arc::new(none)) }
    }

    /// The limits of a configuration. Those that the latest one has as well go on with what is
    /// used of them.
    pub fn under(&self, settings: &crate::config::Limits) -> Arc<Limits> {
        let mut latest = self.latest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !latest.are(settings) {
            *latest = Arc::new(latest.followed_by(settings, self.epoch));
        }
        latest.clone()
    }
}

impl Limits {
    fn are(&self, settings: &crate::config::Limits) -> bool {
        let rate = self.failures.as_ref().map(|failures| failures.rate());
        rate == settings.failed_credentials
            && self.groups.iter().map(|group| &group.settings).eq(&settings.groups)
    }

    fn followed_by(&self, settings: &crate::config::Limits, epoch: Instant) -> Self {
        let same = |failures: &&Arc<Failures>, rate| failures.rate() == rate;
        let failures = settings.failed_credentials.map(|rate| {
            let kept = self.failures.as_ref().filter(|failures| same(failures, rate)).cloned();
            kept.unwrap_or_else(|| Arc::new(Failures::new(rate)))
        });
        let groups = settings.groups.iter().map(|group| self.next_group(group)).collect();
        Self { epoch, groups, failures }
    }

    fn next_group(&self, settings: &LimitGroup) -> Group {
        let before = self.groups.iter().find(|group| {
            group.settings.name == settings.name && group.settings.cooldown == settings.cooldown
        });
        let counter = |rate: Option<Rate>, kept: Option<&Arc<Counter>>| {
            let rate = rate?;
            let kept = kept.filter(|counter| counter.rate == rate).cloned();
            let new = || Counter::new(rate, settings.cooldown, WhenFull::Forget);
            Some(kept.unwrap_or_else(|| Arc::new(new())))
        };
        Group {
            account: counter(settings.account, before.and_then(|group| group.account.as_ref())),
            token: counter(settings.token, before.and_then(|group| group.token.as_ref())),
            settings: settings.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
