//! What operators see and set of the cluster's background work, and of blobs that need it or wait
//! to be removed.
//!
//! GitLab has nothing like it, so it lies below `/api/cairn/v1`.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::Json;
use axum::extract::State;
use cairn_cluster::{
    BlobId, Hold, Retention, Space, TaskKind, TaskSettings, TaskStatus, Timestamp, UnderProtected,
    UnderProtectedPage, Waste, WasteStage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backups::ShownHold;
use crate::app::App;
use crate::auth::{Authorised, Instance, Own};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form::Query;
use crate::http::rest::{Path, about};
use crate::registry::audit::Act;
use crate::registry::time::iso;

const USUAL_PAGE: u64 = 100;
const LARGEST_PAGE: u64 = 1000;

/// The routes below `/api/cairn/v1`.
pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/api/cairn/v1/tasks",
            get_with(
                tasks,
                about("listTasks", "Shows how the background work of all nodes stands"),
            ),
        )
        .api_route(
            "/api/cairn/v1/tasks/{task}",
            post_with(
                set_task,
                about(
                    "changeTask",
                    "Pauses, throttles or starts a kind of background work",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/blobs/under_protected",
            get_with(
                under_protected,
                about(
                    "listUnderProtectedBlobs",
                    "Lists blobs that have less redundancy than they should",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/blobs/waste",
            get_with(
                waste,
                about("listWaste", "Lists bytes that nothing names any more"),
            ),
        )
        .api_route(
            "/api/cairn/v1/blobs/retention",
            get_with(
                retention,
                about(
                    "getRetention",
                    "Shows how long what nothing names any more is kept",
                ),
            )
            .post_with(
                set_retention,
                about(
                    "changeRetention",
                    "Sets how long what nothing names any more is kept",
                ),
            ),
        )
        .with_path_items(|item| item.tag("Background work"))
}

/// A kind of background work: what is set for it, and how it stands on each node.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Task")]
struct ShownTask {
    task: TaskKind,
    paused: bool,
    /// Why, if nobody paused it by hand.
    paused_because: Option<String>,
    /// Backups for which it does not decide.
    held_by: Vec<ShownHold>,
    /// What each node moves at most.
    bytes_per_second: Option<u64>,
    period_seconds: u64,
    nodes: Vec<ShownState>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TaskOfNode")]
struct ShownState {
    node: u64,
    phase: cairn_cluster::Phase,
    started_at: Option<String>,
    completed_at: Option<String>,
    done: u64,
    total: u64,
    items: u64,
    bytes: u64,
    bytes_per_second: u64,
    restarts: u64,
    last_failure: Option<String>,
    last_failure_at: Option<String>,
}

impl From<TaskStatus> for ShownState {
    fn from(status: TaskStatus) -> Self {
        let state = status.state;
        Self {
            node: status.node.0,
            phase: state.phase,
            started_at: state.started.map(iso),
            completed_at: state.completed.map(iso),
            done: state.done,
            total: state.total,
            items: state.items,
            bytes: state.bytes,
            bytes_per_second: state.bytes_per_second,
            restarts: state.restarts,
            last_failure_at: state.last_failure.as_ref().map(|failure| iso(failure.at)),
            last_failure: state.last_failure.map(|failure| failure.reason),
        }
    }
}

fn shown(task: TaskKind, settings: &TaskSettings, statuses: &[TaskStatus], holds: &[Hold]) -> ShownTask {
    let held_by = match task {
        TaskKind::Collection => holds,
        _ => &[],
    };
    let of_kind = statuses.iter().filter(|status| status.task == task);
    ShownTask {
        task,
        paused: settings.paused,
        paused_because: settings.paused_because.clone(),
        held_by: held_by.iter().cloned().map(ShownHold::from).collect(),
        bytes_per_second: settings.rate(task),
        period_seconds: settings.period(task).as_secs(),
        nodes: of_kind.cloned().map(ShownState::from).collect(),
    }
}

async fn tasks(
    State(app): State<App>,
    _instance: Authorised<Instance, Own>,
) -> Result<Json<Vec<ShownTask>>, ApiError> {
    let statuses = app.operator().tasks().await?;
    let holds = app.operator().backups().await?;
    let mut out = Vec::new();
    for task in TaskKind::ALL {
        let settings = app.operator().task_settings(task).await?;
        out.push(shown(task, &settings, &statuses, &holds));
    }
    Ok(Json(out))
}

/// What is to be changed of a task. What is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskChange {
    /// Whether it does nothing.
    #[serde(default, deserialize_with = "crate::http::form::boolean")]
    pub paused: Option<bool>,
    /// What each node moves at most.
    #[serde(default, deserialize_with = "crate::http::form::number")]
    pub bytes_per_second: Option<u64>,
    /// From the beginning of one round to that of the next.
    #[serde(default, deserialize_with = "crate::http::form::number")]
    pub period_seconds: Option<u64>,
    /// Whether a round begins at once.
    #[serde(default, deserialize_with = "crate::http::form::boolean")]
    pub run: Option<bool>,
}

impl TaskChange {
    /// Makes the change, at a time.
    pub(crate) fn apply(&self, settings: &mut TaskSettings, now: Timestamp) {
        if let Some(paused) = self.paused {
            settings.paused = paused;
            settings.paused_because = None;
        }
        settings.bytes_per_second = self.bytes_per_second.or(settings.bytes_per_second);
        settings.period_seconds = self.period_seconds.or(settings.period_seconds);
        if self.run == Some(true) {
            settings.run_at = Some(now);
        }
    }
}

async fn set_task(
    State(app): State<App>,
    instance: Authorised<Instance, Own>,
    Path(task): Path<String>,
    Params(change): Params<TaskChange>,
) -> Result<Json<ShownTask>, ApiError> {
    let task = task.parse::<TaskKind>();
    let task = task.map_err(|error| ApiError::not_found(error.to_string()))?;
    let act = Act::new("cluster.task_set").to(task.to_string());
    instance.announce(act.with("set to", change)).await?;
    let settings = app.operator().set_task(task, change).await?;
    let statuses = app.operator().tasks().await?;
    let holds = app.operator().backups().await?;
    Ok(Json(shown(task, &settings, &statuses, &holds)))
}

#[derive(Deserialize, JsonSchema)]
struct Page {
    #[serde(default, deserialize_with = "crate::http::form::number")]
    limit: Option<u64>,
    after: Option<String>,
}

impl Page {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(USUAL_PAGE).clamp(1, LARGEST_PAGE) as usize
    }

    fn after(&self) -> Result<Option<(Space, BlobId)>, ApiError> {
        let Some(text) = &self.after else { return Ok(None) };
        let parse = || {
            let (space, blob) = text.split_once('-')?;
            Some((Space(space.parse().ok()?), blob.parse().ok()?))
        };
        let place = parse().ok_or_else(|| ApiError::parameter("after does not have a valid value"));
        place.map(Some)
    }
}

/// Blobs that have less redundancy than they should.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UnderProtectedBlobs")]
struct ShownPage {
    blobs: Vec<ShownBlob>,
    /// What `after` the next page is asked for by; none at the end. A page may be empty before that.
    next: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UnderProtectedBlob")]
struct ShownBlob {
    root_group: u64,
    blob: String,
    size: u64,
    protection: cairn_cluster::Protection,
    spare: usize,
    segments: u64,
    since: Option<String>,
    problem: Option<String>,
}

impl From<UnderProtected> for ShownBlob {
    fn from(blob: UnderProtected) -> Self {
        Self {
            root_group: blob.space.0,
            blob: blob.blob.to_string(),
            size: blob.size,
            protection: blob.protection,
            spare: blob.spare,
            segments: blob.segments,
            since: blob.since.map(iso),
            problem: blob.problem,
        }
    }
}

async fn under_protected(
    State(app): State<App>,
    _instance: Authorised<Instance, Own>,
    Query(page): Query<Page>,
) -> Result<Json<ShownPage>, ApiError> {
    let (after, limit) = (page.after()?, page.limit());
    let UnderProtectedPage { blobs, next } = app.operator().under_protected(after, limit).await?;
    Ok(Json(ShownPage {
        blobs: blobs.into_iter().map(ShownBlob::from).collect(),
        next: next.map(|(space, blob)| format!("{space}-{blob}")),
    }))
}

/// Bytes that nothing names any more.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Waste")]
struct ShownWaste {
    root_group: u64,
    blob: Option<String>,
    bytes: u64,
    stage: WasteStage,
    /// From when on the next round of the collection gives their space back.
    freed_at: String,
}

impl From<Waste> for ShownWaste {
    fn from(waste: Waste) -> Self {
        Self {
            root_group: waste.space.0,
            blob: waste.blob.map(|blob| blob.to_string()),
            bytes: waste.bytes,
            stage: waste.stage,
            freed_at: iso(waste.freed_at),
        }
    }
}

async fn waste(
    State(app): State<App>,
    _instance: Authorised<Instance, Own>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<ShownWaste>>, ApiError> {
    let waste = app.operator().waste(page.limit()).await?;
    Ok(Json(waste.into_iter().map(ShownWaste::from).collect()))
}

async fn retention(
    State(app): State<App>,
    _instance: Authorised<Instance, Own>,
) -> Result<Json<Retention>, ApiError> {
    Ok(Json(app.operator().retention().await?))
}

/// What is to be changed of the retention. What is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RetentionChange {
    #[serde(default, deserialize_with = "crate::http::form::number")]
    orphan_seconds: Option<u64>,
    #[serde(default, deserialize_with = "crate::http::form::number")]
    quarantine_seconds: Option<u64>,
    #[serde(default, deserialize_with = "crate::http::form::number")]
    unknown_seconds: Option<u64>,
}

impl RetentionChange {
    fn applied_to(self, retention: &Retention) -> Retention {
        Retention {
            orphan_seconds: self.orphan_seconds.unwrap_or(retention.orphan_seconds),
            quarantine_seconds: self.quarantine_seconds.unwrap_or(retention.quarantine_seconds),
            unknown_seconds: self.unknown_seconds.unwrap_or(retention.unknown_seconds),
        }
    }
}

async fn set_retention(
    State(app): State<App>,
    instance: Authorised<Instance, Own>,
    Params(change): Params<RetentionChange>,
) -> Result<Json<Retention>, ApiError> {
    let changed = change.applied_to(&app.operator().retention().await?);
    let act = Act::new("cluster.retention_set").with("set to", &changed);
    instance.announce(act).await?;
    app.operator().set_retention(&changed).await?;
    Ok(Json(changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_a_change_stays_as_it_is() {
        let mut settings = TaskSettings {
            paused: true,
            paused_because: Some("restored".into()),
            bytes_per_second: Some(5),
            ..TaskSettings::default()
        };
        let change = TaskChange {
            period_seconds: Some(60),
            ..TaskChange::default()
        };
        change.apply(&mut settings, Timestamp(7));
        assert!(settings.paused && settings.paused_because.is_some() && settings.run_at.is_none());
        assert_eq!(
            (settings.bytes_per_second, settings.period_seconds),
            (Some(5), Some(60))
        );
        let change = TaskChange {
            paused: Some(false),
            run: Some(true),
            ..TaskChange::default()
        };
        change.apply(&mut settings, Timestamp(7));
        assert!(!settings.paused && settings.paused_because.is_none());
        assert_eq!(settings.run_at, Some(Timestamp(7)));
    }

    #[test]
    fn a_place_in_the_list_is_what_an_answer_said() {
        let after = |text: &str| {
            let page = Page {
                limit: None,
                after: Some(text.into()),
            };
            page.after()
        };
        let id = "ab".repeat(32);
        let (space, blob) = after(&format!("7-{id}")).unwrap().unwrap();
        assert_eq!(format!("{space}-{blob}"), format!("7-{id}"));
        for wrong in ["", "7", "7-", "-ab", &format!("x-{id}"), &format!("7-{id}0")] {
            assert!(after(wrong).is_err(), "{wrong}");
        }
    }
}
