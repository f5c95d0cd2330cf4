//! Digesting an input while it is read, so that the audit log can say what was imported.

use std::io::{self, BufRead, Read};

use blake3::Hasher;

/// An input of which everything that is taken out goes into a digest.
pub(super) struct Digested<'r> {
    pub(super) input: &'r mut dyn BufRead,
    pub(super) hasher: &'r mut Hasher,
}

impl Read for Digested<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl BufRead for Digested<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What is about to be consumed is in the buffer, so that nothing is read to get at it.
        if count > 0
            && let Ok(available) = self.input.fill_buf()
        {
            self.hasher.update(&available[..count]);
        }
        self.input.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_of_what_was_taken_out_however_it_was() {
        let text = "one\ntwo\nthree and more\n".repeat(50);
        for capacity in [1, 7, 4096] {
            let mut input = io::BufReader::with_capacity(capacity, text.as_bytes());
            let mut hasher = Hasher::new();
            let mut digested = Digested { input: &mut input, hasher: &mut hasher };
            let (mut line, mut rest) = (String::new(), [0; 9]);
            digested.read_line(&mut line).unwrap();
            digested.read_exact(&mut rest).unwrap();
            let taken = line.len() + rest.len();
            assert_eq!(hasher.finalize(), blake3::hash(&text.as_bytes()[..taken]));
        }
    }
}
