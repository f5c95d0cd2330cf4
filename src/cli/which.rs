//! Which project or user: `--account N --id N`, or the number without `--id`.

use clap::Args;

use crate::core::record::AccountId;

/// One thing of an account, by number.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(super) struct Which {
    /// The account
    #[arg(long, value_name = "N")]
    pub(super) account: AccountId,
    /// Its number
    #[arg(value_name = "ID", group = "which")]
    positional: Option<u64>,
    /// Its number, as `create` takes it
    #[arg(long = "id", value_name = "N", group = "which")]
    option: Option<u64>,
}

impl Which {
    /// The number; clap sees to it that there is exactly one.
    pub(super) fn id(&self) -> u64 {
        self.positional.or(self.option).expect("invariant: the group is required")
    }
}
