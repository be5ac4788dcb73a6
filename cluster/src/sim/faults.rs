//! What is done to a simulated cluster, and how it is undone.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::rngs::StdRng;

/// One thing that goes wrong, or that an operator does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nodes lose their power at once, and what they had not flushed.
    Crash(Vec<u64>),
    /// Nothing gets through between the nodes of one group and the others.
    Partition(BTreeSet<u64>),
    /// Nothing gets through from one node to another.
    Mute { from: u64, to: u64 },
    /// Everything to and from these waits, and comes at once in the end.
    Hold(Vec<(u64, u64)>),
    /// Links break and are repaired all the time.
    Loss(Vec<(u64, u64)>),
    /// Messages take long.
    Slow(Vec<(u64, u64)>),
    /// Each flush of the log takes long.
    SlowDisk { node: u64, by_ms: u64 },
    /// The wall clock of a node jumps.
    Clock { node: u64, by_ms: i64 },
    /// A node is stopped for so long, and hears nothing meanwhile.
    Pause { node: u64, ms: u64 },
    /// Somebody has another node lead.
    Transfer { by: u64, to: u64 },
    /// Somebody has other nodes vote.
    Voters { by: u64, voters: BTreeSet<u64> },
}

impl Fault {
    /// What figures call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Crash(nodes) if nodes.len() == 1 => "crash of one node",
            Self::Crash(_) => "crash of several nodes at once",
            Self::Partition(_) => "partition",
            Self::Mute { .. } => "loss in one direction",
            Self::Hold(_) => "messages held back, then released",
            Self::Loss(_) => "lossy links",
            Self::Slow(_) => "slow links",
            Self::SlowDisk { .. } => "slow flushes",
            Self::Clock { .. } => "jump of a wall clock",
            Self::Pause { .. } => "pause of a node",
            Self::Transfer { .. } => "leadership transferred",
            Self::Voters { .. } => "voters changed",
        }
    }

    /// Draws a fault of a cluster of this many nodes, and how long it lasts.
    pub(super) fn draw(rng: &mut StdRng, size: u64) -> (Self, u64) {
        let node = |rng: &mut StdRng| rng.random_range(1..=size);
        let lasts_ms = match rng.random_range(0..4) {
            // Longer than a lost voter keeps its vote.
            0 => rng.random_range(3000..6000),
            _ => rng.random_range(50..1500),
        };
        let fault = match rng.random_range(0..100) {
            0..20 => Self::Crash(vec![node(rng)]),
            20..26 => {
                let all = (1..=size).filter(|_| rng.random_bool(0.7)).collect();
                Self::Crash(all)
            }
            26..42 => Self::Partition((1..=size).filter(|_| rng.random_bool(0.4)).collect()),
            42..50 => {
                let from = node(rng);
                let to = other(rng, from, size);
                Self::Mute { from, to }
            }
            50..58 => Self::Hold(links(rng, size)),
            58..64 => Self::Loss(links(rng, size)),
            64..70 => Self::Slow(links(rng, size)),
            70..76 => Self::SlowDisk {
                node: node(rng),
                by_ms: rng.random_range(20..400),
            },
            76..80 => Self::Clock {
                node: node(rng),
                by_ms: rng.random_range(-600_000..600_000),
            },
            80..86 => Self::Pause {
                node: node(rng),
                ms: rng.random_range(100..3000),
            },
            86..94 => {
                let by = node(rng);
                let to = other(rng, by, size);
                Self::Transfer { by, to }
            }
            _ => {
                let by = node(rng);
                let mut voters: BTreeSet<u64> = (1..=size).filter(|_| rng.random_bool(0.6)).collect();
                voters.insert(node(rng));
                Self::Voters { by, voters }
            }
        };
        (fault, lasts_ms)
    }
}

fn other(rng: &mut StdRng, than: u64, size: u64) -> u64 {
    let drawn = rng.random_range(1..size);
    if drawn < than { drawn } else { drawn + 1 }
}

/// All links of a node, or one of them.
fn links(rng: &mut StdRng, size: u64) -> Vec<(u64, u64)> {
    let node = rng.random_range(1..=size);
    match rng.random_bool(0.5) {
        true => vec![(node, other(rng, node, size))],
        false => links_of(node, size),
    }
}

/// All links of a node.
pub(super) fn links_of(node: u64, size: u64) -> Vec<(u64, u64)> {
    (1..=size)
        .filter(|other| *other != node)
        .map(|other| (node, other))
        .collect()
}
