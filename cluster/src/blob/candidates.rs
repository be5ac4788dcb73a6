//! Which segments background work looks at: all that blobs have, or those of blobs that stand in a
//! queue.

use super::collect::Pages;
use super::id::{BlobId, Space};
use super::record::Located;
use super::upkeep::Upkeep;
use super::walk::{Extent, Known, Walk, fixed, of_blob};
use super::{keys, repair, stray};
use crate::kv::Collection;
use crate::record::number;

/// Where they are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Everywhere.
    Everywhere,
    /// In blobs that lack redundancy.
    Debts,
    /// In blobs that were named with segments stored by an older layout.
    Strays,
}

/// Segments that may need something done.
pub(super) struct Candidates<'a> {
    upkeep: &'a Upkeep,
    from: From,
}

enum From {
    Everywhere(Walk),
    Queue {
        source: Source,
        spaces: Pages,
        /// The spaces that were read and not gone over yet.
        waiting: Vec<Space>,
        queue: Option<(Space, Pages)>,
    },
}

impl Source {
    fn queue(self, space: Space) -> Collection {
        match self {
            Self::Strays => keys::strays(space),
            Self::Debts | Self::Everywhere => keys::debts(space),
        }
    }
}

impl<'a> Candidates<'a> {
    pub(super) fn of(upkeep: &'a Upkeep, source: Source) -> Self {
        let from = match source {
            Source::Everywhere => From::Everywhere(Walk::new(Extent::Blobs)),
            Source::Debts | Source::Strays => From::Queue {
                source,
                spaces: Pages::of(keys::spaces()),
                waiting: Vec::new(),
                queue: None,
            },
        };
        Self { upkeep, from }
    }

    /// The next segments; none at the end.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<Known>>> {
        let blobs = &self.upkeep.blobs;
        let (source, spaces, waiting, queue) = match &mut self.from {
            From::Everywhere(walk) => return Ok(walk.next(&blobs.kv().local()).await?),
            From::Queue {
                source,
                spaces,
                waiting,
                queue,
            } => (*source, spaces, waiting, queue),
        };
        loop {
            if let Some((space, pages)) = queue {
                let Some(page) = pages.next(blobs).await? else {
                    *queue = None;
                    continue;
                };
                let mut segments = Vec::new();
                for entry in page {
                    let blob = BlobId(fixed(&entry.item)?);
                    segments.extend(queued(self.upkeep, source, *space, blob).await?);
                }
                return Ok(Some(segments));
            }
            if let Some(space) = waiting.pop() {
                *queue = Some((space, Pages::of(source.queue(space))));
                continue;
            }
            let Some(page) = spaces.next(blobs).await? else {
                return Ok(None);
            };
            for entry in page {
                waiting.push(Space(number(&entry.item)?));
            }
        }
    }
}

/// The segments of a blob that are why it stands in a queue. Where there are none any more, it does
/// not for long.
async fn queued(upkeep: &Upkeep, source: Source, space: Space, blob: BlobId) -> anyhow::Result<Vec<Known>> {
    let snapshot = upkeep.blobs.kv().local();
    if source == Source::Strays {
        let view = upkeep.view().await?;
        let astray = |segment: &Located| stray::is_astray(&view.layout, &segment.record.placement);
        let segments = of_blob(&snapshot, space, blob, astray).await?;
        if segments.is_empty() {
            stray::forget(&upkeep.blobs, space, &blob).await?;
        }
        return Ok(segments);
    }
    let indebted = |segment: &Located| segment.record.placement.indebted();
    let segments = of_blob(&snapshot, space, blob, indebted).await?;
    if segments.is_empty() {
        repair::forget_debt(&upkeep.blobs, space, &blob).await?;
    }
    Ok(segments)
}
