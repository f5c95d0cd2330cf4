//! `requires` of a route: who may.

use super::read::{Table, expected, text};
use super::report::Mistake;
use super::source::shown;
use super::suggest;
use super::tree::{Node, Value};
use crate::core::permissions::{Level, PermissionSets};
use crate::core::routes::RequiresSpec;

const WORDS: [&str; 3] = ["authenticated", "public", "self"];
const EXAMPLE: &str = "write \"Resource:R\" or \"Resource:W\", a list of such, \"authenticated\", \
                       \"public\" or \"self\"";

/// Reads `requires`; `None` where there is a mistake, which is reported. Without permission sets
/// (they have mistakes of their own) resources are not looked up.
pub(super) fn requires(route: &Table<'_>, sets: Option<&PermissionSets>) -> Option<RequiresSpec> {
    let node = route.required("requires", EXAMPLE, Ok)?;
    match &node.value {
        Value::Array(items) if items.is_empty() => {
            route.error("requires", empty_list());
            None
        }
        Value::Array(items) => {
            let needs = route.each("requires", |item| need(item, sets))?;
            (needs.len() == items.len()).then_some(RequiresSpec::All(needs))
        }
        Value::Text(word) if WORDS.contains(&word.as_str()) => Some(match word.as_str() {
            "authenticated" => RequiresSpec::Authenticated,
            "public" => RequiresSpec::Public,
            _ => RequiresSpec::OwnUser,
        }),
        Value::Text(_) => {
            let need = route.take("requires", |node| need(node, sets))?;
            Some(RequiresSpec::All(vec![need]))
        }
        other => {
            route.error("requires", expected("a string or an array", other).help(EXAMPLE));
            None
        }
    }
}

fn empty_list() -> Mistake {
    Mistake::new("`requires` is an empty list, which would ask for nothing")
        .help("write \"authenticated\" or \"public\" if that is meant")
}

/// `Resource:R` or `Resource:W`. Resources may hold colons; the last one counts.
fn need(node: &Node, sets: Option<&PermissionSets>) -> Result<(String, Level), Mistake> {
    let given = text(node)?;
    let Some((resource, level)) = given.rsplit_once(':') else {
        return Err(no_level(given, sets));
    };
    let level = match level {
        "R" => Level::Read,
        "W" => Level::Write,
        _ => {
            let message = format!("{} is not a level: R reads, W writes", shown(level));
            return Err(Mistake::new(message).help(level_help(resource, level)));
        }
    };
    match sets {
        Some(sets) if sets.need(resource, level).is_none() => Err(unknown_resource(resource, sets)),
        _ => Ok((resource.to_owned(), level)),
    }
}

fn level_help(resource: &str, level: &str) -> String {
    match level.trim().to_ascii_lowercase().as_str() {
        "r" | "read" => format!("did you mean `{resource}:R`?"),
        "w" | "write" => format!("did you mean `{resource}:W`?"),
        _ => EXAMPLE.to_owned(),
    }
}

fn no_level(given: &str, sets: Option<&PermissionSets>) -> Mistake {
    if WORDS.contains(&given) {
        return Mistake::new(format!("`{given}` cannot be combined with others"))
            .help(format!("write requires = \"{given}\""));
    }
    let resources = sets.map_or(&[][..], PermissionSets::resources).iter().map(String::as_str);
    let help = match (suggest::closest(given, WORDS), suggest::closest(given, resources)) {
        (Some(word), _) => format!("did you mean `{word}`?"),
        (None, Some(resource)) => format!("did you mean `{resource}:R` or `{resource}:W`?"),
        (None, None) => EXAMPLE.to_owned(),
    };
    Mistake::new(format!("{} says neither who may nor which permission", shown(given))).help(help)
}

fn unknown_resource(resource: &str, sets: &PermissionSets) -> Mistake {
    let known = sets.resources().iter().map(String::as_str);
    let help = suggest::closest(resource, known).map_or_else(
        || "name the resource in a set of permission_sets.toml".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    let message = format!(
        "no permission set names the resource {}, so no token could ever pass",
        shown(resource)
    );
    Mistake::new(message).help(help)
}
