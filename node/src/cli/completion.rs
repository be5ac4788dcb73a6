//! `cairn completion`: what a shell needs to complete commands.

use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Args)]
pub(super) struct Arguments {
    /// The shell, as in `cairn completion bash > /etc/bash_completion.d/cairn`
    shell: Shell,
}

pub(super) fn print(arguments: &Arguments, command: &mut Command) {
    clap_complete::generate(arguments.shell, command, "cairn", &mut std::io::stdout());
}
