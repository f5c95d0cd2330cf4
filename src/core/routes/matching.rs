//! Looking up the route of a request: host, then segments with backtracking, then method.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::{CAPTURES_LIMIT, CaptureId, Route, Routes};

/// Longest host name that can match a pattern, in bytes (RFC 1035 section 2.3.4: 255 octets).
const HOST_LIMIT: usize = 255;

/// The captured segments of one path, by position.
#[derive(Clone, Copy, Debug, Default)]
pub struct Captures {
    spans: [(u32, u32); CAPTURES_LIMIT],
    len: u8,
}

impl Captures {
    /// The text of a capture in the path that it was found in.
    #[inline]
    pub fn text<'p>(&self, path: &'p str, capture: CaptureId) -> &'p str {
        let (start, end) = self.spans[usize::from(capture.0)];
        &path[start as usize..end as usize]
    }

    /// The texts of all captures, in order: for the fuzz targets.
    #[cfg(fuzzing)]
    pub fn texts<'p>(&self, path: &'p str) -> Vec<&'p str> {
        (0..self.len).map(|at| self.text(path, CaptureId(at))).collect()
    }

    pub(super) fn push(&mut self, start: usize, end: usize) {
        self.spans[usize::from(self.len)] = (start as u32, end as u32);
        self.len += 1;
    }

    pub(super) fn len(&self) -> u8 {
        self.len
    }

    /// Forgets those that were found after there were so many.
    pub(super) fn truncate(&mut self, len: u8) {
        self.len = len;
    }
}

/// What the table says about a request.
#[derive(Clone, Copy, Debug)]
pub enum Lookup<'r> {
    /// This route, with these captures.
    Route(&'r Route, Captures),
    /// A path of the table, but not with this method.
    MethodNotInTable,
    /// No path of the table.
    NoPath,
}

/// The roots of the trees, by host.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    pub(super) exact: HashMap<Box<str>, u32, FixedState>,
    /// Patterns with `*`, the longest first.
    pub(super) patterns: Vec<(Box<str>, u32)>,
    pub(super) any: Option<u32>,
}

impl Hosts {
    /// Whether no route names a host.
    fn is_any_only(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }

    /// The roots to try, the most specific first.
    fn roots<'h>(&'h self, host: &'h str) -> impl Iterator<Item = u32> + 'h {
        let patterns = self.patterns.iter().filter(|(pattern, _)| host_matches(pattern, host));
        self.exact(host).into_iter().chain(patterns.map(|(_, root)| *root)).chain(self.any)
    }

    fn exact(&self, host: &str) -> Option<u32> {
        if self.exact.is_empty() || host.len() > HOST_LIMIT {
            return None;
        }
        let mut lower = [0; HOST_LIMIT];
        let lower = &mut lower[..host.len()];
        lower.copy_from_slice(host.as_bytes());
        lower.make_ascii_lowercase();
        self.exact.get(std::str::from_utf8(lower).ok()?).copied()
    }
}

/// Whether a host is of a pattern: `*.` in front and `.*` behind stand for one label or more.
pub(super) fn host_matches(pattern: &str, host: &str) -> bool {
    let host = host.as_bytes();
    let (front, pattern) = match pattern.strip_prefix('*') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (back, pattern) = match pattern.strip_suffix('*') {
        Some(rest) => (true, rest.as_bytes()),
        None => (false, pattern.as_bytes()),
    };
    let Some(room) = host.len().checked_sub(pattern.len()) else { return false };
    let first = pattern.first().copied().unwrap_or_default();
    // Most hosts differ from most patterns in the first character.
    let at = |start: usize| {
        host.get(start).is_some_and(|byte| byte.to_ascii_lowercase() == first)
            && host[start..start + pattern.len()].eq_ignore_ascii_case(pattern)
    };
    match (front, back) {
        (false, false) => room == 0 && at(0),
        (true, false) => room > 0 && at(room),
        (false, true) => room > 0 && at(0),
        (true, true) => (1..room).any(at),
    }
}

/// A host without its port: `example.com:80`, `[::1]:80`.
fn without_port(host: &str) -> &str {
    match host.bytes().rposition(|byte| byte == b':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

impl Routes {
    /// The route of a request. A path that matches never falls back to a less specific one for
    /// the sake of its method.
    pub fn lookup(&self, method: &str, host: Option<&str>, path: &str) -> Lookup<'_> {
        let host = match self.hosts.is_any_only() {
            true => "",
            false => host.map_or("", without_port),
        };
        for root in self.hosts.roots(host) {
            let mut captures = Captures::default();
            if let Some(ends) = self.nodes.walk(root, path.as_bytes(), 1, &mut captures) {
                return match self.nodes.route(ends, method) {
                    Some(route) => Lookup::Route(&self.routes[route as usize], captures),
                    None => Lookup::MethodNotInTable,
                };
            }
        }
        Lookup::NoPath
    }
}
