//! Files of other gateways: whom HAProxy and Envoy let in, and by what name, the gate does too.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::gateway::CLIENT;
use crate::support::{Gate, Gateway, Home, Upstream, eventually};

/// A gate with the account 1 of the tests, to import into.
struct Moved {
    home: Home,
    gate: Gate,
    _upstream: Upstream,
}

impl Moved {
    fn new() -> Self {
        let upstream = Upstream::start();
        let mut home = Home::new();
        home.forward_to(upstream.address());
        let gate = Gate::start(&home);
        Self { home, gate, _upstream: upstream }
    }

    /// Imports a file; what became of its keys: added, unchanged and rejected.
    fn import(&self, name: &str, text: &str, options: &[&str]) -> (u64, u64, u64) {
        self.home.write(name, text);
        let file = self.home.path(name);
        let options = [&["--json", "import", file.to_str().unwrap()], options].concat();
        let done = self.home.attempt(&options);
        let count = |key: &str| done.json()[key].as_u64().unwrap();
        let counts = (count("added"), count("unchanged"), count("rejected"));
        assert_eq!(done.code, if counts.2 > 0 { 3 } else { 0 }, "{done:?}");
        counts
    }

    /// What the gate has for the token: the name, where it lets the bearer in.
    fn client(&self, token: &str) -> Option<String> {
        let verify = ["--json", "token", "verify", "-"];
        let known = self.home.attempt_with(&verify, token.as_bytes()).json();
        let name = (known["valid"] == true).then(|| known["name"].as_str().unwrap().to_owned());
        let wanted = if name.is_some() { 200 } else { 401 };
        eventually(&format!("{wanted} for {token}"), || {
            (self.gate.status("/me/", token) == wanted).then_some(())
        });
        name
    }

    /// Expects that the gate takes everybody for the same client as the other gateway does.
    fn agrees_with(&self, gateway: &Gateway, tokens: &[&str]) {
        for token in tokens {
            assert_eq!(self.client(token), gateway.client(token), "{token}");
        }
    }
}

const GRANT: [&str; 2] = ["--grant", "job_admin"];

/// Comments, blanks of all kinds, a key that is there twice, line ends of both kinds.
const MAP: &str = "# tokens of the proxy, by client\n\
    #\n\
    haproxy-token-of-ci-01 ci\n\
    \t haproxy-token-of-night1\t  nightly build  \n\
    \n\
    \x20  # no comment: HAProxy has a key # here\n\
    haproxy-token-of-crlf-1 windows\r\n\
    haproxy-token-of-ci-01 another\n\
    pa$$w0rd!%&/()=?{[]}+* signs\n\
    haproxy-token-of-last-1 last";

#[test]
fn whom_haproxy_finds_in_a_map_the_gate_lets_in_by_the_same_name() {
    let haproxy = Gateway::haproxy(MAP, "http_auth_bearer");
    let moved = Moved::new();
    let options = [&["--from", "haproxy-map", "--account", "1"][..], &GRANT].concat();
    let tokens = [
        "haproxy-token-of-ci-01",
        "haproxy-token-of-night1",
        "haproxy-token-of-crlf-1",
        "pa$$w0rd!%&/()=?{[]}+*",
        "haproxy-token-of-last-1",
        "haproxy-token-of-nobody",
        "HAPROXY-TOKEN-OF-CI-01",
        "haproxy-token-of-ci-0",
    ];
    assert!(tokens.iter().all(|token| moved.client(token).is_none()));
    // The key `#` is shorter than any token may be, and a map's first entry of two counts.
    assert_eq!(moved.import("tokens.map", MAP, &options), (5, 1, 1));
    moved.agrees_with(&haproxy, &tokens);
    assert_eq!(moved.client(tokens[1]).as_deref(), Some("nightly build"));
    assert_eq!(moved.import("tokens.map", MAP, &options), (0, 6, 1));
}

#[test]
fn whom_haproxy_finds_by_sha_256_the_gate_does_too() {
    let tokens = ["hashed-token-number-001", "hashed-token-number-002"];
    let mut map = String::new();
    for (number, token) in tokens.iter().enumerate() {
        let _ = writeln!(map, "{} 1/client-{number}", hex::encode_upper(Sha256::digest(token)));
    }
    let haproxy = Gateway::haproxy(&map, "http_auth_bearer,sha2(256),hex");
    let moved = Moved::new();
    let options = [&["--from", "haproxy-map"][..], &GRANT].concat();
    assert_eq!(moved.import("tokens.map", &map, &options), (2, 0, 0));
    for (number, token) in tokens.iter().enumerate() {
        assert_eq!(haproxy.client(token), Some(format!("1/client-{number}")));
        assert_eq!(moved.client(token), Some(format!("client-{number}")));
    }
    let stranger = "hashed-token-number-003";
    assert_eq!((haproxy.client(stranger), moved.client(stranger)), (None, None));
}

const ENVOY_TOKENS: [&str; 6] = [
    "envoy-key-number-0001",
    "envoy-key-number-0002",
    "envoy-key-number-0003",
    "envoy: key # not a comment",
    "123456789012345678901",
    "envoy-key-number-0009",
];

/// What an Envoy does for an account: keys by name, in some of the ways that YAML has for it.
fn envoy_yaml(address: SocketAddr) -> String {
    format!(
        r#"# the front proxy
static_resources:
  listeners:
  - address: {{socket_address: {{address: {}, port_value: {}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                direct_response: {{status: 200}}
                response_headers_to_add:
                - header: {{key: {CLIENT}, value: "%REQ({CLIENT})%"}}
          http_filters:
          - name: keys
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth
              key_sources: [{{header: authorization}}]
              forwarding: {{header: {CLIENT}}}
              credentials:
              - &first
                key: envoy-key-number-0001   # of the build servers
                client: ci
              - {{key: 'envoy-key-number-0002', client: "nightly build"}}
              - client: folded
                key: >-
                  envoy-key-number-0003
              - key: "envoy: key # not a comment"
                client: signs
              - key: "123456789012345678901"
                client: "42"
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"#,
        address.ip(),
        address.port()
    )
}

fn envoy_json(address: SocketAddr) -> String {
    let typed = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    let credentials = json!([
        {"key": ENVOY_TOKENS[0], "client": "ci"},
        {"client": "nightly build", "key": ENVOY_TOKENS[1]},
        {"key": "envoy\u{2d}key-number-0003", "client": "escaped"},
    ]);
    let route = json!({
        "match": {"prefix": "/"},
        "direct_response": {"status": 200},
        "response_headers_to_add": [{"header": {"key": CLIENT, "value": format!("%REQ({CLIENT})%")}}],
    });
    let manager = json!({
        "@type": typed("network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "front",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "keys", "typed_config": {
                "@type": typed("http.api_key_auth.v3.ApiKeyAuth"),
                "key_sources": [{"header": "authorization"}],
                "forwarding": {"header": CLIENT},
                "credentials": credentials,
            }},
            {"name": "router", "typed_config": {"@type": typed("http.router.v3.Router")}},
        ],
    });
    let socket = json!({"address": address.ip().to_string(), "port_value": address.port()});
    let filters = json!([{"name": "http", "typed_config": manager}]);
    let listener = json!({
        "address": {"socket_address": socket},
        "filter_chains": [{"filters": filters}],
    });
    serde_json::to_string_pretty(&json!({"static_resources": {"listeners": [listener]}})).unwrap()
}

fn envoy_and_gate_agree(name: &str, write: fn(SocketAddr) -> String, count: usize) {
    let envoy = Gateway::envoy(name, write);
    let moved = Moved::new();
    let options = [&["--from", "envoy", "--account", "1"][..], &GRANT].concat();
    // A key with blanks is one to Envoy, and none that a Bearer scheme could carry (RFC 6750 2.1).
    let refused = u64::from(name.ends_with("yaml"));
    let added = count as u64 - refused;
    assert_eq!(moved.import(name, &envoy.file(name), &options), (added, 0, refused));
    for token in ENVOY_TOKENS.iter().filter(|token| !token.contains(' ')) {
        assert_eq!(moved.client(token), envoy.client(token), "{token}");
    }
    assert_eq!(moved.client(ENVOY_TOKENS[1]).as_deref(), Some("nightly build"));
    assert_eq!(moved.import(name, &envoy.file(name), &options), (0, added, refused));
}

#[test]
fn whom_envoy_knows_by_a_yaml_configuration_the_gate_lets_in_by_the_same_name() {
    envoy_and_gate_agree("envoy.yaml", envoy_yaml, 5);
}

#[test]
fn whom_envoy_knows_by_a_json_configuration_the_gate_lets_in_by_the_same_name() {
    envoy_and_gate_agree("envoy.json", envoy_json, 3);
}

/// In the form of Kong's documentation of `kong.yml` and of what decK writes.
const KONG: &str = r#"_format_version: "3.0"
_transform: true

services:
- name: orders
  url: http://orders.internal:8000
  routes:
  - name: orders
    paths: [/orders]
  plugins:
  - name: key-auth
    config:
      key_names: [apikey]
      hide_credentials: true

plugins:
- name: rate-limiting
  config: {minute: 60, policy: local}

consumer_groups:
- name: gold

consumers:
- username: build-server
  custom_id: "17"
  groups: [{name: gold}]
  tags: [ci]
  keyauth_credentials:
  - key: kong-key-of-build-server
  - key: kong-key-of-build-next-1
    tags: [second]
- username: partner
  acls:
  - group: partners
  keyauth_credentials:
  - key: kong-key-of-the-partner1
    ttl: 315360000
- custom_id: "18"
  jwt_secrets:
  - key: issuer-of-another-kind
    secret: not-a-key-of-this-plugin

keyauth_credentials:
- consumer: partner
  key: kong-key-of-the-partner2
  id: 4a1f8f0e-6b7b-4d9e-9a0e-8f3c9f6f2a11
- consumer: {custom_id: "18"}
  key: kong-key-of-number-18xx
"#;

#[test]
fn whom_kong_s_declarative_configuration_names_the_gate_lets_in() {
    let moved = Moved::new();
    let options = [&["--from", "kong", "--account", "1"][..], &GRANT].concat();
    assert_eq!(moved.import("kong.yml", KONG, &options), (5, 0, 0));
    for (token, client) in [
        ("kong-key-of-build-server", Some("build-server")),
        ("kong-key-of-build-next-1", Some("build-server")),
        ("kong-key-of-the-partner1", Some("partner")),
        ("kong-key-of-the-partner2", Some("partner")),
        ("kong-key-of-number-18xx", Some("18")),
        ("not-a-key-of-this-plugin", None),
        ("issuer-of-another-kind", None),
    ] {
        assert_eq!(moved.client(token).as_deref(), client, "{token}");
    }
    let list = moved.home.run(&["--json", "token", "list", "--account", "1"]).json();
    let expiring = |token: &&Value| token["name"] == "partner" && !token["expires_at"].is_null();
    assert_eq!(list.as_array().unwrap().iter().filter(expiring).count(), 1, "{list}");
    assert_eq!(moved.import("kong.yml", KONG, &options), (0, 5, 0));
}
