//! Nodes with several disks, on one of which something goes wrong.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::*;
use crate::blob::BlobId;
use crate::blob::disk::testing::{Operation, TestBays, TestDisk};
use crate::blob::disk::{Disk, Room};
use crate::blob::id::Generation;
use crate::blob::pool::Pool;
use crate::blob::rebalance::RebalanceTask;
use crate::blob::recode::RecodeTask;
use crate::blob::record::SegmentId;
use crate::blob::repair::tests::{check_all, round as repair, settle, shards};
use crate::blob::scrub::ScrubTask;
use crate::blob::suite::{content, keep};
use crate::blob::testing::{Cluster, Disks, bay};
use crate::node_id::{ClusterId, NodeId};
use crate::storage::{DiskWatch, FailStop};
use crate::tasks::{Task, TaskKind};

const MIB: usize = 1 << 20;

/// Disks of one node over several starts.
struct Rig {
    folder: tempfile::TempDir,
    bays: TestBays,
    owner: DiskOwner,
}

impl Rig {
    fn new(bays: &TestBays) -> Self {
        let owner = DiskOwner {
            cluster: ClusterId::random(&Seams::system()),
            node: NodeId(3),
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            bays: bays.clone(),
            owner,
        }
    }

    fn start(&self, listed: &[&str], without: &[DiskId]) -> Result<ShardDisks, DiskError> {
        let data = TestDisk::default();
        let (seams, watch) = (Seams::system(), DiskWatch::new("a test"));
        let fail_stop = FailStop::new(|what| panic!("{what}"));
        let disk: Arc<dyn Disk> = Arc::new(data);
        let store = ShardStore::open(
            disk.clone(),
            seams.clone(),
            fail_stop.clone(),
            watch.clone(),
            1000,
        );
        let data = OpenedDisk {
            path: "/data".into(),
            disk,
            store: Arc::new(store.unwrap()),
            pool: Pool::of(1),
            watch,
        };
        let config = DisksConfig {
            owner: self.owner,
            data: "/data".into(),
            listed: listed.iter().map(PathBuf::from).collect(),
            in_data: listed.is_empty(),
            without: without.to_vec(),
            bays: Arc::new(self.bays.clone()),
        };
        ShardDisks::open(config, data, self.folder.path(), seams, fail_stop, 1000)
    }
}

/// The disks as `path: state`.
fn shown(disks: &ShardDisks) -> Vec<String> {
    let show = |status: DiskStatus| format!("{}: {:?}", status.path, status.state);
    disks.statuses().into_iter().skip(1).map(show).collect()
}

fn at(disks: &ShardDisks, path: &str) -> DiskId {
    let statuses = disks.statuses();
    let found = statuses.iter().find(|status| status.path == path);
    found.unwrap().disk
}

fn two_bays() -> TestBays {
    let bays = TestBays::default();
    bays.put_in("/a");
    bays.put_in("/b");
    bays
}

/// A shard that is being written on one of two disks while that is to be emptied.
#[tokio::test]
async fn a_disk_is_not_taken_for_empty_while_something_is_written_to_it() {
    let bays = two_bays();
    let rig = Rig::new(&bays);
    let disks = rig.start(&["/a", "/b"], &[]).unwrap();
    let code = Code { data: 2, parity: 1 };
    let name = ShardName {
        group: 7,
        id: SegmentId {
            generation: Generation([1; 16]),
            number: 1,
        },
        index: 0,
    };
    let begin = async |disks: &ShardDisks| disks.begin(name, code, 0, Manner::New).await.unwrap();
    let (disk, shard) = begin(&disks).await;
    disks.replace(disk.id, None).await.unwrap();
    assert!(!disk.store.is_empty().unwrap());
    // What comes from then on goes to the other one.
    let (elsewhere, another) = begin(&disks).await;
    assert_ne!(elsewhere.id, disk.id);
    drop(another);
    drop(shard);
    assert!(disk.store.is_empty().unwrap());
}

#[tokio::test]
async fn a_node_starts_without_a_disk_that_has_failed_and_with_no_other_missing() {
    let bays = two_bays();
    let rig = Rig::new(&bays);
    let disks = rig.start(&["/a", "/b"], &[]).unwrap();
    assert_eq!(shown(&disks), ["/a: InUse", "/b: InUse"]);
    let (a, b) = (at(&disks, "/a"), at(&disks, "/b"));
    disks.in_service()[1].health.fail("it broke");
    assert_eq!(shown(&disks), ["/a: Rebuilding", "/b: InUse"]);
    disks.note_failures().await;
    assert_eq!(shown(&disks), ["/b: InUse", "/a: Rebuilding"]);
    drop(disks);

    // Whatever is there in its place by now.
    bays.put_in("/a");
    let disks = rig.start(&["/a", "/b"], &[]).unwrap();
    assert_eq!(shown(&disks), ["/b: InUse", "/a: Rebuilding"]);
    assert!(disks.is_rebuilding());
    disks.rebuilt(disks.losses()).await;
    assert_eq!(shown(&disks), ["/b: InUse", "/a: Failed"]);
    drop(disks);

    // The other one is only not mounted.
    bays.put_in("/b");
    let refused = rig.start(&["/a", "/b"], &[]).err().unwrap().to_string();
    assert!(refused.contains(&format!("--without-disk {b}")), "{refused}");
    let nothing = "00000001".parse().unwrap();
    assert!(rig.start(&["/a", "/b"], &[nothing]).is_err());
    let disks = rig.start(&["/a", "/b"], &[b]).unwrap();
    assert_eq!(shown(&disks), ["/a: Rebuilding", "/b: Rebuilding"]);
    assert_eq!(disks.capacity(), 0);
    drop(disks);
    // Once is enough.
    let disks = rig.start(&["/a", "/b"], &[]).unwrap();

    // An empty disk takes the place of each, and stays.
    disks.replace(a, None).await.unwrap();
    disks.replace(b, None).await.unwrap();
    assert_eq!(shown(&disks), ["/a: InUse", "/b: InUse"]);
    assert!(disks.is_rebuilding(), "what was lost is not back by that");
    assert!(!disks.in_service().iter().any(|disk| [a, b].contains(&disk.id)));
    drop(disks);
    assert_eq!(
        shown(&rig.start(&["/a", "/b"], &[]).unwrap()),
        ["/a: InUse", "/b: InUse"]
    );
}

#[tokio::test]
async fn what_is_put_in_the_place_of_a_disk_must_be_empty() {
    let bays = two_bays();
    let rig = Rig::new(&bays);
    let disks = rig.start(&["/a", "/b"], &[]).unwrap();
    let a = at(&disks, "/a");
    disks.in_service()[1].health.fail("it broke");
    let refused = disks.replace(a, None).await.unwrap_err().to_string();
    assert!(refused.contains("still disk"), "{refused}");
    for (path, expected) in [("/b", "already"), ("/c", "no such folder"), ("b", "absolute")] {
        let refused = disks.replace(a, Some(path.into())).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    drop(bays.put_in("/c").create(Path::new("holiday.jpg")).unwrap());
    let refused = disks.replace(a, Some("/c".into())).await.unwrap_err().to_string();
    assert!(refused.contains("must be empty"), "{refused}");
    bays.put_in("/c");
    disks.replace(a, Some("/c".into())).await.unwrap();
    assert_eq!(shown(&disks), ["/b: InUse", "/c: InUse", "/a: Retired"]);
    drop(disks);
    // Though the configuration still lists the old one, and does not list the new one.
    bays.put_in("/a");
    let disks = rig.start(&["/a", "/b"], &[]).unwrap();
    assert_eq!(shown(&disks), ["/b: InUse", "/c: InUse", "/a: Retired"]);
}

#[tokio::test]
async fn a_disk_that_is_unmounted_is_taken_out() {
    let bays = two_bays();
    let rig = Rig::new(&bays);
    let disks = rig.start(&["/a", "/b"], &[]).unwrap();
    let disk = disks.in_service()[1].clone();
    disk.look(rig.owner).await;
    assert!(!disk.health.has_failed());
    bays.at("/a").remove(Path::new("disk.json")).unwrap();
    disk.look(rig.owner).await;
    assert_eq!(
        disk.health.failure().unwrap().reason,
        "it is not mounted any more"
    );
    // It is counted after it is out, so that whoever counts compares without it.
    while disks.losses() != 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_disk_of_another_node_is_refused() {
    let bays = two_bays();
    drop(Rig::new(&bays).start(&["/a"], &[]).unwrap());
    let refused = Rig::new(&bays).start(&["/a"], &[]).err().unwrap().to_string();
    assert!(refused.contains("not of this node"), "{refused}");
}

async fn filled(cluster: &Cluster, count: usize) -> Vec<(usize, BlobId)> {
    let mut ids = Vec::new();
    for turn in 0..count {
        let size = [10_000, 3 * MIB, 2 * MIB][turn % 3] + turn * 64;
        ids.push((size, keep(cluster.blobs(turn % 3), &content(size)).await));
    }
    settle(cluster).await;
    ids
}

/// The names of the shards on each disk of a node, without the one under the data directory.
fn beside(cluster: &Cluster, node: usize, disks: u32) -> Vec<BTreeSet<PathBuf>> {
    let is_shard = |file: &PathBuf| {
        let of_its_own = ["shards/incoming", "shards/quarantine"];
        file.starts_with("shards") && !of_its_own.iter().any(|folder| file.starts_with(folder))
    };
    let names = |number| {
        // What was being written when a disk failed still lies on it.
        let files = cluster.nodes[node].bays.at(&bay(number)).files();
        files.into_iter().filter(is_shard).collect()
    };
    (1..=disks).map(names).collect()
}

fn disks_of(cluster: &Cluster, node: usize) -> &ShardDisks {
    &cluster.nodes[node].stores.shards
}

async fn rebalance(cluster: &Cluster, node: usize) {
    let task = RebalanceTask::new(cluster.nodes[node].upkeep.clone());
    task.round(&cluster.work(TaskKind::Rebalance, node))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_spread_over_the_disks_and_found_on_them() {
    let cluster = Cluster::with(3, Disks::Several(3)).await;
    let ids = filled(&cluster, 40).await;
    for node in 0..3 {
        check_all(&cluster, node, &ids).await;
        assert!(
            cluster.nodes[node].disk.files().is_empty(),
            "none is under the data directory"
        );
        for on_disk in beside(&cluster, node, 3) {
            assert!(!on_disk.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_between_two_looks_at_the_room_does_not_all_go_to_one_disk() {
    let cluster = Cluster::with(3, Disks::Several(2)).await;
    let bays = &cluster.nodes[1].bays;
    for (number, free) in [(1, 500 << 20), (2, 501 << 20)] {
        let total = 1 << 30;
        bays.at(&bay(number)).set_room(Room { free, total });
    }
    disks_of(&cluster, 1).measure().await;
    filled(&cluster, 30).await;
    for on_disk in beside(&cluster, 1, 2) {
        assert!((8..=12).contains(&on_disk.len()), "{on_disk:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_left_out_and_all_of_them_full_are_a_full_node() {
    let cluster = Cluster::with(3, Disks::Several(2)).await;
    let full = Room {
        free: 0,
        total: 1 << 30,
    };
    let bays = &cluster.nodes[1].bays;
    bays.at(&bay(1)).set_room(full);
    let ids = filled(&cluster, 9).await;
    let [first, second] = &beside(&cluster, 1, 2)[..] else {
        panic!("two disks")
    };
    assert!(first.is_empty() && second.len() == 6, "{first:?} {second:?}");
    check_all(&cluster, 0, &ids).await;
    bays.at(&bay(2)).set_room(full);
    assert_eq!(disks_of(&cluster, 1).measure().await, 0);
    let code = Code { data: 1, parity: 1 };
    let shard = ShardName {
        group: 1,
        id: crate::blob::record::SegmentId::MAX,
        index: 0,
    };
    let begun = disks_of(&cluster, 1).begin(shard, code, 0, Manner::New).await;
    assert!(matches!(begun.err(), Some(ShardError::Full)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_while_it_is_written_to_loses_nothing_and_is_rebuilt_on_the_others() {
    for operation in [
        Operation::Sync,
        Operation::Write,
        Operation::Create,
        Operation::SyncFolder,
    ] {
        let cluster = Cluster::with(3, Disks::Several(3)).await;
        let mut ids = filled(&cluster, 9).await;
        let before = beside(&cluster, 1, 3);
        let dead = cluster.nodes[1].bays.at(&bay(1));
        dead.fail(operation, io::ErrorKind::ReadOnlyFilesystem);
        // Whoever stores and reads meanwhile does not notice.
        for turn in 0..20 {
            let size = 2 * MIB + 100 + turn * 64;
            ids.push((size, keep(cluster.blobs(turn % 3), &content(size)).await));
        }
        check_all(&cluster, 2, &ids).await;
        let disks = disks_of(&cluster, 1);
        assert!(disks.in_service().len() == 3, "{operation:?}: it is not out");
        disks.note_failures().await;
        assert!(disks.is_rebuilding());

        repair(&cluster, [1, 0, 2]).await;
        // What was stored with less redundancy when the disk failed is coded anew.
        for node in 0..3 {
            let task = RecodeTask::new(cluster.nodes[node].upkeep.clone());
            task.round(&cluster.work(TaskKind::Recoding, node)).await.unwrap();
        }
        repair(&cluster, [0, 2, 1]).await;
        assert_eq!(cluster.debts().await, 0, "{operation:?}");
        repair(&cluster, [1]).await;
        assert!(!disks.is_rebuilding());
        assert_eq!(shown(disks)[2], format!("{}: Failed", bay(1)));
        // Though nothing is read from it any more, each shard is on the node again.
        dead.heal();
        let after = beside(&cluster, 1, 3);
        assert!(
            before[0]
                .iter()
                .all(|shard| after[1].contains(shard) || after[2].contains(shard))
        );
        cluster.kill(0);
        cluster.notice(0);
        check_all(&cluster, 1, &ids).await;
        check_all(&cluster, 2, &ids).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_all_its_disks_has_others_hold_what_it_held() {
    let cluster = Cluster::with(5, Disks::Several(1)).await;
    let ids = filled(&cluster, 12).await;
    let held = beside(&cluster, 1, 1)[0].len();
    assert!(held > 0);
    let dead = cluster.nodes[1].bays.at(&bay(1));
    dead.fail(Operation::Create, io::ErrorKind::Other);
    let disks = disks_of(&cluster, 1);
    disks.in_service()[1].look(disks.inner.owner).await;
    disks.note_failures().await;
    assert_eq!((disks.capacity(), disks.measure().await), (0, 0));
    let node = cluster.nodes[1].id;
    cluster.network.rooms.lock().unwrap().insert(node, 0);
    repair(&cluster, [1, 0, 2, 3, 4]).await;
    repair(&cluster, [1]).await;
    assert_eq!(cluster.debts().await, 0);
    assert!(!disks.is_rebuilding());
    cluster.kill(0);
    cluster.notice(0);
    check_all(&cluster, 1, &ids).await;
    // What is small is in the data directory, and stays.
    let small = cluster.placement(&ids[0].1).await;
    assert!(small.missing.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_disk_that_hangs_waits_no_longer_when_it_is_taken_out() {
    let cluster = Cluster::with(3, Disks::Several(2)).await;
    let ids = filled(&cluster, 30).await;
    let first = disks_of(&cluster, 1).in_service()[1].store.clone();
    let mut all = first.groups().unwrap().into_iter();
    let name = all.find_map(|group| first.list(group).unwrap().pop());
    let name = name.expect("of twenty shards one is on the first disk");
    let dead = cluster.nodes[1].bays.at(&bay(1));
    dead.hold(Operation::Read);
    let stores = cluster.nodes[1].stores.clone();
    let waiting = tokio::spawn(async move { stores.read_shard(name, 0..1).await });
    check_all(&cluster, 0, &ids).await;
    disks_of(&cluster, 1).in_service()[1].health.fail("it hangs");
    assert!(matches!(
        waiting.await.unwrap(),
        Err(ShardError::Io(_) | ShardError::Missing)
    ));
    // Who asks from now on does not wait at all.
    let stores = &cluster.nodes[1].stores;
    assert!(matches!(
        stores.read_shard(name, 0..1).await,
        Err(ShardError::Missing)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_is_emptied_while_it_is_read_and_takes_nothing_more() {
    let cluster = Cluster::with(3, Disks::Several(2)).await;
    let ids = filled(&cluster, 24).await;
    let before = beside(&cluster, 1, 2);
    let disks = disks_of(&cluster, 1);
    let old = at(disks, &bay(1));
    assert!(!before[0].is_empty());
    cluster.nodes[1].bays.put_in("/bays/3");
    disks.replace(old, Some("/bays/3".into())).await.unwrap();
    assert_eq!(shown(disks)[0], format!("{}: Retiring", bay(1)));
    // Of three shards two are needed, so that this one is.
    cluster.kill(0);
    cluster.notice(0);
    let ((), ()) = tokio::join!(rebalance(&cluster, 1), check_all(&cluster, 1, &ids));
    check_all(&cluster, 2, &ids).await;
    let after = beside(&cluster, 1, 3);
    assert!(after[0].is_empty(), "{:?}", after[0]);
    assert!(!after[2].is_empty(), "the new one has its share");
    let all = |disks: &[BTreeSet<PathBuf>]| disks.iter().flatten().cloned().collect::<BTreeSet<_>>();
    assert!(all(&before).is_subset(&all(&after)));
    assert_eq!(shown(disks)[2], format!("{}: Retired", bay(1)));
    // And another one may be put in there.
    cluster.nodes[1].bays.put_in(&bay(1));
    disks.replace(old, None).await.unwrap();
    assert_eq!(shown(disks)[2], format!("{}: InUse", bay(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_was_broken_off_is_done_again_and_leaves_one_copy() {
    let cluster = Cluster::with(3, Disks::Several(2)).await;
    let ids = filled(&cluster, 24).await;
    let before = beside(&cluster, 1, 2);
    let bays = &cluster.nodes[1].bays;
    // As if it had ended before the old one was removed.
    let (from, to) = (bays.at(&bay(1)), bays.at(&bay(2)));
    for file in &before[0] {
        let mut bytes = Vec::new();
        from.damage(file, |content| bytes.clone_from(content));
        let _ = to.create_folder(file.parent().unwrap());
        to.create(file).unwrap().write_at(&bytes, 0).unwrap();
    }
    let disks = disks_of(&cluster, 1);
    let old = at(disks, &bay(1));
    disks.replace(old, None).await.unwrap();
    rebalance(&cluster, 1).await;
    let after = beside(&cluster, 1, 2);
    assert!(after[0].is_empty());
    assert_eq!(after[1], before.into_iter().flatten().collect());
    check_all(&cluster, 1, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_rotten_on_one_disk_is_built_again_and_not_found_twice() {
    let cluster = Cluster::with(3, Disks::Several(3)).await;
    let ids = filled(&cluster, 6).await;
    for number in 1..=3 {
        let disk = cluster.nodes[1].bays.at(&bay(number));
        for file in shards(&disk).into_keys() {
            disk.damage(&file, |bytes| bytes[5000] ^= 1);
        }
    }
    let scrub = ScrubTask::new(cluster.nodes[1].upkeep.clone());
    scrub.round(&cluster.work(TaskKind::Scrub, 1)).await.unwrap();
    repair(&cluster, [1]).await;
    assert_eq!(cluster.debts().await, 0);
    let on_disks = beside(&cluster, 1, 3);
    let all: usize = on_disks.iter().map(BTreeSet::len).sum();
    assert_eq!(all, on_disks.into_iter().flatten().collect::<BTreeSet<_>>().len());
    cluster.kill(0);
    cluster.notice(0);
    check_all(&cluster, 2, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keeper_notes_what_fails_and_notices_a_disk_that_nobody_uses() {
    let cluster = Cluster::with(3, Disks::Several(2)).await;
    let disks = disks_of(&cluster, 1).clone();
    let keeping = tokio::spawn(disks.clone().keep());
    let mut changes = disks.changes();
    while disks.statuses().iter().any(|disk| disk.shards.is_none()) {
        tokio::task::yield_now().await;
    }
    let dead = cluster.nodes[1].bays.at(&bay(2));
    dead.fail(Operation::Sync, io::ErrorKind::Other);
    disks.in_service()[2].health.suspect();
    while shown(&disks) != [format!("{}: InUse", bay(1)), format!("{}: Rebuilding", bay(2))] {
        changes.changed().await.unwrap();
    }
    keeping.abort();
}
