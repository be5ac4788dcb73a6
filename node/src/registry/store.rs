//! What the registry keeps its data in. Only this module's neighbours can reach it: a handler
//! gets what it may touch from [`super::door`].

use cairn_cluster::{Blobs, Key, Kv, Seams, Timestamp, Txn, Unavailable};
use tokio::sync::{Notify, OnceCell};

use crate::auth::derived::Signer;
use crate::auth::session::SessionKey;
use crate::auth::sign_in::AttemptKey;
use crate::auth::token::HashKey;
use crate::http::error::ApiError;
use crate::registry::keys;
use crate::registry::sequence::Block;
use crate::registry::usage::Usage;

/// The front of the cluster, and what of it a node keeps at hand.
pub(crate) struct Store {
    kv: Kv,
    blobs: Blobs,
    seams: Seams,
    version_ids: Block,
    file_ids: Block,
    job_numbers: Block,
    secrets: OnceCell<Secrets>,
    usage: Usage,
    purge: Notify,
}

/// Keys that are derived from the cluster's secret.
pub(in crate::registry) struct Secrets {
    /// Tokens are hashed under it.
    pub(in crate::registry) token_hash: HashKey,
    /// Derived tokens are signed by it.
    pub(in crate::registry) signer: Signer,
    /// Ids of sessions are hashed under it.
    pub(in crate::registry) session_key: SessionKey,
    /// Ways to identity providers and back are bound to browsers by it.
    pub(in crate::registry) attempt_key: AttemptKey,
    /// Passwords that were right are remembered under it.
    pub(in crate::registry) password_key: [u8; 32],
    /// Those who publish and download are hashed under it.
    pub(in crate::registry) adoption: [u8; 32],
}

impl Store {
    pub(crate) fn new(kv: Kv, blobs: Blobs, seams: Seams) -> Self {
        Self {
            kv,
            blobs,
            seams,
            version_ids: Block::new("package"),
            file_ids: Block::new("file"),
            job_numbers: Block::new("job-token"),
            secrets: OnceCell::new(),
            usage: Usage::default(),
            purge: Notify::new(),
        }
    }

    pub(in crate::registry) fn kv(&self) -> &Kv {
        &self.kv
    }

    pub(in crate::registry) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    pub(in crate::registry) fn seams(&self) -> &Seams {
        &self.seams
    }

    pub(in crate::registry) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Notes that a token was used, under its key of [`keys::token_used`].
    pub(crate) fn token_used(&self, used: &Key) {
        self.usage.note(used, self.now());
    }

    /// Notes that a session was used, under its key of [`keys::session_used`].
    pub(in crate::registry) fn session_used(&self, used: &Key) {
        self.usage.note(used, self.now());
    }

    /// Whether a majority of the cluster answers this node.
    pub(crate) async fn reaches_majority(&self) -> Result<(), Unavailable> {
        self.kv.latest().await.map(|_| ())
    }

    /// Wakes the task that takes apart what was deleted.
    pub(in crate::registry) fn purge_ordered(&self) {
        self.purge.notify_one();
    }

    /// Waits until this node ordered something to be taken apart.
    pub(in crate::registry) async fn purge_order(&self) {
        self.purge.notified().await;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.seams.clock.now()
    }

    /// A number for a package or one of its versions.
    pub(in crate::registry) async fn version_id(&self) -> Result<u64, ApiError> {
        self.version_ids.next(&self.kv).await
    }

    /// A number for a file.
    pub(in crate::registry) async fn file_id(&self) -> Result<u64, ApiError> {
        self.file_ids.next(&self.kv).await
    }

    /// A number for the token of a job.
    pub(in crate::registry) async fn job_number(&self) -> Result<u64, ApiError> {
        self.job_numbers.next(&self.kv).await
    }

    /// The keys of this cluster, once it has been set up.
    pub(in crate::registry) async fn secrets(&self) -> Result<&Secrets, ApiError> {
        let read = async || {
            // It never changes, so what this node has of it is right.
            let key = keys::secret(CLUSTER);
            let found = match self.kv.local().get(&key).await? {
                Some(found) => Some(found),
                None => self.kv.latest().await?.get(&key).await?,
            };
            match found {
                Some(found) => Secrets::of(&found.value),
                None => Err(ApiError::unavailable(Unavailable {
                    reason: "the cluster has not been set up".into(),
                })),
            }
        };
        self.secrets.get_or_try_init(read).await
    }
}

const CLUSTER: &str = "cluster";

/// The cluster's secret; made if there is none.
pub(in crate::registry) async fn ensure_secret(txn: &mut Txn, seams: &Seams) -> Result<[u8; 32], ApiError> {
    let key = keys::secret(CLUSTER);
    match txn.get(&key).await? {
        Some(found) => secret(&found),
        None => {
            let secret = seams.random::<32>();
            txn.put(&key, secret.to_vec());
            Ok(secret)
        }
    }
}

fn secret(stored: &[u8]) -> Result<[u8; 32], ApiError> {
    stored.try_into().map_err(ApiError::internal)
}

impl Secrets {
    fn of(stored: &[u8]) -> Result<Self, ApiError> {
        let secret = secret(stored)?;
        Ok(Self {
            token_hash: HashKey::derive(&secret),
            signer: Signer::derive(&secret),
            session_key: SessionKey::derive(&secret),
            attempt_key: AttemptKey::derive(&secret),
            password_key: blake3::derive_key("cairn 2026-11 passwords that were right", &secret),
            adoption: blake3::derive_key("cairn 2026-11 adoption", &secret),
        })
    }
}
