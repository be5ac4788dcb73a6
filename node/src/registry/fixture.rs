//! Fills an in-memory node for tests.

use std::collections::BTreeMap;

use cairn_cluster::{Collection, Scan, Timestamp, Txn};

use crate::app::App;
use crate::auth::role::Role;
use crate::auth::scopes::{Scopes, TokenScope};
use crate::auth::token::{Token, TokenKind};
use crate::http::error::ApiError;
use crate::registry::cleanup;
use crate::registry::ending;
use crate::registry::group::{self, Group, NewGroup};
use crate::registry::keys;
use crate::registry::member::{self, Membership};
use crate::registry::names::{Reference, Visibility};
use crate::registry::project::{self, NewProject};
use crate::registry::purge;
use crate::registry::settings::{DuplicatePolicy, PackageAccess};
use crate::registry::storage::{self, recount};
use crate::registry::token::{self, NewToken};
use crate::registry::trash;
use crate::registry::user::{self, NewUser};

/// Adds what [`crate::testing`] says to a node that has `acme/demo`; gives the tokens.
pub(crate) async fn populate(app: &App) -> BTreeMap<&'static str, String> {
    let work = async |mut txn: Txn| {
        let tokens = fill(&mut txn, app).await?;
        Ok::<_, ApiError>((txn, tokens))
    };
    app.store().kv().transact(work).await.unwrap()
}

/// Adds a private project to `acme`.
pub(crate) async fn add_to_acme(app: &App, path: &str) {
    let work = async |mut txn: Txn| {
        let reference = Reference::Path("acme".parse().unwrap());
        let acme = group::find(&mut txn, &reference).await?.unwrap();
        add_project(&mut txn, &acme, path, Visibility::Private, app).await?;
        Ok::<_, ApiError>((txn, ()))
    };
    app.store().kv().transact(work).await.unwrap();
}

async fn fill(txn: &mut Txn, app: &App) -> Result<BTreeMap<&'static str, String>, ApiError> {
    let store = app.store();
    let (seams, now, key) = (store.seams(), store.now(), &store.secrets().await?.token_hash);
    let acme = group::find(txn, &Reference::Path("acme".parse().unwrap()))
        .await?
        .unwrap();
    for (path, visibility) in [("open", Visibility::Public), ("inside", Visibility::Internal)] {
        add_project(txn, &widened(&acme), path, visibility, app).await?;
    }
    let other = NewGroup {
        path: "other".parse().unwrap(),
        name: "other".into(),
        description: String::new(),
        visibility: Visibility::Private,
    };
    let other = group::create(txn, None, other, now).await?;
    let mut tokens = BTreeMap::new();
    for (name, role) in [
        ("stranger", None),
        ("guest", Some(Role::Guest)),
        ("reporter", Some(Role::Reporter)),
        ("developer", Some(Role::Developer)),
        ("maintainer", Some(Role::Maintainer)),
        ("owner", Some(Role::Owner)),
    ] {
        let user = add_user(txn, name, now).await?;
        if let Some(role) = role {
            let membership = Membership {
                role,
                expires_at: None,
                created_at: now,
            };
            member::put(txn, acme.place(), &[], user, &membership);
        }
        let (_, token) = token::create_personal(txn, seams, key, user, scoped(&[TokenScope::Api])).await?;
        tokens.insert(name, token.reveal());
        if name == "maintainer" {
            let new = scoped(&[TokenScope::ReadApi]);
            let (_, token) = token::create_personal(txn, seams, key, user, new).await?;
            tokens.insert("reading", token.reveal());
        }
    }
    let demo = project::find(txn, &Reference::Id(1)).await?.unwrap();
    let read = [TokenScope::ReadPackageRegistry, TokenScope::ReadRegistry];
    let write = [TokenScope::WritePackageRegistry, TokenScope::WriteRegistry];
    let both = [read, write].concat();
    for (name, place, scopes) in [
        ("deploy-read", demo.place(), read.as_slice()),
        ("deploy-write", demo.place(), both.as_slice()),
        ("foreign-deploy", other.place(), both.as_slice()),
    ] {
        let username = Some(name.to_owned());
        let (_, token) = token::create_deploy(txn, seams, key, place, username, scoped(scopes)).await?;
        tokens.insert(name, token.reveal());
    }
    let maintainer = user::by_name(txn, &"maintainer".parse().unwrap()).await?.unwrap();
    let ended = NewToken {
        expires_at: Some(Timestamp(1)),
        ..scoped(&[TokenScope::Api])
    };
    let (_, token) = token::create_personal(txn, seams, key, maintainer.id, ended).await?;
    tokens.insert("expired", token.reveal());
    tokens.insert("wrong", Token::generate(TokenKind::Personal, seams).reveal());
    Ok(tokens)
}

async fn add_user(txn: &mut Txn, name: &str, now: Timestamp) -> Result<u64, ApiError> {
    let new = NewUser {
        username: name.parse().unwrap(),
        name: name.into(),
        email: format!("{name}@cairn.example"),
        admin: false,
        bot: false,
    };
    Ok(user::create(txn, new, now).await?.id)
}

fn scoped(scopes: &[TokenScope]) -> NewToken {
    NewToken {
        name: "test".into(),
        scopes: Scopes::of(scopes),
        expires_at: None,
    }
}

fn widened(group: &Group) -> Group {
    Group {
        visibility: Visibility::Public,
        ..group.clone()
    }
}

async fn add_project(
    txn: &mut Txn,
    group: &Group,
    path: &str,
    visibility: Visibility,
    app: &App,
) -> Result<(), ApiError> {
    let new = NewProject {
        path: path.parse().unwrap(),
        name: path.into(),
        description: String::new(),
        visibility,
        package_access: PackageAccess::default(),
        image_access: PackageAccess::default(),
    };
    project::create(txn, group, new, None, app.store().now()).await?;
    Ok(())
}

/// Sets what happens to duplicates in a project.
pub(crate) async fn set_duplicates(app: &App, project: u64, format: &str, policy: DuplicatePolicy) {
    let work = async |mut txn: Txn| {
        let mut project = project::find(&mut txn, &Reference::Id(project)).await?.unwrap();
        project.packages.duplicates.insert(format.into(), policy);
        txn.put_record(&keys::project(project.root(), project.id), &project);
        Ok::<_, ApiError>((txn, ()))
    };
    app.store().kv().transact(work).await.unwrap();
}

/// Revokes a token.
pub(crate) async fn revoke(app: &App, token: &str) {
    let token: Token = token.parse().unwrap();
    let work = async |mut txn: Txn| {
        let mut record = token::by_id(&mut txn, token.id()).await?.unwrap();
        record.revoked_at = Some(app.store().now());
        txn.put_record(&keys::token(token.id()), &record);
        Ok::<_, ApiError>((txn, ()))
    };
    app.store().kv().transact(work).await.unwrap();
}

/// Takes a user's role in a group away.
pub(crate) async fn remove_member(app: &App, user: &str, group: &str) {
    let work = async |mut txn: Txn| {
        let user = user::by_name(&mut txn, &user.parse().unwrap()).await?.unwrap();
        let group = group::find(&mut txn, &group.parse().unwrap()).await?.unwrap();
        member::remove(&mut txn, group.place(), user.id);
        Ok::<_, ApiError>((txn, ()))
    };
    app.store().kv().transact(work).await.unwrap();
}

/// Has what is deleted from now on be gone at once.
pub(crate) async fn delete_finally(app: &App) {
    let work = async |mut txn: Txn| {
        txn.put_record(&keys::undelete_window(), &trash::Window { days: 0 });
        Ok::<_, ApiError>((txn, ()))
    };
    app.store().kv().transact(work).await.unwrap();
}

/// Takes apart what cannot be restored any more.
pub(crate) async fn empty_trash(app: &App) {
    trash::run(app.store()).await.unwrap();
    purge(app).await;
}

/// Takes apart what was deleted.
pub(crate) async fn purge(app: &App) {
    purge::run(app.store()).await.unwrap();
}

/// Takes away all counters of what project 1, 2 and their group store, as of a time when there were none.
pub(crate) async fn forget_counters(app: &App) {
    let work = async |mut txn: Txn| {
        for place in [
            keys::Member::Group(1),
            keys::Member::Project(1),
            keys::Member::Project(2),
        ] {
            storage::forget(&mut txn, 1, place, 1000).await?;
        }
        Ok::<_, ApiError>((txn, ()))
    };
    app.store().kv().transact(work).await.unwrap();
}

/// Counts anew what is stored, where that is to be done.
pub(crate) async fn recount(app: &App) -> Result<(), ApiError> {
    recount::run(app.store()).await
}

/// Makes sure that what a project, if it is still there, is said to store is what is there.
pub(crate) async fn check_counters(app: &App, project: u64) {
    let snapshot = app.store().kv().local();
    let found = project::by_id(&mut snapshot.clone(), 1, project).await.unwrap();
    if let Some(project) = found {
        storage::check(&snapshot, &project).await;
    }
}

/// Gives every cleanup policy that is due its turn.
pub(crate) async fn clean_up(app: &App) {
    cleanup::run(app).await.unwrap();
}

/// Begins the turn of a cleanup policy that is due, and leaves it at that, as a node does that dies.
pub(crate) async fn begin_cleanup(app: &App) {
    cleanup::begin_first(app, 1).await;
}

/// Writes when tokens and packages were last used.
pub(crate) async fn write_usage(app: &App) {
    let store = app.store();
    store.usage().write(store.kv()).await.unwrap();
}

/// Forgets what has ended.
pub(crate) async fn forget_what_ended(app: &App) {
    ending::forget_all(app.store()).await.unwrap();
}

/// How many records there are of jobs: what is to be forgotten, and what is remembered of `token`.
pub(crate) async fn records_of_job(app: &App, token: &str) -> (usize, bool) {
    let snapshot = app.store().kv().local();
    let endings = snapshot.scan(Scan::of(&keys::endings())).await.unwrap().len();
    let token: Token = token.parse().unwrap();
    let key = keys::token(token.id());
    (endings, snapshot.get(&key).await.unwrap().is_some())
}

/// How many trust rules are found by their issuer.
pub(crate) async fn rules_by(app: &App, issuer: &str) -> usize {
    let snapshot = app.store().kv().local();
    let rules = keys::trust_rules_by(issuer);
    snapshot.scan(Scan::of(&rules)).await.unwrap().len()
}

/// How many files there are in project 1, by their numbers and by their names.
pub(crate) async fn items(app: &App) -> usize {
    let snapshot = app.store().kv().local();
    let mut items = 0;
    for id in 1..2000 {
        for collection in [keys::files(1, 1, id), keys::file_ids(1, 1, id)] {
            items += snapshot.scan(Scan::of(&collection)).await.unwrap().len();
        }
    }
    items
}

/// How many records of its own a format keeps about the package `foo` of a project, and in the
/// list of its packages.
pub(crate) async fn format_records(app: &App, project: u64, format: &str) -> usize {
    let snapshot = app.store().kv().local();
    let own = keys::format(1, project, format);
    let mut items = snapshot.scan(Scan::of(&own.at("name"))).await.unwrap().len();
    for name in ["release", "file", "gone"] {
        let collection = own.at(name).at("foo");
        items += snapshot.scan(Scan::of(&collection)).await.unwrap().len();
    }
    items
}

/// Where a format keeps records of its own in project 1.
pub(crate) fn format_collection(format: &str) -> Collection {
    keys::format(1, 1, format)
}

/// How many records there are in project 1 of an upload in parts, and of the orders to take
/// apart what is to go.
pub(crate) async fn records_of_parts(app: &App, upload_id: &str) -> usize {
    let snapshot = app.store().kv().local();
    let own = keys::format(1, 1, "generic");
    let number = u64::from_str_radix(&upload_id[..16], 16).unwrap();
    let mut items = 0;
    for collection in [
        own.at("multiparts"),
        own.at("parts-bytes"),
        own.at("parts").at(number),
        keys::purges(1),
    ] {
        items += snapshot.scan(Scan::of(&collection)).await.unwrap().len();
    }
    items
}

/// How many items there are below a project, its tombstones and indexes included.
pub(crate) async fn keys_of_project(app: &App, id: u64) -> usize {
    let snapshot = app.store().kv().local();
    let project = keys::Member::Project(id);
    let mut collections = vec![
        keys::members(1, project),
        keys::deploy_tokens(1, project),
        keys::packages(1, id),
        keys::version_ids(1, id),
        keys::version_times(1, id),
        keys::purges(1),
        keys::protection(1, id),
        keys::cleanup_policies(1, id),
        keys::cleanups(1),
        keys::stored(1, project),
        keys::trash(1, id),
        keys::downloads(1, id),
        keys::downloads_of(1, id),
        keys::trash_due(1),
    ];
    for name in ["tool", "gone"] {
        collections.push(keys::named(1, "generic", name));
        collections.push(keys::tombstones(1, id, "generic", name));
    }
    for number in 1..100 {
        collections.push(keys::versions(1, id, number));
        collections.push(keys::files(1, id, number));
        collections.push(keys::file_ids(1, id, number));
        collections.push(keys::older_files(1, id, number));
    }
    let mut items = 0;
    for collection in collections {
        items += snapshot.scan(Scan::of(&collection)).await.unwrap().len();
    }
    items
}
