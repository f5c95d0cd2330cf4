//! What step 9 would say, for `explain`: looks, and uses nothing.

use std::net::IpAddr;
use std::time::Instant;

use super::{Counter, Group, Limits, id_key, seconds};
use crate::config::{self, Rate};
use crate::core::explain::{Explanation, Outcome, StepOutcome};
use crate::core::verdict::{LimitKeys, Reason};

const NO_LIMIT: &str = "the route is in no group that is limited";

impl Limits {
    /// Adds step 9, as it would go by now.
    pub fn explain(&self, explanation: &mut Explanation, client: Option<IpAddr>, now: Instant) {
        let now = self.nanos(now);
        if let Some(keys) = explanation.limits {
            match self.group(keys) {
                Some((keys, group)) => group.explain(explanation, keys, now),
                None => explanation.limited(StepOutcome::Pass, NO_LIMIT.to_owned()),
            }
        }
        self.explain_failures(explanation, client, now);
    }

    fn explain_failures(&self, explanation: &mut Explanation, client: Option<IpAddr>, now: u64) {
        let Some(failures) = &self.failures else { return };
        let Err(wait) = failures.look(client, now) else { return };
        let (rate, wait) = (failures.rate(), seconds(wait));
        let from = client.map_or("an unknown address".to_owned(), |client| client.to_string());
        let detail = format!("too many failed credentials from {from}: {rate}");
        if explanation.status == 401 {
            explanation.limited(StepOutcome::Fail, detail);
            explanation.deny(Reason::FailureLimited, &format!("wait for {wait} s"));
        } else if explanation.verdict == Outcome::Slow {
            let closed = format!(
                "{detail}; unless the slow lane remembers the token, it is closed to them for {wait} s"
            );
            explanation.limited(StepOutcome::Pass, closed);
        }
    }
}

impl Group {
    fn explain(&self, explanation: &mut Explanation, keys: LimitKeys, now: u64) {
        let account = self.account.as_deref().map(|counter| (counter, id_key(keys.account)));
        let token = self.token.as_deref().map(|counter| (counter, id_key(keys.token)));
        let left = |what: &str, (counter, key): (&Counter, u64)| {
            format!("{} of {} left to {what}", counter.left(key, now), counter.rate)
        };
        let of_account = account.map(|of| left(&format!("account {}", keys.account), of));
        let of_token = token.map(|of| left(&format!("token {}", keys.token), of));
        let parts: Vec<String> = of_account.into_iter().chain(of_token).collect();
        let detail = format!("group {}: {}", self.settings.name, parts.join(", "));
        let limits = account.into_iter().chain(token);
        match limits.filter_map(|(counter, key)| counter.look(key, now).err()).max() {
            None => explanation.limited(StepOutcome::Pass, detail),
            Some(wait) => {
                explanation.limited(StepOutcome::Fail, detail);
                let fix = format!(
                    "wait for {} s, or raise [limits.groups.{}]",
                    seconds(wait),
                    self.settings.name
                );
                explanation.deny(Reason::RateLimited, &fix);
            }
        }
    }
}

/// Adds step 9 where nothing counts: which limits there are.
pub fn explain_without_counts(explanation: &mut Explanation, settings: &config::Limits) {
    let Some(keys) = explanation.limits else { return };
    let detail = match keys.group.and_then(|group| settings.groups.get(group)) {
        None => NO_LIMIT.to_owned(),
        Some(group) => {
            let part =
                |what: &str, rate: Option<Rate>| rate.map(|rate| format!("{rate} by {what}"));
            let parts: Vec<String> = part("account", group.account)
                .into_iter()
                .chain(part("token", group.token))
                .collect();
            format!(
                "group {}: {}; a running gate knows how much is left: POST /explain",
                group.name,
                parts.join(", ")
            )
        }
    };
    explanation.limited(StepOutcome::Pass, detail);
}
