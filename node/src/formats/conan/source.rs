//! What is there of a reference, and the documents that clients ask for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use cairn_cluster::Scan;
use serde_json::{Map, json};

use super::artifact::Info;
use super::names::{FilePath, Line, Reference, Revised, Revision};
use super::pattern::Pattern;
use super::records::{InfoNotes, Keys, RevisionNotes, line_prefix, packages_prefix, reference_of, time_of};
use super::store::missing;
use crate::auth::Pull;
use crate::formats::place::Place;
use crate::http::assembled::{Assemble, state_tag};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{File, Version, View};

/// How many items are read at a time.
const PAGE: usize = 256;

/// A reference that is there, on the view of its scope.
#[derive(Clone)]
pub(super) struct Source {
    scope: Scope,
    reference: Reference,
    version: Version,
    keys: Keys,
}

/// A revision, with its time in microseconds.
pub(super) type Timed = (Revision, u64);

impl Source {
    pub(super) async fn find(scope: &Scope, reference: &Reference) -> Result<Self, ApiError> {
        let found = Self::look(scope, reference).await?;
        found.ok_or_else(|| missing(reference))
    }

    async fn look(scope: &Scope, reference: &Reference) -> Result<Option<Self>, ApiError> {
        let view = View::of(scope);
        let Some(package) = view.package(reference.name()).await? else {
            return Ok(None);
        };
        let version = view.version(&package, &reference.version()).await?;
        Ok(version.map(|version| Self {
            scope: scope.clone(),
            reference: reference.clone(),
            version,
            keys: Keys::new(scope.collection()),
        }))
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    fn missing(&self, what: impl std::fmt::Display) -> ApiError {
        missing(format_args!("{}{what}", self.reference))
    }

    /// Makes sure that a revision is complete, and so is what a binary was made of.
    pub(super) async fn check(&self, revised: &Revised) -> Result<(), ApiError> {
        self.check_recipe(&revised.line).await?;
        let key = self.keys.revision(self.version.id, revised);
        match self.scope.snapshot().record::<RevisionNotes>(&key).await? {
            Some(_) => Ok(()),
            None => Err(self.missing(revised)),
        }
    }

    async fn check_recipe(&self, line: &Line) -> Result<(), ApiError> {
        match line {
            Line::Recipe => Ok(()),
            Line::Package { recipe, .. } => Box::pin(self.check(&Line::Recipe.at(recipe.clone()))).await,
        }
    }

    /// Some of the revisions of a line from the newest, after a time.
    async fn some(&self, line: &Line, after: Option<u64>, limit: usize) -> Result<Vec<Timed>, ApiError> {
        let order = self.keys.order(self.version.id);
        let prefix = line_prefix(line);
        let mut scan = Scan::of(&order).prefix(&prefix).limit(limit);
        if let Some(after) = after {
            scan = scan.after([prefix.as_slice(), &(u64::MAX - after).to_be_bytes()].concat());
        }
        let mut found = Vec::new();
        for entry in self.scope.snapshot().scan(scan).await? {
            let revision = String::from_utf8_lossy(&entry.value).parse()?;
            found.push((revision, time_of(&entry.item)));
        }
        Ok(found)
    }

    /// The newest revision of a line.
    pub(super) async fn latest(&self, line: &Line) -> Result<Timed, ApiError> {
        self.check_recipe(line).await?;
        let newest = self.some(line, None, 1).await?.pop();
        newest.ok_or_else(|| self.missing(format_args!(": {}", line.key())))
    }

    /// The revision that clients see which know of none: theirs, or the newest.
    pub(super) async fn unrevised(&self, line: &Line) -> Result<Revised, ApiError> {
        let own = line.at(Revision::unrevised());
        let key = self.keys.revision(self.version.id, &own);
        if self.scope.snapshot().get(&key).await?.is_some() {
            return Ok(own);
        }
        let (newest, _) = self.latest(line).await?;
        Ok(line.at(newest))
    }

    /// All files of a revision, in the order of their paths.
    pub(super) async fn files(&self, revised: &Revised) -> Result<Vec<(FilePath, File)>, ApiError> {
        self.check(revised).await?;
        let (view, folder) = (View::of(&self.scope), revised.folder());
        let (mut files, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = view
                .files_below(&self.version, &folder, after.as_deref(), PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(files);
            };
            after = Some(last.name.clone());
            for file in page {
                let path = file.name.strip_prefix(&folder).unwrap_or_default().parse();
                files.extend(path.ok().map(|path| (path, file)));
            }
        }
    }

    /// A file of a revision.
    pub(super) async fn file(&self, revised: &Revised, path: &FilePath) -> Result<File, ApiError> {
        self.check(revised).await?;
        let name = format!("{}{path}", revised.folder());
        let file = View::of(&self.scope).file(&self.version, &name).await?;
        file.ok_or_else(|| self.missing(format_args!("{revised}: {path}")))
    }

    /// Names the state that the list of binaries is made from.
    pub(super) async fn binaries_tag(&self, recipe: &Revision) -> Result<String, ApiError> {
        let infos = self.keys.infos(self.version.id);
        let revision = View::of(&self.scope).revision_of(&infos).await?;
        Ok(state_tag(recipe.as_str(), [(self.version.id, revision)]))
    }

    /// Names the state that the list of revisions is made from.
    pub(super) async fn revisions_tag(&self, line: &Line) -> Result<String, ApiError> {
        let order = self.keys.order(self.version.id);
        let revision = View::of(&self.scope).revision_of(&order).await?;
        Ok(state_tag(&line.key(), [(self.version.id, revision)]))
    }
}

/// `2026-11-20T12:35:46.123456+00:00`
pub(super) fn iso_us(at_us: u64) -> String {
    let at = i64::try_from(at_us).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_microsecond(at).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string()
}

/// The revisions of a recipe or a binary, as a document in the making.
#[derive(Clone)]
pub(super) struct Revisions {
    source: Source,
    line: Line,
    /// The time of the last one that was written.
    after: Option<u64>,
    is_done: bool,
}

impl Revisions {
    pub(super) fn of(source: Source, line: Line) -> Self {
        Self {
            source,
            line,
            after: None,
            is_done: false,
        }
    }

    /// What is there of the reference or the binary, in front of its list.
    fn head(&self) -> String {
        let shown = match &self.line {
            Line::Recipe => self.source.reference.to_string(),
            Line::Package { recipe, id } => format!("{}#{recipe}:{id}", self.source.reference),
        };
        format!("{{\"reference\":{},\"revisions\":[", json!(shown))
    }
}

impl Assemble for Revisions {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        let is_first = self.after.is_none();
        let found = self.source.some(&self.line, self.after, PAGE).await?;
        let mut out = match is_first {
            true => self.head(),
            false => String::new(),
        };
        for (at, (revision, at_us)) in found.iter().enumerate() {
            if at > 0 || !is_first {
                out.push(',');
            }
            out.push_str(&json!({"revision": revision.as_str(), "time": iso_us(*at_us)}).to_string());
            self.after = Some(*at_us);
        }
        if found.len() < PAGE {
            out.push_str("]}");
            self.is_done = true;
        }
        Ok(Some(out))
    }
}

/// Which binaries there are of a revision of a recipe, as a document in the making.
#[derive(Clone)]
pub(super) struct Binaries {
    source: Source,
    recipe: Revision,
    /// Whether only their ids are asked for.
    ids_only: bool,
    after: Option<Bytes>,
    is_done: bool,
}

impl Binaries {
    pub(super) fn of(source: Source, recipe: Revision, ids_only: bool) -> Self {
        Self {
            source,
            recipe,
            ids_only,
            after: None,
            is_done: false,
        }
    }
}

impl Assemble for Binaries {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        let infos = self.source.keys.infos(self.source.version.id);
        let prefix = packages_prefix(&self.recipe);
        let mut scan = Scan::of(&infos).prefix(&prefix).limit(PAGE);
        if let Some(after) = &self.after {
            scan = scan.after(after);
        }
        let found = self.source.scope.snapshot().scan(scan).await?;
        let mut out = String::new();
        for entry in &found {
            out.push(if self.after.is_none() { '{' } else { ',' });
            let id = entry.item.get(prefix.len()..).unwrap_or_default();
            let info = match self.ids_only {
                true => json!({}),
                false => described(&entry.record()?),
            };
            out.push_str(&format!("{}:{info}", json!(String::from_utf8_lossy(id))));
            self.after = Some(entry.item.clone());
        }
        if found.len() < PAGE {
            out.push_str(if self.after.is_none() { "{}" } else { "}" });
            self.is_done = true;
        }
        Ok(Some(out))
    }
}

/// What a binary was built with: as it was sent, which is what clients read, and taken apart. The hash
/// of the recipe is not among what is taken apart: Conan 2 leaves out what has one.
fn described(info: &InfoNotes) -> serde_json::Value {
    let parsed = Info::read(&info.content).unwrap_or_default();
    json!({
        "content": info.content,
        "settings": parsed.settings,
        "options": parsed.options,
        "requires": parsed.requires,
    })
}

/// The references of one project, in their order, as far as they were read.
#[derive(Clone)]
struct Listed {
    scope: Scope,
    references: VecDeque<(Bytes, Reference)>,
    after: Option<Bytes>,
    is_read: bool,
}

/// The references that a pattern finds, as a document in the making.
#[derive(Clone)]
pub(super) struct References {
    place: Arc<Place<Pull>>,
    pattern: Option<Pattern>,
    /// At the instance a reference is where its user says.
    of_instance: bool,
    listed: Vec<Listed>,
    page: usize,
    /// Whose the packages of a name are, as it was found last.
    owner: Option<(String, Option<u64>)>,
    last: Option<Reference>,
    is_begun: bool,
    is_done: bool,
}

impl References {
    pub(super) fn of(
        place: Arc<Place<Pull>>,
        scopes: Vec<Scope>,
        pattern: Option<Pattern>,
        of_instance: bool,
    ) -> Self {
        let page = (PAGE / scopes.len().max(1)).max(4);
        let listed = scopes.into_iter().map(|scope| Listed {
            scope,
            references: VecDeque::new(),
            after: None,
            is_read: false,
        });
        Self {
            place,
            pattern,
            of_instance,
            listed: listed.collect(),
            page,
            owner: None,
            last: None,
            is_begun: false,
            is_done: false,
        }
    }

    /// Names the state of what is listed.
    pub(super) async fn tag(name: &str, scopes: &[Scope]) -> Result<String, ApiError> {
        let mut state = Vec::with_capacity(scopes.len());
        for scope in scopes {
            let references = Keys::new(scope.collection()).references();
            let revision = View::of(scope).revision_of(&references).await?;
            state.push((scope.project().id, revision));
        }
        Ok(state_tag(name, state))
    }

    /// The next reference of any project, and the place of that among them.
    async fn pop(&mut self) -> Result<Option<(usize, Reference)>, ApiError> {
        let prefix = self.pattern.as_ref().map(Pattern::prefix).unwrap_or_default();
        let mut least: Option<(usize, &Bytes)> = None;
        for listed in &mut self.listed {
            listed.fill(prefix, self.page).await?;
        }
        for (at, listed) in self.listed.iter().enumerate() {
            if let Some((item, _)) = listed.references.front()
                && least.is_none_or(|(_, known)| item < known)
            {
                least = Some((at, item));
            }
        }
        let Some(at) = least.map(|(at, _)| at) else {
            return Ok(None);
        };
        let next = self.listed[at].references.pop_front();
        Ok(next.map(|(_, reference)| (at, reference)))
    }

    /// Whether a reference of a project is the one that is found here by its name.
    async fn is_found(&mut self, at: usize, reference: &Reference) -> Result<bool, ApiError> {
        if self
            .pattern
            .as_ref()
            .is_some_and(|pattern| !pattern.matches(&reference.to_string()))
        {
            return Ok(false);
        }
        let project = self.listed[at].scope.project();
        if self.of_instance {
            let named = reference.project();
            return Ok(named.is_some_and(|path| path.folded() == project.path.folded()));
        }
        if self.place.project().is_some() {
            return Ok(true);
        }
        let (id, name) = (project.id, reference.name());
        let known = self.owner.as_ref().filter(|(known, _)| known == name);
        let owner = match known {
            Some((_, owner)) => *owner,
            None => {
                let first = self.place.first_named(name).await?;
                let owner = first.map(|(scope, _)| scope.project().id);
                self.owner = Some((name.to_owned(), owner));
                owner
            }
        };
        Ok(owner == Some(id))
    }
}

impl Listed {
    /// Makes sure that something is read, if there is anything more.
    async fn fill(&mut self, prefix: &str, page: usize) -> Result<(), ApiError> {
        if !self.references.is_empty() || self.is_read {
            return Ok(());
        }
        let all = Keys::new(self.scope.collection()).references();
        let mut scan = Scan::of(&all).prefix(prefix).limit(page);
        if let Some(after) = &self.after {
            scan = scan.after(after);
        }
        let found = self.scope.snapshot().scan(scan).await?;
        self.is_read = found.len() < page;
        self.after = found.last().map(|entry| entry.item.clone());
        for entry in found {
            let reference = reference_of(&entry.item);
            self.references
                .extend(reference.map(|reference| (entry.item, reference)));
        }
        Ok(())
    }
}

impl Assemble for References {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        let mut out = String::new();
        if !std::mem::replace(&mut self.is_begun, true) {
            out.push_str("{\"results\":[");
        }
        for _ in 0..PAGE {
            let Some((at, reference)) = self.pop().await? else {
                out.push_str("]}");
                self.is_done = true;
                break;
            };
            if self.is_found(at, &reference).await? {
                if self.last.is_some() {
                    out.push(',');
                }
                out.push_str(&json!(reference.to_string()).to_string());
                self.last = Some(reference);
            }
        }
        Ok(Some(out))
    }
}

/// A map of the files of a revision, with nothing known of them.
pub(super) fn names(files: &[(FilePath, File)]) -> serde_json::Value {
    let files: Map<_, _> = files
        .iter()
        .map(|(path, _)| (path.to_string(), json!({})))
        .collect();
    json!({ "files": files })
}

/// A map of the files of a revision with their MD5s.
pub(super) fn sums(files: &[(FilePath, File)]) -> BTreeMap<String, String> {
    let md5 = |file: &File| file.digests.md5.map(|md5| data_encoding::HEXLOWER.encode(&md5));
    files
        .iter()
        .filter_map(|(path, file)| Some((path.to_string(), md5(file)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_all_that_tells_them_apart() {
        assert_eq!(iso_us(1_795_966_546_123_456), "2026-11-29T15:35:46.123456+00:00");
        assert_eq!(iso_us(1_795_966_546_000_000), "2026-11-29T15:35:46.000000+00:00");
        assert!(iso_us(u64::MAX).starts_with("9999-"));
    }
}
