//! What handlers share.

use std::sync::Arc;

use cairn_cluster::{Blobs, Kv, Seams, Unavailable};
use tokio_util::sync::CancellationToken;

use crate::admin::cluster::{NoCluster, Operator};
use crate::auth::password::PasswordHashing;
use crate::auth::throttle::Throttle;
use crate::http::buffers::ReadBuffers;
use crate::http::parsing::ParserThreads;
use crate::http::rates::Rates;
use crate::http::settings::HttpSettings;
use crate::ldap::Conversations;
use crate::oidc::Issuers;
use crate::registry::audit::Denials;
use crate::registry::sign_in::RightPasswords;
use crate::registry::store::Store;

/// The state of every handler. Cheap to clone.
///
/// It opens no way to the metadata or to blobs: those are reached through
/// [`crate::auth::Authorised`] alone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    http: HttpSettings,
    rates: Rates,
    throttle: Throttle,
    passwords: PasswordHashing,
    right_passwords: RightPasswords,
    denials: Denials,
    issuers: Issuers,
    conversations: Conversations,
    parser_threads: ParserThreads,
    read_buffers: ReadBuffers,
    draining: CancellationToken,
    operator: Arc<dyn Operator>,
}

impl App {
    /// The state of a node with this front of the cluster.
    pub fn new(kv: Kv, blobs: Blobs, seams: Seams, http: HttpSettings) -> Self {
        Self::with_operator(kv, blobs, seams, http, Arc::new(NoCluster))
    }

    /// The same, where operators can reach the cluster.
    pub fn with_operator(
        kv: Kv,
        blobs: Blobs,
        seams: Seams,
        http: HttpSettings,
        operator: Arc<dyn Operator>,
    ) -> Self {
        let inner = Inner {
            store: Store::new(kv, blobs, seams),
            rates: Rates::new(&http.rates),
            http,
            throttle: Throttle::default(),
            passwords: PasswordHashing::default(),
            right_passwords: RightPasswords::default(),
            denials: Denials::default(),
            issuers: Issuers::default(),
            conversations: Conversations::default(),
            parser_threads: ParserThreads::default(),
            read_buffers: ReadBuffers::default(),
            draining: CancellationToken::new(),
            operator,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// How HTTP is spoken.
    pub(crate) fn http(&self) -> &HttpSettings {
        &self.inner.http
    }

    /// Says from now on that this node takes no more requests, so that balancers turn elsewhere.
    pub fn drain(&self) {
        self.inner.draining.cancel();
    }

    /// Whether the node is about to stop.
    pub(crate) fn is_draining(&self) -> bool {
        self.inner.draining.is_cancelled()
    }

    /// Whether a majority of the cluster answers this node.
    pub(crate) async fn reaches_majority(&self) -> Result<(), Unavailable> {
        self.inner.store.reaches_majority().await
    }

    /// The cluster, for operators.
    pub(crate) fn operator(&self) -> &dyn Operator {
        &*self.inner.operator
    }

    /// Who asks too often.
    pub(crate) fn rates(&self) -> &Rates {
        &self.inner.rates
    }

    /// Who failed to sign in too often.
    pub(crate) fn throttle(&self) -> &Throttle {
        &self.inner.throttle
    }

    /// Where passwords are hashed.
    pub(crate) fn passwords(&self) -> &PasswordHashing {
        &self.inner.passwords
    }

    /// Passwords that were right lately.
    pub(crate) fn right_passwords(&self) -> &RightPasswords {
        &self.inner.right_passwords
    }

    /// Who was refused something.
    pub(crate) fn denials(&self) -> &Denials {
        &self.inner.denials
    }

    /// What is known of those who say what jobs are.
    pub(crate) fn issuers(&self) -> &Issuers {
        &self.inner.issuers
    }

    /// Who asks the directory.
    pub(crate) fn conversations(&self) -> &Conversations {
        &self.inner.conversations
    }

    /// Where bodies are parsed while they come in.
    pub(crate) fn parser_threads(&self) -> &ParserThreads {
        &self.inner.parser_threads
    }

    /// Memory for blobs on their way out.
    pub(crate) fn read_buffers(&self) -> &ReadBuffers {
        &self.inner.read_buffers
    }
}
