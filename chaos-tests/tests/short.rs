//! The short tier: runs of the driver by fixed seeds, one family of faults each. A run that fails
//! prints the line that repeats it, and `chaos-tests/soak` goes on from there with any other seed.

use std::process::Command;
use std::sync::Mutex;

/// A machine with two cores has room for one cluster.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How many times longer than promised things may take here, where other tests run too.
const PATIENCE: &str = "6";

fn hurt(seed: u64, nodes: u8, faults: &str) {
    // Another run that failed does not matter to this one.
    let _turn = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let output = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--seed", &seed.to_string(), "--nodes", &nodes.to_string()])
        .args(["--for", "15s", "--faults", faults, "--patience", PATIENCE])
        .output()
        .expect("soak runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{report}");
}

#[test]
fn nothing_is_lost_when_processes_are_killed_and_stand_still() {
    hurt(11, 3, "F1,F2,F3,F7");
}

#[test]
fn nothing_is_lost_when_power_fails_and_fsync_does() {
    hurt(12, 3, "F5,F6,F16,F20");
}

#[test]
fn nobody_is_told_wrong_when_the_network_is_cut_lossy_and_slow() {
    hurt(13, 3, "F8,F9,F10,F11,F12,F13");
}

#[test]
fn what_rots_is_mended_and_never_served() {
    hurt(14, 3, "F17,F19");
}

#[test]
fn full_slow_and_blank_disks_and_mistakes_hurt_nobody() {
    hurt(15, 3, "F15,F18,F21,F24,F26");
}

#[test]
fn nodes_are_drained_and_replaced_and_backups_hold_everything() {
    hurt(17, 3, "W4,W5-replace,W10");
}

#[test]
fn crashes_anywhere_and_wrong_clocks_hurt_nobody() {
    hurt(18, 3, "F4,F14,F22,F23");
}

#[test]
fn five_nodes_stand_two_faults_at_once() {
    hurt(16, 5, "F2,F8,F25");
}
