//! What followers read: the whole at one moment, and what changed since.
//!
//! The change log says only what changed, never how: a follower gets the present state. Reading
//! the same change twice, or a later state early, does no harm.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, Row, Rows};

use super::execute::GOING;
use super::rows::{number, parse_action, parse_cidr, text};
use super::views;
use crate::core::record::{AccountRecord, IdRecord, IpRule, ProjectId, Record};
use crate::store::{AccountView, Bulk, Changes, Contents, Cursor, IdView, StoreError};

/// Entries of the change log that are kept: a follower further behind takes a snapshot.
pub(super) const HISTORY_LIMIT: i64 = 50_000;

/// Entries of the change log after an import in which frames bring the accounts along.
const LATELY: i64 = 2_000;

/// Hands everything to `sink`, and returns where that was. Each table is read once, in order,
/// and what belongs together is merged on the way.
pub(super) fn snapshot(
    connection: &Connection,
    sink: &mut dyn FnMut(Record) -> Result<(), StoreError>,
) -> Result<Cursor, StoreError> {
    let cursor = end(connection)?;
    account_records(connection, sink)?;
    views::token_rows(connection, None, &mut |row, grants| {
        sink(Record::Token(row.into_record(grants)))
    })?;
    views::all_ids(connection, &mut |row| sink(Record::Id(id_record(row))))?;
    Ok(cursor)
}

/// How much [`snapshot`] hands over, and where that is, within the same transaction.
pub(super) fn contents(connection: &Connection) -> Result<Contents, StoreError> {
    let count = |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, [], |row| Ok(row.get::<_, i64>(0)? as u64))
    };
    Ok(Contents {
        cursor: end(connection)?,
        accounts: count("accounts")?,
        tokens: count("tokens")?,
        ids: count("id_index")?,
    })
}

/// The present state of what changed after the cursor, by at most `limit` entries of the log.
/// Accounts come first, as in a snapshot, so that nothing precedes the account that it is of.
pub(super) fn changes_after(
    connection: &Connection,
    cursor: &Cursor,
    limit: usize,
) -> Result<Changes, StoreError> {
    let end = end(connection)?;
    if needs_snapshot(cursor, &end) {
        return Ok(Changes::Rebase);
    }
    let changed = changed_subjects(connection, cursor.position, limit)?;
    let Changed { mut subjects, position, bulk } = changed;
    if imported_lately(connection, cursor)? {
        add_accounts(&mut subjects);
    }
    let records = subjects
        .into_iter()
        .map(|subject| read_subject(connection, subject))
        .collect::<Result<_, _>>()?;
    Ok(Changes::Frame { records, cursor: Cursor { position, ..end }, bulk })
}

/// Whether so few changes, and nothing in bulk, lead on from the cursor. Reads none of them.
pub(super) fn leads_on(
    connection: &Connection,
    cursor: &Cursor,
    limit: u64,
) -> Result<bool, StoreError> {
    let end = end(connection)?;
    if needs_snapshot(cursor, &end) || end.position - cursor.position > limit {
        return Ok(false);
    }
    Ok(!imported_after(connection, cursor.position as i64)?)
}

/// Whether the follower may not have its snapshot of an import yet.
fn imported_lately(connection: &Connection, cursor: &Cursor) -> Result<bool, StoreError> {
    imported_after(connection, cursor.position as i64 - LATELY)
}

fn imported_after(connection: &Connection, position: i64) -> Result<bool, StoreError> {
    let marker = "SELECT 1 FROM changes WHERE kind = 'rebase' AND position > ?1";
    Ok(connection.prepare_cached(marker)?.exists([position])?)
}

/// Puts accounts before what is of them: they may have been imported, and so be unknown to a
/// follower that has not taken its snapshot.
fn add_accounts(subjects: &mut Vec<Subject>) {
    let account = |subject: &Subject| match subject {
        Subject::Account(_) => None,
        Subject::Token { account, .. } | Subject::Id { account, .. } => Some(*account),
    };
    let mut accounts: BTreeSet<u64> = subjects.iter().filter_map(account).collect();
    for subject in &*subjects {
        if let Subject::Account(id) = subject {
            accounts.remove(id);
        }
    }
    subjects.splice(0..0, accounts.into_iter().map(Subject::Account));
}

/// Rows of a table that belong to the rows of another, both in the order of the other's number.
pub(super) struct Children<'s, T> {
    rows: Rows<'s>,
    read: fn(&Row<'_>) -> Result<(u64, T), StoreError>,
    next: Option<(u64, T)>,
}

impl<'s, T> Children<'s, T> {
    pub(super) fn new(rows: Rows<'s>, read: fn(&Row<'_>) -> Result<(u64, T), StoreError>) -> Self {
        Self { rows, read, next: None }
    }

    /// The rows of one parent. Parents must be asked for in ascending order.
    pub(super) fn of(&mut self, parent: u64) -> Result<Vec<T>, StoreError> {
        let mut children = Vec::new();
        loop {
            if self.next.is_none() {
                self.next = match self.rows.next()? {
                    Some(row) => Some((self.read)(row)?),
                    None => return Ok(children),
                };
            }
            match self.next.take() {
                Some((owner, child)) if owner == parent => children.push(child),
                Some((owner, _)) if owner < parent => {}
                later => {
                    self.next = later;
                    return Ok(children);
                }
            }
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Subject {
    Account(u64),
    Token { account: u64, id: u64 },
    Id { account: u64, index: String, id: u64 },
}

/// What a stretch of the change log is about.
struct Changed {
    /// Each once, accounts first.
    subjects: Vec<Subject>,
    /// Of the last entry.
    position: u64,
    bulk: Bulk,
}

/// The end of the change log.
pub(super) fn end(connection: &Connection) -> Result<Cursor, StoreError> {
    let meta = "SELECT (SELECT value FROM meta WHERE key = 'store_id'),
                       (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'epoch'),
                       (SELECT coalesce(max(position), 0) FROM changes)";
    let read = |row: &Row<'_>| {
        Ok(Cursor { store: row.get(0)?, epoch: number(row, 1)?, position: number(row, 2)? })
    };
    let mut found = views::collect(connection, meta, [], read)?;
    found.pop().ok_or_else(|| super::rows::damaged("the identity of the store"))
}

fn needs_snapshot(cursor: &Cursor, end: &Cursor) -> bool {
    let another = cursor.store != end.store || cursor.epoch != end.epoch;
    if another || cursor.position > end.position {
        return true;
    }
    end.position - cursor.position > HISTORY_LIMIT as u64
}

/// What the next entries of the log are about.
fn changed_subjects(
    connection: &Connection,
    after: u64,
    limit: usize,
) -> Result<Changed, StoreError> {
    let sql = "SELECT position, kind, account_id, subject, index_name FROM changes
               WHERE position > ?1 ORDER BY position LIMIT ?2";
    let limit = i64::try_from(limit.max(1)).unwrap_or(i64::MAX);
    let mut last_change = HashMap::new();
    let mut position = after;
    let mut bulk = Bulk::Nothing;
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([after as i64, limit])?;
    while let Some(row) = rows.next()? {
        position = number(row, 0)?;
        if text(row, 1)? == "rebase" {
            let going = row.get::<_, Option<i64>>(3)? == Some(GOING);
            bulk = if going { Bulk::Going } else { Bulk::Done };
        } else {
            last_change.insert(read_change(row)?, position);
        }
    }
    let mut subjects: Vec<_> = last_change.into_iter().collect();
    subjects.sort_by_key(|(subject, at)| (!matches!(subject, Subject::Account(_)), *at));
    let subjects = subjects.into_iter().map(|(subject, _)| subject).collect();
    Ok(Changed { subjects, position, bulk })
}

fn read_change(row: &Row<'_>) -> Result<Subject, StoreError> {
    Ok(match text(row, 1)? {
        "account" => Subject::Account(number(row, 2)?),
        "token" => Subject::Token { account: number(row, 2)?, id: number(row, 3)? },
        "id" => Subject::Id { account: number(row, 2)?, index: row.get(4)?, id: number(row, 3)? },
        _ => return Err(super::rows::damaged("an entry of the change log")),
    })
}

fn read_subject(connection: &Connection, subject: Subject) -> Result<Record, StoreError> {
    Ok(match subject {
        Subject::Account(id) => Record::Account(account_record(connection, id)?),
        Subject::Token { id, .. } => {
            let (row, grants) = views::find_token(connection, id)?
                .ok_or_else(|| super::rows::damaged("a token of the change log"))?;
            Record::Token(row.into_record(grants))
        }
        Subject::Id { account, index, id } => {
            match views::find_id(connection, account as i64, &index, id as i64)? {
                Some(row) => Record::Id(id_record(row)),
                None => Record::IdRemoved { account_id: account, index, id },
            }
        }
    })
}

fn account_record(connection: &Connection, id: u64) -> Result<AccountRecord, StoreError> {
    let rules = views::collect(
        connection,
        "SELECT account_id, action, cidr, name FROM ip_rules WHERE account_id = ?1 ORDER BY id",
        [id as i64],
        |row| Ok(read_ip_rule(row)?.1),
    )?;
    let projects = views::collect(
        connection,
        "SELECT account_id, id FROM projects WHERE account_id = ?1 ORDER BY id",
        [id as i64],
        |row| Ok(read_project(row)?.1),
    )?;
    Ok(record_of(&views::account(connection, id)?, rules, projects))
}

fn account_records(
    connection: &Connection,
    sink: &mut dyn FnMut(Record) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut rules = connection.prepare_cached(
        "SELECT account_id, action, cidr, name FROM ip_rules ORDER BY account_id, id",
    )?;
    let mut projects =
        connection.prepare_cached("SELECT account_id, id FROM projects ORDER BY account_id, id")?;
    let mut accounts = connection.prepare_cached(
        "SELECT id, name, plan, state, ip_rules_enabled, created_at, ip_rules_changed_at
         FROM accounts ORDER BY id",
    )?;
    let mut rules = Children::new(rules.query([])?, read_ip_rule);
    let mut projects = Children::new(projects.query([])?, read_project);
    let mut rows = accounts.query([])?;
    while let Some(row) = rows.next()? {
        let account = views::read_account(row)?;
        let (rules, projects) = (rules.of(account.id)?, projects.of(account.id)?);
        sink(Record::Account(record_of(&account, rules, projects)))?;
    }
    Ok(())
}

fn record_of(
    account: &AccountView,
    ip_rules: Vec<IpRule>,
    projects: Vec<ProjectId>,
) -> AccountRecord {
    let AccountView { id, plan, state, ip_rules_enabled, .. } = *account;
    AccountRecord { id, plan, state, ip_rules_enabled, ip_rules, projects }
}

fn id_record(row: IdView) -> IdRecord {
    let IdView { account_id, index, id, project_id, environment_category } = row;
    IdRecord { account_id, index, id, project_id, environment_category }
}

fn read_ip_rule(row: &Row<'_>) -> Result<(u64, IpRule), StoreError> {
    let rule = IpRule {
        action: parse_action(text(row, 1)?)?,
        cidr: parse_cidr(text(row, 2)?)?,
        name: row.get(3)?,
    };
    Ok((number(row, 0)?, rule))
}

fn read_project(row: &Row<'_>) -> Result<(u64, ProjectId), StoreError> {
    Ok((number(row, 0)?, number(row, 1)?))
}
