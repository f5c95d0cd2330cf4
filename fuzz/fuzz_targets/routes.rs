//! The compiled route table against one that is gone through from top to bottom.
//!
//! An input has routes, one a line: `METHODS HOST PATH`, methods with commas, `*` for any; then a
//! line `--`; then requests likewise.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use portcullis::core::path::{Allowed, check};
use portcullis::core::permissions::PermissionSets;
use portcullis::core::routes::{
    Lookup, ProjectSpec, RequiresSpec, RouteError, RouteSpec, Routes, Unmatched,
};

fuzz_target!(|text: &str| {
    let (table, requests) = text.split_once("\n--\n").unwrap_or((text, ""));
    let specs: Vec<RouteSpec> = table.lines().take(64).filter_map(route).collect();
    let sets = PermissionSets::compile(Vec::new()).unwrap();
    let routes = match Routes::compile(&specs, &sets, Unmatched::Deny) {
        Ok(routes) => routes,
        Err(mistakes) => return mistakes_are_true(&specs, &mistakes),
    };
    assert_eq!(routes.len(), specs.len());
    assert_eq!(equals(&specs), Vec::new());
    for request in requests.lines().take(64) {
        let mut words = request.splitn(3, ' ');
        let (Some(method), Some(host), Some(path)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let host = (host != "*").then_some(host);
        let found = routes.lookup(method, host, path);
        // No other path comes to a route with captures.
        if check(path, Allowed::default()).is_ok() {
            same(&found, naive(&specs, method, host, path), path);
        }
    }
});

fn route(line: &str) -> Option<RouteSpec> {
    let mut words = line.splitn(3, ' ');
    let (methods, host, path) = (words.next()?, words.next()?, words.next()?);
    Some(RouteSpec {
        path: path.to_owned(),
        methods: methods.split(',').filter(|word| *word != "*").map(str::to_owned).collect(),
        host: (host != "*").then(|| host.to_owned()),
        client_certificate: None,
        requires: RequiresSpec::Authenticated,
        project: ProjectSpec::Path,
        upstream: 0,
        enforces_projects: false,
        body_bytes: None,
        limit: None,
    })
}

/// What a request comes to: a route with what it captures, a path that lacks the method, nothing.
#[derive(Debug, PartialEq)]
enum Expected<'p> {
    Route(usize, Vec<&'p str>),
    MethodMissing,
    Nothing,
}

fn same(found: &Lookup<'_>, expected: Expected<'_>, path: &str) {
    let found = match found {
        Lookup::Route(route, captures) => Expected::Route(route.position(), captures.texts(path)),
        Lookup::MethodNotInTable => Expected::MethodMissing,
        Lookup::NoPath => Expected::Nothing,
    };
    assert_eq!(found, expected, "{path}");
}

/// How a segment was matched; in this order the more specific route wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Literal,
    Capture,
    Rest,
}

fn naive<'p>(specs: &[RouteSpec], method: &str, host: Option<&str>, path: &'p str) -> Expected<'p> {
    for wanted in hosts(specs, host) {
        let matching = specs.iter().enumerate().filter(|(_, spec)| lower(&spec.host) == wanted);
        let ways = matching.filter_map(|(at, spec)| Some((way(&spec.path, path)?, at)));
        let mut by_way: BTreeMap<Vec<How>, Vec<(usize, Vec<&'p str>)>> = BTreeMap::new();
        for ((how, captured), at) in ways {
            by_way.entry(how).or_default().push((at, captured));
        }
        let Some((_, routes)) = by_way.pop_first() else { continue };
        let with = |method: &str| {
            routes.iter().find(|(at, _)| specs[*at].methods.iter().any(|known| known == method))
        };
        let any = || routes.iter().find(|(at, _)| specs[*at].methods.is_empty());
        let head = || if method == "HEAD" { with("GET") } else { None };
        return match with(method).or_else(head).or_else(any) {
            Some((at, captured)) => Expected::Route(*at, captured.clone()),
            None => Expected::MethodMissing,
        };
    }
    Expected::Nothing
}

fn lower(host: &Option<String>) -> Option<String> {
    host.as_deref().map(str::to_ascii_lowercase)
}

/// The hosts of the table that are this one: the same, then by patterns, the longest first, then
/// any.
fn hosts(specs: &[RouteSpec], host: Option<&str>) -> Vec<Option<String>> {
    let host = host.unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    let host = host.to_ascii_lowercase();
    let mut named: Vec<String> = Vec::new();
    for spec in specs.iter().filter_map(|spec| lower(&spec.host)) {
        if is_of(&spec, &host) && !named.contains(&spec) {
            named.push(spec);
        }
    }
    named.sort_by_key(|name| (name.contains('*'), std::cmp::Reverse(name.len())));
    named.into_iter().map(Some).chain([None]).collect()
}

/// A `*` stands for one character or more.
fn is_of(pattern: &str, host: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == host,
        Some((before, after)) => host.strip_prefix(before).is_some_and(|rest| {
            (1..=rest.len()).any(|at| rest.is_char_boundary(at) && is_of(after, &rest[at..]))
        }),
    }
}

fn segments(path: &str) -> Vec<&str> {
    let inner = &path[1..];
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() { Vec::new() } else { inner.split('/').collect() }
}

/// How a path is matched, segment by segment, and what is captured.
fn way<'p>(pattern: &str, path: &'p str) -> Option<(Vec<How>, Vec<&'p str>)> {
    let (pattern, path) = (segments(pattern), segments(path));
    let (mut how, mut captured) = (Vec::new(), Vec::new());
    for (at, segment) in pattern.iter().enumerate() {
        if segment.starts_with("{*") {
            how.push(How::Rest);
            return Some((how, captured));
        }
        let given = path.get(at)?;
        if segment.starts_with('{') {
            captured.push(*given);
            how.push(How::Capture);
        } else if segment == given {
            how.push(How::Literal);
        } else {
            return None;
        }
    }
    (pattern.len() == path.len()).then_some((how, captured))
}

/// Pairs of routes that are for the same requests, the later one first.
fn equals(specs: &[RouteSpec]) -> Vec<(usize, usize)> {
    let shape = |spec: &RouteSpec| {
        let of = |segment: &&str| match segment {
            rest if rest.starts_with("{*") => "{*}".to_owned(),
            capture if capture.starts_with('{') => "{}".to_owned(),
            literal => (*literal).to_owned(),
        };
        (lower(&spec.host), segments(&spec.path).iter().map(of).collect::<Vec<_>>())
    };
    let mut found = Vec::new();
    for (later, spec) in specs.iter().enumerate() {
        for (earlier, other) in specs[..later].iter().enumerate() {
            let method = spec.methods.is_empty() && other.methods.is_empty()
                || spec.methods.iter().any(|method| other.methods.contains(method));
            if method && shape(spec) == shape(other) {
                found.push((later, earlier));
            }
        }
    }
    found
}

fn mistakes_are_true(specs: &[RouteSpec], mistakes: &[(usize, RouteError)]) {
    assert!(!mistakes.is_empty());
    for (at, mistake) in mistakes {
        assert!(!mistake.to_string().is_empty());
        if let RouteError::Equal { other } = mistake {
            let twice = |spec: &RouteSpec| {
                (1..spec.methods.len()).any(|at| spec.methods[..at].contains(&spec.methods[at]))
            };
            let valid = specs.iter().all(|spec| spec.path.starts_with('/'));
            let equal = valid && equals(specs).contains(&(*at, *other));
            assert!(!valid || equal || at == other && twice(&specs[*at]), "{at} and {other}");
        }
    }
}
