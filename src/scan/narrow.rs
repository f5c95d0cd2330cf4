//! Reading UTF-16 as if it were ASCII: what some systems write when output goes to a file.

use std::io::{self, ErrorKind, Read};

/// Stands for a character that no token has.
const OTHER: u8 = 0xff;

/// Gives a text's bytes, and of a text that begins with the mark of UTF-16 one byte a unit.
pub(super) struct Narrow<'r> {
    input: &'r mut dyn Read,
    /// Not known before the first bytes are.
    encoding: Option<Encoding>,
    /// Half a unit.
    carry: Option<u8>,
}

#[derive(Clone, Copy)]
enum Encoding {
    Bytes,
    Utf16 { big_endian: bool },
}

impl<'r> Narrow<'r> {
    pub(super) fn new(input: &'r mut dyn Read) -> Self {
        Self { input, encoding: None, carry: None }
    }

    /// Reads some into a buffer of at least two bytes; nothing only at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.encoding {
            None => self.begin(buffer),
            Some(Encoding::Bytes) => self.read_bytes(buffer),
            Some(Encoding::Utf16 { big_endian }) => self.read_units(buffer, big_endian),
        }
    }

    fn begin(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while count < 2 {
            let more = self.read_bytes(&mut buffer[count..])?;
            if more == 0 {
                break;
            }
            count += more;
        }
        let big_endian = match &buffer[..count] {
            [0xff, 0xfe, ..] => false,
            [0xfe, 0xff, ..] => true,
            _ => {
                self.encoding = Some(Encoding::Bytes);
                return Ok(count);
            }
        };
        self.encoding = Some(Encoding::Utf16 { big_endian });
        buffer.copy_within(2..count, 0);
        match self.narrow(buffer, count - 2, big_endian) {
            0 => self.read_units(buffer, big_endian),
            units => Ok(units),
        }
    }

    fn read_units(&mut self, buffer: &mut [u8], big_endian: bool) -> io::Result<usize> {
        loop {
            let carried = self.carry.take();
            if let Some(byte) = carried {
                buffer[0] = byte;
            }
            let start = usize::from(carried.is_some());
            let count = self.read_bytes(&mut buffer[start..])?;
            if count == 0 {
                return Ok(0);
            }
            match self.narrow(buffer, start + count, big_endian) {
                0 => {}
                units => return Ok(units),
            }
        }
    }

    /// Puts one byte for each unit at the beginning of the buffer, and says how many.
    fn narrow(&mut self, buffer: &mut [u8], count: usize, big_endian: bool) -> usize {
        if count % 2 == 1 {
            self.carry = Some(buffer[count - 1]);
        }
        for unit in 0..count / 2 {
            let (first, second) = (buffer[2 * unit], buffer[2 * unit + 1]);
            let (low, high) = if big_endian { (second, first) } else { (first, second) };
            buffer[unit] = if high == 0 && low.is_ascii() { low } else { OTHER };
        }
        count / 2
    }

    fn read_bytes(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.input.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}
