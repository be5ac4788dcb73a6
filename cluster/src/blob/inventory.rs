//! What this node should keep, against what lies on its disks.
//!
//! The names on the disks are taken in slices that fit in memory, and for each slice the metadata
//! is gone over once, in one view that is newer than the names. So a name that the view does not
//! know belongs to something that was removed, or is not recorded yet; and a segment whose shard is
//! not among the names is looked for once more before it counts as missing.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::coded::shard_of;
use super::collect::Pages;
use super::id::Space;
use super::keys;
use super::record::{Form, Located, SegmentId};
use super::shard_error::ShardError;
use super::shard_file::ShardName;
use super::small::Listed;
use super::upkeep::Upkeep;
use super::walk::{Extent, Known, Owner, Walk};
use crate::record::number;
use crate::seams::Timestamp;
use crate::tasks::Work;

/// How many names a slice holds at least before it is closed: some 50 MB.
const SLICE: usize = 500_000;

/// Something on a disk of this node that the metadata does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    Shard(ShardName),
    Small(Listed),
}

/// A shard that this node should have and does not.
#[derive(Clone, Debug)]
pub(super) struct MissingShard {
    pub(super) known: Known,
    pub(super) index: u8,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) unknown: Vec<Unknown>,
    pub(super) missing: Vec<MissingShard>,
}

/// Goes over everything, slice by slice.
pub(super) struct Inventory<'a> {
    upkeep: &'a Upkeep,
    groups: std::collections::btree_set::IntoIter<u16>,
    /// The first group of the next slice.
    next_group: u16,
    /// After which small segment the next slice begins.
    small_after: Option<SegmentId>,
    ended: bool,
}

/// Names on the disks, and the ranges in which they are complete.
struct Slice {
    groups: RangeInclusive<u16>,
    shards: HashMap<ShardName, ()>,
    small_after: Option<SegmentId>,
    small_until: Option<SegmentId>,
    small: HashMap<SegmentId, Listed>,
}

impl<'a> Inventory<'a> {
    pub(super) async fn begin(upkeep: &'a Upkeep) -> Result<Self, ShardError> {
        let groups = upkeep.stores.shards.groups().await?;
        Ok(Self {
            upkeep,
            groups: groups.into_iter(),
            next_group: 0,
            small_after: None,
            ended: false,
        })
    }

    /// Looks through the next slice; none at the end.
    pub(super) async fn next(&mut self, work: &Work) -> anyhow::Result<Option<Findings>> {
        if self.ended {
            return Ok(None);
        }
        let mut slice = self.slice().await?;
        // Newer than the names, so that what was recorded since they were read is known.
        let snapshot = self.upkeep.blobs.kv().latest().await?;
        let mut walk = Walk::new(Extent::Everything);
        let mut missing = Vec::new();
        while let Some(page) = walk.next(&snapshot).await? {
            for known in page {
                self.cross_off(&mut slice, known, &mut missing).await?;
            }
            work.moved(0, 0).await;
        }
        self.cross_off_leftovers(&mut slice).await?;
        let shards = slice.shards.into_keys().map(Unknown::Shard);
        let small = slice.small.into_values().map(Unknown::Small);
        let unknown = shards.chain(small).collect();
        Ok(Some(Findings { unknown, missing }))
    }

    async fn slice(&mut self) -> anyhow::Result<Slice> {
        let first = self.next_group;
        let mut last = u16::MAX;
        let mut shards = HashMap::new();
        for group in self.groups.by_ref() {
            let names = self.upkeep.stores.shards.list(group).await?;
            shards.extend(names.into_iter().map(|name| (name, ())));
            if shards.len() >= SLICE {
                last = group;
                break;
            }
        }
        let (store, after) = (self.upkeep.stores.small.clone(), self.small_after);
        let listed = self
            .upkeep
            .stores
            .disk
            .run(move || store.list(after, SLICE))
            .await?;
        let small_until = listed
            .last()
            .filter(|_| listed.len() == SLICE)
            .map(|last| last.id);
        let slice = Slice {
            groups: first..=last,
            shards,
            small_after: after,
            small_until,
            small: listed.into_iter().map(|listed| (listed.id, listed)).collect(),
        };
        // Whichever of the two is at its end has an empty slice from then on.
        self.ended = last == u16::MAX && small_until.is_none();
        self.next_group = last.saturating_add(1);
        self.small_after = small_until.or(Some(SegmentId::MAX));
        Ok(slice)
    }

    /// What was moved away from here is known as well, and goes in its own time.
    async fn cross_off_leftovers(&self, slice: &mut Slice) -> anyhow::Result<()> {
        let mut spaces = Pages::of(keys::spaces());
        while let Some(entries) = spaces.next(&self.upkeep.blobs).await? {
            for entry in entries {
                let space = Space(number(&entry.item)?);
                let mut last = None;
                loop {
                    let page = self.upkeep.leftovers(space, last.as_deref()).await?;
                    for name in &page.shards {
                        slice.shards.remove(name);
                    }
                    for id in &page.small {
                        slice.small.remove(id);
                    }
                    match page.last {
                        Some(item) => last = Some(item),
                        None => break,
                    }
                }
            }
        }
        Ok(())
    }

    async fn cross_off(
        &self,
        slice: &mut Slice,
        known: Known,
        missing: &mut Vec<MissingShard>,
    ) -> Result<(), ShardError> {
        let placement = &known.segment.record.placement;
        let me = self.upkeep.me();
        let homes = (0..).zip(&placement.homes);
        let mine: Vec<u8> = homes
            .filter(|(_, home)| **home == me)
            .map(|(index, _)| index)
            .collect();
        for index in mine {
            let there = match placement.form {
                Form::Shards if !slice.groups.contains(&placement.group) => true,
                Form::Shards => slice.shards.remove(&shard_of(&known.segment, index)).is_some(),
                Form::Small if !slice.covers(&known.segment.id) => true,
                Form::Small => slice.small.remove(&known.segment.id).is_some(),
            };
            let expected = known.owner != Owner::Garbage && !placement.missing.contains(&index);
            if !there && expected && !self.is_there(&known.segment, index).await? {
                let known = known.clone();
                missing.push(MissingShard { known, index });
            }
        }
        Ok(())
    }

    /// Whether a shard is there now: it may have come after the names were read.
    async fn is_there(&self, segment: &Located, index: u8) -> Result<bool, ShardError> {
        let result = match segment.record.placement.form {
            Form::Shards => self
                .upkeep
                .stores
                .stat_shard(shard_of(segment, index))
                .await
                .map(drop),
            Form::Small => self.upkeep.stores.read_small(segment.id).await.map(drop),
        };
        match result {
            Ok(()) => Ok(true),
            Err(ShardError::Missing | ShardError::Corrupt(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Slice {
    fn covers(&self, id: &SegmentId) -> bool {
        self.small_after.is_none_or(|after| *id > after) && self.small_until.is_none_or(|until| *id <= until)
    }
}

impl Unknown {
    /// When it was written.
    pub(super) async fn written(&self, upkeep: &Upkeep) -> Result<Timestamp, ShardError> {
        match *self {
            Self::Small(listed) => Ok(listed.written),
            Self::Shard(name) => {
                let shards = &upkeep.stores.shards;
                shards.find(&name, move |store| store.written(&name)).await
            }
        }
    }

    /// Moves it to quarantine.
    pub(super) async fn set_aside(&self, upkeep: &Upkeep) -> Result<(), ShardError> {
        let stores = &upkeep.stores;
        match *self {
            Self::Shard(name) => {
                stores
                    .shards
                    .everywhere(move |store| store.set_aside(&name))
                    .await
            }
            Self::Small(listed) => {
                let small = stores.small.clone();
                stores.disk.run(move || small.set_aside(&listed.id)).await
            }
        }
    }
}
