//! `cairn backup`: takes a backup of a running cluster, and checks one.

mod take;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::client::Connection;
use super::failure::{Failure, OrFail as _};
use super::output::{Output, progress as say};
use crate::backup::check::{self, Depth};
use crate::backup::damage::Damages;
use crate::backup::folder::{Folder, Growing};
use crate::backup::manifest::{Manifest, Unreadable};
use crate::backup::progress::Progress;
use take::{Counts, Taken};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where to: a folder that is empty, or not there yet, or holds a backup that was interrupted
    #[arg(required = true)]
    folder: Option<PathBuf>,

    /// An earlier backup; what is the same is not fetched again, but shared with it by hard links
    #[arg(long, value_name = "FOLDER")]
    against: Option<PathBuf>,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum Command {
    /// Reads a backup, without any cluster, and lists what is missing or damaged
    Verify {
        /// The backup
        folder: PathBuf,
    },
}

pub(super) async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    match (arguments.command, arguments.folder) {
        (Some(Command::Verify { folder }), _) => verify(folder, output).await,
        (None, Some(folder)) => take(folder, arguments.against, &arguments.connection, output).await,
        (None, None) => unreachable!("the folder is required"),
    }
}

async fn take(
    folder: PathBuf,
    against: Option<PathBuf>,
    connection: &Connection,
    output: Output,
) -> Result<(), Failure> {
    let client = connection.open()?;
    let (shown, opened) = (folder.clone(), open(folder, against));
    let (growing, earlier) = opened.await?;
    let progress = Arc::new(Progress::default());
    let taken = telling(&progress, take::take(client, growing, earlier, progress.clone())).await?;
    let (folder, manifest) = open_complete(shown.clone()).await?;
    let report = Report::new(&shown, &taken);
    output.show(&report);
    if manifest.unreadable.is_empty() {
        return Ok(());
    }
    let damages = damages_of(&folder, &manifest).await?;
    Err(Failure::failed(format!(
        "the cluster could not read {} blobs; they are not in the backup:{}",
        damages.count,
        damages.lines()
    ))
    .next("see `cairn blobs --under-protected`; the rest of the backup is whole"))
}

async fn open(folder: PathBuf, against: Option<PathBuf>) -> Result<(Growing, Option<Folder>), Failure> {
    let opened = tokio::task::spawn_blocking(move || {
        let earlier = against.as_deref().map(Folder::open).transpose()?;
        Ok::<_, Failure>((Growing::begin(&folder)?, earlier.map(|(folder, _)| folder)))
    });
    opened.await.or_fail("open the folders")?
}

/// Opens a complete backup.
pub(super) async fn open_complete(folder: PathBuf) -> Result<(Folder, Manifest), Failure> {
    let opened = tokio::task::spawn_blocking(move || Folder::open(&folder));
    Ok(opened.await.or_fail("open the backup")??)
}

/// The blobs that the backup says it does not have.
async fn damages_of(folder: &Folder, manifest: &Manifest) -> Result<Damages, Failure> {
    let progress = Arc::default();
    let found = check::check(folder, manifest, Depth::Sizes, &progress).await;
    found.or_fail("look through the backup")
}

async fn verify(folder: PathBuf, output: Output) -> Result<(), Failure> {
    let (folder, manifest) = open_complete(folder).await?;
    let progress = Arc::new(Progress::default());
    let checked = check::check(&folder, &manifest, Depth::Contents, &progress);
    let damages = telling(&progress, checked).await.map_err(|error| {
        Failure::failed(error.to_string()).next("without its metadata a backup is of no use: use another one")
    })?;
    let verified = Verified {
        folder: folder.path().display().to_string(),
        backup: manifest.backup.to_string(),
        cluster: manifest.cluster.to_string(),
        taken_at: manifest.taken_at,
        blobs: manifest.totals.blobs,
        bytes: manifest.totals.blob_bytes,
        damages,
    };
    output.show(&verified);
    match verified.damages.count {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} blobs are missing or damaged"))
            .next("copy their files from another backup: a file of the same name has the same content")),
    }
}

/// Does something, and tells how far it is every few seconds.
pub(super) async fn telling<T>(progress: &Progress, work: impl Future<Output = T>) -> T {
    let tell = async {
        let mut ticks = tokio::time::interval(TELL_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut before = 0;
        loop {
            ticks.tick().await;
            let done = progress.done_bytes();
            if let Some(line) = progress.line(done.saturating_sub(before), TELL_EVERY) {
                say(line);
            }
            before = done;
        }
    };
    tokio::select! {
        done = work => done,
        () = tell => unreachable!("it goes on telling"),
    }
}

/// A backup that was taken.
#[derive(Serialize)]
struct Report {
    folder: String,
    backup: String,
    cluster: String,
    taken_at: String,
    log_index: u64,
    records: u64,
    blobs: u64,
    bytes: u64,
    /// Where files came from.
    fetched: u64,
    fetched_bytes: u64,
    shared: u64,
    found: u64,
    unreadable: Vec<Unreadable>,
}

impl Report {
    fn new(folder: &std::path::Path, taken: &Taken) -> Self {
        let Taken { manifest, counts } = taken;
        let Counts {
            fetched,
            fetched_bytes,
            shared,
            found,
        } = *counts;
        Self {
            folder: folder.display().to_string(),
            backup: manifest.backup.to_string(),
            cluster: manifest.cluster.to_string(),
            taken_at: manifest.taken_at.clone(),
            log_index: manifest.log_index,
            records: manifest.totals.records,
            blobs: manifest.totals.blobs,
            bytes: manifest.totals.blob_bytes,
            fetched,
            fetched_bytes,
            shared,
            found,
            unreadable: manifest.unreadable.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "took backup {} of cluster {}, as it was at {}",
            self.backup, self.cluster, self.taken_at
        )?;
        writeln!(
            out,
            "{} records and {} blobs, {}: {} fetched, {} shared with the earlier backup, {} there already",
            self.records,
            self.blobs,
            ByteSize(self.bytes),
            self.fetched,
            self.shared,
            self.found
        )?;
        write!(out, "it lies in {}; keep it as safe as the cluster", self.folder)
    }
}

/// A backup that was read.
#[derive(Serialize)]
struct Verified {
    folder: String,
    backup: String,
    cluster: String,
    taken_at: String,
    blobs: u64,
    bytes: u64,
    damages: Damages,
}

impl fmt::Display for Verified {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            backup,
            cluster,
            taken_at,
            blobs,
            ..
        } = self;
        writeln!(
            out,
            "backup {backup} of cluster {cluster}, as it was at {taken_at}"
        )?;
        let bytes = ByteSize(self.bytes);
        match self.damages.count {
            0 => write!(out, "all {blobs} blobs are whole, {bytes}"),
            count => write!(
                out,
                "{count} of {blobs} blobs are missing or damaged:{}",
                self.damages.lines()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Line::try_parse_from(line.split(' ')).map(|line| line.arguments)
    }

    #[test]
    fn a_folder_or_a_command_is_named() {
        let taking = parse("backup there --against before").unwrap();
        assert_eq!(taking.folder, Some("there".into()));
        assert_eq!(taking.against, Some("before".into()));
        let verifying = parse("backup verify there").unwrap();
        assert!(matches!(verifying.command, Some(Command::Verify { .. })));
        assert!(parse("backup").is_err());
        assert!(parse("backup verify").is_err());
        // A folder of that name can be named all the same.
        assert_eq!(parse("backup ./verify").unwrap().folder, Some("./verify".into()));
    }
}
