//! One head, line by line: what about it could be read in two ways, and how its body is framed.

use http::Uri;
use memchr::memchr;

use super::bytes::{count_controls, is_target, is_token, token_length, trim};
use super::fault::Fault;

/// Longest method. The longest that is registered has 17 letters.
const METHOD_BYTES: usize = 32;

/// Longest target: what hyper takes.
const TARGET_BYTES: usize = 65_534;

/// Empty lines that may stand before a request line (RFC 9112 section 2.2).
const BLANK_LINES: usize = 1;

/// What a head may be at most.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes, with the empty line at its end.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; 0 also where nothing is said.
    Length(u64),
    /// As its chunks say.
    Chunked,
    /// There is none, and what follows may be of another protocol, if that is what is answered.
    Upgrade,
}

/// A head of which lines are judged as they come. Everything is kept that is needed to go on where
/// it was left off, so that a head that comes byte by byte costs no more than once through it.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Where the line begins that is not judged yet.
    line: usize,
    /// Up to where that line's end was looked for.
    searched: usize,
    /// Lines so far.
    lines: usize,
    blank_lines: usize,
    version: Option<Version>,
    length: Option<u64>,
    is_chunked: bool,
    asks_upgrade: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

impl Head {
    /// Judges what there is of a head, from its first byte. Its length and how its body is framed
    /// once it is whole; `None` before.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<(usize, Framing)>, Fault> {
        while let Some(found) = memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + found;
            if end >= limits.bytes {
                return Err(Fault::HeadTooLarge);
            }
            // A line feed that is the first byte of a line has the one before it in front.
            let [line @ .., b'\r'] = &bytes[self.line..end] else { return Err(Fault::Control) };
            self.line = end + 1;
            self.searched = self.line;
            self.lines += 1;
            if self.take(line, limits)? {
                return self.end(&bytes[..self.line]).map(Some);
            }
        }
        self.searched = bytes.len();
        self.judge_early(&bytes[self.line..])?;
        if bytes.len() >= limits.bytes { Err(Fault::HeadTooLarge) } else { Ok(None) }
    }

    /// Takes a line without its end in. `true` for the empty one at the end.
    fn take(&mut self, line: &[u8], limits: &HeadLimits) -> Result<bool, Fault> {
        if self.version.is_none() {
            if line.is_empty() && self.blank_lines < BLANK_LINES {
                self.blank_lines += 1;
            } else {
                self.version = Some(request_line(line)?);
            }
            return Ok(false);
        }
        if line.is_empty() {
            return Ok(true);
        }
        self.field(line)?;
        let fields = self.lines - self.blank_lines - 1;
        if fields > limits.fields { Err(Fault::HeadTooLarge) } else { Ok(false) }
    }

    /// What cannot become a request is not waited for: the greeting of another protocol.
    fn judge_early(&self, line: &[u8]) -> Result<(), Fault> {
        match line.first() {
            Some(b'\r') | None => Ok(()),
            Some(first) if is_token(*first) => Ok(()),
            Some(_) if self.version.is_none() => Err(Fault::RequestLine),
            Some(_) => Err(Fault::Field),
        }
    }

    /// `name ":" value`: nothing around the name, and no folding (RFC 9112 sections 5.1 and 5.2).
    /// Controls in the value are found by `end`.
    #[inline]
    fn field(&mut self, line: &[u8]) -> Result<(), Fault> {
        let (name, rest) = line.split_at(token_length(line));
        let [b':', value @ ..] = rest else { return Err(Fault::Field) };
        match name.len() {
            0 => Err(Fault::Field),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.asks_upgrade = true;
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(trim(value)),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.transfer_encoding(trim(value))
            }
            _ => Ok(()),
        }
    }

    /// One plain number. A list, even of one number twice, and leading zeros, which some take for
    /// octal, are refused.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        let is_plain = match value {
            [] | [b'0', _, ..] => false,
            digits => digits.iter().all(u8::is_ascii_digit),
        };
        if !is_plain || self.length.is_some() {
            return Err(Fault::Length);
        }
        let text = std::str::from_utf8(value).map_err(|_| Fault::Length)?;
        // What a signed number cannot hold is negative to some.
        let length = text.parse::<i64>().map_err(|_| Fault::Length)?;
        self.length = Some(length.unsigned_abs());
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        let is_first = !std::mem::replace(&mut self.is_chunked, true);
        let is_chunked = is_first && value.eq_ignore_ascii_case(b"chunked");
        if is_chunked { Ok(()) } else { Err(Fault::TransferEncoding) }
    }

    /// What can be said only of a whole head.
    fn end(&self, head: &[u8]) -> Result<(usize, Framing), Fault> {
        // Every line was seen to end in CR LF.
        if count_controls(head) != 2 * self.lines {
            return Err(Fault::Control);
        }
        let framing = match (self.is_chunked, self.length) {
            (true, Some(_)) => return Err(Fault::Length),
            (true, None) if self.version == Some(Version::Http10) => {
                return Err(Fault::TransferEncoding);
            }
            (true, None) => Framing::Chunked,
            (false, None) if self.asks_upgrade => Framing::Upgrade,
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        Ok((head.len(), framing))
    }
}

/// `method SP target SP version`, one space each (RFC 9112 section 3).
fn request_line(line: &[u8]) -> Result<Version, Fault> {
    if is_foreign(line) {
        return Err(Fault::NoRequest);
    }
    let (method, rest) = line.split_at(token_length(line));
    let [b' ', rest @ ..] = rest else { return Err(Fault::RequestLine) };
    let (rest, version) = match rest {
        [rest @ .., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'] => {
            (rest, Version::Http11)
        }
        [rest @ .., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'] => {
            (rest, Version::Http10)
        }
        _ => return Err(Fault::RequestLine),
    };
    if method.is_empty() || method.len() > METHOD_BYTES || method == b"CONNECT" {
        return Err(Fault::RequestLine);
    }
    target(rest).map(|()| version)
}

/// Whether a line has the words of a request line and none of the slashes that belong into it: a
/// broken preface of HTTP/2, for instance, which is no request but the end of the connection
/// (RFC 9113 section 3.4).
fn is_foreign(line: &[u8]) -> bool {
    memchr(b'/', line).is_none() && line.split(|byte| *byte == b' ').count() == 3
}

/// A path, or an `http` or `https` URI. What its host and path hold is judged with those of HTTP/2.
fn target(target: &[u8]) -> Result<(), Fault> {
    if target.len() > TARGET_BYTES {
        return Err(Fault::HeadTooLarge);
    }
    if !is_target(target) {
        return Err(Fault::Target);
    }
    let [b'/', ..] = target else { return absolute(target) };
    Ok(())
}

/// `scheme "://" host path`. Without a path, hyper would put one in.
fn absolute(target: &[u8]) -> Result<(), Fault> {
    let after = |scheme: &[u8]| {
        let (front, rest) = target.split_at_checked(scheme.len())?;
        front.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = after(b"http://").or_else(|| after(b"https://")).ok_or(Fault::Target)?;
    let in_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(byte);
    let host = rest.iter().position(|byte| !in_host(byte)).unwrap_or(rest.len());
    // What hyper would refuse, it would refuse without a body.
    let is_uri = rest.get(host) == Some(&b'/') && Uri::try_from(target).is_ok();
    if is_uri { Ok(()) } else { Err(Fault::Target) }
}
