//! What is wrong is told with its place and what to do, by the real program: configurations,
//! import lines and command lines. Nothing panics, and no secret is repeated.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::Home;
use crate::support::home::{Done, attempt, portcullis};

const MAIN: &str = "portcullis.toml";
const ROUTES: &str = "routes.toml";
const SETS: &str = "permission_sets.toml";
const KEY: &str = "digest.key";

/// Four lines; what a case adds begins at the fifth.
const MINIMAL: &str = "[upstreams.api]\nendpoints = [\"http://127.0.0.1:9000\"]\n[store]\nurl = \"sqlite:portcullis.db\"\n";
const ROUTE: &str = "[[route]]\npath = \"/v1/jobs/\"\nmethods = [\"GET\"]\nrequires = \"Jobs:R\"\n";
const SET: &str =
    "[sets.job_admin]\nfamily = \"project\"\nwrite = [\"Jobs\"]\nplans = [\"team\"]\n";

fn minimal() -> Home {
    let home = Home::empty();
    home.write(MAIN, MINIMAL);
    home.write(ROUTES, ROUTE);
    home.write(SETS, SET);
    home
}

/// Neither a panic nor a secret, and the exit code for what is invalid.
fn is_clear(done: &Done, code: i32) {
    assert_eq!(done.code, code, "{done:?}");
    let said = format!("{}{}", done.stdout, done.stderr);
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
    assert!(!said.contains("MARKED"), "{said}");
    let shown = |c: char| c == '\n' || c == '\t' || !c.is_control();
    assert!(said.chars().all(shown), "a terminal would act on {said:?}");
}

/// Each with: the file that it is in, what is put at its end, the line that is named, what is
/// said about it, and what help is given.
#[rustfmt::skip]
const ADDED: [(&str, &[u8], usize, &str, &str); 34] = [
    (MAIN, b"[gaet]\n", 5, "unknown section or key `gaet`", "did you mean `gate`?"),
    (MAIN, b"[gate]\nlisen = []\n", 6, "unknown key `lisen` in [gate]", "did you mean `listen`?"),
    (MAIN, b"[gate]\nworkers = 1\nworkers = 2\n", 7, "duplicate key", "keep one of the two"),
    (MAIN, b"[gate]\nworkers = \"two\"\n", 6, "expected an integer, found a string", "6 | workers"),
    (MAIN, b"[limits]\nheaders = 999999999999999999999999\n", 6, "does not fit in 64 bits", "6 | headers"),
    (MAIN, b"[limits]\nheaders = 9223372036854775807\n", 6, "must be from 1 to 10000", "6 | headers"),
    (MAIN, b"[gate]\r\nlisen = []\r\n", 6, "unknown key `lisen`", "6 | lisen = []\n"),
    (MAIN, b"[gate]\nconceal = \x00true\n", 6, "not valid TOML", "6 | conceal"),
    (MAIN, b"[gate]\nlisten = [\n", 6, "not valid TOML", ""),
    (MAIN, b"[gate]\n\"\\u001b[31mred\" = 1\n", 6, "unknown key", ""),
    (MAIN, b"[gate]\ndrain_delay = \"15 min\"\n", 6, "not a duration", "like 500ms, 90s, 15m, 2h or 7d"),
    (MAIN, b"[legacy]\ncutoff = \"2023-02-30\"\n", 6, "not a date", "like \"2023-07-18\""),
    (MAIN, b"[legacy]\ncpu_share = 1.5\n", 6, "above 0 and at most 1, but is 1.5", "0.25 is a quarter"),
    (MAIN, b"[client_ip]\ntrusted_proxies = [\"10.0.0.0/33\"]\n", 6, "`10.0.0.0/33`: not an address or CIDR", "10.0.0.0/8"),
    (MAIN, b"[client_ip]\ntrusted_proxies = [\"::ffff:0:0/90\"]\n", 6, "IPv4-mapped", "at least 96"),
    (MAIN, b"[routes]\nfile = \"conf/routes.toml\"\n", 6, "conf/routes.toml`: No such file", "relative to the folder of portcullis.toml"),
    (MAIN, b"[keys]\ndigest_env = \"NOT_THERE\"\n", 6, "`NOT_THERE` is not set", "ID:HEX"),
    (MAIN, b"[upstreams.b]\nendpoints = [\"http://a b\"]\n", 6, "host or port is not valid", "http://127.0.0.1:9000"),
    (MAIN, b"[upstreams.b]\nendpoints = [\"http://u:MARKED@h\"]\n", 6, "", ""),
    (MAIN, b"[admin]\nlisten = \"127.0.0.1:8080\"\n", 6, "another listener", ""),
    (ROUTES, b"[[rout]]\n", 5, "`rout`", "did you mean `route`?"),
    (ROUTES, b"[[route]]\npath = \"/v1/jobs\"\nmethods = [\"POST\", \"GET\"]\nrequires = \"public\"\n", 6, "the same path and method as the route at line 1", "6 | path"),
    (ROUTES, b"upstream = \"apii\"\n", 5, "there is no upstream `apii`", "did you mean `api`?"),
    (ROUTES, b"[[route]]\npath = \"/x\"\nrequires = \"Job:R\"\n", 7, "no permission set names the resource `Job`", "did you mean `Jobs`?"),
    (ROUTES, b"[[route]]\npath = \"/x\"\nrequires = \"Jobs:RW\"\n", 7, "not a level", ""),
    (ROUTES, b"[[route]]\npath = \"/{x}/{x}\"\nrequires = \"public\"\n", 6, "name occurs twice", ""),
    (ROUTES, b"[[route]]\npath = \"/x/../y\"\nrequires = \"public\"\n", 6, "no canonical request path", ""),
    (ROUTES, b"[[route]]\npath = \"/x\"\n", 5, "`requires` is required", "\"authenticated\""),
    (ROUTES, b"project = { index = \"job_id\" }\n", 5, "no capture `{job_id}`", ""),
    (SETS, b"[sets.x]\nfamily = \"projct\"\n", 6, "`projct`", "did you mean `project`?"),
    (SETS, b"[sets.x]\nfamily = \"project\"\nplans = [\"teem\"]\n", 7, "`teem`", "did you mean `team`?"),
    (SETS, b"[sets.x]\nfamily = \"project\"\nwrit = []\n", 7, "unknown key `writ`", "did you mean `write`?"),
    (SETS, b"[sets.\"Not A Name\"]\nfamily = \"project\"\n", 5, "permission set name", "a-z, 0-9 and _"),
    (SETS, b"[sets.x]\nread = \"Jobs\"\nfamily = \"project\"\n", 6, "expected an array", ""),
];

#[test]
fn a_mistake_in_a_file_is_told_by_check_and_serve_with_file_line_and_help() {
    for (file, addition, line, message, help) in ADDED {
        let home = minimal();
        let whole = [&fs::read(home.path(file)).unwrap(), addition].concat();
        fs::write(home.path(file), whole).unwrap();
        let place = format!("{}:{line}", home.path(file).display());
        for command in ["check", "serve"] {
            let done = home.attempt(&[command]);
            is_clear(&done, 3);
            let found = done.stderr.lines().find(|line| line.starts_with(&place));
            let found = found.unwrap_or_else(|| panic!("no {place} in {}", done.stderr));
            assert!(found.contains(": error: ") && found.contains(message), "{}", done.stderr);
            assert!(done.stderr.contains(help), "no {help} in {}", done.stderr);
        }
    }
}

/// Puts something in the place of a file.
fn replaced(file: &str, with: impl FnOnce(&std::path::Path)) -> (Home, Done) {
    let home = minimal();
    fs::remove_file(home.path(file)).unwrap();
    with(&home.path(file));
    let done = home.attempt(&["check"]);
    is_clear(&done, 3);
    assert_eq!(home.attempt(&["serve"]).code, 3);
    (home, done)
}

#[test]
fn a_file_that_is_no_text_is_told_with_the_line() {
    for file in [MAIN, ROUTES, SETS, KEY] {
        let bytes = b"# fine\n\xff\xfe\x00MARKED";
        let (home, done) = replaced(file, |path| {
            fs::write(path, bytes).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        });
        let path = home.path(file).display().to_string();
        assert!(done.stderr.contains(&path), "{done:?}");
        assert!(done.stderr.contains("line 2 is not UTF-8: save it"), "{done:?}");
    }
}

#[test]
fn a_folder_a_loop_or_an_endless_file_in_the_place_of_a_file_is_told() {
    for file in [MAIN, ROUTES, SETS, KEY] {
        let (home, done) = replaced(file, |path| fs::create_dir(path).unwrap());
        assert!(done.stderr.contains(&home.path(file).display().to_string()), "{done:?}");
        assert!(done.stderr.to_lowercase().contains("is a directory"), "{done:?}");
        assert_eq!(done.stderr.matches("error:").count(), 1, "{done:?}");
    }
    let (_, done) = replaced(ROUTES, |path| std::os::unix::fs::symlink(path, path).unwrap());
    assert!(done.stderr.contains("symbolic links"), "{done:?}");
    let (_, done) = replaced(SETS, |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap());
    assert!(done.stderr.contains("longer than 16777216 bytes"), "{done:?}");
}

#[test]
fn an_empty_file_says_what_belongs_in_it() {
    let empty = |path: &std::path::Path| {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let (home, done) = replaced(MAIN, empty);
    let place = format!("{}:1: error: ", home.path(MAIN).display());
    for needed in ["at least one upstream is required", "[store] `url` is required"] {
        assert!(done.stderr.contains(&format!("{place}{needed}")), "{done:?}");
    }
    assert!(done.stderr.contains("help: write url = \"sqlite:portcullis.db\""), "{done:?}");
    let (_, done) = replaced(SETS, empty);
    assert!(done.stderr.contains("permission_sets.toml:1: error: there is no permission set"));
    let (_, done) = replaced(KEY, empty);
    assert!(done.stderr.contains("digest.key: error: there is no key"), "{done:?}");
    assert!(done.stderr.contains("ID:HEX"), "{done:?}");
    let home = minimal();
    home.write(ROUTES, "");
    let done = home.run(&["check"]);
    assert!(done.stderr.contains("warning: there is no route, so every request"), "{done:?}");
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_mistake() {
    let home = minimal();
    for file in [MAIN, ROUTES, SETS] {
        let text = fs::read_to_string(home.path(file)).unwrap().replace('\n', "\r\n");
        home.write(file, &format!("\u{feff}{text}"));
    }
    home.run(&["check"]);
}

#[test]
fn a_key_file_that_others_can_read_or_that_holds_no_key_is_told_without_the_key() {
    let hex = "4d41524b4544".repeat(6);
    let cases = [
        (format!("k1:{}\n", &hex[..64]), 0o644, "", "every user of this machine", "chmod 600"),
        (format!("k1:{}\n", &hex[..62]), 0o600, ":1", "64 hex digits", "ID:HEX"),
        (format!("# mine\n{}\n", &hex[..64]), 0o600, ":2", "no `:`", "ID:HEX"),
        (format!("k1:{0}\nk1:{0}\n", &hex[..64]), 0o600, ":2", "already has this id", ""),
    ];
    for (text, mode, line, message, help) in cases {
        let (home, done) = replaced(KEY, |path| {
            fs::write(path, &text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        });
        let place = format!("{}{line}: error: ", home.path(KEY).display());
        assert!(done.stderr.contains(&place), "no {place} in {done:?}");
        assert!(done.stderr.contains(message) && done.stderr.contains(help), "{done:?}");
        assert!(!done.stderr.contains(&hex[..12]), "{done:?}");
    }
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    let cases = [
        ("PORTCULLIS_GATE__WORKRES", "2", "names no setting", "`PORTCULLIS_GATE__WORKERS`?"),
        ("PORTCULLIS_GATE__WORKERS", "two", "not valid TOML", "as in the file"),
        ("PORTCULLIS_GATE__WORKERS", "99999", "must be from 0 to", ""),
        ("PORTCULLIS_GATE__LISTEN", "127.0.0.1:80", "not valid TOML", "[\"a\", \"b\"]"),
        ("PORTCULLIS_LEGACY__DEADLINE", "soon", "not a duration", "90s"),
        ("PORTCULLIS_ADMIN__LISTEN", "nowhere", "not an address", "127.0.0.1"),
    ];
    for (name, value, message, help) in cases {
        let home = minimal();
        let done = attempt(home.command().arg("check").env(name, value), b"");
        is_clear(&done, 3);
        assert!(done.stderr.starts_with(&format!("{name}: error: ")), "{done:?}");
        assert!(done.stderr.contains(message) && done.stderr.contains(help), "{done:?}");
    }
}

#[test]
fn a_store_that_is_none_is_told_with_its_file() {
    let home = minimal();
    home.write("portcullis.db", &"no database ".repeat(1_000));
    let done = home.attempt(&["check"]);
    is_clear(&done, 3);
    assert!(done.stderr.contains("portcullis.db: error: ") && done.stderr.contains("restore"));
    let done = home.attempt(&["account", "list"]);
    is_clear(&done, 1);
    assert!(done.stderr.contains("portcullis.db"), "{done:?}");
}

const SECRET: &str = "MARKED~secret~of~a~token";
const HASH: &str = "pbkdf2_sha256$1000$c2FsdHNhbHQ$2gyS0GkJzHzfvl7lrCg+6e9X5+WwGmPhXB3DtmAVS6U=";

/// A token line, whole but for what is put in it.
fn token(members: &str) -> String {
    let members = members.replace("SECRET", SECRET).replace("HASH", HASH);
    format!(r#"{{"account_id":1,"name":"ci","created_at":"2024-05-01T00:00:00Z",{members}}}"#)
}

/// Bad lines, with what is said about each and what help is given.
#[rustfmt::skip]
fn bad_lines() -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let hex = "0f".repeat(32);
    let line = |text: &str| text.replace("SECRET", SECRET).into_bytes();
    let token = |members: &str| token(members).into_bytes();
    let old = |members: &str| String::from_utf8(token(members)).unwrap().replace("2024-05", "2022-05").into_bytes();
    vec![
        (line("account 1: SECRET"), "not JSON", "at column 1"),
        (line(r#"{"account_id":1,"token":"SECRET""#), "not JSON: EOF", ""),
        (line("[1]"), "a line is one JSON object", ""),
        (line("\u{0}\u{0}\u{0}"), "not JSON", ""),
        (line(r#"{"account_id":1,"account_id":2,"token":"SECRET"}"#), "`account_id` is there twice", ""),
        (line(r#"{"type":"acount","id":5}"#), "`type` must be one of account", "did you mean `account`?"),
        (line(r#"{"type":"account","id":5,"name":"x","plan":"entreprise"}"#), "`plan` must be one of", "did you mean `enterprise`?"),
        (line(r#"{"type":"account","id":-5,"name":"x","plan":"team"}"#), "`id` must be a whole number from 0", ""),
        (line(r#"{"type":"account","id":99999999999999999999,"name":"x","plan":"team"}"#), "`id` must be a whole number", ""),
        (line(r#"{"type":"account","id":18446744073709551615,"name":"x","plan":"team"}"#), "too large", ""),
        (line(r#"{"type":"project","account_id":1,"id":5}"#), "`name` is missing", ""),
        (line(r#"{"type":"ip_rule","account_id":1,"action":"permit","cidr":"10.0.0.0/8"}"#), "`action` must be one of allow, deny", ""),
        (line(r#"{"type":"ip_rule","account_id":1,"action":"allow","cidr":"10.0.0.0/33"}"#), "`cidr`: not an address or CIDR", "10.0.0.0/8"),
        (line(r#"{"type":"ip_rule","account_id":1,"action":"deny","cidr":"192.0.2.9/24"}"#), "192.0.2.0/24 is in the allow list of account 1", "ip-rule remove --account 1 192.0.2.0/24"),
        (line(r#"{"type":"id","account_id":1,"index":"job_id","id":1,"project_id":99}"#), "account 1 has no project 99", "project create --account 1 --id 99"),
        (line(r#"{"type":"id","account_id":1,"index":"job_id","id":1,"project_id":10,"environment_category":"prod"}"#), "`environment_category` must be one of", "production"),
        (token(r#""token":"SECRET","grnts":[]"#), "unknown key `grnts`", "did you mean `grants`?"),
        (token(r#""tokn":"SECRET""#), "unknown key `tokn`", "did you mean `token`?"),
        (token(r#""expires_at":null"#), "needs one of `token`, `digest`, `sha256`, `hash`", ""),
        (token(r#""token":"SECRET","sha256":"SECRET""#), "exactly one of `token`, `digest`", ""),
        (token(r#""token":"pts_SECRET""#), "checksum is wrong", "mistyped or cut off"),
        (token(r#""token":"MARKED""#), "16 to 512 bytes", ""),
        (token(&format!(r#""token":"{}""#, SECRET.repeat(30))), "16 to 512 bytes", ""),
        (token("\"token\":\"SECRET\u{e9}\""), "only the bytes 0x21 to 0x7E", ""),
        (token(r#""token":7"#), "`token` must be a text", ""),
        (token(r#""digest":"SECRET""#), "`digest` is written KEYID:HEX", "`export`"),
        (token(r#""digest":"k1:SECRET""#), "`digest` must have 64 hexadecimal digits", ""),
        (token(&format!(r#""digest":"k77:{hex}""#)), "a key that is not in the digest keys", "add the key"),
        (token(r#""sha256":"SECRET""#), "`sha256` must have 64 hexadecimal digits", ""),
        (old(r#""hash":"SECRET""#), "no known form", "bcrypt_sha256$"),
        (old(r#""hash":"pbkdf2_sha256$9000000$c2FsdHNhbHQ$SECRET""#), "`hash`: the Django pbkdf2_sha256 hash", ""),
        (old(&format!(r#""hash":"{}""#, HASH.replace("$1000$", "$9000000$"))), "its rounds is 9000000, beyond the bound of 4000000", "a new token instead"),
        (token(r#""hash":"HASH""#), "made after the cutoff", "`portcullis token create`"),
        (token(r#""introspect":true"#), "made after the cutoff", "`[legacy] cutoff`"),
        (old(r#""hash":"HASH","selector":"MARKEDMARKED""#), "first 1 to 8 characters", ""),
        (token(r#""token":"SECRET","selector":"abcdef""#), "`selector` goes with `hash`", ""),
        (line(r#"{"account_id":98,"name":"ci","created_at":"2024-05-01T00:00:00Z","token":"SECRET"}"#), "there is no account 98", "account create --id 98"),
        (line(r#"{"account_id":1,"name":"ci","created_at":"yesterday","token":"SECRET"}"#), "`created_at` is not an RFC 3339 time", "2024-05-01T00:00:00Z"),
        (line(r#"{"account_id":1,"created_at":"2024-05-01T00:00:00Z","token":"SECRET"}"#), "`name` is missing", ""),
        (token(r#""token":"SECRET","user_id":77"#), "user 77", "user create"),
        (token(r#""token":"SECRET","state":"paused""#), "`state` must be one of active, revoked", ""),
        (token(r#""token":"SECRET","allow_ips":["10.0.0.0/33"]"#), "`allow_ips`: not an address or CIDR", ""),
        (token(r#""token":"SECRET","grants":[{"permission_set":"job_admn"}]"#), "no permission set `job_admn`", "did you mean `job_admin`?"),
        (token(r#""token":"SECRET","grants":[{"permission_set":"account_admin","project_id":10}]"#), "`account_admin` is about the whole account", "without a project"),
        (token(r#""token":"SECRET","grants":[{"permission_set":"job_admin","project_id":99}]"#), "account 1 has no project 99", "project create --account 1 --id 99"),
        (line(r#"{"account_id":2,"name":"ci","created_at":"2024-05-01T00:00:00Z","token":"SECRET","grants":[{"permission_set":"job_admin"}]}"#), "plan starter, which allows semantic_layer_only", "account set-plan 2 PLAN"),
        (token(&format!(r#""token":"{}""#, "MARKED".repeat(20_000))), "longer than 65536 bytes", ""),
        (b"{\"account_id\":1,\"token\":\"MARKED\xff\"}".to_vec(), "not UTF-8", ""),
    ]
}

fn home_to_import_into() -> Home {
    let home = Home::empty();
    home.import(
        r#"{"type":"account","id":1,"name":"One","plan":"enterprise","state":"open"}
{"type":"account","id":2,"name":"Two","plan":"starter","state":"open"}
{"type":"project","account_id":1,"id":10,"name":"ten"}
{"type":"ip_rule","account_id":1,"action":"allow","cidr":"192.0.2.0/24","name":""}
"#,
    );
    home
}

#[test]
fn a_bad_import_line_is_told_with_its_place_and_without_its_secret_and_the_rest_is_imported() {
    let home = home_to_import_into();
    let bad = bad_lines();
    let mut text = b"\xef\xbb\xbf".to_vec();
    for (at, (line, ..)) in bad.iter().enumerate() {
        text.extend(line);
        text.extend(b"\r\n");
        let good = token(&format!(r#""token":"a-token-that-is-fine-{at:04}""#));
        text.extend(good.replace(r#""ci""#, &format!(r#""good {at}""#)).into_bytes());
        text.push(b'\n');
    }
    let file = home.path("lines.jsonl");
    fs::write(&file, &text).unwrap();
    let done = home.attempt(&["--json", "import", file.to_str().unwrap()]);
    is_clear(&done, 3);
    let said = done.json();
    assert_eq!(said["added"], bad.len(), "{}", done.stderr);
    assert_eq!(said["rejected"], bad.len(), "{}", done.stderr);
    for (at, (line, message, help)) in bad.iter().enumerate() {
        let place = format!("{}:{}: ", file.display(), 2 * at + 1);
        let found = done.stderr.lines().find_map(|line| line.strip_prefix(&place));
        let found = found.unwrap_or_else(|| panic!("no {place} in {}", done.stderr));
        let line = String::from_utf8_lossy(&line[..line.len().min(200)]);
        assert!(found.contains(message) && found.contains(help), "{line}\n{found}");
    }
}

#[test]
fn rejects_go_to_their_file_and_the_first_of_them_to_standard_error() {
    let home = home_to_import_into();
    let bad = bad_lines();
    let file = home.path("lines.jsonl");
    let lines: Vec<&[u8]> = bad.iter().map(|(line, ..)| line.as_slice()).collect();
    fs::write(&file, lines.join(&b'\n')).unwrap();
    let rejects = home.path("rejects.jsonl");
    let arguments = ["import", file.to_str().unwrap(), "--rejects", rejects.to_str().unwrap()];
    let done = home.attempt(&arguments);
    is_clear(&done, 3);
    for number in 1..=5 {
        assert!(done.stderr.contains(&format!("{}:{number}: ", file.display())), "{done:?}");
    }
    assert!(!done.stderr.contains(&format!("{}:6: ", file.display())), "{done:?}");
    assert!(done.stderr.contains(&format!("is in {}", rejects.display())), "{done:?}");
    let written = fs::read_to_string(&rejects).unwrap();
    assert!(!written.contains("MARKED"), "{written}");
    assert_eq!(written.lines().count(), bad.len());
    for (number, line) in written.lines().enumerate() {
        let reject: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(reject["line"], number + 1, "{reject}");
        assert!(reject["reason"].as_str().unwrap().contains(bad[number].1), "{reject}");
    }
    let mode = fs::metadata(&rejects).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_wrong_command_line_exits_with_2_and_says_what_was_meant() {
    let home = home_to_import_into();
    let create = ["token", "create", "--account", "1", "--name", "a", "--grant"];
    let with = |more: &[&'static str]| [&create[..], more].concat();
    let cases: [(Vec<&str>, &str); 20] = [
        (vec![], "requires a subcommand"),
        (vec!["acount", "list"], "'account'"),
        (vec!["serve", "--lisen", "x"], "--lisen"),
        (vec!["token", "create"], "--grant"),
        (vec!["token", "revoke"], "<ID>"),
        (vec!["account", "create", "--id", "x", "--name", "a", "--plan", "team"], "'x'"),
        (vec!["account", "create", "--id", "8", "--name", "a", "--plan", "teem"], "'team'"),
        (vec!["ip-rule", "allow", "--account", "1", "10.0.0.0/99"], "not an address or CIDR"),
        (with(&["job_admin:x"]), "a project's number"),
        (with(&["Job Admin"]), "a-z, 0-9 and _"),
        (with(&["job_admin@prod"]), "development"),
        (with(&["job_admin", "--expires", "soon"]), "30d"),
        (with(&["job_admin", "--allow-ip", "here"]), "not an address or CIDR"),
        (vec!["token", "rotate", "1", "--grace", "7 days"], "not a duration"),
        (vec!["token", "verify", "MARKED-secret-of-a-token"], "standard input"),
        (
            vec![
                "explain",
                "--token",
                "MARKED-secret",
                "--method",
                "GET",
                "--path",
                "/",
                "--ip",
                "::1",
            ],
            "standard input",
        ),
        (
            vec!["explain", "--token-id", "1", "--method", "GET", "--path", "/", "--ip", "here"],
            "--ip",
        ),
        (vec!["import", "x", "--from", "kongg"], "'kong'"),
        (vec!["import", "x", "--from", "kong", "--account", "1"], "--grant"),
        (vec!["import"], "<FILE>"),
    ];
    for (arguments, expected) in cases {
        let done = home.attempt(&arguments);
        is_clear(&done, 2);
        assert!(done.stdout.is_empty(), "{done:?}");
        assert!(done.stderr.contains(expected), "{arguments:?}: {}", done.stderr);
    }
    let done = attempt(portcullis().args(["-c"]), b"");
    is_clear(&done, 2);
}
