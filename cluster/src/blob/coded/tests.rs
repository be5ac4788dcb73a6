//! Storing and reading on clusters of several nodes, with nodes that die, fill up, slow down and lie.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};

use crate::blob::disk::testing::{Operation, TestDisk};
use crate::blob::disk::{Disk, Room};
use crate::blob::record::{BlobRecord, Form, Placement, SegmentId, Segmentation};
use crate::blob::suite::{SPACE, body, content, keep, name, put, read, run_suite};
use crate::blob::testing::{Cluster, Disks, TestError, TestPeers};
use crate::blob::{
    BlobPeers, BlobReadError, Blobs, DigestSet, PutError, UploadError, Wire, WriteError, keys,
};
use crate::kv::CommitError;
use crate::node_id::NodeId;

const MIB: usize = 1 << 20;

mod one_node {
    use super::*;

    run_suite!(async { Cluster::of(1).await.stage() });
}

mod three_nodes {
    use super::*;

    run_suite!(async { Cluster::with(3, Disks::Machine).await.stage() });
}

mod six_nodes {
    use super::*;

    run_suite!(async { Cluster::of(6).await.stage() });
}

/// Every node is in a zone of its own here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_in_other_zones_is_fetched_once() {
    let cluster = Cluster::caching(3, Disks::Memory, 1 << 30).await;
    let mut ids = Vec::new();
    for size in SIZES {
        ids.push((size, keep(cluster.blobs(0), &content(size)).await));
    }
    let read_all = async || {
        let before = cluster.network.calls.load(Ordering::SeqCst);
        for (size, id) in &ids {
            assert!(read(cluster.blobs(2), id, None).await.unwrap() == content(*size));
        }
        cluster.network.calls.load(Ordering::SeqCst) - before
    };
    assert!(read_all().await > 0);
    // What comes too fast to be kept is kept another time.
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if read_all().await == 0 {
            break;
        }
    }
    assert_eq!(read_all().await, 0);
    for (size, id) in &ids {
        let end = *size as u64;
        let part = read(cluster.blobs(2), id, Some(end / 3..end - 1)).await.unwrap();
        assert!(part == content(*size).slice(size / 3..size - 1));
    }
}

/// A body in which something happens after `after` bytes.
fn eventful(
    content: &Bytes,
    after: usize,
    event: impl Fn() + Send + Unpin,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + Unpin {
    let mut sent = 0;
    body(content, 100_000).map(move |part| {
        let before = sent;
        sent += part.as_ref().map_or(0, Bytes::len);
        if before < after && sent >= after {
            event();
        }
        part
    })
}

const SIZES: [usize; 4] = [10_000, MIB, 3 * MIB + 5, 33 * MIB];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_nodes_as_there_is_parity_for_may_die_and_all_is_read() {
    for (count, dead) in [(2, 1), (3, 1), (4, 2), (6, 2)] {
        let cluster = Cluster::of(count).await;
        let mut ids = Vec::new();
        for size in SIZES {
            ids.push((size, keep(cluster.blobs(0), &content(size)).await));
        }
        assert_eq!(cluster.debts().await, 0);
        for victim in 0..dead {
            cluster.kill(victim);
        }
        for reader in dead..count as usize {
            for (size, id) in &ids {
                assert!(read(cluster.blobs(reader), id, None).await.unwrap() == content(*size));
                let end = *size as u64;
                let range = Some(end / 3..end - 1);
                let part = content(*size).slice(size / 3..size - 1);
                assert!(read(cluster.blobs(reader), id, range).await.unwrap() == part);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_without_a_node_and_leave_a_debt() {
    for (count, recode, missing) in [(3, true, 0), (4, false, 1), (6, false, 1)] {
        for noticed in [false, true] {
            let cluster = Cluster::of(count).await;
            cluster.kill(1);
            if noticed {
                cluster.notice(1);
            }
            for size in SIZES {
                let id = keep(cluster.blobs(0), &content(size)).await;
                assert!(
                    read(cluster.blobs(2), &id, None).await.unwrap() == content(size),
                    "{count} {size}"
                );
                let placement = cluster.placement(&id).await;
                if placement.form == Form::Shards {
                    assert_eq!(
                        (placement.recode, placement.missing.len()),
                        (recode, missing),
                        "{count} {size}"
                    );
                }
            }
            assert!(cluster.debts().await >= 2, "{count}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_in_the_middle_of_a_put_is_not_noticed_by_the_client() {
    for count in [3, 4, 6] {
        for after in [MIB / 2, 2 * MIB, 20 * MIB, 32 * MIB + 1, 39 * MIB] {
            let cluster = Cluster::of(count).await;
            let content = content(40 * MIB);
            let victim = cluster.nodes[1].server.clone();
            let kill = move || {
                if let Some(server) = victim.lock().unwrap().take() {
                    server.shutdown_background();
                }
            };
            let blobs = cluster.blobs(0);
            let stored = blobs
                .put(
                    SPACE,
                    DigestSet::default(),
                    u64::MAX,
                    eventful(&content, after, kill),
                )
                .await;
            let stored = stored.unwrap_or_else(|error| panic!("{count} nodes, {after} bytes: {error}"));
            name(blobs, &stored, "a record").await.unwrap();
            for reader in [0, 2] {
                assert!(read(cluster.blobs(reader), &stored.id(), None).await.unwrap() == content);
            }
            let record: BlobRecord = cluster
                .kv
                .local()
                .record(&keys::record(SPACE, &stored.id()))
                .await
                .unwrap()
                .unwrap();
            let Segmentation::Inline(segments) = record.segments else {
                panic!("few segments")
            };
            for segment in segments {
                let Placement {
                    code, homes, missing, ..
                } = segment.placement;
                let there = (0..homes.len() as u8)
                    .filter(|index| !missing.contains(index))
                    .count();
                assert!(there >= code.acknowledged_at(), "promise P1");
            }
            assert_eq!(cluster.debts().await, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_below_the_promise() {
    let cluster = Cluster::of(3).await;
    cluster.kill(1);
    cluster.kill(2);
    for size in [100, 3 * MIB] {
        let content = content(size);
        let blobs = cluster.blobs(0);
        let mut writer = blobs.writer(SPACE, DigestSet::default());
        let result = match writer.write(content).await {
            Ok(()) => writer.finish().await.map(drop),
            Err(error) => Err(error),
        };
        assert!(matches!(result, Err(WriteError::Unavailable { .. })), "{size}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_node_is_left_out() {
    let cluster = Cluster::of(4).await;
    cluster.nodes[2].disk.set_room(Room {
        free: 0,
        total: 1 << 30,
    });
    for size in SIZES {
        let id = keep(cluster.blobs(0), &content(size)).await;
        assert!(read(cluster.blobs(2), &id, None).await.unwrap() == content(size));
    }
    assert!(cluster.nodes[2].disk.files().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_says_it_has_little_room_is_not_asked() {
    let cluster = Cluster::of(4).await;
    let full = cluster.nodes[2].id;
    cluster.network.rooms.lock().unwrap().insert(full, 1 << 20);
    for size in SIZES {
        keep(cluster.blobs(0), &content(size)).await;
    }
    assert!(cluster.nodes[2].disk.files().is_empty());
    assert!(cluster.nodes[2].stores.small.list(None, 10).unwrap().is_empty());
    cluster.network.rooms.lock().unwrap().insert(full, 1 << 40);
    let id = keep(cluster.blobs(0), &content(5 * MIB)).await;
    assert!(cluster.placement(&id).await.homes.contains(&full));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_and_collecting_gets_a_full_cluster_going_again() {
    let cluster = Cluster::of(3).await;
    let mut ids = Vec::new();
    for turn in 0..3 {
        ids.push(keep(cluster.blobs(0), &content(3 * MIB + turn)).await);
    }
    let disks = || cluster.nodes.iter().map(|node| &node.disk);
    let used = |disk: &TestDisk| {
        let mut bytes = 0;
        for file in disk.files() {
            disk.damage(&file, |content| bytes += content.len() as u64);
        }
        bytes
    };
    // There is room for the largest shard only if one blob goes.
    let total = disks().map(used).max().unwrap() + (16 << 20) - MIB as u64;
    let measure = || {
        for disk in disks() {
            let free = total.saturating_sub(used(disk));
            disk.set_room(Room { free, total });
        }
    };
    measure();
    let more = content(4 * MIB);
    let put = || {
        cluster
            .blobs(0)
            .put(SPACE, DigestSet::default(), u64::MAX, body(&more, MIB))
    };
    assert!(matches!(
        put().await,
        Err(PutError::Write(WriteError::Full { .. }))
    ));
    assert!(read(cluster.blobs(1), &ids[0], None).await.unwrap() == content(3 * MIB));
    let release = async |mut txn: crate::kv::Txn| {
        let released = cluster
            .blobs(0)
            .release(&mut txn, SPACE, &ids[0], b"a record")
            .await;
        released.map_err(|_| CommitError::Conflict)?;
        Ok::<_, CommitError>((txn, ()))
    };
    cluster.kv.transact(release).await.unwrap();
    for hours in [2, 25] {
        cluster.clock.advance(Duration::from_secs(hours * 3600));
        cluster.collect_garbage().await;
    }
    measure();
    while put().await.is_err() {
        // Nodes are believed for a while that they are full.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_too_many_nodes_are_full_the_client_is_told_so() {
    let cluster = Cluster::of(3).await;
    for node in &cluster.nodes[1..] {
        node.disk.set_room(Room {
            free: 0,
            total: 1 << 30,
        });
    }
    for size in SIZES {
        let content = content(size);
        let put = cluster
            .blobs(0)
            .put(SPACE, DigestSet::default(), u64::MAX, body(&content, MIB));
        assert!(
            matches!(put.await, Err(PutError::Write(WriteError::Full { .. }))),
            "{size}"
        );
        let id = cluster
            .blobs(0)
            .begin_upload(SPACE, DigestSet::default(), b"")
            .await
            .unwrap();
        let append = cluster
            .blobs(0)
            .append(SPACE, &id, None, u64::MAX, body(&content, MIB));
        assert!(matches!(append.await, Err(UploadError::Full { .. })), "{size}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_small_segment_is_never_served() {
    let cluster = Cluster::of(3).await;
    let content = content(5000);
    let id = keep(cluster.blobs(0), &content).await;
    let record: BlobRecord = cluster
        .kv
        .local()
        .record(&keys::record(SPACE, &id))
        .await
        .unwrap()
        .unwrap();
    let segment = SegmentId {
        generation: record.generation,
        number: 0,
    };
    for home in cluster.placement(&id).await.homes {
        let node = cluster.nodes.iter().find(|node| node.id == home).unwrap();
        let (stored, _) = node.stores.read_small(segment).await.unwrap();
        let mut damaged = stored.to_vec();
        damaged[100] ^= 1;
        node.stores.small.put(&segment, damaged.into()).await.unwrap();
        let whole = read(&node.blobs, &id, None).await;
        node.stores.small.put(&segment, stored).await.unwrap();
        assert!(whole.unwrap() == content);
    }
}

/// The shard files of a node, without what is in quarantine.
fn shard_files(disk: &TestDisk) -> Vec<std::path::PathBuf> {
    let mut files = disk.files();
    files.retain(|file| !file.starts_with("shards/quarantine"));
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_shard_is_never_served_and_goes_to_quarantine() {
    for victim in 0..3 {
        let cluster = Cluster::of(3).await;
        let content = content(5 * MIB);
        let id = keep(cluster.blobs(0), &content).await;
        let disk = &cluster.nodes[victim].disk;
        for file in shard_files(disk) {
            // In every cell and in the header.
            disk.damage(&file, |bytes| {
                bytes.iter_mut().step_by(200_000).for_each(|byte| *byte ^= 0x10)
            });
        }
        for reader in 0..3 {
            assert!(read(cluster.blobs(reader), &id, None).await.unwrap() == content);
        }
        let placement = cluster.placement(&id).await;
        let was_data = placement.homes[..2].contains(&cluster.nodes[victim].id);
        let quarantined = disk.files().len() - shard_files(disk).len();
        assert_eq!(quarantined, usize::from(was_data), "what was read was found");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_too_much_lost_a_blob_is_damaged_and_nothing_wrong_is_given() {
    let cluster = Cluster::of(3).await;
    let id = keep(cluster.blobs(0), &content(5 * MIB)).await;
    for node in &cluster.nodes[..2] {
        for file in shard_files(&node.disk) {
            node.disk.remove(&file).unwrap();
        }
    }
    for reader in 0..3 {
        let refused = read(cluster.blobs(reader), &id, None).await;
        assert!(
            matches!(refused, Err(BlobReadError::Damaged { .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_of_other_content_under_the_right_name_is_not_believed() {
    let cluster = Cluster::of(3).await;
    let one = keep(cluster.blobs(0), &content(5 * MIB)).await;
    let placement = cluster.placement(&one).await;
    let home = cluster
        .nodes
        .iter()
        .find(|node| node.id == placement.homes[0])
        .unwrap();
    let file = shard_files(&home.disk).remove(0);
    let kept = Mutex::new(Vec::new());
    home.disk
        .damage(&file, |bytes| kept.lock().unwrap().clone_from(bytes));
    // Another segment with the same name, of a node that went back in time.
    let mut header = crate::blob::shard_file::ShardHeader::decode(&kept.lock().unwrap()[..4096]).unwrap();
    header.seal.hash = [1; 32];
    let page = header.encode();
    home.disk
        .damage(&file, |bytes| bytes[..4096].copy_from_slice(&page));
    for reader in 0..3 {
        assert!(read(cluster.blobs(reader), &one, None).await.unwrap() == content(5 * MIB));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_node_is_not_waited_for() {
    let cluster = Cluster::of(4).await;
    let content = content(5 * MIB);
    let id = keep(cluster.blobs(0), &content).await;
    let slow = cluster.placement(&id).await.homes[0];
    let reader = cluster.nodes.iter().find(|node| node.id != slow).unwrap();
    let slow = cluster.nodes.iter().find(|node| node.id == slow).unwrap();
    slow.disk.hold(Operation::Read);
    assert!(read(&reader.blobs, &id, None).await.unwrap() == content);
    assert!(
        cluster.network.suspected.lock().unwrap().is_empty(),
        "nobody waited until the deadline"
    );
    slow.disk.heal();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stands_still_does_not_stop_a_write() {
    let cluster = Cluster::of(4).await;
    cluster.nodes[3].disk.hold(Operation::Write);
    let content = content(40 * MIB);
    let id = keep(cluster.blobs(0), &content).await;
    cluster.nodes[3].disk.heal();
    assert!(cluster.placement(&id).await.missing.len() == 1);
    assert!(read(cluster.blobs(1), &id, None).await.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_power_cut_of_all_nodes() {
    let cluster = Cluster::of(3).await;
    let content = content(40 * MIB);
    let id = keep(cluster.blobs(0), &content).await;
    for node in &cluster.nodes {
        node.disk.cut_power();
    }
    assert!(read(cluster.blobs(1), &id, None).await.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_put_leaves_no_files() {
    let cluster = Cluster::of(3).await;
    let mut writer = cluster.blobs(0).writer(SPACE, DigestSet::default());
    writer.write(content(40 * MIB)).await.unwrap();
    drop(writer);
    let files = || {
        cluster
            .nodes
            .iter()
            .map(|node| node.disk.files().len())
            .sum::<usize>()
    };
    while files() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_leaves_the_shards_of_its_blob_only() {
    let cluster = Cluster::of(3).await;
    let content = content(40 * MIB);
    let id = cluster
        .blobs(0)
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    for part in [
        0..3 * MIB,
        3 * MIB..35 * MIB,
        35 * MIB..37 * MIB,
        37 * MIB..40 * MIB,
    ] {
        let chunk = content.slice(part);
        cluster
            .blobs(1)
            .append(SPACE, &id, None, u64::MAX, body(&chunk, MIB))
            .await
            .unwrap();
    }
    let stored = cluster.blobs(2).finish_upload(SPACE, &id).await.unwrap();
    name(cluster.blobs(0), &stored, "a record").await.unwrap();
    let files = || {
        cluster
            .nodes
            .iter()
            .map(|node| node.disk.files().len())
            .sum::<usize>()
    };
    while files() > 2 * 3 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(read(cluster.blobs(0), &stored.id(), None).await.unwrap() == content);
    assert_eq!(files(), 2 * 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_after_the_node_that_took_its_first_bytes_is_dead() {
    let cluster = Cluster::of(3).await;
    let content = content(40 * MIB);
    let id = cluster
        .blobs(0)
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    let first = content.slice(..5 * MIB);
    cluster
        .blobs(0)
        .append(SPACE, &id, Some(0), u64::MAX, body(&first, MIB))
        .await
        .unwrap();
    cluster.kill(0);
    cluster.notice(0);
    let rest = content.slice(5 * MIB..);
    let reached = cluster
        .blobs(1)
        .append(SPACE, &id, Some(5 * MIB as u64), u64::MAX, body(&rest, MIB))
        .await;
    assert_eq!(reached.unwrap(), content.len() as u64);
    let stored = cluster.blobs(2).finish_upload(SPACE, &id).await.unwrap();
    name(cluster.blobs(2), &stored, "a record").await.unwrap();
    assert!(read(cluster.blobs(1), &stored.id(), None).await.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_cannot_be_stored_changes_nothing() {
    let cluster = Cluster::of(3).await;
    let blobs = cluster.blobs(0);
    let id = blobs
        .begin_upload(SPACE, DigestSet::default(), b"")
        .await
        .unwrap();
    blobs
        .append(SPACE, &id, None, u64::MAX, body(&content(1000), 100))
        .await
        .unwrap();
    cluster.kill(1);
    cluster.kill(2);
    let refused = blobs
        .append(SPACE, &id, None, u64::MAX, body(&content(3 * MIB), MIB))
        .await;
    assert!(matches!(refused, Err(UploadError::Unavailable { .. })));
    assert_eq!(blobs.upload_status(SPACE, &id).await.unwrap().offset, 1000);
}

#[tokio::test]
async fn nothing_is_stored_before_there_is_a_layout() {
    let cluster = Cluster::of(1).await;
    let forget = async |mut txn: crate::kv::Txn| {
        txn.delete(&keys::layout());
        Ok::<_, CommitError>((txn, ()))
    };
    cluster.kv.transact(forget).await.unwrap();
    let refused = cluster
        .blobs(0)
        .put(SPACE, DigestSet::default(), 10, body(&content(10), 10))
        .await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn the_same_members_keep_their_layout() {
    let cluster = Cluster::of(3).await;
    let before = Blobs::layout(&cluster.kv.local()).await.unwrap().unwrap();
    let members = before.members.clone();
    let lay_out = async |mut txn| {
        let layout = Blobs::lay_out(&mut txn, &members, &[], None).await?;
        assert!(txn.is_empty());
        Ok::<_, TestError>((txn, layout))
    };
    assert_eq!(cluster.kv.transact(lay_out).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_on_disk_are_those_of_the_code() {
    let cluster = Cluster::of(3).await;
    put(cluster.blobs(0), &content(32 * MIB)).await;
    for node in &cluster.nodes {
        let files = node.disk.files();
        assert_eq!(files.len(), 1);
        node.disk.damage(Path::new(&files[0]), |bytes| {
            assert_eq!(bytes.len(), 4096 + 16 * MIB)
        });
    }
}

mod service {
    //! What peers may send: a peer is proven, but may be of another version, or broken.

    use cairn_proto::v1;
    use cairn_proto::v1::blobs_client::BlobsClient;
    use tonic::Code;

    use super::*;
    use crate::blob::id::Generation;
    use crate::blob::record::Code as ShardCode;
    use crate::blob::shard_file::{MAX_CELLS, Seal, ShardName, checksum};
    use crate::blob::wire;

    fn shard() -> ShardName {
        ShardName {
            group: 1,
            id: SegmentId {
                generation: Generation([1; 16]),
                number: 0,
            },
            index: 0,
        }
    }

    fn begin() -> v1::PutShardRequest {
        wire::put_begin(&shard(), ShardCode { data: 2, parity: 1 }, 0)
    }

    /// A beginning with something wrong in it.
    fn begin_with(change: impl Fn(&mut v1::ShardBegin)) -> v1::PutShardRequest {
        let mut part = begin();
        match &mut part.part {
            Some(v1::put_shard_request::Part::Begin(begin)) => change(begin),
            other => panic!("{other:?}"),
        }
        part
    }

    fn cell(len: usize) -> v1::PutShardRequest {
        let cell = content(len);
        let checksum = checksum(&cell);
        wire::put_cell(cell, checksum)
    }

    fn seal(len: u64) -> v1::PutShardRequest {
        wire::put_seal(&Seal {
            len,
            hash: [0; 32],
            blob: None,
        })
    }

    fn client(cluster: &Cluster) -> BlobsClient<Wire> {
        let peers = TestPeers {
            me: NodeId(99),
            network: cluster.network.clone(),
            wires: Mutex::default(),
        };
        BlobsClient::new(peers.wire(NodeId(1)))
    }

    async fn put(cluster: &Cluster, parts: Vec<v1::PutShardRequest>) -> Result<(), Code> {
        let answer = client(cluster).put_shard(futures::stream::iter(parts)).await;
        answer.map(drop).map_err(|status| status.code())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_shard_that_does_not_add_up_leaves_nothing() {
        let cluster = Cluster::of(1).await;
        let unnamed = begin_with(|begin| begin.name = None);
        let short = begin_with(|begin| {
            let segment = begin.name.as_mut().unwrap().segment.as_mut().unwrap();
            segment.generation = Bytes::from_static(&[1; 15]);
        });
        let elsewhere = begin_with(|begin| begin.offset = u64::MAX);
        let no_code = begin_with(|begin| begin.data_shards = 300);
        let far = begin_with(|begin| begin.name.as_mut().unwrap().index = 3);
        let mut flipped = cell(640);
        if let Some(v1::put_shard_request::Part::Cell(cell)) = &mut flipped.part {
            cell.checksum ^= 1;
        }
        let too_many = std::iter::once(begin()).chain((0..=MAX_CELLS).map(|_| cell(256 << 10)));
        let refused = [
            vec![],
            vec![seal(1280)],
            vec![unnamed, cell(640), seal(1280)],
            vec![short, cell(640), seal(1280)],
            vec![elsewhere, cell(640), seal(1280)],
            vec![no_code, cell(640), seal(1280)],
            vec![far, cell(640), seal(1280)],
            vec![begin(), begin(), cell(640), seal(1280)],
            vec![begin(), flipped, seal(1280)],
            vec![begin(), cell((256 << 10) + 1), seal(1280)],
            vec![begin(), cell(640), cell(640), seal(2560)],
            vec![begin(), cell(640), seal(1281)],
            vec![begin(), cell(640), seal(u64::MAX)],
            vec![begin(), seal(0)],
            vec![begin(), cell(640)],
            vec![begin(), v1::PutShardRequest { part: None }],
            too_many.chain([seal(64 << 20)]).collect(),
        ];
        for (case, parts) in refused.into_iter().enumerate() {
            assert_eq!(
                put(&cluster, parts).await,
                Err(Code::InvalidArgument),
                "case {case}"
            );
        }
        while !cluster.nodes[0].disk.files().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        put(&cluster, vec![begin(), cell(640), seal(1280)]).await.unwrap();
        let again = put(&cluster, vec![begin(), cell(640), seal(1280)]).await;
        assert_eq!(again, Err(Code::InvalidArgument), "a shard is never replaced");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn other_requests_that_make_no_sense_are_refused() {
        let cluster = Cluster::of(1).await;
        let mut client = client(&cluster);
        let refused = |code: Code| assert_eq!(code, Code::InvalidArgument);
        let segment = wire::segment_name(&shard().id);
        for value in [&b""[..], b"short", &[1; 1000], &[1; 2 << 20]] {
            let (name, value) = (Some(segment.clone()), Bytes::copy_from_slice(value));
            let put = client.put_small(v1::PutSmallRequest { name, value }).await;
            refused(put.unwrap_err().code());
        }
        let range = |first_cell, cells| v1::GetShardRequest {
            name: Some(wire::shard_name(&shard())),
            first_cell,
            cells,
        };
        put(&cluster, vec![begin(), cell(640), seal(1280)]).await.unwrap();
        assert!(client.get_shard(range(0, 1)).await.is_ok());
        for (first, cells) in [(0, 0), (0, 2), (1, 1), (u32::MAX, u32::MAX), (0, u32::MAX)] {
            refused(client.get_shard(range(first, cells)).await.unwrap_err().code());
        }
        let small = vec![segment; 1001];
        let request = v1::DeleteSegmentsRequest {
            shards: vec![],
            small,
        };
        refused(client.delete_segments(request).await.unwrap_err().code());
        let missing = v1::StatShardRequest {
            name: Some(wire::shard_name(&ShardName { index: 1, ..shard() })),
        };
        assert_eq!(
            client.stat_shard(missing).await.unwrap_err().code(),
            Code::NotFound
        );
    }
}
