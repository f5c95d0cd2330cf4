//! Why the store refused or failed.

/// Why a command or a read did not succeed. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing. Says what, and how to see or make one.
    #[error("{0}")]
    NotFound(String),
    /// There is one already, or the present state forbids it.
    #[error("{0}")]
    Conflict(String),
    /// A rule of the domain forbids it. Says which, and what would be allowed.
    #[error("{0}")]
    Rule(String),
    /// The database failed; nothing was acknowledged.
    #[error("the store: {0}")]
    Database(String),
}
