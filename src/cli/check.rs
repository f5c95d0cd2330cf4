//! `portcullis check`: whether the configuration could be served, starting nothing.

use std::path::Path;

use serde::Serialize;

use super::exit::{Exit, Failure};
use super::session::Session;
use crate::config::{self, Config, Diagnostic, Severity};
use crate::control::unnamed_resources;
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
            diagnostics.extend(management_diagnostic(&config));
            conclude(Some(&config), &diagnostics, session)
        }
        Err(errors) => conclude(None, &errors, session),
    }
}

/// What is wrong with the store. That it is not there yet is worth a warning only, so that a
/// configuration can be checked before it is rolled out.
fn store_diagnostic(config: &Config) -> Option<Diagnostic> {
    let path = config.store_file()?;
    let about = |severity, message, help| about(path, severity, message, help);
    if !path.exists() {
        return Some(about(
            Severity::Warning,
            "there is no store".to_owned(),
            "make one with `portcullis init DIR`, or correct `[store] url`",
        ));
    }
    let opened = SqliteStore::open(path, crate::app::store_rules(config))
        .and_then(|store| store.data_version());
    let error = opened.err()?;
    Some(about(Severity::Error, error.to_string(), "correct `[store] url`, or restore a backup"))
}

/// What nobody could do over the management API, if there is one.
fn management_diagnostic(config: &Config) -> Option<Diagnostic> {
    let unnamed = config.control.as_ref().map(|_| unnamed_resources(&config.permission_sets))?;
    if unnamed.is_empty() {
        return None;
    }
    let names: Vec<String> = unnamed.iter().map(|name| format!("`{name}`")).collect();
    let message = format!(
        "no permission set names {}: nobody can call what needs that in the management API",
        names.join(", ")
    );
    let help = "name them in the sets of those who shall manage tokens and accounts";
    Some(about(&config.file, Severity::Warning, message, help))
}

/// Something about a file as a whole.
fn about(file: &Path, severity: Severity, message: String, help: &str) -> Diagnostic {
    Diagnostic {
        severity,
        file: file.display().to_string(),
        line: 0,
        column: 0,
        excerpt: String::new(),
        width: 0,
        message,
        help: Some(help.to_owned()),
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::harness::Harness;

    #[test]
    fn a_missing_store_is_a_warning_and_a_broken_one_an_error() {
        let harness = Harness::new();
        std::fs::remove_file(harness.path("portcullis.db")).unwrap();
        let ran = harness.ok("check");
        assert!(ran.stderr.contains("there is no store"), "{ran:?}");
        harness.write("portcullis.db", "not a database, but long enough to be looked at");
        let ran = harness.run(&["check"]).expect(Exit::Invalid);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("portcullis.db"), "{ran:?}");
    }

    #[test]
    fn errors_are_told_with_file_and_line_and_as_json() {
        let harness = Harness::new();
        harness.write("portcullis.toml", "[gate]\nlisen = []\n");
        let ran = harness.run(&["check"]).expect(Exit::Invalid);
        assert!(ran.stderr.contains("portcullis.toml:2"), "{ran:?}");
        let ran = harness.run(&["check", "--json"]).expect(Exit::Invalid);
        assert_eq!(ran.json()["ok"], false);
        let json = ran.json();
        let diagnostics = json["diagnostics"].as_array().unwrap();
        assert!(diagnostics.iter().any(|one| one["line"] == 2), "{diagnostics:?}");
        assert_eq!(harness.run(&["account", "list"]).exit, Exit::Invalid);
    }

    #[test]
    fn the_configuration_file_comes_from_the_option_then_the_variable() {
        let harness = Harness::empty();
        harness.run(&["init", "there"]).expect(Exit::Done);
        assert_eq!(harness.run(&["check"]).exit, Exit::Invalid);
        let variable =
            BTreeMap::from([("PORTCULLIS_CONFIG".to_owned(), "there/portcullis.toml".to_owned())]);
        harness.run_in(&["check"], b"", variable.clone()).expect(Exit::Done);
        let elsewhere = ["check", "-c", "nowhere.toml"];
        harness.run_in(&elsewhere, b"", variable).expect(Exit::Invalid);
    }

    #[test]
    fn what_nobody_could_do_over_the_management_api_is_told() {
        let harness = Harness::new();
        let listen = "127.0.0.1:9091".to_owned();
        let control = BTreeMap::from([("PORTCULLIS_CONTROL__LISTEN".to_owned(), listen)]);
        let check = || harness.run_in(&["check"], b"", control.clone()).expect(Exit::Done).stderr;
        let quiet = check();
        assert!(!quiet.contains("no permission set names"), "{quiet}");
        harness.write(
            "routes.toml",
            "[[route]]\npath = \"/\"\nrequires = \"Jobs:R\"\nproject = \"any\"\nupstream = \"api\"\n",
        );
        harness.write(
            "permission_sets.toml",
            "[sets.jobs]\nfamily = \"project\"\nread = [\"Jobs\"]\nplans = [\"team\"]\n",
        );
        let warned = check();
        assert!(warned.contains("portcullis.toml: warning: no permission set names"), "{warned}");
        assert!(warned.contains("`Service tokens`"), "{warned}");
    }
}
