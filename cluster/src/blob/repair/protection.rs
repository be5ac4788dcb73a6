//! Which blobs have less redundancy than they should, and how they stand: what operators ask.

use schemars::JsonSchema;
use serde::Serialize;

use crate::blob::collect::Pages;
use crate::blob::id::{BlobId, Space};
use crate::blob::keys;
use crate::blob::record::{BlobRecord, DebtRecord, Located};
use crate::blob::upkeep::{Upkeep, View};
use crate::blob::walk::{fixed, of_blob};
use crate::kv::{Collection, ReadError, Scan};
use crate::record::number;
use crate::seams::Timestamp;

/// How many records are looked at for one page: an answer may hold fewer blobs than were asked for,
/// or none, and still not be the last.
const LOOKED_AT: usize = 5000;

/// How badly a blob is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// Too little is left of it: it cannot be read, unless lost nodes come back.
    Lost,
    /// It cannot be read until nodes come back that are away.
    Unreadable,
    /// It can be read, and has less redundancy than it should.
    Reduced,
}

/// A blob that is not protected as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnderProtected {
    /// Whose it is.
    pub space: Space,
    /// Which.
    #[serde(serialize_with = "shown")]
    pub blob: BlobId,
    /// Its size in bytes.
    pub size: u64,
    /// How badly.
    pub protection: Protection,
    /// How many more nodes any of its segments may lose before it cannot be read.
    pub spare: usize,
    /// Segments that have less redundancy than they should.
    pub segments: u64,
    /// Since when that is known, if it is not only for nodes that are away.
    pub since: Option<Timestamp>,
    /// Why it was not repaired, as far as that is known.
    pub problem: Option<String>,
}

fn shown<S: serde::Serializer>(blob: &BlobId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(blob)
}

/// Why it could not be said which blobs are not protected as they should be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProtectionError {
    /// It is not known where blobs should be.
    #[error("find out where blobs should be: {0}")]
    Unavailable(String),
    /// Metadata could not be read.
    #[error(transparent)]
    Metadata(#[from] ReadError),
}

/// Some of the blobs that are not protected as they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnderProtectedPage {
    /// The blobs.
    pub blobs: Vec<UnderProtected>,
    /// After what the next page begins; none at the end.
    pub next: Option<(Space, BlobId)>,
}

impl Upkeep {
    /// Up to `limit` blobs that are not protected as they should be, after one.
    ///
    /// While all nodes are there, those are the blobs in debt; otherwise all blobs are looked at.
    pub(crate) async fn under_protected(
        &self,
        after: Option<(Space, BlobId)>,
        limit: usize,
    ) -> Result<UnderProtectedPage, ProtectionError> {
        let view = self.view().await;
        let view = view.map_err(|error| ProtectionError::Unavailable(error.to_string()))?;
        let list: fn(Space) -> Collection = match view.down.is_empty() {
            true => keys::debts,
            false => keys::records,
        };
        let mut page = UnderProtectedPage::default();
        let mut looked_at = 0;
        let mut spaces = Pages::of(keys::spaces());
        while let Some(entries) = spaces.next(&self.blobs).await? {
            for entry in entries {
                let space = Space(number(&entry.item).map_err(ReadError::from)?);
                if after.is_some_and(|(last, _)| space < last) {
                    continue;
                }
                let mut last = after.filter(|(last, _)| space == *last).map(|(_, blob)| blob);
                loop {
                    let mut scan = Scan::of(&list(space)).limit(100);
                    if let Some(last) = last {
                        scan = scan.after(last.0);
                    }
                    let found = self.blobs.kv().local().scan(scan).await?;
                    if found.is_empty() {
                        break;
                    }
                    for entry in found {
                        let blob = BlobId(fixed(&entry.item).map_err(ReadError::from)?);
                        last = Some(blob);
                        looked_at += 1;
                        page.blobs.extend(self.protection(&view, space, blob).await?);
                        if page.blobs.len() >= limit || looked_at >= LOOKED_AT {
                            page.next = Some((space, blob));
                            return Ok(page);
                        }
                    }
                }
            }
        }
        Ok(page)
    }

    /// How a blob stands; none if it is protected as it should be.
    async fn protection(
        &self,
        view: &View,
        space: Space,
        blob: BlobId,
    ) -> Result<Option<UnderProtected>, ReadError> {
        let snapshot = self.blobs.kv().local();
        let Some(record) = snapshot.record::<BlobRecord>(&keys::record(space, &blob)).await? else {
            return Ok(None);
        };
        let lacks =
            |segment: &Located| segment.record.placement.recode || kept(view, segment) < shards(segment);
        let lacking = of_blob(&snapshot, space, blob, lacks).await?;
        if lacking.is_empty() {
            return Ok(None);
        }
        let debt: Option<DebtRecord> = snapshot.record(&keys::debt(space, &blob)).await?;
        let data = |segment: &Located| usize::from(segment.record.placement.code.data);
        let segments = || lacking.iter().map(|known| &known.segment);
        let spare = segments().map(|segment| kept(view, segment).saturating_sub(data(segment)));
        let readable = segments().all(|segment| kept(view, segment) >= data(segment));
        let lost = segments().any(|segment| left(view, segment) < data(segment));
        let given_up = debt.as_ref().is_some_and(|debt| debt.unrecoverable);
        Ok(Some(UnderProtected {
            space,
            blob,
            size: record.size,
            protection: match (lost || given_up, readable) {
                (true, _) => Protection::Lost,
                (false, false) => Protection::Unreadable,
                (false, true) => Protection::Reduced,
            },
            spare: spare.min().unwrap_or(0),
            segments: lacking.len() as u64,
            since: debt.as_ref().map(|debt| debt.since),
            problem: debt.and_then(|debt| debt.problem),
        }))
    }
}

fn shards(segment: &Located) -> usize {
    segment.record.placement.homes.len()
}

/// Shards that can be had now.
fn kept(view: &View, segment: &Located) -> usize {
    count(segment, |home| view.answers(home))
}

/// Shards that there are, also on nodes that are away.
fn left(view: &View, segment: &Located) -> usize {
    count(segment, |home| view.layout.zone(home).is_some())
}

fn count(segment: &Located, is: impl Fn(crate::node_id::NodeId) -> bool) -> usize {
    let placement = &segment.record.placement;
    let shards = (0..).zip(&placement.homes);
    shards
        .filter(|(index, home)| !placement.missing.contains(index) && is(**home))
        .count()
}
