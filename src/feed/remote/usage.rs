//! Telling the control how tokens were used here, in numbered batches. One whose answer was lost is
//! sent again as it was, so that nothing counts twice.

use std::io;

use bytes::Bytes;

use super::client::Client;
use crate::config::Feed;
use crate::store::{Actor, Command, Outcome, StoreError, TokenUse, VerifyCost};
use crate::usage::{Cost, Recorder, Told, Used};

/// Where the use of tokens is told.
pub(crate) struct RemoteUses {
    client: Client,
    /// What this process calls itself.
    gate: String,
    batch: u64,
    /// The last batch, until it is known to have arrived.
    unanswered: Option<Bytes>,
}

impl RemoteUses {
    /// Tells the control of this feed.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn new(feed: &Feed) -> io::Result<Self> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        let client = Client::new(feed)?;
        Ok(Self { client, gate: hex::encode(name), batch: 0, unanswered: None })
    }

    /// Takes a batch over. An error says that it was not, since the one before is still here.
    fn tell(&mut self, uses: Vec<Used>, costs: Vec<Cost>) -> Result<(), StoreError> {
        self.send()?;
        self.batch += 1;
        let told = Told { gate: self.gate.clone(), batch: self.batch, uses, costs };
        let told = serde_json::to_vec(&told);
        self.unanswered = Some(told.map_err(|error| failed(&error))?.into());
        if let Err(error) = self.send() {
            tracing::warn!(%error, "the use of tokens could not be told to the control; trying again");
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), StoreError> {
        let Some(told) = &self.unanswered else { return Ok(()) };
        self.client.post("/feed/usage", told.clone()).map_err(|error| failed(&error))?;
        self.unanswered = None;
        Ok(())
    }
}

impl Recorder for RemoteUses {
    fn record(&mut self, uses: &[TokenUse]) -> Result<(), StoreError> {
        self.tell(uses.iter().map(Used::from).collect(), Vec::new())
    }

    fn record_costs(&mut self, costs: &[VerifyCost]) -> Result<(), StoreError> {
        self.tell(Vec::new(), costs.iter().map(Cost::from).collect())
    }

    /// Whoever has the feed's token may read, and tell what was used: not change tokens.
    fn apply_all(&mut self, _: &Actor, commands: Vec<Command>) -> Vec<Result<Outcome, StoreError>> {
        let why = "a gate that follows a control changes nothing";
        commands.iter().map(|_| Err(StoreError::Rule(why.to_owned()))).collect()
    }
}

fn failed(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Database(error.to_string())
}
