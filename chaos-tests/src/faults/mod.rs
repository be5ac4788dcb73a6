//! What is done to a cluster: one module for each family. Each fault takes effect, lasts for a
//! while, is mended, and gives evidence that it took effect; without evidence it fails.
//!
//! What operators do ([`moves`], [`lost`], [`backup`]) comes among them, each with a fault of
//! another node at the same time.

mod backup;
mod clocks;
mod disk_full;
mod limits;
mod lost;
mod moves;
mod network;
mod operator;
mod power;
mod process;
mod rot;
mod syscalls;
mod wiped;
mod zone;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::driver::Run;

/// A kind of fault. They are numbered as the fault matrix numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// F1: SIGKILL of any node.
    KillOne,
    /// F2: SIGKILL of the leader.
    KillLeader,
    /// F3: SIGKILL of all nodes.
    KillAll,
    /// F4: a node is killed in the middle of what it does with its files.
    Crash,
    /// F5: the disk of a node loses power.
    PowerOne,
    /// F6: all disks lose power at once.
    PowerAll,
    /// F7: a node stands still for seconds.
    Pause,
    /// F8: the network is cut in two, or everybody is alone.
    Partition,
    /// F9: what one sends does not arrive.
    OneWay,
    /// F10: each reaches some, and not all.
    Bridge,
    /// F11: packets are lost.
    Loss,
    /// F12: a node has a slow network.
    Narrow,
    /// F13: connections between nodes break all the time.
    Resets,
    /// F14: wall clocks jump, and disagree.
    Clocks,
    /// F15: a disk is full.
    DiskFull,
    /// F16: fsync fails.
    SyncError,
    /// F17: shards cannot be read.
    ReadError,
    /// F18: fsync takes long.
    SlowSync,
    /// F19: shard files rot.
    RottenShards,
    /// F19: the store of small blobs rots.
    RottenSmall,
    /// F19: the log of a node that is down rots.
    RottenLog,
    /// F20: the last write before a crash is torn.
    TornTail,
    /// F21: a node starts with a blank disk.
    Blank,
    /// F22: all nodes of a zone are away at once.
    Zone,
    /// F23: a node may not have more memory.
    Memory,
    /// F24: a node runs out of file descriptors.
    Descriptors,
    /// F25: two of the others at once.
    Overlap,
    /// F26: what an operator can do wrong.
    Mistakes,
    /// W4: a node is drained, and comes back.
    Drain,
    /// W5: a node joins, and another one leaves.
    Move,
    /// W5: a node is lost for good, and a new one takes its place.
    Replace,
    /// W10: a backup is taken, and restored into a new cluster.
    Backup,
}

/// What a fault needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Disks of nodes' own whose power can be cut.
    Disks,
    /// Networks of nodes' own, with packet filters.
    Networks,
    /// A slow network.
    Shaping,
    /// System calls that fail.
    Tracing,
    /// Wall clocks of nodes' own.
    Clocks,
    /// Limits of memory.
    Memory,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::KillOne,
        Self::KillLeader,
        Self::KillAll,
        Self::Crash,
        Self::PowerOne,
        Self::PowerAll,
        Self::Pause,
        Self::Partition,
        Self::OneWay,
        Self::Bridge,
        Self::Loss,
        Self::Narrow,
        Self::Resets,
        Self::Clocks,
        Self::DiskFull,
        Self::SyncError,
        Self::ReadError,
        Self::SlowSync,
        Self::RottenShards,
        Self::RottenSmall,
        Self::RottenLog,
        Self::TornTail,
        Self::Blank,
        Self::Zone,
        Self::Memory,
        Self::Descriptors,
        Self::Overlap,
        Self::Mistakes,
        Self::Drain,
        Self::Move,
        Self::Replace,
        Self::Backup,
    ];

    /// Those of which two may come at once: one breaks the network, the other a node.
    const OF_NETWORKS: [Self; 4] = [Self::Partition, Self::OneWay, Self::Loss, Self::Resets];
    /// See [`Self::OF_NETWORKS`].
    const OF_NODES: [Self; 4] = [Self::KillOne, Self::PowerOne, Self::Pause, Self::SlowSync];

    /// Its name, with its number in the fault matrix.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillOne => "F1-kill",
            Self::KillLeader => "F2-kill-leader",
            Self::KillAll => "F3-kill-all",
            Self::Crash => "F4-crash",
            Self::PowerOne => "F5-power",
            Self::PowerAll => "F6-power-all",
            Self::Pause => "F7-pause",
            Self::Partition => "F8-partition",
            Self::OneWay => "F9-one-way",
            Self::Bridge => "F10-bridge",
            Self::Loss => "F11-loss",
            Self::Narrow => "F12-narrow",
            Self::Resets => "F13-resets",
            Self::Clocks => "F14-clocks",
            Self::DiskFull => "F15-disk-full",
            Self::SyncError => "F16-sync-error",
            Self::ReadError => "F17-read-error",
            Self::SlowSync => "F18-slow-sync",
            Self::RottenShards => "F19-rotten-shards",
            Self::RottenSmall => "F19-rotten-small",
            Self::RottenLog => "F19-rotten-log",
            Self::TornTail => "F20-torn-tail",
            Self::Blank => "F21-blank",
            Self::Zone => "F22-zone",
            Self::Memory => "F23-memory",
            Self::Descriptors => "F24-descriptors",
            Self::Overlap => "F25-overlap",
            Self::Mistakes => "F26-mistakes",
            Self::Drain => "W4-drain",
            Self::Move => "W5-move",
            Self::Replace => "W5-replace",
            Self::Backup => "W10-backup",
        }
    }

    /// What it needs of the machine.
    pub fn needs(self) -> &'static [Need] {
        match self {
            Self::KillOne | Self::KillLeader | Self::KillAll | Self::Pause | Self::Descriptors => &[],
            Self::PowerOne
            | Self::PowerAll
            | Self::DiskFull
            | Self::RottenShards
            | Self::RottenSmall
            | Self::RottenLog
            | Self::TornTail
            | Self::Blank
            | Self::Mistakes => &[Need::Disks],
            Self::Partition | Self::OneWay | Self::Bridge | Self::Loss | Self::Resets => &[Need::Networks],
            Self::Narrow => &[Need::Networks, Need::Shaping],
            Self::Crash | Self::SyncError | Self::ReadError | Self::SlowSync => &[Need::Tracing],
            Self::Clocks => &[Need::Clocks],
            Self::Memory => &[Need::Memory],
            Self::Zone => &[Need::Disks, Need::Networks],
            Self::Overlap | Self::Drain | Self::Move | Self::Replace | Self::Backup => {
                &[Need::Disks, Need::Networks, Need::Tracing]
            }
        }
    }

    /// The faults that a word names: all, one by its name, or those of a number.
    pub fn named(word: &str) -> Option<Vec<Self>> {
        let is_named = |kind: &Self| {
            let number = kind.name().split('-').next();
            word == "all" || kind.name() == word || number == Some(word)
        };
        let named: Vec<_> = Self::ALL.into_iter().filter(is_named).collect();
        (!named.is_empty()).then_some(named)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| anyhow::anyhow!("there is no fault {text}"))
    }
}

/// One fault, as it was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// What.
    pub kind: Kind,
    /// For how long, where that can be chosen.
    pub hold: Duration,
    /// Decides everything else.
    pub dice: u64,
    /// Whether nothing else is wrong meanwhile, so that the cluster must go on serving.
    pub alone: bool,
    /// A node that has enough to do with something else.
    pub spared: Option<usize>,
}

impl Strike {
    /// What decides everything about it that is left open.
    fn dice(&self) -> StdRng {
        StdRng::seed_from_u64(self.dice)
    }

    /// Any of the nodes.
    fn victim(&self, run: &Run) -> usize {
        let possible = run.cluster.others(self.spared.as_slice());
        possible[self.dice().random_range(0..possible.len())]
    }

    /// Does it, mends it, and gives evidence that it took effect.
    pub fn happen<'a>(&'a self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<String>> {
        match self.kind {
            Kind::KillOne => Box::pin(process::kill_one(run, self)),
            Kind::KillLeader => Box::pin(process::kill_leader(run, self)),
            Kind::KillAll => Box::pin(process::kill_all(run, self)),
            Kind::PowerOne => Box::pin(power::cut_one(run, self)),
            Kind::PowerAll => Box::pin(power::cut_all(run, self)),
            Kind::Pause => Box::pin(process::pause(run, self)),
            Kind::Partition => Box::pin(network::partition(run, self)),
            Kind::OneWay => Box::pin(network::one_way(run, self)),
            Kind::Bridge => Box::pin(network::bridge(run, self)),
            Kind::Loss => Box::pin(network::loss(run, self)),
            Kind::Narrow => Box::pin(network::narrow(run, self)),
            Kind::Resets => Box::pin(network::resets(run, self)),
            Kind::DiskFull => Box::pin(disk_full::fill(run, self)),
            Kind::SyncError => Box::pin(syscalls::sync_error(run, self)),
            Kind::ReadError => Box::pin(syscalls::read_error(run, self)),
            Kind::SlowSync => Box::pin(syscalls::slow_sync(run, self)),
            Kind::RottenShards => Box::pin(rot::shards(run, self)),
            Kind::RottenSmall => Box::pin(rot::small(run, self)),
            Kind::RottenLog => Box::pin(rot::log(run, self)),
            Kind::TornTail => Box::pin(rot::torn_tail(run, self)),
            Kind::Blank => Box::pin(wiped::blank(run, self)),
            Kind::Descriptors => Box::pin(limits::descriptors(run, self)),
            Kind::Overlap => Box::pin(self.overlap(run)),
            Kind::Mistakes => Box::pin(operator::mistakes(run, self)),
            Kind::Crash => Box::pin(syscalls::crash(run, self)),
            Kind::Clocks => Box::pin(clocks::jump(run, self)),
            Kind::Zone => Box::pin(zone::away(run, self)),
            Kind::Memory => Box::pin(limits::memory(run, self)),
            Kind::Drain => Box::pin(moves::drain(run, self)),
            Kind::Move => Box::pin(moves::join_and_leave(run, self)),
            Kind::Replace => Box::pin(lost::replace(run, self)),
            Kind::Backup => Box::pin(backup::restore(run, self)),
        }
    }

    /// Does this while another fault happens, to another node than the one that is spared. Gives
    /// what came of this and what was seen of the fault.
    async fn amid<T>(
        &self,
        run: &Run,
        spared: Option<usize>,
        operation: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(T, String)> {
        let mut dice = self.dice();
        let kinds = [Kind::OF_NODES, Kind::OF_NETWORKS].concat();
        let other = Self {
            kind: kinds[dice.random_range(0..kinds.len())],
            dice: dice.random(),
            alone: false,
            spared,
            ..*self
        };
        let (done, seen) = futures::join!(operation, other.happen(run));
        let seen = seen?;
        run.happened(other.kind);
        Ok((done?, format!("amid {}: {seen}", other.kind)))
    }

    /// One that breaks the network and one that breaks a node, at once.
    async fn overlap(&self, run: &Run) -> anyhow::Result<String> {
        let mut dice = self.dice();
        let mut one_of = |kinds: [Kind; 4]| Self {
            kind: kinds[dice.random_range(0..kinds.len())],
            dice: dice.random(),
            alone: false,
            ..*self
        };
        let both = [one_of(Kind::OF_NETWORKS), one_of(Kind::OF_NODES)];
        let (first, second) = futures::join!(both[0].happen(run), both[1].happen(run));
        run.happened(both[0].kind);
        run.happened(both[1].kind);
        Ok(format!(
            "{}: {}; {}: {}",
            both[0].kind, first?, both[1].kind, second?
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_by_name_and_by_number() {
        assert_eq!(Kind::named("all").unwrap().len(), Kind::ALL.len());
        assert_eq!(Kind::named("F1").unwrap(), [Kind::KillOne]);
        assert_eq!(Kind::named("F19").unwrap().len(), 3);
        assert_eq!(Kind::named("F19-rotten-log").unwrap(), [Kind::RottenLog]);
        assert!(Kind::named("F99").is_none());
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
        }
    }
}
