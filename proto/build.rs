//! Generates the wire code with protox, so that no `protoc` is needed to build Cairn.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=cairn");
    let mut files: Vec<PathBuf> = std::fs::read_dir("cairn/v1")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let descriptors = protox::compile(&files, ["."])?;
    tonic_prost_build::configure()
        // Payloads are slices of the received frame rather than copies of it.
        .bytes(".")
        // The same value is always the same bytes: nodes compare what they store.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
