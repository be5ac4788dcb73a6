//! Repair on clusters of several nodes: what is lost comes back as it was, or is listed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::blob::disk::Disk;
use crate::blob::disk::testing::TestDisk;
use crate::blob::id::BlobId;
use crate::blob::keys;
use crate::blob::record::{DebtRecord, Form, Located};
use crate::blob::shard_file::{HEADER_BYTES, ShardHeader, checksum};
use crate::blob::suite::{SPACE, content, keep, read};
use crate::blob::testing::Cluster;
use crate::node_id::NodeId;
use crate::tasks::TaskKind;

const MIB: usize = 1 << 20;
const SIZES: [usize; 3] = [10_000, 3 * MIB + 5, 33 * MIB];

/// More rounds than it ever takes until nothing is left that a round may leave.
const MANY_ROUNDS: usize = 20;

/// One round on some nodes, in this order. Tells whether one of them wants another soon.
pub(in crate::blob) async fn round(cluster: &Cluster, nodes: impl IntoIterator<Item = usize>) -> bool {
    let mut soon = false;
    for node in nodes {
        let task = RepairTask::new(cluster.nodes[node].upkeep.clone());
        let next = task.round(&cluster.work(TaskKind::Repair, node)).await.unwrap();
        soon |= matches!(next, Next::Within(_));
    }
    soon
}

/// Gives shards that were too slow to be waited for time to arrive. A round that cannot take one
/// from a busy node says that it wants another, and is given it, as the supervisor would.
pub(in crate::blob) async fn settle(cluster: &Cluster) {
    for _ in 0..MANY_ROUNDS {
        if !round(cluster, 0..cluster.nodes.len()).await {
            break;
        }
    }
    assert_eq!(cluster.debts().await, 0);
}

/// The shard files of a node with their bytes, without those in quarantine. Which blob they are of
/// is left out: where a blob has several segments, the writer knows only in the last.
pub(in crate::blob) fn shards(disk: &TestDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut shards = BTreeMap::new();
    for file in disk.files() {
        if file.starts_with("shards") && !file.starts_with("shards/quarantine") {
            disk.damage(&file, |bytes| {
                let mut bytes = bytes.clone();
                if let Ok(mut header) = ShardHeader::decode(&bytes[..HEADER_BYTES]) {
                    header.seal.blob = None;
                    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
                }
                shards.insert(file.clone(), bytes);
            });
        }
    }
    shards
}

async fn small(cluster: &Cluster, node: usize) -> Vec<crate::blob::record::SegmentId> {
    let listed = cluster.nodes[node].stores.small.list(None, 1000).unwrap();
    listed.into_iter().map(|listed| listed.id).collect()
}

/// Reads all blobs through one node.
pub(in crate::blob) async fn check_all(cluster: &Cluster, reader: usize, ids: &[(usize, BlobId)]) {
    for (size, id) in ids {
        let got = read(cluster.blobs(reader), id, None).await;
        assert!(
            got.unwrap() == content(*size),
            "{size} bytes through node {reader}"
        );
    }
}

async fn listed(cluster: &Cluster, node: usize) -> Vec<UnderProtected> {
    let page = cluster.nodes[node]
        .upkeep
        .under_protected(None, 100)
        .await
        .unwrap();
    assert!(page.next.is_none());
    page.blobs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_disk_is_filled_again_with_the_same_bytes() {
    for count in [3, 6] {
        let cluster = Cluster::of(count).await;
        let mut ids = Vec::new();
        for size in SIZES.into_iter().chain([20_000, 30_000]) {
            ids.push((size, keep(cluster.blobs(0), &content(size)).await));
        }
        settle(&cluster).await;
        let (shards_before, small_before) = (shards(&cluster.nodes[1].disk), small(&cluster, 1).await);
        assert!(!shards_before.is_empty());
        for file in shards_before.keys() {
            cluster.nodes[1].disk.remove(file).unwrap();
        }
        cluster.nodes[1]
            .stores
            .delete(Vec::new(), small_before.clone())
            .await
            .unwrap();
        round(&cluster, [0, 1]).await;
        assert!(shards(&cluster.nodes[1].disk) == shards_before);
        assert_eq!(small(&cluster, 1).await, small_before);
        assert_eq!(cluster.debts().await, 0);
        assert!(listed(&cluster, 0).await.is_empty());
        cluster.kill(0);
        check_all(&cluster, 1, &ids).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_reader_finds_missing_or_corrupt_is_rebuilt_without_looking_at_everything() {
    let cluster = Cluster::of(3).await;
    let id = keep(cluster.blobs(0), &content(5 * MIB)).await;
    settle(&cluster).await;
    let home = cluster.placement(&id).await.homes[0];
    let victim = cluster.nodes.iter().position(|node| node.id == home).unwrap();
    let disk = &cluster.nodes[victim].disk;
    let before = shards(disk);
    let task = RepairTask::new(cluster.nodes[victim].upkeep.clone());
    let work = cluster.work(TaskKind::Repair, victim);
    task.round(&work).await.unwrap();
    for corrupt in [true, false] {
        let file = before.keys().next().unwrap();
        match corrupt {
            true => disk.damage(file, |bytes| bytes[HEADER_BYTES + 5] ^= 1),
            false => disk.remove(file).unwrap(),
        }
        check_all(&cluster, (victim + 1) % 3, &[(5 * MIB, id)]).await;
        RepairTask::alarms(&cluster.nodes[victim].upkeep).await;
        task.round(&work).await.unwrap();
        assert!(shards(disk) == before, "corrupt: {corrupt}");
        assert_eq!(cluster.debts().await, 0);
    }
    assert_eq!(disk.files().len(), 2, "what was corrupt is in quarantine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_node_had_is_built_on_others_and_the_next_loss_is_survived() {
    let cluster = Cluster::of(8).await;
    let mut ids = Vec::new();
    for size in SIZES
        .into_iter()
        .cycle()
        .take(9)
        .enumerate()
        .map(|(turn, size)| size + turn * 64)
    {
        ids.push((size, keep(cluster.blobs(0), &content(size)).await));
    }
    cluster.kill(7);
    cluster.notice(7);
    round(&cluster, 0..7).await;
    let uses = async |node: usize| {
        let mut uses = 0;
        for (_, id) in &ids {
            for segment in cluster.record(id).await.located() {
                uses += segment
                    .record
                    .placement
                    .homes
                    .iter()
                    .filter(|home| **home == cluster.nodes[node].id)
                    .count();
            }
        }
        uses
    };
    assert!(uses(7).await > 0, "a node that is only away keeps its place");
    cluster.give_up(7);
    round(&cluster, 0..7).await;
    assert_eq!(uses(7).await, 0);
    assert_eq!(cluster.debts().await, 0);
    for (_, id) in &ids {
        for segment in cluster.record(id).await.located() {
            let placement = segment.record.placement;
            let homes: BTreeSet<NodeId> = placement.homes.iter().copied().collect();
            assert_eq!(homes.len(), placement.homes.len(), "one shard on each");
            for (index, home) in (0..).zip(&placement.homes) {
                let located = Located {
                    id: segment.id,
                    record: cluster.record(id).await.located()[segment.id.number as usize]
                        .record
                        .clone(),
                };
                cluster
                    .node(*home)
                    .upkeep
                    .check_here(&located, index)
                    .await
                    .unwrap();
            }
        }
    }
    // As much again as could be lost at first.
    cluster.kill(0);
    cluster.kill(1);
    check_all(&cluster, 5, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_lost_is_listed_and_does_not_hold_up_the_others() {
    let cluster = Cluster::of(3).await;
    let (size, other_size) = (5 * MIB, 4 * MIB);
    let (lost, other) = (
        keep(cluster.blobs(0), &content(size)).await,
        keep(cluster.blobs(0), &content(other_size)).await,
    );
    settle(&cluster).await;
    let files_of = async |id: &BlobId| {
        let generation = cluster.record(id).await.generation.to_string();
        let name = move |file: &PathBuf| file.to_str().unwrap().contains(&generation);
        cluster
            .nodes
            .iter()
            .map(|node| shards(&node.disk).into_keys().find(&name).unwrap())
            .collect::<Vec<_>>()
    };
    let (lost_files, other_files) = (files_of(&lost).await, files_of(&other).await);
    cluster.nodes[0].disk.remove(&lost_files[0]).unwrap();
    cluster.nodes[1].disk.remove(&lost_files[1]).unwrap();
    cluster.nodes[1].disk.remove(&other_files[1]).unwrap();
    round(&cluster, [0, 1, 2, 0, 1, 2]).await;
    check_all(&cluster, 0, &[(other_size, other)]).await;
    cluster.kill(0);
    check_all(&cluster, 2, &[(other_size, other)]).await;
    let listed = listed(&cluster, 2).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((listed[0].blob, listed[0].protection), (lost, Protection::Lost));
    assert!(listed[0].problem.is_some());
    let debt: DebtRecord = cluster
        .kv
        .local()
        .record(&keys::debt(SPACE, &lost))
        .await
        .unwrap()
        .unwrap();
    assert!(debt.unrecoverable);
}

/// Makes a shard hold something else, in a way that its checksums do not tell.
pub(in crate::blob) fn forge(disk: &TestDisk, file: &Path) {
    disk.damage(file, |bytes| {
        let mut header = ShardHeader::decode(&bytes[..HEADER_BYTES]).unwrap();
        bytes[HEADER_BYTES + 100] ^= 0xff;
        let cell = header.geometry().unwrap().cell_bytes(0);
        header.checksums[0] = checksum(&bytes[HEADER_BYTES..HEADER_BYTES + cell]);
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repair_never_spreads_rot() {
    for (count, recoverable) in [(6, true), (3, false)] {
        let cluster = Cluster::of(count).await;
        let size = 9 * MIB;
        let id = keep(cluster.blobs(0), &content(size)).await;
        settle(&cluster).await;
        let homes = cluster.placement(&id).await.homes;
        let before: Vec<_> = homes
            .iter()
            .map(|home| shards(&cluster.node(*home).disk))
            .collect();
        let at = |index: usize| {
            cluster
                .nodes
                .iter()
                .position(|node| node.id == homes[index])
                .unwrap()
        };
        let file = before[0].keys().next().unwrap();
        // The first shard lies, the second is gone.
        forge(&cluster.nodes[at(0)].disk, file);
        let gone = before[1].keys().next().unwrap();
        cluster.nodes[at(1)].disk.remove(gone).unwrap();
        round(&cluster, [at(1), at(0), at(1)]).await;
        let rebuilt = shards(&cluster.nodes[at(1)].disk);
        if recoverable {
            assert!(rebuilt == before[1]);
            assert!(
                shards(&cluster.nodes[at(0)].disk) == before[0],
                "the liar was found"
            );
            assert_eq!(cluster.debts().await, 0);
            check_all(&cluster, 2, &[(size, id)]).await;
        } else {
            assert!(rebuilt.is_empty(), "nothing is better than something wrong");
            assert_eq!(listed(&cluster, 0).await[0].protection, Protection::Lost);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_most_endangered_come_first() {
    let cluster = Cluster::of(6).await;
    let mut ids = Vec::new();
    for turn in 0..6 {
        ids.push(keep(cluster.blobs(0), &content(3 * MIB + turn)).await);
    }
    settle(&cluster).await;
    // All have lost the shard of the first node, and one of them that of another as well.
    for file in shards(&cluster.nodes[0].disk).into_keys() {
        cluster.nodes[0].disk.remove(&file).unwrap();
    }
    let endangered = ids[3];
    let generation = cluster.record(&endangered).await.generation.to_string();
    let (file, _) = shards(&cluster.nodes[1].disk)
        .into_iter()
        .find(|(file, _)| file.to_str().unwrap().contains(&generation))
        .unwrap();
    cluster.nodes[1].disk.remove(&file).unwrap();
    RepairTask::new(cluster.nodes[1].upkeep.clone())
        .find(&cluster.work(TaskKind::Repair, 1))
        .await
        .unwrap();
    round(&cluster, [0]).await;
    let mut repaired = Vec::new();
    for id in &ids {
        let stored = cluster.kv.local().get(&keys::record(SPACE, id)).await.unwrap();
        repaired.push((stored.unwrap().version, *id));
    }
    repaired.sort_unstable();
    assert_eq!(repaired[0].1, endangered);
    assert_eq!(cluster.debts().await, 1, "the second node has not done its part");
    round(&cluster, [1]).await;
    assert_eq!(cluster.debts().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_while_a_node_was_away_reaches_it_when_it_is_back() {
    let cluster = Cluster::of(4).await;
    cluster.notice(2);
    let mut ids = Vec::new();
    for size in [3 * MIB, 33 * MIB] {
        ids.push((size, keep(cluster.blobs(0), &content(size)).await));
    }
    assert_eq!(cluster.debts().await, 2);
    assert_eq!(listed(&cluster, 0).await.len(), 2);
    cluster.network.down.lock().unwrap().clear();
    round(&cluster, [2]).await;
    assert_eq!(cluster.debts().await, 0);
    cluster.kill(0);
    cluster.kill(1);
    check_all(&cluster, 2, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_segments_are_repaired_too() {
    let cluster = Cluster::of(3).await;
    let blobs = cluster.blobs(0).with_inline_segments(1);
    let size = 100 * MIB;
    let id = keep(&blobs, &content(size)).await;
    settle(&cluster).await;
    let before = shards(&cluster.nodes[2].disk);
    for file in before.keys() {
        cluster.nodes[2].disk.remove(file).unwrap();
    }
    round(&cluster, [2, 2]).await;
    assert!(shards(&cluster.nodes[2].disk) == before);
    assert_eq!(cluster.debts().await, 0);
    cluster.kill(0);
    check_all(&cluster, 1, &[(size, id)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nodes_are_away_what_they_hold_is_listed() {
    let cluster = Cluster::of(3).await;
    let ids = [
        keep(cluster.blobs(0), &content(3 * MIB)).await,
        keep(cluster.blobs(0), &content(4 * MIB)).await,
        keep(cluster.blobs(0), &content(5 * MIB)).await,
    ];
    let upkeep = &cluster.nodes[0].upkeep;
    assert!(listed(&cluster, 0).await.is_empty());
    for (away, protection) in [(1, Protection::Reduced), (2, Protection::Unreadable)] {
        cluster.notice(away);
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = upkeep.under_protected(after, 2).await.unwrap();
            assert!(
                page.blobs
                    .iter()
                    .all(|blob| blob.protection == protection && blob.spare == 0)
            );
            found.extend(page.blobs.into_iter().map(|blob| blob.blob));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let mut expected = ids.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(cluster.placement(&ids[0]).await.form, Form::Shards);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_built_even_if_who_builds_it_changes_after_others_have_looked_everywhere() {
    let cluster = Cluster::of(6).await;
    let id = keep(cluster.blobs(0), &content(10_000)).await;
    let each = cluster
        .nodes
        .iter()
        .map(|node| RepairTask::new(node.upkeep.clone()));
    let tasks: Vec<RepairTask> = each.collect();
    let round = async |nodes: &[usize]| {
        for node in nodes {
            let work = cluster.work(TaskKind::Repair, *node);
            tasks[*node].round(&work).await.unwrap();
        }
    };
    round(&[0, 1, 2, 3, 4, 5]).await;
    let homes = cluster.placement(&id).await.homes;
    let lost = cluster.nodes.iter().position(|node| node.id == homes[0]).unwrap();
    cluster.kill(lost);
    cluster.give_up(lost);
    let known = Known {
        space: SPACE,
        owner: Owner::Blob(id),
        segment: cluster.record(&id).await.located().remove(0),
        offset: 0,
    };
    let mut builder = None;
    let mut others = Vec::new();
    for node in (0..6).filter(|node| *node != lost) {
        let view = cluster.nodes[node].upkeep.view().await.unwrap();
        match assess(&view, &known.segment) {
            Assessment::Repairable { jobs, .. } if !jobs.is_empty() => builder = Some(node),
            _ => others.push(node),
        }
    }
    let builder = builder.unwrap();
    round(&others).await;
    // Before it does, another copy is moved to it: the lost one is for somebody else now.
    let Upkeep { coded, stores, .. } = &cluster.nodes[builder].upkeep;
    let copied = coded.rebuild(stores, &known.segment, 0, Some(id), 1).await;
    copied.unwrap();
    let moved = Job {
        index: 1,
        from: homes[1],
    };
    let to = cluster.nodes[builder].id;
    let liars = BTreeSet::new();
    let settled = record::settle(cluster.blobs(builder), &known, &id, moved, to, &liars);
    assert!(settled.await.unwrap());
    round(&[builder]).await;
    round(&others).await;
    let placement = cluster.placement(&id).await;
    assert!(
        !placement.homes.contains(&homes[0]) && placement.missing.is_empty(),
        "{placement:?}"
    );
}
