//! The command line of `cairn`: runs a node, founds and grows a cluster, and administers one.
//!
//! Commands that administer speak HTTP with any node, as other clients do; only `serve`, `dev`,
//! `restore`, `cluster init` and `cluster join` touch a node's own data.

mod apply;
mod audit;
mod backup;
mod cleanup;
mod client;
mod cluster;
mod completion;
mod deleted;
mod departure;
mod dev;
mod disk;
mod downloads;
mod duplicates;
mod failure;
mod group;
mod image;
mod member;
mod openapi;
mod output;
mod package;
mod package_settings;
mod place;
mod project;
mod protect;
mod quota;
mod restore;
mod rows;
mod serve;
mod session;
mod table;
mod token;
mod trust;
mod upgrade;
mod upkeep;
mod usage;
mod user;
mod versions;

use std::process::ExitCode;
use std::time::Duration;

use cairn_cluster::Build;
use clap::{CommandFactory as _, Parser, Subcommand};

use failure::{Failure, OrFail as _};
use output::Output;

use crate::start;

/// How long jobs that wait for disks may take when everything else has ended.
const LAST_JOBS: Duration = Duration::from_secs(5);

/// A self-hosted package registry that runs as a cluster
#[derive(Parser)]
#[command(name = "cairn", version, after_help = failure::EXIT_CODES, disable_help_subcommand = true)]
struct Arguments {
    /// How results are printed
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    output: Output,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a cluster on this machine, for trying and for development
    Dev(dev::Arguments),
    /// Runs one node
    Serve(serve::Arguments),
    /// Founds a cluster, lets nodes join and leave, shows how it is
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// The disks of the nodes, and replacing one
    #[command(subcommand)]
    Disk(disk::Command),
    /// Background work: repair, rebalance, scrub, collection, recoding
    #[command(subcommand)]
    Tasks(upkeep::TasksCommand),
    /// Blobs that need attention
    Blobs(upkeep::BlobsArguments),
    /// Takes a backup of a running cluster into a folder, or checks one
    Backup(backup::Arguments),
    /// Makes a new cluster from a backup, with this node as its first
    Restore(restore::Arguments),
    /// Groups, which hold projects
    #[command(subcommand)]
    Group(group::Command),
    /// Projects, which hold packages and images
    #[command(subcommand)]
    Project(project::Command),
    /// Users: who there is
    #[command(subcommand)]
    User(user::Command),
    /// Members of groups and projects: who may do what
    #[command(subcommand)]
    Member(member::Command),
    /// Packages: what was published
    #[command(subcommand)]
    Package(package::Command),
    /// Container images: repositories and tags
    #[command(subcommand)]
    Image(image::Command),
    /// Rules that protect packages, container repositories and tags
    #[command(subcommand)]
    Protect(protect::Command),
    /// What happens when something is published that is there already
    #[command(subcommand)]
    Duplicates(duplicates::Command),
    /// Whether releases, snapshots or both are taken
    #[command(subcommand)]
    Versions(versions::Command),
    /// What projects let go by themselves
    #[command(subcommand)]
    Cleanup(cleanup::Command),
    /// What was deleted and can still be restored
    #[command(subcommand)]
    Deleted(deleted::Command),
    /// How often versions and packages of a project were downloaded
    Downloads(downloads::Arguments),
    /// How many publish and download each format, by month
    Adoption(downloads::Adoption),
    /// How much projects and groups may store
    #[command(subcommand)]
    Quota(quota::Command),
    /// What is stored, by format, user or project
    Usage(usage::Arguments),
    /// One's own sessions: the browsers that one is signed in at
    #[command(subcommand)]
    Session(session::Command),
    /// Tokens, with which clients sign in
    #[command(subcommand)]
    Token(token::Command),
    /// Who changed what: shows it, exports it, checks it
    #[command(subcommand)]
    Audit(audit::Command),
    /// Makes groups, projects, members, tokens, policies and rules be as a file declares
    Apply(apply::Arguments),
    /// Prints what a shell needs to complete commands
    Completion(completion::Arguments),
    /// Prints the OpenAPI document of the REST API
    Openapi,
    /// Trust rules, by which CI jobs get in without a secret
    #[command(subcommand)]
    Trust(trust::Command),
}

/// Runs the command that the arguments of this process name.
pub fn main() -> ExitCode {
    main_of(start::own_build())
}

/// The same for a node that takes itself for another build: how versions of different levels run
/// together is tested so.
pub fn main_of(build: Build) -> ExitCode {
    let arguments = Arguments::parse();
    let output = arguments.output;
    match run(arguments.command, output, build) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.show_failure(&failure);
            failure.code.into()
        }
    }
}

fn run(command: Command, output: Output, build: Build) -> Result<(), Failure> {
    match command {
        Command::Dev(arguments) => on_this_thread(dev::run(arguments, output)),
        Command::Serve(arguments) => serve::run(arguments, build),
        Command::Cluster(command) => on_this_thread(cluster::run(command, output, build)),
        Command::Disk(command) => on_this_thread(disk::run(command, output)),
        Command::Tasks(command) => on_this_thread(upkeep::tasks(command, output)),
        Command::Blobs(arguments) => on_this_thread(upkeep::blobs(arguments, output)),
        Command::Backup(arguments) => on_all_threads(backup::run(arguments, output)),
        Command::Restore(arguments) => on_all_threads(restore::run(arguments, output)),
        Command::Group(command) => on_this_thread(group::run(command, output)),
        Command::Project(command) => on_this_thread(project::run(command, output)),
        Command::Protect(command) => on_this_thread(protect::run(command, output)),
        Command::Duplicates(command) => on_this_thread(duplicates::run(command, output)),
        Command::Versions(command) => on_this_thread(versions::run(command, output)),
        Command::Cleanup(command) => on_this_thread(cleanup::run(command, output)),
        Command::Deleted(command) => on_this_thread(deleted::run(command, output)),
        Command::Downloads(arguments) => on_this_thread(downloads::run(arguments, output)),
        Command::Adoption(arguments) => on_this_thread(downloads::adoption(arguments, output)),
        Command::Quota(command) => on_this_thread(quota::run(command, output)),
        Command::Usage(arguments) => on_this_thread(usage::run(arguments, output)),
        Command::Session(command) => on_this_thread(session::run(command, output)),
        Command::Token(command) => on_this_thread(token::run(command, output)),
        Command::User(command) => on_this_thread(user::run(command, output)),
        Command::Member(command) => on_this_thread(member::run(command, output)),
        Command::Package(command) => on_this_thread(package::run(command, output)),
        Command::Image(command) => on_this_thread(image::run(command, output)),
        Command::Apply(arguments) => on_this_thread(apply::run(arguments, output)),
        Command::Completion(arguments) => {
            completion::print(&arguments, &mut Arguments::command());
            Ok(())
        }
        Command::Openapi => openapi::print(),
        Command::Audit(command) => on_this_thread(audit::run(command, output)),
        Command::Trust(command) => on_this_thread(trust::run(command, output)),
    }
}

/// Runs a command that moves and hashes much.
fn on_all_threads(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_fail("start the runtime")?;
    let result = runtime.block_on(command);
    // What still waits for a disk that hangs waits for ever.
    runtime.shutdown_timeout(LAST_JOBS);
    result
}

/// Runs a command that needs no more than one thread.
fn on_this_thread(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_fail("start the runtime")?
        .block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }
}
