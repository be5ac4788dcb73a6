//! What a new cluster begins with.

use cairn_cluster::Txn;

use crate::app::App;
use crate::auth::scopes::{Scopes, TokenScope};
use crate::auth::token::HashKey;
use crate::http::error::ApiError;
use crate::registry::names::{FullPath, PathSegment, Reference, Username, Visibility};
use crate::registry::settings::PackageAccess;
use crate::registry::{group, project, store, token, user};

/// What to make, besides the cluster's secret.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// An administrator of this name, with a token.
    pub administrator: Option<Username>,
    /// A root group.
    pub group: Option<PathSegment>,
    /// A private project in that group.
    pub project: Option<PathSegment>,
}

/// What was made now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bootstrapped {
    /// The administrator's token; only when the administrator was made by this very call.
    pub token: Option<String>,
    /// The number of the project, whenever it was made.
    pub project: Option<u64>,
}

impl Bootstrap {
    /// The administrator `root`, the group `acme` and the project `acme/demo`.
    pub fn demo() -> Self {
        let segment = |text: &str| text.parse().expect("a plain word is a path");
        Self {
            administrator: Some("root".parse().expect("a plain word is a name")),
            group: Some(segment("acme")),
            project: Some(segment("demo")),
        }
    }
}

/// Makes what is missing, all in one transaction. Done again, it changes nothing.
pub async fn bootstrap(app: &App, wanted: &Bootstrap) -> Result<Bootstrapped, ApiError> {
    let store = app.store();
    store
        .kv()
        .transact(async |mut txn: Txn| {
            let secret = store::ensure_secret(&mut txn, store.seams()).await?;
            let mut made = Bootstrapped::default();
            let mut administrator = None;
            if let Some(name) = &wanted.administrator {
                (administrator, made.token) =
                    ensure_administrator(&mut txn, app, &HashKey::derive(&secret), name).await?;
            }
            if let Some(segment) = &wanted.group {
                let group = ensure_group(&mut txn, app, segment).await?;
                if let Some(segment) = &wanted.project {
                    made.project = Some(ensure_project(&mut txn, app, &group, segment, administrator).await?);
                }
            }
            Ok((txn, made))
        })
        .await
}

async fn ensure_administrator(
    txn: &mut Txn,
    app: &App,
    key: &HashKey,
    name: &Username,
) -> Result<(Option<u64>, Option<String>), ApiError> {
    if let Some(user) = user::by_name(txn, name).await? {
        return Ok((Some(user.id), None));
    }
    let seams = app.store().seams();
    let new = user::NewUser {
        username: name.clone(),
        name: "Administrator".into(),
        email: String::new(),
        admin: true,
        bot: false,
    };
    let user = user::create(txn, new, seams.clock.now()).await?;
    let new = token::NewToken {
        name: "first token".into(),
        scopes: Scopes::of(&[TokenScope::Api]),
        expires_at: None,
    };
    let (_, token) = token::create_personal(txn, seams, key, user.id, new).await?;
    Ok((Some(user.id), Some(token.reveal())))
}

async fn ensure_group(txn: &mut Txn, app: &App, segment: &PathSegment) -> Result<group::Group, ApiError> {
    let path = FullPath::of_root(segment)?;
    if let Some(group) = group::find(txn, &Reference::Path(path)).await? {
        return Ok(group);
    }
    let new = group::NewGroup {
        path: segment.clone(),
        name: segment.as_str().into(),
        description: String::new(),
        visibility: Visibility::Private,
    };
    group::create(txn, None, new, app.store().now()).await
}

async fn ensure_project(
    txn: &mut Txn,
    app: &App,
    group: &group::Group,
    segment: &PathSegment,
    creator: Option<u64>,
) -> Result<u64, ApiError> {
    let path = group.path.child(segment)?;
    if let Some(project) = project::find(txn, &Reference::Path(path)).await? {
        return Ok(project.id);
    }
    let new = project::NewProject {
        path: segment.clone(),
        name: segment.as_str().into(),
        description: String::new(),
        visibility: Visibility::Private,
        package_access: PackageAccess::default(),
        image_access: PackageAccess::default(),
    };
    Ok(project::create(txn, group, new, creator, app.store().now())
        .await?
        .id)
}
