//! `…/service-tokens/{id}/permissions/`, and grants as they are asked for and shown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::call::Call;
use super::error::ApiError;
use super::operation::Operation;
use super::tokens::{agree, find, state_of};
use super::words::{Category, ID_LIMIT};
use crate::core::permissions::Level;
use crate::core::record::{AccountId, Grant, ProjectId, TokenId};
use crate::store::{Command, Owner, TokenView};
use crate::time::format_time;

/// Most grants of one token.
const GRANTS_LIMIT: usize = 1000;

const PATH: &str = "/api/v3/accounts/{account_id}/service-tokens/{id}/permissions/";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("GET", PATH, "List permissions of a service token", list)
            .needs("Service tokens", Level::Read)
            .lists::<Permission>(),
        Operation::new("POST", PATH, "Assign permissions to a service token", assign)
            .needs("Service tokens", Level::Write)
            .managing_tokens()
            .takes::<Vec<GrantRequest>>()
            .answers::<Vec<Permission>>(200),
    ]
}

/// A grant: one permission set, on all projects or on one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct GrantShape {
    permission_set: String,
    /// The project; none: all.
    project_id: Option<ProjectId>,
    /// Environment categories in which it may write.
    writable_environment_categories: Vec<Category>,
}

/// A grant as a record of its own.
#[derive(Serialize, JsonSchema)]
struct Permission {
    /// Its number among the token's grants.
    id: usize,
    account_id: AccountId,
    service_token_id: TokenId,
    project_id: Option<ProjectId>,
    all_projects: bool,
    permission_set: String,
    /// The token's.
    state: u8,
    writable_environment_categories: Vec<Category>,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    #[schemars(extend("format" = "date-time"))]
    updated_at: String,
}

/// A grant that is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantRequest {
    /// Name of a permission set of this service.
    permission_set: String,
    /// The project; none: all.
    #[schemars(range(max = ID_LIMIT))]
    project_id: Option<ProjectId>,
    /// Said besides by the published record.
    all_projects: Option<bool>,
    /// Environment categories in which it shall be able to write.
    writable_environment_categories: Option<Vec<Category>>,
    /// Of the published record; the grants are numbered anew.
    #[serde(rename = "id")]
    _id: Option<u64>,
    /// Of the published record: empty, or the account of the path.
    #[schemars(range(max = ID_LIMIT))]
    account_id: Option<u64>,
    /// Of the published record: empty, or the token of the path.
    #[schemars(range(max = ID_LIMIT))]
    service_token_id: Option<u64>,
    /// Of the published record: empty, or 1.
    #[schemars(range(max = 1))]
    state: Option<u8>,
}

/// A grant as it is shown.
pub(super) fn shape_of(grant: &Grant) -> GrantShape {
    let Grant { permission_set, project_id, writable_environment_categories } = grant;
    GrantShape {
        permission_set: permission_set.clone(),
        project_id: *project_id,
        writable_environment_categories: categories(writable_environment_categories),
    }
}

/// Grants that are asked for, of permission sets that there are.
pub(super) fn read_grants(
    asked: &[GrantRequest],
    call: &Call<'_>,
    field: &str,
) -> Result<Vec<Grant>, ApiError> {
    if asked.len() > GRANTS_LIMIT {
        return Err(ApiError::field(field, format!("at most {GRANTS_LIMIT} grants")));
    }
    let mut grants = Vec::with_capacity(asked.len());
    for (position, asked) in asked.iter().enumerate() {
        let grant = read_grant(asked, call).map_err(|error| match error {
            ApiError::Field { name, problem } => {
                ApiError::field(&format!("{field}[{position}].{name}"), problem)
            }
            other => other,
        })?;
        if !grants.contains(&grant) {
            grants.push(grant);
        }
    }
    Ok(grants)
}

fn read_grant(asked: &GrantRequest, call: &Call<'_>) -> Result<Grant, ApiError> {
    if call.config.permission_sets.find(&asked.permission_set).is_none() {
        return Err(ApiError::field("permission_set", "there is no permission set of this name"));
    }
    match (asked.all_projects, asked.project_id) {
        (Some(true), Some(_)) => {
            return Err(ApiError::field("all_projects", "true, and yet there is a `project_id`"));
        }
        (Some(false), None) => {
            return Err(ApiError::field("project_id", "missing, and `all_projects` is false"));
        }
        _ => {}
    }
    agree("account_id", asked.account_id.filter(|id| *id != 0), call.account()?)?;
    agree("state", asked.state.filter(|state| *state != 0), 1)?;
    let mut writable: Vec<crate::core::record::Category> = Vec::new();
    for category in asked.writable_environment_categories.iter().flatten() {
        let category = (*category).into();
        if !writable.contains(&category) {
            writable.push(category);
        }
    }
    Ok(Grant {
        permission_set: asked.permission_set.clone(),
        project_id: asked.project_id,
        writable_environment_categories: writable,
    })
}

fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    Answer::page(permissions(&find(call, Owner::Account)?), call.query.page, |permission| {
        permission
    })
}

/// Puts other grants in place of the token's, and changes nothing else of it.
fn assign(call: &Call<'_>) -> Result<Answer, ApiError> {
    let token = find(call, Owner::Account)?;
    let asked: Vec<GrantRequest> = call.body()?;
    for (position, grant) in asked.iter().enumerate() {
        let name = format!("[{position}].service_token_id");
        agree(&name, grant.service_token_id.filter(|id| *id != 0), token.id)?;
    }
    let grants = read_grants(&asked, call, "")?;
    call.require_authority(&grants, "")?;
    call.apply(Command::SetGrants { id: token.id, grants })?;
    Answer::one(permissions(&call.store.token(token.id)?))
}

fn permissions(token: &TokenView) -> Vec<Permission> {
    let permission = |(position, grant): (usize, &Grant)| Permission {
        id: position + 1,
        account_id: token.account_id,
        service_token_id: token.id,
        project_id: grant.project_id,
        all_projects: grant.project_id.is_none(),
        permission_set: grant.permission_set.clone(),
        state: state_of(token.state),
        writable_environment_categories: categories(&grant.writable_environment_categories),
        created_at: format_time(token.created_at),
        updated_at: format_time(token.updated_at),
    };
    token.grants.iter().enumerate().map(permission).collect()
}

fn categories(categories: &[crate::core::record::Category]) -> Vec<Category> {
    categories.iter().map(|category| (*category).into()).collect()
}
