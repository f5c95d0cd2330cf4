//! What the store shows to people and to `export`: the domain's records with their names and
//! times, and never a secret. Serialised, their keys are the import format's.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::core::record::{
    AccountId, AccountState, Action, Category, Grant, Licence, Plan, ProjectId, Timestamp, TokenId,
    TokenState, UserId, Verifier,
};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// Its number.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// What it has bought.
    pub plan: Plan,
    /// Open or closed.
    pub state: AccountState,
    /// Whether its IP rules are in force.
    pub ip_rules_enabled: bool,
    /// When it was made; for one that was there before this was kept, since when it is.
    pub created_at: Timestamp,
    /// When its IP rules last changed, or were put in or out of force.
    pub ip_rules_changed_at: Timestamp,
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectView {
    /// The account.
    pub account_id: AccountId,
    /// Its number.
    pub id: ProjectId,
    /// Its name.
    pub name: String,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserView {
    /// The account.
    pub account_id: AccountId,
    /// The user's number.
    pub id: UserId,
    /// The user's name.
    pub name: String,
    /// The user's licence.
    pub licence: Licence,
    /// Whether the user administers the account.
    pub admin: bool,
}

/// An IP rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpRuleView {
    /// The account.
    pub account_id: AccountId,
    /// Its number.
    pub id: u64,
    /// Allow or deny.
    pub action: Action,
    /// The canonical prefix.
    pub cidr: IpNet,
    /// Its name; may be empty.
    pub name: String,
    /// The rule that the prefix belongs to: the number of that rule's first prefix.
    pub rule_id: u64,
    /// What the rule is for; may be empty.
    pub description: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When the rule was last changed.
    pub updated_at: Timestamp,
}

/// A row of the id index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdView {
    /// The account.
    pub account_id: AccountId,
    /// Name of the index.
    pub index: String,
    /// The id in paths.
    pub id: u64,
    /// The project that it belongs to.
    pub project_id: ProjectId,
    /// Category of its environment.
    pub environment_category: Option<Category>,
}

/// A token. Its verifier shows nothing in `Debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenView {
    /// Its number.
    pub id: TokenId,
    /// The account.
    pub account_id: AccountId,
    /// Its name.
    pub name: String,
    /// The user, for a personal token.
    pub user_id: Option<UserId>,
    /// Active or revoked.
    pub state: TokenState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// First second at which it is valid.
    pub not_before: Option<Timestamp>,
    /// First second at which it is no longer valid.
    pub expires_at: Option<Timestamp>,
    /// Prefixes that narrow where it may be used from.
    pub allow_ips: Vec<IpNet>,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// How its secret is recognised.
    pub verifier: Verifier,
    /// The token that replaced it in a rotation.
    pub rotated_to: Option<TokenId>,
}

/// Most that is counted of anything, of one token and on one day: such numbers of many days add up,
/// and are the same in any JSON.
pub const COUNT_LIMIT: u64 = 1 << 53;

/// How a token is used, over all time or since something was last recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenUse {
    /// The token.
    pub token_id: TokenId,
    /// Requests with it.
    pub requests: u64,
    /// When the last one came.
    pub last_used_at: Timestamp,
    /// Where it came from, as far as that can be known.
    pub last_address: Option<IpAddr>,
}

/// One of the tokens with the most requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopToken {
    /// The account.
    pub account_id: AccountId,
    /// Its name.
    pub name: String,
    /// Its requests in the days asked about, and its last use.
    pub used: TokenUse,
}

/// What verifying a legacy token cost since something was last recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyCost {
    /// The token.
    pub token_id: TokenId,
    /// How often it was verified, for its own requests or for guesses at it.
    pub verifications: u64,
    /// CPU time that its hash took, in microseconds.
    pub hash_micros: u64,
    /// When the last one was.
    pub last_at: Timestamp,
}

/// How a legacy token was used, and what that cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyUse {
    /// The token.
    pub token_id: TokenId,
    /// The account.
    pub account_id: AccountId,
    /// Its name.
    pub name: String,
    /// Requests with it.
    pub requests: u64,
    /// How often it was verified.
    pub verifications: u64,
    /// CPU time that its hash took, in microseconds.
    pub hash_micros: u64,
}

/// Which tokens to list. `Default` lists all.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenFilter {
    /// Of this account only.
    pub account_id: Option<AccountId>,
}

/// Whose tokens to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The account's: service tokens.
    Account,
    /// This user's: personal tokens.
    User(UserId),
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many to leave out at the beginning.
    pub offset: u64,
    /// How many at most.
    pub limit: u64,
}

impl Page {
    /// This part of a whole list.
    pub fn of<T>(self, all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        all.into_iter().skip(self.offset as usize).take(self.limit as usize)
    }
}

/// A part of a list of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPage {
    /// The tokens, by id.
    pub tokens: Vec<TokenView>,
    /// How many there are in all.
    pub total: u64,
}
