//! `…/projects/`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::call::Call;
use super::error::ApiError;
use super::operation::Operation;
use super::query::Parameter;
use super::tokens::agree;
use super::words::{ACTIVE, ID_LIMIT};
use crate::core::permissions::Level;
use crate::core::record::{AccountId, ProjectId};
use crate::store::{Command, ProjectView, check_name};

const LIST: &str = "/api/v3/accounts/{account_id}/projects/";
const ONE: &str = "/api/v3/accounts/{account_id}/projects/{project_id}/";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("GET", LIST, "List projects", list)
            .needs("Projects", Level::Read)
            .deferring()
            .lists::<Project>(),
        Operation::new("POST", LIST, "Create a project", create)
            .needs("Project (create)", Level::Write)
            .takes::<CreateProjectRequest>()
            .answers::<Project>(201),
        Operation::new("GET", ONE, "Read a project", read)
            .needs("Projects", Level::Read)
            .query(&[Parameter::IncludeRelated])
            .answers::<Project>(200),
        Operation::new("DELETE", ONE, "Delete a project", delete).needs("Projects", Level::Write),
    ]
}

/// A project.
#[derive(Serialize, JsonSchema)]
struct Project {
    id: ProjectId,
    account_id: AccountId,
    name: String,
    /// 1: it is there.
    state: u8,
}

/// A project to be made; its number is chosen here.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateProjectRequest {
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    name: String,
    /// Of the published record: empty.
    #[schemars(range(max = 0))]
    id: Option<u64>,
    /// Of the published record: empty, or the account of the path.
    #[schemars(range(max = ID_LIMIT))]
    account_id: Option<u64>,
    /// Of the published record: empty, or 1.
    #[schemars(range(max = 1))]
    state: Option<u8>,
}

impl From<ProjectView> for Project {
    fn from(view: ProjectView) -> Self {
        let ProjectView { account_id, id, name } = view;
        Self { id, account_id, name, state: ACTIVE }
    }
}

/// Those that the token may see.
fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    let mut granted = String::new();
    call.permit.write_projects(&mut granted);
    let granted: Vec<ProjectId> = granted.split(',').filter_map(|id| id.parse().ok()).collect();
    let mut views = call.store.projects(call.account()?)?;
    // `*` for all is no number.
    if !granted.is_empty() {
        views.retain(|view| granted.binary_search(&view.id).is_ok());
    }
    Answer::page(views, call.query.page, Project::from)
}

fn create(call: &Call<'_>) -> Result<Answer, ApiError> {
    let CreateProjectRequest { name, id, account_id, state } = call.body()?;
    check_name("a project", &name).map_err(ApiError::in_field("name"))?;
    let account = call.account()?;
    agree("id", id, 0)?;
    agree("account_id", account_id.filter(|id| *id != 0), account)?;
    agree("state", state.filter(|state| *state != 0), ACTIVE)?;
    let id = call.apply(Command::AddProject { account_id: account, name })?;
    Answer::created(find(call, id)?)
}

fn read(call: &Call<'_>) -> Result<Answer, ApiError> {
    Answer::one(find(call, call.id("project_id")?)?)
}

fn delete(call: &Call<'_>) -> Result<Answer, ApiError> {
    let (account_id, id) = (call.account()?, call.id("project_id")?);
    call.apply(Command::RemoveProject { account_id, id })?;
    Ok(Answer::nothing())
}

fn find(call: &Call<'_>, id: ProjectId) -> Result<Project, ApiError> {
    let account = call.account()?;
    let views = call.store.projects(account)?;
    let found = views.into_iter().find(|view| view.id == id).map(Project::from);
    found.ok_or_else(|| ApiError::NotFound(format!("account {account} has no project {id}")))
}
