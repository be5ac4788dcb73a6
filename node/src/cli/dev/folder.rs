//! The folder of a `cairn dev`.
//!
//! ```text
//! FOLDER/dev.lock      held while `cairn dev` runs; says who does
//!        dev.env       for scripts, while the nodes run
//!        root.token    the administrator's token; written last, so its presence says that the
//!                      cluster was set up completely
//!        node-1.toml   configuration of node 1: its ports are chosen once and kept here
//!        node-1/       data of node 1
//!        node-1.log    what node 1 logs
//!        node-1.pid    held while node 1 runs; says which process it is
//! ```

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use super::super::failure::{Code, Failure, OrFail as _};
use super::env_file::EnvFile;
use super::private_file;
use crate::config::Config;
use crate::lock::{LockError, PidLock};

/// The folder, held by this process.
pub(super) struct Folder {
    path: PathBuf,
    nodes: Vec<NodeFiles>,
    _lock: PidLock,
}

/// Where one node of the folder keeps its things.
#[derive(Clone, Debug)]
pub(super) struct NodeFiles {
    /// 1 for the first.
    pub(super) number: usize,
    /// Its configuration file.
    pub(super) config_path: PathBuf,
    /// What that says.
    pub(super) config: Config,
    /// Where it logs to.
    pub(super) log_path: PathBuf,
    /// Held by its process; says which that is.
    pub(super) pid_path: PathBuf,
}

impl Folder {
    /// Takes the folder for this process.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let path = std::path::absolute(path).or_fail(format_args!("find {}", path.display()))?;
        refuse_foreign(&path)?;
        fs::create_dir_all(&path)
            .or_fail(format_args!("make {}", path.display()))
            .map_err(elsewhere)?;
        let lock = PidLock::take(&path.join("dev.lock")).map_err(|error| match error {
            LockError::Held { pid } => Failure::new(
                Code::Conflict,
                format!("{} is in use by process {pid}", path.display()),
            )
            .next("stop that `cairn dev`, or choose another folder"),
            LockError::Io(error) => elsewhere(Failure::failed(format!(
                "cannot lock {}: {error}",
                path.display()
            ))),
        })?;
        EnvFile::remove(&path)?;
        Ok(Self {
            nodes: read_nodes(&path)?,
            path,
            _lock: lock,
        })
    }

    /// The folder itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The nodes that the folder holds.
    pub(super) fn nodes(&self) -> &[NodeFiles] {
        &self.nodes
    }

    /// The administrator's token, if the cluster was set up completely.
    pub(super) fn token(&self) -> Result<Option<String>, Failure> {
        match fs::read_to_string(self.token_path()) {
            Ok(token) => Ok(Some(token.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).or_fail(format_args!("read {}", self.token_path().display())),
        }
    }

    /// Says that the cluster was set up completely.
    pub(super) fn keep_token(&self, token: &str) -> Result<(), Failure> {
        private_file(&self.token_path(), &format!("{token}\n"))
            .or_fail(format_args!("write {}", self.token_path().display()))
    }

    /// Removes what an interrupted set-up left. Nobody was told of it, so nothing is lost.
    pub(super) fn start_over(&mut self) -> Result<(), Failure> {
        for node in self.nodes.drain(..).rev() {
            let data = &node.config.node.data;
            match fs::remove_dir_all(data) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).or_fail(format_args!("remove {}", data.display()));
                }
                _ => {}
            }
            // Last, from the highest number down, so that an interruption leaves nothing unseen.
            fs::remove_file(&node.config_path)
                .or_fail(format_args!("remove {}", node.config_path.display()))?;
        }
        Ok(())
    }

    /// Chooses ports for the nodes that are new, and writes their configuration.
    pub(super) fn plan(&mut self, wanted: Option<usize>, port: Option<u16>) -> Result<(), Failure> {
        const DEFAULT_NODES: usize = 3;
        const DEFAULT_PORT: u16 = 7080;
        let known = self.nodes.len();
        if let (Some(port), Some(first)) = (port, self.nodes.first())
            && ![0, first.config.http.listen.port()].contains(&port)
        {
            return Err(Failure::new(
                Code::Conflict,
                format!(
                    "the nodes in {} have their ports already, from {} on",
                    self.path.display(),
                    first.config.http.listen.port()
                ),
            )
            .next("leave out --port, or choose another folder"));
        }
        let wanted = wanted.unwrap_or(if known == 0 { DEFAULT_NODES } else { known });
        if wanted < known {
            return Err(Failure::new(
                Code::Conflict,
                format!("{} holds {known} nodes, not {wanted}", self.path.display()),
            )
            .next(format!(
                "leave out --nodes to run all {known}, or choose another folder for a smaller cluster"
            )));
        }
        let free = match (port, self.nodes.last()) {
            (Some(0), _) => Ports::Any,
            (_, Some(last)) => Ports::From(u32::from(last.config.cluster.listen.port()) + 1),
            (port, None) => Ports::From(u32::from(port.unwrap_or(DEFAULT_PORT))),
        };
        let mut fresh = Vec::new();
        let mut ports = free.take(2 * (wanted - known))?.into_iter();
        for number in known + 1..=wanted {
            let (Some(http), Some(cluster)) = (ports.next(), ports.next()) else {
                unreachable!("two ports were taken for each node");
            };
            fresh.push(self.node_files(number, http, cluster));
        }
        for node in &fresh {
            private_file(&node.config_path, &render(&node.config))
                .or_fail(format_args!("write {}", node.config_path.display()))?;
        }
        self.nodes.extend(fresh);
        Ok(())
    }

    fn token_path(&self) -> PathBuf {
        self.path.join("root.token")
    }

    fn node_files(&self, number: usize, http: SocketAddr, cluster: SocketAddr) -> NodeFiles {
        let mut config = Config::default();
        config.node.data = self.path.join(format!("node-{number}"));
        config.http.listen = http;
        config.cluster.listen = cluster;
        // An issuer for trying out is on this machine too.
        config.trust.issuers = vec!["*".parse().expect("a star is a pattern")];
        NodeFiles::new(&self.path, number, config)
    }
}

impl NodeFiles {
    fn new(folder: &Path, number: usize, config: Config) -> Self {
        Self {
            number,
            config_path: config_path(folder, number),
            config,
            log_path: folder.join(format!("node-{number}.log")),
            pid_path: folder.join(format!("node-{number}.pid")),
        }
    }

    /// Makes sure that the node will be able to listen, for a clear word before anything starts.
    pub(super) fn check_ports(&self) -> Result<(), Failure> {
        for address in [self.config.http.listen, self.config.cluster.listen] {
            TcpListener::bind(address).map_err(|error| {
                let number = self.number;
                Failure::new(
                    Code::Conflict,
                    format!("node {number} cannot listen on {address}: {error}"),
                )
                .next(format!(
                    "stop what uses that port, or choose another folder and `--port`; the ports of node \
                         {number} are in {}",
                    self.config_path.display()
                ))
            })?;
        }
        Ok(())
    }
}

fn config_path(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("node-{number}.toml"))
}

/// The keys that differ between nodes or from what suits production; all others keep their
/// defaults.
fn render(config: &Config) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    format!(
        "# Made by `cairn dev`, which keeps what you change here. ops/cairn.toml explains all keys.\n\
         [node]\n\
         data = {}\n\
         [http]\n\
         listen = {}\n\
         [cluster]\n\
         listen = {}\n\
         [trust]\n\
         issuers = {}\n",
        quoted(&config.node.data.to_string_lossy()),
        quoted(&config.http.listen.to_string()),
        quoted(&config.cluster.listen.to_string()),
        toml::Value::from(
            config
                .trust
                .issuers
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        ),
    )
}

fn read_nodes(folder: &Path) -> Result<Vec<NodeFiles>, Failure> {
    let mut nodes = Vec::new();
    for number in 1.. {
        let path = config_path(folder, number);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error).or_fail(format_args!("read {}", path.display())),
        };
        let config =
            Config::from_sources(Some((&path, &text)), []).or_fail(format_args!("use {}", path.display()))?;
        nodes.push(NodeFiles::new(folder, number, config));
    }
    Ok(nodes)
}

/// A folder with other things in it is not taken over.
fn refuse_foreign(path: &Path) -> Result<(), Failure> {
    let mut entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error)
                .or_fail(format_args!("use {} as a folder", path.display()))
                .map_err(elsewhere);
        }
    };
    if entries.next().is_some() && !path.join("dev.lock").exists() {
        return Err(Failure::new(
            Code::Conflict,
            format!(
                "{} holds other things than a cluster of `cairn dev`",
                path.display()
            ),
        )
        .next("choose an empty or a new folder"));
    }
    Ok(())
}

/// Where new nodes get their ports from.
enum Ports {
    /// One after the other.
    From(u32),
    /// Whichever the system gives.
    Any,
}

impl Ports {
    fn take(self, count: usize) -> Result<Vec<SocketAddr>, Failure> {
        match self {
            Self::From(first) => (first..)
                .take(count)
                .map(|port| match u16::try_from(port) {
                    Ok(port) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
                    Err(_) => Err(Failure::new(
                        Code::Usage,
                        format!("ports from {first} on are not enough for these nodes"),
                    )
                    .next("choose a lower --port")),
                })
                .collect(),
            Self::Any => {
                // All are held until the last is found, so that none is found twice.
                let held = (0..count)
                    .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
                    .collect::<io::Result<Vec<_>>>()
                    .or_fail("find free ports")?;
                held.iter()
                    .map(TcpListener::local_addr)
                    .collect::<io::Result<_>>()
                    .or_fail("find free ports")
            }
        }
    }
}

/// What to do about a folder that cannot be used.
fn elsewhere(failure: Failure) -> Failure {
    failure.next("name a folder that you may write to, as in `cairn dev ~/cairn-data`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(folder: &Folder) -> Vec<(u16, u16)> {
        let nodes = folder.nodes.iter();
        nodes
            .map(|node| (node.config.http.listen.port(), node.config.cluster.listen.port()))
            .collect()
    }

    fn planned(path: &Path, nodes: Option<usize>, port: Option<u16>) -> Result<Folder, Failure> {
        let mut folder = Folder::open(path)?;
        folder.plan(nodes, port)?;
        Ok(folder)
    }

    #[test]
    fn ports_are_chosen_once() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let folder = planned(&path, None, Some(7300)).unwrap();
        assert_eq!(ports(&folder), [(7300, 7301), (7302, 7303), (7304, 7305)]);
        drop(folder);
        let folder = planned(&path, None, None).unwrap();
        assert_eq!(ports(&folder), [(7300, 7301), (7302, 7303), (7304, 7305)]);
        drop(folder);
        let folder = planned(&path, Some(4), None).unwrap();
        assert_eq!(ports(&folder)[3], (7306, 7307));
        drop(folder);
        for (nodes, port, expected) in [
            (Some(2), None, "holds 4 nodes"),
            (None, Some(9000), "from 7300 on"),
        ] {
            let failure = planned(&path, nodes, port).map(|_| ()).unwrap_err();
            assert!(failure.message.contains(expected), "{}", failure.message);
            assert!(failure.next.is_some());
        }
    }

    #[test]
    fn free_ports_are_found_when_asked_for() {
        let parent = tempfile::tempdir().unwrap();
        let folder = planned(&parent.path().join("data"), Some(2), Some(0)).unwrap();
        let mut all: Vec<_> = ports(&folder).into_iter().flat_map(|(a, b)| [a, b]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_folder_is_used_once_and_never_taken_over() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let _folder = planned(&path, Some(1), None).unwrap();
        let failure = planned(&path, Some(1), None).map(|_| ()).unwrap_err();
        assert!(
            failure.message.contains("in use by process"),
            "{}",
            failure.message
        );
        fs::write(parent.path().join("something"), "else").unwrap();
        let failure = Folder::open(parent.path()).map(|_| ()).unwrap_err();
        assert!(failure.message.contains("other things"), "{}", failure.message);
    }

    #[test]
    fn more_ports_than_there_are_is_an_error() {
        let parent = tempfile::tempdir().unwrap();
        let failure = planned(&parent.path().join("data"), Some(3), Some(65_532)).map(|_| ());
        assert_eq!(failure.unwrap_err().code, Code::Usage);
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let folder = planned(&parent.path().join("data"), Some(1), Some(0)).unwrap();
        let node = &folder.nodes()[0];
        node.check_ports().unwrap();
        let _taken = TcpListener::bind(node.config.http.listen).unwrap();
        let failure = node.check_ports().unwrap_err();
        assert!(
            failure.message.contains(&node.config.http.listen.to_string()),
            "{}",
            failure.message
        );
    }

    #[test]
    fn the_token_says_that_set_up_is_complete() {
        let parent = tempfile::tempdir().unwrap();
        let mut folder = planned(&parent.path().join("data"), Some(1), None).unwrap();
        assert_eq!(folder.token().unwrap(), None);
        fs::create_dir(&folder.nodes()[0].config.node.data).unwrap();
        folder.start_over().unwrap();
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "only the lock is left"
        );
        folder.keep_token("cnp-x").unwrap();
        assert_eq!(folder.token().unwrap().as_deref(), Some("cnp-x"));
    }
}
