//! What a connection becomes when the upstream switched protocols: bytes both ways, until one side
//! ends it, nothing moves for too long, or its request would be refused by now.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::exchange::Exchange;
use super::frames::{self, Frames};
use crate::edge::Refusal;
use crate::stream::Stream;

/// What is under way in one direction, in bytes.
const BUFFER_BYTES: usize = 16 * 1024;

/// How long the end of a frame is waited for, and then the client's own end, before a connection
/// that is cut is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

/// An upstream that switched protocols.
pub(crate) struct Switched {
    pub(super) upgrade: OnUpgrade,
    pub(super) exchange: Rc<Exchange>,
    pub(super) is_websocket: bool,
}

impl Switched {
    /// Passes bytes between the client and the upstream to the end.
    pub(crate) async fn run<C: AsyncRead + AsyncWrite + Unpin>(self, client: C) {
        let Ok(upgraded) = self.upgrade.await else { return };
        let Ok(Parts { io, read_buf, .. }) = upgraded.downcast::<TokioIo<Stream>>() else { return };
        let mut tunnel = Tunnel {
            client,
            upstream: io.into_inner(),
            up: Pipe::new(&[]),
            down: Pipe::new(&read_buf),
            frames: self.is_websocket.then(Frames::default),
            exchange: self.exchange,
            cut: None,
        };
        if let Err(error) = poll_fn(|cx| tunnel.poll(cx)).await {
            tracing::debug!(%error, "an upgraded connection ended");
        }
    }
}

struct Tunnel<C> {
    client: C,
    upstream: Stream,
    up: Pipe,
    down: Pipe,
    /// Those that the client gets, where the protocol is WebSocket.
    frames: Option<Frames>,
    exchange: Rc<Exchange>,
    cut: Option<Cut>,
}

/// How far a connection that is cut is on its way to its end.
struct Cut {
    /// What is still to be sent, once the frame that is under way is at its end.
    close: Vec<u8>,
    is_shut: bool,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Tunnel<C> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cut.is_none()
            && let Poll::Ready(refusal) = self.exchange.poll_cut(cx)
        {
            self.begin_to_cut(refusal);
        }
        let done = match self.cut {
            None => self.poll_both(cx),
            Some(_) => self.poll_close(cx),
        };
        match done {
            Poll::Pending => self.exchange.watch().poll_expired(cx).map(Ok),
            done => done,
        }
    }

    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { client, upstream, up, down, frames, exchange, .. } = self;
        let up = up.poll(cx, client, upstream, |_| exchange.moved())?;
        let down = down.poll(cx, upstream, client, |bytes| {
            exchange.moved();
            if let Some(frames) = frames {
                frames.pass(bytes);
            }
        })?;
        if up.is_ready() && down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn begin_to_cut(&mut self, refusal: Refusal) {
        let close = self.frames.as_ref().map(|_| frames::close(refusal.user_message()));
        self.cut = Some(Cut { close: close.unwrap_or_default(), is_shut: false });
        self.exchange.watch().set(CLOSE_TIMEOUT);
    }

    /// Lets the frame that is under way come to its end, puts a close frame behind it, and waits for
    /// the client's end, so that it sees the frame.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (Some(frames), Some(cut)) = (&mut self.frames, &mut self.cut) else {
            return Poll::Ready(Ok(()));
        };
        while !frames.is_between() {
            let left = frames.left();
            let passed =
                ready!(self.down.poll_some(cx, &mut self.upstream, &mut self.client, left))?;
            if passed.is_empty() {
                return Poll::Ready(Ok(()));
            }
            frames.pass(&passed);
        }
        while !cut.close.is_empty() {
            let written = ready!(Pin::new(&mut self.client).poll_write(cx, &cut.close))?;
            cut.close.drain(..written);
        }
        if !cut.is_shut {
            ready!(Pin::new(&mut self.client).poll_shutdown(cx))?;
            cut.is_shut = true;
        }
        loop {
            let mut bytes = [0; 1024];
            let mut buf = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.client).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// One direction.
struct Pipe {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    is_ended: bool,
    is_shut: bool,
    is_flushed: bool,
}

impl Pipe {
    /// With these bytes to be passed first, which are no more than what hyper reads ahead.
    fn new(first: &[u8]) -> Self {
        let mut buffer = vec![0; BUFFER_BYTES.max(first.len())];
        buffer[..first.len()].copy_from_slice(first);
        Self {
            buffer: buffer.into(),
            start: 0,
            end: first.len(),
            is_ended: false,
            is_shut: false,
            is_flushed: true,
        }
    }

    /// Passes what comes, telling `passed`, until one side is at its end and the other is told.
    fn poll<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        mut passed: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        while !self.is_shut {
            if self.start < self.end {
                let bytes = &self.buffer[self.start..self.end];
                let written = ready!(Pin::new(&mut *to).poll_write(cx, bytes))?;
                passed(&bytes[..written]);
                self.start += written;
                self.is_flushed = false;
            } else if self.is_ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.is_shut = true;
            } else if self.poll_fill(cx, from)?.is_pending() {
                if !self.is_flushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.is_flushed = true;
                }
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Passes one or more bytes, `limit` at most; which. None at the end.
    fn poll_some<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        limit: usize,
    ) -> Poll<io::Result<Vec<u8>>> {
        if self.start == self.end && !self.is_ended {
            ready!(self.poll_fill(cx, from))?;
        }
        let end = self.end.min(self.start.saturating_add(limit));
        if self.start == end {
            return Poll::Ready(Ok(Vec::new()));
        }
        let written = ready!(Pin::new(to).poll_write(cx, &self.buffer[self.start..end]))?;
        let passed = self.buffer[self.start..self.start + written].to_vec();
        self.start += written;
        Poll::Ready(Ok(passed))
    }

    /// Reads into the buffer, which is empty.
    fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
    ) -> Poll<io::Result<()>> {
        let mut buf = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(from).poll_read(cx, &mut buf))?;
        (self.start, self.end) = (0, buf.filled().len());
        self.is_ended = self.end == 0;
        Poll::Ready(Ok(()))
    }
}
