//! The repository's `config/` folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::support::Folder;
use crate::config::{Config, samples};
use crate::core::permissions::Family;
use crate::core::record::Plan;

/// Operations that the API publishes, and `/beta/graphql` beside `/graphql`.
const OPERATIONS: usize = 211 + 1;
/// Every published permission set.
const SETS: [&str; 31] = [
    "account_admin",
    "account_viewer",
    "admin",
    "analyst",
    "analyst_read",
    "billing_admin",
    "cost_insights_admin",
    "cost_insights_viewer",
    "cost_management_admin",
    "cost_management_viewer",
    "database_admin",
    "developer",
    "fusion_admin",
    "git_admin",
    "job_admin",
    "job_creator",
    "job_runner",
    "job_viewer",
    "manage_marketplace_apps",
    "member",
    "metadata_only",
    "notification_manager",
    "owner",
    "project_creator",
    "readonly",
    "scim_only",
    "security_admin",
    "semantic_layer_only",
    "stakeholder",
    "team_admin",
    "webhooks_only",
];

fn sample(name: &str, environment: &[(&str, &str)]) -> Config {
    let folder = Folder::minimal();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for entry in fs::read_dir(config).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.root().join(path.file_name().unwrap())).unwrap();
    }
    folder
        .load_file(name, environment)
        .unwrap_or_else(|errors| panic!("{}", super::super::render(&errors)))
}

#[test]
fn what_init_writes_is_right_and_gives_no_warning() {
    let config = sample("portcullis.toml", &[]);
    assert_eq!(config.warnings, []);
}

#[test]
fn what_init_writes_says_what_happens_without_it() {
    let with = sample("portcullis.toml", &[]);
    let without = sample("minimal.toml", &[]);
    assert_eq!(with.gate, without.gate);
    assert_eq!(with.upstreams, without.upstreams);
    assert_eq!(with.legacy, without.legacy);
    assert_eq!((with.client_ip, with.limits), (without.client_ip, without.limits));
    assert_eq!(with.usage, without.usage);
    assert_eq!(with.admin, without.admin);
}

#[test]
fn every_default_that_is_shown_in_a_comment_is_the_default() {
    let folder = Folder::minimal();
    let shown = |line: &str| {
        let key = line.strip_prefix("# ").filter(|rest| {
            rest.split_once(" = ").is_some_and(|(key, _)| {
                key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            })
        });
        // Of these, there is no default.
        let has_default = |rest: &&str| !rest.starts_with("digest_env") && !rest.starts_with("tls");
        key.filter(has_default).unwrap_or(line).to_owned() + "\n"
    };
    let text: String = samples::PORTCULLIS.lines().map(shown).collect();
    folder.write("portcullis.toml", &text);
    let all = folder.load(&[]).unwrap_or_else(|errors| panic!("{}", super::super::render(&errors)));
    folder.write("portcullis.toml", samples::PORTCULLIS);
    let none = folder.load(&[]).unwrap();
    assert!(text.contains("\ncutoff = "), "comments were taken for keys");
    assert_eq!((all.gate, all.upstreams, all.legacy), (none.gate, none.upstreams, none.legacy));
    assert_eq!((all.client_ip, all.limits), (none.client_ip, none.limits));
    assert_eq!(all.usage, none.usage);
    assert_eq!((all.admin, all.warnings), (none.admin, none.warnings));
}

#[test]
fn the_sidecar_is_right() {
    let folder = Folder::minimal();
    let key = folder.path("digest.key").display().to_string();
    let config = sample("sidecar.toml", &[("PORTCULLIS_KEYS__DIGEST", &key)]);
    assert_eq!(config.client_ip.trusted_proxies.len(), 2);
    assert_eq!(config.warnings, []);
}

#[test]
fn several_upstreams_are_right() {
    let key = format!("k1:{}", "0f".repeat(32));
    let config = sample("several_upstreams.toml", &[("PORTCULLIS_DIGEST_KEY", &key)]);
    assert_eq!(config.upstreams.len(), 2);
    assert_eq!(config.warnings, []);
}

#[test]
fn there_is_a_route_for_every_published_operation() {
    let table: toml::Table = samples::ROUTES.parse().unwrap();
    let routes = table["route"].as_array().unwrap();
    let operations = routes.iter().map(|route| {
        let host = route.get("host").map(ToString::to_string);
        let methods = route.get("methods").map(ToString::to_string);
        (host, route["path"].to_string(), methods)
    });
    assert_eq!(operations.collect::<BTreeSet<_>>().len(), OPERATIONS);
    assert_eq!(routes.len(), OPERATIONS);
    assert!(routes.iter().any(|route| route["path"].as_str() == Some("/beta/graphql")));
}

#[test]
fn every_published_permission_set_is_there() {
    let sets = sample("portcullis.toml", &[]).permission_sets;
    assert_eq!(sets.iter().map(|set| set.name()).collect::<Vec<_>>(), SETS);
    let of_plan = |plan| sets.allowed_on(plan).collect::<Vec<_>>();
    assert_eq!(of_plan(Plan::Starter), ["semantic_layer_only"]);
    assert_eq!(of_plan(Plan::Developer), ["semantic_layer_only"]);
    assert_eq!(of_plan(Plan::Team).len(), 8);
    assert_eq!(of_plan(Plan::EnterprisePlus).len(), SETS.len() - 1);
    assert_eq!(of_plan(Plan::Cancelled), [""; 0]);
    assert_eq!(sets.iter().filter(|set| set.family() == Family::Account).count(), 10);
}
