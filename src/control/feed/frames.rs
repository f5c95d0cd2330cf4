//! `GET /feed/frames?after=CURSOR`: the next frame, or 204 once there was none for as long as the
//! caller waits (`&wait=SECONDS`). 410 where the history does not go on from there.

use std::time::Duration;

use crate::control::answer::Answer;
use crate::control::call::Call;
use crate::control::error::ApiError;
use crate::feed::{Frame, Next, Publisher, Source as _, snapshot};
use crate::store::Cursor;

/// Longest wait for a change.
const WAIT_LIMIT_SECONDS: u64 = 30;

/// From where, and how long to wait for something.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::control) struct Wait {
    pub(in crate::control) after: Cursor,
    pub(in crate::control) at_most: Duration,
}

/// Reads the query.
pub(in crate::control) fn after(query: Option<&str>) -> Result<Wait, ApiError> {
    let (mut after, mut seconds) = (None, None);
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("after", cursor) if after.is_none() => {
                let wrong = |_| ApiError::field("after", "it is no cursor of a store");
                after = Some(cursor.parse().map_err(wrong)?);
            }
            ("wait", text) if seconds.is_none() => {
                let number = text.parse().ok().filter(|seconds| *seconds <= WAIT_LIMIT_SECONDS);
                let wrong = || {
                    ApiError::field("wait", format!("expected 0 to {WAIT_LIMIT_SECONDS} seconds"))
                };
                seconds = Some(number.ok_or_else(wrong)?);
            }
            _ => {
                let known = "expected `after`, and perhaps `wait`, each once";
                return Err(ApiError::field("query", known));
            }
        }
    }
    let after = after.ok_or_else(|| ApiError::field("after", "from which cursor?"))?;
    Ok(Wait { after, at_most: Duration::from_secs(seconds.unwrap_or(0)) })
}

/// What there is now; waiting is done before.
pub(super) fn next(call: &Call<'_>) -> Result<Answer, ApiError> {
    let Wait { after, .. } = after(call.raw_query)?;
    match Publisher::new(call.store.clone()).frames_after(&after) {
        Ok(Next::Frame(frame)) if frame.cursor == after => Ok(Answer::nothing()),
        Ok(Next::Frame(frame)) => Ok(Answer::octets(bytes(&frame, &after, call)?)),
        Ok(Next::Rebase) => Err(ApiError::Gone(
            "the history does not go on from that cursor: take a snapshot".to_owned(),
        )),
        Err(error) => Err(ApiError::Broken(error.to_string())),
    }
}

fn bytes(frame: &Frame, after: &Cursor, call: &Call<'_>) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    snapshot::write_frame(&mut bytes, after.position(), frame, call.config.keys.current())
        .map_err(|error| ApiError::Broken(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_a_cursor_and_perhaps_a_wait() {
        let read = |query| after(Some(query)).map(|wait| (wait.after.to_string(), wait.at_most));
        let second = Duration::from_secs(1);
        assert_eq!(read("after=ab.1.7").unwrap(), ("ab.1.7".to_owned(), Duration::ZERO));
        assert_eq!(read("wait=2&after=ab.1.7").unwrap(), ("ab.1.7".to_owned(), 2 * second));
        for wrong in
            ["", "wait=1", "after=x", "after=ab.1.7&wait=31", "after=a.1.1&after=a.1.2", "x=1"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
