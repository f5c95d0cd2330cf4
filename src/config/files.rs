//! Reads the files of a configuration, and remembers which for the reload's watcher.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::Utf8Error;

use super::read::Table;
use super::report::Mistake;
use super::source::may_hold_secret;

/// The longest file that is read, in bytes: a mistaken path must not fill the memory.
pub(super) const FILE_BYTES_LIMIT: u64 = 16 * 1_048_576;

/// Files relative to the folder of `portcullis.toml`.
#[derive(Debug)]
pub(super) struct Files {
    base: PathBuf,
    read: RefCell<Vec<PathBuf>>,
}

impl Files {
    /// Files beside `main`.
    pub fn beside(main: &Path) -> Self {
        let base = main.parent().map(Path::to_path_buf).unwrap_or_default();
        Self { base, read: RefCell::new(vec![main.to_path_buf()]) }
    }

    /// The folder that relative paths start from.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Every file that was read, in order.
    pub fn into_read(self) -> Vec<PathBuf> {
        self.read.into_inner()
    }

    /// Opens the file that `key` names and hands it to `read`; what fails is reported at the key.
    pub fn open<T>(
        &self,
        table: &Table<'_>,
        key: &str,
        name: &str,
        read: impl FnOnce(&Path, File) -> io::Result<T>,
    ) -> Option<T> {
        let path = self.base.join(name);
        match File::open(&path).and_then(|file| read(&path, file)) {
            Ok(result) => {
                self.read.borrow_mut().push(path);
                Some(result)
            }
            Err(error) => {
                // Of a path, long names are expected; of a bare word, a secret put in its place.
                let hidden = may_hold_secret(name) && !name.contains('/');
                let path =
                    if hidden { "the file".to_owned() } else { format!("`{}`", path.display()) };
                table.error(
                    key,
                    Mistake::new(format!("cannot read {path}: {error}")).help(
                        "paths are relative to the folder of portcullis.toml; `portcullis init` \
                     writes every file that is needed",
                    ),
                );
                None
            }
        }
    }
}

/// The whole of a file as text.
pub(super) fn text(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    read_into(file, &mut bytes)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => Err(not_text(error.as_bytes(), error.utf8_error())),
    }
}

/// Appends the whole of a file.
pub(super) fn read_into(file: File, bytes: &mut Vec<u8>) -> io::Result<()> {
    let length = file.take(FILE_BYTES_LIMIT + 1).read_to_end(bytes)?;
    if length as u64 > FILE_BYTES_LIMIT {
        let message = format!("longer than {FILE_BYTES_LIMIT} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(())
}

/// Where bytes are no UTF-8, without a word of what they are.
pub(super) fn not_text(bytes: &[u8], error: Utf8Error) -> io::Error {
    let before = &bytes[..error.valid_up_to()];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let message = format!("line {line} is not UTF-8: save it as a text file in UTF-8");
    io::Error::new(io::ErrorKind::InvalidData, message)
}
