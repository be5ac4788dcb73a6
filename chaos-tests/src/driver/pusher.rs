//! A client that pushes large blobs in chunks, each through any node, and goes on where it was
//! acknowledged whenever one fails.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use super::Run;
use crate::invariants::{Invariant, Violation, resumable};
use crate::payload::Payload;
use crate::workloads::generic::Read;
use crate::workloads::oci::{self, Stands, Upload};

const BLOB_BYTES: std::ops::Range<u64> = 4_000_000..24_000_000;
const CHUNK_BYTES: std::ops::Range<u64> = 200_000..5_000_000;

/// How many blobs stay; older ones are deleted.
const KEPT: usize = 6;

const BETWEEN_BLOBS: Duration = Duration::from_secs(2);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);

/// A blob that was pushed.
pub(super) struct Pushed {
    blob: Payload,
    digest: String,
}

/// The client.
pub(super) struct Pusher<'a> {
    run: &'a Run,
    dice: StdRng,
}

impl<'a> Pusher<'a> {
    pub(super) fn new(run: &'a Run) -> Self {
        Self {
            run,
            dice: StdRng::seed_from_u64(run.seed.wrapping_sub(1)),
        }
    }

    /// Pushes one blob after the other until the run ends or a promise is broken.
    pub(super) async fn work(mut self) -> Result<(), Violation> {
        while !self.run.is_over() {
            let pushed = self.push().await?;
            self.run.count("push", pushed.is_some());
            if let Some(pushed) = pushed {
                let retired = self.run.pushed(pushed);
                self.retire(retired).await?;
            }
            sleep(BETWEEN_BLOBS).await;
        }
        Ok(())
    }

    fn node(&mut self) -> usize {
        self.dice.random_range(0..self.run.cluster.size())
    }

    /// Pushes a blob. None if the run ended before that was done.
    async fn push(&mut self) -> Result<Option<Pushed>, Violation> {
        let cluster = &self.run.cluster;
        let blob = Payload {
            number: self.run.number(),
            size_bytes: self.dice.random_range(BLOB_BYTES),
        };
        let node = self.node();
        let Ok(upload) = Upload::begin(cluster, node).await else {
            return Ok(None);
        };
        let (mut at, mut sent) = (0, 0);
        while at < blob.size_bytes {
            let _turn = self.run.gate.read().await;
            let end = blob
                .size_bytes
                .min(at + self.dice.random_range(CHUNK_BYTES).min(blob.size_bytes));
            let node = self.node();
            sent = sent.max(end);
            match upload.append(cluster, node, blob, at..end).await {
                Ok(Some(next)) => {
                    resumable::judge(node, end, sent, next)?;
                    at = next;
                }
                // Nobody knows how much of it came in.
                Ok(None) | Err(_) => {
                    let node = self.node();
                    match upload.stands(cluster, node).await {
                        Ok(Stands::At(stands)) => {
                            resumable::judge(node, at, sent, stands)?;
                            at = stands;
                        }
                        Ok(Stands::Unknown) => return Err(resumable::forgotten(node, at)),
                        Err(_) if self.run.is_over() => return Ok(None),
                        Err(_) => sleep(BETWEEN_ATTEMPTS).await,
                    }
                }
            }
        }
        let digest = blob.sha256();
        self.finish(&upload, blob, digest).await
    }

    /// Ends an upload, however often that must be asked for.
    async fn finish(
        &mut self,
        upload: &Upload,
        blob: Payload,
        digest: String,
    ) -> Result<Option<Pushed>, Violation> {
        let (run, begun) = (self.run, Instant::now());
        loop {
            let _turn = run.gate.read().await;
            let node = self.node();
            if upload.finish(&run.cluster, node, &digest).await.is_ok() {
                return Ok(Some(Pushed { blob, digest }));
            }
            // An attempt whose answer was lost may have ended it.
            let node = self.node();
            if oci::find(&run.cluster, node, blob, &digest).await? == Read::Whole {
                return Ok(Some(Pushed { blob, digest }));
            }
            if run.is_over() || begun.elapsed() > run.patience(crate::invariants::lively::CONVERGED_WITHIN) {
                return Ok(None);
            }
            sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    /// Reads a blob for the last time, and deletes it.
    async fn retire(&mut self, retired: Option<Pushed>) -> Result<(), Violation> {
        let Some(Pushed { blob, digest }) = retired else {
            return Ok(());
        };
        let (run, node) = (self.run, self.node());
        match oci::find(&run.cluster, node, blob, &digest).await? {
            Read::Absent => return Err(missing(&blob, node)),
            Read::Whole | Read::Failed(_) => {}
        }
        let node = self.node();
        run.count("delete blob", oci::delete(&run.cluster, node, &digest).await);
        Ok(())
    }
}

fn missing(blob: &Payload, node: usize) -> Violation {
    Invariant::Durable.violated(format!(
        "blob {} was acknowledged and is missing on node {}",
        blob.number,
        node + 1
    ))
}

/// The blobs that are kept.
#[derive(Default)]
pub(super) struct Kept(VecDeque<Pushed>);

impl Kept {
    /// Adds one. Gives the one that goes for it.
    pub(super) fn add(&mut self, pushed: Pushed) -> Option<Pushed> {
        self.0.push_back(pushed);
        match self.0.len() > KEPT {
            true => self.0.pop_front(),
            false => None,
        }
    }

    /// Reads all of them from every node. Gives how many reads that took.
    pub(super) async fn check(&self, run: &Run) -> Result<u64, Violation> {
        let mut reads = 0;
        for Pushed { blob, digest } in &self.0 {
            for node in 0..run.cluster.size() {
                let read = oci::find(&run.cluster, node, *blob, digest).await?;
                if read != Read::Whole {
                    let violation = missing(blob, node);
                    return Err(violation
                        .invariant
                        .violated(format!("{}: {read:?}", violation.what)));
                }
                reads += 1;
            }
        }
        Ok(reads)
    }
}
