//! Who has which role where. A role in a group holds in everything below it.

use cairn_cluster::record::Record;
use cairn_cluster::{ReadError, Scan, Timestamp, Txn};
use serde::{Deserialize, Serialize};

use crate::auth::action::{Action, Manage, Own};
use crate::auth::role::Role;
use crate::http::error::ApiError;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Access, Authorised, Resource, transact};
use crate::registry::group::Group;
use crate::registry::keys::{self, Member};
use crate::registry::place::{Place, PlaceKind};
use crate::registry::project::Project;
use crate::registry::reader::{Reader, next_entries};
use crate::registry::user::{self, User};

/// A user's role in one group or project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The role.
    pub role: Role,
    /// From when on it does not count.
    pub expires_at: Option<Timestamp>,
    /// When it was given.
    pub created_at: Timestamp,
}

impl Record for Membership {}

impl Membership {
    /// A role that is given now and does not end.
    pub fn now(role: Role, now: Timestamp) -> Self {
        Self {
            role,
            expires_at: None,
            created_at: now,
        }
    }
}

/// Where a user is a member, kept with the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::registry) struct Joined {
    pub(in crate::registry) place: Place,
    /// The groups above it, from the root down.
    pub(in crate::registry) ancestors: Vec<u64>,
    pub(in crate::registry) expires_at: Option<Timestamp>,
}

impl Record for Joined {}

/// Whether a role that ends then is held now.
fn counts(expires_at: Option<Timestamp>, now: Timestamp) -> bool {
    expires_at.is_none_or(|end| end > now)
}

/// The user's own role in one place, if it counts now.
async fn role_at<R: Reader>(
    reader: &mut R,
    root: u64,
    of: Member,
    user: u64,
    now: Timestamp,
) -> Result<Option<Role>, ReadError> {
    let membership = reader
        .read::<Membership>(&keys::members(root, of).key(user))
        .await?;
    let Some(membership) = membership.filter(|membership| counts(membership.expires_at, now)) else {
        return Ok(None);
    };
    if let Some(end) = membership.expires_at {
        reader.holds_until(end);
    }
    Ok(Some(membership.role))
}

/// The greatest role of a user in a chain of groups (from the root down) and a project in it.
pub(in crate::registry) async fn role_in<R: Reader>(
    reader: &mut R,
    chain: &[u64],
    project: Option<u64>,
    user: u64,
    now: Timestamp,
) -> Result<Option<Role>, ReadError> {
    let Some(&root) = chain.first() else {
        return Ok(None);
    };
    let places = chain.iter().copied().map(Member::Group);
    let mut greatest = None;
    for place in places.chain(project.map(Member::Project)) {
        greatest = greatest.max(role_at(reader, root, place, user, now).await?);
    }
    Ok(greatest)
}

/// Gives a role.
pub(in crate::registry) fn put(
    txn: &mut Txn,
    place: Place,
    ancestors: &[u64],
    user: u64,
    membership: &Membership,
) {
    txn.put_record(&keys::members(place.root, place.member()).key(user), membership);
    let joined = Joined {
        place,
        ancestors: ancestors.to_vec(),
        expires_at: membership.expires_at,
    };
    txn.put_record(&keys::user_membership(user, place.member()), &joined);
}

/// Takes a role away.
pub(in crate::registry) fn remove(txn: &mut Txn, place: Place, user: u64) {
    txn.delete(&keys::members(place.root, place.member()).key(user));
    txn.delete(&keys::user_membership(user, place.member()));
}

/// Where a user is a member now.
pub(in crate::registry) async fn joined<R: Reader>(
    reader: &mut R,
    user: u64,
    now: Timestamp,
) -> Result<Vec<Joined>, ReadError> {
    let mut joined = Vec::new();
    for entry in reader.list(Scan::of(&keys::user_memberships(user))).await? {
        let entry: Joined = entry.record()?;
        if counts(entry.expires_at, now) {
            if let Some(end) = entry.expires_at {
                reader.holds_until(end);
            }
            joined.push(entry);
        }
    }
    Ok(joined)
}

/// Whether a user is a member of anything below a group.
pub(in crate::registry) async fn is_member_below<R: Reader>(
    reader: &mut R,
    user: u64,
    group: u64,
    now: Timestamp,
) -> Result<bool, ReadError> {
    let joined = joined(reader, user, now).await?;
    Ok(joined.iter().any(|joined| joined.ancestors.contains(&group)))
}

/// A group or project that has members.
pub(crate) trait Peopled: Resource {
    /// Where it lies.
    fn place(&self) -> Place;
    /// The groups above it, from the root down.
    fn ancestors(&self) -> &[u64];
}

impl Peopled for Group {
    fn place(&self) -> Place {
        self.place()
    }

    fn ancestors(&self) -> &[u64] {
        &self.ancestors
    }
}

impl Peopled for Project {
    fn place(&self) -> Place {
        self.place()
    }

    fn ancestors(&self) -> &[u64] {
        &self.ancestors
    }
}

/// Proof that the caller may manage the members of this group or project: maintainers those of
/// a project, owners those of a group.
pub(crate) trait ManagesMembers<T> {}

impl ManagesMembers<Project> for Authorised<Project, Manage> {}
impl ManagesMembers<Group> for Authorised<Group, Own> {}

/// A member, as a list shows it.
#[derive(Clone, Debug)]
pub struct ShownMember {
    /// Who.
    pub user: User,
    /// As what.
    pub membership: Membership,
}

/// Calls `row` with the members of one place (without those of the groups above it).
pub(crate) async fn each<T: Peopled, A: Action>(
    of: &Authorised<T, A>,
    mut row: impl FnMut(ShownMember),
) -> Result<(), ApiError> {
    each_at(of.access(), of.what().place(), &mut row).await
}

/// Calls `row` with the members of one place and of the groups above it; once for each user,
/// with the greatest role.
pub(crate) async fn each_inherited<T: Peopled, A: Action>(
    of: &Authorised<T, A>,
    mut row: impl FnMut(ShownMember),
) -> Result<(), ApiError> {
    let what = of.what();
    let (place, now) = (what.place(), of.now());
    let above = what.ancestors().iter().map(|id| Place {
        root: place.root,
        kind: PlaceKind::Group,
        id: *id,
    });
    let mut chain = what.ancestors().to_vec();
    let project = match place.kind {
        PlaceKind::Project => Some(place.id),
        PlaceKind::Group => {
            chain.push(place.id);
            None
        }
    };
    for at in above.chain([place]) {
        let mut here = Vec::new();
        each_at(of.access(), at, &mut |member| here.push(member)).await?;
        for mut member in here {
            let reader = &mut of.snapshot().clone();
            let greatest = role_in(reader, &chain, project, member.user.id, now).await?;
            // The first place that gives the greatest role shows the member.
            if greatest == Some(member.membership.role) && !is_above(of, at, &member, greatest).await? {
                member.membership.role = greatest.unwrap_or(member.membership.role);
                row(member);
            }
        }
    }
    Ok(())
}

/// Whether a group further up gives the same role already.
async fn is_above<T: Peopled, A: Action>(
    of: &Authorised<T, A>,
    at: Place,
    member: &ShownMember,
    role: Option<Role>,
) -> Result<bool, ApiError> {
    let reader = &mut of.snapshot().clone();
    let ancestors = of.what().ancestors();
    let above: Vec<u64> = ancestors
        .iter()
        .copied()
        .take_while(|id| at.kind == PlaceKind::Project || *id != at.id)
        .collect();
    Ok(role.is_some() && role_in(reader, &above, None, member.user.id, of.now()).await? == role)
}

async fn each_at(access: &Access, place: Place, row: &mut impl FnMut(ShownMember)) -> Result<(), ApiError> {
    let members = keys::members(place.root, place.member());
    let mut after = None;
    loop {
        let entries = next_entries(access.snapshot(), &members, &mut after).await?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            let Some(id) = keys::number(&entry.item) else {
                continue;
            };
            if let Some(user) = user::by_id(&mut access.snapshot().clone(), id).await? {
                let membership = entry.record()?;
                row(ShownMember { user, membership });
            }
        }
    }
}

/// A member's own role in one place.
pub(crate) async fn get<T: Peopled, A: Action>(
    of: &Authorised<T, A>,
    user: u64,
) -> Result<Option<ShownMember>, ApiError> {
    let reader = &mut of.snapshot().clone();
    let place = of.what().place();
    let membership = reader
        .read(&keys::members(place.root, place.member()).key(user))
        .await?;
    let user = user::by_id(reader, user).await?;
    Ok(user
        .zip(membership)
        .map(|(user, membership)| ShownMember { user, membership }))
}

/// Whether a role is to be given to somebody new, or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Give {
    /// A conflict if the user is a member already.
    New,
    /// Nothing is there to change if the user is not.
    Changed,
}

/// Gives a user a role. Nobody gives, or changes, a role greater than their own.
pub(crate) async fn give<T, A>(
    of: &Authorised<T, A>,
    user: u64,
    give: Give,
    membership: &Membership,
) -> Result<ShownMember, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesMembers<T>,
{
    transact(of, async |mut txn: Txn, what: T| {
        let place = what.place();
        let key = keys::members(place.root, place.member()).key(user);
        let present: Option<Membership> = txn.record(&key).await?;
        match (give, &present) {
            (Give::New, Some(_)) => return Err(ApiError::conflict("Member already exists")),
            (Give::Changed, None) => return Err(ApiError::not_found("404 Not found")),
            _ => {}
        }
        let user = user::by_id(&mut txn, user).await?;
        let user = user.ok_or_else(|| ApiError::not_found("404 User Not Found"))?;
        if give == Give::New {
            // Whoever manages a place manages the access tokens whose bots are members of it.
            refuse_bot(&user, "it is a member where the token was made, and nowhere else")?;
        }
        let before = present.as_ref().map(|present| present.role);
        let touched = present.map_or(membership.role, |present| present.role.max(membership.role));
        check_rank(&mut txn, of, &what, touched).await?;
        let mut membership = membership.clone();
        if let Some(present) = txn.record::<Membership>(&key).await? {
            membership.created_at = present.created_at;
        }
        put(&mut txn, place, what.ancestors(), user.id, &membership);
        let act = match before {
            None => Act::new("member.added").with("role", membership.role.name()),
            Some(before) => {
                Act::new("member.changed").changing("role", &before.name(), &membership.role.name())
            }
        };
        tell(&mut txn, of.access(), &what, act.to(user.username.as_str()));
        Ok((txn, ShownMember { user, membership }))
    })
    .await
}

/// Takes a user's role away.
pub(crate) async fn take<T, A>(of: &Authorised<T, A>, user: u64) -> Result<(), ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesMembers<T>,
{
    transact(of, async |mut txn: Txn, what: T| {
        let place = what.place();
        let key = keys::members(place.root, place.member()).key(user);
        let present: Option<Membership> = txn.record(&key).await?;
        let present = present.ok_or_else(|| ApiError::not_found("404 Not found"))?;
        check_rank(&mut txn, of, &what, present.role).await?;
        let member = user::by_id(&mut txn, user).await?;
        if let Some(user) = &member {
            refuse_bot(user, "it leaves when the token is revoked")?;
        }
        let name = member.map_or_else(|| user.to_string(), |user| user.username.as_str().into());
        let act = Act::new("member.removed")
            .to(name)
            .with("role", present.role.name());
        tell(&mut txn, of.access(), &what, act);
        remove(&mut txn, place, user);
        Ok((txn, ()))
    })
    .await
}

/// A bot comes and goes with its access token.
fn refuse_bot(user: &User, why: &str) -> Result<(), ApiError> {
    match user.bot {
        false => Ok(()),
        true => Err(ApiError::bad_request(format!(
            "{} stands for an access token: {why}",
            user.username.as_str()
        ))),
    }
}

/// Nobody gives or takes a role above their own.
pub(in crate::registry) async fn check_rank<T: Peopled, A: Action>(
    txn: &mut Txn,
    of: &Authorised<T, A>,
    what: &T,
    touched: Role,
) -> Result<(), ApiError> {
    if of.caller().is_admin() {
        return Ok(());
    }
    let Some(caller) = of.caller().user() else {
        return Err(ApiError::forbidden("403 Forbidden"));
    };
    let place = what.place();
    let mut chain = what.ancestors().to_vec();
    let project = match place.kind {
        PlaceKind::Project => Some(place.id),
        PlaceKind::Group => {
            chain.push(place.id);
            None
        }
    };
    let own = role_in(txn, &chain, project, caller.id, of.now()).await?;
    if own < Some(touched) {
        return Err(ApiError::forbidden(
            "403 Forbidden: nobody gives or takes a role above their own",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Membership>("membership");
        samples::check::<super::Joined>("joined");
    }
}
