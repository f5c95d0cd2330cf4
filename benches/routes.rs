//! What looking up a route costs, by the size of the table.

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::core::routes::{Lookup, ProjectSpec, RequiresSpec, RouteSpec, Routes, Unmatched};

use support::Draw;

/// Requests in turn, so that no branch predictor learns the order.
const REQUESTS: usize = 1 << 12;

fn lookup(criterion: &mut Criterion) {
    let config = support::sample_config();
    let shipped = shipped_paths();
    measure(criterion, &format!("shipped_{}", config.routes.len()), &config.routes, &shipped);
    for count in [10, 5000] {
        let specs: Vec<RouteSpec> = (0..count).map(synthetic).collect();
        let routes = Routes::compile(&specs, &config.permission_sets, Unmatched::Deny)
            .expect("the routes are right");
        let paths: Vec<String> = specs.into_iter().map(|spec| spec.path).collect();
        measure(criterion, &count.to_string(), &routes, &paths);
    }
}

fn measure(criterion: &mut Criterion, name: &str, routes: &Routes, paths: &[String]) {
    let mut draw = Draw(11);
    let hits: Vec<String> = (0..REQUESTS).map(|_| fill(&paths[draw.below(paths.len())])).collect();
    let misses: Vec<String> = hits.iter().map(|path| format!("{path}nowhere/else/")).collect();
    let known = |path: &String| !matches!(routes.lookup("GET", None, path), Lookup::NoPath);
    assert!(hits.iter().all(known));
    for (kind, requests) in [("hit", hits), ("miss", misses)] {
        let mut turn = 0;
        criterion.bench_function(&format!("routes/{kind}/{name}"), |bencher| {
            bencher.iter(|| {
                turn = (turn + 1) % REQUESTS;
                let host = Some("cloud.example.com:443");
                matches!(routes.lookup("GET", host, black_box(&requests[turn])), Lookup::NoPath)
            });
        });
    }
}

/// The paths of the shipped table for any host, as written.
fn shipped_paths() -> Vec<String> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/routes.toml");
    let text = std::fs::read_to_string(file).expect("the shipped table");
    let table: toml::Table = text.parse().expect("TOML");
    let routes = table["route"].as_array().expect("routes").iter();
    let routes = routes.filter(|route| route.get("host").is_none());
    routes.map(|route| route["path"].as_str().expect("a path").to_owned()).collect()
}

fn synthetic(number: usize) -> RouteSpec {
    let (service, kind, operation) = (number % 50, number / 50 % 10, number / 500);
    let path = format!(
        "/api/v{operation}/accounts/{{account_id}}/service{service}/{{project_id}}/things{kind}/{{id}}/"
    );
    RouteSpec {
        path,
        methods: vec!["GET".to_owned()],
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

/// A path with its captures filled in.
fn fill(path: &str) -> String {
    let segments = path.split('/').map(|part| if part.starts_with('{') { "70471" } else { part });
    segments.collect::<Vec<_>>().join("/")
}

criterion_group! { name = benches; config = support::criterion(); targets = lookup }
criterion_main!(benches);
