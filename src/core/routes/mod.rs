//! Routes as data: which permission a request needs, and where it goes.

mod spec;

pub use spec::{ProjectSpec, RequiresSpec, RouteError, RouteSpec, Unmatched};

use super::permissions::PermissionSets;

/// The route table, compiled.
#[derive(Debug)]
pub struct Routes {}

impl Routes {
    /// Compiles routes.
    ///
    /// # Errors
    /// Every mistake, with the position in `specs` of the route that it is in.
    pub fn compile(
        _specs: &[RouteSpec],
        _sets: &PermissionSets,
        _unmatched: Unmatched,
    ) -> Result<Self, Vec<(usize, RouteError)>> {
        Ok(Self {})
    }
}
