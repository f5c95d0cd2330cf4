//! `permission_sets.toml`: what each permission set gives, and on which plans.

use super::files::{self, Files};
use super::read::{Table, name, word};
use super::report::{Mistake, Report};
use super::schema;
use super::source::{At, Source, shown};
use super::tree::{self, Node};
use crate::core::permissions::{Family, PermissionSetSpec, PermissionSets};
use crate::core::record::Plan;

const DEFAULT_FILE: &str = "permission_sets.toml";
const KEYS: [&str; 5] = ["family", "read", "write", "environment_write", "plans"];

/// Reads `[permission_sets]` and the file that it names. Mistakes are reported; the sets are
/// returned all the same where they still name every resource, so that routes can be checked.
pub(super) fn read(root: &Table<'_>, files: &Files) -> Option<PermissionSets> {
    let section = root.section("permission_sets");
    section.allow(&schema::names(schema::keys("permission_sets")));
    let file = match section.node("file") {
        None => DEFAULT_FILE,
        Some(_) => section.take("file", name)?,
    };
    let (source, text) = files.open(&section, "file", file, |path, file| {
        let text = files::text(file)?;
        Ok((section.report.add(Source::file(path, text.clone())), text))
    })?;
    let entries = tree::parse(&text, source, section.report)?;
    compile(&Table::root(&entries, source, section.report))
}

fn compile(document: &Table<'_>) -> Option<PermissionSets> {
    document.allow(&["sets"]);
    let sets = document.section("sets");
    if sets.is_empty() {
        document.report.error(
            document.at,
            Mistake::new("there is no permission set").help("write for instance [sets.job_admin]"),
        );
        return None;
    }
    let mut specs = Vec::new();
    let mut places = Vec::new();
    let mut complete = true;
    for (set, key, node) in sets.iter() {
        let found = Table::of(format!("[sets.{set}]"), node, document.report)
            .and_then(|table| spec(set, &table));
        complete &= found.is_some();
        if let Some(spec) = found {
            specs.push(spec);
            places.push(key);
        }
    }
    let compiled = PermissionSets::compile(specs);
    let compiled = compiled.map_err(|errors| report_all(errors, &places, document.report)).ok()?;
    complete.then_some(compiled)
}

fn report_all(
    errors: Vec<(usize, crate::core::permissions::PermissionSetError)>,
    places: &[At],
    report: &Report,
) {
    for (position, error) in errors {
        report.error(places[position], Mistake::new(error.to_string()));
    }
}

/// One set; `None` where its resources are not all known. A mistake about anything else is
/// reported, and the set is as if that were not there.
fn spec(name: &str, table: &Table<'_>) -> Option<PermissionSetSpec> {
    let errors = table.report.errors();
    table.allow(&KEYS);
    let read = resources(table, "read");
    let write = resources(table, "write");
    let environment_write = resources(table, "environment_write");
    let complete = table.report.errors() == errors;
    let family = family(table);
    let plans = table.each("plans", plan).unwrap_or_default();
    let spec = PermissionSetSpec {
        name: name.to_owned(),
        family: family.unwrap_or(Family::Project),
        read,
        write,
        environment_write,
        plans,
    };
    complete.then_some(spec)
}

fn resources(table: &Table<'_>, key: &str) -> Vec<String> {
    table.each(key, resource).unwrap_or_default()
}

fn resource(node: &Node) -> Result<String, Mistake> {
    let resource = name(node)?;
    if resource.trim() != resource || resource.contains(|c: char| c.is_control() || c == ',') {
        return Err(Mistake::new(format!("{} is not a resource's name", shown(resource)))
            .help("a name has no comma, and no space at its ends"));
    }
    Ok(resource.to_owned())
}

fn family(table: &Table<'_>) -> Option<Family> {
    let words = [("account", Family::Account), ("project", Family::Project)];
    let help = "write \"account\" or \"project\"";
    table.required("family", help, |node| word(node, &words))
}

fn plan(node: &Node) -> Result<Plan, Mistake> {
    word(node, &Plan::ALL.map(|plan| (plan.name(), plan)))
}
