//! TLS towards clients: certificates by name, client certificates, tickets.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::identity::ClientIdentity;
use super::pem::{CertifiedPair, TlsError};
use super::{ALPN_HTTP1, ALPN_HTTP2, MadeFrom, provider};
use crate::stream::Stream;

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What a listener speaks TLS with. Two that were made from the same are equal.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    made_from: MadeFrom,
}

impl ServerTls {
    /// With these certificates, of which the first is shown to who asks for no name or another.
    /// With `client_ca`, clients must show a certificate that one of these authorities vouches
    /// for. With `http2`, clients may choose HTTP/2.
    ///
    /// # Errors
    /// rustls cannot use them.
    pub fn new(
        pairs: &[CertifiedPair],
        client_ca: Option<(Arc<RootCertStore>, &[u8])>,
        min_version: MinVersion,
        http2: bool,
    ) -> Result<Self, TlsError> {
        let versions = match min_version {
            MinVersion::Tls12 => &[&TLS13, &TLS12][..],
            MinVersion::Tls13 => &[&TLS13][..],
        };
        let builder =
            ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
        let (roots, client_ca) = client_ca.unzip();
        let builder = match roots {
            None => builder.with_no_client_auth(),
            Some(roots) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .build()
                    .map_err(|error| TlsError::Rustls(error.to_string()))?,
            ),
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName::new(pairs)?));
        config.alpn_protocols = if http2 { vec![ALPN_HTTP2.into()] } else { vec![] };
        config.alpn_protocols.push(ALPN_HTTP1.into());
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ticketer(MadeFrom::new(client_ca))?;
        let settings = [min_version as u8, u8::from(http2)];
        let made_from = MadeFrom::new(
            pairs.iter().map(CertifiedPair::made_from).chain([&settings[..]]).chain(client_ca),
        );
        Ok(Self { config: Arc::new(config), made_from })
    }

    /// Speaks TLS with a client; what its certificate says, where it had to show one.
    ///
    /// # Errors
    /// The connection's; or the client will not have it, or shows no certificate that it should.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(Stream, Option<ClientIdentity>)> {
        let stream = TlsAcceptor::from(self.config.clone()).accept(stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let client = certificates.and_then(<[_]>::first).and_then(ClientIdentity::new);
        Ok((Stream::Tls(Box::new(stream.into())), client))
    }
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.made_from == other.made_from
    }
}

impl Eq for ServerTls {}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// What tickets are sealed with: the same for the life of the process, so that sessions are
/// resumed across reloads and listeners. A ticket holds the certificate that its client showed,
/// which is not verified again; so other authorities for clients make another one.
fn ticketer(client_ca: MadeFrom) -> Result<Arc<dyn ProducesTickets>, TlsError> {
    type Known = Vec<(MadeFrom, Arc<dyn ProducesTickets>)>;
    /// By the authorities for clients; the oldest goes first.
    static TICKETERS: Mutex<Known> = Mutex::new(Vec::new());
    /// There are two listeners, and a reload changes both at once at most.
    const TICKETERS_LIMIT: usize = 4;
    let mut known = TICKETERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, ticketer)) = known.iter().find(|(made_from, _)| *made_from == client_ca) {
        return Ok(ticketer.clone());
    }
    let ticketer = rustls::crypto::ring::Ticketer::new()?;
    if known.len() == TICKETERS_LIMIT {
        known.remove(0);
    }
    known.push((client_ca, ticketer.clone()));
    Ok(ticketer)
}

/// Certificates by the name that clients ask for (RFC 6066 section 3).
#[derive(Debug)]
struct ByName {
    /// Lower case; of `*.example.com`, what follows the `*`. Several for one name differ in kind.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    default: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    fn new(pairs: &[CertifiedPair]) -> Result<Self, TlsError> {
        let first = pairs.first().ok_or(TlsError::NoCertificate)?;
        let mut by_name: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for pair in pairs {
            for name in &pair.names {
                let name = name.strip_prefix('*').unwrap_or(name);
                by_name.entry(name.to_owned()).or_default().push(pair.key.clone());
            }
        }
        // Others of the same names stand in for it where a client takes its kind of key only.
        let same = |pair: &&CertifiedPair| pair.names == first.names;
        let default = pairs.iter().filter(same).map(|pair| pair.key.clone()).collect();
        Ok(Self { by_name, default })
    }

    fn of(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let wildcard = || self.by_name.get(&name[name.find('.')?..]);
        self.by_name.get(name).or_else(wildcard)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let found = name.and_then(|name| self.of(&name)).unwrap_or(&self.default);
        let fits =
            |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(hello.signature_schemes()).is_some();
        found.iter().find(fits).or(found.first()).cloned()
    }
}
