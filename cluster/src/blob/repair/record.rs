//! What repair writes into the metadata: which shards are missing, and where they are again.

use std::collections::BTreeSet;

use super::plan::Job;
use crate::blob::collect::DecideError;
use crate::blob::id::{BlobId, Space};
use crate::blob::record::{BlobRecord, DebtRecord, SegmentRecord, Segmentation};
use crate::blob::walk::{Known, Owner, of_blob};
use crate::blob::{Blobs, keys, leftover};
use crate::kv::{ReadError, Txn};
use crate::node_id::NodeId;

/// Notes shards as missing, with a debt for their blobs. What is not as it was any more is left
/// alone.
pub(in crate::blob) async fn note_missing(
    blobs: &Blobs,
    shards: &[(Known, u8)],
    home: NodeId,
) -> Result<(), DecideError> {
    let note = async |mut txn: Txn| {
        for (known, index) in shards {
            let Owner::Blob(blob) = known.owner else { continue };
            let edited = edit(&mut txn, known, &blob, |segment| {
                let placement = &mut segment.placement;
                let is_home = placement.homes.get(usize::from(*index)) == Some(&home);
                if is_home && !placement.missing.contains(index) {
                    placement.missing.push(*index);
                    placement.missing.sort_unstable();
                }
                is_home
            });
            if let Some(record) = edited.await? {
                let key = keys::debt(known.space, &blob);
                if txn.get(&key).await?.is_none() {
                    let debt = DebtRecord::new(record.generation, blobs.seams().clock.now());
                    txn.put_record(&key, &debt);
                }
            }
        }
        Ok((txn, ()))
    };
    blobs.kv().transact(note).await
}

/// Notes that a shard that was built is at its home, `to`; shards that turned out to be other than
/// they should are missing from now on. What lies at the home that it had, if that is another one, is
/// to be removed there in time. False if the shard has another home by now, or none.
pub(in crate::blob) async fn settle(
    blobs: &Blobs,
    known: &Known,
    blob: &BlobId,
    job: Job,
    to: NodeId,
    liars: &BTreeSet<u8>,
) -> Result<bool, DecideError> {
    let settle = async |mut txn: Txn| {
        let mut leaves = None;
        let edited = edit(&mut txn, known, blob, |segment| {
            let placement = &mut segment.placement;
            let others = (0..)
                .zip(&placement.homes)
                .filter(|(index, _)| *index != job.index);
            let has_another = others.map(|(_, home)| *home).any(|home| home == to);
            let Some(home) = placement.homes.get_mut(usize::from(job.index)) else {
                return false;
            };
            let mine = (*home == job.from || *home == to) && !has_another;
            if mine {
                leaves = (*home != to).then_some(*home);
                *home = to;
                placement.missing.retain(|index| *index != job.index);
                placement.missing.extend(liars);
                placement.missing.sort_unstable();
                placement.missing.dedup();
            }
            mine
        });
        let Some(record) = edited.await? else {
            return Ok((txn, false));
        };
        leftover::arrive(&mut txn, known, job.index, to).await?;
        if let Some(from) = leaves {
            let now = blobs.seams().clock.now();
            leftover::leave_behind(&mut txn, known, blob, job.index, from, now);
        }
        let key = keys::debt(known.space, blob);
        match &record.segments {
            Segmentation::Inline(segments) => {
                let indebted = segments.iter().any(|segment| segment.placement.indebted());
                if !indebted {
                    txn.delete(&key);
                } else if txn.get(&key).await?.is_none() {
                    let debt = DebtRecord::new(record.generation, blobs.seams().clock.now());
                    txn.put_record(&key, &debt);
                }
            }
            // There are too many to look at them all each time.
            Segmentation::Apart(_) => {}
        }
        Ok::<_, DecideError>((txn, true))
    };
    blobs.kv().transact(settle).await
}

/// Changes the record of a segment, if it still is one of the blob's and `change` says that it
/// wants to; gives the blob's record as it is then.
pub(in crate::blob) async fn edit(
    txn: &mut Txn,
    known: &Known,
    blob: &BlobId,
    change: impl FnOnce(&mut SegmentRecord) -> bool,
) -> Result<Option<BlobRecord>, ReadError> {
    let key = keys::record(known.space, blob);
    let Some(mut record) = txn.record::<BlobRecord>(&key).await? else {
        return Ok(None);
    };
    let id = known.segment.id;
    let generation = record.generation;
    let is_same = |segment: &SegmentRecord| segment.generation.unwrap_or(generation) == id.generation;
    match &mut record.segments {
        Segmentation::Inline(segments) => {
            let segment = segments
                .get_mut(id.number as usize)
                .filter(|segment| is_same(segment));
            let Some(segment) = segment else { return Ok(None) };
            if !change(segment) {
                return Ok(None);
            }
            txn.put_record(&key, &record);
        }
        Segmentation::Apart(_) => {
            let key = keys::segment(known.space, &generation, id.number);
            let segment = txn.record::<SegmentRecord>(&key).await?;
            let Some(mut segment) = segment.filter(is_same) else {
                return Ok(None);
            };
            if !change(&mut segment) {
                return Ok(None);
            }
            txn.put_record(&key, &segment);
        }
    }
    Ok(Some(record))
}

/// Takes back the debt of a blob, if it has none.
pub(in crate::blob) async fn forget_debt(
    blobs: &Blobs,
    space: Space,
    blob: &BlobId,
) -> Result<(), DecideError> {
    let forget = async |mut txn: Txn| {
        let key = keys::debt(space, blob);
        if txn.get(&key).await?.is_some() {
            let record = txn.record::<BlobRecord>(&keys::record(space, blob)).await?;
            if let Some(record) = record {
                txn.depend_on(&keys::segments(space, &record.generation)).await?;
            }
            let indebted = of_blob(txn.snapshot(), space, *blob, |segment| {
                segment.record.placement.indebted()
            });
            if indebted.await?.is_empty() {
                txn.delete(&key);
            }
        }
        Ok::<_, DecideError>((txn, ()))
    };
    blobs.kv().transact(forget).await
}

/// Notes that a blob cannot be repaired, and why.
pub(super) async fn note_problem(
    blobs: &Blobs,
    space: Space,
    blob: &BlobId,
    problem: &str,
) -> Result<(), DecideError> {
    let note = async |mut txn: Txn| {
        let Some(record) = txn.record::<BlobRecord>(&keys::record(space, blob)).await? else {
            return Ok((txn, ()));
        };
        let key = keys::debt(space, blob);
        let noted = txn.record::<DebtRecord>(&key).await?;
        let now = blobs.seams().clock.now();
        let debt = noted.unwrap_or_else(|| DebtRecord::new(record.generation, now));
        if !debt.unrecoverable || debt.problem.as_deref() != Some(problem) {
            let debt = DebtRecord {
                problem: Some(problem.into()),
                unrecoverable: true,
                ..debt
            };
            txn.put_record(&key, &debt);
        }
        Ok::<_, DecideError>((txn, ()))
    };
    blobs.kv().transact(note).await
}
