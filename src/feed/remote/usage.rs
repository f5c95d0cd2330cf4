//! Telling the control how tokens were used here, in numbered batches. One whose answer was lost is
//! sent again as it was, so that nothing counts twice.

use std::io;

use bytes::Bytes;

use super::client::{Client, Posted};
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
        let posted = self.client.post("/feed/usage", told.clone());
        if let Posted::Refused(status) = posted.map_err(|error| failed(&error))? {
            // Kept, it would keep back whatever is counted from now on.
            tracing::warn!(
                %status,
                batch = self.batch,
                "the control refuses a batch of the use of tokens: it is left out of its counts; \
                 is this clock right, and the control's version the gate's?"
            );
        }
        self.unanswered = None;
        Ok(())
    }
}

impl Recorder for RemoteUses {
    fn record(&mut self, uses: &[TokenUse], costs: &[VerifyCost]) -> Result<(), StoreError> {
        self.tell(uses.iter().map(Used::from).collect(), costs.iter().map(Cost::from).collect())
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

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write as _};
    use std::net::TcpListener;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::thread::JoinHandle;
    use std::time::Duration;

    use super::*;
    use crate::config::Endpoint;
    use crate::core::record::Timestamp;
    use crate::core::token::Secret;

    /// A control that answers with these statuses in turn, and the numbers of the batches it gets.
    fn control(statuses: &'static [&'static str]) -> (Feed, JoinHandle<Vec<u64>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = move |status: &&str| {
            let (mut client, _) = listener.accept().unwrap();
            let told = read(BufReader::new(&client));
            write!(client, "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n").unwrap();
            told.batch
        };
        let batches = std::thread::spawn(move || statuses.iter().map(answer).collect());
        let feed = Feed {
            endpoint: Endpoint::Http { host: "127.0.0.1".to_owned(), port },
            tls: None,
            token: Arc::new(Secret::parse("a-token-for-the-feed".to_owned()).unwrap()),
            cache: PathBuf::new(),
            max_boot_age: Duration::ZERO,
        };
        (feed, batches)
    }

    fn read(mut input: impl std::io::BufRead) -> Told {
        let (mut line, mut length) = (String::new(), 0);
        while input.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        input.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn a_batch_that_the_control_refuses_does_not_keep_back_the_ones_after_it() {
        let (feed, batches) = control(&[
            "400 Bad Request",
            "413 Content Too Large",
            "503 Service Unavailable",
            "204 No Content",
            "204 No Content",
        ]);
        let mut uses = RemoteUses::new(&feed).unwrap();
        for requests in 1..=4 {
            let last_used_at = Timestamp(requests as i64);
            let used = TokenUse { token_id: 7, requests, last_used_at, last_address: None };
            assert_eq!(uses.record(&[used], &[]), Ok(()));
        }
        assert_eq!(batches.join().unwrap(), [1, 2, 3, 3, 4], "the third is sent again, as it was");
    }
}
