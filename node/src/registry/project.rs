//! Projects: what packages belong to.

use std::collections::BTreeMap;

use cairn_cluster::record::Record;
use cairn_cluster::{ReadError, Space, Timestamp, Txn};
use serde::{Deserialize, Serialize};

use crate::auth::action::{Action, Manage, Own, See};
use crate::auth::role::Role;
use crate::http::error::ApiError;
use crate::registry::audit::{Act, tell};
use crate::registry::cleanup::{self, ContainerChange, ContainerPolicy};
use crate::registry::door::{Access, Authorised, transact};
use crate::registry::group::{self, Group};
use crate::registry::keys::{self, Member};
use crate::registry::member::{self, Membership};
use crate::registry::names::{FullPath, PathSegment, Reference, Visibility};
use crate::registry::place::{Place, PlaceKind};
use crate::registry::purge::{self, Purge};
use crate::registry::reader::{Reader, next_entries};
use crate::registry::sequence::{self, Number};
use crate::registry::settings::{PackageAccess, PackageSettings};

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Its number.
    pub id: u64,
    /// The groups above it, from the root down; never empty.
    pub ancestors: Vec<u64>,
    /// Its whole path.
    pub path: FullPath,
    /// The name to show.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Who may see it.
    pub visibility: Visibility,
    /// Who may use its packages.
    #[serde(default)]
    pub package_access: PackageAccess,
    /// Who may use its container images; none in projects of a time when that was the same.
    #[serde(default)]
    pub(in crate::registry) image_access: Option<PackageAccess>,
    /// Who made it; none if it was not a user.
    pub creator: Option<u64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// How packages are handled, where it differs from its group.
    #[serde(default)]
    pub packages: PackageSettings,
}

impl Record for Project {}

impl Project {
    /// The group at the top of its tree, which owns its data.
    pub fn root(&self) -> u64 {
        self.ancestors[0]
    }

    /// The group that it belongs to.
    pub fn group(&self) -> u64 {
        self.ancestors[self.ancestors.len() - 1]
    }

    /// Where its blobs lie.
    pub fn space(&self) -> Space {
        Space(self.root())
    }

    /// Where it lies.
    pub fn place(&self) -> Place {
        Place {
            root: self.root(),
            kind: PlaceKind::Project,
            id: self.id,
        }
    }

    /// Who may use its container images.
    pub fn image_access(&self) -> PackageAccess {
        self.image_access.unwrap_or(self.package_access)
    }

    /// Whether anybody may fetch its packages, without signing in.
    pub fn is_open(&self) -> bool {
        match self.package_access {
            PackageAccess::Public => true,
            PackageAccess::Enabled => self.visibility == Visibility::Public,
            PackageAccess::Private | PackageAccess::Disabled => false,
        }
    }

    /// Whether it lies in this place, or is it.
    pub fn is_inside(&self, place: &Place) -> bool {
        match place.kind {
            PlaceKind::Group => self.ancestors.contains(&place.id),
            PlaceKind::Project => self.id == place.id,
        }
    }
}

/// A project to be made.
#[derive(Clone, Debug)]
pub struct NewProject {
    /// The last segment of its path.
    pub path: PathSegment,
    /// The name to show.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Who may see it.
    pub visibility: Visibility,
    /// Who may use its packages.
    pub package_access: PackageAccess,
    /// Who may use its container images.
    pub image_access: PackageAccess,
}

pub(in crate::registry) async fn find<R: Reader>(
    reader: &mut R,
    reference: &Reference,
) -> Result<Option<Project>, ReadError> {
    let (root, id) = match reference {
        Reference::Id(id) => match reader.read::<Number>(&keys::project_roots().key(*id)).await? {
            Some(root) => (root.0, *id),
            None => return Ok(None),
        },
        Reference::Path(path) => match reader.read::<Place>(&keys::path(&path.folded())).await? {
            Some(place) if place.kind == PlaceKind::Project => (place.root, place.id),
            _ => return Ok(None),
        },
    };
    by_id(reader, root, id).await
}

pub(in crate::registry) async fn by_id<R: Reader>(
    reader: &mut R,
    root: u64,
    id: u64,
) -> Result<Option<Project>, ReadError> {
    reader.read(&keys::project(root, id)).await
}

/// Makes a project; a conflict if the path is taken.
pub(in crate::registry) async fn create(
    txn: &mut Txn,
    parent: &Group,
    new: NewProject,
    creator: Option<u64>,
    now: Timestamp,
) -> Result<Project, ApiError> {
    let path = parent.path.child(&new.path);
    let path = path?;
    group::check_visibility(new.visibility, parent)?;
    group::claim_path(txn, &path).await?;
    let id = sequence::next(txn, "project").await?;
    let project = Project {
        id,
        ancestors: parent.chain(),
        path,
        name: new.name,
        description: new.description,
        visibility: new.visibility,
        package_access: new.package_access,
        image_access: Some(new.image_access),
        creator,
        created_at: now,
        packages: PackageSettings::default(),
    };
    let root = project.root();
    txn.put_record(&keys::path(&project.path.folded()), &project.place());
    txn.put_record(&keys::project_roots().key(id), &Number(root));
    txn.put_record(&keys::project(root, id), &project);
    txn.put(&keys::child(root, parent.id, Member::Project(id)), "");
    Ok(project)
}

/// What is to be changed of a project; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct ProjectChange {
    /// The name to show.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Who may see it.
    pub visibility: Option<Visibility>,
    /// Who may use its packages.
    pub package_access: Option<PackageAccess>,
    /// Who may use its container images.
    pub image_access: Option<PackageAccess>,
    /// How packages are handled, where it differs from its group.
    pub packages: Option<PackageSettings>,
    /// Which tags of its container images go by themselves.
    pub(crate) containers: Option<ContainerChange>,
}

impl Authorised<Group, Manage> {
    /// Makes a project in this group.
    pub(crate) async fn create_project(&self, new: NewProject) -> Result<Project, ApiError> {
        let creator = self.caller().user().map(|user| user.id);
        transact(self, async |mut txn: Txn, parent: Group| {
            let project = create(&mut txn, &parent, new.clone(), creator, self.now()).await?;
            let act = Act::new("project.created").with("visibility", project.visibility);
            tell(&mut txn, self.access(), &project, act);
            Ok((txn, project))
        })
        .await
    }
}

impl Authorised<Project, Manage> {
    /// Changes the project.
    pub(crate) async fn change(&self, change: &ProjectChange) -> Result<Project, ApiError> {
        transact(self, async |mut txn: Txn, mut project: Project| {
            let before = project.clone();
            if let Some(visibility) = change.visibility {
                if let Some(parent) = group::by_id(&mut txn, project.root(), project.group()).await? {
                    group::check_visibility(visibility, &parent)?;
                }
                project.visibility = visibility;
            }
            if let Some(name) = &change.name {
                project.name.clone_from(name);
            }
            if let Some(description) = &change.description {
                project.description.clone_from(description);
            }
            let image_access = project.image_access();
            if let Some(access) = change.package_access {
                project.package_access = access;
            }
            project.image_access = Some(change.image_access.unwrap_or(image_access));
            if let Some(packages) = &change.packages {
                project.packages.clone_from(packages);
            }
            let (before_cleanup, _): (ContainerPolicy, _) = cleanup::of_project(&mut txn, &project).await?;
            let mut cleanup = before_cleanup.clone();
            if let Some(change) = &change.containers {
                change.apply(&mut cleanup)?;
                cleanup::set(&mut txn, &project, &cleanup, self.now()).await?;
            }
            txn.put_record(&keys::project(project.root(), project.id), &project);
            let act = Act::new("project.changed")
                .changing("visibility", &before.visibility, &project.visibility)
                .changing("name", &before.name, &project.name)
                .changing("description", &before.description, &project.description)
                .changing("package access", &before.package_access, &project.package_access)
                .changing("image access", &before.image_access(), &project.image_access())
                .changing("packages", &before.packages, &project.packages)
                .changing("cleanup of images", &before_cleanup, &cleanup);
            tell(&mut txn, self.access(), &project, act);
            Ok((txn, project))
        })
        .await
    }
}

impl Authorised<Project, Own> {
    /// Deletes the project: it vanishes at once, and what it had is taken apart afterwards.
    pub(crate) async fn delete(&self) -> Result<(), ApiError> {
        transact(self, async |mut txn: Txn, project: Project| {
            let root = project.root();
            tell(&mut txn, self.access(), &project, Act::new("project.deleted"));
            txn.delete(&keys::path(&project.path.folded()));
            txn.delete(&keys::project_roots().key(project.id));
            txn.delete(&keys::project(root, project.id));
            txn.delete(&keys::child(root, project.group(), Member::Project(project.id)));
            let store = self.access().app().store();
            let work = Purge::Project {
                project: project.id,
                ancestors: project.ancestors,
            };
            purge::order(&mut txn, store, root, &work).await?;
            Ok((txn, ()))
        })
        .await
    }
}

impl Access {
    /// The projects that a user is a member of, directly or through a group; with `owned`, only
    /// those that the user owns.
    pub(crate) async fn projects_of_member(&self, user: u64, owned: bool) -> Result<Vec<Project>, ApiError> {
        let mut found = BTreeMap::new();
        let mut groups = Vec::new();
        for joined in member::joined(&mut self.snapshot().clone(), user, self.now()).await? {
            match joined.place.kind {
                PlaceKind::Group => groups.push((joined.place.root, joined.place.id)),
                PlaceKind::Project => {
                    let project =
                        by_id(&mut self.snapshot().clone(), joined.place.root, joined.place.id).await?;
                    found.extend(project.map(|project| (project.id, project)));
                }
            }
        }
        while let Some((root, group)) = groups.pop() {
            let children = keys::children(root, group);
            let mut after = None;
            loop {
                let entries = next_entries(self.snapshot(), &children, &mut after).await?;
                if entries.is_empty() {
                    break;
                }
                for entry in entries {
                    match Member::of_item(&entry.item) {
                        Some(Member::Group(id)) => groups.push((root, id)),
                        Some(Member::Project(id)) if !found.contains_key(&id) => {
                            let project = by_id(&mut self.snapshot().clone(), root, id).await?;
                            found.extend(project.map(|project| (project.id, project)));
                        }
                        _ => {}
                    }
                }
            }
        }
        let mut kept = Vec::new();
        for project in found.into_values() {
            let owns = !owned || {
                let reader = &mut self.snapshot().clone();
                let role =
                    member::role_in(reader, &project.ancestors, Some(project.id), user, self.now()).await?;
                role == Some(Role::Owner)
            };
            if owns && self.may::<See, _>(&project).await? {
                kept.push(project);
            }
        }
        Ok(kept)
    }

    /// Calls `row` with every project that the caller may see, in the order of their numbers,
    /// until it says that it has enough.
    pub(crate) async fn each_project(&self, mut row: impl FnMut(Project) -> bool) -> Result<(), ApiError> {
        self.check_surface()?;
        let mut after = None;
        loop {
            let entries = next_entries(self.snapshot(), &keys::project_roots(), &mut after).await?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                let (Some(id), root) = (keys::number(&entry.item), entry.record::<Number>()?.0) else {
                    continue;
                };
                let Some(project) = by_id(&mut self.snapshot().clone(), root, id).await? else {
                    continue;
                };
                if self.may::<See, _>(&project).await? && !row(project) {
                    return Ok(());
                }
            }
        }
    }
}

impl<A: Action> Authorised<Project, A> {
    /// The caller's own role in the project, and in the groups above it.
    pub(crate) async fn own_roles(&self) -> Result<(Option<Role>, Option<Role>), ApiError> {
        let Some(user) = self.caller().user() else {
            return Ok((None, None));
        };
        let (project, reader) = (self.project(), &mut self.snapshot().clone());
        let above = member::role_in(reader, &project.ancestors, None, user.id, self.now()).await?;
        let own = keys::members(project.root(), Member::Project(project.id)).key(user.id);
        let own: Option<Membership> = reader.read(&own).await?;
        Ok((own.map(|membership| membership.role), above))
    }
}

impl<A: Action> Authorised<Group, A> {
    /// The projects of this group, and with `below` of the groups below it, that the caller may
    /// do `A` in, one at a time.
    pub(crate) fn walk_projects(&self, below: bool) -> GroupProjects<'_, A> {
        GroupProjects {
            of: self,
            below,
            groups: vec![self.group().id],
            at: None,
        }
    }
}

/// Walks over the projects of a group.
pub(crate) struct GroupProjects<'a, A> {
    of: &'a Authorised<Group, A>,
    below: bool,
    /// Groups that are still to be walked over; one of them at a time, so a deep tree costs no
    /// more than a path through it.
    groups: Vec<u64>,
    at: Option<(u64, Option<bytes::Bytes>)>,
}

impl<A: Action> GroupProjects<'_, A> {
    /// The next few projects; empty when there are no more.
    pub(crate) async fn next(&mut self) -> Result<Vec<Authorised<Project, A>>, ApiError> {
        let root = self.of.group().root();
        loop {
            let Some((group, mut after)) = self.at.take().or_else(|| self.groups.pop().map(|id| (id, None)))
            else {
                return Ok(Vec::new());
            };
            let children = keys::children(root, group);
            let entries = next_entries(self.of.snapshot(), &children, &mut after).await?;
            if entries.is_empty() {
                continue;
            }
            self.at = Some((group, after));
            let mut found = Vec::new();
            for entry in entries {
                match Member::of_item(&entry.item) {
                    Some(Member::Group(id)) if self.below => self.groups.push(id),
                    Some(Member::Project(id)) => {
                        let project = by_id(&mut self.of.snapshot().clone(), root, id).await?;
                        if let Some(project) = project {
                            found.extend(self.of.access().readable::<A>(project).await?);
                        }
                    }
                    _ => {}
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Project>("project");
    }
}
