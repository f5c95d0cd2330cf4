//! The edge: from sockets to facts, and from verdicts to answers.

pub(crate) mod body;
mod client_ip;
mod connection;
pub(crate) mod deadline;
mod facts;
mod listener;
mod refusal;
mod service;
mod worker;

pub(crate) use listener::ACCEPT_PAUSE;
pub use listener::{Accepted, BindError, Listener, accept};
pub(crate) use refusal::{DECISION_ID, Refusal};
pub use worker::{Handoff, Pool, WorkerSettings};
