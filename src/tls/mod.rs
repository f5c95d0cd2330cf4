//! TLS, by rustls with one provider: towards clients ([`ServerTls`]) and towards upstreams and
//! others that the gate calls ([`ClientTls`]).
//!
//! Both are made from the bytes of PEM files, checked whole, and never changed: a changed file
//! makes a new one, with which connections begin from then on. Those that are open go on.

mod client;
mod identity;
mod pem;
mod server;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

pub use client::ClientTls;
pub use identity::ClientIdentity;
pub use pem::{CertifiedPair, TlsError, roots, system_roots};
pub use rustls::RootCertStore;
pub use server::{MinVersion, ServerTls};

/// HTTP/2, as ALPN names it (RFC 7301, RFC 9113 section 3.2).
pub(crate) const ALPN_HTTP2: &[u8] = b"h2";
/// HTTP/1.1, likewise.
pub(crate) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// What clients may choose with TLS to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// What ALPN names so.
    pub(crate) fn named(alpn: &[u8]) -> Option<Self> {
        match alpn {
            ALPN_HTTP1 => Some(Self::Http1),
            ALPN_HTTP2 => Some(Self::Http2),
            _ => None,
        }
    }
}

/// The one provider of cryptography.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())).clone()
}

/// Stands for everything that something was made from: what is equal was made from the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct MadeFrom([u8; 32]);

impl MadeFrom {
    fn new<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
