//! The decision once more, as plainly as it can be said: lists that are scanned, text that is
//! compared, no index. Written from the contract; slow, and obviously right rather than clever.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::fixture::{CURRENT, PREVIOUS, Request, Sent, World};
use crate::core::permissions::{Level, PermissionSetSpec};
use crate::core::record::{
    AccountRecord, AccountState, Action, Category, Grant, IdRecord, Licence, Plan, Record,
    Timestamp, TokenRecord, TokenState, Verifier,
};
use crate::core::routes::{ProjectSpec, RequiresSpec, RouteSpec, Unmatched};
use crate::core::verdict::Reason;

/// Everything that the store holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    pub(super) accounts: Vec<AccountRecord>,
    pub(super) tokens: Vec<TokenRecord>,
    pub(super) ids: Vec<IdRecord>,
}

/// What the oracle says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Deny(Reason),
    Public,
    /// The tokens that the slow lane shall try, ascending.
    Slow(Vec<u64>),
    Allow(Identity),
}

/// Who was let through, and what the upstream is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) token: u64,
    pub(super) account: u64,
    pub(super) user: Option<u64>,
    pub(super) route: Option<usize>,
    pub(super) permission_sets: String,
    pub(super) projects: Option<String>,
}

type Rights = BTreeSet<(String, char)>;

impl Store {
    pub(super) fn of<'r>(records: impl IntoIterator<Item = &'r Record>) -> Self {
        let mut store = Self::default();
        records.into_iter().for_each(|record| store.put(record));
        store
    }

    pub(super) fn put(&mut self, record: &Record) {
        match record {
            Record::Account(account) => {
                self.accounts.retain(|known| known.id != account.id);
                self.accounts.push(account.clone());
            }
            Record::Token(token) => {
                self.tokens.retain(|known| known.id != token.id);
                self.tokens.push(token.clone());
            }
            Record::Id(row) => {
                self.remove_id(row.account_id, &row.index, row.id);
                self.ids.push(row.clone());
            }
            Record::IdRemoved { account_id, index, id } => self.remove_id(*account_id, index, *id),
        }
    }

    fn remove_id(&mut self, account: u64, index: &str, id: u64) {
        self.ids.retain(|row| (row.account_id, row.index.as_str(), row.id) != (account, index, id));
    }

    /// Accounts first, as a snapshot has them.
    pub(super) fn records(&self) -> Vec<Record> {
        let accounts = self.accounts.iter().cloned().map(Record::Account);
        let tokens = self.tokens.iter().cloned().map(Record::Token);
        accounts.chain(tokens).chain(self.ids.iter().cloned().map(Record::Id)).collect()
    }

    fn account(&self, id: u64) -> Option<&AccountRecord> {
        self.accounts.iter().find(|account| account.id == id)
    }
}

/// The captured segments of one path, by name.
type Captured = Vec<(String, String)>;
/// A route with its captures.
type Found<'w> = (usize, &'w RouteSpec, Captured);

/// Steps 0 to 8.
pub(super) fn decide(world: &World, store: &Store, request: &Request, now: Timestamp) -> Answer {
    let target = match step_0(world, request) {
        Ok(target) => target,
        Err(reason) => return Answer::Deny(reason),
    };
    if is_public(&target) {
        return Answer::Public;
    }
    let secret = match step_1(&request.credential) {
        Ok(secret) => secret,
        Err(reason) => return Answer::Deny(reason),
    };
    match find_fast(store, &secret) {
        Some(token) => steps_3_to_8(world, store, request, &target, token, now),
        None => step_2_slow(world, store, &target, &secret, now),
    }
}

/// From step 3, once the slow lane has recognised a token.
pub(super) fn resume(
    world: &World,
    store: &Store,
    request: &Request,
    token: u64,
    now: Timestamp,
) -> Answer {
    let target = match step_0(world, request) {
        Ok(target) => target,
        Err(reason) => return Answer::Deny(reason),
    };
    if is_public(&target) {
        return Answer::Public;
    }
    let is_slow = |token: &&TokenRecord| token.verifier.is_slow();
    let slow = store.tokens.iter().filter(is_slow).find(|known| known.id == token);
    // Or it has become a fast one meanwhile.
    let fast = || {
        let secret = step_1(&request.credential).ok()?;
        find_fast(store, &secret).filter(|known| known.id == token)
    };
    match slow.or_else(fast) {
        Some(token) => steps_3_to_8(world, store, request, &target, token, now),
        None => Answer::Deny(Reason::UnknownToken),
    }
}

enum Target<'w> {
    Route(Found<'w>),
    Barred,
    NoPath,
}

fn is_public(target: &Target<'_>) -> bool {
    matches!(target, Target::Route((_, route, _)) if route.requires == RequiresSpec::Public)
}

fn step_0<'w>(world: &'w World, request: &Request) -> Result<Target<'w>, Reason> {
    let forms = unusual_forms(&request.path).ok_or(Reason::BadRequest)?;
    let let_through = |form: &&str| {
        *form == ENCODED_TWICE || world.allow_in_path.iter().any(|allowed| allowed == form)
    };
    if request.ambiguity.is_some() || !forms.iter().all(let_through) {
        return Err(Reason::BadRequest);
    }
    let target = find_route(world, request);
    let has_captures = matches!(&target, Target::Route((_, route, _))
        if route.path.contains('{') && !route.path.contains("{*"));
    if has_captures && !forms.is_empty() { Err(Reason::BadRequest) } else { Ok(target) }
}

/// A form that is let through everywhere but to captures.
const ENCODED_TWICE: &str = "%25XX";

/// The forms that `allow_in_path` can let through; `None` for a path that nothing lets through.
fn unusual_forms(path: &str) -> Option<Vec<&'static str>> {
    let mut forms = Vec::new();
    if !path.starts_with('/') || !path.is_ascii() || path.contains('#') {
        return None;
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return None;
    }
    for form in ["//", ";", "\\"] {
        if path.contains(form) {
            forms.push(form);
        }
    }
    for (position, _) in path.match_indices('%') {
        let byte = u8::from_str_radix(path.get(position + 1..position + 3)?, 16).ok()?;
        match byte {
            b'/' => forms.push("%2F"),
            b'\\' => forms.push("%5C"),
            b'%' if path.get(position + 3..position + 5).is_some_and(is_hexadecimal) => {
                forms.push(ENCODED_TWICE);
            }
            0 => return None,
            b'-' | b'.' | b'_' | b'~' => return None,
            byte if byte.is_ascii_alphanumeric() => return None,
            _ => {}
        }
    }
    Some(forms)
}

fn is_hexadecimal(text: &str) -> bool {
    text.chars().all(|character| character.is_ascii_hexdigit())
}

fn find_route<'w>(world: &'w World, request: &Request) -> Target<'w> {
    let matching = |host: &Option<String>| {
        let mut found: Vec<(Vec<u8>, Found<'w>)> = Vec::new();
        for (position, route) in world.routes.iter().enumerate() {
            if route.host != *host {
                continue;
            }
            if let Some((ranks, captures)) = match_path(&route.path, &request.path) {
                found.push((ranks, (position, route, captures)));
            }
        }
        found
    };
    let mut found = Vec::new();
    if request.host.as_deref().is_some_and(|host| host.starts_with("metadata.")) {
        found = matching(&Some("metadata.*".to_owned()));
    }
    if found.is_empty() {
        found = matching(&None);
    }
    let Some(best) = found.iter().map(|(ranks, _)| ranks).min().cloned() else {
        return Target::NoPath;
    };
    let mut found: Vec<Found<'w>> =
        found.into_iter().filter(|(ranks, _)| *ranks == best).map(|(_, found)| found).collect();
    let named = |method: &str| {
        let has = |(_, route, _): &Found<'w>| route.methods.iter().any(|known| known == method);
        found.iter().position(has)
    };
    let head = || (request.method == "HEAD").then(|| named("GET")).flatten();
    let any = || found.iter().position(|(_, route, _)| route.methods.is_empty());
    match named(&request.method).or_else(head).or_else(any) {
        Some(at) if !is_for(found[at].1, request) => Target::Barred,
        Some(at) => Target::Route(found.swap_remove(at)),
        None => Target::Barred,
    }
}

/// Whether the client's certificate bears a name that the route asks for.
fn is_for(route: &RouteSpec, request: &Request) -> bool {
    let Some(wanted) = &route.client_certificate else { return true };
    let bears = |name: &String| request.client_names.contains(&name.to_ascii_lowercase());
    wanted.iter().any(bears)
}

/// How specific each segment's match is (the end 0, literal 1, capture 2, rest 3), and captures.
fn match_path(pattern: &str, path: &str) -> Option<(Vec<u8>, Captured)> {
    let split = |path: &str| {
        let inner = path.strip_prefix('/').unwrap_or(path);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let none = inner.is_empty() && path.len() <= 1;
        if none { Vec::new() } else { inner.split('/').map(str::to_owned).collect::<Vec<_>>() }
    };
    let (pattern, path) = (split(pattern), split(path));
    let (mut ranks, mut captures) = (Vec::new(), Vec::new());
    for (position, part) in pattern.iter().enumerate() {
        if part.starts_with("{*") {
            ranks.push(3);
            return Some((ranks, captures));
        }
        let segment = path.get(position).filter(|segment| !segment.is_empty())?;
        match part.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => {
                ranks.push(2);
                captures.push((name.to_owned(), segment.clone()));
            }
            None if part == segment => ranks.push(1),
            None => return None,
        }
    }
    ranks.push(0);
    (pattern.len() == path.len()).then_some((ranks, captures))
}

fn step_1(sent: &Sent) -> Result<String, Reason> {
    let token = match sent {
        Sent::Missing => return Err(Reason::NoCredential),
        Sent::Several => return Err(Reason::MultipleCredentials),
        Sent::Header(token) => token.clone(),
        Sent::Authorization(value) => {
            let (scheme, rest) = value.split_once(' ').ok_or(Reason::MalformedCredential)?;
            if !["bearer", "token"].contains(&scheme.to_lowercase().as_str()) {
                return Err(Reason::MalformedCredential);
            }
            rest.trim_start_matches(' ').to_owned()
        }
    };
    if is_prefixed(&token) {
        return if is_ours(&token) { Ok(token) } else { Err(Reason::BadChecksum) };
    }
    let visible = token.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    match visible && (16..=512).contains(&token.len()) {
        true => Ok(token),
        false => Err(Reason::MalformedCredential),
    }
}

fn is_prefixed(token: &str) -> bool {
    token.starts_with("pts_") || token.starts_with("ptu_")
}

fn is_ours(token: &str) -> bool {
    if token.len() != 53 || !token[4..].bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return false;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => u64::from(byte - b'0'),
        b'A'..=b'Z' => u64::from(byte - b'A') + 10,
        _ => u64::from(byte - b'a') + 36,
    };
    let sum = token[47..].bytes().fold(0, |sum, byte| sum * 62 + digit(byte));
    sum == u64::from(crc32(&token.as_bytes()[..47]))
}

/// CRC-32/ISO-HDLC, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

fn find_fast<'s>(store: &'s Store, secret: &str) -> Option<&'s TokenRecord> {
    use sha2::Digest as _;
    let keyed = [CURRENT, PREVIOUS].into_iter().find_map(|(id, key)| {
        let bytes = *blake3::keyed_hash(&key, secret.as_bytes()).as_bytes();
        store.tokens.iter().find(|token| match &token.verifier {
            Verifier::Digest { key_id, digest } => key_id == id && digest.0 == bytes,
            _ => false,
        })
    });
    let sha256: [u8; 32] = sha2::Sha256::digest(secret).into();
    keyed.or_else(|| store.tokens.iter().find(|token| token.verifier == Verifier::Sha256(sha256)))
}

fn step_2_slow(
    world: &World,
    store: &Store,
    target: &Target<'_>,
    secret: &str,
    now: Timestamp,
) -> Answer {
    let unknown = Answer::Deny(Reason::UnknownToken);
    if world.candidates_limit == 0 || is_prefixed(secret) {
        return unknown;
    }
    let path_account = capture_id(target, "account_id");
    let mut candidates: Vec<u64> = Vec::new();
    for token in &store.tokens {
        let Verifier::Hash { selector, .. } = &token.verifier else { continue };
        let could_be = match selector {
            Some(selector) => secret.starts_with(selector.as_str()),
            None => path_account == Some(token.account_id),
        };
        let dead = token.state == TokenState::Revoked
            || token.expires_at.is_some_and(|at| now >= at)
            || store.account(token.account_id).is_none();
        if could_be && !dead {
            candidates.push(token.id);
        }
    }
    candidates.sort_unstable();
    if candidates.is_empty() { unknown } else { Answer::Slow(candidates) }
}

fn steps_3_to_8(
    world: &World,
    store: &Store,
    request: &Request,
    target: &Target<'_>,
    token: &TokenRecord,
    now: Timestamp,
) -> Answer {
    let Some(account) = store.account(token.account_id) else {
        return Answer::Deny(Reason::UnknownToken);
    };
    let judged = step_3(token, now)
        .and_then(|()| step_4(account))
        .and_then(|()| step_5(account, token, request.client))
        .and_then(|()| step_6(world, target))
        .and_then(|()| step_7(account, target))
        .and_then(|()| step_8(world, store, request, target, token, account));
    match judged {
        Err(reason) => Answer::Deny(reason),
        Ok(projects) => Answer::Allow(Identity {
            token: token.id,
            account: account.id,
            user: token.user.map(|user| user.id),
            route: match target {
                Target::Route((position, ..)) => Some(*position),
                _ => None,
            },
            permission_sets: permission_sets(world, token, account),
            projects,
        }),
    }
}

fn step_3(token: &TokenRecord, now: Timestamp) -> Result<(), Reason> {
    if token.state == TokenState::Revoked {
        return Err(Reason::Revoked);
    }
    if token.not_before.is_some_and(|from| now < from) {
        return Err(Reason::NotYetValid);
    }
    if token.expires_at.is_some_and(|until| now >= until) {
        return Err(Reason::Expired);
    }
    Ok(())
}

fn step_4(account: &AccountRecord) -> Result<(), Reason> {
    match account.state == AccountState::Closed || account.plan == Plan::Cancelled {
        true => Err(Reason::AccountClosed),
        false => Ok(()),
    }
}

fn step_5(
    account: &AccountRecord,
    token: &TokenRecord,
    client: Option<IpAddr>,
) -> Result<(), Reason> {
    let client = client.map(|client| client.to_canonical());
    let contains = |cidr: &IpNet| client.is_some_and(|client| cidr.contains(&client));
    if account.ip_rules_enabled {
        let matching = account.ip_rules.iter().filter(|rule| contains(&rule.cidr));
        let allowed = match matching.max_by_key(|rule| rule.cidr.prefix_len()) {
            Some(rule) => rule.action == Action::Allow,
            None => !account.ip_rules.iter().any(|rule| rule.action == Action::Allow),
        };
        if client.is_none() || !allowed {
            return Err(Reason::IpDenied);
        }
    }
    match token.allow_ips.is_empty() || token.allow_ips.iter().any(contains) {
        true => Ok(()),
        false => Err(Reason::TokenIpDenied),
    }
}

fn step_6(world: &World, target: &Target<'_>) -> Result<(), Reason> {
    match (target, world.unmatched) {
        (Target::Route(_), _) | (Target::NoPath, Unmatched::Authenticated { .. }) => Ok(()),
        _ => Err(Reason::NoRoute),
    }
}

fn step_7(account: &AccountRecord, target: &Target<'_>) -> Result<(), Reason> {
    match capture(target, "account_id") {
        Some(text) if parse_id(text) != Some(account.id) => Err(Reason::WrongAccount),
        _ => Ok(()),
    }
}

/// Which project a request is about.
enum About {
    Everything,
    Project(u64, Option<Category>),
    AnyProject,
}

/// Gives what a deferring route tells its upstream.
fn step_8(
    world: &World,
    store: &Store,
    request: &Request,
    target: &Target<'_>,
    token: &TokenRecord,
    account: &AccountRecord,
) -> Result<Option<String>, Reason> {
    let Target::Route((_, route, _)) = target else { return Ok(None) };
    let needs = match &route.requires {
        RequiresSpec::OwnUser => {
            let wanted = capture_id(target, "user_id");
            let own = token.user.is_some_and(|user| Some(user.id) == wanted);
            return if own { Ok(None) } else { Err(Reason::NoPermission) };
        }
        RequiresSpec::Authenticated if route.project == ProjectSpec::Path => return Ok(None),
        RequiresSpec::Authenticated | RequiresSpec::Public => &[][..],
        RequiresSpec::All(needs) => needs,
    };
    let counting: Vec<&Grant> =
        token.grants.iter().filter(|grant| counts(world, token, account, grant)).collect();
    let gives = |grants: &[&Grant], category| {
        !grants.is_empty() && covers(&union(world, token, grants, category), needs)
    };
    let on_all = |grant: &&&Grant| grant.project_id.is_none();
    let everywhere: Vec<&Grant> = counting.iter().filter(on_all).copied().collect();
    let with = |project: u64| -> bool {
        let on_it: Vec<&Grant> = counting
            .iter()
            .filter(|grant| grant.project_id.is_none_or(|on| on == project))
            .copied()
            .collect();
        gives(&on_it, None)
    };
    let named: BTreeSet<u64> = counting.iter().filter_map(|grant| grant.project_id).collect();
    let granted: Vec<u64> = named.into_iter().filter(|project| with(*project)).collect();
    let allowed = match about(store, request, target, account)? {
        About::Everything => gives(&everywhere, None),
        About::AnyProject => gives(&everywhere, None) || !granted.is_empty(),
        About::Project(project, category) => {
            let known = account.projects.contains(&project);
            let all_cover = known || capture(target, "account_id").is_some();
            let covering: Vec<&Grant> = counting
                .iter()
                .filter(|grant| grant.project_id.map_or(all_cover, |on| on == project))
                .copied()
                .collect();
            gives(&covering, category)
        }
    };
    if !allowed {
        return Err(Reason::NoPermission);
    }
    if route.project != ProjectSpec::Defer {
        return Ok(None);
    }
    if gives(&everywhere, None) {
        return Ok(Some("*".to_owned()));
    }
    let list = granted.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    if list.len() > 4096 { Err(Reason::NoPermission) } else { Ok(Some(list)) }
}

fn about(
    store: &Store,
    request: &Request,
    target: &Target<'_>,
    account: &AccountRecord,
) -> Result<About, Reason> {
    let Target::Route((_, route, _)) = target else { return Ok(About::Everything) };
    Ok(match &route.project {
        ProjectSpec::Any => About::AnyProject,
        ProjectSpec::Defer if route.enforces_projects => About::AnyProject,
        ProjectSpec::Defer => About::Everything,
        ProjectSpec::Path => match capture(target, "project_id") {
            Some(text) => About::Project(parse_id(text).ok_or(Reason::NoPermission)?, None),
            None => About::Everything,
        },
        ProjectSpec::Query(name) => match query_value(request, name)? {
            Some(text) => About::Project(parse_id(&text).ok_or(Reason::NoPermission)?, None),
            None => About::Everything,
        },
        ProjectSpec::Index { index, from } => {
            let id = capture_id(target, from).ok_or(Reason::NoPermission)?;
            let row = store
                .ids
                .iter()
                .find(|row| (row.account_id, &row.index, row.id) == (account.id, index, id));
            let row = row.ok_or(Reason::NoPermission)?;
            About::Project(row.project_id, row.environment_category)
        }
    })
}

/// The parameter's value. Twice or encoded, in name or value: a bad request.
fn query_value(request: &Request, parameter: &str) -> Result<Option<String>, Reason> {
    let mut values = Vec::new();
    for pair in request.query.as_deref().unwrap_or("").split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = decode(name);
        if decoded != parameter {
            continue;
        }
        if name != decoded || value.contains('%') || value.contains('+') {
            return Err(Reason::BadRequest);
        }
        values.push(value.to_owned());
    }
    if values.len() > 1 { Err(Reason::BadRequest) } else { Ok(values.pop()) }
}

fn decode(text: &str) -> String {
    let mut decoded = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let hex = rest.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, hex) {
            ('%', Some(byte)) => {
                decoded.push(char::from(byte));
                rest = &rest[3..];
            }
            _ => {
                decoded.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    decoded
}

fn counts(world: &World, token: &TokenRecord, account: &AccountRecord, grant: &Grant) -> bool {
    let set = find_set(world, &grant.permission_set);
    set.is_some_and(|set| token.user.is_some() || set.plans.contains(&account.plan))
}

fn find_set<'w>(world: &'w World, name: &str) -> Option<&'w PermissionSetSpec> {
    world.sets.iter().find(|set| set.name == name)
}

fn union(
    world: &World,
    token: &TokenRecord,
    grants: &[&Grant],
    category: Option<Category>,
) -> Rights {
    let mut rights = Rights::new();
    for grant in grants {
        let Some(set) = find_set(world, &grant.permission_set) else { continue };
        let writable = category.is_some_and(|category| {
            let listed = &grant.writable_environment_categories;
            listed.contains(&category) || listed.contains(&Category::All)
        });
        for resource in set.read.iter().chain(&set.write).chain(&set.environment_write) {
            rights.insert((resource.clone(), 'R'));
        }
        let environment = if writable { &set.environment_write[..] } else { &[] };
        for resource in set.write.iter().chain(environment) {
            rights.insert((resource.clone(), 'W'));
        }
    }
    match token.user.map(|user| user.licence) {
        None | Some(Licence::Developer) => {}
        Some(Licence::ReadOnly) => rights.retain(|(_, level)| *level == 'R'),
        // Of the fixture's resources, this is the one that is about the account.
        Some(Licence::It) => rights.retain(|(resource, _)| resource == "Account settings"),
    }
    rights
}

fn covers(rights: &Rights, needs: &[(String, Level)]) -> bool {
    let letter = |level: &Level| if *level == Level::Write { 'W' } else { 'R' };
    needs.iter().all(|(resource, level)| rights.contains(&(resource.clone(), letter(level))))
}

fn permission_sets(world: &World, token: &TokenRecord, account: &AccountRecord) -> String {
    let counting = token.grants.iter().filter(|grant| counts(world, token, account, grant));
    let names: BTreeSet<&str> = counting.map(|grant| grant.permission_set.as_str()).collect();
    names.into_iter().collect::<Vec<_>>().join(",")
}

fn capture<'t>(target: &'t Target<'_>, name: &str) -> Option<&'t str> {
    let Target::Route((_, _, captures)) = target else { return None };
    captures.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
}

fn capture_id(target: &Target<'_>, name: &str) -> Option<u64> {
    parse_id(capture(target, name)?)
}

/// `0|[1-9][0-9]{0,18}`
fn parse_id(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    if digits && canonical && text.len() <= 19 { text.parse().ok() } else { None }
}
