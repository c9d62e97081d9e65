//! `fencepost completions`.

use super::failure::Failure;
use super::stdout;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print a shell's completion script
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  fencepost completions bash > ~/.local/share/bash-completion/completions/fencepost
  fencepost completions zsh  > ~/.zfunc/_fencepost
  fencepost completions fish > ~/.config/fish/completions/fencepost.fish")]
pub(super) struct Completions {
    /// For which shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub(super) fn perform(self) -> Result<u8, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "fencepost", &mut script);
        stdout::print(&String::from_utf8_lossy(&script))?;
        Ok(0)
    }
}
