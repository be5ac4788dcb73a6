//! What a node still has of shards that were moved away from it: kept for a while, for those who
//! are reading it, and then removed by the node itself.
//!
//! ```text
//! item of blobs/<space>/leftovers: node (8), generation (16), number (8), shard index (1)
//! ```
//!
//! A shard that was moved away may be moved back before it was removed. That must not end with its
//! only home removing it, so:
//! - a leftover is noted in the transaction that gives the shard another home, and forgotten in the
//!   one that makes the node its home again ([`arrive`]), which thereby depends on it;
//! - only the node itself removes, while it holds the segment's claim, and so does nothing else with
//!   that segment; and it first writes into the leftover that it does, in a transaction that sees
//!   where the shard's home is. A change of home that was proposed before and is still under way
//!   then fails, because it depends on the leftover as it was.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claims::Claim;
use super::collect::{DecideError, Pages};
use super::id::{BlobId, Generation, Space};
use super::record::{Form, SegmentId};
use super::shard_file::ShardName;
use super::upkeep::Upkeep;
use super::walk::{Known, current, fixed};
use super::{Blobs, Retention, keys};
use crate::kv::{Collection, Key, ReadError, Scan, Txn};
use crate::node_id::NodeId;
use crate::record::{DecodeError, Record, number};
use crate::seams::Timestamp;
use crate::tasks::Work;

/// How long a shard stays where it was moved away from, unless garbage is kept for less: a reader
/// that began before finds the others meanwhile, and a disk that was full soon has room.
const LEFT_FOR: Duration = Duration::from_secs(3600);

/// How many are removed together.
const AT_ONCE: usize = 50;

/// How many are forgotten together.
const FORGOTTEN_AT_ONCE: usize = 1000;

/// A shard that was moved away from a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LeftoverRecord {
    blob: BlobId,
    group: u16,
    form: Form,
    since: Timestamp,
    /// The node is about to remove it.
    #[serde(default)]
    removing: bool,
}

impl Record for LeftoverRecord {}

/// Which shard, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    node: NodeId,
    id: SegmentId,
    index: u8,
}

impl Item {
    fn key(&self, space: Space) -> Key {
        let bytes = [
            &self.node.0.to_be_bytes()[..],
            &self.id.generation.0,
            &self.id.number.to_be_bytes(),
            &[self.index],
        ];
        keys::leftovers(space).key(bytes.concat())
    }

    fn parse(item: &[u8]) -> Result<Self, DecodeError> {
        let bytes: [u8; 33] = fixed(item)?;
        Ok(Self {
            node: NodeId(number(&bytes[..8])?),
            id: SegmentId {
                generation: Generation(fixed(&bytes[8..24])?),
                number: number(&bytes[24..32])?,
            },
            index: bytes[32],
        })
    }
}

/// Notes that a shard has another home than `from` from now on.
pub(super) fn leave_behind(
    txn: &mut Txn,
    known: &Known,
    blob: &BlobId,
    index: u8,
    from: NodeId,
    since: Timestamp,
) {
    let placement = &known.segment.record.placement;
    let item = Item {
        node: from,
        id: known.segment.id,
        index,
    };
    let record = LeftoverRecord {
        blob: *blob,
        group: placement.group,
        form: placement.form,
        since,
        removing: false,
    };
    txn.put_record(&item.key(known.space), &record);
}

/// Makes sure that a shard whose home is `node` from now on is not removed there.
pub(super) async fn arrive(txn: &mut Txn, known: &Known, index: u8, node: NodeId) -> Result<(), ReadError> {
    // Copies of a small segment are one thing on a disk, whatever their index.
    let indexes = match known.segment.record.placement.form {
        Form::Shards => index..=index,
        Form::Small => 0..=known.segment.record.placement.homes.len().saturating_sub(1) as u8,
    };
    for index in indexes {
        let id = known.segment.id;
        let key = Item { node, id, index }.key(known.space);
        if txn.get(&key).await?.is_some() {
            txn.delete(&key);
        }
    }
    Ok(())
}

/// A leftover of this node whose time has come.
struct Due {
    item: Item,
    record: LeftoverRecord,
    _claim: Claim,
}

impl Upkeep {
    /// Removes what was moved away from this node long enough ago.
    pub(super) async fn remove_leftovers(&self, retention: &Retention, work: &Work) -> anyhow::Result<()> {
        let mut spaces = Pages::of(keys::spaces());
        while let Some(page) = spaces.next(&self.blobs).await? {
            for entry in page {
                self.remove_leftovers_of(Space(number(&entry.item)?), retention, work)
                    .await?;
            }
        }
        Ok(())
    }

    async fn remove_leftovers_of(
        &self,
        space: Space,
        retention: &Retention,
        work: &Work,
    ) -> anyhow::Result<()> {
        let kept_for = retention.quarantine().min(LEFT_FOR);
        let collection = keys::leftovers(space);
        let mine = Scan::of(&collection)
            .prefix(self.me().0.to_be_bytes())
            .limit(AT_ONCE);
        let mut scan = mine.clone();
        loop {
            let page = self.blobs.kv().local().scan(scan).await?;
            let Some(last) = page.last() else { return Ok(()) };
            scan = mine.clone().after(&last.item);
            let mut due = Vec::new();
            for entry in &page {
                let (item, record) = (Item::parse(&entry.item)?, entry.record::<LeftoverRecord>()?);
                let now = self.blobs.seams().clock.now();
                if now < record.since.plus(kept_for) {
                    continue;
                }
                // Somebody is bringing it back, or it is the same small segment once more.
                let Some(claim) = self.claims.take(item.id) else {
                    continue;
                };
                due.push(Due {
                    item,
                    record,
                    _claim: claim,
                });
            }
            self.remove_due(space, &due, work).await?;
        }
    }

    async fn remove_due(&self, space: Space, due: &[Due], work: &Work) -> anyhow::Result<()> {
        if due.is_empty() {
            return Ok(());
        }
        let begin = async |mut txn: Txn| {
            let mut removed = Vec::new();
            for Due { item, record, .. } in due {
                let key = item.key(space);
                if txn.get(&key).await?.is_none() {
                    continue;
                }
                let now = current(&mut txn, space, &record.blob, item.id).await?;
                if now.is_some_and(|now| now.placement.is_kept_by(item.node, item.index)) {
                    txn.delete(&key);
                    continue;
                }
                let removing = true;
                txn.put_record(
                    &key,
                    &LeftoverRecord {
                        removing,
                        ..record.clone()
                    },
                );
                removed.push((*item, record.group, record.form));
            }
            Ok::<_, DecideError>((txn, removed))
        };
        let removed = self.blobs.kv().transact(begin).await?;
        let (mut shards, mut small) = (Vec::new(), Vec::new());
        for (item, group, form) in &removed {
            let (id, index) = (item.id, item.index);
            match form {
                Form::Shards => shards.push(ShardName {
                    group: *group,
                    id,
                    index,
                }),
                Form::Small => small.push(id),
            }
        }
        self.stores.delete(shards, small).await?;
        let forget = async |mut txn: Txn| {
            for (item, ..) in &removed {
                txn.delete(&item.key(space));
            }
            Ok::<_, DecideError>((txn, ()))
        };
        self.blobs.kv().transact(forget).await?;
        work.moved(removed.len() as u64, 0).await;
        Ok(())
    }

    /// What was moved away from this node and still lies here, in the next page after one.
    pub(super) async fn leftovers(
        &self,
        space: Space,
        after: Option<&[u8]>,
    ) -> Result<LeftoverPage, ReadError> {
        let collection = keys::leftovers(space);
        let mut scan = Scan::of(&collection).prefix(self.me().0.to_be_bytes());
        if let Some(after) = after {
            scan = scan.after(after);
        }
        let mut page = LeftoverPage::default();
        for entry in self.blobs.kv().local().scan(scan).await? {
            let (item, record) = (Item::parse(&entry.item)?, entry.record::<LeftoverRecord>()?);
            match record.form {
                Form::Small => page.small.push(item.id),
                Form::Shards => page.shards.push(ShardName {
                    group: record.group,
                    id: item.id,
                    index: item.index,
                }),
            }
            page.last = Some(entry.item);
        }
        Ok(page)
    }
}

/// Some of what was moved away from a node.
#[derive(Default)]
pub(super) struct LeftoverPage {
    pub(super) shards: Vec<ShardName>,
    pub(super) small: Vec<SegmentId>,
    /// After what the next page begins; none at the end.
    pub(super) last: Option<bytes::Bytes>,
}

/// Forgets what nodes have that left the cluster.
pub(super) async fn forget_departed(
    blobs: &Blobs,
    space: Space,
    belongs: impl Fn(NodeId) -> bool,
) -> anyhow::Result<()> {
    let collection = keys::leftovers(space);
    let mut scan = Scan::of(&collection).limit(1);
    while let Some(first) = blobs.kv().local().scan(scan).await?.pop() {
        let node = Item::parse(&first.item)?.node.0.to_be_bytes();
        if !belongs(NodeId(u64::from_be_bytes(node))) {
            forget_all_of(blobs, &collection, node).await?;
        }
        // On to the next node.
        scan = Scan::of(&collection)
            .limit(1)
            .after([&node[..], &[0xff; 25]].concat());
    }
    Ok(())
}

async fn forget_all_of(blobs: &Blobs, collection: &Collection, node: [u8; 8]) -> anyhow::Result<()> {
    loop {
        let some = Scan::of(collection).prefix(node).limit(FORGOTTEN_AT_ONCE);
        let page = blobs.kv().local().scan(some).await?;
        if page.is_empty() {
            return Ok(());
        }
        let forget = async |mut txn: Txn| {
            for entry in &page {
                txn.delete(&collection.key(&entry.item));
            }
            Ok::<_, DecideError>((txn, ()))
        };
        blobs.kv().transact(forget).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_says_which_shard_lies_where() {
        let item = Item {
            node: NodeId(7),
            id: SegmentId {
                generation: Generation([3; 16]),
                number: 9,
            },
            index: 4,
        };
        let packed = [&7u64.to_be_bytes()[..], &[3; 16], &9u64.to_be_bytes(), &[4]].concat();
        assert_eq!(Item::parse(&packed).unwrap(), item);
        assert_eq!(item.key(Space(1)), keys::leftovers(Space(1)).key(&packed));
        assert!(Item::parse(&packed[1..]).is_err());
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::LeftoverRecord>("leftover");
    }
}
