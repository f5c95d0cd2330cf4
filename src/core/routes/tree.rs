//! The tree of segments while routes are put into it, and how it is flattened.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::flat::{Ends, FlatNode, Literals, MethodNames, NONE, Nodes};

/// One segment position of the tree.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) literals: HashMap<Box<str>, u32, FixedState>,
    pub(super) capture: Option<u32>,
    pub(super) end: Methods,
    pub(super) rest: Methods,
}

/// The routes that end at one node, by method.
#[derive(Debug, Default)]
pub(super) struct Methods {
    explicit: Vec<(Box<str>, u32)>,
    any: Option<u32>,
}

impl Methods {
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
}

/// Flattens the tree: the same nodes, in arrays that a look-up goes through without pointers.
pub(super) fn flatten(tree: &[Node]) -> Nodes {
    let mut methods = MethodNames::default();
    let mut ends = Vec::new();
    let mut end = |from: &Methods| {
        let start = ends.len() as u32;
        ends.extend(from.explicit.iter().map(|(name, route)| (methods.add(name), *route)));
        Ends { start, len: from.explicit.len() as u32, any: from.any.unwrap_or(NONE) }
    };
    let node = |node: &Node| FlatNode {
        capture: node.capture.unwrap_or(NONE),
        end: end(&node.end),
        rest: end(&node.rest),
        has_literals: !node.literals.is_empty(),
    };
    let nodes = tree.iter().map(node).collect();
    let literals = tree.iter().enumerate().flat_map(|(at, node)| {
        node.literals.iter().map(move |(text, child)| (at as u32, &**text, *child))
    });
    Nodes { nodes, literals: Literals::of(literals), ends: ends.into(), methods }
}
