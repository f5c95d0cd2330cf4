//! The use of tokens: written beside commands, without an event or a change that followers see.

use std::net::IpAddr;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{damaged, number};
use super::views::{self, collect};
use crate::core::record::{AccountId, Timestamp, TokenId};
use crate::store::{
    COUNT_LIMIT, LegacyUse, StoreError, TokenFilter, TokenUse, TopToken, VerifyCost,
};

/// Days that counts are kept for; older ones go into the total only.
pub(super) const DAYS_LIMIT: i64 = 100;
/// Rows of old days that one write removes at most.
const REMOVALS_LIMIT: i64 = 4_000;
const DAY: i64 = 86_400;
const LIMIT: i64 = COUNT_LIMIT as i64;
const COLUMNS: &str = "token_id, requests, last_used_at, last_address FROM token_uses";

/// Adds what was used and what verifying cost since the last time, inside the writer's transaction.
/// Of tokens that the store does not have, nothing.
pub(super) fn record(
    connection: &Connection,
    uses: &[TokenUse],
    costs: &[VerifyCost],
) -> Result<(), StoreError> {
    record_uses(connection, uses)?;
    record_costs(connection, costs)?;
    let days =
        uses.iter().map(|used| used.last_used_at).chain(costs.iter().map(|cost| cost.last_at));
    let newest = days.map(|at| at.0.div_euclid(DAY)).max();
    newest.map_or(Ok(()), |today| remove_old(connection, today - DAYS_LIMIT))
}

fn record_uses(connection: &Connection, uses: &[TokenUse]) -> Result<(), StoreError> {
    let mut total = connection.prepare_cached(
        "INSERT INTO token_uses (token_id, requests, last_used_at, last_address)
         SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM tokens WHERE id = ?1)
         ON CONFLICT (token_id) DO UPDATE SET
             requests = min(requests + excluded.requests, ?5),
             last_address = CASE WHEN excluded.last_used_at >= last_used_at
                 THEN coalesce(excluded.last_address, last_address) ELSE last_address END,
             last_used_at = max(last_used_at, excluded.last_used_at)",
    )?;
    let mut daily = connection.prepare_cached(
        "INSERT INTO token_use_days (day, token_id, requests) VALUES (?1, ?2, ?3)
         ON CONFLICT (day, token_id) DO UPDATE SET
             requests = min(requests + excluded.requests, ?4)",
    )?;
    for used in uses {
        let TokenUse { token_id, requests, last_used_at, last_address } = used;
        let (id, requests) = (*token_id as i64, (*requests).min(COUNT_LIMIT) as i64);
        let address = last_address.map(|address| address.to_string());
        if total.execute(params![id, requests, last_used_at.0, address, LIMIT])? > 0 {
            daily.execute([last_used_at.0.div_euclid(DAY), id, requests, LIMIT])?;
        }
    }
    Ok(())
}

/// Beside the requests of the same day.
fn record_costs(connection: &Connection, costs: &[VerifyCost]) -> Result<(), StoreError> {
    let mut add = connection.prepare_cached(
        "INSERT INTO token_use_days (day, token_id, requests, verifications, hash_micros)
         SELECT ?1, ?2, 0, ?3, ?4 WHERE EXISTS (SELECT 1 FROM tokens WHERE id = ?2)
         ON CONFLICT (day, token_id) DO UPDATE SET
             verifications = min(verifications + excluded.verifications, ?5),
             hash_micros = min(hash_micros + excluded.hash_micros, ?5)",
    )?;
    for cost in costs {
        let VerifyCost { token_id, verifications, hash_micros, last_at } = cost;
        let [verifications, micros] =
            [verifications, hash_micros].map(|number| (*number).min(COUNT_LIMIT) as i64);
        let (day, id) = (last_at.0.div_euclid(DAY), *token_id as i64);
        add.execute([day, id, verifications, micros, LIMIT])?;
    }
    Ok(())
}

/// A few at a time, so that nobody waits for it.
fn remove_old(connection: &Connection, before: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM token_use_days WHERE (day, token_id) IN
                 (SELECT day, token_id FROM token_use_days WHERE day < ?1 LIMIT ?2)",
        )?
        .execute([before, REMOVALS_LIMIT])?;
    Ok(())
}

/// When use began to be counted.
pub(super) fn counted_since(connection: &Connection) -> Result<Timestamp, StoreError> {
    let since: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE key = 'uses_since'", [], |row| row.get(0))
        .optional()?;
    let since = since.and_then(|text| text.parse().ok());
    since.map(Timestamp).ok_or_else(|| damaged("since when use is counted"))
}

/// The use of one token, if it was used.
pub(super) fn of_token(
    connection: &Connection,
    id: TokenId,
) -> Result<Option<TokenUse>, StoreError> {
    let sql = format!("SELECT {COLUMNS} WHERE token_id = ?1");
    Ok(collect(connection, &sql, [id as i64], read)?.pop())
}

/// The tokens that were used, of one account or all, ascending.
pub(super) fn of_tokens(
    connection: &Connection,
    filter: &TokenFilter,
) -> Result<Vec<TokenUse>, StoreError> {
    let Some(id) = filter.account_id else {
        return collect(connection, &format!("SELECT {COLUMNS} ORDER BY token_id"), [], read);
    };
    let account = views::account(connection, id)?.id as i64;
    let sql = format!(
        "SELECT {COLUMNS} WHERE token_id IN (SELECT id FROM tokens WHERE account_id = ?1)
         ORDER BY token_id"
    );
    collect(connection, &sql, [account], read)
}

/// The tokens with the most requests from the day of `since` on, most first.
pub(super) fn top(
    connection: &Connection,
    account: Option<AccountId>,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<TopToken>, StoreError> {
    let account = known(connection, account)?;
    collect(
        connection,
        "SELECT d.token_id, sum(d.requests), u.last_used_at, u.last_address, t.account_id, t.name
         FROM token_use_days d
         JOIN tokens t ON t.id = d.token_id
         JOIN token_uses u ON u.token_id = d.token_id
         WHERE d.day >= ?1 AND (?2 IS NULL OR t.account_id = ?2)
         GROUP BY d.token_id HAVING sum(d.requests) > 0 ORDER BY 2 DESC, 1 LIMIT ?3",
        params![since.0.div_euclid(DAY), account, limit as i64],
        |row| Ok(TopToken { used: read(row)?, account_id: number(row, 4)?, name: row.get(5)? }),
    )
}

/// The legacy tokens that were used or guessed at from the day of `since` on, the most used first.
pub(super) fn legacy(
    connection: &Connection,
    account: Option<AccountId>,
    since: Timestamp,
    now: Timestamp,
) -> Result<Vec<LegacyUse>, StoreError> {
    let account = known(connection, account)?;
    collect(
        connection,
        "SELECT t.id, t.account_id, t.name,
             sum(d.requests), sum(d.verifications), sum(d.hash_micros)
         FROM token_use_days d JOIN tokens t ON t.id = d.token_id
         WHERE d.day >= ?1 AND (?2 IS NULL OR t.account_id = ?2)
             AND t.digest IS NULL AND t.sha256 IS NULL AND t.state = 'active'
             AND (t.expires_at IS NULL OR t.expires_at > ?3)
         GROUP BY t.id ORDER BY 4 DESC, 6 DESC, 1",
        params![since.0.div_euclid(DAY), account, now.0],
        |row| {
            Ok(LegacyUse {
                token_id: number(row, 0)?,
                account_id: number(row, 1)?,
                name: row.get(2)?,
                requests: number(row, 3)?,
                verifications: number(row, 4)?,
                hash_micros: number(row, 5)?,
            })
        },
    )
}

/// The account's number in the database, if one is asked about, which has to be there.
fn known(connection: &Connection, account: Option<AccountId>) -> Result<Option<i64>, StoreError> {
    account.map(|id| Ok(views::account(connection, id)?.id as i64)).transpose()
}

fn read(row: &Row<'_>) -> Result<TokenUse, StoreError> {
    let address: Option<String> = row.get(3)?;
    let parse = |text: String| text.parse::<IpAddr>().map_err(|_| damaged("an address of use"));
    Ok(TokenUse {
        token_id: number(row, 0)?,
        requests: number(row, 1)?,
        last_used_at: Timestamp(row.get(2)?),
        last_address: address.map(parse).transpose()?,
    })
}
