//! `explain` for whoever is called at night: each refusal with its facts, and with commands that,
//! typed as they stand, make the same request pass.

use std::process::Command;

use serde_json::Value;

use crate::support::Home;
use crate::support::home::{attempt, portcullis};
use crate::support::world::{JOBS, LINES, legacy_line, token_line};

/// What besides the usual accounts the cases need.
const MORE: &str = r#"{"type":"account","id":4,"name":"Four","plan":"enterprise","state":"open"}
{"type":"account","id":5,"name":"Five","plan":"enterprise","state":"open"}
{"type":"account","id":6,"name":"Six","plan":"starter","state":"open"}
{"type":"user","account_id":1,"id":8,"name":"eight","licence":"read_only","admin":false}
{"account_id":4,"name":"a","created_at":"2024-05-01T00:00:00Z","grants":[{"permission_set":"job_admin"}],"token":"token-of-a-cancelled-plan"}
{"account_id":5,"name":"a","created_at":"2024-05-01T00:00:00Z","grants":[{"permission_set":"job_viewer"}],"token":"token-of-a-closed-account"}
{"account_id":6,"name":"a","created_at":"2024-05-01T00:00:00Z","grants":[{"permission_set":"semantic_layer_only"}],"token":"token-of-a-starter-plan"}
{"account_id":1,"user_id":8,"name":"p","created_at":"2024-05-01T00:00:00Z","grants":[{"permission_set":"developer"}],"token":"token-of-a-reading-user"}
"#;

const ROUTES: &str = r#"
[[route]]
path = "/api/v3/projects/{project_id}/runs/"
methods = ["GET"]
requires = "Runs:R"

[[route]]
path = "/api/v2/accounts/{account_id}/settings/"
methods = ["POST"]
requires = ["Billing:W", "Jobs:R"]
"#;

/// A refusal: what is asked, what it is refused for, what is said about it, and the commands that
/// let it through, in which `ID` stands for the token's number.
struct Case {
    token: &'static str,
    method: &'static str,
    path: &'static str,
    ip: &'static str,
    reason: &'static str,
    says: &'static [&'static str],
    commands: &'static [&'static str],
}

const ASKED: Case = Case {
    token: "service-token-of-account-1",
    method: "GET",
    path: JOBS,
    ip: "203.0.113.7",
    reason: "",
    says: &[],
    commands: &[],
};

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    vec![
        // Nothing but the client can put these right.
        Case { path: "/api//v2", reason: "bad_request", says: &["(`//`)", "canonical path"], ..ASKED },
        Case { path: "/api/v2/accounts/1/search/?project_id=1&project_id=2", reason: "bad_request", says: &["twice", "once, unencoded"], ..ASKED },
        Case { token: "", reason: "malformed_credential", says: &["`Authorization: Bearer TOKEN`"], ..ASKED },
        Case { token: "too-short", reason: "malformed_credential", says: &["16 to 512 bytes", "nothing else"], ..ASKED },
        Case { path: "/no/such/path", reason: "no_route", says: &["no route has this path", "routes.toml", r#"path = "/no/such/path""#], ..ASKED },
        Case { method: "DELETE", reason: "no_route", says: &["with GET, HEAD, POST, PUT, not with DELETE", "routes.toml"], ..ASKED },
        Case { path: "/api/v2/accounts/99/jobs/", reason: "wrong_account", says: &["names account 99", "is of account 1", "there is no account 99"], ..ASKED },
        Case { path: "/api/v2/accounts/1/jobs/79/", reason: "no_permission", says: &["job_id 79 is not in the id index of account 1", "id-index set --account 1 job_id 79 PROJECT"], ..ASKED },
        // A new token, for want of the old one.
        Case { token: "pts_0000000000000000000000000000000000000000000000000", reason: "bad_checksum", says: &["checksum is wrong", "all 53 characters"],
            commands: &["token create --account 1 --name new --grant cost_insights_admin"], ..ASKED },
        Case { token: "a-token-that-nobody-has", reason: "unknown_token", says: &["tokens has this digest", "keys: k1"],
            commands: &["token create --account 1 --name new --grant cost_insights_admin"], ..ASKED },
        Case { token: "legacy-secret-9999", path: "/api/v2/accounts/1/jobs/77/", reason: "legacy_mismatch", says: &["none of 1 candidates has this secret"],
            commands: &["token create --account 1 --name new --grant cost_insights_admin:10"], ..ASKED },
        Case { token: "revoked-token-0001", path: "/api/v2/accounts/1/projects/11/jobs/", reason: "revoked", says: &["token ID is revoked, for good"],
            commands: &["token create --account 1 --name replaces-ID --grant cost_insights_admin:11"], ..ASKED },
        Case { token: "expired-token-0001", reason: "expired", says: &["token ID expired at 2024-06-01T00:00:00Z; it is 20"],
            commands: &["token create --account 1 --name replaces-ID --grant cost_insights_admin"], ..ASKED },
        Case { token: "future-token-0001", reason: "not_yet_valid", says: &["not valid before 2999-01-01T00:00:00Z; it is 20", "wait until then"],
            commands: &["token create --account 1 --name replaces-ID --grant cost_insights_admin --allow-ip 203.0.113.7/32"], ..ASKED },
        Case { token: "only-from-127.0.0.9", reason: "token_ip_denied", says: &["203.0.113.7: token ID may be used only from 127.0.0.8/31, 192.0.2.0/24"],
            commands: &["token create --account 1 --name replaces-ID --grant cost_insights_admin --allow-ip 203.0.113.7/32"], ..ASKED },
        Case { path: "/api/v2/accounts/2/jobs/", ip: "203.0.113.8", reason: "wrong_account", says: &["names account 2", "is of account 1"],
            commands: &["ip-rule allow --account 2 203.0.113.8/32", "token create --account 2 --name new --grant cost_insights_admin"], ..ASKED },
        // The account.
        Case { token: "service-token-of-account-3", path: "/me/", reason: "account_closed", says: &["account 3 is closed, plan enterprise"],
            commands: &["account open 3"], ..ASKED },
        Case { token: "token-of-a-cancelled-plan", path: "/api/v2/accounts/4/jobs/", reason: "account_closed", says: &["the plan of account 4 is cancelled"],
            commands: &["account set-plan 4 team"], ..ASKED },
        Case { token: "token-of-a-closed-account", path: "/api/v2/accounts/5/jobs/", reason: "account_closed", says: &["account 5 is closed, plan cancelled"],
            commands: &["account open 5", "account set-plan 5 enterprise"], ..ASKED },
        // The one address, whatever the rules around it.
        Case { token: "service-token-of-account-2", path: "/me/", reason: "ip_denied", says: &["`deny 203.0.113.0/24` of account 2 matches most specifically"],
            commands: &["ip-rule allow --account 2 203.0.113.7/32"], ..ASKED },
        Case { token: "service-token-of-account-2", path: "/me/", ip: "198.51.100.1", reason: "ip_denied", says: &["`deny 198.51.100.1/32` of account 2"],
            commands: &["ip-rule remove --account 2 198.51.100.1/32"], ..ASKED },
        Case { token: "service-token-of-account-2", path: "/me/", ip: "203.0.113.9", reason: "ip_denied", says: &["`deny 203.0.113.9/32` of account 2"],
            commands: &["ip-rule remove --account 2 203.0.113.9/32", "ip-rule allow --account 2 203.0.113.9/32"], ..ASKED },
        Case { token: "service-token-of-account-2", path: "/me/", ip: "2001:db8::7", reason: "ip_denied", says: &["no rule of account 2 matches, and it lets in only 198.51.100.0/24"],
            commands: &["ip-rule allow --account 2 2001:db8::7/128"], ..ASKED },
        // Rights.
        Case { token: "reader-token-of-account-1", method: "POST", path: "/api/v2/accounts/1/jobs/77/run/", reason: "no_permission",
            says: &["Runs:W is needed on project 10, a production environment; token ID has readonly on project 10, readonly on project 11"],
            commands: &["token create --account 1 --name replaces-ID --grant job_runner:10"], ..ASKED },
        Case { token: "narrow-token-of-account-1", reason: "no_permission", says: &["Jobs:R is needed on all projects; token ID has readonly on project 10, job_admin on project 10"],
            commands: &["token create --account 1 --name replaces-ID --grant cost_insights_admin"], ..ASKED },
        Case { token: "personal-token-of-user-7", method: "POST", path: "/api/v2/accounts/1/jobs/77/run/", reason: "no_permission",
            says: &["developer on all projects, writing in development"],
            commands: &["token create --account 1 --user 7 --name replaces-ID --grant job_runner:10"], ..ASKED },
        Case { token: "token-of-a-reading-user", method: "POST", reason: "no_permission", says: &["its user's licence, read_only", "service token"],
            commands: &["token create --account 1 --name replaces-ID --grant job_creator"], ..ASKED },
        Case { token: "token-of-a-starter-plan", path: "/api/v2/accounts/6/jobs/", reason: "no_permission", says: &["token ID has semantic_layer_only on all projects"],
            commands: &["account set-plan 6 team", "token create --account 6 --name replaces-ID --grant readonly"], ..ASKED },
        Case { token: "token-of-a-lapsed-plan", path: "/api/v2/accounts/7/jobs/", reason: "no_permission", says: &["job_viewer on all projects (suspended: not on plan starter)"],
            commands: &["account set-plan 7 enterprise"], ..ASKED },
        Case { path: "/api/v3/projects/12/runs/", reason: "no_permission", says: &["on project 12, which is not among the account's projects", "make it known"],
            commands: &["project create --account 1 --id 12 --name project-12"], ..ASKED },
        Case { token: "narrow-token-of-account-1", path: "/api/v3/projects/13/runs/", reason: "no_permission", says: &["on project 13, which is not among"],
            commands: &["project create --account 1 --id 13 --name project-13", "token create --account 1 --name replaces-ID --grant job_viewer:13"], ..ASKED },
        Case { method: "POST", path: "/api/v2/accounts/1/settings/", reason: "no_permission", says: &["Billing:W, Jobs:R is needed on all projects"],
            commands: &["token create --account 1 --name replaces-ID --grant billing_admin cost_insights_admin"], ..ASKED },
        Case { path: "/users/7/", reason: "no_permission", says: &["only a personal token may", "personal token of user 7"],
            commands: &["token create --account 1 --user 7 --name new --grant metadata_only:10"], ..ASKED },
    ]
}

fn furnished() -> Home {
    let home = Home::empty();
    home.add_routes(ROUTES);
    let hash = bcrypt::hash("legacy-secret-0001", 4).unwrap();
    let narrowed = |name: &str, members: &str| token_line(name, members);
    home.import(
        &[
            LINES,
            MORE,
            &narrowed("gone", r#""state":"revoked","token":"revoked-token-0001""#),
            &narrowed("late", r#""expires_at":"2024-06-01T00:00:00Z","token":"expired-token-0001""#),
            &narrowed("soon", r#""not_before":"2999-01-01T00:00:00Z","allow_ips":["10.0.0.0/8"],"token":"future-token-0001""#),
            &narrowed("narrowed", r#""allow_ips":["192.0.2.0/24","127.0.0.8/31"],"token":"only-from-127.0.0.9""#),
            &legacy_line("old", &format!(r#""hash":"{hash}","selector":"legacy-s""#)),
        ]
        .concat(),
    );
    home.run(&["ip-rule", "allow", "--account", "2", "198.51.100.0/24"]);
    home.run(&[
        "ip-rule",
        "deny",
        "--account",
        "2",
        "203.0.113.0/24",
        "198.51.100.1/32",
        "203.0.113.9/32",
    ]);
    home.run(&["ip-rule", "enable", "--account", "2"]);
    // Plans that were left after the tokens were made.
    let lapsed = r#"{"type":"account","id":7,"name":"Seven","plan":"enterprise","state":"open"}
{"account_id":7,"name":"a","created_at":"2024-05-01T00:00:00Z","grants":[{"permission_set":"job_viewer"}],"token":"token-of-a-lapsed-plan"}
"#;
    home.import(lapsed);
    home.run(&["account", "set-plan", "7", "starter"]);
    home.run(&["account", "set-plan", "4", "cancelled"]);
    home.run(&["account", "set-plan", "5", "cancelled"]);
    home.run(&["account", "close", "5"]);
    home
}

impl Case {
    fn ask(&self, home: &Home, token: &str, more: &[&str]) -> (i32, String) {
        let arguments = [
            &["explain", "--token", "-", "--method", self.method, "--path", self.path],
            &["--ip", self.ip][..],
            more,
        ]
        .concat();
        let done = home.attempt_with(&arguments, token.as_bytes());
        assert!(token.is_empty() || !done.stdout.contains(token), "{done:?}");
        (done.code, done.stdout)
    }

    /// Refused as it should be; gives the number of the token, where it is known.
    fn is_refused(&self, home: &Home) -> Value {
        let (code, said) = self.ask(home, self.token, &["--json"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((code, &said["reason"]), (4, &Value::from(self.reason)), "{said}");
        said
    }

    fn with_id(&self, text: &str, said: &Value) -> String {
        let steps = said["steps"].as_array().unwrap();
        let token = steps.iter().find(|step| step["step"] == "token").unwrap();
        let id = token["detail"].as_str().unwrap().trim_start_matches("token ");
        let id: String = id.chars().take_while(char::is_ascii_digit).collect();
        text.replace("ID", &id)
    }
}

#[test]
fn every_refusal_says_what_failed_and_its_commands_make_it_pass() {
    let home = furnished();
    for case in cases() {
        let said = case.is_refused(&home);
        let (_, text) = case.ask(&home, case.token, &[]);
        for expected in case.says {
            let expected = case.with_id(expected, &said);
            assert!(text.contains(&expected), "{}: no {expected} in\n{text}", case.reason);
        }
        let prefix = format!("portcullis -c {} ", home.path("portcullis.toml").display());
        let expected: Vec<String> = case
            .commands
            .iter()
            .map(|command| prefix.clone() + &case.with_id(command, &said))
            .collect();
        assert_eq!(said["fix"]["commands"], Value::from(expected.clone()), "{said}");
        assert!(
            expected.iter().all(|command| text.contains(&format!("\n  {command}\n"))),
            "{text}"
        );
        let mut token = None;
        for command in expected.iter() {
            token = run_as_typed(command).or(token);
        }
        if !expected.is_empty() {
            let token = token.unwrap_or(case.token.to_owned());
            let (code, now) = case.ask(&home, &token, &[]);
            assert_eq!(code, 0, "{expected:?} do not help:\n{now}");
        }
    }
}

/// Runs a command in a shell, as somebody who copied it does; gives the secret that it printed.
fn run_as_typed(command: &str) -> Option<String> {
    let program = portcullis().get_program().to_owned();
    let folder = std::path::Path::new(&program).parent().unwrap().to_owned();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let done = attempt(Command::new("sh").args(["-c", command]).env("PATH", path), b"");
    assert_eq!(done.code, 0, "{command}: {done:?}");
    let made: Value = serde_json::from_str(&done.stdout).ok()?;
    Some(made["token"].as_str()?.to_owned())
}

#[test]
fn what_a_fix_gives_is_no_more_than_the_request_needs() {
    let home = furnished();
    let runs = Case {
        token: "revoked-token-0001",
        method: "POST",
        path: "/api/v2/accounts/1/jobs/77/run/",
        ..ASKED
    };
    let said = runs.ask(&home, runs.token, &["--json"]).1;
    let said: Value = serde_json::from_str(&said).unwrap();
    let command = said["fix"]["commands"][0].as_str().unwrap();
    let token = run_as_typed(command).unwrap();
    assert_eq!(runs.ask(&home, &token, &[]).0, 0);
    let others = [
        Case { method: "POST", ..ASKED },
        Case { path: "/api/v2/accounts/1/jobs/78/", ..ASKED },
        Case { path: "/api/v2/accounts/1/tokens/", ..ASKED },
    ];
    for other in others {
        assert_eq!(other.ask(&home, &token, &[]).0, 4, "{} {}", other.method, other.path);
    }
}

#[test]
fn the_admin_listener_gives_the_commands_too() {
    let home = furnished();
    let gate = crate::support::Gate::start(&home);
    let question = format!(
        r#"{{"token":"service-token-of-account-3","method":"GET","path":"{JOBS}","ip":"192.0.2.1"}}"#
    );
    let said = gate.admin_post("/explain", &question).json();
    assert_eq!(said["fix"]["commands"], serde_json::json!(["portcullis account open 3"]), "{said}");
    // Nobody knows the address of a client of a unix socket, and no rule can let it in.
    let question = r#"{"token":"service-token-of-account-2","method":"GET","path":"/me/"}"#;
    let said = gate.admin_post("/explain", question).json();
    assert_eq!(
        (&said["reason"], &said["fix"]["commands"]),
        (&"ip_denied".into(), &serde_json::json!([]))
    );
}

#[test]
fn it_says_how_a_legacy_token_is_recognised_and_what_that_costs() {
    let mut home = furnished();
    let upstream = crate::support::Upstream::start();
    home.forward_to(upstream.address());
    let gate = crate::support::Gate::start(&home);
    let token = "legacy-secret-0001";
    let ask = |bearer: &str| {
        let question = format!(r#"{{{bearer},"method":"GET","path":"{JOBS}","ip":"192.0.2.1"}}"#);
        gate.admin_post("/explain", &question).json()
    };
    let by_secret = format!(r#""token":"{token}""#);
    let by_id = format!(r#""token_id":{}"#, home.token_id("old"));
    let of_step =
        |said: &serde_json::Value| said["steps"][2]["detail"].as_str().unwrap().to_owned();
    let hashed = ask(&by_secret);
    assert_eq!((&hashed["verdict"], &hashed["lane"]), (&"slow".into(), &"slow".into()), "{hashed}");
    let recognition = &hashed["recognition"];
    assert_eq!((&recognition["by"], &recognition["form"]), (&"hash".into(), &"bcrypt".into()));
    assert_eq!(recognition["cost"], "cost 4");
    assert!(recognition["cpu_seconds"].as_f64().unwrap() > 0.0, "{hashed}");
    let said = of_step(&hashed);
    assert!(said.contains("recognised by the slow lane: bcrypt, cost 4, which took 0.0"), "{said}");
    let unhashed = ask(&by_id);
    assert_eq!(
        unhashed["recognition"],
        serde_json::json!({"by":"hash","form":"bcrypt","cost":"cost 4"})
    );
    // To explain is not to use: only a request is remembered.
    assert_eq!(ask(&by_secret)["lane"], "slow");
    assert_eq!(gate.status(JOBS, token), 200);
    for bearer in [&by_secret, &by_id] {
        let remembered = ask(bearer);
        assert_eq!(
            (&remembered["verdict"], &remembered["lane"]),
            (&"allow".into(), &"cached".into())
        );
        assert_eq!(remembered["recognition"], serde_json::json!({"by":"memory"}));
        assert!(of_step(&remembered).contains("remembered by the slow lane"), "{remembered}");
    }
    let fast = ask(r#""token":"service-token-of-account-1""#);
    assert_eq!((&fast["lane"], fast.get("recognition")), (&"fast".into(), None));
    let arguments =
        ["explain", "--token", "-", "--method", "GET", "--path", JOBS, "--ip", "192.0.2.1"];
    let done = home.attempt_with(&arguments, token.as_bytes());
    assert!(done.stdout.starts_with("ALLOW, by the slow lane"), "{done:?}");
    assert!(done.stdout.contains("bcrypt, cost 4, which took 0.0"), "{done:?}");
}
