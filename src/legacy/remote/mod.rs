//! A lane that is a process of its own, asked over a Unix socket, so that it has limits of CPU and
//! memory of its own.
//!
//! The process hashes: it has the queue, the turns of accounts, and the budget. The gate remembers,
//! joins those who ask the same, and throttles, so that a token that it knows costs no round trip.
//! Whatever goes wrong between the two is an answer that says nothing about the token.

mod client;
mod server;
mod session;
mod wire;

pub(super) use client::Remote;
pub(crate) use server::LaneServer;
#[cfg(fuzzing)]
pub use wire::{Answer, Question};

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::config::Legacy;

/// From a connection to the other side's greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a lane says that it is there.
const ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a lane may say nothing before it is given up.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// How long the other side may take to read a frame.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why two sides do not come to talk.
#[derive(Debug, thiserror::Error)]
enum GreetError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("the process there runs as user {0}, which is neither this one's nor root")]
    Stranger(u32),
    #[error("the process there is not a slow lane of this version")]
    Unknown,
    #[error("the process there does not say what it is")]
    Silent,
}

/// Makes sure of who is at the other end. Secrets are sent, and answers believed, only between
/// processes of the same user, or of root.
async fn greet(stream: &mut UnixStream) -> Result<(), GreetError> {
    let theirs = stream.peer_cred()?.uid();
    if theirs != 0 && theirs != rustix::process::geteuid().as_raw() {
        return Err(GreetError::Stranger(theirs));
    }
    let exchange = async {
        stream.write_all(wire::GREETING).await?;
        let mut theirs = [0; wire::GREETING.len()];
        stream.read_exact(&mut theirs).await?;
        if theirs == *wire::GREETING { Ok(()) } else { Err(GreetError::Unknown) }
    };
    tokio::time::timeout(GREETING_TIMEOUT, exchange).await.unwrap_or(Err(GreetError::Silent))
}

/// Questions that may be under way at a time: more than a lane lets wait, so that it is the one to
/// say that it is full, and finds those that nobody waits for any more.
fn places(settings: &Legacy) -> usize {
    2 * settings.queue_limit + settings.threads
}
