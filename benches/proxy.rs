//! The proxy end to end: one client, one gate, one upstream, over loopback. What is measured is a
//! round trip; `side_by_side/run.py` measures CPU per request against HAProxy under load.

#[path = "support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::app::Gate;
use portcullis::config::{self, Config};
use portcullis::core::record::{AccountState, Grant, Plan, Timestamp, TokenState, Verifier};
use portcullis::core::token::Secret;
use portcullis::store::{Actor, Command, NewToken, SqliteStore, Store};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn round_trips(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let upstream = upstream();
    let secret = support::secret(0);
    let gate =
        Gate::start(configure(folder.path(), upstream, &secret), Vec::new()).expect("a gate");
    let address = gate.addresses().concat().parse().expect("an address");
    let admin = gate.admin_address().expect("an admin listener").parse().expect("an address");
    std::thread::spawn(move || gate.run(Box::pin(std::future::pending())));
    while !exchange(&mut connect(admin), b"GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n")
        .contains("200 OK")
    {}
    let request = |secret: &str| {
        format!(
            "GET /api/v2/accounts/1/jobs/ HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n\r\n"
        )
    };
    let mut group = criterion.benchmark_group("proxy");
    for (name, address, request, expected) in [
        ("upstream alone", upstream, request(secret.expose()), "200 OK"),
        ("allowed", address, request(secret.expose()), "200 OK"),
        ("denied", address, request(support::secret(1).expose()), "401 Unauthorized"),
    ] {
        let mut connection = connect(address);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let answer = exchange(&mut connection, request.as_bytes());
                assert!(answer.contains(expected), "{answer}");
            });
        });
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// Sends a request and reads the answer, which fits into one segment.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
    let mut buffer = [0; 4096];
    stream.write_all(request).expect("a gate that reads");
    let read = stream.read(&mut buffer).expect("an answer");
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

/// An upstream that answers every read, a thread a connection.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) && stream.write_all(ANSWER).is_ok() {}
}

/// A configuration with one token that may read the jobs of account 1.
fn configure(folder: &Path, upstream: SocketAddr, secret: &Secret) -> Config {
    let file = folder.join("portcullis.toml");
    let text = format!(
        "[gate]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n\
         [upstreams.api]\nendpoints = [\"http://{upstream}\"]\n\
         [keys]\ndigest_env = \"BENCH_DIGEST_KEY\"\n\
         [store]\nurl = \"sqlite:portcullis.db\"\n[admin]\nlisten = \"127.0.0.1:0\"\n"
    );
    std::fs::write(&file, text).expect("a file");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in ["routes.toml", "permission_sets.toml"] {
        std::fs::copy(sample.join(name), folder.join(name)).expect("a sample file");
    }
    let environment = [("BENCH_DIGEST_KEY".to_owned(), format!("bench:{}", "5a".repeat(32)))];
    let config = config::load(&file, environment)
        .unwrap_or_else(|errors| panic!("{}", config::render(&errors)));
    fill(&config, secret);
    config
}

fn fill(config: &Config, secret: &Secret) {
    let path = config.store_file().expect("invariant: the benchmark has a store");
    let store = SqliteStore::create(path, portcullis::app::store_rules(config)).expect("a store");
    let key = config.keys.current();
    let digest = key.digest(secret.expose().as_bytes());
    let grant = Grant {
        permission_set: "job_admin".to_owned(),
        project_id: None,
        writable_environment_categories: Vec::new(),
    };
    let token = NewToken {
        account_id: 1,
        name: "bench".to_owned(),
        user_id: None,
        state: TokenState::Active,
        created_at: Timestamp(1_714_521_600),
        not_before: None,
        expires_at: None,
        allow_ips: Vec::new(),
        grants: vec![grant],
        verifier: Verifier::Digest { key_id: key.id().to_owned(), digest },
    };
    let account = Command::CreateAccount {
        id: 1,
        name: "bench".to_owned(),
        plan: Plan::Enterprise,
        state: AccountState::Open,
    };
    for command in [account, Command::CreateToken(Box::new(token))] {
        store.apply(&Actor::operator(), command).expect("a change");
    }
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = round_trips
}
criterion_main!(benches);
