//! I1: what was acknowledged is there, byte for byte, on every node; what was deleted is not.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};

use super::{Invariant, Violation, whole};
use crate::Cluster;
use crate::oracle::{Known, Told};
use crate::payload::Payload;
use crate::workloads::generic::{self, Read};

/// How many files are checked at a time.
const CHECKS: usize = 8;

/// How often a read that fails is tried: a machine may be slow, but nothing is broken any more.
const ATTEMPTS: u32 = 5;

const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);

/// A file that was acknowledged, and of which a node says that there is none.
pub fn denied(number: u64, node: usize) -> Violation {
    let node = node + 1;
    Invariant::Durable.violated(format!(
        "file {number} was acknowledged and is missing on node {node}"
    ))
}

/// Reads these files from every node. Gives how many reads that took.
pub async fn check(cluster: &Cluster, files: Vec<Known>) -> Result<u64, Violation> {
    let checks = files.into_iter().map(|known| check_one(cluster, known));
    futures::stream::iter(checks)
        .buffer_unordered(CHECKS)
        .try_fold(0, async |sum, reads| Ok(sum + reads))
        .await
}

/// Reads these files through some nodes in turn, which must serve all of them as soon as they are
/// in order. Gives how many reads that took.
pub async fn check_through(
    cluster: &Cluster,
    nodes: &[usize],
    files: &[Payload],
    within: Duration,
) -> Result<u64, Violation> {
    let begun = Instant::now();
    let mut reads = 0;
    for (file, node) in files.iter().zip(nodes.iter().copied().cycle()) {
        loop {
            reads += 1;
            match generic::read(cluster, node, *file).await? {
                Read::Whole => break,
                Read::Absent => return Err(denied(file.number, node)),
                Read::Failed(why) if begun.elapsed() > within => {
                    let (number, node) = (file.number, node + 1);
                    let what =
                        format!("file {number} cannot be read through node {node} within {within:?}: {why}");
                    return Err(Invariant::Durable.violated(what));
                }
                Read::Failed(_) => tokio::time::sleep(BETWEEN_ATTEMPTS).await,
            }
        }
    }
    Ok(reads)
}

async fn check_one(cluster: &Cluster, known: Known) -> Result<u64, Violation> {
    let mut seen = Vec::new();
    for node in 0..cluster.size() {
        seen.push(read(cluster, node, known).await?);
    }
    judge(&known, &seen)?;
    Ok(seen.len() as u64)
}

/// Whether a file is there, as a node says.
async fn read(cluster: &Cluster, node: usize, known: Known) -> Result<bool, Violation> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match generic::read(cluster, node, known.file).await? {
            Read::Whole => return Ok(true),
            Read::Absent => return Ok(false),
            Read::Failed(why) if attempt == ATTEMPTS => {
                let (number, node) = (known.file.number, node + 1);
                return Err(Invariant::Durable
                    .violated(format!("file {number} cannot be read on node {node}: {why}")));
            }
            Read::Failed(_) => tokio::time::sleep(BETWEEN_ATTEMPTS).await,
        }
    }
}

/// Whether it may be that these nodes have a file and those do not.
fn judge(known: &Known, seen: &[bool]) -> Result<(), Violation> {
    let number = known.file.number;
    match known.told {
        Told::Acknowledged => match seen.iter().position(|there| !there) {
            Some(node) => Err(denied(number, node)),
            None => Ok(()),
        },
        Told::Deleted => match seen.iter().position(|there| *there) {
            Some(node) => {
                let node = node + 1;
                Err(Invariant::Durable
                    .violated(format!("file {number} was deleted and is there on node {node}")))
            }
            None => Ok(()),
        },
        Told::Unknown => whole::agreed(number, seen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_decides_what_may_be_seen() {
        let file = Payload {
            number: 7,
            size_bytes: 1,
        };
        let violated = |told, seen: [bool; 3]| {
            let known = Known {
                file,
                told,
                changes: 1,
                doubtful: false,
            };
            judge(&known, &seen).err().map(|violation| violation.invariant)
        };
        let (all, some, none) = ([true; 3], [true, false, true], [false; 3]);
        assert_eq!(violated(Told::Acknowledged, all), None);
        assert_eq!(violated(Told::Acknowledged, some), Some(Invariant::Durable));
        assert_eq!(violated(Told::Deleted, none), None);
        assert_eq!(violated(Told::Deleted, some), Some(Invariant::Durable));
        assert_eq!(violated(Told::Unknown, all), None);
        assert_eq!(violated(Told::Unknown, none), None);
        assert_eq!(violated(Told::Unknown, some), Some(Invariant::Whole));
    }
}
