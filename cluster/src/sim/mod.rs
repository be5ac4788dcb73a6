//! A deterministic simulation of the metadata and of who belongs to the cluster: one seed
//! decides everything that happens, and replays it.
//!
//! Real are: consensus ([`crate::raft::Replica`], its network, its service, its log), the
//! transactions of [`crate::kv::Kv`], the membership controller, and the transport with its
//! lanes, liveness and mutual TLS. Simulated are: the network and time (turmoil), the disks
//! ([`crate::raft::simulated`]), the clocks and the randomness ([`crate::seams`]).
//!
//! A run goes through four phases, in `run`: the cluster comes into being, clients use it while
//! it is hurt, the faults end, and then it must be whole. Each has a process of its own, since
//! what a process did before is not decided by the seed.

mod clients;
mod faults;
mod history;
mod node;
mod panics;
mod run;
mod world;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::{Figures, Report, run};

use crate::raft::simulated::Defect;

/// How many seeds are run, if nothing else is said.
const SEEDS: u64 = 200;

/// The one seed that this process runs.
const SEED: &str = "CAIRN_SIM_SEED";

/// The fault of Cairn's own that is put in.
const DEFECT: &str = "CAIRN_SIM_DEFECT";

/// The test that runs it.
const TEST: &str = "sim::the_cluster_keeps_its_promises_whatever_happens";

/// Comes before the figures in the output of a process.
const FIGURES: &str = "figures: ";

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")),
    )
}

/// Runs a seed in this process and shows all that happens.
fn replay(seed: u64) {
    let defect = std::env::var(DEFECT).ok().map(|name| {
        let found = Defect::ALL
            .into_iter()
            .find(|defect| format!("{defect:?}") == name);
        found.unwrap_or_else(|| panic!("{DEFECT} is {name:?}, not one of {:?}", Defect::ALL))
    });
    let report = run(seed, defect);
    for line in &report.trace {
        println!("{line}");
    }
    println!("{FIGURES}{}", serde_json::to_string(&report.figures).unwrap());
    assert_eq!(report.wrong, None, "seed {seed}");
}

/// Runs a seed in a process of its own.
fn run_process(seed: u64, defect: Option<Defect>) -> Report {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture"]);
    command.env(SEED, seed.to_string()).env_remove(DEFECT);
    if let Some(defect) = defect {
        command.env(DEFECT, format!("{defect:?}"));
    }
    let output = command.output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let is_trace = |line: &&str| !line.starts_with(FIGURES) && !line.starts_with("test result");
    let trace: Vec<String> = shown.lines().filter(is_trace).map(str::to_owned).collect();
    let figures = shown.lines().find_map(|line| line.strip_prefix(FIGURES));
    let figures = figures.map(|figures| serde_json::from_str(figures).unwrap());
    let wrong = match output.status.success() {
        true => None,
        false => trace
            .iter()
            .find_map(|line| Some(line.split_once("WRONG: ")?.1.to_owned()))
            .or_else(|| Some(String::from_utf8_lossy(&output.stderr).into_owned())),
    };
    Report {
        trace,
        wrong,
        figures: figures.unwrap_or_default(),
    }
}

/// Runs seeds on all cores until `enough` has seen a report that suffices.
fn run_seeds(
    seeds: std::ops::Range<u64>,
    defect: Option<Defect>,
    enough: impl Fn(u64, Report) -> bool + Sync,
) {
    let next = AtomicU64::new(seeds.start);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if enough(seed, run_process(seed, defect)) {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[test]
fn the_cluster_keeps_its_promises_whatever_happens() {
    if let Some(seed) = variable(SEED) {
        return replay(seed);
    }
    let first = variable("CAIRN_SIM_FIRST").unwrap_or(1);
    let count = variable("CAIRN_SIM_SEEDS").unwrap_or(SEEDS);
    let figures = Mutex::new(Figures::default());
    let failed = Mutex::new(BTreeMap::new());
    run_seeds(first..first + count, None, |seed, report| {
        figures.lock().unwrap().add(report.figures);
        if let Some(wrong) = report.wrong {
            println!(
                "seed {seed}: {wrong}\n{SEED}={seed} cargo test -p cairn-cluster --lib sim::the_cluster -- --nocapture"
            );
            failed.lock().unwrap().insert(seed, wrong);
        }
        false
    });
    println!("{count} seeds: {:#?}", figures.into_inner().unwrap());
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{} of {count} seeds failed: {failed:#?}",
        failed.len()
    );
}

#[test]
fn a_seed_gives_the_same_trace_twice() {
    run_seeds(1..9, None, |seed, report| {
        let (first, second) = (report.trace, run_process(seed, None).trace);
        let parted = first.iter().zip(&second).position(|(one, other)| one != other);
        if let Some(line) = parted {
            panic!(
                "seed {seed}, line {line}: {:?}, then {:?}",
                first[line], second[line]
            );
        }
        assert_eq!(first.len(), second.len(), "seed {seed}");
        assert!(first.len() > 100, "seed {seed}: {first:#?}");
        false
    });
}

/// Checks that a fault of Cairn's own is found within some seeds.
fn finds(defect: Defect, within: u64) {
    let found = Mutex::new(None);
    run_seeds(1..1 + within, Some(defect), |seed, report| {
        let Some(wrong) = report.wrong else { return false };
        println!("{defect:?} is found by seed {seed}: {wrong}");
        *found.lock().unwrap() = Some(seed);
        true
    });
    assert!(
        found.into_inner().unwrap().is_some(),
        "{defect:?} passes {within} seeds"
    );
}

#[test]
fn an_acknowledgement_before_the_flush_is_found() {
    finds(Defect::AcknowledgedBeforeFlush, 60);
}

#[test]
fn a_log_that_is_dropped_before_the_state_is_durable_is_found() {
    finds(Defect::PurgedBeforeSync, 60);
}

#[test]
fn a_phantom_is_found() {
    finds(Defect::PhantomsPass, 60);
}

#[test]
fn a_repetition_that_counts_twice_is_found() {
    finds(Defect::OutcomesForgotten, 60);
}

#[test]
fn a_stale_read_is_found() {
    finds(Defect::StaleReads, 60);
}
