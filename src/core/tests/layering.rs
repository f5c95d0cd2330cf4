//! Who may import whom: read from the sources, since the compiler does not know.

use std::fs;
use std::path::{Path, PathBuf};

/// Crates that the core may use: they compute, and know nothing of files, sockets or clocks.
const CORE_CRATES: [&str; 11] = [
    "blake3",
    "crc32fast",
    "foldhash",
    "hex",
    "ipnet",
    "jiff",
    "serde",
    "sha2",
    "subtle",
    "thiserror",
    "zeroize",
];
/// Parts of the standard library that the core may use.
const CORE_STD: [&str; 12] = [
    "arch",
    "cmp",
    "collections",
    "fmt",
    "hash",
    "iter",
    "mem",
    "net",
    "ops",
    "option",
    "str",
    "sync",
];
/// What those parts have besides that is no computation, and what else would not be one.
const CORE_NEVER: [&str; 29] = [
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "Mutex",
    "RwLock",
    "Condvar",
    "Once",
    "OnceLock",
    "LazyLock",
    "mpsc",
    "Barrier",
    "atomic",
    "async",
    "await",
    "println",
    "eprintln",
    "print",
    "eprint",
    "dbg",
    "tokio",
    "tracing",
    "hyper",
    "http",
    "thread_local",
    "static",
    "RandomState",
];
/// Rooms, and those that they must not know of.
const WALLS: [(&str, &[&str]); 8] = [
    ("proxy", &["store", "feed", "control", "app", "cli", "admin", "load"]),
    ("store", &["edge", "proxy", "app", "feed", "control", "cli", "config", "legacy", "observe"]),
    (
        "config",
        &["store", "edge", "proxy", "app", "feed", "control", "cli", "legacy", "observe", "limits"],
    ),
    ("feed", &["edge", "proxy", "app", "control", "cli"]),
    ("legacy", &["edge", "proxy", "app", "control", "cli", "feed"]),
    ("limits", &["edge", "proxy", "app", "store", "feed", "control", "cli", "legacy", "observe"]),
    ("usage", &["edge", "proxy", "app", "control", "cli", "legacy", "limits"]),
    ("edge", &["app", "control", "cli", "store", "load"]),
];

/// A source file without its comments, strings and unit tests.
struct Source {
    path: PathBuf,
    words: Vec<String>,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
        let bare = lines.map(without_strings).collect::<Vec<_>>().join("\n");
        Self { path: path.to_path_buf(), words: words(&bare) }
    }

    /// What follows `first::` in each place, `{…}` opened up one level.
    fn after(&self, first: &str) -> Vec<String> {
        let mut found = Vec::new();
        for at in 0..self.words.len() {
            let is_path = self.words[at] == first
                && self.words.get(at + 1).is_some_and(|next| next == "::")
                && (at == 0 || self.words[at - 1] != "::");
            if is_path {
                found.extend(members(&self.words[at + 2..]));
            }
        }
        found
    }
}

/// The name at the front, or each of those directly within braces.
fn members(words: &[String]) -> Vec<String> {
    if words.first().is_none_or(|word| word != "{") {
        return words.first().cloned().into_iter().collect();
    }
    let (mut depth, mut found) = (0, Vec::new());
    for pair in words.windows(2) {
        match pair[0].as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(pair[0].as_str(), "{" | ",") && pair[1] != "}" {
            found.push(pair[1].clone());
        }
    }
    found
}

fn without_strings(line: &str) -> String {
    let line = line.replace("'\"'", "").replace("\\\"", "");
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// Names, and `::` as one word.
fn words(code: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut name = String::new();
    for character in code.chars() {
        if character.is_alphanumeric() || character == '_' {
            name.push(character);
            continue;
        }
        if !name.is_empty() {
            words.push(std::mem::take(&mut name));
        }
        match character {
            ':' if words.last().is_some_and(|last| last == ":") => {
                *words.last_mut().unwrap() = "::".to_owned();
            }
            character if character.is_whitespace() => {}
            character => words.push(character.to_string()),
        }
    }
    words.extend((!name.is_empty()).then_some(name));
    words
}

/// The sources of a room, tests left out.
fn sources(room: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.join(room)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            let name = path.file_stem().unwrap_or_default();
            match path.is_dir() {
                true if name != "tests" => folders.push(path),
                false if name != "tests" && path.extension().is_some_and(|end| end == "rs") => {
                    found.push(Source::read(&path));
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn the_core_imports_nothing_but_itself_and_what_computes() {
    let sources = sources("core");
    assert!(sources.len() > 20, "the sources were not found");
    for source in sources {
        for room in source.after("crate") {
            assert_eq!(room, "core", "{}", source.path.display());
        }
        for part in source.after("std") {
            assert!(CORE_STD.contains(&part.as_str()), "std::{part} in {}", source.path.display());
        }
        for name in CORE_NEVER {
            let there = source.words.iter().any(|word| word == name);
            // `'static` is a lifetime.
            let there = there && (name != "static" || has_static_item(&source.words));
            assert!(!there, "`{name}` in {}", source.path.display());
        }
        let reads_clock = source.words.windows(2).any(|pair| pair == ["::", "now"]);
        assert!(!reads_clock, "a clock in {}", source.path.display());
    }
}

fn has_static_item(words: &[String]) -> bool {
    words.windows(2).any(|pair| pair[1] == "static" && pair[0] != "'")
}

#[test]
fn the_core_uses_only_crates_that_compute() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    let names: Vec<String> = dependencies.keys().map(|name| name.replace('-', "_")).collect();
    for source in sources("core") {
        for name in &names {
            let used = !source.after(name).is_empty();
            let allowed = CORE_CRATES.contains(&name.as_str());
            assert!(allowed || !used, "{name} in {}", source.path.display());
        }
    }
}

#[test]
fn jiff_only_formats_in_the_core() {
    for source in sources("core") {
        for part in source.after("jiff") {
            assert_eq!(part, "Timestamp", "{}", source.path.display());
        }
    }
}

#[test]
fn no_room_reaches_through_a_wall() {
    for (room, others) in WALLS {
        for source in sources(room) {
            let mut reached = source.after("crate");
            reached.extend(source.after("config"));
            reached.extend(source.after("observe"));
            for other in others {
                let through = reached.iter().any(|name| name == other);
                assert!(!through, "{other} in {}", source.path.display());
            }
        }
    }
}

#[test]
fn nothing_but_main_and_the_commands_themselves_knows_the_command_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let own = match path.is_dir() {
            true if name != "cli" => sources(&name),
            false if name != "main" => vec![Source::read(&path)],
            _ => Vec::new(),
        };
        for source in own {
            let known = source.after("crate").iter().any(|room| room == "cli");
            assert!(!known, "cli in {}", source.path.display());
        }
    }
}

#[test]
fn the_reader_of_sources_sees_what_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.rs");
    let text = "use std::{fmt, net::{IpAddr, TcpStream}}; // std::fs\nlet x = \"std::env\"; my::std::io();\n#[cfg(test)]\nmod tests { std::process }\n";
    fs::write(&file, text).unwrap();
    let source = Source::read(&file);
    assert_eq!(source.after("std"), ["fmt", "net"]);
    assert!(source.words.iter().any(|word| word == "TcpStream"));
    assert!(!source.words.iter().any(|word| word == "env" || word == "process"));
}
