//! One verification at a time for each secret: later callers wait for the one under way.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::RandomState;
use tokio::sync::watch;

use super::lane::LaneVerdict;
use super::memory::Remembered;
use super::queue::Waiting;
use crate::core::digest::Digest;
use crate::core::index::Candidate;

type Answer = watch::Receiver<Option<LaneVerdict>>;

/// The verifications under way, by digest of the secret.
#[derive(Default)]
pub(super) struct Flights {
    map: DashMap<[u8; 32], Flight, RandomState>,
}

struct Flight {
    candidates: Arc<[Candidate]>,
    answer: Answer,
}

/// What a caller who wants a verification is to do.
pub(super) enum Boarding {
    /// Nothing: it was done a moment ago.
    Remembered(Remembered),
    /// Have it done, and wait.
    First(Landing, Answer),
    /// Wait: the same is under way.
    Same(Answer),
    /// Wait, then ask again: one against other candidates, or other versions, is under way.
    Other(Answer),
}

impl Flights {
    /// Joins the flight for the digest or begins one. `recall` is asked where none is under
    /// way: a success is remembered before its flight ends, so none is missed in between.
    pub(super) fn board(
        self: &Arc<Self>,
        digest: &Digest,
        candidates: &Arc<[Candidate]>,
        recall: impl FnOnce() -> Option<Remembered>,
    ) -> Boarding {
        match self.map.entry(digest.0) {
            Entry::Occupied(flight) if flight.get().is_against(candidates) => {
                Boarding::Same(flight.get().answer.clone())
            }
            Entry::Occupied(flight) => Boarding::Other(flight.get().answer.clone()),
            Entry::Vacant(place) => {
                if let Some(remembered) = recall() {
                    return Boarding::Remembered(remembered);
                }
                let (verdict, answer) = watch::channel(None);
                let candidates = Arc::clone(candidates);
                place.insert(Flight { candidates, answer: answer.clone() });
                Boarding::First(Landing::new(self, digest, verdict), answer)
            }
        }
    }
}

impl Flight {
    fn is_against(&self, candidates: &[Candidate]) -> bool {
        let named = |candidate: &Candidate| (candidate.token_id, candidate.version);
        self.candidates.iter().map(named).eq(candidates.iter().map(named))
    }
}

/// The end of a flight. However it is dropped, also by a panic, everyone who waits gets an
/// answer and the next caller begins a new flight.
pub(super) struct Landing {
    flights: Arc<Flights>,
    digest: Digest,
    verdict: watch::Sender<Option<LaneVerdict>>,
    outcome: LaneVerdict,
    listed: bool,
}

impl Landing {
    fn new(
        flights: &Arc<Flights>,
        digest: &Digest,
        verdict: watch::Sender<Option<LaneVerdict>>,
    ) -> Self {
        Self {
            flights: Arc::clone(flights),
            digest: *digest,
            verdict,
            outcome: LaneVerdict::Timeout,
            listed: true,
        }
    }

    /// The digest of the secret.
    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Ends the flight with a verdict.
    pub(super) fn land(mut self, outcome: LaneVerdict) {
        self.outcome = outcome;
    }

    /// Takes the flight off the list if nobody waits for it any more. Afterwards nobody can
    /// join it, so that the work may be left undone.
    pub(super) fn is_abandoned(&mut self) -> bool {
        // One receiver is the list's own. Joining clones it under the same lock as this takes.
        let alone = |_: &[u8; 32], _: &Flight| self.verdict.receiver_count() == 1;
        if self.listed && self.flights.map.remove_if(&self.digest.0, alone).is_some() {
            self.listed = false;
        }
        !self.listed
    }
}

impl Waiting for Landing {
    fn is_over(&mut self) -> bool {
        self.is_abandoned()
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        // Off the list first: who wakes up and asks again must not find this flight.
        if self.listed {
            self.flights.map.remove(&self.digest.0);
        }
        self.verdict.send_replace(Some(self.outcome));
    }
}
