//! An in-memory node for tests of requests and answers; no sockets.
//!
//! It begins with the group `acme` and the private project `acme/demo` (id 1), the public
//! `acme/open` (id 2), the internal `acme/inside` (id 3), and a token for each of [`CALLERS`].

pub(crate) mod archives;
#[cfg(feature = "real-clients")]
mod balancer;
#[cfg(feature = "real-clients")]
pub(crate) mod client;
pub(crate) mod clock;
#[cfg(feature = "real-clients")]
pub(crate) mod cluster;
pub(crate) mod conformance;
#[cfg(feature = "real-clients")]
pub(crate) mod directory;
pub(crate) mod golden;
mod hostile;
pub(crate) mod issuer;
pub(crate) mod matrix;
#[cfg(feature = "real-clients")]
pub(crate) mod readme;
mod told;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use cairn_cluster::{Blobs, Kv, Seams};
use data_encoding::BASE64;
use http_body_util::BodyExt;
use hyper::ext::ReasonPhrase;
use serde_json::Value;
use tower::ServiceExt;

use crate::app::App;
use crate::http::front::Front;
use crate::http::host::Connection;
use crate::http::settings::HttpSettings;
use crate::registry::bootstrap::{Bootstrap, bootstrap};
use crate::registry::fixture;

/// Every kind of caller that a route must know: `root` administers the instance, those named
/// after a role have it in `acme`, `stranger` is a user without any, `reading` is the
/// maintainer with a `read_api` token, the `deploy` ones are deploy tokens of `acme/demo`, and
/// `foreign-deploy` is one of another root group; `expired` is a token of the maintainer whose time
/// is over, and `wrong` one that was never made.
pub(crate) const CALLERS: &[&str] = &[
    "anonymous",
    "stranger",
    "guest",
    "reporter",
    "developer",
    "maintainer",
    "owner",
    "root",
    "reading",
    "deploy-read",
    "deploy-write",
    "foreign-deploy",
    "expired",
    "wrong",
];

/// A node and its callers.
pub(crate) struct TestNode {
    kv: Kv,
    blobs: Blobs,
    seams: Seams,
    app: App,
    front: Front,
    tokens: BTreeMap<&'static str, String>,
}

/// A request in the making.
#[must_use]
pub(crate) struct TestRequest<'n> {
    node: &'n TestNode,
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Body,
    peer: Option<IpAddr>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The reason phrase, if it is another than the status has by itself.
    pub(crate) reason: String,
    pub(crate) body: Bytes,
}

impl TestNode {
    /// A node with what the module's head says.
    pub(crate) async fn start() -> Self {
        Self::with(HttpSettings::default()).await
    }

    /// The same, with other settings.
    pub(crate) async fn with(settings: HttpSettings) -> Self {
        Self::with_seams(settings, Seams::system()).await
    }

    /// The same, with another clock or randomness.
    pub(crate) async fn with_seams(settings: HttpSettings, seams: Seams) -> Self {
        let kv = Kv::in_memory(seams.clone());
        let blobs = Blobs::in_memory(kv.clone(), seams.clone());
        let app = App::new(kv.clone(), blobs.clone(), seams.clone(), settings);
        let made = bootstrap(&app, &Bootstrap::demo()).await.unwrap();
        let mut tokens = fixture::populate(&app).await;
        tokens.insert("root", made.token.unwrap());
        let front = Front::new(app.clone());
        Self {
            kv,
            blobs,
            seams,
            app,
            front,
            tokens,
        }
    }

    /// Another node of the same cluster.
    pub(crate) fn sibling(&self) -> Self {
        self.sibling_with(self.app.http().clone())
    }

    /// The same with other settings.
    pub(crate) fn sibling_with(&self, settings: HttpSettings) -> Self {
        let app = App::new(self.kv.clone(), self.blobs.clone(), self.seams.clone(), settings);
        Self {
            kv: self.kv.clone(),
            blobs: self.blobs.clone(),
            seams: self.seams.clone(),
            front: Front::new(app.clone()),
            app,
            tokens: self.tokens.clone(),
        }
    }

    /// Has the audit log be told who was refused.
    pub(crate) async fn tell_refusals(&self) {
        let told = self.app.denials().tell(&self.kv, self.app.store().now());
        told.await.unwrap();
    }

    /// The state of the handlers.
    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    /// The metadata store itself.
    pub(crate) fn kv(&self) -> &Kv {
        &self.kv
    }

    /// What answers requests, to be served on a socket.
    pub(crate) fn front(&self) -> Front {
        self.front.clone()
    }

    /// The token of one of [`CALLERS`].
    pub(crate) fn token(&self, caller: &str) -> &str {
        &self.tokens[caller]
    }

    /// Makes a rule that protects names in project 1, of `packages` or, of the registry,
    /// `repository` or `tag`.
    pub(crate) async fn protect(&self, kind: &str, rule: &Value) -> Answer {
        let target = match kind {
            "packages" => "/api/v4/projects/1/packages/protection/rules".to_owned(),
            kind => format!("/api/v4/projects/1/registry/protection/{kind}/rules"),
        };
        self.post(target).by("maintainer").json(rule).send().await
    }

    pub(crate) fn request(&self, method: Method, target: impl Into<String>) -> TestRequest<'_> {
        TestRequest {
            node: self,
            method,
            target: target.into(),
            headers: HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("cairn.example"))]),
            body: Body::empty(),
            peer: None,
        }
    }

    pub(crate) fn get(&self, target: impl Into<String>) -> TestRequest<'_> {
        self.request(Method::GET, target)
    }

    pub(crate) fn head(&self, target: impl Into<String>) -> TestRequest<'_> {
        self.request(Method::HEAD, target)
    }

    pub(crate) fn put(&self, target: impl Into<String>) -> TestRequest<'_> {
        self.request(Method::PUT, target)
    }

    pub(crate) fn post(&self, target: impl Into<String>) -> TestRequest<'_> {
        self.request(Method::POST, target)
    }

    pub(crate) fn patch(&self, target: impl Into<String>) -> TestRequest<'_> {
        self.request(Method::PATCH, target)
    }

    pub(crate) fn delete(&self, target: impl Into<String>) -> TestRequest<'_> {
        self.request(Method::DELETE, target)
    }
}

impl TestRequest<'_> {
    /// Sent by one of [`CALLERS`], as Bearer; `anonymous` sends nothing.
    pub(crate) fn by(self, caller: &str) -> Self {
        match caller {
            "anonymous" => self,
            caller => {
                let token = self.node.token(caller).to_owned();
                self.bearer(&token)
            }
        }
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn basic(self, username: &str, password: &str) -> Self {
        let pair = BASE64.encode(format!("{username}:{password}").as_bytes());
        self.header("authorization", &format!("Basic {pair}"))
    }

    /// Sent from an address, as if there were a socket.
    pub(crate) fn from(mut self, address: &str) -> Self {
        self.peer = Some(address.parse().unwrap());
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.headers
            .append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, value: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(value.to_string())
    }

    pub(crate) async fn send(self) -> Answer {
        self.answered().await
    }

    /// The same, apart from the node: to be sent in a task of its own.
    pub(crate) fn answered(self) -> impl Future<Output = Answer> + Send + 'static {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.parse().unwrap();
        *request.headers_mut() = self.headers;
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(Connection { peer, tls: false });
        }
        let front = self.node.front();
        let (method, target) = (self.method, self.target);
        async move {
            let response = front.oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let reason = parts.extensions.get::<ReasonPhrase>();
            let reason = reason.map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
            let answer = Answer {
                status: parts.status.as_u16(),
                headers: parts.headers,
                reason: reason.unwrap_or_default(),
                body: body.collect().await.unwrap().to_bytes(),
            };
            conformance::check(&method, &target, &answer);
            answer
        }
    }
}

impl Answer {
    /// The value of a header; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{} {:?} is not JSON", self.status, self.body))
    }

    /// Makes sure of the status; shows the answer if it is another.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

/// Compares with a file of a format's `testdata`, or writes it where `CAIRN_UPDATE_GOLDEN` is set.
#[track_caller]
pub(crate) fn check_golden(format: &str, file: &str, actual: &[u8]) {
    let path = golden_path(format, file);
    if std::env::var_os("CAIRN_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let missing = |_| panic!("{} is not there; CAIRN_UPDATE_GOLDEN=1 writes it", path.display());
    let expected = std::fs::read(&path).unwrap_or_else(missing);
    let (actual, expected) = (
        String::from_utf8_lossy(actual),
        String::from_utf8_lossy(&expected),
    );
    assert_eq!(actual, expected, "{file} differs");
}

fn golden_path(format: &str, file: &str) -> PathBuf {
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/formats");
    formats.join(format).join("testdata").join(file)
}

#[tokio::test]
async fn tokens_of_every_caller_hold_on_every_node() {
    let node = TestNode::start().await;
    let sibling = node.sibling();
    for caller in ["root", "stranger", "guest", "owner", "reading"] {
        node.get("/api/v4/version").by(caller).send().await.expect(200);
        sibling.get("/api/v4/version").by(caller).send().await.expect(200);
    }
    node.get("/api/v4/version").send().await.expect(401);
    node.get("/api/v4/version")
        .by("deploy-read")
        .send()
        .await
        .expect(401);
    let unknown = node.get("/api/v4/nothing").by("root").send().await.expect(404);
    assert_eq!(unknown.json()["message"], "404 Not Found");
    let wrong = node.post("/api/v4/version").by("root").send().await.expect(405);
    assert_eq!(wrong.header("allow"), "GET,HEAD");
}
