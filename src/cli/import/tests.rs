//! Import, line by line.
