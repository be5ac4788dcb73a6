//! What every implementation of the blob store must do: one suite, run by the in-memory twin
//! and by the erasure-coded store.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::collect::Collector;
use super::id::Generation;
use super::record::{BlobRecord, BlobState, Located, Segmentation};
use super::{
    BlobId, BlobReadError, BlobTxnError, Blobs, DigestSet, HoldError, LeaseError, PutError, Retention, Space,
    StoredBlob, UploadError, UploadId, WasteStage, keys,
};
use crate::kv::{CommitError, Scan};
use crate::node_id::NodeId;
use crate::seams::testing::MovedClock;
use crate::tasks::{TaskKind, Work};

pub(super) const SPACE: Space = Space(7);
const MIB: usize = 1 << 20;

/// The nodes of one cluster, with what keeps them running.
pub(super) struct Stage {
    pub(super) nodes: Vec<Blobs>,
    pub(super) clock: Arc<MovedClock>,
    pub(super) _running: Box<dyn std::any::Any + Send>,
}

/// Makes a test of each entry of the suite, on a stage that `$stage` sets up.
macro_rules! run_suite {
    ($stage:expr) => {
        run_suite!($stage;
            content_of_any_size_is_read_back_on_every_node,
            ranges_give_just_their_bytes,
            a_range_outside_of_the_blob_is_refused,
            all_digests_are_computed_in_one_pass,
            a_body_over_the_limit_is_refused,
            a_broken_body_leaves_nothing_to_read,
            what_is_not_named_cannot_be_read,
            the_same_content_is_kept_once,
            digests_of_both_namings_are_known,
            the_last_release_makes_an_orphan_and_a_new_reference_revives_it,
            a_transaction_counts_its_own_namings_and_releases,
            a_blob_that_is_being_removed_cannot_be_named_by_its_id,
            what_nothing_names_goes_after_its_time_and_not_before,
            gc_never_takes_a_live_blob,
            nothing_is_collected_while_a_backup_holds_it_back,
            bytes_that_were_collected_are_not_named_again,
            fresh_bytes_of_a_kept_blob_go_at_once,
            abandoned_uploads_go_and_others_stay,
            a_writer_that_was_abandoned_leaves_nothing,
            spaces_know_nothing_of_each_other,
            a_lease_is_given_only_on_what_is_kept,
            a_write_that_was_broken_off_cannot_be_finished,
            an_upload_goes_on_at_another_node,
            an_upload_across_segments_has_the_id_of_its_content,
            very_many_small_chunks_make_one_blob,
            of_two_appends_at_one_offset_one_wins,
            a_wrong_offset_is_told_the_right_one,
            a_chunk_that_breaks_keeps_whole_segments_only,
            an_upload_over_the_limit_is_refused,
            finishing_twice_gives_the_same_blob,
            an_aborted_upload_is_gone,
            digests_that_were_not_asked_for_are_computed_afterwards,
            an_empty_upload_is_the_empty_blob,
            digest_states_of_another_version_are_computed_again,
            very_many_segments_are_kept_apart_from_the_record,
            a_blob_whose_list_of_segments_was_collected_cannot_be_named,
            releases_of_a_blob_that_many_name_do_not_disturb_each_other,
        );
    };
    ($stage:expr; $($name:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $crate::blob::suite::$name($stage.await).await;
        }
    )*};
}
pub(super) use run_suite;

/// The errors of a test's transactions.
#[derive(Debug, thiserror::Error)]
pub(super) enum TestError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Blob(#[from] BlobTxnError),
}

/// Bytes that do not repeat where a mistake in placing them could hide.
pub(super) fn content(len: usize) -> Bytes {
    let mut state = len as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out.into()
}

/// A body that comes in parts of `part` bytes.
pub(super) fn body(
    content: &Bytes,
    part: usize,
) -> impl futures::Stream<Item = Result<Bytes, Infallible>> + Send + Unpin {
    let content = content.clone();
    let starts = (0..content.len()).step_by(part);
    stream::iter(starts.map(move |start| Ok(content.slice(start..content.len().min(start + part)))))
}

/// A body that breaks after `content`.
fn breaking(content: &Bytes) -> impl futures::Stream<Item = Result<Bytes, &'static str>> + Send + Unpin {
    let parts = body(content, 100_000).map(|part| part.map_err(|never| match never {}));
    parts.chain(stream::iter([Err("cut off")]))
}

pub(super) async fn put(blobs: &Blobs, content: &Bytes) -> StoredBlob {
    let want = DigestSet::default();
    blobs
        .put(SPACE, want, u64::MAX, body(content, 300_000))
        .await
        .unwrap()
}

pub(super) async fn name(blobs: &Blobs, blob: &StoredBlob, referrer: &str) -> Result<(), TestError> {
    let work = async |mut txn| {
        blobs.reference(&mut txn, blob, referrer.as_bytes()).await?;
        Ok::<_, TestError>((txn, ()))
    };
    blobs.kv().transact(work).await
}

async fn name_existing(blobs: &Blobs, id: &BlobId, referrer: &str) -> Result<(), TestError> {
    let work = async |mut txn| {
        blobs
            .reference_existing(&mut txn, SPACE, id, referrer.as_bytes())
            .await?;
        Ok::<_, TestError>((txn, ()))
    };
    blobs.kv().transact(work).await
}

async fn release(blobs: &Blobs, id: &BlobId, referrer: &str) {
    let work = async |mut txn| {
        blobs.release(&mut txn, SPACE, id, referrer.as_bytes()).await?;
        Ok::<_, TestError>((txn, ()))
    };
    blobs.kv().transact(work).await.unwrap();
}

/// Stores and names.
pub(super) async fn keep(blobs: &Blobs, content: &Bytes) -> BlobId {
    let stored = put(blobs, content).await;
    assert_eq!(stored.id().0, *blake3::hash(content).as_bytes());
    assert_eq!(stored.size(), content.len() as u64);
    name(blobs, &stored, "a record").await.unwrap();
    stored.id()
}

pub(super) async fn read(
    blobs: &Blobs,
    id: &BlobId,
    range: Option<Range<u64>>,
) -> Result<Bytes, BlobReadError> {
    let snapshot = blobs.kv().latest().await.unwrap();
    let mut reader = blobs.read(&snapshot, SPACE, id, range).await?;
    let mut out = Vec::with_capacity(reader.len() as usize);
    while let Some(piece) = reader.try_next().await? {
        out.extend_from_slice(&piece);
    }
    assert_eq!(reader.len(), out.len() as u64);
    Ok(out.into())
}

async fn record(blobs: &Blobs, id: &BlobId) -> Option<BlobRecord> {
    let snapshot = blobs.kv().latest().await.unwrap();
    snapshot.record(&keys::record(SPACE, id)).await.unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Stage {
    /// Lets the collection decide what is garbage.
    pub(super) async fn decide(&self) {
        let collector = Collector::begin(&self.nodes[0]).await.unwrap();
        collector.decide(SPACE, &self.work()).await.unwrap();
    }

    /// Lets the collection remove the garbage that is due.
    pub(super) async fn remove(&self) {
        let collector = Collector::begin(&self.nodes[0]).await.unwrap();
        collector.remove(SPACE, &self.work()).await.unwrap();
    }

    fn work(&self) -> Work {
        let blobs = &self.nodes[0];
        Work::for_tests(
            TaskKind::Collection,
            NodeId(1),
            blobs.kv().clone(),
            blobs.seams().clone(),
        )
    }

    /// Makes garbage of a blob that only "a record" names.
    async fn discard(&self, id: &BlobId) {
        release(&self.nodes[0], id, "a record").await;
        self.clock.advance(2 * HOUR);
        self.decide().await;
    }
}

/// Whether the bytes of some segments are still kept.
async fn are_kept(blobs: &Blobs, segments: &[Located]) -> bool {
    for segment in segments {
        let whole = 0..segment.record.len;
        let Ok(stream) = blobs.segments().open(segment, whole).await else {
            return false;
        };
        if stream.try_collect::<Vec<Bytes>>().await.is_err() {
            return false;
        }
    }
    true
}

pub(super) async fn content_of_any_size_is_read_back_on_every_node(stage: Stage) {
    let sizes = [
        0,
        1,
        64 << 10,
        (64 << 10) + 1,
        MIB - 1,
        MIB,
        MIB + 1,
        3 * MIB + 77,
        32 * MIB - 1,
        32 * MIB,
        32 * MIB + 1,
        70 * MIB,
    ];
    for size in sizes {
        let content = content(size);
        let id = keep(&stage.nodes[0], &content).await;
        for node in &stage.nodes {
            let info = node
                .stat(&node.kv().latest().await.unwrap(), SPACE, &id)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(info.size, size as u64);
            assert!(read(node, &id, None).await.unwrap() == content, "{size} bytes");
        }
    }
}

pub(super) async fn ranges_give_just_their_bytes(stage: Stage) {
    let content = content(33 * MIB + 5);
    let id = keep(&stage.nodes[0], &content).await;
    let reader = stage.nodes.last().unwrap();
    let cell = 256 << 10;
    let edges = [
        0,
        1,
        cell - 1,
        cell,
        cell + 1,
        3 * cell,
        32 * MIB - 1,
        32 * MIB,
        32 * MIB + 1,
        content.len(),
    ];
    for start in edges {
        for end in edges.into_iter().filter(|end| *end >= start) {
            let got = read(reader, &id, Some(start as u64..end as u64)).await.unwrap();
            assert!(got == content.slice(start..end), "{start}..{end}");
        }
    }
}

pub(super) async fn a_range_outside_of_the_blob_is_refused(stage: Stage) {
    let id = keep(&stage.nodes[0], &content(100)).await;
    #[allow(clippy::reversed_empty_ranges, reason = "that is what is tested")]
    for range in [0..101, 101..102, 60..50, u64::MAX - 1..u64::MAX] {
        let refused = read(&stage.nodes[0], &id, Some(range.clone())).await;
        assert!(
            matches!(refused, Err(BlobReadError::Range { size: 100, .. })),
            "{range:?}"
        );
    }
    assert_eq!(read(&stage.nodes[0], &id, Some(100..100)).await.unwrap().len(), 0);
}

pub(super) async fn all_digests_are_computed_in_one_pass(stage: Stage) {
    use digest::Digest;
    let content = content(2 * MIB + 3);
    let want = DigestSet {
        sha1: true,
        sha512: true,
        md5: true,
    };
    let stored = stage.nodes[0]
        .put(SPACE, want, u64::MAX, body(&content, 65_536))
        .await
        .unwrap();
    let digests = stored.digests();
    assert_eq!(digests.sha256, <[u8; 32]>::from(sha2::Sha256::digest(&content)));
    assert_eq!(
        digests.sha512.unwrap(),
        <[u8; 64]>::from(sha2::Sha512::digest(&content))
    );
    assert_eq!(
        digests.sha1.unwrap(),
        <[u8; 20]>::from(sha1::Sha1::digest(&content))
    );
    assert_eq!(digests.md5.unwrap(), <[u8; 16]>::from(md5::Md5::digest(&content)));
}

pub(super) async fn a_body_over_the_limit_is_refused(stage: Stage) {
    let blobs = &stage.nodes[0];
    let content = content(1000);
    let want = DigestSet::default();
    assert!(blobs.put(SPACE, want, 1000, body(&content, 64)).await.is_ok());
    let refused = blobs.put(SPACE, want, 999, body(&content, 64)).await;
    assert!(matches!(refused, Err(PutError::TooLarge { limit_bytes: 999 })));
}

pub(super) async fn a_broken_body_leaves_nothing_to_read(stage: Stage) {
    let blobs = &stage.nodes[0];
    let content = content(34 * MIB);
    let refused = blobs
        .put(SPACE, DigestSet::default(), u64::MAX, breaking(&content))
        .await;
    assert!(matches!(refused, Err(PutError::Body("cut off"))));
    let id = BlobId(*blake3::hash(&content).as_bytes());
    assert!(matches!(
        read(blobs, &id, None).await,
        Err(BlobReadError::Unknown { .. })
    ));
}

pub(super) async fn what_is_not_named_cannot_be_read(stage: Stage) {
    let blobs = &stage.nodes[0];
    let stored = put(blobs, &content(5000)).await;
    assert!(matches!(
        read(blobs, &stored.id(), None).await,
        Err(BlobReadError::Unknown { .. })
    ));
    let refused = name_existing(blobs, &stored.id(), "a record").await;
    assert!(matches!(
        refused,
        Err(TestError::Blob(BlobTxnError::Unknown { .. }))
    ));
    name(blobs, &stored, "a record").await.unwrap();
    assert!(read(blobs, &stored.id(), None).await.is_ok());
}

pub(super) async fn the_same_content_is_kept_once(stage: Stage) {
    let blobs = &stage.nodes[0];
    let content = content(2 * MIB);
    let first = put(blobs, &content).await;
    let second = put(stage.nodes.last().unwrap(), &content).await;
    name(blobs, &second, "second").await.unwrap();
    name(blobs, &first, "first").await.unwrap();
    let record = record(blobs, &first.id()).await.unwrap();
    assert_eq!(record.generation, second.inner.generation);
    assert!(read(blobs, &first.id(), None).await.unwrap() == content);
}

pub(super) async fn digests_of_both_namings_are_known(stage: Stage) {
    let blobs = &stage.nodes[0];
    let content = content(100);
    keep(blobs, &content).await;
    let want = DigestSet {
        md5: true,
        ..DigestSet::default()
    };
    let again = blobs.put(SPACE, want, 100, body(&content, 10)).await.unwrap();
    name(blobs, &again, "another record").await.unwrap();
    let info = blobs
        .stat(&blobs.kv().local(), SPACE, &again.id())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(info.digests, *again.digests());
}

pub(super) async fn the_last_release_makes_an_orphan_and_a_new_reference_revives_it(stage: Stage) {
    let blobs = &stage.nodes[0];
    let id = keep(blobs, &content(10)).await;
    name_existing(blobs, &id, "another record").await.unwrap();
    let state = async || record(blobs, &id).await.unwrap().state;
    release(blobs, &id, "a record").await;
    assert_eq!(state().await, BlobState::Live);
    release(blobs, &id, "a record that never named it").await;
    assert_eq!(state().await, BlobState::Live);
    release(blobs, &id, "another record").await;
    assert!(matches!(state().await, BlobState::Orphan { .. }));
    name_existing(blobs, &id, "a third").await.unwrap();
    assert_eq!(state().await, BlobState::Live);
}

pub(super) async fn a_transaction_counts_its_own_namings_and_releases(stage: Stage) {
    let blobs = &stage.nodes[0];
    let id = keep(blobs, &content(10)).await;
    let moves = async |mut txn| {
        blobs.reference_existing(&mut txn, SPACE, &id, b"b").await?;
        blobs.release(&mut txn, SPACE, &id, b"a record").await?;
        blobs.reference_existing(&mut txn, SPACE, &id, b"c").await?;
        Ok::<_, TestError>((txn, ()))
    };
    blobs.kv().transact(moves).await.unwrap();
    assert_eq!(record(blobs, &id).await.unwrap().state, BlobState::Live);
    let releases = async |mut txn| {
        blobs.release(&mut txn, SPACE, &id, b"b").await?;
        blobs.release(&mut txn, SPACE, &id, b"c").await?;
        Ok::<_, TestError>((txn, ()))
    };
    blobs.kv().transact(releases).await.unwrap();
    assert!(matches!(
        record(blobs, &id).await.unwrap().state,
        BlobState::Orphan { .. }
    ));
    let replaces = async |mut txn| {
        blobs.reference_existing(&mut txn, SPACE, &id, b"d").await?;
        blobs.release(&mut txn, SPACE, &id, b"d").await?;
        Ok::<_, TestError>((txn, ()))
    };
    blobs.kv().transact(replaces).await.unwrap();
    assert!(matches!(
        record(blobs, &id).await.unwrap().state,
        BlobState::Orphan { .. }
    ));
}

pub(super) async fn a_blob_that_is_being_removed_cannot_be_named_by_its_id(stage: Stage) {
    let blobs = &stage.nodes[0];
    let content = content(2 * MIB);
    let id = keep(blobs, &content).await;
    let before = record(blobs, &id).await.unwrap().generation;
    stage.discard(&id).await;
    let refused = name_existing(blobs, &id, "late").await;
    assert!(matches!(
        refused,
        Err(TestError::Blob(BlobTxnError::Unknown { .. }))
    ));
    assert!(!blobs.lease(SPACE, &id, Duration::from_secs(60)).await.unwrap());
    assert!(matches!(
        read(blobs, &id, None).await,
        Err(BlobReadError::Unknown { .. })
    ));
    keep(blobs, &content).await;
    let fresh = record(blobs, &id).await.unwrap();
    assert_ne!(fresh.generation, before);
    assert_eq!(fresh.state, BlobState::Live);
    stage.clock.advance(2 * DAY);
    stage.decide().await;
    stage.remove().await;
    for node in &stage.nodes {
        assert!(
            read(node, &id, None).await.unwrap() == content,
            "the old bytes alone went"
        );
    }
}

pub(super) async fn what_nothing_names_goes_after_its_time_and_not_before(stage: Stage) {
    let blobs = &stage.nodes[0];
    let mut kept = Vec::new();
    for size in [5000, 3 * MIB] {
        kept.push((size, keep(blobs, &content(size)).await));
    }
    let located = |record: Option<BlobRecord>| record.unwrap().located();
    let mut segments = Vec::new();
    for (_, id) in &kept {
        segments.extend(located(record(blobs, id).await));
        release(blobs, id, "a record").await;
    }
    assert_eq!(blobs.waste(10).await.unwrap().len(), 2);
    stage.decide().await;
    for (size, id) in &kept {
        assert!(
            read(blobs, id, None).await.unwrap() == content(*size),
            "too early"
        );
    }
    let announced = blobs.waste(10).await.unwrap()[0].freed_at;
    stage.clock.advance(2 * HOUR);
    stage.decide().await;
    stage.remove().await;
    for (_, id) in &kept {
        assert!(matches!(
            read(blobs, id, None).await,
            Err(BlobReadError::Unknown { .. })
        ));
    }
    let waste = blobs.waste(10).await.unwrap();
    assert_eq!(
        waste.iter().map(|waste| waste.bytes).sum::<u64>(),
        5000 + 3 * MIB as u64
    );
    assert!(waste.iter().all(|waste| waste.stage == WasteStage::Quarantine));
    assert!(
        are_kept(blobs, &segments).await,
        "somebody may still be reading them"
    );
    stage.clock.advance(DAY);
    assert!(stage.clock.at() > announced);
    stage.remove().await;
    for segment in segments {
        assert!(!are_kept(blobs, &[segment]).await);
    }
    assert!(blobs.waste(10).await.unwrap().is_empty());
    // Nothing is left that grows with what ever was.
    stage.clock.advance(DAY);
    stage.decide().await;
    stage.remove().await;
    for collection in [
        keys::records(SPACE),
        keys::orphans(SPACE),
        keys::all_garbage(SPACE),
        keys::leases(SPACE),
    ] {
        let left = blobs.kv().local().scan(Scan::of(&collection)).await.unwrap();
        assert!(left.is_empty(), "{collection:?}");
    }
}

pub(super) async fn nothing_is_collected_while_a_backup_holds_it_back(stage: Stage) {
    let blobs = &stage.nodes[0];
    let content = content(2 * MIB);
    let id = keep(blobs, &content).await;
    release(blobs, &id, "a record").await;
    stage.clock.advance(2 * HOUR);
    // Placed between the decision and its commit.
    let collector = Collector::begin(blobs).await.unwrap();
    let mut txn = blobs.kv().begin().await.unwrap();
    assert!(collector.judge(&mut txn, SPACE, &id).await.unwrap());
    let hold = stage.nodes.last().unwrap().hold("a test").await.unwrap();
    assert!(matches!(txn.commit().await, Err(CommitError::Conflict)));
    // It lasts as long as somebody asks for it.
    for _ in 0..5 {
        stage.clock.advance(HOUR / 3);
        stage.decide().await;
        assert!(!collector.collect_orphan(SPACE, id).await.unwrap());
        assert!(read(blobs, &id, None).await.unwrap() == content);
        blobs.renew_hold(&hold.backup).await.unwrap();
    }
    assert_eq!(blobs.holds().await.unwrap().len(), 1);
    // Nobody asks any more; what has ended never stands again.
    stage.clock.advance(HOUR);
    assert!(matches!(
        blobs.renew_hold(&hold.backup).await,
        Err(HoldError::Over { .. })
    ));
    assert!(blobs.holds().await.unwrap().is_empty());
    stage.decide().await;
    assert!(read(blobs, &id, None).await.is_err());

    // Ended by whoever placed it.
    let id = keep(blobs, &content).await;
    release(blobs, &id, "a record").await;
    stage.clock.advance(2 * HOUR);
    let hold = blobs.hold("a test").await.unwrap();
    stage.decide().await;
    assert!(read(blobs, &id, None).await.unwrap() == content);
    blobs.end_hold(&hold.backup).await.unwrap();
    stage.decide().await;
    assert!(read(blobs, &id, None).await.is_err());
}

pub(super) async fn gc_never_takes_a_live_blob(stage: Stage) {
    let blobs = &stage.nodes[0];
    let content = content(2 * MIB);
    let id = keep(blobs, &content).await;
    // Named again, or leased, between the decision and its commit.
    for naming in [true, false] {
        release(blobs, &id, "a record").await;
        stage.clock.advance(2 * HOUR);
        let collector = Collector::begin(blobs).await.unwrap();
        let mut txn = blobs.kv().begin().await.unwrap();
        assert!(collector.judge(&mut txn, SPACE, &id).await.unwrap());
        if naming {
            name_existing(blobs, &id, "a record").await.unwrap();
        } else {
            assert!(blobs.lease(SPACE, &id, HOUR).await.unwrap());
        }
        assert!(matches!(txn.commit().await, Err(CommitError::Conflict)));
        assert!(!collector.collect_orphan(SPACE, id).await.unwrap());
        stage.clock.advance(HOUR / 2);
        stage.decide().await;
        assert!(read(blobs, &id, None).await.unwrap() == content);
    }
    // The lease is over, and some.
    stage.clock.advance(HOUR);
    stage.decide().await;
    assert!(read(blobs, &id, None).await.is_err());
}

pub(super) async fn bytes_that_were_collected_are_not_named_again(stage: Stage) {
    let blobs = &stage.nodes[0];
    let stored = put(blobs, &content(2 * MIB)).await;
    name(blobs, &stored, "a record").await.unwrap();
    // Whoever holds the name may try again at any time within a day.
    for removed in [false, true] {
        if removed {
            let at_once = Retention {
                quarantine_seconds: 0,
                ..Retention::default()
            };
            at_once.store(blobs.kv()).await.unwrap();
            stage.remove().await;
        } else {
            stage.discard(&stored.id()).await;
        }
        let refused = name(blobs, &stored, "late").await;
        assert!(
            matches!(refused, Err(TestError::Blob(BlobTxnError::Expired { .. }))),
            "{refused:?}"
        );
    }
}

pub(super) async fn fresh_bytes_of_a_kept_blob_go_at_once(stage: Stage) {
    let blobs = &stage.nodes[0];
    let content = content(2 * MIB);
    let id = keep(blobs, &content).await;
    let again = put(blobs, &content).await;
    name(blobs, &again, "another record").await.unwrap();
    name(blobs, &again, "and another").await.unwrap();
    assert_eq!(blobs.waste(10).await.unwrap().len(), 1);
    stage.remove().await;
    assert!(blobs.waste(10).await.unwrap().is_empty());
    assert!(read(blobs, &id, None).await.unwrap() == content);
}

pub(super) async fn abandoned_uploads_go_and_others_stay(stage: Stage) {
    let blobs = stage.nodes[0].with_inline_segments(1);
    let begin = async || {
        blobs
            .begin_upload(SPACE, DigestSet::default(), b"")
            .await
            .unwrap()
    };
    let content = content(70 * MIB);
    let append = async |id: &UploadId, range: Range<usize>| {
        let part = content.slice(range);
        blobs
            .append(SPACE, id, None, u64::MAX, body(&part, MIB))
            .await
            .unwrap();
    };
    let (abandoned, alive, finished, named) = (begin().await, begin().await, begin().await, begin().await);
    append(&abandoned, 0..70 * MIB).await;
    append(&abandoned, 0..1000).await;
    append(&alive, 0..3 * MIB).await;
    append(&finished, 0..70 * MIB).await;
    blobs.finish_upload(SPACE, &finished).await.unwrap();
    append(&named, 0..69 * MIB).await;
    let kept = blobs.finish_upload(SPACE, &named).await.unwrap();
    name(&blobs, &kept, "a record").await.unwrap();
    stage.clock.advance(20 * HOUR);
    append(&alive, 3 * MIB..4 * MIB).await;
    stage.decide().await;
    assert!(blobs.waste(10).await.unwrap().is_empty(), "none is abandoned yet");
    stage.clock.advance(5 * HOUR);
    stage.decide().await;
    let mut waste: Vec<u64> = blobs
        .waste(10)
        .await
        .unwrap()
        .iter()
        .map(|waste| waste.bytes)
        .collect();
    waste.sort_unstable();
    assert_eq!(waste, [70 * MIB as u64, 70 * MIB as u64 + 1000]);
    stage.remove().await;
    assert!(blobs.waste(10).await.unwrap().is_empty());
    let unknown = blobs.upload_status(SPACE, &abandoned).await;
    assert!(matches!(unknown, Err(UploadError::Unknown)));
    assert_eq!(
        blobs.upload_status(SPACE, &alive).await.unwrap().offset,
        4 * MIB as u64
    );
    append(&alive, 4 * MIB..70 * MIB).await;
    let whole = blobs.finish_upload(SPACE, &alive).await.unwrap();
    assert_eq!(whole.id().0, *blake3::hash(&content).as_bytes());
    assert!(read(&blobs, &kept.id(), None).await.unwrap() == content.slice(..69 * MIB));
    let pending = blobs
        .kv()
        .local()
        .scan(Scan::of(&keys::all_pending(SPACE)))
        .await
        .unwrap();
    assert_eq!(pending.len(), 1, "that of the upload which is not named yet");
}

pub(super) async fn a_writer_that_was_abandoned_leaves_nothing(stage: Stage) {
    let blobs = stage.nodes[0].with_inline_segments(0);
    let stored = put(&blobs, &content(40 * MIB)).await;
    stage.clock.advance(25 * HOUR);
    stage.decide().await;
    stage.remove().await;
    let segments = keys::segments(SPACE, &stored.inner.generation);
    assert!(
        blobs
            .kv()
            .local()
            .scan(Scan::of(&segments))
            .await
            .unwrap()
            .is_empty()
    );
    let late = name(&blobs, &stored, "late").await;
    assert!(matches!(late, Err(TestError::Blob(BlobTxnError::Expired { .. }))));
}

pub(super) async fn spaces_know_nothing_of_each_other(stage: Stage) {
    let blobs = &stage.nodes[0];
    let id = keep(blobs, &content(10)).await;
    let other = Space(8);
    let snapshot = blobs.kv().latest().await.unwrap();
    assert_eq!(blobs.stat(&snapshot, other, &id).await.unwrap(), None);
    assert!(!blobs.lease(other, &id, Duration::from_secs(60)).await.unwrap());
    let spaces = snapshot
        .scan(Scan::of(&crate::kv::Collection::new("blobs")))
        .await
        .unwrap();
    assert_eq!(spaces.len(), 1);
    assert_eq!(spaces[0].item.as_ref(), SPACE.0.to_be_bytes());
}

pub(super) async fn a_lease_is_given_only_on_what_is_kept(stage: Stage) {
    let blobs = &stage.nodes[0];
    let id = keep(blobs, &content(10)).await;
    let until = async || blobs.kv().local().number(&keys::lease(SPACE, &id)).await.unwrap();
    let hour = Duration::from_secs(3600);
    assert!(blobs.lease(SPACE, &id, hour).await.unwrap());
    let first = until().await;
    assert!(first > blobs.seams().clock.now().0);
    assert!(blobs.lease(SPACE, &id, hour).await.unwrap());
    assert_eq!(until().await, first, "more than half of it remained");
    assert!(blobs.lease(SPACE, &id, 3 * hour).await.unwrap());
    assert!(until().await > first);
    let unknown = BlobId([1; 32]);
    let answer: Result<bool, LeaseError> = blobs.lease(SPACE, &unknown, hour).await;
    assert!(!answer.unwrap());
}

pub(super) async fn a_write_that_was_broken_off_cannot_be_finished(stage: Stage) {
    let mut writer = stage.nodes[0].writer(SPACE, DigestSet::default());
    let content = content(64 * MIB);
    {
        let mut write = std::pin::pin!(writer.write(content));
        // One poll is not enough to hash 64 MiB.
        assert!(futures::poll!(write.as_mut()).is_pending());
    }
    assert!(writer.write(Bytes::from_static(b"more")).await.is_err());
    assert!(writer.finish().await.is_err());
}

pub(super) async fn an_upload_goes_on_at_another_node(stage: Stage) {
    let content = content(3 * MIB);
    let want = DigestSet {
        sha512: true,
        ..DigestSet::default()
    };
    let id = stage.nodes[0].begin_upload(SPACE, want, b"owner").await.unwrap();
    let mut offset = 0;
    for (node, end) in stage
        .nodes
        .iter()
        .cycle()
        .zip([1, 1, 100_000, 2 * MIB + 1, 3 * MIB])
    {
        let chunk = content.slice(offset..end);
        let reached = node
            .append(SPACE, &id, Some(offset as u64), u64::MAX, body(&chunk, 70_000))
            .await
            .unwrap();
        assert_eq!(reached, end as u64);
        offset = end;
        for node in &stage.nodes {
            let status = node.upload_status(SPACE, &id).await.unwrap();
            assert_eq!(
                (status.offset, status.owner.as_ref()),
                (end as u64, b"owner".as_slice())
            );
        }
    }
    let last = stage.nodes.last().unwrap();
    let stored = last.finish_upload(SPACE, &id).await.unwrap();
    assert_eq!(stored.id().0, *blake3::hash(&content).as_bytes());
    let whole = last
        .put(SPACE, want, u64::MAX, body(&content, MIB))
        .await
        .unwrap();
    assert_eq!(stored.digests(), whole.digests());
    let complete = async |mut txn| {
        last.reference(&mut txn, &stored, b"a record").await?;
        last.complete_upload(&mut txn, SPACE, &id);
        Ok::<_, TestError>((txn, ()))
    };
    last.kv().transact(complete).await.unwrap();
    for node in &stage.nodes {
        assert!(read(node, &stored.id(), None).await.unwrap() == content);
        assert!(matches!(
            node.upload_status(SPACE, &id).await,
            Err(UploadError::Unknown)
        ));
    }
}

pub(super) async fn an_upload_across_segments_has_the_id_of_its_content(stage: Stage) {
    let content = content(70 * MIB);
    for cuts in [
        vec![70 * MIB],
        vec![5, 32 * MIB, 64 * MIB, 70 * MIB],
        vec![20 * MIB, 66 * MIB, 70 * MIB],
    ] {
        let id = stage.nodes[0]
            .begin_upload(SPACE, DigestSet::default(), b"")
            .await
            .unwrap();
        let mut offset = 0;
        for (node, end) in stage.nodes.iter().cycle().zip(cuts.clone()) {
            let chunk = content.slice(offset..end);
            node.append(SPACE, &id, None, u64::MAX, body(&chunk, MIB + 1))
                .await
                .unwrap();
            offset = end;
        }
        let stored = stage.nodes[0].finish_upload(SPACE, &id).await.unwrap();
        assert_eq!(stored.id().0, *blake3::hash(&content).as_bytes(), "{cuts:?}");
        set_unnamed(&stage.nodes[0], &stored.id()).await;
        name(&stage.nodes[0], &stored, "a record").await.unwrap();
        assert!(
            read(stage.nodes.last().unwrap(), &stored.id(), None)
                .await
                .unwrap()
                == content,
            "{cuts:?}"
        );
    }
}

/// Makes the next naming take the fresh bytes.
async fn set_unnamed(blobs: &Blobs, id: &BlobId) {
    let forget = async |mut txn: crate::kv::Txn| {
        txn.delete(&keys::record(SPACE, id));
        Ok::<_, CommitError>((txn, ()))
    };
    blobs.kv().transact(forget).await.unwrap();
}

pub(super) async fn very_many_small_chunks_make_one_blob(stage: Stage) {
    let content = content(200 * 997);
    let id = stage.nodes[0]
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    for (node, start) in stage.nodes.iter().cycle().zip((0..content.len()).step_by(997)) {
        let chunk = content.slice(start..start + 997);
        node.append(SPACE, &id, Some(start as u64), u64::MAX, body(&chunk, 997))
            .await
            .unwrap();
        let session = node.session(SPACE, &id).await.unwrap();
        assert!(session.pieces.len() < 20, "{} pieces", session.pieces.len());
    }
    let stored = stage.nodes[0].finish_upload(SPACE, &id).await.unwrap();
    assert_eq!(stored.id().0, *blake3::hash(&content).as_bytes());
    name(&stage.nodes[0], &stored, "a record").await.unwrap();
    assert!(read(&stage.nodes[0], &stored.id(), None).await.unwrap() == content);
}

pub(super) async fn of_two_appends_at_one_offset_one_wins(stage: Stage) {
    let (one, two) = (content(40 * MIB), content(40 * MIB + 1));
    let id = stage.nodes[0]
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    let last = stage.nodes.last().unwrap();
    let (first, second) = tokio::join!(
        stage.nodes[0].append(SPACE, &id, Some(0), u64::MAX, body(&one, MIB)),
        last.append(SPACE, &id, Some(0), u64::MAX, body(&two, MIB)),
    );
    let (winner, actual) = match (first, second) {
        (Ok(offset), Err(UploadError::WrongOffset { actual })) => (one.slice(..offset as usize), actual),
        (Err(UploadError::WrongOffset { actual }), Ok(offset)) => (two.slice(..offset as usize), actual),
        other => panic!("{other:?}"),
    };
    assert!(actual > 0);
    let stored = last.finish_upload(SPACE, &id).await.unwrap();
    assert_eq!(stored.id().0, *blake3::hash(&winner).as_bytes());
    name(last, &stored, "a record").await.unwrap();
    assert!(read(last, &stored.id(), None).await.unwrap() == winner);
}

pub(super) async fn a_wrong_offset_is_told_the_right_one(stage: Stage) {
    let blobs = &stage.nodes[0];
    let id = blobs
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    let chunk = content(1000);
    blobs
        .append(SPACE, &id, Some(0), u64::MAX, body(&chunk, 100))
        .await
        .unwrap();
    for at in [0, 999, 1001] {
        let refused = blobs
            .append(SPACE, &id, Some(at), u64::MAX, body(&chunk, 100))
            .await;
        assert!(
            matches!(refused, Err(UploadError::WrongOffset { actual: 1000 })),
            "{at}"
        );
    }
}

pub(super) async fn a_chunk_that_breaks_keeps_whole_segments_only(stage: Stage) {
    let blobs = &stage.nodes[0];
    let content = content(40 * MIB);
    let id = blobs
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    let broken = blobs
        .append(SPACE, &id, Some(0), u64::MAX, breaking(&content))
        .await;
    assert!(matches!(broken, Err(UploadError::Body("cut off"))));
    let last = stage.nodes.last().unwrap();
    let status = last.upload_status(SPACE, &id).await.unwrap();
    assert_eq!(status.offset, 32 * MIB as u64);
    let rest = content.slice(32 * MIB..);
    last.append(SPACE, &id, Some(status.offset), u64::MAX, body(&rest, MIB))
        .await
        .unwrap();
    let stored = last.finish_upload(SPACE, &id).await.unwrap();
    assert_eq!(stored.id().0, *blake3::hash(&content).as_bytes());
}

pub(super) async fn an_upload_over_the_limit_is_refused(stage: Stage) {
    let blobs = &stage.nodes[0];
    let chunk = content(600);
    let id = blobs
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    blobs
        .append(SPACE, &id, None, 1000, body(&chunk, 100))
        .await
        .unwrap();
    let refused = blobs.append(SPACE, &id, None, 1000, body(&chunk, 100)).await;
    assert!(matches!(
        refused,
        Err(UploadError::TooLarge { limit_bytes: 1000 })
    ));
    assert_eq!(blobs.upload_status(SPACE, &id).await.unwrap().offset, 600);
}

pub(super) async fn finishing_twice_gives_the_same_blob(stage: Stage) {
    let content = content(2 * MIB);
    let id = stage.nodes[0]
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    for part in [0..MIB, MIB..2 * MIB] {
        stage.nodes[0]
            .append(SPACE, &id, None, u64::MAX, body(&content.slice(part), MIB))
            .await
            .unwrap();
    }
    let last = stage.nodes.last().unwrap();
    let (one, other) = tokio::join!(
        stage.nodes[0].finish_upload(SPACE, &id),
        last.finish_upload(SPACE, &id)
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    let Segmentation::Inline(segments) = &one.inner.segments else {
        panic!("one segment")
    };
    let Segmentation::Inline(others) = &other.inner.segments else {
        panic!("one segment")
    };
    assert_eq!(segments, others);
    let refused = last.append(SPACE, &id, None, u64::MAX, body(&content, MIB)).await;
    assert!(matches!(refused, Err(UploadError::Finished)));
    name(last, &other, "a record").await.unwrap();
    assert!(read(last, &one.id(), None).await.unwrap() == content);
}

pub(super) async fn an_aborted_upload_is_gone(stage: Stage) {
    let blobs = &stage.nodes[0];
    let id = blobs
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    blobs
        .append(SPACE, &id, None, u64::MAX, body(&content(5000), 100))
        .await
        .unwrap();
    blobs.abort_upload(SPACE, &id).await.unwrap();
    let unknown = |result: Result<(), UploadError>| assert!(matches!(result, Err(UploadError::Unknown)));
    unknown(blobs.upload_status(SPACE, &id).await.map(drop));
    unknown(blobs.abort_upload(SPACE, &id).await);
    unknown(blobs.finish_upload(SPACE, &id).await.map(drop));
}

pub(super) async fn digests_that_were_not_asked_for_are_computed_afterwards(stage: Stage) {
    let (first, last) = (&stage.nodes[0], &stage.nodes[stage.nodes.len() - 1]);
    let content = content(33 * MIB);
    let id = first
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    let chunks = content.chunks(5 * MIB + 1);
    let body = stream::iter(chunks.map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk))));
    first.append(SPACE, &id, None, u64::MAX, body).await.unwrap();
    let stored = first.finish_upload(SPACE, &id).await.unwrap();
    assert_eq!(stored.digests().sha512, None);
    let want = DigestSet {
        sha512: true,
        ..DigestSet::default()
    };
    let digests = last.digest_upload(SPACE, &id, want).await.unwrap();
    assert_eq!(digests.sha256, stored.digests().sha256);
    let expected: [u8; 64] = <sha2::Sha512 as digest::Digest>::digest(&content).into();
    assert_eq!(digests.sha512, Some(expected));
}

pub(super) async fn an_empty_upload_is_the_empty_blob(stage: Stage) {
    let blobs = &stage.nodes[0];
    let id = blobs
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    blobs
        .append(SPACE, &id, Some(0), u64::MAX, body(&Bytes::new(), 1))
        .await
        .unwrap();
    let stored = blobs.finish_upload(SPACE, &id).await.unwrap();
    assert_eq!(stored.id().0, *blake3::hash(b"").as_bytes());
    name(blobs, &stored, "a record").await.unwrap();
    assert!(read(blobs, &stored.id(), None).await.unwrap().is_empty());
}

pub(super) async fn digest_states_of_another_version_are_computed_again(stage: Stage) {
    let blobs = &stage.nodes[0];
    let content = content(33 * MIB);
    let id = blobs
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    for part in [0..MIB, MIB..33 * MIB - 1, 33 * MIB - 1..33 * MIB] {
        let mut session = blobs.session(SPACE, &id).await.unwrap();
        session.digests.set_line("a line of long ago");
        let work = async |mut txn: crate::kv::Txn| {
            txn.put_record(&keys::upload(SPACE, &id), &session);
            Ok::<_, CommitError>((txn, ()))
        };
        blobs.kv().transact(work).await.unwrap();
        blobs
            .append(SPACE, &id, None, u64::MAX, body(&content.slice(part), MIB))
            .await
            .unwrap();
    }
    let stored = blobs.finish_upload(SPACE, &id).await.unwrap();
    let whole = put(blobs, &content).await;
    assert_eq!(stored.digests(), whole.digests());
}

pub(super) async fn very_many_segments_are_kept_apart_from_the_record(stage: Stage) {
    let blobs = stage.nodes[0].with_inline_segments(1);
    let content = content(70 * MIB);
    let pending = async || {
        let markers = keys::pending(SPACE, &Generation([0; 16])).collection();
        blobs.kv().local().scan(Scan::of(&markers)).await.unwrap().len()
    };
    let check = async |id: &BlobId| {
        let found = record(&blobs, id).await.unwrap();
        assert!(
            matches!(found.segments, Segmentation::Apart(3)),
            "{:?}",
            found.segments
        );
        for node in &stage.nodes {
            assert!(read(node, id, None).await.unwrap() == content);
            for (start, end) in [
                (0, 1),
                (31 * MIB, 33 * MIB),
                (64 * MIB, 64 * MIB + 1),
                (40 * MIB, 70 * MIB),
            ] {
                let got = read(node, id, Some(start as u64..end as u64)).await.unwrap();
                assert!(got == content.slice(start..end), "{start}..{end}");
            }
        }
    };
    let stored = put(&blobs, &content).await;
    assert_eq!(pending().await, 1);
    name(&blobs, &stored, "a record").await.unwrap();
    assert_eq!(pending().await, 0, "they belong to a blob now");
    check(&stored.id()).await;

    let again = put(&blobs, &content).await;
    name(&blobs, &again, "another record").await.unwrap();
    assert_eq!(pending().await, 0, "the second copy is garbage");
    assert_eq!(blobs.waste(10).await.unwrap().len(), 1);
    check(&stored.id()).await;

    set_unnamed(&blobs, &stored.id()).await;
    let id = blobs
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    for part in [0..5 * MIB, 5 * MIB..66 * MIB, 66 * MIB..70 * MIB] {
        let mut session = blobs.session(SPACE, &id).await.unwrap();
        session.digests.set_line("a line of long ago");
        let work = async |mut txn: crate::kv::Txn| {
            txn.put_record(&keys::upload(SPACE, &id), &session);
            Ok::<_, CommitError>((txn, ()))
        };
        blobs.kv().transact(work).await.unwrap();
        let chunk = content.slice(part);
        blobs
            .append(SPACE, &id, None, u64::MAX, body(&chunk, MIB))
            .await
            .unwrap();
    }
    let uploaded = blobs.finish_upload(SPACE, &id).await.unwrap();
    assert_eq!(uploaded.digests(), stored.digests());
    name(&blobs, &uploaded, "a third").await.unwrap();
    check(&uploaded.id()).await;
}

pub(super) async fn a_blob_whose_list_of_segments_was_collected_cannot_be_named(stage: Stage) {
    let blobs = stage.nodes[0].with_inline_segments(1);
    let stored = put(&blobs, &content(33 * MIB)).await;
    let markers = keys::pending(SPACE, &Generation([0; 16])).collection();
    let collect = async |mut txn: crate::kv::Txn| {
        let pending = blobs.kv().local().scan(Scan::of(&markers)).await;
        for entry in pending.expect("memory can be read") {
            txn.delete(&markers.key(&entry.item));
        }
        Ok::<_, CommitError>((txn, ()))
    };
    blobs.kv().transact(collect).await.unwrap();
    let refused = name(&blobs, &stored, "a record").await;
    assert!(matches!(
        refused,
        Err(TestError::Blob(BlobTxnError::Expired { .. }))
    ));
    assert!(record(&blobs, &stored.id()).await.is_none());
}

pub(super) async fn releases_of_a_blob_that_many_name_do_not_disturb_each_other(stage: Stage) {
    let blobs = &stage.nodes[0];
    let id = keep(blobs, &content(10)).await;
    name_existing(blobs, &id, "b").await.unwrap();
    name_existing(blobs, &id, "c").await.unwrap();
    let mut releasing = blobs.kv().begin().await.unwrap();
    blobs.release(&mut releasing, SPACE, &id, b"c").await.unwrap();
    name_existing(blobs, &id, "d").await.unwrap();
    releasing.commit().await.unwrap();

    // Of the last two, only one may go without looking again.
    release(blobs, &id, "d").await;
    let mut one = blobs.kv().begin().await.unwrap();
    let mut other = blobs.kv().begin().await.unwrap();
    blobs.release(&mut one, SPACE, &id, b"a record").await.unwrap();
    blobs.release(&mut other, SPACE, &id, b"b").await.unwrap();
    one.commit().await.unwrap();
    assert!(matches!(other.commit().await, Err(CommitError::Conflict)));
    release(blobs, &id, "b").await;
    assert!(matches!(
        record(blobs, &id).await.unwrap().state,
        BlobState::Orphan { .. }
    ));

    // A last release and a new naming at the same time.
    name_existing(blobs, &id, "e").await.unwrap();
    let mut last = blobs.kv().begin().await.unwrap();
    blobs.release(&mut last, SPACE, &id, b"e").await.unwrap();
    name_existing(blobs, &id, "f").await.unwrap();
    assert!(matches!(last.commit().await, Err(CommitError::Conflict)));
}
