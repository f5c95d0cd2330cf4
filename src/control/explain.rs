//! `…/explain/`: what the gate would say to one of the account's tokens, and why.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::call::Call;
use super::error::ApiError;
use super::operation::Operation;
use super::words::ID_LIMIT;
use crate::core::decide::Fix;
use crate::core::explain::{Explanation, Outcome, Recognition, StepOutcome, StepReport};
use crate::core::permissions::Level;
use crate::core::record::TokenId;
use crate::explain::{Bearer, Question, QuestionError, Running};
use crate::time::parse_time;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("POST", "/api/v3/accounts/{account_id}/explain/", "Explain a decision", ask)
            .needs("Service tokens", Level::Read)
            .takes::<ExplainRequest>()
            .answers::<Explained>(200),
    ]
}

/// A request that the gate could get.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExplainRequest {
    /// A token of the account.
    #[schemars(range(max = ID_LIMIT))]
    token_id: TokenId,
    method: String,
    /// The path, perhaps with a query.
    path: String,
    /// The client's address; without, it is not known.
    #[schemars(extend("format" = "ip"))]
    ip: Option<String>,
    /// Names of the client's certificate, for routes that ask for one.
    #[serde(default)]
    client_certificate: Vec<String>,
    host: Option<String>,
    /// When; without, now.
    #[schemars(extend("format" = "date-time"))]
    at: Option<String>,
}

/// The decision, step by step.
#[derive(Serialize, JsonSchema)]
struct Explained {
    verdict: Verdict,
    /// The reason in metrics and logs.
    reason: String,
    /// The status that the caller gets.
    status: u16,
    /// How the token was found: `fast`, by the slow lane's memory (`cached`), or `slow`.
    lane: String,
    /// How a legacy token is recognised.
    recognition: Option<RecognitionExplained>,
    steps: Vec<StepExplained>,
    /// What would let it through.
    fix: Option<FixExplained>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Allow,
    Deny,
    Slow,
}

#[derive(Serialize, JsonSchema)]
struct RecognitionExplained {
    by: RecognisedBy,
    /// The kind of its hash, and what that costs by its own parameters.
    form: Option<String>,
    cost: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum RecognisedBy {
    Memory,
    Hash,
    Introspection,
}

impl From<Recognition> for RecognitionExplained {
    fn from(recognition: Recognition) -> Self {
        let by = |by| Self { by, form: None, cost: None };
        match recognition {
            Recognition::Memory => by(RecognisedBy::Memory),
            Recognition::Introspection => by(RecognisedBy::Introspection),
            // Nothing is hashed for a token that is given by its number.
            Recognition::Hash { form, cost, cpu_seconds: _ } => {
                let by = RecognisedBy::Hash;
                Self { by, form: Some(form.to_owned()), cost: Some(cost) }
            }
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct StepExplained {
    step: String,
    outcome: StepVerdict,
    detail: String,
}

/// In words, and as commands where there are any.
#[derive(Serialize, JsonSchema)]
struct FixExplained {
    advice: String,
    /// In order, as they are typed.
    commands: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StepVerdict {
    Pass,
    Fail,
    Skipped,
}

impl From<Explanation> for Explained {
    fn from(explanation: Explanation) -> Self {
        let Explanation { verdict, reason, status, lane, recognition, steps, fix, limits: _ } =
            explanation;
        Self {
            verdict: match verdict {
                Outcome::Allow => Verdict::Allow,
                Outcome::Deny => Verdict::Deny,
                Outcome::Slow => Verdict::Slow,
            },
            reason: reason.to_owned(),
            status,
            lane: lane.to_owned(),
            recognition: recognition.map(RecognitionExplained::from),
            steps: steps.into_iter().map(StepExplained::from).collect(),
            fix: fix.map(|Fix { advice, commands }| FixExplained { advice, commands }),
        }
    }
}

impl From<StepReport> for StepExplained {
    fn from(report: StepReport) -> Self {
        let StepReport { step, outcome, detail } = report;
        let outcome = match outcome {
            StepOutcome::Pass => StepVerdict::Pass,
            StepOutcome::Fail => StepVerdict::Fail,
            StepOutcome::Skipped => StepVerdict::Skipped,
        };
        Self { step: step.to_owned(), outcome, detail }
    }
}

fn ask(call: &Call<'_>) -> Result<Answer, ApiError> {
    let ExplainRequest { token_id, method, path, ip, client_certificate, host, at } =
        call.body()?;
    let account = call.account()?;
    let is_own = call.store.token(token_id).is_ok_and(|token| token.account_id == account);
    if !is_own {
        return Err(ApiError::NotFound(format!("account {account} has no token {token_id}")));
    }
    let client = ip.map(|ip| ip.parse::<IpAddr>()).transpose();
    let at = at.as_deref().map(parse_time).transpose();
    let question = Question {
        bearer: Bearer::Id(token_id),
        method,
        path,
        client: client.map_err(|_| ApiError::field("ip", "not an address"))?,
        client_names: client_certificate,
        host,
        at: at.map_err(|why| ApiError::field("at", why.to_string()))?.unwrap_or(call.now),
    };
    let gate = Running { limits: call.limits, lane: call.lane };
    let explanation = question.answer(call.index, call.config, Some(&**call.store), Some(gate));
    Answer::one(Explained::from(explanation.map_err(|error| match error {
        QuestionError::Store(error) => error.into(),
        error => ApiError::Rule(error.to_string()),
    })?))
}
