//! How a command ends: the exit code that scripts see and the line that people read.

use std::io;
use std::process::ExitCode;

use crate::store::StoreError;

/// Exit codes, as documented for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed: the world is not as the command needs it.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// The configuration or the data is invalid.
    Invalid = 3,
    /// Denied: the token would not be let in.
    Denied = 4,
    /// Found what was looked for, and it should not be there.
    Found = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended early. The message never holds a secret.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// What, where and what to do; `None` where everything has been said.
    pub(super) message: Option<String>,
}

impl Failure {
    /// Something outside the command line and the configuration went wrong.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: Some(message.into()) }
    }

    /// The command line asks for something that makes no sense.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: Some(message.into()) }
    }

    /// Ends with this code and without a further word.
    pub(super) fn silent(exit: Exit) -> Self {
        Self { exit, message: None }
    }

    /// What became of writing to standard output. Whoever closed the pipe has seen enough.
    pub(super) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::silent(Exit::Done);
        }
        Self::failed(format!("standard output cannot be written: {error}"))
    }

    /// A file or directory that cannot be used.
    pub(super) fn file(path: &std::path::Path, doing: &str, error: &io::Error) -> Self {
        Self::failed(format!("{} cannot be {doing}: {error}", path.display()))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(_)
            | StoreError::Conflict(_)
            | StoreError::Rule(_)
            | StoreError::Database(_) => Self::failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
        let closed = Failure::output(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((closed.exit, closed.message), (Exit::Done, None));
        let full = Failure::output(&io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit, Exit::Failed);
        assert!(full.message.is_some());
    }
}
