//! Who on this node is at work on the shard of a segment: building it, taking it over or removing
//! it. One at a time, so that nothing removes what another is bringing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::record::SegmentId;

/// Segments that somebody here is at work on. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Claims {
    held: Arc<Mutex<BTreeSet<SegmentId>>>,
}

/// A segment that is held. Dropping it lets it go.
pub(super) struct Claim {
    claims: Claims,
    id: SegmentId,
}

impl Claims {
    /// Takes a segment; none if somebody else has it.
    pub(super) fn take(&self, id: SegmentId) -> Option<Claim> {
        let claims = self.clone();
        let free = self.held.lock().expect("no panic while held").insert(id);
        free.then_some(Claim { claims, id })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut held = self.claims.held.lock().expect("no panic while held");
        held.remove(&self.id);
    }
}
