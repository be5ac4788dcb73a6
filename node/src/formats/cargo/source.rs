//! A crate where a request came in, and the documents that are made from its versions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::names::{CrateName, Version};
use super::shown;
use super::store::{self, PAGE, VersionNotes};
use crate::auth::Action;
use crate::formats::place::Place;
use crate::http::assembled::{Assemble, state_tag};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{self, Package, View};

/// A crate in one project, as of the request's snapshot.
pub(super) struct Source {
    scope: Scope,
    package: Package,
    revision: u64,
}

impl Source {
    /// Finds the crate of this name, in whatever spelling. In a group it is the one that was
    /// there first: nobody can put versions beside another's by publishing to another project.
    pub(super) async fn find<A: Action>(place: &Place<A>, name: &CrateName) -> Result<Self, ApiError> {
        let canonical = name.canonical();
        let Some((scope, package)) = place.first_named(&canonical).await? else {
            return Err(place.missing(store::no_crate(name.as_str())));
        };
        let revision = View::of(&scope).revision(&package).await?;
        Ok(Self {
            scope,
            package,
            revision,
        })
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn package(&self) -> &Package {
        &self.package
    }

    /// The name as it was first published.
    pub(super) fn display_name(&self) -> &str {
        &self.package.display_name
    }

    pub(super) fn view(&self) -> View<'_> {
        View::of(&self.scope)
    }

    /// Names the state that documents about the crate are made from.
    pub(super) fn etag(&self) -> String {
        state_tag(&self.package.name, [(self.scope.project().id, self.revision)])
    }

    /// The version that somebody who writes `asked` means.
    pub(super) async fn version(
        &self,
        asked: &Version,
    ) -> Result<Option<(package::Version, VersionNotes)>, ApiError> {
        let Some(found) = self.view().version(&self.package, &asked.canonical()).await? else {
            return Ok(None);
        };
        let notes: VersionNotes = store::decode(&found.metadata)?;
        Ok(notes.version.is_meant_by(asked).then_some((found, notes)))
    }
}

/// What a document about a crate says of each version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Lines of the index.
    Lines,
    /// JSON, as bots read it.
    Json,
}

/// A document about all versions of a crate, in the making.
pub(super) struct Versions {
    source: Arc<Source>,
    form: Form,
    /// What comes before the first version.
    heading: Option<String>,
    after: Option<String>,
    count: u64,
    is_done: bool,
}

impl Versions {
    /// The crate's file in the index.
    pub(super) fn lines(source: Arc<Source>) -> Self {
        Self::new(source, Form::Lines, None)
    }

    /// Its versions as JSON, after these members of the document.
    pub(super) fn json(source: Arc<Source>, members: Value) -> Self {
        let mut heading = members.to_string();
        heading.pop();
        let separator = if heading.len() > 1 { "," } else { "" };
        heading.push_str(&format!("{separator}\"versions\":["));
        Self::new(source, Form::Json, Some(heading))
    }

    fn new(source: Arc<Source>, form: Form, heading: Option<String>) -> Self {
        Self {
            source,
            form,
            heading,
            after: None,
            count: 0,
            is_done: false,
        }
    }

    fn write(&mut self, version: &package::Version, out: &mut String) -> Result<(), ApiError> {
        let notes: VersionNotes = store::decode(&version.metadata)?;
        match self.form {
            Form::Lines => notes.fragment.render(notes.yanked, version.created_at, out),
            Form::Json => {
                if self.count > 0 {
                    out.push(',');
                }
                out.push_str(&shown::version(self.source.display_name(), version, &notes).to_string());
            }
        }
        self.count += 1;
        Ok(())
    }

    fn end(&mut self, out: &mut String) {
        if self.form == Form::Json {
            out.push_str("],");
            let meta = json!({"meta": {"total": self.count, "next_page": null}}).to_string();
            out.push_str(&meta[1..]);
        }
        self.is_done = true;
    }
}

impl Assemble for Versions {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        let mut out = self.heading.take().unwrap_or_default();
        let source = self.source.clone();
        let page = source
            .view()
            .versions(&source.package, self.after.as_deref(), PAGE)
            .await?;
        for version in &page {
            self.write(version, &mut out)?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE => self.after = Some(last.version.clone()),
            _ => self.end(&mut out),
        }
        Ok(Some(out))
    }
}
