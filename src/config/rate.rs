//! Rates as people write them: `100/1m`, `20/5s`.

use std::fmt;
use std::time::Duration;

use super::duration::parse_duration;
use super::read::text;
use super::report::Mistake;
use super::tree::Node;

/// The longest period: counts live in memory, and a restart forgets them.
const PERIOD_LIMIT: Duration = Duration::from_secs(31 * 86_400);
/// The shortest time from one request to the next that is told apart.
const INTERVAL_MIN: Duration = Duration::from_micros(1);

/// So many in each period; an unused quota may be used at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The quota: not 0.
    pub count: u64,
    /// The period: not nothing.
    pub per: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u128, &str); 4] =
            [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let milliseconds = self.per.as_millis();
        let (each, unit) = UNITS
            .into_iter()
            .find(|(each, _)| milliseconds.is_multiple_of(*each))
            .unwrap_or((1, "ms"));
        write!(f, "{}/{}{unit}", self.count, milliseconds / each)
    }
}

/// A rate, or `None` for "off".
pub(super) fn rate_or_off(node: &Node) -> Result<Option<Rate>, Mistake> {
    let given = text(node)?;
    if given == "off" {
        return Ok(None);
    }
    let rate = given.split_once('/').and_then(|(count, per)| {
        let count = count.parse().ok().filter(|count: &u64| *count > 0)?;
        let per = parse_duration(per).ok().filter(|per| !per.is_zero())?;
        Some(Rate { count, per })
    });
    let rate = rate.ok_or_else(|| {
        Mistake::new("not a limit: expected a number, `/` and a duration, or \"off\"")
            .help("write for instance \"100/1m\"")
    })?;
    if rate.per > PERIOD_LIMIT {
        return Err(Mistake::new("the period of a limit is at most 31d"));
    }
    if rate.per.as_nanos() < INTERVAL_MIN.as_nanos() * u128::from(rate.count) {
        return Err(Mistake::new("a limit is at most 1000000/1s, and so in proportion"));
    }
    Ok(Some(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shown_as_it_is_best_written() {
        let shown = |count, seconds| Rate { count, per: Duration::from_secs(seconds) }.to_string();
        assert_eq!(shown(5_000, 60), "5000/1m");
        assert_eq!(shown(20, 5), "20/5s");
        assert_eq!(shown(7, 90), "7/90s");
        assert_eq!(shown(1, 2 * 86_400), "1/2d");
        let short = Rate { count: 3, per: Duration::from_millis(500) };
        assert_eq!(short.to_string(), "3/500ms");
    }
}
