//! What follows the `?`: few parameters, each known to the operation.

use std::time::Duration;

use super::error::ApiError;
use crate::config::duration::parse_duration;
use crate::store::{Cursor, Page};

/// Most things of a list in one answer.
pub(super) const PAGE_LIMIT: u64 = 100;
/// How far back is looked where nothing is said: seven days, in seconds.
const SINCE: i64 = 7 * 86_400;
/// What is long enough without use where nothing is said: a day, in seconds.
const SILENT: i64 = 86_400;

/// Longest wait for something to answer with, in seconds.
pub(super) const WAIT_LIMIT: u64 = 30;

/// A parameter that an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    /// `limit`: how many things at most.
    Limit,
    /// `offset`: how many to leave out.
    Offset,
    /// `force`: do it although it keeps the caller out.
    Force,
    /// `include_related`: what is related is always there.
    IncludeRelated,
    /// `since`: from so long ago on.
    Since,
    /// `silent`: what counts as long enough without use.
    Silent,
    /// `after`: what came after this place in the store's history.
    After,
    /// `wait`: so many seconds for something to answer with.
    Wait,
}

impl Parameter {
    /// As it is written.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Offset => "offset",
            Self::Force => "force",
            Self::IncludeRelated => "include_related",
            Self::Since => "since",
            Self::Silent => "silent",
            Self::After => "after",
            Self::Wait => "wait",
        }
    }
}

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Query {
    /// Which part of a list.
    pub(super) page: Page,
    /// Although it keeps the caller out.
    pub(super) force: bool,
    /// From so many seconds ago on.
    pub(super) since: i64,
    /// So many seconds without use are enough.
    pub(super) silent: i64,
    /// What came after this.
    pub(super) after: Option<Cursor>,
    /// How long to wait for something to answer with.
    pub(super) wait: Duration,
}

impl Default for Query {
    fn default() -> Self {
        let page = Page { offset: 0, limit: PAGE_LIMIT };
        let (since, silent) = (SINCE, SILENT);
        Self { page, force: false, since, silent, after: None, wait: Duration::ZERO }
    }
}

impl Query {
    /// Reads a query in which only these parameters may be, each once.
    pub(super) fn parse(query: Option<&str>, known: &[Parameter]) -> Result<Self, ApiError> {
        let mut read = Self::default();
        let mut seen = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let parameter = known.iter().find(|parameter| parameter.name() == name);
            let Some(parameter) = parameter.copied() else { return Err(unknown(known)) };
            if seen.contains(&parameter) {
                return Err(ApiError::field(name, "given twice"));
            }
            seen.push(parameter);
            match parameter {
                Parameter::Limit => read.page.limit = number(name, value, 1..=PAGE_LIMIT)?,
                Parameter::Offset => read.page.offset = number(name, value, 0..=i64::MAX as u64)?,
                Parameter::Force => read.force = flag(name, value)?,
                Parameter::IncludeRelated => {}
                Parameter::Since => read.since = seconds(name, value)?,
                Parameter::Silent => read.silent = seconds(name, value)?,
                Parameter::After => read.after = Some(cursor(name, value)?),
                Parameter::Wait => {
                    read.wait = Duration::from_secs(number(name, value, 0..=WAIT_LIMIT)?);
                }
            }
        }
        Ok(read)
    }
}

/// Does not repeat what was given: it could be a secret in the wrong place.
fn unknown(known: &[Parameter]) -> ApiError {
    let names: Vec<&str> = known.iter().map(|parameter| parameter.name()).collect();
    ApiError::field(
        "query",
        match names.is_empty() {
            true => "no parameters are known here".to_owned(),
            false => format!("only these parameters are known here: {}", names.join(", ")),
        },
    )
}

fn number(name: &str, value: &str, bounds: std::ops::RangeInclusive<u64>) -> Result<u64, ApiError> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| value.parse().ok()).flatten();
    number.filter(|number| bounds.contains(number)).ok_or_else(|| {
        ApiError::field(name, format!("expected {} to {}", bounds.start(), bounds.end()))
    })
}

fn seconds(name: &str, value: &str) -> Result<i64, ApiError> {
    let duration = parse_duration(value);
    // A hundred years at most.
    duration
        .map(|duration| duration.as_secs() as i64)
        .map_err(|error| ApiError::field(name, error.to_string()))
}

fn cursor(name: &str, value: &str) -> Result<Cursor, ApiError> {
    value.parse().map_err(|_| ApiError::field(name, "it is no cursor of a store"))
}

fn flag(name: &str, value: &str) -> Result<bool, ApiError> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(ApiError::field(name, "expected true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_known_once_and_within_bounds() {
        let known = [Parameter::Limit, Parameter::Offset];
        let read = Query::parse(Some("limit=7&offset=3"), &known).unwrap();
        assert_eq!(read.page, Page { offset: 3, limit: 7 });
        assert_eq!(Query::parse(None, &known).unwrap().page, Page { offset: 0, limit: 100 });
        for wrong in
            ["limit=0", "limit=101", "limit=", "limit=+1", "limit=1&limit=1", "force=true", "x"]
        {
            assert!(Query::parse(Some(wrong), &known).is_err(), "{wrong}");
        }
        assert!(Query::parse(Some("force=true"), &[Parameter::Force]).unwrap().force);
        assert!(Query::parse(Some("force=yes"), &[Parameter::Force]).is_err());
        let since = |text| Query::parse(Some(text), &[Parameter::Since]).map(|read| read.since);
        assert_eq!((since("").unwrap(), since("since=2h").unwrap()), (7 * 86_400, 7_200));
        assert!(since("since=yesterday").is_err() && since("since=").is_err());
    }

    #[test]
    fn what_is_followed_is_asked_for_by_a_cursor_and_perhaps_a_wait() {
        let known = [Parameter::After, Parameter::Wait];
        let read = |query| {
            let read = Query::parse(Some(query), &known)?;
            Ok::<_, ApiError>((read.after.map(|after| after.to_string()), read.wait.as_secs()))
        };
        let cursor = Some("ab.1.7".to_owned());
        assert_eq!(read("after=ab.1.7").unwrap(), (cursor.clone(), 0));
        assert_eq!(read("wait=30&after=ab.1.7").unwrap(), (cursor, 30));
        for wrong in [
            "after=x",
            "after=",
            "after=ab.1.7&wait=31",
            "after=a.1.1&after=a.1.2",
            "wait=-1",
            "x=1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
