//! Wall clocks of nodes that can be shifted while they run: a small library that is compiled here and
//! preloaded into them answers what they ask for.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::process::Command;

use crate::room::succeed;

/// What answers instead of the C library.
const SOURCE: &str = include_str!("shift_clock.c");

/// Names the file with the shift, for the library.
const SHIFT_FILE: &str = "CHAOS_CLOCK";

/// Makes clocks that can be shifted.
#[derive(Clone, Debug)]
pub struct Clocks {
    folder: Arc<TempDir>,
}

impl Clocks {
    /// Compiles the library, and shows that it does what it is for. Needs a C compiler.
    pub async fn new(parent: &Path) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix_in("cairn-chaos-clock-", parent)?;
        let source = folder.path().join("shift_clock.c");
        fs::write(&source, SOURCE)?;
        let clocks = Self {
            folder: Arc::new(folder),
        };
        let mut compile = Command::new("cc");
        compile
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&clocks.library(), &source])
            .arg("-ldl");
        succeed(compile).await.context("needs a C compiler, cc")?;
        let clock = clocks.clock(clocks.folder.path())?;
        // To the day after 2001-09-09, as seconds are counted.
        clock.shift_ms(1_000_000_000_000 - jiff::Timestamp::now().as_millisecond())?;
        let mut ask = Command::new("date");
        ask.arg("+%Y");
        clock.set_up(&mut ask);
        let year = succeed(ask).await?;
        anyhow::ensure!(year.trim() == "2001", "a shifted clock says {year}");
        Ok(clocks)
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("shift_clock.so")
    }

    /// One that is right as yet, and is steered by a file in this folder.
    pub(crate) fn clock(&self, folder: &Path) -> anyhow::Result<Clock> {
        let file = folder.join("clock");
        File::create(&file)?.write_all(&0_i64.to_ne_bytes())?;
        Ok(Clock {
            clocks: self.clone(),
            file,
        })
    }
}

/// The wall clock of a node.
pub struct Clock {
    clocks: Clocks,
    file: PathBuf,
}

impl Clock {
    /// Has a process go by this clock.
    pub(crate) fn set_up(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.clocks.library())
            .env(SHIFT_FILE, &self.file);
    }

    /// Shifts the clock by so much from the machine's.
    pub fn shift_ms(&self, by: i64) -> anyhow::Result<()> {
        // In place and at once: it is mapped into the memory of the process.
        let file = File::options().write(true).open(&self.file)?;
        Ok(file.write_all_at(&by.to_ne_bytes(), 0)?)
    }
}
