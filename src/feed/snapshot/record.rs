//! Records as bytes. Every field is named on both sides, so that a new one breaks the build here
//! rather than being lost on the way.

use super::bytes::{
    Code, Fault, Take, put_list, put_number, put_option, put_prefix, put_text, put_time,
};
use crate::core::digest::Digest;
use crate::core::record::{
    AccountRecord, Grant, IdRecord, IpRule, Record, TokenRecord, TokenUser, Verifier,
};

const ACCOUNT: u8 = 1;
const TOKEN: u8 = 2;
const ID: u8 = 3;
const ID_REMOVED: u8 = 4;

const DIGEST: u8 = 1;
const SHA256: u8 = 2;
const HASH: u8 = 3;
const INTROSPECT: u8 = 4;

/// Writes a record, without its length.
pub(super) fn put(out: &mut Vec<u8>, record: &Record) {
    match record {
        Record::Account(account) => {
            out.push(ACCOUNT);
            put_account(out, account);
        }
        Record::Token(token) => {
            out.push(TOKEN);
            put_token(out, token);
        }
        Record::Id(row) => {
            out.push(ID);
            put_id(out, row);
        }
        Record::IdRemoved { account_id, index, id } => {
            out.push(ID_REMOVED);
            put_number(out, *account_id);
            put_text(out, index);
            put_number(out, *id);
        }
    }
}

/// Reads a record, which must take all the bytes.
pub(super) fn take(bytes: &[u8]) -> Result<Record, Fault> {
    let mut from = Take(bytes);
    let record = match from.byte()? {
        ACCOUNT => Record::Account(take_account(&mut from)?),
        TOKEN => Record::Token(take_token(&mut from)?),
        ID => Record::Id(take_id(&mut from)?),
        ID_REMOVED => Record::IdRemoved {
            account_id: from.number()?,
            index: from.text()?,
            id: from.number()?,
        },
        _ => return Err("a record is of no known kind"),
    };
    from.finish()?;
    Ok(record)
}

/// What people know a record by.
pub(super) fn name(record: &Record) -> String {
    match record {
        Record::Account(account) => format!("account {}", account.id),
        Record::Token(token) => format!("token {}", token.id),
        Record::Id(IdRecord { account_id, .. }) | Record::IdRemoved { account_id, .. } => {
            format!("an id of account {account_id}")
        }
    }
}

fn put_account(out: &mut Vec<u8>, account: &AccountRecord) {
    let AccountRecord { id, plan, state, ip_rules_enabled, ip_rules, projects } = account;
    put_number(out, *id);
    out.push(plan.code());
    out.push(state.code());
    out.push(u8::from(*ip_rules_enabled));
    put_list(out, ip_rules, |out, IpRule { action, cidr, name }| {
        out.push(action.code());
        put_prefix(out, cidr);
        put_text(out, name);
    });
    put_list(out, projects, |out, project| put_number(out, *project));
}

fn take_account(from: &mut Take<'_>) -> Result<AccountRecord, Fault> {
    Ok(AccountRecord {
        id: from.number()?,
        plan: from.code()?,
        state: from.code()?,
        ip_rules_enabled: from.flag()?,
        ip_rules: from.list(|from| {
            Ok(IpRule { action: from.code()?, cidr: from.prefix()?, name: from.text()? })
        })?,
        projects: from.list(Take::number)?,
    })
}

fn put_token(out: &mut Vec<u8>, token: &TokenRecord) {
    let TokenRecord {
        id,
        account_id,
        user,
        state,
        not_before,
        expires_at,
        allow_ips,
        grants,
        verifier,
        version,
    } = token;
    put_number(out, *id);
    put_number(out, *account_id);
    put_option(out, *user, |out, TokenUser { id, licence }| {
        put_number(out, id);
        out.push(licence.code());
    });
    out.push(state.code());
    put_option(out, *not_before, put_time);
    put_option(out, *expires_at, put_time);
    put_list(out, allow_ips, put_prefix);
    put_list(out, grants, put_grant);
    put_verifier(out, verifier);
    put_number(out, *version);
}

fn take_token(from: &mut Take<'_>) -> Result<TokenRecord, Fault> {
    Ok(TokenRecord {
        id: from.number()?,
        account_id: from.number()?,
        user: from.option(|from| Ok(TokenUser { id: from.number()?, licence: from.code()? }))?,
        state: from.code()?,
        not_before: from.option(Take::time)?,
        expires_at: from.option(Take::time)?,
        allow_ips: from.list(Take::prefix)?,
        grants: from.list(take_grant)?,
        verifier: take_verifier(from)?,
        version: from.number()?,
    })
}

fn put_grant(out: &mut Vec<u8>, grant: &Grant) {
    let Grant { permission_set, project_id, writable_environment_categories } = grant;
    put_text(out, permission_set);
    put_option(out, *project_id, put_number);
    put_list(out, writable_environment_categories, |out, category| out.push(category.code()));
}

fn take_grant(from: &mut Take<'_>) -> Result<Grant, Fault> {
    Ok(Grant {
        permission_set: from.text()?,
        project_id: from.option(Take::number)?,
        writable_environment_categories: from.list(Take::code)?,
    })
}

fn put_verifier(out: &mut Vec<u8>, verifier: &Verifier) {
    let put_selector = |out: &mut Vec<u8>, selector: &Option<String>| {
        put_option(out, selector.as_deref(), put_text);
    };
    match verifier {
        Verifier::Digest { key_id, digest } => {
            out.push(DIGEST);
            put_text(out, key_id);
            out.extend_from_slice(&digest.0);
        }
        Verifier::Sha256(sha256) => {
            out.push(SHA256);
            out.extend_from_slice(sha256);
        }
        Verifier::Hash { encoded, selector } => {
            out.push(HASH);
            put_text(out, encoded);
            put_selector(out, selector);
        }
        Verifier::Introspect { selector } => {
            out.push(INTROSPECT);
            put_selector(out, selector);
        }
    }
}

fn take_verifier(from: &mut Take<'_>) -> Result<Verifier, Fault> {
    Ok(match from.byte()? {
        DIGEST => Verifier::Digest { key_id: from.text()?, digest: Digest(from.array()?) },
        SHA256 => Verifier::Sha256(from.array()?),
        HASH => Verifier::Hash { encoded: from.text()?, selector: from.option(Take::text)? },
        INTROSPECT => Verifier::Introspect { selector: from.option(Take::text)? },
        _ => return Err("a verifier is of no known kind"),
    })
}

fn put_id(out: &mut Vec<u8>, row: &IdRecord) {
    let IdRecord { account_id, index, id, project_id, environment_category } = row;
    put_number(out, *account_id);
    put_text(out, index);
    put_number(out, *id);
    put_number(out, *project_id);
    put_option(out, *environment_category, |out, category| out.push(category.code()));
}

fn take_id(from: &mut Take<'_>) -> Result<IdRecord, Fault> {
    Ok(IdRecord {
        account_id: from.number()?,
        index: from.text()?,
        id: from.number()?,
        project_id: from.number()?,
        environment_category: from.option(Take::code)?,
    })
}
