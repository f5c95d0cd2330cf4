//! What the slow lane costs: each hash that Django makes, the lane around a hash, and the memory
//! that spares both.
//!
//! The lane's own cost is the difference between `lane/bare_hash` and `lane/verify`, which
//! compute the same one-round hash, and `lane/verify_elsewhere` beside them what it costs to have it
//! computed by a process of its own; `lane/remembered` is what a request pays once its secret has
//! been verified. `decision/remembered` beside `decision/fast` is what that comes to for a whole
//! decision.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::config::{Legacy, Upgrade};
use portcullis::core::decide::decide_recalling;
use portcullis::core::digest::{Digest, DigestKey};
use portcullis::core::facts::{Credential, Facts};
use portcullis::core::index::Candidate;
use portcullis::core::record::{Record, Timestamp, TokenRecord, Verifier};
use portcullis::core::token::Secret;
use portcullis::core::verdict::Verdict;
use portcullis::legacy::verifier::{Bounds, PasswordHash};
use portcullis::legacy::{Lane, LaneVerdict, VerifyRequest};
use serde_json::Value;
use support::Synthetic;

const TOKENS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/django/tokens.jsonl"));
const SECRETS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/django/secrets.json"));
/// PBKDF2-SHA-256 of one round: the least that a hash can cost.
const CHEAP: &str = "pbkdf2_sha256$1$salt$UeJLche8XxBQmkH17PUMLl6HrDfnE1k0UuSAQ654enw=";
const RIGHT: &str = "0123456789abcdef0123";
const WRONG: &str = "0123456789abcdef0124";

/// Each of Django's hashers at the cost that Django gives it.
fn hashers(criterion: &mut Criterion) {
    let secrets: Value = serde_json::from_str(SECRETS).unwrap();
    let mut group = criterion.benchmark_group("verify");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for line in TOKENS.lines().skip(1) {
        let line: Value = serde_json::from_str(line).unwrap();
        let name = line["name"].as_str().unwrap();
        let secret = secrets[name].as_str().unwrap();
        let encoded = line["hash"].as_str().unwrap();
        let hash = PasswordHash::parse(encoded, &Bounds::default()).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| assert!(hash.verify(black_box(secret.as_bytes()))));
        });
    }
}

/// Reading an encoded hash, which the lane does for each candidate.
fn parsing(criterion: &mut Criterion) {
    let line: Value = serde_json::from_str(TOKENS.lines().nth(3).unwrap()).unwrap();
    let encoded = line["hash"].as_str().unwrap();
    criterion.bench_function("parse/argon2", |bencher| {
        bencher.iter(|| PasswordHash::parse(black_box(encoded), &Bounds::default()).unwrap());
    });
}

fn lane(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let lane = Lane::start(&settings(), Arc::new(())).unwrap();
    let mut group = criterion.benchmark_group("lane");
    let hash = PasswordHash::parse(CHEAP, &Bounds::default()).unwrap();
    group.bench_function("bare_hash", |bencher| {
        bencher.iter(|| assert!(!hash.verify(black_box(WRONG.as_bytes()))));
    });
    // Each is another token's, so that none is remembered or throttled.
    let (wrong, mut number) = (request(WRONG), 1);
    group.bench_function("verify", |bencher| {
        bencher.iter(|| {
            number += 1;
            let mut request = again(&wrong);
            (request.candidates[0].token_id, request.candidates[0].account_id) = (number, number);
            let verdict = runtime.block_on(lane.verify(request));
            assert_eq!(verdict, LaneVerdict::Mismatch);
        });
    });
    let right = request(RIGHT);
    let verdict = runtime.block_on(lane.verify(again(&right)));
    assert_eq!(verdict, LaneVerdict::Matched { token_id: 1, version: 1, ends: None });
    group.bench_function("remembered", |bencher| {
        bencher.iter(|| lane.remembered(black_box(&right.digest)).unwrap());
    });
    group.bench_function("not_remembered", |bencher| {
        bencher.iter(|| assert!(lane.remembered(black_box(&wrong.digest)).is_none()));
    });
}

/// A lane that is a process of its own, asked over its socket, beside `lane/verify`.
fn elsewhere(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("lane.sock"), folder.path().join("portcullis.toml"));
    std::fs::write(&file, "[legacy]\nsocket = \"unix:lane.sock\"\ncpu_share = 1.0\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg("-c").arg(&file).arg("lane").env("PORTCULLIS_LOG", "error");
    let mut process = command.spawn().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let settings = Legacy { socket: Some(socket), ..settings() };
    let lane = Lane::start(&settings, Arc::new(())).unwrap();
    let wrong = request(WRONG);
    let mut number = 1;
    let mut verify = || {
        number += 1;
        let mut request = again(&wrong);
        (request.candidates[0].token_id, request.candidates[0].account_id) = (number, number);
        runtime.block_on(lane.verify(request))
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while verify() != LaneVerdict::Mismatch {
        assert!(Instant::now() < deadline, "the lane does not answer");
    }
    criterion.bench_function("lane/verify_elsewhere", |bencher| {
        bencher.iter(|| assert_eq!(verify(), LaneVerdict::Mismatch));
    });
    process.kill().unwrap();
    process.wait().unwrap();
}

/// A whole decision about a token that is found by its digest, beside one about a legacy token of
/// the same account and grants that is remembered.
fn decisions(criterion: &mut Criterion) {
    const LEGACY_ID: u64 = 1_000_000;
    let policy = support::policy();
    let synthetic = Synthetic::new(&policy, 10_000);
    let verifier = Verifier::Hash { encoded: CHEAP.to_owned(), selector: Some(RIGHT[..8].into()) };
    let legacy = TokenRecord { id: LEGACY_ID, verifier, ..synthetic.token(5) };
    let index = synthetic.index().apply(&[Record::Token(legacy)], 2).fold().unwrap();
    let lane = Lane::start(&settings(), Arc::new(())).unwrap();
    let mut right = request(RIGHT);
    right.digest = policy.keys.current().digest(RIGHT.as_bytes());
    right.candidates[0].token_id = LEGACY_ID;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(lane.verify(right));
    let recall = |digest: &Digest| {
        let remembered = lane.remembered(digest)?;
        let current = index.slow_version(remembered.token_id) == Some(remembered.version);
        current.then_some(remembered.token_id)
    };
    let mut group = criterion.benchmark_group("decision");
    for (name, secret) in [("fast", support::secret(5).expose()), ("remembered", RIGHT)] {
        let header = format!("Bearer {secret}");
        let facts = Facts {
            ambiguity: None,
            method: "GET",
            path: "/api/v3/accounts/5/projects/",
            query: None,
            host: Some("cloud.example.com"),
            credential: Credential::Authorization(header.as_bytes()),
            client: Some([10, 0, 0, 5].into()),
            client_names: &[],
        };
        let decide = || decide_recalling(&index, black_box(&facts), support::NOW, recall);
        assert!(matches!(decide(), Verdict::Allow(_)), "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| black_box(decide())));
    }
}

fn settings() -> Legacy {
    Legacy {
        enabled: true,
        cutoff_end: Timestamp(0),
        threads: 1,
        cpu_share: 1.0,
        queue_limit: 64,
        candidates_limit: 4,
        cache_ttl: Duration::from_secs(3600),
        deadline: Duration::from_secs(10),
        upgrade: Upgrade::Never,
        socket: None,
        admin: None,
        introspection: None,
    }
}

fn request(secret: &str) -> VerifyRequest {
    let secret = Secret::parse(secret.to_owned()).unwrap();
    let digest = DigestKey::new("bench", [7; 32]).digest(secret.expose().as_bytes());
    let candidate = Candidate {
        token_id: 1,
        account_id: 1,
        user_id: None,
        version: 1,
        encoded: Some(CHEAP.into()),
    };
    VerifyRequest { digest, secret, candidates: vec![candidate], client: None }
}

fn again(request: &VerifyRequest) -> VerifyRequest {
    VerifyRequest {
        digest: request.digest,
        secret: request.secret.clone(),
        candidates: request.candidates.clone(),
        client: request.client,
    }
}

criterion_group!(benches, hashers, parsing, lane, elsewhere, decisions);
criterion_main!(benches);
