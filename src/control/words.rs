//! Words of the domain as the API has them, with their schemas.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::record;

/// Repeats a word of the domain, so that its schema is made here and the core knows of none.
macro_rules! word {
    ($(#[$about:meta])* $name:ident = $original:ty { $($variant:ident),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum $name {
            $(#[allow(missing_docs, reason = "says itself")] $variant),+
        }

        impl From<$original> for $name {
            fn from(original: $original) -> Self {
                match original {
                    $(<$original>::$variant => Self::$variant),+
                }
            }
        }

        impl From<$name> for $original {
            fn from(word: $name) -> Self {
                match word {
                    $($name::$variant => Self::$variant),+
                }
            }
        }
    };
}

word! {
    /// What an account has bought.
    Plan = record::Plan { Enterprise, EnterprisePlus, Developer, Starter, Team, Cancelled }
}
word! {
    /// Whether an account is in use.
    AccountState = record::AccountState { Open, Closed }
}
word! {
    /// A user's licence.
    Licence = record::Licence { Developer, ReadOnly, It }
}
word! {
    /// The category of an environment; `all` only in grants.
    Category = record::Category { All, Development, Staging, Production, Other }
}

/// `state` of the published record: 1 is active, 2 deleted.
pub(super) const ACTIVE: u8 = 1;
/// See [`ACTIVE`].
pub(super) const DELETED: u8 = 2;

/// Number of a thing, as the store keeps it.
pub(super) const ID_LIMIT: u64 = i64::MAX as u64;

/// An address or CIDR, as it is sent: `10.0.0.0/8`, `192.0.2.7`, `2001:db8::/32`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "cidr"))]
pub(super) struct CidrText(pub(super) String);
