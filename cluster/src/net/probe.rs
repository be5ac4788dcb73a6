//! Asks peers whether they are there, and answers them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cairn_proto::v1;
use cairn_proto::v1::liveness_client::LivenessClient;
use cairn_proto::v1::liveness_server::{Liveness, LivenessServer};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::gate::{REMOVED_HEADER, told_level};
use super::lane::Lane;
use super::peers::Peers;
use crate::node_id::NodeId;

/// How often each peer is asked.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How long a peer may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How a node's disk does, which its answers to pings tell. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct DiskGauge(Arc<Gauge>);

#[derive(Debug)]
struct Gauge {
    room: AtomicU64,
    is_slow: AtomicBool,
}

/// Not measured yet.
const UNKNOWN: u64 = u64::MAX;

impl Default for DiskGauge {
    fn default() -> Self {
        Self(Arc::new(Gauge {
            room: AtomicU64::new(UNKNOWN),
            is_slow: AtomicBool::new(false),
        }))
    }
}

impl DiskGauge {
    /// Notes how many bytes may still be written.
    pub fn set_room(&self, bytes: u64) {
        self.0.room.store(bytes.min(UNKNOWN - 1), Ordering::Relaxed);
    }

    /// How many bytes may still be written, if that is known.
    pub fn room(&self) -> Option<u64> {
        Some(self.0.room.load(Ordering::Relaxed)).filter(|bytes| *bytes != UNKNOWN)
    }

    /// Notes whether it takes long to make something durable.
    pub fn set_slow(&self, is_slow: bool) {
        self.0.is_slow.store(is_slow, Ordering::Relaxed);
    }

    /// Whether it takes long to make something durable.
    pub fn is_slow(&self) -> bool {
        self.0.is_slow.load(Ordering::Relaxed)
    }
}

/// Answers pings.
#[derive(Clone, Debug)]
pub(crate) struct LivenessService {
    disk: DiskGauge,
}

impl LivenessService {
    pub(crate) fn server(disk: DiskGauge) -> LivenessServer<Self> {
        LivenessServer::new(Self { disk }).max_decoding_message_size(1024)
    }
}

#[tonic::async_trait]
impl Liveness for LivenessService {
    async fn ping(&self, _: Request<v1::PingRequest>) -> Result<Response<v1::PingResponse>, Status> {
        Ok(Response::new(v1::PingResponse {
            room_bytes: self.disk.room(),
            slow_disk: self.disk.is_slow(),
        }))
    }
}

impl Peers {
    /// Keeps asking every peer whether it is there, until `shutdown`. One of these runs per
    /// node; without it, liveness is only what other calls happen to notice.
    pub async fn probe(self, shutdown: CancellationToken) {
        let mut probes = JoinSet::new();
        let mut ticks = tokio::time::interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let suspected = self.suspected();
        loop {
            let nodes = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(_) = probes.join_next(), if !probes.is_empty() => continue,
                _ = ticks.tick() => self.nodes(),
                () = suspected.notified() => self.take_suspects(),
            };
            for node in nodes {
                probes.spawn(self.clone().probe_one(node));
            }
        }
    }

    /// Asks one peer, unless it is being asked already.
    async fn probe_one(self, node: NodeId) {
        let Some(_asking) = self.begin_probe(node) else {
            return;
        };
        let mut client = LivenessClient::new(self.channel(node, Lane::Raft));
        let began = Instant::now();
        match timeout(ANSWER_WITHIN, client.ping(v1::PingRequest {})).await {
            Ok(Ok(answer)) => {
                self.note_apart(node, None);
                self.answered(node, began.elapsed(), &answer.into_inner());
            }
            Ok(Err(status)) => {
                if status.metadata().contains_key(REMOVED_HEADER) {
                    self.note_removed();
                }
                self.note_apart(node, told_level(&status));
                self.missed(node, status.message());
            }
            Err(_) => self.missed(node, "it does not answer"),
        }
    }
}
