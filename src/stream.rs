//! A connection over TCP, a unix socket or TLS, read and written alike.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use crate::tls::{ClientTls, Protocol};

/// Up to this many bytes, copying them together costs less than `writev` does beside `send`.
const GATHER_BYTES: usize = 2048;

/// A connection of any kind.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects over TCP and, where it is to be spoken, TLS.
    ///
    /// # Errors
    /// The connection's; or the other side is not who it should be.
    pub(crate) async fn connect(
        host: &str,
        port: u16,
        tls: Option<&ClientTls>,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(match tls {
            Some(tls) => Self::Tls(Box::new(tls.connect(host, stream).await?.into())),
            None => Self::Tcp(stream),
        })
    }

    /// What was agreed on with TLS to be spoken (ALPN); `None` without TLS, or where the client
    /// did not ask.
    pub(crate) fn agreed(&self) -> Option<Protocol> {
        let Self::Tls(stream) = self else { return None };
        stream.get_ref().1.alpn_protocol().and_then(Protocol::named)
    }
}

/// Does the same with any kind of stream.
macro_rules! any {
    ($stream:expr, $inner:ident => $do:expr) => {
        match $stream.get_mut() {
            Stream::Tcp($inner) => $do,
            Stream::Unix($inner) => $do,
            Stream::Tls($inner) => $do,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        any!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        any!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        any!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        any!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if length > GATHER_BYTES {
            return any!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs));
        }
        let mut gathered = [0; GATHER_BYTES];
        let mut end = 0;
        for buf in bufs {
            gathered[end..end + buf.len()].copy_from_slice(buf);
            end += buf.len();
        }
        self.poll_write(cx, &gathered[..end])
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
