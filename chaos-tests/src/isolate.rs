//! A network and mounts of the tests' own.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

/// Set in the process that has them.
const ISOLATED: &str = "CAIRN_CHAOS_ISOLATED";

/// Starts this program again, as the same process, with a network namespace and a mount namespace
/// of its own, unless it has them. What is done to the network is seen nowhere else, and is gone
/// when the process ends. Needs root.
pub fn isolate() -> anyhow::Result<()> {
    if std::env::var_os(ISOLATED).is_some() {
        return Ok(());
    }
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "networks and disks are made by root: run this as root"
    );
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(ISOLATED, "1")
        .exec();
    Err(error).context("run unshare")
}
