//! The bytes of a connection, head after body after head: how far they may be passed on.

use super::body::{Body, Passed};
use super::fault::Fault;
use super::head::{Framing, Head, HeadLimits};

/// What may become of bytes that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// All of them may be passed on.
    Pass,
    /// Those from here on begin a head that is not whole: they are to be given again, with what
    /// comes next.
    Hold(usize),
    /// Those from here on follow a request for another protocol: what they are can be told only
    /// once that is answered. Until then they are to be kept, and then to be given again.
    Wait(usize),
    /// Those from here on are refused, as a head.
    RefuseHead(usize, Fault),
    /// Those from here on are refused, as the rest of a body whose front was passed on.
    RefuseBody(usize, Fault),
}

/// Follows the messages of one connection.
#[derive(Debug)]
pub struct Scanner {
    limits: HeadLimits,
    at: At,
}

#[derive(Debug)]
enum At {
    Head(Head),
    Body(Body),
}

impl Scanner {
    /// From the first byte of a head.
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, at: At::Head(Head::default()) }
    }

    /// Judges what came, after what was held.
    pub fn scan(&mut self, bytes: &[u8]) -> Scan {
        self.scan_messages(bytes, |_, _| {})
    }

    /// Likewise, and tells where each head ended and how its body is framed.
    pub fn scan_messages(&mut self, bytes: &[u8], mut on_head: impl FnMut(usize, Framing)) -> Scan {
        let mut start = 0;
        while start < bytes.len() {
            match &mut self.at {
                At::Head(head) => match head.scan(&bytes[start..], &self.limits) {
                    Ok(Some((length, framing))) => {
                        start += length;
                        on_head(start, framing);
                        self.at =
                            Body::new(framing).map_or_else(|| At::Head(Head::default()), At::Body);
                        if framing == Framing::Upgrade {
                            return Scan::Wait(start);
                        }
                    }
                    Ok(None) => return Scan::Hold(start),
                    Err(fault) => return Scan::RefuseHead(start, fault),
                },
                At::Body(body) => match body.pass(&bytes[start..]) {
                    Passed::All => return Scan::Pass,
                    Passed::End(length) => {
                        start += length;
                        self.at = At::Head(Head::default());
                    }
                    Passed::Refuse(length, fault) => {
                        return Scan::RefuseBody(start + length, fault);
                    }
                },
            }
        }
        Scan::Pass
    }

    /// Whether a body is not at its end.
    pub(super) fn is_in_body(&self) -> bool {
        matches!(self.at, At::Body(_))
    }
}
