//! From the bytes of PEM files to certificates and keys that fit each other.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use super::{MadeFrom, provider};

/// Where common systems keep the authorities that they trust.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why TLS cannot be spoken with what was given. Says nothing of a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no `-----BEGIN CERTIFICATE-----`.
    #[error("no certificate in it: it must be PEM, with `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    /// There is no private key.
    #[error("no private key in it: it must be PEM, with `-----BEGIN PRIVATE KEY-----`")]
    NoKey,
    /// It is damaged.
    #[error("not valid PEM: {0}")]
    Pem(&'static str),
    /// A certificate cannot be read.
    #[error("a certificate in it cannot be read")]
    Certificate,
    /// A kind of key that is not supported.
    #[error("the private key is of a kind that cannot be used: RSA, ECDSA or Ed25519 can")]
    Key,
    /// The key is another certificate's.
    #[error("the private key is not the one that the certificate is for")]
    Mismatch,
    /// rustls has another reason.
    #[error("TLS cannot be set up: {0}")]
    Rustls(String),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Rustls(error.to_string())
    }
}

/// A chain of certificates and the key of the first.
#[derive(Clone, Debug)]
pub struct CertifiedPair {
    pub(super) key: Arc<CertifiedKey>,
    /// The names that the certificate is for, lower case.
    pub(super) names: Vec<String>,
    made_from: MadeFrom,
}

impl CertifiedPair {
    /// Reads a chain, the end entity's certificate first, and its key.
    ///
    /// # Errors
    /// Either cannot be read, or they do not fit.
    pub fn new(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates(certificate)?;
        let names = names(chain.first().ok_or(TlsError::NoCertificate)?)?;
        let private = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey,
            error => damaged(&error),
        })?;
        let certified =
            CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    TlsError::Mismatch
                }
                _ => TlsError::Key,
            })?;
        let made_from = MadeFrom::new([certificate, key]);
        Ok(Self { key: Arc::new(certified), names, made_from })
    }

    pub(super) fn made_from(&self) -> &[u8] {
        self.made_from.as_bytes()
    }
}

impl std::fmt::Debug for MadeFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Of what was made from a key, not even a digest is shown.
        f.write_str("MadeFrom")
    }
}

/// The authorities in a PEM file.
///
/// # Errors
/// There is none, or one cannot be read.
pub fn roots(pem: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|_| TlsError::Certificate)?;
    }
    Ok(Arc::new(roots))
}

/// The file of authorities that the system trusts; `SSL_CERT_FILE` goes before the usual places.
pub fn system_roots(ssl_cert_file: Option<&str>) -> Option<PathBuf> {
    let named = ssl_cert_file.filter(|file| !file.is_empty()).into_iter();
    named.chain(SYSTEM_ROOTS).map(PathBuf::from).find(|file| file.is_file())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| damaged(&error))?;
    if certificates.is_empty() { Err(TlsError::NoCertificate) } else { Ok(certificates) }
}

/// The names in a certificate's subject alternative names.
fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, TlsError> {
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|_| TlsError::Certificate)?;
    Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

/// What is wrong with the form, without a byte of what stands there.
fn damaged(error: &pem::Error) -> TlsError {
    TlsError::Pem(match error {
        pem::Error::MissingSectionEnd { .. } => "a `-----BEGIN` has no `-----END`",
        pem::Error::IllegalSectionStart { .. } => "a line that begins with `-----` is malformed",
        pem::Error::Base64Decode(_) => {
            "what stands between `-----BEGIN` and `-----END` is no base64"
        }
        pem::Error::NoItemsFound => "nothing of the kind is in it",
        _ => "it cannot be read",
    })
}
