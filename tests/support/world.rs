//! The accounts, tokens and routes that most tests begin with.

/// Service token of account 1: job_admin on all projects.
pub const SERVICE: &str = "service-token-of-account-1";
/// Service token of account 1: job_admin and readonly on project 10 only.
pub const NARROW: &str = "narrow-token-of-account-1";
/// Service token of account 1: readonly on projects 11 and 10.
pub const READER: &str = "reader-token-of-account-1";
/// Personal token of user 7 of account 1: developer, writing in development.
pub const PERSONAL: &str = "personal-token-of-user-7";
/// Service token of account 2.
pub const FOREIGN: &str = "service-token-of-account-2";
/// Service token of account 3, which is closed.
pub const CLOSED: &str = "service-token-of-account-3";

pub const JOBS: &str = "/api/v2/accounts/1/jobs/";

pub const LINES: &str = r#"{"type":"account","id":1,"name":"One","plan":"enterprise","state":"open"}
{"type":"account","id":2,"name":"Two","plan":"enterprise","state":"open"}
{"type":"account","id":3,"name":"Three","plan":"enterprise","state":"closed"}
{"type":"project","account_id":1,"id":10,"name":"ten"}
{"type":"project","account_id":1,"id":11,"name":"eleven"}
{"type":"user","account_id":1,"id":7,"name":"seven","licence":"developer","admin":true}
{"type":"id","account_id":1,"index":"job_id","id":77,"project_id":10,"environment_category":"production"}
{"type":"id","account_id":1,"index":"job_id","id":78,"project_id":11,"environment_category":null}
{"account_id":1,"name":"service","created_at":"2024-05-01T00:00:00Z","grants":[{"permission_set":"job_admin","project_id":null,"writable_environment_categories":[]}],"token":"service-token-of-account-1"}
{"account_id":1,"name":"narrow","created_at":"2024-05-01T00:00:00Z","grants":[{"permission_set":"readonly","project_id":10,"writable_environment_categories":[]},{"permission_set":"job_admin","project_id":10,"writable_environment_categories":[]}],"token":"narrow-token-of-account-1"}
{"account_id":1,"name":"reader","created_at":"2024-05-01T00:00:00Z","grants":[{"permission_set":"readonly","project_id":11,"writable_environment_categories":[]},{"permission_set":"readonly","project_id":10,"writable_environment_categories":[]}],"token":"reader-token-of-account-1"}
{"account_id":1,"user_id":7,"name":"personal","created_at":"2024-05-01T00:00:00Z","grants":[{"permission_set":"developer","project_id":null,"writable_environment_categories":["development"]}],"token":"personal-token-of-user-7"}
{"account_id":2,"name":"foreign","created_at":"2024-05-01T00:00:00Z","grants":[{"permission_set":"job_admin","project_id":null,"writable_environment_categories":[]}],"token":"service-token-of-account-2"}
{"account_id":3,"name":"closed","created_at":"2024-05-01T00:00:00Z","grants":[{"permission_set":"job_admin","project_id":null,"writable_environment_categories":[]}],"token":"service-token-of-account-3"}
"#;

pub const ROUTES: &str = r#"
[[route]]
path = "/api/v2/accounts/{account_id}/jobs/"
methods = ["GET"]
requires = "Jobs:R"

[[route]]
path = "/api/v2/accounts/{account_id}/jobs/"
methods = ["POST", "PUT"]
requires = "Jobs:W"

[[route]]
path = "/api/v2/accounts/{account_id}/jobs/{job_id}/"
methods = ["GET"]
requires = "Jobs:R"
project = { index = "job_id" }

[[route]]
path = "/api/v2/accounts/{account_id}/jobs/{job_id}/run/"
methods = ["POST"]
requires = "Runs:W"
project = { index = "job_id" }

[[route]]
path = "/api/v2/accounts/{account_id}/projects/{project_id}/jobs/"
methods = ["GET"]
requires = "Jobs:R"

[[route]]
path = "/api/v2/accounts/{account_id}/search/"
methods = ["GET"]
requires = "Jobs:R"
project = { query = "project_id" }

[[route]]
path = "/api/v2/accounts/{account_id}/deferred/"
methods = ["GET"]
requires = "Jobs:R"
project = "defer"

[[route]]
path = "/api/v2/accounts/{account_id}/tokens/"
requires = "Service tokens:R"

[[route]]
path = "/users/{user_id}/"
requires = "self"

[[route]]
path = "/me/"
requires = "authenticated"

[[route]]
path = "/open/{*rest}"
requires = "public"

[[route]]
path = "/free/{*rest}"
requires = "authenticated"

[[route]]
path = "/small/"
requires = "authenticated"
body_bytes = 10

[[route]]
path = "/grpc.Service/{method}"
methods = ["POST"]
requires = "Service tokens:R"
"#;

/// A line of an import: a service token of account 1 with job_admin on all projects, and these
/// members besides, such as `"state":"revoked","token":"…"`.
pub fn token_line(name: &str, members: &str) -> String {
    token_line_of(1, name, "2024-05-01T00:00:00Z", members)
}

/// Likewise, made before the cutoff: for verifiers that are slow.
pub fn legacy_line(name: &str, members: &str) -> String {
    token_line_of(1, name, "2022-03-01T00:00:00Z", members)
}

/// Likewise, of another account and time.
pub fn token_line_of(account: u64, name: &str, created_at: &str, members: &str) -> String {
    format!(
        r#"{{"account_id":{account},"name":"{name}","created_at":"{created_at}","grants":[{{"permission_set":"job_admin","project_id":null,"writable_environment_categories":[]}}],{members}}}
"#
    )
}
