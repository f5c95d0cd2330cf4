//! Times as people and import lines write them.

use crate::core::record::Timestamp;

/// Why a text is not a time. Does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TimeError {
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

/// Reads an RFC 3339 time; a fraction of a second is cut off.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, TimeError> {
    if !has_rfc3339_shape(text.as_bytes()) {
        return Err(TimeError::NotRfc3339);
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| TimeError::NotRfc3339)?;
    // `as_second` rounds towards the epoch, which before it would be later than what was written.
    let before_epoch = time.subsec_nanosecond() < 0;
    Ok(Timestamp(time.as_second() - i64::from(before_epoch)))
}

/// Reads an RFC 3339 time, or a date as its first second, UTC.
pub(super) fn parse_time_or_date(text: &str) -> Result<Timestamp, TimeError> {
    let time = if text.len() == "2024-05-01".len() {
        parse_time(&format!("{text}T00:00:00Z"))
    } else {
        parse_time(text)
    };
    time.map_err(|_| TimeError::NeitherTimeNorDate)
}

/// The time in RFC 3339, UTC.
pub(super) fn format_time(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.0)
        .map_or_else(|_| format!("{} s after 1970", time.0), |time| time.to_string())
}

/// `date-time` of RFC 3339, letters in upper case; the ranges are checked by the real parser.
fn has_rfc3339_shape(text: &[u8]) -> bool {
    let Some((head, rest)) = text.split_at_checked("2024-05-01T00:00:00".len()) else {
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
