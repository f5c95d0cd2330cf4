//! An answer on its way to a client that has to take it: else its connection would be one of the few
//! that there may be, for as long as it likes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::answer::Body;
use crate::edge::connection::Answering;

/// How long a client may take for one piece, at most 256 KiB. The last one has as long as the
/// connection may be without a request.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);

/// The body of an answer while it is sent.
#[derive(Debug)]
pub(super) struct Sending {
    body: Body,
    /// Until its last piece is taken over.
    answering: Option<Answering>,
}

impl Sending {
    pub(super) fn new(body: Body, answering: Answering) -> Self {
        let answering = Some(answering).filter(|_| !body.is_end_stream());
        Self { body, answering }
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match (&polled, &this.answering) {
            // It is not the client that is waited for.
            (Poll::Pending, Some(answering)) => answering.unlimit(),
            // The next one is asked for when there is room for it.
            (Poll::Ready(Some(Ok(_))), Some(answering)) if !this.body.is_end_stream() => {
                answering.limit(PIECE_TIMEOUT);
            }
            _ => this.answering = None,
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::task::Waker;
    use std::time::Instant;

    use http::Version;
    use http_body_util::{BodyExt, Either};

    use super::*;
    use crate::control::file_body::FileBody;
    use crate::edge::connection::Connection;
    use crate::edge::deadline::Deadlines;

    /// Whether the connection is ended a little more than the limit after so many pieces were taken
    /// of an answer that has three.
    fn is_ended_after(pieces: usize) -> bool {
        let deadlines = Rc::new(Deadlines::default());
        let connection = Rc::new(Connection::new(None, deadlines.watch(), Duration::from_secs(10)));
        let file = tempfile::tempfile().unwrap();
        file.set_len(600 * 1024).unwrap();
        let body = Either::Right(FileBody::new(Arc::new(file), 0..600 * 1024));
        let mut sending = Sending::new(body, connection.begin(Version::HTTP_11));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for _ in 0..pieces {
                sending.frame().await.unwrap().unwrap();
            }
        });
        deadlines.tick(Instant::now() + PIECE_TIMEOUT + Duration::from_secs(1));
        connection.watch.poll_expired(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_client_that_does_not_take_a_piece_loses_its_connection() {
        assert_eq!([0, 1, 2, 3].map(is_ended_after), [false, true, true, false]);
    }
}
