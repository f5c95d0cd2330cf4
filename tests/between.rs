//! Other proxies before and behind the gate, as they are deployed: a real nginx and a real Envoy.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::tools::{curl, succeed};
use crate::support::world::{JOBS, SERVICE};
use crate::support::{
    Connection, Gate, Gateway, Home, Peer, Request, Upstream, eventually, fixture, grpc,
};

/// nginx as its documentation has it for proxies, WebSocket included.
fn nginx_before(gate: SocketAddr) -> Gateway {
    Gateway::nginx(|address| {
        format!(
            "map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n\
             upstream gate {{ server {gate}; keepalive 8; }}\n\
             server {{\nlisten {address};\nclient_max_body_size 0;\nlocation / {{\n\
             proxy_pass http://gate;\nproxy_http_version 1.1;\n\
             proxy_set_header Host $http_host;\n\
             proxy_set_header Upgrade $http_upgrade;\n\
             proxy_set_header Connection $connection_upgrade;\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n}}\n}}\n"
        )
    })
}

/// Envoy before something, to which it speaks HTTP/1.1 or HTTP/2 in clear text.
fn envoy_before(next: SocketAddr, http2: bool) -> Gateway {
    Gateway::envoy("envoy.json", |address| envoy(address, next, http2).to_string())
}

fn envoy(address: SocketAddr, next: SocketAddr, http2: bool) -> Value {
    let typed = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    let socket = |of: SocketAddr| json!({"socket_address": {"address": of.ip().to_string(), "port_value": of.port()}});
    let manager = json!({
        "@type": typed("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "between",
        "use_remote_address": true,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "next", "timeout": "0s"}}],
        }]},
        "http_filters": [{
            "name": "router",
            "typed_config": {"@type": typed("filters.http.router.v3.Router")},
        }],
    });
    let protocol = if http2 { "http2_protocol_options" } else { "http_protocol_options" };
    let options = json!({
        "@type": typed("upstreams.http.v3.HttpProtocolOptions"),
        "explicit_http_config": {protocol: {}},
    });
    let cluster = json!({
        "name": "next",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            typed("upstreams.http.v3.HttpProtocolOptions").trim_start_matches("type.googleapis.com/"):
                options,
        },
        "load_assignment": {"cluster_name": "next", "endpoints": [{
            "lb_endpoints": [{"endpoint": {"address": socket(next)}}],
        }]},
    });
    let filters = json!([{"name": "http", "typed_config": manager}]);
    json!({"static_resources": {
        "listeners": [{"address": socket(address), "filter_chains": [{"filters": filters}]}],
        "clusters": [cluster],
    }})
}

/// A gate that takes the word of what is before it about where a client is.
fn trusting(upstream: SocketAddr) -> (Home, Gate) {
    let mut home = Home::new();
    home.forward_to(upstream).set("client_ip", "trusted_proxies", r#"["127.0.0.1/32"]"#);
    let gate = Gate::start(&home);
    (home, gate)
}

/// What anybody needs of a gate that something else is in front of: identity, refusals with their
/// bodies, bodies of both framings, and the client's own address, by which IP rules judge.
fn a_gate_behind(front: impl Fn(SocketAddr) -> Gateway) {
    let upstream = Upstream::start();
    let (home, gate) = trusting(upstream.address());
    let front = front(gate.address());
    for _ in 0..20 {
        assert_eq!(front.get(JOBS, SERVICE).status, 200);
    }
    assert_eq!(upstream.last().header("x-portcullis-account-id"), Some("1"));
    let denied = front.get(JOBS, "no-such-token-at-all");
    assert_eq!(denied.status, 401);
    assert!(denied.text().contains(r#""user_message":"Invalid token.""#), "{}", denied.text());
    for sent in [&["--data-binary", "@-"][..], &["-T", "-", "-X", "POST"]] {
        let mut command = curl();
        command.args(sent).args(["--output", "/dev/null", "--write-out", "%{http_code}"]);
        command.args(["--header", &format!("Authorization: Bearer {SERVICE}")]);
        command.arg(format!("http://{}{JOBS}", front.address()));
        command.stdin(std::fs::File::open(home.path("routes.toml")).unwrap());
        assert_eq!(succeed(&mut command), "200", "{sent:?}");
        assert_eq!(upstream.last().body, std::fs::read(home.path("routes.toml")).unwrap());
    }

    home.run(&["ip-rule", "allow", "--account", "1", "127.0.0.0/8"]);
    home.run(&["ip-rule", "deny", "--account", "1", "127.0.0.9/32"]);
    home.run(&["ip-rule", "enable", "--account", "1"]);
    let from = |address: &str| {
        let mut command = curl();
        command.args(["--interface", address, "--output", "/dev/null"]);
        command.args(["--write-out", "%{http_code}"]);
        command.args(["--header", &format!("Authorization: Bearer {SERVICE}")]);
        // What a client says of itself comes before what the proxy adds, and is not believed.
        command.args(["--header", "X-Forwarded-For: 127.0.0.1"]);
        succeed(command.arg(format!("http://{}{JOBS}", front.address())))
    };
    eventually("the rules are in force", || (from("127.0.0.9") == "403").then_some(()));
    assert_eq!(from("127.0.0.8"), "200");
}

#[test]
fn a_gate_behind_nginx_decides_by_the_client_s_own_address() {
    a_gate_behind(nginx_before);
}

#[test]
fn a_gate_behind_envoy_decides_by_the_client_s_own_address() {
    a_gate_behind(|gate| envoy_before(gate, false));
    a_gate_behind(|gate| envoy_before(gate, true));
}

#[test]
fn websockets_pass_through_nginx_or_envoy_and_the_gate() {
    let mut serve = fixture("websocket.py");
    serve.arg("serve");
    let server = Peer::start(serve);
    let (_home, gate) = trusting(server.address());
    for front in [nginx_before(gate.address()), envoy_before(gate.address(), false)] {
        let mut echo = fixture("websocket.py");
        echo.args(["echo", &front.address().port().to_string(), SERVICE]);
        assert_eq!(succeed(&mut echo).trim(), "14");
    }
}

#[test]
fn grpc_passes_through_envoy_before_and_behind_the_gate() {
    let server = grpc::serve();
    let behind = envoy_before(server.address(), true);
    let mut home = grpc::home(behind.address());
    home.set("client_ip", "trusted_proxies", r#"["127.0.0.1/32"]"#);
    let gate = Gate::start(&home);
    let front = envoy_before(gate.address(), true);
    let call =
        |token: &str, kind: &str, count: &str| grpc::call(front.address(), token, kind, count);
    assert_eq!(call(SERVICE, "unary", "0"), ["echo hello", "kept", "status OK"]);
    assert_eq!(call(SERVICE, "down", "3"), ["0", "1", "2", "status OK"]);
    assert_eq!(call(SERVICE, "up", "4"), ["6", "status OK"]);
    assert_eq!(call(SERVICE, "both", "3"), ["echo 0", "echo 1", "echo 2", "status OK"]);
    assert_eq!(call("", "unary", "0"), ["status UNAUTHENTICATED Invalid token."]);
}

#[test]
fn envoy_is_an_upstream_over_http_1_and_http_2() {
    let upstream = Upstream::start();
    let behind = envoy_before(upstream.address(), false);
    for http2 in ["false", "true"] {
        let mut home = Home::new();
        home.forward_to(behind.address()).set("upstreams.api", "http2", http2);
        let gate = Gate::start(&home);
        let mut connection = gate.connect();
        for _ in 0..20 {
            let posted = Request::new("POST", JOBS).token(SERVICE).body(b"some bytes");
            assert_eq!(connection.send(&posted).status, 200, "{http2}");
            assert_eq!(upstream.last().body, b"some bytes");
        }
        assert_eq!(upstream.last().header("x-portcullis-account-id"), Some("1"));
        assert_eq!(upstream.last().header("authorization"), None);
        let direct = Connection::tcp(behind.address()).send(&Request::get(JOBS).token(SERVICE));
        assert_eq!(direct.status, 200);
    }
}
