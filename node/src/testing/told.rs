//! What CONTRIBUTING's "Add a format" asks for besides code: a step that was forgotten is told by its number.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::matrix;
use crate::formats::{FORMATS, Format};
use crate::fuzz;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// What is missing of a format, each with the step of the guide.
fn missing(format: &dyn Format) -> Vec<String> {
    let name = format.name();
    let is_there = |path: String| root().join(path).exists();
    let has_table_row = text("README.md").contains(&format!("\n| {name} | "));
    let fuzzed = format!("{name}_");
    let steps = [
        (
            is_there(format!("node/src/formats/{name}/mod.rs")),
            "1: its folder in node/src/formats",
        ),
        (
            is_there(format!("node/src/formats/{name}/client.rs")),
            "3: client.rs, which drives the real clients",
        ),
        (
            fuzz::targets().any(|target| target.name.starts_with(&fuzzed)),
            "4: its parsers in fuzz.rs, by names that begin with its own",
        ),
        (
            matrix::is_read_by_root(name),
            "5: a row in matrix.txt of something that root can read, and something published for it in matrix.rs",
        ),
        (
            matrix::tells_of_all_projects(name),
            "5: rows in matrix.txt that read and rows that change something, in each of the projects 1, 2, 3 and 99",
        ),
        (has_table_row, "6: its row in the README's table"),
        (is_there(format!("docs/{name}.md")), "6: docs/NAME.md"),
        (
            // Images have a measure of their own.
            text("benches/src/measures/growth/formats.rs").contains(&format!("name: \"{name}\","))
                || name == "oci",
            "7: its row in benches/src/measures/growth/formats.rs",
        ),
    ];
    let missing = steps.into_iter().filter(|(is_done, _)| !is_done);
    missing.map(|(_, step)| format!("{name}, step {step}")).collect()
}

#[test]
fn every_step_of_adding_a_format_was_done() {
    let missing: Vec<_> = FORMATS.iter().flat_map(|format| missing(*format)).collect();
    assert!(
        missing.is_empty(),
        "see CONTRIBUTING.md, \"Add a format\":\n{}",
        missing.join("\n")
    );
}

#[test]
fn every_folder_of_a_format_has_its_row() {
    let folders = fs::read_dir(root().join("node/src/formats")).unwrap();
    let folders = folders
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap());
    let names = FORMATS.iter().map(|format| format.name().to_owned());
    assert_eq!(folders.collect::<BTreeSet<_>>(), names.collect());
}
