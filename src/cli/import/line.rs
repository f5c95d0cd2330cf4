//! One import line: what it asks for, or why it cannot be read.

use ipnet::IpNet;
use serde_json::Value;

use super::fields::{Fields, Reason, expected, one_of};
use super::redact::Entries;
use super::strict;
use crate::cli::token::digest_of;
use crate::core::digest::{Digest, DigestKeys};
use crate::core::ip::parse_cidr;
use crate::core::record::{
    AccountId, AccountState, Action, Category, Grant, Licence, Plan, ProjectId, TokenState,
    Verifier,
};
use crate::core::token::Secret;
use crate::legacy::verifier::{Bounds, PasswordHash};
use crate::store::{Command, NewToken};

/// What a line asks for.
pub(super) struct Line {
    pub(super) command: Command,
    /// The account that it names, and what of the account must be there.
    pub(super) account_id: AccountId,
    pub(super) projects: Vec<ProjectId>,
    /// The secret, where the line has it: it may be known by another verifier already.
    pub(super) secret: Option<Secret>,
    /// Whether any of its grants is said to cover nothing at present.
    pub(super) suspended: bool,
}

/// What lines are read against.
pub(super) struct Reader<'a> {
    pub(super) keys: &'a DigestKeys,
    pub(super) bounds: Bounds,
}

const ACCOUNT_STATES: [(&str, AccountState); 2] =
    [("open", AccountState::Open), ("closed", AccountState::Closed)];
const TOKEN_STATES: [(&str, TokenState); 2] =
    [("active", TokenState::Active), ("revoked", TokenState::Revoked)];
const ACTIONS: [(&str, Action); 2] = [("allow", Action::Allow), ("deny", Action::Deny)];
const TYPES: [(&str, Parse); 7] = [
    ("account", account),
    ("project", project),
    ("user", user),
    ("ip_rule", ip_rule),
    ("ip_rules", ip_rules),
    ("id", id),
    ("token", token),
];

const VERIFIERS: [&str; 5] = ["token", "digest", "sha256", "hash", "introspect"];

type Parse = fn(&mut Fields, &Reader<'_>) -> Result<Line, Reason>;

impl Reader<'_> {
    /// Reads one line. The reason for a refusal holds no value of the line.
    pub(super) fn read(&self, line: &str) -> Result<Line, Reason> {
        let entries = strict::parse(line)?;
        let mut fields = Fields::new(entries);
        let parse = fields.word("type", &TYPES)?.unwrap_or(token);
        let line = parse(&mut fields, self)?;
        fields.finish()?;
        Ok(line)
    }
}

fn account(fields: &mut Fields, _: &Reader<'_>) -> Result<Line, Reason> {
    let account_id = fields.number("id")?;
    let command = Command::CreateAccount {
        id: account_id,
        name: fields.text("name")?,
        plan: fields.required_word("plan", &Plan::ALL.map(|plan| (plan.name(), plan)))?,
        state: fields.word("state", &ACCOUNT_STATES)?.unwrap_or(AccountState::Open),
    };
    Ok(Line::about(account_id, command))
}

fn project(fields: &mut Fields, _: &Reader<'_>) -> Result<Line, Reason> {
    let account_id = fields.number("account_id")?;
    let (id, name) = (fields.number("id")?, fields.text("name")?);
    Ok(Line::about(account_id, Command::CreateProject { account_id, id, name }))
}

fn user(fields: &mut Fields, _: &Reader<'_>) -> Result<Line, Reason> {
    let account_id = fields.number("account_id")?;
    let command = Command::CreateUser {
        account_id,
        id: fields.number("id")?,
        name: fields.text("name")?,
        licence: fields.required_word("licence", &Licence::ALL.map(|one| (one.name(), one)))?,
        admin: fields.flag("admin")?,
    };
    Ok(Line::about(account_id, command))
}

fn ip_rule(fields: &mut Fields, _: &Reader<'_>) -> Result<Line, Reason> {
    let account_id = fields.number("account_id")?;
    let command = Command::AddIpRule {
        account_id,
        action: fields.required_word("action", &ACTIONS)?,
        cidr: prefix("cidr", &fields.text("cidr")?)?,
        name: fields.optional_text("name")?.unwrap_or_default(),
    };
    Ok(Line::about(account_id, command))
}

fn ip_rules(fields: &mut Fields, _: &Reader<'_>) -> Result<Line, Reason> {
    let account_id = fields.number("account_id")?;
    let Some(Value::Bool(enabled)) = fields.take("enabled") else {
        return Err("`enabled` must be true or false".to_owned());
    };
    Ok(Line::about(account_id, Command::EnableIpRules { account_id, enabled }))
}

fn id(fields: &mut Fields, _: &Reader<'_>) -> Result<Line, Reason> {
    let account_id = fields.number("account_id")?;
    let project_id = fields.number("project_id")?;
    let categories = Category::ALL.map(|category| (category.name(), category));
    let command = Command::SetId {
        account_id,
        index: fields.text("index")?,
        id: fields.number("id")?,
        project_id,
        environment_category: fields.word("environment_category", &categories)?,
    };
    Ok(Line { projects: vec![project_id], ..Line::about(account_id, command) })
}

fn token(fields: &mut Fields, reader: &Reader<'_>) -> Result<Line, Reason> {
    let account_id = fields.number("account_id")?;
    let state = fields.word("state", &TOKEN_STATES)?.unwrap_or(TokenState::Active);
    let (verifier, secret) = verifier(fields, reader, state)?;
    let Grants { grants, suspended } = grants(fields)?;
    let token = Box::new(NewToken {
        account_id,
        name: fields.text("name")?,
        user_id: fields.optional_number("user_id")?,
        state,
        created_at: fields.time("created_at")?,
        not_before: fields.optional_time("not_before")?,
        expires_at: fields.optional_time("expires_at")?,
        allow_ips: prefixes(fields.list("allow_ips")?)?,
        grants,
        verifier,
    });
    // Suspended grants of tokens are nothing to make projects for: theirs were removed.
    let projects = token.grants.iter().filter_map(|grant| grant.project_id).collect();
    let projects = if suspended { Vec::new() } else { projects };
    let command = Command::CreateToken(token);
    Ok(Line { projects, secret, suspended, ..Line::about(account_id, command) })
}

impl Line {
    /// Whether it is a token without a moment at which it is valid.
    pub(super) fn is_never_valid(&self) -> bool {
        let Command::CreateToken(token) = &self.command else { return false };
        matches!((token.not_before, token.expires_at), (Some(from), Some(until)) if from >= until)
    }

    pub(super) fn about(account_id: AccountId, command: Command) -> Self {
        Self { command, account_id, projects: Vec::new(), secret: None, suspended: false }
    }
}

/// Reads the one verifier that a token line has.
fn verifier(
    fields: &mut Fields,
    reader: &Reader<'_>,
    state: TokenState,
) -> Result<(Verifier, Option<Secret>), Reason> {
    let plain = fields.optional_text("token")?;
    let digest = fields.optional_text("digest")?;
    let sha256 = fields.optional_text("sha256")?;
    let hash = fields.optional_text("hash")?;
    let introspect = fields.flag("introspect")?;
    let selector = fields.optional_text("selector")?;
    if selector.is_some() && hash.is_none() && !introspect {
        return Err("`selector` goes with `hash` or `introspect` only".to_owned());
    }
    match (plain, digest, sha256, hash, introspect) {
        (Some(plain), None, None, None, false) => {
            let secret = Secret::parse(plain).map_err(|why| format!("`token`: {why}"))?;
            Ok((digest_of(&secret, reader.keys), Some(secret)))
        }
        (None, Some(digest), None, None, false) => {
            Ok((read_digest(&digest, reader.keys, state)?, None))
        }
        (None, None, Some(sha256), None, false) => {
            Ok((Verifier::Sha256(bytes("sha256", &sha256)?), None))
        }
        (None, None, None, Some(encoded), false) => {
            PasswordHash::parse(&encoded, &reader.bounds)
                .map_err(|why| format!("`hash`: {why}"))?;
            Ok((Verifier::Hash { encoded, selector }, None))
        }
        (None, None, None, None, true) => Ok((Verifier::Introspect { selector }, None)),
        (None, None, None, None, false) => {
            fields.refuse_near(&VERIFIERS)?;
            Err("a token needs one of `token`, `digest`, `sha256`, `hash` and `introspect`, by \
                 which it is recognised"
                .to_owned())
        }
        _ => Err("a token has exactly one of `token`, `digest`, `sha256`, `hash` and \
                  `introspect`"
            .to_owned()),
    }
}

/// Reads `KEYID:hex`. A token that can never be valid again needs no key.
fn read_digest(text: &str, keys: &DigestKeys, state: TokenState) -> Result<Verifier, Reason> {
    let (key_id, digest) = text
        .split_once(':')
        .ok_or_else(|| "`digest` is written KEYID:HEX, as `export` does".to_owned())?;
    let digest = Digest(bytes("digest", digest)?);
    if state == TokenState::Active && keys.find(key_id).is_none() {
        let known: Vec<&str> = keys.iter().map(|key| key.id()).collect();
        return Err(format!(
            "`digest` was made with a key that is not in the digest keys (there are {}): add the \
             key that it was exported with",
            known.join(", ")
        ));
    }
    Ok(Verifier::Digest { key_id: key_id.to_owned(), digest })
}

fn bytes(key: &str, text: &str) -> Result<[u8; 32], Reason> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| format!("`{key}` must have 64 hexadecimal digits"))?;
    Ok(bytes)
}

fn prefix(key: &str, text: &str) -> Result<IpNet, Reason> {
    parse_cidr(text).map_err(|why| format!("`{key}`: {why}"))
}

fn prefixes(values: Vec<Value>) -> Result<Vec<IpNet>, Reason> {
    let read = |value| match value {
        Value::String(text) => prefix("allow_ips", &text),
        _ => Err("`allow_ips` must be a list of CIDRs".to_owned()),
    };
    values.into_iter().map(read).collect()
}

/// The grants of a line, and whether any of them covers nothing at present.
struct Grants {
    grants: Vec<Grant>,
    suspended: bool,
}

fn grants(fields: &mut Fields) -> Result<Grants, Reason> {
    let mut read = Grants { grants: Vec::new(), suspended: false };
    for value in fields.list("grants")? {
        let Value::Object(entries) = value else {
            return Err("`grants` must be a list of objects".to_owned());
        };
        let mut fields = Fields::new(Entries(entries.into_iter().collect()));
        read.grants.push(Grant {
            permission_set: fields.text("permission_set")?,
            project_id: fields.optional_number("project_id")?,
            writable_environment_categories: categories(&mut fields)?,
        });
        read.suspended |= fields.flag("suspended")?;
        fields.finish().map_err(|why| format!("`grants`: {why}"))?;
    }
    Ok(read)
}

fn categories(fields: &mut Fields) -> Result<Vec<Category>, Reason> {
    const KEY: &str = "writable_environment_categories";
    let words = Category::ALL.map(|category| (category.name(), category));
    let read = |value: Value| {
        let word = value.as_str().and_then(|word| one_of(word, &words));
        word.ok_or_else(|| expected(KEY, &words))
    };
    fields.list(KEY)?.into_iter().map(read).collect()
}
