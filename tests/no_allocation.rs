//! A decision that lets a request through allocates nothing, and neither does a common refusal.
//! Changes allocate little, and leave nothing to be freed to those who decide.

// A global allocator that counts cannot be written without `unsafe`, and the crate denies it:
// hence a binary of its own.
#![allow(unsafe_code)]
// Clippy lets `#[test]` functions unwrap, but not what prepares them.
#![allow(clippy::unwrap_used)]

#[path = "no_allocation/changes.rs"]
mod changes;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use portcullis::core::decide::decide;
use portcullis::core::digest::{DigestKey, DigestKeys};
use portcullis::core::facts::{Credential, Facts};
use portcullis::core::index::{Index, Policy};
use portcullis::core::ip::parse_cidr;
use portcullis::core::path::Allowed;
use portcullis::core::permissions::{Family, Level, PermissionSetSpec, PermissionSets};
use portcullis::core::record::{
    AccountRecord, AccountState, Action, Grant, IdRecord, IpRule, Licence, Plan, Record, Timestamp,
    TokenRecord, TokenState, TokenUser, Verifier,
};
use portcullis::core::routes::{ProjectSpec, RequiresSpec, RouteSpec, Routes, Unmatched};
use portcullis::core::token::{Secret, TokenKind};
use portcullis::core::verdict::{Reason, Verdict};

struct Counting;

thread_local! {
    // Without a destructor and without lazy set-up, so that counting does not itself allocate.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
    static FREES: Cell<u64> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
    BYTES.with(|counted| counted.set(counted.get() + bytes));
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        FREES.with(|frees| frees.set(frees.get() + 1));
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW: Timestamp = Timestamp(1000);
const V4: &str = "192.0.2.7";
const V6: &str = "2001:db8::7";

/// What a decision about a request says, and how often it allocated.
fn measure(index: &Index, request: &Request) -> (Reason, u64) {
    let facts = request.facts();
    let before = ALLOCATIONS.with(Cell::get);
    let verdict = std::hint::black_box(decide(index, &facts, NOW));
    let allocations = ALLOCATIONS.with(Cell::get) - before;
    let reason = match verdict {
        Verdict::Allow(permit) => permit.reason(),
        Verdict::Deny(denial) => denial.reason,
        Verdict::Slow(_) => panic!("no slow verifier is here"),
    };
    (reason, allocations)
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.with(Cell::get);
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.with(Cell::get), before + 1);
}

#[test]
fn no_way_to_a_permit_allocates() {
    let ways = [
        ("GET", "/accounts/1/jobs/", None),
        ("HEAD", "/accounts/1/projects/5/jobs/", None),
        ("GET", "/projects/10/jobs/", None),
        ("GET", "/accounts/1/runs/", Some("a=b&project_id=10")),
        ("GET", "/accounts/1/runs/", None),
        ("POST", "/accounts/1/jobs/77/run/", None),
        ("GET", "/search", None),
        ("POST", "/graphql", None),
        ("GET", "/me/", None),
        ("GET", "/nowhere/at/all", None),
    ];
    for (state, index) in indexes() {
        // 1: by list; 2: by tree; 3: personal, narrowed; 4: by SHA-256.
        for number in 1..=4 {
            for client in [V4, V6] {
                for (method, path, query) in ways {
                    let path = path.replacen("/accounts/1", &format!("/accounts/{number}"), 1);
                    let request = Request::new(method, &path, query, number, client);
                    let found = measure(&index, &request);
                    assert_eq!(found, (Reason::Allow, 0), "{state}, token {number}: {request:?}");
                }
            }
        }
    }
}

#[test]
fn telling_the_upstream_allocates_nothing_but_its_text() {
    let (_, index) = indexes().remove(0);
    let request = Request::new("POST", "/graphql", None, 5, V4);
    let facts = request.facts();
    let Verdict::Allow(permit) = decide(&index, &facts, NOW) else { panic!("denied") };
    let mut text = String::with_capacity(1024);
    let before = ALLOCATIONS.with(Cell::get);
    permit.write_permission_sets(&mut text);
    text.push(' ');
    permit.write_projects(&mut text);
    assert_eq!(ALLOCATIONS.with(Cell::get), before);
    assert_eq!(text, "job_admin 10,11");
}

#[test]
fn common_refusals_do_not_allocate() {
    for (state, index) in indexes() {
        let secret = |number| Credentials::Bearer(format!("Bearer {}", secret(number)));
        let path = "/accounts/1/jobs/";
        let cases = [
            (Reason::NoCredential, path, Credentials::Missing, V4),
            (Reason::MultipleCredentials, path, Credentials::Several, V4),
            (Reason::MalformedCredential, path, Credentials::Bearer("Basic x".to_owned()), V4),
            (Reason::BadChecksum, path, Credentials::Bearer("Bearer pts_x".to_owned()), V4),
            (Reason::UnknownToken, path, secret(99), V4),
            (Reason::BadRequest, "/accounts/1//jobs/", secret(1), V4),
            (Reason::Revoked, path, secret(6), V4),
            (Reason::Expired, path, secret(7), V4),
            (Reason::IpDenied, path, secret(1), "198.51.100.1"),
            (Reason::IpDenied, "/accounts/2/jobs/", secret(2), "2001:db9::1"),
            (Reason::TokenIpDenied, "/accounts/3/jobs/", secret(3), "192.0.2.8"),
            (Reason::NoRoute, "/accounts/1/deletions/", secret(1), V4),
            (Reason::WrongAccount, "/accounts/2/jobs/", secret(1), V4),
            (Reason::NoPermission, path, secret(5), V4),
        ];
        for (reason, path, credentials, client) in cases {
            let mut request = Request::new("GET", path, None, 1, client);
            request.credentials = credentials;
            assert_eq!(measure(&index, &request), (reason, 0), "{state}: {request:?}");
        }
    }
}

#[derive(Debug)]
struct Request {
    method: &'static str,
    path: String,
    query: Option<&'static str>,
    credentials: Credentials,
    client: IpAddr,
}

#[derive(Debug)]
enum Credentials {
    Missing,
    Several,
    Bearer(String),
}

impl Request {
    fn new(
        method: &'static str,
        path: &str,
        query: Option<&'static str>,
        number: u8,
        client: &str,
    ) -> Self {
        Self {
            method,
            path: path.to_owned(),
            query,
            credentials: Credentials::Bearer(format!("Bearer {}", secret(number))),
            client: client.parse().unwrap(),
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            ambiguity: None,
            method: self.method,
            path: &self.path,
            query: self.query,
            host: Some("API.example.com:443"),
            credential: match &self.credentials {
                Credentials::Missing => Credential::Missing,
                Credentials::Several => Credential::Several { accepted_scheme: true },
                Credentials::Bearer(value) => Credential::Authorization(value.as_bytes()),
            },
            client: Some(self.client),
            client_names: &[],
        }
    }
}

/// The same records, all in the base, all but one token in the overlay, and folded.
fn indexes() -> Vec<(&'static str, Index)> {
    let records = records();
    let base = Index::build(policy(), records.clone(), 1).unwrap();
    let accounts = records.iter().filter(|record| matches!(record, Record::Account(_)));
    let empty = Index::build(policy(), accounts.cloned(), 1).unwrap();
    let overlay = empty.apply(&records, 2);
    let folded = overlay.fold().unwrap();
    vec![("base", base), ("overlay", overlay), ("folded", folded)]
}

fn records() -> Vec<Record> {
    let mut records: Vec<Record> = [(1, 3), (2, 400), (3, 3), (4, 400)].map(account).to_vec();
    for number in 1..=4 {
        records.push(Record::Token(token(number, u64::from(number), &[None, Some(10)])));
        records.push(Record::Id(IdRecord {
            account_id: u64::from(number),
            index: "job_id".to_owned(),
            id: 77,
            project_id: 10,
            environment_category: None,
        }));
    }
    let narrowed = TokenRecord {
        user: Some(TokenUser { id: 1, licence: Licence::Developer }),
        not_before: Some(Timestamp(1)),
        expires_at: Some(Timestamp(2000)),
        allow_ips: [V4, V6].map(|cidr| parse_cidr(cidr).unwrap()).to_vec(),
        ..token(3, 3, &[None])
    };
    let revoked = TokenRecord { state: TokenState::Revoked, ..token(6, 1, &[None]) };
    let expired = TokenRecord { expires_at: Some(NOW), ..token(7, 1, &[None]) };
    let on_projects = token(5, 1, &[Some(11), Some(10)]);
    records.retain(|record| !matches!(record, Record::Token(token) if token.id == 3));
    records.extend([narrowed, revoked, expired, on_projects].map(Record::Token));
    records
}

/// Few rules are kept as a list, many as a tree.
fn account((id, rules): (u64, u32)) -> Record {
    let rule = |cidr: String| IpRule {
        action: Action::Allow,
        cidr: parse_cidr(&cidr).unwrap(),
        name: String::new(),
    };
    let spread = |octet| {
        let v4 = format!("10.{}.{}.0/24", octet / 200, octet % 200);
        [v4, format!("2001:db7:{octet:x}::/48")]
    };
    let ours = ["192.0.2.0/24".to_owned(), "2001:db8::/32".to_owned()];
    Record::Account(AccountRecord {
        id,
        plan: Plan::Enterprise,
        state: AccountState::Open,
        ip_rules_enabled: true,
        ip_rules: ours.into_iter().chain((0..rules).flat_map(spread)).map(rule).collect(),
        projects: vec![10, 11],
    })
}

fn secret(number: u8) -> String {
    match number {
        4 => "a-token-made-elsewhere-known-by-sha256".to_owned(),
        _ => Secret::from_entropy(TokenKind::Service, [number; 32]).expose().to_owned(),
    }
}

fn token(number: u8, account_id: u64, projects: &[Option<u64>]) -> TokenRecord {
    use sha2::Digest as _;
    let secret = secret(number);
    let verifier = match number {
        4 => Verifier::Sha256(sha2::Sha256::digest(&secret).into()),
        _ => Verifier::Digest { key_id: "k".to_owned(), digest: key().digest(secret.as_bytes()) },
    };
    let grant = |project_id: &Option<u64>| Grant {
        permission_set: "job_admin".to_owned(),
        project_id: *project_id,
        writable_environment_categories: Vec::new(),
    };
    TokenRecord {
        id: u64::from(number),
        account_id,
        user: None,
        state: TokenState::Active,
        not_before: None,
        expires_at: None,
        allow_ips: Vec::new(),
        grants: projects.iter().map(grant).collect(),
        verifier,
        version: 1,
    }
}

fn key() -> DigestKey {
    DigestKey::new("k", [1; 32])
}

fn policy() -> Arc<Policy> {
    let sets = PermissionSets::compile(vec![PermissionSetSpec {
        name: "job_admin".to_owned(),
        family: Family::Project,
        read: Vec::new(),
        write: vec!["Jobs".to_owned(), "Runs".to_owned()],
        environment_write: Vec::new(),
        plans: vec![Plan::Enterprise],
    }])
    .unwrap();
    let unmatched = Unmatched::Authenticated { upstream: 0 };
    let routes = Routes::compile(&routes(), &sets, unmatched).unwrap();
    Arc::new(Policy {
        routes: Arc::new(routes),
        permission_sets: Arc::new(sets),
        keys: Arc::new(DigestKeys::new(key(), vec![DigestKey::new("old", [2; 32])])),
        allow_in_path: Allowed::default(),
        candidates_limit: 4,
        introspected: [].into(),
    })
}

fn routes() -> Vec<RouteSpec> {
    let jobs = |level| RequiresSpec::All(vec![("Jobs".to_owned(), level)]);
    let read = || jobs(Level::Read);
    let query = ProjectSpec::Query("project_id".to_owned());
    let index = ProjectSpec::Index { index: "job_id".to_owned(), from: "job_id".to_owned() };
    let own = RequiresSpec::Authenticated;
    let metadata = Some("metadata.*".to_owned());
    let mut routes = vec![
        route("GET", "/accounts/{account_id}/jobs/", read(), ProjectSpec::Path),
        route("POST", "/accounts/{account_id}/deletions/", read(), ProjectSpec::Path),
        route(
            "GET",
            "/accounts/{account_id}/projects/{project_id}/jobs/",
            read(),
            ProjectSpec::Path,
        ),
        route("GET", "/projects/{project_id}/jobs/", read(), ProjectSpec::Path),
        route("GET", "/accounts/{account_id}/runs/", read(), query),
        route("POST", "/accounts/{account_id}/jobs/{job_id}/run/", jobs(Level::Write), index),
        route("GET", "/search", read(), ProjectSpec::Any),
        route("GET", "/me/", own, ProjectSpec::Path),
        RouteSpec { host: metadata, ..route("GET", "/search", read(), ProjectSpec::Any) },
    ];
    let graphql = route("POST", "/graphql", read(), ProjectSpec::Defer);
    routes.push(RouteSpec { enforces_projects: true, ..graphql });
    routes
}

fn route(method: &str, path: &str, requires: RequiresSpec, project: ProjectSpec) -> RouteSpec {
    RouteSpec {
        path: path.to_owned(),
        methods: vec![method.to_owned()],
        host: None,
        client_certificate: None,
        requires,
        project,
        upstream: 0,
        enforces_projects: false,
        body_bytes: None,
        limit: None,
    }
}
