//! Configurations with mistakes: each is told with its place and what to do.

use super::support::{Folder, PERMISSION_SETS, PORTCULLIS, ROUTES};
use crate::config::{Diagnostic, render};

/// A mistake: the file, what is added to the right one, the line, and two phrases of the message
/// or help.
type Case<'a> = (&'a str, &'a str, usize, &'a str, &'a str);

const MAIN: &str = "portcullis.toml";
const ROUTE: &str = "routes.toml";
const SETS: &str = "permission_sets.toml";

fn errors(folder: &Folder, environment: &[(&str, &str)]) -> Vec<Diagnostic> {
    folder.load(environment).err().unwrap_or_default()
}

fn check(cases: &[Case<'_>]) {
    for (file, addition, line, message, help) in cases {
        let folder = Folder::minimal();
        folder.append(file, addition);
        let errors = errors(&folder, &[]);
        let text = render(&errors);
        assert_eq!(errors.len(), 1, "{addition}\n{text}");
        let first = text.lines().next().unwrap();
        let place = format!("{}:{line}:", folder.path(file).display());
        assert!(first.starts_with(&place), "{addition}\n{text}");
        assert!(first.contains(": error: ") && first.contains(message), "{addition}\n{text}");
        assert!(text.contains(help), "{addition}\n{text}");
    }
}

#[test]
fn in_names_and_types() {
    check(&[
        (MAIN, "[gaet]\n", 5, "unknown section or key `gaet`", "did you mean `gate`?"),
        (MAIN, "[gate]\nlisen = []\n", 6, "unknown key `lisen` in [gate]", "`listen`?"),
        (
            MAIN,
            "[upstreams.b]\nendpoint = 1\nendpoints=[\"unix:/b\"]\n[upstreams.default]\nendpoints=[\"unix:/c\"]",
            6,
            "`endpoint` in [upstreams.b]",
            "`endpoints`?",
        ),
        (
            MAIN,
            "[gate]\nworkers = \"2\"\n",
            6,
            "expected an integer, found a string",
            "6 | workers",
        ),
        (MAIN, "[gate]\nworkers = -1\n", 6, "must not be negative", ""),
        (MAIN, "[gate]\nworkers = 99999999999999999999\n", 6, "does not fit in 64 bits", ""),
        (MAIN, "[gate]\nconceal = 1\n", 6, "expected true or false, found an integer", ""),
        (
            MAIN,
            "[gate]\nlisten = \"127.0.0.1:1\"\n",
            6,
            "expected an array, found a string",
            "brackets",
        ),
        (
            MAIN,
            "[gate]\nlisten = [\n  1,\n]\n",
            7,
            "expected a string, found an integer",
            "7 |   1,",
        ),
        (MAIN, "[[gate]]\n", 5, "expected a table, found an array", ""),
        (MAIN, "[gate]\nworkers = 1\nworkers = 2\n", 7, "duplicate key", "7 | workers = 2"),
        (MAIN, "[store]\n", 5, "duplicate key", "keep one"),
        (MAIN, "[gate]\nlisten = [\n", 6, "not valid TOML", ""),
        (MAIN, "[gate]\nlisten 1\n", 6, "not valid TOML", ""),
    ]);
}

#[test]
fn in_the_gate_and_upstreams() {
    check(&[
        (MAIN, "[gate]\nlisten = []\n", 6, "at least one address", ""),
        (
            MAIN,
            "[gate]\nlisten = [\"localhost:80\"]\n",
            6,
            "`localhost:80` is not an address",
            "127.0.0.1:8080",
        ),
        (MAIN, "[gate]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n", 6, "another listener", ""),
        (MAIN, "[admin]\nlisten = \"127.0.0.1:8080\"\n", 6, "another listener", ""),
        (MAIN, "[gate]\nlisten = [\"unix:\"]\n", 6, "path of the unix socket is missing", ""),
        (MAIN, "[gate]\nlisten_tls = [\"0.0.0.0:443\"]\n", 6, "needs certificates", "tls = {"),
        (
            MAIN,
            "[gate]\nlisten_tls = [\"unix:/a\"]\n",
            6,
            "not spoken on a unix socket",
            "`listen`",
        ),
        (
            MAIN,
            "[gate]\nlisten_tls = [\"[::1]:443\"]\ntls = { min_version = \"1.2\" }\n",
            7,
            "at least one certificate",
            "certificates = [",
        ),
        (
            MAIN,
            "[gate]\nlisten_tls = [\"[::1]:443\"]\ntls = { certificates = [{ certificate = \"a\", key = \"routes.toml\" }] }\n",
            7,
            "cannot read `",
            "",
        ),
        (
            MAIN,
            "[gate]\ncredential_headers = [\"Authorization\"]\n",
            6,
            "always carries",
            "further",
        ),
        (MAIN, "[gate]\ncredential_headers = [\"x_portcullis_x\"]\n", 6, "cannot carry", ""),
        (MAIN, "[gate]\ncredential_headers = [\"a b\"]\n", 6, "not a header name", ""),
        (MAIN, "[gate]\nallow_in_path = [\"///\"]\n", 6, "`///` is not a path form", "`//`?"),
        (MAIN, "[gate]\ndrain_delay = 30\n", 6, "expected a duration", "\"30s\""),
        (MAIN, "[gate]\ndrain_delay = \"30\"\n", 6, "needs a unit", ""),
        (MAIN, "[upstreams.default]\nendpoints = []\n", 6, "`endpoints` is required", ""),
        (MAIN, "[upstreams.default]\n", 5, "`endpoints` is required", "http://"),
        (
            MAIN,
            "[upstreams.default]\nendpoints = [\"https://a\"]\ntls = { ca = \"routes.toml\" }\n",
            7,
            "no certificate in it",
            "",
        ),
        (
            MAIN,
            "[upstreams.default]\nendpoints = [\"127.0.0.1:1\"]\n",
            6,
            "is not an endpoint",
            "http://",
        ),
        (
            MAIN,
            "[upstreams.default]\nendpoints = [\"http://127.0.0.1:1/v1\"]\n",
            6,
            "without a path",
            "",
        ),
        (
            MAIN,
            "[upstreams.default]\nendpoints = [\"unix:/a\"]\nidle_timeout = \"0s\"\n",
            7,
            "longer than nothing",
            "",
        ),
        (
            MAIN,
            "[upstreams.\"a b\"]\nendpoints = [\"unix:/a\"]\n[upstreams.default]\nendpoints = [\"unix:/c\"]",
            5,
            "not a name for an upstream",
            "",
        ),
    ]);
}

#[test]
fn in_the_other_sections() {
    check(&[
        (MAIN, "[legacy]\ncutoff = \"18.07.2023\"\n", 6, "not a date", "2023-07-18"),
        (MAIN, "[legacy]\ncpu_share = 1.5\n", 6, "above 0 and at most 1", "share"),
        (MAIN, "[legacy]\ncandidates_limit = 17\n", 6, "must be from 1 to 16", ""),
        (MAIN, "[legacy]\nupgrade = \"nevre\"\n", 6, "`nevre` is not known", "`never`?"),
        (MAIN, "[legacy]\nsocket = \"127.0.0.1:1\"\n", 6, "is no unix socket", "unix:/run/"),
        (MAIN, "[legacy]\nsocket = \"unix:\"\n", 6, "path of the unix socket is missing", ""),
        (
            MAIN,
            "[legacy]\nsocket = \"unix:a\"\nadmin = \"unix:a\"\n",
            7,
            "another listener already has this address",
            "",
        ),
        (
            MAIN,
            "[client_ip]\ntrusted_proxies = [\"10.0.0.0/33\"]\n",
            6,
            "not an address or CIDR",
            "",
        ),
        (
            MAIN,
            "[client_ip]\nheader = \"x-real-ip\"\n",
            6,
            "is not known",
            "`x-forwarded-for`, `forwarded`",
        ),
        (MAIN, "[client_ip]\nproxy_protocol = true\n", 6, "not available in this version", ""),
        (MAIN, "[limits]\nfailed_credentials = \"lots\"\n", 6, "not a limit", "100/1m"),
        (MAIN, "[limits]\nfailed_credentials = \"0/1m\"\n", 6, "not a limit", "100/1m"),
        (MAIN, "[limits.groups.default]\n", 5, "the group limits nothing", "5000/1m"),
        (
            MAIN,
            "[limits.groups.default]\ntokens = \"1/1m\"\naccount = \"1/1m\"\n",
            6,
            "`tokens`",
            "`token`?",
        ),
        (MAIN, "[limits.groups.default]\ntoken = \"1/32d\"\n", 6, "at most 31d", ""),
        (MAIN, "[limits.groups.default]\ntoken = \"2000000/1s\"\n", 6, "at most 1000000/1s", ""),
        (
            MAIN,
            "[limits.groups.default]\ntoken = \"9/1m\"\ncooldown = \"59s\"\n",
            7,
            "shorter than the period of 9/1m",
            "at least as long",
        ),
        (MAIN, "[limits.groups.off]\ntoken = \"9/1m\"\n", 5, "in no group", ""),
        (
            MAIN,
            "[limits.groups.\"a b\"]\ntoken = \"9/1m\"\n",
            5,
            "not a name for a group of limits",
            "",
        ),
        (
            ROUTE,
            "limit = \"defualt\"\n",
            5,
            "no group of limits `defualt`",
            "did you mean `default`?",
        ),
        (MAIN, "[limits]\nheader_bytes = 100\n", 6, "must be from 1024", ""),
        (MAIN, "[control]\nlisten = \"9091\"\n", 6, "not an address", ""),
        (
            MAIN,
            "[control]\ntls = { certificate = \"a\", key = \"routes.toml\" }\n",
            6,
            "cannot read `",
            "",
        ),
        (MAIN, "[control]\nlisten = \"127.0.0.1:9090\"\n", 6, "another listener", ""),
        (MAIN, "[routes]\nunmatched = \"allow\"\n", 6, "is not known", "`deny`, `authenticated`"),
        (MAIN, "[routes]\nfile = \"r.toml\"\n", 6, "cannot read", "relative to the folder"),
        (MAIN, "[permission_sets]\nfile = \"\"\n", 6, "must not be empty", ""),
        (MAIN, "[keys]\ndigest = \"a.key\"\n", 6, "cannot read", ""),
        (MAIN, "[keys]\ndigest = \"digest.key\"\ndigest_env = \"K\"\n", 7, "both `digest` and", ""),
        (MAIN, "[keys]\ndigest_env = \"NOWHERE\"\n", 6, "`NOWHERE` is not set", ""),
    ]);
}

#[test]
fn in_the_store() {
    for (url, message) in [
        ("\"postgres://u:hunter2@db/p\"", "PostgreSQL is not available in this version"),
        ("\"portcullis.db\"", "must begin with `sqlite:`"),
        ("\"sqlite:\"", "names no file"),
        ("\"sqlite::memory:\"", "names no file"),
        ("\"sqlite://portcullis.db\"", "empty host"),
        ("7", "expected a string, found an integer"),
    ] {
        let folder = Folder::minimal();
        folder.write(MAIN, &PORTCULLIS.replace("\"sqlite:portcullis.db\"", url));
        let text = render(&errors(&folder, &[]));
        assert!(text.contains("portcullis.toml:4:7: error: ") && text.contains(message), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn in_the_feed() {
    let right = "url = \"http://localhost:9091\"\ntoken_env = \"FEED\"\ncache = \"kept\"\n";
    let cases: [(&str, &str, usize, &str, &str); 9] = [
        ("\"http://localhost:9091\"", "\"https://a@control:9091\"", 4, "user or password", ""),
        ("\"http://localhost:9091\"", "\"control:9091\"", 4, "no url of a control", "https://"),
        ("\"http://localhost:9091\"", "\"http://localhost:9091/feed\"", 4, "without a path", ""),
        ("token_env = \"FEED\"\n", "", 3, "`token_env` is required", "account_viewer"),
        ("\"FEED\"", "\"NOWHERE\"", 5, "`NOWHERE` is not set", "account_viewer"),
        ("\"FEED\"", "\"SHORT\"", 5, "is no token", ""),
        ("\"FEED\"", "\"pts_0123456789\"", 5, "not the token itself", ""),
        ("cache = \"kept\"\n", "", 3, "`cache` is required", "/var/lib"),
        ("\"kept\"\n", "\"kept\"\n[store]\nurl = \"sqlite:a.db\"\n", 8, "[feed] `url`", "keep one"),
    ];
    for (from, to, line, message, help) in cases {
        let folder = Folder::minimal();
        let upstream: String = PORTCULLIS.lines().take(2).map(|line| format!("{line}\n")).collect();
        folder.write(MAIN, &format!("{upstream}[feed]\n{}", right.replace(from, to)));
        let environment = [("FEED", "a-token-of-the-operator"), ("SHORT", "short-secret")];
        let errors = errors(&folder, &environment);
        let text = render(&errors);
        assert_eq!(errors.len(), 1, "{to}\n{text}");
        assert_eq!(errors[0].line, line, "{to}\n{text}");
        assert!(text.contains(message) && text.contains(help), "{to}\n{text}");
        assert!(!text.contains("0123456789") && !text.contains("short-secret"), "{text}");
    }
    let folder = Folder::minimal();
    let upstream: String = PORTCULLIS.lines().take(2).map(|line| format!("{line}\n")).collect();
    folder
        .write(MAIN, &format!("{upstream}[feed]\n{right}[control]\nlisten = \"127.0.0.1:9091\"\n"));
    let text = render(&errors(&folder, &[("FEED", "a-token-of-the-operator")]));
    assert!(text.contains("cannot be one"), "{text}");
}

#[test]
fn in_routes() {
    let project = |project: &str| format!("project = {project}\n");
    let unclosed = "[[route]]\npath = \"/a\nrequires = \"public\"\n";
    check(&[
        (ROUTE, "[[routes]]\n", 5, "`routes`", "did you mean `route`?"),
        (ROUTE, "metods = []\n", 5, "unknown key `metods` in [[route]]", "`methods`?"),
        (ROUTE, "[[route]]\nrequires = \"public\"\n", 5, "`path` is required", ""),
        (ROUTE, "[[route]]\npath = \"/a\"\n", 5, "`requires` is required", "\"authenticated\""),
        (ROUTE, "[[route]]\npath = \"/a\"\nrequires = []\n", 7, "empty list", ""),
        (ROUTE, "[[route]]\npath = \"/a\"\nrequires = \"Job:R\"\n", 7, "resource `Job`", "`Jobs`?"),
        (
            ROUTE,
            "[[route]]\npath = \"/a\"\nrequires = \"Develop (IDE or CI):W\"\n",
            7,
            "no permission set names",
            "`Develop (IDE or CLI)`?",
        ),
        (
            ROUTE,
            "[[route]]\npath = \"/a\"\nrequires = [\"Jobs:R\", \"Runs:X\"]\n",
            7,
            "`X` is not a level",
            "",
        ),
        (
            ROUTE,
            "[[route]]\npath = \"/a\"\nrequires = \"Jobs:w\"\n",
            7,
            "`w` is not a level",
            "`Jobs:W`?",
        ),
        (
            ROUTE,
            "[[route]]\npath = \"/a\"\nrequires = \"Jobs\"\n",
            7,
            "neither who may",
            "`Jobs:R` or `Jobs:W`?",
        ),
        (
            ROUTE,
            "[[route]]\npath = \"/a\"\nrequires = \"pubic\"\n",
            7,
            "neither who may",
            "`public`?",
        ),
        (ROUTE, "[[route]]\npath = \"/a\"\nrequires = [\"public\"]\n", 7, "cannot be combined", ""),
        (ROUTE, "[[route]]\npath = \"/a\"\nrequires = 3\n", 7, "expected a string or an array", ""),
        (ROUTE, "upstream = \"apii\"\n", 5, "there is no upstream `apii`", "`api`"),
        (ROUTE, &project("\"deffer\""), 5, "`deffer` is not known", "`defer`?"),
        (ROUTE, &project("{ qeury = \"a\", query = \"b\" }"), 5, "unknown key `qeury`", "`query`?"),
        (ROUTE, &project("{ from = \"id\" }"), 5, "needs either `query`", ""),
        (ROUTE, &project("{ query = \"a\", index = \"b\" }"), 5, "needs either `query`", ""),
        (ROUTE, &project("1"), 5, "expected a string or a table", ""),
        (ROUTE, "body_bytes = \"1\"\n", 5, "expected an integer", ""),
        (ROUTE, "inferred = \"yes\"\n", 5, "expected true or false", ""),
        (
            ROUTE,
            "[[route]]\npath = \"/a\"\nrequires = \"public\"\nmethods = []\n",
            8,
            "empty list",
            "leave it out",
        ),
        (ROUTE, unclosed, 6, "not valid TOML", "6 | path"),
        (ROUTE, "[[route]]\npath = \"a\"\nrequires = \"public\"\n", 6, "path `a`", "6 | path"),
        (
            ROUTE,
            "[[route]]\npath = \"/a\"\nrequires = \"public\"\nmethods = [\"get\"]\n",
            8,
            "`get` is not a method",
            "upper case",
        ),
        (
            ROUTE,
            "[[route]]\npath = \"/a\"\nrequires = \"public\"\nhost = \"a:1\"\n",
            8,
            "`a:1` is not a host",
            "",
        ),
        (
            ROUTE,
            "[[route]]\npath = \"/a\"\nrequires = \"public\"\nclient_certificate = [\"ci.example\"]\n",
            8,
            "no client shows a certificate",
            "`client_ca`",
        ),
        (ROUTE, "[[route]]\npath = \"/a\"\nrequires = \"self\"\n", 7, "no capture `{user_id}`", ""),
        (ROUTE, &project("{ index = \"job_id\" }"), 5, "no capture `{job_id}`", "5 | project"),
        (
            ROUTE,
            "[[route]]\npath = \"/a\"\nrequires = \"public\"\nproject = { query = \"p\" }\n",
            8,
            "GET and HEAD only",
            "",
        ),
        (
            ROUTE,
            "[[route]]\npath = \"/v1/accounts/{account_id}/jobs\"\nrequires = \"public\"\nmethods = [\"GET\"]\n",
            6,
            "the same path and method as the route at line 1",
            "",
        ),
    ]);
}

#[test]
fn in_permission_sets() {
    check(&[
        (SETS, "[set.a]\n", 6, "`set`", "`sets`"),
        (SETS, "[sets.a]\nfamily = \"acount\"\n", 7, "`acount` is not known", "`account`?"),
        (SETS, "[sets.a]\nread = [\"Jobs\"]\n", 6, "`family` is required", ""),
        (
            SETS,
            "[sets.a]\nfamily = \"account\"\nplans = [\"entreprise\"]\n",
            8,
            "`entreprise`",
            "`enterprise`?",
        ),
        (SETS, "[sets.a]\nfamily = \"account\"\nread = \"Jobs\"\n", 8, "expected an array", ""),
        (SETS, "[sets.a]\nfamily = \"account\"\nwite = []\n", 8, "unknown key `wite`", "`write`?"),
        (
            SETS,
            "[sets.a]\nfamily = \"account\"\nenvironment_write = [\"Jobs\"]\n",
            6,
            "account family",
            "",
        ),
        (SETS, "[sets.\"Job Admin\"]\nfamily = \"account\"\n", 6, "permission set name", ""),
        (
            SETS,
            "[sets.a]\nfamily = \"account\"\nread = [\" Jobs\"]\n",
            8,
            "not a resource's name",
            "",
        ),
        (SETS, "[sets.job_admin]\n", 6, "duplicate key", ""),
    ]);
}

#[test]
fn in_keys_are_told_without_the_keys() {
    let hex = "0f".repeat(32);
    for (text, mode, line, message) in [
        ("", 0o600, 0, "there is no key"),
        (&*format!("# a\n{hex}\n"), 0o600, 2, "no `:`"),
        (&format!("k1:{hex}\nk1:{hex}\n"), 0o600, 2, "already has this id"),
        (&format!("k1:{}\n", &hex[2..]), 0o600, 1, "64 hex digits"),
        (&format!("k1:{}zz\n", &hex[2..]), 0o600, 1, "but hex digits"),
        (&format!("{}:{hex}\n", "k".repeat(33)), 0o600, 1, "1 to 32"),
        (&format!("k1:{hex}\n"), 0o644, 0, "every user of this machine"),
        (&format!("k1:{hex}\n"), 0o602, 0, "mode 0602"),
    ] {
        let folder = Folder::minimal();
        folder.write_key(text, mode);
        let errors = errors(&folder, &[]);
        assert_eq!(errors.len(), 1, "{message}");
        assert_eq!(errors[0].line, line, "{message}");
        let text = render(&errors);
        assert!(text.contains("digest.key") && text.contains(message), "{text}");
        assert!(!text.contains(&hex[..20]), "{text}");
    }
}

#[test]
fn with_a_key_where_its_file_belongs_do_not_show_it() {
    let key = format!("k1:{}", "0f".repeat(32));
    for keys in ["digest", "digest_env", "key"] {
        let folder = Folder::minimal();
        folder.append(MAIN, &format!("[keys]\n{keys} = \"{key}\"\n"));
        let text = render(&errors(&folder, &[]));
        assert!(text.contains("portcullis.toml:6:"), "{text}");
        assert!(!text.contains("0f0f"), "{text}");
    }
}

#[test]
fn in_the_environment_are_told_with_the_variable() {
    for (name, value, message, help) in [
        (
            "PORTCULLIS_GAET__LISTEN",
            "[]",
            "names no setting",
            "did you mean `PORTCULLIS_GATE__LISTEN`?",
        ),
        (
            "PORTCULLIS_UPSTREAMS__API__ENDPOINT",
            "[]",
            "names no setting",
            "`PORTCULLIS_UPSTREAMS__API__ENDPOINTS`?",
        ),
        ("PORTCULLIS_X__Y", "1", "names no setting", "PORTCULLIS_SECTION__KEY"),
        ("PORTCULLIS_GATE__LISTEN", "127.0.0.1:8080", "not valid TOML", "as in the file"),
        ("PORTCULLIS_GATE__WORKERS", "\"2\"", "expected an integer, found a string", ""),
        ("PORTCULLIS_GATE__WORKERS", "9999", "must be from 0 to 1024", ""),
        ("PORTCULLIS_LEGACY__DEADLINE", "soon", "not a duration", ""),
        ("PORTCULLIS_STORE__URL", "postgres://u:hunter2@h/d", "not available", ""),
    ] {
        let folder = Folder::minimal();
        let errors = errors(&folder, &[(name, value)]);
        let text = render(&errors);
        assert_eq!(errors.len(), 1, "{text}");
        assert!(text.starts_with(&format!("{name}: error: ")), "{text}");
        assert!(text.contains(message) && text.contains(help), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn are_all_told_at_once_in_the_order_of_files_and_lines() {
    let folder = Folder::minimal();
    folder.append(
        MAIN,
        "[gate]\nlisen = []\nworkers = \"two\"\nworkers = 2\n[legacy]\ncpu_share = 0\n",
    );
    folder.write(ROUTE, &format!("{ROUTES}upstream = \"apo\"\n[[route]]\nrequires = \"Job:R\"\n"));
    folder.write(SETS, &PERMISSION_SETS.replace("\"team\"", "\"teem\""));
    folder.write_key("nonsense\n", 0o600);
    let errors = errors(&folder, &[("PORTCULLIS_ADMIN__LISTN", "")]);
    let places: Vec<(String, usize)> = errors
        .iter()
        .map(|one| (one.file.rsplit('/').next().unwrap().to_owned(), one.line))
        .collect();
    let expected = [
        (MAIN, 6),
        (MAIN, 7),
        (MAIN, 8),
        (MAIN, 10),
        ("PORTCULLIS_ADMIN__LISTN", 0),
        ("digest.key", 1),
        (SETS, 5),
        (ROUTE, 5),
        (ROUTE, 6),
        (ROUTE, 7),
    ];
    assert_eq!(places, expected.map(|(file, line)| (file.to_owned(), line)), "{}", render(&errors));
}

#[test]
fn without_what_is_required_are_told() {
    let folder = Folder::minimal();
    folder.write(MAIN, "");
    let errors = errors(&folder, &[]);
    let text = render(&errors);
    assert_eq!(errors.len(), 2, "{text}");
    assert!(text.contains("portcullis.toml:1: error: at least one upstream is required"), "{text}");
    assert!(text.contains("portcullis.toml:1: error: [store] `url` is required"), "{text}");
}

#[test]
fn of_several_upstreams_a_route_must_choose() {
    let folder = Folder::minimal();
    folder.append(
        MAIN,
        "[upstreams.b]\nendpoints = [\"unix:/b\"]\n[routes]\nunmatched = \"authenticated\"\n",
    );
    let text = render(&errors(&folder, &[]));
    assert!(text.contains("portcullis.toml:8:13: error: it is not said which upstream"), "{text}");
    assert!(text.contains("routes.toml:1:1: error: it is not said which upstream"), "{text}");
}

#[test]
fn a_file_that_is_not_there_is_told_without_a_line() {
    let folder = Folder::minimal();
    folder.remove(MAIN);
    let errors = errors(&folder, &[]);
    assert_eq!((errors.len(), errors[0].line), (1, 0));
    assert!(errors[0].message.contains("cannot read it"), "{}", errors[0]);
}

#[test]
fn a_file_that_is_not_text_is_told() {
    let folder = Folder::minimal();
    std::fs::write(folder.path(ROUTE), b"# \xff").unwrap();
    let text = render(&errors(&folder, &[]));
    assert!(
        text.contains("portcullis.toml:1: error: cannot read")
            && text.contains("line 1 is not UTF-8"),
        "{text}"
    );
}
