//! The management API: shapes, errors, and what is in force when.

use serde_json::{Value, json};

use crate::support::control::secret;
use crate::support::world::{FOREIGN, JOBS, NARROW, PERSONAL, SERVICE};
use crate::support::{Connection, Control, Home, Request};

#[test]
fn a_service_token_lives_from_its_creation_to_its_deletion() {
    let control = Control::new();
    let body = json!({
        "id": null, "uid": "", "account_id": 1, "state": 1, "name": "ci",
        "permission_grants": [{ "permission_set": "job_admin", "project_id": 10 }],
        "expires_at": "2099-01-01T00:00:00Z", "allow_ips": ["127.0.0.1"],
    });
    let made = control.post("1/service-tokens/", &body);
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("cache-control"), Some("no-store"));
    assert_eq!(made.header("content-type"), Some("application/json"));
    assert_eq!(made.json()["status"]["is_success"], true);
    let made = made.json()["data"].clone();
    let (id, token) = (made["id"].as_u64().unwrap(), secret(&made));
    assert!(token.starts_with("pts_") && token.len() == 53);
    assert_eq!(made["uid"], id.to_string());
    assert_eq!(made["expires_at"], "2099-01-01T00:00:00Z");
    assert_eq!(
        made["permission_grants"],
        json!([{ "permission_set": "job_admin", "project_id": 10,
                 "writable_environment_categories": [] }])
    );
    let path = "/api/v2/accounts/1/projects/10/jobs/";
    crate::support::eventually("the token is known", || {
        (control.gate.status(path, &token) == 200).then_some(())
    });

    let one = format!("1/service-tokens/{id}/");
    let read = control.get(&one).json();
    let mut expected = made.clone();
    expected.as_object_mut().unwrap().remove("token_string");
    assert_eq!(read["data"], expected);
    assert_eq!(control.get(one.trim_end_matches('/')).json()["data"], expected);

    for (method, name) in [("PUT", "build"), ("POST", "deploy")] {
        let body = json!({ "name": name, "id": id, "uid": id.to_string(), "state": 1 });
        let renamed = control.call(method, &one, &control.admin, Some(&body));
        assert_eq!((renamed.status, &renamed.json()["data"]["name"]), (200, &json!(name)));
    }

    assert_eq!(control.delete(&one).status, 204);
    control.gate.wait_ready();
    crate::support::eventually("the token is revoked", || {
        (control.gate.status(path, &token) == 401).then_some(())
    });
    assert_eq!(control.get(&one).json()["data"]["state"], 2);
    assert_eq!(control.put(&one, &json!({ "name": "again" })).status, 409);
    assert_eq!(control.delete(&one).status, 204);
}

#[test]
fn every_change_of_a_token_is_in_force_at_the_gate_at_once() {
    let control = Control::new();
    let made = control.create("ci", "metadata_only");
    let token = secret(&made);
    control.in_force(&token, 403);
    let permissions = format!("1/service-tokens/{}/permissions/", made["id"]);
    let assigned = control.post(
        &permissions,
        &json!([{ "id": 7, "account_id": 1, "service_token_id": made["id"],
                  "permission_set": "job_admin", "all_projects": true, "state": 1 }]),
    );
    assert_eq!(assigned.status, 200, "{assigned:?}");
    control.in_force(&token, 200);
    let listed = control.get(&permissions).json();
    assert_eq!(listed["data"], assigned.json()["data"]);
    assert_eq!(listed["data"][0]["permission_set"], "job_admin");
    assert_eq!(listed["data"][0]["all_projects"], true);
    assert_eq!(listed["extra"]["pagination"], json!({ "count": 1, "total_count": 1 }));
    assert_eq!(control.post(&permissions, &json!([])).status, 200);
    control.in_force(&token, 403);
    let after = control.get(&format!("1/service-tokens/{}/", made["id"])).json();
    for kept in ["state", "expires_at", "created_at", "name"] {
        assert_eq!(after["data"][kept], made[kept], "{kept}");
    }
    assert_eq!(control.delete(&format!("1/service-tokens/{}/", made["id"])).status, 204);
    control.in_force(&token, 401);
}

#[test]
fn both_schemes_and_both_forms_of_a_path_are_taken() {
    let control = Control::new();
    for scheme in ["Bearer", "Token", "token", "BEARER"] {
        for path in ["/api/v3/accounts/1/service-tokens/", "/api/v3/accounts/1/service-tokens"] {
            let credential = format!("{scheme} {}", control.admin);
            let answer = control.send(&Request::get(path).header("Authorization", &credential));
            assert_eq!(answer.status, 200, "{scheme} {path}: {answer:?}");
        }
    }
}

/// Method, path, headers, body; then the status and a part of the message.
type Wrong<'t> = (&'t str, &'t str, &'t [(&'t str, &'t str)], &'t str, u16, &'t str);

#[test]
fn what_is_wrong_is_said_in_the_envelope() {
    let control = Control::new();
    let tokens = "/api/v3/accounts/1/service-tokens/";
    let json_type = ("Content-Type", "application/json");
    let long = format!(r#"{{"name":"{}"}}"#, "n".repeat(201));
    let large = format!(r#"{{"name":"{}"}}"#, "n".repeat(300_000));
    let deep = "[".repeat(200);
    let cases: &[Wrong<'_>] = &[
        ("GET", "/", &[], "", 404, "no operation"),
        ("GET", "/api/v3/nothing/", &[], "", 404, "no operation"),
        ("PATCH", tokens, &[], "", 405, "GET, HEAD, POST"),
        ("DELETE", "/openapi.json", &[], "", 405, "GET, HEAD"),
        ("POST", tokens, &[], r#"{"name":"a"}"#, 415, "application/json"),
        ("POST", tokens, &[("Content-Type", "text/plain")], r#"{"name":"a"}"#, 415, ""),
        ("POST", tokens, &[json_type], "", 400, "ends too early"),
        ("POST", tokens, &[json_type], "{", 400, "ends too early"),
        ("POST", tokens, &[json_type], "{}x", 400, "name"),
        ("POST", tokens, &[json_type], &deep, 400, ""),
        ("POST", tokens, &[json_type], "[]", 400, "expected"),
        ("POST", tokens, &[json_type], "{}", 400, "`name`"),
        ("POST", tokens, &[json_type], r#"{"name":7}"#, 400, "`name`: expected a string"),
        ("POST", tokens, &[json_type], r#"{"name":""}"#, 400, "`name`"),
        ("POST", tokens, &[json_type], &long, 400, "`name`"),
        ("POST", tokens, &[json_type], r#"{"name":"a","nam":1}"#, 400, "`nam`"),
        ("POST", tokens, &[json_type], r#"{"name":"a","name":"b"}"#, 400, "`name`"),
        ("POST", tokens, &[json_type], r#"{"name":"a","id":5}"#, 400, "`id`"),
        ("POST", tokens, &[json_type], r#"{"name":"a","uid":"5"}"#, 400, "`uid`"),
        ("POST", tokens, &[json_type], r#"{"name":"a","account_id":2}"#, 400, "`account_id`"),
        ("POST", tokens, &[json_type], r#"{"name":"a","state":2}"#, 400, "`state`"),
        ("POST", tokens, &[json_type], r#"{"name":"a","expires_at":"soon"}"#, 400, "`expires_at`"),
        (
            "POST",
            tokens,
            &[json_type],
            r#"{"name":"a","permission_grants":[{"permission_set":"job_admn"}]}"#,
            400,
            "`permission_grants[0].permission_set`",
        ),
        (
            "POST",
            tokens,
            &[json_type],
            r#"{"name":"a","permission_grants":[{"permission_set":"job_admin","project_id":999}]}"#,
            404,
            "no project 999",
        ),
        ("POST", tokens, &[json_type], r#"{"name":"a","allow_ips":["x"]}"#, 400, "`allow_ips[0]`"),
        ("POST", tokens, &[json_type], &large, 413, ""),
        ("GET", "/api/v3/accounts/1/service-tokens/?limit=0", &[], "", 400, "`limit`"),
        ("GET", "/api/v3/accounts/1/service-tokens/?limit=101", &[], "", 400, "`limit`"),
        ("GET", "/api/v3/accounts/1/service-tokens/?offset=x", &[], "", 400, "`offset`"),
        ("GET", "/api/v3/accounts/1/service-tokens/?state=1", &[], "", 400, "`query`"),
        ("GET", "/api/v3/accounts/1/service-tokens/99999/", &[], "", 404, "99999"),
        ("GET", "/api/v3/accounts/1/service-tokens/x/", &[], "", 404, "`id`"),
        ("GET", "/api/v3/accounts/1/./service-tokens/", &[], "", 400, ""),
    ];
    for (method, path, headers, body, status, developer) in cases {
        let mut request = Request::new(method, path).token(&control.admin);
        for (name, value) in *headers {
            request = request.header(name, value);
        }
        if !body.is_empty() || *method == "POST" {
            request = request.body(body.as_bytes());
        }
        let mut connection = Connection::tcp(control.gate.control_address());
        // The answer may come before a body that is too large is taken.
        let _ = connection.try_write(&request.bytes());
        let answer = connection.response();
        let shown = &body[..body.len().min(80)];
        assert_eq!(answer.status, *status, "{method} {path} {shown}: {answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let answer = answer.json();
        assert_eq!(answer["status"]["code"], *status);
        assert_eq!(answer["status"]["is_success"], false);
        let said = answer["status"]["developer_message"].as_str().unwrap_or_default();
        assert!(said.contains(developer), "{method} {path} {shown}: {answer}");
    }
}

#[test]
fn the_decision_is_the_gates_own() {
    let control = Control::new();
    let path = "1/service-tokens/";
    let none = control.send(&Request::get("/api/v3/accounts/1/service-tokens/"));
    assert_eq!(none.status, 401);
    assert_eq!(none.header("www-authenticate"), Some(r#"Bearer realm="portcullis""#));
    assert_eq!(
        none.text(),
        r#"{"status":{"code":401,"is_success":false,"user_message":"Invalid token.","developer_message":null},"data":null}"#
    );
    for (token, status) in [
        ("no-such-token-at-all", 401),
        (SERVICE, 403),
        (NARROW, 403),
        (PERSONAL, 403),
        (FOREIGN, 403),
    ] {
        let answer = control.call("GET", path, token, None);
        assert_eq!(answer.status, status, "{token}: {answer:?}");
    }
    let foreign = control.call("GET", path, FOREIGN, None).json();
    assert_eq!(foreign["status"]["user_message"], "Access denied: Token is not scoped to account.");
    let (viewer, viewing) = control.home.make_token(&["--grant", "account_viewer"]);
    control.answers(200, path, &viewing);
    let made = control.call("POST", path, &viewing, Some(&json!({ "name": "a" })));
    assert_eq!(made.status, 403, "{made:?}");
    control.home.run(&["token", "revoke", &viewer.to_string()]);
    control.answers(401, path, &viewing);
    control.home.run(&["ip-rule", "allow", "--account", "1", "203.0.113.0/24"]);
    control.home.run(&["ip-rule", "enable", "--account", "1"]);
    control.answers(403, path, &control.admin);
    let fenced = control.get(path).json();
    assert_eq!(fenced["data"]["account_access_denied"], true);
}

#[test]
fn a_personal_token_needs_a_user_who_administers() {
    let control = Control::new();
    let users = [("20", "developer", true), ("21", "developer", false), ("22", "it", true)];
    for (user, licence, admin) in users {
        let create = ["user", "create", "--account", "1", "--id", user, "--name", "u"];
        let mut arguments = [&create[..], &["--licence", licence]].concat();
        if admin {
            arguments.push("--admin");
        }
        control.home.run(&arguments);
        let (_, token) = control.home.make_token(&["--grant", "account_admin", "--user", user]);
        let expected = if user == "20" { 201 } else { 403 };
        control.answers(200, "1/service-tokens/", &token);
        let body = json!({ "name": "by a user" });
        let made = control.call("POST", "1/service-tokens/", &token, Some(&body));
        assert_eq!(made.status, expected, "user {user}: {made:?}");
        let id = control.home.token_id("service");
        let path = format!("1/service-tokens/{id}/");
        let renamed = control.call("PUT", &path, &token, Some(&json!({ "name": "service" })));
        assert_eq!(renamed.status, if user == "20" { 200 } else { 403 }, "user {user}");
    }
}

#[test]
fn ids_of_another_account_are_unknown() {
    let control = Control::new();
    let list = control.home.run(&["--json", "token", "list", "--account", "2"]).json();
    let foreign = &list[0]["id"];
    let personal = control.home.token_id("personal");
    let name = json!({ "name": "mine" });
    for id in
        [foreign.clone(), json!(personal), json!(i64::MAX), json!(9_999_999_999_999_999_999_u64)]
    {
        let one = format!("1/service-tokens/{id}/");
        assert_eq!(control.get(&one).status, 404, "{id}");
        assert_eq!(control.put(&one, &name).status, 404, "{id}");
        assert_eq!(control.delete(&one).status, 404, "{id}");
        assert_eq!(control.get(&format!("{one}permissions/")).status, 404, "{id}");
        assert_eq!(control.post(&format!("{one}permissions/"), &json!([])).status, 404, "{id}");
        assert_eq!(control.post(&format!("{one}rotate/"), &json!({})).status, 404, "{id}");
        let question = json!({ "token_id": id, "method": "GET", "path": JOBS });
        let asked = control.post("1/explain/", &question);
        assert_eq!(asked.status, if id == json!(personal) { 200 } else { 404 }, "{asked:?}");
    }
    assert_eq!(control.gate.status("/api/v2/accounts/2/jobs/", FOREIGN), 200);
}

#[test]
fn lists_are_told_in_pages() {
    let control = Control::new();
    for name in 0..5 {
        control.create(&name.to_string(), "job_viewer");
    }
    let page = |query: &str| control.get(&format!("1/service-tokens/{query}")).json();
    let all = page("");
    let total = all["extra"]["pagination"]["total_count"].as_u64().unwrap();
    // Three of the world's, the admin's, and five.
    assert_eq!(total, 9);
    assert_eq!(all["extra"]["pagination"]["count"], total);
    let mut found = Vec::new();
    for offset in (0..total + 2).step_by(2) {
        let part = page(&format!("?limit=2&offset={offset}&include_related=x"));
        assert_eq!(part["extra"]["pagination"]["total_count"], total);
        found.extend(part["data"].as_array().unwrap().clone());
    }
    assert_eq!(json!(found), all["data"]);
}

#[test]
fn a_secret_is_in_the_answer_that_makes_it_and_nowhere_else() {
    let control = Control::new();
    let made = control.create("ci", "job_admin");
    let rotated = control.post(&format!("1/service-tokens/{}/rotate/", made["id"]), &json!({}));
    let secrets = [secret(&made), secret(&rotated.json()["data"]), control.admin.clone()];
    let paths = [
        "",
        "1/",
        "1/service-tokens/",
        "1/projects/",
        "1/users/",
        "1/users/7/",
        "1/id-index/",
        "1/ip-restrictions/",
        "1/ip-restrictions-set/",
        "1/ip-restrictions-set/1/validate/",
    ];
    let ids = [made["id"].clone(), rotated.json()["data"]["id"].clone()];
    let of_tokens = ids
        .iter()
        .flat_map(|id| ["", "permissions/"].map(|rest| format!("1/service-tokens/{id}/{rest}")));
    for path in paths.map(str::to_owned).into_iter().chain(of_tokens) {
        let answer = control.get(&path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        for secret in &secrets {
            assert!(!answer.text().contains(&secret[4..]), "{path}");
        }
        assert!(!answer.text().contains("token_string"), "{path}");
    }
    for secret in secrets {
        assert!(!control.gate.log().contains(&secret[4..]));
        let store = std::fs::read(control.home.path("portcullis.db")).unwrap();
        assert!(crate::support::client::find(&store, &secret.as_bytes()[4..]).is_none());
    }
}

#[test]
fn the_bootstrap_token_makes_accounts_and_their_first_admin_token_and_nothing_else() {
    let control = Control::in_home(Home::new());
    let created = control.home.run(&[
        "token",
        "create",
        "--account",
        "0",
        "--name",
        "boot",
        "--grant",
        "account_admin",
    ]);
    let boot = secret(&created.json());
    control.answers(200, "", &boot);
    let post = |path: &str, body: Value| control.call("POST", path, &boot, Some(&body));
    let account = post("", json!({ "id": 40, "name": "Forty", "plan": "enterprise" }));
    assert_eq!((account.status, &account.json()["data"]["id"]), (201, &json!(40)));
    let next = post("", json!({ "name": "Next", "plan": "starter" }));
    assert_eq!((next.status, &next.json()["data"]["id"]), (201, &json!(41)));
    assert_eq!(post("", json!({ "id": 40, "name": "Forty", "plan": "team" })).status, 409);
    assert_eq!(post("", json!({ "name": "x", "plan": "gold" })).status, 400);

    let admin =
        json!({ "name": "admin", "permission_grants": [{ "permission_set": "account_admin" }] });
    let first = post("40/service-tokens/", admin.clone());
    assert_eq!(first.status, 201, "{first:?}");
    let first = secret(&first.json()["data"]);
    assert_eq!(post("40/service-tokens/", admin.clone()).status, 409, "only the first");
    assert_eq!(post("1/service-tokens/", admin.clone()).status, 409, "account 1 has one");
    assert_eq!(post("99/service-tokens/", admin).status, 404);
    for path in ["40/service-tokens/", "40/", "40/projects/", "1/users/"] {
        assert_eq!(control.call("GET", path, &boot, None).status, 403, "{path}");
    }
    control.answers(200, "40/service-tokens/", &first);
    let own = control.call("POST", "", &first, Some(&json!({ "name": "x", "plan": "team" })));
    assert_eq!(own.status, 403, "{own:?}");
    let listed = control.call("GET", "", &first, None).json();
    assert_eq!(listed["data"][0]["id"], 40);
}

#[test]
fn projects_users_and_ids_are_managed() {
    let control = Control::new();
    let made = control.post("1/projects/", &json!({ "name": "twelve", "account_id": 1 }));
    assert_eq!((made.status, &made.json()["data"]["id"]), (201, &json!(12)), "{made:?}");
    control.home.run(&[
        "token",
        "create",
        "--account",
        "1",
        "--name",
        "t",
        "--grant",
        "job_admin:12",
    ]);
    assert_eq!(control.delete("1/projects/12/").status, 204);
    assert_eq!(control.get("1/projects/12/").status, 404);
    assert_eq!(control.delete("1/projects/12/").status, 404);
    // A grant on the project that is gone must not come to cover another one.
    let next = control.post("1/projects/", &json!({ "name": "again" })).json();
    assert_eq!(next["data"]["id"], 13);
    assert_eq!(control.get("1/projects/13/").json()["data"]["name"], "again");

    let (_, reader) = control.home.make_token(&["--grant", "readonly:10"]);
    control.answers(200, "1/projects/10/", &reader);
    let seen = control.call("GET", "1/projects/", &reader, None).json();
    assert_eq!((&seen["data"][0]["id"], &seen["data"][1]), (&json!(10), &Value::Null));
    assert_eq!(control.call("GET", "1/projects/11/", &reader, None).status, 403);

    let users = control.get("1/users/").json();
    let seven = json!({
        "id": 7, "account_id": 1, "name": "seven", "licence": "developer", "admin": true
    });
    assert_eq!(users["data"], json!([seven]));
    assert_eq!(control.get("1/users/7/").json()["data"], seven);
    assert_eq!(control.get("1/users/8/").status, 404);

    let row =
        json!({ "index": "a b", "id": 5, "project_id": 10, "environment_category": "staging" });
    assert_eq!(control.put("1/id-index/", &row).status, 200);
    let rows = control.get("1/id-index/?limit=1").json();
    assert_eq!(rows["data"][0]["index"], "a b");
    assert_eq!(rows["extra"]["pagination"]["total_count"], 3);
    let unknown = json!({ "index": "a b", "id": 5, "project_id": 999 });
    assert_eq!(control.put("1/id-index/", &unknown).status, 404);
    assert_eq!(control.delete("1/id-index/a%20b/5/").status, 204);
    assert_eq!(control.delete("1/id-index/a%20b/5/").status, 404);
}

#[test]
fn a_decision_is_explained_as_the_gate_takes_it() {
    let control = Control::new();
    let id = control.home.token_id("narrow");
    let ask = |path: &str| {
        let question = json!({ "token_id": id, "method": "GET", "path": path, "ip": "192.0.2.1" });
        control.post("1/explain/", &question).json()["data"].clone()
    };
    let allowed = ask("/api/v2/accounts/1/projects/10/jobs/");
    assert_eq!((&allowed["verdict"], &allowed["status"]), (&json!("allow"), &json!(200)));
    let denied = ask(JOBS);
    assert_eq!(denied["reason"], "no_permission");
    assert_eq!(denied["steps"].as_array().unwrap().len(), 10);
}

#[test]
fn a_users_personal_tokens_are_managed_with_one_of_them() {
    let control = Control::new();
    let path = "1/users/7/account-apikeys/";
    let call = |method: &str, path: &str, body: Option<Value>| {
        control.call(method, path, PERSONAL, body.as_ref())
    };
    let made = call("POST", path, Some(json!({ "name": "laptop" })));
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json()["data"].clone();
    assert!(secret(&made).starts_with("ptu_"));
    assert_eq!(made["user_id"], 7);
    assert_eq!(made["permission_grants"][0]["permission_set"], "developer");
    control.in_force(&secret(&made), 200);
    let more = json!({ "name": "more", "permission_grants": [{ "permission_set": "job_admin" }] });
    assert_eq!(call("POST", path, Some(more)).status, 403);
    let one = format!("{path}{}/", made["id"]);
    assert_eq!(call("GET", &one, None).json()["data"]["name"], "laptop");
    assert_eq!(call("POST", &one, Some(json!({ "name": "desk" }))).status, 200);
    let rotated = call("POST", &format!("{one}rotate/"), Some(json!({ "grace": "0s" })));
    assert_eq!(rotated.status, 201, "{rotated:?}");
    control.in_force(&secret(&made), 401);
    let successor = rotated.json()["data"].clone();
    assert_eq!(successor["name"], "desk");
    assert_eq!(call("DELETE", &format!("{path}{}/", successor["id"]), None).status, 204);
    control.in_force(&secret(&successor), 401);
    assert_eq!(call("GET", path, None).json()["extra"]["pagination"]["total_count"], 3);
    assert_eq!(call("GET", "1/users/8/account-apikeys/", None).status, 403);
    assert_eq!(control.get(path).status, 403, "not for service tokens");
    let service = control.home.token_id("service");
    assert_eq!(call("GET", &format!("{path}{service}/"), None).status, 404);
}
