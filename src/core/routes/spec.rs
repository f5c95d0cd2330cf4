//! A route as written in `routes.toml`, its words checked but not yet compiled.

use crate::core::permissions::Level;

/// One `[[route]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// Segments of literals, `{captures}` and at the end perhaps `{*rest}`.
    pub path: String,
    /// Upper-case methods; empty: any. `GET` includes `HEAD`.
    pub methods: Vec<String>,
    /// A host, or one with `*` for any labels at its beginning or end; `None`: any.
    pub host: Option<String>,
    /// Names of certificates, one of which the client's must bear; `None`: it need not show one.
    pub client_certificate: Option<Vec<String>>,
    /// Who may.
    pub requires: RequiresSpec,
    /// Which project the request is about.
    pub project: ProjectSpec,
    /// Position of the upstream in the configuration.
    pub upstream: usize,
    /// Whether that upstream reads `x-portcullis-projects`.
    pub enforces_projects: bool,
    /// Bytes of a request's body; `None`: the general limit.
    pub body_bytes: Option<u64>,
    /// Position of the group of rate limits in the configuration; `None`: not limited.
    pub limit: Option<usize>,
}

/// `requires`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequiresSpec {
    /// All of these resources at these levels.
    All(Vec<(String, Level)>),
    /// Any valid token.
    Authenticated,
    /// Anyone.
    Public,
    /// A personal token whose user is `{user_id}`.
    OwnUser,
}

/// `project`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectSpec {
    /// The path's `{project_id}`; without one, a grant on all projects.
    Path,
    /// A query parameter of this name.
    Query(String),
    /// A capture looked up in the account's id index.
    Index {
        /// Name of the index.
        index: String,
        /// Name of the capture; that of the index unless said otherwise.
        from: String,
    },
    /// A grant on at least one project.
    Any,
    /// Likewise, and the upstream is told which.
    Defer,
}

/// `[routes] unmatched`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// A request that no route matches is denied.
    Deny,
    /// It is let through with any valid token, to the upstream at this position.
    Authenticated {
        /// Position of the upstream in the configuration.
        upstream: usize,
    },
}

/// Why a route cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The path breaks the grammar.
    #[error("path `{path}`: {problem}")]
    Path {
        /// The path as written.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A method that is not one.
    #[error("`{0}` is not a method: write for instance \"GET\", in upper case")]
    Method(String),
    /// A host pattern that is not one.
    #[error(
        "`{0}` is not a host: a name without port, `*.` in front or `.*` behind for any labels"
    )]
    Host(String),
    /// What is no name of a certificate.
    #[error(
        "`{0}` is no name that a certificate is known by: write a DNS name, a URI, or \"sha256:\" and 64 hexadecimal digits"
    )]
    ClientName(String),
    /// `client_certificate` is an empty list.
    #[error("`client_certificate` is an empty list, so no client could ever pass")]
    NoClientName,
    /// A resource that no permission set names.
    #[error("no permission set names the resource `{0}`, so no token could ever pass")]
    UnknownResource(String),
    /// `requires` is an empty list.
    #[error("`requires` is an empty list: write \"authenticated\" or \"public\" if that is meant")]
    RequiresNothing,
    /// A capture that the path does not have.
    #[error("the path has no capture `{{{capture}}}`, which {wanted_by} needs")]
    MissingCapture {
        /// Its name.
        capture: String,
        /// Which key needs it.
        wanted_by: &'static str,
    },
    /// `project = { query = … }` where a body could say otherwise.
    #[error("`project = {{ query = … }}` is for GET and HEAD only: say so in `methods`")]
    QueryMethods,
    /// Two routes that match the same requests.
    #[error("the same path and method as the route at position {other} of the table")]
    Equal {
        /// Position of the other route.
        other: usize,
    },
    /// More upstreams, routes or captures than fit.
    #[error("{0}")]
    Limit(&'static str),
}
