//! `[client_ip]`: whose word is taken about where a request comes from.

use super::read::{Table, text};
use super::report::Mistake;
use super::schema;
use super::source::shown;
use super::tree::Node;
use super::{ClientIp, ClientIpHeader};
use crate::core::ip::parse_cidr;

/// Reads `[client_ip]`.
pub(super) fn read(root: &Table<'_>) -> ClientIp {
    let client_ip = root.section("client_ip");
    client_ip.allow(&schema::names(schema::keys("client_ip")));
    if client_ip.flag("proxy_protocol", false) {
        client_ip.error(
            "proxy_protocol",
            Mistake::new("the PROXY protocol is not available in this version")
                .help("let the proxy send x-forwarded-for, and list it in trusted_proxies"),
        );
    }
    let words = [
        ("x-forwarded-for", ClientIpHeader::XForwardedFor),
        ("forwarded", ClientIpHeader::Forwarded),
    ];
    ClientIp {
        trusted_proxies: trusted_proxies(&client_ip),
        header: client_ip.word("header", &words).unwrap_or(ClientIpHeader::XForwardedFor),
    }
}

fn trusted_proxies(client_ip: &Table<'_>) -> Vec<ipnet::IpNet> {
    let read = |node: &Node| {
        let given = text(node)?;
        let cidr = parse_cidr(given)
            .map_err(|error| Mistake::new(format!("{}: {error}", shown(given))))?;
        Ok((node.at, cidr))
    };
    let found = client_ip.each("trusted_proxies", read).unwrap_or_default();
    for (at, cidr) in &found {
        if cidr.prefix_len() == 0 {
            client_ip.report.warn(
                *at,
                Mistake::new("every client can claim to be at any address, past all IP rules")
                    .help("list only the addresses of your proxies"),
            );
        }
    }
    found.into_iter().map(|(_, cidr)| cidr).collect()
}
