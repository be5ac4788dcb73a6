//! The program `cairn`. What it can do is in [`cairn::cli`].

use std::process::ExitCode;

/// A request allocates hundreds of small things, and the system's allocator took an eighth of what
/// a hot one costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cairn::cli::main()
}
