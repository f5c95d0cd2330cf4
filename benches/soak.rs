//! Single changes at a steady rate, each durable on its own, made in the store or over the
//! management API, and how long until a running gate goes by them. `soak.py` starts the gate and says what is to be done.
//!
//! Writers go by the clock, not by each other's answers: what is late counts as late.

#![allow(clippy::print_stdout, reason = "what is measured is printed")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use portcullis::app::store_rules;
use portcullis::config::Config;
use portcullis::core::record::{AccountState, Grant, Timestamp, TokenId, TokenState, Verifier};
use portcullis::core::token::{Secret, TokenKind};
use portcullis::store::{Actor, Command, NewToken, Outcome, SqliteStore, Store};

/// Callers that wait for their commits at the same time, as many processes or requests would.
const WRITERS: usize = 16;
/// Within what a change must be in force, from the moment that it was acknowledged.
const IN_FORCE: Duration = Duration::from_millis(250);
/// After what a change is given up.
const LOST: Duration = Duration::from_secs(10);
/// Pause between two looks at the gate.
const LOOK: Duration = Duration::from_millis(1);

/// What is asked for on the command line.
struct Plan {
    config: Config,
    gate: SocketAddr,
    /// Accounts to be closed and opened by turns; none: tokens are made and revoked.
    accounts: u64,
    rate: u64,
    duration: Duration,
    /// One change in so many is looked for at the gate.
    sample: u64,
    /// The management API, if tokens are made, rotated and revoked over it.
    api: Option<Api>,
}

/// Where the management API is, and as who.
struct Api {
    address: SocketAddr,
    token: String,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, gate, accounts, rate, seconds, sample, api @ ..] = arguments.as_slice() else {
        // As one benchmark among others, without anything to follow the store.
        println!("soak: benches/soak.py runs it");
        return;
    };
    let number = |text: &String| text.parse::<u64>().expect("a number");
    let config = portcullis::config::load(Path::new(file), std::env::vars());
    let config = config.unwrap_or_else(|errors| panic!("{}", portcullis::config::render(&errors)));
    let plan = Plan {
        config,
        gate: gate.parse().expect("an address"),
        accounts: number(accounts),
        rate: number(rate),
        duration: Duration::from_secs(number(seconds)),
        sample: number(sample).max(1),
        api: match api {
            [address, token] => {
                Some(Api { address: address.parse().expect("an address"), token: token.clone() })
            }
            _ => None,
        },
    };
    run(&plan).print(&plan);
}

/// A change that was acknowledged, and what shows it.
struct Change {
    secret: String,
    permitted: bool,
    acknowledged: Instant,
    /// To be revoked once it is in force.
    token: Option<TokenId>,
}

#[derive(Default)]
struct Outcomes {
    commits: Vec<Duration>,
    in_force: Vec<Duration>,
    lost: u64,
    took: Duration,
}

/// Where writers get their work from.
struct Work<'a> {
    plan: &'a Plan,
    store: &'a SqliteStore,
    began: Instant,
    next: AtomicU64,
    /// Tokens that are in force and to be revoked.
    alive: Mutex<VecDeque<(TokenId, String)>>,
}

fn run(plan: &Plan) -> Outcomes {
    let path = plan.config.store_file().expect("invariant: the benchmark has a store");
    let store = SqliteStore::open(path, store_rules(&plan.config)).expect("the gate's store");
    let work = Work {
        plan,
        store: &store,
        began: Instant::now(),
        next: AtomicU64::new(0),
        alive: Mutex::default(),
    };
    let mut outcomes = std::thread::scope(|scope| {
        let (changes, received) = channel();
        let work = &work;
        let look = scope.spawn(move || watch(work, &received));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| (changes.clone(), work))
            .map(|(changes, work)| scope.spawn(move || write(work, &changes)))
            .collect();
        drop(changes);
        let commits = writers.into_iter().flat_map(|writer| writer.join().expect("a writer"));
        let commits: Vec<Duration> = commits.collect();
        let took = work.began.elapsed();
        Outcomes { commits, took, ..look.join().expect("the watcher") }
    });
    outcomes.commits.sort_unstable();
    outcomes.in_force.sort_unstable();
    outcomes
}

/// Makes one change after another, each at its time; how long after that it was durable.
fn write(work: &Work<'_>, changes: &Sender<Change>) -> Vec<Duration> {
    let mut commits = Vec::new();
    let mut api = work.plan.api.as_ref().map(Caller::connect);
    loop {
        let number = work.next.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_micros(number * 1_000_000 / work.plan.rate);
        if due >= work.plan.duration {
            return commits;
        }
        std::thread::sleep(due.saturating_sub(work.began.elapsed()));
        let made = match &mut api {
            Some(api) => work.call(api, number),
            None => vec![work.change(number)],
        };
        let acknowledged = Instant::now();
        commits.push(work.began.elapsed() - due);
        for change in made {
            if number.is_multiple_of(work.plan.sample) || work.plan.accounts == 0 {
                // The watcher goes last.
                let _ = changes.send(Change { acknowledged, ..change });
            }
        }
    }
}

impl Work<'_> {
    /// Applies the change of this number and returns when it is durable.
    fn change(&self, number: u64) -> Change {
        if self.plan.accounts > 0 {
            return self.toggle(number);
        }
        let alive = if number % 2 == 1 { self.alive().pop_front() } else { None };
        match alive {
            Some((id, secret)) => {
                self.apply(Command::RevokeToken { id });
                Change { secret, permitted: false, acknowledged: self.began, token: None }
            }
            None => self.create(),
        }
    }

    fn toggle(&self, number: u64) -> Change {
        // Account 1 is left alone: it has the tokens that are made.
        let id = number % self.plan.accounts + 2;
        let permitted = number / self.plan.accounts % 2 == 1;
        let state = if permitted { AccountState::Open } else { AccountState::Closed };
        self.apply(Command::SetAccountState { id, state });
        let secret = format!("token-of-account-{id:06}");
        Change { secret, permitted, acknowledged: self.began, token: None }
    }

    fn create(&self) -> Change {
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).expect("random bytes");
        let secret = Secret::from_entropy(TokenKind::Service, entropy);
        let key = self.plan.config.keys.current();
        let digest = key.digest(secret.expose().as_bytes());
        let id = self.apply(Command::CreateToken(Box::new(NewToken {
            account_id: 1,
            name: "soak".to_owned(),
            user_id: None,
            state: TokenState::Active,
            created_at: Timestamp(1_767_225_600),
            not_before: None,
            expires_at: None,
            allow_ips: Vec::new(),
            grants: vec![Grant {
                permission_set: "job_admin".to_owned(),
                project_id: None,
                writable_environment_categories: Vec::new(),
            }],
            verifier: Verifier::Digest { key_id: key.id().to_owned(), digest },
        })));
        let secret = secret.expose().to_owned();
        Change { secret, permitted: true, acknowledged: self.began, token: Some(id) }
    }

    /// Makes, rotates or revokes a token over the management API, by turns.
    fn call(&self, api: &mut Caller<'_>, number: u64) -> Vec<Change> {
        let alive = if number.is_multiple_of(3) { None } else { self.alive().pop_front() };
        let revoked =
            |secret| Change { secret, permitted: false, acknowledged: self.began, token: None };
        let Some((id, secret)) = alive else {
            let body = r#"{"name":"soak","permission_grants":[{"permission_set":"job_admin"}]}"#;
            return vec![api.issue("", body, self.began)];
        };
        if number % 3 == 1 {
            let issued = api.issue(&format!("{id}/rotate/"), r#"{"grace":"0s"}"#, self.began);
            return vec![issued, revoked(secret)];
        }
        api.call("DELETE", &format!("{id}/"), "", 204);
        vec![revoked(secret)]
    }

    fn apply(&self, command: Command) -> u64 {
        let outcome = self.store.apply(&Actor::operator(), command).expect("a change");
        let (Outcome::Changed { id } | Outcome::Unchanged { id }) = outcome;
        id
    }

    fn alive(&self) -> std::sync::MutexGuard<'_, VecDeque<(TokenId, String)>> {
        self.alive.lock().expect("nobody panics with it")
    }
}

/// A connection to the management API.
struct Caller<'p> {
    api: &'p Api,
    stream: TcpStream,
}

impl<'p> Caller<'p> {
    fn connect(api: &'p Api) -> Self {
        Self { api, stream: connect(api.address) }
    }

    /// Makes a token, one way or the other.
    fn issue(&mut self, path: &str, body: &str, began: Instant) -> Change {
        let answer = self.call("POST", path, body, 201);
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        let issued = &answer["data"];
        Change {
            secret: issued["token_string"].as_str().expect("a secret").to_owned(),
            permitted: true,
            acknowledged: began,
            token: Some(issued["id"].as_u64().expect("a number")),
        }
    }

    fn call(&mut self, method: &str, path: &str, body: &str, expected: u16) -> String {
        let token = &self.api.token;
        let length = body.len();
        let request = format!(
            "{method} /api/v3/accounts/1/service-tokens/{path} HTTP/1.1\r\nhost: a\r\n\
             authorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        let (status, answer) = exchange(&mut self.stream, &request);
        assert_eq!(status, expected, "{method} {path}: {answer}");
        answer
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a listener");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// Looks at the gate until every change is in force, over one connection.
fn watch(work: &Work<'_>, changes: &Receiver<Change>) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let mut gate = connect(work.plan.gate);
    let mut pending: VecDeque<Change> = VecDeque::new();
    loop {
        if pending.is_empty() {
            let Ok(change) = changes.recv() else { return outcomes };
            pending.push_back(change);
        }
        pending.extend(changes.try_iter());
        pending.retain(|change| {
            let in_force = is_permitted(&mut gate, &change.secret) == change.permitted;
            let waited = change.acknowledged.elapsed();
            if in_force {
                outcomes.in_force.push(waited);
                if let Some(id) = change.token {
                    work.alive().push_back((id, change.secret.clone()));
                }
            }
            outcomes.lost += u64::from(!in_force && waited > LOST);
            !in_force && waited <= LOST
        });
        std::thread::sleep(LOOK);
    }
}

/// Whether the gate lets a token through, whatever the upstream says.
fn is_permitted(gate: &mut TcpStream, secret: &str) -> bool {
    let request = format!(
        "GET /api/v2/accounts/ HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n\r\n"
    );
    !matches!(exchange(gate, &request).0, 401 | 403 | 429)
}

/// Sends a request and reads the status and the body of its answer.
fn exchange(stream: &mut TcpStream, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).expect("the other end goes on");
    let mut answer = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes).expect("the other end goes on");
        assert!(count > 0, "the other end has closed the connection");
        answer.extend_from_slice(&bytes[..count]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        let length = match length {
            Some(length) => length.parse().expect("a length"),
            None if status == 204 => 0,
            None => panic!("an answer without a length: {head}"),
        };
        if body.len() >= length {
            return (status, body.to_owned());
        }
    }
}

impl Outcomes {
    /// One line of JSON.
    fn print(&self, plan: &Plan) {
        let millis = |sorted: &[Duration], percent: usize| {
            let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
            sorted.get(at).map_or(0.0, |duration| duration.as_secs_f64() * 1e3)
        };
        let in_time = self.in_force.iter().filter(|waited| **waited <= IN_FORCE).count();
        let looked_for = self.in_force.len() as u64 + self.lost;
        println!(
            "{}",
            serde_json::json!({
                "asked": plan.rate,
                "changes": self.commits.len(),
                "rate": self.commits.len() as f64 / self.took.as_secs_f64(),
                "commit_p50": millis(&self.commits, 50),
                "commit_p99": millis(&self.commits, 99),
                "looked_for": looked_for,
                "in_time": in_time as f64 / looked_for.max(1) as f64,
                "p50": millis(&self.in_force, 50),
                "p99": millis(&self.in_force, 99),
                "longest": millis(&self.in_force, 100),
                "lost": self.lost,
            })
        );
    }
}
