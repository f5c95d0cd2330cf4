//! Numbers, texts and names as bytes, and back. Reading takes nothing on trust: every length is
//! bounded by what is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Kind;
use crate::core::record::{AccountState, Action, Category, Licence, Plan, Timestamp, TokenState};
use crate::store::Bulk;

/// What is wrong with bytes that cannot be read.
pub(crate) type Fault = &'static str;

/// Most bytes of a number.
const NUMBER_BYTES: usize = 10;

/// Writes a number in groups of seven bits, the lowest first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Writes a text after its length.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Writes whether there is a value, and the value.
pub(crate) fn put_option<T>(
    out: &mut Vec<u8>,
    value: Option<T>,
    put: impl FnOnce(&mut Vec<u8>, T),
) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

/// Writes how many there are, then each.
pub(crate) fn put_list<T>(out: &mut Vec<u8>, values: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    put_number(out, values.len() as u64);
    values.iter().for_each(|value| put(out, value));
}

pub(super) fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    out.extend_from_slice(&time.0.to_le_bytes());
}

pub(super) fn put_prefix(out: &mut Vec<u8>, prefix: &IpNet) {
    out.push(prefix.prefix_len());
    match prefix.addr() {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend_from_slice(&address.octets());
        }
    }
}

/// Bytes that are taken from the front.
pub(crate) struct Take<'b>(pub(crate) &'b [u8]);

impl<'b> Take<'b> {
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'b [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    /// A number as [`put_number`] writes it, and in no longer form.
    pub(crate) fn number(&mut self) -> Result<u64, Fault> {
        let mut number = 0_u64;
        for position in 0..NUMBER_BYTES {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * position;
            if bits << shift >> shift != bits {
                return Err("a number is too large");
            }
            number |= bits << shift;
            if byte < 0x80 {
                let longer = byte == 0 && position > 0;
                return if longer { Err("a number is longer than it need be") } else { Ok(number) };
            }
        }
        Err("a number is too long")
    }

    /// As many bytes as a number before them says.
    pub(crate) fn sized(&mut self) -> Result<&'b [u8], Fault> {
        let count = self.number()?;
        self.bytes(usize::try_from(count).map_err(|_| "it ends too early")?)
    }

    pub(crate) fn text(&mut self) -> Result<String, Fault> {
        let bytes = self.sized()?;
        Ok(std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")?.to_owned())
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Fault> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("a flag is neither 0 nor 1"),
        }
    }

    pub(crate) fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        if self.flag()? { take(self).map(Some) } else { Ok(None) }
    }

    /// A list of things that take at least one byte each.
    pub(crate) fn list<T>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let count = self.number()?;
        if count > self.0.len() as u64 {
            return Err("a list is longer than its bytes");
        }
        (0..count).map(|_| take(self)).collect()
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, Fault> {
        Ok(Timestamp(i64::from_le_bytes(self.array()?)))
    }

    pub(super) fn prefix(&mut self) -> Result<IpNet, Fault> {
        let length = self.byte()?;
        let address = match self.byte()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Err("an address is of no known kind"),
        };
        IpNet::new(address, length).map_err(|_| "a prefix is too long")
    }

    pub(super) fn code<T: Code>(&mut self) -> Result<T, Fault> {
        T::of(self.byte()?).ok_or("a name is unknown")
    }

    /// Refuses what is left.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err("something is left over") }
    }
}

/// A name that is written as one byte, which never changes its meaning.
pub(super) trait Code: Sized {
    fn code(&self) -> u8;
    fn of(code: u8) -> Option<Self>;
}

macro_rules! codes {
    ($($type:ty { $($name:ident = $code:literal),+ })+) => {$(
        impl Code for $type {
            fn code(&self) -> u8 {
                match self { $(Self::$name => $code),+ }
            }

            fn of(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)+ _ => None }
            }
        }
    )+};
}

codes! {
    Kind { Snapshot = 1, Frame = 2 }
    Bulk { Nothing = 1, Going = 2, Done = 3 }
    Plan { Enterprise = 1, EnterprisePlus = 2, Developer = 3, Starter = 4, Team = 5, Cancelled = 6 }
    AccountState { Open = 1, Closed = 2 }
    TokenState { Active = 1, Revoked = 2 }
    Licence { Developer = 1, ReadOnly = 2, It = 3 }
    Action { Allow = 1, Deny = 2 }
    Category { All = 1, Development = 2, Staging = 3, Production = 4, Other = 5 }
}
