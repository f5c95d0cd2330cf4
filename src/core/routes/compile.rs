//! From routes as written to the tree that is looked up.

use super::matching::Hosts;
use super::spec::{ProjectSpec, RequiresSpec, RouteError, RouteSpec, Unmatched};
use super::tree::{Methods, Node, flatten};
use super::{CAPTURES_LIMIT, CaptureId, IndexNameId, Project, Requires, Route, Routes};
use crate::core::permissions::{Access, PermissionSets};

type Mistakes = Vec<(usize, RouteError)>;

pub(super) fn compile(
    specs: &[RouteSpec],
    sets: &PermissionSets,
    unmatched: Unmatched,
) -> Result<Routes, Mistakes> {
    let mut mistakes = Mistakes::new();
    let mut tree = Tree::default();
    let index_names = index_names(specs);
    let mut routes = Vec::with_capacity(specs.len());
    for (position, spec) in specs.iter().enumerate() {
        match compile_route(position, spec, sets, &index_names) {
            Ok((route, segments)) => {
                routes.push(route);
                let equal = tree.insert(spec, &segments, position as u32);
                mistakes.extend(equal.map(|other| (position, RouteError::Equal { other })));
            }
            Err(errors) => {
                // Positions in the tree are positions in `specs`, also past a mistake.
                routes.push(placeholder(position));
                mistakes.extend(errors.into_iter().map(|error| (position, error)));
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    tree.hosts.patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
    let nodes = flatten(&tree.nodes);
    let hosts = tree.hosts;
    Ok(Routes { routes, nodes, hosts, index_names, unmatched, unmatched_limit: None })
}

/// One segment of a path as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment<'s> {
    Literal(&'s str),
    Capture(&'s str),
    Rest,
}

fn compile_route<'s>(
    position: usize,
    spec: &'s RouteSpec,
    sets: &PermissionSets,
    index_names: &[String],
) -> Result<(Route, Vec<Segment<'s>>), Vec<RouteError>> {
    let mut errors = Vec::new();
    let segments = match segments(&spec.path) {
        Ok(segments) => segments,
        Err(problem) => return Err(vec![RouteError::Path { path: spec.path.clone(), problem }]),
    };
    errors.extend(
        spec.methods.iter().filter(|method| !is_method(method)).cloned().map(RouteError::Method),
    );
    errors.extend(
        spec.host.iter().filter(|host| !is_host_pattern(host)).cloned().map(RouteError::Host),
    );
    let client_names = client_names(spec, &mut errors);
    let find = |name: &str| capture(&segments, name);
    let requires = requires(&spec.requires, sets, &find, &mut errors);
    let project = project(spec, index_names, &find, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let route = Route {
        path: spec.path.as_str().into(),
        position,
        client_names,
        requires,
        project,
        account: find("account_id"),
        captures: segments.iter().any(|segment| matches!(segment, Segment::Capture(_))),
        upstream: spec.upstream,
        enforces_projects: spec.enforces_projects,
        body_bytes: spec.body_bytes,
        limit: spec.limit,
    };
    Ok((route, segments))
}

fn placeholder(position: usize) -> Route {
    Route {
        path: "".into(),
        position,
        client_names: Box::default(),
        requires: Requires::Authenticated,
        project: Project::All,
        account: None,
        captures: false,
        upstream: 0,
        enforces_projects: false,
        body_bytes: None,
        limit: None,
    }
}

/// The names as [`Facts`](crate::core::facts::Facts) has them.
fn client_names(spec: &RouteSpec, errors: &mut Vec<RouteError>) -> Box<[String]> {
    let Some(names) = &spec.client_certificate else { return Box::default() };
    if names.is_empty() {
        errors.push(RouteError::NoClientName);
    }
    let known = |name: &String| {
        let client_name = client_name(name);
        if client_name.is_none() {
            errors.push(RouteError::ClientName(name.clone()));
        }
        client_name
    };
    names.iter().filter_map(known).collect()
}

fn client_name(name: &str) -> Option<String> {
    if let Some(digest) = name.strip_prefix("sha256:") {
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        return is_digest.then(|| name.to_ascii_lowercase());
    }
    let is_uri = name.contains("://") && name.bytes().all(|byte| byte.is_ascii_graphic());
    // Without a `*`: what it stands for is not said in one way.
    let is_dns = || !name.contains('*') && is_host_pattern(name);
    if is_uri { Some(name.to_owned()) } else { is_dns().then(|| name.to_ascii_lowercase()) }
}

fn segments(path: &str) -> Result<Vec<Segment<'_>>, &'static str> {
    let inner = path.strip_prefix('/').ok_or("it must begin with `/`")?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<&str> = inner.split('/').collect();
    let mut segments = Vec::with_capacity(parts.len());
    for (position, part) in parts.iter().enumerate() {
        let segment = segment(part)?;
        if segment == Segment::Rest && position + 1 != parts.len() {
            return Err("`{*rest}` can only be the last segment");
        }
        if let Segment::Capture(name) = segment
            && segments.contains(&Segment::Capture(name))
        {
            return Err("a capture's name occurs twice");
        }
        segments.push(segment);
    }
    let captures = segments.iter().filter(|segment| matches!(segment, Segment::Capture(_))).count();
    if captures > CAPTURES_LIMIT {
        return Err("more than 8 captures");
    }
    Ok(segments)
}

fn segment(part: &str) -> Result<Segment<'_>, &'static str> {
    if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        let (name, rest) = name.strip_prefix('*').map_or((name, false), |name| (name, true));
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || !name.bytes().all(word) {
            return Err("a capture's name is 1 or more characters of a-z, 0-9 and _");
        }
        return Ok(if rest { Segment::Rest } else { Segment::Capture(name) });
    }
    if part.contains(['{', '}', '?']) {
        return Err(
            "`{`, `}` and `?` have no place inside a segment: a capture is a whole segment",
        );
    }
    if crate::core::path::check(&format!("/{part}"), crate::core::path::Allowed::default()).is_err()
    {
        return Err(
            "a segment that no canonical request path can have (empty, `.`, `..`, `;`, `\\`, needless %XX, …)",
        );
    }
    Ok(Segment::Literal(part))
}

fn capture(segments: &[Segment<'_>], name: &str) -> Option<CaptureId> {
    let mut captures = segments.iter().filter(|segment| matches!(segment, Segment::Capture(_)));
    captures.position(|segment| *segment == Segment::Capture(name)).map(|at| CaptureId(at as u8))
}

/// A method is a token (RFC 9110 section 9.1); ours are upper case, as all registered ones.
fn is_method(method: &str) -> bool {
    !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
}

fn is_host_pattern(host: &str) -> bool {
    let inner = host.strip_prefix("*.").unwrap_or(host);
    let inner = inner.strip_suffix(".*").unwrap_or(inner);
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let address = inner.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
        || inner.split('.').all(label)
}

fn requires(
    spec: &RequiresSpec,
    sets: &PermissionSets,
    find: &impl Fn(&str) -> Option<CaptureId>,
    errors: &mut Vec<RouteError>,
) -> Requires {
    match spec {
        RequiresSpec::Public => Requires::Public,
        RequiresSpec::Authenticated => Requires::Authenticated,
        RequiresSpec::OwnUser => {
            Requires::OwnUser(wanted(find, "user_id", "`requires = \"self\"`", errors))
        }
        RequiresSpec::All(needs) => {
            if needs.is_empty() {
                errors.push(RouteError::RequiresNothing);
            }
            let mut access = Access::NONE;
            for (resource, level) in needs {
                match sets.need(resource, *level) {
                    Some(need) => access = access.union(need),
                    None => errors.push(RouteError::UnknownResource(resource.clone())),
                }
            }
            Requires::Permission(access)
        }
    }
}

fn project(
    spec: &RouteSpec,
    index_names: &[String],
    find: &impl Fn(&str) -> Option<CaptureId>,
    errors: &mut Vec<RouteError>,
) -> Project {
    match &spec.project {
        ProjectSpec::Path => find("project_id").map_or(Project::All, Project::Path),
        ProjectSpec::Any => Project::Any,
        ProjectSpec::Defer => Project::Defer,
        ProjectSpec::Query(parameter) => {
            let safe = |method: &String| method == "GET" || method == "HEAD";
            if spec.methods.is_empty() || !spec.methods.iter().all(safe) {
                errors.push(RouteError::QueryMethods);
            }
            Project::Query(parameter.as_str().into())
        }
        ProjectSpec::Index { index, from } => {
            let at = index_names.binary_search(index).expect("invariant: every name was collected");
            let capture = wanted(find, from, "`project = { index = … }`", errors);
            Project::Index { index: IndexNameId(at as u16), capture }
        }
    }
}

fn wanted(
    find: &impl Fn(&str) -> Option<CaptureId>,
    name: &str,
    wanted_by: &'static str,
    errors: &mut Vec<RouteError>,
) -> CaptureId {
    find(name).unwrap_or_else(|| {
        errors.push(RouteError::MissingCapture { capture: name.to_owned(), wanted_by });
        CaptureId(0)
    })
}

fn index_names(specs: &[RouteSpec]) -> Vec<String> {
    let mut names: Vec<String> = specs
        .iter()
        .filter_map(|spec| match &spec.project {
            ProjectSpec::Index { index, .. } => Some(index.clone()),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[derive(Default)]
struct Tree {
    nodes: Vec<Node>,
    hosts: Hosts,
}

impl Tree {
    /// Puts a route in its place; gives back the position of an equal one.
    fn insert(&mut self, spec: &RouteSpec, segments: &[Segment<'_>], route: u32) -> Option<usize> {
        let mut node = self.root(spec.host.as_deref());
        let mut rest = false;
        for segment in segments {
            match segment {
                Segment::Literal(literal) => node = self.literal(node, literal),
                Segment::Capture(_) => node = self.capture(node),
                Segment::Rest => rest = true,
            }
        }
        let node = &mut self.nodes[node as usize];
        insert_methods(if rest { &mut node.rest } else { &mut node.end }, &spec.methods, route)
    }

    fn root(&mut self, host: Option<&str>) -> u32 {
        let Some(host) = host.map(str::to_ascii_lowercase) else {
            if self.hosts.any.is_none() {
                self.hosts.any = Some(self.add());
            }
            return self.hosts.any.expect("invariant: just set");
        };
        let known = match host.contains('*') {
            true => {
                self.hosts.patterns.iter().find(|(known, _)| **known == *host).map(|(_, at)| *at)
            }
            false => self.hosts.exact.get(host.as_str()).copied(),
        };
        known.unwrap_or_else(|| {
            let root = self.add();
            match host.contains('*') {
                true => self.hosts.patterns.push((host.into(), root)),
                false => drop(self.hosts.exact.insert(host.into(), root)),
            }
            root
        })
    }

    fn literal(&mut self, node: u32, literal: &str) -> u32 {
        if let Some(child) = self.nodes[node as usize].literals.get(literal) {
            return *child;
        }
        let child = self.add();
        self.nodes[node as usize].literals.insert(literal.into(), child);
        child
    }

    fn capture(&mut self, node: u32) -> u32 {
        if let Some(child) = self.nodes[node as usize].capture {
            return child;
        }
        let child = self.add();
        self.nodes[node as usize].capture = Some(child);
        child
    }

    fn add(&mut self) -> u32 {
        self.nodes.push(Node::default());
        self.nodes.len() as u32 - 1
    }
}

fn insert_methods(place: &mut Methods, methods: &[String], route: u32) -> Option<usize> {
    let mut equal = None;
    if methods.is_empty() {
        equal = place.insert(None, route).err();
    }
    for method in methods {
        equal = equal.or(place.insert(Some(method), route).err());
    }
    equal.map(|other| other as usize)
}

#[cfg(test)]
mod tests {
    use super::super::Lookup;
    use super::*;
    use crate::core::permissions::{Family, Level, PermissionSetSpec};

    #[test]
    fn a_certificate_is_named_by_a_dns_name_a_uri_or_its_digest() {
        let digest = format!("sha256:{}", "aB".repeat(32));
        let lower = digest.to_ascii_lowercase();
        for (given, known) in [
            ("CI.Example", "ci.example"),
            ("spiffe://Example/CI", "spiffe://Example/CI"),
            (digest.as_str(), lower.as_str()),
        ] {
            assert_eq!(client_name(given).as_deref(), Some(known), "{given}");
        }
        for odd in ["", "*.example", "a..b", "a b", "sha256:", "sha256:ab", "spiffe://a b", "é"] {
            assert_eq!(client_name(odd), None, "{odd}");
        }
    }

    fn sets() -> PermissionSets {
        PermissionSets::compile(vec![PermissionSetSpec {
            name: "job_admin".to_owned(),
            family: Family::Project,
            read: vec![],
            write: vec!["Jobs".to_owned()],
            environment_write: vec![],
            plans: vec![],
        }])
        .unwrap()
    }

    fn route(path: &str, methods: &[&str]) -> RouteSpec {
        RouteSpec {
            path: path.to_owned(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            host: None,
            client_certificate: None,
            requires: RequiresSpec::Authenticated,
            project: ProjectSpec::Path,
            upstream: 0,
            enforces_projects: false,
            body_bytes: None,
            limit: None,
        }
    }

    fn table(specs: &[RouteSpec]) -> Routes {
        Routes::compile(specs, &sets(), Unmatched::Deny).unwrap()
    }

    fn find(routes: &Routes, method: &str, path: &str) -> Option<usize> {
        match routes.lookup(method, Some("api.example.com:8080"), path) {
            Lookup::Route(route, _) => Some(route.position()),
            Lookup::MethodNotInTable | Lookup::NoPath => None,
        }
    }

    #[test]
    fn literal_before_capture_before_rest_with_backtracking() {
        let routes = table(&[
            route("/a/{x}/c", &["GET"]),
            route("/a/b/{y}/d", &["GET"]),
            route("/a/{*rest}", &["GET"]),
            route("/a/b", &["GET"]),
        ]);
        assert_eq!(find(&routes, "GET", "/a/b"), Some(3));
        assert_eq!(find(&routes, "GET", "/a/b/c"), Some(0));
        assert_eq!(find(&routes, "GET", "/a/b/c/d"), Some(1));
        assert_eq!(find(&routes, "GET", "/a/b/c/e"), Some(2));
        assert_eq!(find(&routes, "GET", "/a"), Some(2));
        assert_eq!(find(&routes, "GET", "/a/"), Some(2));
        assert_eq!(find(&routes, "GET", "/b"), None);
    }

    #[test]
    fn the_trailing_slash_is_optional_and_only_one() {
        let routes =
            table(&[route("/a/b/", &["GET"]), route("/c", &["GET"]), route("/", &["GET"])]);
        assert_eq!(find(&routes, "GET", "/a/b"), Some(0));
        assert_eq!(find(&routes, "GET", "/a/b/"), Some(0));
        assert_eq!(find(&routes, "GET", "/c/"), Some(1));
        assert_eq!(find(&routes, "GET", "/"), Some(2));
        assert_eq!(find(&routes, "GET", "/a/b//"), None);
    }

    #[test]
    fn a_path_that_matches_never_falls_back_for_its_method() {
        let routes = table(&[route("/a/b", &["GET"]), route("/a/{x}", &["POST"])]);
        assert_eq!(find(&routes, "POST", "/a/b"), None);
        assert_eq!(find(&routes, "POST", "/a/c"), Some(1));
    }

    #[test]
    fn get_includes_head_and_an_explicit_method_comes_before_any() {
        let routes =
            table(&[route("/a", &["GET"]), route("/a", &[]), route("/b", &["HEAD", "PUT"])]);
        assert_eq!(find(&routes, "HEAD", "/a"), Some(0));
        assert_eq!(find(&routes, "DELETE", "/a"), Some(1));
        assert_eq!(find(&routes, "GET", "/b"), None);
    }

    #[test]
    fn captures_are_found_by_their_route_s_own_names() {
        let routes = table(&[
            route("/accounts/{account_id}/jobs/{id}", &["GET"]),
            route("/accounts/{account_id}/jobs/{job_id}/run", &["POST"]),
        ]);
        let path = "/accounts/12/jobs/7/run/";
        let Lookup::Route(route, captures) = routes.lookup("POST", None, path) else { panic!() };
        assert_eq!(captures.text(path, route.account.unwrap()), "12");
        assert_eq!(captures.text(path, CaptureId(1)), "7");
    }

    #[test]
    fn hosts_are_matched_exactly_then_by_pattern_then_any() {
        let hosted =
            |host: &str| RouteSpec { host: Some(host.to_owned()), ..route("/g", &["GET"]) };
        let routes = table(&[
            hosted("Metadata.Example.com"),
            hosted("metadata.*"),
            hosted("*.metadata.*"),
            route("/g", &["GET"]),
            route("/only-any", &["GET"]),
        ]);
        let find = |host: Option<&str>, path: &str| match routes.lookup("GET", host, path) {
            Lookup::Route(route, _) => Some(route.position()),
            _ => None,
        };
        assert_eq!(find(Some("metadata.EXAMPLE.com:443"), "/g"), Some(0));
        assert_eq!(find(Some("metadata.other.com"), "/g"), Some(1));
        assert_eq!(find(Some("acme.metadata.eu.example"), "/g"), Some(2));
        assert_eq!(find(Some("metadatax.com"), "/g"), Some(3));
        assert_eq!(find(Some("[::1]:80"), "/g"), Some(3));
        assert_eq!(find(None, "/g"), Some(3));
        assert_eq!(find(Some("metadata.example.com"), "/only-any"), Some(4));
    }

    #[test]
    fn mistakes_are_all_reported_with_their_route() {
        let specs = [
            route("a", &["GET"]),
            route("/a", &["get"]),
            route("/b", &["GET"]),
            route("/b/", &["GET", "POST"]),
            RouteSpec { requires: RequiresSpec::OwnUser, ..route("/users/{id}", &["GET"]) },
            RouteSpec {
                requires: RequiresSpec::All(vec![("Jbos".to_owned(), Level::Read)]),
                ..route("/c", &["GET"])
            },
            RouteSpec {
                project: ProjectSpec::Query("project_id".to_owned()),
                ..route("/d", &["POST"])
            },
            route("/{*rest}/x", &["GET"]),
            RouteSpec { host: Some("a..b".to_owned()), ..route("/e", &[]) },
        ];
        let errors = Routes::compile(&specs, &sets(), Unmatched::Deny).unwrap_err();
        let positions: Vec<usize> = errors.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions, [0, 1, 3, 4, 5, 6, 7, 8]);
        assert!(errors.contains(&(3, RouteError::Equal { other: 2 })));
    }

    #[test]
    fn many_literals_are_hashed_and_found() {
        let specs: Vec<RouteSpec> =
            (0..2000).map(|n| route(&format!("/r{n}/x"), &["GET"])).collect();
        let routes = table(&specs);
        for n in [0, 7, 8, 9, 1999] {
            assert_eq!(find(&routes, "GET", &format!("/r{n}/x")), Some(n));
        }
        assert_eq!(find(&routes, "GET", "/r2000/x"), None);
    }
}
