//! Who a client is by its certificate.

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

/// Names of a certificate that are told, in bytes at most: more would not fit a header.
const NAMES_BYTES: usize = 4096;

/// What a verified client certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// SHA-256 of the certificate, 64 hexadecimal digits.
    pub sha256: String,
    /// Its DNS names, in its order.
    pub dns: Vec<String>,
    /// Its URIs, such as SPIFFE ids, in its order.
    pub uris: Vec<String>,
}

impl ClientIdentity {
    /// Reads a certificate that was verified. A name that has anything but visible ASCII, or a
    /// comma, which parts names in a header, is left out, and so are those past 4 KiB.
    pub(crate) fn new(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
        Some(Self {
            sha256: hex::encode(Sha256::digest(certificate)),
            dns: names(parsed.valid_dns_names()),
            uris: names(parsed.valid_uri_names()),
        })
    }

    /// All of this as decisions have it: see `client_names` of
    /// [`Facts`](crate::core::facts::Facts).
    pub(crate) fn names(&self) -> Vec<String> {
        let dns = self.dns.iter().map(|name| name.to_ascii_lowercase());
        let digest = format!("sha256:{}", self.sha256);
        // Anything can be said in the place of a URI: also what is a DNS name, or a digest.
        let uris = self.uris.iter().filter(|uri| uri.contains("://")).cloned();
        [digest].into_iter().chain(dns).chain(uris).collect()
    }
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let is_plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    let mut bytes = 0;
    let fits = |name: &&str| {
        bytes += name.len() + 1;
        bytes <= NAMES_BYTES
    };
    names.filter(is_plain).take_while(fits).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_a_uri_passes_for_no_other_kind_of_name() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let uris = ["billing.internal", "spiffe://example/ci", &digest].map(str::to_owned).to_vec();
        let dns = vec!["CI.example".to_owned()];
        let identity = ClientIdentity { sha256: "f".repeat(64), dns, uris };
        let own = format!("sha256:{}", "f".repeat(64));
        assert_eq!(identity.names(), [own.as_str(), "ci.example", "spiffe://example/ci"]);
    }
}
