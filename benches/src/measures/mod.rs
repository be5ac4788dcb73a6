//! What is measured: one module for each question.

mod blob;
mod catch_up;
mod growth;
mod heal;
mod image;
mod kv;
mod npm;
mod oci;
mod upload;

use clap::ValueEnum;

pub use self::growth::FormatName;

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
    /// Whether publishing costs more, the more there is; only when it is asked for.
    Growth,
    /// What losses and changes of nodes cost; only when it is asked for.
    Heal,
    /// What it takes a node to catch up with a lot of metadata; only when it is asked for.
    CatchUp,
}

impl Measure {
    /// All, in the order in which they are run: `Blob` leaves a node dead, `Heal` and `CatchUp` have
    /// clusters of their own.
    pub(crate) const ALL: [Self; 8] = [
        Self::Kv,
        Self::Npm,
        Self::Oci,
        Self::Growth,
        Self::Upload,
        Self::Blob,
        Self::Heal,
        Self::CatchUp,
    ];

    /// Whether it is to be run, when these are asked for.
    pub(crate) fn is_wanted(self, only: &[Self]) -> bool {
        match only.is_empty() {
            true => !matches!(self, Self::Growth | Self::Heal | Self::CatchUp),
            false => only.contains(&self),
        }
    }

    /// Measures it, and adds what it found.
    pub(crate) async fn run(self, bench: &mut Bench) -> anyhow::Result<()> {
        say(format_args!("measuring {self:?}"));
        match self {
            Self::Kv => Box::pin(kv::measure(bench)).await,
            Self::Npm => Box::pin(npm::measure(bench)).await,
            Self::Oci => Box::pin(oci::measure(bench)).await,
            Self::Growth => Box::pin(growth::measure(bench)).await,
            Self::Upload => Box::pin(upload::measure(bench)).await,
            Self::Blob => Box::pin(blob::measure(bench)).await,
            Self::Heal => Box::pin(heal::measure(bench)).await,
            Self::CatchUp => Box::pin(catch_up::measure(bench)).await,
        }
    }
}
