//! `…/id-index/`: which project a job, run or environment belongs to. Whoever changes that changes
//! what grants cover, so that it takes what managing tokens takes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::call::Call;
use super::error::ApiError;
use super::operation::Operation;
use super::words::{Category, ID_LIMIT};
use crate::core::permissions::Level;
use crate::core::record::{self, AccountId, ProjectId};
use crate::store::{Command, IdView, check_name};

const LIST: &str = "/api/v3/accounts/{account_id}/id-index/";
const ONE: &str = "/api/v3/accounts/{account_id}/id-index/{index}/{id}/";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("GET", LIST, "List the id index", list)
            .needs("Service tokens", Level::Read)
            .lists::<IdRow>(),
        Operation::new("PUT", LIST, "Set a row of the id index", set)
            .needs("Service tokens", Level::Write)
            .takes::<SetIdRequest>()
            .answers::<IdRow>(200),
        Operation::new("DELETE", ONE, "Delete a row of the id index", delete)
            .needs("Service tokens", Level::Write),
    ]
}

/// A row of the id index.
#[derive(Serialize, JsonSchema)]
struct IdRow {
    account_id: AccountId,
    /// Name of the index, for instance `job_id`.
    index: String,
    /// The id in paths.
    id: u64,
    project_id: ProjectId,
    /// Category of its environment; none: not writable by environment.
    environment_category: Option<Category>,
}

/// A row, in place of the one with the same index and id.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetIdRequest {
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    index: String,
    #[schemars(range(max = ID_LIMIT))]
    id: u64,
    #[schemars(range(max = ID_LIMIT))]
    project_id: ProjectId,
    environment_category: Option<EnvironmentCategory>,
}

/// The category of one environment.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum EnvironmentCategory {
    Development,
    Staging,
    Production,
    Other,
}

impl From<EnvironmentCategory> for record::Category {
    fn from(category: EnvironmentCategory) -> Self {
        match category {
            EnvironmentCategory::Development => Self::Development,
            EnvironmentCategory::Staging => Self::Staging,
            EnvironmentCategory::Production => Self::Production,
            EnvironmentCategory::Other => Self::Other,
        }
    }
}

impl From<IdView> for IdRow {
    fn from(view: IdView) -> Self {
        let IdView { account_id, index, id, project_id, environment_category } = view;
        let environment_category = environment_category.map(Category::from);
        Self { account_id, index, id, project_id, environment_category }
    }
}

fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    Answer::page(call.store.ids(call.account()?)?, call.query.page, IdRow::from)
}

fn set(call: &Call<'_>) -> Result<Answer, ApiError> {
    let SetIdRequest { index, id, project_id, environment_category } = call.body()?;
    check_name("an id index", &index).map_err(ApiError::in_field("index"))?;
    let account_id = call.account()?;
    let environment_category = environment_category.map(record::Category::from);
    let view = IdView { account_id, index, id, project_id, environment_category };
    call.apply(Command::SetId {
        account_id,
        index: view.index.clone(),
        id,
        project_id,
        environment_category,
    })?;
    Answer::one(IdRow::from(view))
}

fn delete(call: &Call<'_>) -> Result<Answer, ApiError> {
    let index = decoded(call.text("index"));
    let index = index.ok_or_else(|| ApiError::NotFound("`index` is no text".to_owned()))?;
    let (account_id, id) = (call.account()?, call.id("id")?);
    call.apply(Command::RemoveId { account_id, index, id })?;
    Ok(Answer::nothing())
}

/// A segment of a path without its percent-encoding (RFC 3986 section 2.1). A canonical path has
/// only valid encodings.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                let text = std::str::from_utf8(&digits).ok()?;
                (u8::from_str_radix(text, 16).ok()?, after)
            }
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_decoded_once() {
        assert_eq!(decoded("job_id").as_deref(), Some("job_id"));
        assert_eq!(decoded("a%20b%2525").as_deref(), Some("a b%25"));
        assert_eq!(decoded("%FF"), None);
    }
}
