//! Where a value was written, and how much of its surroundings may be shown.

use std::ops::Range;
use std::path::Path;

/// A place in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    /// Number of the source, as [`super::report::Report::add`] gave it.
    pub source: usize,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Whole,
    Line(usize),
    Span(usize, usize),
}

impl At {
    /// The source as a whole.
    pub fn whole(source: usize) -> Self {
        Self { source, place: Place::Whole }
    }

    /// A line, from 1, without an excerpt.
    pub fn line(source: usize, line: usize) -> Self {
        Self { source, place: Place::Line(line) }
    }

    /// A range of bytes.
    pub fn span(source: usize, span: Range<usize>) -> Self {
        Self { source, place: Place::Span(span.start, span.end) }
    }
}

/// A file or environment variable.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    text: Option<String>,
}

/// A place as a person sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Located {
    pub line: usize,
    pub column: usize,
    pub excerpt: String,
    pub width: usize,
}

impl Source {
    /// A file whose lines may be shown, but for those that look as if they held a secret.
    pub fn file(path: &Path, text: String) -> Self {
        Self { name: path.display().to_string(), text: Some(text) }
    }

    /// A file or variable of which nothing may be shown.
    pub fn opaque(name: impl Into<String>) -> Self {
        Self { name: name.into(), text: None }
    }

    /// What people know it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Turns a place into line, column and excerpt. Of an opaque source there is no excerpt,
    /// and no line unless the place is one.
    pub fn locate(&self, at: At) -> Located {
        let nowhere = |line| Located { line, column: 0, excerpt: String::new(), width: 0 };
        match (at.place, &self.text) {
            (Place::Whole, _) | (Place::Span(..), None) => nowhere(0),
            (Place::Line(line), _) => nowhere(line),
            (Place::Span(start, end), Some(text)) => locate_span(text, start, end),
        }
    }
}

fn locate_span(text: &str, start: usize, end: usize) -> Located {
    let start = floor_char_boundary(text, start);
    let before = &text[..start];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    let line = text[line_start..line_end].trim_end_matches('\r');
    let end = floor_char_boundary(text, end.clamp(start, line_end));
    Located {
        line: before.matches('\n').count() + 1,
        column: text[line_start..start].chars().count() + 1,
        excerpt: excerpt(line),
        width: text[start..end].trim_end().chars().count().max(1),
    }
}

/// What may be shown of a line: nothing where it could hold a secret or is longer than anybody
/// reads.
fn excerpt(line: &str) -> String {
    match may_hold_secret(line) || line.len() > EXCERPT_LIMIT {
        true => String::new(),
        false => printable(line),
    }
}

/// The text without what a terminal would act on.
pub(super) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

fn floor_char_boundary(text: &str, position: usize) -> usize {
    let mut position = position.min(text.len());
    while !text.is_char_boundary(position) {
        position -= 1;
    }
    position
}

/// Most bytes of a line that is shown.
const EXCERPT_LIMIT: usize = 200;

/// Characters in a row without a space or punctuation from which on a word could be a token or a
/// key rather than something written by a person.
const SECRET_LENGTH: usize = 40;

/// Whether a text looks as if it held a key, a token or a password in an address: someone put it
/// where a name belongs, and the message about that must not repeat it.
pub(super) fn may_hold_secret(text: &str) -> bool {
    let part_of_word =
        |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    let long_word = text.split(|c| !part_of_word(c)).any(|word| word.len() >= SECRET_LENGTH);
    let token = ["pts_", "ptu_"].iter().any(|prefix| text.contains(prefix));
    let password = text.split("://").skip(1).any(|rest| rest.contains('@'));
    long_word || token || password
}

/// The value in backquotes, or a description where it could be a secret.
pub(super) fn shown(value: &str) -> String {
    if may_hold_secret(value) { "the value".to_owned() } else { format!("`{value}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_located_by_line_and_character() {
        let source = Source::file(Path::new("a"), "# é\nkey = \"ü\" # x\r\n".to_owned());
        let value = source.locate(At::span(0, 11..15));
        assert_eq!((value.line, value.column, value.width), (2, 7, 3));
        assert_eq!(value.excerpt, "key = \"ü\" # x");
    }

    #[test]
    fn a_span_over_several_lines_is_cut_at_the_first() {
        let source = Source::file(Path::new("a"), "key = [\n1,\n]\n".to_owned());
        let value = source.locate(At::span(0, 6..12));
        assert_eq!((value.line, value.column, value.width), (1, 7, 1));
    }

    #[test]
    fn a_span_past_the_end_is_the_end() {
        let located = Source::file(Path::new("a"), "é".to_owned()).locate(At::span(0, 1..99));
        assert_eq!((located.line, located.column), (1, 1));
    }

    #[test]
    fn what_looks_like_a_secret_is_not_shown() {
        let key = "ab".repeat(32);
        for text in [&format!("digest = \"k1:{key}\""), "url = \"postgres://u:p@h/d\"", "pts_x"] {
            assert!(may_hold_secret(text), "{text}");
        }
        for text in ["url = \"http://127.0.0.1:9000\"", "{pl_endpoint_ksuid}", "mail@example.com"] {
            assert!(!may_hold_secret(text), "{text}");
        }
    }
}
