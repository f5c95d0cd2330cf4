//! A frame as a document of its own: in a file one after the other, or as an answer.

use std::io::{Read, Write};

use super::bytes::{Code, put_number};
use super::{Kind, SnapshotError, reader, writer};
use crate::core::digest::{DigestKey, DigestKeys};
use crate::core::record::Record;
use crate::feed::Frame;

/// Most records of a frame. The publisher's have at most 1,000, and their accounts.
const FRAME_RECORDS_LIMIT: usize = 4_096;

/// Most bytes of a frame that are read.
pub(in crate::feed) const FRAME_BYTES_LIMIT: usize = 64 * 1024 * 1024;

/// Writes a frame that goes on from position `after` of the same store and epoch.
///
/// # Errors
/// What `out` returns, or [`SnapshotError::TooLarge`].
pub fn write_frame<W: Write>(
    out: W,
    after: u64,
    frame: &Frame,
    key: &DigestKey,
) -> Result<(), SnapshotError> {
    let Frame { records, cursor, bulk } = frame;
    if records.len() > FRAME_RECORDS_LIMIT {
        return Err(too_large());
    }
    let mut head = vec![bulk.code()];
    put_number(&mut head, after);
    let mut body = writer::Body::begin(out, Kind::Frame, cursor, &head, key)?;
    records.iter().try_for_each(|record| body.push(record))?;
    body.finish()?;
    Ok(())
}

/// Reads the next frame and the position from which it goes on; `None` where there is nothing more.
///
/// # Errors
/// What `input` returns, or what is wrong with the frame: nothing of it may be used then.
pub fn read_frame<R: Read>(
    input: R,
    keys: &DigestKeys,
) -> Result<Option<(u64, Frame)>, SnapshotError> {
    let Some(mut body) = reader::Body::begin(input.take(FRAME_BYTES_LIMIT as u64))? else {
        return Ok(None);
    };
    let head = body.head(Kind::Frame, |from| Ok((from.code()?, from.number()?)))?;
    let reader::Head { key_id, cursor, more: (bulk, after) } = head;
    let mut records: Vec<Record> = Vec::new();
    for record in body.records(&key_id, keys, None)? {
        if records.len() == FRAME_RECORDS_LIMIT {
            return Err(too_large());
        }
        records.push(record?);
    }
    Ok(Some((after, Frame { records, cursor, bulk })))
}

fn too_large() -> SnapshotError {
    SnapshotError::TooLarge { what: "a frame".to_owned() }
}
