//! Secrets are in no log, no metric, no answer and no file of the store, in whatever form, however
//! the program comes to its end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::client::find;
use crate::support::lane::Lane;
use crate::support::world::{JOBS, legacy_line, token_line};
use crate::support::{Connection, Gate, Home, Request, Upstream, eventually};

/// Occurs in every secret of these tests, and nowhere else.
const MARK: &str = "MARKEDSECRET";

/// What is looked for: secrets, in every form in which they could get out.
#[derive(Default)]
struct Hunt {
    /// What it is, by what it looks like.
    needles: BTreeMap<Vec<u8>, String>,
}

impl Hunt {
    /// The mark, and secrets that do not have it.
    fn of(secrets: &[&str]) -> Self {
        let mut hunt = Self::default();
        hunt.add("the mark", MARK.as_bytes());
        for secret in secrets {
            hunt.add(secret, secret.as_bytes());
        }
        hunt
    }

    /// As it is, in hexadecimal digits, percent-encoded, and as a part of something in Base64.
    fn add(&mut self, name: &str, secret: &[u8]) {
        let percent = |digits: &str| -> String {
            digits
                .as_bytes()
                .chunks(2)
                .map(|two| format!("%{}", String::from_utf8_lossy(two)))
                .collect()
        };
        let hex = hex::encode(secret);
        let upper = hex.to_ascii_uppercase();
        let mut forms = vec![secret.to_vec()];
        forms.extend([percent(&hex), percent(&upper), hex, upper].map(String::into_bytes));
        for offset in 0..3 {
            // What depends on the neighbours is left out at both ends.
            let padded = [&vec![0; offset], secret].concat();
            for text in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
                forms.push(
                    text[(offset * 4).div_ceil(3)..padded.len() / 3 * 4].to_owned().into_bytes(),
                );
            }
        }
        self.needles.extend(forms.into_iter().map(|form| (form, name.to_owned())));
    }

    /// The secrets that are in it.
    fn in_bytes(&self, bytes: &[u8]) -> Vec<&str> {
        let is_in = |needle: &[u8]| find(bytes, needle).is_some();
        let mut found: Vec<&str> = self
            .needles
            .iter()
            .filter(|(needle, _)| is_in(needle))
            .map(|(_, name)| name.as_str())
            .collect();
        found.dedup();
        found
    }

    #[track_caller]
    fn finds_nothing_in(&self, what: &str, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let found = self.in_bytes(text);
        assert!(found.is_empty(), "{found:?} in {what}: {}", String::from_utf8_lossy(text));
    }

    /// Looks into every file below a folder but those that are named.
    #[track_caller]
    fn finds_nothing_below(&self, folder: &Path, but: &[&str]) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                self.finds_nothing_below(&path, but);
            } else if !but.contains(&name.as_str()) {
                // A socket cannot be read, and one file may be gone by now.
                let found = fs::read(&path).map(|bytes| self.in_bytes(&bytes).join(", "));
                let found = found.unwrap_or_default();
                assert!(found.is_empty(), "{found} in {}", path.display());
            }
        }
    }
}

#[test]
fn the_hunt_finds_what_it_looks_for() {
    let hunt = Hunt::of(&[]);
    let secret = b"MARKEDSECRET-valid-0001";
    for before in ["", "a", "ab"] {
        let text = [before.as_bytes(), secret, b"z"].concat();
        for form in [
            String::from_utf8(text.clone()).unwrap(),
            hex::encode(&text),
            hex::encode_upper(&text),
            STANDARD_NO_PAD.encode(&text),
            URL_SAFE_NO_PAD.encode(&text),
        ] {
            assert!(!hunt.in_bytes(form.as_bytes()).is_empty(), "{form}");
        }
    }
    assert!(hunt.in_bytes(b"service-token-of-account-1").is_empty());
}

/// Tokens of every kind, their digest key, and a home that knows them.
struct Marked {
    home: Home,
    tokens: Vec<String>,
    key: [u8; 32],
}

impl Marked {
    fn new(upstream: &Upstream) -> Self {
        let mut home = Home::empty();
        home.forward_to(upstream.address())
            .set("gate", "listen", r#"["unix:gate.sock"]"#)
            .set("gate", "credential_headers", r#"["x-api-key"]"#)
            .set("admin", "listen", r#""unix:admin.sock""#);
        let key = *b"MARKEDSECRET-key-of-the-digests!";
        home.write("digest.key", &format!("k1:{}\n", hex::encode(key)));
        let ours = |body: &str| {
            let body = format!("pts_{body}{}", "x".repeat(43 - body.len()));
            format!("{body}{}", checksum(&body))
        };
        let (valid, foreign) = (ours("MARKEDSECRETofOurs"), format!("{MARK}-foreign-0001"));
        let (revoked, legacy) = (format!("{MARK}-revoked-01"), format!("legacy{MARK}-0001"));
        let hash = bcrypt::hash(&legacy, 4).unwrap();
        home.import(crate::support::world::LINES);
        home.import(
            &[
                token_line("ours", &format!(r#""token":"{valid}""#)),
                token_line("foreign", &format!(r#""token":"{foreign}""#)),
                token_line("revoked", &format!(r#""state":"revoked","token":"{revoked}""#)),
                legacy_line("old", &format!(r#""hash":"{hash}","selector":"legacy""#)),
            ]
            .concat(),
        );
        fs::remove_file(home.path("import.jsonl")).unwrap();
        let unknown = format!("{MARK}-unknown-of-nobody");
        let wrong_guess = format!("legacy{MARK}-9999");
        let mistyped = format!("{}A", &ours("MARKEDSECRETmistyped")[..52]);
        let tokens = vec![valid, foreign, revoked, legacy, unknown, wrong_guess, mistyped];
        Self { home, tokens, key }
    }
}

/// Six base62 digits of CRC-32/ISO-HDLC.
fn checksum(body: &str) -> String {
    let mut sum = body.bytes().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1)))
    });
    sum = !sum;
    let alphabet: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
    let digits = (0..6).rev().map(|place| alphabet[(sum / 62_u32.pow(place) % 62) as usize]);
    digits.collect()
}

/// A `portcullis serve` with its output in files, which may log nothing that tells where it
/// listens, and which may leave core files if it does not forbid them.
struct Served<'h> {
    home: &'h Home,
    child: Child,
    output: tempfile::TempDir,
}

impl<'h> Served<'h> {
    fn start(home: &'h Home, level: &str, format: &str) -> Self {
        let output = tempfile::tempdir().unwrap();
        let into = |name: &str| File::create(output.path().join(name)).unwrap();
        let serve = home.command();
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -S -c $(ulimit -H -c); exec \"$0\" \"$@\""]);
        command.arg(serve.get_program()).args(serve.get_args()).arg("serve");
        for (name, value) in serve.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("PORTCULLIS_LOG", level).env("PORTCULLIS_LOG_FORMAT", format);
        command.env("RUST_BACKTRACE", "full").env("RUST_LOG", level);
        command.current_dir(home.folder()).stdin(Stdio::null());
        let child = command.stdout(into("stdout")).stderr(into("stderr")).spawn().unwrap();
        let served = Self { home, child, output };
        eventually("the gate is ready", || {
            let admin = std::os::unix::net::UnixStream::connect(home.path("admin.sock")).ok();
            let ready = |_| served.admin(&Request::get("/readyz")).status == 200;
            admin.is_some_and(ready).then_some(())
        });
        served
    }

    fn send(&self, request: &Request) -> crate::support::Response {
        Connection::unix(&self.home.path("gate.sock")).send(request)
    }

    fn admin(&self, request: &Request) -> crate::support::Response {
        Connection::unix(&self.home.path("admin.sock")).send(request)
    }

    fn proc(&self, name: &str) -> Vec<u8> {
        // Not readable where the process is protected from it.
        fs::read(format!("/proc/{}/{name}", self.child.id())).unwrap_or_default()
    }

    /// Everything that a caller may do with these tokens, right and wrong.
    fn use_tokens(&self, tokens: &[String], hunt: &Hunt) {
        for token in tokens {
            let get = |path: &str| Request::get(path);
            let encoded = STANDARD_NO_PAD.encode(format!("user:{token}"));
            for request in [
                get(JOBS).token(token),
                get("/no/such/route").token(token),
                get("/api/v2/accounts/2/jobs/").token(token),
                get("/a/../b").token(token),
                get("/open/x").token(token),
                get(JOBS).header("X-Api-Key", token),
                get(JOBS).token(token).token(token),
                get(JOBS).token(token).header("X-Api-Key", token),
                get(JOBS).header("Authorization", &format!("Basic {encoded}")),
                get(JOBS).header("Authorization", token),
                get(JOBS).header("X-Wrong-Header", token),
                get(JOBS).header("Cookie", &format!("token={token}")),
                get(&format!("{JOBS}?access_token={token}")),
                get(JOBS).token(token).header("X-Bad", "a\0b"),
                get(JOBS).token(token).header("Content-Length", "1, 2"),
            ] {
                let answer = self.send(&request);
                hunt.finds_nothing_in("an answer", format!("{answer:?}"));
            }
            let ask = format!(r#"{{"token":"{token}","method":"GET","path":"{JOBS}"}}"#);
            let malformed = format!(r#"{{"token":"{token}","method":"GET","secret":"{token}"}}"#);
            for body in [ask, malformed, token.clone()] {
                let answer = self.admin(&Request::new("POST", "/explain").body(body.as_bytes()));
                hunt.finds_nothing_in("an explanation", answer.text());
            }
        }
    }

    /// What it printed, where it is in the system, and what it counted.
    fn tells_nothing(&self, hunt: &Hunt) {
        hunt.finds_nothing_in("metrics", self.admin(&Request::get("/metrics")).text());
        hunt.finds_nothing_in("its command line", self.proc("cmdline"));
        hunt.finds_nothing_in("its environment", self.proc("environ"));
        hunt.finds_nothing_below(self.output.path(), &[]);
    }

    fn log(&self) -> String {
        fs::read_to_string(self.output.path().join("stderr")).unwrap()
    }

    /// Ends it by a signal; gives the signal that it says it ended by. A SIGSEGV that no memory
    /// access brought about is let pass once by Rust's guard against stack overflows.
    fn end_by(&mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        eventually("the signal ends it", || {
            kill_process(pid, signal).unwrap();
            self.child.try_wait().unwrap()
        })
        .signal()
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn at_every_level_and_in_both_formats_nothing_tells_a_secret() {
    let upstream = Upstream::start();
    let marked = Marked::new(&upstream);
    let hunt = Hunt::of(&[]);
    for level in ["error", "warn", "info", "debug", "trace"] {
        for format in ["text", "json"] {
            let mut served = Served::start(&marked.home, level, format);
            served.use_tokens(&marked.tokens, &hunt);
            served.tells_nothing(&hunt);
            assert_eq!(served.log().contains("denied"), matches!(level, "debug" | "trace"));
            assert_eq!(served.end_by(Signal::TERM), None, "{}", served.log());
            hunt.finds_nothing_below(served.output.path(), &[]);
            hunt.finds_nothing_below(marked.home.folder(), &["digest.key"]);
        }
    }
    assert!(!upstream.seen().is_empty());
    for seen in upstream.seen() {
        hunt.finds_nothing_in("what the upstream got", seen.head);
    }
}

#[test]
fn a_lane_of_its_own_tells_no_secret_either() {
    let upstream = Upstream::start();
    let mut marked = Marked::new(&upstream);
    Lane::configure(&mut marked.home);
    let hunt = Hunt::of(&[]);
    for format in ["text", "json"] {
        let environment = [("PORTCULLIS_LOG", "trace"), ("PORTCULLIS_LOG_FORMAT", format)];
        let lane = Lane::start_with(&marked.home, &environment);
        let served = Served::start(&marked.home, "trace", format);
        eventually("the lane is reached", || {
            let scraped = served.admin(&Request::get("/metrics"));
            scraped.text().contains("portcullis_legacy_lane_up 1").then_some(())
        });
        served.use_tokens(&marked.tokens, &hunt);
        let hashed = lane.metrics().value("portcullis_legacy_verify_duration_seconds_count");
        assert!(hashed >= 1.0, "the lane was asked");
        hunt.finds_nothing_in("metrics", format!("{:?}", lane.admin(&Request::get("/metrics"))));
        // What is malformed is not repeated, nor is what is well-formed and asks for the impossible.
        for frame in
            [format!("\u{1}{MARK}"), format!("\u{1}\0\0\0\u{12}legacy{MARK}\u{1}\0\u{3}$2b")]
        {
            let mut stream = UnixStream::connect(marked.home.path("lane.sock")).unwrap();
            let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
            let said = [b"portcullis lane 1\n", &length[..], frame.as_bytes()].concat();
            stream.write_all(&said).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answered = Vec::new();
            // Reset, where not all was read.
            let _ = stream.read_to_end(&mut answered);
            hunt.finds_nothing_in("what a lane answers", answered);
        }
        served.tells_nothing(&hunt);
        drop(served);
        hunt.finds_nothing_in("the lane's log", lane.log());
        hunt.finds_nothing_below(marked.home.folder(), &["digest.key"]);
    }
}

#[test]
fn a_crash_leaves_neither_a_core_file_nor_a_secret() {
    let upstream = Upstream::start();
    for signal in [Signal::KILL, Signal::ABORT, Signal::SEGV] {
        let marked = Marked::new(&upstream);
        let hunt = Hunt::of(&[]);
        let mut served = Served::start(&marked.home, "trace", "json");
        served.use_tokens(&marked.tokens, &hunt);
        // Something that is in the write-ahead log alone.
        let line = token_line("late", &format!(r#""token":"{MARK}-late-token-01""#));
        let added = marked.home.attempt_with(&["import", "-"], line.as_bytes());
        assert_eq!(added.code, 0, "{added:?}");
        assert_eq!(served.end_by(signal), Some(signal.as_raw()));
        hunt.finds_nothing_below(served.output.path(), &[]);
        hunt.finds_nothing_below(marked.home.folder(), &["digest.key"]);
        for core in core_files(&served) {
            assert!(!core.exists(), "{signal:?} left {}", core.display());
        }
    }
}

/// Where the kernel puts a core file of that process.
fn core_files(served: &Served<'_>) -> Vec<PathBuf> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let pid = served.child.id().to_string();
    let named = pattern.trim().replace("%p", &pid).replace("%e", "portcullis");
    let names = ["core".to_owned(), format!("core.{pid}"), named];
    names.into_iter().map(|name| served.home.folder().join(name)).collect()
}

/// Runs itself in a process of its own, since a panic's message is told to all of the process.
#[test]
fn a_panic_tells_where_it_was_and_not_what_it_said() {
    const ITSELF: &str = "secrets::a_panic_tells_where_it_was_and_not_what_it_said";
    const PANICKING: &str = "PORTCULLIS_TEST_PANICS";
    if std::env::var_os(PANICKING).is_some() {
        portcullis::app::silence_panics();
        panic!("{MARK} in a message");
    }
    let mut itself = Command::new(std::env::current_exe().unwrap());
    itself.args(["--exact", ITSELF, "--nocapture"]).env(PANICKING, "1");
    let done = itself.env("RUST_BACKTRACE", "full").output().unwrap();
    let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    assert!(!done.status.success() && said.contains("panicked at tests/secrets.rs:"), "{said}");
    Hunt::of(&[]).finds_nothing_in("what a panic says", said);
}

#[test]
fn backups_and_snapshots_hold_no_secret() {
    let upstream = Upstream::start();
    let marked = Marked::new(&upstream);
    let hunt = Hunt::of(&[]);
    for arguments in [&["backup", "store.backup"][..], &["snapshot", "build", "tokens.snapshot"]] {
        let file = marked.home.path(arguments[arguments.len() - 1]);
        let arguments = [&arguments[..arguments.len() - 1], &[file.to_str().unwrap()]].concat();
        let done = marked.home.run(&arguments);
        hunt.finds_nothing_in("what it says", format!("{}{}", done.stdout, done.stderr));
        assert!(fs::metadata(&file).unwrap().len() > 0);
    }
    hunt.finds_nothing_below(marked.home.folder(), &["digest.key"]);
}

#[test]
fn a_reload_with_a_broken_key_does_not_tell_the_key() {
    let upstream = Upstream::start();
    let marked = Marked::new(&upstream);
    let hunt = Hunt::of(&[]);
    let hex = hex::encode(marked.key);
    let served = Served::start(&marked.home, "trace", "text");
    for text in [
        format!("k1:{hex}zz\n"),
        format!("{hex}\n"),
        format!("k1:{hex}\nk1:{hex}\n"),
        format!("{hex}:{hex}\n"),
        format!("k1:{}\n", &hex[..62]),
        format!("k1:{hex}\u{e9}\n"),
    ] {
        marked.home.write("digest.key", &text);
        let answer = served.admin(&Request::new("POST", "/reload").body(b""));
        assert_eq!(answer.status, 422, "{answer:?}");
        hunt.finds_nothing_in("an answer", answer.text());
        let checked = marked.home.attempt(&["check"]);
        assert_eq!(checked.code, 3);
        hunt.finds_nothing_in("check", format!("{checked:?}"));
    }
    let before = served.log().matches("not reloaded").count();
    served.signal_reload();
    eventually("SIGHUP is taken", || {
        (served.log().matches("not reloaded").count() > before).then_some(())
    });
    served.use_tokens(&marked.tokens[..2], &hunt);
    served.tells_nothing(&hunt);
}

impl Served<'_> {
    fn signal_reload(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }
}

#[test]
fn debug_shows_no_secret() {
    use portcullis::config::load;
    use portcullis::core::digest::{DigestKey, DigestKeys};
    use portcullis::core::facts::Credential;
    use portcullis::core::record::Verifier;
    use portcullis::core::token::Secret;
    use portcullis::explain::{Bearer, Presented};
    use portcullis::legacy::{Bounds, PasswordHash};

    let upstream = Upstream::start();
    let marked = Marked::new(&upstream);
    let mut hunt = Hunt::of(&[]);
    let token = format!("{MARK}-foreign-0001");
    let keys = DigestKeys::new(DigestKey::new("k1", marked.key), Vec::new());
    let digest = keys.current().digest(token.as_bytes());
    let hash = bcrypt::hash(&token, 4).unwrap();
    hunt.add("the digest", &digest.0);
    hunt.add("the hash", hash.as_bytes());
    let header = format!("Bearer {token}");
    let config = load(&marked.home.path("portcullis.toml"), []).unwrap();
    let verifier = Verifier::Digest { key_id: "k1".to_owned(), digest };
    let hashed = Verifier::Hash { encoded: hash.clone(), selector: Some(MARK[..8].to_owned()) };
    let parsed = PasswordHash::parse(&hash, &Bounds::default()).unwrap();
    let secret = Secret::parse(token.clone()).unwrap();
    let bearer = Bearer::Secret(Presented::new(token.clone()));
    for text in [
        format!("{config:?} {:?} {keys:?} {digest:?}", config.policy()),
        format!("{secret:?} {bearer:?} {verifier:?} {hashed:?} {parsed:?}"),
        format!("{:#?}", (Credential::Authorization(header.as_bytes()), &secret, &keys, &hashed)),
        format!("{:?}", (Credential::Header(token.as_bytes()), Credential::Missing)),
    ] {
        hunt.finds_nothing_in("Debug", text);
    }
}

#[test]
fn the_secret_that_is_made_is_shown_once_and_kept_nowhere() {
    let home = Home::new();
    let (id, made) = home.make_token(&["--grant", "job_admin"]);
    let rotated = home.run(&["token", "rotate", &id.to_string()]).json();
    let rotated = rotated["token"].as_str().unwrap();
    let hunt = Hunt::of(&[&made, rotated]);
    let gate = Gate::start_with(&home, &[("PORTCULLIS_LOG", "trace")]);
    for token in [made.as_str(), rotated] {
        assert_eq!(gate.status(JOBS, token), 502, "it is let through, and nobody is there");
    }
    let id = id.to_string();
    for arguments in [
        &["--json", "token", "list", "--account", "1"][..],
        &["token", "list", "--account", "1"],
        &["token", "show", &id],
        &["--json", "token", "show", &id],
        &["export"],
    ] {
        let done = home.run(arguments);
        hunt.finds_nothing_in("a list", format!("{}{}", done.stdout, done.stderr));
    }
    for secret in [made.as_str(), rotated] {
        let found = home.attempt_with(&["token", "verify", "-"], secret.as_bytes());
        assert_eq!(found.code, 0, "{found:?}");
        hunt.finds_nothing_in("what verify says", format!("{found:?}"));
    }
    home.run(&["token", "revoke", &id]);
    hunt.finds_nothing_in("the log", gate.log());
    gate.stop();
    hunt.finds_nothing_below(home.folder(), &[]);
}

#[test]
fn commands_do_not_repeat_a_secret() {
    let home = Home::new();
    let token = format!("{MARK}-on-the-command-line");
    let hunt = Hunt::of(&[]);
    let attempts: &[(&[&str], &str)] = &[
        (&["token", "verify", "-"], &token),
        (&["token", "verify", &token], ""),
        (&["--json", "token", "verify", "-"], &token),
        (
            &["explain", "--token", "-", "--method", "GET", "--path", JOBS, "--ip", "127.0.0.1"],
            &token,
        ),
        (
            &["explain", "--token", &token, "--method", "GET", "--path", JOBS, "--ip", "127.0.0.1"],
            "",
        ),
        (
            &[
                "--json", "explain", "--token", "-", "--method", "GET", "--path", JOBS, "--ip",
                "::1",
            ],
            &token,
        ),
    ];
    for (arguments, stdin) in attempts {
        let done = home.attempt_with(arguments, stdin.as_bytes());
        let said = format!("{}{}", done.stdout, done.stderr);
        hunt.finds_nothing_in("what was said", &said);
        assert_ne!(done.code, 0, "{arguments:?}: {said}");
    }
}

#[test]
fn rejected_lines_and_files_of_other_gateways_do_not_repeat_what_could_recognise_a_token() {
    let home = Home::new();
    let lines = [
        token_line("a", &format!(r#""token":"{MARK} with a space in it""#)),
        token_line("b", &format!(r#""token":"{MARK}-0000000000","sha256":"zz{MARK}""#)),
        token_line("c", &format!(r#""tokn":"{MARK}-0000000000""#)),
        format!("{{\"account_id\":1,\"token\":\"{MARK}-cut off\n"),
        token_line("e", &format!(r#""hash":"{MARK}$not$a$hash""#)),
        token_line("f", &format!(r#""digest":"{MARK}-0000000000""#)),
        token_line("g", &format!(r#""token":"pts_{MARK}-0000000000""#)),
        format!("{MARK}-0000000000-alone\n"),
    ];
    let kong = format!(
        "_format_version: \"3.0\"\nconsumers:\n- username: a\n  keyauth_credentials:\n  - key: \"{MARK} {MARK}\"\n"
    );
    let envoy =
        format!("credentials:\n- {{key: {MARK}-0000000000, client: a, {MARK}-00000000001: b}}\n");
    let cases: [(&str, &[&str], usize); 4] = [
        (&lines.concat(), &[], lines.len()),
        (&kong, &["--from", "kong", "--account", "1", "--grant", "job_admin"], 1),
        (&envoy, &["--from", "envoy", "--account", "1", "--grant", "job_admin"], 1),
        (
            &format!("{MARK}-0000000000 x y\n"),
            &["--from", "haproxy-map", "--grant", "job_admin"],
            1,
        ),
    ];
    let hunt = Hunt::of(&[]);
    let (file, rejects) = (home.path("lines"), home.path("rejects"));
    for (text, options, rejected) in cases {
        home.write("lines", text);
        let import = ["import", file.to_str().unwrap(), "--rejects", rejects.to_str().unwrap()];
        let done = home.attempt(&[&import, options].concat());
        assert_eq!(done.code, 3, "{done:?}");
        hunt.finds_nothing_in("what was said", format!("{done:?}"));
        let written = fs::read_to_string(&rejects).unwrap();
        assert_eq!(written.lines().count(), rejected, "{written}");
        let noted = home.attempt(&[&import[..2], options].concat());
        hunt.finds_nothing_in("what was noted", format!("{noted:?}"));
    }
    hunt.finds_nothing_below(home.folder(), &["lines"]);
}
