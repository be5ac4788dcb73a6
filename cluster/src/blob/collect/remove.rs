//! Removes garbage from its homes when it has been in quarantine long enough, and forgets it when
//! all of them have confirmed that.
//!
//! A home that cannot be reached holds up what it has, and nothing else.

use super::decide::DecideError;
use super::{CLOCK_TOLERANCE, Collector, PAGE, Pages, metrics};
use crate::blob::id::{Generation, Space};
use crate::blob::record::{GarbageRecord, Located, SegmentRecord};
use crate::blob::walk::fixed;
use crate::blob::writer::NAMING_TIME;
use crate::blob::{Blobs, keys};
use crate::kv::{ReadError, Scan, Txn};
use crate::record::number;
use crate::seams::Timestamp;
use crate::tasks::Work;

impl GarbageRecord {
    /// From when on it may be removed.
    pub(super) fn due(&self, retention: &super::Retention) -> Timestamp {
        match self.unread {
            true => self.since,
            false => self.since.plus(retention.quarantine()),
        }
    }

    /// From when on nobody can name its bytes any more, whoever still holds their name.
    fn nameless(&self) -> Timestamp {
        self.since.plus(NAMING_TIME).plus(CLOCK_TOLERANCE)
    }
}

impl Collector<'_> {
    /// Removes what is due.
    pub(in crate::blob) async fn remove(&self, space: Space, work: &Work) -> anyhow::Result<()> {
        let mut pages = Pages::of(keys::all_garbage(space));
        while let Some(page) = pages.next(self.blobs).await? {
            for entry in page {
                let garbage: GarbageRecord = entry.record()?;
                let name = Generation(fixed(&entry.item)?);
                let now = self.blobs.seams().clock.now();
                if garbage.removed {
                    if now >= garbage.nameless() {
                        self.settle(space, name, None).await?;
                    }
                    continue;
                }
                if now < garbage.due(&self.retention) {
                    continue;
                }
                match self.remove_one(space, &garbage).await {
                    Ok(()) => {
                        let left = (now < garbage.nameless()).then(|| GarbageRecord {
                            segments: Vec::new(),
                            removed: true,
                            ..garbage.clone()
                        });
                        self.settle(space, name, left).await?;
                        metrics::removed(garbage.bytes);
                        work.moved(1, garbage.bytes).await;
                    }
                    Err(error) => work.failed(format!("remove garbage: {error:#}")),
                }
            }
        }
        Ok(())
    }

    async fn remove_one(&self, space: Space, garbage: &GarbageRecord) -> anyhow::Result<()> {
        let segments = self.blobs.segments();
        segments.remove(&garbage.located()).await?;
        if !garbage.apart {
            return Ok(());
        }
        let collection = keys::segments(space, &garbage.generation);
        loop {
            let entries = self
                .blobs
                .kv()
                .local()
                .scan(Scan::of(&collection).limit(PAGE))
                .await?;
            if entries.is_empty() {
                return Ok(());
            }
            let locate = |entry: &crate::kv::Entry| {
                let segment: SegmentRecord = entry.record()?;
                Ok(segment.locate(garbage.generation, number(&entry.item)?))
            };
            let located = entries
                .iter()
                .map(locate)
                .collect::<Result<Vec<Located>, ReadError>>()?;
            segments.remove(&located).await?;
            let forget = async |mut txn: Txn| {
                for entry in &entries {
                    txn.delete(&collection.key(&entry.item));
                }
                Ok::<_, DecideError>((txn, ()))
            };
            self.blobs.kv().transact(forget).await?;
        }
    }

    /// Notes what is left of some garbage.
    async fn settle(
        &self,
        space: Space,
        name: Generation,
        left: Option<GarbageRecord>,
    ) -> Result<(), DecideError> {
        let key = keys::garbage(space, &name);
        let settle = async |mut txn: Txn| {
            match &left {
                Some(left) => txn.put_record(&key, left),
                None => txn.delete(&key),
            }
            Ok((txn, ()))
        };
        Blobs::kv(self.blobs).transact(settle).await
    }
}
