//! Collects everything that is wrong, from every source, so that it is all told at once.

use std::cell::{Cell, RefCell};

use super::diagnostic::{Diagnostic, Severity};
use super::source::{At, Source, printable};

/// What is wrong with a value, before it is known where the value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    message: String,
    help: Option<String>,
}

impl Mistake {
    /// Says what is wrong, without a full stop.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Sources, and what was found wrong in them. Shared by reference between readers.
#[derive(Debug, Default)]
pub(super) struct Report {
    sources: RefCell<Vec<Source>>,
    found: RefCell<Vec<(At, Diagnostic)>>,
    errors: Cell<usize>,
}

impl Report {
    /// Takes a source in and returns the number by which [`At`] refers to it.
    pub fn add(&self, source: Source) -> usize {
        let mut sources = self.sources.borrow_mut();
        sources.push(source);
        sources.len() - 1
    }

    /// Notes an error.
    pub fn error(&self, at: At, mistake: Mistake) {
        self.errors.set(self.errors.get() + 1);
        self.note(Severity::Error, at, mistake);
    }

    /// Notes a warning.
    pub fn warn(&self, at: At, mistake: Mistake) {
        self.note(Severity::Warning, at, mistake);
    }

    /// How many errors were noted so far.
    pub fn errors(&self) -> usize {
        self.errors.get()
    }

    /// The line of a place, 0 where it has none.
    pub fn line(&self, at: At) -> usize {
        self.sources.borrow()[at.source].locate(at).line
    }

    /// Errors and warnings, each in the order of the sources and of their lines.
    pub fn finish(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(at, one)| (at.source, one.line, one.column));
        found
            .into_iter()
            .map(|(_, diagnostic)| diagnostic)
            .partition(|diagnostic| diagnostic.severity == Severity::Error)
    }

    fn note(&self, severity: Severity, at: At, mistake: Mistake) {
        let sources = self.sources.borrow();
        let source = &sources[at.source];
        let located = source.locate(at);
        let diagnostic = Diagnostic {
            severity,
            file: source.name().to_owned(),
            line: located.line,
            column: located.column,
            excerpt: located.excerpt,
            width: located.width,
            message: printable(&mistake.message),
            help: mistake.help.map(|help| printable(&help)),
        };
        self.found.borrow_mut().push((at, diagnostic));
    }
}
