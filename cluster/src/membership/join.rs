//! The joining side: makes a key, shows the token to the nodes that it names, and keeps what
//! it is given.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cairn_proto::v1;
use cairn_proto::v1::admission_client::AdmissionClient;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tower::service_fn;
use tracing::warn;

use super::record::{NodeAddress, Zone};
use crate::identity::{DataDir, DirError, EmptyDir};
use crate::level::Build;
use crate::net::{Dialer, Net, protocol_header};
use crate::node_id::NodeId;
use crate::seams::Seams;
use crate::trust::{CertificateError, Credentials, Fingerprint, JoinToken, SigningRequest, pinned_client};

/// How long one of the named nodes may take. It may have to wait for an election.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What a new node brings.
#[derive(Clone, Debug)]
pub struct JoinPlan {
    /// An empty or absent directory.
    pub path: PathBuf,
    /// The token that admits it.
    pub token: JoinToken,
    /// Where it will listen for the others.
    pub address: NodeAddress,
    /// What it fails together with.
    pub zone: Zone,
    /// The version of cairn that it runs, and what that can read and write.
    pub build: Build,
    /// The size of the disk under its data.
    pub capacity_bytes: u64,
}

/// A node that was admitted.
#[derive(Debug)]
pub struct Joined {
    /// Its directory, ready to be served from.
    pub dir: DataDir,
    /// The other nodes, as they were when it joined.
    pub peers: Vec<(NodeId, NodeAddress)>,
}

/// Why a node did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The directory cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// A key or certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The cluster said no; asking again would not help.
    #[error("{address} refused the join: {reason}")]
    Refused {
        /// Who said so.
        address: String,
        /// Why.
        reason: String,
    },
    /// No node that the token names could be asked.
    #[error("no node could be asked to join: {reasons}")]
    Unreachable {
        /// What each of them answered.
        reasons: String,
    },
    /// The answer does not fit the token.
    #[error("{address} answered with what the token does not promise: {reason}")]
    Mismatch {
        /// Who answered.
        address: String,
        /// What does not fit.
        reason: String,
    },
    /// The join was interrupted.
    #[error("the join was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// Joins a cluster: makes a key in `plan.path`, has the cluster admit it, and leaves a
/// directory from which the node can be served.
///
/// Interrupted at any point, it may be run again with the same token and directory.
pub async fn join(plan: JoinPlan, net: Arc<dyn Net>, seams: &Seams) -> Result<Joined, JoinError> {
    let path = plan.path.clone();
    let prepared = tokio::task::spawn_blocking(move || {
        let dir = EmptyDir::prepare(&path)?;
        let key = dir.joining_key()?;
        Ok::<_, DirError>((dir, key))
    });
    let (dir, key) = prepared.await??;
    let signing_request = key.request()?;
    let (address, answer) = ask_all(&plan, &signing_request, net, seams).await?;

    let mismatch = |reason: &str| JoinError::Mismatch {
        address: address.clone(),
        reason: reason.to_owned(),
    };
    let authority = answer.authority.to_vec().into();
    if Fingerprint::of(&authority) != plan.token.authority {
        return Err(mismatch("another certificate authority"));
    }
    let credentials = Credentials::new(key, answer.certificate.to_vec().into(), authority)?;
    if (credentials.cluster(), credentials.node()) != (plan.token.cluster, NodeId(answer.node)) {
        return Err(mismatch("a certificate for another node"));
    }
    let peers = answer.peers.into_iter().map(|peer| {
        let address = peer
            .address
            .parse()
            .map_err(|_| mismatch("a peer without an address"))?;
        Ok((NodeId(peer.node), address))
    });
    let peers = peers.collect::<Result<_, JoinError>>()?;
    let seams = seams.clone();
    let settled = tokio::task::spawn_blocking(move || dir.settle(&credentials, &seams));
    Ok(Joined {
        dir: settled.await??,
        peers,
    })
}

/// Asks the named nodes one after the other, until one gives an answer that counts.
async fn ask_all(
    plan: &JoinPlan,
    signing_request: &SigningRequest,
    net: Arc<dyn Net>,
    seams: &Seams,
) -> Result<(String, v1::JoinResponse), JoinError> {
    let mut reasons = Vec::new();
    for address in plan.token.seeds() {
        let channel = channel(plan, address.clone(), net.clone(), seams)?;
        match ask(channel, plan, signing_request).await {
            Ok(answer) => return Ok((address.clone(), answer)),
            Err(status) if is_final(status.code()) => {
                return Err(JoinError::Refused {
                    address: address.clone(),
                    reason: status.message().to_owned(),
                });
            }
            Err(status) => {
                let reason = describe(&status);
                warn!(address, reason, "could not join through {address}");
                reasons.push(format!("{address}: {reason}"));
            }
        }
    }
    Err(JoinError::Unreachable {
        reasons: match reasons.is_empty() {
            true => "the token names none".into(),
            false => reasons.join("; "),
        },
    })
}

fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::PermissionDenied | Code::InvalidArgument | Code::FailedPrecondition
    )
}

/// A status with what lies under it, such as a certificate that does not fit.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

async fn ask(
    channel: Channel,
    plan: &JoinPlan,
    signing_request: &SigningRequest,
) -> Result<v1::JoinResponse, Status> {
    let request = v1::JoinRequest {
        cluster: plan.token.cluster.to_string(),
        token_secret: plan.token.secret.0.to_vec().into(),
        signing_request: signing_request.der().to_vec().into(),
        address: plan.address.to_string(),
        zone: plan.zone.to_string(),
        version: plan.build.version.clone(),
        level: plan.build.level.0,
        capacity_bytes: plan.capacity_bytes,
    };
    let mut request = Request::new(request);
    *request.metadata_mut() = MetadataMap::from_headers(protocol_header());
    let answer = AdmissionClient::new(channel).join(request).await?;
    Ok(answer.into_inner())
}

/// A channel to a node of which only the authority is known.
fn channel(
    plan: &JoinPlan,
    address: String,
    net: Arc<dyn Net>,
    seams: &Seams,
) -> Result<Channel, CertificateError> {
    let host = format!("join.{}.cairn.internal", plan.token.cluster);
    let endpoint = Endpoint::from_shared(format!("http://{host}"))
        .expect("letters, digits and hyphens are an authority")
        .timeout(ANSWER_WITHIN);
    let name = ServerName::try_from(host).expect("letters, digits and hyphens are a DNS name");
    let config = pinned_client(plan.token.cluster, plan.token.authority, seams)
        .map_err(|error| CertificateError::unusable("the join token", error))?;
    let dialer = Dialer::new(net);
    Ok(endpoint.connect_with_connector_lazy(service_fn(move |_| {
        let (dialer, address) = (dialer.clone(), address.clone());
        let (name, config) = (name.clone(), config.clone());
        async move { dialer.dial(&address, name, config).await.map(TokioIo::new) }
    })))
}
