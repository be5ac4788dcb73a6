//! The transactions: publishing a chart and its provenance, and deleting them.
//!
//! A chart becomes visible with its entry in the index of its channel in one transaction, and
//! vanishes from it in the one that lets its file go. Other bytes come under a version that is
//! there only if the project says so: clients remember charts by what the index says of them.

use bytes::Bytes;
use cairn_cluster::record;
use cairn_cluster::{Scan, StoredBlob, Txn};
use data_encoding::HEXLOWER;

use super::NAME;
use super::index;
use super::metadata::Metadata;
use super::names::{self, Channel, ChartName, PROV, Version};
use super::provenance::Provenance;
use super::receive::{Chart, Upload};
use super::records::{Entry, Keys, ProvenanceNotes, VersionNotes, channel_of, decode, file_in};
use crate::auth::{Authorised, Delete, Publish};
use crate::formats::{Progress, Removal};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{self, Edit, File, FilePut, NewFile, NewVersion, Package, Reuse, Status};
use crate::registry::project::Project;
use crate::registry::settings::{DuplicatePolicy, Duplicates};

/// What a project does unless it or a group above it says otherwise: a version stays what it is,
/// and a client that repeats a publish whose answer was lost is not told off.
pub(super) const DEFAULT_DUPLICATES: DuplicatePolicy = DuplicatePolicy::ForbidSameContentOk;

/// The most channels that one version is in.
const MAX_CHANNELS: usize = 50;

/// How many items one transaction removes.
const STEP: usize = 64;

/// The answer to a chart that is not there.
pub(super) fn no_chart() -> ApiError {
    ApiError::not_found("chart not found")
}

/// The answer to a chart that is there already. Scripts look for these words.
fn exists(file: &str) -> ApiError {
    ApiError::conflict(format!("file already exists: {file}"))
}

/// An upload whose blobs are stored, and what the project says of such.
struct Prepared<'a> {
    scope: &'a Scope,
    channel: &'a Channel,
    keys: Keys,
    upload: &'a Upload,
    provenance: Option<StoredBlob>,
    duplicates: Duplicates,
    may_delete: bool,
    /// Whether the caller wants to overwrite what is there.
    force: bool,
}

/// Publishes a chart to a channel, its provenance, or both.
pub(super) async fn publish(
    project: &Authorised<Project, Publish>,
    channel: &Channel,
    upload: &Upload,
    force: bool,
) -> Result<(), ApiError> {
    let scope = project.scope(NAME);
    let provenance = match &upload.provenance {
        Some(provenance) => Some(scope.put_blob(Bytes::from(provenance.text.clone())).await?),
        None => None,
    };
    let prepared = Prepared {
        scope: &scope,
        channel,
        keys: Keys::new(scope.collection()),
        upload,
        provenance,
        duplicates: scope.duplicates(DEFAULT_DUPLICATES).await?,
        // Whoever may delete a version may also bring it back, with any content.
        may_delete: project.may::<Delete>().await?,
        force,
    };
    scope
        .transact(async |mut txn: Txn| {
            prepared.commit_to(&mut txn).await?;
            Ok((txn, ()))
        })
        .await
}

/// The version that an upload is about, in a transaction.
struct Opened {
    package: Package,
    version: package::Version,
    notes: VersionNotes,
}

impl Prepared<'_> {
    async fn commit_to(&self, txn: &mut Txn) -> Result<(), ApiError> {
        let mut edit = Edit::new(self.scope, txn);
        let opened = match (&self.upload.chart, &self.upload.provenance) {
            (Some(chart), _) => self.put_chart(&mut edit, chart).await?,
            (None, Some(provenance)) => self.find(&mut edit, provenance).await?,
            (None, None) => return Ok(()),
        };
        if let (Some(provenance), Some(blob)) = (&self.upload.provenance, &self.provenance) {
            self.put_provenance(&mut edit, &opened, provenance, blob).await?;
        }
        opened.save(&mut edit)
    }

    async fn put_chart(&self, edit: &mut Edit<'_>, chart: &Chart) -> Result<Opened, ApiError> {
        let (name, version) = (&chart.metadata.name, &chart.metadata.version);
        let file = names::file_name(name, version)?;
        let mut opened = self.open(edit, name, version).await?;
        self.refuse_ambiguous(edit, &chart.metadata, &file).await?;
        let channel = self.channel.as_str();
        match opened.notes.channels.get(channel) {
            // With and without a `v` it is one version.
            Some(present) if *present != file => return Err(exists(present)),
            Some(_) => {}
            None => self.refuse_to_enter(&opened)?,
        }
        let stored = file_in(channel, &file);
        let policy = self.policy(edit, &opened, &stored, &chart.blob).await?;
        let sha256 = chart.sha256();
        let entry = Entry {
            chart: name.to_string(),
            version: version.clone(),
            document: index::document(&chart.metadata, &file, &sha256, self.scope.now()),
            file,
            sha256,
            published_at: self.scope.now(),
        };
        let new = NewFile {
            name: &stored,
            blob: &chart.blob,
            metadata: record::encode(&entry),
        };
        match edit.put_file(&opened.version, new, policy).await? {
            FilePut::Refused(_) => return Err(exists(&entry.file)),
            FilePut::Unchanged(_) => return Ok(opened),
            FilePut::Added(_) => {}
        }
        // What was signed about other bytes says nothing about these.
        delete_file(edit, &opened.version, &format!("{stored}{PROV}")).await?;
        opened.notes.channels.insert(channel.into(), entry.file.clone());
        opened.notes.left.remove(channel);
        let (chart, now) = (&opened.package.name, self.scope.now());
        self.keys.put_entry(edit.txn(), channel, chart, &entry, now);
        Ok(opened)
    }

    /// The version of an upload; made if there is none.
    async fn open(
        &self,
        edit: &mut Edit<'_>,
        name: &ChartName,
        version: &Version,
    ) -> Result<Opened, ApiError> {
        let package = edit.claim(&name.canonical(), name.as_str()).await?;
        if package.display_name != name.as_str() {
            return Err(ApiError::conflict(format!(
                "the chart {name} was published as {}",
                package.display_name
            )));
        }
        if let Some(found) = edit.version(&package, &version.canonical()).await? {
            return Opened::new(package, found);
        }
        let new = NewVersion {
            version: version.canonical(),
            status: Status::Default,
            metadata: record::encode(&VersionNotes::default()),
        };
        let reuse = match self.may_delete {
            true => Reuse::Allowed,
            false => Reuse::Refused,
        };
        let created = edit.create_version(&package, new, reuse).await?;
        Opened::new(package, created)
    }

    /// Refuses a version that cannot come into the channel.
    fn refuse_to_enter(&self, opened: &Opened) -> Result<(), ApiError> {
        let (name, version) = (&opened.package.display_name, &opened.version.version);
        if opened.notes.channels.len() >= MAX_CHANNELS {
            return Err(ApiError::bad_request(format!(
                "{name} {version} is in {MAX_CHANNELS} channels already"
            )));
        }
        if opened.notes.left.contains(self.channel.as_str()) && !self.may_delete {
            return Err(ApiError::conflict(format!(
                "{name} {version} was deleted from the channel {} and cannot be published there again",
                self.channel
            )));
        }
        Ok(())
    }

    /// Refuses a chart whose file another one has: `a` 1.0.0-2.0.0 is `a-1.0.0` 2.0.0 by its file.
    async fn refuse_ambiguous(
        &self,
        edit: &mut Edit<'_>,
        chart: &Metadata,
        file: &str,
    ) -> Result<(), ApiError> {
        for (name, version) in names::candidates(file) {
            if (&name, &version) == (&chart.name, &chart.version) {
                continue;
            }
            let key = self
                .keys
                .entry(self.channel.as_str(), &name.canonical(), &version);
            let taken = edit.txn().record::<Entry>(&key).await?;
            if let Some(taken) = taken.filter(|taken| taken.file == file) {
                return Err(ApiError::conflict(format!(
                    "file already exists: {file} is {} {}",
                    taken.chart, taken.version
                )));
            }
        }
        Ok(())
    }

    /// What to do about a file that is there already. A caller who forces it lets go of it first.
    async fn policy(
        &self,
        edit: &mut Edit<'_>,
        opened: &Opened,
        stored: &str,
        blob: &StoredBlob,
    ) -> Result<DuplicatePolicy, ApiError> {
        let policy = self.duplicates.of(&opened.package.name, &opened.version.version);
        if !self.force || policy == DuplicatePolicy::Forbid || policy.allows_other_content() {
            return Ok(policy);
        }
        if let Some(present) = edit.file(&opened.version, stored).await?
            && present.blob != blob.id()
        {
            if !self.may_delete {
                return Err(ApiError::forbidden(
                    "only those who may delete a chart may overwrite it by force",
                ));
            }
            edit.delete_file(&opened.version, &present).await?;
        }
        Ok(policy)
    }

    /// The version that a provenance file is about.
    async fn find(&self, edit: &mut Edit<'_>, provenance: &Provenance) -> Result<Opened, ApiError> {
        let Provenance { name, version, .. } = provenance;
        find(edit, self.channel, name, version)
            .await?
            .ok_or_else(no_chart)
    }

    async fn put_provenance(
        &self,
        edit: &mut Edit<'_>,
        opened: &Opened,
        provenance: &Provenance,
        blob: &StoredBlob,
    ) -> Result<(), ApiError> {
        let channel = self.channel.as_str();
        let (name, version) = match &self.upload.chart {
            Some(chart) => (&chart.metadata.name, &chart.metadata.version),
            None => (&provenance.name, &provenance.version),
        };
        let file = opened.notes.channels.get(channel).ok_or_else(no_chart)?;
        let stored = file_in(channel, file);
        let chart = edit.file(&opened.version, &stored).await?.ok_or_else(no_chart)?;
        let sha256 = HEXLOWER.encode(&chart.digests.sha256);
        provenance.check(name, version, file, &sha256)?;
        let stored = format!("{stored}{PROV}");
        let policy = self.policy(edit, opened, &stored, blob).await?;
        let new = NewFile {
            name: &stored,
            blob,
            metadata: record::encode(&ProvenanceNotes { sha256 }),
        };
        match edit.put_file(&opened.version, new, policy).await? {
            FilePut::Refused(_) => Err(exists(&format!("{file}{PROV}"))),
            FilePut::Added(_) | FilePut::Unchanged(_) => Ok(()),
        }
    }
}

impl Opened {
    fn new(package: Package, version: package::Version) -> Result<Self, ApiError> {
        Ok(Self {
            notes: decode(&version.metadata)?,
            package,
            version,
        })
    }

    /// Takes it out of a channel; the name of the file that it had there.
    fn leave(&mut self, edit: &mut Edit<'_>, channel: &Channel) -> Result<String, ApiError> {
        let file = self
            .notes
            .channels
            .remove(channel.as_str())
            .ok_or_else(no_chart)?;
        self.notes.left.insert(channel.as_str().into());
        let keys = Keys::new(edit.scope().collection());
        let version: Version = self.version.version.parse()?;
        let now = edit.scope().now();
        keys.delete_entry(edit.txn(), channel.as_str(), &self.package.name, &version, now);
        Ok(file)
    }

    /// Writes the version's record, so that two changes of one version never miss each other.
    fn save(mut self, edit: &mut Edit<'_>) -> Result<(), ApiError> {
        self.version.metadata = record::encode(&self.notes);
        edit.put_version(&self.package, &self.version)
    }
}

/// A version that is in a channel.
async fn find(
    edit: &mut Edit<'_>,
    channel: &Channel,
    name: &ChartName,
    version: &Version,
) -> Result<Option<Opened>, ApiError> {
    let Some(package) = edit.package(&name.canonical()).await? else {
        return Ok(None);
    };
    let Some(found) = edit.version(&package, &version.canonical()).await? else {
        return Ok(None);
    };
    let opened = Opened::new(package, found)?;
    let is_in =
        opened.package.display_name == name.as_str() && opened.notes.channels.contains_key(channel.as_str());
    Ok(is_in.then_some(opened))
}

async fn delete_file(edit: &mut Edit<'_>, version: &package::Version, name: &str) -> Result<(), ApiError> {
    match edit.file(version, name).await? {
        Some(file) => edit.delete_file(version, &file).await,
        None => Ok(()),
    }
}

/// Deletes a version from a channel, with its provenance. What is in no other channel is gone.
pub(super) async fn delete(
    scope: &Scope,
    channel: &Channel,
    name: &ChartName,
    version: &Version,
) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let opened = find(&mut edit, channel, name, version).await?;
            let mut opened = opened.ok_or_else(no_chart)?;
            if opened.notes.channels.len() == 1 {
                delete_version(&mut edit, &opened.package, &opened.version).await?;
                return Ok((txn, ()));
            }
            let file = opened.leave(&mut edit, channel)?;
            let stored = file_in(channel.as_str(), &file);
            delete_file(&mut edit, &opened.version, &stored).await?;
            delete_file(&mut edit, &opened.version, &format!("{stored}{PROV}")).await?;
            opened.save(&mut edit)?;
            Ok((txn, ()))
        })
        .await
}

/// Deletes a version as part of a transaction.
pub(super) async fn delete_version(
    edit: &mut Edit<'_>,
    package: &Package,
    version: &package::Version,
) -> Result<(), ApiError> {
    let keys = Keys::new(edit.scope().collection());
    let notes: VersionNotes = decode(&version.metadata)?;
    let parsed: Version = version.version.parse()?;
    let now = edit.scope().now();
    for channel in notes.channels.keys() {
        keys.delete_entry(edit.txn(), channel, &package.name, &parsed, now);
    }
    edit.delete_version(package, version).await
}

/// Mends what is kept about a file that a transaction has deleted: a chart leaves its channel.
pub(super) async fn forget_file(
    edit: &mut Edit<'_>,
    package: Package,
    version: package::Version,
    file: &File,
) -> Result<(), ApiError> {
    let Some(channel) = channel_of(&file.name) else {
        return Ok(());
    };
    // Nothing is kept about provenance, nor about an older file of a name that is there.
    if file.name.ends_with(PROV) || edit.file(&version, &file.name).await?.is_some() {
        return Ok(());
    }
    let mut opened = Opened::new(package, version)?;
    opened.leave(edit, &channel)?;
    delete_file(edit, &opened.version, &format!("{}{PROV}", file.name)).await?;
    opened.save(edit)
}

/// Puts the entries of a version back, from its files.
pub(super) async fn restore_version(
    edit: &mut Edit<'_>,
    package: &Package,
    version: &package::Version,
) -> Result<(), ApiError> {
    let notes: VersionNotes = decode(&version.metadata)?;
    for (channel, file) in &notes.channels {
        let stored = file_in(channel, file);
        if let Some(file) = edit.file(version, &stored).await? {
            put_back(edit, package, channel, &file).await?;
        }
    }
    Ok(())
}

/// Puts the entry of a file back.
async fn put_back(
    edit: &mut Edit<'_>,
    package: &Package,
    channel: &str,
    file: &File,
) -> Result<Entry, ApiError> {
    let keys = Keys::new(edit.scope().collection());
    let entry: Entry = decode(&file.metadata)?;
    let now = edit.scope().now();
    keys.put_entry(edit.txn(), channel, &package.name, &entry, now);
    Ok(entry)
}

/// Puts back what is kept about a file: a chart returns to its channel.
pub(super) async fn restore_file(
    edit: &mut Edit<'_>,
    package: Package,
    version: package::Version,
    file: &File,
) -> Result<(), ApiError> {
    let Some(channel) = channel_of(&file.name) else {
        return Ok(());
    };
    if let Some(chart) = file.name.strip_suffix(PROV) {
        let about: ProvenanceNotes = decode(&file.metadata)?;
        let chart = edit.file(&version, chart).await?;
        if chart.is_none_or(|chart| HEXLOWER.encode(&chart.digests.sha256) != about.sha256) {
            return Err(ApiError::conflict(
                "409 Conflict: the chart that the provenance file is about is not there",
            ));
        }
        return Ok(());
    }
    let mut opened = Opened::new(package, version)?;
    let entry = put_back(edit, &opened.package, channel.as_str(), file).await?;
    opened.notes.channels.insert(channel.as_str().into(), entry.file);
    opened.notes.left.remove(channel.as_str());
    opened.save(edit)
}

/// Takes apart a piece of what the format keeps in a project that was deleted.
pub(super) async fn remove(removal: Removal<'_>) -> Result<Progress, ApiError> {
    let Removal { txn, records, .. } = removal;
    let keys = Keys::new(records);
    let channels = keys.channels();
    let Some(channel) = txn.scan(Scan::of(&channels).limit(1)).await?.pop() else {
        return Ok(Progress::Done);
    };
    let entries = keys.entries(&channel.item);
    let found = txn.scan(Scan::of(&entries).limit(STEP)).await?;
    for item in &found {
        txn.delete(&entries.key(&item.item));
    }
    if found.len() < STEP {
        txn.delete(&channels.key(&channel.item));
        txn.delete(&keys.changed(&channel.item));
    }
    Ok(Progress::More)
}
