//! Configuration: what the user typed, turned into what the program uses.
//!
//! [`load`] reads `portcullis.toml`, the files that it names and the `PORTCULLIS_SECTION__KEY`
//! environment variables, and either returns a [`Config`] in which everything is resolved and
//! compiled, or every [`Diagnostic`] at once, each with file, line and what to do.

pub mod accounts;
mod client_ip;
mod diagnostic;
pub mod duration;
mod env;
mod feed;
mod files;
mod gate;
mod introspection;
mod keys;
mod legacy;
mod limits;
mod listen;
mod load;
mod permission_sets;
mod rate;
mod read;
mod report;
mod requires;
mod routes;
pub mod samples;
mod schema;
mod source;
mod store;
pub mod suggest;
mod tls;
mod tree;
mod upstreams;
mod usage;

pub use diagnostic::{Diagnostic, Severity, render};
pub use env::process_environment;
pub use introspection::Concealed;
pub(crate) use introspection::form_encoded;
pub(crate) use legacy::CANDIDATES_LIMIT;
pub use load::{load, load_lane};
pub use rate::Rate;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::core::digest::DigestKeys;
use crate::core::index::Policy;
use crate::core::permissions::PermissionSets;
use crate::core::record::Timestamp;
use crate::core::routes::Routes;
use crate::core::token::Secret;
use crate::tls::{ClientTls, ServerTls};

/// Everything that `serve` and the commands need, resolved and compiled.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it came from.
    pub file: PathBuf,
    /// Every file that was read: what a reload watches.
    pub files: Vec<PathBuf>,
    /// `[gate]`.
    pub gate: Gate,
    /// `[upstreams.*]`, by name, ascending; routes refer to them by position.
    pub upstreams: Vec<Upstream>,
    /// The route table, compiled.
    pub routes: Arc<Routes>,
    /// The permission sets, compiled.
    pub permission_sets: Arc<PermissionSets>,
    /// The digest keys.
    pub keys: Arc<DigestKeys>,
    /// Where what is decided by comes from.
    pub origin: Origin,
    /// `[legacy]`.
    pub legacy: Legacy,
    /// `[client_ip]`.
    pub client_ip: ClientIp,
    /// `[limits]`.
    pub limits: Limits,
    /// `[usage]`.
    pub usage: Usage,
    /// `[admin] listen`.
    pub admin: Option<Listen>,
    /// `[control]`: where the management API is; `None`: nowhere.
    pub control: Option<Listen>,
    /// `[control] tls`; `None`: none is spoken.
    pub control_tls: Option<ServerTls>,
    /// What is allowed but ill-advised.
    pub warnings: Vec<Diagnostic>,
}

impl Config {
    /// The file of the store, where there is one.
    pub fn store_file(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Store(StoreUrl::Sqlite(path)) => Some(path),
            Origin::Feed(_) => None,
        }
    }

    /// What decisions need of it.
    pub fn policy(&self) -> Policy {
        Policy {
            routes: self.routes.clone(),
            permission_sets: self.permission_sets.clone(),
            keys: self.keys.clone(),
            allow_in_path: self.gate.allow_in_path,
            candidates_limit: if self.legacy.enabled { self.legacy.candidates_limit } else { 0 },
            introspected: self
                .legacy
                .introspection
                .as_ref()
                .map_or_else(|| [].into(), |introspection| introspection.selectors.clone()),
        }
    }
}

/// Headers by which a client would have the upstream take the request for another one than was
/// decided about, or for one of a proxy's. They are dropped unless they are named.
pub static OVERRIDES: [http::HeaderName; 6] = [
    http::HeaderName::from_static("x-original-url"),
    http::HeaderName::from_static("x-rewrite-url"),
    http::HeaderName::from_static("x-http-method-override"),
    http::HeaderName::from_static("x-http-method"),
    http::HeaderName::from_static("x-method-override"),
    http::HeaderName::from_static("proxy"),
];

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    /// An address and port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// `[gate]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Where clients connect.
    pub listen: Vec<Listen>,
    /// Where they connect and speak TLS.
    pub listen_tls: Vec<Listen>,
    /// What is spoken there; there is one where `listen_tls` is not empty.
    pub tls: Option<ServerTls>,
    /// Worker threads; 0: by CPU quota or affinity.
    pub workers: usize,
    /// A missing permission is answered 404 instead of 403.
    pub conceal: bool,
    /// The credential is passed on to the upstream.
    pub forward_credential: bool,
    /// Further headers that may carry a token, lower case.
    pub credential_headers: Vec<http::HeaderName>,
    /// Those of [`OVERRIDES`] that are passed on.
    pub allow_headers: Vec<http::HeaderName>,
    /// Path forms that are let through to routes without captures.
    pub allow_in_path: crate::core::path::Allowed,
    /// From SIGTERM until connections are no longer accepted (readiness fails at once).
    pub drain_delay: Duration,
    /// From then until what is still running is cut off.
    pub drain_timeout: Duration,
}

/// `[upstreams.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Where it can be reached; at least one.
    pub endpoints: Vec<Endpoint>,
    /// What is spoken to `https` endpoints; there is one where there is such an endpoint.
    pub tls: Option<ClientTls>,
    /// HTTP/2 is spoken to it, in clear text by prior knowledge.
    pub http2: bool,
    /// To a connection.
    pub connect_timeout: Duration,
    /// From the request to the response head.
    pub response_timeout: Duration,
    /// Without a byte either way.
    pub idle_timeout: Duration,
    /// Reads `x-portcullis-projects`, which `project = "defer"` needs.
    pub enforces_projects: bool,
}

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `http://host:port`; the host may be a name.
    Http {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port, 80 if not given.
        port: u16,
    },
    /// `https://host:port`, likewise.
    Https {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port, 443 if not given.
        port: u16,
    },
    /// `unix:/path`.
    Unix(PathBuf),
}

/// Where what is decided by comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `[store]`: a store of this process's own.
    Store(StoreUrl),
    /// `[feed]`: a control elsewhere.
    Feed(Feed),
}

/// `[feed]`: how a gate without a store follows a control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Where the control is.
    pub endpoint: Endpoint,
    /// What speaks TLS with it; there where the endpoint is https.
    pub tls: Option<ClientTls>,
    /// The token to present to it, from the variable that `token_env` names.
    pub token: Arc<Secret>,
    /// The folder for what is kept of it here.
    pub cache: PathBuf,
    /// How old what is kept may be for a process to begin with it.
    pub max_boot_age: Duration,
}

/// `[store] url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:PATH`, relative to the file.
    Sqlite(PathBuf),
}

/// `[legacy]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Legacy {
    /// Whether slow verifiers are accepted at all.
    pub enabled: bool,
    /// First second after the last one at which a legacy token may have been made.
    pub cutoff_end: Timestamp,
    /// Threads that hash.
    pub threads: usize,
    /// Share of the CPU quota that they may use, 0 to 1.
    pub cpu_share: f64,
    /// Verifications that may wait.
    pub queue_limit: usize,
    /// Hashes tried for one guess, 1 to 16.
    pub candidates_limit: usize,
    /// How long a success is remembered.
    pub cache_ttl: Duration,
    /// How long a request waits for the lane.
    pub deadline: Duration,
    /// Whether a verified token becomes a fast one.
    pub upgrade: Upgrade,
    /// Where a process of its own hashes, for gates to ask; `None`: threads of the gate's own.
    pub socket: Option<PathBuf>,
    /// Metrics and health of that process; `None`: nowhere.
    pub admin: Option<Listen>,
    /// Who is asked about tokens without a hash.
    pub introspection: Option<Introspection>,
}

/// What `portcullis lane` needs: `[legacy]`, of which it asks no introspection endpoint.
#[derive(Clone, Debug)]
pub struct LaneConfig {
    /// The file that it came from.
    pub file: PathBuf,
    /// `[legacy]`.
    pub legacy: Legacy,
    /// `[legacy] socket`.
    pub socket: PathBuf,
    /// What is allowed but ill-advised.
    pub warnings: Vec<Diagnostic>,
}

/// `[legacy.introspection]`: an endpoint that recognises tokens (RFC 7662).
#[derive(Clone, Debug, PartialEq)]
pub struct Introspection {
    /// Host and port.
    pub address: (String, u16),
    /// Path and query there.
    pub target: http::Uri,
    /// The `Host` that it is asked as.
    pub host: http::HeaderValue,
    /// How tokens begin that may be sent there.
    pub selectors: Arc<[String]>,
    /// How the gate shows who asks; `None`: by its certificate.
    pub authorization: Option<Concealed>,
    /// Speaks TLS there.
    pub tls: Option<crate::tls::ClientTls>,
    /// From a question to the whole answer.
    pub timeout: Duration,
    /// How long a success is remembered at most.
    pub cache_ttl: Duration,
    /// Questions, and connections, at a time.
    pub connections: usize,
    /// What `aud` must hold.
    pub audience: Option<String>,
    /// What `scope` must hold.
    pub scope: Option<String>,
    /// The claim that is the number of the token's account.
    pub account: Option<String>,
    /// The claim that is the number of the token's user.
    pub user: Option<String>,
}

/// `[legacy] upgrade`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// Never; owners rotate.
    Never,
    /// At the first successful verification.
    OnFirstUse,
}

/// `[client_ip]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIp {
    /// Whose word about the client's address is taken; canonical prefixes.
    pub trusted_proxies: Vec<IpNet>,
    /// Which header holds it.
    pub header: ClientIpHeader,
}

/// `[client_ip] header`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIpHeader {
    /// `x-forwarded-for`.
    XForwardedFor,
    /// `forwarded` (RFC 7239).
    Forwarded,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Header fields of a request.
    pub headers: usize,
    /// Bytes of a request's body; `None`: unlimited.
    pub body_bytes: Option<u64>,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// Open connections from clients.
    pub connections: usize,
    /// Failed credentials from one address; `None`: unlimited.
    pub failed_credentials: Option<Rate>,
    /// `[limits.groups.*]`, by name, ascending; routes refer to them by position.
    pub groups: Vec<LimitGroup>,
}

/// `[limits.groups.NAME]`: how often the routes of a group may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitGroup {
    /// Its name.
    pub name: String,
    /// By all tokens of one account together.
    pub account: Option<Rate>,
    /// By one token.
    pub token: Option<Rate>,
    /// For how long nothing more is let through once a limit was reached.
    pub cooldown: Option<Duration>,
}

/// `[usage]`: counting which tokens are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Whether it is counted at all.
    pub enabled: bool,
    /// How often it is written to the store.
    pub interval: Duration,
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
