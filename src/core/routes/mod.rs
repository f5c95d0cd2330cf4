//! Routes as data: which permission a request needs, and where it goes.
//!
//! Routes are compiled once into a tree of segments (`tree`) and flattened (`flat`). A look-up
//! visits each node at most once, whatever the path, so that a table of thousands of routes costs
//! no more than one of ten.

mod compile;
mod flat;
mod matching;
mod spec;
mod tree;

pub use matching::{Captures, Lookup};
pub use spec::{ProjectSpec, RequiresSpec, RouteError, RouteSpec, Unmatched};

use flat::Nodes;
use matching::Hosts;

use super::permissions::{Access, PermissionSets};

/// Most captures in one path.
pub const CAPTURES_LIMIT: usize = 8;

/// Who may use a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requires {
    /// Anyone, without a credential.
    Public,
    /// Any valid token.
    Authenticated,
    /// A personal token whose user is the one in this capture.
    OwnUser(CaptureId),
    /// A token with this access.
    Permission(Access),
}

/// Which project a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Project {
    /// None: it takes a grant on all projects.
    All,
    /// The one in this capture.
    Path(CaptureId),
    /// The one in this query parameter; without it, a grant on all projects.
    Query(Box<str>),
    /// The one that the account's id index has for this capture.
    Index {
        /// Which index.
        index: IndexNameId,
        /// The capture that holds the id.
        capture: CaptureId,
    },
    /// Any that a grant covers.
    Any,
    /// Likewise; the upstream is told which.
    Defer,
}

/// Position of a capture among those of its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureId(pub(crate) u8);

/// Position of an id index among those that routes name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IndexNameId(pub(crate) u16);

/// One compiled route.
#[derive(Clone, Debug)]
pub struct Route {
    pub(crate) path: Box<str>,
    pub(crate) position: usize,
    /// One of these names the client's certificate must bear; empty: it need not show one.
    pub(crate) client_names: Box<[String]>,
    pub(crate) requires: Requires,
    pub(crate) project: Project,
    pub(crate) account: Option<CaptureId>,
    pub(crate) captures: bool,
    pub(crate) upstream: usize,
    pub(crate) enforces_projects: bool,
    pub(crate) body_bytes: Option<u64>,
    pub(crate) limit: Option<usize>,
}

impl Route {
    /// Its path as written.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a client may use it whose certificate bears these names.
    #[inline]
    pub(crate) fn admits(&self, client_names: &[String]) -> bool {
        self.client_names.is_empty()
            || self.client_names.iter().any(|name| client_names.contains(name))
    }

    /// Its position in the route table.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Position of its upstream in the configuration.
    pub fn upstream(&self) -> usize {
        self.upstream
    }

    /// Bytes of a request's body; `None`: the general limit.
    pub fn body_bytes(&self) -> Option<u64> {
        self.body_bytes
    }

    /// Position of its group of rate limits in the configuration; `None`: not limited.
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }
}

/// The route table, compiled.
#[derive(Debug)]
pub struct Routes {
    routes: Vec<Route>,
    nodes: Nodes,
    hosts: Hosts,
    index_names: Vec<String>,
    unmatched: Unmatched,
    unmatched_limit: Option<usize>,
}

impl Routes {
    /// Compiles routes.
    ///
    /// # Errors
    /// Every mistake, with the position in `specs` of the route that it is in.
    pub fn compile(
        specs: &[RouteSpec],
        sets: &PermissionSets,
        unmatched: Unmatched,
    ) -> Result<Self, Vec<(usize, RouteError)>> {
        compile::compile(specs, sets, unmatched)
    }

    /// Number of routes.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// What a request that no route matches needs.
    pub fn unmatched(&self) -> Unmatched {
        self.unmatched
    }

    /// The routes, with requests that none of them matches in this group of rate limits.
    #[must_use]
    pub fn with_unmatched_limit(self, unmatched_limit: Option<usize>) -> Self {
        Self { unmatched_limit, ..self }
    }

    /// Group of rate limits of requests that no route matches.
    pub fn unmatched_limit(&self) -> Option<usize> {
        self.unmatched_limit
    }

    /// Every route, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// Every id index that a route names, ascending.
    pub fn index_names(&self) -> &[String] {
        &self.index_names
    }

    /// The id index of that name, if a route names it.
    pub fn index_name(&self, name: &str) -> Option<IndexNameId> {
        let position = self.index_names.binary_search_by(|known| known.as_str().cmp(name)).ok()?;
        Some(IndexNameId(position as u16))
    }

    /// The name of an id index.
    pub fn name_of(&self, index: IndexNameId) -> &str {
        &self.index_names[usize::from(index.0)]
    }
}
