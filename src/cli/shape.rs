//! Things of the store as JSON: the keys of the import format, which `export`, the lists and
//! `show` share, so that what one prints another can read.

use serde::Serialize;

use crate::core::record::{
    AccountId, AccountState, Action, Category, Grant, Licence, Plan, ProjectId, TokenId,
    TokenState, UserId, Verifier,
};
use crate::store::{AccountView, IdView, IpRuleView, ProjectView, TokenUse, TokenView, UserView};
use crate::time::format_time;

/// An account.
#[derive(Debug, Serialize)]
pub(super) struct AccountShape<'v> {
    pub(super) id: AccountId,
    pub(super) name: &'v str,
    pub(super) plan: Plan,
    pub(super) state: AccountState,
}

impl<'v> From<&'v AccountView> for AccountShape<'v> {
    fn from(view: &'v AccountView) -> Self {
        let AccountView { id, name, plan, state, .. } = view;
        Self { id: *id, name, plan: *plan, state: *state }
    }
}

/// A project.
#[derive(Debug, Serialize)]
pub(super) struct ProjectShape<'v> {
    pub(super) account_id: AccountId,
    pub(super) id: ProjectId,
    pub(super) name: &'v str,
}

impl<'v> From<&'v ProjectView> for ProjectShape<'v> {
    fn from(view: &'v ProjectView) -> Self {
        let ProjectView { account_id, id, name } = view;
        Self { account_id: *account_id, id: *id, name }
    }
}

/// A user.
#[derive(Debug, Serialize)]
pub(super) struct UserShape<'v> {
    pub(super) account_id: AccountId,
    pub(super) id: UserId,
    pub(super) name: &'v str,
    pub(super) licence: Licence,
    pub(super) admin: bool,
}

impl<'v> From<&'v UserView> for UserShape<'v> {
    fn from(view: &'v UserView) -> Self {
        let UserView { account_id, id, name, licence, admin } = view;
        Self { account_id: *account_id, id: *id, name, licence: *licence, admin: *admin }
    }
}

/// An IP rule.
#[derive(Debug, Serialize)]
pub(super) struct IpRuleShape<'v> {
    /// Not in an export: an import gives rules new numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u64>,
    pub(super) account_id: AccountId,
    pub(super) action: Action,
    pub(super) cidr: String,
    pub(super) name: &'v str,
}

impl<'v> IpRuleShape<'v> {
    /// For lists, with its number.
    pub(super) fn listed(view: &'v IpRuleView) -> Self {
        let IpRuleView { account_id, id, action, cidr, name, .. } = view;
        Self {
            id: Some(*id),
            account_id: *account_id,
            action: *action,
            cidr: cidr.to_string(),
            name,
        }
    }

    /// For an export.
    pub(super) fn exported(view: &'v IpRuleView) -> Self {
        Self { id: None, ..Self::listed(view) }
    }
}

/// Whether an account's IP rules are in force.
#[derive(Debug, Serialize)]
pub(super) struct IpRulesShape {
    pub(super) account_id: AccountId,
    pub(super) enabled: bool,
}

/// A row of the id index.
#[derive(Debug, Serialize)]
pub(super) struct IdShape<'v> {
    pub(super) account_id: AccountId,
    pub(super) index: &'v str,
    pub(super) id: u64,
    pub(super) project_id: ProjectId,
    pub(super) environment_category: Option<Category>,
}

impl<'v> From<&'v IdView> for IdShape<'v> {
    fn from(view: &'v IdView) -> Self {
        let IdView { account_id, index, id, project_id, environment_category } = view;
        Self {
            account_id: *account_id,
            index,
            id: *id,
            project_id: *project_id,
            environment_category: *environment_category,
        }
    }
}

/// A grant, marked where it covers nothing at present.
#[derive(Debug, Serialize)]
pub(super) struct GrantShape<'v> {
    permission_set: &'v str,
    project_id: Option<ProjectId>,
    writable_environment_categories: &'v [Category],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    suspended: bool,
}

/// A token without its verifier.
#[derive(Debug, Serialize)]
pub(super) struct TokenShape<'v> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<TokenId>,
    account_id: AccountId,
    name: &'v str,
    created_at: String,
    expires_at: Option<String>,
    not_before: Option<String>,
    state: TokenState,
    user_id: Option<UserId>,
    allow_ips: Vec<String>,
    grants: Vec<GrantShape<'v>>,
    #[serde(flatten)]
    verifier: VerifierShape<'v>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotated_to: Option<TokenId>,
    #[serde(flatten)]
    used: Option<UseShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    may_be_revoked: Option<bool>,
}

/// How a token is used; not in an export.
#[derive(Debug, Serialize)]
struct UseShape {
    last_used_at: Option<String>,
    last_address: Option<String>,
    requests: u64,
}

/// How a token is recognised: its kind for people, everything for an export.
#[derive(Debug, Default, Serialize)]
struct VerifierShape<'v> {
    #[serde(skip_serializing_if = "Option::is_none")]
    verifier: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    introspect: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<&'v str>,
}

impl<'v> TokenShape<'v> {
    /// For lists and `show`: its number, which grants are suspended, and of its verifier only the kind.
    pub(super) fn listed(view: &'v TokenView, suspended: &[bool]) -> Self {
        let kind = VerifierShape { verifier: Some(view.verifier.kind()), ..Default::default() };
        let shape = Self::of(view, kind, suspended);
        Self { id: Some(view.id), rotated_to: view.rotated_to, ..shape }
    }

    /// With how it is used; `None`: never.
    pub(super) fn with_use(self, used: Option<&TokenUse>) -> Self {
        let shape = UseShape {
            last_used_at: used.map(|used| format_time(used.last_used_at)),
            last_address: used.and_then(|used| used.last_address).map(|from| from.to_string()),
            requests: used.map_or(0, |used| used.requests),
        };
        Self { used: Some(shape), ..self }
    }

    /// With whether it may be revoked, if it was rotated.
    pub(super) fn with_rotation(self, may_be_revoked: Option<bool>) -> Self {
        Self { may_be_revoked, ..self }
    }

    /// For an export: its verifier, which is a digest or hash and never a secret.
    pub(super) fn exported(view: &'v TokenView, suspended: &[bool]) -> Self {
        Self::of(view, VerifierShape::of(&view.verifier), suspended)
    }

    fn of(view: &'v TokenView, verifier: VerifierShape<'v>, suspended: &[bool]) -> Self {
        Self {
            id: None,
            account_id: view.account_id,
            name: &view.name,
            created_at: format_time(view.created_at),
            expires_at: view.expires_at.map(format_time),
            not_before: view.not_before.map(format_time),
            state: view.state,
            user_id: view.user_id,
            allow_ips: view.allow_ips.iter().map(ToString::to_string).collect(),
            grants: view
                .grants
                .iter()
                .zip(suspended)
                .map(|(grant, suspended)| grant_shape(grant, *suspended))
                .collect(),
            verifier,
            rotated_to: None,
            used: None,
            may_be_revoked: None,
        }
    }
}

impl<'v> VerifierShape<'v> {
    fn of(verifier: &'v Verifier) -> Self {
        let none = Self::default();
        match verifier {
            Verifier::Digest { key_id, digest } => {
                Self { digest: Some(format!("{key_id}:{}", hex::encode(digest.0))), ..none }
            }
            Verifier::Sha256(sha256) => Self { sha256: Some(hex::encode(sha256)), ..none },
            Verifier::Hash { encoded, selector } => {
                Self { hash: Some(encoded), selector: selector.as_deref(), ..none }
            }
            Verifier::Introspect { selector } => {
                Self { introspect: Some(true), selector: selector.as_deref(), ..none }
            }
        }
    }
}

fn grant_shape(grant: &Grant, suspended: bool) -> GrantShape<'_> {
    let Grant { permission_set, project_id, writable_environment_categories } = grant;
    GrantShape {
        permission_set,
        project_id: *project_id,
        writable_environment_categories,
        suspended,
    }
}

/// The name of a state, an action and the like, as the import format has it.
pub(super) fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "?".to_owned(),
    }
}
