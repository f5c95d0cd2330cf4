//! What can be done to the store, by whom, and what comes of it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Note;
use crate::core::record::{
    AccountId, AccountState, Action, Category, Grant, Licence, Plan, ProjectId, Timestamp, TokenId,
    TokenState, UserId, Verifier,
};

/// Who does something, for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// What kind of actor.
    pub kind: ActorKind,
    /// The operator's user id, or the token's number.
    pub id: Option<u64>,
    /// For instance the operator's user name, or the token's name.
    pub name: String,
    /// From where; none for the command line.
    pub address: Option<IpAddr>,
    /// Part of a bulk import: changes are not numbered one by one for followers, who take a
    /// snapshot once it is over ([`super::Bulk`]). Its commands go into several short
    /// transactions, so that others come to write in between.
    pub bulk: bool,
}

/// Kinds of actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// A person at the command line.
    Operator,
    /// Whoever holds a token.
    Token,
    /// The program itself.
    System,
}

impl ActorKind {
    /// The name in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Token => "token",
            Self::System => "system",
        }
    }
}

impl Actor {
    /// A person at the command line, of whom nothing is known.
    pub fn operator() -> Self {
        Self::of(ActorKind::Operator, None, "operator".to_owned())
    }

    /// The person of this user id at the command line.
    pub fn person(uid: u32, name: String) -> Self {
        Self::of(ActorKind::Operator, Some(u64::from(uid)), name)
    }

    /// Whoever holds this token, at this address.
    pub fn token(id: TokenId, name: String, address: Option<IpAddr>) -> Self {
        Self { address, ..Self::of(ActorKind::Token, Some(id), name) }
    }

    /// A part of the program.
    pub fn system(part: &str) -> Self {
        Self::of(ActorKind::System, None, part.to_owned())
    }

    /// The same, doing something as part of a bulk import.
    pub fn in_bulk(self) -> Self {
        Self { bulk: true, ..self }
    }

    fn of(kind: ActorKind, id: Option<u64>, name: String) -> Self {
        Self { kind, id, name, address: None, bulk: false }
    }
}

/// A token to be made or imported. The store gives it its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// The account.
    pub account_id: AccountId,
    /// Its name.
    pub name: String,
    /// The user, for a personal token.
    pub user_id: Option<UserId>,
    /// Active, or revoked for an imported one that was.
    pub state: TokenState,
    /// When it was made.
    pub created_at: Timestamp,
    /// First second at which it is valid.
    pub not_before: Option<Timestamp>,
    /// First second at which it is no longer valid.
    pub expires_at: Option<Timestamp>,
    /// Prefixes that narrow where it may be used from; canonical.
    pub allow_ips: Vec<IpNet>,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// How its secret is recognised.
    pub verifier: Verifier,
}

/// An IP rule that covers several prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpRuleContents {
    /// Allow or deny.
    pub action: Action,
    /// The prefixes, at least one; made canonical.
    pub cidrs: Vec<IpNet>,
    /// Its name; may be empty.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
}

/// A token that was made elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedToken {
    /// The token.
    pub token: NewToken,
    /// It may hold grants that cover nothing at present, by the account's plan or because their
    /// project was removed.
    pub suspended: bool,
    /// Other verifiers by which the store may know the same secret already: under keys that are
    /// no longer the current one, or by its SHA-256.
    pub aliases: Vec<Verifier>,
}

/// A change to the store. Commands that find everything as asked already come out as
/// [`Outcome::Unchanged`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Adds an account, its IP rules not in force.
    CreateAccount {
        /// Its number.
        id: AccountId,
        /// Its name.
        name: String,
        /// What it has bought.
        plan: Plan,
        /// Open, or closed for an imported one that was.
        state: AccountState,
    },
    /// Changes what an account has bought. Grants that the new plan does not allow are suspended.
    SetPlan {
        /// The account.
        id: AccountId,
        /// The new plan.
        plan: Plan,
    },
    /// Opens or closes an account.
    SetAccountState {
        /// The account.
        id: AccountId,
        /// The new state.
        state: AccountState,
    },
    /// Gives an account another name.
    RenameAccount {
        /// The account.
        id: AccountId,
        /// Its new name.
        name: String,
    },
    /// Adds an account under the next free number.
    AddAccount {
        /// Its name.
        name: String,
        /// What it has bought.
        plan: Plan,
    },
    /// Adds a project under a number that neither a project nor a grant of the account has had.
    AddProject {
        /// The account.
        account_id: AccountId,
        /// Its name.
        name: String,
    },
    /// Adds a project.
    CreateProject {
        /// The account.
        account_id: AccountId,
        /// Its number.
        id: ProjectId,
        /// Its name.
        name: String,
    },
    /// Gives a project another name.
    RenameProject {
        /// The account.
        account_id: AccountId,
        /// The project.
        id: ProjectId,
        /// Its new name.
        name: String,
    },
    /// Removes a project. Grants on it stay and cover nothing.
    RemoveProject {
        /// The account.
        account_id: AccountId,
        /// The project.
        id: ProjectId,
    },
    /// Adds a user.
    CreateUser {
        /// The account.
        account_id: AccountId,
        /// The user's number.
        id: UserId,
        /// The user's name.
        name: String,
        /// The user's licence.
        licence: Licence,
        /// Whether the user administers the account.
        admin: bool,
    },
    /// Puts another name and licence in place of a user's. What the user's tokens may do follows.
    ChangeUser {
        /// The account.
        account_id: AccountId,
        /// The user's number.
        id: UserId,
        /// The user's new name.
        name: String,
        /// The user's new licence.
        licence: Licence,
        /// Whether the user administers the account from now on.
        admin: bool,
    },
    /// Removes a user and revokes the user's tokens.
    RemoveUser {
        /// The account.
        account_id: AccountId,
        /// The user.
        id: UserId,
    },
    /// Adds an IP rule. The CIDR is made canonical; in the other list already, it is refused.
    AddIpRule {
        /// The account.
        account_id: AccountId,
        /// Allow or deny.
        action: Action,
        /// The prefix.
        cidr: IpNet,
        /// Its name; may be empty.
        name: String,
    },
    /// Removes the IP rule with this CIDR.
    RemoveIpRule {
        /// The account.
        account_id: AccountId,
        /// The prefix.
        cidr: IpNet,
    },
    /// Puts an account's IP rules in force, or out of it.
    EnableIpRules {
        /// The account.
        account_id: AccountId,
        /// In force or not.
        enabled: bool,
    },
    /// Asks for an account's IP rules out of force as an import does: those in force stay so.
    KeepIpRules {
        /// The account.
        account_id: AccountId,
    },
    /// Sets a row of the id index, replacing the one with the same index and id.
    SetId {
        /// The account.
        account_id: AccountId,
        /// Name of the index.
        index: String,
        /// The id in paths.
        id: u64,
        /// The project that it belongs to.
        project_id: ProjectId,
        /// Category of its environment; never `All`.
        environment_category: Option<Category>,
    },
    /// Makes an IP rule of several prefixes, or puts other contents in place of one, prefixes
    /// included.
    PutIpRule {
        /// The account.
        account_id: AccountId,
        /// The rule; none to make one.
        id: Option<u64>,
        /// What it shall be.
        rule: IpRuleContents,
        /// Whether the account's rules shall be in force then; none: as they are.
        enabled: Option<bool>,
    },
    /// Removes an IP rule with all its prefixes.
    RemoveIpRuleById {
        /// The account.
        account_id: AccountId,
        /// The rule.
        id: u64,
    },
    /// Makes a change, unless the account's IP rules would then keep this address out.
    IfAdmitted {
        /// The account.
        account_id: AccountId,
        /// The address; one that is not known is kept out by rules in force.
        address: Option<IpAddr>,
        /// The change.
        change: Box<Command>,
    },
    /// Removes a row of the id index.
    RemoveId {
        /// The account.
        account_id: AccountId,
        /// Name of the index.
        index: String,
        /// The id in paths.
        id: u64,
    },
    /// Adds a token. One with the same verifier in the same account is left as it is.
    CreateToken(Box<NewToken>),
    /// Adds a token that was made elsewhere.
    ImportToken(Box<ImportedToken>),
    /// Adds a service token to an account in which no valid one can manage service tokens.
    CreateFirstToken(Box<NewToken>),
    /// Gives a token that is not revoked another name.
    RenameToken {
        /// The token.
        id: TokenId,
        /// Its new name.
        name: String,
    },
    /// Puts other grants in place of those of a token that is not revoked.
    SetGrants {
        /// The token.
        id: TokenId,
        /// What it may do from now on.
        grants: Vec<Grant>,
    },
    /// Revokes a token, for good.
    RevokeToken {
        /// The token.
        id: TokenId,
    },
    /// Makes a successor of the same account, user, name, grants and narrowing, and lets the
    /// old token expire at `old_expires_at` or at its own expiry, whichever is earlier.
    RotateToken {
        /// The old token: neither revoked, expired nor rotated before.
        id: TokenId,
        /// How the successor's secret is recognised.
        verifier: Verifier,
        /// Now.
        created_at: Timestamp,
        /// End of the grace period.
        old_expires_at: Timestamp,
        /// The grants that the caller knows of: refused where the token has others by now, since
        /// the successor has the token's. None: whatever they are.
        grants: Option<Vec<Grant>>,
    },
    /// Makes a legacy token that is known by a password hash a fast one, by the digest of its
    /// secret. One that is revoked, or known otherwise, is left as it is.
    UpgradeToken {
        /// The token.
        id: TokenId,
        /// The digest.
        verifier: Verifier,
    },
    /// Adds to the audit log and changes nothing else.
    Note(Box<Note>),
}

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; for tokens and IP rules, the number that the store gave.
    Changed {
        /// Number of what the command makes: a token, a rule, an account or a project; else 0.
        id: u64,
    },
    /// Everything was as asked already.
    Unchanged {
        /// Number of the token or rule that was there; else 0.
        id: u64,
    },
}
