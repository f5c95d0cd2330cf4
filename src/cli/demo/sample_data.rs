//! The demo's accounts and tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cli::exit::Failure;
use crate::cli::token::make_secret;
use crate::config::Config;
use crate::core::record::{
    AccountState, Action, Grant, Plan, ProjectId, Timestamp, TokenState, Verifier,
};
use crate::core::token::{Secret, TokenKind};
use crate::store::{Actor, Command, NewToken, SqliteStore, Store};

/// What Django 4.2 makes.
const LEGACY_ROUNDS: u32 = 600_000;
/// An hour before the demo, the third token expired.
const EXPIRED_SECONDS_AGO: i64 = 3600;
/// 2022-03-01: before the cutoff.
const LEGACY_CREATED: Timestamp = Timestamp(1_646_092_800);

/// The secrets that the introduction shows. They are worth nothing outside the demo.
pub(super) struct Sample {
    pub(super) allowed: String,
    pub(super) fenced: String,
    pub(super) expired: String,
    pub(super) legacy: String,
    pub(super) admin: String,
}

/// Makes the sample accounts and tokens: tokens 1 to 5 in the order of [`Sample`]'s fields.
pub(super) fn fill(
    store: &SqliteStore,
    config: &Config,
    now: Timestamp,
) -> Result<Sample, Failure> {
    let make = || make_secret(TokenKind::Service, &config.keys);
    let (allowed, fenced, expired, legacy) = (make()?, make()?, make()?, legacy_secret()?);
    let admin = make()?;
    let past = Timestamp(now.0 - EXPIRED_SECONDS_AGO);
    let runner = || vec![grant("job_admin", Some(42))];
    let mut commands = accounts()?;
    commands.extend([
        token(1, "deploy", now, None, runner(), allowed.1),
        token(2, "office", now, None, vec![grant("account_viewer", None)], fenced.1),
        token(1, "last year's", Timestamp(past.0 - 1), Some(past), runner(), expired.1),
        token(1, "from 2022", LEGACY_CREATED, None, runner(), legacy_verifier(&legacy)),
        token(1, "admin", now, None, vec![grant("account_admin", None)], admin.1),
    ]);
    for outcome in store.apply_all(&Actor::system("demo"), commands) {
        outcome?;
    }
    let text = |secret: &Secret| secret.expose().to_owned();
    Ok(Sample {
        allowed: text(&allowed.0),
        fenced: text(&fenced.0),
        expired: text(&expired.0),
        legacy,
        admin: text(&admin.0),
    })
}

fn accounts() -> Result<Vec<Command>, Failure> {
    let account = |id, name: &str| Command::CreateAccount {
        id,
        name: name.to_owned(),
        plan: Plan::Enterprise,
        state: AccountState::Open,
    };
    let cidr = "203.0.113.0/24".parse().map_err(|_| Failure::failed("the sample's CIDR"))?;
    Ok(vec![
        account(1, "Acme"),
        Command::CreateProject { account_id: 1, id: 42, name: "Analytics".to_owned() },
        Command::SetId {
            account_id: 1,
            index: "job_id".to_owned(),
            id: 77,
            project_id: 42,
            environment_category: None,
        },
        account(2, "Fenced"),
        Command::AddIpRule {
            account_id: 2,
            action: Action::Allow,
            cidr,
            name: "office".to_owned(),
        },
        Command::EnableIpRules { account_id: 2, enabled: true },
    ])
}

fn token(
    account_id: u64,
    name: &str,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    grants: Vec<Grant>,
    verifier: Verifier,
) -> Command {
    Command::CreateToken(Box::new(NewToken {
        account_id,
        name: name.to_owned(),
        user_id: None,
        state: TokenState::Active,
        created_at,
        not_before: None,
        expires_at,
        allow_ips: Vec::new(),
        grants,
        verifier,
    }))
}

fn grant(permission_set: &str, project_id: Option<ProjectId>) -> Grant {
    Grant {
        permission_set: permission_set.to_owned(),
        project_id,
        writable_environment_categories: Vec::new(),
    }
}

/// 40 hexadecimal digits, as API keys of that time looked.
fn legacy_secret() -> Result<String, Failure> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::failed(format!("no randomness: {error}")))?;
    Ok(hex::encode(bytes))
}

/// What Django's `make_password` stores for it.
fn legacy_verifier(secret: &str) -> Verifier {
    let salt = "portcullisdemo";
    let mut hash = [0; 32];
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(
        secret.as_bytes(),
        salt.as_bytes(),
        LEGACY_ROUNDS,
        &mut hash,
    );
    Verifier::Hash {
        encoded: format!("pbkdf2_sha256${LEGACY_ROUNDS}${salt}${}", STANDARD.encode(hash)),
        selector: Some(secret[..8].to_owned()),
    }
}
