//! Who uses a registry: how often things are downloaded, and how many publish and download each
//! format in a month.
//!
//! How many there are is estimated by HyperLogLog (Flajolet, Fusy, Gandouet and Meunier, 2007), with
//! linear counting where there are few. Each of the 2048 registers of a sketch is a number
//! of its own, which is only ever raised: so what nodes see is merged by the state machine,
//! and somebody who comes again changes nothing. The standard error is 2.3 %.
//!
//! Who somebody is goes into a hash under a key of the cluster, together with month, format and
//! side: registers reveal no names, and nobody can be followed from one sketch to another.

use cairn_cluster::{Key, Scan, Snapshot, Timestamp, Txn};

use crate::auth::action::{Own, Pull};
use crate::auth::caller::Identity;
use crate::formats::FORMATS;
use crate::http::error::ApiError;
use crate::registry::door::{Access, Authorised, Instance};
use crate::registry::keys;
use crate::registry::package::Location;
use crate::registry::project::Project;
use crate::registry::reader::next_entries;
use crate::registry::scope::Scope;
use crate::registry::store::Store;
use crate::registry::time::date;

/// How many bits of a hash choose the register.
const REGISTER_BITS: u32 = 11;
const REGISTERS: usize = 1 << REGISTER_BITS;

/// The most months that are asked for at once.
pub(crate) const MAX_MONTHS: u32 = 24;

/// Which side somebody is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Publishers,
    Downloaders,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Publishers => "publishers",
            Self::Downloaders => "downloaders",
        }
    }
}

/// `2026-07`
fn month(at: Timestamp) -> String {
    date(at)[..7].into()
}

/// The register that a hash belongs to, and what it raises it to.
fn register(hash: &[u8; 32]) -> (u16, u8) {
    let bits = u64::from_be_bytes(*hash.first_chunk().expect("a hash is longer"));
    let register = bits >> (u64::BITS - REGISTER_BITS);
    // The bits that are left, behind which a one bounds the rank.
    let rest = bits << REGISTER_BITS | 1 << (REGISTER_BITS - 1);
    (register as u16, rest.leading_zeros() as u8 + 1)
}

/// About how many different hashes raised these registers; those that are left out are 0.
fn estimate(registers: impl Iterator<Item = u8>) -> u64 {
    let (mut sum, mut raised) = (0.0, 0);
    for rank in registers {
        sum += (-f64::from(rank)).exp2();
        raised += 1;
    }
    let all = REGISTERS as f64;
    let untouched = (REGISTERS - raised.min(REGISTERS)) as f64;
    let alpha = 0.7213 / (1.0 + 1.079 / all);
    let raw = alpha * all * all / (sum + untouched);
    let estimate = match raw <= 2.5 * all && untouched > 0.0 {
        true => all * (all / untouched).ln(),
        false => raw,
    };
    estimate.round() as u64
}

/// Who somebody is: as what a token stands for, and who is nobody by where it comes from.
fn identity(access: &Access) -> String {
    match access.caller().identity() {
        Identity::User(user) => format!("user {}", user.id),
        Identity::Deploy { .. } => {
            let token = access.caller().token().map(|token| token.as_str());
            format!("token {}", token.unwrap_or_default())
        }
        Identity::Job(job) => format!("job {} {}", job.origin().issuer, job.origin().subject),
        Identity::Anonymous => match access.address() {
            Some(address) => format!("address {address}"),
            None => "nobody".into(),
        },
    }
}

/// The register of whoever asks, and what it is to be at least.
async fn place(store: &Store, access: &Access, format: &str, side: Side) -> Result<(Key, u64), ApiError> {
    let month = month(access.now());
    let mut hasher = blake3::Hasher::new_keyed(&store.secrets().await?.adoption);
    for part in [&month, format, side.name(), &identity(access)] {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    let (register, rank) = register(hasher.finalize().as_bytes());
    let key = keys::adoption(&month, format, side.name()).key(u64::from(register));
    Ok((key, u64::from(rank)))
}

/// A download that is noted whenever an answer is given. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    /// What counts it.
    counters: Vec<Key>,
    /// When it was last downloaded.
    last: Option<Key>,
    /// Who did it.
    register: Option<(Key, u64)>,
}

impl Download {
    /// Notes it once.
    pub(crate) fn note(&self, store: &Store) {
        let usage = store.usage();
        self.counters.iter().for_each(|key| usage.count(key));
        if let Some(last) = &self.last {
            usage.note(last, store.now());
        }
        if let Some((key, rank)) = &self.register {
            usage.raise(key, *rank);
        }
    }
}

impl Scope {
    /// A download of something of a package, of a version if it has versions.
    pub(crate) async fn download(&self, package: &str, version: Option<u64>) -> Download {
        let (root, project, format) = (self.project().root(), self.project().id, self.format());
        let mut counters = vec![
            keys::downloads_of(root, project).key(keys::package_item(format, package)),
            keys::downloads_in(&month(self.now())).key(format),
        ];
        counters.extend(version.map(|id| keys::downloads(root, project).key(id)));
        let register = place(self.store(), self.access(), format, Side::Downloaders).await;
        Download {
            counters,
            last: version.map(|id| keys::pulled(root, project, id)),
            // Before a cluster is set up, nobody can be told apart.
            register: register.ok(),
        }
    }

    /// The same, noted now.
    pub(crate) async fn note_download(&self, package: &str, version: Option<u64>) {
        self.note(&self.download(package, version).await);
    }

    /// How often something of a package was downloaded, of the version of this number or of any.
    pub(crate) async fn download_count(&self, package: &str, version: Option<u64>) -> Result<u64, ApiError> {
        let (root, project) = (self.project().root(), self.project().id);
        let key = match version {
            Some(id) => keys::downloads(root, project).key(id),
            None => keys::downloads_of(root, project).key(keys::package_item(self.format(), package)),
        };
        Ok(self.snapshot().number(&key).await?)
    }

    /// Notes a download once.
    pub(crate) fn note(&self, download: &Download) {
        download.note(self.store());
    }

    /// Counts whoever publishes, as a part of the transaction that does it.
    pub(crate) async fn count_publisher(&self, txn: &mut Txn) -> Result<(), ApiError> {
        let (key, rank) = place(self.store(), self.access(), self.format(), Side::Publishers).await?;
        // Most have been counted before.
        if txn.snapshot().number(&key).await? < rank {
            txn.raise(&key, rank);
        }
        Ok(())
    }
}

/// What happened to one format in one month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Adoption {
    pub(crate) month: String,
    pub(crate) format: &'static str,
    pub(crate) publishers: u64,
    pub(crate) downloaders: u64,
    pub(crate) downloads: u64,
}

async fn count(snapshot: &Snapshot, month: &str, format: &str, side: Side) -> Result<u64, ApiError> {
    let sketch = keys::adoption(month, format, side.name());
    let registers = snapshot.scan(Scan::of(&sketch).limit(REGISTERS)).await?;
    let ranks = registers.iter().filter_map(|entry| entry.value.last().copied());
    Ok(estimate(ranks))
}

impl Authorised<Instance, Own> {
    /// What happened in the last months, the newest first; formats without anything are left out.
    pub(crate) async fn adoption(&self, months: u32) -> Result<Vec<Adoption>, ApiError> {
        let mut found = Vec::new();
        for month in months_before(&month(self.access().now()), months.clamp(1, MAX_MONTHS)) {
            for format in FORMATS {
                let (format, snapshot) = (format.name(), self.snapshot());
                let adoption = Adoption {
                    publishers: count(snapshot, &month, format, Side::Publishers).await?,
                    downloaders: count(snapshot, &month, format, Side::Downloaders).await?,
                    downloads: snapshot.number(&keys::downloads_in(&month).key(format)).await?,
                    month: month.clone(),
                    format,
                };
                if adoption.publishers + adoption.downloaders + adoption.downloads > 0 {
                    found.push(adoption);
                }
            }
        }
        Ok(found)
    }
}

/// A month and those before it, as many as are wanted.
fn months_before(last: &str, count: u32) -> Vec<String> {
    let number = |text: &str| text.parse::<u32>().unwrap_or(1);
    let (mut year, mut month) = match last.split_once('-') {
        Some((year, month)) => (number(year), number(month)),
        None => return Vec::new(),
    };
    let mut months = Vec::new();
    for _ in 0..count {
        months.push(format!("{year:04}-{month:02}"));
        (year, month) = match month {
            1 => (year.saturating_sub(1), 12),
            _ => (year, month - 1),
        };
    }
    months
}

/// How often a version was downloaded.
#[derive(Clone, Debug)]
pub(crate) struct Downloads {
    pub(crate) format: String,
    pub(crate) package: String,
    /// Its number in the REST API, and its name; none for a whole package.
    pub(crate) version: Option<(u64, String)>,
    pub(crate) count: u64,
    pub(crate) last_at: Option<Timestamp>,
}

impl Authorised<Project, Pull> {
    /// Calls `row` with every version that was downloaded and is there.
    pub(crate) async fn each_downloaded_version(
        &self,
        mut row: impl FnMut(Downloads),
    ) -> Result<(), ApiError> {
        let (root, project) = (self.project().root(), self.project().id);
        let (counters, mut after) = (keys::downloads(root, project), None);
        loop {
            let entries = next_entries(self.snapshot(), &counters, &mut after).await?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in &entries {
                let Some(id) = keys::number(&entry.item) else {
                    continue;
                };
                let location = keys::version_ids(root, project).key(id);
                let location: Option<Location> = self.snapshot().record(&location).await?;
                if let Some(location) = location {
                    let last = self.snapshot().number(&keys::pulled(root, project, id)).await?;
                    row(Downloads {
                        format: location.format,
                        package: location.name,
                        version: Some((id, location.version)),
                        count: keys::number(&entry.value).unwrap_or(0),
                        last_at: (last > 0).then_some(Timestamp(last)),
                    });
                }
            }
        }
    }

    /// Calls `row` with every package, and repository of images, that was downloaded.
    pub(crate) async fn each_downloaded_package(
        &self,
        mut row: impl FnMut(Downloads),
    ) -> Result<(), ApiError> {
        let counters = keys::downloads_of(self.project().root(), self.project().id);
        let mut after = None;
        loop {
            let entries = next_entries(self.snapshot(), &counters, &mut after).await?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in &entries {
                let format = keys::format_of_package(&entry.item);
                let name = entry.item.get(format.len() + 1..).unwrap_or_default();
                row(Downloads {
                    package: String::from_utf8_lossy(name).into_owned(),
                    format,
                    version: None,
                    count: keys::number(&entry.value).unwrap_or(0),
                    last_at: None,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn sketch(of: impl Iterator<Item = u64>) -> BTreeMap<u16, u8> {
        let mut registers = BTreeMap::new();
        for one in of {
            let (at, rank) = register(blake3::hash(&one.to_be_bytes()).as_bytes());
            let known = registers.entry(at).or_default();
            *known = rank.max(*known);
        }
        registers
    }

    #[test]
    fn few_are_counted_exactly_and_many_closely() {
        let check = |count: u64, tolerance: f64| {
            let found = estimate(sketch(0..count).into_values()) as f64;
            let off = (found - count as f64).abs() / (count as f64).max(1.0);
            assert!(off <= tolerance, "{found} for {count}");
        };
        check(0, 0.0);
        check(1, 0.0);
        check(5, 0.0);
        check(30, 0.04);
        check(1000, 0.05);
        check(100_000, 0.08);
        check(1_000_000, 0.08);
    }

    #[test]
    fn sketches_of_two_nodes_merge_into_that_of_both() {
        let (mut one, other) = (sketch(0..2000), sketch(1000..3000));
        for (at, rank) in other {
            let known = one.entry(at).or_default();
            *known = rank.max(*known);
        }
        assert_eq!(one, sketch(0..3000));
    }

    #[test]
    fn months_go_back_over_the_turn_of_the_year() {
        assert_eq!(
            months_before("2027-02", 4),
            ["2027-02", "2027-01", "2026-12", "2026-11"]
        );
    }
}
