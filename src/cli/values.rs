//! Values on the command line: names that are completed, times, and where a token may be used.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::config::duration;
use crate::core::record::{Category, Licence, Plan, Timestamp};
use crate::time::{self, TimeError};

/// A plan's name.
pub(super) fn plan() -> impl TypedValueParser<Value = Plan> {
    PossibleValuesParser::new(Plan::ALL.map(Plan::name))
        .map(|name| name.parse().expect("invariant: only names of plans are let through"))
}

/// A licence's name.
pub(super) fn licence() -> impl TypedValueParser<Value = Licence> {
    PossibleValuesParser::new(Licence::ALL.map(Licence::name))
        .map(|name| name.parse().expect("invariant: only names of licences are let through"))
}

/// A category that an environment can have: any but `all`.
pub(super) fn environment_category() -> impl TypedValueParser<Value = Category> {
    let names = Category::ALL.into_iter().filter(|category| *category != Category::All);
    PossibleValuesParser::new(names.map(Category::name))
        .map(|name| name.parse().expect("invariant: only names of categories are let through"))
}

/// When something ends: so long from now, or then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Seconds from now.
    In(i64),
    /// Then.
    At(Timestamp),
}

impl Moment {
    /// The time that is meant.
    pub(super) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::In(seconds) => Timestamp(now.0.saturating_add(seconds)),
            Self::At(time) => time,
        }
    }
}

impl Moment {
    /// The time that is meant where durations count backwards.
    pub(super) fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::In(seconds) => Timestamp(now.0.saturating_sub(seconds)),
            Self::At(time) => time,
        }
    }
}

/// Reads `30d`, a date or an RFC 3339 time.
pub(super) fn moment(text: &str) -> Result<Moment, TimeError> {
    if let Ok(time) = time::parse_time_or_date(text) {
        return Ok(Moment::At(time));
    }
    seconds(text).map(Moment::In).map_err(|_| TimeError::NeitherTimeNorDuration)
}

/// Reads a duration into whole seconds.
pub(super) fn seconds(text: &str) -> Result<i64, duration::DurationError> {
    let duration = duration::parse_duration(text)?;
    Ok(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_duration_from_now_or_a_time() {
        let now = Timestamp(1_000);
        assert_eq!(moment("30d").unwrap().from(now), Timestamp(1_000 + 30 * 86_400));
        assert_eq!(moment("1970-01-02").unwrap().from(now), Timestamp(86_400));
        assert_eq!(moment("10m").unwrap().before(now), Timestamp(400));
        assert_eq!(moment("1970-01-01T01:00:00+01:00").unwrap().from(now), Timestamp(0));
        for wrong in ["", "30", "tomorrow", "1970-13-01", "-5d"] {
            assert_eq!(moment(wrong), Err(TimeError::NeitherTimeNorDuration), "{wrong}");
        }
    }
}
