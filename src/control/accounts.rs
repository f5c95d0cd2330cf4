//! `/api/v3/accounts/`: the caller's account, and new ones of the operator.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OPERATOR_ACCOUNT;
use super::answer::Answer;
use super::call::Call;
use super::error::ApiError;
use super::operation::Operation;
use super::query::Parameter;
use super::words::{AccountState, ID_LIMIT, Plan};
use crate::core::permissions::Level;
use crate::core::record::{self, AccountId};
use crate::store::{AccountView, Command, check_name};
use crate::time::format_time;

const LIST: &str = "/api/v3/accounts/";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("GET", LIST, "List accounts of the token", list).lists::<Account>(),
        Operation::new("POST", LIST, "Create an account", create)
            .needs("Account settings", Level::Write)
            .takes::<CreateAccountRequest>()
            .answers::<Account>(201),
        Operation::new("GET", "/api/v3/accounts/{account_id}/", "Read an account", read)
            .needs("Account settings", Level::Read)
            .query(&[Parameter::IncludeRelated])
            .answers::<Account>(200),
    ]
}

/// An account.
#[derive(Serialize, JsonSchema)]
struct Account {
    id: AccountId,
    name: String,
    plan: Plan,
    state: AccountState,
    /// Whether its IP rules are in force.
    ip_rules_enabled: bool,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
}

/// An account to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateAccountRequest {
    /// Its number; without, the next one.
    #[schemars(range(max = ID_LIMIT))]
    id: Option<AccountId>,
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    name: String,
    plan: Plan,
}

impl Account {
    fn of(view: AccountView) -> Self {
        Self {
            id: view.id,
            name: view.name,
            plan: view.plan.into(),
            state: view.state.into(),
            ip_rules_enabled: view.ip_rules_enabled,
            created_at: format_time(view.created_at),
        }
    }
}

/// The one that the token belongs to.
fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    let view = call.store.account(call.token()?.account().id())?;
    Answer::page(vec![view], call.query.page, Account::of)
}

fn create(call: &Call<'_>) -> Result<Answer, ApiError> {
    if call.token()?.account().id() != OPERATOR_ACCOUNT {
        return Err(ApiError::Forbidden("only tokens of the operator make accounts".to_owned()));
    }
    let CreateAccountRequest { id, name, plan } = call.body()?;
    check_name("an account", &name).map_err(ApiError::in_field("name"))?;
    let plan = record::Plan::from(plan);
    let made = match id {
        Some(id) if call.store.account(id).is_ok() => {
            return Err(ApiError::Rule(format!("there is an account {id} already")));
        }
        Some(id) => {
            let state = record::AccountState::Open;
            call.apply(Command::CreateAccount { id, name, plan, state })?;
            id
        }
        None => call.apply(Command::AddAccount { name, plan })?,
    };
    Answer::created(Account::of(call.store.account(made)?))
}

fn read(call: &Call<'_>) -> Result<Answer, ApiError> {
    Answer::one(Account::of(call.store.account(call.account()?)?))
}
