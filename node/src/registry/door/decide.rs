//! Decisions on projects, groups and the instance, on what a snapshot or a transaction reads.

use cairn_cluster::{ReadError, Timestamp, Txn};

use crate::auth::action::{self, Action, Decision, Standing, Verb, decide};
use crate::auth::caller::{Caller, Identity};
use crate::auth::scopes::TokenScope;
use crate::http::error::ApiError;
use crate::registry::audit::{self, Located};
use crate::registry::door::identify;
use crate::registry::door::{Access, Authorised, Instance};
use crate::registry::group::{self, Group};
use crate::registry::member;
use crate::registry::names::Visibility;
use crate::registry::place::PlaceKind;
use crate::registry::project::{self, Project};
use crate::registry::reader::Reader;
use crate::registry::settings::PackageAccess;

/// Something that a caller may or may not do something to.
pub(crate) trait Resource: Located + Sized + Clone + Send + Sync {
    /// What is said when it is not there, or must seem so.
    const NOT_FOUND: &str;

    /// Who may do `verb` to it, in words.
    fn who_may(verb: Verb) -> String {
        action::who_may(verb)
    }

    /// Whether `verb` may be done to some of it by those who have not signed in.
    fn is_open(verb: Verb) -> bool {
        action::is_open(verb)
    }

    /// Decides whether `caller` may do `verb` to it.
    fn decide<R: Reader>(
        &self,
        reader: &mut R,
        caller: &Caller,
        verb: Verb,
        now: Timestamp,
    ) -> impl Future<Output = Result<Decision, ReadError>> + Send;

    /// The same thing as a transaction sees it.
    fn again(&self, txn: &mut Txn) -> impl Future<Output = Result<Option<Self>, ReadError>> + Send;
}

/// Decides again inside of a transaction, on what the transaction reads: the commit fails if
/// any of it changes meanwhile. Gives the thing as it is now.
pub(in crate::registry) async fn decide_again<T: Resource>(
    txn: &mut Txn,
    access: &Access,
    what: &T,
    verb: Verb,
) -> Result<T, ApiError> {
    let now = access.now();
    let Some(caller) = identify::again(txn, &access.caller, now).await? else {
        return Err(ApiError::unauthorized());
    };
    let Some(current) = what.again(txn).await? else {
        return Err(ApiError::not_found(T::NOT_FOUND));
    };
    match current.decide(txn, &caller, verb, now).await? {
        Decision::Allowed => Ok(current),
        refused => Err(access.refuse::<T>(verb, refused)),
    }
}

/// Runs `work` in a transaction that decides again; `work` is given the thing as it is now.
pub(in crate::registry) async fn transact<T, A, V, F>(
    authorised: &Authorised<T, A>,
    work: impl Fn(Txn, T) -> F,
) -> Result<V, ApiError>
where
    T: Resource,
    A: Action,
    F: Future<Output = Result<(Txn, V), ApiError>>,
{
    let guarded = async |mut txn: Txn| {
        let current = decide_again(&mut txn, &authorised.access, &*authorised.what, A::VERB).await?;
        let (mut txn, value) = work(txn, current).await?;
        audit::tell_anyway(&mut txn, &authorised.access, &*authorised.what);
        Ok((txn, value))
    };
    authorised.access.transact(guarded).await
}

impl Resource for Project {
    const NOT_FOUND: &str = "404 Project Not Found";

    async fn decide<R: Reader>(
        &self,
        reader: &mut R,
        caller: &Caller,
        verb: Verb,
        now: Timestamp,
    ) -> Result<Decision, ReadError> {
        let standing = match caller.identity() {
            Identity::Anonymous => Standing::Anonymous,
            Identity::User(user) => Standing::User {
                role: member::role_in(reader, &self.ancestors, Some(self.id), user.id, now).await?,
                scopes: caller.scopes(),
                admin: user.admin,
            },
            Identity::Deploy { place, .. } => Standing::Deploy {
                inside: self.is_inside(place),
                scopes: caller.scopes(),
            },
            Identity::Job(job) => Standing::Deploy {
                inside: job.is_inside(self),
                scopes: job.scopes_in(self),
            },
        };
        // What of the project the verb is about has a switch of its own.
        let access = match verb {
            Verb::Pull | Verb::Publish | Verb::Delete => Some(self.package_access),
            Verb::PullImage | Verb::PushImage | Verb::DeleteImage => Some(self.image_access()),
            Verb::See | Verb::Manage | Verb::ManageSelf | Verb::Own => None,
        };
        let visibility = match (access, verb) {
            (Some(PackageAccess::Public), Verb::Pull | Verb::PullImage) => Visibility::Public,
            (Some(PackageAccess::Private), _) => Visibility::Private,
            _ => self.visibility,
        };
        Ok(match decide(verb, visibility, standing) {
            Decision::Allowed if access == Some(PackageAccess::Disabled) => Decision::Forbidden,
            // Narrower packages do not hide the project itself.
            Decision::Hidden if decide(Verb::See, self.visibility, standing) != Decision::Hidden => {
                Decision::Forbidden
            }
            decision => decision,
        })
    }

    async fn again(&self, txn: &mut Txn) -> Result<Option<Self>, ReadError> {
        project::by_id(txn, self.root(), self.id).await
    }
}

/// What a group has to give is found project by project, so whoever sees the group may ask.
fn asked_of_group(verb: Verb) -> Verb {
    match verb {
        Verb::Pull | Verb::PullImage => Verb::See,
        other => other,
    }
}

impl Resource for Group {
    const NOT_FOUND: &str = "404 Group Not Found";

    fn who_may(verb: Verb) -> String {
        action::who_may(asked_of_group(verb))
    }

    async fn decide<R: Reader>(
        &self,
        reader: &mut R,
        caller: &Caller,
        verb: Verb,
        now: Timestamp,
    ) -> Result<Decision, ReadError> {
        let standing = match caller.identity() {
            Identity::Anonymous => Standing::Anonymous,
            Identity::User(user) => Standing::User {
                role: member::role_in(reader, &self.chain(), None, user.id, now).await?,
                scopes: caller.scopes(),
                admin: user.admin,
            },
            Identity::Deploy { place, .. } => Standing::Deploy {
                inside: place.kind == PlaceKind::Group && self.chain().contains(&place.id),
                scopes: caller.scopes(),
            },
            Identity::Job(job) => Standing::Deploy {
                inside: job.is_over(&self.chain()),
                scopes: caller.scopes(),
            },
        };
        let verb = asked_of_group(verb);
        let decision = decide(verb, self.visibility, standing);
        let Some(user) = caller.user().filter(|_| decision == Decision::Hidden) else {
            return Ok(decision);
        };
        // Whoever is a member of something in it sees the group around it.
        let below = member::is_member_below(reader, user.id, self.id, now).await?;
        Ok(match (below, verb) {
            (true, Verb::See) => Decision::Allowed,
            (true, _) => Decision::Forbidden,
            (false, _) => Decision::Hidden,
        })
    }

    async fn again(&self, txn: &mut Txn) -> Result<Option<Self>, ReadError> {
        group::by_id(txn, self.root(), self.id).await
    }
}

/// Everybody may ask the instance for packages, every user sees it, and those who administer it
/// may do all else.
impl Resource for Instance {
    const NOT_FOUND: &str = "404 Not Found";

    fn who_may(verb: Verb) -> String {
        let who = match verb {
            Verb::Pull | Verb::PullImage => "For everyone.",
            Verb::See => "For whoever has signed in.",
            Verb::ManageSelf => "For users, about themselves, and for administrators.",
            _ => "For administrators.",
        };
        who.into()
    }

    fn is_open(verb: Verb) -> bool {
        matches!(verb, Verb::Pull | Verb::PullImage)
    }

    async fn decide<R: Reader>(
        &self,
        _: &mut R,
        caller: &Caller,
        verb: Verb,
        _: Timestamp,
    ) -> Result<Decision, ReadError> {
        Ok(match verb {
            Verb::Pull | Verb::PullImage => Decision::Allowed,
            Verb::See if caller.user().is_some() => Decision::Allowed,
            Verb::ManageSelf if caller.user().is_some() && caller.scopes().has(TokenScope::Api) => {
                Decision::Allowed
            }
            _ if caller.is_admin() => Decision::Allowed,
            _ => Decision::Forbidden,
        })
    }

    async fn again(&self, _: &mut Txn) -> Result<Option<Self>, ReadError> {
        Ok(Some(*self))
    }
}
