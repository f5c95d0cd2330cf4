//! What is left out: `*`, `?` and `**` over names and paths.

use std::str::FromStr;

/// Longest pattern, in bytes.
const PATTERN_LIMIT: usize = 1024;

/// A pattern of names or, where it has a `/`, of paths below the folder that is scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclude {
    parts: Vec<Part>,
    of_paths: bool,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExcludeError {
    /// It would match nothing.
    #[error("an empty pattern matches nothing")]
    Empty,
    /// It is too long.
    #[error("a pattern may have at most {PATTERN_LIMIT} bytes")]
    TooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// This byte.
    Byte(u8),
    /// One byte, no `/`: `?`.
    One,
    /// Any bytes, no `/`: `*`.
    Some,
    /// Any bytes: `**`.
    All,
    /// Nothing, or whole folders: `**/`.
    Folders,
}

impl FromStr for Exclude {
    type Err = ExcludeError;

    fn from_str(text: &str) -> Result<Self, ExcludeError> {
        if text.len() > PATTERN_LIMIT {
            return Err(ExcludeError::TooLong);
        }
        let trimmed = text.strip_prefix("./").unwrap_or(text).trim_end_matches('/');
        let of_paths = trimmed.contains('/');
        let parts = parse(trimmed.trim_start_matches('/').as_bytes());
        if parts.is_empty() { Err(ExcludeError::Empty) } else { Ok(Self { parts, of_paths }) }
    }
}

impl Exclude {
    /// Whether it matches something below the folder that is scanned. A folder that it matches is
    /// left out with everything in it.
    pub fn matches(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        self.matches_whole(if self.of_paths { path } else { name })
    }

    /// Keeps, part after part, to which places of the text the parts so far lead: no pattern takes
    /// longer than its length times that of the text.
    fn matches_whole(&self, text: &[u8]) -> bool {
        let mut leads = vec![false; text.len() + 1];
        leads[0] = true;
        for part in &self.parts {
            leads = part.step(text, &leads);
        }
        leads[text.len()]
    }
}

fn parse(text: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((part, after)) = match rest {
        [b'*', b'*', b'/', after @ ..] => Some((Part::Folders, after)),
        [b'*', b'*', after @ ..] => Some((Part::All, after)),
        [b'*', after @ ..] => Some((Part::Some, after)),
        [b'?', after @ ..] => Some((Part::One, after)),
        [byte, after @ ..] => Some((Part::Byte(*byte), after)),
        [] => None,
    } {
        parts.push(part);
        rest = after;
    }
    parts
}

impl Part {
    /// Where this part leads from these places.
    fn step(self, text: &[u8], from: &[bool]) -> Vec<bool> {
        let mut to = vec![false; from.len()];
        let mut before = false;
        for at in 0..from.len() {
            let byte = at.checked_sub(1).map(|last| text[last]);
            to[at] = match self {
                Self::Byte(wanted) => byte == Some(wanted) && from[at - 1],
                Self::One => byte.is_some_and(|byte| byte != b'/') && from[at - 1],
                Self::Some => from[at] || (byte.is_some_and(|byte| byte != b'/') && to[at - 1]),
                Self::All => from[at] || (at > 0 && to[at - 1]),
                Self::Folders => from[at] || (byte == Some(b'/') && before),
            };
            before |= from[at];
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        pattern.parse::<Exclude>().unwrap().matches(path.as_bytes())
    }

    #[test]
    fn names_match_anywhere_and_paths_from_the_folder_on() {
        for (pattern, path) in [
            ("target", "target"),
            ("target/", "a/target"),
            ("*.png", "a/b/c.png"),
            ("?.md", "x/a.md"),
            ("a/*/c", "a/b/c"),
            ("/a", "a"),
            ("./a/b", "a/b"),
            ("a/**", "a/b/c"),
            ("**/c", "c"),
            ("**/c", "a/b/c"),
            ("a/**/c", "a/c"),
            ("a/**/c", "a/x/y/c"),
            ("*", ".env"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("target", "targets"),
            ("/a", "x/a"),
            ("a/b", "x/a/b"),
            ("a/*", "a/b/c"),
            ("a/?b", "a//b"),
            ("**/c", "bc"),
            ("*.png", "png"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
        assert_eq!("".parse::<Exclude>(), Err(ExcludeError::Empty));
        assert_eq!("/".parse::<Exclude>(), Err(ExcludeError::Empty));
        assert_eq!("a".repeat(2000).parse::<Exclude>(), Err(ExcludeError::TooLong));
    }

    /// By trying every way.
    fn naive(parts: &[Part], text: &[u8]) -> bool {
        let Some((part, rest)) = parts.split_first() else { return text.is_empty() };
        let mut ends = 0..=text.len();
        match part {
            Part::Byte(byte) => text.first() == Some(byte) && naive(rest, &text[1..]),
            Part::One => text.first().is_some_and(|b| *b != b'/') && naive(rest, &text[1..]),
            Part::Some => ends.any(|at| !text[..at].contains(&b'/') && naive(rest, &text[at..])),
            Part::All => ends.any(|at| naive(rest, &text[at..])),
            Part::Folders => {
                ends.any(|at| (at == 0 || text[at - 1] == b'/') && naive(rest, &text[at..]))
            }
        }
    }

    proptest! {
        #[test]
        fn it_matches_as_trying_every_way_does(pattern in "[ab/*?]{1,8}", text in "[ab/]{0,8}") {
            if let Ok(exclude) = pattern.parse::<Exclude>() {
                prop_assert_eq!(exclude.matches_whole(text.as_bytes()), naive(&exclude.parts, text.as_bytes()));
            }
        }
    }
}
