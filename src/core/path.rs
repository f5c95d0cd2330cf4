//! Which request paths are canonical: refused rather than repaired.

/// Path forms that `[gate] allow_in_path` lets through to routes without captures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed(pub(crate) u8);
