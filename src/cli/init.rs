//! `portcullis init`: a folder with everything that `serve` needs, and the first token.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::exit::{Exit, Failure};
use super::session::{Session, store_path};
use super::token::{make_secret, print_issued};
use crate::config::{self, Config, samples};
use crate::control::OPERATOR_ACCOUNT;
use crate::core::record::{AccountState, Grant, Plan, TokenState};
use crate::core::token::{Secret, TokenKind};
use crate::store::{Command, NewToken, Outcome, SqliteStore, Store, TokenView};

/// What the bootstrap token may do: create accounts and their first admin token.
const BOOTSTRAP_SET: &str = "account_admin";

const CONFIG: &str = "portcullis.toml";
const ROUTES: &str = "routes.toml";
const PERMISSION_SETS: &str = "permission_sets.toml";
const KEYS: &str = "digest.key";
const STORE: &str = "portcullis.db";

/// Where to begin.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// The folder; made if it is not there. Nothing in it is overwritten
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn run(init: &Init, session: &mut Session<'_>) -> Result<(), Failure> {
    let directory = session.path(&init.directory);
    refuse_existing(&directory)?;
    let mut made = Made::default();
    let (secret, view) = fill(&directory, &mut made, session)?;
    made.keep();
    print_issued(&secret, &view, session)?;
    session.say(&next_steps(&directory.join(CONFIG)));
    Ok(())
}

/// What has been written so far; removed again if a later step fails.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn refuse_existing(directory: &Path) -> Result<(), Failure> {
    let existing = [CONFIG, ROUTES, PERMISSION_SETS, KEYS, STORE]
        .map(|name| directory.join(name))
        .into_iter()
        .find(|path| path.symlink_metadata().is_ok());
    existing.map_or(Ok(()), |path| {
        Err(Failure::failed(format!(
            "{} exists already: nothing was written; choose another folder or move the file away",
            path.display()
        )))
    })
}

fn fill(
    directory: &Path,
    made: &mut Made,
    session: &mut Session<'_>,
) -> Result<(Secret, TokenView), Failure> {
    let config_file = directory.join(CONFIG);
    write_files(directory, samples::PORTCULLIS, made)?;
    // Without the environment: what is made here must fit together by itself.
    let config = config::load(&config_file, std::iter::empty()).map_err(|errors| {
        session.say_raw(&config::render(&errors));
        Failure { exit: Exit::Invalid, message: Some("the samples are invalid".to_owned()) }
    })?;
    let path = store_path(&config)?;
    let store = SqliteStore::create(path, crate::app::store_rules(&config))?;
    made.0.extend(["", "-wal", "-shm"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    }));
    bootstrap(&store, &config, session)
}

/// Writes a configuration of its own text, with the sample routes and permission sets and a new
/// key, into a folder.
pub(super) fn write_configuration(directory: &Path, text: &str) -> Result<(), Failure> {
    let mut made = Made::default();
    write_files(directory, text, &mut made)?;
    made.keep();
    Ok(())
}

fn write_files(directory: &Path, text: &str, made: &mut Made) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| Failure::file(directory, "made", &error))?;
    write_new(&directory.join(CONFIG), 0o644, text, made)?;
    write_new(&directory.join(ROUTES), 0o644, samples::ROUTES, made)?;
    write_new(&directory.join(PERMISSION_SETS), 0o644, samples::PERMISSION_SETS, made)?;
    write_new(&directory.join(KEYS), 0o600, &new_key()?, made)
}

fn write_new(path: &Path, mode: u32, text: &str, made: &mut Made) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file(path, "written", &error);
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(failed)?;
    made.0.push(path.to_owned());
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// One line of `digest.key`.
fn new_key() -> Result<Zeroizing<String>, Failure> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key).map_err(|error| {
        Failure::failed(format!("the operating system gives no random bytes: {error}"))
    })?;
    let hex = Zeroizing::new(hex::encode(*key));
    Ok(Zeroizing::new(format!("k1:{}\n", *hex)))
}

fn bootstrap(
    store: &dyn Store,
    config: &Config,
    session: &Session<'_>,
) -> Result<(Secret, TokenView), Failure> {
    let actor = session.actor();
    store.apply(
        &actor,
        Command::CreateAccount {
            id: OPERATOR_ACCOUNT,
            name: "operator".to_owned(),
            plan: Plan::EnterprisePlus,
            state: AccountState::Open,
        },
    )?;
    let (secret, verifier) = make_secret(TokenKind::Service, &config.keys)?;
    let token = NewToken {
        account_id: OPERATOR_ACCOUNT,
        name: "bootstrap".to_owned(),
        user_id: None,
        state: TokenState::Active,
        created_at: session.around.now,
        not_before: None,
        expires_at: None,
        allow_ips: Vec::new(),
        grants: vec![Grant {
            permission_set: BOOTSTRAP_SET.to_owned(),
            project_id: None,
            writable_environment_categories: Vec::new(),
        }],
        verifier,
    };
    let (Outcome::Changed { id } | Outcome::Unchanged { id }) =
        store.apply(&actor, Command::CreateToken(Box::new(token)))?;
    Ok((secret, store.token(id)?))
}

fn next_steps(config: &Path) -> String {
    let config = config.display();
    format!(
        "it is the bootstrap token: with it, the management API makes accounts and their first \
         admin token\n\
         next: put your upstream and routes into {config} and {ROUTES} beside it, then\n  \
         portcullis -c {config} check\n  \
         portcullis -c {config} account create --id 1 --name NAME --plan enterprise\n  \
         portcullis -c {config} token create --account 1 --name NAME --grant job_admin\n  \
         portcullis -c {config} serve\n\
         keep a copy of {KEYS} apart from backups of the store: without it no token verifies"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::harness::Harness;
    use crate::core::token::is_ours;

    #[test]
    fn init_makes_everything_that_check_asks_for_and_prints_a_token_once() {
        let harness = Harness::empty();
        let ran = harness.run(&["init", "deep/folder"]).expect(Exit::Done);
        let token = ran.json()["token"].as_str().unwrap().to_owned();
        assert!(is_ours(token.as_bytes()));
        assert_eq!(ran.json()["account_id"], 0);
        let mode = |name: &str| harness.path(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("deep/folder/digest.key"), mode("deep/folder")), (0o600, 0o700));
        let key = harness.read("deep/folder/digest.key");
        assert_eq!((key.len(), key.get(..3), key.lines().count()), (68, Some("k1:"), 1));
        let checked = harness.ok("-c deep/folder/portcullis.toml check");
        assert!(checked.stdout.starts_with("configuration ok: "), "{checked:?}");
        assert!(!ran.stderr.contains(&token) && !checked.stderr.contains("no store"));
    }

    #[test]
    fn init_overwrites_nothing_and_then_writes_nothing() {
        for name in [CONFIG, ROUTES, PERMISSION_SETS, KEYS, STORE] {
            let harness = Harness::empty();
            harness.write(name, "mine");
            let ran = harness.run(&["init", "."]).expect(Exit::Failed);
            assert!(ran.stderr.contains(name), "{ran:?}");
            assert_eq!(harness.read(name), "mine");
            assert_eq!(std::fs::read_dir(harness.path(".")).unwrap().count(), 1);
        }
    }

    #[test]
    fn init_removes_what_it_made_if_it_cannot_finish() {
        let harness = Harness::empty();
        let made = Made(vec![harness.path("half")]);
        harness.write("half", "");
        drop(made);
        assert!(!harness.path("half").exists());
    }
}
