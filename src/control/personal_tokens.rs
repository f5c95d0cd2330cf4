//! `…/users/{user_id}/account-apikeys/`: a user's own tokens, managed with one of them.

use super::answer::Answer;
use super::call::Call;
use super::error::ApiError;
use super::operation::Operation;
use super::query::Parameter;
use super::tokens::{CreateTokenRequest, CreatedToken, Token, UpdateTokenRequest, find};
use crate::core::routes::RequiresSpec;
use crate::store::{Command, Owner};

const LIST: &str = "/api/v3/accounts/{account_id}/users/{user_id}/account-apikeys/";
const ONE: &str = "/api/v3/accounts/{account_id}/users/{user_id}/account-apikeys/{id}/";

pub(super) fn operations() -> Vec<Operation> {
    let own = |method, path, summary, handler| {
        Operation::new(method, path, summary, handler).requires(RequiresSpec::OwnUser)
    };
    vec![
        own("GET", LIST, "List personal tokens", list).lists::<Token>(),
        own("POST", LIST, "Create a personal token", create)
            .takes::<CreateTokenRequest>()
            .answers::<CreatedToken>(201),
        own("GET", ONE, "Read a personal token", read)
            .query(&[Parameter::IncludeRelated])
            .answers::<Token>(200),
        own("POST", ONE, "Rename a personal token", update)
            .takes::<UpdateTokenRequest>()
            .answers::<Token>(200),
        own("DELETE", ONE, "Delete a personal token", delete),
    ]
}

/// The user of the path, who is the caller's token's by the decision.
fn owner(call: &Call<'_>) -> Result<Owner, ApiError> {
    call.id("user_id").map(Owner::User)
}

fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    let page = call.store.token_page(call.account()?, owner(call)?, call.query.page)?;
    Answer::list(page.tokens.iter().map(Token::of).collect(), page.total)
}

fn create(call: &Call<'_>) -> Result<Answer, ApiError> {
    let request: CreateTokenRequest = call.body()?;
    let grants = match request.grants(call)? {
        Some(grants) => grants,
        None => call.store.token(call.token()?.id())?.grants,
    };
    call.require_authority(&grants, "permission_grants")?;
    let (token, secret) = request.token(call, owner(call)?, grants)?;
    let id = call.apply(Command::CreateToken(Box::new(token)))?;
    Answer::created(CreatedToken::of(&call.store.token(id)?, &secret))
}

fn read(call: &Call<'_>) -> Result<Answer, ApiError> {
    Answer::one(Token::of(&find(call, owner(call)?)?))
}

fn update(call: &Call<'_>) -> Result<Answer, ApiError> {
    let token = find(call, owner(call)?)?;
    let name = call.body::<UpdateTokenRequest>()?.name(&token)?;
    call.apply(Command::RenameToken { id: token.id, name })?;
    Answer::one(Token::of(&call.store.token(token.id)?))
}

fn delete(call: &Call<'_>) -> Result<Answer, ApiError> {
    let token = find(call, owner(call)?)?;
    call.apply(Command::RevokeToken { id: token.id })?;
    Ok(Answer::nothing())
}
