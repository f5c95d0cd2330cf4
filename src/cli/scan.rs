//! `portcullis scan`: tokens in files, and which ones they are.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::session::{Opened, Session, Surroundings};
use super::table::printable;
use super::token::{find_fast, standing};
use crate::core::record::{AccountId, Timestamp, TokenId, TokenState};
use crate::core::token::{Secret, TokenKind};
use crate::scan::{Exclude, Place, Scanner, walk};

/// Characters of a token that are shown: the prefix, and enough to tell one from another.
const SHOWN: usize = 8;

/// Where to look.
#[derive(Debug, Args)]
#[command(
    after_help = "A finding has the prefix and the right checksum: it is a token, whether or \
    not the store knows it. It is shown by its first characters only. Where the configuration names \
    a store, so is which token it is and the command that revokes it.\n\n\
    Folders are gone through whole, also what .gitignore names: secrets are most often in what is \
    not meant to be seen, such as .env. Links in them are not followed, archives not unpacked.\n\n\
    Exit 5 if there is a token, 1 if something could not be read.\n\n\
    Examples:\n  \
    portcullis scan --exclude target --exclude '*.png' .\n  \
    kubectl logs deploy/api | portcullis scan -"
)]
pub(super) struct Scan {
    /// Files, folders, or `-` for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Leave out files and folders of this name (`*.png`, `target`) or path (`docs/*/out`); may be
    /// repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<Exclude>,
}

/// A token that was found.
#[derive(Serialize)]
struct Finding<'f> {
    file: Cow<'f, str>,
    line: u64,
    column: u64,
    /// Its first characters.
    token: String,
    kind: &'static str,
    /// Which token it is, where the store knows it.
    id: Option<TokenId>,
    account_id: Option<AccountId>,
    name: Option<String>,
    state: Option<String>,
    /// What makes it useless, where it is not already.
    revoke: Option<String>,
}

/// What has been looked at and found so far.
struct Report<'s> {
    stdout: &'s mut dyn Write,
    stderr: &'s mut dyn Write,
    json: bool,
    now: Timestamp,
    opened: Option<Opened>,
    files: u64,
    unreadable: u64,
    found: u64,
    /// Why nothing further was looked at.
    failure: Option<Failure>,
}

pub(super) fn run(scan: &Scan, session: &mut Session<'_>) -> Result<(), Failure> {
    let opened = open(session);
    let (json, now) = (session.json, session.around.now);
    let Surroundings { stdin, stdout, stderr, directory, .. } = &mut session.around;
    let mut report = Report {
        stdout: &mut **stdout,
        stderr: &mut **stderr,
        json,
        now,
        opened,
        files: 0,
        unreadable: 0,
        found: 0,
        failure: None,
    };
    let mut scanner = Scanner::new();
    for path in &scan.paths {
        let flow = if path == Path::new("-") {
            look_into(path, *stdin, &mut scanner, &mut report)
        } else {
            look_at(path, directory, &scan.exclude, &mut scanner, &mut report)
        };
        if flow.is_break() {
            break;
        }
    }
    report.conclude(scanner.bytes())
}

/// The store, where a configuration names one. Without it tokens are found all the same.
fn open(session: &mut Session<'_>) -> Option<Opened> {
    if !session.path(&session.config_file).exists() {
        return None;
    }
    match session.open() {
        Ok(opened) => Some(opened),
        Err(Failure { message, .. }) => {
            let why = message.as_deref().unwrap_or("the store cannot be opened");
            session.say(&format!("which tokens they are is not looked up: {why}"));
            None
        }
    }
}

fn look_at(
    path: &Path,
    directory: &Path,
    exclude: &[Exclude],
    scanner: &mut Scanner,
    report: &mut Report<'_>,
) -> ControlFlow<()> {
    let whole = directory.join(path);
    walk(&whole, exclude, &mut |file, met| {
        // What is shown is what was given, not what it is relative to.
        let below = file.strip_prefix(&whole).unwrap_or(file);
        let top = below.as_os_str().is_empty();
        let shown = if top { path.to_owned() } else { path.join(below) };
        match met.and_then(|()| File::open(file)) {
            Ok(mut file) => look_into(&shown, &mut file, scanner, report),
            Err(error) => report.cannot_read(&shown, &error),
        }
    })
}

fn look_into(
    path: &Path,
    input: &mut dyn Read,
    scanner: &mut Scanner,
    report: &mut Report<'_>,
) -> ControlFlow<()> {
    report.files += 1;
    match scanner.scan(input, &mut |place, token| report.token(path, place, token)) {
        Ok(flow) => flow,
        Err(error) => report.cannot_read(path, &error),
    }
}

impl Report<'_> {
    fn token(&mut self, path: &Path, place: Place, token: &[u8]) -> ControlFlow<()> {
        let shown = self.describe(path, place, token).and_then(|finding| {
            self.found += 1;
            self.print(&finding)
        });
        match shown {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.failure = Some(failure);
                ControlFlow::Break(())
            }
        }
    }

    fn cannot_read(&mut self, path: &Path, error: &io::Error) -> ControlFlow<()> {
        self.unreadable += 1;
        self.say(&format!(
            "portcullis: {} cannot be read: {error}",
            printable(&path.to_string_lossy())
        ));
        ControlFlow::Continue(())
    }

    fn describe<'f>(
        &self,
        path: &'f Path,
        place: Place,
        token: &[u8],
    ) -> Result<Finding<'f>, Failure> {
        let text = String::from_utf8_lossy(token).into_owned();
        let kind =
            if text.starts_with(TokenKind::Personal.prefix()) { "personal" } else { "service" };
        let shown = format!("{}…", &text[..SHOWN]);
        let secret = Secret::parse(text).map_err(|why| Failure::failed(why.to_string()))?;
        let view = match &self.opened {
            Some(Opened { config, store }) => find_fast(store, &config.keys, &secret)?,
            None => None,
        };
        let revoke = view.as_ref().filter(|view| view.state == TokenState::Active);
        Ok(Finding {
            file: path.to_string_lossy(),
            line: place.line,
            column: place.column,
            token: shown,
            kind,
            id: view.as_ref().map(|view| view.id),
            account_id: view.as_ref().map(|view| view.account_id),
            name: view.as_ref().map(|view| view.name.clone()),
            state: view.as_ref().map(|view| standing(view, self.now)),
            revoke: revoke.map(|view| format!("portcullis token revoke {}", view.id)),
        })
    }

    fn print(&mut self, finding: &Finding<'_>) -> Result<(), Failure> {
        let text = if self.json {
            let before = if self.found == 1 { "[" } else { "," };
            let json = serde_json::to_string(finding)
                .map_err(|error| Failure::failed(format!("cannot be written as JSON: {error}")))?;
            format!("{before}{json}")
        } else {
            self.line(finding)
        };
        self.write(&text)
    }

    fn line(&self, finding: &Finding<'_>) -> String {
        let Finding { file, line, column, token, kind, .. } = finding;
        let mut text = format!("{}:{line}:{column}: {token} ({kind} token", printable(file));
        match (&finding.id, &finding.account_id, &finding.state) {
            (Some(id), Some(account), Some(state)) => {
                text.push_str(&format!(" {id} of account {account}, {state})"));
            }
            _ if self.opened.is_some() => text.push_str(", not in the store)"),
            _ => text.push(')'),
        }
        if let Some(revoke) = &finding.revoke {
            text.push_str(&format!(": {revoke}"));
        }
        text.push('\n');
        text
    }

    /// Whoever closed the pipe has seen that there is something.
    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = self.stdout.write_all(text.as_bytes()).and_then(|()| self.stdout.flush());
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::silent(Exit::Found),
            _ => Failure::output(&error),
        })
    }

    /// A line for the person at the terminal. There is nobody to tell if that fails.
    fn say(&mut self, line: &str) {
        let _ = writeln!(self.stderr, "{line}").and_then(|()| self.stderr.flush());
    }

    fn conclude(mut self, bytes: u64) -> Result<(), Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.json {
            self.write(if self.found == 0 { "[]\n" } else { "]\n" })?;
        }
        let Self { files, unreadable, found, .. } = self;
        self.say(&format!("{found} tokens in {files} files, {bytes} bytes"));
        match (found, unreadable) {
            (0, 0) => Ok(()),
            (0, _) => Err(Failure::failed(format!("{unreadable} files or folders were not read"))),
            _ => Err(Failure::silent(Exit::Found)),
        }
    }
}

#[cfg(test)]
mod tests;
