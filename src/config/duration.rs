//! Durations as people write them: `500ms`, `90s`, `15m`, `2h`, `7d`.

use std::time::Duration;

/// The longest duration that is accepted: a hundred years, which no sum of a few can overflow.
pub const DURATION_LIMIT: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a number followed by a unit.
    #[error("not a duration: expected a whole number and a unit, like 500ms, 90s, 15m, 2h or 7d")]
    Syntax,
    /// A number without a unit.
    #[error("a duration needs a unit: ms, s, m, h or d")]
    NoUnit,
    /// Longer than [`DURATION_LIMIT`].
    #[error("a duration of more than 100 years")]
    TooLong,
}

/// Reads a whole number and a unit: `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// [`DurationError`], which does not repeat the text.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    if digits.is_empty() {
        return Err(DurationError::Syntax);
    }
    let milliseconds_each = milliseconds_of(unit)?;
    let number: u64 = digits.parse().map_err(|_| DurationError::TooLong)?;
    let milliseconds = number.checked_mul(milliseconds_each).ok_or(DurationError::TooLong)?;
    let duration = Duration::from_millis(milliseconds);
    if duration > DURATION_LIMIT { Err(DurationError::TooLong) } else { Ok(duration) }
}

fn milliseconds_of(unit: &str) -> Result<u64, DurationError> {
    match unit {
        "ms" => Ok(1),
        "s" => Ok(1_000),
        "m" => Ok(60_000),
        "h" => Ok(3_600_000),
        "d" => Ok(86_400_000),
        "" => Err(DurationError::NoUnit),
        _ => Err(DurationError::Syntax),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        let cases = [("500ms", 500), ("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000)];
        for (text, milliseconds) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "s", "-1s", "1.5h", "1h30m", "1 s", "1S", "1w", "１s", "+1s"] {
            assert_eq!(parse_duration(text), Err(DurationError::Syntax), "{text}");
        }
        assert_eq!(parse_duration("30"), Err(DurationError::NoUnit));
        for text in ["99999999999999999999s", "18446744073709551615d", "36501d"] {
            assert_eq!(parse_duration(text), Err(DurationError::TooLong), "{text}");
        }
    }
}
