//! The whole table on tiny sizes, so that it works when somebody wants to know the real figures.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::path::Path;

use cairn_benches::{FormatName, Measure, Options, Scale, Table, run};
use cairn_chaos_tests::program_beside;

/// What is measured on tiny sizes: all of it, if nothing is named.
async fn measured(only: Vec<Measure>) -> Table {
    measured_of(only, &[]).await
}

/// The same; growth of these formats only, if there are any.
async fn measured_of(only: Vec<Measure>, formats: &[&str]) -> Table {
    let benches = Path::new(env!("CARGO_BIN_EXE_cairn-benches"));
    run(Options {
        cairn: program_beside(benches).unwrap(),
        benches: benches.to_owned(),
        folder: std::env::temp_dir(),
        scale: Scale::tiny(),
        only,
        formats: formats.iter().map(|name| name.parse().unwrap()).collect(),
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_is_measured() {
    let table = measured(Vec::new()).await;
    let text = table.to_string();
    for expected in [
        "kv commits, 1 writer",
        "kv commits, 64 writers",
        "kv commits for each fsync of the leader, 64 writers",
        "npm packument, hot, 64 connections",
        "npm packument, hot, gzip",
        "npm packument, not modified",
        "npm tarball",
        "oci manifest by tag",
        "oci manifest by digest",
        "oci blob",
        "generic upload of 8 MiB",
        "most memory of node 1",
        "most memory of node 3",
        "blob put, 10 KiB, 16 connections |",
        "blob put, 3 MiB, 16 connections |",
        "blob put: bytes on the disks for each byte, 3 MiB",
        "blob get, 3 MiB, 16 connections |",
        "blob put, 3 MiB, 16 connections, one node dead |",
        "blob get, 3 MiB, 16 connections, one node dead |",
    ] {
        assert!(text.contains(expected), "no {expected} in:\n{text}");
    }
    for row in &table.rows {
        assert!(row.cairn.value() > 0.0, "{row:?}");
        assert!(row.ratio().is_none_or(|ratio| ratio > 0.0), "{row:?}");
    }
    // Nothing can be stored without being written; three copies are more than is asked for.
    let stored = "put: bytes on the disks for each byte, 3 MiB, 16 connections";
    let row = table.rows.iter().find(|row| row.what.ends_with(stored)).unwrap();
    assert!((1.5..3.0).contains(&row.cairn.value()), "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_losses_and_changes_cost_is_measured() {
    let table = measured(vec![Measure::Heal]).await;
    let text = table.to_string();
    for expected in [
        "reads answered, nothing else being done",
        "writes answered, scrub at work",
        "reads answered, collection at work",
        "writes answered, nodes killed one after the other",
        "pause of writes when the leader is killed, p99 of 1 times",
        "reads answered, nodes upgraded one after the other",
        "bytes moved when a fifth node joins",
        "writes answered, a node drained and removed",
        "time to full redundancy after a node is lost",
    ] {
        assert!(text.contains(expected), "no {expected} in:\n{text}");
    }
    let joined = table
        .rows
        .iter()
        .find(|row| row.what.starts_with("bytes moved"))
        .unwrap();
    assert!(joined.cairn.value() > 0.0, "{joined:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_growth_costs_is_measured() {
    let table = measured(vec![Measure::Growth]).await;
    let text = table.to_string();
    for format in FormatName::all().map(FormatName::as_str) {
        for expected in [
            "publish, 1 versions there",
            "publish, 5 versions there",
            "publish of a new package, 4 packages there",
        ] {
            let expected = format!("{format} {expected}");
            assert!(text.contains(&expected), "no {expected} in:\n{text}");
        }
    }
    for expected in [
        "npm index, 5 versions",
        "cargo index unchanged, 5 versions",
        "conan index unchanged, 5 versions",
    ] {
        assert!(text.contains(expected), "no {expected} in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn growth_of_one_format_is_measured() {
    let table = measured_of(vec![Measure::Growth], &["go"]).await;
    assert!(!table.rows.is_empty());
    assert!(
        table.rows.iter().all(|row| row.what.starts_with("go ")),
        "{table}"
    );
    assert!(
        "golang"
            .parse::<FormatName>()
            .unwrap_err()
            .contains("generic, maven")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_takes_a_node_to_catch_up_is_measured() {
    let table = measured(vec![Measure::CatchUp]).await;
    let text = table.to_string();
    for expected in [
        "reads answered, a node catching up",
        "writes answered, a node catching up",
        "time until a node has caught up with",
        "most memory of the node that caught up",
        "most memory of a node that was there",
    ] {
        assert!(text.contains(expected), "no {expected} in:\n{text}");
    }
    let received = table
        .rows
        .iter()
        .find(|row| row.what.starts_with("bytes received"))
        .unwrap();
    // It came by a snapshot, and not from the log.
    assert!(received.cairn.value() > 1e6, "{received:?}");
}
