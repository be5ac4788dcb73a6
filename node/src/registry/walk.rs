//! All projects in the order of their paths, as far as a caller may do something to them: for
//! lists over the whole instance.

use cairn_cluster::Scan;

use crate::auth::Action;
use crate::http::error::ApiError;
use crate::registry::door::{Access, Authorised};
use crate::registry::keys;
use crate::registry::place::{Place, PlaceKind};
use crate::registry::project::{self, Project};

/// A piece of the walk.
pub(crate) struct Stretch<A> {
    /// The projects of it, by their folded paths.
    pub(crate) projects: Vec<(String, Authorised<Project, A>)>,
    /// Where it ended; none if nothing comes after it.
    pub(crate) end: Option<String>,
}

impl Access {
    /// The projects to which the caller may do `A` among the next `limit` paths after `after`.
    pub(crate) async fn walk<A: Action>(&self, after: &str, limit: usize) -> Result<Stretch<A>, ApiError> {
        let scan = Scan::of(&keys::paths()).after(after).limit(limit);
        let entries = self.snapshot().scan(scan).await?;
        let is_last = entries.len() < limit;
        let mut stretch = Stretch {
            projects: Vec::new(),
            end: None,
        };
        for entry in &entries {
            let path = String::from_utf8_lossy(&entry.item).into_owned();
            if let Some(project) = self.allowed(&entry.record()?).await? {
                stretch.projects.push((path.clone(), project));
            }
            stretch.end = Some(path);
        }
        if is_last {
            stretch.end = None;
        }
        Ok(stretch)
    }

    /// The project of exactly this folded path, if the caller may do `A` to it.
    pub(crate) async fn at_path<A: Action>(
        &self,
        folded: &str,
    ) -> Result<Option<Authorised<Project, A>>, ApiError> {
        match self.snapshot().record::<Place>(&keys::path(folded)).await? {
            Some(place) => self.allowed(&place).await,
            None => Ok(None),
        }
    }

    async fn allowed<A: Action>(&self, place: &Place) -> Result<Option<Authorised<Project, A>>, ApiError> {
        if place.kind != PlaceKind::Project {
            return Ok(None);
        }
        match project::by_id(&mut self.snapshot().clone(), place.root, place.id).await? {
            Some(project) => self.readable(project).await,
            None => Ok(None),
        }
    }
}
