//! TLS towards others: whom to trust, whom to be, and which name to ask for.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::pem::{CertifiedPair, TlsError};
use super::{ALPN_HTTP2, MadeFrom, provider};

/// What connections to others speak TLS with. Two that were made from the same are equal.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    /// The name that the other side must have a certificate for, where it is not the host's.
    name: Option<ServerName<'static>>,
    made_from: MadeFrom,
}

impl ClientTls {
    /// Trusts these authorities; `from` is what they were read from. Shows the certificate of
    /// `pair` where it is asked for one. Speaks one of the protocols of `alpn`, by preference.
    ///
    /// # Errors
    /// `name` is no name or address, or rustls cannot use something.
    pub fn new(
        (roots, from): (Arc<RootCertStore>, &[u8]),
        pair: Option<&CertifiedPair>,
        name: Option<&str>,
        alpn: &[&[u8]],
    ) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => builder.with_client_cert_resolver(Arc::new(Always(pair.key.clone()))),
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let parts = [from, name.unwrap_or_default().as_bytes()];
        let parts = parts.into_iter().chain(pair.map(CertifiedPair::made_from));
        let made_from = MadeFrom::new(parts.chain(alpn.iter().copied()));
        let name = name.map(server_name).transpose()?;
        Ok(Self { config: Arc::new(config), name, made_from })
    }

    /// Speaks TLS on a connection to `host`.
    ///
    /// # Errors
    /// The connection's; or the other side is not who it should be.
    pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server_name(host).map_err(io::Error::other)?,
        };
        let stream = TlsConnector::from(self.config.clone()).connect(name, stream).await?;
        let wants_http2 = self.config.alpn_protocols.iter().any(|one| one == ALPN_HTTP2);
        if wants_http2 && stream.get_ref().1.alpn_protocol() != Some(ALPN_HTTP2) {
            return Err(io::Error::other("the other side does not speak HTTP/2"));
        }
        Ok(stream)
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let invalid = |_| TlsError::Rustls(format!("`{name}` is no name or address of a server"));
    ServerName::try_from(name.to_owned()).map_err(invalid)
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.made_from == other.made_from
    }
}

impl Eq for ClientTls {}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

/// Shows one certificate to whoever asks for one.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(schemes).is_some().then(|| self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
