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
use ipnet::{IpNet, Ipv4Net};
use portcullis::config::Config;
use portcullis::core::digest::Digest;
use portcullis::core::facts::{Credential, Facts};
use portcullis::core::index::{Index, IndexBuilder, Policy};
use portcullis::core::record::{
    AccountRecord, AccountState, Action, Grant, IdRecord, IpRule, Plan, Record, TokenRecord,
    TokenState, Verifier,
};
use portcullis::core::token::{Secret, TokenKind};

/// Most tokens whose secrets are made; all others are known by their digests alone.
pub const PRESENTED_LIMIT: usize = 1 << 18;
/// Most accounts.
const ACCOUNTS_LIMIT: usize = 100_000;
/// Projects of an account.
const PROJECTS: u64 = 8;

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
        let accounts = (0..self.accounts as u64).flat_map(|id| [account(id), job(id)]);
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

    /// Requests that are let through, each with another token, in random order.
    pub fn hits(&self) -> Vec<Request> {
        let mut numbers: Vec<usize> = (0..self.tokens.min(PRESENTED_LIMIT)).collect();
        Draw(3).shuffle(&mut numbers);
        let request =
            |number| Request::new(&secret(number), (number % self.accounts) as u64, number);
        numbers.into_iter().map(request).collect()
    }

    /// The same requests with tokens that nobody has.
    pub fn misses(&self) -> Vec<Request> {
        let unknown = |number| secret(usize::MAX - number);
        let account = |number| (number % self.accounts) as u64;
        (0..1 << 16).map(|number| Request::new(&unknown(number), account(number), number)).collect()
    }
}

/// The secret of a token.
pub fn secret(number: usize) -> Secret {
    Secret::from_entropy(TokenKind::Service, Draw(number as u64 ^ 1 << 62).bytes())
}

/// Open, on a plan that suspends nothing, with up to 32 IP rules of which the first one lets in.
pub fn account(id: u64) -> Record {
    let mut draw = Draw(id ^ 1 << 61);
    let mut ip_rules: Vec<IpRule> = (0..draw.below(32))
        .map(|_| IpRule {
            action: if draw.below(4) == 0 { Action::Deny } else { Action::Allow },
            cidr: IpNet::V4(
                Ipv4Net::new_assert((0x0b00_0000 | draw.bits() as u32 >> 8).into(), 24).trunc(),
            ),
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

fn job(account_id: u64) -> Record {
    Record::Id(IdRecord {
        account_id,
        index: "job_id".to_owned(),
        id: account_id,
        project_id: account_id * PROJECTS,
        environment_category: None,
    })
}

/// The first grant lets every request of [`Request`] through.
fn grant(position: usize, draw: &mut Draw) -> Grant {
    const OTHERS: [&str; 4] = ["analyst", "developer", "git_admin", "metadata_only"];
    let (set, project_id) = match position {
        0 => ("job_admin", None),
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
    method: &'static str,
    path: String,
    query: Option<String>,
    authorization: String,
    client: IpAddr,
}

impl Request {
    /// By turns a plain route, one with a query, and one that asks the id index.
    fn new(secret: &Secret, account: u64, number: usize) -> Self {
        let (method, rest, query) = match number % 3 {
            0 => ("GET", "jobs/".to_owned(), None),
            1 => (
                "GET",
                "environments/".to_owned(),
                Some(format!("project_id={}", account * PROJECTS)),
            ),
            _ => ("POST", format!("jobs/{account}/run/"), None),
        };
        Self {
            method,
            path: format!("/api/v2/accounts/{account}/{rest}"),
            query,
            authorization: format!("Bearer {}", secret.expose()),
            client: IpAddr::from([10, 0, (number >> 8) as u8, number as u8]),
        }
    }

    pub fn facts(&self) -> Facts<'_> {
        Facts {
            ambiguity: None,
            method: self.method,
            path: &self.path,
            query: self.query.as_deref(),
            host: Some("cloud.example.com"),
            credential: Credential::Authorization(self.authorization.as_bytes()),
            client: Some(self.client),
        }
    }

    /// Reads the request, as a front end just has: what is measured is the decision.
    pub fn touch(&self) -> usize {
        let bytes = self.path.bytes().chain(self.authorization.bytes());
        bytes.chain(self.query.iter().flat_map(|query| query.bytes())).map(usize::from).sum()
    }
}
