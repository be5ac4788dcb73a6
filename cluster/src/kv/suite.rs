//! What every metadata store must do: one suite, run by the in-memory twin and by the replicated
//! store.

use std::sync::atomic::{AtomicU32, Ordering};

use super::chain::{BrokenChain, Chain, Link};
use super::{Collection, CommitError, Key, Kv, MAX_KEY_BYTES, MAX_TRANSACTION_BYTES, Scan, Snapshot, Txn};

/// Two ways to one store, with what keeps it running.
pub(crate) struct Stage {
    pub(crate) one: Kv,
    pub(crate) other: Kv,
    pub(crate) _running: Box<dyn std::any::Any + Send + Sync>,
}

/// Makes a test of each entry of the suite, on a stage that `$stage` sets up.
macro_rules! run_suite {
    ($stage:expr) => {
        run_suite!($stage;
            what_is_committed_is_seen_everywhere_at_once,
            a_transaction_runs_again_when_what_it_read_has_changed,
            what_was_absent_must_still_be_absent,
            nothing_can_appear_in_a_collection_that_was_scanned,
            what_a_collection_below_holds_is_no_item_of_it,
            reads_without_checks_never_conflict,
            a_transaction_takes_effect_whole_or_not_at_all,
            a_transaction_reads_what_it_has_written,
            what_no_log_entry_can_carry_is_refused_before_it_is_one,
            scans_go_both_ways_from_a_position,
            counters_never_conflict,
            a_bound_counter_is_never_brought_past_its_bound,
            those_who_add_to_a_bound_counter_do_not_conflict_while_there_is_room,
            a_number_is_raised_and_never_lowered,
            a_view_stays_as_it_is,
            a_revision_tells_that_items_have_changed,
            what_is_appended_is_numbered_listed_and_vouched_for,
            those_who_append_at_a_time_do_not_conflict,
        );
    };
    ($stage:expr; $($name:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $crate::kv::suite::$name($stage.await).await;
        }
    )*};
}
pub(crate) use run_suite;

fn assert_send<T: Send>(value: T) -> T {
    value
}

fn key(name: &str) -> Key {
    Collection::new("suite").key(name)
}

async fn put(kv: &Kv, key: &Key, value: &'static str) {
    let mut txn = kv.begin().await.unwrap();
    txn.put(key, value);
    txn.commit().await.unwrap();
}

async fn value(kv: &Kv, key: &Key) -> Option<String> {
    let found = kv.latest().await.unwrap().get(key).await.unwrap();
    found.map(|found| String::from_utf8(found.value.to_vec()).unwrap())
}

async fn items(view: &Snapshot, scan: Scan) -> String {
    let found = view.scan(scan).await.unwrap();
    let items = found
        .iter()
        .map(|entry| String::from_utf8(entry.item.to_vec()).unwrap());
    items.collect()
}

pub(crate) async fn what_is_committed_is_seen_everywhere_at_once(stage: Stage) {
    for (round, name) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
        let (writer, reader) = match round % 2 {
            0 => (&stage.one, &stage.other),
            _ => (&stage.other, &stage.one),
        };
        put(writer, &key(name), "here").await;
        assert_eq!(value(reader, &key(name)).await.as_deref(), Some("here"));
        // Whoever has committed has applied it, too.
        assert!(writer.local().get(&key(name)).await.unwrap().is_some());
    }
}

pub(crate) async fn a_transaction_runs_again_when_what_it_read_has_changed(stage: Stage) {
    let key = key("read");
    let runs = AtomicU32::new(0);
    let read_back = assert_send(stage.one.transact(async |mut txn: Txn| {
        let before = txn.get(&key).await.map_err(|_| CommitError::Conflict)?;
        if runs.fetch_add(1, Ordering::SeqCst) == 0 {
            put(&stage.other, &key, "theirs").await;
        }
        txn.put(&key, "ours");
        Ok::<_, CommitError>((txn, before))
    }));
    assert_eq!(read_back.await.unwrap().as_deref(), Some(b"theirs".as_slice()));
    assert_eq!(runs.into_inner(), 2);
    assert_eq!(value(&stage.other, &key).await.as_deref(), Some("ours"));
}

pub(crate) async fn what_was_absent_must_still_be_absent(stage: Stage) {
    let mut first = stage.one.begin().await.unwrap();
    let mut second = stage.other.begin().await.unwrap();
    for txn in [&mut first, &mut second] {
        assert_eq!(txn.get(&key("name")).await.unwrap(), None);
        txn.put(&key("name"), "mine");
    }
    first.commit().await.unwrap();
    assert!(matches!(second.commit().await, Err(CommitError::Conflict)));
}

pub(crate) async fn nothing_can_appear_in_a_collection_that_was_scanned(stage: Stage) {
    let collection = Collection::new("names");
    let mut scanner = stage.one.begin().await.unwrap();
    assert!(scanner.scan(Scan::of(&collection)).await.unwrap().is_empty());
    put(&stage.other, &collection.key("new"), "x").await;
    scanner.put(&key("elsewhere"), "z");
    assert!(matches!(scanner.commit().await, Err(CommitError::Conflict)));
    assert_eq!(value(&stage.one, &key("elsewhere")).await, None);
}

pub(crate) async fn what_a_collection_below_holds_is_no_item_of_it(stage: Stage) {
    let collection = Collection::new("names");
    let mut scanner = stage.one.begin().await.unwrap();
    assert!(scanner.scan(Scan::of(&collection)).await.unwrap().is_empty());
    put(&stage.other, &collection.at("below").key("new"), "x").await;
    scanner.put(&key("elsewhere"), "z");
    scanner.commit().await.unwrap();
}

pub(crate) async fn reads_without_checks_never_conflict(stage: Stage) {
    let mut txn = stage.one.begin().await.unwrap();
    assert!(txn.snapshot().get(&key("read")).await.unwrap().is_none());
    put(&stage.other, &key("read"), "theirs").await;
    txn.put(&key("written"), "ours");
    txn.commit().await.unwrap();
}

pub(crate) async fn a_transaction_takes_effect_whole_or_not_at_all(stage: Stage) {
    let mut failing = stage.one.begin().await.unwrap();
    failing.get(&key("read")).await.unwrap();
    failing.put(&key("first"), "x");
    failing.add(&key("count"), 1);
    put(&stage.other, &key("read"), "theirs").await;
    assert!(matches!(failing.commit().await, Err(CommitError::Conflict)));
    let mut txn = stage.one.begin().await.unwrap();
    txn.put(&key("second"), "y");
    txn.delete(&key("read"));
    txn.add(&key("count"), 4);
    txn.commit().await.unwrap();
    assert_eq!(value(&stage.other, &key("first")).await, None);
    assert_eq!(value(&stage.other, &key("second")).await.as_deref(), Some("y"));
    assert_eq!(value(&stage.other, &key("read")).await, None);
    assert_eq!(stage.other.local().number(&key("count")).await.unwrap(), 4);
}

pub(crate) async fn a_transaction_reads_what_it_has_written(stage: Stage) {
    put(&stage.other, &key("old"), "there").await;
    let mut txn = stage.one.begin().await.unwrap();
    txn.put(&key("new"), "mine");
    txn.delete(&key("old"));
    assert_eq!(txn.get(&key("new")).await.unwrap().as_deref(), Some(&b"mine"[..]));
    assert_eq!(txn.get(&key("old")).await.unwrap(), None);
    // The last of several writes to one key counts.
    txn.put(&key("new"), "last");
    txn.commit().await.unwrap();
    assert_eq!(value(&stage.other, &key("new")).await.as_deref(), Some("last"));
}

pub(crate) async fn what_no_log_entry_can_carry_is_refused_before_it_is_one(stage: Stage) {
    let kv = &stage.one;
    let collection = Collection::new("names");
    // Zeros take two bytes each.
    let mut txn = kv.begin().await.unwrap();
    txn.put(&collection.at([0; MAX_KEY_BYTES / 2]).key("x"), "y");
    assert!(matches!(txn.commit().await, Err(CommitError::KeyTooLong { .. })));

    let mut txn = kv.begin().await.unwrap();
    txn.put(&key("large"), vec![0; MAX_TRANSACTION_BYTES + 1]);
    assert!(matches!(txn.commit().await, Err(CommitError::TooLarge { .. })));

    let mut txn = kv.begin().await.unwrap();
    for number in 0..3000u64 {
        let long = [number.to_be_bytes(); 200].concat();
        txn.get(&collection.key(long)).await.unwrap();
    }
    txn.put(&collection.key("x"), "y");
    assert!(matches!(txn.commit().await, Err(CommitError::TooLarge { .. })));
    // It goes on.
    put(kv, &key("small"), "y").await;
}

pub(crate) async fn scans_go_both_ways_from_a_position(stage: Stage) {
    let collection = Collection::new("letters");
    let mut txn = stage.one.begin().await.unwrap();
    for letter in ["a", "b", "c", "d"] {
        txn.put(&collection.key(letter), letter);
    }
    txn.put(&collection.at("b").key("below"), "not an item");
    txn.commit().await.unwrap();
    let view = stage.other.latest().await.unwrap();
    assert_eq!(items(&view, Scan::of(&collection)).await, "abcd");
    assert_eq!(items(&view, Scan::of(&collection).after("b")).await, "cd");
    assert_eq!(
        items(&view, Scan::of(&collection).after("c").backwards()).await,
        "ba"
    );
    assert_eq!(
        items(&view, Scan::of(&collection).limit(1).backwards()).await,
        "d"
    );
    assert_eq!(items(&view, Scan::of(&collection).prefix("c")).await, "c");
}

pub(crate) async fn counters_never_conflict(stage: Stage) {
    let (mut one, mut other) = (
        stage.one.begin().await.unwrap(),
        stage.other.begin().await.unwrap(),
    );
    one.add(&key("hits"), 2);
    other.add(&key("hits"), -5);
    one.commit().await.unwrap();
    other.commit().await.unwrap();
    let sum = stage
        .one
        .latest()
        .await
        .unwrap()
        .number(&key("hits"))
        .await
        .unwrap();
    assert_eq!(sum as i64, -3);
}

pub(crate) async fn a_bound_counter_is_never_brought_past_its_bound(stage: Stage) {
    let counter = key("bound");
    let add = async |kv: &Kv, delta: i64| {
        let mut txn = kv.begin().await.unwrap();
        txn.bound(&counter, 10);
        txn.add(&counter, delta - 1);
        txn.add(&counter, 1);
        assert_eq!(txn.added(&counter), delta);
        txn.put(&key("beside"), "x");
        txn.commit().await
    };
    let number = async || {
        let number = stage.other.latest().await.unwrap().number(&counter).await;
        number.unwrap().cast_signed()
    };
    add(&stage.one, 11).await.unwrap_err();
    assert!(
        stage
            .other
            .latest()
            .await
            .unwrap()
            .get(&key("beside"))
            .await
            .unwrap()
            .is_none()
    );
    add(&stage.one, 10).await.unwrap();
    assert!(matches!(add(&stage.other, 1).await, Err(CommitError::Conflict)));
    add(&stage.other, -12).await.unwrap();
    assert_eq!(number().await, -2);
    // Past it by a transaction that does not bound it, it can still be lowered.
    let mut txn = stage.one.begin().await.unwrap();
    txn.add(&counter, 100);
    txn.commit().await.unwrap();
    add(&stage.one, 1).await.unwrap_err();
    add(&stage.one, -1).await.unwrap();
    assert_eq!(number().await, 97);
}

pub(crate) async fn those_who_add_to_a_bound_counter_do_not_conflict_while_there_is_room(stage: Stage) {
    let counter = key("bound");
    let mut begun = Vec::new();
    for nth in 0..5 {
        let kv = if nth % 2 == 0 { &stage.one } else { &stage.other };
        begun.push(kv.begin().await.unwrap());
    }
    let mut outcomes = Vec::new();
    for mut txn in begun {
        txn.bound(&counter, 30);
        txn.add(&counter, 7);
        outcomes.push(txn.commit().await.is_ok());
    }
    assert_eq!(outcomes, [true, true, true, true, false]);
    let number = stage.one.latest().await.unwrap().number(&counter).await;
    assert_eq!(number.unwrap(), 28);
}

pub(crate) async fn a_number_is_raised_and_never_lowered(stage: Stage) {
    for (least, expected) in [(5, 5), (3, 5), (9, 9)] {
        let mut txn = stage.one.begin().await.unwrap();
        txn.raise(&key("newest"), least);
        txn.commit().await.unwrap();
        let raised = stage.other.latest().await.unwrap().number(&key("newest")).await;
        assert_eq!(raised.unwrap(), expected);
    }
}

pub(crate) async fn a_view_stays_as_it_is(stage: Stage) {
    let collection = Collection::new("letters");
    put(&stage.one, &collection.key("a"), "before").await;
    let view = stage.other.latest().await.unwrap();
    put(&stage.one, &collection.key("a"), "after").await;
    put(&stage.one, &collection.key("b"), "new").await;
    let newer = stage.other.latest().await.unwrap();
    assert_eq!(
        view.get(&collection.key("a")).await.unwrap().unwrap().value,
        "before"
    );
    assert_eq!(items(&view, Scan::of(&collection)).await, "a");
    assert_eq!(items(&newer, Scan::of(&collection)).await, "ab");
    assert!(newer.applied_index() > view.applied_index());
}

pub(crate) async fn a_revision_tells_that_items_have_changed(stage: Stage) {
    let (collection, elsewhere) = (Collection::new("letters"), Collection::new("numbers"));
    let revisions = async || {
        let view = stage.other.latest().await.unwrap();
        (
            view.revision(&collection).await.unwrap(),
            view.revision(&elsewhere).await.unwrap(),
        )
    };
    assert_eq!(revisions().await, (0, 0));
    put(&stage.one, &collection.key("a"), "x").await;
    let first = revisions().await;
    assert!(first.0 > 0 && first.1 == 0);
    let mut txn = stage.one.begin().await.unwrap();
    txn.delete(&collection.key("a"));
    txn.commit().await.unwrap();
    let second = revisions().await;
    assert!(second.0 > first.0 && second.1 == 0);
}

fn chain() -> Chain {
    Chain::new(Collection::new("suite").at("chain"))
}

fn checked(links: &[Link]) -> Result<(), BrokenChain> {
    let mut before = None;
    for link in links {
        link.check(before)?;
        before = Some(link.hash);
    }
    Ok(())
}

pub(crate) async fn what_is_appended_is_numbered_listed_and_vouched_for(stage: Stage) {
    let (even, odd) = (Collection::new("even"), Collection::new("odd"));
    for round in 0u8..3 {
        let append = async |mut txn: Txn| {
            assert!(!txn.appends_to(&chain()));
            txn.append(&chain(), vec![round], &[]);
            txn.append(&chain(), vec![round; 2], std::slice::from_ref(&even));
            assert!(txn.appends_to(&chain()));
            Ok::<_, CommitError>((txn, ()))
        };
        stage.one.transact(append).await.unwrap();
    }
    let view = stage.other.latest().await.unwrap();
    assert_eq!(view.links(&chain()).await.unwrap(), 6);
    let all = view.links_after(&chain(), 0, 100).await.unwrap();
    let shown: Vec<_> = all
        .iter()
        .map(|link| (link.number, link.content.to_vec()))
        .collect();
    let expected = [
        (1, vec![0]),
        (2, vec![0; 2]),
        (3, vec![1]),
        (4, vec![1; 2]),
        (5, vec![2]),
        (6, vec![2; 2]),
    ];
    assert_eq!(shown, expected);
    assert_eq!(checked(&all), Ok(()));
    assert_eq!(view.links_after(&chain(), 2, 2).await.unwrap(), all[2..4]);
    assert_eq!(view.link(&chain(), 5).await.unwrap().as_ref(), Some(&all[4]));
    assert_eq!(view.link(&chain(), 7).await.unwrap(), None);
    let listed = view.scan(Scan::of(&even)).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|entry| entry.item.to_vec()).collect();
    assert_eq!(listed, [2u64, 4, 6].map(|number| number.to_be_bytes().to_vec()));
    assert!(view.scan(Scan::of(&odd)).await.unwrap().is_empty());
}

pub(crate) async fn those_who_append_at_a_time_do_not_conflict(stage: Stage) {
    let (mut one, mut other) = (
        stage.one.begin().await.unwrap(),
        stage.other.begin().await.unwrap(),
    );
    one.append(&chain(), "one", &[]);
    other.append(&chain(), "other", &[]);
    other.commit().await.unwrap();
    one.commit().await.unwrap();
    let all = stage
        .other
        .latest()
        .await
        .unwrap()
        .links_after(&chain(), 0, 10)
        .await
        .unwrap();
    let contents: Vec<_> = all.iter().map(|link| &link.content[..]).collect();
    assert_eq!(contents, [&b"other"[..], b"one"]);
    assert_eq!(checked(&all), Ok(()));
}
