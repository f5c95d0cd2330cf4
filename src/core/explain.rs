//! A decision, step by step: the same functions as [`super::decide`], with their findings kept.

use std::fmt;

use serde::Serialize;

use super::decide::{self, Case, Fix, Step, Trace};
use super::digest::Digest;
use super::facts::Facts;
use super::index::{Index, Token};
use super::record::{Timestamp, TokenId};
use super::verdict::{Denial, Lane, LimitKeys, Permit, Reason, SlowRequest, Verdict};

/// A decision, explained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// What comes of it.
    pub verdict: Outcome,
    /// Why.
    pub reason: &'static str,
    /// The status that the caller gets; 200 where it would be forwarded.
    pub status: u16,
    /// How the token was found: `none`, `fast`, `cached` or `slow`, as in metrics.
    pub lane: &'static str,
    /// How a legacy token was recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recognition: Option<Recognition>,
    /// The steps, in order.
    pub steps: Vec<StepReport>,
    /// What would let it through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
    /// What rate limits count by, where steps 0 to 8 permit.
    #[serde(skip)]
    pub limits: Option<LimitKeys>,
}

impl Explanation {
    /// Puts in what step 9 finds, which no index knows.
    pub fn limited(&mut self, outcome: StepOutcome, detail: String) {
        let step = self.steps.iter_mut().find(|step| step.step == Step::RateLimits.name());
        if let Some(step) = step {
            (step.outcome, step.detail) = (outcome, detail);
        }
    }

    /// Ends with a refusal by step 9 after all.
    pub fn deny(&mut self, reason: Reason, advice: &str) {
        self.verdict = Outcome::Deny;
        self.reason = reason.name();
        self.status = reason.status(false);
        self.fix = Some(Fix::advice(advice));
    }
}

/// How a legacy token is recognised.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Recognition {
    /// The slow lane has verified it lately, and remembers.
    Memory,
    /// By its password hash.
    Hash {
        /// What kind of hash it is.
        form: &'static str,
        /// What it costs, by its own parameters.
        cost: String,
        /// CPU time that verifying it took for this explanation.
        #[serde(skip_serializing_if = "Option::is_none")]
        cpu_seconds: Option<f64>,
    },
    /// By an introspection endpoint, which is not asked for an explanation.
    Introspection,
}

impl fmt::Display for Recognition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("remembered by the slow lane, without a hash"),
            Self::Hash { form, cost, cpu_seconds } => {
                write!(f, "recognised by the slow lane: {form}, {cost}")?;
                match cpu_seconds {
                    Some(seconds) => write!(f, ", which took {seconds:.3} s of CPU time"),
                    None => Ok(()),
                }
            }
            Self::Introspection => {
                f.write_str("recognised by the introspection endpoint, if that takes it for valid")
            }
        }
    }
}

/// What comes of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Forwarded.
    Allow,
    /// Refused.
    Deny,
    /// Let through once the slow lane has recognised the token.
    Slow,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepReport {
    /// Its name.
    pub step: &'static str,
    /// What came of it.
    pub outcome: StepOutcome,
    /// What it found.
    pub detail: String,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// It passed.
    Pass,
    /// It failed, and the decision ended there.
    Fail,
    /// It was not reached, or does not apply.
    Skipped,
}

/// The first part of an explanation: done, or waiting for the slow lane's word.
#[derive(Debug)]
pub enum Explained {
    /// Done.
    Done(Explanation),
    /// The slow lane has to be asked; then [`Pending::recognised`] or [`Pending::mismatched`].
    Slow(Pending),
}

/// An explanation that waits for the slow lane's word.
#[derive(Debug)]
pub struct Pending {
    notes: Notes,
    /// What to ask.
    pub request: SlowRequest,
    conceal: bool,
}

/// Explains the decision about a request.
pub fn explain(index: &Index, facts: &Facts<'_>, now: Timestamp, conceal: bool) -> Explained {
    explain_recalling(index, facts, now, conceal, |_| None)
}

/// Likewise, where the slow lane remembers secrets: see [`decide::decide_recalling`].
pub fn explain_recalling(
    index: &Index,
    facts: &Facts<'_>,
    now: Timestamp,
    conceal: bool,
    recall: impl FnOnce(&Digest) -> Option<TokenId>,
) -> Explained {
    let mut notes = Notes::default();
    match decide::judge(index, facts, now, recall, &mut notes) {
        Verdict::Slow(request) => Explained::Slow(Pending { notes, request, conceal }),
        Verdict::Allow(permit) => Explained::Done(notes.allow(&permit, Outcome::Allow)),
        Verdict::Deny(denial) => Explained::Done(notes.deny(denial, conceal)),
    }
}

/// Explains the decision about a request with a token that is known by other means than its
/// secret: by its number. `how`: how a legacy token would be recognised.
pub fn explain_token(
    index: &Index,
    facts: &Facts<'_>,
    (token, how): (Token<'_>, Option<Recognition>),
    now: Timestamp,
    conceal: bool,
) -> Explanation {
    judge_token(index, facts, (token, how), now, conceal, &mut Notes::default())
}

impl Pending {
    /// Goes on with the token that the slow lane recognised, and how.
    pub fn recognised(
        mut self,
        index: &Index,
        facts: &Facts<'_>,
        (token, how): (TokenId, Recognition),
        now: Timestamp,
    ) -> Explanation {
        self.notes.steps.retain(|report| {
            report.step != Step::Token.name() && report.step != Step::Request.name()
        });
        match index.find_slow(token) {
            Some(token) => {
                let token = (token, Some(how));
                judge_token(index, facts, token, now, self.conceal, &mut self.notes)
            }
            None => self.mismatched(index, facts),
        }
    }

    /// Ends with none of the candidates recognised.
    pub fn mismatched(mut self, index: &Index, facts: &Facts<'_>) -> Explanation {
        self.notes.steps.retain(|report| report.step != Step::Token.name());
        let fix = decide::request(index, facts, &mut decide::NoTrace)
            .map(|target| decide::fix_unknown(&Case { index, facts, target: &target }));
        self.notes.fail(
            Step::Token,
            || {
                format!(
                    "slow lane: none of {} candidates has this secret",
                    self.request.candidates.len()
                )
            },
            || fix.unwrap_or_default(),
        );
        let denial = Denial {
            reason: Reason::LegacyMismatch,
            caller: None,
            accepted_scheme: self.request.accepted_scheme,
            lane: Lane::Slow,
        };
        self.notes.deny(denial, self.conceal)
    }
}

fn judge_token(
    index: &Index,
    facts: &Facts<'_>,
    (token, how): (Token<'_>, Option<Recognition>),
    now: Timestamp,
    conceal: bool,
    notes: &mut Notes,
) -> Explanation {
    let (lane, outcome) = match &how {
        _ if !token.is_slow() => (Lane::Fast, Outcome::Allow),
        Some(Recognition::Memory) => (Lane::Cached, Outcome::Allow),
        _ => (Lane::Slow, Outcome::Slow),
    };
    let judged = decide::request(index, facts, notes).and_then(|target| {
        if let Some(permit) = decide::public(index, &target) {
            return Ok(permit);
        }
        notes.pass(Step::Token, || match &how {
            Some(how) if token.is_slow() => format!("token {}, a legacy token: {how}", token.id()),
            _ => format!("token {}", token.id()),
        });
        notes.recognition = how.filter(|_| token.is_slow());
        decide::admit(index, facts, &target, token, lane, now, notes)
    });
    match judged {
        Ok(permit) if permit.token().is_none() => {
            std::mem::take(notes).allow(&permit, Outcome::Allow)
        }
        Ok(permit) => std::mem::take(notes).allow(&permit, outcome),
        Err(denial) => std::mem::take(notes).deny(denial, conceal),
    }
}

/// What the steps said.
#[derive(Debug, Default)]
struct Notes {
    steps: Vec<StepReport>,
    recognition: Option<Recognition>,
    fix: Option<Fix>,
}

impl Trace for Notes {
    fn pass(&mut self, step: Step, detail: impl FnOnce() -> String) {
        self.steps.push(StepReport {
            step: step.name(),
            outcome: StepOutcome::Pass,
            detail: detail(),
        });
    }

    fn fail(&mut self, step: Step, detail: impl FnOnce() -> String, fix: impl FnOnce() -> Fix) {
        self.steps.push(StepReport {
            step: step.name(),
            outcome: StepOutcome::Fail,
            detail: detail(),
        });
        self.fix = Some(fix());
    }
}

impl Notes {
    fn allow(self, permit: &Permit<'_>, outcome: Outcome) -> Explanation {
        let explanation = self.finish(outcome, (permit.reason(), permit.lane()), 200);
        Explanation { limits: permit.limit_keys(), ..explanation }
    }

    fn deny(self, denial: Denial, conceal: bool) -> Explanation {
        let found = (denial.reason, denial.lane);
        self.finish(Outcome::Deny, found, denial.reason.status(conceal))
    }

    /// Puts the steps in order, those that were not reached as skipped.
    fn finish(
        mut self,
        verdict: Outcome,
        (reason, lane): (Reason, Lane),
        status: u16,
    ) -> Explanation {
        let steps = Step::ALL.map(|step| {
            let found = self.steps.iter().position(|report| report.step == step.name());
            found.map(|at| self.steps.swap_remove(at)).unwrap_or_else(|| StepReport {
                step: step.name(),
                outcome: StepOutcome::Skipped,
                detail: String::new(),
            })
        });
        Explanation {
            verdict,
            reason: reason.name(),
            status,
            lane: lane.name(),
            recognition: match lane {
                Lane::Cached => Some(Recognition::Memory),
                Lane::Slow => self.recognition,
                Lane::None | Lane::Fast => None,
            },
            steps: steps.into(),
            fix: self.fix,
            limits: None,
        }
    }
}
