//! `/audit_events` of projects, groups and the instance, as GitLab shows them; and the audit log as
//! it is stored, for whoever wants to keep it elsewhere or to check it.

use std::time::Duration;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use cairn_cluster::{Link, Timestamp};
use data_encoding::{BASE64, HEXLOWER};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::auth::{Action, Authorised, Instance, Manage, Own};
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::page::{Page, Paging, Selection};
use crate::http::rest::{Path, about};
use crate::registry::audit::{self, Event, Numbered, ReadsAudit};
use crate::registry::door::Resource;
use crate::registry::group::Group;
use crate::registry::place::PlaceKind;
use crate::registry::project::Project;
use crate::registry::time::{iso, parse_date};

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/audit_events",
            get_with(
                list_all,
                about(
                    "listAuditEvents",
                    "Lists the audit events of the instance, the newest first",
                ),
            ),
        )
        .api_route(
            "/audit_events/{event_id}",
            get_with(
                show_any,
                about("getAuditEvent", "Shows an audit event of the instance"),
            ),
        )
        .api_route(
            "/groups/{id}/audit_events",
            get_with(
                list::<Group, Own>,
                about(
                    "listGroupAuditEvents",
                    "Lists the audit events of a group, the newest first",
                ),
            ),
        )
        .api_route(
            "/groups/{id}/audit_events/{event_id}",
            get_with(
                show::<Group, Own>,
                about("getGroupAuditEvent", "Shows an audit event of a group"),
            ),
        )
        .api_route(
            "/projects/{id}/audit_events",
            get_with(
                list::<Project, Manage>,
                about(
                    "listProjectAuditEvents",
                    "Lists the audit events of a project, the newest first",
                ),
            ),
        )
        .api_route(
            "/projects/{id}/audit_events/{event_id}",
            get_with(
                show::<Project, Manage>,
                about("getProjectAuditEvent", "Shows an audit event of a project"),
            ),
        )
        .with_path_items(|item| item.tag("Audit"))
}

/// The routes below `/api/cairn/v1`.
pub(super) fn log_routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/api/cairn/v1/audit_log",
            get_with(
                log,
                about(
                    "readAuditLog",
                    "Reads some of the audit log as it is stored, the oldest first",
                ),
            ),
        )
        .with_path_items(|item| item.tag("Audit"))
}

/// The most events that one request goes over.
const MAX_LOOKED_AT: usize = 50_000;

/// Which events are asked for.
#[derive(Debug, Deserialize, JsonSchema)]
struct Wanted {
    created_after: Option<String>,
    created_before: Option<String>,
    #[serde(default, deserialize_with = "form::number")]
    author_id: Option<u64>,
    /// GitLab's: `Project`, `Group`, `User` or `Gitlab::Audit::InstanceScope`.
    entity_type: Option<String>,
    #[serde(default, deserialize_with = "form::number")]
    entity_id: Option<u64>,
    /// Ours: `project.created` and so on, or what it begins with.
    event_name: Option<String>,
}

/// The same, read.
struct Filter {
    after: Option<Timestamp>,
    before: Option<Timestamp>,
    wanted: Wanted,
}

impl Filter {
    fn of(wanted: Wanted) -> Result<Self, ApiError> {
        let time = |name: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => parse_date(text)
                .map(Some)
                .ok_or_else(|| ApiError::parameter(format!("{name} is not a time"))),
        };
        Ok(Self {
            after: time("created_after", &wanted.created_after)?,
            before: time("created_before", &wanted.created_before)?,
            wanted,
        })
    }

    /// Whether all older ones were made before what is asked for. Clocks of nodes differ, but not
    /// by this much.
    fn is_past(&self, event: &Event) -> bool {
        const SKEW: Duration = Duration::from_secs(3600);
        self.after.is_some_and(|after| event.at.plus(SKEW) < after)
    }

    fn takes(&self, event: &Event) -> bool {
        let Wanted {
            author_id,
            entity_type,
            entity_id,
            event_name,
            ..
        } = &self.wanted;
        self.after.is_none_or(|after| event.at >= after)
            && self.before.is_none_or(|before| event.at < before)
            && author_id.is_none_or(|id| event.by.user() == Some(id))
            && entity_type
                .as_ref()
                .is_none_or(|kind| kind == this_entity(event).0)
            && entity_id.is_none_or(|id| id == this_entity(event).1)
            && event_name
                .as_ref()
                .is_none_or(|name| event.name.starts_with(name.as_str()))
    }
}

/// What GitLab calls that in which something was done, and its number.
fn this_entity(event: &Event) -> (&'static str, u64) {
    match &event.place {
        None => ("Gitlab::Audit::InstanceScope", 1),
        Some(place) => match place.kind {
            PlaceKind::Group => ("Group", place.id),
            PlaceKind::Project => ("Project", place.id),
        },
    }
}

/// Something that was done, or refused.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuditEvent")]
struct Shown {
    id: u64,
    /// Who did it; -1 stands for those who are no user.
    author_id: i64,
    entity_id: u64,
    /// In what it was done: `Project`, `Group` or `Gitlab::Audit::InstanceScope`.
    entity_type: &'static str,
    event_name: String,
    details: Details,
    created_at: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuditEventDetails")]
struct Details {
    event_name: String,
    author_name: String,
    author_class: &'static str,
    /// To what it was done.
    target_details: String,
    ip_address: Option<String>,
    entity_path: Option<String>,
    /// What happened, for people.
    custom_message: String,
    request_id: Option<String>,
    /// The id of the token that it was done with: the part of it that is no secret.
    token_id: Option<String>,
    changes: Vec<ShownChange>,
    /// If it was refused: how, and how often within a few seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<ShownRefusal>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuditEventChange")]
struct ShownChange {
    change: String,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuditEventRefusal")]
struct ShownRefusal {
    status: u16,
    times: u32,
}

fn shown(found: &Numbered) -> Shown {
    let event = &found.event;
    let (entity_type, entity_id) = this_entity(event);
    let author = event.by.user().and_then(|id| i64::try_from(id).ok());
    Shown {
        id: found.number,
        author_id: author.unwrap_or(-1),
        entity_id,
        entity_type,
        event_name: event.name.clone(),
        details: Details {
            event_name: event.name.clone(),
            author_name: event.by.name().into(),
            author_class: event.by.class(),
            target_details: event.target.clone(),
            ip_address: event.from.as_ref().map(ToString::to_string),
            entity_path: event.place.as_ref().map(|place| place.path.clone()),
            custom_message: message(event),
            request_id: event.request.clone(),
            token_id: event.by.token().map(str::to_owned),
            changes: event.changes.iter().map(change).collect(),
            refused: event.refused.map(|refusal| ShownRefusal {
                status: refusal.status,
                times: refusal.times,
            }),
        },
        created_at: iso(event.at),
    }
}

fn change(change: &audit::Change) -> ShownChange {
    ShownChange {
        change: change.what.clone(),
        from: change.before.clone(),
        to: change.after.clone(),
    }
}

/// What happened, for people.
fn message(event: &Event) -> String {
    let mut message = format!("{} {}", event.name, event.target);
    if let Some(refusal) = event.refused {
        message = format!(
            "{message} ({} times with status {})",
            refusal.times, refusal.status
        );
    }
    message.trim_end().into()
}

async fn list<T, A>(
    of: Authorised<T, A>,
    Query(wanted): Query<Wanted>,
    paging: Paging,
) -> Result<Page<Shown>, ApiError>
where
    T: Resource,
    A: Action,
    Authorised<T, A>: ReadsAudit<T>,
{
    let filter = Filter::of(wanted)?;
    let mut search = Search::new(filter, paging)?;
    let before = search.selection.begins_after();
    audit::each(&of, before, |found| search.goes_on_after(&found)).await?;
    search.finish()
}

async fn list_all(
    of: Authorised<Instance, Own>,
    Query(wanted): Query<Wanted>,
    paging: Paging,
) -> Result<Page<Shown>, ApiError> {
    let filter = Filter::of(wanted)?;
    let mut search = Search::new(filter, paging)?;
    let before = search.selection.begins_after();
    of.each_audited(before, |found| search.goes_on_after(&found))
        .await?;
    search.finish()
}

/// One page of events, being looked for from the newest on.
struct Search {
    filter: Filter,
    selection: Selection<Shown>,
    looked_at: usize,
}

impl Search {
    fn new(filter: Filter, paging: Paging) -> Result<Self, ApiError> {
        paging.order_by(&["id", "created_at"])?;
        let selection = paging.select(false);
        if selection.is_ascending() {
            return Err(ApiError::parameter(
                "audit events are listed with the newest first",
            ));
        }
        Ok(Self {
            filter,
            selection,
            looked_at: 0,
        })
    }

    /// Takes the next older event; says whether it is to go on with those before it.
    fn goes_on_after(&mut self, found: &Numbered) -> bool {
        self.looked_at += 1;
        if self.filter.takes(&found.event) {
            self.selection.offer([], found.number, shown(found));
        }
        !self.selection.is_settled() && !self.filter.is_past(&found.event) && self.looked_at < MAX_LOOKED_AT
    }

    /// The page; an error if there may be more of it than was looked at.
    fn finish(self) -> Result<Page<Shown>, ApiError> {
        if self.looked_at >= MAX_LOOKED_AT && !self.selection.is_settled() {
            return Err(ApiError::parameter(format!(
                "more than {MAX_LOOKED_AT} events would have to be looked at: set created_after, or go through all \
                 of them with `cairn audit export`"
            )));
        }
        Ok(self.selection.finish())
    }
}

#[derive(Debug, Deserialize)]
struct Target {
    event_id: u64,
}

fn unknown() -> ApiError {
    ApiError::not_found("404 Audit Event Not Found")
}

async fn show<T, A>(of: Authorised<T, A>, Path(target): Path<Target>) -> Result<Json<Shown>, ApiError>
where
    T: Resource,
    A: Action,
    Authorised<T, A>: ReadsAudit<T>,
{
    let found = audit::get(&of, target.event_id).await?.ok_or_else(unknown)?;
    Ok(Json(shown(&found)))
}

async fn show_any(
    of: Authorised<Instance, Own>,
    Path(target): Path<Target>,
) -> Result<Json<Shown>, ApiError> {
    let found = of.audited(target.event_id).await?.ok_or_else(unknown)?;
    Ok(Json(shown(&found)))
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Behind {
    #[serde(default, deserialize_with = "form::number")]
    after: Option<u64>,
}

/// An entry of the log.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditLogEntry")]
struct Linked {
    number: u64,
    /// In hexadecimal, over the hash before and the content.
    hash: String,
    /// How it is stored, in base 64.
    content: String,
    event: Shown,
}

/// Some of the log behind a number, in order: of each event how it is shown, how it is stored, and
/// its hash, of which `cairn audit verify` tells whether they fit together.
async fn log(
    of: Authorised<Instance, Own>,
    Query(behind): Query<Behind>,
) -> Result<Json<Vec<Linked>>, ApiError> {
    let found = of.audit_log(behind.after.unwrap_or(0)).await?;
    let lines = found.into_iter().map(
        |(
            Link {
                number,
                hash,
                content,
            },
            event,
        )| {
            Linked {
                number,
                hash: HEXLOWER.encode(&hash),
                content: BASE64.encode(&content),
                event: shown(&Numbered { number, event }),
            }
        },
    );
    Ok(Json(lines.collect()))
}
