//! What passes between client and upstream in heads and trailers, and what only the gate says.

use crate::support::world::{JOBS, NARROW, PERSONAL, READER, SERVICE, legacy_line};
use crate::support::{Gate, Home, Next, Request, Seen, Upstream, gate_before_upstream};

fn start() -> (Home, Upstream, Gate) {
    gate_before_upstream(|_| {})
}

/// What the upstream received of this request, which must be let through.
fn forwarded(gate: &Gate, upstream: &Upstream, request: &Request) -> Seen {
    let response = gate.send(request);
    assert_eq!(response.status, 200, "{request:?}: {response:?}");
    upstream.last()
}

#[test]
fn the_upstream_gets_the_request_s_own_bytes_and_not_the_credential() {
    let (_home, upstream, gate) = start();
    let request = Request::get("/api/v2/accounts/1/jobs?b=2&a=%20x&c=%2F..//;")
        .token(SERVICE)
        .header("Accept", "text/html;q=0.1, */*")
        .header("X-Custom-Header", "kept as it is")
        .header("Cookie", "a=1; b=2");
    let seen = forwarded(&gate, &upstream, &request);
    assert_eq!(seen.line, "GET /api/v2/accounts/1/jobs?b=2&a=%20x&c=%2F..//; HTTP/1.1");
    assert_eq!(seen.header("host"), Some("api.example.com"));
    assert_eq!(seen.header("accept"), Some("text/html;q=0.1, */*"));
    assert_eq!(seen.header("x-custom-header"), Some("kept as it is"));
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.header("authorization"), None);
    assert!(!seen.head.contains(SERVICE));
}

#[test]
fn a_service_token_s_identity_reaches_the_upstream() {
    let (home, upstream, gate) = start();
    let seen = forwarded(&gate, &upstream, &Request::get(JOBS).token(SERVICE));
    let id = home.token_id("service").to_string();
    assert_eq!(seen.header("x-portcullis-account-id"), Some("1"));
    assert_eq!(seen.header("x-portcullis-token-id"), Some(id.as_str()));
    assert_eq!(seen.header("x-portcullis-user-id"), None);
    assert_eq!(seen.header("x-portcullis-is-service-token"), Some("true"));
    assert_eq!(seen.header("x-portcullis-permission-sets"), Some("job_admin"));
    assert_eq!(seen.header("x-portcullis-projects"), None);
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn a_personal_token_s_identity_names_its_user() {
    let (_home, upstream, gate) = start();
    let seen = forwarded(&gate, &upstream, &Request::get("/me/").token(PERSONAL));
    assert_eq!(seen.header("x-portcullis-user-id"), Some("7"));
    assert_eq!(seen.header("x-portcullis-is-service-token"), Some("false"));
    assert_eq!(seen.header("x-portcullis-permission-sets"), Some("developer"));
}

#[test]
fn permission_sets_are_ascending_and_named_once() {
    let (_home, upstream, gate) = start();
    let narrow = forwarded(&gate, &upstream, &Request::get("/me/").token(NARROW));
    assert_eq!(narrow.header("x-portcullis-permission-sets"), Some("job_admin,readonly"));
    let reader = forwarded(&gate, &upstream, &Request::get("/me/").token(READER));
    assert_eq!(reader.header("x-portcullis-permission-sets"), Some("readonly"));
}

#[test]
fn an_upstream_that_enforces_projects_is_told_which() {
    let (_home, upstream, gate) = gate_before_upstream(|home| {
        home.set("upstreams.api", "enforces_projects", "true");
    });
    let deferred = Request::get("/api/v2/accounts/1/deferred/");
    let reader = forwarded(&gate, &upstream, &deferred.clone().token(READER));
    assert_eq!(reader.header("x-portcullis-projects"), Some("10,11"));
    let service = forwarded(&gate, &upstream, &deferred.token(SERVICE));
    assert_eq!(service.header("x-portcullis-projects"), Some("*"));
    let plain = forwarded(&gate, &upstream, &Request::get(JOBS).token(SERVICE));
    assert_eq!(plain.header("x-portcullis-projects"), None);
}

#[test]
fn an_upstream_that_does_not_enforce_projects_gets_only_who_may_see_all() {
    let (_home, upstream, gate) = start();
    let path = "/api/v2/accounts/1/deferred/";
    assert_eq!(gate.status(path, READER), 403);
    assert_eq!(gate.status(path, SERVICE), 200);
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn what_only_the_gate_says_is_dropped_from_requests_in_every_spelling() {
    let (_home, upstream, gate) = start();
    let request = Request::get(JOBS)
        .token(SERVICE)
        .header("X-Portcullis-Account-Id", "forged")
        .header("x_portcullis_account_id", "forged")
        .header("X-PORTCULLIS_user-id", "forged")
        .header("x-portcullis-user-id", "forged")
        .header("X-Portcullis-Anything", "forged")
        .header("Forwarded", "for=9.9.9.9")
        .header("X-Real-IP", "9.9.9.9")
        .header("X_Real_Ip", "9.9.9.9")
        .header("X-Forwarded-For", "9.9.9.9, 8.8.8.8")
        .header("x_forwarded_for", "9.9.9.9")
        .header("X-Portcullisx", "kept");
    let seen = forwarded(&gate, &upstream, &request);
    let expected = [
        "host",
        "x-forwarded-for",
        "x-portcullis-account-id",
        "x-portcullis-decision-id",
        "x-portcullis-is-service-token",
        "x-portcullis-permission-sets",
        "x-portcullis-token-id",
        "x-portcullisx",
    ];
    assert_eq!(seen.names(), expected);
    assert_eq!(seen.header("x-portcullis-account-id"), Some("1"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert!(!seen.head.contains("forged") && !seen.head.contains("9.9.9.9"), "{}", seen.head);
}

#[test]
fn naming_the_gate_s_headers_in_connection_does_not_remove_them() {
    let (_home, upstream, gate) = start();
    let request = Request::get(JOBS).token(SERVICE).header("X-Hop", "1").header(
        "Connection",
        "keep-alive, x-hop, X-Portcullis-Account-Id, x-portcullis-is-service-token, x-forwarded-for, host",
    );
    let seen = forwarded(&gate, &upstream, &request);
    assert_eq!(seen.header("x-portcullis-account-id"), Some("1"));
    assert_eq!(seen.header("x-portcullis-is-service-token"), Some("true"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("host"), Some("api.example.com"));
    assert_eq!(seen.header("x-hop"), None);
}

#[test]
fn trailers_pass_without_what_only_the_gate_says_and_without_credentials() {
    let (_home, upstream, gate) = start();
    let body = format!(
        "3\r\nabc\r\n0\r\nX-Checksum: 900150983cd24fb0\r\nX-Portcullis-Account-Id: 99\r\n\
         x_portcullis_user_id: 99\r\nAuthorization: Bearer {SERVICE}\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n"
    );
    let request = Request::new("POST", JOBS)
        .token(SERVICE)
        .header("Transfer-Encoding", "chunked")
        .header("TE", "trailers")
        .header("Trailer", "X-Checksum, X-Portcullis-Account-Id")
        .raw_body(body.as_bytes());
    let seen = forwarded(&gate, &upstream, &request);
    assert_eq!(seen.body, b"abc");
    let names: Vec<String> =
        seen.trailers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(names, ["x-checksum"], "{:?}", seen.trailers);
}

#[test]
fn headers_of_one_connection_do_not_pass_either_way() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive, x-hop\r\n\
         keep-alive: timeout=5\r\nx-hop: 1\r\nproxy-authenticate: Basic\r\nx-kept: yes\r\n\r\nok",
    );
    let mut home = Home::new();
    home.forward_to(upstream.address());
    let gate = Gate::start(&home);
    let request = Request::get(JOBS)
        .token(SERVICE)
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic abc")
        .header("Upgrade", "h2c")
        .header("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")
        .header("Connection", "Upgrade, HTTP2-Settings")
        .header("TE", "gzip");
    let response = gate.send(&request);
    assert_eq!(response.status, 200);
    let seen = upstream.last();
    for name in
        ["keep-alive", "proxy-connection", "proxy-authorization", "upgrade", "http2-settings", "te"]
    {
        assert_eq!(seen.header(name), None, "{name}: {}", seen.head);
    }
    assert_eq!(response.header("x-kept"), Some("yes"));
    for name in ["keep-alive", "x-hop", "proxy-authenticate"] {
        assert_eq!(response.header(name), None, "{name}: {}", response.head);
    }
}

#[test]
fn an_upstream_cannot_speak_for_the_gate() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Portcullis-Decision-Id: forged\r\n\
         x_portcullis_notice: forged\r\nX-Portcullis-Notice: legacy-token\r\nx-own: 1\r\n\r\nok",
    );
    let mut home = Home::new();
    home.forward_to(upstream.address());
    let gate = Gate::start(&home);
    let response = gate.get(JOBS, SERVICE);
    assert_eq!(response.header("x-portcullis-notice"), None);
    assert_eq!(response.header("x_portcullis_notice"), None);
    assert_ne!(response.header("x-portcullis-decision-id"), Some("forged"));
    assert_eq!(response.header("x-own"), Some("1"));
}

#[test]
fn the_decision_id_is_the_same_on_both_sides_and_never_twice() {
    let (_home, upstream, gate) = start();
    let mut connection = gate.connect();
    let mut ids = Vec::new();
    for _ in 0..20 {
        let request = Request::get(JOBS).token(SERVICE).header("X-Portcullis-Decision-Id", "mine");
        let response = connection.send(&request);
        let id = response.header("x-portcullis-decision-id").unwrap().to_owned();
        assert_eq!(upstream.last().header("x-portcullis-decision-id"), Some(id.as_str()));
        ids.push(id);
    }
    for _ in 0..20 {
        let refused = connection.send(&Request::get(JOBS));
        ids.push(refused.header("x-portcullis-decision-id").unwrap().to_owned());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 40);
}

#[test]
fn a_credential_is_passed_on_only_where_that_is_configured() {
    let (_home, upstream, gate) = gate_before_upstream(|home| {
        home.set("gate", "forward_credential", "true");
    });
    let seen = forwarded(&gate, &upstream, &Request::get(JOBS).token(SERVICE));
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {SERVICE}").as_str()));
    let public = forwarded(&gate, &upstream, &Request::get("/open/x").token(SERVICE));
    assert_eq!(public.header("authorization"), None, "public routes never get one");
}

#[test]
fn a_credential_that_is_passed_on_is_the_one_that_was_judged() {
    let (_home, upstream, gate) = gate_before_upstream(|home| {
        home.set("gate", "forward_credential", "true");
        home.set("gate", "credential_headers", r#"["x-api-key"]"#);
    });
    let request = Request::new("POST", JOBS)
        .header("X-Api-Key", SERVICE)
        .header("X_Api_Key", "of-somebody-else")
        .header("X-Api_Key", "of-somebody-else")
        .header("TE", "trailers")
        .header("Trailer", "X-Sum, X-Api-Key, x_api_key, Authorization")
        .header("Transfer-Encoding", "chunked")
        .raw_body(
            b"3\r\nabc\r\n0\r\nX-Sum: kept\r\nX-Api-Key: of-somebody-else\r\n\
              x_api_key: of-somebody-else\r\nAuthorization: Bearer of-somebody-else\r\n\r\n",
        );
    let seen = forwarded(&gate, &upstream, &request);
    assert_eq!(seen.header("x-api-key"), Some(SERVICE));
    assert!(!seen.head.contains("of-somebody-else"), "{}", seen.head);
    assert_eq!(seen.trailers, [("x-sum".to_owned(), "kept".to_owned())]);
}

#[test]
fn credentials_in_other_headers_are_taken_and_removed() {
    let (_home, upstream, gate) = gate_before_upstream(|home| {
        home.set("gate", "credential_headers", r#"["x-api-key"]"#);
    });
    let seen = forwarded(&gate, &upstream, &Request::get(JOBS).header("X-Api-Key", SERVICE));
    assert_eq!(seen.header("x-api-key"), None);
    let public = forwarded(&gate, &upstream, &Request::get("/open/x").header("X-Api-Key", SERVICE));
    assert_eq!(public.header("x-api-key"), None);
    assert!(!upstream.seen().iter().any(|seen| seen.head.contains(SERVICE)));
}

#[test]
fn the_answer_to_a_legacy_token_advises_rotation() {
    let hash = bcrypt::hash("legacy-secret-of-someone", 4).unwrap();
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nLink: </next>; rel=\"next\"\r\n\r\nok",
    );
    let mut home = Home::new();
    home.forward_to(upstream.address());
    home.import(&legacy_line("old", &format!(r#""hash":"{hash}","selector":"legacy-s""#)));
    let gate = Gate::start(&home);
    for lane in ["slow", "cached"] {
        let response = gate.get(JOBS, "legacy-secret-of-someone");
        assert_eq!(response.status, 200, "{lane}");
        assert_eq!(response.header("x-portcullis-notice"), Some("legacy-token"), "{lane}");
        let links = response.header_values("link");
        assert!(links.iter().any(|link| link.contains("rel=\"next\"")), "{links:?}");
        assert!(
            links.iter().any(|link| link.contains("rotat") || link.contains("help")),
            "{links:?}"
        );
        assert_eq!(response.header("deprecation"), None);
        assert_eq!(response.header("sunset"), None);
    }
    let fast = gate.get(JOBS, SERVICE);
    assert_eq!(fast.header("x-portcullis-notice"), None);
}

#[test]
fn a_client_s_accept_encoding_and_an_upstream_s_encoding_pass_as_they_are() {
    let upstream = Upstream::scripted(|seen, stream| {
        use std::io::Write;
        assert_eq!(seen.header("accept-encoding"), Some("zstd, gzip"));
        let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"\x1f\x8b\x08\x00").unwrap();
        Next::Keep
    });
    let mut home = Home::new();
    home.forward_to(upstream.address());
    let gate = Gate::start(&home);
    let response =
        gate.send(&Request::get(JOBS).token(SERVICE).header("Accept-Encoding", "zstd, gzip"));
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert_eq!(response.body, b"\x1f\x8b\x08\x00");
}

#[test]
fn what_would_make_the_request_another_one_is_dropped_unless_it_is_allowed_by_name() {
    let request = Request::get(JOBS)
        .token(SERVICE)
        .header("X-Original-URL", "/admin")
        .header("X_Rewrite_Url", "/admin")
        .header("X-HTTP-Method-Override", "DELETE")
        .header("X-Http-Method", "DELETE")
        .header("X_Method-Override", "DELETE")
        .header("Proxy", "http://evil.example")
        .header("Content_Length", "9")
        .header("Transfer_Encoding", "chunked");
    let odd = |seen: &Seen| {
        let ours = |name: &String| name.starts_with("x-portcullis-");
        let mut names = seen.names();
        names.retain(|name| !ours(name) && name != "host" && name != "x-forwarded-for");
        names
    };
    let (_home, upstream, gate) = start();
    assert_eq!(odd(&forwarded(&gate, &upstream, &request)), [""; 0]);
    let (_home, upstream, gate) = gate_before_upstream(|home| {
        home.set("gate", "allow_headers", r#"["X-HTTP-Method-Override"]"#);
    });
    assert_eq!(odd(&forwarded(&gate, &upstream, &request)), ["x-http-method-override"]);
}

#[test]
fn trailers_carry_neither_identity_nor_credential_nor_anything_that_changes_the_request() {
    let (_home, upstream, gate) = start();
    let trailers = "X-Portcullis-Account-Id: 9\r\nx_portcullis_user_id: 9\r\nAuthorization: Bearer x\r\n\
                    Cookie: a=b\r\nX-Http-Method-Override: DELETE\r\nX-Original-Url: /admin\r\n\
                    Host: b.example\r\nContent-Length: 9\r\nX-Forwarded-For: 9.9.9.9\r\nX-Sum: kept\r\n";
    let request = Request::new("POST", JOBS)
        .token(SERVICE)
        .header("TE", "trailers")
        .header("Trailer", "X-Sum")
        .header("Transfer-Encoding", "chunked")
        .raw_body(format!("3\r\nabc\r\n0\r\n{trailers}\r\n").as_bytes());
    let seen = forwarded(&gate, &upstream, &request);
    let sum = [("x-sum".to_owned(), "kept".to_owned())];
    assert!(seen.trailers.is_empty() || seen.trailers == sum, "{:?}", seen.trailers);
}
