//! What is told to the person who wrote the configuration: what, where, and what to do.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong, or that should be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether it keeps the configuration from being used.
    pub severity: Severity,
    /// The file, or the environment variable.
    pub file: String,
    /// The line, from 1; 0 where it is about the whole file.
    pub line: usize,
    /// The column in characters, from 1; 0 where it is about the whole line.
    pub column: usize,
    /// The text of the line, for the caret; empty where the line could hold a secret.
    pub excerpt: String,
    /// How many characters the caret underlines.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// What to do; "did you mean".
    pub help: Option<String>,
}

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but it is ill-advised.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Diagnostic {
    /// `FILE:LINE:COLUMN: error: message`, the line with a caret under it, and `help: …`; no
    /// newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for position in [self.line, self.column].into_iter().take_while(|number| *number > 0) {
            write!(f, ":{position}")?;
        }
        write!(f, ": {}: {}", self.severity, self.message)?;
        self.write_excerpt(f)?;
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

impl Diagnostic {
    fn write_excerpt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.excerpt.is_empty() || self.column == 0 {
            return Ok(());
        }
        let gutter = self.line.to_string();
        let margin = " ".repeat(gutter.len());
        // A tab stays a tab, so that the caret stands under its text whatever the tab's width.
        let keep_tab = |character| if character == '\t' { '\t' } else { ' ' };
        let indent: String = self.excerpt.chars().take(self.column - 1).map(keep_tab).collect();
        let caret = "^".repeat(self.width.max(1));
        write!(f, "\n{margin} |\n{gutter} | {}\n{margin} | {indent}{caret}", self.excerpt)
    }
}

/// All of them as text, in order, an empty line between two; ends with a newline.
pub fn render(diagnostics: &[Diagnostic]) -> String {
    let texts: Vec<String> = diagnostics.iter().map(|one| format!("{one}\n")).collect();
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic() -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            file: "portcullis.toml".to_owned(),
            line: 12,
            column: 2,
            excerpt: "\tlisen = []".to_owned(),
            width: 5,
            message: "unknown key `lisen` in [gate]".to_owned(),
            help: Some("did you mean `listen`?".to_owned()),
        }
    }

    #[test]
    fn the_caret_stands_under_what_is_wrong() {
        let expected = "portcullis.toml:12:2: error: unknown key `lisen` in [gate]\n   |\n\
                        12 | \tlisen = []\n   | \t^^^^^\nhelp: did you mean `listen`?";
        assert_eq!(diagnostic().to_string(), expected);
    }

    #[test]
    fn without_a_position_there_is_neither_number_nor_caret() {
        let whole = Diagnostic { line: 0, column: 0, help: None, ..diagnostic() };
        assert_eq!(whole.to_string(), "portcullis.toml: error: unknown key `lisen` in [gate]");
        let line = Diagnostic { column: 0, help: None, ..diagnostic() };
        assert_eq!(line.to_string(), "portcullis.toml:12: error: unknown key `lisen` in [gate]");
    }

    #[test]
    fn several_are_apart_by_an_empty_line() {
        let one = Diagnostic { line: 0, help: None, ..diagnostic() };
        let text = render(&[one.clone(), one]);
        assert_eq!(text.matches("\n\n").count(), 1);
        assert!(text.ends_with('\n'));
    }
}
