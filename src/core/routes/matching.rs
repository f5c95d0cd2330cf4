//! Looking up the route of a request: host, then segments with backtracking, then method.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::{CAPTURES_LIMIT, CaptureId, Route, Routes};

/// Literals of one node up to which comparing them in turn beats hashing.
const LINEAR_LIMIT: usize = 8;

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

    fn push(&mut self, start: usize, end: usize) {
        self.spans[usize::from(self.len)] = (start as u32, end as u32);
        self.len += 1;
    }

    fn pop(&mut self) {
        self.len -= 1;
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

/// One segment position of the tree.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) literals: Literals,
    pub(super) capture: Option<u32>,
    pub(super) end: Methods,
    pub(super) rest: Methods,
}

/// The literal children of a node.
#[derive(Debug)]
pub(super) enum Literals {
    Few(Vec<(Box<str>, u32)>),
    Many(HashMap<Box<str>, u32, FixedState>),
}

impl Default for Literals {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Literals {
    pub(super) fn find(&self, segment: &str) -> Option<u32> {
        match self {
            Self::Few(children) => {
                children.iter().find(|(literal, _)| **literal == *segment).map(|(_, node)| *node)
            }
            Self::Many(children) => children.get(segment).copied(),
        }
    }

    pub(super) fn insert(&mut self, segment: &str, node: u32) {
        match self {
            Self::Few(children) if children.len() < LINEAR_LIMIT => {
                children.push((segment.into(), node));
            }
            Self::Few(children) => {
                let mut many: HashMap<_, _, _> = children.drain(..).collect();
                many.insert(segment.into(), node);
                *self = Self::Many(many);
            }
            Self::Many(children) => {
                children.insert(segment.into(), node);
            }
        }
    }
}

/// The routes that end at one node, by method.
#[derive(Debug, Default)]
pub(super) struct Methods {
    explicit: Vec<(Box<str>, u32)>,
    any: Option<u32>,
}

impl Methods {
    pub(super) fn is_empty(&self) -> bool {
        self.explicit.is_empty() && self.any.is_none()
    }

    /// Adds a route; gives back the one that is in its place already.
    pub(super) fn insert(&mut self, method: Option<&str>, route: u32) -> Result<(), u32> {
        let Some(method) = method else {
            return self.any.replace(route).map_or(Ok(()), Err);
        };
        if let Some((_, other)) = self.explicit.iter().find(|(known, _)| **known == *method) {
            return Err(*other);
        }
        self.explicit.push((method.into(), route));
        Ok(())
    }

    fn find(&self, method: &str) -> Option<u32> {
        let explicit = |method: &str| self.explicit.iter().find(|(known, _)| **known == *method);
        let found = explicit(method).or_else(|| (method == "HEAD").then(|| explicit("GET"))?);
        found.map(|(_, route)| *route).or(self.any)
    }
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
    let at = |start: usize| host[start..start + pattern.len()].eq_ignore_ascii_case(pattern);
    match (front, back) {
        (false, false) => room == 0 && at(0),
        (true, false) => room > 0 && at(room),
        (false, true) => room > 0 && at(0),
        (true, true) => (1..room).any(at),
    }
}

/// A host without its port: `example.com:80`, `[::1]:80`.
fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

impl Routes {
    /// The route of a request. A path that matches never falls back to a less specific one for
    /// the sake of its method.
    pub fn lookup(&self, method: &str, host: Option<&str>, path: &str) -> Lookup<'_> {
        let host = host.map_or("", without_port);
        for root in self.hosts.roots(host) {
            let mut captures = Captures::default();
            if let Some(methods) = self.walk(root, path, 1, &mut captures) {
                return match methods.find(method) {
                    Some(route) => Lookup::Route(&self.routes[route as usize], captures),
                    None => Lookup::MethodNotInTable,
                };
            }
        }
        Lookup::NoPath
    }

    /// The methods at the end of the most specific match of `path[start..]` below a node. The
    /// depth is that of the table, not of the path; a node is visited at most once for a path.
    fn walk(
        &self,
        node: u32,
        path: &str,
        start: usize,
        captures: &mut Captures,
    ) -> Option<&Methods> {
        let node = &self.nodes[node as usize];
        if start >= path.len() {
            return [&node.end, &node.rest].into_iter().find(|methods| !methods.is_empty());
        }
        let end = memchr_slash(path, start);
        if end > start {
            let next = end + 1;
            if let Some(child) = node.literals.find(&path[start..end])
                && let Some(found) = self.walk(child, path, next, captures)
            {
                return Some(found);
            }
            if let Some(child) = node.capture {
                captures.push(start, end);
                if let Some(found) = self.walk(child, path, next, captures) {
                    return Some(found);
                }
                captures.pop();
            }
        }
        (!node.rest.is_empty()).then_some(&node.rest)
    }
}

/// Position of the slash that ends the segment at `start`, or of the path's end.
fn memchr_slash(path: &str, start: usize) -> usize {
    path.as_bytes()[start..]
        .iter()
        .position(|byte| *byte == b'/')
        .map_or(path.len(), |at| start + at)
}
