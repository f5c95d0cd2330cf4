//! The core as a whole: against a plain oracle, sentence by sentence, and what it may import.

mod authority;
mod decisions;
mod fixture;
mod layering;
mod oracle;
mod property;
mod regressions;
mod strategies;
