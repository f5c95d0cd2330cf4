//! Reading lines of bounded length, so that no input can use up the memory.

use std::io::{self, BufRead};

/// Most bytes of a line, its end not counted.
pub(super) const LINE_LIMIT: usize = 64 * 1024;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A line; it is in the buffer, without its end.
    Line,
    /// A line longer than [`LINE_LIMIT`], which was skipped.
    TooLong,
    /// Nothing more.
    End,
}

/// Reads one line into `buffer`, which is emptied first.
pub(super) fn read_line(input: &mut dyn BufRead, buffer: &mut Vec<u8>) -> io::Result<Read> {
    buffer.clear();
    let mut too_long = false;
    let mut any = false;
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok(if any { outcome(too_long) } else { Read::End });
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        too_long |= buffer.len() + part.len() > LINE_LIMIT;
        if !too_long {
            buffer.extend_from_slice(part);
        }
        let used = end.map_or(available.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(outcome(too_long));
        }
    }
}

fn outcome(too_long: bool) -> Read {
    if too_long { Read::TooLong } else { Read::Line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_limit_is_read_and_a_longer_one_is_skipped() {
        let fits = "a".repeat(LINE_LIMIT);
        let text = format!("{fits}\n{fits}b\n\nend");
        for capacity in [1 << 17, 7] {
            let mut input = io::BufReader::with_capacity(capacity, text.as_bytes());
            let mut buffer = Vec::new();
            let mut read = |buffer: &mut Vec<u8>| read_line(&mut input, buffer).unwrap();
            assert_eq!((read(&mut buffer), buffer.len()), (Read::Line, LINE_LIMIT));
            assert_eq!(read(&mut buffer), Read::TooLong);
            assert_eq!((read(&mut buffer), buffer.len()), (Read::Line, 0));
            assert_eq!((read(&mut buffer), &*buffer), (Read::Line, &b"end"[..]));
            assert_eq!(read(&mut buffer), Read::End);
        }
    }
}
