//! Collection: what nothing names any more goes, and its space comes back.
//!
//! The life of bytes:
//!
//! ```text
//! stored -> named (live) -> released (orphan) -> garbage -> removed -> forgotten
//!    \________________________________________/
//!      never named: after a time, or at once if they were a duplicate
//! ```
//!
//! - What is garbage is decided once for the cluster, by the leader, and in one transaction each
//!   that depends on everything the decision rests on ([`decide`]): the blob's record and so its
//!   generation, its references, its lease, and that no backup holds the collection back
//!   ([`super::hold`]). Whoever names or leases it at the same time makes the decision void, or is
//!   told that there is no such blob.
//! - Garbage stays on its disks for a while, for those who are reading it, and is then removed from
//!   all its homes, and only when all have confirmed it is it forgotten ([`remove`]).
//! - Each node looks by itself for shards that the metadata does not know, and gives back the space
//!   of small segments that were removed ([`local`]).

mod decide;
mod local;
mod metrics;
mod remove;
#[cfg(test)]
mod tests;
mod waste;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub(super) use decide::DecideError;
pub use waste::{Waste, WasteStage};

use super::id::Space;
use super::retention::Retention;
use super::upkeep::Upkeep;
use super::{Blobs, keys};
use crate::kv::{Collection, Entry, ReadError, Scan};
use crate::record::number;
use crate::tasks::{Next, Task, Work};

/// How far the clocks of nodes may be apart. What expires is kept for so much longer.
pub(super) const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// How many items are read at once.
const PAGE: usize = 500;

/// Says whether this node decides for the cluster.
pub(crate) type Leads = Arc<dyn Fn() -> bool + Send + Sync>;

/// The collection of one node.
pub(crate) struct CollectionTask {
    upkeep: Upkeep,
    leads: Leads,
    local: local::Local,
}

impl CollectionTask {
    pub(crate) fn new(upkeep: Upkeep, leads: Leads) -> Self {
        metrics::describe();
        Self {
            upkeep,
            leads,
            local: local::Local::default(),
        }
    }
}

#[async_trait]
impl Task for CollectionTask {
    async fn round(&self, work: &Work) -> anyhow::Result<Next> {
        let blobs = &self.upkeep.blobs;
        if (self.leads)() {
            let collector = Collector::begin(blobs).await?;
            collector.collect(work).await?;
        }
        self.local.round(&self.upkeep, work).await?;
        Ok(Next::Period)
    }
}

/// Decides and removes, with what is set at the moment.
pub(super) struct Collector<'a> {
    blobs: &'a Blobs,
    retention: Retention,
}

impl<'a> Collector<'a> {
    pub(super) async fn begin(blobs: &'a Blobs) -> anyhow::Result<Self> {
        let snapshot = blobs.kv().latest().await?;
        let retention = Retention::load(&snapshot).await?;
        Ok(Self { blobs, retention })
    }

    async fn collect(&self, work: &Work) -> anyhow::Result<()> {
        for space in self.spaces().await? {
            self.decide(space, work).await?;
            self.remove(space, work).await?;
        }
        metrics::waste(&self.blobs.waste_in_sum().await?);
        Ok(())
    }

    async fn spaces(&self) -> Result<Vec<Space>, ReadError> {
        let mut spaces = Vec::new();
        let mut pages = Pages::of(keys::spaces());
        while let Some(page) = pages.next(self.blobs).await? {
            for entry in page {
                spaces.push(Space(number(&entry.item)?));
            }
        }
        Ok(spaces)
    }
}

/// The items of a collection, a page at a time, as they are when each page is read.
pub(super) struct Pages {
    collection: Collection,
    after: Option<bytes::Bytes>,
}

impl Pages {
    pub(super) fn of(collection: Collection) -> Self {
        let after = None;
        Self { collection, after }
    }

    pub(super) async fn next(&mut self, blobs: &Blobs) -> Result<Option<Vec<Entry>>, ReadError> {
        let mut scan = Scan::of(&self.collection).limit(PAGE);
        if let Some(after) = &self.after {
            scan = scan.after(after);
        }
        let page = blobs.kv().local().scan(scan).await?;
        let last = page.last().map(|entry| entry.item.clone());
        self.after = last.or_else(|| self.after.take());
        Ok((!page.is_empty()).then_some(page))
    }
}
