//! `portcullis completions`: what the shell completes.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::exit::Failure;
use super::session::Session;

/// For which shell.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

pub(super) fn run(completions: &Completions, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Cli::command(), "portcullis", &mut script);
    session.print(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use crate::cli::Exit;
    use crate::cli::harness::Harness;

    #[test]
    fn every_shell_has_a_script_that_knows_the_plans() {
        let harness = Harness::empty();
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = harness.ok(&format!("completions {shell}")).stdout;
            assert!(script.contains("ip-rule"), "{shell}");
        }
        assert!(harness.ok("completions bash").stdout.contains("enterprise_plus"));
        harness.run(&["completions", "csh"]).expect(Exit::Usage);
    }
}
