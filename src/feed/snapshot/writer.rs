//! Writing a snapshot, record after record, in memory for one chunk.

use std::io::Write;

use super::bytes::{Code, put_number, put_text, put_time};
use super::seal::Sealed;
use super::{
    CHUNK_BYTES, CHUNK_LIMIT, Counts, END, HEAD, Header, Kind, MAGIC, RECORDS, SnapshotError,
    VERSION, record,
};
use crate::core::digest::DigestKey;
use crate::core::record::{Record, Timestamp};
use crate::store::{Contents, Cursor, SnapshotPart, Store, StoreError};

/// Writes a snapshot of these records, sealed with a key derived from `key`, whose id the header
/// must have. Nothing may be missing of what the header counts.
///
/// # Errors
/// What `out` returns, or [`SnapshotError::Miscounted`] and [`SnapshotError::TooLarge`]: then what
/// was written is no snapshot.
pub fn write<W: Write>(
    out: W,
    header: &Header,
    records: impl IntoIterator<Item = Record>,
    key: &DigestKey,
) -> Result<(), SnapshotError> {
    let mut writer = SnapshotWriter::begin(out, header, key)?;
    records.into_iter().try_for_each(|record| writer.push(&record))?;
    writer.finish()?;
    Ok(())
}

/// Writes a snapshot of the store as it is now, sealed with a key derived from `key`.
///
/// # Errors
/// What the store or `out` returns, or [`SnapshotError::TooLarge`].
pub fn write_store<W: Write>(
    store: &dyn Store,
    out: W,
    made_at: Timestamp,
    key: &DigestKey,
) -> Result<Header, SnapshotError> {
    let mut building = Building { out: Some(out), begun: None };
    let mut failure = None;
    let outcome = store.counted_snapshot(&mut |part| {
        building.take(part, made_at, key).map_err(|error| {
            let told = StoreError::Database(error.to_string());
            failure = Some(error);
            told
        })
    });
    if let Some(error) = failure {
        return Err(error);
    }
    outcome?;
    let (header, writer) = building.begun.expect("invariant: a store says first how much it has");
    writer.finish()?;
    Ok(header)
}

/// A snapshot of a store, before and after the store has said how much there is.
struct Building<W> {
    out: Option<W>,
    begun: Option<(Header, SnapshotWriter<W>)>,
}

impl<W: Write> Building<W> {
    fn take(
        &mut self,
        part: SnapshotPart,
        made_at: Timestamp,
        key: &DigestKey,
    ) -> Result<(), SnapshotError> {
        match (part, &mut self.begun, self.out.take()) {
            (SnapshotPart::Record(record), Some((_, writer)), _) => writer.push(&record),
            (SnapshotPart::Contents(contents), None, Some(out)) => {
                let Contents { cursor, accounts, tokens, ids } = contents;
                let counts = Counts { accounts, tokens, ids };
                let header = Header { key_id: key.id().to_owned(), cursor, made_at, counts };
                let writer = SnapshotWriter::begin(out, &header, key)?;
                self.begun = Some((header, writer));
                Ok(())
            }
            _ => Err(SnapshotError::Miscounted),
        }
    }
}

/// A snapshot that is being written.
pub struct SnapshotWriter<W> {
    body: Body<W>,
    expected: Counts,
}

impl<W: Write> SnapshotWriter<W> {
    /// Writes the head.
    ///
    /// # Errors
    /// What `out` returns.
    pub fn begin(out: W, header: &Header, key: &DigestKey) -> Result<Self, SnapshotError> {
        let Header { key_id: _, cursor, made_at, counts } = header;
        let mut head = Vec::new();
        put_time(&mut head, *made_at);
        for count in [counts.accounts, counts.tokens, counts.ids] {
            put_number(&mut head, count);
        }
        let body = Body::begin(out, Kind::Snapshot, cursor, &head, key)?;
        Ok(Self { body, expected: *counts })
    }

    /// Writes a record.
    ///
    /// # Errors
    /// What the output returns, or [`SnapshotError::TooLarge`].
    pub fn push(&mut self, record: &Record) -> Result<(), SnapshotError> {
        self.body.push(record)
    }

    /// Writes the end and the seal, and hands over what was written to.
    ///
    /// # Errors
    /// What the output returns, or [`SnapshotError::Miscounted`].
    pub fn finish(self) -> Result<W, SnapshotError> {
        if self.body.written != self.expected {
            return Err(SnapshotError::Miscounted);
        }
        self.body.finish()
    }
}

/// What snapshots and frames have in common.
pub(super) struct Body<W> {
    out: Sealed<W>,
    /// Records of the next chunk.
    chunk: Vec<u8>,
    /// One record, while its length is not known.
    record: Vec<u8>,
    written: Counts,
}

impl<W: Write> Body<W> {
    /// Writes the head: what all documents say, then `more`.
    pub(super) fn begin(
        out: W,
        kind: Kind,
        cursor: &Cursor,
        more: &[u8],
        key: &DigestKey,
    ) -> Result<Self, SnapshotError> {
        let mut out = Sealed::new(out, key);
        out.write(&MAGIC)?;
        out.write(&VERSION.to_le_bytes())?;
        let mut head = vec![kind.code()];
        put_text(&mut head, key.id());
        put_text(&mut head, cursor.store());
        put_number(&mut head, cursor.epoch());
        put_number(&mut head, cursor.position());
        head.extend_from_slice(more);
        out.chunk(HEAD, &head)?;
        let chunk = Vec::with_capacity(2 * CHUNK_BYTES);
        Ok(Self { out, chunk, record: Vec::new(), written: Counts::default() })
    }

    pub(super) fn push(&mut self, record: &Record) -> Result<(), SnapshotError> {
        self.record.clear();
        record::put(&mut self.record, record);
        // Its length may take up to ten bytes.
        if self.record.len() + 10 > CHUNK_LIMIT {
            return Err(SnapshotError::TooLarge { what: record::name(record) });
        }
        if self.chunk.len() + self.record.len() + 10 > CHUNK_LIMIT {
            self.flush()?;
        }
        put_number(&mut self.chunk, self.record.len() as u64);
        self.chunk.extend_from_slice(&self.record);
        self.written.add(record);
        if self.chunk.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    pub(super) fn finish(mut self) -> Result<W, SnapshotError> {
        self.flush()?;
        let mut end = Vec::new();
        put_number(&mut end, self.written.total());
        self.out.chunk(END, &end)?;
        Ok(self.out.finish()?)
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        if !self.chunk.is_empty() {
            self.out.chunk(RECORDS, &self.chunk)?;
            self.chunk.clear();
        }
        Ok(())
    }
}
