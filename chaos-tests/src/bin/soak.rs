//! Hurts a cluster for a while; see the README.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use cairn_chaos_tests::driver::options::Options;
use cairn_chaos_tests::driver::run;
use cairn_chaos_tests::isolate;
use clap::Parser as _;

fn main() -> anyhow::Result<ExitCode> {
    // Before there is a thread: namespaces belong to threads.
    let options = Options::parse();
    isolate()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let file = options.report.clone();
    let report = runtime.block_on(run(options))?;
    if let Some(file) = file {
        let json = serde_json::to_vec_pretty(&report)?;
        std::fs::write(&file, json).with_context(|| format!("write {}", file.display()))?;
    }
    std::io::stdout().write_all(report.to_markdown().as_bytes())?;
    Ok(match report.violation {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}
