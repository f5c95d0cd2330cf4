//! Who may give whom what: plan, permission set, scope and caller in one table, asked over the API,
//! at the command line and by a file that declares it.

use serde_json::{Value, json};

use crate::support::control::secret;
use crate::support::{Control, Home};

/// Accounts by plan; each has a project of its number times ten.
const ACCOUNTS: [(u64, &str); 3] = [(11, "enterprise"), (12, "starter"), (13, "team")];
const SETS: [&str; 5] =
    ["account_admin", "job_admin", "semantic_layer_only", "manage_marketplace_apps", "developer"];

/// Who asks, and whether they manage service tokens of an account at all.
const CALLERS: [(&str, bool); 6] = [
    ("administrator", true),
    ("not an administrator", false),
    ("read-only licence", false),
    ("service token with rights", true),
    ("service token without", false),
    ("another account's", false),
];

/// Sets that the plan lets a service token carry, of those above.
fn plan_allows(plan: &str, set: &str) -> bool {
    match plan {
        "enterprise" => true,
        "starter" => set == "semantic_layer_only",
        _ => ["account_admin", "job_admin", "semantic_layer_only"].contains(&set),
    }
}

/// Whether what holds account_admin on all projects holds all of the set: the published tables.
fn admin_holds(set: &str) -> bool {
    set != "manage_marketplace_apps"
}

fn home() -> Home {
    let mut home = Home::new();
    home.set("gate", "conceal", "false");
    for (account, plan) in ACCOUNTS {
        let (id, project) = (account.to_string(), (account * 10).to_string());
        home.run(&["account", "create", "--id", &id, "--name", "a", "--plan", plan]);
        home.run(&["project", "create", "--account", &id, "--id", &project, "--name", "p"]);
        for (user, licence, admin) in
            [("1", "developer", true), ("2", "developer", false), ("3", "read_only", true)]
        {
            let create = ["user", "create", "--account", &id, "--id", user, "--name", "u"];
            let mut arguments = [&create[..], &["--licence", licence]].concat();
            if admin {
                arguments.push("--admin");
            }
            home.run(&arguments);
        }
    }
    home
}

/// The token of a caller in an account; `None` where its plan allows no such token.
fn token_of(home: &Home, account: u64, plan: &str, caller: &str) -> Option<String> {
    let own = if caller == "another account's" { "1".to_owned() } else { account.to_string() };
    let user = match caller {
        "administrator" => Some("1"),
        "not an administrator" => Some("2"),
        "read-only licence" => Some("3"),
        _ => None,
    };
    let set =
        if caller == "service token without" { "semantic_layer_only" } else { "account_admin" };
    if user.is_none() && own != "1" && !plan_allows(plan, set) {
        return None;
    }
    let create = ["token", "create", "--account", &own, "--name", caller, "--grant", set];
    let user = user.map_or(vec![], |user| vec!["--user", user]);
    Some(secret(&home.run(&[&create[..], &user].concat()).json()))
}

#[test]
fn plan_set_scope_and_caller_decide_together_over_the_api_at_the_command_line_and_by_file() {
    let control = Control::in_home(home());
    for (account, plan) in ACCOUNTS {
        let callers: Vec<_> = CALLERS
            .into_iter()
            .filter_map(|(who, manages)| {
                Some((who, manages, token_of(&control.home, account, plan, who)?))
            })
            .collect();
        let path = format!("{account}/service-tokens/");
        for (who, _, token) in &callers {
            // In force once it is more than unknown.
            crate::support::eventually(who, || {
                let status = control.call("GET", &path, token, None).status;
                (!matches!(status, 401 | 429)).then_some(())
            });
        }
        for set in SETS {
            for project in [None, Some(account * 10), Some(999)] {
                let grant = json!({ "permission_set": set, "project_id": project });
                let is_account_set = ["account_admin", "manage_marketplace_apps"].contains(&set);
                let rule = if !plan_allows(plan, set) || is_account_set && project.is_some() {
                    Some(409)
                } else {
                    (project == Some(999)).then_some(404)
                };
                let body = json!({ "name": "t", "permission_grants": [grant] });
                for (who, manages, token) in &callers {
                    let expected = match *manages && admin_holds(set) {
                        true => rule.unwrap_or(201),
                        false => 403,
                    };
                    let answer = control.call("POST", &path, token, Some(&body));
                    let what = format!("{plan} {set} {project:?} {who}");
                    assert_eq!(answer.status, expected, "{what}: {answer:?}");
                }
                let code = by_operator(&control.home, account, set, project);
                assert_eq!(code, i32::from(rule.is_some()), "operator: {plan} {set} {project:?}");
                let code = by_file(&control.home, account, plan, set, project);
                let expected = if rule.is_some() { 3 } else { 0 };
                assert_eq!(code, expected, "apply: {plan} {set} {project:?}");
            }
        }
    }
}

/// The operator is bound by plans, and not by what anybody holds.
fn by_operator(home: &Home, account: u64, set: &str, project: Option<u64>) -> i32 {
    let grant = project.map_or(set.to_owned(), |project| format!("{set}:{project}"));
    let account = account.to_string();
    home.attempt(&["token", "create", "--account", &account, "--name", "t", "--grant", &grant]).code
}

/// Likewise for a file, which also leaves no trace where it is refused.
fn by_file(home: &Home, account: u64, plan: &str, set: &str, project: Option<u64>) -> i32 {
    let grant = project.map_or(set.to_owned(), |project| format!("{set}:{project}"));
    let text = format!(
        "[[account]]\nid = {account}\nname = \"a\"\nplan = \"{plan}\"\n\
         [[account.token]]\nname = \"by file {grant}\"\ngrants = [\"{grant}\"]\n"
    );
    let file = home.path("accounts.toml");
    std::fs::write(&file, text).unwrap();
    let done = home.attempt(&["apply", "-f", file.to_str().unwrap()]);
    let tokens = home.run(&["--json", "token", "list", "--account", &account.to_string()]).stdout;
    assert_eq!(tokens.contains(&format!("by file {grant}\"")), done.code == 0, "{done:?}");
    done.code
}

#[test]
fn the_operators_token_gives_an_account_its_first_admin_token_and_no_second() {
    let control = Control::in_home(home());
    let create =
        ["token", "create", "--account", "0", "--name", "boot", "--grant", "account_admin"];
    let boot = secret(&control.home.run(&create).json());
    control.answers(200, "", &boot);
    let admin =
        json!({ "name": "admin", "permission_grants": [{ "permission_set": "account_admin" }] });
    for (account, plan) in ACCOUNTS {
        let path = format!("{account}/service-tokens/");
        let made = |body: &Value| control.call("POST", &path, &boot, Some(body)).status;
        let expected = if plan == "starter" { [409, 409] } else { [201, 409] };
        assert_eq!([made(&admin), made(&admin)], expected, "{plan}");
    }
}
