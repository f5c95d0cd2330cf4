//! Reads the whole configuration: the file, the environment and the files that it names.

use std::path::Path;
use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::env::{self, Environment};
use super::files::{self, Files};
use super::read::Table;
use super::report::{Mistake, Report};
use super::source::{At, Source};
use super::tree::{self, Entries};
use super::{
    Config, Gate, LaneConfig, Legacy, Listen, Origin, Upgrade, client_ip, feed, gate, keys, legacy,
    limits, listen, permission_sets, routes, schema, store, tls, upstreams, usage,
};

/// What to do where the file cannot be read.
const NO_FILE: &str = "name the file with -c, or make one with `portcullis init DIR`";

/// Reads a configuration, with `environment` going before the file.
///
/// # Errors
/// Everything that is wrong with it, in the order of files and lines. If `file` itself cannot be
/// read or is not TOML, only that.
pub fn load(
    file: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Vec<Diagnostic>> {
    let (config, warnings) =
        load_with(file, environment, |root, environment| read(file, root, environment))?;
    Ok(Config { warnings, ..config })
}

/// Reads what `portcullis lane` needs of the same configuration: `[legacy]` alone, and no file that
/// it names, so that the process need not be given keys or secrets.
///
/// # Errors
/// Everything that is wrong there, likewise.
pub fn load_lane(
    file: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<LaneConfig, Vec<Diagnostic>> {
    let (config, warnings) = load_with(file, environment, |root, _| {
        root.allow(&schema::sections());
        legacy::require_socket(root);
        let legacy = legacy::read_lane(root, Files::beside(file).base());
        let socket = legacy.socket.clone()?;
        Some(LaneConfig { file: file.to_path_buf(), legacy, socket, warnings: Vec::new() })
    })?;
    Ok(LaneConfig { warnings, ..config })
}

/// What `read` makes of a file and the environment, and what is to be warned of.
fn load_with<T>(
    file: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
    read: impl FnOnce(&Table<'_>, &Environment) -> Option<T>,
) -> Result<(T, Vec<Diagnostic>), Vec<Diagnostic>> {
    let environment: Environment = environment.into_iter().collect();
    let report = Report::default();
    let value = parse_file(file, Some(NO_FILE), &report).and_then(|(mut entries, source)| {
        env::apply(&mut entries, &environment, &report);
        read(&Table::root(&entries, source, &report), &environment)
    });
    let (errors, warnings) = report.finish();
    match value {
        Some(value) if errors.is_empty() => Ok((value, warnings)),
        _ => Err(errors),
    }
}

/// A file as a tree, and the number of its source. `help`: what to do where it cannot be read.
pub(super) fn parse_file(
    file: &Path,
    help: Option<&str>,
    report: &Report,
) -> Option<(Entries, usize)> {
    let text = match std::fs::File::open(file).and_then(files::text) {
        Ok(text) => text,
        Err(error) => {
            let at = At::whole(report.add(Source::opaque(file.display().to_string())));
            let mistake = Mistake::new(format!("cannot read it: {error}"));
            report.error(at, help.into_iter().fold(mistake, Mistake::help));
            return None;
        }
    };
    let source = report.add(Source::file(file, text.clone()));
    Some((tree::parse(&text, source, report)?, source))
}

fn read(file: &Path, root: &Table<'_>, environment: &Environment) -> Option<Config> {
    root.allow(&schema::sections());
    let files = Files::beside(file);
    let base = files.base();
    let gate = gate::read(root, &files);
    let admin = store::admin(root, base);
    let control = store::control(root, base);
    let control_tls = tls::of_control(&root.section("control"), &files);
    let upstreams = upstreams::read(root, &files, environment);
    let mut legacy = legacy::read(root, &files, environment);
    check_listeners(root, &gate, admin.as_ref(), control.as_ref(), &legacy);
    let client_ip = client_ip::read(root);
    let limits = limits::read(root);
    let usage = usage::read(root);
    let origin = origin(root, &files, environment, control.is_some());
    if matches!(origin, Some(Origin::Feed(_))) && legacy.upgrade != Upgrade::Never {
        legacy.upgrade = Upgrade::Never;
        root.section("legacy").warn(
            "upgrade",
            Mistake::new("`upgrade` has no effect on a gate that follows a control")
                .help("tokens become fast ones at gates that have the store, or by rotation"),
        );
    }
    let keys = keys::read(root, &files, environment);
    let permission_sets = permission_sets::read(root, &files);
    let routes = routes::read(root, &files, &upstreams, &limits.groups, permission_sets.as_ref());
    Some(Config {
        file: file.to_path_buf(),
        files: files.into_read(),
        gate,
        upstreams,
        routes: Arc::new(routes?),
        permission_sets: Arc::new(permission_sets?),
        keys: Arc::new(keys?),
        origin: origin?,
        legacy,
        client_ip,
        limits,
        usage,
        admin,
        control,
        control_tls,
        warnings: Vec::new(),
    })
}

/// A control that is followed, or a store.
fn origin(
    root: &Table<'_>,
    files: &Files,
    environment: &Environment,
    is_control: bool,
) -> Option<Origin> {
    if !feed::is_followed(root) {
        return store::read(root, files.base()).map(Origin::Store);
    }
    store::refuse_beside_feed(root);
    if is_control {
        root.section("control").error(
            "listen",
            Mistake::new("a gate that follows a control ([feed] `url`) cannot be one")
                .help("[control] needs a store of its own: keep one of the two sections"),
        );
    }
    feed::read(root, files, environment).map(Origin::Feed)
}

fn check_listeners(
    root: &Table<'_>,
    gate: &Gate,
    admin: Option<&Listen>,
    control: Option<&Listen>,
    legacy: &Legacy,
) {
    let of_gate = || gate.listen.iter().chain(&gate.listen_tls);
    let taken = |other: &Listen| of_gate().any(|of_gate| listen::clash(of_gate, other));
    if admin.is_some_and(taken) {
        root.section("admin").error("listen", listen::taken());
    }
    let of_admin = |control: &Listen| admin.is_some_and(|admin| listen::clash(admin, control));
    if control.is_some_and(|control| taken(control) || of_admin(control)) {
        root.section("control").error("listen", listen::taken());
    }
    let socket = legacy.socket.clone().map(Listen::Unix);
    let of_process = |other: &Listen| {
        let others = admin.into_iter().chain(control);
        taken(other) || others.into_iter().any(|listener| listen::clash(listener, other))
    };
    if socket.as_ref().is_some_and(of_process) {
        root.section("legacy").error("socket", listen::taken());
    }
    let of_lane = |other: &Listen| of_process(other) || socket.as_ref() == Some(other);
    if legacy.socket.is_some() && legacy.admin.as_ref().is_some_and(of_lane) {
        root.section("legacy").error("admin", listen::taken());
    }
}
