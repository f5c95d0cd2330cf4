//! Tokens in a text of any length, which is read a chunk at a time.

use std::io::{self, Read};
use std::ops::ControlFlow;

use zeroize::Zeroizing;

use super::finder::Finder;
use super::narrow::Narrow;
use crate::core::token::TOKEN_LEN;

/// Bytes that are in memory at a time: they fit into a core's own cache.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Where something begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: u64,
    /// The byte within the line, from 1; of UTF-16, the unit.
    pub column: u64,
}

/// Goes through texts, one after the other, in a buffer of its own.
#[derive(Debug)]
pub struct Scanner {
    finder: Finder,
    /// May hold tokens.
    buffer: Zeroizing<Vec<u8>>,
    places: Vec<usize>,
    bytes: u64,
}

impl Scanner {
    /// A scanner with a buffer of [`CHUNK_BYTES`].
    pub fn new() -> Self {
        Self::with_chunk(CHUNK_BYTES)
    }

    fn with_chunk(bytes: usize) -> Self {
        Self {
            finder: Finder::new(),
            buffer: Zeroizing::new(vec![0; bytes]),
            places: Vec::new(),
            bytes: 0,
        }
    }

    /// Bytes of all texts so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hands each token in the text to `found`, in order, until that breaks off.
    ///
    /// # Errors
    /// The reader's; tokens before were handed over.
    pub fn scan(
        &mut self,
        input: &mut dyn Read,
        found: &mut dyn FnMut(Place, &[u8]) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        let mut input = Narrow::new(input);
        let mut position = Position::default();
        let mut kept = 0;
        loop {
            let count = input.read(&mut self.buffer[kept..])?;
            if count == 0 {
                return Ok(ControlFlow::Continue(()));
            }
            self.bytes += count as u64;
            let text = &self.buffer[..kept + count];
            self.finder.find(text, &mut self.places);
            for at in &self.places {
                position.advance(text, *at);
                if found(position.place(), &text[*at..at + TOKEN_LEN]).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            // What may be the beginning of a token stays.
            let end = text.len();
            let next = end.saturating_sub(TOKEN_LEN - 1);
            position.advance(text, next);
            position.at = 0;
            self.buffer.copy_within(next..end, 0);
            kept = end - next;
        }
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

/// How far line and column are known.
struct Position {
    /// In the chunk.
    at: usize,
    line: u64,
    /// Bytes of the line before it.
    before: u64,
}

impl Default for Position {
    fn default() -> Self {
        Self { at: 0, line: 1, before: 0 }
    }
}

impl Position {
    fn place(&self) -> Place {
        Place { line: self.line, column: self.before + 1 }
    }

    fn advance(&mut self, text: &[u8], to: usize) {
        let passed = &text[self.at..to];
        self.at = to;
        match memchr::memrchr(b'\n', passed) {
            None => self.before += passed.len() as u64,
            Some(last) => {
                self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
                self.before = (passed.len() - last - 1) as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::token::{Secret, TokenKind, is_ours};

    /// Gives at most so many bytes at a time.
    struct Slowly<'t>(&'t [u8], usize);

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(self.1);
            self.0.read(&mut buffer[..count])
        }
    }

    fn token(seed: u8) -> Vec<u8> {
        let kind = if seed.is_multiple_of(2) { TokenKind::Service } else { TokenKind::Personal };
        Secret::from_entropy(kind, [seed; 32]).expose().as_bytes().to_vec()
    }

    type Found = Vec<(u64, u64, Vec<u8>)>;

    fn scanned(text: &[u8], chunk: usize, step: usize) -> Found {
        let mut found = Found::new();
        let mut scanner = Scanner::with_chunk(chunk);
        let outcome = scanner.scan(&mut Slowly(text, step), &mut |place, token| {
            found.push((place.line, place.column, token.to_vec()));
            ControlFlow::Continue(())
        });
        assert!(outcome.unwrap().is_continue());
        assert_eq!(scanner.bytes(), text.len() as u64);
        found
    }

    /// Line by line, every place.
    fn naive(text: &[u8]) -> Found {
        let mut found = Found::new();
        for (line, text) in text.split(|byte| *byte == b'\n').enumerate() {
            for column in 0..text.len() {
                if let Some(token) = text[column..].get(..TOKEN_LEN).filter(|text| is_ours(text)) {
                    found.push((line as u64 + 1, column as u64 + 1, token.to_vec()));
                }
            }
        }
        found
    }

    proptest! {
        #[test]
        fn where_chunks_end_makes_no_difference(
            pieces in prop::collection::vec(
                prop_oneof![
                    any::<u8>().prop_map(token),
                    "[pts_\n ab]{0,40}".prop_map(String::into_bytes),
                    prop::collection::vec(any::<u8>(), 0..9),
                ],
                0..12,
            ),
            chunk in TOKEN_LEN + 1..300,
            step in 1..300_usize,
        ) {
            let mut text = vec![b' '];
            text.extend(pieces.concat());
            prop_assert_eq!(scanned(&text, chunk, step), naive(&text));
        }

        #[test]
        fn utf_16_is_read_in_either_order(
            words in prop::collection::vec("[ a-c\nü𝄞\u{172}]{0,30}", 1..6),
            chunk in TOKEN_LEN + 3..300,
            step in 1..300_usize,
        ) {
            let text = words.join(std::str::from_utf8(&token(3)).unwrap());
            let units: Vec<u16> = text.encode_utf16().collect();
            let mut expected = naive(text.as_bytes());
            for (found, at) in expected.iter_mut().zip(columns(&text)) {
                found.1 = at;
            }
            let little: Vec<u8> = [0xfeff].iter().chain(&units).flat_map(|u| u.to_le_bytes()).collect();
            let big: Vec<u8> = [0xfeff].iter().chain(&units).flat_map(|u| u.to_be_bytes()).collect();
            for bytes in [little, big] {
                let mut found = Found::new();
                let outcome = Scanner::with_chunk(chunk).scan(&mut Slowly(&bytes, step), &mut |place, token| {
                    found.push((place.line, place.column, token.to_vec()));
                    ControlFlow::Continue(())
                });
                prop_assert!(outcome.unwrap().is_continue());
                prop_assert_eq!(&found, &expected);
            }
        }
    }

    /// The unit within its line at which each token begins.
    fn columns(text: &str) -> Vec<u64> {
        let begins = |line: &str| {
            let at = line.match_indices("ptu_").map(|(at, _)| line[..at].encode_utf16().count());
            at.map(|at| at as u64 + 1).collect::<Vec<_>>()
        };
        text.split('\n').flat_map(begins).collect()
    }

    #[test]
    fn an_error_in_the_middle_comes_after_what_was_found() {
        struct Fails<'t>(&'t [u8]);
        impl Read for Fails<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.read(buffer)? {
                    0 => Err(io::Error::other("gone")),
                    count => Ok(count),
                }
            }
        }
        let mut count = 0;
        let outcome = Scanner::new().scan(&mut Fails(&token(1)), &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        });
        assert_eq!((count, outcome.unwrap_err().to_string()), (1, "gone".to_owned()));
    }

    #[test]
    fn it_ends_where_it_is_broken_off_and_nothing_of_one_text_gets_into_the_next() {
        let (mut scanner, mut count) = (Scanner::with_chunk(200), 0);
        let text = token(1).repeat(3);
        let broken = scanner.scan(&mut &*text, &mut |_, _| {
            count += 1;
            ControlFlow::Break(())
        });
        assert!(broken.unwrap().is_break());
        let (begin, end) = text.split_at(30);
        for part in [&begin[..30], &end[..23]] {
            let whole = scanner.scan(&mut &*part, &mut |_, _| {
                count += 1;
                ControlFlow::Continue(())
            });
            assert!(whole.unwrap().is_continue());
        }
        assert_eq!(count, 1);
    }
}
