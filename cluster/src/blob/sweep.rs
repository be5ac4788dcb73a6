//! Going over the segments of all blobs by one layout, across restarts of the process: where it
//! stands is the cursor of the round, and worth nothing once the layout is another one.

use serde::{Deserialize, Serialize};

use super::upkeep::{Upkeep, View};
use super::walk::{Extent, Known, Position, Walk};
use crate::record::{Record, decode, encode};
use crate::tasks::Work;

/// Where a sweep stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Bookmark {
    /// The version of the layout by which it is done.
    layout: u64,
    position: Position,
}

impl Record for Bookmark {}

/// A sweep under way.
pub(super) struct Sweep<'a> {
    upkeep: &'a Upkeep,
    layout: u64,
    walk: Walk,
    outdated: bool,
}

impl<'a> Sweep<'a> {
    /// The most of [`Sweep::progress`].
    pub(super) const WHOLE: u64 = 1 << 16;

    /// From where the round stood when its process ended, if that was by the same layout.
    pub(super) fn resume(upkeep: &'a Upkeep, view: &View, work: &Work) -> Self {
        let layout = view.layout.version;
        let cursor = work.cursor();
        let bookmark: Option<Bookmark> = match cursor.is_empty() {
            true => None,
            // Cursors of older versions of cairn are something else: it begins again.
            false => decode(&cursor).ok(),
        };
        let position = bookmark.filter(|bookmark| bookmark.layout == layout);
        let position = position.map(|bookmark| bookmark.position).unwrap_or_default();
        Self {
            upkeep,
            layout,
            walk: Walk::from(Extent::Blobs, position),
            outdated: false,
        }
    }

    /// The next segments; none at the end, or when there is another layout.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<Known>>> {
        let layout = self.upkeep.coded.layout().await?;
        if layout.version != self.layout {
            self.outdated = true;
            return Ok(None);
        }
        Ok(self.walk.next(&self.upkeep.blobs.kv().local()).await?)
    }

    /// Whether it ended early because there is another layout.
    pub(super) fn is_outdated(&self) -> bool {
        self.outdated
    }

    /// How far it is, of [`Sweep::WHOLE`].
    pub(super) fn progress(&self) -> u64 {
        self.walk.progress()
    }

    /// Notes that everything up to here was dealt with.
    pub(super) async fn save(&self, work: &Work) {
        let bookmark = Bookmark {
            layout: self.layout,
            position: self.walk.position().clone(),
        };
        work.save(encode(&bookmark)).await;
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Bookmark>("bookmark");
    }
}
