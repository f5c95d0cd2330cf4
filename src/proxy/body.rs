//! Bodies on their way through, bounded in size and time, and without smuggled trailers.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::exchange::Exchange;
use super::headers::{self, Dropped};
use super::pool::Lease;
use crate::edge::Refusal;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The side that it comes from broke off.
    #[error("the body broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// Larger than allowed.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// No byte either way for too long.
    #[error("the body stalled")]
    Stalled,
    /// The request would be refused by now. The code is what HTTP/2 resets the stream with.
    #[error("the request would be refused by now")]
    Cut(#[source] h2::Error),
}

impl BodyError {
    fn cut() -> Self {
        Self::Cut(h2::Reason::CANCEL.into())
    }
}

/// A request's body on its way to the upstream.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// `None` where there is no body, or it was cut.
    incoming: Option<Incoming>,
    exchange: Rc<Exchange>,
    left: u64,
    dropped_headers: Rc<Dropped>,
}

impl RequestBody {
    /// `limit` in bytes; `None`: unlimited.
    pub(crate) fn new(
        incoming: Incoming,
        exchange: Rc<Exchange>,
        limit: Option<u64>,
        dropped_headers: Rc<Dropped>,
    ) -> Self {
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        Self { incoming, exchange, left: limit.unwrap_or(u64::MAX), dropped_headers }
    }

    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// The same once more, where there is no body.
    pub(super) fn again(&self) -> Option<Self> {
        if self.incoming.is_some() {
            return None;
        }
        Some(Self {
            incoming: None,
            exchange: self.exchange.clone(),
            left: self.left,
            dropped_headers: self.dropped_headers.clone(),
        })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        if this.exchange.poll_cut_upward(cx).is_ready() {
            this.incoming = None;
            return Poll::Ready(Some(Err(BodyError::cut())));
        }
        let Some(frame) = ready!(Pin::new(&mut *incoming).poll_frame(cx)) else {
            this.exchange.sent();
            return Poll::Ready(None);
        };
        let ends = incoming.is_end_stream();
        let mut frame = frame.inspect_err(|_| this.exchange.break_off())?;
        if let Some(data) = frame.data_ref() {
            let Some(left) = this.left.checked_sub(data.len() as u64) else {
                this.exchange.overrun();
                return Poll::Ready(Some(Err(BodyError::TooLarge)));
            };
            this.left = left;
            this.exchange.moved();
        } else if let Some(trailers) = frame.trailers_mut() {
            headers::strip_request_trailers(trailers, &this.dropped_headers);
        }
        if ends {
            this.exchange.sent();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A response's body on its way to the client. Gives the upstream's connection back at its end.
#[derive(Debug)]
pub(crate) struct UpstreamBody {
    /// `None` where it was cut.
    incoming: Option<Incoming>,
    exchange: Rc<Exchange>,
    lease: Option<Lease>,
    /// Of a gRPC call, which ends with a status.
    is_grpc: bool,
}

impl UpstreamBody {
    pub(crate) fn new(
        incoming: Incoming,
        exchange: Rc<Exchange>,
        lease: Lease,
        is_grpc: bool,
    ) -> Self {
        let mut body = Self { incoming: Some(incoming), exchange, lease: Some(lease), is_grpc };
        if body.is_end_stream() {
            body.end();
        }
        body
    }

    /// Ends before the end, and with it what the upstream goes on sending.
    fn cut(&mut self, refusal: Refusal) -> Option<Result<Frame<Bytes>, BodyError>> {
        drop(self.incoming.take()?);
        self.lease = None;
        self.exchange.watch().clear();
        Some(match self.is_grpc {
            true => Ok(Frame::trailers(refusal.grpc_trailers())),
            false => Err(BodyError::cut()),
        })
    }

    fn end(&mut self) {
        self.exchange.watch().clear();
        if let Some(lease) = self.lease.take() {
            lease.give_back(self.exchange.watch().now());
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Poll::Ready(refusal) = this.exchange.poll_cut(cx) {
            return Poll::Ready(this.cut(refusal));
        }
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) else {
            return this.exchange.watch().poll_expired(cx).map(|()| Some(Err(BodyError::Stalled)));
        };
        let ends = incoming.is_end_stream();
        let Some(frame) = frame else {
            this.end();
            return Poll::Ready(None);
        };
        let mut frame = frame?;
        this.exchange.moved();
        if let Some(trailers) = frame.trailers_mut() {
            headers::strip_response_trailers(trailers);
        }
        if ends {
            this.end();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}
