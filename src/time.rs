//! Times as people and import lines write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;
use jiff::civil::{DateTime, datetime};

use crate::core::record::Timestamp;

const EPOCH: DateTime = datetime(1970, 1, 1, 0, 0, 0, 0);
/// Length of a time down to the second, without a zone.
const SECONDS_LEN: usize = "2024-05-01T00:00:00".len();

/// Why a text is not a time. Does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TimeError {
    /// Not RFC 3339.
    #[error("not an RFC 3339 time, like 2024-05-01T00:00:00Z")]
    NotRfc3339,
    /// Neither a date nor RFC 3339.
    #[error("neither a date like 2024-05-01 nor an RFC 3339 time like 2024-05-01T00:00:00Z")]
    NeitherTimeNorDate,
    /// Neither a time nor a duration.
    #[error(
        "neither a duration like 30d or 12h nor a time like 2024-05-01 or 2024-05-01T00:00:00Z"
    )]
    NeitherTimeNorDuration,
}

/// The time by the system's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(since.as_secs() as i64)
}

/// Reads an RFC 3339 time; a fraction of a second is cut off.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, TimeError> {
    if !has_rfc3339_shape(text.as_bytes()) {
        return Err(TimeError::NotRfc3339);
    }
    // Not jiff's own timestamps: they end a day before 9999-12-31, which others write for "never".
    let (local, rest) = text.split_at(SECONDS_LEN);
    let local: DateTime = local.parse().map_err(|_| TimeError::NotRfc3339)?;
    let time = Timestamp(local.duration_since(EPOCH).as_secs() - offset_seconds(rest)?);
    match civil(time) {
        Some(utc) if (0..=9999).contains(&utc.year()) => Ok(time),
        _ => Err(TimeError::NotRfc3339),
    }
}

/// Reads an RFC 3339 time, or a date as its first second, UTC.
pub(crate) fn parse_time_or_date(text: &str) -> Result<Timestamp, TimeError> {
    let time = if text.len() == "2024-05-01".len() {
        parse_time(&format!("{text}T00:00:00Z"))
    } else {
        parse_time(text)
    };
    time.map_err(|_| TimeError::NeitherTimeNorDate)
}

/// The time in RFC 3339, UTC.
pub(crate) fn format_time(time: Timestamp) -> String {
    civil(time).map_or_else(|| format!("{} s after 1970", time.0), |utc| format!("{utc}Z"))
}

fn civil(time: Timestamp) -> Option<DateTime> {
    EPOCH.checked_add(SignedDuration::from_secs(time.0)).ok()
}

/// What the zone at the end adds to UTC.
fn offset_seconds(text: &str) -> Result<i64, TimeError> {
    let Some(at) = text.rfind(['+', '-']) else { return Ok(0) };
    let number = |range: std::ops::Range<usize>| {
        text.get(range).and_then(|digits| digits.parse::<i64>().ok())
    };
    match (number(at + 1..at + 3), number(at + 4..at + 6)) {
        (Some(hours @ 0..24), Some(minutes @ 0..60)) => {
            let seconds = hours * 3_600 + minutes * 60;
            Ok(if text[at..].starts_with('-') { -seconds } else { seconds })
        }
        _ => Err(TimeError::NotRfc3339),
    }
}

/// `date-time` of RFC 3339, letters in upper case; the ranges are checked by the real parser.
fn has_rfc3339_shape(text: &[u8]) -> bool {
    let Some((head, rest)) = text.split_at_checked(SECONDS_LEN) else {
        return false;
    };
    let fits = |text: &[u8], pattern: &[u8]| {
        text.len() == pattern.len()
            && text.iter().zip(pattern).all(|(byte, expected)| match expected {
                b'0' => byte.is_ascii_digit(),
                expected => byte == expected,
            })
    };
    let zone = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&digits) {
                return false;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    fits(head, b"0000-00-00T00:00:00")
        && (zone == b"Z" || fits(zone, b"+00:00") || fits(zone, b"-00:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_strictly() {
        assert_eq!(parse_time("2024-05-01T00:00:00Z"), Ok(Timestamp(1_714_521_600)));
        assert_eq!(parse_time("2024-05-01T02:00:00.75+02:00"), Ok(Timestamp(1_714_521_600)));
        assert_eq!(parse_time("1969-12-31T23:59:59.5Z"), Ok(Timestamp(-1)));
        let wrong = [
            "",
            "2024-05-01",
            "2024-05-01 00:00:00Z",
            "2024-05-01T00:00:00",
            "2024-05-01T00:00Z",
            "2024-02-30T00:00:00Z",
            "2024-05-01T00:00:00.Z",
            "2024-05-01T00:00:00Z[UTC]",
            "2024-05-01T00:00:00+24:00",
            "0000-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "1714521600",
        ];
        for text in wrong {
            assert_eq!(parse_time(text), Err(TimeError::NotRfc3339), "{text}");
        }
    }

    #[test]
    fn a_time_survives_being_written_and_read() {
        for seconds in [0, -1, 1_714_521_600, 253_402_300_799] {
            assert_eq!(parse_time(&format_time(Timestamp(seconds))), Ok(Timestamp(seconds)));
        }
    }
}
