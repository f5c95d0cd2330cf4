//! Synthetic accounts, tokens and requests, the same in every run, under the sample configuration.

// Each bench uses its part.
#![allow(dead_code)]

#[path = "../../tests/support/draw.rs"]
mod draw;

pub use draw::Draw;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis::config::Config;
use portcullis::core::decide::decide;
use portcullis::core::digest::Digest;
use portcullis::core::facts::{Credential, Facts};
use portcullis::core::index::{Index, IndexBuilder, Memory, Policy};
use portcullis::core::record::{
    AccountRecord, AccountState, Action, Grant, IdRecord, IpRule, Plan, Record, Timestamp,
    TokenRecord, TokenState, Verifier,
};
use portcullis::core::token::{Secret, TokenKind};
use portcullis::core::verdict::{Reason, Verdict};

/// Most tokens whose secrets are made; all others are known by their digests alone.
pub const PRESENTED_LIMIT: usize = 1 << 18;
/// Most accounts.
const ACCOUNTS_LIMIT: usize = 100_000;
/// Projects of an account.
const PROJECTS: u64 = 8;
/// When requests are decided.
pub const NOW: Timestamp = Timestamp(1_700_000_000);

/// Short measurements: what is measured varies little from one second to the next.
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
}

/// The configuration that `init` writes.
pub fn sample_config() -> Config {
    sample_config_with(&[])
}

/// Likewise, with these variables in its environment.
pub fn sample_config_with(variables: &[(&str, &str)]) -> Config {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in ["portcullis.toml", "routes.toml", "permission_sets.toml"] {
        std::fs::copy(sample.join(name), folder.path().join(name)).expect("a sample file");
    }
    let file = folder.path().join("portcullis.toml");
    let environment = [
        ("PORTCULLIS_KEYS__DIGEST_ENV".to_owned(), "BENCH_DIGEST_KEY".to_owned()),
        ("BENCH_DIGEST_KEY".to_owned(), format!("bench:{}", "5a".repeat(32))),
    ];
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    portcullis::config::load(&file, environment.into_iter().chain(variables))
        .unwrap_or_else(|errors| panic!("{}", portcullis::config::render(&errors)))
}

pub fn policy() -> Arc<Policy> {
    Arc::new(sample_config().policy())
}

/// So many tokens of so many accounts.
pub struct Synthetic {
    pub policy: Arc<Policy>,
    pub tokens: usize,
    pub accounts: usize,
}

impl Synthetic {
    pub fn new(policy: &Arc<Policy>, tokens: usize) -> Self {
        let accounts = (tokens / 10).clamp(1, ACCOUNTS_LIMIT);
        Self { policy: policy.clone(), tokens, accounts }
    }

    pub fn index(&self) -> Index {
        let mut builder = IndexBuilder::new(self.policy.clone());
        for record in self.records() {
            builder.add(record).expect("accounts come first");
        }
        builder.finish(1)
    }

    /// Accounts and their id rows, then tokens.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let accounts = (0..self.accounts as u64).flat_map(|id| [account(id), id_row(id)]);
        accounts.chain((0..self.tokens).map(|number| Record::Token(self.token(number))))
    }

    pub fn token(&self, number: usize) -> TokenRecord {
        let mut draw = Draw(number as u64);
        let digest = match number < PRESENTED_LIMIT {
            true => self.policy.keys.current().digest(secret(number).expose().as_bytes()),
            false => Digest(draw.bytes()),
        };
        let grants = (0..1 + draw.below(5)).map(|position| grant(position, &mut draw)).collect();
        TokenRecord {
            id: number as u64,
            account_id: (number % self.accounts) as u64,
            user: None,
            state: TokenState::Active,
            not_before: None,
            expires_at: None,
            allow_ips: Vec::new(),
            grants,
            verifier: Verifier::Digest { key_id: "bench".to_owned(), digest },
            version: 1,
        }
    }

    /// Requests that are let through, each with another token, in random order, over all routes
    /// of the shipped table that let a token of an administrator through.
    pub fn hits(&self, index: &Index) -> Vec<Request> {
        let routes = shipped_routes();
        let mut numbers: Vec<usize> = (0..self.tokens.min(PRESENTED_LIMIT)).collect();
        let mut draw = Draw(3);
        draw.shuffle(&mut numbers);
        let request = |number| {
            let (secret, account) = (secret(number), self.account_of(number));
            std::iter::repeat_with(|| {
                Request::new(&routes[draw.below(routes.len())], &secret, account)
            })
            .find(|request| request.reason(index) == Reason::Allow)
            .expect("some route lets it through")
        };
        numbers.into_iter().map(request).collect()
    }

    /// Such requests with tokens that nobody has.
    pub fn misses(&self) -> Vec<Request> {
        let routes = shipped_routes();
        let mut draw = Draw(4);
        let request = |number| {
            let route = &routes[draw.below(routes.len())];
            Request::new(route, &secret(usize::MAX - number), self.account_of(number))
        };
        (0..1 << 16).map(request).collect()
    }

    fn account_of(&self, number: usize) -> u64 {
        (number % self.accounts) as u64
    }
}

/// The parts of an index, in bytes a token.
pub fn describe(memory: &Memory, tokens: usize) -> String {
    let of = |bytes: usize| bytes as f64 / tokens as f64;
    format!(
        "{:.1} bytes a token: {:.1} table, {:.1} grants, {:.1} accounts with projects and IP rules, {:.1} IP rules of accounts with many, {:.1} id index",
        of(memory.total()),
        of(memory.tokens),
        of(memory.grants),
        of(memory.accounts),
        of(memory.ip_rules),
        of(memory.ids),
    )
}

/// A route of the shipped table.
struct ShippedRoute {
    method: String,
    host: &'static str,
    path: String,
    query: Option<String>,
}

/// All routes of the shipped table that a client may ask for without a `host` pattern's.
fn shipped_routes() -> Vec<ShippedRoute> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/routes.toml");
    let text = std::fs::read_to_string(file).expect("the shipped table");
    let table: toml::Table = text.parse().expect("TOML");
    let route = |route: &toml::Value| {
        let text = |key: &str| route.get(key).and_then(|value| value.as_str());
        let host = text("host").map_or("cloud.example.com", |host| match host {
            "metadata.*" => "metadata.example.com",
            _ => "semantic-layer.example.com",
        });
        let methods = route.get("methods").and_then(|methods| methods.as_array());
        let method = methods.and_then(|methods| methods.first()?.as_str()).unwrap_or("POST");
        let query = route.get("project").and_then(|project| project.get("query"));
        ShippedRoute {
            method: method.to_owned(),
            host,
            path: text("path").expect("a path").to_owned(),
            query: query.and_then(|name| name.as_str()).map(str::to_owned),
        }
    };
    table["route"].as_array().expect("routes").iter().map(route).collect()
}

/// The secret of a token.
pub fn secret(number: usize) -> Secret {
    Secret::from_entropy(TokenKind::Service, Draw(number as u64 ^ 1 << 62).bytes())
}

/// Open, on a plan that suspends nothing, with up to 32 IP rules of both families, of which one
/// lets every request in. A quarter of the accounts does not enforce them.
pub fn account(id: u64) -> Record {
    let mut draw = Draw(id ^ 1 << 61);
    let mut ip_rules: Vec<IpRule> = (0..draw.below(32))
        .map(|_| IpRule {
            action: if draw.below(4) == 0 { Action::Deny } else { Action::Allow },
            cidr: match draw.below(4) {
                0 => {
                    let address = 0x2001_0db8 << 96 | u128::from(draw.bits()) << 32;
                    IpNet::V6(Ipv6Net::new_assert(address.into(), 48).trunc())
                }
                _ => {
                    let address = 0x0b00_0000 | draw.bits() as u32 >> 8;
                    IpNet::V4(Ipv4Net::new_assert(address.into(), 24).trunc())
                }
            },
            name: String::new(),
        })
        .collect();
    let cidr = "10.0.0.0/8".parse().expect("a CIDR");
    ip_rules.push(IpRule { action: Action::Allow, cidr, name: String::new() });
    ip_rules.sort_by_key(|rule| rule.cidr);
    ip_rules.dedup_by_key(|rule| rule.cidr);
    Record::Account(AccountRecord {
        id,
        plan: Plan::Enterprise,
        state: AccountState::Open,
        ip_rules_enabled: !id.is_multiple_of(4),
        ip_rules,
        projects: (0..PROJECTS).map(|project| id * PROJECTS + project).collect(),
    })
}

/// One row an account, of one of the three indexes.
fn id_row(account_id: u64) -> Record {
    const INDEXES: [&str; 3] = ["job_id", "environment_id", "repository_id"];
    Record::Id(IdRecord {
        account_id,
        index: INDEXES[account_id as usize % 3].to_owned(),
        id: account_id,
        project_id: account_id * PROJECTS,
        environment_category: None,
    })
}

/// The first grant is an administrator's.
fn grant(position: usize, draw: &mut Draw) -> Grant {
    const OTHERS: [&str; 4] = ["analyst", "developer", "git_admin", "metadata_only"];
    let (set, project_id) = match position {
        0 => ("owner", None),
        _ => (OTHERS[draw.below(4)], Some(draw.bits() >> 40)),
    };
    Grant {
        permission_set: set.to_owned(),
        project_id,
        writable_environment_categories: Vec::new(),
    }
}

/// A request that owns what its facts borrow.
pub struct Request {
    method: String,
    host: &'static str,
    path: String,
    query: Option<String>,
    authorization: String,
    client: IpAddr,
}

impl Request {
    fn new(route: &ShippedRoute, secret: &Secret, account: u64) -> Self {
        let fill = |segment: &str| match segment {
            "{project_id}" => (account * PROJECTS).to_string(),
            // That of the account, and every id of an index.
            capture if capture.starts_with('{') => account.to_string(),
            literal => literal.to_owned(),
        };
        let project = |name: &String| format!("{name}={}", account * PROJECTS);
        Self {
            method: route.method.clone(),
            host: route.host,
            path: route.path.split('/').map(fill).collect::<Vec<_>>().join("/"),
            query: route.query.as_ref().map(project),
            authorization: format!("Bearer {}", secret.expose()),
            client: IpAddr::from([10, 0, (account >> 8) as u8, account as u8]),
        }
    }

    pub fn facts(&self) -> Facts<'_> {
        Facts {
            ambiguity: None,
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            host: Some(self.host),
            credential: Credential::Authorization(self.authorization.as_bytes()),
            client: Some(self.client),
            client_names: &[],
        }
    }

    /// What comes of it.
    pub fn reason(&self, index: &Index) -> Reason {
        match decide(index, &self.facts(), NOW) {
            Verdict::Allow(permit) => permit.reason(),
            Verdict::Deny(denial) => denial.reason,
            Verdict::Slow(_) => Reason::LaneFull,
        }
    }

    /// Method and path, by which routes are told apart.
    pub fn target(&self) -> (&str, &str) {
        (&self.method, &self.path)
    }

    /// Reads the request, as a front end just has: what is measured is the decision.
    pub fn touch(&self) -> usize {
        let bytes = self.path.bytes().chain(self.authorization.bytes()).chain(self.method.bytes());
        bytes.chain(self.query.iter().flat_map(|query| query.bytes())).map(usize::from).sum()
    }
}

/// CPU time of this thread, which others on the same machine hardly change.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
