//! What is read for people and for `export`.

use rusqlite::{Connection, Params, Row};

use super::feed::Children;
use super::rows::{
    TOKEN_COLUMNS, TokenRow, number, parse_action, parse_cidr, parse_name, parse_state, read_grant,
    text,
};
use crate::core::record::{AccountId, Grant, Timestamp, TokenId, UserId, Verifier};
use crate::store::{
    AccountView, IdView, IpRuleView, Owner, Page, ProjectView, StoreError, TokenFilter, TokenPage,
    TokenView, UserView,
};

const ACCOUNT_COLUMNS: &str =
    "id, name, plan, state, ip_rules_enabled, created_at, ip_rules_changed_at FROM accounts";
const USER_COLUMNS: &str = "account_id, id, name, licence, admin FROM users";
const ID_COLUMNS: &str =
    "account_id, index_name, id, project_id, environment_category FROM id_index";

/// Every row of a query, read by `read`.
pub(super) fn collect<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}

pub(super) fn accounts(connection: &Connection) -> Result<Vec<AccountView>, StoreError> {
    collect(connection, &format!("SELECT {ACCOUNT_COLUMNS} ORDER BY id"), [], read_account)
}

pub(super) fn account(connection: &Connection, id: AccountId) -> Result<AccountView, StoreError> {
    let number = i64::try_from(id).map_err(|_| unknown_account(id))?;
    find_account(connection, number)?.ok_or_else(|| unknown_account(id))
}

pub(super) fn find_account(
    connection: &Connection,
    id: i64,
) -> Result<Option<AccountView>, StoreError> {
    let sql = format!("SELECT {ACCOUNT_COLUMNS} WHERE id = ?1");
    Ok(collect(connection, &sql, [id], read_account)?.pop())
}

pub(super) fn projects(
    connection: &Connection,
    id: AccountId,
) -> Result<Vec<ProjectView>, StoreError> {
    account(connection, id)?;
    let sql = "SELECT id, name FROM projects WHERE account_id = ?1 ORDER BY id";
    collect(connection, sql, [id as i64], |row| {
        Ok(ProjectView { account_id: id, id: number(row, 0)?, name: row.get(1)? })
    })
}

pub(super) fn users(connection: &Connection, id: AccountId) -> Result<Vec<UserView>, StoreError> {
    account(connection, id)?;
    let sql = format!("SELECT {USER_COLUMNS} WHERE account_id = ?1 ORDER BY id");
    collect(connection, &sql, [id as i64], read_user)
}

pub(super) fn user(
    connection: &Connection,
    account: AccountId,
    id: UserId,
) -> Result<UserView, StoreError> {
    let unknown = || super::accounts::unknown_user(account, id);
    let (Ok(account), Ok(id)) = (i64::try_from(account), i64::try_from(id)) else {
        return Err(unknown());
    };
    find_user(connection, account, id)?.ok_or_else(unknown)
}

pub(super) fn find_user(
    connection: &Connection,
    account: i64,
    id: i64,
) -> Result<Option<UserView>, StoreError> {
    let sql = format!("SELECT {USER_COLUMNS} WHERE account_id = ?1 AND id = ?2");
    Ok(collect(connection, &sql, [account, id], read_user)?.pop())
}

pub(super) fn ip_rules(
    connection: &Connection,
    id: AccountId,
) -> Result<Vec<IpRuleView>, StoreError> {
    account(connection, id)?;
    let sql = "SELECT id, action, cidr, name, coalesce(rule_id, id), description, created_at,
                      updated_at
               FROM ip_rules WHERE account_id = ?1 ORDER BY id";
    collect(connection, sql, [id as i64], |row| {
        Ok(IpRuleView {
            account_id: id,
            id: number(row, 0)?,
            action: parse_action(text(row, 1)?)?,
            cidr: parse_cidr(text(row, 2)?)?,
            name: row.get(3)?,
            rule_id: number(row, 4)?,
            description: row.get(5)?,
            created_at: Timestamp(row.get(6)?),
            updated_at: Timestamp(row.get(7)?),
        })
    })
}

pub(super) fn ids(connection: &Connection, id: AccountId) -> Result<Vec<IdView>, StoreError> {
    account(connection, id)?;
    let sql = format!("SELECT {ID_COLUMNS} WHERE account_id = ?1 ORDER BY index_name, id");
    collect(connection, &sql, [id as i64], read_id)
}

pub(super) fn find_id(
    connection: &Connection,
    account: i64,
    index: &str,
    id: i64,
) -> Result<Option<IdView>, StoreError> {
    let sql = format!("SELECT {ID_COLUMNS} WHERE account_id = ?1 AND index_name = ?2 AND id = ?3");
    Ok(collect(connection, &sql, (account, index, id), read_id)?.pop())
}

/// Hands every id-index row to `sink`, in order.
pub(super) fn all_ids(
    connection: &Connection,
    sink: &mut dyn FnMut(IdView) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql = format!("SELECT {ID_COLUMNS} ORDER BY account_id, index_name, id");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        sink(read_id(row)?)?;
    }
    Ok(())
}

pub(super) fn tokens(
    connection: &Connection,
    filter: &TokenFilter,
    sink: &mut dyn FnMut(TokenView) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let account = match filter.account_id {
        Some(id) => Some(account(connection, id)?.id as i64),
        None => None,
    };
    token_rows(connection, account, &mut |row, grants| sink(row.into_view(grants)))
}

/// Hands the tokens of one account or of all to `sink`, by id, each with its grants.
pub(super) fn token_rows(
    connection: &Connection,
    account: Option<i64>,
    sink: &mut dyn FnMut(TokenRow, Vec<Grant>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    const GRANTS: &str = "g.token_id, g.permission_set, g.project_id, g.categories";
    let (tokens, grants) = match account {
        Some(_) => (
            format!("SELECT {TOKEN_COLUMNS} WHERE t.account_id = ?1 ORDER BY t.id"),
            format!(
                "SELECT {GRANTS} FROM tokens t CROSS JOIN grants g ON g.token_id = t.id
                 WHERE t.account_id = ?1 ORDER BY t.id, g.position"
            ),
        ),
        None => (
            format!("SELECT {TOKEN_COLUMNS} ORDER BY t.id"),
            format!("SELECT {GRANTS} FROM grants g ORDER BY g.token_id, g.position"),
        ),
    };
    let mut tokens = connection.prepare_cached(&tokens)?;
    let mut grants = connection.prepare_cached(&grants)?;
    let parameters = rusqlite::params_from_iter(account);
    let mut grants = Children::new(grants.query(parameters.clone())?, read_grant);
    let mut rows = tokens.query(parameters)?;
    while let Some(row) = rows.next()? {
        let token = TokenRow::read(row)?;
        let grants = grants.of(token.id())?;
        sink(token, grants)?;
    }
    Ok(())
}

pub(super) fn token(connection: &Connection, id: TokenId) -> Result<TokenView, StoreError> {
    find_token(connection, id)?.map(|(row, grants)| row.into_view(grants)).ok_or_else(|| {
        StoreError::NotFound(format!(
            "there is no token {id}: see `portcullis token list --account N`"
        ))
    })
}

/// A token's row and grants.
pub(super) fn find_token(
    connection: &Connection,
    id: TokenId,
) -> Result<Option<(TokenRow, Vec<Grant>)>, StoreError> {
    let Ok(number) = i64::try_from(id) else { return Ok(None) };
    one_token(connection, "t.id = ?1", [number])
}

/// What is kept of the password hash of a token that was upgraded.
pub(super) fn hash_mark(encoded: &str) -> [u8; 32] {
    *blake3::hash(encoded.as_bytes()).as_bytes()
}

pub(super) fn token_by_verifier(
    connection: &Connection,
    verifier: &Verifier,
) -> Result<Option<TokenView>, StoreError> {
    let found = match verifier {
        Verifier::Digest { key_id, digest } => {
            one_token(connection, "t.digest = ?1 AND t.key_id = ?2", (digest.0, key_id))?
        }
        Verifier::Sha256(sha256) => one_token(connection, "t.sha256 = ?1", [sha256])?,
        Verifier::Hash { encoded, .. } => one_token(connection, "t.hash = ?1", [encoded])?,
        Verifier::Introspect { .. } => None,
    };
    Ok(found.map(|(row, grants)| row.into_view(grants)))
}

pub(super) fn token_page(
    connection: &Connection,
    id: AccountId,
    owner: Owner,
    page: Page,
) -> Result<TokenPage, StoreError> {
    let account = account(connection, id)?.id as i64;
    let (of_owner, user) = match owner {
        Owner::Account => ("t.user_id IS ?2", None),
        Owner::User(user) => ("t.user_id = ?2", Some(user as i64)),
    };
    let from = "FROM tokens t WHERE t.account_id = ?1 AND";
    let total: i64 = connection
        .prepare_cached(&format!("SELECT count(*) {from} {of_owner}"))?
        .query_row((account, user), |row| row.get(0))?;
    let sql = format!(
        "SELECT {TOKEN_COLUMNS} WHERE t.account_id = ?1 AND {of_owner}
         ORDER BY t.id LIMIT ?3 OFFSET ?4"
    );
    let bounded = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let parameters = (account, user, bounded(page.limit), bounded(page.offset));
    let rows = collect(connection, &sql, parameters, TokenRow::read)?;
    let whole = |row: TokenRow| {
        let grants = grants_of(connection, row.id())?;
        Ok(row.into_view(grants))
    };
    let tokens = rows.into_iter().map(whole).collect::<Result<_, StoreError>>()?;
    Ok(TokenPage { tokens, total: total as u64 })
}

fn one_token(
    connection: &Connection,
    condition: &str,
    parameters: impl Params,
) -> Result<Option<(TokenRow, Vec<Grant>)>, StoreError> {
    let sql = format!("SELECT {TOKEN_COLUMNS} WHERE {condition}");
    let Some(row) = collect(connection, &sql, parameters, TokenRow::read)?.pop() else {
        return Ok(None);
    };
    let grants = grants_of(connection, row.id())?;
    Ok(Some((row, grants)))
}

fn grants_of(connection: &Connection, token: TokenId) -> Result<Vec<Grant>, StoreError> {
    collect(
        connection,
        "SELECT token_id, permission_set, project_id, categories FROM grants
         WHERE token_id = ?1 ORDER BY position",
        [token as i64],
        |row| Ok(read_grant(row)?.1),
    )
}

pub(super) fn unknown_account(id: AccountId) -> StoreError {
    StoreError::NotFound(format!(
        "there is no account {id}: see `portcullis account list`, or add it with `portcullis \
         account create --id {id} --name NAME --plan PLAN`"
    ))
}

pub(super) fn read_account(row: &Row<'_>) -> Result<AccountView, StoreError> {
    Ok(AccountView {
        id: number(row, 0)?,
        name: row.get(1)?,
        plan: parse_name(text(row, 2)?)?,
        state: parse_state(text(row, 3)?)?,
        ip_rules_enabled: row.get(4)?,
        created_at: Timestamp(row.get(5)?),
        ip_rules_changed_at: Timestamp(row.get(6)?),
    })
}

fn read_user(row: &Row<'_>) -> Result<UserView, StoreError> {
    Ok(UserView {
        account_id: number(row, 0)?,
        id: number(row, 1)?,
        name: row.get(2)?,
        licence: parse_name(text(row, 3)?)?,
        admin: row.get(4)?,
    })
}

fn read_id(row: &Row<'_>) -> Result<IdView, StoreError> {
    let category = row.get_ref(4)?.as_str_or_null().map_err(|_| super::rows::damaged("a text"))?;
    Ok(IdView {
        account_id: number(row, 0)?,
        index: row.get(1)?,
        id: number(row, 2)?,
        project_id: number(row, 3)?,
        environment_category: category.map(parse_name).transpose()?,
    })
}
