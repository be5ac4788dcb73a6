//! Numbers that clients see: small and consecutive for what is made rarely, in blocks per node
//! for what is made often.

use std::ops::Range;
use std::sync::Mutex;

use cairn_cluster::record::Record;
use cairn_cluster::{Kv, ReadError, Txn};
use serde::{Deserialize, Serialize};

use crate::http::error::ApiError;
use crate::registry::keys;

/// How many numbers a node reserves at a time: a reservation costs a commit, and what a node
/// has not used when it stops is skipped.
const BLOCK: u64 = 1000;

/// A number as a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::registry) struct Number(pub(in crate::registry) u64);

impl Record for Number {}

/// The next number, from 1. Two transactions that take one conflict, so this is for what is
/// made rarely.
pub(in crate::registry) async fn next(txn: &mut Txn, what: &str) -> Result<u64, ReadError> {
    Ok(reserve(txn, what, 1).await?.start)
}

async fn reserve(txn: &mut Txn, what: &str, count: u64) -> Result<Range<u64>, ReadError> {
    let key = keys::sequence(what);
    let last = txn.record::<Number>(&key).await?.map_or(0, |last| last.0);
    txn.put_record(&key, &Number(last + count));
    Ok(last + 1..last + 1 + count)
}

/// Numbers of one sequence that are reserved for this node. They are unique in the cluster, and
/// not in the order in which they are used on different nodes.
#[derive(Debug)]
pub(in crate::registry) struct Block {
    what: &'static str,
    left: Mutex<Range<u64>>,
    refilling: tokio::sync::Mutex<()>,
}

impl Block {
    pub(in crate::registry) fn new(what: &'static str) -> Self {
        Self {
            what,
            left: Mutex::new(0..0),
            refilling: tokio::sync::Mutex::new(()),
        }
    }

    /// A number that nobody else gets.
    pub(in crate::registry) async fn next(&self, kv: &Kv) -> Result<u64, ApiError> {
        if let Some(number) = self.take() {
            return Ok(number);
        }
        let _one_at_a_time = self.refilling.lock().await;
        if let Some(number) = self.take() {
            return Ok(number);
        }
        let mut block = kv
            .transact(async |mut txn: Txn| {
                let block = reserve(&mut txn, self.what, BLOCK).await?;
                Ok::<_, ApiError>((txn, block))
            })
            .await?;
        let number = block.next().expect("a block is not empty");
        *self.left.lock().expect("no panic while held") = block;
        Ok(number)
    }

    fn take(&self) -> Option<u64> {
        self.left.lock().expect("no panic while held").next()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use cairn_cluster::Seams;

    use super::*;

    #[tokio::test]
    async fn two_nodes_never_give_the_same_number() {
        let kv = Kv::in_memory(Seams::system());
        let (one, other) = (Block::new("file"), Block::new("file"));
        let mut given = HashSet::new();
        for _ in 0..BLOCK + 1 {
            assert!(given.insert(one.next(&kv).await.unwrap()));
            assert!(given.insert(other.next(&kv).await.unwrap()));
        }
        assert!(given.contains(&1));
    }

    #[tokio::test]
    async fn consecutive_numbers_begin_with_one() {
        let kv = Kv::in_memory(Seams::system());
        for expected in 1..=3 {
            let mut txn = kv.begin().await.unwrap();
            assert_eq!(next(&mut txn, "project").await.unwrap(), expected);
            txn.commit().await.unwrap();
        }
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Number>("number");
    }
}
