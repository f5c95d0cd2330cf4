//! The management API: accounts, tokens, projects, users, IP rules and the id index over HTTP, in
//! the shapes of the published Administrative API.
//!
//! Who may do what is decided by the same function as at the gate, against a route table of the
//! API's own: `operation` is the one list from which the route table, the dispatch and the
//! OpenAPI document are made. A handler is called with the permit of its operation in hand, and
//! never without; what a caller may hand out is judged by [`crate::core::authority`]. A request is
//! decided twice: before its body is read, and by the newest index once it is there.

mod access;
mod accounts;
mod answer;
mod audit;
mod body;
mod call;
mod error;
mod explain;
mod feed;
mod file_body;
mod grants;
mod ids;
mod ip_rules;
mod legacy;
mod listener;
mod openapi;
mod operation;
mod personal_tokens;
mod projects;
mod query;
mod rotation;
mod sending;
mod service;
mod service_tokens;
mod tokens;
mod usage;
mod users;
mod words;

pub(crate) use access::unnamed_resources;
pub(crate) use feed::Feed;
pub(crate) use listener::serve;
pub(crate) use service::Api;

use crate::core::record::AccountId;

/// The operator's own account, whose tokens make accounts and their first admin token.
pub(crate) const OPERATOR_ACCOUNT: AccountId = 0;
