//! `portcullis man`: manual pages, one a command.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::Cli;
use super::exit::Failure;
use super::session::Session;

/// Where to write the pages.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder; made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn run(man: &Man, session: &mut Session<'_>) -> Result<(), Failure> {
    let directory = session.path(&man.directory);
    std::fs::create_dir_all(&directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &directory))
        .map_err(|error| Failure::file(&directory, "written", &error))?;
    session.say(&format!("manual pages are in {}", directory.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cli::harness::Harness;

    #[test]
    fn there_is_a_page_for_each_command() {
        let harness = Harness::empty();
        harness.ok("man pages");
        for page in ["portcullis.1", "portcullis-init.1", "portcullis-token-create.1"] {
            assert!(harness.read(format!("pages/{page}")).contains(".SH SYNOPSIS"), "{page}");
        }
    }
}
