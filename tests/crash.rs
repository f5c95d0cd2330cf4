//! However often the gate and whoever writes are killed, nothing that was acknowledged is lost,
//! nothing that was taken away comes back, and the store stays whole.

mod facts;
mod load;
mod writers;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::world::token_line_of;
use crate::support::{Draw, Gate, Home, Upstream, eventually};

use facts::Facts;
use load::Load;
use writers::Writers;

/// How often everything is killed.
const ROUNDS: usize = 50;

/// Facts looked at after each restart besides those that changed since the last.
const SAMPLE: usize = 40;

#[test]
fn fifty_kills_lose_nothing_that_was_acknowledged_and_revive_nothing() {
    let seed = std::env::var("CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| jiff::Timestamp::now().as_nanosecond() as u64);
    eprintln!("CRASH_SEED={seed}");
    let mut draw = Draw(seed);
    let upstream = load::quiet_upstream();
    let home = world(&upstream);
    let facts = Facts::default();
    let writers = Writers::new(&home, &facts, seed);
    let mut gate = Gate::start(&home);
    for round in 0..ROUNDS {
        facts.check(&gate, SAMPLE, &mut draw);
        round_of(&writers, &mut gate, &mut draw);
        if round % 2 == 0 {
            is_sound(&home);
        }
        gate = Gate::start(&home);
        if round % 2 == 1 {
            is_sound(&home);
        }
    }
    facts.check(&gate, usize::MAX, &mut draw);
    let acknowledged = writers.acknowledged.load(Ordering::Relaxed);
    eprintln!("{acknowledged} changes acknowledged, {} cut off", writers.cut_off());
    assert!(
        acknowledged > ROUNDS && writers.cut_off() > ROUNDS / 2,
        "the kills missed the writers"
    );
    is_sound(&home);
}

/// Writes under load until a random moment, then kills gate and writers in a random order.
fn round_of(writers: &Writers<'_>, gate: &mut Gate, draw: &mut Draw) {
    let load = Load::start(gate.address());
    let (written, answered) = (draw.below(6), draw.below(200));
    let acknowledged = || writers.acknowledged.load(Ordering::Relaxed);
    let before = acknowledged();
    std::thread::scope(|scope| {
        writers.start(scope);
        eventually("the moment to kill", || {
            (acknowledged() >= before + written && load.answers() >= answered).then_some(())
        });
        pause(draw);
        if draw.below(2) == 0 {
            kill(gate);
            pause(draw);
            writers.kill();
        } else {
            writers.kill();
            pause(draw);
            kill(gate);
        }
    });
    load.end();
}

fn kill(gate: &mut Gate) {
    gate.signal(Signal::KILL);
    gate.wait_end();
}

/// Up to as long as a command takes: what is cut off is another part of it each time.
fn pause(draw: &mut Draw) {
    let until = Instant::now() + Duration::from_micros(draw.below(25_000) as u64);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// What SQLite itself says of the file.
fn is_sound(home: &Home) {
    let store = rusqlite::Connection::open(home.path("portcullis.db")).unwrap();
    store.busy_timeout(Duration::from_secs(20)).unwrap();
    let integrity: String =
        store.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
    let mut violations = store.prepare("PRAGMA foreign_key_check").unwrap();
    assert!(!violations.exists([]).unwrap(), "a row refers to nothing");
}

/// Account 2 has its IP rules in force, 4 and 5 have a token each, and the gate believes who says
/// where a request comes from.
fn world(upstream: &Upstream) -> Home {
    let mut home = Home::new();
    home.forward_to(upstream.address());
    home.set("client_ip", "trusted_proxies", r#"["127.0.0.1/32"]"#);
    // The load guesses on purpose, from one address.
    home.set("limits", "failed_credentials", "\"off\"");
    home.run(&["ip-rule", "enable", "--account", "2"]);
    for number in ["4", "5"] {
        let plan = ["--name", "x", "--plan", "enterprise"];
        home.run(&[&["account", "create", "--id", number][..], &plan].concat());
        let secret = format!(r#""token":"service-token-of-account-{number}""#);
        let account = number.parse().unwrap();
        home.import(&token_line_of(account, "x", "2024-05-01T00:00:00Z", &secret));
    }
    home
}
