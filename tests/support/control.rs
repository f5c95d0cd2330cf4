//! The management API of a running gate, as its clients use it.

use serde_json::{Value, json};

use super::client::{Connection, Request, Response};
use super::gate::Gate;
use super::home::Home;
use super::upstream::Upstream;
use super::wait::{eventually, within};
use super::world::JOBS;

/// How long a change may take until it is in force at the gate.
pub const IN_FORCE: std::time::Duration = std::time::Duration::from_millis(250);

/// A gate with its management API, before an upstream that answers everything.
pub struct Control {
    pub home: Home,
    pub gate: Gate,
    _upstream: Upstream,
    /// A service token of account 1 with account_admin and developer on all projects.
    pub admin: String,
}

impl Control {
    /// With the accounts and tokens of [`super::world`].
    pub fn new() -> Self {
        Self::in_home(Home::new())
    }

    pub fn in_home(mut home: Home) -> Self {
        let upstream = Upstream::start();
        home.set("control", "listen", r#""127.0.0.1:0""#).forward_to(upstream.address());
        let (_, admin) = home.make_token(&["--grant", "account_admin", "developer"]);
        let gate = Gate::start(&home);
        Self { home, gate, _upstream: upstream, admin }
    }

    /// Sends a request on a connection of its own.
    pub fn send(&self, request: &Request) -> Response {
        Connection::tcp(self.gate.control_address()).send(request)
    }

    /// A call with a token and perhaps a body; `path` follows `/api/v3/accounts/`.
    pub fn call(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> Response {
        self.call_from("127.0.0.1", method, path, token, body)
    }

    /// Likewise, from another address of this machine.
    pub fn call_from(
        &self,
        source: &str,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> Response {
        let mut request = Request::new(method, &format!("/api/v3/accounts/{path}")).token(token);
        if let Some(body) = body {
            let body = serde_json::to_vec(body).unwrap();
            request = request.header("Content-Type", "application/json").body(&body);
        }
        Connection::tcp_from(source, self.gate.control_address()).send(&request)
    }

    pub fn get(&self, path: &str) -> Response {
        self.call("GET", path, &self.admin, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.call("POST", path, &self.admin, Some(body))
    }

    pub fn put(&self, path: &str, body: &Value) -> Response {
        self.call("PUT", path, &self.admin, Some(body))
    }

    pub fn delete(&self, path: &str) -> Response {
        self.call("DELETE", path, &self.admin, None)
    }

    /// Makes a service token of account 1 with this grant on all projects; its record.
    pub fn create(&self, name: &str, permission_set: &str) -> Value {
        let grants = json!([{ "permission_set": permission_set }]);
        let made =
            self.post("1/service-tokens/", &json!({ "name": name, "permission_grants": grants }));
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["data"].clone()
    }

    /// Waits until the jobs of account 1 get this status with a token, which must be soon after
    /// `since`.
    pub fn in_force(&self, token: &str, status: u16) {
        let what = format!("status {status} at the gate");
        let found = || (self.gate.status(JOBS, token) == status).then_some(());
        let (_, took) = within(IN_FORCE * 8, &what, found);
        // A loaded machine may take longer than the gate does.
        if took > IN_FORCE {
            eprintln!("{what} took {took:?}");
        }
    }

    /// Waits until the API itself answers a call with this status.
    pub fn answers(&self, status: u16, path: &str, token: &str) {
        eventually(&format!("{status} for {path}"), || {
            (self.call("GET", path, token, None).status == status).then_some(())
        });
    }
}

/// A token out of what a command printed.
pub fn secret(made: &Value) -> String {
    made["token_string"].as_str().or(made["token"].as_str()).unwrap().to_owned()
}
