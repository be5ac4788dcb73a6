//! `cairn restore`: makes a new cluster from a backup.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytesize::ByteSize;
use clap::Args;
use serde::Serialize;

use super::backup::telling;
use super::failure::{Code, Failure};
use super::output::{Output, progress as say};
use super::serve::Node;
use crate::backup::damage::Damages;
use crate::backup::folder::FolderError;
use crate::backup::progress::Progress;
use crate::backup::restore::{self, Event, Plan, RestoreFailure, Restored};

/// Most nodes that a cluster has.
const MAX_NODES: u64 = 64;

#[derive(Args)]
pub(super) struct Arguments {
    /// The backup
    folder: PathBuf,

    #[command(flatten)]
    node: Node,

    /// Goes on without blobs that are missing or damaged, and lists what they were
    #[arg(long)]
    skip_damaged: bool,

    /// Waits until the cluster has so many nodes before it copies blobs, so that no disk has to
    /// hold all of them; shows a token for each to join with
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MAX_NODES))]
    nodes: u64,
}

pub(super) async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let held = arguments.node.hold()?;
    let plan = Plan {
        folder: arguments.folder,
        skip_damaged: arguments.skip_damaged,
        nodes: arguments.nodes as usize,
    };
    let progress = Arc::new(Progress::default());
    let tell = |event: Event<'_>| match event {
        Event::Doing(what) => say(what),
        Event::JoinToken(token) => say(format_args!("join token: {token}")),
    };
    let restored = restore::restore(&held.config, &plan, &progress, &tell);
    let restored = telling(&progress, restored).await.map_err(failure)?;
    output.show(&Report::new(restored, arguments.node.serve_command()));
    Ok(())
}

fn failure(failure: RestoreFailure) -> Failure {
    match failure {
        RestoreFailure::Conflict(reason) => Failure::new(Code::Conflict, reason)
            .next("a backup is restored into a new cluster: name a data directory that is empty"),
        RestoreFailure::Damaged(damages) => Failure::failed(format!(
            "{} blobs of the backup are missing or damaged:{}",
            damages.count,
            damages.lines()
        ))
        .next("mend the backup from another one, or go on without them with --skip-damaged"),
        RestoreFailure::Other(error) => match error.downcast::<FolderError>() {
            Ok(error) => error.into(),
            Err(error) => Failure::from(error).next("when the cause is mended, run the same command again"),
        },
    }
}

/// A cluster that was made.
#[derive(Serialize)]
struct Report {
    cluster: String,
    node: u64,
    backup: String,
    /// The cluster that the backup was taken of.
    from_cluster: String,
    taken_at: String,
    records: u64,
    blobs: u64,
    bytes: u64,
    left_out: Damages,
    serve: String,
}

impl Report {
    fn new(restored: Restored, serve: String) -> Self {
        let manifest = restored.manifest;
        Self {
            cluster: restored.cluster.to_string(),
            node: restored.node.0,
            backup: manifest.backup.to_string(),
            from_cluster: manifest.cluster.to_string(),
            taken_at: manifest.taken_at,
            records: manifest.totals.records,
            blobs: manifest.totals.blobs - restored.left_out.count,
            bytes: manifest.totals.blob_bytes - restored.left_out.bytes,
            left_out: restored.left_out,
            serve,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cluster,
            node,
            backup,
            from_cluster,
            taken_at,
            blobs,
            serve,
            ..
        } = self;
        writeln!(
            out,
            "made cluster {cluster} from backup {backup}; this is node {node}"
        )?;
        writeln!(
            out,
            "{blobs} blobs, {}, as cluster {from_cluster} had them at {taken_at}",
            ByteSize(self.bytes)
        )?;
        if !self.left_out.is_empty() {
            let count = self.left_out.count;
            writeln!(out, "left out {count} damaged blobs:{}", self.left_out.lines())?;
        }
        writeln!(out, "start the node with: {serve}")?;
        write!(
            out,
            "nothing is collected until you have seen that all is there, and say so with: \
             cairn tasks resume collection"
        )
    }
}
