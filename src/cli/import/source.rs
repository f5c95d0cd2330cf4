//! What is read, line by line or credential by credential, until there is no more.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use blake3::{Hash, Hasher};
use zeroize::Zeroizing;

use super::batch::Numbered;
use super::digested::Digested;
use super::fields::Reason;
use super::foreign::{Credential, Foreign};
use super::line::{Line, Reader};
use super::lines::{LINE_LIMIT, Read, read_line};
use super::{Format, envoy, haproxy_map, kong, yaml};
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;

/// What is read.
pub(super) enum Input {
    /// Standard input.
    Stdin,
    /// A file.
    File { path: PathBuf, reader: BufReader<File> },
}

impl Input {
    pub(super) fn open(file: &Path, session: &Session<'_>) -> Result<Self, Failure> {
        if file == Path::new("-") {
            return Ok(Self::Stdin);
        }
        let path = session.path(file);
        let file = File::open(&path).map_err(|error| Failure::file(&path, "read", &error))?;
        Ok(Self::File { path, reader: BufReader::with_capacity(1 << 18, file) })
    }

    /// What people know it by.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stdin => "-".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }

    /// Its bytes, where that is known: a pipe has no length.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::Stdin => None,
            Self::File { reader, .. } => {
                let found = reader.get_ref().metadata().ok()?;
                found.is_file().then_some(found.len())
            }
        }
    }

    fn reader<'r>(
        &'r mut self,
        hasher: &'r mut Hasher,
        session: &'r mut Session<'_>,
    ) -> Digested<'r> {
        let input: &'r mut dyn BufRead = match self {
            Self::Stdin => &mut *session.around.stdin,
            Self::File { reader, .. } => reader,
        };
        Digested { input, hasher }
    }
}

/// Gives what an input asks for, one after the other.
pub(super) struct Source<'a> {
    input: Input,
    reader: Reader<'a>,
    foreign: Option<Foreign>,
    kind: Kind,
    /// The line that is read; it may hold a secret.
    buffer: Zeroizing<Vec<u8>>,
    number: u64,
    bytes: u64,
    /// Of everything that was read.
    hasher: Hasher,
}

enum Kind {
    /// JSON lines.
    Lines,
    /// Lines of a HAProxy map.
    Map,
    /// What was found in a document.
    Credentials(std::vec::IntoIter<Credential>),
}

/// One step of a source.
pub(super) enum Step {
    /// Something that asks for something.
    Found(Box<Numbered>),
    /// Something that asks for nothing: an empty line or a comment.
    Nothing,
    /// There is no more.
    End,
}

impl<'a> Source<'a> {
    /// Begins to read. A document is read whole.
    pub(super) fn begin(
        format: Format,
        mut input: Input,
        reader: Reader<'a>,
        foreign: Option<Foreign>,
        session: &mut Session<'_>,
    ) -> Result<Self, Failure> {
        let mut hasher = Hasher::new();
        let mut found = |find| document(&mut input, &mut hasher, find, session);
        let kind = match format {
            Format::Jsonl => Kind::Lines,
            Format::HaproxyMap => Kind::Map,
            Format::Kong => Kind::Credentials(found(kong::find)?),
            Format::Envoy => Kind::Credentials(found(envoy::find)?),
        };
        let buffer = Zeroizing::new(Vec::new());
        Ok(Self { input, reader, foreign, kind, buffer, number: 0, bytes: 0, hasher })
    }

    /// What is read, and the BLAKE3 digest of all that was read of it.
    pub(super) fn name_and_digest(&self) -> (String, Hash) {
        (self.input.name(), self.hasher.finalize())
    }

    /// Bytes of the lines so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next one.
    pub(super) fn next(&mut self, session: &mut Session<'_>) -> Result<Step, Failure> {
        if let Kind::Credentials(found) = &mut self.kind {
            let Some(credential) = found.next() else { return Ok(Step::End) };
            let foreign = self.foreign.as_ref().expect("invariant: a document is foreign");
            return Ok(Step::Found(Box::new(foreign.number(credential, self.reader.keys))));
        }
        let name = self.input.name();
        let read = read_line(&mut self.input.reader(&mut self.hasher, session), &mut self.buffer)
            .map_err(|error| Failure::failed(format!("{name} cannot be read: {error}")))?;
        if read == Read::End {
            return Ok(Step::End);
        }
        self.number += 1;
        self.bytes += self.buffer.len() as u64 + 1;
        let found = self.read_text(read == Read::TooLong);
        Ok(found.map_or(Step::Nothing, |numbered| Step::Found(Box::new(numbered))))
    }

    /// Reads the line in the buffer; `None` where it asks for nothing.
    fn read_text(&self, too_long: bool) -> Option<Numbered> {
        let number = self.number;
        let unreadable =
            |reason: &str| Some(Numbered { number, text: None, read: Err(reason.to_owned()) });
        if too_long {
            return unreadable(&format!("the line is longer than {LINE_LIMIT} bytes"));
        }
        let Ok(text) = std::str::from_utf8(&self.buffer) else {
            return unreadable("the line is not UTF-8");
        };
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
        if text.trim_ascii().is_empty() {
            return None;
        }
        if let (Kind::Map, Some(foreign)) = (&self.kind, &self.foreign) {
            return haproxy_map::read(number, text)
                .map(|credential| foreign.number(credential, self.reader.keys));
        }
        let read: Result<Line, Reason> = self.reader.read(text);
        Some(Numbered { number, text: Some(Zeroizing::new(text.to_owned())), read })
    }
}

/// Finds the credentials of a YAML or JSON document.
fn document(
    input: &mut Input,
    hasher: &mut Hasher,
    find: fn(&[yaml::Shared]) -> Result<Vec<Credential>, yaml::DocumentError>,
    session: &mut Session<'_>,
) -> Result<std::vec::IntoIter<Credential>, Failure> {
    let name = input.name();
    let mut text = Zeroizing::new(Vec::new());
    input
        .reader(hasher, session)
        .take(yaml::SIZE_LIMIT + 1)
        .read_to_end(&mut text)
        .map_err(|error| Failure::failed(format!("{name} cannot be read: {error}")))?;
    let found = yaml::parse(&text).and_then(|documents| find(&documents));
    found
        .map(Vec::into_iter)
        .map_err(|error| Failure { exit: Exit::Invalid, message: Some(format!("{name}:{error}")) })
}
