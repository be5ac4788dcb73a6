//! What is measured: one module for each question.

mod blob;
mod image;
mod kv;
mod npm;
mod oci;
mod upload;

use clap::ValueEnum;

use crate::bench::{Bench, say};

/// Something that can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measure {
    /// Commits of metadata: how many, how fast, and how many share an fsync.
    Kv,
    /// Packuments and tarballs.
    Npm,
    /// Manifests and blobs of images.
    Oci,
    /// Memory during a very large upload.
    Upload,
    /// Blobs, with all nodes and with one of them dead.
    Blob,
}

impl Measure {
    /// All, in the order in which they are run: the last leaves a node dead.
    pub(crate) const ALL: [Self; 5] = [Self::Kv, Self::Npm, Self::Oci, Self::Upload, Self::Blob];

    /// Measures it, and adds what it found.
    pub(crate) async fn run(self, bench: &mut Bench) -> anyhow::Result<()> {
        say(format_args!("measuring {self:?}"));
        match self {
            Self::Kv => Box::pin(kv::measure(bench)).await,
            Self::Npm => Box::pin(npm::measure(bench)).await,
            Self::Oci => Box::pin(oci::measure(bench)).await,
            Self::Upload => Box::pin(upload::measure(bench)).await,
            Self::Blob => Box::pin(blob::measure(bench)).await,
        }
    }
}
