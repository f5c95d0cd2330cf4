//! Streams follow their token: what was let through for long is decided again while it lasts.
//!
//! A response of unknown length, a gRPC call or an upgraded connection can go on for hours, and
//! was decided about once. Each is kept here with what it was decided by, and is decided again, by
//! the newest index and the time, at least twice a second. One that would be refused now is cut, and
//! so is one whose token a remote endpoint took for valid until now.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use http::header::HOST;
use http::{HeaderValue, Method, Uri, request};

use super::refusal::{RETRY_AFTER_SECONDS, Refusal};
use super::waiter::Waiter;
use crate::core::decide::{decide, resume};
use crate::core::facts::{Credential, Facts};
use crate::core::index::Index;
use crate::core::record::{Timestamp, TokenId};
use crate::core::verdict::{Denial, Lane, Reason, Verdict};
use crate::proxy::Certificate;

/// Looks, of which there are twenty a second, until every stream was decided about again.
const LOOKS: usize = 10;

/// Streams that are decided about in one look at least.
const MIN_AT_A_LOOK: usize = 64;

/// The streams of one worker, no more than there are places for requests.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    followed: RefCell<Vec<Weak<Followed>>>,
    next: Cell<usize>,
}

impl Streams {
    /// Decides again about this one from now on, for as long as somebody keeps it.
    pub(crate) fn follow(&self, followed: &Rc<Followed>) {
        if !followed.is_followed.replace(true) {
            self.followed.borrow_mut().push(Rc::downgrade(followed));
        }
    }

    /// Decides again about some, and cuts those that would be refused.
    /// What is missing is concealed where the configuration says so.
    pub(crate) fn look(
        &self,
        index: &Index,
        conceal: bool,
        now: Timestamp,
        mut on_cut: impl FnMut(&Denial),
    ) {
        let mut followed = self.followed.borrow_mut();
        let mut left = followed.len().div_ceil(LOOKS).max(MIN_AT_A_LOOK).min(followed.len());
        while left > 0 && !followed.is_empty() {
            left -= 1;
            let position = self.next.get() % followed.len();
            let Some(stream) = followed[position].upgrade() else {
                followed.swap_remove(position);
                continue;
            };
            self.next.set(position + 1);
            if let Some(denial) = stream.refused(index, now) {
                on_cut(&denial);
                stream.end(Refusal::Denied { denial, conceal, retry_after: RETRY_AFTER_SECONDS });
                followed.swap_remove(position);
            }
        }
    }
}

/// A stream, and what it was let through by.
#[derive(Debug)]
pub(crate) struct Followed {
    /// Marked as sensitive.
    credential: HeaderValue,
    in_authorization: bool,
    token: TokenId,
    /// First second at which what the slow lane found no longer holds.
    ends: Option<Timestamp>,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    client: Option<IpAddr>,
    certificate: Option<Rc<Certificate>>,
    is_followed: Cell<bool>,
    cut: Cell<Option<Refusal>>,
    /// What goes to the client, and what comes from it: it may be waiting for either alone.
    downward: Waiter,
    upward: Waiter,
}

impl Followed {
    /// What a request was let through by. `None` where there is no credential.
    pub(crate) fn new(
        head: &request::Parts,
        facts: &Facts<'_>,
        certificate: Option<Rc<Certificate>>,
        token: TokenId,
        ends: Option<Timestamp>,
    ) -> Option<Self> {
        let (credential, in_authorization) = match facts.credential {
            Credential::Authorization(value) => (value, true),
            Credential::Header(value) => (value, false),
            Credential::Missing | Credential::Several { .. } => return None,
        };
        // The field itself, so that nothing is copied.
        let of = |value: &&HeaderValue| value.as_bytes().as_ptr() == credential.as_ptr();
        let mut credential = head.headers.values().find(of)?.clone();
        credential.set_sensitive(true);
        Some(Self {
            credential,
            in_authorization,
            token,
            ends,
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: head.headers.get(HOST).cloned(),
            client: facts.client,
            certificate,
            is_followed: Cell::new(false),
            cut: Cell::new(None),
            downward: Waiter::default(),
            upward: Waiter::default(),
        })
    }

    /// Why the stream is to end, once it is. For what the client gets.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> Poll<Refusal> {
        self.poll_end(&self.downward, cx)
    }

    /// Likewise, for what the client sends.
    pub(crate) fn poll_cut_upward(&self, cx: &Context<'_>) -> Poll<Refusal> {
        self.poll_end(&self.upward, cx)
    }

    fn poll_end(&self, waiter: &Waiter, cx: &Context<'_>) -> Poll<Refusal> {
        if let Some(refusal) = self.cut.get() {
            return Poll::Ready(refusal);
        }
        waiter.wait(cx);
        Poll::Pending
    }

    fn end(&self, refusal: Refusal) {
        self.cut.set(Some(refusal));
        self.downward.wake();
        self.upward.wake();
    }

    /// Why it would not be let through now.
    fn refused(&self, index: &Index, now: Timestamp) -> Option<Denial> {
        let credential = self.credential.as_bytes();
        let facts = Facts {
            ambiguity: None,
            method: self.method.as_str(),
            path: self.uri.path(),
            query: self.uri.query(),
            host: self.host(),
            credential: match self.in_authorization {
                true => Credential::Authorization(credential),
                false => Credential::Header(credential),
            },
            client: self.client,
            client_names: self
                .certificate
                .as_ref()
                .map_or(&[][..], |certificate| certificate.names()),
        };
        let verdict = match decide(index, &facts, now) {
            // The slow lane recognised it, and what it recognises does not change.
            Verdict::Slow(_) => resume(index, &facts, self.token, Lane::Cached, now),
            verdict => verdict,
        };
        match verdict {
            Verdict::Deny(denial) => Some(denial),
            Verdict::Allow(permit) => {
                let is_over = self.ends.is_some_and(|ends| ends <= now);
                is_over.then(|| permit.refuse(Reason::Expired, &facts))
            }
            Verdict::Slow(_) => None,
        }
    }

    fn host(&self) -> Option<&str> {
        let of_target = self.uri.authority().map(|authority| authority.as_str());
        of_target.or_else(|| self.host.as_ref()?.to_str().ok())
    }
}
