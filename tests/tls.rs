//! TLS towards clients and upstreams, with curl, openssl and nginx on the other side.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::certificates::openssl;
use crate::support::tools::{curl, h2load, succeed};
use crate::support::world::SERVICE;
use crate::support::{Authority, Gate, Home, Nginx, Upstream, eventually};

const NAMES: &str = "DNS:a.example,DNS:*.w.example,DNS:localhost,IP:127.0.0.1";

/// A home with an authority, and a certificate of its for the gate.
fn home_with(settings: &str) -> (Home, Authority, Upstream) {
    let upstream = Upstream::start();
    let mut home = Home::new();
    let authority = Authority::new(home.folder(), "authority");
    authority.issue("gate", "gate", NAMES);
    authority.issue("other", "other", "DNS:b.example");
    home.set("gate", "listen_tls", r#"["127.0.0.1:0"]"#);
    home.set(
        "gate",
        "tls",
        &format!(
            "{{ certificates = [{{ certificate = \"gate.crt\", key = \"gate.key\" }}, \
             {{ certificate = \"other.crt\", key = \"other.key\" }}]{settings} }}"
        ),
    );
    home.forward_to(upstream.address());
    (home, authority, upstream)
}

/// curl that trusts the authority and has a token.
fn trusting(authority: &Authority) -> Command {
    let mut command = curl();
    command.arg("--cacert").arg(authority.certificate());
    command.args(["--header", &format!("Authorization: Bearer {SERVICE}")]);
    command
}

fn url(gate: &Gate) -> String {
    format!("https://{}/free/x", gate.tls_address())
}

fn fails(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?} succeeded");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `openssl s_client` prints of a connection with these arguments.
fn s_client(gate: &Gate, arguments: &[&str]) -> String {
    // The answer brings tickets of TLS 1.3 with it.
    let request = b"GET /nothing HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    String::from_utf8_lossy(&s_client_sends(gate, arguments, request)).into_owned()
}

/// Likewise, of a client that sends this.
fn s_client_sends(gate: &Gate, arguments: &[&str], sent: &[u8]) -> Vec<u8> {
    let mut command = openssl();
    command.args(["s_client", "-connect", &gate.tls_address().to_string()]).args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.as_mut().unwrap().write_all(sent);
    let mut output = Vec::new();
    std::io::Read::read_to_end(child.stdout.as_mut().unwrap(), &mut output).unwrap();
    child.wait().unwrap();
    output
}

/// The common name of the certificate that is shown to who asks for `name`.
fn shown(gate: &Gate, name: &str) -> String {
    let output = s_client(gate, &["-servername", name]);
    let subject = output.lines().find(|line| line.starts_with("subject=")).unwrap_or_default();
    subject.rsplit("CN = ").next().unwrap_or_default().to_owned()
}

#[test]
fn clients_choose_http_2_or_http_1_and_both_versions_of_tls() {
    let (home, authority, upstream) = home_with("");
    let gate = Gate::start(&home);
    for (arguments, version) in [
        (&["--http2", "--tlsv1.3"][..], "2"),
        (&["--http1.1", "--tlsv1.3"], "1.1"),
        (&["--http2", "--tls-max", "1.2"], "2"),
        (&["--http1.1", "--tls-max", "1.2"], "1.1"),
    ] {
        let mut command = trusting(&authority);
        command.args(arguments).args(["--write-out", " %{http_version}"]).arg(url(&gate));
        assert_eq!(succeed(&mut command), format!("ok {version}"), "{arguments:?}");
    }
    assert_eq!(upstream.seen().len(), 4);
    let mut command = h2load();
    let bearer = format!("Authorization: Bearer {SERVICE}");
    command.args(["-n", "500", "-c", "4", "-m", "10", "-H", &bearer]).arg(url(&gate));
    let report = succeed(&mut command);
    assert!(report.contains("500 succeeded, 0 failed, 0 errored"), "{report}");
}

#[test]
fn the_oldest_version_of_tls_can_be_1_3() {
    let (home, authority, _upstream) = home_with(", min_version = \"1.3\"");
    let gate = Gate::start(&home);
    assert_eq!(succeed(trusting(&authority).arg(url(&gate))), "ok");
    fails(trusting(&authority).args(["--tls-max", "1.2"]).arg(url(&gate)));
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let (home, _authority, _upstream) = home_with("");
    let gate = Gate::start(&home);
    for (name, expected) in [
        ("a.example", "gate"),
        ("A.EXAMPLE", "gate"),
        ("x.w.example", "gate"),
        ("b.example", "other"),
        ("c.example", "gate"),
        ("x.y.w.example", "gate"),
    ] {
        assert_eq!(shown(&gate, name), expected, "{name}");
    }
}

#[test]
fn a_client_that_must_show_a_certificate_is_told_of_by_it() {
    let (home, authority, upstream) = home_with(", client_ca = \"clients.crt\"");
    let clients = Authority::new(home.folder(), "clients");
    clients.issue("client", "client", "DNS:ci.example,URI:spiffe://example/ci");
    authority.issue("stranger", "stranger", "DNS:ci.example");
    let gate = Gate::start(&home);
    let showing = |name: &str| {
        let mut command = trusting(&authority);
        command.arg("--cert").arg(home.path(&format!("{name}.crt")));
        command.arg("--key").arg(home.path(&format!("{name}.key")));
        command.args(["--header", "X-Portcullis-Client-Certificate-Dns: forged"]);
        command
    };
    assert_eq!(succeed(showing("client").arg(url(&gate))), "ok");
    let seen = upstream.last();
    let sha256 = succeed(
        openssl()
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(home.path("client.crt")),
    );
    let sha256 = sha256.trim().rsplit('=').next().unwrap().replace(':', "").to_lowercase();
    assert_eq!(seen.header("x-portcullis-client-certificate-sha256"), Some(sha256.as_str()));
    assert_eq!(seen.header("x-portcullis-client-certificate-dns"), Some("ci.example"));
    assert_eq!(seen.header("x-portcullis-client-certificate-uri"), Some("spiffe://example/ci"));
    fails(trusting(&authority).arg(url(&gate)));
    fails(showing("stranger").arg(url(&gate)));
    gate.expect_ended("tls", 2.0);
    assert_eq!(upstream.seen().len(), 1);
    let plain = gate.get("/free/x", SERVICE);
    assert_eq!(plain.status, 200);
    assert_eq!(upstream.last().header("x-portcullis-client-certificate-sha256"), None);
}

#[test]
fn a_route_for_certain_certificates_is_there_for_no_other_client() {
    let (mut home, authority, upstream) = home_with(", client_ca = \"clients.crt\"");
    let clients = Authority::new(home.folder(), "clients");
    clients.issue("ci", "ci", "DNS:CI.example,URI:spiffe://example/ci");
    clients.issue("another", "another", "DNS:other.example");
    let routes = "[[route]]\npath = \"/ci/\"\nrequires = \"public\"\n\
                  client_certificate = [\"spiffe://example/ci\"]\n\
                  [[route]]\npath = \"/jobs/\"\nrequires = \"authenticated\"\n\
                  client_certificate = [\"ci.example\", \"cd.example\"]\n";
    std::fs::write(home.path("routes.toml"), routes).unwrap();
    home.set("routes", "unmatched", "\"authenticated\"");
    let gate = Gate::start(&home);
    let status = |name: &str, path: &str| {
        let mut command = trusting(&authority);
        command.arg("--cert").arg(home.path(&format!("{name}.crt")));
        command.arg("--key").arg(home.path(&format!("{name}.key")));
        command.args(["--output", "/dev/null", "--write-out", "%{http_code}"]);
        succeed(command.arg(format!("https://{}{path}", gate.tls_address())))
    };
    assert_eq!(["/ci/", "/jobs/"].map(|path| status("ci", path)), ["200", "200"]);
    assert_eq!(upstream.seen().len(), 2);
    assert_eq!(["/ci/", "/jobs/"].map(|path| status("another", path)), ["403", "403"]);
    assert_eq!(["/ci/", "/jobs/"].map(|path| gate.get(path, SERVICE).status), [403, 403]);
    assert_eq!(upstream.seen().len(), 2);
    gate.expect_decisions("no_route", 4.0);

    let explain = |name: &str| {
        let arguments = ["explain", "--token", "-", "--method", "GET", "--path", "/jobs/"];
        let mut arguments = arguments.to_vec();
        arguments.extend(["--ip", "127.0.0.1", "--client-certificate", name]);
        home.attempt_with(&arguments, SERVICE.as_bytes()).stdout
    };
    assert!(explain("ci.example").contains("ALLOW"));
    let denied = explain("other.example");
    assert!(denied.contains("is for clients with a certificate of ci.example or cd.example"));
}

/// Puts files where Kubernetes would: in a folder of their own that `..data` points to.
fn put(folder: &Path, version: &str, files: [(&Path, &str); 2]) {
    let data = folder.join(format!("..{version}"));
    std::fs::create_dir_all(&data).unwrap();
    for (from, name) in files {
        std::fs::copy(from, data.join(name)).unwrap();
    }
    let swapped = folder.join("..data_tmp");
    symlink(&data, &swapped).unwrap();
    std::fs::rename(swapped, folder.join("..data")).unwrap();
}

#[test]
fn changed_certificates_are_shown_to_new_connections_and_open_ones_go_on() {
    let (mut home, authority, _upstream) = home_with("");
    authority.issue("new", "new", NAMES);
    let folder = home.path("mounted");
    std::fs::create_dir(&folder).unwrap();
    let pair = |name: &str| [home.path(&format!("{name}.crt")), home.path(&format!("{name}.key"))];
    let [certificate, key] = pair("gate");
    put(&folder, "1", [(&certificate, "tls.crt"), (&key, "tls.key")]);
    for file in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(file), folder.join(file)).unwrap();
    }
    let [new_certificate, new_key] = pair("new");
    home.set(
        "gate",
        "tls",
        r#"{ certificates = [{ certificate = "mounted/tls.crt", key = "mounted/tls.key" }] }"#,
    );
    let gate = Gate::start(&home);
    assert_eq!(shown(&gate, "a.example"), "gate");
    let session = home.path("session");
    let session = session.to_str().unwrap();
    s_client(&gate, &["-sess_out", session]);

    // The open connection: two requests, the second after the change.
    let mut open = openssl();
    open.args(["s_client", "-quiet", "-connect", &gate.tls_address().to_string()]);
    let mut open =
        open.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let request = format!("GET /free/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {SERVICE}\r\n");
    let (mut to, mut from) = (open.stdin.take().unwrap(), open.stdout.take().unwrap());
    let mut ask = |end: &str| {
        to.write_all(format!("{request}{end}\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            let mut byte = [0];
            std::io::Read::read_exact(&mut from, &mut byte).unwrap();
            answer.push(byte[0]);
        }
        answer
    };
    assert!(ask("").starts_with(b"HTTP/1.1 200"));

    put(&folder, "2", [(&new_certificate, "tls.crt"), (&key, "tls.key")]);
    gate.wait_for_log("the private key is not the one that the certificate is for");
    assert_eq!(shown(&gate, "a.example"), "gate", "a bad pair is not taken");
    put(&folder, "3", [(&new_certificate, "tls.crt"), (&new_key, "tls.key")]);
    eventually("the new certificate is shown", || {
        (shown(&gate, "a.example") == "new").then_some(())
    });
    assert!(ask("Connection: close\r\n").starts_with(b"HTTP/1.1 200"));
    open.wait().unwrap();
    let resumed = s_client(&gate, &["-sess_in", session]);
    assert!(resumed.contains("Reused, TLSv1.3"), "{resumed}");
}

#[test]
fn what_was_agreed_on_is_spoken_and_nothing_else() {
    let (home, _authority, _upstream) = home_with("");
    let gate = Gate::start(&home);
    let http1 = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let answer = s_client_sends(&gate, &["-quiet", "-alpn", "h2"], http1);
    assert!(!answer.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let answer = s_client_sends(&gate, &["-quiet", "-alpn", "http/1.1"], http2);
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
}

/// A gate before an nginx that speaks TLS, with these settings of nginx and of the upstream.
fn before_nginx(home: &mut Home, of_nginx: &str, settings: &str) -> (Nginx, Gate) {
    let path = |name: &str| home.path(name).display().to_string();
    let (certificate, key) = (path("server.crt"), path("server.key"));
    let nginx = Nginx::start_with_tls(&format!(
        "ssl_certificate {certificate};\nssl_certificate_key {key};\n{of_nginx}"
    ));
    let endpoint = format!(r#"["https://localhost:{}"]"#, nginx.tls_address().port());
    home.set("upstreams.api", "endpoints", &endpoint);
    home.set("upstreams.api", "tls", settings);
    let gate = Gate::start(home);
    (nginx, gate)
}

fn home_with_server(names: &str) -> (Home, Authority) {
    let home = Home::new();
    let authority = Authority::new(home.folder(), "authority");
    authority.issue("server", "server", names);
    (home, authority)
}

#[test]
fn an_upstream_is_spoken_to_in_tls_if_it_is_who_it_should_be() {
    let (mut home, _authority) = home_with_server("DNS:localhost");
    let (_nginx, gate) = before_nginx(&mut home, "", r#"{ ca = "authority.crt" }"#);
    for _ in 0..3 {
        let response = gate.get("/me/", SERVICE);
        assert_eq!((response.status, response.text()), (200, "account=1 authorization=\n"));
    }
    drop(gate);
    Authority::new(home.folder(), "other");
    let (_nginx, gate) = before_nginx(&mut home, "", r#"{ ca = "other.crt" }"#);
    assert_eq!(gate.status("/me/", SERVICE), 502);
    gate.wait_for_log("UnknownIssuer");
}

#[test]
fn an_upstream_of_another_name_is_refused_unless_that_is_asked_for() {
    let (mut home, _authority) = home_with_server("DNS:api.internal");
    let (_nginx, gate) = before_nginx(&mut home, "", r#"{ ca = "authority.crt" }"#);
    assert_eq!(gate.status("/me/", SERVICE), 502);
    drop(gate);
    let settings = r#"{ ca = "authority.crt", sni = "api.internal" }"#;
    let (_nginx, gate) = before_nginx(&mut home, "", settings);
    assert_eq!(gate.status("/me/", SERVICE), 200);
}

#[test]
fn an_upstream_that_asks_who_the_gate_is_gets_its_certificate() {
    let (mut home, authority) = home_with_server("DNS:localhost");
    authority.issue("client", "client", "DNS:gate.internal");
    let verify = format!(
        "ssl_client_certificate {};\nssl_verify_client on;\n",
        authority.certificate().display()
    );
    let settings = r#"{ ca = "authority.crt", certificate = "client.crt", key = "client.key" }"#;
    let (_nginx, gate) = before_nginx(&mut home, &verify, settings);
    assert_eq!(gate.status("/me/", SERVICE), 200);
    drop(gate);
    let (_nginx, gate) = before_nginx(&mut home, &verify, r#"{ ca = "authority.crt" }"#);
    assert_eq!(gate.status("/me/", SERVICE), 400, "what nginx says to who shows none");
}

#[test]
fn the_management_api_can_speak_tls() {
    let (mut home, authority, _upstream) = home_with("");
    home.set("control", "listen", r#""127.0.0.1:0""#);
    home.set("control", "tls", r#"{ certificate = "gate.crt", key = "gate.key" }"#);
    let (_, admin) = home.make_token(&["--grant", "account_admin", "developer"]);
    let gate = Gate::start(&home);
    let mut command = curl();
    command.arg("--cacert").arg(authority.certificate());
    command.args(["--header", &format!("Authorization: Bearer {admin}")]);
    command.arg(format!("https://{}/api/v3/accounts/1/projects/", gate.control_address()));
    let answer = succeed(&mut command);
    assert!(answer.contains("eleven"), "{answer}");
    let check = home.attempt(&["check"]);
    assert_eq!(check.code, 0, "{check:?}");
}

#[test]
fn mistakes_with_certificates_are_told_with_their_place() {
    let (mut home, _authority, _upstream) = home_with("");
    let tls = |pair: &str| format!("{{ certificates = [{{ {pair} }}] }}");
    std::fs::write(home.path("damaged.crt"), "-----BEGIN CERTIFICATE-----\n!!\n").unwrap();
    for (pair, message) in [
        (
            r#"certificate = "gate.crt", key = "other.key""#,
            "not the one that the certificate is for",
        ),
        (r#"certificate = "gate.crt", key = "gate.crt""#, "no private key in it"),
        (r#"certificate = "gate.key", key = "gate.key""#, "no certificate in it"),
        (r#"certificate = "damaged.crt", key = "gate.key""#, "not valid PEM"),
        (r#"certificate = "missing.crt", key = "gate.key""#, "cannot read"),
        (r#"certificate = "gate.crt""#, "`key` is required"),
    ] {
        home.set("gate", "tls", &tls(pair));
        let check = home.attempt(&["check"]);
        assert_eq!(check.code, 3, "{pair}: {check:?}");
        let place = format!("{}:", home.path("portcullis.toml").display());
        assert!(check.stderr.contains(message), "{pair}: {check:?}");
        assert!(check.stderr.contains(&place), "{pair}: {check:?}");
        assert!(!check.stderr.contains("BEGIN EC"), "{check:?}");
    }
}
