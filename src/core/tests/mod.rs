//! The core as a whole: against a plain oracle, sentence by sentence, and what it may import.

mod fixture;
mod oracle;
mod property;
mod regressions;
mod strategies;
