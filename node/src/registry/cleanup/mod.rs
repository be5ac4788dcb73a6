//! Cleanup policies: what a project lets go by itself, by rules, at regular times.
//!
//! A policy that is switched on has a schedule, in a list of its root group. Every node looks
//! through these lists; the one that finds something due takes the turn, by writing so into the
//! schedule. Each transaction of a turn depends on that, notes how far it came and renews it. So a
//! turn is taken by one node, and if that dies, another one goes on where it was, a little later. A
//! policy that is changed ends the turn.
//!
//! What goes is decided by the same code for a dry run and for a turn. What a rule protects against
//! deletion stays, whoever could delete it.

mod containers;
mod packages;

use std::time::Duration;

use bytes::Bytes;
use cairn_cluster::record::Record;
use cairn_cluster::{Key, ReadError, Timestamp, Txn};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

pub(crate) use containers::{ContainerChange, ContainerPolicy};
pub(crate) use packages::{Going, PackagePolicy};

use crate::app::App;
use crate::auth::action::{Manage, Verb};
use crate::formats::FORMATS;
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Access, Authorised, transact};
use crate::registry::keys;
use crate::registry::project::{self, Project};
use crate::registry::reader::{Reader, next_entries};

/// How long a turn lasts without a sign of life.
const TURN: Duration = Duration::from_secs(300);

/// What a policy is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Packages.
    Packages,
    /// Tags of container images.
    Containers,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Containers => "containers",
        }
    }
}

/// What a project lets go.
pub(crate) trait Policy: Record + Clone + Default + PartialEq + Send + Sync {
    /// What it is about.
    const KIND: Kind;

    /// The time from one turn to the next; none if there is nothing to do.
    fn cadence(&self) -> Option<Duration>;
}

/// When a policy has its turn, and how that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schedule {
    project: u64,
    kind: Kind,
    /// When the next turn begins.
    pub(crate) next_run_at: Timestamp,
    cadence_ms: u64,
    /// The turn that was begun and has not ended.
    run: Option<Run>,
    /// The last turn that ended.
    pub(crate) last: Option<Ran>,
}

impl Record for Schedule {}

/// A turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    /// Who has it.
    by: u64,
    /// Until when, if nothing more is heard of it.
    until: Timestamp,
    started_at: Timestamp,
    /// How far it came.
    cursor: Bytes,
    removed: u64,
}

/// A turn that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ran {
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// When it ended.
    pub(crate) ended_at: Timestamp,
    /// How many versions, files or tags went.
    pub(crate) removed: u64,
}

impl Schedule {
    fn is_due(&self, now: Timestamp) -> bool {
        let is_taken = self.run.as_ref().is_some_and(|run| run.until > now);
        self.next_run_at <= now && !is_taken
    }

    /// Whether a turn is under way.
    pub(crate) fn is_running(&self) -> bool {
        self.run.is_some()
    }
}

fn policy_key(project: &Project, kind: Kind) -> Key {
    keys::cleanup_policies(project.root(), project.id).key(kind.name())
}

fn schedule_key(project: &Project, kind: Kind) -> Key {
    keys::cleanups(project.root()).key(keys::cleanup_item(project.id, kind.name()))
}

/// The policy of a project, and its schedule if it is switched on.
pub(in crate::registry) async fn of_project<P: Policy, R: Reader>(
    reader: &mut R,
    project: &Project,
) -> Result<(P, Option<Schedule>), ReadError> {
    let policy: Option<P> = reader.read(&policy_key(project, P::KIND)).await?;
    let schedule = reader.read(&schedule_key(project, P::KIND)).await?;
    Ok((policy.unwrap_or_default(), schedule))
}

/// Sets a policy as part of a transaction. A turn that is under way ends.
pub(in crate::registry) async fn set<P: Policy>(
    txn: &mut Txn,
    project: &Project,
    policy: &P,
    now: Timestamp,
) -> Result<Option<Schedule>, ApiError> {
    let (before, schedule): (P, _) = of_project(txn, project).await?;
    if before == *policy {
        return Ok(schedule);
    }
    txn.put_record(&policy_key(project, P::KIND), policy);
    let key = schedule_key(project, P::KIND);
    let Some(cadence) = policy.cadence() else {
        txn.delete(&key);
        return Ok(None);
    };
    let cadence_ms = u64::try_from(cadence.as_millis()).unwrap_or(u64::MAX);
    let planned = schedule
        .as_ref()
        .filter(|schedule| schedule.cadence_ms == cadence_ms);
    let schedule = Schedule {
        project: project.id,
        kind: P::KIND,
        next_run_at: planned.map_or_else(|| now.plus(cadence), |schedule| schedule.next_run_at),
        cadence_ms,
        run: None,
        last: schedule.and_then(|schedule| schedule.last),
    };
    txn.put_record(&key, &schedule);
    Ok(Some(schedule))
}

/// Removes the policies of a project that is gone.
pub(in crate::registry) fn forget(txn: &mut Txn, root: u64, project: u64) {
    for kind in [Kind::Packages, Kind::Containers] {
        txn.delete(&keys::cleanup_policies(root, project).key(kind.name()));
        txn.delete(&keys::cleanups(root).key(keys::cleanup_item(project, kind.name())));
    }
}

impl<A: crate::auth::Action> Authorised<Project, A> {
    /// A policy of the project, and its schedule if it is switched on.
    pub(crate) async fn cleanup_policy<P: Policy>(&self) -> Result<(P, Option<Schedule>), ApiError> {
        Ok(of_project(&mut self.snapshot().clone(), self.project()).await?)
    }

    /// The same after a change.
    pub(crate) async fn cleanup_policy_now<P: Policy>(&self) -> Result<(P, Option<Schedule>), ApiError> {
        let mut snapshot = self.access().app().store().kv().latest().await?;
        Ok(of_project(&mut snapshot, self.project()).await?)
    }
}

impl Authorised<Project, Manage> {
    /// Changes a policy.
    pub(crate) async fn change_cleanup_policy<P: Policy>(
        &self,
        change: impl Fn(&mut P) -> Result<(), ApiError> + Send + Sync,
    ) -> Result<(P, Option<Schedule>), ApiError> {
        transact(self, async |mut txn: Txn, project: Project| {
            let (before, _): (P, _) = of_project(&mut txn, &project).await?;
            let mut policy = before.clone();
            change(&mut policy)?;
            let schedule = set(&mut txn, &project, &policy, self.now()).await?;
            let act = Act::new("cleanup_policy.changed").to(P::KIND.name());
            let act = act.changing("policy", &before, &policy);
            tell(&mut txn, self.access(), &project, act);
            Ok((txn, (policy, schedule)))
        })
        .await
    }

    /// Has the next turn of a policy begin as soon as a node looks.
    pub(crate) async fn run_cleanup<P: Policy>(&self) -> Result<Schedule, ApiError> {
        transact(self, async |mut txn: Txn, project: Project| {
            let key = schedule_key(&project, P::KIND);
            let schedule: Option<Schedule> = txn.record(&key).await?;
            let mut schedule =
                schedule.ok_or_else(|| ApiError::conflict("the cleanup policy is not switched on"))?;
            schedule.next_run_at = schedule.next_run_at.min(self.now());
            txn.put_record(&key, &schedule);
            Ok((txn, schedule))
        })
        .await
    }
}

/// A turn that this node has.
pub struct Turn {
    scope: Scope,
    key: Key,
    by: u64,
    cursor: Bytes,
}

impl Turn {
    /// What the turn is about, for nobody in particular.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// How far the turn came when another node had it.
    pub(crate) fn cursor(&self) -> &Bytes {
        &self.cursor
    }

    /// Runs `work` in a transaction of the turn: an error if it has ended. `work` hands back the
    /// transaction, how many things it has removed, and its result; the turn came as far as `cursor`
    /// with it.
    pub(crate) async fn transact<T, F>(&self, cursor: &[u8], work: impl Fn(Txn) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<(Txn, u64, T), ApiError>>,
    {
        let store = self.scope.store();
        let guarded = async |mut txn: Txn| {
            let schedule: Option<Schedule> = txn.record(&self.key).await?;
            let mut schedule = schedule.ok_or_else(ended)?;
            let run = schedule.run.as_mut().filter(|run| run.by == self.by);
            let run = run.ok_or_else(ended)?;
            let (mut txn, removed, result) = work(txn).await?;
            run.until = store.now().plus(TURN);
            run.cursor = Bytes::copy_from_slice(cursor);
            run.removed += removed;
            txn.put_record(&self.key, &schedule);
            Ok::<_, ApiError>((txn, result))
        };
        store.kv().transact(guarded).await
    }

    /// Notes how far the turn came.
    pub(crate) async fn note(&self, cursor: &[u8]) -> Result<(), ApiError> {
        self.transact(cursor, async |txn: Txn| Ok((txn, 0, ()))).await
    }

    async fn finish(&self) -> Result<(), ApiError> {
        let store = self.scope.store();
        let done = async |mut txn: Txn| {
            let schedule: Option<Schedule> = txn.record(&self.key).await?;
            let mut schedule = schedule.ok_or_else(ended)?;
            let run = schedule.run.take().filter(|run| run.by == self.by);
            let run = run.ok_or_else(ended)?;
            let now = store.now();
            schedule.last = Some(Ran {
                started_at: run.started_at,
                ended_at: now,
                removed: run.removed,
            });
            schedule.next_run_at = now.plus(Duration::from_millis(schedule.cadence_ms));
            txn.put_record(&self.key, &schedule);
            Ok::<_, ApiError>((txn, run.removed))
        };
        let removed = store.kv().transact(done).await?;
        let project = &self.scope.project().path;
        info!(project = %project, removed, "a cleanup policy had its turn");
        Ok(())
    }
}

/// A turn that was taken over or whose policy was changed.
fn ended() -> ApiError {
    ApiError::new(ErrorKind::Gone, "the turn of this cleanup policy has ended")
}

/// Gives every policy that is due its turn, of all root groups.
pub(in crate::registry) async fn run(app: &App) -> Result<(), ApiError> {
    let snapshot = app.store().kv().latest().await?;
    let mut after = None;
    loop {
        let roots = next_entries(&snapshot, &keys::root_groups(), &mut after).await?;
        if roots.is_empty() {
            return Ok(());
        }
        for root in roots.iter().filter_map(|entry| keys::number(&entry.item)) {
            let (list, mut place) = (keys::cleanups(root), None);
            loop {
                let entries = next_entries(&snapshot, &list, &mut place).await?;
                if entries.is_empty() {
                    break;
                }
                for entry in entries {
                    let schedule: Schedule = entry.record()?;
                    if schedule.is_due(app.store().now()) {
                        take_turn(app, root, &list.key(&entry.item), schedule.kind).await?;
                    }
                }
            }
        }
    }
}

/// Has a turn if no other node is faster.
async fn take_turn(app: &App, root: u64, key: &Key, kind: Kind) -> Result<(), ApiError> {
    let Some(turn) = begin(app, root, key).await? else {
        return Ok(());
    };
    let had = match kind {
        Kind::Packages => packages::clean_up(&turn).await,
        Kind::Containers => clean_up_images(&turn).await,
    };
    let project = &turn.scope.project().path;
    match had {
        Ok(()) => match turn.finish().await {
            Err(error) if error.kind == ErrorKind::Gone => Ok(()),
            done => done,
        },
        Err(error) if error.kind == ErrorKind::Gone => {
            info!(project = %project, "the turn of a cleanup policy went to another node, or its policy changed");
            Ok(())
        }
        // Whichever node looks when the turn has run out goes on; other projects do not wait.
        Err(error) => {
            warn!(project = %project, error = ?error, "a cleanup policy could not have its turn; trying again later");
            Ok(())
        }
    }
}

async fn clean_up_images(turn: &Turn) -> Result<(), ApiError> {
    let (policy, _): (ContainerPolicy, _) =
        of_project(&mut turn.scope.snapshot().clone(), turn.scope.project()).await?;
    for format in FORMATS {
        format.clean_up_images(turn, &policy).await?;
    }
    Ok(())
}

async fn begin(app: &App, root: u64, key: &Key) -> Result<Option<Turn>, ApiError> {
    let store = app.store();
    let by = u64::from_be_bytes(store.seams().random::<8>());
    let take = async |mut txn: Txn| {
        let now = store.now();
        let due: Option<Schedule> = txn.record(key).await?;
        let Some(mut schedule) = due.filter(|schedule| schedule.is_due(now)) else {
            return Ok::<_, ApiError>((txn, None));
        };
        let Some(project) = project::by_id(&mut txn, root, schedule.project).await? else {
            txn.delete(key);
            return Ok((txn, None));
        };
        let before = schedule.run.take();
        let cursor = before.as_ref().map(|run| run.cursor.clone()).unwrap_or_default();
        schedule.run = Some(Run {
            by,
            until: now.plus(TURN),
            started_at: before.as_ref().map_or(now, |run| run.started_at),
            cursor: cursor.clone(),
            removed: before.map_or(0, |run| run.removed),
        });
        txn.put_record(key, &schedule);
        Ok((txn, Some((project, cursor))))
    };
    let Some((project, cursor)) = store.kv().transact(take).await? else {
        return Ok(None);
    };
    let access = Access::of_nobody(app, store.kv().latest().await?);
    Ok(Some(Turn {
        // The format is said where it matters.
        scope: Scope::new(access, project.into(), "", Verb::Delete),
        key: key.clone(),
        by,
        cursor,
    }))
}

/// Begins the first turn that is due below a root group; for tests of turns that break off.
#[cfg(test)]
pub(in crate::registry) async fn begin_first(app: &App, root: u64) {
    let scan = cairn_cluster::Scan::of(&keys::cleanups(root));
    let first = app.store().kv().local().scan(scan).await.unwrap().remove(0);
    let key = keys::cleanups(root).key(&first.item);
    assert!(begin(app, root, &key).await.unwrap().is_some());
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Schedule>("cleanup-schedule");
    }
}
