//! Finding packages by name over all projects of a group, or of the instance.

use cairn_cluster::Scan;

use crate::auth::action::{Action, Pull};
use crate::http::error::ApiError;
use crate::registry::door::{Access, Authorised, Instance};
use crate::registry::group::Group;
use crate::registry::keys;
use crate::registry::names::Visibility;
use crate::registry::project::{self, Project};

/// The most projects that are looked at for one name.
const MAX_PROJECTS: usize = 1000;

impl<A: Action> Authorised<Group, A> {
    /// The projects of the group, and of the groups below it, that have a package of this name
    /// and that the caller may do `A` in. In the order of their numbers.
    pub async fn projects_named(
        &self,
        format: &str,
        name: &str,
    ) -> Result<Vec<Authorised<Project, A>>, ApiError> {
        let inside = |project: &Project| project.ancestors.contains(&self.group().id);
        projects_named(self.access(), self.group().root(), format, name, inside).await
    }
}

impl<A: Action> Authorised<Group, A> {
    /// The projects of the group, and of the groups below it, that the caller may do `A` in. In
    /// the order of their numbers.
    pub async fn projects(&self) -> Result<Vec<Authorised<Project, A>>, ApiError> {
        let inside = |project: &Project| project.ancestors.contains(&self.group().id);
        projects_below(self.access(), self.group().root(), inside).await
    }
}

impl Authorised<Group, Pull> {
    /// Whether anybody may fetch the packages of every project of the group, and of the groups
    /// below it, without signing in. Of a tree with too many projects to look at, it is not said.
    pub async fn is_open(&self) -> Result<bool, ApiError> {
        if self.group().visibility != Visibility::Public {
            return Ok(false);
        }
        let scan = Scan::of(&keys::projects(self.group().root())).limit(MAX_PROJECTS);
        let entries = self.snapshot().scan(scan).await?;
        for entry in &entries {
            let project: Project = entry.record()?;
            if project.ancestors.contains(&self.group().id) && !project.is_open() {
                return Ok(false);
            }
        }
        Ok(entries.len() < MAX_PROJECTS)
    }
}

impl<A: Action> Authorised<Instance, A> {
    /// The projects of the instance that the caller may do `A` in.
    pub async fn projects(&self) -> Result<Vec<Authorised<Project, A>>, ApiError> {
        let mut found = Vec::new();
        for root in self.access().root_groups().await? {
            found.extend(projects_below(self.access(), root, |_| true).await?);
            if found.len() >= MAX_PROJECTS {
                break;
            }
        }
        Ok(found)
    }

    /// The projects of one root group, found by its path, that have a package of this name and
    /// that the caller may do `A` in. In the order of their numbers.
    pub async fn projects_named_below(
        &self,
        root_path: &str,
        format: &str,
        name: &str,
    ) -> Result<Vec<Authorised<Project, A>>, ApiError> {
        match self.access().root_group(root_path).await? {
            Some(root) => projects_named(self.access(), root, format, name, |_| true).await,
            None => Ok(Vec::new()),
        }
    }

    /// The projects of the instance that have a package of this name and that the caller may do
    /// `A` in. Asks every root group, so a protocol that knows the root group should say it.
    pub async fn projects_named(
        &self,
        format: &str,
        name: &str,
    ) -> Result<Vec<Authorised<Project, A>>, ApiError> {
        let mut found = Vec::new();
        for root in self.access().root_groups().await? {
            found.extend(projects_named(self.access(), root, format, name, |_| true).await?);
            if found.len() >= MAX_PROJECTS {
                break;
            }
        }
        Ok(found)
    }
}

async fn projects_named<A: Action>(
    access: &Access,
    root: u64,
    format: &str,
    name: &str,
    wanted: impl Fn(&Project) -> bool,
) -> Result<Vec<Authorised<Project, A>>, ApiError> {
    let named = keys::named(root, format, name);
    let entries = access
        .snapshot()
        .scan(Scan::of(&named).limit(MAX_PROJECTS))
        .await?;
    let mut found = Vec::new();
    for id in entries.iter().filter_map(|entry| keys::number(&entry.item)) {
        let project = project::by_id(&mut access.snapshot().clone(), root, id).await?;
        let Some(project) = project.filter(&wanted) else {
            continue;
        };
        found.extend(access.readable(project).await?);
    }
    Ok(found)
}

async fn projects_below<A: Action>(
    access: &Access,
    root: u64,
    wanted: impl Fn(&Project) -> bool,
) -> Result<Vec<Authorised<Project, A>>, ApiError> {
    let projects = keys::projects(root);
    let mut found = Vec::new();
    let mut after = None;
    while found.len() < MAX_PROJECTS {
        let mut scan = Scan::of(&projects).limit(MAX_PROJECTS);
        if let Some(after) = &after {
            scan = scan.after(after);
        }
        let entries = access.snapshot().scan(scan).await?;
        let Some(last) = entries.last() else {
            break;
        };
        after = Some(last.item.clone());
        for entry in &entries {
            let project: Project = entry.record()?;
            if wanted(&project) {
                found.extend(access.readable(project).await?);
            }
        }
    }
    Ok(found)
}
