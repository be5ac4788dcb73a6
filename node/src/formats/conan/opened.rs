//! A reference in a transaction: which revisions it has, and which of a line is the newest.

use bytes::Bytes;
use cairn_cluster::{Scan, record};

use super::names::{INFO, Line, Reference, Revised, Revision};
use super::records::{InfoNotes, Kept, Keys, RevisionNotes, VersionNotes, decode, line_prefix, time_of};
use crate::http::error::ApiError;
use crate::registry::package::{Edit, NewVersion, Package, Reuse, Status, Version};

/// A reference that is there, in a transaction.
pub(super) struct Opened {
    pub(super) package: Package,
    pub(super) version: Version,
    pub(super) keys: Keys,
}

impl Opened {
    pub(super) async fn find(edit: &mut Edit<'_>, reference: &Reference) -> Result<Option<Self>, ApiError> {
        let Some(package) = edit.package(reference.name()).await? else {
            return Ok(None);
        };
        let version = edit.version(&package, &reference.version()).await?;
        Ok(version.map(|version| Self::new(edit, package, version)))
    }

    pub(super) fn new(edit: &Edit<'_>, package: Package, version: Version) -> Self {
        let keys = Keys::new(edit.scope().collection());
        Self {
            package,
            version,
            keys,
        }
    }

    /// Makes the reference. One that was deleted may come again: what it stands for are its revisions.
    pub(super) async fn create(edit: &mut Edit<'_>, reference: &Reference) -> Result<Self, ApiError> {
        let package = edit.claim(reference.name(), reference.name()).await?;
        let new = NewVersion {
            version: reference.version(),
            status: Status::Default,
            metadata: record::encode(&VersionNotes::default()),
        };
        let version = edit.create_version(&package, new, Reuse::Allowed).await?;
        let opened = Self::new(edit, package, version);
        let key = opened.keys.versions().key(opened.version.id);
        edit.txn().put(&key, "");
        Ok(opened)
    }

    pub(super) async fn revision(
        &self,
        edit: &mut Edit<'_>,
        revised: &Revised,
    ) -> Result<Option<RevisionNotes>, ApiError> {
        let key = self.keys.revision(self.version.id, revised);
        Ok(edit.txn().record(&key).await?)
    }

    /// Gives a revision a time that is greater than that of all others of the reference.
    pub(super) async fn note_newest(
        mut self,
        edit: &mut Edit<'_>,
        reference: &Reference,
        revised: &Revised,
        info: String,
    ) -> Result<(), ApiError> {
        if let Some(before) = self.revision(edit, revised).await? {
            let place = self
                .keys
                .place_in_order(self.version.id, &revised.line, before.at_us);
            edit.txn().delete(&place);
        }
        let mut notes: VersionNotes = decode(&self.version.metadata)?;
        let now_us = edit.scope().now().0.saturating_mul(1000);
        notes.last_us = now_us.max(notes.last_us + 1);
        self.version.metadata = record::encode(&notes);
        self.note(edit, reference, revised, notes.last_us);
        if let Line::Package { .. } = revised.line {
            let newest = InfoNotes {
                revision: revised.revision.clone(),
                content: info,
            };
            let key = self.keys.info(self.version.id, &revised.line);
            edit.txn().put_record(&key, &newest);
        }
        self.version.status = Status::Default;
        edit.put_version(&self.package, &self.version)
    }

    /// Puts a revision where it is found.
    fn note(&self, edit: &mut Edit<'_>, reference: &Reference, revised: &Revised, at_us: u64) {
        let (id, txn) = (self.version.id, edit.txn());
        txn.put_record(&self.keys.revision(id, revised), &RevisionNotes { at_us });
        let place = self.keys.place_in_order(id, &revised.line, at_us);
        txn.put(&place, revised.revision.as_str().to_owned());
        if revised.line == Line::Recipe {
            txn.put(&self.keys.reference(reference), "");
        }
    }

    /// The newest revision of a line apart from one, with its time.
    async fn newest(
        &self,
        edit: &mut Edit<'_>,
        line: &Line,
        but: &Revision,
    ) -> Result<Option<(Revised, u64)>, ApiError> {
        let order = self.keys.order(self.version.id);
        let scan = Scan::of(&order).prefix(line_prefix(line)).limit(2);
        for entry in edit.txn().scan(scan).await? {
            let revision: Revision = String::from_utf8_lossy(&entry.value).parse()?;
            if revision != *but {
                return Ok(Some((line.at(revision), time_of(&entry.item))));
            }
        }
        Ok(None)
    }

    /// Takes a revision out of what is found; its time, if it was there. With the last revision of the
    /// recipe, nobody finds the reference.
    pub(super) async fn forget(
        &mut self,
        edit: &mut Edit<'_>,
        revised: &Revised,
    ) -> Result<Option<u64>, ApiError> {
        let Some(RevisionNotes { at_us }) = self.revision(edit, revised).await? else {
            return Ok(None);
        };
        let id = self.version.id;
        edit.txn().delete(&self.keys.revision(id, revised));
        edit.txn()
            .delete(&self.keys.place_in_order(id, &revised.line, at_us));
        let next = self.newest(edit, &revised.line, &revised.revision).await?;
        match (&revised.line, next) {
            (Line::Recipe, None) => {
                let reference = Reference::stored(&self.package.name, &self.version.version)?;
                edit.txn().delete(&self.keys.reference(&reference));
                self.version.status = Status::Hidden;
            }
            (Line::Recipe, Some(_)) => {}
            (line, None) => edit.txn().delete(&self.keys.info(id, line)),
            (line, Some((next, _))) => {
                let key = self.keys.info(id, line);
                let newest = self.info_of(edit, &next).await?;
                edit.txn().put_record(&key, &newest);
            }
        }
        // Two changes of one reference never miss each other.
        edit.put_version(&self.package, &self.version)?;
        Ok(Some(at_us))
    }

    /// Lets a revision be found again whose manifest was put back.
    pub(super) async fn revive(
        mut self,
        edit: &mut Edit<'_>,
        revised: &Revised,
        kept: &Bytes,
    ) -> Result<(), ApiError> {
        if let Line::Package { recipe, .. } = &revised.line
            && self
                .revision(edit, &Line::Recipe.at(recipe.clone()))
                .await?
                .is_none()
        {
            return Err(ApiError::conflict(format!(
                "409 Conflict: the recipe #{recipe} of the package is not there; restore its files first"
            )));
        }
        let mut notes: VersionNotes = decode(&self.version.metadata)?;
        let mut at_us = notes.last_us + 1;
        if let Some(Kept::Revision(then)) = (!kept.is_empty()).then(|| decode(kept)).transpose()? {
            at_us = then;
        }
        notes.last_us = notes.last_us.max(at_us);
        self.version.metadata = record::encode(&notes);
        let reference = Reference::stored(&self.package.name, &self.version.version)?;
        self.note(edit, &reference, revised, at_us);
        let next = self.newest(edit, &revised.line, &revised.revision).await?;
        let is_newest = next.is_none_or(|(_, next)| next < at_us);
        match &revised.line {
            Line::Recipe => self.version.status = Status::Default,
            line if is_newest => {
                let key = self.keys.info(self.version.id, line);
                let newest = self.info_of(edit, revised).await?;
                edit.txn().put_record(&key, &newest);
            }
            Line::Package { .. } => {}
        }
        edit.put_version(&self.package, &self.version)
    }

    pub(super) async fn info_of(
        &self,
        edit: &mut Edit<'_>,
        revised: &Revised,
    ) -> Result<InfoNotes, ApiError> {
        let file = edit
            .file(&self.version, &format!("{}{INFO}", revised.folder()))
            .await?;
        let content = file.map(|file| String::from_utf8_lossy(&file.metadata).into_owned());
        Ok(InfoNotes {
            revision: revised.revision.clone(),
            content: content.unwrap_or_default(),
        })
    }
}

/// Writes what a binary was built with where it is listed, if it is the newest revision.
pub(super) async fn note_info(
    edit: &mut Edit<'_>,
    opened: &Opened,
    revised: &Revised,
    content: &str,
) -> Result<(), ApiError> {
    let key = opened.keys.info(opened.version.id, &revised.line);
    let newest: Option<InfoNotes> = edit.txn().record(&key).await?;
    if let Some(mut newest) = newest.filter(|newest| newest.revision == revised.revision) {
        newest.content = content.to_owned();
        edit.txn().put_record(&key, &newest);
    }
    Ok(())
}
