//! `cairn-benches`: prints the table. See `benches/README.md`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use cairn_benches::{FormatName, Measure, Options, Scale, bare, recorded, run};
use cairn_chaos_tests::program_beside;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Measures a cluster of three nodes on this machine, and the machine itself beside it.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// A short run with small sizes: says that it works, not how fast it is.
    #[arg(long)]
    quick: bool,

    /// Only this; may be given several times.
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Measure>,

    /// Growth of this format only; may be given several times.
    #[arg(long, value_name = "NAME")]
    format: Vec<FormatName>,

    /// The folder, on the disk to be measured, in which the cluster keeps its data while it is
    /// measured: up to 20 GB.
    #[arg(long, value_name = "FOLDER", default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,

    /// A document to put the table into as well, in place of what is under its heading "A run".
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// Serves bytes with nothing around them, to compare with.
    #[command(hide = true)]
    Bare,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Part::Bare) = arguments.part {
        return bare::serve().await;
    }
    let program = std::env::current_exe().context("find this program")?;
    let measuring = Box::pin(run(Options {
        cairn: program_beside(&program)?,
        benches: program,
        folder: arguments.folder,
        scale: match arguments.quick {
            true => Scale::quick(),
            false => Scale::full(),
        },
        only: arguments.only,
        formats: arguments.format,
    }));
    let mut terminate = signal(SignalKind::terminate())?;
    let table = tokio::select! {
        table = measuring => table?,
        // What was started ends with this.
        _ = terminate.recv() => bail!("told to stop"),
        _ = tokio::signal::ctrl_c() => bail!("told to stop"),
    };
    std::io::stdout().write_all(table.to_string().as_bytes())?;
    if let Some(file) = arguments.record {
        let document = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        std::fs::write(&file, recorded(&document, &table)?)
            .with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}
