//! The command line: one file a command.
//!
//! [`run_with`] does everything through its [`Surroundings`], so that tests run commands in
//! their own process. Data goes to standard output, notes and errors to standard error.

mod account;
mod apply;
mod audit;
mod backup;
mod check;
mod completions;
mod demo;
mod exit;
mod explain;
mod export;
mod id_index;
mod import;
mod init;
mod ip_rule;
mod lane;
mod legacy;
mod man;
mod operator;
mod project;
mod restore;
mod scan;
mod scratch;
mod serve;
mod session;
mod shape;
mod snapshot;
mod standing;
mod table;
mod token;
mod user;
mod values;
mod which;
mod whole_file;

#[cfg(test)]
mod harness;

pub use exit::Exit;
#[cfg(fuzzing)]
pub use import::fuzzing as import_fuzzing;
pub use session::Surroundings;

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use self::exit::Failure;
use self::session::Session;
use crate::config::process_environment;
use crate::core::record::Timestamp;

/// Names the configuration file where `-c` does not.
const CONFIG_VARIABLE: &str = "PORTCULLIS_CONFIG";
/// The configuration file where nothing names one.
const CONFIG_DEFAULT: &str = "portcullis.toml";

/// Token-validation sidecar and reverse proxy.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    about,
    propagate_version = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 configuration or data invalid, \
                  4 denied, 5 found something"
)]
pub struct Cli {
    /// The configuration file; else the variable PORTCULLIS_CONFIG, else portcullis.toml
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    json: bool,
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it: a gate before a sample API, with tokens to use, leaving nothing behind
    Demo(demo::Demo),
    /// Make a configuration, keys, a store and a first token in a folder
    Init(init::Init),
    /// Check the configuration and everything that it names, starting nothing
    Check,
    /// Run the gate, until SIGTERM or Ctrl-C
    Serve,
    /// Run the slow lane as a process of its own, for gates with `[legacy] socket` to ask
    Lane,
    /// Say what would come of a request, step by step, and what would change it
    Explain(explain::Explain),
    /// Accounts: create, list, show, set-plan, close, open
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Projects of an account: create, list, remove
    #[command(subcommand)]
    Project(project::ProjectCommand),
    /// Users of an account: create, list, remove
    #[command(subcommand)]
    User(user::UserCommand),
    /// IP rules of an account: allow, deny, list, remove, enable, disable, try
    #[command(subcommand)]
    IpRule(ip_rule::IpRuleCommand),
    /// Which project an id in a path belongs to: set, list, remove
    #[command(subcommand)]
    IdIndex(id_index::IdIndexCommand),
    /// Tokens: create, list, show, revoke, rotate, verify
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Read accounts, tokens and the rest from a file, in bulk
    Import(import::Import),
    /// Make accounts and what they have as a file declares, after printing what that changes
    Apply(apply::Apply),
    /// Write accounts, tokens and the rest as lines that import reads; never a secret
    Export(export::Export),
    /// Find tokens in files that should hold none
    Scan(scan::Scan),
    /// Who changed what: list, find, verify
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Legacy tokens: report
    #[command(subcommand)]
    Legacy(legacy::LegacyCommand),
    /// Copy the store as it is at one moment, while it is in use
    Backup(backup::Backup),
    /// Put a backup in the place of the store
    Restore(restore::Restore),
    /// Snapshots that gates can start from: build, inspect, verify
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Print a script that completes commands in a shell
    Completions(completions::Completions),
    /// Write manual pages, one a command
    Man(man::Man),
}

/// Runs the command that the arguments name, with this process's streams and environment.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    crate::app::silence_panics();
    let mut stdout = BufWriter::new(io::stdout().lock());
    let around = Surroundings {
        stdin: &mut io::stdin().lock(),
        stdout: &mut stdout,
        stderr: &mut io::stderr(),
        stderr_is_terminal: io::stderr().is_terminal(),
        environment: process_environment().collect(),
        directory: PathBuf::new(),
        now: Timestamp(jiff::Timestamp::now().as_second()),
    };
    run_with(arguments, around)
}

/// Runs the command that the arguments name; the first is the program's own name.
pub fn run_with(
    arguments: impl IntoIterator<Item = OsString>,
    mut around: Surroundings<'_>,
) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return misused(&error, &mut around),
    };
    let named = || around.environment.get(CONFIG_VARIABLE).filter(|name| !name.is_empty());
    let config_file = cli
        .config
        .or_else(|| named().map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(CONFIG_DEFAULT));
    let mut session = Session { around, config_file, json: cli.json };
    let outcome = dispatch(cli.command, &mut session).and_then(|()| session.print(""));
    match outcome {
        Ok(()) => Exit::Done,
        Err(Failure { exit, message }) => {
            if let Some(message) = message {
                session.say(&format!("portcullis: {message}"));
            }
            exit
        }
    }
}

fn dispatch(command: Command, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        Command::Init(init) => init::run(&init, session),
        Command::Demo(demo) => demo::run(&demo, session),
        Command::Check => check::run(session),
        Command::Serve => serve::run(session),
        Command::Lane => lane::run(session),
        Command::Explain(explain) => explain::run(explain, session),
        Command::Account(command) => account::run(command, session),
        Command::Project(command) => project::run(command, session),
        Command::User(command) => user::run(command, session),
        Command::IpRule(command) => ip_rule::run(command, session),
        Command::IdIndex(command) => id_index::run(command, session),
        Command::Token(command) => token::run(command, session),
        Command::Import(command) => import::run(&command, session),
        Command::Apply(command) => apply::run(&command, session),
        Command::Export(command) => export::run(&command, session),
        Command::Scan(scan) => scan::run(&scan, session),
        Command::Audit(command) => audit::run(command, session),
        Command::Legacy(command) => legacy::run(&command, session),
        Command::Backup(backup) => backup::run(&backup, session),
        Command::Restore(restore) => restore::run(&restore, session),
        Command::Snapshot(command) => snapshot::run(command, session),
        Command::Completions(completions) => completions::run(&completions, session),
        Command::Man(man) => man::run(&man, session),
    }
}

/// Help and version are data; anything else that clap says is an error. A token that was given
/// where it does not belong is not repeated.
fn misused(error: &clap::Error, around: &mut Surroundings<'_>) -> Exit {
    let text = error.render().to_string();
    let (out, exit) = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => (&mut around.stdout, Exit::Done),
        _ => (&mut around.stderr, Exit::Usage),
    };
    let text = import::hide_tokens(&text);
    // Whoever asked has gone if this fails.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    exit
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use clap::CommandFactory;

    use super::harness::Harness;
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_and_version_go_to_standard_output_and_mistakes_to_standard_error() {
        let harness = Harness::empty();
        for arguments in [&["--help"][..], &["--version"], &["token", "create", "--help"]] {
            let ran = harness.run(arguments).expect(Exit::Done);
            assert!(!ran.stdout.is_empty() && ran.stderr.is_empty(), "{ran:?}");
        }
        for arguments in [&[][..], &["bogus"], &["token"], &["account", "show"]] {
            let ran = harness.run(arguments).expect(Exit::Usage);
            assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{ran:?}");
        }
    }

    /// A pipe that whoever read it has closed.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn run_closed(harness: &Harness, arguments: &[&str]) -> (Exit, String) {
        let mut stderr = Vec::new();
        let program = std::iter::once("portcullis").chain(arguments.iter().copied());
        let around = Surroundings {
            stdin: &mut io::empty(),
            stdout: &mut Closed,
            stderr: &mut stderr,
            stderr_is_terminal: false,
            environment: Default::default(),
            directory: harness.path(""),
            now: Timestamp(harness::NOW),
        };
        let exit = run_with(program.map(OsString::from), around);
        (exit, String::from_utf8(stderr).unwrap())
    }

    #[test]
    fn a_closed_pipe_ends_quietly_but_for_a_secret_that_nobody_saw() {
        let harness = Harness::with_account();
        for arguments in
            [&["account", "list"][..], &["export"], &["token", "list", "--account", "1", "--json"]]
        {
            assert_eq!(run_closed(&harness, arguments), (Exit::Done, String::new()));
        }
        let create = ["token", "create", "--account", "1", "--name", "t", "--grant", "job_admin"];
        let (exit, stderr) = run_closed(&harness, &create);
        assert_eq!(exit, Exit::Failed);
        assert!(stderr.contains("portcullis token revoke"), "{stderr}");
    }
}
