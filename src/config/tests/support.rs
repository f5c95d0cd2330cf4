//! A temporary folder with a configuration in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::config::{Config, Diagnostic, load};

/// The smallest configuration that is right.
pub const PORTCULLIS: &str = "\
[upstreams.api]
endpoints = [\"http://127.0.0.1:9000\"]
[store]
url = \"sqlite:portcullis.db\"
";
/// Four lines for one route.
pub const ROUTES: &str = "\
[[route]]
path = \"/v1/accounts/{account_id}/jobs/\"
methods = [\"GET\"]
requires = \"Jobs:R\"
";
/// One set.
pub const PERMISSION_SETS: &str = "\
[sets.job_admin]
family = \"project\"
read = [\"Projects\", \"Develop (IDE or CLI)\"]
write = [\"Jobs\", \"Runs\"]
plans = [\"enterprise\", \"team\"]
";

/// A folder that is removed with the value.
pub struct Folder(TempDir);

impl Folder {
    /// A folder with the smallest configuration that is right.
    pub fn minimal() -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.write("portcullis.toml", PORTCULLIS);
        folder.write("routes.toml", ROUTES);
        folder.write("permission_sets.toml", PERMISSION_SETS);
        folder.write_key(&format!("k1:{}\n", "0f".repeat(32)), 0o600);
        folder
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Adds to a file.
    pub fn append(&self, name: &str, text: &str) {
        self.write(name, &(self.text(name) + text));
    }

    /// Writes `digest.key`.
    pub fn write_key(&self, text: &str, mode: u32) {
        self.write("digest.key", text);
        fs::set_permissions(self.path("digest.key"), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// What is in a file.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Loads `portcullis.toml`.
    pub fn load(&self, environment: &[(&str, &str)]) -> Result<Config, Vec<Diagnostic>> {
        self.load_file("portcullis.toml", environment)
    }

    /// Loads another file.
    pub fn load_file(
        &self,
        name: &str,
        environment: &[(&str, &str)],
    ) -> Result<Config, Vec<Diagnostic>> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        load(&self.path(name), environment.iter().map(owned))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        self.0.path()
    }
}
