//! `…/users/`.

use schemars::JsonSchema;
use serde::Serialize;

use super::answer::Answer;
use super::call::Call;
use super::error::ApiError;
use super::operation::Operation;
use super::query::Parameter;
use super::words::Licence;
use crate::core::permissions::Level;
use crate::core::record::{AccountId, UserId};
use crate::store::UserView;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("GET", "/api/v3/accounts/{account_id}/users/", "List users", list)
            .needs("Members", Level::Read)
            .lists::<User>(),
        Operation::new("GET", "/api/v3/accounts/{account_id}/users/{id}/", "Read a user", read)
            .needs("Members", Level::Read)
            .query(&[Parameter::IncludeRelated])
            .answers::<User>(200),
    ]
}

/// A user.
#[derive(Serialize, JsonSchema)]
struct User {
    id: UserId,
    account_id: AccountId,
    name: String,
    licence: Licence,
    /// Whether the user administers the account.
    admin: bool,
}

impl From<UserView> for User {
    fn from(view: UserView) -> Self {
        let UserView { account_id, id, name, licence, admin } = view;
        Self { id, account_id, name, licence: licence.into(), admin }
    }
}

fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    Answer::page(call.store.users(call.account()?)?, call.query.page, User::from)
}

fn read(call: &Call<'_>) -> Result<Answer, ApiError> {
    Answer::one(User::from(call.store.user(call.account()?, call.id("id")?)?))
}
