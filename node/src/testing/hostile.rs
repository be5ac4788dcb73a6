//! `docs/hostile-input.md` and the tests that it names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::testing::matrix::rust_files;

const CATALOGUE: &str = include_str!("../../../docs/hostile-input.md");

/// The cells of each row, without those of heads.
fn rows() -> Vec<[&'static str; 4]> {
    let lines = CATALOGUE.lines().filter(|line| line.starts_with("| "));
    let cells = |line: &'static str| -> [&'static str; 4] {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        cells
            .try_into()
            .unwrap_or_else(|_| panic!("not four cells: {line}"))
    };
    let is_head = |number: &str| number.starts_with(['#', '-']);
    lines.map(cells).filter(|[number, ..]| !is_head(number)).collect()
}

#[test]
fn every_number_of_the_catalogue_is_there_once() {
    let rows = rows();
    let numbers: Vec<&str> = rows.iter().flat_map(|[number, ..]| number.split(", ")).collect();
    let all = [("H", 17), ("A", 21), ("D", 8), ("C", 9)];
    let all = all
        .into_iter()
        .flat_map(|(part, last)| (1..=last).map(move |n| format!("{part}{n}")));
    let all: BTreeSet<String> = all.chain(["X10".into()]).collect();
    assert_eq!(numbers.len(), all.len());
    assert_eq!(
        numbers.into_iter().map(String::from).collect::<BTreeSet<_>>(),
        all
    );
}

#[test]
fn every_test_that_the_catalogue_names_is_there() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = ["node/src", "node/tests", "cluster/src", "cluster/tests"];
    let sources: Vec<String> = folders
        .iter()
        .flat_map(|folder| rust_files(&workspace.join(folder)))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut missing = Vec::new();
    for [number, _, _, tests] in rows() {
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(
            !named.is_empty() || tests.starts_with("none: "),
            "{number} names no test"
        );
        for name in named {
            let function = format!("fn {name}(");
            if !sources.iter().any(|source| source.contains(&function)) {
                missing.push(format!("{number}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
