//! How much is measured, and for how long.

use std::time::Duration;

/// Bytes in a KiB, a MiB and a GiB.
pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Scale {
    /// How long a load lasts that is not of a fixed number of requests.
    pub window: Duration,
    /// How often a load and what it is compared with take turns; the median of them counts.
    pub rounds: usize,
    /// How long each limit of the machine is measured.
    pub limit: Duration,
    /// Sizes of blobs in bytes, each with how many are put in one round.
    pub blobs: Vec<(u64, u64)>,
    /// The size of the upload during which memory is watched, in bytes.
    pub upload_bytes: u64,
    /// Versions of the package whose packument is asked for.
    pub versions: usize,
    /// How many reads and writes a second begin while nodes are lost and changed.
    pub steady: (u32, u32),
    /// How many large files are stored meanwhile, and their size in bytes.
    pub stored: (u64, u64),
    /// How much metadata a node catches up with, in bytes.
    pub metadata_bytes: u64,
    /// How often the leader is killed.
    pub leaders_killed: usize,
    /// How many versions a package has when publishing the next ones is timed: each more than the one
    /// before and [`Scale::timed`] of all rounds together.
    pub growth: Vec<u64>,
    /// How many packages a project has when publishing the next ones is timed.
    pub packages: u64,
    /// How many are published then in each round, one after the other.
    pub timed: u64,
}

impl Scale {
    /// What results are reported from; takes about ten minutes.
    pub fn full() -> Self {
        Self {
            window: Duration::from_secs(5),
            rounds: 3,
            limit: Duration::from_secs(2),
            blobs: vec![(10 * KIB, 4000), (MIB, 200), (256 * MIB, 3)],
            upload_bytes: 5 * GIB,
            versions: 30,
            steady: (100, 20),
            stored: (32, 32 * MIB),
            metadata_bytes: 5 * GIB,
            leaders_killed: 20,
            growth: vec![10, 1000, 10_000],
            packages: 10_000,
            timed: 300,
        }
    }

    /// A look at everything in about a minute.
    pub fn quick() -> Self {
        Self {
            window: Duration::from_secs(1),
            rounds: 1,
            limit: Duration::from_millis(300),
            blobs: vec![(10 * KIB, 200), (MIB, 20), (64 * MIB, 1)],
            upload_bytes: 256 * MIB,
            versions: 10,
            steady: (50, 10),
            stored: (16, 8 * MIB),
            metadata_bytes: 512 * MIB,
            leaders_killed: 3,
            growth: vec![10, 200],
            packages: 200,
            timed: 50,
        }
    }

    /// The least that goes through all of it.
    pub fn tiny() -> Self {
        Self {
            window: Duration::from_millis(50),
            rounds: 1,
            limit: Duration::from_millis(10),
            blobs: vec![(10 * KIB, 4), (3 * MIB, 1)],
            upload_bytes: 8 * MIB,
            versions: 2,
            steady: (10, 5),
            stored: (4, 3 * MIB),
            metadata_bytes: 16 * MIB,
            leaders_killed: 1,
            growth: vec![1, 5],
            packages: 4,
            timed: 2,
        }
    }
}
