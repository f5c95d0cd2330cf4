//! The three files of a configuration: in force whole, or everything that is wrong with it told
//! with its place. A line `%% routes` and one `%% permission_sets` part an input into the files.

#![no_main]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use portcullis::config::{Config, Diagnostic, load, render};
use tempfile::TempDir;

const KEY: &str = "MARKED1:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";
const NAMES: [&str; 4] = ["portcullis.toml", "routes.toml", "permission_sets.toml", "digest.key"];

fuzz_target!(|text: &str| {
    let (main, rest) = text.split_once("%% routes\n").unwrap_or((text, ""));
    let (routes, sets) = rest.split_once("%% permission_sets\n").unwrap_or((rest, ""));
    let texts = [main, routes, sets, KEY];
    let folder = folder();
    for (name, text) in NAMES.iter().zip(texts).take(3) {
        fs::write(folder.path().join(name), text).unwrap();
    }
    match read() {
        Ok(config) => is_whole(&config),
        Err(diagnostics) => are_told_with_their_place(&diagnostics, &texts),
    }
});

fn read() -> Result<Config, Vec<Diagnostic>> {
    load(&folder().path().join("portcullis.toml"), [])
}

/// In memory where there is such a place: the files are written each time.
fn folder() -> &'static TempDir {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let key = folder.path().join("digest.key");
        fs::write(&key, KEY).unwrap();
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
        folder
    })
}

fn is_whole(config: &Config) {
    assert!(!config.upstreams.is_empty() && config.keys.find("MARKED1").is_some());
    assert!(config.upstreams.iter().all(|upstream| !upstream.endpoints.is_empty()));
    assert!(config.limits.headers > 0 && config.legacy.threads > 0);
    assert!(!format!("{config:?}").contains(&KEY[8..]));
    let again = read().expect("what was right is still right");
    assert_eq!((again.gate, again.limits), (config.gate.clone(), config.limits.clone()));
    assert_eq!(again.routes.len(), config.routes.len());
}

fn are_told_with_their_place(diagnostics: &[Diagnostic], texts: &[&str; 4]) {
    assert!(!diagnostics.is_empty());
    for one in diagnostics {
        assert!(!one.message.is_empty() && !one.message.contains('\n'), "{one}");
        if let Some(at) = NAMES.iter().position(|name| one.file.ends_with(name)) {
            assert!(one.line <= texts[at].split('\n').count().max(1), "{one}");
        }
    }
    let told = render(diagnostics);
    assert!(told.contains(": error: ") && !told.contains(&KEY[8..]), "{told}");
}
