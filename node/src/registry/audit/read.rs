//! Reading the audit log: administrators all of it, maintainers and owners what is theirs.

use cairn_cluster::{Link, ReadError, Scan, record};

use super::Event;
use crate::auth::action::{Action, Manage, Own};
use crate::http::error::ApiError;
use crate::registry::door::{Authorised, Instance, Resource};
use crate::registry::group::Group;
use crate::registry::keys;
use crate::registry::place::Place;
use crate::registry::project::Project;

/// So many are read at a time.
const BATCH: usize = 200;

/// An event, and where it stands in the log.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    /// Its number: the first is 1.
    pub(crate) number: u64,
    /// What was told.
    pub(crate) event: Event,
}

/// Proof that the caller may read what was done to this group, project or instance.
pub(crate) trait ReadsAudit<T> {}

impl ReadsAudit<Project> for Authorised<Project, Manage> {}
impl ReadsAudit<Group> for Authorised<Group, Own> {}
impl ReadsAudit<Instance> for Authorised<Instance, Own> {}

/// Calls `row` with what was done to a group, a project or the instance itself, the newest first,
/// until it says that it has enough. Begins with the one before the number `before`.
pub(crate) async fn each<T, A>(
    of: &Authorised<T, A>,
    before: Option<u64>,
    mut row: impl FnMut(Numbered) -> bool,
) -> Result<(), ApiError>
where
    T: Resource,
    A: Action,
    Authorised<T, A>: ReadsAudit<T>,
{
    let place = of.what().whereabouts();
    let list = keys::audited(place.as_ref().map(|place| Place::from(place).member()));
    let mut before = before.map(u64::to_be_bytes);
    loop {
        let mut scan = Scan::of(&list).backwards().limit(BATCH);
        if let Some(before) = before {
            scan = scan.after(before);
        }
        let entries = of.snapshot().scan(scan).await?;
        let Some(last) = entries.last() else {
            return Ok(());
        };
        before = last.item.as_ref().try_into().ok();
        for number in entries.iter().filter_map(|entry| keys::number(&entry.item)) {
            if let Some(found) = one(of, number).await?
                && !row(found)
            {
                return Ok(());
            }
        }
    }
}

/// The event of this number, if it is about the group, project or instance.
pub(crate) async fn get<T, A>(of: &Authorised<T, A>, number: u64) -> Result<Option<Numbered>, ApiError>
where
    T: Resource,
    A: Action,
    Authorised<T, A>: ReadsAudit<T>,
{
    let found = one(of, number).await?;
    let place = of.what().whereabouts().as_ref().map(Place::from);
    Ok(found.filter(|found| found.event.place.as_ref().map(Place::from) == place))
}

async fn one<T, A: Action>(of: &Authorised<T, A>, number: u64) -> Result<Option<Numbered>, ApiError> {
    let link = of.snapshot().link(&keys::audit(), number).await?;
    Ok(link.map(decoded).transpose()?)
}

fn decoded(link: Link) -> Result<Numbered, ReadError> {
    Ok(Numbered {
        number: link.number,
        event: record::decode(&link.content)?,
    })
}

impl Authorised<Instance, Own> {
    /// Calls `row` with all that is in the log, the newest first, until it says that it has enough.
    pub(crate) async fn each_audited(
        &self,
        before: Option<u64>,
        mut row: impl FnMut(Numbered) -> bool,
    ) -> Result<(), ApiError> {
        let mut end = before.unwrap_or(self.snapshot().links(&keys::audit()).await? + 1);
        while end > 1 {
            let begin = end.saturating_sub(BATCH as u64 + 1);
            let count = (end - 1 - begin) as usize;
            let links = self.snapshot().links_after(&keys::audit(), begin, count).await?;
            for link in links.into_iter().rev() {
                if !row(decoded(link)?) {
                    return Ok(());
                }
            }
            end = begin + 1;
        }
        Ok(())
    }

    /// The event of this number.
    pub(crate) async fn audited(&self, number: u64) -> Result<Option<Numbered>, ApiError> {
        one(self, number).await
    }

    /// What follows behind this number in the log, in order, as it is stored.
    pub(crate) async fn audit_log(&self, after: u64) -> Result<Vec<(Link, Event)>, ApiError> {
        let links = self.snapshot().links_after(&keys::audit(), after, BATCH).await?;
        let decoded = links.into_iter().map(|link| {
            let event = record::decode(&link.content)?;
            Ok::<_, ReadError>((link, event))
        });
        Ok(decoded.collect::<Result<_, _>>()?)
    }
}
