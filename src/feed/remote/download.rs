//! A snapshot as it comes: read once, kept on the way, and gone on with where it was cut off.

use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tempfile::NamedTempFile;

use super::client::Client;
use crate::feed::FeedError;

/// How long the next bytes may take.
const STALL_TIMEOUT: Duration = Duration::from_secs(15);
/// How often in a row it is gone on with, without a byte between.
const RESUME_LIMIT: u32 = 5;
/// Pause before it is; each further one is longer by that.
const RESUME_PAUSE: Duration = Duration::from_millis(200);

/// The bytes of a snapshot.
pub(super) struct Download<'c> {
    client: &'c mut Client,
    etag: String,
    body: Option<Incoming>,
    /// Came and not taken.
    piece: Bytes,
    /// How many came.
    at: u64,
    length: Option<u64>,
}

impl<'c> Download<'c> {
    pub(super) fn begin(client: &'c mut Client) -> Result<Self, FeedError> {
        let (etag, response) = client.snapshot(0, None)?;
        let length = response.headers().get(http::header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let body = Some(response.into_body());
        Ok(Self { client, etag, body, piece: Bytes::new(), at: 0, length })
    }

    /// The next piece, from wherever it comes; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut failure = None;
        for attempt in 0..=RESUME_LIMIT {
            if attempt > 0 {
                std::thread::park_timeout(RESUME_PAUSE * attempt);
            }
            match self.try_next() {
                Ok(None) if self.length.is_some_and(|length| self.at < length) => {
                    failure = Some("it broke off".to_owned());
                }
                Ok(piece) => return Ok(piece),
                Err(error) => failure = Some(error.to_string()),
            }
            self.body = None;
            self.client.hang_up();
        }
        Err(io::Error::other(failure.unwrap_or_default()))
    }

    fn try_next(&mut self) -> Result<Option<Bytes>, FeedError> {
        if self.body.is_none() {
            let (_, response) = self.client.snapshot(self.at, Some(&self.etag))?;
            self.body = Some(response.into_body());
        }
        let Some(body) = &mut self.body else { return Ok(None) };
        loop {
            let next = async { tokio::time::timeout(STALL_TIMEOUT, body.frame()).await };
            let frame = match self.client.block_on(next) {
                Err(_) => return Err(super::client::control("it stalled")),
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => frame,
            };
            let frame = frame.map_err(|error| super::client::control(&error.to_string()))?;
            if let Ok(piece) = frame.into_data()
                && !piece.is_empty()
            {
                self.at += piece.len() as u64;
                return Ok(Some(piece));
            }
        }
    }
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            match self.next()? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Input that is written to a file on the way, unless that fails: then it goes on without.
pub(super) struct Tee<R> {
    input: R,
    file: io::Result<NamedTempFile>,
}

impl<R: Read> Tee<R> {
    pub(super) fn new(input: R, file: io::Result<NamedTempFile>) -> Self {
        Self { input, file }
    }

    /// The file with everything that was read, or why there is none.
    pub(super) fn into_file(self) -> io::Result<NamedTempFile> {
        self.file
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if let Ok(file) = &mut self.file
            && let Err(error) = file.write_all(&buffer[..count])
        {
            self.file = Err(error);
        }
        Ok(count)
    }
}
