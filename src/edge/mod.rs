//! The edge: from sockets to facts, and from verdicts to answers.

pub(crate) mod body;
pub(crate) mod client_ip;
pub(crate) mod connection;
pub(crate) mod deadline;
pub(crate) mod facts;
pub mod guard;
mod listener;
mod refusal;
mod service;
mod streams;
mod waiter;
mod worker;

#[cfg(fuzzing)]
pub use client_ip::client_address;
#[cfg(fuzzing)]
pub use facts::facts_of_head;
pub(crate) use listener::ACCEPT_PAUSE;
pub use listener::{Accepted, BindError, Listener, Transport, accept};
pub(crate) use refusal::{DECISION_ID, Format, Refusal};
pub(crate) use streams::{Followed, Streams};
pub use worker::{Handoff, Pool, WorkerSettings};
