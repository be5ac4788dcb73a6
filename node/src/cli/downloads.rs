//! `cairn downloads` and `cairn adoption`: how often things are downloaded, and by how many.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::client::{Connection, encode_path};
use super::failure::Failure;
use super::output::Output;
use super::rows::{Column, Rows};

#[derive(Args)]
pub(super) struct Arguments {
    /// The project, as in `acme/demo`
    project: String,

    /// What is counted together
    #[arg(long, value_enum, default_value_t)]
    by: By,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum By {
    /// Each version that is there
    #[default]
    Version,
    /// Each package, with all versions that it ever had, and each repository of images
    Package,
}

#[derive(Args)]
pub(super) struct Adoption {
    /// So many months back
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=24))]
    months: u64,

    #[command(flatten)]
    connection: Connection,
}

const VERSIONS: &[Column] = &[
    ("DOWNLOADS", "downloads"),
    ("FORMAT", "package_type"),
    ("NAME", "name"),
    ("VERSION", "version"),
    ("LAST", "last_downloaded_at"),
];

const PACKAGES: &[Column] = &[
    ("DOWNLOADS", "downloads"),
    ("FORMAT", "package_type"),
    ("NAME", "name"),
];

const MONTHS: &[Column] = &[
    ("MONTH", "month"),
    ("FORMAT", "package_type"),
    ("PUBLISHERS", "publishers"),
    ("DOWNLOADERS", "downloaders"),
    ("DOWNLOADS", "downloads"),
];

pub(super) async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let path = format!(
        "/api/cairn/v1/projects/{}/downloads",
        encode_path(&arguments.project)
    );
    let (path, columns) = match arguments.by {
        By::Version => (format!("{path}?"), VERSIONS),
        By::Package => (format!("{path}/packages?"), PACKAGES),
    };
    let rows = arguments.connection.open()?.all(&path).await?;
    output.show(&Rows::new(columns, rows));
    Ok(())
}

pub(super) async fn adoption(arguments: Adoption, output: Output) -> Result<(), Failure> {
    let path = format!("/api/cairn/v1/adoption?months={}", arguments.months);
    let rows: Vec<Value> = arguments.connection.open()?.get(&path).await?;
    output.show(&Rows::new(MONTHS, rows));
    Ok(())
}
