//! `cairn dev`: a cluster on this machine, of real processes of this program.
//!
//! At the first start in a folder it founds the cluster, lets the other nodes join, and makes
//! the group `acme` and the project `acme/demo`. Later starts find all of it again. It watches
//! the nodes until it is told to stop, and then stops them; they also stop by themselves when
//! it dies.

mod banner;
mod env_file;
mod folder;
mod node;
mod setup;

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use url::Url;

use super::failure::{Failure, OrFail as _};
use super::output::{Output, progress};
use banner::Banner;
pub(super) use env_file::EnvFile;
use folder::Folder;
pub(super) use node::shell_quote;
use node::{Node, describe};

/// Between two looks at all nodes.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// A node that ran this long and then ended is started again at once; one that did not waits
/// twice as long as the time before.
const STEADY: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(super) struct Arguments {
    /// Keeps all data; made if it is not there
    #[arg(default_value = "cairn-data")]
    folder: PathBuf,

    /// How many nodes; 3 at the first start, later as many as there are
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: Option<u8>,

    /// Starts a node again when it ends
    #[arg(long)]
    respawn: bool,

    /// First of two ports for each node, chosen at the first start: 7080 unless given, 0 for any
    #[arg(long, value_name = "BASE")]
    port: Option<u16>,
}

/// Runs the cluster until it is told to stop.
pub(super) async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let stop = StopSignals::listen()?;
    let program = std::env::current_exe().or_fail("find this program")?;
    let mut folder = Folder::open(&arguments.folder)?;
    let mut nodes = nodes_of(&folder, &program);
    stop_leftovers(&mut nodes).await?;
    let token = folder.token()?;
    if token.is_none() {
        folder.start_over()?;
    }
    folder.plan(arguments.nodes.map(usize::from), arguments.port)?;
    for node in folder.nodes() {
        node.check_ports()?;
    }
    let mut cluster = Cluster {
        nodes: nodes_of(&folder, &program),
        folder,
        respawn: arguments.respawn,
        output,
    };
    let outcome = tokio::select! {
        failure = cluster.start_and_watch(token) => failure,
        () = stop.wait() => Ok(()),
    };
    let stopped = cluster.stop().await;
    outcome.and(stopped)
}

fn env_file_of(nodes: &[Node], token: &str) -> EnvFile {
    let nodes = || nodes.iter().filter(|node| !node.is_removed());
    EnvFile {
        nodes: nodes().map(Node::url).collect(),
        token: token.to_owned(),
        pids: nodes().map(Node::pid).collect(),
    }
}

fn nodes_of(folder: &Folder, program: &Path) -> Vec<Node> {
    let files = folder.nodes().iter();
    files.map(|files| Node::new(files.clone(), program)).collect()
}

/// Ends nodes of an earlier run, whose `cairn dev` was killed or which were started by hand.
async fn stop_leftovers(nodes: &mut [Node]) -> Result<(), Failure> {
    for node in nodes {
        if let Some(pid) = node.ask_to_stop() {
            progress(format_args!(
                "node {} still runs from before (process {pid}); stopping it",
                node.number()
            ));
            node.stopped().await?;
        }
    }
    Ok(())
}

/// The nodes of the folder while this process runs them.
struct Cluster {
    folder: Folder,
    nodes: Vec<Node>,
    respawn: bool,
    output: Output,
}

impl Cluster {
    /// Starts all nodes and watches them; returns only when something failed.
    async fn start_and_watch(&mut self, token: Option<String>) -> Result<(), Failure> {
        let (token, is_new) = match token {
            Some(token) => {
                setup::restart(&mut self.nodes, &token).await?;
                (token, false)
            }
            None => {
                let token = setup::found(&mut self.nodes).await?;
                self.folder.keep_token(&token)?;
                (token, true)
            }
        };
        let urls: Vec<Url> = self.nodes.iter().map(Node::url).collect();
        let commands: Vec<_> = self.nodes.iter().map(Node::command_line).collect();
        let mut env_file = env_file_of(&self.nodes, &token);
        env_file.write(self.folder.path())?;
        let banner = Banner {
            folder: self.folder.path(),
            nodes: &urls,
            commands: &commands,
            token: is_new.then_some(token.as_str()),
            respawn: self.respawn,
        };
        self.output.show(&banner);
        let mut watches: Vec<_> = self.nodes.iter().map(|_| Watch::default()).collect();
        loop {
            sleep(BETWEEN_LOOKS).await;
            for (node, watch) in self.nodes.iter_mut().zip(&mut watches) {
                watch.look(node, self.respawn)?;
            }
            let now = env_file_of(&self.nodes, &token);
            if now != env_file {
                env_file = now;
                env_file.write(self.folder.path())?;
            }
        }
    }

    /// Stops all nodes and says how that went.
    async fn stop(&mut self) -> Result<(), Failure> {
        EnvFile::remove(self.folder.path())?;
        progress("stopping all nodes");
        for node in &self.nodes {
            node.ask_to_stop();
        }
        let mut outcome = Ok(());
        for node in &mut self.nodes {
            outcome = outcome.and(node.stopped().await);
        }
        if outcome.is_ok() {
            progress("all nodes have stopped");
        }
        outcome
    }
}

/// Follows one node.
#[derive(Default)]
struct Watch {
    /// When it is to be started again.
    due: Option<Instant>,
    /// How long it waited the last time.
    waited: Option<Duration>,
}

impl Watch {
    /// Notices the end of its process, and starts it again when it is to.
    fn look(&mut self, node: &mut Node, respawn: bool) -> Result<(), Failure> {
        let pid = node.pid();
        if let Some(status) = node.ended()? {
            let what = format!(
                "node {} (process {}) {}",
                node.number(),
                pid.unwrap_or_default(),
                describe(status)
            );
            if node.is_removed() {
                progress(node.removal());
            } else if respawn {
                let wait = match self.waited {
                    Some(waited) if node.uptime() < STEADY => (2 * waited).min(LONGEST_WAIT),
                    _ => FIRST_WAIT,
                };
                self.waited = Some(wait);
                self.due = Some(Instant::now() + wait);
                progress(format_args!("{what}; it will be started again"));
            } else {
                progress(format_args!(
                    "{what}; start it again with\n  {}",
                    node.command_line()
                ));
            }
        }
        if self.due.is_some_and(|due| Instant::now() >= due) {
            self.due = None;
            // Somebody may have been faster, by hand.
            if node.pid().is_none() {
                node.start()?;
                progress(format_args!(
                    "node {} started again (process {})",
                    node.number(),
                    node.pid().unwrap_or_default()
                ));
            }
        }
        Ok(())
    }
}

/// What asks `cairn dev` to stop: Ctrl-C, SIGTERM, or a terminal that was closed.
struct StopSignals([tokio::signal::unix::Signal; 3]);

impl StopSignals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).or_fail("listen for signals");
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    async fn wait(mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Writes a file that only its owner may read, whole or not at all.
fn private_file(path: &Path, text: &str) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    // A leftover of an interrupted write might have other rights.
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn private_files_are_replaced_whole_and_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for text in ["one", "two"] {
            private_file(&path, text).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
