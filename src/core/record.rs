//! What the store keeps and the feed carries: one record per account, token and id-index row.
//!
//! Records are plain values in the terms of the domain. The index compiles them into its own,
//! packed form; nothing here is looked at while a request waits.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// Number of an account, as it appears in paths: `0` to `10^19 - 1`.
pub type AccountId = u64;
/// Number of a token. Public: it names the token without revealing it.
pub type TokenId = u64;
/// Number of a user.
pub type UserId = u64;
/// Number of a project, unique within its account.
pub type ProjectId = u64;

/// Seconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    /// RFC 3339, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{} seconds after 1970", self.0),
        }
    }
}

/// What an account has bought. Decides which permission sets its service tokens may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Enterprise.
    Enterprise,
    /// Enterprise+.
    EnterprisePlus,
    /// Developer, for one person.
    Developer,
    /// Starter.
    Starter,
    /// The legacy Team plan.
    Team,
    /// A cancelled subscription: the account is denied like a closed one.
    Cancelled,
}

impl Plan {
    /// Every plan, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Enterprise,
        Self::EnterprisePlus,
        Self::Developer,
        Self::Starter,
        Self::Team,
        Self::Cancelled,
    ];

    /// The name used in configuration, on the command line and in import lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enterprise => "enterprise",
            Self::EnterprisePlus => "enterprise_plus",
            Self::Developer => "developer",
            Self::Starter => "starter",
            Self::Team => "team",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Whether an account is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// Its tokens are judged.
    Open,
    /// Its tokens are denied.
    Closed,
}

/// Whether a token is in use. There is no way back from `Revoked`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// Judged by its validity, account and grants.
    Active,
    /// Denied for good.
    Revoked,
}

/// A user's licence; it bounds what the user's personal tokens can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Licence {
    /// Everything that the token's grants give.
    Developer,
    /// Reading only.
    ReadOnly,
    /// Account administration, nothing in projects.
    It,
}

impl Licence {
    /// Every licence.
    pub const ALL: [Self; 3] = [Self::Developer, Self::ReadOnly, Self::It];

    /// The name used on the command line and in import lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Developer => "developer",
            Self::ReadOnly => "read_only",
            Self::It => "it",
        }
    }
}

/// What an IP rule does with the addresses that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Let them in.
    Allow,
    /// Keep them out.
    Deny,
}

/// One IP rule of an account. The CIDR is canonical: host bits masked, IPv4-mapped IPv6 as IPv4.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpRule {
    /// Allow or deny.
    pub action: Action,
    /// The canonical prefix; see [`super::ip::canonical`].
    pub cidr: IpNet,
    /// What a person calls it; may be empty.
    pub name: String,
}

/// The environment category of an id-index row, or of a grant's writable environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Every category. Only in grants.
    All,
    /// Development environments.
    Development,
    /// Staging environments.
    Staging,
    /// Production environments.
    Production,
    /// Any other environment, "General" to people.
    Other,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 5] =
        [Self::All, Self::Development, Self::Staging, Self::Production, Self::Other];

    /// The name used in grants, on the command line and in import lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
            Self::Other => "other",
        }
    }
}

/// A word that is not one of the names that an enumeration knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a {kind}: expected one of {expected}")]
pub struct UnknownName {
    kind: &'static str,
    given: String,
    expected: String,
}

macro_rules! names {
    ($type:ty, $kind:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = UnknownName;

            fn from_str(given: &str) -> Result<Self, UnknownName> {
                Self::ALL.into_iter().find(|known| known.name() == given).ok_or_else(|| {
                    UnknownName {
                        kind: $kind,
                        given: given.to_owned(),
                        expected: Self::ALL.map(Self::name).join(", "),
                    }
                })
            }
        }
    };
}

names!(Plan, "plan");
names!(Licence, "licence");
names!(Category, "environment category");

/// One permission set on all projects of the account or on one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// Name of the set, as in `permission_sets.toml`.
    pub permission_set: String,
    /// The project; `None` for all.
    pub project_id: Option<ProjectId>,
    /// Environment categories in which the set's `environment_write` resources are writable.
    pub writable_environment_categories: Vec<Category>,
}

/// An account with all that a decision about its tokens needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Its number.
    pub id: AccountId,
    /// What it has bought.
    pub plan: Plan,
    /// Open or closed.
    pub state: AccountState,
    /// Whether the IP rules are in force.
    pub ip_rules_enabled: bool,
    /// The IP rules, canonical and without a CIDR in both lists.
    pub ip_rules: Vec<IpRule>,
    /// The projects that the store knows, ascending.
    pub projects: Vec<ProjectId>,
}

/// The user that a personal token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUser {
    /// The user's number.
    pub id: UserId,
    /// The user's licence, which bounds the token.
    pub licence: Licence,
}

/// How a presented secret is recognised as a token's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verifier {
    /// Keyed BLAKE3 digest of the secret, with the id of the key.
    Digest {
        /// Id of the key in `digest.key`.
        key_id: String,
        /// The digest.
        digest: Digest,
    },
    /// SHA-256 of the secret.
    Sha256(#[serde(with = "hex::serde")] [u8; 32]),
    /// A password hash: PHC, bcrypt or Django. Slow.
    Hash {
        /// The encoded hash, salt and parameters included.
        encoded: String,
        /// Leading characters of the secret by which candidates are found.
        selector: Option<String>,
    },
    /// A remote introspection endpoint answers. Slow.
    Introspect {
        /// Leading characters of the secret by which candidates are found.
        selector: Option<String>,
    },
}

impl Verifier {
    /// The kind of verifier, which is not a secret.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Digest { .. } => "digest",
            Self::Sha256(_) => "sha256",
            Self::Hash { .. } => "hash",
            Self::Introspect { .. } => "introspect",
        }
    }

    /// Whether verification goes through the slow lane.
    pub fn is_slow(&self) -> bool {
        matches!(self, Self::Hash { .. } | Self::Introspect { .. })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier::{}(redacted)", self.kind())
    }
}

/// A token with all that a decision about it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its number.
    pub id: TokenId,
    /// The account that it belongs to.
    pub account_id: AccountId,
    /// The user, for a personal token.
    pub user: Option<TokenUser>,
    /// Active or revoked.
    pub state: TokenState,
    /// First second at which it is valid; `None`: from the start.
    pub not_before: Option<Timestamp>,
    /// First second at which it is no longer valid; `None`: never expires.
    pub expires_at: Option<Timestamp>,
    /// Prefixes that narrow where this token may be used from; empty: no narrowing.
    pub allow_ips: Vec<IpNet>,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// How its secret is recognised.
    pub verifier: Verifier,
    /// Position of the last change to the token; a remembered verification of an older one is void.
    pub version: u64,
}

/// One row of an account's id index: which project an id belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdRecord {
    /// The account.
    pub account_id: AccountId,
    /// Name of the index, for instance `job_id`.
    pub index: String,
    /// The id that appears in paths.
    pub id: u64,
    /// The project that it belongs to.
    pub project_id: ProjectId,
    /// Category of its environment, where it has one. Never `All`.
    pub environment_category: Option<Category>,
}

/// One record of a snapshot or frame: the present state of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// An account, new or changed.
    Account(AccountRecord),
    /// A token, new or changed.
    Token(TokenRecord),
    /// An id-index row, new or changed.
    Id(IdRecord),
    /// An id-index row that is gone.
    IdRemoved {
        /// The account.
        account_id: AccountId,
        /// Name of the index.
        index: String,
        /// The id.
        id: u64,
    },
}
