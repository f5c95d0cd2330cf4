//! Bodies, counted as they go by: where the next head begins.

use super::bytes::{is_control, is_token};
use super::fault::Fault;
use super::head::Framing;

/// Hexadecimal digits of a chunk's size at most.
const SIZE_DIGITS: u8 = 16;

/// Bytes of chunk extensions in a body at most. hyper takes 16 KiB.
const EXTENSION_BYTES: usize = 8 * 1024;

/// Bytes of trailers at most. hyper takes 16 KiB.
const TRAILER_BYTES: usize = 8 * 1024;

/// Trailer fields at most. hyper takes 100.
const TRAILERS: usize = 64;

/// A body of which bytes go by.
#[derive(Debug)]
pub(super) enum Body {
    /// So many bytes are left.
    Length(u64),
    Chunked(Chunks),
}

/// How far a body went in what there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// All of it belongs to the body, which goes on.
    All,
    /// The body ended after so many bytes.
    End(usize),
    /// What follows after so many bytes is refused.
    Refuse(usize, Fault),
}

impl Body {
    /// `None` where there is none.
    pub(super) fn new(framing: Framing) -> Option<Self> {
        match framing {
            Framing::Length(0) | Framing::Upgrade => None,
            Framing::Length(length) => Some(Self::Length(length)),
            Framing::Chunked => Some(Self::Chunked(Chunks::default())),
        }
    }

    pub(super) fn pass(&mut self, bytes: &[u8]) -> Passed {
        match self {
            Self::Length(left) => pass_length(left, bytes),
            Self::Chunked(chunks) => chunks.pass(bytes),
        }
    }
}

fn pass_length(left: &mut u64, bytes: &[u8]) -> Passed {
    match left.checked_sub(bytes.len() as u64) {
        Some(rest) if rest > 0 => {
            *left = rest;
            Passed::All
        }
        // No larger than what there is.
        _ => Passed::End(*left as usize),
    }
}

/// Where in a chunked body the next byte is (RFC 9112 section 7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    /// After white space behind a size, which only an extension may follow.
    SizeSpace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer, or of the line at the end.
    Line,
    Name,
    Value,
    ValueLf,
    EndLf,
}

/// A chunked body of which bytes go by.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    at: At,
    /// Of the chunk; while data goes by, what is left of it.
    size: u64,
    digits: u8,
    extension_bytes: usize,
    trailers: usize,
    trailer_bytes: usize,
}

impl Chunks {
    fn pass(&mut self, bytes: &[u8]) -> Passed {
        let mut position = 0;
        while let Some(byte) = bytes.get(position) {
            if self.at == At::Data {
                position += self.data(bytes.len() - position);
                continue;
            }
            match self.step(*byte) {
                Ok(false) => position += 1,
                Ok(true) => return Passed::End(position + 1),
                Err(fault) => return Passed::Refuse(position, fault),
            }
        }
        Passed::All
    }

    /// Takes data in, of which there are `available` bytes or more; how many of those.
    fn data(&mut self, available: usize) -> usize {
        let taken = self.size.min(available as u64);
        self.size -= taken;
        if self.size == 0 {
            self.at = At::DataCr;
        }
        taken as usize
    }

    /// Takes a byte in that is not data; `true` for the last one.
    fn step(&mut self, byte: u8) -> Result<bool, Fault> {
        self.at = match (self.at, byte) {
            (At::Size, _) => self.size(byte)?,
            (At::SizeSpace, b' ' | b'\t') => self.extend(At::SizeSpace)?,
            (At::SizeSpace, b';') => At::Extension,
            (At::Extension, b'\r') => At::SizeLf,
            (At::Extension, _) if !is_control(byte) => self.extend(At::Extension)?,
            (At::SizeLf, b'\n') => self.after_size(),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size,
            (At::Line, b'\r') => At::EndLf,
            (At::EndLf, b'\n') => return Ok(true),
            (At::Line | At::Name | At::Value | At::ValueLf, _) => self.trailer(byte)?,
            _ => return Err(Fault::Chunk),
        };
        Ok(false)
    }

    fn size(&mut self, byte: u8) -> Result<At, Fault> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if self.digits == SIZE_DIGITS {
                return Err(Fault::Chunk);
            }
            self.digits += 1;
            self.size = self.size << 4 | u64::from(digit);
            return Ok(At::Size);
        }
        match byte {
            _ if self.digits == 0 => Err(Fault::Chunk),
            b'\r' => Ok(At::SizeLf),
            b';' => Ok(At::Extension),
            b' ' | b'\t' => self.extend(At::SizeSpace),
            _ => Err(Fault::Chunk),
        }
    }

    fn after_size(&mut self) -> At {
        self.digits = 0;
        if self.size == 0 { At::Line } else { At::Data }
    }

    /// Counts a byte of an extension.
    fn extend(&mut self, at: At) -> Result<At, Fault> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES { Err(Fault::Chunk) } else { Ok(at) }
    }

    fn trailer(&mut self, byte: u8) -> Result<At, Fault> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES {
            return Err(Fault::Trailer);
        }
        match (self.at, byte) {
            (At::Line, _) if is_token(byte) => {
                self.trailers += 1;
                if self.trailers > TRAILERS { Err(Fault::Trailer) } else { Ok(At::Name) }
            }
            (At::Name, b':') => Ok(At::Value),
            (At::Name, _) if is_token(byte) => Ok(At::Name),
            (At::Value, b'\r') => Ok(At::ValueLf),
            (At::Value, _) if !is_control(byte) => Ok(At::Value),
            (At::ValueLf, b'\n') => Ok(At::Line),
            _ => Err(Fault::Trailer),
        }
    }
}
