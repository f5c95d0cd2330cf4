//! Grants as people write them: `SET[:PROJECT][@CATEGORY+CATEGORY]`.

use super::record::{Category, Grant, UnknownName};

/// Why a text is not a grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// No permission set.
    #[error(
        "a grant begins with a permission set: SET[:PROJECT][@CATEGORY+CATEGORY], for instance job_admin:42@staging+development"
    )]
    NoSet,
    /// A set's name with characters that none has.
    #[error("a permission set's name has only a-z, 0-9 and _: SET[:PROJECT][@CATEGORY+CATEGORY]")]
    Set,
    /// Not a project's number.
    #[error("what follows the colon is a project's number; leave it out for all projects")]
    Project,
    /// Not a category.
    #[error(transparent)]
    Category(#[from] UnknownName),
    /// A category twice.
    #[error("environment category `{0}` is named twice")]
    Twice(Category),
}

/// Reads a grant. Whether there is such a set and project is for the store to say.
///
/// # Errors
/// Which part of it cannot be read.
pub fn parse_grant(text: &str) -> Result<Grant, GrantError> {
    let (scope, categories) = match text.split_once('@') {
        Some((scope, categories)) => (scope, parse_categories(categories)?),
        None => (text, Vec::new()),
    };
    let (set, project_id) = match scope.split_once(':') {
        Some((set, project)) => (set, Some(parse_project(project)?)),
        None => (scope, None),
    };
    if set.is_empty() {
        return Err(GrantError::NoSet);
    }
    if !set.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Err(GrantError::Set);
    }
    Ok(Grant {
        permission_set: set.to_owned(),
        project_id,
        writable_environment_categories: categories,
    })
}

/// Writes a grant as [`parse_grant`] reads it.
pub fn format_grant(grant: &Grant) -> String {
    let mut text = grant.permission_set.clone();
    if let Some(project) = grant.project_id {
        text.push_str(&format!(":{project}"));
    }
    for (position, category) in grant.writable_environment_categories.iter().enumerate() {
        text.push(if position == 0 { '@' } else { '+' });
        text.push_str(category.name());
    }
    text
}

fn parse_project(text: &str) -> Result<u64, GrantError> {
    // `parse` alone would take a leading `+`.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(GrantError::Project);
    }
    text.parse().map_err(|_| GrantError::Project)
}

fn parse_categories(text: &str) -> Result<Vec<Category>, GrantError> {
    let mut categories = Vec::new();
    for name in text.split('+') {
        let category = name.parse()?;
        if categories.contains(&category) {
            return Err(GrantError::Twice(category));
        }
        categories.push(category);
    }
    Ok(categories)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_survives_being_read_and_written() {
        for text in ["job_admin", "job_admin:42", "job_admin@all", "x:0@staging+development"] {
            assert_eq!(format_grant(&parse_grant(text).unwrap()), text);
        }
    }

    #[test]
    fn what_is_wrong_with_a_grant_is_said() {
        let cases = [
            ("", "begins with a permission set"),
            (":42", "begins with a permission set"),
            ("Job Admin", "only a-z"),
            ("job_admin:", "project's number"),
            ("job_admin:+4", "project's number"),
            ("job_admin:x", "project's number"),
            ("job_admin@", "not a environment category"),
            ("job_admin@prod", "not a environment category"),
            ("job_admin@staging+staging", "twice"),
        ];
        for (text, expected) in cases {
            let why = parse_grant(text).unwrap_err().to_string();
            assert!(why.contains(expected), "{text}: {why}");
        }
    }
}
