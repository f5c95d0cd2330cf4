//! `portcullis apply`: accounts and what they have, made to be as a file declares them.

mod plan;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use self::plan::{Action, Change, Outline, Planner};
use super::exit::{Exit, Failure};
use super::scratch::Scratch;
use super::session::{Opened, Session};
use super::table::printable;
use super::token::{Issued, unprinted};
use crate::config::{self, Config, accounts};
use crate::core::token::Secret;
use crate::store::{Command, Outcome, SqliteStore, Store, StoreError, TokenView};

/// What to apply.
#[derive(Debug, Args)]
#[command(
    after_help = "The file declares accounts with their projects, users, IP rules, id index \
    and tokens, and never a secret: a token is known by its name and user, and the secret of one \
    that is made is printed once, one JSON object a line. What a declared account has and the file \
    does not declare is left alone, or with --prune removed; its tokens are then revoked, for good. \
    Accounts that are not declared are never touched.\n\n\
    The plan is printed first. Where anything in it cannot be done, each such thing is named with \
    its line, exit 3, and nothing is changed.\n\n\
    Example:\n  \
    portcullis apply -f accounts.toml --dry-run"
)]
pub(super) struct Apply {
    /// The file that declares accounts, in TOML
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove what declared accounts have and the file does not declare
    #[arg(long)]
    prune: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'r> {
    dry_run: bool,
    changes: &'r [Change],
    /// The tokens that were made, with their secrets: the only time that these are seen.
    tokens: Vec<Issued<'r>>,
}

pub(super) fn run(apply: &Apply, session: &mut Session<'_>) -> Result<(), Failure> {
    let Opened { config, store } = session.open()?;
    let file = session.path(&apply.file);
    let accounts = accounts::load_accounts(&file).map_err(|errors| {
        session.say_raw(&config::render(&errors));
        Failure::silent(Exit::Invalid)
    })?;
    let (keys, now) = (&config.keys, session.around.now);
    let planner = Planner { store: &store, keys, now, prune: apply.prune };
    let outline = planner.plan(&accounts)?;
    let mistakes = mistakes(&outline, &store, &config, session)?;
    if !mistakes.is_empty() {
        let name = file.display();
        for (line, message) in &mistakes {
            session.say(&format!("{name}:{line}: error: {}", printable(message)));
        }
        let message = format!("{name}: cannot be applied; nothing was changed");
        return Err(Failure { exit: Exit::Invalid, message: Some(message) });
    }
    show(&outline.changes, apply, session)?;
    if apply.dry_run {
        return Ok(());
    }
    carry_out(&outline.changes, &store, session)
}

/// What cannot be done, with its line: found on a copy of the store, so that all of it is told
/// and nothing is half done.
fn mistakes(
    outline: &Outline,
    store: &SqliteStore,
    config: &Config,
    session: &Session<'_>,
) -> Result<Vec<(usize, String)>, Failure> {
    let mut mistakes: Vec<_> =
        outline.problems.iter().map(|one| (one.line, one.message.clone())).collect();
    if !outline.changes.is_empty() {
        let scratch = Scratch::of(store, config)?;
        let outcomes = scratch.store.apply_all(&session.actor(), commands(&outline.changes));
        for (change, outcome) in outline.changes.iter().zip(outcomes) {
            match outcome {
                Ok(_) => {}
                Err(error @ StoreError::Database(_)) => return Err(error.into()),
                Err(error) => mistakes.push((change.line, format!("{}: {error}", change.subject))),
            }
        }
    }
    mistakes.sort();
    Ok(mistakes)
}

fn commands(changes: &[Change]) -> Vec<Command> {
    changes.iter().map(|change| change.command.clone()).collect()
}

/// Prints the plan: where it is all that is asked for it is data, else a note.
fn show(changes: &[Change], apply: &Apply, session: &mut Session<'_>) -> Result<(), Failure> {
    let text = render(changes);
    match (apply.dry_run, session.json) {
        (true, true) => session.print_json(&Report { dry_run: true, changes, tokens: Vec::new() }),
        (true, false) => session.print(&text),
        (false, _) => {
            session.say_raw(&text);
            Ok(())
        }
    }
}

fn render(changes: &[Change]) -> String {
    let count = |action| changes.iter().filter(|change| change.action == action).count();
    let mut text = String::new();
    let mut account = None;
    for change in changes {
        if account != Some(change.account_id) {
            account = Some(change.account_id);
            text.push_str(&format!("account {}\n", change.account_id));
        }
        let sign = match change.action {
            Action::Create => '+',
            Action::Change => '~',
            Action::Remove => '-',
        };
        let colon = if change.detail.is_empty() { "" } else { ": " };
        let told = format!("{}{colon}{}", change.subject, change.detail);
        text.push_str(&format!("  {sign} {}\n", printable(&told)));
    }
    let (create, change, remove) =
        (count(Action::Create), count(Action::Change), count(Action::Remove));
    text.push_str(&match changes {
        [] => "nothing to change: all is as declared\n".to_owned(),
        _ => format!("{create} to create, {change} to change, {remove} to remove\n"),
    });
    text
}

fn carry_out(
    changes: &[Change],
    store: &SqliteStore,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let outcomes = store.apply_all(&session.actor(), commands(changes));
    let mut made = Vec::new();
    let mut failed = 0;
    for (change, outcome) in changes.iter().zip(outcomes) {
        match (outcome, &change.secret) {
            (Ok(Outcome::Changed { id } | Outcome::Unchanged { id }), Some(secret)) => {
                made.push((secret, store.token(id)?));
            }
            (Ok(_), None) => {}
            (Err(error), _) => {
                failed += 1;
                let subject = printable(&change.subject);
                session.say(&format!("account {}: {subject}: {error}", change.account_id));
            }
        }
    }
    print_tokens(changes, &made, session)?;
    if failed > 0 {
        return Err(Failure::failed(format!(
            "{failed} of {} changes failed, the others are made: somebody else changed something \
             at the same time; apply it again",
            changes.len()
        )));
    }
    if !changes.is_empty() {
        session.say(&format!("applied: {} changes", changes.len()));
    }
    Ok(())
}

/// Prints what was made. Secrets that nobody saw are of tokens that nobody can use: say which.
fn print_tokens(
    changes: &[Change],
    made: &[(&Secret, TokenView)],
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let ids: Vec<String> = made.iter().map(|(_, view)| view.id.to_string()).collect();
    let tokens: Vec<_> = made.iter().map(|(secret, view)| Issued::of(secret, view)).collect();
    let printed = match session.json {
        true => session.print_json(&Report { dry_run: false, changes, tokens }),
        false => tokens.iter().try_for_each(|issued| session.print_json(issued)),
    };
    if ids.is_empty() {
        return printed;
    }
    printed.map_err(|_| unprinted(&ids.join(" ")))?;
    session.say("secrets are shown this once: they are stored nowhere and cannot be shown again");
    Ok(())
}
