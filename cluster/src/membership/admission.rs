//! The server side of a join: trades a token and a key for a node id and a certificate.
//!
//! Two transactions, either of which may be the last before a crash:
//! 1. the token is marked as used by the key; the log index of that write is the node's id,
//!    so it is unique without a counter and never given again;
//! 2. the node's record is written under that id.
//!
//! Asked again with the same token and key, the answer is the same node, so that a lost answer
//! costs nothing; a stolen token is of use to nobody once it has been used.

use cairn_proto::v1;
use cairn_proto::v1::admission_server::{Admission, AdmissionServer};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tracing::info;

use super::record::{NodeAddress, NodeInfo, NodeRecord, Zone, nodes, record};
use crate::kv::{CommitError, Kv, ReadError, Unavailable};
use crate::level::{Build, Level, LevelError};
use crate::node_id::NodeId;
use crate::seams::Seams;
use crate::trust::{Authority, AuthorityError, CertificateError, SigningRequest, TokenRecord, TokenSecret};

/// A request holds a key, an address and some names.
const MAX_REQUEST_BYTES: usize = 16 << 10;

const MAX_VERSION_BYTES: usize = 64;

/// Admits nodes that hold a join token. Any node can: writes reach the leader by themselves.
#[derive(Clone)]
pub struct JoinService {
    kv: Kv,
    seams: Seams,
}

/// Why a node was not admitted.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(
        "the join token is not known to cluster {cluster}: it may have been used long ago or be for another"
    )]
    UnknownToken { cluster: String },
    #[error("the join token is for cluster {wanted}, this is cluster {cluster}")]
    OtherCluster { wanted: String, cluster: String },
    #[error("the join token has expired")]
    Expired,
    #[error("the join token has been used by another node")]
    Used,
    #[error("node {0} was removed from the cluster: a new token is needed to join again")]
    Removed(NodeId),
    #[error(transparent)]
    Level(#[from] LevelError),
    #[error("{0}")]
    Invalid(String),
    #[error("this node knows no certificate authority yet")]
    NotReady,
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl From<CertificateError> for Refused {
    fn from(error: CertificateError) -> Self {
        match error {
            CertificateError::Request(_) => Self::Invalid(error.to_string()),
            CertificateError::Unusable { .. } => Self::Authority(error.into()),
        }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::UnknownToken { .. }
            | Refused::OtherCluster { .. }
            | Refused::Expired
            | Refused::Used
            | Refused::Removed(_) => Self::permission_denied(message),
            Refused::Invalid(_) => Self::invalid_argument(message),
            Refused::Level(_) => Self::failed_precondition(message),
            Refused::NotReady | Refused::Commit(_) | Refused::Unavailable(_) => Self::unavailable(message),
            Refused::Read(_) | Refused::Authority(_) => Self::internal(message),
        }
    }
}

/// A request that parsed.
struct Candidate {
    secret: TokenSecret,
    request: SigningRequest,
    address: NodeAddress,
    zone: Zone,
    build: Build,
    capacity_bytes: u64,
}

impl JoinService {
    /// Admits nodes to the cluster of this metadata.
    pub fn new(kv: Kv, seams: Seams) -> Self {
        Self { kv, seams }
    }

    /// The routes for [`crate::net::Server::join`].
    pub fn routes(self) -> Routes {
        Routes::new(AdmissionServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES))
    }

    async fn admit(&self, wanted: String, candidate: Candidate) -> Result<v1::JoinResponse, Refused> {
        let snapshot = self.kv.latest().await?;
        let authority = Authority::load(&snapshot).await?.ok_or(Refused::NotReady)?;
        let cluster = authority.cluster().to_string();
        if wanted != cluster {
            return Err(Refused::OtherCluster { wanted, cluster });
        }
        // The token first: without one, a stranger gets no signature checked.
        let token_key = TokenRecord::key(&candidate.secret);
        if snapshot.get(&token_key).await?.is_none() {
            return Err(Refused::UnknownToken { cluster });
        }
        // Before the token is used up.
        candidate.build.level.check(Level::of(&snapshot).await?)?;
        let joining_key = candidate.request.key_hash()?;
        let node = self.use_token(&candidate.secret, joining_key, &cluster).await?;
        self.write_record(node, &candidate).await?;
        let certificate = authority.certify(&candidate.request, node, &self.seams)?;
        let peers = nodes(&self.kv.local()).await?;
        info!(%node, address = %candidate.address, zone = %candidate.zone, "node {node} joined");
        Ok(v1::JoinResponse {
            cluster,
            node: node.0,
            certificate: certificate.to_vec().into(),
            authority: authority.certificate().to_vec().into(),
            peers: peers
                .into_iter()
                .filter(|peer| peer.id != node)
                .map(|peer| v1::Peer {
                    node: peer.id.0,
                    address: peer.address.into(),
                })
                .collect(),
        })
    }

    /// Marks the token as used by a key, and tells the node id that this makes.
    async fn use_token(
        &self,
        secret: &TokenSecret,
        joining_key: [u8; 32],
        cluster: &str,
    ) -> Result<NodeId, Refused> {
        let key = TokenRecord::key(secret);
        let now = self.seams.clock.now();
        self.kv
            .transact(async |mut txn| {
                let token: Option<TokenRecord> = txn.record(&key).await?;
                let token = token.ok_or_else(|| Refused::UnknownToken {
                    cluster: cluster.to_owned(),
                })?;
                match token.used_by {
                    _ if token.expires <= now => return Err(Refused::Expired),
                    Some(other) if other != joining_key => return Err(Refused::Used),
                    Some(_) => {}
                    None => {
                        let used_by = Some(joining_key);
                        txn.put_record(&key, &TokenRecord { used_by, ..token });
                    }
                }
                Ok((txn, ()))
            })
            .await?;
        // Nothing writes to a used token but its removal, so its version names the write above,
        // whichever attempt made it.
        let snapshot = self.kv.latest().await?;
        let used = snapshot.get(&key).await?.ok_or(Refused::Expired)?;
        Ok(NodeId(used.version))
    }

    async fn write_record(&self, node: NodeId, candidate: &Candidate) -> Result<(), Refused> {
        let now = self.seams.clock.now();
        self.kv
            .transact(async |mut txn| {
                let stored: Option<NodeRecord> = txn.record(&NodeRecord::key(node)).await?;
                if stored.as_ref().is_some_and(|stored| stored.removed.is_some()) {
                    return Err(Refused::Removed(node));
                }
                candidate.build.level.check(Level::within(&mut txn).await?)?;
                let info = NodeInfo {
                    id: node,
                    address: candidate.address.clone(),
                    zone: candidate.zone.clone(),
                    build: candidate.build.clone(),
                    capacity_bytes: candidate.capacity_bytes,
                    leaving: stored.as_ref().and_then(|stored| stored.leaving),
                };
                let joined = stored.map_or(now, |stored| stored.joined);
                txn.put_record(&NodeRecord::key(node), &record(&info, joined));
                Ok((txn, ()))
            })
            .await
    }
}

#[tonic::async_trait]
impl Admission for JoinService {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let request = request.into_inner();
        let wanted = request.cluster.clone();
        let candidate = Candidate::parse(request)?;
        Ok(Response::new(self.admit(wanted, candidate).await?))
    }
}

impl Candidate {
    fn parse(request: v1::JoinRequest) -> Result<Self, Refused> {
        let invalid = |error: &dyn std::fmt::Display| Refused::Invalid(error.to_string());
        let secret = <[u8; 32]>::try_from(request.token_secret.as_ref())
            .map_err(|_| invalid(&"a token's secret has 32 bytes"))?;
        if request.version.len() > MAX_VERSION_BYTES || request.version.chars().any(char::is_control) {
            return Err(invalid(&"the version is not a short line of text"));
        }
        Ok(Self {
            secret: TokenSecret(secret),
            request: SigningRequest::from_der(request.signing_request.to_vec()),
            address: request.address.parse().map_err(|error| invalid(&error))?,
            zone: request.zone.parse().map_err(|error| invalid(&error))?,
            build: Build {
                version: request.version,
                // Builds from before there were levels tell none.
                level: Level(request.level).max(Level::FIRST),
            },
            capacity_bytes: request.capacity_bytes,
        })
    }
}
