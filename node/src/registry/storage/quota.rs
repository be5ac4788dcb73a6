//! Quotas: how many bytes a project, or a group with all that is below it, may store.
//!
//! Whatever is stored is counted in the transaction that names it ([`Account::charge`]). Where a
//! quota is set, that transaction also bounds the counter: when it is applied, the state machine
//! adds to the counter only if the sum is within the bound. So no quota is ever overrun,
//! however many publish on however many nodes; and those who do conflict with each other only
//! where there is not room for all of them. What stores less than before always goes.

use cairn_cluster::record::Record;
use cairn_cluster::{ReadError, Snapshot, Timestamp, Txn};
use serde::{Deserialize, Serialize};

use super::{ALL, Account, Amount, all_bytes};
use crate::auth::action::{Manage, Own};
use crate::auth::role::Role;
use crate::formats;
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Access, Authorised, Resource, transact};
use crate::registry::group::{self, Group};
use crate::registry::keys::{self, Member};
use crate::registry::member;
use crate::registry::place::Place;
use crate::registry::project::{self, Project};
use crate::registry::reader::Reader;
use crate::registry::scope::Scope;

/// The largest quota: what counters can hold.
const MAX_BYTES: u64 = i64::MAX.cast_unsigned();

/// How much a place may store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quota {
    /// So many bytes.
    pub(crate) bytes: u64,
    /// Since when.
    pub(crate) set_at: Timestamp,
}

impl Record for Quota {}

/// A quota that holds somewhere, and how much of it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    /// The path of the group or project that it is set for.
    pub(crate) path: String,
    pub(crate) quota: Quota,
    pub(crate) used_bytes: u64,
}

async fn of_place<R: Reader>(reader: &mut R, place: Place) -> Result<Option<Quota>, ReadError> {
    reader.read(&keys::quota(place.root, place.member())).await
}

impl Account {
    /// Counts what is stored, as part of the transaction that does it; an error if that is more than
    /// a quota allows.
    pub(crate) async fn charge(
        &self,
        txn: &mut Txn,
        user: Option<u64>,
        amount: Amount,
    ) -> Result<(), ApiError> {
        self.count(txn, user, amount);
        for place in self.places() {
            let Some(quota) = of_place(txn, place).await? else {
                continue;
            };
            let counter = keys::stored(place.root, place.member()).key(ALL);
            let limit = quota.bytes.min(MAX_BYTES).cast_signed();
            txn.bound(&counter, limit);
            let asked = txn.added(&counter);
            let used = all_bytes(txn.snapshot(), place).await?;
            if asked > 0 && used.cast_signed().saturating_add(asked) > limit {
                let snapshot = txn.snapshot().clone();
                return Err(self
                    .exceeded(&snapshot, place, &quota, used, asked.cast_unsigned())
                    .await?);
            }
        }
        Ok(())
    }

    /// Refuses early what [`Account::charge`] would refuse in the end: to store this many bytes more.
    async fn refuse_early(&self, snapshot: &Snapshot, bytes: u64) -> Result<(), ApiError> {
        for place in self.places() {
            if let Some(quota) = of_place(&mut snapshot.clone(), place).await? {
                let used = all_bytes(snapshot, place).await?;
                if used.saturating_add(bytes) > quota.bytes {
                    return Err(self.exceeded(snapshot, place, &quota, used, bytes).await?);
                }
            }
        }
        Ok(())
    }

    /// What is said of a quota that does not allow it, in the words of the format.
    async fn exceeded(
        &self,
        snapshot: &Snapshot,
        place: Place,
        quota: &Quota,
        used: u64,
        asked: u64,
    ) -> Result<ApiError, ApiError> {
        let message = format!(
            "the quota of {} is {} bytes: {used} are used, and this needs {asked} more",
            path(snapshot, place).await?,
            quota.bytes,
        );
        Ok(match formats::by_name(&self.format) {
            Some(format) => format.over_quota(&message),
            None => ApiError::new(ErrorKind::InsufficientStorage, message),
        })
    }
}

/// `group acme` or `project acme/demo`.
async fn path(snapshot: &Snapshot, place: Place) -> Result<String, ReadError> {
    let (root, reader) = (place.root, &mut snapshot.clone());
    Ok(match place.member() {
        Member::Group(id) => match group::by_id(reader, root, id).await? {
            Some(group) => format!("group {}", group.path),
            None => format!("group {id}"),
        },
        Member::Project(id) => match project::by_id(reader, root, id).await? {
            Some(project) => format!("project {}", project.path),
            None => format!("project {id}"),
        },
    })
}

impl Scope {
    /// Refuses early what would be over a quota in the end, whatever else happens: to store this many
    /// bytes in files that are not there yet.
    pub(crate) async fn refuse_over_quota(&self, bytes: u64) -> Result<(), ApiError> {
        let account = Account::of(self.project(), self.format());
        account.refuse_early(self.snapshot(), bytes).await
    }
}

/// The quotas that hold in the last of these places, which lie in each other.
async fn holdings(snapshot: &Snapshot, places: &[Place]) -> Result<Vec<Holding>, ApiError> {
    let mut holdings = Vec::new();
    for place in places {
        if let Some(quota) = of_place(&mut snapshot.clone(), *place).await? {
            holdings.push(Holding {
                path: path(snapshot, *place).await?,
                quota,
                used_bytes: all_bytes(snapshot, *place).await?,
            });
        }
    }
    Ok(holdings)
}

/// A quota of a place, how much is used there, and all that hold there, from the root down.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// None if it has none of its own.
    pub(crate) own: Option<Quota>,
    pub(crate) used_bytes: u64,
    pub(crate) holding: Vec<Holding>,
}

/// What can have a quota.
pub(crate) trait HasQuota: Resource {
    /// Itself.
    fn place(&self) -> Place;

    /// The groups above it, from the root down.
    fn above(&self) -> &[u64];
}

impl HasQuota for Project {
    fn place(&self) -> Place {
        Project::place(self)
    }

    fn above(&self) -> &[u64] {
        &self.ancestors
    }
}

impl HasQuota for Group {
    fn place(&self) -> Place {
        Group::place(self)
    }

    fn above(&self) -> &[u64] {
        &self.ancestors
    }
}

async fn shown(snapshot: &Snapshot, of: &impl HasQuota) -> Result<Shown, ApiError> {
    let own = of.place();
    let above = of.above().iter().map(|id| Place::group(own.root, *id));
    let places: Vec<Place> = above.chain([own]).collect();
    Ok(Shown {
        own: of_place(&mut snapshot.clone(), own).await?,
        used_bytes: all_bytes(snapshot, own).await?,
        holding: holdings(snapshot, &places).await?,
    })
}

/// A quota is set from above: by owners of the group around, and of a root group by administrators.
/// Whoever owns the place itself alone could otherwise help themselves.
async fn decide(txn: &mut Txn, access: &Access, above: &[u64]) -> Result<(), ApiError> {
    let Some(user) = access.caller().user() else {
        return Err(ApiError::unauthorized());
    };
    let role = member::role_in(txn, above, None, user.id, access.now()).await?;
    match user.admin || role >= Some(Role::Owner) {
        true => Ok(()),
        false => Err(ApiError::forbidden(
            "403 Forbidden: a quota is set by owners of the group above, that of a root group by administrators",
        )),
    }
}

/// The quota of a project or group.
pub(crate) async fn show<T: HasQuota>(of: &Authorised<T, Manage>) -> Result<Shown, ApiError> {
    shown(of.snapshot(), of.what()).await
}

/// Sets the quota of a project or group, or takes it away.
pub(crate) async fn set<T: HasQuota + 'static>(
    of: &Authorised<T, Own>,
    bytes: Option<u64>,
) -> Result<Shown, ApiError> {
    if bytes.is_some_and(|bytes| bytes > MAX_BYTES) {
        return Err(ApiError::parameter("bytes does not have a valid value"));
    }
    transact(of, async |mut txn: Txn, what: T| {
        decide(&mut txn, of.access(), what.above()).await?;
        let place = what.place();
        let key = keys::quota(place.root, place.member());
        let before: Option<Quota> = txn.record(&key).await?;
        let before = before.map(|quota| quota.bytes);
        match bytes {
            Some(bytes) => {
                let set_at = of.access().now();
                txn.put_record(&key, &Quota { bytes, set_at });
            }
            None => txn.delete(&key),
        }
        let act = Act::new("quota.changed").changing("bytes", &before, &bytes);
        tell(&mut txn, of.access(), &what, act);
        Ok((txn, ()))
    })
    .await?;
    let latest = of.access().app().store().kv().latest().await?;
    shown(&latest, of.what()).await
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Quota>("quota");
    }
}
