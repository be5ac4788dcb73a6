//! `/api/cairn/v1/session`: how a person signs in at a browser, and out again; `/api/cairn/v1/user/sessions`:
//! where else somebody is signed in.
//!
//! JSON alone, so that no form of another site can send it. The session is a cookie, which the
//! management API takes from our own pages where a request has no token; package routes never do.

use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, IntoResponseParts, NoContent, Redirect, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::users::{Shown as ShownUser, whole};
use crate::app::App;
use crate::auth::password::Password;
use crate::auth::session::{COOKIE_NAME, forget_cookie};
use crate::auth::sign_in::Binding;
use crate::auth::{Authorised, Instance, ManageSelf, See};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::form::Query;
use crate::http::host::BaseUrl;
use crate::http::rest::{Nothing, Path, about, about_giving};
use crate::http::settings::SignInProvider;
use crate::registry::sign_in::{OwnSession, Returned, Session, SignedIn, Visitor};
use crate::registry::time::iso;
use crate::registry::user::User;

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/api/cairn/v1/session",
            get_with(
                show,
                about_giving::<200, Json<Shown>>(
                    "getSession",
                    "Shows who the caller is, and by what session",
                ),
            )
            .post_with(
                sign_in,
                about_giving::<201, Json<Shown>>("signIn", "Begins a session, which is a cookie"),
            )
            .delete_with(
                sign_out,
                about_giving::<204, NoContent>("signOut", "Ends the session that is asked with"),
            ),
        )
        .api_route(
            "/api/cairn/v1/user/sessions",
            get_with(
                list,
                about("listOwnSessions", "Lists one's own sessions, the newest first"),
            ),
        )
        .api_route(
            "/api/cairn/v1/user/sessions/{session_id}",
            delete_with(
                end,
                about_giving::<204, NoContent>("endOwnSession", "Ends one of one's own sessions"),
            ),
        )
        .api_route(
            "/api/cairn/v1/session/means",
            get_with(means, about("getSignInMeans", "Shows how one may sign in")),
        )
        .api_route(
            "/api/cairn/v1/session/oidc/{provider}",
            get_with(
                go_to_provider,
                about_giving::<303, Nothing<303>>(
                    "beginSignInAtProvider",
                    "Sends a browser to an identity provider to sign in there",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/session/oidc/{provider}/callback",
            get_with(
                come_back,
                about_giving::<303, Nothing<303>>(
                    "endSignInAtProvider",
                    "Begins a session for a browser that an identity provider sends back",
                ),
            ),
        )
        .with_path_items(|item| item.tag("Sessions"))
}

/// Who has signed in.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SignedIn")]
struct Shown {
    user: ShownUser,
    session: Option<ShownSession>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Session")]
struct ShownSession {
    signed_in_by: String,
    began_at: String,
    ends_at: String,
}

fn shown(user: &User, session: Option<&Session>, base_url: &BaseUrl) -> Shown {
    Shown {
        user: whole(user, base_url),
        session: session.map(ShownSession::of),
    }
}

impl ShownSession {
    fn of(session: &Session) -> Self {
        Self {
            signed_in_by: session.by.name().to_string(),
            began_at: iso(session.begun_at),
            ends_at: iso(session.ends_at),
        }
    }
}

/// One of one's own sessions.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OwnSession")]
struct ShownOwn {
    id: String,
    #[serde(flatten)]
    session: ShownSession,
    /// To about ten minutes.
    last_used_at: String,
    /// From where it began.
    address: Option<String>,
    /// Whether it is the one that is asked with.
    current: bool,
}

async fn list(instance: Authorised<Instance, See>) -> Result<Json<Vec<ShownOwn>>, ApiError> {
    let row = |own: OwnSession| ShownOwn {
        id: own.id,
        last_used_at: iso(own.used_at),
        address: own.session.from.map(|address| address.to_string()),
        current: own.is_current,
        session: ShownSession::of(&own.session),
    };
    let sessions = instance.own_sessions().await?;
    Ok(Json(sessions.into_iter().map(row).collect()))
}

async fn end(
    instance: Authorised<Instance, ManageSelf>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    Ok(match instance.end_own_session(&id).await? {
        true => signed_out().into_response(),
        false => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Who the caller is, and by what session, if by one.
async fn show(instance: Authorised<Instance, See>) -> Result<Response, ApiError> {
    let user = instance.access().signed_in()?;
    let session = instance.session().await?;
    let body = shown(user, session.as_ref(), instance.base_url());
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    username: String,
    #[schemars(with = "String")]
    password: Password,
}

async fn sign_in(
    State(app): State<App>,
    visitor: Visitor,
    JsonBody(sign_in): JsonBody<SignIn>,
) -> Result<Response, ApiError> {
    if !app.http().auth.passwords && app.http().auth.directory.is_none() {
        return Err(ApiError::forbidden(
            "403 Forbidden: signing in by a password is switched off",
        ));
    }
    let signed_in = visitor.by_password(&sign_in.username, &sign_in.password).await?;
    let body = shown(&signed_in.user, Some(&signed_in.session), visitor.base_url());
    Ok((
        StatusCode::CREATED,
        away(),
        with_cookie(&app, &signed_in),
        Json(body),
    )
        .into_response())
}

/// What has a browser keep a session, and nobody the answer.
fn with_cookie(app: &App, signed_in: &SignedIn) -> impl IntoResponseParts + use<> {
    let cookie = signed_in.id.cookie(app.http().auth.session_lifetime);
    AppendHeaders([(header::SET_COOKIE, cookie)])
}

/// How somebody may sign in, for a page that offers it.
async fn means(State(app): State<App>, visitor: Visitor) -> Json<Means> {
    let auth = &app.http().auth;
    let provider = |(name, provider): (&String, &SignInProvider)| ShownProvider {
        name: name.clone(),
        title: provider.provider.title.clone(),
        url: format!("{}/api/cairn/v1/session/oidc/{name}", visitor.base_url()),
    };
    Json(Means {
        password: auth.passwords || auth.directory.is_some(),
        providers: auth.providers.iter().map(provider).collect(),
    })
}

/// How somebody may sign in.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SignInMeans")]
struct Means {
    password: bool,
    providers: Vec<ShownProvider>,
}

/// An identity provider, and where a browser begins to sign in there.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SignInProvider")]
struct ShownProvider {
    name: String,
    title: String,
    url: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Going {
    /// The path to come back to.
    return_to: Option<String>,
}

async fn go_to_provider(
    visitor: Visitor,
    Path(provider): Path<String>,
    Query(going): Query<Going>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let binding = Binding::sent(&headers);
    let (url, cookie) = visitor
        .begin_at(&provider, going.return_to.as_deref(), binding)
        .await?;
    Ok((away(), [(header::SET_COOKIE, cookie)], Redirect::to(url.as_str())).into_response())
}

/// What an identity provider has a browser bring. RFC 6749 demands that it is in the query.
#[derive(Deserialize, JsonSchema)]
struct Callback {
    code: Option<String>,
    #[serde(default)]
    state: String,
    iss: Option<String>,
    error: Option<String>,
}

async fn come_back(
    State(app): State<App>,
    visitor: Visitor,
    Path(provider): Path<String>,
    Query(callback): Query<Callback>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let returned = Returned {
        code: callback.code,
        state: callback.state,
        issuer: callback.iss,
        error: callback.error,
    };
    let binding = Binding::sent(&headers);
    let (signed_in, return_to) = visitor.come_back(&provider, binding, returned).await?;
    let forget = AppendHeaders([(header::SET_COOKIE, Binding::forget())]);
    Ok((
        away(),
        with_cookie(&app, &signed_in),
        forget,
        Redirect::to(&return_to),
    )
        .into_response())
}

/// What an answer says that leads elsewhere, and whose URL is nobody's business there.
fn away() -> impl IntoResponseParts {
    AppendHeaders([
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ])
}

async fn sign_out(instance: Authorised<Instance, ManageSelf>) -> Result<Response, ApiError> {
    instance.end_session().await?;
    Ok(signed_out().into_response())
}

/// The answer to a browser whose session has ended.
fn signed_out() -> impl IntoResponse {
    let forget = [(header::SET_COOKIE, forget_cookie(COOKIE_NAME))];
    (StatusCode::NO_CONTENT, forget)
}
