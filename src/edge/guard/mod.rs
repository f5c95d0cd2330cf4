//! The framing guard: a strict reader of HTTP/1 between the socket and hyper.
//!
//! hyper repairs in silence what two parsers could read differently: it drops a `Content-Length`
//! beside `Transfer-Encoding`, takes a bare LF for the end of a line, and cuts a fragment off a
//! target. What it does refuse, it refuses without a body. The guard looks at the bytes as they
//! come, passes on untouched what can be read in one way only, and never a head that is not
//! whole. In the place of a head that it refuses, hyper gets a request that no client can send
//! past the guard, one without a `Host`; the answer to that is the refusal, in its turn behind the
//! answers to the requests before, and nothing more is read.
//!
//! A connection that begins with what is no request at all is closed without an answer.
//!
//! HTTP/2 is told by its preface, or agreed on with TLS (ALPN). Its frames leave nothing to guess
//! and are passed through, but counted: a flood of those that do no work ends the connection.

mod body;
mod bytes;
mod fault;
mod frames;
mod head;
mod scanner;
mod shared;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use fault::Fault;
use frames::Frames;
pub use head::{Framing, HeadLimits};
pub use scanner::{Scan, Scanner};
pub(crate) use shared::SharedGuard;

use super::connection::Connection;
use crate::observe::metrics::Ended;
use crate::tls::Protocol;

/// What HTTP/2 begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What hyper gets instead of a refused head.
const REFUSED: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// Room that hyper must have for bytes to be read into it without being held in between.
const DIRECT_BYTES: usize = 1024;

/// What is read at once where bytes are held.
const READ_BYTES: usize = 8192;

/// A connection of which hyper reads only what can be read in one way.
pub(crate) struct Guard<S> {
    inner: S,
    connection: Rc<Connection>,
    scanner: Scanner,
    frames: Frames,
    mode: Mode,
    /// Requests whose heads were passed on.
    heads: usize,
    held: Vec<u8>,
    /// Of what is held, this much was passed on,
    passed: usize,
    /// and up to here it may be.
    approved: usize,
    /// Whether the connection is closed to the other side, which may go on sending for a while.
    is_shut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The first bytes tell the protocol.
    Start,
    Http1,
    /// Frames are counted.
    Http2,
    /// Nothing is looked at.
    Through,
    /// What follows a request for another protocol is held until that is answered.
    Waiting,
    /// A head was refused: nothing more is read.
    RefusedHead,
    /// A body was refused, or there is no request: hyper is told that the connection broke off.
    BrokenOff,
}

/// What becomes of bytes that may not be passed on.
enum Rest {
    /// They are held, if there are any.
    Held,
    /// Something else is passed on instead.
    Replaced(&'static [u8]),
}

impl<S: AsyncRead + Unpin> Guard<S> {
    pub(crate) fn new(
        inner: S,
        connection: Rc<Connection>,
        agreed: Option<Protocol>,
        limits: HeadLimits,
    ) -> Self {
        let mode = match agreed {
            None => Mode::Start,
            Some(Protocol::Http1) => Mode::Http1,
            Some(Protocol::Http2) => Mode::Http2,
        };
        Self {
            mode,
            frames: Frames::after(PREFACE.len(), connection.watch.now()),
            inner,
            connection,
            scanner: Scanner::new(limits),
            heads: 0,
            held: Vec::new(),
            passed: 0,
            approved: 0,
            is_shut: false,
        }
    }

    fn pass_through(&mut self) {
        self.mode = Mode::Through;
        self.approved = self.held.len();
    }

    /// Reads what the client sends; its connection is told that something came.
    fn poll_client(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.connection.read();
        }
        polled
    }

    /// Passes on what is held and approved. `true` where there was any.
    fn pass(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let count = (self.approved - self.passed).min(buf.remaining());
        buf.put_slice(&self.held[self.passed..self.passed + count]);
        self.passed += count;
        if self.passed == self.held.len() {
            self.held.clear();
            (self.passed, self.approved) = (0, 0);
        }
        count > 0
    }

    /// Reads into hyper's own buffer. `true` where the connection is at its end or bytes were
    /// passed on.
    fn poll_direct(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        ready!(self.poll_client(cx, buf))?;
        let read = &buf.filled()[before..];
        let is_end = read.is_empty();
        let (pass, rest) = self.judge(read);
        match rest {
            Rest::Held => self.held.extend_from_slice(&read[pass..]),
            Rest::Replaced(with) => {
                self.held.extend_from_slice(with);
                self.approved = self.held.len();
            }
        }
        buf.set_filled(before + pass);
        Poll::Ready(Ok(is_end || pass > 0))
    }

    /// Reads behind what is held. `true` where the connection is at its end.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut bytes = [0; READ_BYTES];
        let mut buf = ReadBuf::new(&mut bytes);
        ready!(self.poll_client(cx, &mut buf))?;
        self.held.extend_from_slice(buf.filled());
        self.judge_held();
        Poll::Ready(Ok(buf.filled().is_empty()))
    }

    /// Judges what is held and was not passed on.
    fn judge_held(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        held.drain(..self.passed);
        if self.mode == Mode::Start {
            self.mode = tell_protocol(&held);
        }
        let (pass, rest) = self.judge(&held);
        self.approved = pass;
        if let Rest::Replaced(with) = rest {
            held.truncate(pass);
            held.extend_from_slice(with);
            self.approved = held.len();
        }
        (self.held, self.passed) = (held, 0);
    }

    /// How many bytes may be passed on, and what becomes of the rest.
    fn judge(&mut self, bytes: &[u8]) -> (usize, Rest) {
        let (pass, fault, with): (_, _, &'static [u8]) = match self.mode {
            Mode::Start => return (0, Rest::Held),
            Mode::Through => return (bytes.len(), Rest::Held),
            Mode::Http2 => {
                self.count_frames(bytes);
                return (bytes.len(), Rest::Held);
            }
            _ => match self.scanner.scan_messages(bytes, |_, _| self.heads += 1) {
                Scan::Pass => return (bytes.len(), Rest::Held),
                Scan::Wait(from) => {
                    self.mode = Mode::Waiting;
                    return (from, Rest::Held);
                }
                Scan::Hold(from) => return (from, Rest::Held),
                Scan::RefuseHead(from, fault @ Fault::NoRequest) if self.heads == 0 => {
                    self.mode = Mode::BrokenOff;
                    (from, fault, b"")
                }
                Scan::RefuseHead(from, fault) => {
                    self.mode = Mode::RefusedHead;
                    (from, fault, REFUSED)
                }
                Scan::RefuseBody(from, fault) => {
                    self.mode = Mode::BrokenOff;
                    (from, fault, b"")
                }
            },
        };
        tracing::debug!(%fault, "refused by the framing guard");
        self.connection.refuse(fault);
        (pass, Rest::Replaced(with))
    }

    /// Reads frames of HTTP/2.
    fn poll_frames(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.poll_client(cx, buf))?;
        self.count_frames(&buf.filled()[before..]);
        match self.mode {
            Mode::BrokenOff => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Counts frames of HTTP/2; too many that do no work are refused like a broken body: hyper is
    /// told that the connection broke off.
    fn count_frames(&mut self, bytes: &[u8]) {
        if !self.frames.pass(bytes, self.connection.watch.now()) {
            tracing::debug!("a flood of frames is ended");
            self.connection.end_for(Ended::Flood);
            self.mode = Mode::BrokenOff;
        }
    }

    /// Reads and drops what a client still sends that was refused meanwhile: were it there when the
    /// socket is closed, the client would be told of a reset and might not see the answer.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.may_be_sending() {
            return Poll::Ready(());
        }
        let mut bytes = [0; READ_BYTES];
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            let read = ready!(self.poll_client(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }

    /// Whether the client has not sent all of a message, or was refused before it had.
    fn may_be_sending(&self) -> bool {
        match self.mode {
            Mode::Start | Mode::Http2 | Mode::Through | Mode::Waiting => false,
            Mode::Http1 => self.scanner.is_in_body(),
            Mode::RefusedHead | Mode::BrokenOff => true,
        }
    }
}

/// What the first bytes of a connection are the beginning of.
fn tell_protocol(bytes: &[u8]) -> Mode {
    if bytes.starts_with(PREFACE) {
        Mode::Http2
    } else if PREFACE.starts_with(bytes) {
        Mode::Start
    } else {
        Mode::Http1
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.pass(buf) {
                return Poll::Ready(Ok(()));
            }
            match this.mode {
                Mode::Through => return this.poll_client(cx, buf),
                Mode::Http2 => return this.poll_frames(cx, buf),
                // The answer closes the connection.
                Mode::RefusedHead => return Poll::Pending,
                Mode::BrokenOff => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Mode::Waiting => {
                    ready!(this.connection.poll_answered(this.heads, cx));
                    this.mode = Mode::Http1;
                    this.judge_held();
                    continue;
                }
                Mode::Start | Mode::Http1 => {}
            }
            let is_direct =
                this.mode == Mode::Http1 && this.held.is_empty() && buf.remaining() >= DIRECT_BYTES;
            let polled = if is_direct { this.poll_direct(cx, buf) } else { this.poll_held(cx) };
            if ready!(polled)? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?;
        this.frames.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            this.is_shut = true;
            this.connection.linger();
        }
        this.poll_linger(cx).map(Ok)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, bufs))?;
        this.frames.sent(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
