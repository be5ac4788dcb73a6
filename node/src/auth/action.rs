//! What can be done to a project or group, and who may: one pure table.

use crate::auth::role::Role;
use crate::auth::scopes::{Scopes, TokenScope};
use crate::registry::names::Visibility;

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Know that it exists.
    See,
    /// Fetch or list packages.
    Pull,
    /// Add packages.
    Publish,
    /// Remove packages.
    Delete,
    /// Pull container images.
    PullImage,
    /// Push container images.
    PushImage,
    /// Delete container images and their tags.
    DeleteImage,
    /// Change settings, list and make tokens of a project, manage its members.
    Manage,
    /// Change what is the caller's own: its tokens.
    ManageSelf,
    /// What only owners may: delete it, make tokens of a group.
    Own,
}

/// Whether a request must see everything that was acknowledged before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Always.
    Latest,
    /// What is read cannot change once it is there, so a GET or HEAD may be answered by a node
    /// that lost the majority, within the bound on how stale a permission may be.
    Immutable,
}

/// A verb as a type, so that a handler's signature says what it may do.
pub trait Action: Send + Sync + 'static {
    /// What is checked.
    const VERB: Verb;
    /// How fresh permissions and data must be.
    const FRESHNESS: Freshness = Freshness::Latest;
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident => $verb:ident $(, $freshness:ident)?;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}

        impl Action for $name {
            const VERB: Verb = Verb::$verb;
            $(const FRESHNESS: Freshness = Freshness::$freshness;)?
        }
    )*};
}

actions! {
    /// [`Verb::See`].
    See => See;
    /// [`Verb::Pull`]: lists, package indexes, tags, and all that can change.
    Pull => Pull;
    /// [`Verb::Pull`] of a file that cannot change once it is published.
    PullImmutable => Pull, Immutable;
    /// [`Verb::Publish`].
    Publish => Publish;
    /// [`Verb::Delete`].
    Delete => Delete;
    /// [`Verb::PullImage`].
    PullImage => PullImage;
    /// [`Verb::PullImage`] of what is named by its digest.
    PullImmutableImage => PullImage, Immutable;
    /// [`Verb::PushImage`].
    PushImage => PushImage;
    /// [`Verb::DeleteImage`].
    DeleteImage => DeleteImage;
    /// [`Verb::Manage`].
    Manage => Manage;
    /// [`Verb::ManageSelf`].
    ManageSelf => ManageSelf;
    /// [`Verb::Own`].
    Own => Own;
}

/// What a caller brings to one project or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody in particular.
    Anonymous,
    /// A user.
    User {
        /// The greatest role over the project, its groups and what the user is invited to.
        role: Option<Role>,
        /// What the token is for.
        scopes: Scopes,
        /// Whether the user administers the instance.
        admin: bool,
    },
    /// A deploy token, or a job.
    Deploy {
        /// Whether it is for the project, or for a group above it.
        inside: bool,
        /// What the token is for.
        scopes: Scopes,
    },
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allowed,
    /// The caller may know that it exists, but not do this.
    Forbidden,
    /// The caller may not know that it exists.
    Hidden,
}

/// Who may, by role.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Everyone,
    SignedIn,
    Role(Role),
}

/// Decides whether a caller of this standing may do `verb` to something of this visibility.
pub fn decide(verb: Verb, visibility: Visibility, standing: Standing) -> Decision {
    let need = need(verb, visibility);
    // What everyone may do, every valid credential may do too.
    let allowed = need == Need::Everyone
        || match standing {
            Standing::Anonymous => false,
            Standing::User { role, scopes, admin } => {
                scopes.has_any(user_scopes(verb))
                    && match need {
                        _ if admin => true,
                        Need::Everyone | Need::SignedIn => true,
                        Need::Role(least) => role.is_some_and(|role| role >= least),
                    }
            }
            Standing::Deploy { inside, scopes } => inside && scopes.has_any(deploy_scopes(verb)),
        };
    match (allowed, sees(visibility, standing)) {
        (true, _) => Decision::Allowed,
        (false, true) => Decision::Forbidden,
        (false, false) => Decision::Hidden,
    }
}

/// Who may do `verb` to a project or group, in words.
pub(crate) fn who_may(verb: Verb) -> String {
    let told = |visibility| match need(verb, visibility) {
        Need::Everyone => "everyone".to_owned(),
        Need::SignedIn => "whoever has signed in".to_owned(),
        Need::Role(least) => format!("members from {} on", least.name()),
    };
    let [private, internal, public] =
        [Visibility::Private, Visibility::Internal, Visibility::Public].map(told);
    let who = match private == public {
        true => format!("For {private}."),
        false => format!("Private: for {private}. Internal: for {internal}. Public: for {public}."),
    };
    let scopes: Vec<_> = user_scopes(verb)
        .iter()
        .map(|scope| format!("`{}`", scope.name()))
        .collect();
    format!("{who} A user's token has the scope {}.", scopes.join(" or "))
}

/// Whether everyone may do `verb` to what is public.
pub(crate) fn is_open(verb: Verb) -> bool {
    need(verb, Visibility::Public) == Need::Everyone
}

fn sees(visibility: Visibility, standing: Standing) -> bool {
    match (visibility, standing) {
        (Visibility::Public, _) => true,
        (_, Standing::Anonymous) => false,
        (_, Standing::User { admin: true, .. }) => true,
        (Visibility::Internal, Standing::User { .. }) => true,
        (Visibility::Private, Standing::User { role, .. }) => role.is_some(),
        (_, Standing::Deploy { inside, .. }) => inside,
    }
}

fn need(verb: Verb, visibility: Visibility) -> Need {
    match (verb, visibility) {
        (Verb::See | Verb::Pull | Verb::PullImage, Visibility::Public) => Need::Everyone,
        (Verb::See | Verb::Pull | Verb::PullImage, Visibility::Internal) => Need::SignedIn,
        (Verb::See, Visibility::Private) => Need::Role(Role::Guest),
        (Verb::Pull | Verb::PullImage, Visibility::Private) => Need::Role(Role::Reporter),
        (Verb::Publish | Verb::PushImage | Verb::DeleteImage, _) => Need::Role(Role::Developer),
        (Verb::Delete | Verb::Manage, _) => Need::Role(Role::Maintainer),
        (Verb::Own | Verb::ManageSelf, _) => Need::Role(Role::Owner),
    }
}

/// One of these scopes lets a user's token do `verb`.
fn user_scopes(verb: Verb) -> &'static [TokenScope] {
    match verb {
        Verb::See | Verb::Pull => &[TokenScope::Api, TokenScope::ReadApi],
        Verb::PullImage => &[TokenScope::Api, TokenScope::ReadApi, TokenScope::ReadRegistry],
        Verb::PushImage | Verb::DeleteImage => &[TokenScope::Api, TokenScope::WriteRegistry],
        Verb::Publish | Verb::Delete | Verb::Manage | Verb::ManageSelf | Verb::Own => &[TokenScope::Api],
    }
}

/// One of these scopes lets a deploy token, or a job, do `verb`.
pub(crate) fn deploy_scopes(verb: Verb) -> &'static [TokenScope] {
    match verb {
        Verb::See => &[
            TokenScope::ReadPackageRegistry,
            TokenScope::WritePackageRegistry,
            TokenScope::ReadRegistry,
            TokenScope::WriteRegistry,
        ],
        Verb::Pull => &[TokenScope::ReadPackageRegistry],
        Verb::Publish => &[TokenScope::WritePackageRegistry],
        Verb::PullImage => &[TokenScope::ReadRegistry],
        Verb::PushImage => &[TokenScope::WriteRegistry],
        Verb::DeleteImage | Verb::Delete | Verb::Manage | Verb::ManageSelf | Verb::Own => &[],
    }
}
