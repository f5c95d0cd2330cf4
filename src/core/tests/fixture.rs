//! A small world: permission sets, a route table with every kind of rule, keys and secrets.

use std::net::IpAddr;
use std::sync::Arc;

use crate::core::decide::decide;
use crate::core::digest::{DigestKey, DigestKeys};
use crate::core::facts::{Ambiguity, Credential, Facts};
use crate::core::index::{Index, Policy};
use crate::core::path::Allowed;
use crate::core::permissions::{Family, Level, PermissionSetSpec, PermissionSets};
use crate::core::record::{
    AccountRecord, AccountState, Category, Grant, IdRecord, Licence, Plan, Record, Timestamp,
    TokenRecord, TokenState, TokenUser, Verifier,
};
use crate::core::routes::{ProjectSpec, RequiresSpec, RouteSpec, Routes, Unmatched};
use crate::core::token::{Secret, TokenKind};
use crate::core::verdict::{Reason, Verdict};

/// The key that new digests are made with, and one before it.
pub(super) const CURRENT: (&str, [u8; 32]) = ("k2", [2; 32]);
pub(super) const PREVIOUS: (&str, [u8; 32]) = ("k1", [1; 32]);

/// What a configuration says, as it is written.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) sets: Vec<PermissionSetSpec>,
    pub(super) routes: Vec<RouteSpec>,
    pub(super) unmatched: Unmatched,
    pub(super) allow_in_path: Vec<String>,
    pub(super) candidates_limit: usize,
    pub(super) introspected: Vec<String>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            sets: sets(),
            routes: routes(),
            unmatched: Unmatched::Deny,
            allow_in_path: Vec::new(),
            candidates_limit: 4,
            introspected: Vec::new(),
        }
    }

    pub(super) fn policy(&self) -> Arc<Policy> {
        let sets = PermissionSets::compile(self.sets.clone()).unwrap();
        let routes = Routes::compile(&self.routes, &sets, self.unmatched).unwrap();
        let previous = vec![DigestKey::new(PREVIOUS.0, PREVIOUS.1)];
        Arc::new(Policy {
            routes: Arc::new(routes),
            permission_sets: Arc::new(sets),
            keys: Arc::new(DigestKeys::new(DigestKey::new(CURRENT.0, CURRENT.1), previous)),
            allow_in_path: Allowed::parse(&self.allow_in_path).unwrap(),
            candidates_limit: self.candidates_limit,
            introspected: self.introspected.clone().into(),
        })
    }

    pub(super) fn index(&self, records: &[Record]) -> Index {
        Index::build(self.policy(), records.iter().cloned(), 1).unwrap()
    }

    /// The reason of the decision at second 1000.
    pub(super) fn reason(&self, records: &[Record], request: &Request) -> Reason {
        let index = self.index(records);
        reason_of(&decide(&index, &request.facts(), Timestamp(1000)))
    }
}

pub(super) fn reason_of(verdict: &Verdict<'_>) -> Reason {
    match verdict {
        Verdict::Allow(permit) => permit.reason(),
        Verdict::Deny(denial) => denial.reason,
        Verdict::Slow(request) => panic!("slow, {} candidates", request.candidates.len()),
    }
}

/// A request that owns what [`Facts`] borrow.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) host: Option<String>,
    pub(super) credential: Sent,
    pub(super) client: Option<IpAddr>,
    pub(super) client_names: Vec<String>,
    pub(super) ambiguity: Option<Ambiguity>,
}

/// A credential that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Missing,
    Authorization(String),
    Header(String),
    Several,
}

impl Request {
    /// From 192.0.2.1, with the secret as a bearer token. `target` may have a query.
    pub(super) fn new(method: &str, target: &str, secret: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            host: Some("api.example.com".to_owned()),
            credential: Sent::Authorization(format!("Bearer {secret}")),
            client: Some("192.0.2.1".parse().unwrap()),
            client_names: Vec::new(),
            ambiguity: None,
        }
    }

    pub(super) fn from(mut self, client: &str) -> Self {
        self.client = Some(client.parse().unwrap());
        self
    }

    pub(super) fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    pub(super) fn credential(mut self, sent: Sent) -> Self {
        self.credential = sent;
        self
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            ambiguity: self.ambiguity,
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            host: self.host.as_deref(),
            credential: match &self.credential {
                Sent::Missing => Credential::Missing,
                Sent::Authorization(value) => Credential::Authorization(value.as_bytes()),
                Sent::Header(value) => Credential::Header(value.as_bytes()),
                Sent::Several => Credential::Several { accepted_scheme: true },
            },
            client: self.client,
            client_names: &self.client_names,
        }
    }
}

/// An open enterprise account with projects 10, 11 and 12, its IP rules off.
pub(super) fn account(id: u64) -> AccountRecord {
    AccountRecord {
        id,
        plan: Plan::Enterprise,
        state: AccountState::Open,
        ip_rules_enabled: false,
        ip_rules: Vec::new(),
        projects: vec![10, 11, 12],
    }
}

/// A secret of ours, the same for the same number.
pub(super) fn secret(number: u8) -> String {
    Secret::from_entropy(TokenKind::Service, [number; 32]).expose().to_owned()
}

/// The digest verifier of a secret under a key.
pub(super) fn digest(secret: &str, key: (&str, [u8; 32])) -> Verifier {
    let digest = DigestKey::new(key.0, key.1).digest(secret.as_bytes());
    Verifier::Digest { key_id: key.0.to_owned(), digest }
}

/// A password hash; the core never verifies it.
pub(super) fn hash(selector: Option<&str>) -> Verifier {
    Verifier::Hash { encoded: "$2b$12$x".to_owned(), selector: selector.map(str::to_owned) }
}

/// An active service token of account 1 with that secret's digest.
pub(super) fn token(id: u64, secret: &str, grants: &[Grant]) -> TokenRecord {
    TokenRecord {
        id,
        account_id: 1,
        user: None,
        state: TokenState::Active,
        not_before: None,
        expires_at: None,
        allow_ips: Vec::new(),
        grants: grants.to_vec(),
        verifier: digest(secret, CURRENT),
        version: 1,
    }
}

/// The same token, but a user's.
pub(super) fn personal(token: TokenRecord, id: u64, licence: Licence) -> TokenRecord {
    TokenRecord { user: Some(TokenUser { id, licence }), ..token }
}

pub(super) fn grant(set: &str, project_id: Option<u64>) -> Grant {
    categories(set, project_id, &[])
}

pub(super) fn categories(set: &str, project_id: Option<u64>, writable: &[Category]) -> Grant {
    Grant {
        permission_set: set.to_owned(),
        project_id,
        writable_environment_categories: writable.to_vec(),
    }
}

pub(super) fn id_row(index: &str, id: u64, project_id: u64, category: Option<Category>) -> Record {
    Record::Id(IdRecord {
        account_id: 1,
        index: index.to_owned(),
        id,
        project_id,
        environment_category: category,
    })
}

fn sets() -> Vec<PermissionSetSpec> {
    let set = |name: &str, family, read: &[&str], write: &[&str], environment: &[&str], plans| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        PermissionSetSpec {
            name: name.to_owned(),
            family,
            read: owned(read),
            write: owned(write),
            environment_write: owned(environment),
            plans,
        }
    };
    let paid = vec![Plan::Enterprise, Plan::EnterprisePlus, Plan::Team];
    let any = [paid.clone(), vec![Plan::Developer, Plan::Starter]].concat();
    use Family::{Account, Project};
    vec![
        set("account_admin", Account, &["Jobs"], &["Account settings"], &[], paid.clone()),
        set("analyst", Project, &["Projects"], &[], &["Environments", "Jobs"], any.clone()),
        set("job_admin", Project, &["Projects"], &["Jobs", "Runs"], &[], paid),
        set("job_viewer", Project, &["Jobs", "Runs"], &[], &[], any),
        set("run_starter", Project, &[], &["Runs"], &[], vec![Plan::Starter]),
    ]
}

/// The route table: every kind of `requires` and of `project`, with and without `{account_id}`.
fn routes() -> Vec<RouteSpec> {
    use ProjectSpec::{Any, Defer, Path};
    let query = || ProjectSpec::Query("project_id".to_owned());
    let index = |index: &str, from: &str| ProjectSpec::Index {
        index: index.to_owned(),
        from: from.to_owned(),
    };
    let mut routes = vec![
        route("", "/health/", "public", Path),
        route("GET", "/accounts/", "authenticated", Path),
        route("GET", "/projects/any", "authenticated", Any),
        route("GET", "/accounts/{account_id}/", "Account settings:R", Path),
        route("POST", "/accounts/{account_id}/", "Account settings:W", Path),
        route("GET", "/accounts/{account_id}/jobs/", "Jobs:R", Path),
        route("POST", "/accounts/{account_id}/jobs/", "Jobs:W", Path),
        route("POST", "/accounts/{account_id}/both/", "Jobs:W Runs:W", Path),
        route("GET", "/accounts/{account_id}/jobs/latest", "Jobs:R", Any),
        route("GET", "/accounts/{account_id}/projects/{project_id}/jobs/", "Jobs:R", Path),
        route("POST", "/accounts/{account_id}/projects/{project_id}/jobs/", "Jobs:W", Path),
        route("GET", "/projects/{project_id}/jobs/", "Jobs:R", Path),
        route("GET HEAD", "/accounts/{account_id}/runs/", "Runs:R", query()),
        route("GET", "/runs/", "Runs:R", query()),
        route(
            "POST",
            "/accounts/{account_id}/jobs/{job_id}/run/",
            "Runs:W",
            index("job_id", "job_id"),
        ),
        route("POST", "/jobs/{id}/run/", "Runs:W", index("job_id", "id")),
        route(
            "PATCH",
            "/accounts/{account_id}/environments/{environment_id}/",
            "Environments:W",
            index("environment_id", "environment_id"),
        ),
        route(
            "GET",
            "/accounts/{account_id}/environments/{environment_id}/",
            "Environments:R",
            index("environment_id", "environment_id"),
        ),
        route("GET", "/search", "Jobs:R", Any),
        route("POST", "/graphql", "Jobs:R", Defer),
        route("POST", "/plain/graphql", "Jobs:R", Defer),
        route("", "/users/{user_id}/", "self", Path),
        route("GET", "/files/{*rest}", "authenticated", Path),
    ];
    routes[19].enforces_projects = true;
    let metadata = route("GET", "/search", "Runs:W", Any);
    routes.push(RouteSpec { host: Some("metadata.*".to_owned()), ..metadata });
    let named = Some(["CI.example", "spiffe://example/ci"].map(str::to_owned).to_vec());
    for requires in ["public", "authenticated"] {
        let path = format!("/clients/{requires}/");
        let route = route("GET", &path, requires, Path);
        routes.push(RouteSpec { client_certificate: named.clone(), ..route });
    }
    routes
}

/// `methods` and `requires` are separated by spaces.
pub(super) fn route(methods: &str, path: &str, requires: &str, project: ProjectSpec) -> RouteSpec {
    RouteSpec {
        path: path.to_owned(),
        methods: methods.split_whitespace().map(str::to_owned).collect(),
        host: None,
        client_certificate: None,
        requires: match requires {
            "public" => RequiresSpec::Public,
            "authenticated" => RequiresSpec::Authenticated,
            "self" => RequiresSpec::OwnUser,
            needs => RequiresSpec::All(split_needs(needs)),
        },
        project,
        upstream: 0,
        enforces_projects: false,
        body_bytes: None,
        limit: None,
    }
}

/// `Account settings:R Jobs:W`: a level ends each.
fn split_needs(needs: &str) -> Vec<(String, Level)> {
    let mut found = Vec::new();
    for need in needs.split_inclusive([':']).collect::<Vec<_>>().windows(2) {
        let name = need[0].trim_end_matches(':');
        let name = name.strip_prefix("R ").or(name.strip_prefix("W ")).unwrap_or(name);
        let level = if need[1].starts_with('W') { Level::Write } else { Level::Read };
        found.push((name.to_owned(), level));
    }
    found
}
