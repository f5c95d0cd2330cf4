//! `routes.toml`: what each path needs and where it goes.

use super::files::{self, Files};
use super::limits::{self, DEFAULT_GROUP, NO_GROUP};
use super::read::{Table, array, boolean, expected, integer, name, text};
use super::report::{Mistake, Report};
use super::requires::requires;
use super::schema;
use super::source::{At, Source, shown};
use super::suggest;
use super::tls;
use super::tree::{self, Node, Value};
use super::{LimitGroup, Upstream};
use crate::core::permissions::PermissionSets;
use crate::core::routes::{ProjectSpec, RequiresSpec, RouteError, RouteSpec, Routes, Unmatched};

const DEFAULT_FILE: &str = "routes.toml";
const DEFAULT_UPSTREAM: &str = "default";
const KEYS: [&str; 11] = [
    "path",
    "methods",
    "host",
    "client_certificate",
    "requires",
    "project",
    "upstream",
    "body_bytes",
    "limit",
    "inferred",
    "note",
];
const PROJECT_EXAMPLE: &str =
    "write \"any\", \"defer\", { query = \"project_id\" } or { index = \"job_id\" }";

/// What routes are checked against.
struct Context<'a> {
    upstreams: &'a [Upstream],
    groups: &'a [LimitGroup],
    /// Groups of limits that the routes may name besides, configured or not.
    announced: Vec<&'a str>,
    sets: Option<&'a PermissionSets>,
    /// Whether clients of `listen_tls` show certificates.
    has_client_ca: bool,
}

/// A route and where its parts stand.
struct Placed<'a> {
    table: Table<'a>,
    spec: RouteSpec,
}

/// Reads `[routes]` and the file that it names; `None` where there is a mistake, which is
/// reported, or where there are no permission sets to compile them with.
pub(super) fn read(
    root: &Table<'_>,
    files: &Files,
    upstreams: &[Upstream],
    groups: &[LimitGroup],
    sets: Option<&PermissionSets>,
) -> Option<Routes> {
    let section = root.section("routes");
    section.allow(&schema::names(schema::keys("routes")));
    let unmatched = unmatched(&section, upstreams);
    let file = match section.node("file") {
        None => DEFAULT_FILE,
        Some(_) => section.take("file", name)?,
    };
    let (source, text) = files.open(&section, "file", file, |path, file| {
        let text = files::text(file)?;
        Ok((section.report.add(Source::file(path, text.clone())), text))
    })?;
    let entries = tree::parse(&text, source, section.report)?;
    let document = Table::root(&entries, source, section.report);
    let announced = document.each("limits", name).unwrap_or_default();
    let has_client_ca = tls::asks_clients(root);
    let context = Context { upstreams, groups, announced, sets, has_client_ca };
    let routes = compile(&document, &context, unmatched)?;
    warn_of_unused_groups(root, &routes, groups);
    Some(routes)
}

fn warn_of_unused_groups(root: &Table<'_>, routes: &Routes, groups: &[LimitGroup]) {
    let section = limits::groups_section(root);
    for (position, group) in groups.iter().enumerate() {
        if group.name != DEFAULT_GROUP
            && !routes.iter().any(|route| route.limit() == Some(position))
        {
            let message =
                format!("no route has limit = \"{}\", so the group limits nothing", group.name);
            section.warn(&group.name, Mistake::new(message).help(format!(
                "say so in the routes that are meant, or call the group `{DEFAULT_GROUP}`: those that name none are in that"
            )));
        }
    }
}

fn unmatched(section: &Table<'_>, upstreams: &[Upstream]) -> Unmatched {
    let words = [("deny", false), ("authenticated", true)];
    if section.word("unmatched", &words) != Some(true) {
        return Unmatched::Deny;
    }
    match default_upstream(upstreams) {
        Ok(upstream) => Unmatched::Authenticated { upstream },
        Err(mistake) => {
            section.error("unmatched", mistake);
            Unmatched::Deny
        }
    }
}

fn compile(document: &Table<'_>, context: &Context<'_>, unmatched: Unmatched) -> Option<Routes> {
    document.allow(&["limits", "route"]);
    let tables = tables(document);
    if tables.is_empty() && unmatched == Unmatched::Deny {
        document.report.warn(
            document.at,
            Mistake::new("there is no route, so every request is refused")
                .help("add a [[route]], or set [routes] unmatched"),
        );
    }
    let placed: Vec<Placed<'_>> =
        tables.into_iter().filter_map(|table| placed(table, context)).collect();
    let specs: Vec<RouteSpec> = placed.iter().map(|route| route.spec.clone()).collect();
    let compiled = Routes::compile(&specs, context.sets?, unmatched);
    let compiled = compiled.map_err(|errors| report_all(&errors, &placed, document.report)).ok()?;
    Some(compiled.with_unmatched_limit(find_group(DEFAULT_GROUP, context)))
}

fn tables<'a>(document: &Table<'a>) -> Vec<Table<'a>> {
    let Some(node) = document.node("route") else { return Vec::new() };
    let Value::Array(items) = &node.value else {
        let mistake = expected("an array of tables", &node.value).help("write [[route]]");
        document.error("route", mistake);
        return Vec::new();
    };
    let table = |item| Table::of("[[route]]".to_owned(), item, document.report);
    items.iter().filter_map(table).collect()
}

/// A route that is well formed; of one that is not, every mistake is reported.
fn placed<'a>(table: Table<'a>, context: &Context<'_>) -> Option<Placed<'a>> {
    let errors = table.report.errors();
    table.allow(&KEYS);
    let path = path(&table);
    let requires = requires(&table, context.sets);
    let upstream = upstream(&table, context.upstreams);
    let methods = methods(&table);
    let host = table.take("host", name).map(str::to_owned);
    let client_certificate = client_certificate(&table, context);
    let project = project(&table);
    let body_bytes = table.take("body_bytes", integer).map(unlimited_if_zero);
    let limit = limit(&table, context, requires.as_ref());
    table.take("inferred", boolean);
    table.take("note", text);
    if table.report.errors() > errors {
        return None;
    }
    let upstream = upstream?;
    let spec = RouteSpec {
        path: path?,
        methods,
        host,
        client_certificate,
        requires: requires?,
        project,
        upstream,
        enforces_projects: context.upstreams[upstream].enforces_projects,
        body_bytes,
        limit,
    };
    Some(Placed { table, spec })
}

/// The names of certificates, which clients must have been asked for.
fn client_certificate(route: &Table<'_>, context: &Context<'_>) -> Option<Vec<String>> {
    let names = route.each("client_certificate", name)?;
    if !context.has_client_ca {
        let mistake = Mistake::new("no client shows a certificate, so none could ever pass");
        route.error("client_certificate", mistake.help(
            "give the authority of the clients' certificates as `client_ca` in `tls` of [gate], and `listen_tls`",
        ));
    }
    Some(names.into_iter().map(str::to_owned).collect())
}

/// The group of rate limits, if it is configured.
fn limit(
    route: &Table<'_>,
    context: &Context<'_>,
    requires: Option<&RequiresSpec>,
) -> Option<usize> {
    let given = route.take("limit", |node| named_group(node, context));
    if given.is_some_and(|group| group != NO_GROUP) && requires == Some(&RequiresSpec::Public) {
        let mistake = Mistake::new("a public route asks for no token, so nothing of it is limited");
        route.warn("limit", mistake.help("leave `limit` out"));
    }
    find_group(given.unwrap_or(DEFAULT_GROUP), context)
}

fn named_group<'a>(node: &'a Node, context: &Context<'_>) -> Result<&'a str, Mistake> {
    let given = name(node)?;
    let configured = context.groups.iter().map(|group| group.name.as_str());
    let known =
        configured.chain(context.announced.iter().copied()).chain([DEFAULT_GROUP, NO_GROUP]);
    if known.clone().any(|known| known == given) {
        return Ok(given);
    }
    Err(Mistake::new(format!("there is no group of limits {}", shown(given)))
        .help(suggest::help(given, known)))
}

fn find_group(name: &str, context: &Context<'_>) -> Option<usize> {
    context.groups.iter().position(|group| group.name == name)
}

/// 0 means no limit here as in `[limits]`, and not a body of 0 bytes.
fn unlimited_if_zero(bytes: u64) -> u64 {
    if bytes == 0 { u64::MAX } else { bytes }
}

fn path(route: &Table<'_>) -> Option<String> {
    let example = "write for instance path = \"/v1/jobs/{id}\"";
    route.required("path", example, name).map(str::to_owned)
}

fn methods(route: &Table<'_>) -> Vec<String> {
    if route.node("methods").is_some_and(|node| array(node).is_ok_and(<[Node]>::is_empty)) {
        let mistake = Mistake::new("`methods` is an empty list, so the route could never match");
        route.error("methods", mistake.help("leave it out if any method is meant"));
    }
    route.each("methods", |node| name(node).map(str::to_owned)).unwrap_or_default()
}

fn project(route: &Table<'_>) -> ProjectSpec {
    let Some(node) = route.node("project") else { return ProjectSpec::Path };
    match &node.value {
        Value::Text(_) => {
            let words = [("any", ProjectWord::Any), ("defer", ProjectWord::Defer)];
            match route.word("project", &words) {
                Some(ProjectWord::Defer) => ProjectSpec::Defer,
                Some(ProjectWord::Any) | None => ProjectSpec::Any,
            }
        }
        Value::Table(_) => Table::of("`project`".to_owned(), node, route.report)
            .map_or(ProjectSpec::Path, |table| project_table(&table)),
        other => {
            route.error("project", expected("a string or a table", other).help(PROJECT_EXAMPLE));
            ProjectSpec::Path
        }
    }
}

#[derive(Clone, Copy)]
enum ProjectWord {
    Any,
    Defer,
}

fn project_table(table: &Table<'_>) -> ProjectSpec {
    table.allow(&["query", "index", "from"]);
    let part = |key| table.take(key, name).map(str::to_owned);
    let (query, index, from) = (part("query"), part("index"), part("from"));
    match (query, index) {
        (Some(query), None) if from.is_none() => ProjectSpec::Query(query),
        (None, Some(index)) => {
            let from = from.unwrap_or_else(|| index.clone());
            ProjectSpec::Index { index, from }
        }
        _ => {
            let message = "`project` needs either `query`, or `index` and perhaps `from`";
            table.report.error(table.at, Mistake::new(message).help(PROJECT_EXAMPLE));
            ProjectSpec::Path
        }
    }
}

fn upstream(route: &Table<'_>, upstreams: &[Upstream]) -> Option<usize> {
    if route.node("upstream").is_some() {
        return route.take("upstream", |node| named_upstream(node, upstreams));
    }
    if upstreams.is_empty() {
        // Reported once, at [upstreams].
        return None;
    }
    let found = default_upstream(upstreams);
    found.map_err(|mistake| route.report.error(route.at, mistake)).ok()
}

fn named_upstream(node: &Node, upstreams: &[Upstream]) -> Result<usize, Mistake> {
    let given = name(node)?;
    let known = upstreams.iter().map(|upstream| upstream.name.as_str());
    known.clone().position(|name| name == given).ok_or_else(|| {
        Mistake::new(format!("there is no upstream {}", shown(given)))
            .help(suggest::help(given, known))
    })
}

/// The only upstream, or else the one called `default`.
fn default_upstream(upstreams: &[Upstream]) -> Result<usize, Mistake> {
    if upstreams.len() == 1 {
        return Ok(0);
    }
    let named = upstreams.iter().position(|upstream| upstream.name == DEFAULT_UPSTREAM);
    named.ok_or_else(|| {
        Mistake::new("it is not said which upstream: there are several, and none is `default`")
            .help("set `upstream` in the route, or call one upstream `default`")
    })
}

fn report_all(errors: &[(usize, RouteError)], routes: &[Placed<'_>], report: &Report) {
    for (position, error) in errors {
        let table = &routes[*position].table;
        let message = match error {
            RouteError::Equal { other } => {
                let line = report.line(routes[*other].table.at);
                format!("the same path and method as the route at line {line}")
            }
            other => other.to_string(),
        };
        report.error(place(table, error), Mistake::new(message));
    }
}

/// The key that the error is about, or else the route's header.
fn place(table: &Table<'_>, error: &RouteError) -> At {
    match error {
        RouteError::Path { .. } | RouteError::Equal { .. } => table.at("path"),
        RouteError::Method(_) => table.at("methods"),
        RouteError::Host(_) => table.at("host"),
        RouteError::ClientName(_) | RouteError::NoClientName => table.at("client_certificate"),
        RouteError::UnknownResource(_) | RouteError::RequiresNothing => table.at("requires"),
        RouteError::QueryMethods => table.at("project"),
        RouteError::MissingCapture { wanted_by, .. } if wanted_by.starts_with("`project") => {
            table.at("project")
        }
        RouteError::MissingCapture { .. } => table.at("requires"),
        RouteError::Limit(_) => table.at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "[[route]]\npath = \"/a\"\nrequires = \"public\"\nmethods = [\"GET\"]\n\
                       [[route]]\npath = \"/a\"\nrequires = \"self\"\nproject = \"any\"\n";

    /// Where and how mistakes that the route table finds in `TWO` are told.
    fn told(errors: &[(usize, RouteError)]) -> Vec<(usize, usize, String)> {
        let report = Report::default();
        let source = report.add(Source::file(std::path::Path::new("routes.toml"), TWO.to_owned()));
        let entries = tree::parse(TWO, source, &report).unwrap();
        let document = Table::root(&entries, source, &report);
        let upstream = Upstream {
            tls: None,
            http2: false,
            name: "api".to_owned(),
            endpoints: vec![],
            connect_timeout: std::time::Duration::ZERO,
            response_timeout: std::time::Duration::ZERO,
            idle_timeout: std::time::Duration::ZERO,
            enforces_projects: false,
        };
        let context = Context {
            upstreams: &[upstream],
            groups: &[],
            announced: vec![],
            sets: None,
            has_client_ca: false,
        };
        let placed: Vec<_> =
            tables(&document).into_iter().filter_map(|table| placed(table, &context)).collect();
        report_all(errors, &placed, &report);
        drop(placed);
        let (found, _) = report.finish();
        found.into_iter().map(|one| (one.line, one.column, one.message)).collect()
    }

    #[test]
    fn a_mistake_that_the_route_table_finds_is_told_at_the_key_it_is_about() {
        let user = RouteError::MissingCapture {
            capture: "user_id".to_owned(),
            wanted_by: "`requires = \"self\"`",
        };
        let errors = [
            (0, RouteError::Path { path: "/a".to_owned(), problem: "wrong" }),
            (0, RouteError::Method("get".to_owned())),
            (1, RouteError::Host("a:1".to_owned())),
            (1, user),
            (1, RouteError::QueryMethods),
        ];
        let places = told(&errors).into_iter().map(|(line, column, _)| (line, column));
        // A route without the key is told at its header.
        assert_eq!(places.collect::<Vec<_>>(), [(2, 8), (4, 11), (5, 1), (7, 12), (8, 11)]);
    }

    #[test]
    fn a_name_that_no_certificate_bears_is_told_where_it_stands() {
        let told =
            told(&[(0, RouteError::ClientName("a b".to_owned())), (1, RouteError::NoClientName)]);
        assert_eq!((told[0].0, told[1].0), (1, 5));
        assert!(told[0].2.contains("`a b` is no name that a certificate is known by"));
    }

    #[test]
    fn of_two_equal_routes_the_line_of_the_other_is_told() {
        let told = told(&[(1, RouteError::Equal { other: 0 })]);
        let message = "the same path and method as the route at line 1".to_owned();
        assert_eq!(told, [(6, 8, message)]);
    }
}
