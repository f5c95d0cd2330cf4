//! What snapshots are made of as bytes, and back, besides numbers and texts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Kind;
use crate::core::record::{AccountState, Action, Category, Licence, Plan, Timestamp, TokenState};
pub(super) use crate::encoding::{Fault, Take, put_list, put_number, put_option, put_text};
use crate::store::Bulk;

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

impl Take<'_> {
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
