//! What a command runs in: streams, environment, clock and the options that hold for all.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use zeroize::Zeroizing;

use super::exit::{Exit, Failure};
use super::{CONFIG_DEFAULT, CONFIG_VARIABLE, operator};
use crate::config::{self, Config, Diagnostic};
use crate::core::record::Timestamp;
use crate::core::token::FOREIGN_LEN;
use crate::store::{Actor, SqliteStore, StoreError};

/// Most bytes that are read of a secret: the longest token, a line end, and one that is too many.
const SECRET_LINE_LIMIT: usize = *FOREIGN_LEN.end() + 3;

/// Everything outside that a command may touch, so that tests can stand in for it.
pub struct Surroundings<'io> {
    /// Standard input.
    pub stdin: &'io mut dyn BufRead,
    /// Standard output: data.
    pub stdout: &'io mut dyn Write,
    /// Standard error: progress, notes and errors.
    pub stderr: &'io mut dyn Write,
    /// Whether a person watches standard error.
    pub stderr_is_terminal: bool,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// What relative paths on the command line are relative to; empty: the working directory.
    pub directory: PathBuf,
    /// Now.
    pub now: Timestamp,
}

/// A command's view of its surroundings and of the options for all commands.
pub(super) struct Session<'io> {
    pub(super) around: Surroundings<'io>,
    pub(super) config_file: PathBuf,
    pub(super) json: bool,
}

/// A loaded configuration and the store that it names.
pub(super) struct Opened {
    pub(super) config: Config,
    pub(super) store: SqliteStore,
}

impl Session<'_> {
    /// A path from the command line.
    pub(super) fn path(&self, given: &Path) -> PathBuf {
        self.around.directory.join(given)
    }

    /// A command for the person at the terminal to copy: about the same configuration.
    pub(super) fn as_typed(&self, command: &str) -> String {
        let file = self.config_file.to_string_lossy();
        let found = self.around.environment.get(CONFIG_VARIABLE).is_some_and(|name| *name == file);
        match command.strip_prefix("portcullis ") {
            Some(rest) if !found && file != CONFIG_DEFAULT => {
                format!("portcullis -c {} {rest}", quoted(&file))
            }
            _ => command.to_owned(),
        }
    }

    /// Loads the configuration and says on standard error everything that is wrong with it.
    pub(super) fn load_config(&mut self) -> Result<Config, Failure> {
        let file = self.path(&self.config_file);
        let loaded = config::load(&file, self.around.environment.clone());
        self.or_told(loaded)
    }

    /// What was loaded of the configuration, or everything that is wrong with it said likewise.
    pub(super) fn or_told<T>(&mut self, loaded: Result<T, Vec<Diagnostic>>) -> Result<T, Failure> {
        let file = self.path(&self.config_file);
        loaded.map_err(|errors| {
            self.say_raw(&config::render(&errors));
            let hint = "run `portcullis check` after correcting it";
            let message = format!("{}: the configuration is invalid; {hint}", file.display());
            Failure { exit: Exit::Invalid, message: Some(message) }
        })
    }

    /// Who runs this command, for the audit log.
    pub(super) fn actor(&self) -> Actor {
        operator::actor()
    }

    /// Loads the configuration and opens the store.
    pub(super) fn open(&mut self) -> Result<Opened, Failure> {
        let config = self.load_config()?;
        let store = SqliteStore::open(store_path(&config)?, crate::app::store_rules(&config))?;
        Ok(Opened { config, store })
    }

    /// Like [`Self::open`], making an empty store where there is none.
    pub(super) fn open_or_create(&mut self) -> Result<Opened, Failure> {
        let config = self.load_config()?;
        let (path, rules) = (store_path(&config)?, crate::app::store_rules(&config));
        let store = match SqliteStore::create(path, rules.clone()) {
            Ok(store) => {
                self.say(&format!("{}: an empty store was made", path.display()));
                store
            }
            // Whatever is there has to be a store, or opening it says what it is.
            Err(StoreError::Conflict(_)) => SqliteStore::open(path, rules)?,
            Err(error) => return Err(error.into()),
        };
        Ok(Opened { config, store })
    }

    /// The first line of standard input, without its end: where secrets are given, since nobody
    /// else can see them there. Longer than any token where there is more than a token.
    pub(super) fn read_secret_line(&mut self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut line = Zeroizing::new(Vec::with_capacity(SECRET_LINE_LIMIT));
        let mut limited = Read::take(&mut *self.around.stdin, SECRET_LINE_LIMIT as u64);
        limited
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::failed(format!("standard input cannot be read: {error}")))?;
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        }
        Ok(line)
    }

    /// Prints one JSON document.
    pub(super) fn print_json(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(document)
            .map_err(|error| Failure::failed(format!("cannot be written as JSON: {error}")))?;
        self.print(&format!("{text}\n"))
    }

    /// Prints text, which brings its own line ends.
    pub(super) fn print(&mut self, text: &str) -> Result<(), Failure> {
        let out = &mut self.around.stdout;
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| Failure::output(&error))
    }

    /// A line for the person at the terminal. There is nobody to tell if that fails.
    pub(super) fn say(&mut self, line: &str) {
        self.say_raw(&format!("{line}\n"));
    }

    /// Text for the person at the terminal, with its own line ends.
    pub(super) fn say_raw(&mut self, text: &str) {
        let _ = self.around.stderr.write_all(text.as_bytes());
        let _ = self.around.stderr.flush();
    }

    /// What a changing command did: the thing as JSON, or a line for people.
    pub(super) fn report(&mut self, thing: &impl Serialize, line: &str) -> Result<(), Failure> {
        if self.json {
            return self.print_json(thing);
        }
        self.say(line);
        Ok(())
    }
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The file of the store.
pub(super) fn store_path(config: &Config) -> Result<&Path, Failure> {
    config.store_file().ok_or_else(|| {
        Failure::failed(format!(
            "{}: this gate follows a control ([feed] `url`) and has no store: run the command where \
             the store is",
            config.file.display()
        ))
    })
}
