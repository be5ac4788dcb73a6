//! Reading a segment: the data shards as they are where all is well, any others to decode from
//! where it is not.
//!
//! A read goes over the segment in windows of a few stripes, and fetches the next one while one
//! is given out; each is asked for only when there is room for all of it, so a slow client never
//! leaves bytes standing in a connection that others use.
//!
//! A window begins with the data cells that are wanted. When a node fails, or takes longer than
//! it usually does, the same cells are asked of another shard; as soon as any `k` have them, the
//! rest is decoded. What every node answers is verified before it counts.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, TryStreamExt, future, stream};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::{Shared, shard_of};
use crate::blob::cache::{CachedName, CachedPart};
use crate::blob::erasure::{Coder, Geometry};
use crate::blob::metrics;
use crate::blob::placement::Layout;
use crate::blob::record::Located;
use crate::blob::segments::{CELL_BYTES, SegmentError, SegmentStream};
use crate::blob::shard_error::ShardError;
use crate::blob::small::SmallSegment;

/// How much of a segment is fetched at once.
const WINDOW_BYTES: usize = 2 << 20;

/// Windows that are fetched or given out at a time.
const WINDOWS_AHEAD: usize = 2;

/// A node is slow when it takes this many times as long as usual, and at least so long.
const SLOW_FACTOR: u32 = 3;
const SLOW_AT_LEAST: Duration = Duration::from_millis(30);

/// What is expected of a node that was never asked.
const USUAL: Duration = Duration::from_millis(30);

/// When another node is asked, if these have not answered.
fn slow_after(shared: &Shared, nodes: impl Iterator<Item = crate::node_id::NodeId>) -> Instant {
    let usual = nodes
        .map(|node| shared.transfer.expected(node).unwrap_or(USUAL))
        .max();
    Instant::now() + (usual.unwrap_or(USUAL) * SLOW_FACTOR).max(SLOW_AT_LEAST)
}

/// Reads a part of a small segment: it is fetched and verified whole.
pub(super) async fn open_small(
    shared: &Arc<Shared>,
    segment: &Located,
    range: Range<u64>,
) -> Result<SegmentStream, SegmentError> {
    let small = fetch_small(shared, segment).await?;
    let part = small.bytes.slice(range.start as usize..range.end as usize);
    Ok(stream::iter([Ok(part)]).boxed())
}

/// A small segment from the nearest home that has it, verified.
pub(super) async fn fetch_small(
    shared: &Arc<Shared>,
    segment: &Located,
) -> Result<SmallSegment, SegmentError> {
    let layout = shared.layout().await.ok();
    let placement = &segment.record.placement;
    let mut order: Vec<u8> = (0..placement.homes.len() as u8).collect();
    order.sort_by_key(|index| {
        let home = placement.homes[usize::from(*index)];
        (
            placement.missing.contains(index),
            shared.distance(layout.as_deref(), home),
        )
    });
    let mut asked = FuturesUnordered::new();
    let mut failures = Failures::new(segment);
    let is_it = |small: &SmallSegment| {
        segment.record.hash.chaining == small.hash && small.bytes.len() as u64 == segment.record.len
    };
    let name = CachedName {
        id: segment.id,
        part: CachedPart::Small,
    };
    let cache_for = |index: u8| {
        let home = placement.homes[usize::from(index)];
        shared.cache_for(layout.as_deref(), home)
    };
    if let Some(cache) = order.first().copied().and_then(cache_for)
        && let Some(stored) = cache.get(name).await
        && let Ok(small) = SmallSegment::decode(stored)
        && is_it(&small)
    {
        metrics::read(small.bytes.len() as u64);
        return Ok(small);
    }
    let mut untried = order.into_iter();
    let ask = |index: u8| {
        let node = placement.homes[usize::from(index)];
        let answer = shared.transfer.get_small(node, segment.id);
        answer.map(move |result| (index, result))
    };
    asked.extend(untried.next().map(ask));
    loop {
        let running = placement.homes.iter().copied();
        let slow = sleep_until(slow_after(shared, running));
        tokio::select! {
            answer = asked.next() => match answer {
                Some((index, Ok(small))) => {
                    if is_it(&small) {
                        metrics::read(small.bytes.len() as u64);
                        if let Some(cache) = cache_for(index) {
                            cache.keep(name, small.encode());
                        }
                        return Ok(small);
                    }
                    failures.add(index, ShardError::Corrupt("it is another segment".into()));
                    asked.extend(untried.next().map(ask));
                }
                Some((index, Err(error))) => {
                    failures.add(index, error);
                    asked.extend(untried.next().map(ask));
                }
                None => return Err(failures.verdict()),
            },
            () = slow => if let Some(next) = untried.next() {
                metrics::hedged();
                asked.push(ask(next));
            },
        }
    }
}

/// What went wrong with a read, until it is clear whether anything can be read at all.
struct Failures<'a> {
    segment: &'a Located,
    /// Shards that are gone for good.
    lost: BTreeSet<u8>,
    last: Option<ShardError>,
}

impl<'a> Failures<'a> {
    fn new(segment: &'a Located) -> Self {
        Self {
            segment,
            lost: BTreeSet::new(),
            last: None,
        }
    }

    fn add(&mut self, index: u8, error: ShardError) {
        let placement = &self.segment.record.placement;
        let node = placement.homes[usize::from(index)];
        if !placement.missing.contains(&index) {
            let generation = self.segment.id.generation;
            warn!(%node, %generation, number = self.segment.id.number, index, %error, "a shard cannot be read");
            metrics::unreadable();
        }
        if matches!(error, ShardError::Missing | ShardError::Corrupt(_)) {
            self.lost.insert(index);
        }
        self.last = Some(error);
    }

    /// What to tell whoever wanted to read, when nobody is left to ask.
    fn verdict(&self) -> SegmentError {
        let placement = &self.segment.record.placement;
        let left = placement.homes.len() - self.lost.len();
        let last = self.last.as_ref().map(ToString::to_string).unwrap_or_default();
        if left < usize::from(placement.code.data) {
            SegmentError::Damaged(format!("{left} shards are left of a segment; {last}"))
        } else {
            SegmentError::Unavailable(format!("too few shards of a segment can be read now; {last}"))
        }
    }
}

/// Who reads a coded segment.
pub(super) enum Reader {
    /// A client, who takes bytes from wherever they are nearest.
    Client,
    /// Who wants to know what is on the disks: without the cache, and without these shards,
    /// whatever happens.
    Checker(BTreeSet<u8>),
}

/// Reads a part of a coded segment.
pub(super) async fn open_shards(
    shared: &Arc<Shared>,
    segment: &Located,
    range: Range<u64>,
    reader: Reader,
) -> Result<SegmentStream, SegmentError> {
    let (cached, barred) = match reader {
        Reader::Client => (true, BTreeSet::new()),
        Reader::Checker(barred) => (false, barred),
    };
    let code = segment.record.placement.code;
    let Some(geometry) = Geometry::new(code, segment.record.len) else {
        return Err(SegmentError::Damaged("its record says what cannot be".into()));
    };
    if segment.record.placement.homes.len() != code.shards() {
        return Err(SegmentError::Damaged("its record says what cannot be".into()));
    }
    let stripes = geometry.stripes_of(&range);
    let source = Arc::new(Source {
        shared: shared.clone(),
        segment: segment.clone(),
        geometry,
        coder: Arc::new(Coder::new(code)),
        range,
        broken: Mutex::new(barred.clone()),
        barred,
        cached,
    });
    let fetches = stream::iter(windows(stripes, code.data)).map(move |stripes| {
        let source = source.clone();
        AbortOnDropHandle::new(tokio::spawn(async move { source.window(stripes).await }))
    });
    let pieces = fetches
        .buffered(WINDOWS_AHEAD)
        .map(|window| window.unwrap_or_else(|gone| Err(SegmentError::Unavailable(gone.to_string()))))
        .map_ok(|pieces| stream::iter(pieces.into_iter().map(Ok)))
        .try_flatten();
    Ok(pieces.boxed())
}

/// Cuts stripes into windows. The first is one stripe, so that the first byte comes soon.
fn windows(stripes: Range<u32>, data_shards: u8) -> impl Iterator<Item = Range<u32>> + Send + 'static {
    let stripe_bytes = usize::from(data_shards) * CELL_BYTES;
    let step = (WINDOW_BYTES / stripe_bytes).max(1) as u32;
    let mut next = stripes.start;
    std::iter::from_fn(move || {
        let start = next;
        let len = if start == stripes.start { 1 } else { step };
        next = start.saturating_add(len).min(stripes.end);
        (start < next).then_some(start..next)
    })
}

/// A coded segment being read.
struct Source {
    shared: Arc<Shared>,
    segment: Located,
    geometry: Geometry,
    coder: Arc<Coder>,
    range: Range<u64>,
    /// Shards that failed in an earlier window, and those that are barred.
    broken: Mutex<BTreeSet<u8>>,
    barred: BTreeSet<u8>,
    /// The cache may answer.
    cached: bool,
}

/// How a shard stands in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// For nothing, or for less than all cells of the window.
    No,
    /// For all cells.
    Yes,
    Failed,
}

type Answer = (u8, Range<u32>, Result<Vec<Bytes>, ShardError>);

/// One window being fetched.
struct Window<'a> {
    source: &'a Source,
    layout: Option<Arc<Layout>>,
    /// The stripes of which anything is wanted.
    stripes: Range<u32>,
    /// The stripes in which each data shard is wanted.
    wanted: Vec<Range<u32>>,
    /// What has come, by stripe and shard index.
    cells: Vec<Vec<Option<Bytes>>>,
    /// All shards, the nearest first.
    order: Vec<u8>,
    asked: Vec<Asked>,
    running: FuturesUnordered<BoxFuture<'a, Answer>>,
    failures: Failures<'a>,
    /// As many shards are to be asked for everything, once the wanted ones are not enough.
    target: usize,
}

impl Source {
    fn data_shards(&self) -> usize {
        self.segment.record.placement.code.data.into()
    }

    /// The wanted part of a data cell, within the segment.
    fn wanted_of(&self, stripe: u32, shard: u8) -> Range<u64> {
        let content = self.geometry.content_of(stripe, shard);
        content.start.max(self.range.start)..content.end.min(self.range.end)
    }

    /// Cells of a shard, verified: from its home, or from the cache if that is far away.
    async fn cells(
        &self,
        layout: Option<&Layout>,
        shard: u8,
        stripes: Range<u32>,
    ) -> Result<Vec<Bytes>, ShardError> {
        let record = &self.segment.record;
        let home = record.placement.homes[usize::from(shard)];
        let cache = self.shared.cache_for(layout, home).filter(|_| self.cached);
        let name_of = |cell| CachedName {
            id: self.segment.id,
            part: CachedPart::Cell { shard, cell },
        };
        if let Some(cache) = cache {
            let cached = future::join_all(stripes.clone().map(|cell| cache.get(name_of(cell)))).await;
            let fits = |cell, bytes: &Bytes| bytes.len() == self.geometry.cell_bytes(cell);
            if let Some(cells) = cached.into_iter().collect::<Option<Vec<Bytes>>>()
                && stripes.clone().zip(&cells).all(|(cell, bytes)| fits(cell, bytes))
            {
                return Ok(cells);
            }
        }
        let name = shard_of(&self.segment, shard);
        let (header, cells) = self
            .shared
            .transfer
            .get_cells(home, name, stripes.clone())
            .await?;
        let same = header.code == record.placement.code
            && header.seal.len == record.len
            && header.seal.hash == record.hash.chaining;
        if !same {
            return Err(ShardError::Corrupt("it is of another segment".into()));
        }
        if let Some(cache) = cache {
            for (cell, bytes) in stripes.zip(&cells) {
                cache.keep(name_of(cell), bytes.clone());
            }
        }
        Ok(cells)
    }

    /// The wanted bytes of a window, in order.
    async fn window(&self, stripes: Range<u32>) -> Result<Vec<Bytes>, SegmentError> {
        let layout = self.shared.layout().await.ok();
        let data = self.data_shards() as u8;
        let wanted: Vec<Range<u32>> = (0..data)
            .map(|shard| {
                let is_wanted = |stripe: &u32| !self.wanted_of(*stripe, shard).is_empty();
                let first = stripes.clone().find(is_wanted);
                let last = stripes.clone().rev().find(is_wanted);
                first.zip(last).map_or(0..0, |(first, last)| first..last + 1)
            })
            .collect();
        let placement = &self.segment.record.placement;
        let broken = self.broken.lock().expect("no panic while held").clone();
        let mut order: Vec<u8> = (0..placement.homes.len() as u8).collect();
        order.sort_by_key(|index| {
            let home = placement.homes[usize::from(*index)];
            let doubtful = broken.contains(index) || placement.missing.contains(index);
            (doubtful, self.shared.distance(layout.as_deref(), home))
        });
        let doubtful = |index: u8| {
            let home = placement.homes[usize::from(index)];
            broken.contains(&index) || placement.missing.contains(&index) || !self.shared.transfer.is_up(home)
        };
        let window = Window {
            source: self,
            layout: layout.clone(),
            cells: vec![vec![None; placement.homes.len()]; stripes.len()],
            stripes,
            wanted,
            order,
            asked: (0..placement.homes.len() as u8)
                .map(|index| match self.barred.contains(&index) {
                    true => Asked::Failed,
                    false => Asked::No,
                })
                .collect(),
            running: FuturesUnordered::new(),
            failures: Failures::new(&self.segment),
            target: 0,
        };
        window.fetch(doubtful).await
    }
}

impl<'a> Window<'a> {
    async fn fetch(mut self, doubtful: impl Fn(u8) -> bool) -> Result<Vec<Bytes>, SegmentError> {
        let data = self.source.data_shards();
        for shard in 0..data as u8 {
            let wanted = self.wanted[usize::from(shard)].clone();
            if wanted.is_empty() {
                continue;
            }
            if doubtful(shard) {
                self.target = data;
            } else {
                self.ask(shard, wanted);
            }
        }
        self.ask_more();
        while !self.is_complete() {
            if self.is_decodable() {
                self.decode().await?;
                break;
            }
            let homes = &self.source.segment.record.placement.homes;
            let slow = sleep_until(slow_after(&self.source.shared, homes.iter().copied()));
            tokio::select! {
                answer = self.running.next() => match answer {
                    Some((shard, stripes, Ok(cells))) => self.take(shard, stripes, cells),
                    Some((shard, _, Err(error))) => self.fail(shard, error),
                    None => return Err(self.failures.verdict()),
                },
                () = slow => {
                    metrics::hedged();
                    self.target = self.target.max(data) + 1;
                    self.ask_more();
                }
            }
        }
        Ok(self.pieces())
    }

    /// Asks a shard for some of its cells.
    fn ask(&mut self, shard: u8, stripes: Range<u32>) {
        if stripes == self.stripes {
            self.asked[usize::from(shard)] = Asked::Yes;
        }
        let (source, layout) = (self.source, self.layout.clone());
        let answer = async move {
            let result = source.cells(layout.as_deref(), shard, stripes.clone()).await;
            (shard, stripes, result)
        };
        self.running.push(answer.boxed());
    }

    /// Asks the nearest shards for everything, until as many were asked as are meant to be, or
    /// there are no more.
    fn ask_more(&mut self) {
        while self.asked.iter().filter(|asked| **asked == Asked::Yes).count() < self.target {
            let next = self
                .order
                .iter()
                .copied()
                .find(|shard| self.asked[usize::from(*shard)] == Asked::No);
            let Some(shard) = next else { return };
            self.ask(shard, self.stripes.clone());
        }
    }

    fn take(&mut self, shard: u8, stripes: Range<u32>, cells: Vec<Bytes>) {
        for (stripe, cell) in stripes.zip(cells) {
            let at = (stripe - self.stripes.start) as usize;
            self.cells[at][usize::from(shard)] = Some(cell);
        }
    }

    fn fail(&mut self, shard: u8, error: ShardError) {
        self.source
            .broken
            .lock()
            .expect("no panic while held")
            .insert(shard);
        self.failures.add(shard, error);
        self.asked[usize::from(shard)] = Asked::Failed;
        self.target = self.target.max(self.source.data_shards());
        self.ask_more();
    }

    fn is_wanted(&self, stripe: u32, shard: usize) -> bool {
        self.wanted[shard].contains(&stripe)
    }

    /// Stripes of which a wanted cell is not there.
    fn incomplete(&self) -> impl Iterator<Item = usize> {
        let stripes = self.stripes.clone().zip(&self.cells).enumerate();
        stripes
            .filter(|(_, (stripe, cells))| {
                let data = 0..self.source.data_shards();
                data.into_iter()
                    .any(|shard| self.is_wanted(*stripe, shard) && cells[shard].is_none())
            })
            .map(|(at, _)| at)
    }

    fn is_complete(&self) -> bool {
        self.incomplete().next().is_none()
    }

    fn is_decodable(&self) -> bool {
        let there = |at: usize| self.cells[at].iter().flatten().count();
        self.incomplete().all(|at| there(at) >= self.source.data_shards())
    }

    /// Makes the cells that are not there.
    async fn decode(&mut self) -> Result<(), SegmentError> {
        let incomplete: Vec<usize> = self.incomplete().collect();
        metrics::decoded(incomplete.len());
        let data = self.source.data_shards();
        let stripes: Vec<_> = incomplete
            .iter()
            .map(|at| std::mem::take(&mut self.cells[*at]))
            .collect();
        let coder = self.source.coder.clone();
        let decode = move || {
            stripes
                .into_iter()
                .map(|cells| coder.decode(cells))
                .collect::<Result<Vec<_>, _>>()
        };
        let decoded = self.source.shared.pool.run(decode).await;
        let decoded = decoded.map_err(|error| SegmentError::Damaged(error.to_string()))?;
        for (at, cells) in incomplete.into_iter().zip(decoded) {
            debug_assert_eq!(cells.len(), data);
            self.cells[at] = cells.into_iter().map(Some).collect();
        }
        Ok(())
    }

    /// The wanted bytes, in order.
    fn pieces(self) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        for (stripe, cells) in self.stripes.clone().zip(&self.cells) {
            for (shard, cell) in (0..self.source.data_shards() as u8).zip(cells) {
                let content = self.source.geometry.content_of(stripe, shard);
                let wanted = self.source.wanted_of(stripe, shard);
                if let (Some(cell), false) = (cell, wanted.is_empty()) {
                    let start = (wanted.start - content.start) as usize;
                    pieces.push(cell.slice(start..start + (wanted.end - wanted.start) as usize));
                }
            }
        }
        metrics::read(pieces.iter().map(|piece| piece.len() as u64).sum());
        pieces
    }
}
