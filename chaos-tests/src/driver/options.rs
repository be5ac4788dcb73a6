//! What is asked of a run.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use crate::faults::Kind;

/// Hurts a cluster for a while and holds what clients were told against what every node answers
#[derive(Clone, Debug, Parser)]
#[command(name = "soak")]
pub struct Options {
    /// Decides faults, their times and what clients do; any, if none is given
    #[arg(long)]
    pub seed: Option<u64>,

    /// For how long faults happen; each happens at least once, however long that takes
    #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = time)]
    pub duration: Duration,

    /// How many nodes the cluster has
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=7))]
    pub nodes: u8,

    /// Which faults: names or numbers, as in `F1,F19-rotten-log`
    #[arg(long, value_name = "FAULTS", default_value = "all")]
    pub faults: Faults,

    /// What clients do
    #[arg(long, value_name = "WORKLOADS", default_value = "all")]
    pub workloads: Workloads,

    /// How many clients publish, read and delete at a time
    #[arg(long, default_value_t = 4)]
    pub clients: u64,

    /// How many times longer than promised things may take, on a machine that is slow or busy
    #[arg(long, value_name = "FACTOR", default_value_t = 1)]
    pub patience: u32,

    /// The program under test; the one that was built beside this one, if none is given
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,

    /// Where disks and logs of the nodes lie
    #[arg(long, value_name = "FOLDER", default_value_os_t = std::env::temp_dir())]
    pub folder: PathBuf,

    /// Where the report goes, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Which version of the sources is under test, for the report
    #[arg(long, hide = true)]
    pub commit: Option<String>,
}

impl Options {
    /// The command that does the same again, as far as a seed can decide it.
    pub fn replay(&self, seed: u64) -> String {
        format!(
            "chaos-tests/soak --seed {seed} --for {}s --nodes {} --faults {} --workloads {} --clients {}",
            self.duration.as_secs(),
            self.nodes,
            self.faults,
            self.workloads,
            self.clients
        )
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "not a time like 90s or 10m".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "a time cannot be negative".to_owned())
}

/// Some faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Kind>);

impl std::str::FromStr for Faults {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut faults = Vec::new();
        for word in text.split(',') {
            let named = Kind::named(word).with_context(|| format!("there is no fault {word}"))?;
            faults.extend(named);
        }
        faults.sort();
        faults.dedup();
        Ok(Self(faults))
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Kind::ALL {
            return f.write_str("all");
        }
        let names: Vec<_> = self.0.iter().map(|kind| kind.name()).collect();
        f.write_str(&names.join(","))
    }
}

/// A workload. They are numbered as the fault matrix numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// W1: files, tags and names for which several contend, through all nodes.
    Publish,
    /// W2: large blobs in chunks, each through any node.
    Push,
    /// W3: deletions, with the same content published again at once, while collection runs.
    Delete,
    /// W6: snapshots, because so little of the log is kept that whoever was away needs one.
    Snapshots,
    /// W9: tokens that are revoked.
    Tokens,
}

impl Workload {
    // W4, W5 and W10 are what operators do: they come among the faults.
    const ALL: [(Self, &'static str); 5] = [
        (Self::Publish, "W1"),
        (Self::Push, "W2"),
        (Self::Delete, "W3"),
        (Self::Snapshots, "W6"),
        (Self::Tokens, "W9"),
    ];
}

/// Some workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workloads(Vec<Workload>);

impl Workloads {
    /// Whether one is among them.
    pub fn include(&self, workload: Workload) -> bool {
        self.0.contains(&workload)
    }
}

impl std::str::FromStr for Workloads {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut workloads = Vec::new();
        for word in text.split(',') {
            let is_named = |(_, name): &&(Workload, &str)| word == "all" || *name == word;
            let before = workloads.len();
            workloads.extend(
                Workload::ALL
                    .iter()
                    .filter(is_named)
                    .map(|(workload, _)| *workload),
            );
            anyhow::ensure!(workloads.len() > before, "there is no workload {word}");
        }
        workloads.sort();
        workloads.dedup();
        Ok(Self(workloads))
    }
}

impl fmt::Display for Workloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Workload::ALL
            .iter()
            .filter(|(workload, _)| self.include(*workload));
        let names: Vec<_> = names.map(|(_, name)| *name).collect();
        match names.len() == Workload::ALL.len() {
            true => f.write_str("all"),
            false => f.write_str(&names.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_line_to_replay_a_run_asks_for_the_same() {
        Options::command().debug_assert();
        let words = [
            "soak",
            "--for",
            "90s",
            "--faults",
            "F19,F2-kill-leader",
            "--workloads",
            "W3,W1",
        ];
        let options = Options::parse_from(words);
        let line = options.replay(7);
        let again = Options::parse_from(line.split(' '));
        assert_eq!(again.seed, Some(7));
        assert_eq!(again.duration, options.duration);
        assert_eq!(again.faults, options.faults);
        assert_eq!(again.workloads, options.workloads);
        assert_eq!(again.faults.0.len(), 4);
        assert_eq!(Options::parse_from(["soak"]).faults.to_string(), "all");
        assert!(Options::try_parse_from(["soak", "--faults", "F98"]).is_err());
        assert!(Options::try_parse_from(["soak", "--workloads", "W4"]).is_err());
    }
}
