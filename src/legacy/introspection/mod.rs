//! Tokens that only a remote endpoint can recognise (RFC 7662): asked on a thread of its own,
//! which waits and does not hash, so that neither lane nor workers wait for it.
//!
//! Only what begins with a configured selector is sent, never a token of ours. An answer is
//! remembered no longer than the token is valid; an error as neither valid nor invalid.

mod answer;
mod breaker;
mod client;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;

use self::answer::{Answer, Claims, agreeing};
use self::breaker::Breaker;
use self::client::{AskError, Client};
use super::job::Job;
use super::kept::{Finding, Kept};
use super::lane::LaneVerdict;
use super::load::Asked;
use crate::config::Introspection;
use crate::core::index::Candidate;
use crate::core::token::may_be_asked_about;
use crate::time::now;

/// Takes questions to the thread.
pub(super) struct Introspector {
    jobs: mpsc::Sender<Job>,
}

impl Introspector {
    /// Starts the thread, named `introspect`. It ends with the handle, once what it is asking is
    /// answered.
    ///
    /// # Errors
    /// The operating system's, where it has no thread or descriptor to give.
    pub(super) fn start(
        settings: &Introspection,
        queue_limit: usize,
        kept: Kept,
    ) -> io::Result<Arc<Self>> {
        let (jobs, queue) = mpsc::channel(queue_limit);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let settings = settings.clone();
        let run = move || {
            let places = Arc::new(Semaphore::new(settings.connections));
            let asking =
                Asking { client: Client::new(settings), breaker: Breaker::new().into(), kept };
            LocalSet::new().block_on(&runtime, serve(queue, places, Rc::new(asking)));
        };
        thread::Builder::new().name("introspect".to_owned()).spawn(run)?;
        Ok(Arc::new(Self { jobs }))
    }

    /// Has the endpoint asked; gives the job back where too many wait.
    fn submit(&self, job: Job) -> Option<Job> {
        use mpsc::error::TrySendError::{Closed, Full};
        self.jobs.try_send(job).err().map(|(Closed(job) | Full(job))| job)
    }
}

/// Has the endpoint asked. Where too many wait, the job is shed until `retry_after`.
pub(super) fn hand_over(to: Option<&Introspector>, job: Job, kept: &Kept, retry_after: Duration) {
    // Without anybody to ask, a reload is on its way: dropped, the job is unavailable.
    let Some(introspector) = to else { return };
    if let Some(job) = introspector.submit(job) {
        kept.shed(job, retry_after);
    }
}

/// As many at a time as there may be connections; the others wait.
async fn serve(mut queue: mpsc::Receiver<Job>, places: Arc<Semaphore>, asking: Rc<Asking>) {
    let count = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
    while let Ok(place) = places.clone().acquire_owned().await
        && let Some(job) = queue.recv().await
    {
        let asking = asking.clone();
        tokio::task::spawn_local(async move {
            asking.serve(job).await;
            drop(place);
        });
    }
    // Who waits gets an answer, within the time limit.
    let _ = places.acquire_many(count).await;
}

struct Asking {
    client: Client,
    breaker: RefCell<Breaker>,
    kept: Kept,
}

impl Asking {
    async fn serve(&self, mut job: Job) {
        if job.landing.is_abandoned() {
            return;
        }
        let finding = self.find(&job).await;
        self.kept.keep(&job, &finding);
        job.landing.land(finding.verdict);
    }

    async fn find(&self, job: &Job) -> Finding {
        let settings = self.client.settings();
        // The index has looked already; a mistake there must not send a token away.
        if !may_be_asked_about(job.secret.expose().as_bytes(), &settings.selectors) {
            return Finding::of(LaneVerdict::Mismatch, job.is_certain);
        }
        let began = Instant::now();
        if !self.breaker.borrow_mut().admits(began) {
            self.kept.stats.note_asked(Asked::Refused, Duration::ZERO);
            return Finding::of(LaneVerdict::Timeout, false);
        }
        let answer = self.client.ask(&job.secret).await;
        self.note(&answer, began);
        match answer {
            Ok(Answer::Active(claims)) => self.attribute(job, &claims),
            Ok(Answer::Inactive) => Finding::of(LaneVerdict::Mismatch, job.is_certain),
            Err(_) => Finding::of(LaneVerdict::Timeout, false),
        }
    }

    fn note(&self, answer: &Result<Answer, AskError>, began: Instant) {
        let asked = match answer {
            Ok(Answer::Active(_)) => Asked::Active,
            Ok(Answer::Inactive) => Asked::Inactive,
            Err(_) => Asked::Error,
        };
        self.kept.stats.note_asked(asked, began.elapsed());
        let mut breaker = self.breaker.borrow_mut();
        match answer {
            Ok(_) if breaker.succeeded() => tracing::info!("the introspection endpoint is back"),
            Ok(_) => {}
            Err(error) if breaker.failed(began, Instant::now()) => {
                tracing::error!(%error, "the introspection endpoint is given up for a while");
            }
            Err(error) => tracing::warn!(%error, "the introspection endpoint failed"),
        }
    }

    /// Whose token it is. One that could be several is nobody's.
    fn attribute(&self, job: &Job, claims: &Claims) -> Finding {
        let mut agreeing = agreeing(&job.candidates, claims);
        let mismatch = Finding::of(LaneVerdict::Mismatch, job.is_certain);
        let Some(candidate) = agreeing.next() else { return mismatch };
        if let Some(other) = agreeing.next() {
            tracing::warn!(
                token = candidate.token_id,
                other = other.token_id,
                "the endpoint's answer fits several tokens: give them selectors of their own, or \
                 map account and user in [legacy.introspection]"
            );
            return mismatch;
        }
        self.kept.stats.note_cost(candidate.token_id, Duration::ZERO);
        let found = Finding::of(candidate.matched(claims.expires), true);
        Finding { until: Some(self.until(claims)), ..found }
    }

    /// How long the answer may be remembered.
    fn until(&self, claims: &Claims) -> Instant {
        let ttl = self.client.settings().cache_ttl;
        let left = claims.expires.map(|expires| expires.0.saturating_sub(now().0));
        let left = left.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        Instant::now() + left.map_or(ttl, |left| left.min(ttl))
    }
}

/// Whether any of them can only be asked about.
pub(super) fn asks(candidates: &[Candidate]) -> bool {
    candidates.iter().any(|candidate| candidate.encoded.is_none())
}

#[cfg(test)]
pub(super) mod tests;
