//! What must be so at the gate, since it was acknowledged.

use std::fmt;
use std::sync::Mutex;

use crate::support::{Draw, Gate, Request};

/// Everything that is known, by the number that [`Facts::add`] gave it.
#[derive(Default)]
pub struct Facts {
    known: Mutex<Vec<Fact>>,
}

/// One request, and what may come of it.
struct Fact {
    what: String,
    probe: Probe,
    /// One status, or two while a change is under way or was cut off.
    may: Vec<u16>,
    changed: bool,
}

/// A request that shows whether a change is in force.
#[derive(Clone)]
pub struct Probe {
    pub path: String,
    pub token: String,
    pub client: String,
}

impl Probe {
    pub fn new(path: impl Into<String>, token: impl Into<String>) -> Self {
        Self { path: path.into(), token: token.into(), client: "192.0.2.1".to_owned() }
    }

    pub fn from(self, client: String) -> Self {
        Self { client, ..self }
    }

    fn request(&self) -> Request {
        Request::get(&self.path).token(&self.token).header("x-forwarded-for", &self.client)
    }
}

impl Facts {
    /// Something that is so from now on.
    pub fn add(&self, what: impl fmt::Display, probe: Probe, status: u16) -> usize {
        let mut known = self.known.lock().unwrap();
        known.push(Fact { what: what.to_string(), probe, may: vec![status], changed: true });
        known.len() - 1
    }

    /// A change has begun: from now on it may be either way.
    pub fn may_become(&self, fact: usize, status: u16) {
        let mut known = self.known.lock().unwrap();
        known[fact].may.push(status);
        known[fact].changed = true;
    }

    /// A change was acknowledged: from now on it is no other way.
    pub fn is(&self, fact: usize, status: u16) {
        self.known.lock().unwrap()[fact].may = vec![status];
    }

    /// What the fact is, while no change of it is under way: the check after a start settles those
    /// that were cut off.
    pub fn found(&self, fact: usize) -> u16 {
        self.known.lock().unwrap()[fact].may[0]
    }

    /// Looks at all that changed since the last time and so many others, right after a start. What
    /// was left open is settled by what is found: no later start may find it otherwise.
    pub fn check(&self, gate: &Gate, sample: usize, draw: &mut Draw) {
        let mut connection = gate.connect();
        let mut known = self.known.lock().unwrap();
        let count = known.len();
        let others: Vec<usize> = match sample < count {
            true => (0..sample).map(|_| draw.below(count)).collect(),
            false => (0..count).collect(),
        };
        let changed = (0..count).filter(|fact| known[*fact].changed).collect::<Vec<_>>();
        for fact in changed.into_iter().chain(others) {
            let fact = &mut known[fact];
            let found = connection.send(&fact.probe.request()).status;
            assert!(fact.may.contains(&found), "{}: {found}, not {:?}", fact.what, fact.may);
            fact.may = vec![found];
            fact.changed = false;
        }
    }
}
