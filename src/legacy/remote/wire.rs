//! What a gate and a lane of its own say to each other, as bytes.
//!
//! ```text
//! each side, once   "portcullis lane 1\n"
//! then frames       length u32, little-endian · kind u8 · members
//! gate → lane       1 verify: id, milliseconds left, account, secret, (token, hash)*
//!                   2 give up: id
//! lane → gate       1 answer: id, outcome, CPU time, when to come back, (CPU time, time?)*
//!                   2 alive: when to come back
//!                   3 leaving
//! ```
//!
//! Numbers, texts and lists are as in snapshots. Reading takes nothing on trust; nothing that it
//! says repeats what it has read.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use zeroize::Zeroizing;

use crate::config::CANDIDATES_LIMIT;
use crate::core::record::{AccountId, TokenId};
use crate::core::token::Secret;
use crate::encoding::{Fault, Take, put_list, put_number, put_option, put_text};
use crate::legacy::task::{HashCost, Hashed, Outcome};

/// What each side says first: what it is, and which version of this it speaks.
pub(super) const GREETING: &[u8; 18] = b"portcullis lane 1\n";

/// Most bytes of a frame to the lane: sixteen hashes of the longest form are within it.
pub(super) const QUESTION_BYTES: usize = 32 * 1024;

/// Most bytes of a frame from the lane.
pub(super) const ANSWER_BYTES: usize = 1024;

/// Longest time that a frame may speak of; any longer is a mistake.
const TIME_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// What a gate says.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// Compare a secret with hashes.
    Verify(Verify),
    /// Nobody waits for the answer any more.
    GiveUp {
        /// The question's number.
        id: u64,
    },
}

/// A secret and the hashes that it is compared with.
#[derive(PartialEq, Eq)]
pub struct Verify {
    /// Its number, which no other question under way on the connection has.
    pub(super) id: u64,
    /// For so long somebody waits for the answer.
    pub(super) left: Duration,
    pub(super) account: AccountId,
    pub(super) secret: Secret,
    pub(super) hashes: Vec<(TokenId, String)>,
}

/// What a lane says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What came of a question.
    Hashed(u64, HashedAnswer),
    /// It is there.
    Alive {
        /// When a question that comes now would probably be answered.
        retry_after: Duration,
    },
    /// It ends once what it was asked is answered, and takes no more questions.
    Leaving,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedAnswer(pub(in crate::legacy) Hashed);

/// Reads one frame; `None` where there is no more.
pub(super) async fn read_frame(
    reader: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let length = u32::from_le_bytes(length) as usize;
    if length > limit {
        return Err(invalid("a frame is longer than any may be"));
    }
    let mut frame = Zeroizing::new(vec![0; length]);
    reader.read_exact(&mut frame).await?;
    Ok(Some(frame))
}

/// What was read is not what may be said here.
pub(super) fn invalid(fault: Fault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

/// Writes a question, with its length before it.
pub(super) fn verify_frame<'h>(
    id: u64,
    left: Duration,
    account: AccountId,
    secret: &Secret,
    hashes: impl Iterator<Item = (TokenId, &'h str)> + Clone,
) -> Zeroizing<Vec<u8>> {
    /// More than the numbers of a frame, and of each hash, take.
    const NUMBERS_BYTES: usize = 64;
    const HASH_BYTES: usize = 16;
    let length: usize = hashes.clone().map(|(_, hash)| HASH_BYTES + hash.len()).sum();
    // As large as it gets, so that no part of the secret is left behind by growing.
    let mut frame =
        Zeroizing::new(Vec::with_capacity(NUMBERS_BYTES + secret.expose().len() + length));
    frame.extend_from_slice(&[0; 4]);
    frame.push(1);
    put_number(&mut frame, id);
    put_millis(&mut frame, left);
    put_number(&mut frame, account);
    put_text(&mut frame, secret.expose());
    let hashes: Vec<_> = hashes.collect();
    put_list(&mut frame, &hashes, |out, (token, hash)| {
        put_number(out, *token);
        put_text(out, hash);
    });
    measure(&mut frame);
    frame
}

impl Question {
    /// As a frame, with its length before it.
    pub fn frame(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Verify(Verify { id, left, account, secret, hashes }) => {
                let hashes = hashes.iter().map(|(token, hash)| (*token, hash.as_str()));
                verify_frame(*id, *left, *account, secret, hashes)
            }
            Self::GiveUp { id } => {
                let mut frame = vec![0, 0, 0, 0, 2];
                put_number(&mut frame, *id);
                measure(&mut frame);
                Zeroizing::new(frame)
            }
        }
    }

    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(frame: &[u8]) -> Result<Self, Fault> {
        let mut take = Take(frame);
        let question = match take.byte()? {
            1 => Self::Verify(Verify::take(&mut take)?),
            2 => Self::GiveUp { id: take.number()? },
            _ => return Err("a frame is of no known kind"),
        };
        take.finish()?;
        Ok(question)
    }
}

impl Verify {
    fn take(take: &mut Take<'_>) -> Result<Self, Fault> {
        let (id, left, account) = (take.number()?, millis(take)?, take.number()?);
        let secret = Secret::parse(take.text()?).map_err(|_| "a secret cannot be a token")?;
        let hashes = take.list(|take| Ok((take.number()?, take.text()?)))?;
        match hashes.len() {
            1..=CANDIDATES_LIMIT => Ok(Self { id, left, account, secret, hashes }),
            _ => Err("a question has no hash, or too many"),
        }
    }
}

impl fmt::Debug for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens: Vec<_> = self.hashes.iter().map(|(token, _)| token).collect();
        write!(f, "Verify({}, account {}, tokens {tokens:?}, redacted)", self.id, self.account)
    }
}

impl Answer {
    /// As a frame, with its length before it.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = vec![0; 4];
        match self {
            Self::Hashed(id, hashed) => {
                frame.push(1);
                put_number(&mut frame, *id);
                put_hashed(&mut frame, &hashed.0);
            }
            Self::Alive { retry_after } => {
                frame.push(2);
                put_millis(&mut frame, *retry_after);
            }
            Self::Leaving => frame.push(3),
        }
        measure(&mut frame);
        frame
    }

    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(frame: &[u8]) -> Result<Self, Fault> {
        let mut take = Take(frame);
        let answer = match take.byte()? {
            1 => Self::Hashed(take.number()?, HashedAnswer(hashed(&mut take)?)),
            2 => Self::Alive { retry_after: millis(&mut take)? },
            3 => Self::Leaving,
            _ => return Err("a frame is of no known kind"),
        };
        take.finish()?;
        Ok(answer)
    }
}

fn put_hashed(out: &mut Vec<u8>, hashed: &Hashed) {
    let Hashed { outcome, cpu, hashes, retry_after } = hashed;
    match outcome {
        Outcome::Matched(position) => {
            out.push(1);
            put_number(out, *position as u64);
        }
        Outcome::Mismatch { is_certain: true } => out.push(2),
        Outcome::Mismatch { is_certain: false } => out.push(3),
        Outcome::Unavailable => out.push(4),
        Outcome::Full => out.push(5),
    }
    put_micros(out, *cpu);
    put_millis(out, *retry_after);
    put_list(out, hashes, |out, HashCost { cpu, took }| {
        put_micros(out, *cpu);
        put_option(out, *took, put_micros);
    });
}

fn hashed(take: &mut Take<'_>) -> Result<Hashed, Fault> {
    let outcome = match take.byte()? {
        1 => Outcome::Matched(position(take.number()?)?),
        2 => Outcome::Mismatch { is_certain: true },
        3 => Outcome::Mismatch { is_certain: false },
        4 => Outcome::Unavailable,
        5 => Outcome::Full,
        _ => return Err("an outcome is unknown"),
    };
    let (cpu, retry_after) = (micros(take)?, millis(take)?);
    let hashes =
        take.list(|take| Ok(HashCost { cpu: micros(take)?, took: take.option(micros)? }))?;
    match hashes.len() {
        0..=CANDIDATES_LIMIT => Ok(Hashed { outcome, cpu, hashes, retry_after }),
        _ => Err("an answer has too many hashes"),
    }
}

fn position(number: u64) -> Result<usize, Fault> {
    let position = usize::try_from(number).ok().filter(|position| *position < CANDIDATES_LIMIT);
    position.ok_or("a position is beyond any that may be asked about")
}

/// Puts the length of what follows it before a frame.
fn measure(frame: &mut [u8]) {
    let length = u32::try_from(frame.len() - 4).expect("invariant: a frame is far below 4 GiB");
    frame[..4].copy_from_slice(&length.to_le_bytes());
}

fn put_micros(out: &mut Vec<u8>, time: Duration) {
    put_number(out, time.min(TIME_LIMIT).as_micros() as u64);
}

/// Rounded up: something is more than nothing.
fn put_millis(out: &mut Vec<u8>, time: Duration) {
    put_number(out, time.min(TIME_LIMIT).as_nanos().div_ceil(1_000_000) as u64);
}

fn micros(take: &mut Take<'_>) -> Result<Duration, Fault> {
    bounded(Duration::from_micros(take.number()?))
}

fn millis(take: &mut Take<'_>) -> Result<Duration, Fault> {
    bounded(Duration::from_millis(take.number()?))
}

fn bounded(time: Duration) -> Result<Duration, Fault> {
    if time > TIME_LIMIT { Err("a time is longer than any may be") } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::parse("legacy-secret-0001".to_owned()).unwrap()
    }

    fn verify() -> Verify {
        Verify {
            id: 300,
            left: Duration::from_millis(9_999),
            account: 7,
            secret: secret(),
            hashes: vec![(1, "$2b$".to_owned()), (u64::MAX, String::new())],
        }
    }

    fn hashed(outcome: Outcome) -> Hashed {
        let took = [None, Some(Duration::from_micros(7))];
        let hashes = took.map(|took| HashCost { cpu: Duration::from_micros(5), took }).to_vec();
        let (cpu, retry_after) = (Duration::from_micros(11), Duration::from_secs(3));
        Hashed { outcome, cpu, hashes, retry_after }
    }

    #[test]
    fn what_is_asked_is_read_as_it_was_written() {
        for question in [Question::Verify(verify()), Question::GiveUp { id: 0 }] {
            let frame = question.frame();
            let length = u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize;
            assert_eq!(length, frame.len() - 4);
            assert_eq!(Question::read(&frame[4..]), Ok(question));
        }
    }

    #[test]
    fn what_is_answered_is_read_as_it_was_written() {
        let outcomes = [
            Outcome::Matched(15),
            Outcome::Mismatch { is_certain: true },
            Outcome::Mismatch { is_certain: false },
            Outcome::Unavailable,
            Outcome::Full,
        ];
        let answers = outcomes.map(|outcome| Answer::Hashed(9, HashedAnswer(hashed(outcome))));
        let alive = Answer::Alive { retry_after: Duration::from_secs(1) };
        for answer in answers.into_iter().chain([alive, Answer::Leaving]) {
            assert_eq!(Answer::read(&answer.frame()[4..]), Ok(answer));
        }
    }

    #[test]
    fn a_question_has_room_for_the_longest_of_everything_and_grows_no_buffer() {
        let hashes = vec![(u64::MAX, "x".repeat(1024)); CANDIDATES_LIMIT];
        let longest = Secret::parse("s".repeat(512)).unwrap();
        let question =
            Verify { id: u64::MAX, account: u64::MAX, secret: longest, hashes, ..verify() };
        let frame = Question::Verify(question).frame();
        assert!(frame.len() <= QUESTION_BYTES);
        let most = 64 + 512 + CANDIDATES_LIMIT * (1024 + 16);
        assert!(frame.capacity() >= most && frame.len() <= most);
    }

    #[test]
    fn what_is_cut_off_or_has_something_behind_it_is_refused() {
        let whole = Question::Verify(verify()).frame();
        (0..whole.len() - 4).for_each(|end| {
            assert!(Question::read(&whole[4..4 + end]).is_err(), "{end}");
        });
        assert!(Question::read(&[&whole[4..], b"\0"].concat()).is_err());
    }

    #[test]
    fn what_nobody_may_say_is_refused() {
        let without_hash = Question::Verify(Verify { hashes: Vec::new(), ..verify() }).frame();
        assert_eq!(Question::read(&without_hash[4..]), Err("a question has no hash, or too many"));
        let beyond = Answer::Hashed(9, HashedAnswer(hashed(Outcome::Matched(16)))).frame();
        assert!(Answer::read(&beyond[4..]).is_err());
        let mut mistyped = Question::Verify(verify()).frame();
        let at = mistyped.len() - mistyped.iter().rev().position(|byte| *byte == b'1').unwrap();
        mistyped[at - 1] = b' ';
        assert_eq!(Question::read(&mistyped[4..]), Err("a secret cannot be a token"));
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_refused_or_is_what_would_be_written(bytes: Vec<u8>) {
            if let Ok(question) = Question::read(&bytes) {
                proptest::prop_assert_eq!(&question.frame()[4..], &bytes[..]);
            }
            if let Ok(answer) = Answer::read(&bytes) {
                proptest::prop_assert_eq!(&answer.frame()[4..], &bytes[..]);
            }
        }
    }
}
