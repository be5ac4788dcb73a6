//! What is taken out of one store and put into another one, both in memory.

use bytes::Bytes;
use futures::{TryStreamExt, stream};

use super::*;
use crate::blob::{BackupId, BlobId, Blobs, DigestSet, Space};
use crate::kv::{CommitError, Key, Kv, Scan, Txn};
use crate::level::Level;
use crate::node_id::ClusterId;
use crate::seams::{Seams, Timestamp};
use crate::tasks::{TaskKind, TaskSettings, put_settings};

const SPACE: Space = Space(3);

#[derive(Debug, thiserror::Error)]
enum TestError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Blob(#[from] crate::blob::BlobTxnError),
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

struct Side {
    kv: Kv,
    blobs: Blobs,
    seams: Seams,
}

impl Side {
    fn new() -> Self {
        let seams = Seams::system();
        let kv = Kv::in_memory(seams.clone());
        let blobs = Blobs::in_memory(kv.clone(), seams.clone());
        Self { kv, blobs, seams }
    }

    /// Stores content that some records name.
    async fn keep(&self, content: &str, names: &[&str]) -> BlobId {
        let body = Bytes::copy_from_slice(content.as_bytes());
        let body = stream::iter([Ok::<_, std::convert::Infallible>(body)]);
        let want = DigestSet {
            md5: true,
            ..DigestSet::default()
        };
        let stored = self.blobs.put(SPACE, want, 1 << 20, body).await.unwrap();
        let name = async |mut txn: Txn| {
            for name in names {
                self.blobs.reference(&mut txn, &stored, name.as_bytes()).await?;
            }
            Ok::<_, TestError>((txn, ()))
        };
        self.kv.transact(name).await.unwrap();
        stored.id()
    }

    async fn release(&self, id: &BlobId, name: &str) {
        let work = async |mut txn: Txn| {
            self.blobs.release(&mut txn, SPACE, id, name.as_bytes()).await?;
            Ok::<_, TestError>((txn, ()))
        };
        self.kv.transact(work).await.unwrap();
    }

    async fn write(&self, records: &[(Key, &'static str)]) {
        let work = async |mut txn: Txn| {
            for (key, value) in records {
                txn.put(key, *value);
            }
            Ok::<_, TestError>((txn, ()))
        };
        self.kv.transact(work).await.unwrap();
    }

    async fn export(&self) -> Vec<u8> {
        let snapshot = self.kv.local();
        let (backup, cluster) = (BackupId(self.seams.random()), ClusterId::random(&self.seams));
        let begin = Begin::of(&snapshot, backup, cluster, self.seams.clock.now())
            .await
            .unwrap();
        let pieces: Vec<Bytes> = export(snapshot, begin).try_collect().await.unwrap();
        pieces.concat()
    }

    async fn begin(&self, begin: &Begin) -> Result<Restore, RestoreError> {
        Restore::begin(self.kv.clone(), self.blobs.clone(), self.seams.clone(), begin).await
    }

    /// Restores all that another one exported, blobs and records.
    async fn restore(&self, from: &Self, exported: &[u8]) -> Result<Restore, RestoreError> {
        let (begin, blobs, records) = taken_apart(exported);
        let restore = self.begin(&begin).await?;
        for (blob, names) in blobs {
            let content = from
                .blobs
                .read(&from.kv.local(), SPACE, &blob.id, None)
                .await
                .unwrap();
            restore.store(&blob, &names[0], content).await.unwrap();
            restore.name(&blob, &names).await?;
        }
        restore
            .write::<TestError>(stream::iter(records.into_iter().map(Ok)))
            .await
            .unwrap();
        Ok(restore)
    }

    /// All that is kept for callers.
    async fn records(&self) -> Vec<(Key, Bytes)> {
        let mut records = Vec::new();
        let mut after: Option<Key> = None;
        loop {
            let page = self.kv.local().page(after.as_ref(), &own_records(), 1000).await;
            let page = page.unwrap();
            let Some((last, _)) = page.last() else {
                return records;
            };
            after = Some(last.clone());
            records.extend(page.into_iter().map(|(key, found)| (key, found.value)));
        }
    }
}

type Named = (ExportedBlob, Vec<Bytes>);

fn taken_apart(exported: &[u8]) -> (Begin, Vec<Named>, Vec<(Key, Bytes)>) {
    let (mut begin, mut blobs, mut records) = (None, Vec::<Named>::new(), Vec::new());
    for part in Parts::new(exported) {
        match part.unwrap() {
            Part::Begin(found) => begin = Some(found),
            Part::Blob(blob) => blobs.push((blob, Vec::new())),
            Part::Name(name) => blobs.last_mut().unwrap().1.push(name),
            Part::Record { key, value } => records.push((Key::decode(key).unwrap(), value)),
            Part::End(totals) => assert_eq!(totals.records, records.len() as u64),
        }
    }
    (begin.unwrap(), blobs, records)
}

fn key(segment: u64, item: &str) -> Key {
    Collection::new(segment).at("things").key(item)
}

#[tokio::test]
async fn what_was_kept_is_kept_again_and_nothing_of_the_cluster_itself() {
    let (old, new) = (Side::new(), Side::new());
    let named = old.keep("twice named", &["a", "b"]).await;
    let gone = old.keep("named no more", &["a"]).await;
    old.release(&gone, "a").await;
    old.write(&[
        (key(0, "first"), "1"),
        (key(u64::MAX, "last"), "2"),
        (Collection::new("cluster").at("nodes").key("1"), "a node"),
        (Collection::new("clusters").key("x"), "of a caller"),
    ])
    .await;
    let work = async |mut txn: Txn| {
        let settings = TaskSettings {
            bytes_per_second: Some(7),
            ..TaskSettings::default()
        };
        put_settings(&mut txn, TaskKind::Scrub, &settings);
        Ok::<_, TestError>((txn, ()))
    };
    old.kv.transact(work).await.unwrap();

    let exported = old.export().await;
    let restore = new.restore(&old, &exported).await.unwrap();
    assert!(is_under_way(&new.kv.local()).await.unwrap());
    restore.finish().await.unwrap();
    assert!(!is_under_way(&new.kv.local()).await.unwrap());

    assert_eq!(new.records().await, old.records().await);
    assert_eq!(new.records().await.len(), 3);
    let (_, blobs, _) = taken_apart(&exported);
    assert_eq!(blobs.len(), 1, "only what is named");
    let info = new.blobs.stat(&new.kv.local(), SPACE, &named).await.unwrap();
    assert_eq!(
        info,
        old.blobs.stat(&old.kv.local(), SPACE, &named).await.unwrap()
    );
    // Each name is one: the blob stays until both are gone.
    new.release(&named, "a").await;
    assert_eq!(
        taken_apart(&new.export().await).1[0].1,
        [Bytes::from_static(b"b")]
    );

    let set = crate::tasks::all_that_is_set(&new.kv.local()).await.unwrap();
    let [(TaskKind::Collection, collection), (TaskKind::Scrub, scrub)] = set.as_slice() else {
        panic!("{set:?}");
    };
    assert!(collection.paused && collection.paused_because.is_some());
    assert_eq!(scrub.bytes_per_second, Some(7));
}

#[tokio::test]
async fn revisions_go_on_from_those_of_the_cluster_before() {
    let (old, new, newest) = (Side::new(), Side::new(), Side::new());
    let things = Collection::new(5u64).at("things");
    for value in ["1", "2", "3", "4", "5", "6", "7", "8", "9"] {
        old.write(&[(key(5, "x"), value)]).await;
    }
    let seen = async |side: &Side| {
        let snapshot = side.kv.local();
        snapshot.earlier_revisions().await.unwrap() + snapshot.revision(&things).await.unwrap()
    };
    new.restore(&old, &old.export().await).await.unwrap();
    assert!(seen(&new).await > seen(&old).await);
    newest.restore(&new, &new.export().await).await.unwrap();
    assert!(seen(&newest).await > seen(&new).await);
}

#[tokio::test]
async fn nothing_is_restored_over_what_is_there() {
    let old = Side::new();
    old.write(&[(key(1, "x"), "old")]).await;
    let exported = old.export().await;
    let (begin, _, _) = taken_apart(&exported);

    let used = Side::new();
    used.write(&[(key(1, "x"), "in use")]).await;
    assert!(matches!(used.begin(&begin).await, Err(RestoreError::NotEmpty)));

    let new = Side::new();
    let restore = new.restore(&old, &exported).await.unwrap();
    let other = taken_apart(&old.export().await).0;
    assert!(matches!(new.begin(&other).await, Err(RestoreError::Other { .. })));
    // The same may be done again, until it has ended.
    new.restore(&old, &exported).await.unwrap();
    restore.clone().finish().await.unwrap();
    assert!(matches!(new.begin(&begin).await, Err(RestoreError::Other { .. })));
    let late = stream::iter([Ok((key(1, "x"), Bytes::from_static(b"late")))]);
    assert!(restore.write::<TestError>(late).await.is_err());
    assert_eq!(new.records().await[0].1, "old");
}

#[tokio::test]
async fn what_a_newer_cluster_wrote_is_not_restored_by_what_cannot_read_it() {
    let (old, new) = (Side::new(), Side::new());
    old.write(&[(key(1, "x"), "new form")]).await;
    let mut txn = old.kv.begin().await.unwrap();
    Level(2).put(&mut txn, Timestamp(1));
    txn.commit().await.unwrap();
    let exported = old.export().await;
    let (begin, ..) = taken_apart(&exported);
    assert_eq!(begin.level, Level(2));
    let refused = new.begin(&begin).await.err().unwrap();
    assert!(refused.to_string().contains("use a newer cairn"), "{refused}");
    let mut txn = new.kv.begin().await.unwrap();
    Level(3).put(&mut txn, Timestamp(1));
    txn.commit().await.unwrap();
    new.restore(&old, &exported).await.unwrap();
}

#[tokio::test]
async fn a_blob_with_other_bytes_is_not_taken_for_the_one_that_is_missing() {
    let (old, new) = (Side::new(), Side::new());
    let id = old.keep("content", &["a", "b"]).await;
    let (begin, blobs, _) = taken_apart(&old.export().await);
    let (blob, names) = &blobs[0];
    let restore = new.begin(&begin).await.unwrap();
    for wrong in ["contenT", "conten", "content and more"] {
        let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from(wrong))]);
        let refused = restore.store(blob, &names[0], body).await;
        assert!(matches!(refused, Err(StoreBlobError::Differs { .. })), "{wrong}");
    }
    assert!(!restore.has(blob).await.unwrap());
    restore.name(blob, names).await.unwrap();
    restore.finish().await.unwrap();

    // Whoever stores the bytes again mends all that names them.
    new.keep("content", &["c"]).await;
    new.release(&id, "c").await;
    let (_, blobs, _) = taken_apart(&new.export().await);
    assert_eq!(blobs[0].1, [Bytes::from_static(b"a"), Bytes::from_static(b"b")]);
}

#[tokio::test]
async fn many_and_large_records_are_written_in_transactions_that_they_fit_into() {
    let (old, new) = (Side::new(), Side::new());
    let large = Bytes::from(vec![7; 900 << 10]);
    let small = Bytes::from(vec![8; 300 << 10]);
    for (number, value) in [&small, &large, &small, &small, &large].into_iter().enumerate() {
        let work = async |mut txn: Txn| {
            txn.put(&key(number as u64, "x"), value.clone());
            Ok::<_, TestError>((txn, ()))
        };
        old.kv.transact(work).await.unwrap();
    }
    let many: Vec<_> = (0..5000)
        .map(|number| (key(9, &format!("{number}")), "v"))
        .collect();
    for some in many.chunks(1000) {
        old.write(some).await;
    }
    // Many names, so that they come in several pages.
    let names: Vec<_> = (0..600).map(|number| format!("{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    old.keep("content", &names).await;
    let exported = old.export().await;
    assert_eq!(taken_apart(&exported).1[0].1.len(), 600);
    new.restore(&old, &exported).await.unwrap();
    assert_eq!(new.records().await, old.records().await);
    let found = new
        .kv
        .local()
        .scan(Scan::of(&Collection::new(9u64).at("things")))
        .await;
    assert_eq!(found.unwrap().len(), 5000);
}
