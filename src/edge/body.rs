//! The body of an answer: the gate's own, or the upstream's as it comes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::connection::Answering;
use crate::proxy::{BodyError, UpstreamBody};

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct GateBody {
    kind: Kind,
    /// Told by its drop that the answer is at its end. Not kept for what is there whole: HTTP/2
    /// holds on to a body for as long as the client grants no window, for ever if need be.
    answering: Option<Answering>,
}

#[derive(Debug)]
enum Kind {
    Own(Option<Bytes>),
    Upstream(UpstreamBody),
}

impl GateBody {
    pub(crate) fn empty() -> Self {
        Self::new(Kind::Own(None))
    }

    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::new(Kind::Own(Some(bytes)))
    }

    pub(crate) fn upstream(body: UpstreamBody) -> Self {
        Self::new(Kind::Upstream(body))
    }

    /// This body, keeping `answering` until its last byte is taken over.
    pub(crate) fn with(self, answering: Answering) -> Self {
        let goes_on = matches!(self.kind, Kind::Upstream(_)) && !self.is_end_stream();
        Self { answering: goes_on.then_some(answering), ..self }
    }

    fn new(kind: Kind) -> Self {
        Self { kind, answering: None }
    }
}

impl Body for GateBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = match &mut this.kind {
            Kind::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Upstream(body) => Pin::new(body).poll_frame(cx),
        };
        if this.is_end_stream() || matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            this.answering = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(bytes) => bytes.is_none(),
            Kind::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Upstream(body) => body.size_hint(),
        }
    }
}
