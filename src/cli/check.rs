//! `portcullis check`: whether the configuration could be served, starting nothing.

use serde::Serialize;

use super::exit::{Exit, Failure};
use super::session::{Session, rules, store_path};
use crate::config::{self, Config, Diagnostic, Severity};
use crate::store::{SqliteStore, Store};

/// What was found, for scripts.
#[derive(Serialize)]
struct Finding<'c> {
    ok: bool,
    routes: usize,
    permission_sets: usize,
    upstreams: usize,
    diagnostics: &'c [Diagnostic],
}

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let file = session.path(&session.config_file);
    match config::load(&file, session.around.environment.clone()) {
        Ok(config) => {
            let mut diagnostics = config.warnings.clone();
            diagnostics.extend(store_diagnostic(&config));
            conclude(Some(&config), &diagnostics, session)
        }
        Err(errors) => conclude(None, &errors, session),
    }
}

/// What is wrong with the store. That it is not there yet is worth a warning only, so that a
/// configuration can be checked before it is rolled out.
fn store_diagnostic(config: &Config) -> Option<Diagnostic> {
    let path = store_path(config);
    let about = |severity, message: String, help: &str| Diagnostic {
        severity,
        file: path.display().to_string(),
        line: 0,
        column: 0,
        excerpt: String::new(),
        width: 0,
        message,
        help: Some(help.to_owned()),
    };
    if !path.exists() {
        return Some(about(
            Severity::Warning,
            "there is no store".to_owned(),
            "make one with `portcullis init DIR`, or correct `[store] url`",
        ));
    }
    let opened = SqliteStore::open(path, rules(config)).and_then(|store| store.data_version());
    let error = opened.err()?;
    Some(about(Severity::Error, error.to_string(), "correct `[store] url`, or restore a backup"))
}

fn conclude(
    config: Option<&Config>,
    diagnostics: &[Diagnostic],
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let errors = diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
    let routes = config.map_or(0, |config| config.routes.len());
    let permission_sets = config.map_or(0, |config| config.permission_sets.iter().count());
    let upstreams = config.map_or(0, |config| config.upstreams.len());
    session.say_raw(&config::render(diagnostics));
    if session.json {
        let ok = errors == 0;
        session.print_json(&Finding { ok, routes, permission_sets, upstreams, diagnostics })?;
    } else if errors == 0 {
        session.print(&format!(
            "configuration ok: {routes} routes, {permission_sets} permission sets, {upstreams} \
             upstreams\n"
        ))?;
    }
    if errors == 0 {
        return Ok(());
    }
    let noun = if errors == 1 { "error" } else { "errors" };
    let file = session.path(&session.config_file);
    let message = format!("{}: {errors} {noun}; nothing was started", file.display());
    Err(Failure { exit: Exit::Invalid, message: Some(message) })
}
