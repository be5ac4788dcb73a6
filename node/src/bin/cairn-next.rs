//! The same program, which takes itself for the next release: its level is one higher. Tests of
//! rolling upgrades run it beside `cairn`; it is built with the feature `next-level` alone.

use std::process::ExitCode;

use cairn_cluster::{Build, Level};

fn main() -> ExitCode {
    cairn::cli::main_of(Build {
        version: concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".999.0").into(),
        level: Level::OWN.next(),
    })
}
