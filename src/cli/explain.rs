//! `portcullis explain`: what would come of a request, step by step, and what would change it.

use std::net::IpAddr;
use std::sync::Arc;

use clap::Args;

use super::exit::{Exit, Failure};
use super::session::{Opened, Session};
use crate::core::explain::{Explanation, Outcome, StepOutcome};
use crate::core::index::{Index, IndexBuilder, Policy};
use crate::core::record::{Timestamp, TokenId};
use crate::explain::{Bearer, Presented, Question};
use crate::store::{Store, StoreError};
use crate::time::parse_time_or_date;

/// The request to explain.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("bearer").required(true).args(["token", "token_id"])))]
#[command(
    after_help = "Exit 4 where the request would be refused. The commands that are proposed let this one \
    request through and no more.\n\n\
    Refusals that come from load are not reproduced, since explaining uses up nothing:\n  \
    rate_limited, failure_limited  a limit of [limits] was used up: the client must wait for \
    Retry-After, or the limit be raised\n  \
    lane_full, lane_timeout        more legacy tokens come than [legacy] threads can verify: give \
    their owners new tokens, or raise threads and cpu_share\n  \
    no_index                       the gate has yet to read its store: /readyz and the log say why\n\n\
    Example: portcullis explain --token-id 7 --method POST --path /api/v2/accounts/1/jobs/77/run/ --ip 203.0.113.9"
)]
pub(super) struct Explain {
    /// `-`: the token's secret is read from standard input
    #[arg(long, value_name = "-")]
    token: Option<String>,
    /// The token's number
    #[arg(long, value_name = "ID")]
    token_id: Option<TokenId>,
    /// The method
    #[arg(long, value_name = "M")]
    method: String,
    /// The path, perhaps with a query
    #[arg(long, value_name = "P")]
    path: String,
    /// The client's address
    #[arg(long, value_name = "IP")]
    ip: IpAddr,
    /// The host, for routes that name one
    #[arg(long, value_name = "H")]
    host: Option<String>,
    /// A name of the client's certificate, for routes that ask for one; may be repeated
    #[arg(long, value_name = "NAME")]
    client_certificate: Vec<String>,
    /// At this time instead of now
    #[arg(long, value_name = "TIME", value_parser = parse_time_or_date)]
    at: Option<Timestamp>,
}

pub(super) fn run(explain: Explain, session: &mut Session<'_>) -> Result<(), Failure> {
    let bearer = bearer(&explain, session)?;
    let Opened { config, store } = session.open()?;
    let question = Question {
        bearer,
        method: explain.method,
        path: explain.path,
        client: Some(explain.ip),
        client_names: explain.client_certificate,
        host: explain.host,
        at: explain.at.unwrap_or(session.around.now),
    };
    let index = index(config.policy(), &store)?;
    let mut explanation = question
        .answer(&index, &config, Some(&store), None)
        .map_err(|error| Failure::failed(error.to_string()))?;
    if let Some(fix) = &mut explanation.fix {
        fix.commands.iter_mut().for_each(|command| *command = session.as_typed(command));
    }
    match session.json {
        true => session.print_json(&explanation)?,
        false => session.print(&render(&explanation))?,
    }
    match explanation.verdict {
        Outcome::Allow | Outcome::Slow => Ok(()),
        Outcome::Deny => Err(Failure::silent(Exit::Denied)),
    }
}

fn bearer(explain: &Explain, session: &mut Session<'_>) -> Result<Bearer, Failure> {
    match (explain.token.as_deref(), explain.token_id) {
        (None, Some(id)) => Ok(Bearer::Id(id)),
        (Some("-"), None) => {
            let line = session.read_secret_line()?;
            let text = std::str::from_utf8(&line).map_err(|error| {
                Failure::failed(format!("standard input cannot be read: {error}"))
            })?;
            Ok(Bearer::Secret(Presented::new(text.to_owned())))
        }
        // What was given may be a secret: it is not repeated.
        _ => Err(Failure::usage(
            "--token takes `-` and reads the secret from standard input: on the command line it \
             could be seen by others",
        )),
    }
}

/// The index that a gate would decide by now.
fn index(policy: Policy, store: &dyn Store) -> Result<Index, Failure> {
    let mut builder = IndexBuilder::new(Arc::new(policy));
    let cursor = store.snapshot(&mut |record| {
        builder.add(record).map_err(|error| StoreError::Database(error.to_string()))
    })?;
    Ok(builder.finish(cursor.position()))
}

/// The verdict, the steps, and what would change it.
fn render(explanation: &Explanation) -> String {
    let verdict = match explanation.verdict {
        Outcome::Allow => "ALLOW",
        Outcome::Deny => "DENY",
        Outcome::Slow => "ALLOW, by the slow lane",
    };
    let mut text = format!("{verdict}: {} ({})\n", explanation.reason, explanation.status);
    for step in &explanation.steps {
        let outcome = match step.outcome {
            StepOutcome::Pass => "pass",
            StepOutcome::Fail => "FAIL",
            StepOutcome::Skipped => "-",
        };
        let line = format!("  {outcome:<5} {:<14} {}", step.step, step.detail);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if let Some(fix) = &explanation.fix {
        text.push_str(&format!("to let it through: {}\n", fix.advice));
        fix.commands.iter().for_each(|command| text.push_str(&format!("  {command}\n")));
    }
    text
}
