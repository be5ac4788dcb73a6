//! Packages as lists and the REST API see them: versions by their numbers, over all formats.

use cairn_cluster::{Entry, Scan, Snapshot, Timestamp, Txn};

use crate::auth::action::{Action, Delete, Pull};
use crate::formats::{self, Format};
use crate::http::error::ApiError;
use crate::registry::door::Authorised;
use crate::registry::keys;
use crate::registry::package::record::{File, Location, Package, Status, Version};
use crate::registry::package::{Edit, View};
use crate::registry::project::Project;
use crate::registry::protection::{PackageGuard, Right};
use crate::registry::scope::Scope;
use crate::registry::trust::Origin;

/// How many rows of an index are read at a time.
const PAGE: usize = 1000;

/// A version with the package and the format it belongs to.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The format.
    pub format: String,
    /// The package.
    pub package: Package,
    /// The version.
    pub version: Version,
}

/// Which versions a list is to show.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this format.
    pub format: Option<String>,
    /// Whose package name holds this, in lower case.
    pub name: Option<String>,
    /// Exactly this version.
    pub version: Option<String>,
    /// Of this status; without it, all but hidden ones.
    pub status: Option<Status>,
}

impl Filter {
    fn takes_location(&self, location: &Location) -> bool {
        let name = |part: &String| location.name.to_lowercase().contains(part);
        self.format
            .as_ref()
            .is_none_or(|format| *format == location.format)
            && self.name.as_ref().is_none_or(name)
            && self
                .version
                .as_ref()
                .is_none_or(|version| *version == location.version)
    }

    fn takes_status(&self, status: Status) -> bool {
        match self.status {
            Some(wanted) => wanted == status,
            None => status != Status::Hidden,
        }
    }
}

impl<A: Action> Authorised<Project, A> {
    /// The version of this number, in whatever format; none of another project.
    async fn listed(&self, id: u64) -> Result<Option<Listed>, ApiError> {
        let (root, project) = (self.project().root(), self.project().id);
        let key = keys::version_ids(root, project).key(id);
        match self.snapshot().record::<Location>(&key).await? {
            Some(location) => read(self.snapshot(), self.project(), location).await,
            None => Ok(None),
        }
    }
}

impl Authorised<Project, Pull> {
    /// Calls `row` with the versions of the project that `filter` takes, in the order in which
    /// they were published or the reverse, until it says that it has enough.
    pub(crate) async fn each_version(
        &self,
        filter: &Filter,
        oldest_first: bool,
        mut row: impl FnMut(Listed) -> bool,
    ) -> Result<(), ApiError> {
        let times = keys::version_times(self.project().root(), self.project().id);
        let mut after = None;
        loop {
            let mut scan = Scan::of(&times).limit(PAGE);
            if !oldest_first {
                scan = scan.backwards();
            }
            if let Some(after) = &after {
                scan = scan.after(after);
            }
            let entries = self.snapshot().scan(scan).await?;
            let Some(last) = entries.last() else {
                return Ok(());
            };
            after = Some(last.item.clone());
            for entry in &entries {
                let location: Location = entry.record()?;
                if !filter.takes_location(&location) {
                    continue;
                }
                let listed = read(self.snapshot(), self.project(), location).await?;
                if let Some(listed) = listed.filter(|listed| filter.takes_status(listed.version.status))
                    && !row(listed)
                {
                    return Ok(());
                }
            }
        }
    }

    /// The version of this number, unless it is hidden.
    pub(crate) async fn version(&self, id: u64) -> Result<Listed, ApiError> {
        let listed = self.listed(id).await?;
        listed
            .filter(|listed| listed.version.status != Status::Hidden)
            .ok_or_else(unknown)
    }

    /// Other versions of the same package, up to `limit`.
    pub(crate) async fn siblings(&self, of: &Listed, limit: usize) -> Result<Vec<Version>, ApiError> {
        let Some(format) = formats::by_name(&of.format) else {
            return Ok(Vec::new());
        };
        let scope = self.scope(format.name());
        let mut versions = View::of(&scope).versions(&of.package, None, limit).await?;
        versions.retain(|version| version.id != of.version.id && version.status != Status::Hidden);
        Ok(versions)
    }

    /// Calls `row` with every file of a version: those of today, then those they replaced.
    pub(crate) async fn each_file(&self, of: &Listed, mut row: impl FnMut(File)) -> Result<(), ApiError> {
        let (root, project) = (self.project().root(), self.project().id);
        let id = of.version.id;
        for files in [
            keys::files(root, project, id),
            keys::older_files(root, project, id),
        ] {
            let mut after: Option<bytes::Bytes> = None;
            loop {
                let mut scan = Scan::of(&files).limit(PAGE);
                if let Some(after) = &after {
                    scan = scan.after(after);
                }
                let entries = self.snapshot().scan(scan).await?;
                let Some(last) = entries.last() else {
                    break;
                };
                after = Some(last.item.clone());
                for file in entries.iter().map(Entry::record) {
                    row(file?);
                }
            }
        }
        Ok(())
    }

    /// The file of this number in a version.
    pub(crate) async fn file(&self, of: &Listed, id: u64) -> Result<File, ApiError> {
        let (root, project) = (self.project().root(), self.project().id);
        let names = keys::file_ids(root, project, of.version.id);
        let name = self.snapshot().get(&names.key(id)).await?.ok_or_else(unknown)?;
        let current = keys::files(root, project, of.version.id).key(&name.value);
        let current: Option<File> = self.snapshot().record(&current).await?;
        if let Some(file) = current.filter(|file| file.id == id) {
            return Ok(file);
        }
        let older = keys::older_files(root, project, of.version.id).key(id);
        self.snapshot().record(&older).await?.ok_or_else(unknown)
    }

    /// Whether the caller may delete a version: by its role, and by the rules that protect it.
    pub(crate) async fn may_delete(&self, of: &Listed) -> Result<bool, ApiError> {
        if !self.may::<Delete>().await? {
            return Ok(false);
        }
        let reader = &mut self.snapshot().clone();
        let guard = PackageGuard::of(reader, self.project(), self.caller(), self.now()).await?;
        Ok(guard.allows(&of.format, &of.package.name, Right::Delete))
    }

    /// The job that published a version, as its issuer described it; none if it was no job.
    pub(crate) async fn published_by(&self, of: &Listed) -> Result<Option<Origin>, ApiError> {
        let key = keys::published_by(self.project().root(), self.project().id, of.version.id);
        Ok(self.snapshot().record(&key).await?)
    }

    /// When a file of a version was last downloaded, to about ten minutes.
    pub(crate) async fn downloaded_at(&self, of: &Listed) -> Result<Option<Timestamp>, ApiError> {
        let key = keys::pulled(self.project().root(), self.project().id, of.version.id);
        let at = self.snapshot().number(&key).await?;
        Ok((at > 0).then_some(Timestamp(at)))
    }
}

impl Authorised<Project, Delete> {
    /// Removes the version of this number, as its format removes one.
    ///
    /// `unless_since` is a time: if the version was published after it, nothing is removed. With
    /// `is_final`, it cannot be restored.
    pub(crate) async fn delete_version(
        &self,
        id: u64,
        unless_since: Option<Timestamp>,
        is_final: bool,
    ) -> Result<(), ApiError> {
        let listed = self.listed(id).await?.ok_or_else(unknown)?;
        let format = known(&listed)?;
        let scope = self.scope(format.name());
        scope
            .transact(async |mut txn: Txn| {
                let mut edit = Edit::new(&scope, &mut txn).finally(is_final);
                let (package, version) = again(&mut edit, &listed).await?;
                // Dates of HTTP have whole seconds.
                if unless_since.is_some_and(|since| version.created_at.0 / 1000 > since.0 / 1000) {
                    return Err(ApiError::new(
                        crate::http::error::ErrorKind::PreconditionFailed,
                        "412 Precondition Failed",
                    ));
                }
                format.delete_version(&mut edit, package, version).await?;
                Ok((txn, ()))
            })
            .await
    }

    /// Removes the file of this number from a version; the version stays.
    pub(crate) async fn delete_file(&self, version: u64, file: u64, is_final: bool) -> Result<(), ApiError> {
        let listed = self.listed(version).await?.ok_or_else(unknown)?;
        let format = known(&listed)?;
        let scope: Scope = self.scope(format.name());
        scope
            .transact(async |mut txn: Txn| {
                let mut edit = Edit::new(&scope, &mut txn).finally(is_final);
                let (package, version) = again(&mut edit, &listed).await?;
                let deleted = edit.delete_file_numbered(&version, file).await?;
                let deleted = deleted.ok_or_else(unknown)?;
                format.file_deleted(&mut edit, package, version, deleted).await?;
                Ok((txn, ()))
            })
            .await
    }
}

async fn again(edit: &mut Edit<'_>, listed: &Listed) -> Result<(Package, Version), ApiError> {
    let package = edit.package(&listed.package.name).await?.ok_or_else(unknown)?;
    let version = edit.version(&package, &listed.version.version).await?;
    let version = version
        .filter(|version| version.id == listed.version.id)
        .ok_or_else(unknown)?;
    Ok((package, version))
}

fn known(listed: &Listed) -> Result<&'static dyn Format, ApiError> {
    formats::by_name(&listed.format)
        .ok_or_else(|| ApiError::conflict(format!("this node does not speak {}", listed.format)))
}

/// Reads what a location leads to, unless it was deleted.
async fn read(
    snapshot: &Snapshot,
    project: &Project,
    location: Location,
) -> Result<Option<Listed>, ApiError> {
    let (root, project) = (project.root(), project.id);
    let key = keys::package(root, project, &location.format, &location.name);
    let package: Option<Package> = snapshot.record(&key).await?;
    let live = |package: &Package| package.deleted_at.is_none() && package.key == location.package_key;
    let Some(package) = package.filter(live) else {
        return Ok(None);
    };
    let versions = keys::versions(root, project, package.key);
    let version: Option<Version> = snapshot.record(&versions.key(&location.version)).await?;
    Ok(version.map(|version| Listed {
        format: location.format,
        package,
        version,
    }))
}

fn unknown() -> ApiError {
    ApiError::not_found("404 Not Found")
}
