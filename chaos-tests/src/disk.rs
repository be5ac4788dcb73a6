//! A disk of its own for a node: an ext4 image on a loop device, whose power can be cut.
//!
//! It is mounted in a mount namespace that a child process holds. When the tests end, however
//! they end, that process ends with them, and the kernel unmounts the disk and frees the loop
//! device; nothing of it is ever seen on the rest of the machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::payload::payload;

/// Holds the namespace until its standard input ends, which it does when the tests do.
const HOLD: &str = "echo ready; exec cat > /dev/null";

/// What a file that is written and not synced holds before the power is cut.
const CANARY_BYTES: usize = 256 << 10;

/// An ext4 file system on a loop device, in a mount namespace of its own.
pub struct Disk {
    image: PathBuf,
    mount_point: PathBuf,
    holder: Child,
}

impl Disk {
    /// Makes a disk, with its image in `folder`, and mounts it. Needs root.
    pub async fn new(folder: &Path, size_bytes: u64) -> anyhow::Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "disks are mounted by root: run these tests as root"
        );
        let (image, mount_point) = (folder.join("disk.img"), folder.join("disk"));
        fs::create_dir_all(&mount_point)?;
        fs::File::create_new(&image)?.set_len(size_bytes)?;
        let mut make = Command::new("mkfs.ext4");
        // What is left to a background thread of the kernel would be written at any time.
        make.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(&image);
        succeed(make).await?;
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", HOLD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("run unshare")?;
        let said = BufReader::new(holder.stdout.take().context("no output")?)
            .lines()
            .next_line()
            .await?;
        ensure!(
            said.as_deref() == Some("ready"),
            "unshare made no mount namespace"
        );
        let disk = Self {
            image,
            mount_point,
            holder,
        };
        disk.mount().await?;
        Ok(disk)
    }

    /// Where the disk is mounted, for processes that [`Disk::run`] made.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// The same folder, for this process.
    pub fn from_outside(&self) -> anyhow::Result<PathBuf> {
        let inside = self.mount_point.strip_prefix("/")?;
        Ok(Path::new("/proc")
            .join(self.holder()?.to_string())
            .join("root")
            .join(inside))
    }

    /// A command that sees the disk. The process it starts is that of the program itself.
    pub fn run(&self, program: impl AsRef<std::ffi::OsStr>) -> anyhow::Result<Command> {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder()?))
            .arg("--")
            .arg(program);
        Ok(command)
    }

    /// Cuts the power: from now on nothing can be read or written, and what was not synced is
    /// lost. Fails if that cannot be shown.
    pub async fn cut_power(&self) -> anyhow::Result<PowerCut> {
        let mounted = self.from_outside()?;
        let canary = mounted.join("canary");
        fs::write(&canary, payload(0, CANARY_BYTES)).context("write to a disk with power")?;
        // The same request as to XFS, with the flag not to flush the log: EXT4_IOC_SHUTDOWN of
        // Linux's fs/ext4/ext4.h, EXT4_GOING_FLAGS_NOLOGFLUSH.
        let mut cut = self.run("xfs_io")?;
        cut.args(["-x", "-c", "shutdown"]).arg(&self.mount_point);
        succeed(cut).await.context("needs the package xfsprogs")?;
        ensure!(
            fs::write(mounted.join("after"), "x").is_err() && fs::read(&canary).is_err(),
            "the disk works on after its power was cut"
        );
        Ok(PowerCut(()))
    }

    /// Gives the disk its power back: the file system replays its journal. No process may use
    /// the disk. Fails if nothing was lost, because then there was no power cut.
    pub async fn restore_power(&self, _cut: PowerCut) -> anyhow::Result<()> {
        let mut unmount = self.run("umount")?;
        unmount.arg(&self.mount_point);
        succeed(unmount).await?;
        self.mount().await?;
        let canary = self.from_outside()?.join("canary");
        match fs::read(&canary) {
            Ok(bytes) if bytes == payload(0, CANARY_BYTES) => bail!("what was not synced is there"),
            Ok(_) => Ok(fs::remove_file(&canary)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).context("read a disk with power"),
        }
    }

    async fn mount(&self) -> anyhow::Result<()> {
        let mut mount = self.run("mount")?;
        mount
            .args(["-t", "ext4", "-o", "loop,noatime"])
            .args([&self.image, &self.mount_point]);
        succeed(mount).await
    }

    fn holder(&self) -> anyhow::Result<u32> {
        self.holder.id().context("the mount namespace has ended")
    }
}

/// A disk is without power; see [`Disk::restore_power`].
#[must_use]
pub struct PowerCut(());

/// Runs a command, and fails with what it says.
async fn succeed(mut command: Command) -> anyhow::Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("run {:?}", command.as_std()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{:?}: {}: {said}", command.as_std(), output.status);
    }
    Ok(())
}
