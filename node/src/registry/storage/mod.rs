//! What is stored, and as whose it counts: bytes, files and versions of every project and group, by
//! format and by the user who published.
//!
//! Each transaction that stores or removes something counts that itself, in the project and in all
//! groups above it. The counters are only ever added to: so they are exact, and nobody who
//! publishes waits for, or conflicts with, another one because of them.
//!
//! A file counts in every project and version that has it, however often its bytes are stored. What
//! was deleted counts until it has been taken apart. [`quota`] limits it; [`recount`] makes the counters right where
//! something was stored before there were any, and proves them.

pub(crate) mod quota;
pub(in crate::registry) mod recount;

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign, Neg};

use cairn_cluster::{Entry, Kept, ReadError, Scan, Snapshot, Txn, record};
use serde::Serialize;

use crate::auth::action::{Action, Manage, Own};
use crate::auth::role::Role;
use crate::formats::oci;
use crate::http::error::ApiError;
use crate::registry::door::{Access, Authorised, Instance};
use crate::registry::group::Group;
use crate::registry::keys::{self, Member};
use crate::registry::member;
use crate::registry::place::Place;
use crate::registry::project::Project;
use crate::registry::reader::next_entries;
use crate::registry::user::{self, User};

/// In whose numbers something counts: a project, the groups above it, a format.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// From the root down. Empty for what was deleted before anything was counted.
    ancestors: Vec<u64>,
    project: u64,
    format: String,
}

/// So much more, or less, of everything that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Amount {
    /// Bytes of files.
    pub(crate) bytes: i64,
    /// Files.
    pub(crate) files: i64,
    /// Versions; of images, manifests.
    pub(crate) versions: i64,
}

impl Amount {
    /// One file.
    pub(crate) fn file(size: u64) -> Self {
        Self {
            bytes: size.cast_signed(),
            files: 1,
            versions: 0,
        }
    }

    /// One version.
    pub(crate) fn version() -> Self {
        Self {
            versions: 1,
            ..Self::default()
        }
    }

    fn part(&mut self, what: What) -> &mut i64 {
        match what {
            What::Bytes => &mut self.bytes,
            What::Files => &mut self.files,
            What::Versions => &mut self.versions,
        }
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            files: self.files + other.files,
            versions: self.versions + other.versions,
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Neg for Amount {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            bytes: -self.bytes,
            files: -self.files,
            versions: -self.versions,
        }
    }
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Bytes,
    Files,
    Versions,
}

impl What {
    const ALL: [Self; 3] = [Self::Bytes, Self::Files, Self::Versions];

    fn letter(self) -> u8 {
        match self {
            Self::Bytes => b'b',
            Self::Files => b'f',
            Self::Versions => b'v',
        }
    }
}

/// All bytes of a place: what quotas are about.
const ALL: &[u8] = b"a";
const OF_FORMAT: u8 = b'f';
const OF_USER: u8 = b'u';

fn of_format(format: &str, what: What) -> Vec<u8> {
    [&[OF_FORMAT], format.as_bytes(), &[0, what.letter()]].concat()
}

/// No user has the number 0: it stands for tokens and jobs that are not users.
fn of_user(user: Option<u64>, what: What) -> Vec<u8> {
    let id = user.unwrap_or(0).to_be_bytes();
    [&[OF_USER][..], &id, &[what.letter()]].concat()
}

/// The counters of one place, by their items, with what they count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums(BTreeMap<Vec<u8>, i64>);

impl Sums {
    /// Adds an amount of a format that a user published.
    pub(crate) fn add(&mut self, format: &str, user: Option<u64>, mut amount: Amount) {
        *self.0.entry(ALL.to_vec()).or_default() += amount.bytes;
        for what in What::ALL {
            let by = *amount.part(what);
            for item in [of_format(format, what), of_user(user, what)] {
                *self.0.entry(item).or_default() += by;
            }
        }
    }

    fn subtract(&mut self, other: &Self) {
        for (item, by) in &other.0 {
            *self.0.entry(item.clone()).or_default() -= by;
        }
    }

    fn join(&mut self, other: &Self) {
        for (item, by) in &other.0 {
            *self.0.entry(item.clone()).or_default() += by;
        }
    }

    fn drop_zeros(&mut self) {
        self.0.retain(|_, by| *by != 0);
    }
}

impl Account {
    pub(crate) fn of(project: &Project, format: &str) -> Self {
        Self::ordered(&project.ancestors, project.id, format)
    }

    /// The same by what an order to take something apart says.
    pub(in crate::registry) fn ordered(ancestors: &[u64], project: u64, format: &str) -> Self {
        Self {
            ancestors: ancestors.to_vec(),
            project,
            format: format.into(),
        }
    }

    /// The same of another format.
    pub(in crate::registry) fn in_format(&self, format: &str) -> Self {
        Self::ordered(&self.ancestors, self.project, format)
    }

    pub(in crate::registry) fn ancestors(&self) -> &[u64] {
        &self.ancestors
    }

    /// The groups from the root down, and the project; none if it does not count.
    fn places(&self) -> Vec<Place> {
        let Some(root) = self.ancestors.first() else {
            return Vec::new();
        };
        let groups = self.ancestors.iter().map(|id| Place::group(*root, *id));
        groups.chain([Place::project(*root, self.project)]).collect()
    }

    /// Counts, as part of the transaction that does it, what is stored or, below 0, removed. Of what
    /// is stored, [`Account::charge`] also makes sure that it may be.
    pub(crate) fn count(&self, txn: &mut Txn, user: Option<u64>, amount: Amount) {
        let mut sums = Sums::default();
        sums.add(&self.format, user, amount);
        sums.drop_zeros();
        for place in self.places() {
            let counters = keys::stored(place.root, place.member());
            for (item, by) in &sums.0 {
                txn.add(&counters.key(item), *by);
            }
        }
    }
}

/// What a place stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// By format; those without anything are left out.
    pub(crate) formats: BTreeMap<String, Amount>,
    /// What it takes on the disks: its share, by its bytes, in what the whole tree of groups takes.
    pub(crate) stored_bytes: u64,
}

impl Usage {
    /// Of all formats.
    pub(crate) fn total(&self) -> Amount {
        let amounts = self.formats.values();
        amounts.fold(Amount::default(), |sum, amount| sum + *amount)
    }

    /// Of container images.
    pub(crate) fn images(&self) -> Amount {
        self.formats.get(oci::NAME).copied().unwrap_or_default()
    }
}

/// What a user, or nobody in particular, has published in a place.
#[derive(Clone, Debug)]
pub(crate) struct OfUser {
    /// None for tokens and jobs that are no users, and for users that are gone.
    pub(crate) user: Option<User>,
    pub(crate) amount: Amount,
}

/// A counter, as it is read: below 0 only as long as it waits for a recount.
fn counted(entry: &Entry) -> Result<i64, ReadError> {
    Ok(record::number(&entry.value)?.cast_signed())
}

/// All counters of a place.
async fn sums(snapshot: &Snapshot, place: Place) -> Result<Sums, ReadError> {
    let counters = keys::stored(place.root, place.member());
    let (mut sums, mut after) = (Sums::default(), None);
    loop {
        let entries = next_entries(snapshot, &counters, &mut after).await?;
        if entries.is_empty() {
            return Ok(sums);
        }
        for entry in &entries {
            sums.0.insert(entry.item.to_vec(), counted(entry)?);
        }
    }
}

async fn formats(snapshot: &Snapshot, place: Place) -> Result<BTreeMap<String, Amount>, ReadError> {
    let counters = keys::stored(place.root, place.member());
    let mut formats: BTreeMap<String, Amount> = BTreeMap::new();
    for entry in snapshot.scan(Scan::of(&counters).prefix([OF_FORMAT])).await? {
        let [_, name @ .., 0, letter] = &entry.item[..] else {
            continue;
        };
        let name = String::from_utf8_lossy(name).into_owned();
        if let Some(what) = What::ALL.into_iter().find(|what| what.letter() == *letter) {
            *formats.entry(name).or_default().part(what) = counted(&entry)?.max(0);
        }
    }
    formats.retain(|_, amount| *amount != Amount::default());
    Ok(formats)
}

/// How many bytes a place stores.
async fn all_bytes(snapshot: &Snapshot, place: Place) -> Result<u64, ReadError> {
    let key = keys::stored(place.root, place.member()).key(ALL);
    Ok(snapshot.number(&key).await?.cast_signed().max(0).cast_unsigned())
}

/// What a place stores. A blob that several projects of one tree of groups have is stored once, so
/// what it takes on the disks is theirs in common: each has the share that its bytes have.
async fn usage(access: &Access, place: Place) -> Result<Usage, ApiError> {
    let snapshot = access.snapshot();
    let kept = kept(access, place.root).await?;
    let root = Place::root_group(place.root);
    let (own, all) = (
        all_bytes(snapshot, place).await?,
        all_bytes(snapshot, root).await?,
    );
    let share = u128::from(kept.stored_bytes) * u128::from(own.min(all)) / u128::from(all.max(1));
    Ok(Usage {
        formats: formats(snapshot, place).await?,
        stored_bytes: u64::try_from(share).unwrap_or(u64::MAX),
    })
}

async fn kept(access: &Access, root: u64) -> Result<Kept, ApiError> {
    let blobs = access.app().store().blobs();
    let space = Place::root_group(root).space();
    Ok(blobs.kept(access.snapshot(), space).await?)
}

/// Calls `row` with what each user has published in a place.
async fn each_user(access: &Access, place: Place, mut row: impl FnMut(OfUser)) -> Result<(), ApiError> {
    let counters = keys::stored(place.root, place.member());
    let (snapshot, mut after) = (access.snapshot(), Some(vec![OF_USER].into()));
    let mut at: Option<(u64, Amount)> = None;
    loop {
        let entries = next_entries(snapshot, &counters, &mut after).await?;
        for entry in &entries {
            let [OF_USER, id @ .., letter] = &entry.item[..] else {
                break;
            };
            let (Some(id), Some(what)) = (
                keys::number(id),
                What::ALL.into_iter().find(|what| what.letter() == *letter),
            ) else {
                continue;
            };
            let is_next = at.is_none_or(|(before, _)| before != id);
            if is_next && let Some((before, amount)) = at.replace((id, Amount::default())) {
                row(of_one(snapshot, before, amount).await?);
            }
            if let Some((_, amount)) = &mut at {
                *amount.part(what) = counted(entry)?.max(0);
            }
        }
        let is_last = entries
            .last()
            .is_none_or(|entry| entry.item.first() != Some(&OF_USER));
        if is_last {
            if let Some((last, amount)) = at {
                row(of_one(snapshot, last, amount).await?);
            }
            return Ok(());
        }
    }
}

async fn of_one(snapshot: &Snapshot, id: u64, amount: Amount) -> Result<OfUser, ReadError> {
    let user = user::by_id(&mut snapshot.clone(), id).await?;
    Ok(OfUser { user, amount })
}

/// Whether the caller is at least a reporter in a chain of groups, and a project in it.
async fn reports(access: &Access, chain: &[u64], project: Option<u64>) -> Result<bool, ApiError> {
    let Some(user) = access.caller().user() else {
        return Ok(false);
    };
    let reader = &mut access.snapshot().clone();
    let role = member::role_in(reader, chain, project, user.id, access.now()).await?;
    Ok(user.admin || role >= Some(Role::Reporter))
}

impl<A: Action> Authorised<Project, A> {
    /// What the project stores, for those who may know.
    pub(crate) async fn statistics(&self) -> Result<Option<Usage>, ApiError> {
        let project = self.project();
        match reports(self.access(), &project.ancestors, Some(project.id)).await? {
            true => Ok(Some(self.usage().await?)),
            false => Ok(None),
        }
    }

    /// What the project stores.
    pub(crate) async fn usage(&self) -> Result<Usage, ApiError> {
        usage(self.access(), self.project().place()).await
    }
}

impl<A: Action> Authorised<Group, A> {
    /// What the projects of the group and below store, for those who may know.
    pub(crate) async fn statistics(&self) -> Result<Option<Usage>, ApiError> {
        match reports(self.access(), &self.group().chain(), None).await? {
            true => Ok(Some(self.usage().await?)),
            false => Ok(None),
        }
    }

    /// What the projects of the group and below store.
    pub(crate) async fn usage(&self) -> Result<Usage, ApiError> {
        usage(self.access(), self.group().place()).await
    }
}

impl Authorised<Project, Manage> {
    /// Calls `row` with what each user has published in the project.
    pub(crate) async fn each_user_of_storage(&self, row: impl FnMut(OfUser)) -> Result<(), ApiError> {
        each_user(self.access(), self.project().place(), row).await
    }
}

impl Authorised<Group, Manage> {
    /// Calls `row` with what each user has published in the group and below.
    pub(crate) async fn each_user_of_storage(&self, row: impl FnMut(OfUser)) -> Result<(), ApiError> {
        each_user(self.access(), self.group().place(), row).await
    }
}

impl Authorised<Instance, Own> {
    /// What all groups store, and how many bytes of content that is, each blob counted once in its
    /// tree of groups.
    pub(crate) async fn usage(&self) -> Result<(Usage, u64), ApiError> {
        let (mut sum, mut content_bytes) = (Usage::default(), 0);
        for root in self.access().root_groups().await? {
            let place = Place::root_group(root);
            for (format, amount) in formats(self.snapshot(), place).await? {
                *sum.formats.entry(format).or_default() += amount;
            }
            let kept = kept(self.access(), root).await?;
            sum.stored_bytes += kept.stored_bytes;
            content_bytes += kept.content_bytes;
        }
        Ok((sum, content_bytes))
    }
}

/// Removes the quota and some counters of a group or project of which nothing is left; says how many.
pub(in crate::registry) async fn forget(
    txn: &mut Txn,
    root: u64,
    of: Member,
    limit: usize,
) -> Result<usize, ReadError> {
    let counters = keys::stored(root, of);
    txn.delete(&keys::quota(root, of));
    let left = txn.scan(Scan::of(&counters).limit(limit)).await?;
    for entry in &left {
        txn.delete(&counters.key(&entry.item));
    }
    Ok(left.len())
}

/// Makes sure that the counters of a project are what a count of everything finds.
#[cfg(test)]
pub(in crate::registry) async fn check(snapshot: &Snapshot, project: &Project) {
    let (mut expected, mut counted) = (
        recount::count(snapshot, project).await.unwrap(),
        sums(snapshot, project.place()).await.unwrap(),
    );
    expected.drop_zeros();
    counted.drop_zeros();
    assert_eq!(counted, expected);
}
