//! `…/service-tokens/`: the account's own tokens.

use super::OPERATOR_ACCOUNT;
use super::answer::Answer;
use super::call::Call;
use super::error::ApiError;
use super::operation::Operation;
use super::query::Parameter;
use super::tokens::{CreateTokenRequest, CreatedToken, Token, UpdateTokenRequest, find};
use crate::core::permissions::Level;
use crate::store::{Command, Owner};

const LIST: &str = "/api/v3/accounts/{account_id}/service-tokens/";
const ONE: &str = "/api/v3/accounts/{account_id}/service-tokens/{id}/";

pub(super) fn operations() -> Vec<Operation> {
    let rename = |method, summary| {
        Operation::new(method, ONE, summary, update)
            .needs("Service tokens", Level::Write)
            .managing_tokens()
            .takes::<UpdateTokenRequest>()
            .answers::<Token>(200)
    };
    vec![
        Operation::new("GET", LIST, "List service tokens", list)
            .needs("Service tokens", Level::Read)
            .lists::<Token>(),
        Operation::new("POST", LIST, "Create a service token", create)
            .needs("Service tokens", Level::Write)
            .managing_tokens()
            .for_operator()
            .takes::<CreateTokenRequest>()
            .answers::<CreatedToken>(201),
        Operation::new("GET", ONE, "Read a service token", read)
            .needs("Service tokens", Level::Read)
            .query(&[Parameter::IncludeRelated])
            .answers::<Token>(200),
        rename("PUT", "Rename a service token"),
        // As published clients do it.
        rename("POST", "Update a service token"),
        Operation::new("DELETE", ONE, "Delete a service token", delete)
            .needs("Service tokens", Level::Write)
            .managing_tokens(),
    ]
}

fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    let page = call.store.token_page(call.account()?, Owner::Account, call.query.page)?;
    Answer::list(page.tokens.iter().map(Token::of).collect(), page.total)
}

/// The operator's tokens make the first one that can manage others, and leave the rest to it.
fn create(call: &Call<'_>) -> Result<Answer, ApiError> {
    let request: CreateTokenRequest = call.body()?;
    let grants = request.grants(call)?.unwrap_or_default();
    call.require_authority(&grants, "permission_grants")?;
    let (token, secret) = request.token(call, Owner::Account, grants)?;
    let own = call.token()?.account().id();
    let is_operators = own == OPERATOR_ACCOUNT && token.account_id != OPERATOR_ACCOUNT;
    let token = Box::new(token);
    let id = call.apply(match is_operators {
        true => Command::CreateFirstToken(token),
        false => Command::CreateToken(token),
    })?;
    Answer::created(CreatedToken::of(&call.store.token(id)?, &secret))
}

fn read(call: &Call<'_>) -> Result<Answer, ApiError> {
    Answer::one(Token::of(&find(call, Owner::Account)?))
}

fn update(call: &Call<'_>) -> Result<Answer, ApiError> {
    let token = find(call, Owner::Account)?;
    let name = call.body::<UpdateTokenRequest>()?.name(&token)?;
    call.apply(Command::RenameToken { id: token.id, name })?;
    Answer::one(Token::of(&call.store.token(token.id)?))
}

fn delete(call: &Call<'_>) -> Result<Answer, ApiError> {
    let token = find(call, Owner::Account)?;
    call.apply(Command::RevokeToken { id: token.id })?;
    Ok(Answer::nothing())
}
