//! Groups: a tree, whose roots own all data below them.

use cairn_cluster::record::Record;
use cairn_cluster::{ReadError, Scan, Space, Timestamp, Txn};
use serde::{Deserialize, Serialize};

use crate::auth::action::{Action, Own, See};
use crate::auth::role::Role;
use crate::http::error::ApiError;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Access, Authorised, Instance, transact};
use crate::registry::keys::{self, Member};
use crate::registry::member::{self, Membership};
use crate::registry::names::{FullPath, MAX_DEPTH, PathSegment, Reference, Visibility};
use crate::registry::place::{Place, PlaceKind};
use crate::registry::project;
use crate::registry::purge::{self, Purge};
use crate::registry::reader::{Reader, next_entries};
use crate::registry::sequence::{self, Number};
use crate::registry::settings::PackageSettings;

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its number.
    pub id: u64,
    /// The groups above it, from the root down; empty for a root group.
    pub ancestors: Vec<u64>,
    /// Its whole path.
    pub path: FullPath,
    /// The name to show.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Who may see it.
    pub visibility: Visibility,
    /// When it was made.
    pub created_at: Timestamp,
    /// How packages are handled in its projects.
    #[serde(default)]
    pub packages: PackageSettings,
}

impl Record for Group {}

impl Group {
    /// The group at the top of its tree; itself, if it is one.
    pub fn root(&self) -> u64 {
        self.ancestors.first().copied().unwrap_or(self.id)
    }

    /// The group directly above it.
    pub fn parent(&self) -> Option<u64> {
        self.ancestors.last().copied()
    }

    /// The groups whose members are members here: those above it, and itself.
    pub fn chain(&self) -> Vec<u64> {
        let mut chain = self.ancestors.clone();
        chain.push(self.id);
        chain
    }

    /// Where the blobs of its projects lie.
    pub fn space(&self) -> Space {
        Space(self.root())
    }

    /// Where it lies.
    pub fn place(&self) -> Place {
        Place {
            root: self.root(),
            kind: PlaceKind::Group,
            id: self.id,
        }
    }
}

/// A group to be made.
#[derive(Clone, Debug)]
pub struct NewGroup {
    /// The last segment of its path.
    pub path: PathSegment,
    /// The name to show.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Who may see it.
    pub visibility: Visibility,
}

pub(in crate::registry) async fn find<R: Reader>(
    reader: &mut R,
    reference: &Reference,
) -> Result<Option<Group>, ReadError> {
    let (root, id) = match reference {
        Reference::Id(id) => match reader.read::<Number>(&keys::group_roots().key(*id)).await? {
            Some(root) => (root.0, *id),
            None => return Ok(None),
        },
        Reference::Path(path) => match reader.read::<Place>(&keys::path(&path.folded())).await? {
            Some(place) if place.kind == PlaceKind::Group => (place.root, place.id),
            _ => return Ok(None),
        },
    };
    by_id(reader, root, id).await
}

pub(in crate::registry) async fn by_id<R: Reader>(
    reader: &mut R,
    root: u64,
    id: u64,
) -> Result<Option<Group>, ReadError> {
    reader.read(&keys::group(root, id)).await
}

/// Makes a group; a conflict if the path is taken.
pub(in crate::registry) async fn create(
    txn: &mut Txn,
    parent: Option<&Group>,
    new: NewGroup,
    now: Timestamp,
) -> Result<Group, ApiError> {
    let path = match parent {
        Some(parent) => parent.path.child(&new.path),
        None => FullPath::of_root(&new.path),
    };
    let path = path?;
    if path.depth() > MAX_DEPTH {
        return Err(ApiError::bad_request("groups are nested too deeply"));
    }
    if let Some(parent) = parent {
        check_visibility(new.visibility, parent)?;
    }
    claim_path(txn, &path).await?;
    let id = sequence::next(txn, "group").await?;
    let group = Group {
        id,
        ancestors: parent.map(Group::chain).unwrap_or_default(),
        path,
        name: new.name,
        description: new.description,
        visibility: new.visibility,
        created_at: now,
        packages: PackageSettings::default(),
    };
    let root = group.root();
    txn.put_record(&keys::path(&group.path.folded()), &group.place());
    txn.put_record(&keys::group_roots().key(id), &Number(root));
    txn.put_record(&keys::group(root, id), &group);
    match parent {
        Some(parent) => txn.put(&keys::child(root, parent.id, Member::Group(id)), ""),
        None => txn.put(&keys::root_groups().key(id), ""),
    }
    Ok(group)
}

/// Makes sure that nothing can be seen by more than may see the group around it.
pub(in crate::registry) fn check_visibility(visibility: Visibility, parent: &Group) -> Result<(), ApiError> {
    if visibility <= parent.visibility {
        return Ok(());
    }
    let (visibility, around) = (visibility.name(), parent.visibility.name());
    Err(ApiError::invalid_field(
        "visibility_level",
        &format!("{visibility} is not allowed in a {around} group"),
    ))
}

/// Makes sure that nothing else has this path.
pub(in crate::registry) async fn claim_path(txn: &mut Txn, path: &FullPath) -> Result<(), ApiError> {
    match txn.get(&keys::path(&path.folded())).await? {
        None => Ok(()),
        Some(_) => Err(ApiError::invalid_field("path", "has already been taken")),
    }
}

/// What is to be changed of a group; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct GroupChange {
    /// The name to show.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Who may see it.
    pub visibility: Option<Visibility>,
    /// How packages are handled in its projects.
    pub packages: Option<PackageSettings>,
}

impl Authorised<Instance, Own> {
    /// Makes a root group; whoever makes it owns it.
    pub(crate) async fn create_group(&self, new: NewGroup) -> Result<Group, ApiError> {
        transact(self, async |mut txn: Txn, _| {
            let group = create(&mut txn, None, new.clone(), self.now()).await?;
            if let Some(user) = self.caller().user() {
                let owner = Membership::now(Role::Owner, self.now());
                member::put(&mut txn, group.place(), &[], user.id, &owner);
            }
            tell(
                &mut txn,
                self.access(),
                &group,
                Act::new("group.created").with("visibility", group.visibility),
            );
            Ok((txn, group))
        })
        .await
    }
}

impl Authorised<Group, Own> {
    /// Makes a group below this one.
    pub(crate) async fn create_subgroup(&self, new: NewGroup) -> Result<Group, ApiError> {
        transact(self, async |mut txn: Txn, parent: Group| {
            let group = create(&mut txn, Some(&parent), new.clone(), self.now()).await?;
            tell(
                &mut txn,
                self.access(),
                &group,
                Act::new("group.created").with("visibility", group.visibility),
            );
            Ok((txn, group))
        })
        .await
    }

    /// Changes the group.
    pub(crate) async fn change(&self, change: &GroupChange) -> Result<Group, ApiError> {
        transact(self, async |mut txn: Txn, mut group: Group| {
            let before = group.clone();
            if let Some(visibility) = change.visibility {
                check_visibility_change(&mut txn, &group, visibility).await?;
                group.visibility = visibility;
            }
            if let Some(name) = &change.name {
                group.name.clone_from(name);
            }
            if let Some(description) = &change.description {
                group.description.clone_from(description);
            }
            if let Some(packages) = &change.packages {
                group.packages.clone_from(packages);
            }
            txn.put_record(&keys::group(group.root(), group.id), &group);
            let act = Act::new("group.changed")
                .changing("visibility", &before.visibility, &group.visibility)
                .changing("name", &before.name, &group.name)
                .changing("description", &before.description, &group.description)
                .changing("packages", &before.packages, &group.packages);
            tell(&mut txn, self.access(), &group, act);
            Ok((txn, group))
        })
        .await
    }

    /// Deletes the group, if nothing is in it.
    pub(crate) async fn delete(&self) -> Result<(), ApiError> {
        transact(self, async |mut txn: Txn, group: Group| {
            let children = keys::children(group.root(), group.id);
            if !txn.scan(Scan::of(&children).limit(1)).await?.is_empty() {
                return Err(ApiError::conflict(
                    "409 Conflict: the group has projects or groups in it",
                ));
            }
            tell(&mut txn, self.access(), &group, Act::new("group.deleted"));
            txn.delete(&keys::path(&group.path.folded()));
            txn.delete(&keys::group_roots().key(group.id));
            txn.delete(&keys::group(group.root(), group.id));
            if let Some(parent) = group.parent() {
                txn.delete(&keys::child(group.root(), parent, Member::Group(group.id)));
            }
            let store = self.access().app().store();
            purge::order(&mut txn, store, group.root(), &Purge::Group { group: group.id }).await?;
            Ok((txn, ()))
        })
        .await
    }
}

/// A group must not become narrower than what is in it, nor wider than what it is in.
async fn check_visibility_change(
    txn: &mut Txn,
    group: &Group,
    visibility: Visibility,
) -> Result<(), ApiError> {
    let root = group.root();
    if let Some(parent) = group.parent()
        && let Some(parent) = by_id(txn, root, parent).await?
    {
        check_visibility(visibility, &parent)?;
    }
    if visibility >= group.visibility {
        return Ok(());
    }
    let changed = Group {
        visibility,
        ..group.clone()
    };
    for entry in txn.scan(Scan::of(&keys::children(root, group.id))).await? {
        let inner = match Member::of_item(&entry.item) {
            Some(Member::Group(id)) => by_id(txn, root, id).await?.map(|inner| inner.visibility),
            Some(Member::Project(id)) => project::by_id(txn, root, id).await?.map(|inner| inner.visibility),
            None => None,
        };
        if let Some(inner) = inner {
            check_visibility(inner, &changed)?;
        }
    }
    Ok(())
}

impl Access {
    /// Calls `row` with every group that the caller may see, in the order of their numbers,
    /// until it says that it has enough.
    pub(crate) async fn each_group(&self, mut row: impl FnMut(Group) -> bool) -> Result<(), ApiError> {
        self.check_surface()?;
        let mut after = None;
        loop {
            let entries = next_entries(self.snapshot(), &keys::group_roots(), &mut after).await?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                let (Some(id), root) = (keys::number(&entry.item), entry.record::<Number>()?.0) else {
                    continue;
                };
                let Some(group) = by_id(&mut self.snapshot().clone(), root, id).await? else {
                    continue;
                };
                if self.may::<See, _>(&group).await? && !row(group) {
                    return Ok(());
                }
            }
        }
    }
}

impl<A: Action> Authorised<Group, A> {
    /// Calls `row` with the groups directly below this one that the caller may see, in the order
    /// of their numbers.
    pub(crate) async fn each_subgroup(&self, mut row: impl FnMut(Group)) -> Result<(), ApiError> {
        let children = keys::children(self.group().root(), self.group().id);
        let mut after = Some(b"g".to_vec().into());
        loop {
            let entries = next_entries(self.snapshot(), &children, &mut after).await?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                let Some(Member::Group(id)) = Member::of_item(&entry.item) else {
                    return Ok(());
                };
                let found = by_id(&mut self.snapshot().clone(), self.group().root(), id).await?;
                if let Some(group) = found
                    && self.access().may::<See, _>(&group).await?
                {
                    row(group);
                }
            }
        }
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Group>("group");
    }
}
