//! What steps 1 and 8 find, in words, and what would change it: for `explain`.

use super::holdings::counts;
use super::permission::Scope;
use crate::core::facts::CredentialError;
use crate::core::index::{Policy, Token};
use crate::core::permissions::Access;
use crate::core::routes::{Project, Route};
use crate::core::token::Malformed;
use crate::core::verdict::Reason;

pub(super) fn describe_credential(error: CredentialError) -> &'static str {
    match error {
        CredentialError::Missing => "no credential",
        CredentialError::Several => "more than one credential",
        CredentialError::Scheme => {
            "the scheme is neither `Bearer` nor `Token`, or no token follows it"
        }
        CredentialError::Malformed(Malformed::Length) => {
            "a token made elsewhere has 16 to 512 bytes"
        }
        CredentialError::Malformed(Malformed::Alphabet) => {
            "a token has only the bytes 0x21 to 0x7E"
        }
        CredentialError::Malformed(Malformed::Checksum) => {
            "the prefix is ours but the checksum is wrong: mistyped or cut off"
        }
    }
}

pub(super) fn describe_need(policy: &Policy, need: Access) -> String {
    match need == Access::NONE {
        true => "any grant".to_owned(),
        false => format!("the grants give {}", policy.permission_sets.describe(need)),
    }
}

pub(super) fn describe_lack(
    policy: &Policy,
    token: &Token<'_>,
    route: &Route,
    scope: Result<Scope, Reason>,
    need: Access,
    reason: Reason,
) -> String {
    if reason == Reason::BadRequest {
        return "the project's query parameter is there twice, or encoded".to_owned();
    }
    let place = match scope {
        Err(_) => match &route.project {
            Project::Index { index, .. } => {
                let index = policy.routes.name_of(*index);
                return format!(
                    "the id in the path is not in index {index} of account {}",
                    token.account.id()
                );
            }
            _ => return "the project id is not a number".to_owned(),
        },
        Ok(Scope::All) => "on all projects".to_owned(),
        Ok(Scope::One { project, category, .. }) => match category {
            Some(category) => format!("on project {project}, environment category {category}"),
            None => format!("on project {project}"),
        },
        Ok(Scope::Any | Scope::Defer) => "on any project".to_owned(),
    };
    let suspended = token.grants.iter().filter(|grant| !counts(policy, token, grant)).count();
    let suspended = match suspended {
        0 => String::new(),
        count => format!(
            "; {count} grants are suspended, since plan {} does not allow them",
            token.account.plan()
        ),
    };
    format!(
        "{} is needed {place}, and the grants do not give it{suspended}",
        policy.permission_sets.describe(need)
    )
}

pub(super) fn suggest_grant(
    policy: &Policy,
    token: &Token<'_>,
    scope: Result<Scope, Reason>,
    need: Access,
) -> String {
    let account = token.account.id();
    let project = match scope {
        Ok(Scope::One { project, .. }) => format!(":{project}"),
        Ok(_) => String::new(),
        Err(Reason::BadRequest) => {
            return "the client must send the parameter once, unencoded".to_owned();
        }
        Err(_) => {
            return format!(
                "where the id is right: `portcullis id-index set --account {account} INDEX ID PROJECT`"
            );
        }
    };
    let plan = token.account.plan();
    let mut sets = policy.permission_sets.giving(need).filter(|name| {
        let allowed = |id| policy.permission_sets.set(id).allowed_on(plan);
        token.user.is_some() || policy.permission_sets.find(name).is_some_and(allowed)
    });
    match sets.next() {
        Some(set) => format!(
            "a token with such a grant: `portcullis token create --account {account} --name NAME --grant {set}{project}`; other sets that give it: {}",
            sets.collect::<Vec<_>>().join(", ")
        ),
        None => format!(
            "no permission set that plan {plan} allows gives it: `portcullis account set-plan {account} PLAN`"
        ),
    }
}
