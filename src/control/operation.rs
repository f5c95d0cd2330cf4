//! The operations of the API: one list, from which the route table, the dispatch and the OpenAPI
//! document are made.

use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::answer::{Answer, Enveloped, ListEnveloped};
use super::call::Call;
use super::error::ApiError;
use super::query::Parameter;
use super::{
    accounts, audit, explain, feed, grants, ids, ip_rules, legacy, openapi, personal_tokens,
    projects, rotation, service_tokens, usage, users,
};
use crate::core::permissions::Level;
use crate::core::routes::{ProjectSpec, RequiresSpec, RouteSpec};

/// Carries out an operation whose caller has the permit for it.
pub(super) type Handler = fn(&Call<'_>) -> Result<Answer, ApiError>;
/// Makes the schema of a body or an answer.
pub(super) type Describe = fn(&mut SchemaGenerator) -> Schema;

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// What it does, in a few words of its own: the name of the operation is made of them.
    pub(super) summary: &'static str,
    pub(super) requires: RequiresSpec,
    pub(super) project: ProjectSpec,
    /// A personal token's user must administer the account and have a Developer licence.
    pub(super) manages_tokens: bool,
    /// Tokens of the operator's account may call it for any account.
    pub(super) for_operator: bool,
    /// For gates that follow: tokens of the operator's account alone may call it, and it is not in
    /// the description of the API.
    pub(super) is_of_feed: bool,
    pub(super) query: Vec<Parameter>,
    pub(super) body: Option<Describe>,
    pub(super) is_body_optional: bool,
    pub(super) status: u16,
    pub(super) answer: Option<Describe>,
    pub(super) handler: Handler,
}

/// Every operation. None may be reached but by the route that is made of it.
pub(super) static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    [
        openapi::operations(),
        accounts::operations(),
        service_tokens::operations(),
        grants::operations(),
        rotation::operations(),
        usage::operations(),
        personal_tokens::operations(),
        ip_rules::operations(),
        projects::operations(),
        users::operations(),
        ids::operations(),
        explain::operations(),
        audit::operations(),
        legacy::operations(),
        feed::operations(),
    ]
    .concat()
});

impl Operation {
    /// An operation that takes any valid token, no body, and answers 204.
    pub(super) fn new(
        method: &'static str,
        path: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        Self {
            method,
            path,
            summary,
            requires: RequiresSpec::Authenticated,
            project: ProjectSpec::Path,
            manages_tokens: false,
            for_operator: false,
            is_of_feed: false,
            query: Vec::new(),
            body: None,
            is_body_optional: false,
            status: 204,
            answer: None,
            handler,
        }
    }

    /// Needs this resource at this level.
    pub(super) fn needs(mut self, resource: &str, level: Level) -> Self {
        self.requires = RequiresSpec::All(vec![(resource.to_owned(), level)]);
        self
    }

    /// For anyone, or for the user in the path.
    pub(super) fn requires(mut self, requires: RequiresSpec) -> Self {
        self.requires = requires;
        self
    }

    /// For those projects that the token may see.
    pub(super) fn deferring(mut self) -> Self {
        self.project = ProjectSpec::Defer;
        self
    }

    pub(super) fn managing_tokens(mut self) -> Self {
        self.manages_tokens = true;
        self
    }

    pub(super) fn for_operator(mut self) -> Self {
        self.for_operator = true;
        self
    }

    pub(super) fn of_feed(mut self) -> Self {
        self.is_of_feed = true;
        self
    }

    pub(super) fn query(mut self, parameters: &[Parameter]) -> Self {
        self.query.extend(parameters);
        self
    }

    /// Takes a body of this shape.
    pub(super) fn takes<T: JsonSchema>(mut self) -> Self {
        self.body = Some(|schemas| schemas.subschema_for::<T>());
        self
    }

    /// Takes a body of this shape, or none.
    pub(super) fn may_take<T: JsonSchema>(mut self) -> Self {
        self.is_body_optional = true;
        self.takes::<T>()
    }

    /// Answers with one thing.
    pub(super) fn answers<T: JsonSchema>(mut self, status: u16) -> Self {
        self.status = status;
        self.answer = Some(|schemas| schemas.subschema_for::<Enveloped<T>>());
        self
    }

    /// Answers with some of a list.
    pub(super) fn lists<T: JsonSchema>(mut self) -> Self {
        self.status = 200;
        self.answer = Some(|schemas| schemas.subschema_for::<ListEnveloped<T>>());
        self.query(&[Parameter::Limit, Parameter::Offset, Parameter::IncludeRelated])
    }

    /// Answers with a document that is no envelope.
    pub(super) fn answers_document(mut self) -> Self {
        self.status = 200;
        self.answer =
            Some(|schemas| schemas.subschema_for::<serde_json::Map<String, serde_json::Value>>());
        self
    }

    /// The route by which it is reached.
    pub(super) fn route(&self) -> RouteSpec {
        RouteSpec {
            path: self.path.to_owned(),
            methods: vec![self.method.to_owned()],
            host: None,
            client_certificate: None,
            requires: self.requires.clone(),
            project: self.project.clone(),
            upstream: 0,
            enforces_projects: true,
            body_bytes: None,
            limit: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_changes_service_tokens_must_be_an_administrator() {
        for operation in OPERATIONS.iter().filter(|operation| operation.method != "GET") {
            let is_theirs = operation.path.contains("/service-tokens/");
            assert_eq!(operation.manages_tokens, is_theirs, "{operation:?}");
        }
    }

    #[test]
    fn no_operation_can_be_called_without_a_token_but_the_description() {
        let public: Vec<_> = OPERATIONS
            .iter()
            .filter(|operation| operation.requires == RequiresSpec::Public)
            .map(|operation| operation.path)
            .collect();
        assert_eq!(public, ["/openapi.json"]);
    }
}
