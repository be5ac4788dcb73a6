//! One simulated node: what `cluster/` starts, as far as it concerns the metadata and who
//! belongs, on a simulated network and on stores in memory.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use cairn_proto::v1;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::clients;
use super::world::{NodeClock, World, seams};
use crate::identity::Instance;
use crate::kv::{CommitError, Kv, Outcome, Snapshot, Store, Unavailable};
use crate::level::Level;
use crate::membership::{Controller, ControllerConfig, NodeRecord, RaftControl, nodes};
use crate::net::{Lane, Listener, Net, Peers, PeersConfig, Roster, Server, ServerConfig, Stream};
use crate::node_id::{ClusterId, NodeId};
use crate::raft::simulated::{self, Defect, Observed, Stores};
use crate::raft::{RaftConfig, Replica};
use crate::storage::FailStop;
use crate::trust::{Authority, Credentials, Tls};

/// The most nodes that a simulated cluster has.
pub(super) const MOST_NODES: u64 = 5;

const PORT: u16 = 7000;

/// How many clients use each node at a time.
const CLIENTS: u64 = 2;

/// The name of a node in the simulated network.
pub(super) fn host(node: u64) -> String {
    format!("node-{node}")
}

fn address(node: u64) -> String {
    format!("{}:{PORT}", host(node))
}

/// What the observer can have a node do.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// Writes the record of another node, which makes it a member.
    Admit(u64),
    /// Moves the node's monotonic clock forward, as if it had been stopped for so long.
    Sleep(Duration),
    TransferLeader(u64),
    ChangeVoters(BTreeSet<u64>),
    /// Checks that the node reads and writes again.
    Settle,
}

/// See the module.
pub(super) struct Node {
    pub(super) id: u64,
    pub(super) stores: Stores,
    pub(super) clock: Arc<NodeClock>,
    pub(super) world: Arc<World>,
    config: RaftConfig,
    defect: Option<Defect>,
    rng: Mutex<StdRng>,
    starts: AtomicU64,
    flush_ms: AtomicU64,
    settled: AtomicBool,
    running: Mutex<Option<Running>>,
}

/// A start of a node.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) replica: Arc<Replica>,
    commands: mpsc::UnboundedSender<Command>,
    clients: Arc<()>,
}

impl Node {
    pub(super) fn new(
        id: u64,
        world: &Arc<World>,
        stores: Stores,
        config: RaftConfig,
        defect: Option<Defect>,
    ) -> Self {
        Self {
            id,
            stores,
            clock: Arc::new(NodeClock::new(world.clone())),
            config,
            defect,
            rng: Mutex::new(world.rng(&host(id))),
            starts: AtomicU64::new(0),
            flush_ms: AtomicU64::new(0),
            settled: AtomicBool::new(false),
            running: Mutex::new(None),
            world: world.clone(),
        }
    }

    pub(super) fn running(&self) -> Option<Running> {
        self.running.lock().expect("no panic while held").clone()
    }

    /// Lets go of the node before its runtime ends.
    pub(super) fn ended(&self) {
        *self.running.lock().expect("no panic while held") = None;
    }

    /// Whether the node has read and written since it was last asked to.
    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    pub(super) fn set_settled(&self, settled: bool) {
        self.settled.store(settled, Ordering::Relaxed);
    }

    /// From now on the log takes this much longer to flush.
    pub(super) fn slow_down_disk(&self, by_ms: u64) {
        self.flush_ms.store(by_ms, Ordering::Relaxed);
    }

    pub(super) fn command(&self, command: Command) {
        if let Some(running) = self.running() {
            // A node that is about to end does nothing more.
            let _ = running.commands.send(command);
        }
    }

    fn draw_rng(&self) -> StdRng {
        use rand::SeedableRng;
        StdRng::seed_from_u64(self.rng.lock().expect("no panic while held").random())
    }

    /// The software of the host: starts the node and carries out commands until it is crashed.
    pub(super) async fn run(self: Arc<Self>) -> io::Result<()> {
        let epoch = self.starts.fetch_add(1, Ordering::Relaxed) + 1;
        let seams = seams(&self.clock, self.draw_rng());
        let tls = Tls::new(&credentials()[self.id as usize - 1], &seams).map_err(io::Error::other)?;
        let net: Arc<dyn Net> = Arc::new(SimulatedNet);
        let peers = Peers::new(PeersConfig {
            net: net.clone(),
            tls: tls.clone(),
            instance: Instance { epoch, nonce: 0 },
            level: Level::OWN,
        });
        let listener = net.listen(&format!("0.0.0.0:{PORT}")).await?;
        let replica = self.open_replica(&peers).await?;
        let store: Arc<dyn Store> = match self.defect {
            Some(Defect::StaleReads) => Arc::new(StaleReads(replica.clone())),
            _ => replica.clone(),
        };
        let kv = Kv::new(store, seams.clone());

        let routes = simulated::service(&replica, &peers);
        let server = Lane::ALL.into_iter().fold(
            Server::new(ServerConfig::default(), tls, Roster::default()),
            |server, lane| server.lane(lane, routes.clone()),
        );
        // A node that is stopped in a simulation is crashed: nothing is shut down.
        let never = CancellationToken::new();
        tokio::spawn(server.serve(listener, never.clone()));
        tokio::spawn(peers.clone().probe(never.clone()));
        tokio::spawn(follow(kv.clone(), peers.clone()));
        let control: Arc<dyn RaftControl> = replica.clone();
        let controller = ControllerConfig {
            look_every: Duration::from_millis(200),
            settle: Duration::from_millis(400),
            lag_entries: 50,
            lost_after: Duration::from_secs(3),
        };
        tokio::spawn(Controller::new(controller, kv.clone(), peers, control).run(never));

        let (sender, mut commands) = mpsc::unbounded_channel();
        let running = Running {
            replica: replica.clone(),
            commands: sender,
            clients: Arc::new(()),
        };
        if self.id == 1 && !replica.is_initialized().await? {
            replica.initialize(&address(self.id)).await?;
        }
        for number in 0..CLIENTS {
            let client = clients::Client {
                id: epoch * 100 + self.id * 10 + number,
                world: self.world.clone(),
                kv: kv.clone(),
                replica: replica.clone(),
                rng: self.draw_rng(),
                running: running.clients.clone(),
            };
            tokio::spawn(client.run());
        }
        *self.running.lock().expect("no panic while held") = Some(running);
        while let Some(command) = commands.recv().await {
            let node = self.clone();
            let (kv, replica) = (kv.clone(), replica.clone());
            match command {
                // The clock only moves for whoever waits for it.
                Command::Sleep(time) => tokio::time::advance(time).await,
                command => drop(tokio::spawn(node.carry_out(command, kv, replica))),
            }
        }
        Ok(())
    }

    async fn open_replica(self: &Arc<Self>, peers: &Peers) -> io::Result<Arc<Replica>> {
        let fail_stop = {
            let (world, id) = (self.world.clone(), self.id);
            FailStop::new(move |reason| world.wrong(format_args!("node {id} stopped: {reason}")))
        };
        let (node, rng) = (self.clone(), Mutex::new(self.draw_rng()));
        let flush = move || {
            let mut rng = rng.lock().expect("no panic while held");
            let slow_ms = node.flush_ms.load(Ordering::Relaxed);
            Duration::from_millis(rng.random_range(0..=4) + slow_ms)
        };
        self.stores
            .open(self.id, &self.config, peers, fail_stop, flush)
            .await
    }

    async fn carry_out(self: Arc<Self>, command: Command, kv: Kv, replica: Arc<Replica>) {
        let shown = format!("{command:?}");
        let outcome = match command {
            Command::Admit(node) => admit(&kv, node).await.map_err(|error| error.to_string()),
            Command::TransferLeader(to) => replica
                .transfer_leader(to)
                .await
                .map_err(|error| error.to_string()),
            Command::ChangeVoters(voters) => replica
                .change_voters(voters)
                .await
                .map_err(|error| error.to_string()),
            Command::Settle => {
                clients::settle(&self.world, &kv).await;
                self.set_settled(true);
                Ok(())
            }
            Command::Sleep(_) => Ok(()),
        };
        self.world
            .note(format_args!("node {}: {shown}: {outcome:?}", self.id));
    }
}

impl Running {
    pub(super) fn observe(&self) -> Observed {
        simulated::observe(&self.replica)
    }

    /// Whether clients still use the node.
    pub(super) fn has_clients(&self) -> bool {
        // Two are ours: this clone's and the node's own.
        Arc::strong_count(&self.clients) > 2
    }
}

async fn admit(kv: &Kv, node: u64) -> Result<(), CommitError> {
    let address = address(node).parse().expect("it is an address");
    let record = NodeRecord {
        address,
        zone: Default::default(),
        version: "simulated".into(),
        level: Level::OWN,
        capacity_bytes: 1 << 30,
        joined: Default::default(),
        removed: None,
        leaving: None,
    };
    kv.transact(async |mut txn| {
        txn.put_record(&NodeRecord::key(NodeId(node)), &record);
        Ok::<_, CommitError>((txn, ()))
    })
    .await
}

/// Keeps the address book in step with the records, as `Directory` does.
async fn follow(kv: Kv, peers: Peers) {
    loop {
        for member in nodes(&kv.local()).await.expect("memory is always read") {
            peers.learn(member.id, member.address.as_str());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Certificates of all nodes. Made once, since they cost more than a second of simulation; their
/// keys have no part in what happens.
fn credentials() -> &'static [Credentials] {
    static CREDENTIALS: OnceLock<Vec<Credentials>> = OnceLock::new();
    CREDENTIALS.get_or_init(|| {
        let world = Arc::new(World::new(0));
        let seams = seams(&Arc::new(NodeClock::new(world.clone())), world.rng("credentials"));
        let authority = Authority::create(ClusterId::random(&seams), &seams).expect("create an authority");
        (1..=MOST_NODES)
            .map(|node| Credentials::issue(&authority, NodeId(node), &seams).expect("issue a certificate"))
            .collect()
    })
}

/// turmoil's TCP.
#[derive(Debug)]
struct SimulatedNet;

struct SimulatedListener(turmoil::net::TcpListener);

#[async_trait]
impl Net for SimulatedNet {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let stream = turmoil::net::TcpStream::connect(address).await?;
        Ok(Box::new(stream))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let listener = turmoil::net::TcpListener::bind(address).await?;
        Ok(Box::new(SimulatedListener(listener)))
    }
}

#[async_trait]
impl Listener for SimulatedListener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, remote) = self.0.accept().await?;
        Ok((Box::new(stream), remote))
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// [`Defect::StaleReads`].
struct StaleReads(Arc<Replica>);

#[async_trait]
impl Store for StaleReads {
    fn local(&self) -> Snapshot {
        self.0.local()
    }

    fn staleness(&self) -> Option<Duration> {
        self.0.staleness()
    }

    async fn latest(&self) -> Result<Snapshot, Unavailable> {
        Ok(self.0.local())
    }

    async fn submit(&self, transaction: v1::Transaction) -> Result<Outcome, CommitError> {
        self.0.submit(transaction).await
    }
}
