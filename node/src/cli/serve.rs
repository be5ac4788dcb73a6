//! `cairn serve`: runs one node until it is told to stop. And what all commands share that work
//! on a node's own data.

use std::path::{Path, PathBuf};

use cairn_cluster::{Build, DiskId};
use clap::Args;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::dev::shell_quote;
use super::failure::{Code, Failure, OrFail as _, chain};
use crate::config::Config;
use crate::lock::{LockError, PidLock};
use crate::start;

/// Which node this is about.
#[derive(Args, Clone)]
pub(super) struct Node {
    /// Configuration file; without it, all keys have their defaults
    #[arg(long, value_name = "FILE", env = "CAIRN_CONFIG")]
    config: Option<PathBuf>,

    /// The folder that holds all that the node keeps, whatever the configuration says
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,

    /// A folder, a disk of its own, over which shards are spread, whatever the configuration says;
    /// may be given several times
    #[arg(long = "disk", value_name = "FOLDER")]
    disks: Vec<PathBuf>,

    /// Written with the number of the process, and held locked while it runs
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// Stop when this process, which started this one, ends
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<i32>,
}

/// A node's configuration, and its process file while this process works for the node.
pub(super) struct Held {
    pub(super) config: Config,
    _pid_lock: Option<PidLock>,
}

impl Node {
    /// Reads the configuration, and says in the process file that this process works for the
    /// node.
    pub(super) fn hold(&self) -> Result<Held, Failure> {
        if let Some(parent) = self.parent {
            end_with(parent)?;
        }
        let mut config = Config::load(self.config.as_deref()).map_err(|error| {
            Failure::new(Code::Usage, chain(&error)).next("ops/cairn.toml documents every key")
        })?;
        if let Some(data) = &self.data {
            config.node.data.clone_from(data);
        }
        if !self.disks.is_empty() {
            config.node.disks.clone_from(&self.disks);
            let checked = config.validate();
            checked.map_err(|error| Failure::new(Code::Usage, chain(&error)))?;
        }
        Ok(Held {
            config,
            _pid_lock: self.pid_file.as_deref().map(lock).transpose()?,
        })
    }

    /// The command that runs the same node.
    pub(super) fn serve_command(&self) -> String {
        let mut command = "cairn serve".to_owned();
        for (option, value) in [("--config", &self.config), ("--data", &self.data)] {
            if let Some(value) = value {
                command += &format!(" {option} {}", shell_quote(&value.to_string_lossy()));
            }
        }
        for disk in &self.disks {
            command += &format!(" --disk {}", shell_quote(&disk.to_string_lossy()));
        }
        command
    }
}

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    node: Node,

    /// Gives up a disk that was in use and cannot be had any more: what it held is rebuilt. Needed
    /// once; may be given several times
    #[arg(long, value_name = "DISK")]
    without_disk: Vec<DiskId>,
}

pub(super) fn run(arguments: Arguments, build: Build) -> Result<(), Failure> {
    let held = arguments.node.hold()?;
    super::on_all_threads(async {
        let served = start::serve(held.config.clone(), arguments.without_disk, build).await;
        served.map_err(|error| match start::was_removed(&error) {
            true => Failure {
                code: Code::Removed,
                ..Failure::from(error)
            }
            .next(
                "keep this process stopped; with an empty data directory, the machine can join as a new node",
            ),
            false => Failure::from(error),
        })
    })
}

fn lock(pid_file: &Path) -> Result<PidLock, Failure> {
    PidLock::take(pid_file).map_err(|error| match error {
        LockError::Held { pid } => Failure::new(
            Code::Conflict,
            format!("process {pid} works for this node already"),
        )
        .next("stop that process first"),
        LockError::Io(error) => Failure::failed(format!("cannot lock {}: {error}", pid_file.display())),
    })
}

/// Has the system ask this process to stop when its parent ends.
fn end_with(parent: i32) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::TERM)).or_fail("watch the parent process")?;
    // It may have ended before this was arranged.
    if getppid() == Pid::from_raw(parent) {
        Ok(())
    } else {
        Err(Failure::failed(format!("the parent process {parent} has ended")))
    }
}
