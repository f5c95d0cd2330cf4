//! `portcullis import`: many lines at once, each one good or bad by itself.

mod batch;
mod digested;
mod envoy;
mod fields;
mod foreign;
#[cfg(fuzzing)]
pub mod fuzzing;
mod haproxy_map;
mod kong;
mod line;
mod lines;
mod pipeline;
mod progress;
mod redact;
mod rejects;
mod source;
mod strict;
mod yaml;

#[cfg(test)]
mod gateway_tests;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use self::foreign::Foreign;
use self::line::Reader;
use self::pipeline::import_all;
use self::rejects::Rejects;
use self::source::{Input, Source};
use super::exit::{Exit, Failure};
use super::scratch::Scratch;
use super::session::{Opened, Session};
use super::values;
use crate::core::grant::parse_grant;
use crate::core::record::{AccountId, Grant, Plan};
use crate::legacy::verifier::Bounds;
use crate::store::Store;

pub(super) use redact::hide_tokens;

/// What to import, and how.
#[derive(Debug, Args)]
#[command(after_help = "What is there already is left as it is and counted as unchanged: nothing \
    is opened, enabled or revived, and no IP rules are put out of force. An import that was \
    interrupted is taken up by running it again. A refused line goes to the rejects with its \
    number and the reason, without what could recognise the token; the others are imported. \
    Exit 3 if any line was refused.\n\n\
    Files of other gateways have keys and whose they are. What these may do here is said by \
    --grant; the account by --account, or, in a HAProxy map without it, by the value: ACCOUNT or \
    ACCOUNT/NAME. Keys of 64 hexadecimal digits in a map are taken as the SHA-256 of a token \
    unless --keys says plain. Each key becomes a service token with the client's name.\n\n\
    Examples:\n  \
    portcullis import tokens.jsonl --dry-run\n  \
    portcullis import tokens.jsonl --create-accounts enterprise --rejects rejects.jsonl\n  \
    portcullis import tokens.map --from haproxy-map --account 7 --grant job_admin:42\n  \
    portcullis import kong.yaml --from kong --account 7 --grant readonly\n  \
    portcullis import envoy.yaml --from envoy --account 7 --grant readonly\n  \
    ssh other portcullis export | portcullis import -")]
pub(super) struct Import {
    /// The file, `-` for standard input
    file: PathBuf,
    /// The file's format
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    from: Format,
    /// The account of all tokens of another gateway's file
    #[arg(long, value_name = "N")]
    account: Option<AccountId>,
    /// What tokens of another gateway's file may do; can be repeated
    #[arg(long, value_name = "SET[:PROJECT][@CATEGORY+CATEGORY]", value_parser = parse_grant, num_args = 1..)]
    grant: Vec<Grant>,
    /// What the keys of a HAProxy map are
    #[arg(long, value_enum, default_value_t = Keys::Auto)]
    keys: Keys,
    /// Make accounts of this plan, and projects, where lines name some that are not there
    #[arg(long, value_name = "PLAN", value_parser = values::plan())]
    create_accounts: Option<Plan>,
    /// Make an empty store first where the configured one is not there
    #[arg(long, conflicts_with = "dry_run")]
    create_store: bool,
    /// Say what would happen and change nothing: everything is applied to a temporary copy
    #[arg(long)]
    dry_run: bool,
    /// Write refused lines to this file, as JSONL; else to standard error
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
}

/// Formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// What `export` writes
    Jsonl,
    /// Kong's declarative configuration: `keyauth_credentials` (YAML or JSON)
    Kong,
    /// A HAProxy map: `TOKEN NAME`, or the token's SHA-256 in place of it
    HaproxyMap,
    /// Envoy's api_key_auth filter, alone or in a whole configuration (YAML or JSON)
    Envoy,
}

/// What the keys of a HAProxy map are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Keys {
    /// SHA-256 where they have 64 hexadecimal digits, else tokens
    Auto,
    /// Tokens, whatever they look like
    Plain,
}

/// What became of the lines.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Summary {
    lines: u64,
    added: u64,
    unchanged: u64,
    rejected: u64,
}

pub(super) fn run(import: &Import, session: &mut Session<'_>) -> Result<(), Failure> {
    let foreign = foreign(import, session)?;
    let Opened { config, store } =
        if import.create_store { session.open_or_create() } else { session.open() }?;
    let input = Input::open(&import.file, session)?;
    let rejects = open_rejects(import, &input, session)?;
    let size = input.size();
    let reader = Reader { keys: &config.keys, bounds: Bounds::default() };
    let source = Source::begin(import.from, input, reader, foreign, session)?;
    let scratch = if import.dry_run { Some(Scratch::of(&store, &config)?) } else { None };
    let store: &dyn Store = scratch.as_ref().map_or(&store, |scratch| &scratch.store);
    let settings = pipeline::Settings {
        store,
        keys: &config.keys,
        create_accounts: import.create_accounts,
        size,
        dry_run: import.dry_run,
    };
    let summary = import_all(source, rejects, &settings, session)?;
    if session.json {
        session.print_json(&summary)?;
    }
    if summary.rejected > 0 { Err(Failure::silent(Exit::Invalid)) } else { Ok(()) }
}

/// How clients become tokens, where the format leaves that open.
fn foreign(import: &Import, session: &Session<'_>) -> Result<Option<Foreign>, Failure> {
    if import.from == Format::Jsonl {
        if import.account.is_some() || !import.grant.is_empty() || import.keys != Keys::Auto {
            return Err(Failure::usage(
                "--account, --grant and --keys are for other gateways' files: lines of JSON say \
                 these things themselves",
            ));
        }
        return Ok(None);
    }
    if import.grant.is_empty() {
        return Err(Failure::usage(
            "the file does not say what its keys may do: give --grant SET[:PROJECT], for \
             instance --grant readonly",
        ));
    }
    if import.account.is_none() && import.from != Format::HaproxyMap {
        return Err(Failure::usage("the file names no accounts: give --account N"));
    }
    Ok(Some(Foreign {
        account: import.account,
        grants: import.grant.clone(),
        hex_is_sha256: import.from == Format::HaproxyMap && import.keys == Keys::Auto,
        now: session.around.now,
    }))
}

fn open_rejects(import: &Import, input: &Input, session: &Session<'_>) -> Result<Rejects, Failure> {
    let Some(given) = &import.rejects else { return Ok(Rejects::notes(input.name())) };
    let path = session.path(given);
    if let Input::File { path: read, .. } = input
        && let (Ok(read), Ok(written)) = (read.canonicalize(), path.canonicalize())
        && read == written
    {
        return Err(Failure::usage("--rejects names the file that is read: name another"));
    }
    Rejects::file(input.name(), &path).map_err(|error| Failure::file(&path, "written", &error))
}
