//! The key layout of the registry, drawn once. Nothing else in this crate makes keys, except
//! formats below [`format`].
//!
//! ```text
//! 0 (the instance)
//! ├── secret           name                  → 32 random bytes
//! ├── sequence         what is numbered      → the last number given out
//! ├── user             user id               → User
//! │   └── {user id}
//! │       ├── token    token number          → Personal (a list entry)
//! │       ├── password                       → StoredPassword
//! │       ├── session  begun at, session name → ()
//! │       ├── identity issuer                → Identity
//! │       └── member   "g" or "p", id        → Membership
//! ├── username         folded name           → user id
//! ├── token            token id              → Token
//! ├── token-number     number of a user's    → token id
//! ├── token-used       token id              → when it was last used (raised)
//! ├── token-lifetimes  ""                    → Lifetimes (how long tokens may live)
//! ├── session          session name          → Session
//! ├── session-used     session name          → when it was last used (raised)
//! ├── directory                              → NextLook (through the directory that people sign in by)
//! ├── identity / {issuer}   subject          → user id (of an account somewhere else)
//! ├── trust            rule number           → TrustRule
//! ├── trust-by / {issuer}   rule number      → TrustRule (the same, found by whom it believes)
//! ├── id-token         what tells it apart   → () (an ID token, or a sign-in, that was used)
//! ├── ending           ends at, what         → Ending (what is forgotten then)
//! ├── adoption / {month} / {format} / {side}   register → a rank (raised; see adoption)
//! ├── downloads / {month}   format           → how many (added)
//! ├── setting          what it is about      → a setting of the instance
//! ├── path             folded full path      → Place
//! ├── root-group       group id              → ()
//! ├── audit            (a chain)             → Event
//! │   └── {"g" or "p", id, or nothing}   number of an event → ()
//! ├── group            group id              → its root group
//! └── project          project id            → its root group
//!
//! R (the id of a root group: everything that it owns, so that R can move to a store of its own)
//! ├── group            group id              → Group
//! │   └── {group id}
//! │       ├── child    "g" or "p", id        → ()
//! │       ├── member   user id               → Member
//! │       ├── deploy   token number          → Deploy (a list entry)
//! │       ├── stored   see storage           → bytes, files or versions that count here (added)
//! │       ├── quota    ""                    → Quota
//! │       └── trust    rule number           → ()
//! ├── project          project id            → Project
//! │   └── {project id}
//! │       ├── member   user id               → Member
//! │       ├── deploy   token number          → Deploy (a list entry)
//! │       ├── trust    rule number           → ()
//! │       ├── stored   see storage           → bytes, files or versions that count here (added)
//! │       ├── quota    ""                    → Quota
//! │       ├── name     format, 0, name       → Package
//! │       ├── version / {package key}   version        → Version
//! │       ├── tomb    / {format} / {name}  version     → Tombstone
//! │       ├── file    / {version id}    file name      → File
//! │       ├── older   / {version id}    file id        → File that one of the same name replaced
//! │       ├── file-id / {version id}    file id        → file name
//! │       ├── id       version id            → Location
//! │       ├── time     created at, version id → Location
//! │       ├── trash    number                → Deleted (what can be restored)
//! │       ├── downloads     version id       → how often it was downloaded (added)
//! │       ├── downloads-of  format, 0, name  → the same of a package (added)
//! │       ├── pulled   version id            → when it was last downloaded (raised)
//! │       ├── protection  kind of rules → Rules
//! │       ├── cleanup  kind              → a policy by which something is let go
//! │       ├── by       version id            → Origin (the job that published it, if it was one)
//! │       └── format / {format}         the format's own records
//! ├── named / {format} / {name}   project id → ()
//! ├── purge            purge id              → Purge (what is deleted and still to be taken apart)
//! ├── trash            due at, project id, number → ()
//! ├── recount          ""                    → Recount (of what is stored)
//! └── cleanup          project id, kind      → Schedule (of a cleanup policy that is switched on)
//! ```
//!
//! The blobs of a root group have a space of their own, `R` too; `cairn_cluster` makes its keys.
//! A transaction on packages writes below one `R` only; the administration of users, tokens,
//! groups and projects also writes below 0. Both append to the audit log, which is one for all that
//! a store keeps.

use cairn_cluster::{Chain, Collection, Key, Timestamp};

use crate::auth::session::SessionName;
use crate::auth::token::TokenId;

/// What owns the data of the whole instance. No group has this id.
const INSTANCE: u64 = 0;

fn instance(name: &str) -> Collection {
    Collection::new(INSTANCE).at(name)
}

fn owned(root: u64, name: &str) -> Collection {
    Collection::new(root).at(name)
}

/// The items of a group or project in lists that mix both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Member {
    Group(u64),
    Project(u64),
}

impl Member {
    fn item(self) -> Vec<u8> {
        let (kind, id) = match self {
            Self::Group(id) => (b'g', id),
            Self::Project(id) => (b'p', id),
        };
        let mut item = vec![kind];
        item.extend_from_slice(&id.to_be_bytes());
        item
    }

    /// Reads the item of a list that mixes both.
    pub(in crate::registry) fn of_item(item: &[u8]) -> Option<Self> {
        let (kind, id) = item.split_first()?;
        let id = u64::from_be_bytes(id.try_into().ok()?);
        match kind {
            b'g' => Some(Self::Group(id)),
            b'p' => Some(Self::Project(id)),
            _ => None,
        }
    }

    fn base(self, root: u64) -> Collection {
        match self {
            Self::Group(id) => owned(root, "group").at(id),
            Self::Project(id) => owned(root, "project").at(id),
        }
    }
}

/// Reads an item that is a number.
pub(in crate::registry) fn number(item: &[u8]) -> Option<u64> {
    item.try_into().ok().map(u64::from_be_bytes)
}

pub(in crate::registry) fn secret(name: &str) -> Key {
    instance("secret").key(name)
}

/// The audit log.
pub(in crate::registry) fn audit() -> Chain {
    Chain::new(instance("audit"))
}

/// The numbers of the events of a group, a project, or of the instance itself.
pub(in crate::registry) fn audited(of: Option<Member>) -> Collection {
    instance("audit").at(of.map(Member::item).unwrap_or_default())
}

pub(in crate::registry) fn sequence(what: &str) -> Key {
    instance("sequence").key(what)
}

pub(in crate::registry) fn users() -> Collection {
    instance("user")
}

pub(in crate::registry) fn user_tokens(user: u64) -> Collection {
    users().at(user).at("token")
}

pub(in crate::registry) fn password(user: u64) -> Key {
    users().at(user).at("password").key("")
}

/// The sessions of a user, the oldest first.
pub(in crate::registry) fn user_sessions(user: u64) -> Collection {
    users().at(user).at("session")
}

/// The item of a session in [`user_sessions`].
pub(in crate::registry) fn session_item(begun_at: Timestamp, name: &SessionName) -> Vec<u8> {
    [begun_at.0.to_be_bytes().as_slice(), &name.0].concat()
}

/// The name in an item of [`user_sessions`].
pub(in crate::registry) fn session_of_item(item: &[u8]) -> Option<SessionName> {
    Some(SessionName(item.get(8..)?.try_into().ok()?))
}

pub(in crate::registry) fn user_identities(user: u64) -> Collection {
    users().at(user).at("identity")
}

pub(in crate::registry) fn directory() -> Key {
    instance("directory").key("")
}

/// The accounts that an issuer speaks of.
pub(in crate::registry) fn identities(issuer: &str) -> Collection {
    instance("identity").at(issuer)
}

pub(in crate::registry) fn identity(issuer: &str, subject: &str) -> Key {
    identities(issuer).key(subject)
}

pub(in crate::registry) fn session(name: &SessionName) -> Key {
    instance("session").key(name.0.as_slice())
}

pub(in crate::registry) fn session_used(name: &SessionName) -> Key {
    instance("session-used").key(name.0.as_slice())
}

pub(in crate::registry) fn user_memberships(user: u64) -> Collection {
    users().at(user).at("member")
}

pub(in crate::registry) fn user_membership(user: u64, of: Member) -> Key {
    user_memberships(user).key(of.item())
}

pub(in crate::registry) fn username(folded: &str) -> Key {
    instance("username").key(folded)
}

pub(in crate::registry) fn tokens() -> Collection {
    instance("token")
}

pub(in crate::registry) fn token(id: &TokenId) -> Key {
    tokens().key(id.as_str())
}

pub(in crate::registry) fn token_numbers() -> Collection {
    instance("token-number")
}

pub(in crate::registry) fn token_used(id: &TokenId) -> Key {
    instance("token-used").key(id.as_str())
}

pub(in crate::registry) fn trust_rule(number: u64) -> Key {
    instance("trust").key(number)
}

pub(in crate::registry) fn token_lifetimes() -> Key {
    instance("token-lifetimes").key("")
}

pub(in crate::registry) fn trust_rules_by(issuer: &str) -> Collection {
    instance("trust-by").at(issuer)
}

pub(in crate::registry) fn id_token(proof: &[u8; 32]) -> Key {
    instance("id-token").key(proof.as_slice())
}

pub(in crate::registry) fn endings() -> Collection {
    instance("ending")
}

pub(in crate::registry) fn paths() -> Collection {
    instance("path")
}

pub(in crate::registry) fn path(folded: &str) -> Key {
    paths().key(folded)
}

pub(in crate::registry) fn root_groups() -> Collection {
    instance("root-group")
}

pub(in crate::registry) fn group_roots() -> Collection {
    instance("group")
}

pub(in crate::registry) fn project_roots() -> Collection {
    instance("project")
}

pub(in crate::registry) fn group(root: u64, id: u64) -> Key {
    owned(root, "group").key(id)
}

pub(in crate::registry) fn children(root: u64, group: u64) -> Collection {
    owned(root, "group").at(group).at("child")
}

pub(in crate::registry) fn child(root: u64, group: u64, child: Member) -> Key {
    children(root, group).key(child.item())
}

/// All projects below a root group.
pub(in crate::registry) fn projects(root: u64) -> Collection {
    owned(root, "project")
}

pub(in crate::registry) fn project(root: u64, id: u64) -> Key {
    projects(root).key(id)
}

pub(in crate::registry) fn members(root: u64, of: Member) -> Collection {
    of.base(root).at("member")
}

pub(in crate::registry) fn deploy_tokens(root: u64, of: Member) -> Collection {
    of.base(root).at("deploy")
}

pub(in crate::registry) fn trust_rules_of(root: u64, of: Member) -> Collection {
    of.base(root).at("trust")
}

/// The counters of what a group or project stores.
pub(in crate::registry) fn stored(root: u64, of: Member) -> Collection {
    of.base(root).at("stored")
}

/// How much a group or project may store.
pub(in crate::registry) fn quota(root: u64, of: Member) -> Key {
    of.base(root).at("quota").key("")
}

/// How far the recount of what a root group stores came.
pub(in crate::registry) fn recount(root: u64) -> Key {
    owned(root, "recount").key("")
}

fn in_project(root: u64, project: u64, name: &str) -> Collection {
    Member::Project(project).base(root).at(name)
}

/// All packages of a project, ordered by format and name.
pub(in crate::registry) fn packages(root: u64, project: u64) -> Collection {
    in_project(root, project, "name")
}

/// What the items of one format's packages begin with.
pub(in crate::registry) fn package_prefix(format: &str) -> Vec<u8> {
    [format.as_bytes(), &[0]].concat()
}

/// The format that an item of [`packages`] begins with.
pub(in crate::registry) fn format_of_package(item: &[u8]) -> String {
    let format = item.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(format).into_owned()
}

pub(in crate::registry) fn package(root: u64, project: u64, format: &str, name: &str) -> Key {
    packages(root, project).key(package_item(format, name))
}

/// The item of a package in lists of all formats.
pub(in crate::registry) fn package_item(format: &str, name: &str) -> Vec<u8> {
    [package_prefix(format).as_slice(), name.as_bytes()].concat()
}

pub(in crate::registry) fn versions(root: u64, project: u64, package_key: u64) -> Collection {
    in_project(root, project, "version").at(package_key)
}

pub(in crate::registry) fn tombstones(root: u64, project: u64, format: &str, name: &str) -> Collection {
    in_project(root, project, "tomb").at(format).at(name)
}

pub(in crate::registry) fn files(root: u64, project: u64, version_id: u64) -> Collection {
    in_project(root, project, "file").at(version_id)
}

pub(in crate::registry) fn older_files(root: u64, project: u64, version_id: u64) -> Collection {
    in_project(root, project, "older").at(version_id)
}

pub(in crate::registry) fn file_ids(root: u64, project: u64, version_id: u64) -> Collection {
    in_project(root, project, "file-id").at(version_id)
}

pub(in crate::registry) fn version_ids(root: u64, project: u64) -> Collection {
    in_project(root, project, "id")
}

pub(in crate::registry) fn version_times(root: u64, project: u64) -> Collection {
    in_project(root, project, "time")
}

/// The item of a version in [`version_times`].
pub(in crate::registry) fn time_item(created_at: u64, version_id: u64) -> [u8; 16] {
    let mut item = [0; 16];
    item[..8].copy_from_slice(&created_at.to_be_bytes());
    item[8..].copy_from_slice(&version_id.to_be_bytes());
    item
}

pub(in crate::registry) fn pulled(root: u64, project: u64, version_id: u64) -> Key {
    in_project(root, project, "pulled").key(version_id)
}

/// How often versions of a project were downloaded.
pub(in crate::registry) fn downloads(root: u64, project: u64) -> Collection {
    in_project(root, project, "downloads")
}

/// The same of packages, by [`package_item`].
pub(in crate::registry) fn downloads_of(root: u64, project: u64) -> Collection {
    in_project(root, project, "downloads-of")
}

/// How often something was downloaded in a month, by format.
pub(in crate::registry) fn downloads_in(month: &str) -> Collection {
    instance("downloads").at(month)
}

/// The registers by which those are counted who did something in a month.
pub(in crate::registry) fn adoption(month: &str, format: &str, side: &str) -> Collection {
    instance("adoption").at(month).at(format).at(side)
}

/// The rules that protect names in a project, by their kind.
pub(in crate::registry) fn protection(root: u64, project: u64) -> Collection {
    in_project(root, project, "protection")
}

/// The cleanup policies of a project, by their kind.
pub(in crate::registry) fn cleanup_policies(root: u64, project: u64) -> Collection {
    in_project(root, project, "cleanup")
}

/// The schedules of the cleanup policies below a root group.
pub(in crate::registry) fn cleanups(root: u64) -> Collection {
    owned(root, "cleanup")
}

/// The item of a policy in [`cleanups`].
pub(in crate::registry) fn cleanup_item(project: u64, kind: &str) -> Vec<u8> {
    [&project.to_be_bytes(), kind.as_bytes()].concat()
}

pub(in crate::registry) fn published_by(root: u64, project: u64, version_id: u64) -> Key {
    in_project(root, project, "by").key(version_id)
}

/// What was deleted in a project and can be restored.
pub(in crate::registry) fn trash(root: u64, project: u64) -> Collection {
    in_project(root, project, "trash")
}

/// What was deleted below a root group, by the time at which it is taken apart.
pub(in crate::registry) fn trash_due(root: u64) -> Collection {
    owned(root, "trash")
}

/// The item of something deleted in [`trash_due`].
pub(in crate::registry) fn due_item(due: u64, project: u64, number: u64) -> Vec<u8> {
    [due, project, number].map(u64::to_be_bytes).concat()
}

/// Reads what [`due_item`] wrote.
pub(in crate::registry) fn due_of(item: &[u8]) -> Option<(u64, u64, u64)> {
    let (due, rest) = item.split_first_chunk::<8>()?;
    let (project, rest) = rest.split_first_chunk::<8>()?;
    Some((
        u64::from_be_bytes(*due),
        u64::from_be_bytes(*project),
        number(rest)?,
    ))
}

/// How long what was deleted can be restored.
pub(in crate::registry) fn undelete_window() -> Key {
    instance("setting").key("undelete")
}

/// Where a format keeps records of its own in a project.
pub(in crate::registry) fn format(root: u64, project: u64, format: &str) -> Collection {
    in_project(root, project, "format").at(format)
}

/// The projects below a root group that have a package of this name.
pub(in crate::registry) fn named(root: u64, format: &str, name: &str) -> Collection {
    owned(root, "named").at(format).at(name)
}

pub(in crate::registry) fn purges(root: u64) -> Collection {
    owned(root, "purge")
}
