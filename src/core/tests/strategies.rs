//! Random stores, changes and requests, in a world so small that they often concern each other.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::Union;

use super::fixture::{self, CURRENT, PREVIOUS, Request, Sent, World, digest, hash, secret};
use crate::core::facts::Ambiguity;
use crate::core::ip::canonical;
use crate::core::record::{
    AccountRecord, AccountState, Action, Category, Grant, IdRecord, IpRule, Licence, Plan, Record,
    Timestamp, TokenRecord, TokenState, TokenUser, Verifier,
};
use crate::core::routes::Unmatched;

const ACCOUNTS: [u64; 3] = [0, 1, 2];
const PROJECTS: [u64; 6] = [0, 10, 11, (1 << 48) - 1, 1 << 48, 9_999_999_999_999_999_999];
const TOKENS: u64 = 16;
const INDEXES: [&str; 3] = ["job_id", "environment_id", "asked_by_no_route"];

/// The secret of a token: by turns ours, foreign, and known by each kind of verifier.
pub(super) fn secret_of(token: u64) -> String {
    match token % 8 {
        0..=2 => secret(token as u8),
        _ => format!("{:08}-of-a-foreign-token", token),
    }
}

/// The verifier of a token; `upgraded`: once a legacy one has become fast.
fn verifier_of(token: u64, upgraded: bool) -> Verifier {
    use sha2::Digest as _;
    let secret = secret_of(token);
    match token % 8 {
        1 => digest(&secret, PREVIOUS),
        3 => Verifier::Sha256(sha2::Sha256::digest(&secret).into()),
        4..=6 if upgraded => digest(&secret, CURRENT),
        4 => hash(Some(&secret[..8])),
        5 => hash(None),
        6 => Verifier::Introspect { selector: Some(secret[..7].to_owned()) },
        7 if token > 8 => hash(Some(&secret[..5])),
        _ => digest(&secret, CURRENT),
    }
}

pub(super) fn world() -> impl Strategy<Value = World> {
    let unmatched = select(vec![Unmatched::Deny, Unmatched::Authenticated { upstream: 0 }]);
    let forms = ["//", ";", "%2F", "%5C", "\\"].map(str::to_owned).to_vec();
    let forms = prop_oneof![2 => Just(vec![]), 1 => subsequence(forms, 0..=5)];
    (unmatched, forms, select(vec![0, 64, 64, 64])).prop_map(|(unmatched, forms, limit)| World {
        unmatched,
        allow_in_path: forms,
        candidates_limit: limit,
        ..World::new()
    })
}

/// Every account and some tokens and rows, then changes to them, in the order of their making.
pub(super) fn history() -> impl Strategy<Value = Vec<Record>> {
    let accounts = ACCOUNTS.map(|id| account_of(Just(id).boxed()));
    (accounts, vec(change(), 10..80)).prop_map(|(accounts, changes)| {
        let mut upgraded = [false; TOKENS as usize];
        let mut records: Vec<Record> = accounts.to_vec();
        for mut record in changes {
            if let Record::Token(token) = &mut record {
                // Nothing makes a fast token slow again.
                let was = &mut upgraded[token.id as usize];
                *was |= !token.verifier.is_slow();
                token.verifier = verifier_of(token.id, *was);
            }
            records.push(record);
        }
        records
    })
}

fn change() -> impl Strategy<Value = Record> {
    prop_oneof![2 => account_of(select(&ACCOUNTS[..]).boxed()), 8 => token(), 3 => id_change()]
}

fn account_of(id: BoxedStrategy<u64>) -> impl Strategy<Value = Record> {
    let state = prop_oneof![9 => Just(AccountState::Open), 1 => Just(AccountState::Closed)];
    let plan = prop_oneof![5 => Just(Plan::Enterprise), 5 => select(&Plan::ALL[..])];
    let projects = subsequence(PROJECTS.to_vec(), 0..=PROJECTS.len());
    (id, plan, state, any::<bool>(), vec(ip_rule(), 0..6), projects).prop_map(
        |(id, plan, state, ip_rules_enabled, mut ip_rules, projects)| {
            ip_rules.sort_by_key(|rule| rule.cidr);
            ip_rules.dedup_by_key(|rule| rule.cidr);
            let account = AccountRecord { plan, state, ip_rules_enabled, ip_rules, projects, id };
            Record::Account(account)
        },
    )
}

fn ip_rule() -> impl Strategy<Value = IpRule> {
    let action = prop_oneof![3 => Just(Action::Allow), 1 => Just(Action::Deny)];
    (action, cidr()).prop_map(|(action, cidr)| IpRule { action, cidr, name: String::new() })
}

fn cidr() -> impl Strategy<Value = IpNet> {
    let texts = [
        "0.0.0.0/0",
        "::/0",
        "192.0.2.0/24",
        "192.0.2.1/32",
        "192.0.2.128/25",
        "10.0.0.0/8",
        "2001:db8::/32",
        "2001:db8::1/128",
        "::ffff:192.0.2.0/120",
    ];
    select(texts.map(|text| canonical(text.parse().unwrap()).unwrap()).to_vec())
}

fn token() -> impl Strategy<Value = Record> {
    let time = || prop_oneof![3 => Just(None), 1 => select(vec![500, 1000, 1500]).prop_map(Some)];
    let state = prop_oneof![7 => Just(TokenState::Active), 1 => Just(TokenState::Revoked)];
    let narrowing = prop_oneof![4 => Just(vec![]), 1 => vec(cidr(), 1..3)];
    let licence = select(&Licence::ALL[..]);
    let upgraded = prop::bool::weighted(0.1);
    (0..TOKENS, licence, state, time(), time(), narrowing, vec(grant(), 0..6), upgraded, 0..9_u64)
        .prop_map(|(id, licence, state, from, until, allow_ips, grants, upgraded, version)| {
            Record::Token(TokenRecord {
                id,
                account_id: ACCOUNTS[id as usize % 3],
                user: (id % 4 == 2).then_some(TokenUser { id: id % 8, licence }),
                state,
                not_before: from.map(Timestamp),
                expires_at: until.map(Timestamp),
                allow_ips,
                grants,
                verifier: verifier_of(id, upgraded),
                version,
            })
        })
}

fn grant() -> impl Strategy<Value = Grant> {
    let sets =
        select(vec!["account_admin", "analyst", "job_admin", "job_viewer", "run_starter", "gone"]);
    let project = prop_oneof![1 => Just(None), 2 => select(&PROJECTS[..]).prop_map(Some)];
    let writable = prop_oneof![
        1 => Just(vec![]),
        1 => subsequence(Category::ALL.to_vec(), 1..=2),
    ];
    (sets, project, writable)
        .prop_map(|(set, project, writable)| fixture::categories(set, project, &writable))
}

fn id_change() -> impl Strategy<Value = Record> {
    let category = option::of(select(&Category::ALL[1..]));
    let key = (select(&ACCOUNTS[..]), select(&INDEXES[..]), 0..3_u64);
    (key, select(&PROJECTS[..]), category, prop::bool::weighted(0.25)).prop_map(
        |((account_id, index, id), project_id, environment_category, removed)| {
            let index = index.to_owned();
            match removed {
                true => Record::IdRemoved { account_id, index, id },
                false => {
                    Record::Id(IdRecord { account_id, index, id, project_id, environment_category })
                }
            }
        },
    )
}

pub(super) fn now() -> impl Strategy<Value = Timestamp> {
    let edges = select(vec![499, 500, 999, 1000, 1499, 1500]);
    prop_oneof![3 => Just(1200), 2 => edges].prop_map(Timestamp)
}

pub(super) fn request() -> impl Strategy<Value = Request> {
    let method = select(vec!["GET", "GET", "POST", "POST", "HEAD", "PATCH", "DELETE"]);
    let host = option::of(select(vec!["api.example.com", "metadata.example.com:8080"]));
    let ambiguity = prop_oneof![19 => Just(None), 1 => Just(Some(Ambiguity::Length))];
    let names = ["ci.example", "cd.example", "spiffe://example/ci"].map(str::to_owned).to_vec();
    let client_names = subsequence(names, 0..=2);
    (method, path(), query(), host, credential(), client(), client_names, ambiguity).prop_map(
        |(method, path, query, host, credential, client, client_names, ambiguity)| Request {
            method: method.to_owned(),
            path,
            query,
            host: host.map(str::to_owned),
            credential,
            client,
            client_names,
            ambiguity,
        },
    )
}

fn client() -> impl Strategy<Value = Option<IpAddr>> {
    let addresses = [
        "192.0.2.1",
        "192.0.2.200",
        "10.1.2.3",
        "::ffff:192.0.2.1",
        "2001:db8::1",
        "2001:db8::2",
        "fe80::1",
    ];
    let known = select(addresses.map(|text| text.parse().unwrap()).to_vec());
    prop_oneof![9 => known.prop_map(Some), 1 => Just(None)]
}

fn credential() -> impl Strategy<Value = Sent> {
    let known = (0..TOKENS + 2).prop_map(secret_of);
    let bearer = |value: String| Sent::Authorization(format!("Bearer {value}"));
    let scheme = select(vec!["token  ", "Basic ", "", "Bearer", "BEARER "]);
    let wrong = select(vec![
        "pts_tooshort".to_owned(),
        "short".to_owned(),
        "x".repeat(513),
        "0000000-with a space".to_owned(),
        secret(1).replace('s', "u"),
        "00000004-another-of-that-selector".to_owned(),
    ]);
    prop_oneof![
        12 => known.clone().prop_map(bearer),
        2 => (scheme, known.clone()).prop_map(|(scheme, known)| Sent::Authorization(scheme.to_owned() + &known)),
        2 => known.prop_map(Sent::Header),
        2 => wrong.prop_map(bearer),
        1 => Just(Sent::Missing),
        1 => Just(Sent::Several),
    ]
}

fn query() -> impl Strategy<Value = Option<String>> {
    let odd = select(vec![
        "project_id=10&project_id=10",
        "project_id=x&project_id=10",
        "project_id=1%30",
        "project%5Fid=10",
        "project_id",
        "other=1&project_id=11",
        "a%=1",
        "project_id=",
    ]);
    prop_oneof![
        2 => Just(None),
        2 => number().prop_map(|number| Some(format!("project_id={number}"))),
        1 => odd.prop_map(|odd| Some(odd.to_owned())),
    ]
}

/// An id as it may be written, mostly one that means something.
fn number() -> impl Strategy<Value = String> {
    let right = select(vec![0, 1, 2, 10, 11, (1 << 48) - 1, 1 << 48, 9_999_999_999_999_999_999]);
    let odd = select(vec!["01", "x", "-1", "10000000000000000000", "1a", "%20"]);
    prop_oneof![9 => right.prop_map(|id: u64| id.to_string()), 1 => odd.prop_map(str::to_owned)]
}

fn path() -> impl Strategy<Value = String> {
    let paths = World::new().routes.into_iter().map(|route| filled(&route.path));
    let known = Union::new(paths);
    let odd = select(vec![
        "/",
        "//",
        "/nowhere",
        "/nowhere/",
        "/accounts",
        "/clients/public",
        "/clients/public/",
        "/clients/authenticated",
        "/files",
        "/files/",
        "/files//",
        "/files/a/b",
        "/files/a;b",
        "/files/a%2fb",
        "/files/a%5Cb",
        "/files/a\\b",
        "/files/../accounts",
        "/files/.",
        "/files/a%41",
        "/files/a%4",
        "/files/%00",
        "/files/%20",
        "/files/a#b",
        "/files/\u{e9}",
        "/accounts/1//jobs",
        "/health//",
        "/search/",
        "/accounts/1/nowhere",
    ]);
    prop_oneof![12 => known, 3 => odd.prop_map(str::to_owned)]
}

/// A route's path with its captures filled in, mostly well.
fn filled(path: &str) -> BoxedStrategy<String> {
    let path = path.to_owned();
    let account =
        prop_oneof![4 => select(&ACCOUNTS[..]).prop_map(|id| id.to_string()), 1 => number()];
    let small = prop_oneof![4 => (0..3_u8).prop_map(|id| id.to_string()), 1 => number()];
    let slash = prop_oneof![3 => Just(None), 1 => Just(Some(""))];
    (account, number(), small, slash)
        .prop_map(move |(account, project, small, slash)| {
            let path = path.replace("{account_id}", &account).replace("{project_id}", &project);
            let path = path.replace("{*rest}", &small);
            let path = ["{job_id}", "{environment_id}", "{id}", "{user_id}"]
                .iter()
                .fold(path, |path, name| path.replace(name, &small));
            match slash {
                Some(_) => path.trim_end_matches('/').to_owned() + "/",
                None => path,
            }
        })
        .boxed()
}
