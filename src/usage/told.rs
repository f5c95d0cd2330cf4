//! How a gate without a store tells its control which tokens were used.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::record::{Timestamp, TokenId};
use crate::store::{TokenUse, VerifyCost};

/// What a gate tells.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Told {
    /// What the gate calls itself since it began.
    pub(crate) gate: String,
    /// The number of this batch.
    pub(crate) batch: u64,
    #[serde(default)]
    pub(crate) uses: Vec<Used>,
    #[serde(default)]
    pub(crate) costs: Vec<Cost>,
}

/// What verifying one legacy token cost since the last batch.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cost {
    pub(crate) token_id: TokenId,
    pub(crate) verifications: u64,
    pub(crate) hash_micros: u64,
    /// Seconds since the Unix epoch.
    pub(crate) last_at: i64,
}

impl From<&VerifyCost> for Cost {
    fn from(cost: &VerifyCost) -> Self {
        let VerifyCost { token_id, verifications, hash_micros, last_at } = *cost;
        Self { token_id, verifications, hash_micros, last_at: last_at.0 }
    }
}

impl From<&Cost> for VerifyCost {
    fn from(cost: &Cost) -> Self {
        let Cost { token_id, verifications, hash_micros, last_at } = *cost;
        Self { token_id, verifications, hash_micros, last_at: Timestamp(last_at) }
    }
}

/// The use of one token since the last batch.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Used {
    pub(crate) token_id: TokenId,
    pub(crate) requests: u64,
    /// Seconds since the Unix epoch.
    pub(crate) last_used_at: i64,
    pub(crate) last_address: Option<IpAddr>,
}

impl From<&TokenUse> for Used {
    fn from(used: &TokenUse) -> Self {
        let TokenUse { token_id, requests, last_used_at, last_address } = *used;
        Self { token_id, requests, last_used_at: last_used_at.0, last_address }
    }
}

impl From<&Used> for TokenUse {
    fn from(used: &Used) -> Self {
        let Used { token_id, requests, last_used_at, last_address } = *used;
        Self { token_id, requests, last_used_at: Timestamp(last_used_at), last_address }
    }
}
