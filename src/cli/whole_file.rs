//! A file that appears whole under its name, durable and for its owner alone, or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::exit::Failure;

/// A file on its way to its name.
pub(super) struct WholeFile {
    target: PathBuf,
    replace: bool,
    temporary: NamedTempFile,
}

impl WholeFile {
    /// Begins in the folder where it will be, so that it is on the same disk.
    pub(super) fn begin(target: PathBuf, replace: bool) -> Result<Self, Failure> {
        if !replace && target.symlink_metadata().is_ok() {
            return Err(exists(&target));
        }
        let folder = folder_of(&target);
        let temporary = tempfile::Builder::new()
            .prefix(".portcullis-")
            .tempfile_in(folder)
            .map_err(|error| Failure::file(folder, "written", &error))?;
        Ok(Self { target, replace, temporary })
    }

    /// Where it is until it is finished.
    pub(super) fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// What is written to.
    pub(super) fn file(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// What it will be called.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives it its name once all of it is on the disk.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let Self { target, replace, temporary } = self;
        let failed = |error: std::io::Error| Failure::file(&target, "written", &error);
        // Opened anew: SQLite may have written to it by its name.
        File::open(temporary.path()).and_then(|file| file.sync_all()).map_err(failed)?;
        let persisted =
            if replace { temporary.persist(&target) } else { temporary.persist_noclobber(&target) };
        persisted.map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(&target),
            _ => failed(error.error),
        })?;
        sync_folder(&target)
    }
}

/// Has the folder of a file on the disk as it is now.
pub(super) fn sync_folder(file: &Path) -> Result<(), Failure> {
    let folder = folder_of(file);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Failure::file(folder, "synced", &error))
}

/// The folder that a file is in.
pub(super) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::failed(format!(
        "{} exists already and is not overwritten: choose another name, or give --force",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nothing_is_there_until_all_is() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let mut file = WholeFile::begin(target.clone(), false).unwrap();
        file.file().write_all(b"all of it").unwrap();
        assert!(!target.exists());
        file.finish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"all of it");
        assert_eq!(target.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop(WholeFile::begin(target.clone(), true).unwrap());
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "what was given up leaves nothing: {names:?}");
    }

    #[test]
    fn what_is_there_is_replaced_on_request_only() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let late = WholeFile::begin(target.clone(), false).unwrap();
        std::fs::write(&target, "first").unwrap();
        assert!(WholeFile::begin(target.clone(), false).is_err());
        assert!(late.finish().is_err(), "also where it came meanwhile");
        assert_eq!(std::fs::read(&target).unwrap(), b"first");
        WholeFile::begin(target.clone(), true).unwrap().finish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"");
    }
}
