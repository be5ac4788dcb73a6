//! Rot: bytes of a node's files that change on the disk, behind its back.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::ensure;

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// One bit changes, this many thousandths into the file.
    Bit(u64),
    /// A sector of 4 KiB reads as zeros, this many thousandths into the file.
    Zeros(u64),
    /// The second half is gone.
    Cut,
}

impl Rot {
    /// Lets a file rot. Fails if nothing changed.
    pub fn apply(self, path: &Path) -> anyhow::Result<()> {
        let before = fs::read(path)?;
        ensure!(!before.is_empty(), "{} is empty", path.display());
        let mut after = before.clone();
        let at = |thousandths: u64| (before.len() as u64 * thousandths / 1000) as usize;
        match self {
            Self::Bit(thousandths) => after[at(thousandths)] ^= 0x10,
            Self::Zeros(thousandths) => {
                let start = at(thousandths);
                let end = before.len().min(start + 4096);
                after[start..end].fill(0);
            }
            Self::Cut => after.truncate(before.len() / 2),
        }
        ensure!(after != before, "{self:?} changes nothing in {}", path.display());
        // In place, under a process that may have the file open.
        let file = File::options().write(true).open(path)?;
        file.write_all_at(&after, 0)?;
        file.set_len(after.len() as u64)?;
        Ok(())
    }
}

/// The shard files in a node's data directory.
pub fn shard_files(data: &Path) -> io::Result<Vec<PathBuf>> {
    let aside = ["incoming", "quarantine"].map(|name| data.join("blobs/shards").join(name));
    let mut files = files_below(&data.join("blobs/shards"))?;
    files.retain(|file| !aside.iter().any(|folder| file.starts_with(folder)));
    Ok(files)
}

/// The files that hold the values of small blobs in a node's data directory.
pub fn small_blob_files(data: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = files_below(&data.join("blobs/small"))?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "blob"));
    Ok(files)
}

fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use super::*;

    #[test]
    fn rot_that_changes_nothing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, vec![0; 10_000]).unwrap();
        Rot::Zeros(500).apply(&path).unwrap_err();
        Rot::Bit(500).apply(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap()[5000], 0x10);
        Rot::Zeros(400).apply(&path).unwrap();
        Rot::Cut.apply(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), vec![0; 5000]);
    }
}
