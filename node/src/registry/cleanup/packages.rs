//! What a project lets go of its packages: versions by rules of ours, and files by GitLab's rule on
//! duplicates.
//!
//! Versions are looked at package by package. Of those whose names and versions match, the newest
//! few stay, and those that are too young or were downloaded too recently; all that is set must
//! hold for a version to go. Hidden versions stay, because no list shows what would be lost; so does
//! what a dist-tag or the like leads to, and what a rule protects against deletion.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_cluster::record::{self, Record};
use cairn_cluster::{ReadError, Scan, Snapshot, Timestamp, Txn};
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{Kind, Policy, Turn, of_project};
use crate::auth::action::Manage;
use crate::auth::caller::Caller;
use crate::formats::{self, FORMATS, Format};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::door::Authorised;
use crate::registry::expression::{Span, compile};
use crate::registry::keys;
use crate::registry::package::{Edit, File, Package, Status, Version, View};
use crate::registry::project::Project;
use crate::registry::protection::{PackageGuard, Right};
use crate::registry::time::{before, iso};

/// From one turn to the next.
const CADENCE: Duration = Duration::from_secs(12 * 60 * 60);

/// The most versions of a package that are kept by number: a transaction looks at each of them.
const MAX_KEPT: u64 = 1000;

/// The longest expression.
const MAX_PATTERN_BYTES: usize = 1024;

/// How many packages, and how many versions, are read at a time.
const PAGE: usize = 64;

/// How many versions or files one transaction removes; with their blobs it stays far below its limit.
const STEP: usize = 8;

/// Which versions and files go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackagePolicy {
    /// So many files of one name stay in a version; none keeps all.
    pub(crate) keep_files: Option<u64>,
    /// Whether versions go by what follows.
    pub(crate) enabled: bool,
    /// Of these formats; of all if there are none.
    pub(crate) formats: Vec<String>,
    /// Only packages go whose normalised names this expression matches as a whole.
    pub(crate) name_regex: Option<String>,
    /// Packages that this one matches stay.
    pub(crate) name_regex_keep: Option<String>,
    /// Only versions go that this one matches.
    pub(crate) version_regex: Option<String>,
    /// Versions that this one matches stay.
    pub(crate) version_regex_keep: Option<String>,
    /// So many of the newest versions of a package stay.
    pub(crate) keep_n: Option<u64>,
    /// Versions that were published more recently stay: `90d`.
    pub(crate) older_than: Option<String>,
    /// Versions that were downloaded, or published, more recently stay: `180d`.
    pub(crate) not_downloaded_for: Option<String>,
}

impl Record for PackagePolicy {}

impl Policy for PackagePolicy {
    const KIND: Kind = Kind::Packages;

    fn cadence(&self) -> Option<Duration> {
        (self.enabled || self.keep_files.is_some()).then_some(CADENCE)
    }
}

impl PackagePolicy {
    /// Refuses a policy that cannot be understood, or would let everything go.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), ApiError> {
        Rules::of(self, now)?;
        if let Some(unknown) = self.formats.iter().find(|name| formats::by_name(name).is_none()) {
            return Err(ApiError::parameter(format!(
                "formats: there is no format {unknown:.80?}"
            )));
        }
        let limits = [
            self.keep_n.is_some(),
            self.older_than.is_some(),
            self.not_downloaded_for.is_some(),
        ];
        match self.enabled && limits == [false; 3] {
            true => Err(ApiError::unprocessable(
                "a policy without keep_n, older_than and not_downloaded_for would let everything go",
            )),
            false => Ok(()),
        }
    }
}

/// A policy, understood at one time.
struct Rules {
    versions: bool,
    keep_files: Option<usize>,
    formats: Vec<String>,
    name: Matching,
    version: Matching,
    keep_newest: usize,
    published_until: Option<Timestamp>,
    downloaded_until: Option<Timestamp>,
}

/// What must be matched, and what must not.
struct Matching {
    takes: Option<Regex>,
    keeps: Option<Regex>,
}

impl Matching {
    fn of(field: &str, takes: Option<&String>, keeps: Option<&String>) -> Result<Self, ApiError> {
        let read = |field: &str, pattern: Option<&String>| {
            let pattern = pattern.filter(|pattern| !pattern.is_empty());
            let compiled = pattern.map(|pattern| compile(pattern, Span::Whole, MAX_PATTERN_BYTES));
            let compiled = compiled.transpose();
            compiled.map_err(|error| ApiError::parameter(format!("{field} {error}")))
        };
        Ok(Self {
            takes: read(field, takes)?,
            keeps: read(&format!("{field}_keep"), keeps)?,
        })
    }

    fn takes(&self, text: &str) -> bool {
        let matches = |regex: &Regex| regex.is_match(text.as_bytes());
        self.takes.as_ref().is_none_or(matches) && !self.keeps.as_ref().is_some_and(matches)
    }
}

impl Rules {
    fn of(policy: &PackagePolicy, now: Timestamp) -> Result<Self, ApiError> {
        let keep_newest = policy.keep_n.unwrap_or(0);
        if keep_newest > MAX_KEPT {
            return Err(ApiError::parameter(format!("keep_n is at most {MAX_KEPT}")));
        }
        let until = |field: &str, age: &Option<String>| {
            let wrong = || ApiError::parameter(format!("{field} is no age such as 30d or 6 months"));
            let age = age.as_deref();
            age.map(|age| before(now, age).ok_or_else(wrong)).transpose()
        };
        Ok(Self {
            versions: policy.enabled,
            keep_files: policy
                .keep_files
                .map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
            formats: policy.formats.clone(),
            name: Matching::of(
                "name_regex",
                policy.name_regex.as_ref(),
                policy.name_regex_keep.as_ref(),
            )?,
            version: Matching::of(
                "version_regex",
                policy.version_regex.as_ref(),
                policy.version_regex_keep.as_ref(),
            )?,
            keep_newest: usize::try_from(keep_newest).unwrap_or(usize::MAX),
            published_until: until("older_than", &policy.older_than)?,
            downloaded_until: until("not_downloaded_for", &policy.not_downloaded_for)?,
        })
    }

    fn takes_format(&self, format: &str) -> bool {
        self.formats.is_empty() || self.formats.iter().any(|name| name == format)
    }

    /// Whether versions of this package may go.
    fn is_about(&self, found: &Found) -> bool {
        self.versions && self.name.takes(&found.package.name)
    }

    /// Why a version that is not among the newest goes; none if it stays.
    fn why(&self, published_at: Timestamp, downloaded_at: Timestamp) -> Option<String> {
        let used_at = published_at.max(downloaded_at);
        let is_young = self.published_until.is_some_and(|until| published_at > until);
        let is_used = self.downloaded_until.is_some_and(|until| used_at > until);
        if is_young || is_used {
            return None;
        }
        let mut why = Vec::new();
        if self.keep_newest > 0 {
            why.push(format!("not among the newest {}", self.keep_newest));
        }
        if self.published_until.is_some() {
            why.push(format!("published at {}", iso(published_at)));
        }
        if self.downloaded_until.is_some() {
            why.push(match downloaded_at {
                Timestamp(0) => "never downloaded".into(),
                at => format!("last downloaded at {}", iso(at)),
            });
        }
        Some(why.join("; "))
    }
}

/// A version or a file that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Going {
    /// The format.
    pub(crate) format: &'static str,
    /// The package, as it was first named.
    pub(crate) package: String,
    /// The version.
    pub(crate) version: String,
    /// Its number.
    pub(crate) version_id: u64,
    /// The file, if the version stays.
    pub(crate) file: Option<(u64, String)>,
    /// Why.
    pub(crate) why: String,
}

/// What goes if nothing changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The first of them.
    pub(crate) first: Vec<Going>,
    /// How many versions go.
    pub(crate) versions: u64,
    /// How many files go from versions that stay.
    pub(crate) files: u64,
}

/// A package, and where its versions are.
struct Found {
    format: &'static dyn Format,
    scope: Scope,
    package: Package,
    /// Its place in the order in which packages are looked at.
    place: Vec<u8>,
}

impl Found {
    /// A version of it, or a file of one, that goes.
    fn going(&self, version: &Version, file: Option<(u64, String)>, why: String) -> Going {
        Going {
            format: self.format.name(),
            package: self.package.display_name.clone(),
            version: version.version.clone(),
            version_id: version.id,
            file,
            why,
        }
    }
}

/// All packages of a project, one after the other.
struct Packages {
    scope: Scope,
    snapshot: Snapshot,
    formats: VecDeque<&'static dyn Format>,
    after: Option<String>,
    page: VecDeque<Package>,
}

impl Packages {
    /// Those after a place.
    fn after(scope: Scope, snapshot: Snapshot, rules: &Rules, place: &[u8]) -> Self {
        let mut parts = place.splitn(2, |byte| *byte == 0);
        let format = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let name = parts
            .next()
            .map(|name| String::from_utf8_lossy(name).into_owned());
        // The table is in alphabetical order.
        let left = FORMATS
            .iter()
            .copied()
            .filter(|known| known.name() >= format.as_str() && rules.takes_format(known.name()));
        let formats: VecDeque<_> = left.collect();
        let is_begun = formats.front().is_some_and(|first| first.name() == format);
        Self {
            scope,
            snapshot,
            after: name.filter(|_| is_begun),
            formats,
            page: VecDeque::new(),
        }
    }

    async fn next(&mut self) -> Result<Option<Found>, ApiError> {
        while let Some(format) = self.formats.front().copied() {
            let scope = self.scope.in_format(format.name());
            if self.page.is_empty() {
                let view = View::at(&scope, &self.snapshot);
                self.page = view.packages(self.after.as_deref(), PAGE).await?.into();
            }
            if let Some(package) = self.page.pop_front() {
                self.after = Some(package.name.clone());
                let prefix = keys::package_prefix(format.name());
                return Ok(Some(Found {
                    place: [prefix.as_slice(), package.name.as_bytes()].concat(),
                    format,
                    scope,
                    package,
                }));
            }
            self.formats.pop_front();
            self.after = None;
        }
        Ok(None)
    }
}

/// What decides about the versions of one package.
struct Decision<'a> {
    rules: &'a Arc<Rules>,
    found: &'a Found,
    snapshot: &'a Snapshot,
    /// The newest versions, which stay because they are.
    newest: Vec<String>,
    /// When the oldest of them was published; what is older may go.
    spared: Option<(Timestamp, u64)>,
}

impl<'a> Decision<'a> {
    async fn of(rules: &'a Arc<Rules>, found: &'a Found, snapshot: &'a Snapshot) -> Result<Self, ApiError> {
        let mut decision = Self {
            rules,
            found,
            snapshot,
            newest: Vec::new(),
            spared: None,
        };
        if rules.keep_newest == 0 {
            return Ok(decision);
        }
        let mut newest = BTreeMap::new();
        let mut after = None;
        while let Some(page) = decision.page(&mut after).await? {
            for version in page {
                newest.insert((version.created_at, version.id), version.version);
                if newest.len() > rules.keep_newest {
                    newest.pop_first();
                }
            }
        }
        decision.spared = newest.keys().next().copied();
        decision.newest = newest.into_values().collect();
        Ok(decision)
    }

    /// The next versions that the policy is about.
    async fn page(&self, after: &mut Option<String>) -> Result<Option<Vec<Version>>, ApiError> {
        let view = View::at(&self.found.scope, self.snapshot);
        let page = view.versions(&self.found.package, after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        *after = Some(last.version.clone());
        let rules = self.rules.clone();
        let pick = move || {
            page.into_iter()
                .filter(|version| version.status != Status::Hidden && rules.version.takes(&version.version))
                .collect()
        };
        self.found.scope.off_thread(pick).await.map(Some)
    }

    /// Of some versions, those that go.
    async fn going(&self, page: Vec<Version>) -> Result<Vec<(Version, String)>, ApiError> {
        let mut going = Vec::new();
        for version in page {
            let place = (version.created_at, version.id);
            if self.spared.is_some_and(|spared| place >= spared) {
                continue;
            }
            let downloaded_at = Timestamp(self.snapshot.number(&self.pulled(&version)).await?);
            if let Some(why) = self.rules.why(version.created_at, downloaded_at)
                && !self.found.format.is_led_to(&self.found.package, &version)
            {
                going.push((version, why));
            }
        }
        Ok(going)
    }

    fn pulled(&self, version: &Version) -> cairn_cluster::Key {
        let project = self.found.scope.project();
        keys::pulled(project.root(), project.id, version.id)
    }

    /// Removes a version as part of a transaction, if all that decided on it still is so.
    async fn remove(&self, txn: &mut Txn, version: &Version) -> Result<bool, ApiError> {
        let pulled = match txn.get(&self.pulled(version)).await? {
            Some(stored) => Timestamp(record::number(&stored).map_err(ReadError::from)?),
            None => Timestamp::default(),
        };
        if self.rules.why(version.created_at, pulled).is_none() {
            return Ok(false);
        }
        let mut edit = Edit::new(&self.found.scope, txn);
        let Some(package) = edit.package(&self.found.package.name).await? else {
            return Ok(false);
        };
        let current = edit.version(&package, &version.version).await?;
        let current = current.filter(|current| current.id == version.id && current.status != Status::Hidden);
        let Some(current) = current else {
            return Ok(false);
        };
        if self.found.format.is_led_to(&package, &current) {
            return Ok(false);
        }
        self.found
            .format
            .delete_version(&mut edit, package, current)
            .await?;
        Ok(true)
    }

    /// Whether the newest versions are all still there: if not, fewer would stay than should.
    async fn still_holds(&self, txn: &mut Txn) -> Result<bool, ApiError> {
        let mut edit = Edit::new(&self.found.scope, txn);
        for newest in &self.newest {
            if edit.version(&self.found.package, newest).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Files of one version that are not the newest few of their name, the oldest first.
async fn duplicates(
    found: &Found,
    snapshot: &Snapshot,
    version: &Version,
    keep: usize,
) -> Result<Vec<File>, ApiError> {
    let project = found.scope.project();
    let older = keys::older_files(project.root(), project.id, version.id);
    let mut by_name: BTreeMap<String, Vec<File>> = BTreeMap::new();
    let mut after: Option<Bytes> = None;
    loop {
        let mut scan = Scan::of(&older).limit(PAGE);
        if let Some(after) = &after {
            scan = scan.after(after);
        }
        let entries = snapshot.scan(scan).await?;
        let Some(last) = entries.last() else {
            break;
        };
        after = Some(last.item.clone());
        for entry in &entries {
            let file: File = entry.record()?;
            by_name.entry(file.name.clone()).or_default().push(file);
        }
    }
    let mut going = Vec::new();
    for mut files in by_name.into_values() {
        files.sort_by_key(|file| (file.created_at, file.id));
        let newest = View::at(&found.scope, snapshot)
            .file(version, &files[0].name)
            .await?;
        let kept = keep.saturating_sub(usize::from(newest.is_some()));
        files.truncate(files.len().saturating_sub(kept));
        going.extend(files);
    }
    Ok(going)
}

impl Authorised<Project, Manage> {
    /// What a policy would let go now: the first `limit` of it, and how much it is in all.
    pub(crate) async fn plan_cleanup(&self, policy: &PackagePolicy, limit: usize) -> Result<Plan, ApiError> {
        let rules = Arc::new(Rules::of(policy, self.access().now())?);
        let scope = self.scope("");
        let snapshot = self.snapshot().clone();
        let guard = guard(&mut snapshot.clone(), &scope).await?;
        let mut packages = Packages::after(scope, snapshot.clone(), &rules, b"");
        let mut plan = Plan::default();
        while let Some(found) = packages.next().await? {
            if is_protected(&guard, &found) {
                continue;
            }
            let going = plan.add_versions(&rules, &found, &snapshot, limit).await?;
            if let Some(keep) = rules.keep_files {
                plan.add_files(&found, &snapshot, keep, &going, limit).await?;
            }
        }
        Ok(plan)
    }
}

impl Plan {
    /// Adds the versions of a package that go; gives their numbers.
    async fn add_versions(
        &mut self,
        rules: &Arc<Rules>,
        found: &Found,
        snapshot: &Snapshot,
        limit: usize,
    ) -> Result<BTreeSet<u64>, ApiError> {
        let mut going = BTreeSet::new();
        if !rules.is_about(found) {
            return Ok(going);
        }
        let decision = Decision::of(rules, found, snapshot).await?;
        let mut after = None;
        while let Some(page) = decision.page(&mut after).await? {
            for (version, why) in decision.going(page).await? {
                self.versions += 1;
                going.insert(version.id);
                if self.first.len() < limit {
                    self.first.push(found.going(&version, None, why));
                }
            }
        }
        Ok(going)
    }

    /// Adds the files that go from versions of a package, apart from those that go themselves.
    async fn add_files(
        &mut self,
        found: &Found,
        snapshot: &Snapshot,
        keep: usize,
        gone: &BTreeSet<u64>,
        limit: usize,
    ) -> Result<(), ApiError> {
        let view = View::at(&found.scope, snapshot);
        let mut after: Option<String> = None;
        loop {
            let page = view.versions(&found.package, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.version.clone());
            for version in page.iter().filter(|version| !gone.contains(&version.id)) {
                for file in duplicates(found, snapshot, version, keep).await? {
                    self.files += 1;
                    if self.first.len() < limit {
                        let why = format!("not among the newest {keep} of its name");
                        self.first
                            .push(found.going(version, Some((file.id, file.name)), why));
                    }
                }
            }
        }
    }
}

/// What protects packages against everybody who has no role.
async fn guard(snapshot: &mut Snapshot, scope: &Scope) -> Result<PackageGuard, ApiError> {
    let nobody = Caller::anonymous();
    Ok(PackageGuard::of(snapshot, scope.project(), &nobody, scope.now()).await?)
}

fn is_protected(guard: &PackageGuard, found: &Found) -> bool {
    !guard.allows(found.format.name(), &found.package.name, Right::Delete)
}

/// Lets go what the policy of a project says.
pub(super) async fn clean_up(turn: &Turn) -> Result<(), ApiError> {
    let scope = turn.scope();
    let (policy, _): (PackagePolicy, _) = of_project(&mut scope.snapshot().clone(), scope.project()).await?;
    let rules = Arc::new(Rules::of(&policy, scope.now())?);
    let snapshot = scope.latest().await?;
    let guard = guard(&mut snapshot.clone(), scope).await?;
    let mut packages = Packages::after(scope.clone(), snapshot, &rules, turn.cursor());
    let mut looked_at = 0;
    let mut before = turn.cursor().to_vec();
    while let Some(found) = packages.next().await? {
        if !is_protected(&guard, &found) {
            match clean_package(turn, &rules, &found, &before).await {
                // One package that cannot be mended must not keep all others.
                Err(error) if ![ErrorKind::Gone, ErrorKind::Unavailable].contains(&error.kind) => {
                    let (format, package) = (found.format.name(), &found.package.name);
                    warn!(project = %scope.project().path, format, package, error = ?error, "could not clean a package up");
                }
                done => done?,
            }
        }
        before = found.place;
        looked_at += 1;
        if looked_at % PAGE == 0 {
            turn.note(&before).await?;
        }
    }
    Ok(())
}

async fn clean_package(turn: &Turn, rules: &Arc<Rules>, found: &Found, place: &[u8]) -> Result<(), ApiError> {
    if rules.is_about(found) {
        while !remove_versions(turn, rules, found, place).await? {}
    }
    match rules.keep_files {
        Some(keep) => remove_files(turn, found, keep, place).await,
        None => Ok(()),
    }
}

/// Removes the versions of a package that go; false if it has to be decided anew.
async fn remove_versions(
    turn: &Turn,
    rules: &Arc<Rules>,
    found: &Found,
    place: &[u8],
) -> Result<bool, ApiError> {
    let snapshot = found.scope.latest().await?;
    let package = View::at(&found.scope, &snapshot)
        .package(&found.package.name)
        .await?;
    let Some(package) = package else {
        return Ok(true);
    };
    let found = &Found {
        format: found.format,
        scope: found.scope.clone(),
        package,
        place: Vec::new(),
    };
    let decision = Decision::of(rules, found, &snapshot).await?;
    let mut after = None;
    while let Some(page) = decision.page(&mut after).await? {
        for step in decision.going(page).await?.chunks(STEP) {
            let work = async |mut txn: Txn| {
                let (mut removed, holds) = (0, decision.still_holds(&mut txn).await?);
                if holds {
                    for (version, _) in step {
                        removed += u64::from(decision.remove(&mut txn, version).await?);
                    }
                }
                Ok((txn, removed, holds))
            };
            if !turn.transact(place, work).await? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Removes the files of a package's versions that are not the newest few of their name.
async fn remove_files(turn: &Turn, found: &Found, keep: usize, place: &[u8]) -> Result<(), ApiError> {
    let snapshot = found.scope.latest().await?;
    let view = View::at(&found.scope, &snapshot);
    let mut after: Option<String> = None;
    loop {
        let page = view.versions(&found.package, after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.version.clone());
        for version in &page {
            for step in duplicates(found, &snapshot, version, keep).await?.chunks(STEP) {
                let work = async |mut txn: Txn| {
                    let mut removed = 0;
                    for file in step {
                        let mut edit = Edit::new(&found.scope, &mut txn);
                        let Some(package) = edit.package(&found.package.name).await? else {
                            continue;
                        };
                        let Some(version) = edit.version(&package, &version.version).await? else {
                            continue;
                        };
                        let deleted = edit.delete_file_numbered(&version, file.id).await?;
                        if let Some(file) = deleted {
                            removed += 1;
                            let format = found.format;
                            format.file_deleted(&mut edit, package, version, file).await?;
                        }
                    }
                    Ok((txn, removed, ()))
                };
                turn.transact(place, work).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    fn rules(policy: PackagePolicy) -> Rules {
        Rules::of(&policy, Timestamp(100 * DAY)).unwrap()
    }

    #[test]
    fn a_version_goes_only_if_all_that_is_set_holds() {
        let rules = rules(PackagePolicy {
            older_than: Some("30d".into()),
            not_downloaded_for: Some("10d".into()),
            ..PackagePolicy::default()
        });
        let check = |published: u64, downloaded: u64, expected: bool| {
            let why = rules.why(Timestamp(published * DAY), Timestamp(downloaded * DAY));
            assert_eq!(why.is_some(), expected, "{published} {downloaded}");
        };
        check(60, 0, true);
        check(60, 80, true);
        check(60, 95, false);
        check(80, 0, false);
        check(95, 0, false);
    }

    #[test]
    fn a_policy_that_would_let_everything_go_is_refused() {
        let all = PackagePolicy {
            enabled: true,
            ..PackagePolicy::default()
        };
        assert!(all.check(Timestamp(DAY)).is_err());
        let kept = PackagePolicy {
            keep_n: Some(1),
            ..all.clone()
        };
        assert!(kept.check(Timestamp(DAY)).is_ok());
        for wrong in [
            PackagePolicy {
                keep_n: Some(MAX_KEPT + 1),
                ..kept.clone()
            },
            PackagePolicy {
                older_than: Some("soon".into()),
                ..kept.clone()
            },
            PackagePolicy {
                name_regex: Some("(".into()),
                ..kept.clone()
            },
            PackagePolicy {
                formats: vec!["floppy".into()],
                ..kept.clone()
            },
        ] {
            assert!(wrong.check(Timestamp(100 * DAY)).is_err(), "{wrong:?}");
        }
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::PackagePolicy>("cleanup-packages");
    }
}
