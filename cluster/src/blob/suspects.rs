//! Shards of this node that somebody wanted to read and that were missing or corrupt: repair looks
//! whether they should be there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::record::SegmentId;

/// How many are remembered. What is beyond that is found when everything is looked through.
const MAX_SUSPECTS: usize = 10_000;

/// Segments of which a shard here is in doubt. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Suspects {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    segments: Mutex<BTreeSet<SegmentId>>,
    added: Notify,
}

impl Suspects {
    /// Notes a segment.
    pub(super) fn add(&self, id: SegmentId) {
        let mut segments = self.inner.segments.lock().expect("no panic while held");
        if segments.len() < MAX_SUSPECTS && segments.insert(id) {
            self.inner.added.notify_one();
        }
    }

    /// All that were noted, which are thereby forgotten.
    pub(super) fn take(&self) -> BTreeSet<SegmentId> {
        std::mem::take(&mut self.inner.segments.lock().expect("no panic while held"))
    }

    /// Forgets a segment.
    pub(super) fn forget(&self, id: &SegmentId) {
        self.inner
            .segments
            .lock()
            .expect("no panic while held")
            .remove(id);
    }

    /// Waits until one was noted.
    pub(super) async fn added(&self) {
        self.inner.added.notified().await;
    }
}
