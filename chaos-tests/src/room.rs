//! What a node has for itself of the machine: mounts, and perhaps a network.
//!
//! Both are namespaces that a child process holds. When the tests end, however they end, that
//! process ends with them, and the kernel unmounts, takes the interfaces away and forgets the
//! rules; nothing of it is ever seen on the rest of the machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Holds the namespaces until its standard input ends, which it does when the tests do.
const HOLD: &str = "echo ready; exec cat > /dev/null";

/// Namespaces of a node's own.
pub(crate) struct Room {
    holder: Child,
    with_network: bool,
}

impl Room {
    /// Makes one, with a network of its own or in that of the tests. Needs root.
    pub(crate) async fn new(with_network: bool) -> anyhow::Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "disks and networks of nodes' own are made by root: run these tests as root"
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private"]);
        if with_network {
            unshare.arg("--net");
        }
        let mut holder = unshare
            .args(["sh", "-c", HOLD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("run unshare")?;
        let said = BufReader::new(holder.stdout.take().context("no output")?)
            .lines()
            .next_line()
            .await?;
        ensure!(said.as_deref() == Some("ready"), "unshare made no namespaces");
        Ok(Self { holder, with_network })
    }

    /// A command inside. The process it starts is that of the program itself.
    pub(crate) fn run(&self, program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
        let holder = self.holder()?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{holder}/ns/mnt"));
        if self.with_network {
            command.arg(format!("--net=/proc/{holder}/ns/net"));
        }
        command.arg("--").arg(program);
        Ok(command)
    }

    /// A folder inside, for this process.
    pub(crate) fn seen_from_outside(&self, inside: &Path) -> anyhow::Result<PathBuf> {
        let inside = inside.strip_prefix("/")?;
        Ok(Path::new("/proc")
            .join(self.holder()?.to_string())
            .join("root")
            .join(inside))
    }

    /// The process that holds the namespaces.
    pub(crate) fn holder(&self) -> anyhow::Result<u32> {
        self.holder.id().context("the namespaces of a node have ended")
    }
}

/// Runs a command, and gives what it prints; fails with what it says.
pub(crate) async fn succeed(mut command: Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("run {:?}", command.as_std()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{:?}: {}: {said}", command.as_std(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
