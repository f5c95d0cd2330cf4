//! Ordinary clients through the gate to an ordinary upstream.

use crate::support::tools::{curl, h2load, python, succeed, wrk};
use crate::support::world::{JOBS, SERVICE};
use crate::support::{Gate, Home, Nginx, eventually};

fn start() -> (Home, Nginx, Gate) {
    let nginx = Nginx::start();
    let mut home = Home::new();
    home.forward_to(nginx.address());
    let gate = Gate::start(&home);
    (home, nginx, gate)
}

fn bearer() -> String {
    format!("Authorization: Bearer {SERVICE}")
}

#[test]
fn curl_is_let_through_and_turned_away() {
    let (_home, _nginx, gate) = start();
    let allowed = succeed(curl().args(["--header", &bearer()]).arg(gate.url(JOBS)));
    assert_eq!(allowed, "account=1 authorization=\n");
    let denied = succeed(curl().args(["--write-out", "%{http_code}"]).arg(gate.url(JOBS)));
    assert!(denied.contains(r#""user_message":"Invalid token.""#), "{denied}");
    assert!(denied.ends_with("401"), "{denied}");
}

#[test]
fn curl_downloads_ranges_and_follows_conditions() {
    let (_home, nginx, gate) = start();
    nginx.serve_file("large", &vec![b'x'; 3_000_000]);
    let sizes = |arguments: &[&str]| {
        let mut command = curl();
        command.args(["--output", "/dev/null", "--write-out", "%{http_code} %{size_download}"]);
        succeed(command.args(["--header", &bearer()]).args(arguments).arg(gate.url("/free/large")))
    };
    assert_eq!(sizes(&[]), "200 3000000");
    assert_eq!(sizes(&["--range", "1000-1999"]), "206 1000");
    assert_eq!(sizes(&["--header", "If-Modified-Since: Fri, 31 Dec 2100 00:00:00 GMT"]), "304 0");
    assert_eq!(sizes(&["--http2-prior-knowledge"]), "200 3000000");
    assert_eq!(sizes(&["--head"]), "200 0");
}

const SESSION: &str = r#"
import sys, requests
base, token = sys.argv[1:]
with requests.Session() as session:
    session.trust_env = False
    session.headers["Authorization"] = "Token " + token
    for _ in range(20):
        answer = session.get(base + "/api/v2/accounts/1/jobs/", params={"limit": 10})
        assert answer.status_code == 200, answer.status_code
        assert answer.text == "account=1 authorization=\n", answer.text
    posted = session.post(base + "/api/v2/accounts/1/jobs/", json={"name": "x" * 100000})
    assert posted.status_code == 200, posted.status_code
    streamed = session.post(base + "/api/v2/accounts/1/jobs/", data=iter([b"a" * 1000] * 100))
    assert streamed.status_code == 200, streamed.status_code
    denied = session.delete(base + "/api/v2/accounts/1/jobs/")
    assert denied.status_code == 403, denied.status_code
    assert denied.json()["status"]["is_success"] is False
    assert denied.headers["x-portcullis-decision-id"]
    unknown = requests.get(base + "/me/", headers={"Authorization": "Bearer " + "x" * 40})
    assert unknown.status_code == 401
    assert unknown.json()["status"]["user_message"] == "Invalid token."
print("done")
"#;

#[test]
fn python_requests_keeps_a_session() {
    let (_home, _nginx, gate) = start();
    let base = format!("http://{}", gate.address());
    assert_eq!(succeed(python().args(["-c", SESSION, &base, SERVICE])).trim(), "done");
}

#[test]
fn h2load_has_no_failed_request_over_either_version() {
    let (_home, _nginx, gate) = start();
    for version in [&[][..], &["--h1"]] {
        let mut command = h2load();
        command.args(version).args(["-n", "3000", "-c", "8", "-m", "8", "-H", &bearer()]);
        let report = succeed(command.arg(gate.url(JOBS)));
        assert!(report.contains("3000 succeeded, 0 failed, 0 errored, 0 timeout"), "{report}");
        assert!(report.contains("status codes: 3000 2xx"), "{report}");
    }
    gate.expect_decisions("allow", 6000.0);
}

#[test]
fn wrk_has_no_failed_request() {
    let (_home, _nginx, gate) = start();
    let mut command = wrk();
    command.args(["-t", "2", "-c", "16", "-d", "1s", "-H", &bearer()]);
    let report = succeed(command.arg(gate.url(JOBS)));
    assert!(report.contains("requests in"), "{report}");
    assert!(!report.contains("Non-2xx") && !report.contains("Socket errors"), "{report}");
    eventually("they are counted", || (gate.metrics().decisions("allow") > 10.0).then_some(()));
}
