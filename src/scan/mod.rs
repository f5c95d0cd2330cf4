//! Finding tokens of ours where they should not be: in files, logs, repositories.
//!
//! A token of ours has a prefix and a checksum, so that what is found is one, and what is looked for
//! is rare: most of the time goes into reading. The text is gone through once for each prefix and once
//! for line ends, a chunk at a time while it is in the processor's cache.

mod exclude;
mod finder;
mod narrow;
mod scanner;
mod walk;

pub use exclude::{Exclude, ExcludeError};
pub use finder::Finder;
pub use scanner::{CHUNK_BYTES, Place, Scanner};
pub use walk::walk;
