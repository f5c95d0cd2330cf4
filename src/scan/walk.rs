//! Every file below a folder, in an order that does not change.

use std::fs::{self, FileType};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::exclude::Exclude;

/// Hands over `root`, or, where that is a folder, each regular file below it, until `visit` breaks
/// off. What cannot be looked at is handed over as an error. Links within the folder are not
/// followed: what they lead to is met under its own name, or is somewhere that nobody asked about.
pub fn walk(
    root: &Path,
    exclude: &[Exclude],
    visit: &mut dyn FnMut(&Path, io::Result<()>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let top = match fs::metadata(root) {
        Ok(metadata) => metadata.file_type(),
        Err(error) => return visit(root, Err(error)),
    };
    if !top.is_dir() {
        return visit(root, Ok(()));
    }
    let mut waiting = vec![(root.to_owned(), top)];
    while let Some((path, kind)) = waiting.pop() {
        if kind.is_file() {
            visit(&path, Ok(()))?;
        } else if kind.is_dir() {
            match children(root, &path, exclude) {
                Ok(found) => waiting.extend(found),
                Err(error) => visit(&path, Err(error))?,
            }
        }
    }
    ControlFlow::Continue(())
}

/// What is in a folder and not left out, the last one first.
fn children(
    root: &Path,
    folder: &Path,
    exclude: &[Exclude],
) -> io::Result<Vec<(PathBuf, FileType)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let below = path.strip_prefix(root).unwrap_or(&path).as_os_str().as_bytes();
        if !exclude.iter().any(|pattern| pattern.matches(below)) {
            let kind = entry.file_type()?;
            found.push((path, kind));
        }
    }
    found.sort_unstable_by(|one, other| other.0.cmp(&one.0));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn files(root: &Path, exclude: &[&str]) -> Vec<String> {
        let exclude: Vec<Exclude> = exclude.iter().map(|text| text.parse().unwrap()).collect();
        let mut found = Vec::new();
        let walked = walk(root, &exclude, &mut |path, met| {
            let below = path.strip_prefix(root).unwrap().display();
            found.push(match met {
                Ok(()) => below.to_string(),
                Err(error) => format!("{below}: {:?}", error.kind()),
            });
            ControlFlow::Continue(())
        });
        assert!(walked.is_continue());
        found
    }

    #[test]
    fn files_come_in_order_without_what_is_left_out_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("in"), folder.path().join("out"));
        for name in ["in/b/.git/config", "in/b/x.rs", "in/a", "in/c/target/y", "out/secret"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        symlink(&outside, root.join("link")).unwrap();
        symlink(outside.join("secret"), root.join("leads-out")).unwrap();
        symlink(&root, root.join("c/loop")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(root.join("pipe")).status();
        assert!(fifo.unwrap().success());
        assert_eq!(files(&root, &[]), ["a", "b/.git/config", "b/x.rs", "c/target/y"]);
        assert_eq!(files(&root, &["target", "b/.git"]), ["a", "b/x.rs"]);
        assert_eq!(files(&root.join("leads-out"), &[]), [""], "one that was asked for is read");
        assert_eq!(files(&root.join("link"), &[]), ["secret"]);
        assert_eq!(files(&root.join("none"), &[]), [": NotFound"]);
    }
}
