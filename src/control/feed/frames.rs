//! `GET /feed/frames?after=CURSOR`: the next frame, or 204 where there is none, with `&wait=SECONDS`
//! once there was none for so long. 410 where the history does not go on from there.

use crate::control::answer::Answer;
use crate::control::call::Call;
use crate::control::error::ApiError;
use crate::feed::{Frame, Next, Publisher, Source as _, snapshot};
use crate::store::Cursor;

pub(super) fn next(call: &Call<'_>) -> Result<Answer, ApiError> {
    let after = call.query.after.as_ref();
    let after = after.ok_or_else(|| ApiError::field("after", "from which cursor?"))?;
    match Publisher::new(call.store.clone()).frames_after(after) {
        Ok(Next::Frame(frame)) if frame.cursor == *after => Ok(Answer::nothing()),
        Ok(Next::Frame(frame)) => Ok(Answer::octets(bytes(&frame, after, call)?)),
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
