//! The files of the cache: for their owner alone, and durable when that is said.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tempfile::NamedTempFile;

/// The last snapshot.
const SNAPSHOT: &str = "snapshot";
/// The frames since.
const FRAMES: &str = "frames";
/// When the two were last known to be everything.
const SEEN: &str = "seen";
/// Held while a gate uses the folder.
const LOCK: &str = "lock";
/// How files begin whose names are still to come.
const UNFINISHED: &str = ".unfinished-";

/// The folder of the cache, which is this gate's while it is held.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder where it is missing, and takes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let told = |error: io::Error| {
            io::Error::new(error.kind(), format!("[feed] cache {}: {error}", path.display()))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(told)?;
        let lock = open_options().open(path.join(LOCK)).map_err(told)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            told(io::Error::new(io::ErrorKind::ResourceBusy, "another gate uses it"))
        })?;
        let folder = Self { path: path.to_owned(), _lock: lock };
        folder.tidy().map_err(told)?;
        Ok(folder)
    }

    /// Removes what a process left unfinished.
    fn tidy(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// A file for something that is to take the place of another.
    pub(super) fn unfinished(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.path)
    }

    /// Gives it the name of the snapshot, durably.
    pub(super) fn put_snapshot(&self, file: NamedTempFile) -> io::Result<()> {
        self.put(file, SNAPSHOT)
    }

    /// Gives it the name of the frames, durably.
    pub(super) fn put_frames(&self, file: NamedTempFile) -> io::Result<()> {
        self.put(file, FRAMES)
    }

    /// The snapshot, if there is one.
    pub(super) fn snapshot(&self) -> io::Result<Option<File>> {
        match File::open(self.path.join(SNAPSHOT)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The frames, of which there may be none.
    pub(super) fn frames(&self) -> io::Result<File> {
        open_options().read(true).open(self.path.join(FRAMES))
    }

    /// When everything was last known to be here.
    pub(super) fn seen(&self) -> Option<i64> {
        fs::read_to_string(self.path.join(SEEN)).ok()?.trim().parse().ok()
    }

    /// Notes that everything is here now. Not durable: what is lost makes the cache seem older.
    pub(super) fn note_seen(&self, now: i64) -> io::Result<()> {
        let mut file = self.unfinished()?;
        io::Write::write_all(&mut file, now.to_string().as_bytes())?;
        file.persist(self.path.join(SEEN)).map_err(|error| error.error)?;
        Ok(())
    }

    /// From now on something is missing here.
    pub(super) fn forget_seen(&self) {
        // Where it cannot be removed, it says at least no later time from now on.
        let _ = fs::remove_file(self.path.join(SEEN));
    }

    fn put(&self, file: NamedTempFile, name: &str) -> io::Result<()> {
        file.as_file().sync_all()?;
        file.persist(self.path.join(name)).map_err(|error| error.error)?;
        File::open(&self.path)?.sync_all()
    }
}

fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}
