//! What a format may touch of one project, handed out by the door.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use cairn_cluster::{Blobs, Collection, DigestSet, Snapshot, Space, StoredBlob, Timestamp, Txn};

use crate::auth::action::Verb;
use crate::auth::caller::Caller;
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::host::BaseUrl;
use crate::http::settings::Limits;
use crate::http::shares::Share;
use crate::registry::audit::{self, Act};
use crate::registry::door::{Access, decide_again};
use crate::registry::project::Project;
use crate::registry::protection::{PackageGuard, Right};
use crate::registry::purge::PartRemovals;
use crate::registry::settings::{DuplicatePolicy, Duplicates, PackageSettings, VersionPolicy};
use crate::registry::store::Store;
use crate::registry::user::{User, UserState};
use crate::registry::{group, keys, user};

/// What one format keeps in one project, for a caller that may do what was asked for.
/// Cheap to clone.
#[derive(Clone)]
pub struct Scope {
    access: Access,
    project: Arc<Project>,
    format: &'static str,
    verb: Verb,
}

impl Scope {
    pub(in crate::registry) fn new(
        access: Access,
        project: Arc<Project>,
        format: &'static str,
        verb: Verb,
    ) -> Self {
        Self {
            access,
            project,
            format,
            verb,
        }
    }

    /// The project.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The format's name.
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// What another format keeps in the same project, for the same caller.
    pub(crate) fn in_format(&self, format: &'static str) -> Self {
        Self {
            format,
            ..self.clone()
        }
    }

    /// Runs `work` where nothing waits for it, such as matching expressions of strangers.
    pub(crate) async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let threads = self.access.app().parser_threads();
        let running = threads.start(self.caller(), work).await;
        running.await.map_err(ApiError::internal)
    }

    /// What was asked for.
    pub(in crate::registry) fn verb(&self) -> Verb {
        self.verb
    }

    /// Refuses early what [`crate::registry::package::Edit`] would refuse in the end: to publish
    /// under a name that is protected.
    pub(crate) async fn refuse_protected(&self, name: &str) -> Result<(), ApiError> {
        let reader = &mut self.snapshot().clone();
        let guard = PackageGuard::of(reader, &self.project, self.caller(), self.now()).await?;
        guard.check(self.format, name, Right::Push)
    }

    /// The request at the door.
    pub(in crate::registry) fn access(&self) -> &Access {
        &self.access
    }

    /// Who asks.
    pub fn caller(&self) -> &Caller {
        self.access.caller()
    }

    /// The one view of this request.
    pub fn snapshot(&self) -> &Snapshot {
        self.access.snapshot()
    }

    /// A view that has everything that was acknowledged before now, for a request that waited.
    pub(crate) async fn latest(&self) -> Result<Snapshot, ApiError> {
        Ok(self.store().kv().latest().await?)
    }

    /// The same on a view that has everything that was acknowledged before now.
    ///
    /// A handler of [`crate::auth::PullImmutable`] asks for it before it says that something is
    /// not there, or gives out what could have changed.
    pub(crate) async fn confirmed(&self) -> Result<Self, ApiError> {
        Ok(Self {
            access: self.access.on(self.latest().await?),
            ..self.clone()
        })
    }

    /// Whether the caller may do to the package of this normalised name what it came for. A job
    /// may be let in for some packages alone.
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.lets(Some(name))
    }

    /// The same of all packages of the format, those to come included.
    pub(crate) fn covers_all(&self) -> bool {
        self.lets(None)
    }

    fn lets(&self, name: Option<&str>) -> bool {
        let Some(job) = self.caller().job() else {
            return true;
        };
        let reads = matches!(self.verb, Verb::See | Verb::Pull | Verb::PullImage);
        (reads && self.project.is_open()) || job.may(self.verb, &self.project, self.format, name)
    }

    /// What happens to duplicates: the nearest setting of the project or a group above it, with
    /// the nearest exceptions that are not further away.
    pub(crate) async fn duplicates(&self, default: DuplicatePolicy) -> Result<Duplicates, ApiError> {
        let (mut policy, mut exceptions) = (None, None);
        self.each_settings(|settings| {
            let said = settings.duplicate_exceptions.get(self.format).cloned();
            exceptions = exceptions.take().or(said);
            policy = settings.duplicates.get(self.format).copied();
            policy.is_some()
        })
        .await?;
        Duplicates::new(policy.unwrap_or(default), exceptions.as_deref()).map_err(ApiError::internal)
    }

    /// Which versions are taken: as the nearest setting of the project or a group above it says.
    pub(crate) async fn version_policy(&self) -> Result<VersionPolicy, ApiError> {
        let mut policy = None;
        self.each_settings(|settings| {
            policy = settings.versions.get(self.format).copied();
            policy.is_some()
        })
        .await?;
        Ok(policy.unwrap_or_default())
    }

    /// Shows the settings of the project and of the groups above it, the nearest first, until one is enough.
    async fn each_settings(
        &self,
        mut is_enough: impl FnMut(&PackageSettings) -> bool,
    ) -> Result<(), ApiError> {
        if is_enough(&self.project.packages) {
            return Ok(());
        }
        for id in self.project.ancestors.iter().rev() {
            let group = group::by_id(&mut self.snapshot().clone(), self.project.root(), *id).await?;
            if group.is_some_and(|group| is_enough(&group.packages)) {
                break;
            }
        }
        Ok(())
    }

    /// The blob store; what is the project's lies in [`Scope::space`].
    pub(crate) fn blobs(&self) -> &Blobs {
        self.store().blobs()
    }

    /// Where the project's blobs lie.
    pub(crate) fn space(&self) -> Space {
        self.project.space()
    }

    /// Room for reading so many bytes of a blob ahead of the client, as soon as there is some.
    pub(crate) async fn read_buffer(&self, len_bytes: u64) -> Share {
        let buffers = self.access.app().read_buffers();
        buffers.take(self.access.address(), len_bytes).await
    }

    /// Stores a small document, which a transaction is to name.
    pub(crate) async fn put_blob(&self, bytes: Bytes) -> Result<StoredBlob, ApiError> {
        let mut writer = self.blobs().writer(self.space(), DigestSet::default());
        writer.write(bytes).await.map_err(ApiError::unavailable)?;
        writer.finish().await.map_err(ApiError::unavailable)
    }

    /// Stores a file that a client sends, which a transaction is to name.
    pub(crate) async fn put_file(&self, digests: DigestSet, body: Body) -> Result<StoredBlob, ApiError> {
        let (limit_bytes, pieces) = (self.limits().file_bytes, body::stream(body));
        let put = self.blobs().put(self.space(), digests, limit_bytes, pieces);
        Ok(put.await?)
    }

    /// Limits on what clients send.
    pub(crate) fn limits(&self) -> &Limits {
        &self.access.app().http().limits
    }

    /// Where the format keeps records of its own.
    pub(crate) fn collection(&self) -> Collection {
        keys::format(self.project.root(), self.project.id, self.format)
    }

    /// The users of these numbers, apart from those who may not sign in any more.
    pub(crate) async fn users(&self, ids: &[u64]) -> Result<Vec<User>, ApiError> {
        let mut found = Vec::new();
        for id in ids {
            let user = user::by_id(&mut self.snapshot().clone(), *id).await?;
            found.extend(user.filter(|user| user.state == UserState::Active));
        }
        Ok(found)
    }

    /// Orders, as part of a transaction that hides it, that a part of what the format keeps here
    /// is taken apart by [`crate::formats::Format::remove`].
    pub(crate) async fn order_removal(&self, txn: &mut Txn, part: u64) -> Result<(), ApiError> {
        self.order_removal_at(txn, part, Timestamp::default()).await
    }

    /// The same for later: for what is to be gone by then if nobody has come back to it.
    pub(crate) async fn order_removal_at(
        &self,
        txn: &mut Txn,
        part: u64,
        due: Timestamp,
    ) -> Result<(), ApiError> {
        let removals = PartRemovals {
            store: self.store(),
            root: self.project.root(),
            project: self.project.id,
            format: self.format,
            ancestors: &self.project.ancestors,
        };
        removals.order(txn, part, due).await
    }

    /// Random bytes, for a name that nobody else has.
    pub(crate) fn nonce(&self) -> [u8; 16] {
        self.store().seams().random()
    }

    /// Wall time.
    pub(crate) fn now(&self) -> Timestamp {
        self.store().now()
    }

    /// The URL of the host root, as the client knows it.
    pub fn base_url(&self) -> &BaseUrl {
        self.access.base_url()
    }

    /// The URL of the format's routes in the project.
    pub fn project_url(&self) -> String {
        format!(
            "{}/api/v4/projects/{}/packages/{}",
            self.base_url(),
            self.project.id,
            self.format
        )
    }

    /// Runs `work` in a transaction that also decides again whether the caller may do this, and
    /// commits it; on a conflict runs it again on a new view.
    ///
    /// `work` is given the transaction and hands it back with its result, as
    /// [`cairn_cluster::Kv::transact`] has it.
    pub(crate) async fn transact<T, F>(&self, work: impl Fn(Txn) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<(Txn, T), ApiError>>,
    {
        self.prepare(async |txn: Txn| {
            let (mut txn, value) = work(txn).await?;
            audit::tell_anyway(&mut txn, &self.access, &*self.project);
            Ok((txn, value))
        })
        .await
    }

    /// [`Scope::transact`] for steps towards a change that nobody sees yet, as those of an upload:
    /// the audit log is not told of them.
    pub(crate) async fn prepare<T, F>(&self, work: impl Fn(Txn) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<(Txn, T), ApiError>>,
    {
        let guarded = async |mut txn: Txn| {
            decide_again(&mut txn, &self.access, &*self.project, self.verb).await?;
            work(txn).await
        };
        self.access.transact(guarded).await
    }

    /// Tells the audit log what a transaction does, as a part of it.
    pub(crate) fn tell(&self, txn: &mut Txn, act: Act) {
        audit::tell(txn, &self.access, &*self.project, act);
    }

    pub(in crate::registry) fn store(&self) -> &Store {
        self.access.app().store()
    }
}
