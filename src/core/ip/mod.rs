//! IP rules: which addresses an account lets in.
//!
//! Text becomes a canonical prefix here ([`parse_cidr`]); an account's prefixes become
//! [`IpRules`], which the index holds and every decision asks; prefixes without actions (trusted
//! proxies, a token's own `allow_ips`) become a [`PrefixSet`].

mod family;
mod few;
mod groups;
mod masked;
mod prefix;
mod rules;
mod steps;

pub use rules::{FewRules, IpRules, Judgement, PrefixSet};

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Why a prefix cannot be an IP rule's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// An IPv4-mapped IPv6 prefix that also covers addresses that are not IPv4.
    #[error(
        "an IPv4-mapped prefix (::ffff:a.b.c.d/N) needs N of at least 96: a shorter one would match far more than it shows"
    )]
    MappedTooShort,
    /// Not `address` or `address/length`.
    #[error("not an address or CIDR: expected for instance 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32")]
    Syntax,
}

/// The canonical form of a prefix: host bits masked, IPv4-mapped IPv6 as IPv4.
///
/// # Errors
/// [`CidrError::MappedTooShort`] for a mapped prefix under /96.
pub fn canonical(cidr: IpNet) -> Result<IpNet, CidrError> {
    if let IpNet::V6(v6) = cidr
        && let Some(v4) = v6.addr().to_ipv4_mapped()
    {
        let length = v6.prefix_len().checked_sub(96).ok_or(CidrError::MappedTooShort)?;
        let v4 = Ipv4Net::new(v4, length).map_err(|_| CidrError::MappedTooShort)?;
        return Ok(IpNet::V4(v4.trunc()));
    }
    Ok(cidr.trunc())
}

/// Reads `address` or `address/length` into its canonical form.
///
/// # Errors
/// [`CidrError`].
pub fn parse_cidr(text: &str) -> Result<IpNet, CidrError> {
    let cidr = match text.parse::<IpNet>() {
        Ok(cidr) => cidr,
        Err(_) => IpNet::from(text.parse::<IpAddr>().map_err(|_| CidrError::Syntax)?),
    };
    canonical(cidr)
}
