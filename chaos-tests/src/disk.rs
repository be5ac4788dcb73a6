//! A disk of its own for a node: an ext4 image on a loop device, whose power can be cut, which can
//! be full, and which another one can take the place of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tokio::process::Command;

use crate::payload::payload;
use crate::room::{Room, succeed};

/// What a file that is written and not synced holds before the power is cut.
const CANARY_BYTES: usize = 256 << 10;

/// What ext4 counts as free and gives to nobody: clusters kept for its own metadata.
const UNUSABLE_BYTES: u64 = 16 << 20;

/// What takes the room of a full disk.
const BALLAST: &str = "ballast";

/// An ext4 file system on a loop device, mounted where only its node sees it.
pub struct Disk {
    room: Arc<Room>,
    folder: PathBuf,
    size_bytes: u64,
    mount_point: PathBuf,
}

impl Disk {
    /// Makes a disk, with its image in `folder`, and mounts it. Needs root.
    pub(crate) async fn new(room: Arc<Room>, folder: &Path, size_bytes: u64) -> anyhow::Result<Self> {
        let mount_point = folder.join("disk");
        fs::create_dir_all(&mount_point)?;
        let disk = Self {
            room,
            folder: folder.to_owned(),
            size_bytes,
            mount_point,
        };
        disk.make(&disk.image()).await?;
        disk.mount(&disk.image()).await?;
        Ok(disk)
    }

    /// Where the disk is mounted, for processes of the node.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// The same folder, for this process.
    pub fn from_outside(&self) -> anyhow::Result<PathBuf> {
        self.room.seen_from_outside(&self.mount_point)
    }

    /// Cuts the power: from now on nothing can be read or written, and what was not synced is
    /// lost. Fails if that cannot be shown.
    pub async fn cut_power(&self) -> anyhow::Result<PowerCut> {
        let mounted = self.from_outside()?;
        let canary = mounted.join("canary");
        fs::write(&canary, payload(0, CANARY_BYTES)).context("write to a disk with power")?;
        // The same request as to XFS, with the flag not to flush the log: EXT4_IOC_SHUTDOWN of
        // Linux's fs/ext4/ext4.h, EXT4_GOING_FLAGS_NOLOGFLUSH.
        let mut cut = self.room.run("xfs_io")?;
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
        self.unmount().await?;
        self.mount(&self.image()).await?;
        let canary = self.from_outside()?.join("canary");
        match fs::read(&canary) {
            Ok(bytes) if bytes == payload(0, CANARY_BYTES) => bail!("what was not synced is there"),
            Ok(_) => Ok(fs::remove_file(&canary)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).context("read a disk with power"),
        }
    }

    /// Leaves at most this much room. Fails if there is more afterwards.
    pub fn fill(&self, leave_bytes: u64) -> anyhow::Result<()> {
        let ballast = fs::File::create(self.from_outside()?.join(BALLAST))?;
        // Whoever writes at the same time takes of what is seen free here; so, step by step.
        for step in [64 << 20, 4 << 20, 64 << 10] {
            loop {
                let end = ballast.metadata()?.len();
                let free = self.free_bytes()?;
                if free < leave_bytes + step {
                    break;
                }
                let most = (free - leave_bytes) / step * step;
                match fallocate(&ballast, FallocateFlags::empty(), end, most) {
                    Ok(()) => {}
                    Err(rustix::io::Errno::NOSPC) => break,
                    Err(error) => return Err(error).context("fill a disk"),
                }
            }
        }
        let free = self.free_bytes()?;
        ensure!(
            free <= leave_bytes.max(UNUSABLE_BYTES) + (1 << 20),
            "a disk that should be full has {free} bytes left"
        );
        Ok(())
    }

    /// Gives the room back that [`Disk::fill`] took.
    pub fn free(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.from_outside()?.join(BALLAST))?)
    }

    /// The room that is left, also for root.
    pub fn free_bytes(&self) -> anyhow::Result<u64> {
        let room = statvfs(&self.from_outside()?)?;
        Ok(room.f_bfree * room.f_frsize)
    }

    /// Puts a blank disk in place of this one. No process may use the disk.
    pub async fn swap_for_blank(&self) -> anyhow::Result<()> {
        let blank = self.folder.join("blank.img");
        self.unmount().await?;
        self.make(&blank).await?;
        self.mount(&blank).await
    }

    /// Puts a blank disk in place of this one, which has lost its power, for good. The node may run:
    /// fails if it still holds on to the old one.
    pub async fn replace(&self, _cut: PowerCut) -> anyhow::Result<()> {
        self.lose().await
    }

    /// Puts a blank disk in place of this one for good. No process may use the disk.
    pub async fn lose(&self) -> anyhow::Result<()> {
        self.unmount().await?;
        fs::remove_file(self.image())?;
        self.make(&self.image()).await?;
        self.mount(&self.image()).await
    }

    /// Puts this disk back in place of the blank one.
    pub async fn swap_back(&self) -> anyhow::Result<()> {
        self.unmount().await?;
        fs::remove_file(self.folder.join("blank.img"))?;
        self.mount(&self.image()).await
    }

    fn image(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    async fn make(&self, image: &Path) -> anyhow::Result<()> {
        fs::File::create_new(image)?.set_len(self.size_bytes)?;
        let mut make = Command::new("mkfs.ext4");
        // What is left to a background thread of the kernel would be written at any time.
        make.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(image);
        succeed(make).await?;
        Ok(())
    }

    async fn mount(&self, image: &Path) -> anyhow::Result<()> {
        let mut mount = self.room.run("mount")?;
        mount
            .args(["-t", "ext4", "-o", "loop,noatime"])
            .args([image, &self.mount_point]);
        succeed(mount).await?;
        Ok(())
    }

    async fn unmount(&self) -> anyhow::Result<()> {
        let mut unmount = self.room.run("umount")?;
        unmount.arg(&self.mount_point);
        succeed(unmount).await?;
        Ok(())
    }
}

/// A disk is without power; see [`Disk::restore_power`].
#[must_use]
pub struct PowerCut(());
