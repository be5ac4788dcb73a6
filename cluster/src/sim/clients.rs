//! Clients of simulated nodes: what they ask, and what they note of the answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_proto::v1;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use super::history::{Act, Fate};
use super::world::World;
use crate::kv::{Collection, CommitError, Key, Kv, Outcome, ReadError, Scan, Snapshot, Store};
use crate::raft::Replica;

const REGISTERS: u64 = 6;

/// How long a client waits between two calls, at most.
const THINKS_MS: u64 = 120;

fn register_key(register: u64) -> Key {
    Collection::new("registers").key(register)
}

fn counter_key() -> Key {
    Collection::new("counters").key("additions")
}

fn items() -> Collection {
    Collection::new("items")
}

/// One client. It dies with its node.
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) world: Arc<World>,
    pub(super) kv: Kv,
    pub(super) replica: Arc<Replica>,
    pub(super) rng: StdRng,
    /// Held while it lives.
    pub(super) running: Arc<()>,
}

/// A call that ended without a result: there was no majority, most likely.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<crate::kv::Unavailable> for Failed {
    fn from(unavailable: crate::kv::Unavailable) -> Self {
        Self::Commit(unavailable.into())
    }
}

impl Client {
    /// Calls one thing after another until the world says stop.
    pub(super) async fn run(mut self) {
        let running = self.running.clone();
        let mut number = 0;
        while !self.world.is_stopping() {
            let pause = self.rng.random_range(0..=THINKS_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            number += 1;
            // No two clients ever write the same.
            let unique = self.id * 10_000 + number;
            let (name, outcome) = match self.rng.random_range(0..100) {
                0..20 => ("read", self.read().await),
                20..35 => ("write", self.write(unique).await),
                35..55 => ("swap", self.swap(unique).await),
                55..70 => ("add", self.add().await),
                70..80 => ("add twice", self.add_repeatedly().await),
                80..88 => ("count", self.count().await),
                _ => ("insert", self.insert(unique).await),
            };
            let shown = match outcome {
                Ok(()) => "done".to_owned(),
                Err(error) => error.to_string(),
            };
            self.world
                .note(format_args!("client {}: {name} {number}: {shown}", self.id));
        }
        drop(running);
    }

    fn pick_register(&mut self) -> Option<u64> {
        let register = self.rng.random_range(0..REGISTERS);
        self.world.history().has_room(register).then_some(register)
    }

    async fn read(&mut self) -> Result<(), Failed> {
        let Some(register) = self.pick_register() else {
            return Ok(());
        };
        read_register(&self.world, &self.kv, register).await
    }

    async fn write(&mut self, value: u64) -> Result<(), Failed> {
        let Some(register) = self.pick_register() else {
            return Ok(());
        };
        let began = self.world.history().now();
        let mut txn = self.kv.begin().await?;
        txn.put(
            &register_key(register),
            Bytes::copy_from_slice(&value.to_be_bytes()),
        );
        let number = self.world.history().call(register, Act::Write(value), began);
        let outcome = txn.commit().await;
        let fate = fate(&self.world, &outcome);
        self.world.history().called(register, number, fate);
        Ok(outcome.map(drop)?)
    }

    async fn swap(&mut self, value: u64) -> Result<(), Failed> {
        let Some(register) = self.pick_register() else {
            return Ok(());
        };
        let began = self.world.history().now();
        let mut txn = self.kv.begin().await?;
        let key = register_key(register);
        let read = txn.get(&key).await?.map(|found| number(&found));
        // Others get in between.
        let pause = self.rng.random_range(0..=20);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        txn.put(&key, Bytes::copy_from_slice(&value.to_be_bytes()));
        let act = Act::Swap { read, write: value };
        let call = self.world.history().call(register, act, began);
        let outcome = txn.commit().await;
        let fate = fate(&self.world, &outcome);
        self.world.history().called(register, call, fate);
        Ok(outcome.map(drop)?)
    }

    async fn add(&mut self) -> Result<(), Failed> {
        let amount = self.rng.random_range(1..=9);
        let mut txn = self.kv.begin().await?;
        txn.add(&counter_key(), amount);
        let addition = self.world.history().add(amount);
        let outcome = txn.commit().await;
        let fate = fate(&self.world, &outcome);
        self.world.history().added(addition, fate);
        Ok(outcome.map(drop)?)
    }

    /// Submits one transaction several times, as if answers had been lost: it counts once.
    async fn add_repeatedly(&mut self) -> Result<(), Failed> {
        let amount = self.rng.random_range(1..=9);
        let applied_index = self.kv.latest().await?.applied_index();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&applied_index.to_be_bytes());
        self.rng.fill_bytes(&mut id[8..]);
        let transaction = v1::Transaction {
            id: id.to_vec().into(),
            checks: Vec::new(),
            writes: vec![v1::Write {
                key: counter_key().as_bytes().clone(),
                op: Some(v1::write::Op::Add(amount)),
            }],
        };
        let addition = self.world.history().add(amount);
        let submit = || self.replica.submit(transaction.clone());
        let (first, second) = futures::join!(submit(), submit());
        let third = submit().await;
        let mut index = None;
        for outcome in [&first, &second, &third] {
            match outcome {
                Ok(Outcome::Applied(at)) if index.is_none_or(|before| before == *at) => index = Some(*at),
                Ok(outcome) => self.world.wrong(format_args!(
                    "a transaction that was applied at {index:?} was answered {outcome:?}"
                )),
                Err(_) => {}
            }
        }
        let fate = match index {
            Some(_) => Fate::Applied(self.world.history().now()),
            None => Fate::Unknown,
        };
        self.world.history().added(addition, fate);
        Ok(third.map(drop)?)
    }

    async fn count(&mut self) -> Result<(), Failed> {
        count(&self.world, &self.kv).await
    }

    /// Adds an item that knows how many there were before it.
    async fn insert(&mut self, name: u64) -> Result<(), Failed> {
        let mut txn = self.kv.begin().await?;
        let rank = txn.scan(Scan::of(&items())).await?.len() as u64;
        let pause = self.rng.random_range(0..=20);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        txn.put(&items().key(name), Bytes::copy_from_slice(&rank.to_be_bytes()));
        let item = self.world.history().insert(name, rank);
        let outcome = txn.commit().await;
        let fate = fate(&self.world, &outcome);
        self.world.history().inserted(item, fate);
        Ok(outcome.map(drop)?)
    }
}

fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value.try_into().expect("eight bytes were written"))
}

/// What the outcome of a commit says of the change.
fn fate(world: &World, outcome: &Result<u64, CommitError>) -> Fate {
    match outcome {
        Ok(_) => Fate::Applied(world.history().now()),
        Err(CommitError::Conflict | CommitError::Unavailable(_)) => Fate::Refused,
        Err(CommitError::Unknown { .. }) => Fate::Unknown,
        Err(error @ (CommitError::TooLarge { .. } | CommitError::KeyTooLong { .. })) => {
            world.wrong(error);
            Fate::Refused
        }
    }
}

async fn read_register(world: &World, kv: &Kv, register: u64) -> Result<(), Failed> {
    let began = world.history().now();
    let found = kv.latest().await?.get(&register_key(register)).await?;
    let mut history = world.history();
    let value = found.map(|found| number(&found.value));
    let call = history.call(register, Act::Read(value), began);
    let ended = history.now();
    history.called(register, call, Fate::Applied(ended));
    Ok(())
}

async fn count(world: &World, kv: &Kv) -> Result<(), Failed> {
    let began = world.history().now();
    let snapshot = kv.latest().await?;
    let value = snapshot.number(&counter_key()).await? as i64;
    if let Err(wrong) = world.history().check_counter(value, began) {
        world.wrong(wrong);
    }
    check_items(world, &snapshot, false).await
}

/// Checks the items: all of them at the end, before that only what is there.
async fn check_items(world: &World, snapshot: &Snapshot, is_all: bool) -> Result<(), Failed> {
    let mut found = snapshot.scan(Scan::of(&items())).await?;
    found.sort_by_key(|entry| entry.version);
    let found: Vec<(u64, u64)> = found
        .iter()
        .map(|entry| (number(&entry.item), number(&entry.value)))
        .collect();
    if let Err(wrong) = world.history().check_items(&found, is_all) {
        world.wrong(wrong);
    }
    Ok(())
}

/// Reads everything through one node when all is over, and writes once more; tries again until
/// the node can.
pub(super) async fn settle(world: &World, kv: &Kv) {
    while let Err(error) = settle_once(world, kv).await {
        world.note(format_args!("not settled: {error}"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn settle_once(world: &World, kv: &Kv) -> Result<(), Failed> {
    let mut txn = kv.begin().await?;
    txn.add(&counter_key(), 1);
    let addition = world.history().add(1);
    let outcome = txn.commit().await;
    let fate = fate(world, &outcome);
    world.history().added(addition, fate);
    outcome?;
    for register in 0..REGISTERS {
        read_register(world, kv, register).await?;
    }
    count(world, kv).await?;
    check_items(world, &kv.latest().await?, true).await
}
