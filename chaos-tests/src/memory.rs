//! Limits of how much memory processes may have.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::Pid;

/// Where the groups of processes lie whose memory is limited, in the first version of them.
const GROUPS: &str = "/sys/fs/cgroup/memory";

/// The file with the limit of a group, and what is none.
const LIMIT: &str = "memory.limit_in_bytes";
const UNLIMITED: u64 = u64::MAX >> 2;

/// A group of processes that may have only so much memory; dropping it lets them go.
pub(crate) struct MemoryLimit {
    folder: PathBuf,
}

impl MemoryLimit {
    /// Makes a group of no process yet. Needs root, and the first version of control groups.
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let folder = Path::new(GROUPS).join(format!("cairn-chaos-{}-{name}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        let limit = Self { folder };
        limit.lift()?;
        Ok(limit)
    }

    /// Lets a process have only so much more than it has; what it had counts where it was before.
    pub(crate) fn hold(&self, process: Pid, more_bytes: u64) -> anyhow::Result<()> {
        self.write(LIMIT, more_bytes)?;
        self.write("cgroup.procs", process.as_raw_nonzero().get() as u64)
    }

    /// Lets them have as much as there is.
    pub(crate) fn lift(&self) -> anyhow::Result<()> {
        self.write(LIMIT, UNLIMITED)
    }

    /// How often there was not enough.
    pub(crate) fn met(&self) -> anyhow::Result<u64> {
        let count = fs::read_to_string(self.folder.join("memory.failcnt"))?;
        Ok(count.trim().parse()?)
    }

    /// Whether a process was killed because there was not enough.
    pub(crate) fn has_killed(&self) -> anyhow::Result<bool> {
        let told = fs::read_to_string(self.folder.join("memory.oom_control"))?;
        let killed = told.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(killed.context("it is not told who was killed")?.trim() != "0")
    }

    fn write(&self, file: &str, value: u64) -> anyhow::Result<()> {
        let file = self.folder.join(file);
        fs::write(&file, value.to_string()).with_context(|| format!("write {}", file.display()))
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // Nobody can be told of a failure here, and the group is empty then or goes with the machine.
        let processes = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines() {
            let _ = fs::write(Path::new(GROUPS).join("cgroup.procs"), process);
        }
        let _ = fs::remove_dir(&self.folder);
    }
}
