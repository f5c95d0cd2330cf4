//! Reading documents, in memory for one chunk, believing nothing before it has been checked.

use std::io::Read;

use super::bytes::{Fault, Take};
use super::seal::{Counted, SEAL_BYTES, Sealing, checksum, chunk_head};
use super::{
    CHUNK_LIMIT, Counts, END, HEAD, Header, Kind, MAGIC, RECORDS, SnapshotError, VERSION, record,
};
use crate::core::digest::DigestKeys;
use crate::core::record::Record;
use crate::store::Cursor;

/// Bytes that are made room for before any of a chunk has come.
const ROOM: usize = 64 * 1024;

/// Reads a snapshot: its header, and then record after record. Only when the records have come to
/// their end without an error has all of it been what was written.
///
/// # Errors
/// What `input` returns, or what is wrong with the head.
pub fn read<R: Read>(input: R, keys: &DigestKeys) -> Result<(Header, Records<R>), SnapshotError> {
    let mut body = Body::begin(input)?.ok_or(SnapshotError::Truncated { at: 0 })?;
    let header = read_header(&mut body)?;
    let records = body.records(&header.key_id, keys, Some(header.counts))?;
    Ok((header, records))
}

/// Reads the header of a snapshot and nothing else. It needs no key, and so vouches for nothing.
///
/// # Errors
/// What `input` returns, or what is wrong with the head.
pub fn inspect<R: Read>(input: R) -> Result<Header, SnapshotError> {
    let mut body = Body::begin(input)?.ok_or(SnapshotError::Truncated { at: 0 })?;
    read_header(&mut body)
}

fn read_header<R: Read>(body: &mut Body<R>) -> Result<Header, SnapshotError> {
    let head = body.head(Kind::Snapshot, |from| {
        let made_at = from.time()?;
        let counts =
            Counts { accounts: from.number()?, tokens: from.number()?, ids: from.number()? };
        Ok((made_at, counts))
    })?;
    let Head { key_id, cursor, more: (made_at, counts) } = head;
    Ok(Header { key_id, cursor, made_at, counts })
}

/// What the head of a document says.
pub(super) struct Head<T> {
    pub(super) key_id: String,
    pub(super) cursor: Cursor,
    pub(super) more: T,
}

/// A document whose records are still to come.
pub(super) struct Body<R> {
    input: Counted<R>,
    /// Everything so far, for the seal, whose key the head names.
    begun: Vec<u8>,
}

impl<R: Read> Body<R> {
    /// Reads magic and version; `None` where there is nothing at all.
    pub(super) fn begin(input: R) -> Result<Option<Self>, SnapshotError> {
        let mut input = Counted::new(input);
        let mut magic = [0; MAGIC.len()];
        match input.read_up_to(&mut magic)? {
            0 => return Ok(None),
            _ if !MAGIC.starts_with(&magic[..input.at as usize]) => {
                return Err(SnapshotError::NotASnapshot);
            }
            count if count < magic.len() => {
                return Err(SnapshotError::Truncated { at: input.at });
            }
            _ => {}
        }
        let mut version = [0; 2];
        input.read(&mut version)?;
        let found = u16::from_le_bytes(version);
        if found != VERSION {
            return Err(SnapshotError::Version { found });
        }
        let begun = [&magic[..], &version].concat();
        Ok(Some(Self { input, begun }))
    }

    /// Reads the head of a document of this kind.
    pub(super) fn head<T>(
        &mut self,
        wanted: Kind,
        more: impl FnOnce(&mut Take<'_>) -> Result<T, Fault>,
    ) -> Result<Head<T>, SnapshotError> {
        let at = self.input.at;
        let damaged = |what| SnapshotError::Damaged { at, what };
        let mut payload = Vec::new();
        let chunk = read_chunk(&mut self.input, &mut payload)?;
        if chunk.kind != HEAD {
            return Err(damaged("it is not the head"));
        }
        chunk.seal_into(&payload, |bytes| self.begun.extend_from_slice(bytes));
        let mut from = Take(&payload);
        let found: Kind = from.code().map_err(damaged)?;
        if found != wanted {
            return Err(SnapshotError::OtherKind { found: found.name(), wanted: wanted.name() });
        }
        let head = take_head(&mut from, more).map_err(damaged)?;
        from.finish().map_err(damaged)?;
        Ok(head)
    }

    /// Goes on to the records, once the key of the seal is known.
    pub(super) fn records(
        self,
        key_id: &str,
        keys: &DigestKeys,
        expected: Option<Counts>,
    ) -> Result<Records<R>, SnapshotError> {
        let unknown = || SnapshotError::UnknownKey { id: key_id.to_owned() };
        let mut sealing = Sealing::new(keys.find(key_id).ok_or_else(unknown)?);
        sealing.update(&self.begun);
        Ok(Records {
            input: self.input,
            sealing,
            key_id: key_id.to_owned(),
            expected,
            seen: Counts::default(),
            chunk: Vec::new(),
            chunk_at: 0,
            taken: 0,
            ended: false,
        })
    }
}

fn take_head<T>(
    from: &mut Take<'_>,
    more: impl FnOnce(&mut Take<'_>) -> Result<T, Fault>,
) -> Result<Head<T>, Fault> {
    let key_id = from.text()?;
    let cursor = Cursor::new(from.text()?, from.number()?, from.number()?)
        .ok_or("the store's identity is none")?;
    Ok(Head { key_id, cursor, more: more(from)? })
}

/// The records of a document, as they are read. After an error there are no more.
pub struct Records<R> {
    input: Counted<R>,
    sealing: Sealing,
    key_id: String,
    /// What the head says, where it does.
    expected: Option<Counts>,
    seen: Counts,
    chunk: Vec<u8>,
    /// Where the chunk begins in the input.
    chunk_at: u64,
    /// Bytes of the chunk that have been taken.
    taken: usize,
    ended: bool,
}

impl<R: Read> Records<R> {
    /// Refuses anything that follows the document. For after the last record.
    ///
    /// # Errors
    /// What the input returns, or [`SnapshotError::Trailing`].
    pub fn expect_end(&mut self) -> Result<(), SnapshotError> {
        match self.input.read_up_to(&mut [0])? {
            0 => Ok(()),
            _ => Err(SnapshotError::Trailing),
        }
    }

    fn advance(&mut self) -> Result<Option<Record>, SnapshotError> {
        while self.taken == self.chunk.len() {
            if self.next_chunk()? == END {
                self.end()?;
                return Ok(None);
            }
        }
        let at = self.chunk_at;
        let mut from = Take(&self.chunk[self.taken..]);
        let record = from.sized().and_then(record::take);
        self.taken = self.chunk.len() - from.0.len();
        let record = record.map_err(|what| SnapshotError::Damaged { at, what })?;
        self.seen.add(&record);
        Ok(Some(record))
    }

    fn next_chunk(&mut self) -> Result<u8, SnapshotError> {
        self.chunk_at = self.input.at;
        self.taken = 0;
        let chunk = read_chunk(&mut self.input, &mut self.chunk)?;
        let sealing = &mut self.sealing;
        chunk.seal_into(&self.chunk, |bytes| sealing.update(bytes));
        match chunk.kind {
            RECORDS | END => Ok(chunk.kind),
            _ => Err(self.damaged("it is of no known kind here")),
        }
    }

    /// Checks everything that can be said only at the end.
    fn end(&mut self) -> Result<(), SnapshotError> {
        let mut from = Take(&self.chunk);
        let total = from.number().and_then(|total| from.finish().map(|()| total));
        let total = total.map_err(|what| self.damaged(what))?;
        let mut seal = [0; SEAL_BYTES];
        self.input.read(&mut seal)?;
        if !self.sealing.matches(&seal) {
            return Err(SnapshotError::Forged { id: self.key_id.clone() });
        }
        let expected = self.expected.unwrap_or(self.seen);
        if total != self.seen.total() || self.seen != expected {
            return Err(SnapshotError::Miscounted);
        }
        Ok(())
    }

    fn damaged(&self, what: Fault) -> SnapshotError {
        SnapshotError::Damaged { at: self.chunk_at, what }
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = Result<Record, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// A chunk whose checksum was right; its payload is in a buffer.
struct Chunk {
    kind: u8,
    head: [u8; 5],
    checksum: [u8; 4],
}

impl Chunk {
    /// Hands every byte of it over, in order.
    fn seal_into(&self, payload: &[u8], mut seal: impl FnMut(&[u8])) {
        seal(&self.head);
        seal(payload);
        seal(&self.checksum);
    }
}

fn read_chunk<R: Read>(
    input: &mut Counted<R>,
    payload: &mut Vec<u8>,
) -> Result<Chunk, SnapshotError> {
    let at = input.at;
    let mut head = [0; 5];
    input.read(&mut head)?;
    let [kind, a, b, c, d] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > CHUNK_LIMIT {
        return Err(SnapshotError::Damaged { at, what: "it is longer than a chunk may be" });
    }
    read_payload(input, payload, length)?;
    let mut found = [0; 4];
    input.read(&mut found)?;
    debug_assert_eq!(head, chunk_head(kind, length as u32));
    if u32::from_le_bytes(found) != checksum(&head, payload) {
        return Err(SnapshotError::Damaged { at, what: "its checksum is wrong" });
    }
    Ok(Chunk { kind, head, checksum: found })
}

/// Makes room as the bytes come, so that a length alone costs nothing.
fn read_payload<R: Read>(
    input: &mut Counted<R>,
    payload: &mut Vec<u8>,
    length: usize,
) -> Result<(), SnapshotError> {
    payload.clear();
    while payload.len() < length {
        let start = payload.len();
        payload.resize(length.min(start + ROOM), 0);
        input.read(&mut payload[start..])?;
    }
    Ok(())
}
