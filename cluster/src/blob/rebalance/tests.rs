//! Nodes come and go, and whatever was stored is where it should be, and never less safe than it
//! was, whenever something breaks off.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::blob::disk::testing::{Operation, TestDisk};
use crate::blob::inventory::Inventory;
use crate::blob::placement::{Layout, Succession};
use crate::blob::record::Located;
use crate::blob::repair::tests::{round as repair_round, settle, shards};
use crate::blob::shard_file::HEADER_BYTES;
use crate::blob::suite::{SPACE, body, content, keep, name, put, read};
use crate::blob::testing::Cluster;
use crate::blob::{BlobId, Holding, Retention, keys, leftover, recode};
use crate::kv::Scan;
use crate::node_id::NodeId;
use crate::tasks::TaskKind;

const MIB: usize = 1 << 20;
const SIZES: [usize; 3] = [10_000, 3 * MIB + 5, 33 * MIB];
const HOUR: Duration = Duration::from_secs(3600);

/// Some blobs, with what is in them.
async fn filled(cluster: &Cluster, count: usize) -> Vec<(usize, BlobId)> {
    let mut ids = Vec::new();
    let sizes = SIZES.into_iter().cycle().enumerate().take(count);
    for (turn, size) in sizes {
        let size = size + turn * 64;
        ids.push((size, keep(cluster.blobs(0), &content(size)).await));
    }
    settle(cluster).await;
    ids
}

/// One round of every node's rebalancing.
async fn round(cluster: &Cluster) {
    for at in 0..cluster.nodes.len() {
        round_of(cluster, at).await;
    }
}

async fn round_of(cluster: &Cluster, at: usize) -> Next {
    let task = RebalanceTask::new(cluster.nodes[at].upkeep.clone());
    let work = cluster.work(TaskKind::Rebalance, at);
    task.round(&work).await.unwrap()
}

/// Every node removes what was moved away from it long enough ago.
async fn remove_leftovers(cluster: &Cluster) {
    for (at, node) in cluster.nodes.iter().enumerate() {
        let work = cluster.work(TaskKind::Collection, at);
        let retention = Retention::default();
        node.upkeep.remove_leftovers(&retention, &work).await.unwrap();
    }
}

async fn segments(cluster: &Cluster, ids: &[(usize, BlobId)]) -> Vec<Located> {
    let mut segments = Vec::new();
    for (_, id) in ids {
        segments.extend(cluster.record(id).await.located());
    }
    segments
}

/// All shards lie where the layout wants them, one on each node, and are sound.
async fn check_placed(cluster: &Cluster, layout: &Layout, ids: &[(usize, BlobId)]) {
    for segment in segments(cluster, ids).await {
        let placement = &segment.record.placement;
        assert!(placement.missing.is_empty(), "{placement:?}");
        let group: BTreeSet<&NodeId> = layout.groups[usize::from(placement.group)].iter().collect();
        let homes: BTreeSet<&NodeId> = placement.homes.iter().collect();
        assert_eq!(homes.len(), placement.homes.len(), "one shard on each node");
        assert!(homes.is_subset(&group), "{homes:?} of {group:?}");
        for (index, home) in (0..).zip(&placement.homes) {
            let upkeep = &cluster.node(*home).upkeep;
            upkeep.check_here(&segment, index).await.unwrap();
        }
    }
}

async fn check_readable(cluster: &Cluster, reader: usize, ids: &[(usize, BlobId)]) {
    for (size, id) in ids {
        let got = read(cluster.blobs(reader), id, None).await;
        assert!(
            got.unwrap() == content(*size),
            "{size} bytes through node {reader}"
        );
    }
}

async fn held(cluster: &Cluster, by: usize, node: usize) -> Holding {
    let node = cluster.nodes[node].id;
    let snapshot = cluster.kv.latest().await.unwrap();
    let nodes = BTreeSet::from([node]);
    let held = cluster.nodes[by].upkeep.holdings(&snapshot, &nodes).await;
    held.unwrap()[&node]
}

fn files(disk: &TestDisk) -> usize {
    disk.files().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_takes_its_share_and_the_old_homes_give_theirs_up_later() {
    let cluster = Cluster::laid_out(8, 7).await;
    let ids = filled(&cluster, 24).await;
    let before: usize = cluster.nodes.iter().map(|node| files(&node.disk)).sum();
    let layout = cluster.lay_out_leaving(8, &[], &[]).await;
    check_readable(&cluster, 7, &ids).await;
    round(&cluster).await;
    check_placed(&cluster, &layout, &ids).await;
    let taken = held(&cluster, 0, 7).await;
    assert!(taken.shards > 0, "the new node has its share");
    let moved = files(&cluster.nodes[7].disk);
    assert!(moved > 0);
    // The others still have theirs, for those who are reading them.
    let now: usize = cluster.nodes.iter().map(|node| files(&node.disk)).sum();
    assert_eq!(now, before + moved);
    remove_leftovers(&cluster).await;
    assert_eq!(
        cluster.nodes.iter().map(|node| files(&node.disk)).sum::<usize>(),
        now
    );
    cluster.clock.advance(HOUR + Duration::from_secs(1));
    remove_leftovers(&cluster).await;
    assert_eq!(
        cluster.nodes.iter().map(|node| files(&node.disk)).sum::<usize>(),
        before
    );
    check_placed(&cluster, &layout, &ids).await;
    // Once is enough.
    let work = cluster.work(TaskKind::Rebalance, 7);
    let task = RebalanceTask::new(cluster.nodes[7].upkeep.clone());
    task.round(&work).await.unwrap();
    assert_eq!(work.state().items, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_has_nothing_any_more_and_may_go() {
    let cluster = Cluster::of(8).await;
    let ids = filled(&cluster, 24).await;
    let before = held(&cluster, 0, 2).await;
    assert!(before.shards > 0 && before.bytes > 0);
    let layout = cluster.lay_out_leaving(8, &[3], &[]).await;
    // It is still the home of what it has, and gets nothing new.
    assert_eq!(held(&cluster, 0, 2).await, before);
    let late = (5 * MIB, keep(cluster.blobs(2), &content(5 * MIB)).await);
    round(&cluster).await;
    let ids = [ids, vec![late]].concat();
    check_placed(&cluster, &layout, &ids).await;
    assert!(held(&cluster, 0, 2).await.is_nothing());
    // It was a copy, not a rebuilding: nothing was in debt at any time.
    assert_eq!(cluster.debts().await, 0);
    cluster.kill(2);
    cluster.notice(2);
    cluster.lay_out_leaving(8, &[3], &[]).await;
    // As much may be lost as ever.
    cluster.kill(0);
    cluster.kill(1);
    check_readable(&cluster, 5, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_that_breaks_off_anywhere_is_ended_by_the_next() {
    let cluster = Cluster::of(8).await;
    let ids = filled(&cluster, 12).await;
    let layout = cluster.lay_out_leaving(8, &[1], &[]).await;
    let moves_of = |at: usize, segments: Vec<Located>| {
        let view = cluster.nodes[at].id;
        let due = segments.into_iter().flat_map(|segment| {
            let here = moves(&layout, &segment.record.placement).into_iter();
            let here = here.filter(|shard| shard.to == view);
            here.map(move |shard| (segment.clone(), shard))
                .collect::<Vec<_>>()
        });
        due.collect::<Vec<_>>()
    };
    // A crash between the copy and the commit: the shard is here, and no record says so.
    let mut left_behind = 0;
    for at in 1..8 {
        for (segment, shard) in moves_of(at, segments(&cluster, &ids).await) {
            if segment.record.placement.form == Form::Small {
                continue;
            }
            let node = &cluster.nodes[at];
            let copied = node
                .upkeep
                .coded
                .copy(&node.stores, &segment, shard.index, shard.from);
            copied.await.unwrap();
            left_behind += 1;
            break;
        }
    }
    assert!(left_behind > 0);
    // And rounds that end at any await, as they do when the process is killed.
    for at in 1..8 {
        for steps in [1, 3, 10, 30] {
            let task = RebalanceTask::new(cluster.nodes[at].upkeep.clone());
            let work = cluster.work(TaskKind::Rebalance, at);
            let mut round = Box::pin(async { task.round(&work).await.unwrap() });
            for _ in 0..steps {
                if futures::poll!(&mut round).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }
    check_readable(&cluster, 3, &ids).await;
    round(&cluster).await;
    check_placed(&cluster, &layout, &ids).await;
    assert!(held(&cluster, 1, 0).await.is_nothing());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_moved_away_and_back_is_not_removed_where_it_lives() {
    let cluster = Cluster::of(8).await;
    let ids = filled(&cluster, 12).await;
    cluster.lay_out_leaving(8, &[4], &[]).await;
    round(&cluster).await;
    assert!(held(&cluster, 0, 3).await.is_nothing());
    let had = shards(&cluster.nodes[3].disk).len();
    // The operator thinks better of it, before anything was removed.
    let layout = cluster.lay_out_leaving(8, &[], &[]).await;
    round(&cluster).await;
    check_placed(&cluster, &layout, &ids).await;
    cluster.clock.advance(2 * HOUR);
    remove_leftovers(&cluster).await;
    check_placed(&cluster, &layout, &ids).await;
    assert!(had > 0 && !shards(&cluster.nodes[3].disk).is_empty());
    cluster.kill(0);
    cluster.kill(1);
    check_readable(&cluster, 3, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_is_not_dropped_before_the_new_home_is_safe() {
    let cluster = Cluster::of(8).await;
    let size = 9 * MIB;
    let mut ids = Vec::new();
    for turn in 0..6 {
        ids.push((size + turn, keep(cluster.blobs(0), &content(size + turn)).await));
    }
    settle(&cluster).await;
    let homes_before: Vec<Vec<NodeId>> = segments(&cluster, &ids)
        .await
        .into_iter()
        .map(|segment| segment.record.placement.homes)
        .collect();
    let layout = cluster.lay_out_leaving(8, &[5], &[]).await;
    // No disk but the old home's takes anything.
    for (at, node) in cluster.nodes.iter().enumerate().filter(|(at, _)| *at != 4) {
        node.disk.fail(Operation::Write, std::io::ErrorKind::Other);
        round_of(&cluster, at).await;
        node.disk.heal();
    }
    let homes_after: Vec<Vec<NodeId>> = segments(&cluster, &ids)
        .await
        .into_iter()
        .map(|segment| segment.record.placement.homes)
        .collect();
    assert_eq!(homes_before, homes_after);
    cluster.clock.advance(2 * HOUR);
    remove_leftovers(&cluster).await;
    check_readable(&cluster, 6, &ids).await;
    round(&cluster).await;
    check_placed(&cluster, &layout, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rotten_at_its_old_home_is_built_from_the_others() {
    let cluster = Cluster::of(8).await;
    let ids = filled(&cluster, 6).await;
    for file in shards(&cluster.nodes[6].disk).into_keys() {
        cluster.nodes[6]
            .disk
            .damage(&file, |bytes| bytes[HEADER_BYTES + 77] ^= 4);
    }
    let layout = cluster.lay_out_leaving(8, &[7], &[]).await;
    round(&cluster).await;
    check_placed(&cluster, &layout, &ids).await;
    check_readable(&cluster, 0, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_that_is_leaving_is_not_waited_for() {
    let cluster = Cluster::of(8).await;
    let ids = filled(&cluster, 12).await;
    cluster.kill(5);
    cluster.notice(5);
    repair_round(&cluster, (0..8).filter(|at| *at != 5)).await;
    assert!(held(&cluster, 0, 5).await.shards > 0, "it may come back");
    let layout = cluster.lay_out_leaving(8, &[6], &[]).await;
    for _ in 0..2 {
        repair_round(&cluster, (0..8).filter(|at| *at != 5)).await;
    }
    for at in (0..8).filter(|at| *at != 5) {
        round_of(&cluster, at).await;
    }
    assert!(held(&cluster, 0, 5).await.is_nothing());
    check_placed(&cluster, &layout, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_successor_of_a_dead_node_takes_its_places_and_nothing_else_moves() {
    let cluster = Cluster::laid_out(8, 7).await;
    let ids = filled(&cluster, 12).await;
    let (old, new) = (NodeId(2), NodeId(8));
    cluster.kill(1);
    cluster.notice(1);
    let before = segments(&cluster, &ids).await;
    let layout = cluster.lay_out_leaving(8, &[2], &[Succession { old, new }]).await;
    for _ in 0..2 {
        repair_round(&cluster, (0..8).filter(|at| *at != 1)).await;
    }
    for at in (0..8).filter(|at| *at != 1) {
        round_of(&cluster, at).await;
    }
    check_placed(&cluster, &layout, &ids).await;
    for (before, after) in before.iter().zip(segments(&cluster, &ids).await) {
        let handed_over = before
            .record
            .placement
            .homes
            .iter()
            .map(|home| match *home == old {
                true => new,
                false => *home,
            });
        let homes: Vec<NodeId> = handed_over.collect();
        match before.record.placement.form {
            Form::Shards => assert_eq!(after.record.placement.homes, homes),
            // Any node of the group may have a copy.
            Form::Small => assert!(!after.record.placement.homes.contains(&old)),
        }
    }
    cluster.kill(0);
    cluster.kill(2);
    check_readable(&cluster, 4, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_named_after_everything_was_gone_over_is_moved_as_well() {
    let cluster = Cluster::of(8).await;
    let size = 4 * MIB;
    let mut stored = Vec::new();
    for turn in 0..8 {
        stored.push((size + turn, put(cluster.blobs(0), &content(size + turn)).await));
    }
    let tasks: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| RebalanceTask::new(node.upkeep.clone()))
        .collect();
    let layout = cluster.lay_out_leaving(8, &[1], &[]).await;
    let rounds = async || {
        for (at, task) in tasks.iter().enumerate() {
            task.round(&cluster.work(TaskKind::Rebalance, at)).await.unwrap();
        }
    };
    // Everything is gone over, and there is nothing.
    rounds().await;
    let mut ids = Vec::new();
    for (size, stored) in &stored {
        name(cluster.blobs(0), stored, "late").await.unwrap();
        ids.push((*size, stored.id()));
    }
    assert!(held(&cluster, 1, 0).await.shards > 0);
    rounds().await;
    settle(&cluster).await;
    rounds().await;
    check_placed(&cluster, &layout, &ids).await;
    assert!(held(&cluster, 1, 0).await.is_nothing());
    let strays = Scan::of(&keys::strays(SPACE));
    rounds().await;
    assert!(cluster.kv.local().scan(strays).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_makes_the_cluster_too_small_for_its_code_stores_everything_again() {
    let cluster = Cluster::of(6).await;
    let ids = filled(&cluster, 6).await;
    let layout = cluster.lay_out_leaving(6, &[6], &[]).await;
    round(&cluster).await;
    assert!(
        held(&cluster, 0, 5).await.shards > 0,
        "no fifth of six shards fits"
    );
    for (at, node) in cluster.nodes.iter().enumerate() {
        let task = recode::RecodeTask::new(node.upkeep.clone());
        task.round(&cluster.work(TaskKind::Recoding, at)).await.unwrap();
    }
    settle(&cluster).await;
    check_placed(&cluster, &layout, &ids).await;
    assert!(held(&cluster, 0, 5).await.is_nothing());
    for segment in segments(&cluster, &ids).await {
        assert!(!recode::is_due(&layout, &segment.record.placement));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_behind_is_known_and_forgotten_with_its_node() {
    let cluster = Cluster::of(8).await;
    filled(&cluster, 12).await;
    cluster.lay_out_leaving(8, &[3], &[]).await;
    round(&cluster).await;
    // However old it is, it is not taken for something unknown.
    cluster.clock.advance(30 * 24 * HOUR);
    let upkeep = &cluster.nodes[2].upkeep;
    let mut inventory = Inventory::begin(upkeep).await.unwrap();
    let work = cluster.work(TaskKind::Collection, 2);
    while let Some(findings) = inventory.next(&work).await.unwrap() {
        assert!(findings.unknown.is_empty(), "{:?}", findings.unknown);
    }
    let gone = cluster.nodes[2].id;
    let leftovers = async || {
        let of_node = Scan::of(&keys::leftovers(SPACE)).prefix(gone.0.to_be_bytes());
        cluster.kv.local().scan(of_node).await.unwrap().len()
    };
    assert!(leftovers().await > 0);
    let forgotten = leftover::forget_departed(cluster.blobs(0), SPACE, |node| node != gone);
    forgotten.await.unwrap();
    assert_eq!(leftovers().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_under_way_holds_a_node_back_only_if_it_could_not_be_read_without_it() {
    let cluster = Cluster::of(8).await;
    let id = cluster
        .blobs(0)
        .begin_upload(SPACE, Default::default(), b"owner")
        .await
        .unwrap();
    let bytes = content(40 * MIB);
    let body = body(&bytes, MIB);
    cluster
        .blobs(0)
        .append(SPACE, &id, None, u64::MAX, body)
        .await
        .unwrap();
    let holdings = async |leaving: &[usize]| {
        let nodes: BTreeSet<NodeId> = leaving.iter().map(|at| cluster.nodes[*at].id).collect();
        let snapshot = cluster.kv.latest().await.unwrap();
        let held = cluster.nodes[7].upkeep.holdings(&snapshot, &nodes).await.unwrap();
        held.into_values().collect::<Vec<_>>()
    };
    for at in 0..7 {
        assert!(holdings(&[at]).await[0].is_nothing());
    }
    let needed: u64 = holdings(&[0, 1, 2, 3, 4, 5, 6])
        .await
        .iter()
        .map(|held| held.uploads)
        .sum();
    assert!(needed > 0);
}

#[test]
fn only_what_lies_wrong_is_moved_and_no_node_gets_two() {
    use proptest::prelude::*;

    use crate::blob::placement::{Member, compute};
    use crate::blob::record::{Code, Placement};

    let member = |node: u64| Member {
        node: NodeId(node),
        zone: (node % 4).to_string(),
        capacity: 1,
    };
    let members: Vec<Member> = (1..=9).map(member).collect();
    let layout = compute(&members, Code { data: 4, parity: 2 }, None).unwrap();
    proptest!(|(group in 0u16..1024, homes in Just((1..=12u64).collect::<Vec<_>>()).prop_shuffle(), small in any::<bool>())| {
        let (form, code) = match small {
            true => (Form::Small, layout.code.of_copies()),
            false => (Form::Shards, layout.code),
        };
        let homes: Vec<NodeId> = homes.into_iter().take(code.shards()).map(NodeId).collect();
        let mut placement = Placement { code, form, group, homes, missing: Vec::new(), recode: false };
        let moves = moves(&layout, &placement);
        let wanted = &layout.groups[usize::from(group)];
        let wrong = placement.homes.iter().filter(|home| !wanted.contains(home)).count();
        prop_assert_eq!(moves.len(), wrong, "as few as possible");
        for shard in &moves {
            prop_assert_eq!(placement.homes[usize::from(shard.index)], shard.from);
            prop_assert!(!wanted.contains(&shard.from));
            placement.homes[usize::from(shard.index)] = shard.to;
        }
        let homes: BTreeSet<NodeId> = placement.homes.iter().copied().collect();
        prop_assert_eq!(homes.len(), placement.homes.len());
        prop_assert!(homes.iter().all(|home| wanted.contains(home)));
        prop_assert!(super::moves(&layout, &placement).is_empty());
    });
}
