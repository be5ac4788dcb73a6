//! Samples of everything that is stored, of this release and those before: what they were written
//! as must read as what they meant, for ever. Both crates have their tests by this.
//!
//! The server includes this file by its path, and it names this crate as the server does (`extern
//! crate self as cairn_cluster`). In a crate of its own it could not serve here: that would be built
//! against this crate without its tests, where [`Record`] is another trait than in the tests.
//!
//! `testdata/stored/NAME.txt` has two lines for each sample: what it means, as JSON, and what
//! lies on the disk, in hexadecimal. [`check`] makes sure of a kind of record
//! - that every sample is read, with at least the fields that it had then;
//! - that every form that is written now is among them. A type tells its forms itself, see
//!   [`forms`]. `CAIRN_UPDATE_GOLDEN=1` adds those that are missing, and never touches the others.
//!
//! A test of each crate makes sure that no kind of record is left out.

mod forms;

use std::fs;
use std::path::{Path, PathBuf};

use cairn_cluster::record::{Record, decode, encode};
use data_encoding::HEXLOWER;
use serde_json::Value;

pub(crate) use forms::forms;

/// Samples of a record.
#[track_caller]
pub(crate) fn check<R: Record>(name: &str) {
    let shown = |stored: &[u8]| {
        let record: R = decode(stored).unwrap_or_else(|error| panic!("{name}: {error}"));
        serde_json::to_string(&record).unwrap()
    };
    let written: Vec<Vec<u8>> = forms::<R>()
        .iter()
        .map(|record| encode(record).to_vec())
        .collect();
    for stored in &written {
        // It loses nothing on its way.
        let record: R = decode(stored).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(encode(&record), stored.as_slice(), "{name}");
    }
    check_bytes(name, &written, shown);
}

/// Samples of another stored form: what is written now, and how it is read and shown as JSON.
#[track_caller]
pub(crate) fn check_bytes(name: &str, written: &[Vec<u8>], shown: impl Fn(&[u8]) -> String) {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let path = folder().join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let mut known = Vec::new();
    for sample in lines.chunks(2) {
        let [then, stored] = sample else {
            panic!("{name}: the last sample has one line");
        };
        let stored = HEXLOWER.decode(stored.as_bytes()).unwrap();
        let now = shown(&stored);
        assert!(
            contains(&parse(&now), &parse(then)),
            "{name} was {then}\nand reads as {now}"
        );
        known.push(stored);
    }
    let missing: Vec<_> = written.iter().filter(|stored| !known.contains(stored)).collect();
    if std::env::var_os("CAIRN_UPDATE_GOLDEN").is_some() && !missing.is_empty() {
        let added = missing
            .iter()
            .map(|stored| format!("{}\n{}\n", shown(stored), HEXLOWER.encode(stored)));
        fs::create_dir_all(folder()).unwrap();
        fs::write(&path, text + &added.collect::<String>()).unwrap();
        return;
    }
    assert!(
        missing.is_empty(),
        "{name} is written in {} forms of which there is no sample, such as {}\n\
         if it is meant, see `cluster/src/level.rs`, and add samples with CAIRN_UPDATE_GOLDEN=1",
        missing.len(),
        shown(missing[0])
    );
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/stored")
}

/// Whether a value has all that another one has: fields may be added.
fn contains(now: &Value, then: &Value) -> bool {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => then
            .iter()
            .all(|(name, value)| now.get(name).is_some_and(|now| contains(now, value))),
        (Value::Array(now), Value::Array(then)) => {
            now.len() == then.len() && now.iter().zip(then).all(|(now, then)| contains(now, then))
        }
        _ => now == then,
    }
}

/// Whoever adds a kind of record adds its samples beside it.
#[test]
fn every_kind_of_record_has_samples() {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    let (mut kinds, mut missing) = (0, Vec::new());
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|kind| kind == "rs"))
    {
        let text = fs::read_to_string(file).unwrap();
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for rest in product.split("\nimpl Record for ").skip(1) {
            kinds += 1;
            let kind: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            if !text.contains(&format!("samples::check::<super::{kind}>(")) {
                missing.push(format!("{kind} in {}", file.display()));
            }
        }
    }
    assert!(
        kinds > 0,
        "no kind is found any more: were they written in another way?"
    );
    assert!(missing.is_empty(), "without samples:\n{}", missing.join("\n"));
}
