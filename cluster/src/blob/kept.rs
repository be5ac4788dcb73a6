//! How many bytes each space keeps, counted by the transactions that name blobs and let them go.
//!
//! A blob counts once in its space, however many records name it: from when the first one does
//! until the last one lets go. The counters are only ever added to, so no naming waits for, or
//! conflicts with, another one. Small and large blobs count apart, because they are stored in
//! different ways.

use super::id::Space;
use super::keys;
use super::placement::Layout;
use super::record::{BlobRecord, BlobState, Code};
use super::small::SMALL_BYTES;
use super::{Blobs, walk};
use crate::kv::{ReadError, Scan, Snapshot, Txn};

/// How a blob is stored where nothing is laid out: once.
const ALONE: Code = Code { data: 1, parity: 0 };

/// What a space keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Bytes of all blobs that something names, each counted once.
    pub content_bytes: u64,
    /// What they take on the disks of all nodes, by the coding that the cluster uses now.
    pub stored_bytes: u64,
}

/// How large a blob is, as far as it matters for how it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Every shard is a copy.
    Small,
    /// Coded.
    Large,
}

impl Class {
    const ALL: [Self; 2] = [Self::Small, Self::Large];

    fn of(size: u64) -> Self {
        match size <= SMALL_BYTES as u64 {
            true => Self::Small,
            false => Self::Large,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }

    /// What so many bytes of content take.
    fn stored(self, bytes: u64, code: Code) -> u64 {
        let (data, parity) = (u64::from(code.data).max(1), u64::from(code.parity));
        match self {
            Self::Small => bytes.saturating_mul(1 + parity),
            Self::Large => bytes.saturating_mul(data + parity).div_ceil(data),
        }
    }
}

/// By how much the counters of a space are wrong on one view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptError {
    small: i64,
    large: i64,
}

impl KeptError {
    /// Whether the counters are right.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Counts, as part of the transaction, that a blob of this size is kept from now on.
pub(super) fn begins(txn: &mut Txn, space: Space, size: u64) {
    txn.add(&keys::kept(space, Class::of(size)), size.cast_signed());
}

/// The same of one that is not kept any more.
pub(super) fn ends(txn: &mut Txn, space: Space, size: u64) {
    txn.add(&keys::kept(space, Class::of(size)), -size.cast_signed());
}

impl Blobs {
    /// What a space keeps.
    pub async fn kept(&self, snapshot: &Snapshot, space: Space) -> Result<Kept, ReadError> {
        let layout = snapshot.record::<Layout>(&keys::layout()).await?;
        let code = layout.map_or(ALONE, |layout| layout.code);
        let mut kept = Kept::default();
        for class in Class::ALL {
            // Below 0 only as long as it waits to be counted anew.
            let bytes = counted(snapshot, space, class).await?.max(0).cast_unsigned();
            kept.content_bytes += bytes;
            kept.stored_bytes += class.stored(bytes, code);
        }
        Ok(kept)
    }

    /// Goes over all blobs of a space, and says by how much its counters are wrong on this view.
    pub async fn recount_kept(&self, snapshot: &Snapshot, space: Space) -> Result<KeptError, ReadError> {
        let mut error = KeptError {
            small: -counted(snapshot, space, Class::Small).await?,
            large: -counted(snapshot, space, Class::Large).await?,
        };
        let records = keys::records(space);
        let mut scan = Scan::of(&records).limit(walk::PAGE);
        loop {
            let entries = snapshot.scan(scan).await?;
            let Some(last) = entries.last() else {
                return Ok(error);
            };
            scan = Scan::of(&records).limit(walk::PAGE).after(&last.item);
            for entry in &entries {
                let record: BlobRecord = entry.record()?;
                if record.state == BlobState::Live {
                    let sum = match Class::of(record.size) {
                        Class::Small => &mut error.small,
                        Class::Large => &mut error.large,
                    };
                    *sum += record.size.cast_signed();
                }
            }
        }
    }

    /// Makes the counters of a space right, as part of a transaction: right for the view that
    /// `error` was found on, and therefore right with all that was counted since. Once for each.
    pub fn correct_kept(&self, txn: &mut Txn, space: Space, error: &KeptError) {
        for (class, by) in [(Class::Small, error.small), (Class::Large, error.large)] {
            if by != 0 {
                txn.add(&keys::kept(space, class), by);
            }
        }
    }
}

async fn counted(snapshot: &Snapshot, space: Space, class: Class) -> Result<i64, ReadError> {
    let number = snapshot.number(&keys::kept(space, class)).await?;
    Ok(number.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_follows_from_the_code() {
        let check = |class: Class, data: u8, parity: u8, expected: u64| {
            assert_eq!(class.stored(3001, Code { data, parity }), expected);
        };
        check(Class::Large, 1, 0, 3001);
        check(Class::Large, 2, 1, 4502);
        check(Class::Large, 4, 2, 4502);
        check(Class::Small, 2, 1, 6002);
        check(Class::Small, 4, 2, 9003);
    }
}
