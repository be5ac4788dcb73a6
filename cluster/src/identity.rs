//! The data directory of a node, and the guard at its door.
//!
//! ```text
//! LOCK                 held while a process uses the directory
//! node.json            which node of which cluster this is, and which starts it made
//! trust/node.pem       the node's key, its certificate, the authority's certificate
//! trust/authority.pem  the authority's key (on the node that founded the cluster)
//! joining.pem          the key of a join that is under way
//! ```
//!
//! What holds here:
//! - a directory is used by one process at a time, and by one node for ever;
//! - a directory that a newer cairn wrote, or that lost its stores, is not opened;
//! - of two copies of a directory only one goes on: each start claims an [`Instance`] on disk
//!   first and then in the metadata, where the claim is only accepted if the start registered
//!   last was made by this directory.
//!
//! Functions that touch the disk block; they are called while a node starts.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use rustix::fs::{FlockOperation, flock};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

use crate::files::{self, ParseError};
use crate::kv::{Collection, CommitError, Key, Kv, ReadError, Snapshot};
use crate::level::{Level, LevelError};
use crate::node_id::{ClusterId, NodeId};
use crate::record::Record;
use crate::seams::Seams;
use crate::trust::{Authority, CertificateError, Credentials, NodeKey};

/// The version of the data directory that this cairn writes.
const FORMAT: u32 = 1;

const LOCK: &str = "LOCK";
const IDENTITY: &str = "node.json";
const TRUST: &str = "trust";
const CREDENTIALS: &str = "trust/node.pem";
const AUTHORITY: &str = "trust/authority.pem";
const JOINING: &str = "joining.pem";

/// Claims are only forgotten once one is registered; a node that starts over and over without
/// ever reaching the cluster keeps this many.
const MAX_CLAIMS: usize = 256;

/// One start of a node: a number that grows with each start, and one drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Instance {
    /// Grows with each start.
    pub epoch: u64,
    /// Tells the starts of two copies apart.
    pub nonce: u64,
}

impl Record for Instance {}

impl Instance {
    /// Whether `registered` shows that another copy has been started since.
    pub(crate) fn is_superseded_by(&self, registered: Instance) -> bool {
        self.epoch < registered.epoch || (self.epoch == registered.epoch && self.nonce != registered.nonce)
    }

    /// Where the latest start of each node is registered.
    pub(crate) fn collection() -> Collection {
        Collection::new("cluster").at("instances")
    }

    fn key(node: NodeId) -> Key {
        Self::collection().key(node)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.epoch, self.nonce)
    }
}

/// Text that is not an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an instance is a number, a hyphen and 16 hexadecimal digits")]
pub struct ParseInstanceError;

impl FromStr for Instance {
    type Err = ParseInstanceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, nonce) = text.split_once('-').ok_or(ParseInstanceError)?;
        let instance = Self {
            epoch: epoch.parse().map_err(|_| ParseInstanceError)?,
            nonce: u64::from_str_radix(nonce, 16).map_err(|_| ParseInstanceError)?,
        };
        match instance.to_string() == text {
            true => Ok(instance),
            false => Err(ParseInstanceError),
        }
    }
}

impl TryFrom<String> for Instance {
    type Error = ParseInstanceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Instance> for String {
    fn from(instance: Instance) -> Self {
        instance.to_string()
    }
}

/// Why a data directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Another process holds it.
    #[error("data directory {path} is in use by another process")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A new node was to be made where there is something already.
    #[error("data directory {path} is not empty: it holds {found:?}, and a new node needs a new directory")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// Something in it.
        found: String,
    },
    /// A new node was to be made where there is a node already.
    #[error("data directory {path} belongs to node {node} of cluster {cluster} already")]
    Taken {
        /// The directory.
        path: PathBuf,
        /// Its node.
        node: NodeId,
        /// Its cluster.
        cluster: ClusterId,
    },
    /// There is no node in it.
    #[error("data directory {path} holds no node: run `cairn cluster init` or `cairn cluster join` first")]
    NoNode {
        /// The directory.
        path: PathBuf,
    },
    /// It was written by a newer version.
    #[error("data directory {path} {}", ParseError::Newer { found: *found, newest: FORMAT })]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The build is too old for the cluster that its node belongs to.
    #[error("data directory {path}: {source}")]
    Level {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: LevelError,
    },
    /// Its files contradict each other.
    #[error("data directory {path} is not whole: {reason}")]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// It belongs to another cluster than the one it was opened for.
    #[error("data directory {path} belongs to cluster {found}, not to cluster {wanted}")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its cluster.
        found: ClusterId,
        /// The cluster that was asked for.
        wanted: ClusterId,
    },
    /// It lost what a node that has run must have.
    #[error(
        "data directory {path} has lost {store:?} though node {node} has run: \
         such a node does not go on, replace it by a new one"
    )]
    Wiped {
        /// The directory.
        path: PathBuf,
        /// What is gone.
        store: String,
        /// Its node.
        node: NodeId,
    },
    /// A key or certificate in it cannot be used.
    #[error("data directory {path}: {source}")]
    Certificate {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        source: CertificateError,
    },
    /// The disk failed.
    #[error("{verb} {path}: {source}")]
    Io {
        /// What was being done.
        verb: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a start was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Another copy of the directory has been started since.
    #[error(
        "data directory {path} is an old copy: node {node} has been started from another copy since \
         (start {registered}); only that one may go on"
    )]
    Superseded {
        /// The directory.
        path: PathBuf,
        /// Its node.
        node: NodeId,
        /// The start that is registered.
        registered: Instance,
    },
    /// The metadata could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The metadata could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The directory could not be written.
    #[error(transparent)]
    Dir(#[from] DirError),
}

/// What `node.json` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Identity {
    format: u32,
    cluster: ClusterId,
    node: NodeId,
    /// The start that this directory knows to be registered.
    registered: Option<Instance>,
    /// Starts that were made since, and may be registered or not.
    claims: BTreeSet<Instance>,
    /// The level of the cluster, as far as this node has heard.
    #[serde(default)]
    level: Level,
}

impl Identity {
    /// Makes a claim that is newer than all before.
    fn claim(&mut self, nonce: u64) -> Instance {
        let newest = self
            .claims
            .iter()
            .chain(&self.registered)
            .map(|start| start.epoch)
            .max();
        let claim = Instance {
            epoch: newest.unwrap_or(0) + 1,
            nonce,
        };
        if self.claims.len() >= MAX_CLAIMS {
            self.claims.pop_first();
        }
        self.claims.insert(claim);
        claim
    }

    /// Whether the start that the metadata has registered was made by this directory. If the
    /// metadata is older than the directory it was restored, and no copy can have gone on.
    fn continues(&self, registered: Option<Instance>) -> bool {
        registered.is_none_or(|registered| {
            self.registered == Some(registered)
                || self.claims.contains(&registered)
                || self
                    .registered
                    .is_some_and(|known| registered.epoch < known.epoch)
        })
    }

    fn confirm(&mut self, instance: Instance) {
        self.registered = Some(instance);
        self.claims.clear();
    }
}

/// Whether a node lives in the directory. Takes nothing, so it may be asked while the node runs.
pub fn holds_node(path: &Path) -> Result<bool, DirError> {
    Ok(read_identity(path)?.is_some())
}

/// Refuses a build that cannot read what the node in this directory may have stored, before
/// anything of it is opened.
pub fn check_level(path: &Path, own: Level) -> Result<(), DirError> {
    match read_identity(path)? {
        Some(identity) => own.check_reads(identity.level).map_err(|source| DirError::Level {
            path: path.into(),
            source,
        }),
        None => Ok(()),
    }
}

/// A directory in which a new node may be made, held by this process.
#[derive(Debug)]
pub struct EmptyDir {
    path: PathBuf,
    lock: Lock,
}

/// The directory of a node, held by this process until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Mutex<Identity>,
    cluster: ClusterId,
    node: NodeId,
    instance: Instance,
    _lock: Lock,
}

impl EmptyDir {
    /// Makes the directory if need be, and takes it. What an interrupted attempt left behind
    /// may be there, anything else may not.
    pub fn prepare(path: &Path) -> Result<Self, DirError> {
        files::create_folder(path).map_err(|error| io_error("create", path, error))?;
        let lock = lock(path)?;
        if let Some(identity) = read_identity(path)? {
            return Err(DirError::Taken {
                path: path.into(),
                node: identity.node,
                cluster: identity.cluster,
            });
        }
        let entries = fs::read_dir(path).map_err(|error| io_error("list", path, error))?;
        for entry in entries {
            let name = entry.map_err(|error| io_error("list", path, error))?.file_name();
            let name = name.to_string_lossy();
            let ours = [LOCK, TRUST, JOINING].contains(&name.trim_end_matches(".new"));
            if !ours && name != "lost+found" && name != format!("{IDENTITY}.new") {
                return Err(DirError::NotEmpty {
                    path: path.into(),
                    found: name.into_owned(),
                });
            }
        }
        Ok(Self {
            path: path.into(),
            lock,
        })
    }

    /// The key to join with: the same one if an attempt was interrupted, so that a token that
    /// it used up still counts.
    pub fn joining_key(&self) -> Result<NodeKey, DirError> {
        let path = self.path.join(JOINING);
        match fs::read_to_string(&path) {
            Ok(text) => NodeKey::from_pem(&text).map_err(|error| certificate_error(&self.path, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = NodeKey::generate().map_err(|error| certificate_error(&self.path, error))?;
                write(&path, key.to_pem().as_bytes())?;
                Ok(key)
            }
            Err(error) => Err(io_error("read", &path, error)),
        }
    }

    /// Makes the first node of a new cluster.
    pub fn found(self, seams: &Seams) -> Result<DataDir, DirError> {
        let cluster = ClusterId::random(seams);
        let failed = |error| certificate_error(&self.path, error);
        let authority = Authority::create(cluster, seams).map_err(failed)?;
        let credentials = Credentials::issue(&authority, NodeId::FOUNDER, seams).map_err(failed)?;
        self.make_trust_folder()?;
        write(&self.path.join(AUTHORITY), authority.to_pem().as_bytes())?;
        self.settle(&credentials, seams)
    }

    /// Makes the node that a cluster has admitted.
    pub fn settle(self, credentials: &Credentials, seams: &Seams) -> Result<DataDir, DirError> {
        self.make_trust_folder()?;
        write(&self.path.join(CREDENTIALS), credentials.to_pem().as_bytes())?;
        let identity = Identity {
            format: FORMAT,
            cluster: credentials.cluster(),
            node: credentials.node(),
            registered: None,
            claims: BTreeSet::new(),
            level: Level::FIRST,
        };
        // The last step: from here on the directory is taken.
        write_identity(&self.path, &identity)?;
        match fs::remove_file(self.path.join(JOINING)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", &self.path.join(JOINING), error));
            }
            _ => {}
        }
        DataDir::start(self.path, self.lock, identity, seams)
    }

    fn make_trust_folder(&self) -> Result<(), DirError> {
        let path = self.path.join(TRUST);
        files::create_folder(&path).map_err(|error| io_error("create", &path, error))
    }
}

impl DataDir {
    /// Makes the first node of a new cluster in an empty directory.
    pub fn init(path: &Path, seams: &Seams) -> Result<Self, DirError> {
        EmptyDir::prepare(path)?.found(seams)
    }

    /// Takes the directory of a node and begins a new start of it. `stores` are the files
    /// without which a node that has run cannot go on: its log and its vote.
    pub fn open(path: &Path, stores: &[&str], seams: &Seams) -> Result<Self, DirError> {
        if !path.is_dir() {
            return Err(DirError::NoNode { path: path.into() });
        }
        let lock = lock(path)?;
        let identity = read_identity(path)?.ok_or_else(|| DirError::NoNode { path: path.into() })?;
        if identity.registered.is_some() {
            let lost = stores.iter().find(|store| !path.join(store).exists());
            if let Some(store) = lost {
                return Err(DirError::Wiped {
                    path: path.into(),
                    store: (*store).to_owned(),
                    node: identity.node,
                });
            }
        }
        Self::start(path.into(), lock, identity, seams)
    }

    fn start(path: PathBuf, lock: Lock, mut identity: Identity, seams: &Seams) -> Result<Self, DirError> {
        let instance = identity.claim(u64::from_be_bytes(seams.random()));
        write_identity(&path, &identity)?;
        let dir = Self {
            path,
            cluster: identity.cluster,
            node: identity.node,
            identity: Mutex::new(identity),
            instance,
            _lock: lock,
        };
        // Found out now rather than in a handshake.
        dir.credentials()?;
        Ok(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The cluster that it belongs to.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The node that it belongs to.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// This start, as it is shown to peers.
    pub fn instance(&self) -> Instance {
        self.instance
    }

    /// Refuses the directory if it belongs to another cluster.
    pub fn require_cluster(&self, wanted: ClusterId) -> Result<(), DirError> {
        if self.cluster == wanted {
            return Ok(());
        }
        Err(DirError::Foreign {
            path: self.path.clone(),
            found: self.cluster,
            wanted,
        })
    }

    /// The node's key and certificate.
    pub fn credentials(&self) -> Result<Credentials, DirError> {
        let text = read(&self.path.join(CREDENTIALS))?;
        let credentials =
            Credentials::from_pem(&text).map_err(|error| certificate_error(&self.path, error))?;
        if (credentials.cluster(), credentials.node()) != (self.cluster, self.node) {
            return Err(DirError::Damaged {
                path: self.path.clone(),
                reason: format!(
                    "its certificate is for node {} of cluster {}, and it belongs to node {} of cluster {}",
                    credentials.node(),
                    credentials.cluster(),
                    self.node,
                    self.cluster
                ),
            });
        }
        Ok(credentials)
    }

    /// Keeps renewed credentials.
    pub fn store_credentials(&self, credentials: &Credentials) -> Result<(), DirError> {
        write(&self.path.join(CREDENTIALS), credentials.to_pem().as_bytes())
    }

    /// The authority, if this node founded the cluster.
    pub fn authority(&self) -> Result<Option<Authority>, DirError> {
        let path = self.path.join(AUTHORITY);
        if !path.exists() {
            return Ok(None);
        }
        let text = read(&path)?;
        let authority = Authority::from_pem(self.cluster, &text);
        authority
            .map(Some)
            .map_err(|error| certificate_error(&self.path, error))
    }

    /// Registers this start in the metadata, or refuses it because another copy of the
    /// directory has been started since. Until then the node takes no part in client traffic.
    pub async fn register(self: &Arc<Self>, kv: &Kv) -> Result<(), RegisterError> {
        let key = Instance::key(self.node);
        kv.transact(async |mut txn| {
            let registered: Option<Instance> = txn.record(&key).await?;
            if let Some(registered) = registered.filter(|_| !self.identity().continues(registered)) {
                return Err(RegisterError::Superseded {
                    path: self.path.clone(),
                    node: self.node,
                    registered,
                });
            }
            txn.put_record(&key, &self.instance);
            Ok((txn, ()))
        })
        .await?;
        let this = self.clone();
        let confirm = tokio::task::spawn_blocking(move || {
            let mut identity = this.identity();
            identity.confirm(this.instance);
            write_identity(&this.path, &identity)
        });
        confirm
            .await
            .map_err(|gone| io_error("write", &self.path, io::Error::other(gone)))??;
        Ok(())
    }

    /// Whether another copy of this directory has been started since this start registered:
    /// then this process must stop.
    pub async fn is_superseded(&self, snapshot: &Snapshot) -> Result<bool, ReadError> {
        let registered: Option<Instance> = snapshot.record(&Instance::key(self.node)).await?;
        Ok(registered.is_some_and(|registered| self.instance.is_superseded_by(registered)))
    }

    /// Notes the level of the cluster, for [`check_level`].
    pub(crate) fn note_level(&self, level: Level) -> Result<(), DirError> {
        let mut identity = self.identity();
        if identity.level >= level {
            return Ok(());
        }
        identity.level = level;
        write_identity(&self.path, &identity)
    }

    fn identity(&self) -> std::sync::MutexGuard<'_, Identity> {
        self.identity.lock().expect("no panic while held")
    }
}

impl Authority {
    fn to_pem(&self) -> String {
        use crate::trust::pem_section;
        [
            pem_section("PRIVATE KEY", self.key().secret_pkcs8_der()),
            pem_section("CERTIFICATE", self.certificate()),
        ]
        .concat()
    }

    fn from_pem(cluster: ClusterId, text: &str) -> Result<Self, CertificateError> {
        let unusable = |error| CertificateError::unusable("the stored authority", error);
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(unusable)?;
        let certificate = CertificateDer::from_pem_slice(text.as_bytes()).map_err(unusable)?;
        Self::from_parts(cluster, certificate, key)
    }
}

/// The right to use a directory, until it is dropped.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that is just being started holds it for a moment.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

fn lock(path: &Path) -> Result<Lock, DirError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join(LOCK))
        .map_err(|error| io_error("open", &path.join(LOCK), error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DirError::InUse { path: path.into() }),
        Err(error) => Err(io_error("lock", &path.join(LOCK), error.into())),
    }
}

fn read_identity(path: &Path) -> Result<Option<Identity>, DirError> {
    let text = match fs::read(path.join(IDENTITY)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", &path.join(IDENTITY), error)),
    };
    let parsed = files::parse(&text, FORMAT);
    parsed.map(Some).map_err(|error| match error {
        ParseError::Newer { found, .. } => DirError::Newer {
            path: path.into(),
            found,
        },
        ParseError::Damaged(_) => DirError::Damaged {
            path: path.into(),
            reason: format!("{IDENTITY} {error}"),
        },
    })
}

fn write_identity(path: &Path, identity: &Identity) -> Result<(), DirError> {
    let mut text = serde_json::to_vec_pretty(identity).expect("names and numbers serialise");
    text.push(b'\n');
    write(&path.join(IDENTITY), &text)
}

fn read(path: &Path) -> Result<String, DirError> {
    fs::read_to_string(path).map_err(|error| io_error("read", path, error))
}

fn write(path: &Path, content: &[u8]) -> Result<(), DirError> {
    files::replace(path, content).map_err(|error| io_error("write", path, error))
}

fn io_error(verb: &'static str, path: &Path, source: io::Error) -> DirError {
    DirError::Io {
        verb,
        path: path.into(),
        source,
    }
}

fn certificate_error(path: &Path, source: CertificateError) -> DirError {
    DirError::Certificate {
        path: path.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const STORES: &[&str] = &["raftlog"];

    struct Fixture {
        seams: Seams,
        folder: tempfile::TempDir,
        kv: Kv,
    }

    impl Fixture {
        fn new() -> Self {
            let seams = Seams::system();
            Self {
                folder: tempfile::tempdir().unwrap(),
                kv: Kv::in_memory(seams.clone()),
                seams,
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn init(&self, name: &str) -> Arc<DataDir> {
            Arc::new(DataDir::init(&self.path(name), &self.seams).unwrap())
        }

        fn open(&self, name: &str) -> Result<Arc<DataDir>, DirError> {
            DataDir::open(&self.path(name), STORES, &self.seams).map(Arc::new)
        }

        /// A node that has run once.
        async fn settled(&self, name: &str) {
            let dir = self.init(name);
            fs::create_dir(self.path(name).join("raftlog")).unwrap();
            dir.register(&self.kv).await.unwrap();
        }

        fn copy(&self, from: &str, to: &str) {
            let status = std::process::Command::new("cp")
                .arg("-a")
                .args([self.path(from), self.path(to)])
                .status()
                .unwrap();
            assert!(status.success());
        }
    }

    #[test]
    fn a_directory_is_used_by_one_process_at_a_time() {
        let fixture = Fixture::new();
        let dir = fixture.init("a");
        assert!(matches!(fixture.open("a"), Err(DirError::InUse { .. })));
        assert!(matches!(
            EmptyDir::prepare(&fixture.path("a")),
            Err(DirError::InUse { .. })
        ));
        drop(dir);
        fixture.open("a").unwrap();
    }

    #[test]
    fn a_node_is_made_only_in_an_empty_directory() {
        let fixture = Fixture::new();
        drop(fixture.init("a"));
        assert!(matches!(
            DataDir::init(&fixture.path("a"), &fixture.seams),
            Err(DirError::Taken {
                node: NodeId::FOUNDER,
                ..
            })
        ));
        fs::create_dir(fixture.path("b")).unwrap();
        fs::write(fixture.path("b").join("notes.txt"), "mine").unwrap();
        assert!(matches!(
            DataDir::init(&fixture.path("b"), &fixture.seams),
            Err(DirError::NotEmpty { found, .. }) if found == "notes.txt"
        ));
        assert!(matches!(fixture.open("c"), Err(DirError::NoNode { .. })));
    }

    #[test]
    fn an_interrupted_attempt_is_taken_up_with_the_same_key() {
        let fixture = Fixture::new();
        let request = |dir: &EmptyDir| dir.joining_key().unwrap().to_pem();
        let first = EmptyDir::prepare(&fixture.path("a")).unwrap();
        let key = request(&first);
        drop(first);
        let again = EmptyDir::prepare(&fixture.path("a")).unwrap();
        assert_eq!(request(&again), key);
        again.found(&fixture.seams).unwrap();
        assert!(!fixture.path("a").join(JOINING).exists());
    }

    #[test]
    fn only_the_owner_can_read_keys() {
        let fixture = Fixture::new();
        let dir = fixture.init("a");
        for file in [CREDENTIALS, AUTHORITY, IDENTITY] {
            let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        let authority = dir.authority().unwrap().unwrap();
        assert_eq!(authority.cluster(), dir.cluster());
    }

    #[test]
    fn a_directory_of_a_newer_version_is_refused() {
        let fixture = Fixture::new();
        drop(fixture.init("a"));
        let path = fixture.path("a").join(IDENTITY);
        fs::write(&path, r#"{"format": 2, "shape": "unknown"}"#).unwrap();
        assert!(matches!(fixture.open("a"), Err(DirError::Newer { found: 2, .. })));
        assert!(matches!(
            DataDir::init(&fixture.path("a"), &fixture.seams),
            Err(DirError::Newer { .. })
        ));
        fs::write(&path, "{").unwrap();
        assert!(matches!(fixture.open("a"), Err(DirError::Damaged { .. })));
    }

    #[test]
    fn a_directory_of_another_cluster_or_node_is_refused() {
        let fixture = Fixture::new();
        let (one, other) = (fixture.init("a"), fixture.init("b"));
        assert!(matches!(
            one.require_cluster(other.cluster()),
            Err(DirError::Foreign { .. })
        ));
        one.require_cluster(one.cluster()).unwrap();
        let foreign = other.credentials().unwrap();
        one.store_credentials(&foreign).unwrap();
        drop(one);
        assert!(matches!(fixture.open("a"), Err(DirError::Damaged { .. })));
    }

    #[tokio::test]
    async fn a_node_that_lost_its_log_does_not_go_on() {
        let fixture = Fixture::new();
        fixture.settled("a").await;
        fs::remove_dir(fixture.path("a").join("raftlog")).unwrap();
        assert!(matches!(fixture.open("a"), Err(DirError::Wiped { store, .. }) if store == "raftlog"));
    }

    #[tokio::test]
    async fn a_node_starts_again_and_again() {
        let fixture = Fixture::new();
        fixture.settled("a").await;
        for _ in 0..3 {
            fixture.open("a").unwrap().register(&fixture.kv).await.unwrap();
        }
    }

    #[test]
    fn a_directory_is_free_once_it_is_let_go_though_a_child_still_has_its_files() {
        let fixture = Fixture::new();
        let dir = fixture.init("a");
        // What a child has between its making and its own program.
        let inherited = dir._lock.0.try_clone().unwrap();
        drop(dir);
        fixture.open("a").unwrap();
        drop(inherited);
    }

    #[tokio::test]
    async fn starts_that_never_reached_the_cluster_do_no_harm() {
        let fixture = Fixture::new();
        fixture.settled("a").await;
        for _ in 0..3 {
            fixture.open("a").unwrap();
        }
        fixture.open("a").unwrap().register(&fixture.kv).await.unwrap();
    }

    #[tokio::test]
    async fn a_start_that_was_registered_but_crashed_before_it_knew_goes_on() {
        let fixture = Fixture::new();
        fixture.settled("a").await;
        let dir = fixture.open("a").unwrap();
        let before = fs::read(fixture.path("a").join(IDENTITY)).unwrap();
        dir.register(&fixture.kv).await.unwrap();
        drop(dir);
        fs::write(fixture.path("a").join(IDENTITY), before).unwrap();
        fixture.open("a").unwrap().register(&fixture.kv).await.unwrap();
    }

    #[tokio::test]
    async fn an_old_copy_is_refused_however_often_it_is_tried() {
        let fixture = Fixture::new();
        fixture.settled("a").await;
        fixture.copy("a", "copy");
        let original = fixture.open("a").unwrap();
        original.register(&fixture.kv).await.unwrap();
        for _ in 0..3 {
            let copy = fixture.open("copy").unwrap();
            assert!(matches!(
                copy.register(&fixture.kv).await,
                Err(RegisterError::Superseded {
                    node: NodeId::FOUNDER,
                    ..
                })
            ));
        }
        assert!(!original.is_superseded(&fixture.kv.local()).await.unwrap());
    }

    #[tokio::test]
    async fn when_the_copy_goes_on_the_original_stops() {
        let fixture = Fixture::new();
        fixture.settled("a").await;
        let original = fixture.open("a").unwrap();
        // Copied after the claim was made: the directories are twins.
        fixture.copy("a", "copy");
        original.register(&fixture.kv).await.unwrap();
        let copy = fixture.open("copy").unwrap();
        copy.register(&fixture.kv).await.unwrap();
        assert!(original.is_superseded(&fixture.kv.local()).await.unwrap());
        drop(original);
        let original = fixture.open("a").unwrap();
        assert!(matches!(
            original.register(&fixture.kv).await,
            Err(RegisterError::Superseded { .. })
        ));
    }

    #[tokio::test]
    async fn metadata_that_was_restored_from_before_takes_the_node_back() {
        let fixture = Fixture::new();
        fixture.settled("a").await;
        let before = fixture
            .kv
            .local()
            .record::<Instance>(&Instance::key(NodeId::FOUNDER))
            .await
            .unwrap();
        for _ in 0..2 {
            fixture.open("a").unwrap().register(&fixture.kv).await.unwrap();
        }
        let restored = Kv::in_memory(fixture.seams.clone());
        let mut txn = restored.begin().await.unwrap();
        txn.put_record(&Instance::key(NodeId::FOUNDER), &before.unwrap());
        txn.commit().await.unwrap();
        fixture.open("a").unwrap().register(&restored).await.unwrap();
    }

    #[test]
    fn claims_are_bounded() {
        let seams = Seams::system();
        let mut identity = Identity {
            format: FORMAT,
            cluster: ClusterId::random(&seams),
            node: NodeId(2),
            registered: None,
            claims: BTreeSet::new(),
            level: Level::FIRST,
        };
        let mut last = identity.claim(0);
        for nonce in 0..1000 {
            let next = identity.claim(nonce);
            assert!(next.epoch > last.epoch);
            last = next;
        }
        assert_eq!(identity.claims.len(), MAX_CLAIMS);
        assert!(identity.continues(Some(last)));
    }

    #[test]
    fn instances_read_as_they_are_written() {
        let instance = Instance {
            epoch: 12,
            nonce: 0xabc,
        };
        assert_eq!(instance.to_string(), "12-0000000000000abc");
        assert_eq!(instance.to_string().parse(), Ok(instance));
        for wrong in [
            "",
            "1",
            "1-",
            "-1",
            "01-0000000000000abc",
            "1-ABC",
            "1-00000000000000000",
        ] {
            assert_eq!(wrong.parse::<Instance>(), Err(ParseInstanceError), "{wrong}");
        }
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Instance>("instance");
    }

    #[test]
    fn the_file_of_a_directory_is_read() {
        let instance = |epoch| super::Instance { epoch, nonce: 5 };
        let identity = super::Identity {
            format: super::FORMAT,
            cluster: "00000000-0000-4000-8000-000000000001".parse().unwrap(),
            node: super::NodeId(7),
            registered: Some(instance(1)),
            claims: [instance(2)].into(),
            level: super::Level::FIRST,
        };
        samples::check_bytes("node-json", &[serde_json::to_vec(&identity).unwrap()], |stored| {
            let identity: super::Identity = serde_json::from_slice(stored).unwrap();
            serde_json::to_string(&identity).unwrap()
        });
    }
}
