//! The program `cairn`. What it can do is in [`cairn::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    cairn::cli::main()
}
