//! An issuer of ID tokens for tests, on this machine: it says what a test wants of a job, signs by
//! keys that can be rotated, and can be away.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Form, Json, Router};
use cairn_cluster::{Seams, Timestamp};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

/// How long its tokens hold.
pub(crate) const LIFETIME: Duration = Duration::from_secs(300);

/// An issuer. It serves as long as the runtime that it was started on.
#[derive(Clone)]
pub(crate) struct TestIssuer(Arc<Inner>);

struct Inner {
    url: String,
    asked: AtomicUsize,
    state: Mutex<Published>,
}

struct Published {
    keys: Vec<Arc<SigningKey>>,
    behaviour: Behaviour,
    job: Value,
    person: Value,
    /// Of those who are signing in: by code, what the browser brought.
    under_way: HashMap<String, Authorize>,
}

/// How it answers when it is asked for its keys.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// As it should.
    Sound,
    /// By 503.
    Away,
    /// By a document without end.
    Endless,
    /// By sending to another place.
    Redirects(String),
    /// As if it were another issuer.
    Pretends(String),
    /// By naming another place for its keys.
    KeysAt(String),
}

/// A key that tokens are signed with.
pub(crate) struct SigningKey {
    id: String,
    pair: Pair,
}

enum Pair {
    Rsa(aws_lc_rs::rsa::KeyPair),
    Ec(EcdsaKeyPair),
}

impl SigningKey {
    /// For RS256.
    pub(crate) fn rsa() -> Arc<Self> {
        Self::of(Pair::Rsa(
            aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap(),
        ))
    }

    /// For ES256.
    pub(crate) fn ec() -> Arc<Self> {
        Self::of(Pair::Ec(
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        ))
    }

    fn of(pair: Pair) -> Arc<Self> {
        let id = HEXLOWER.encode(&Seams::system().random::<8>());
        Arc::new(Self { id, pair })
    }

    /// The name of the algorithm.
    pub(crate) fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
        }
    }

    /// What it is published as.
    pub(crate) fn public(&self) -> Value {
        match &self.pair {
            Pair::Rsa(pair) => {
                let modulus = pair.public_key().modulus();
                let exponent = pair.public_key().exponent();
                json!({
                    "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id,
                    "n": BASE64URL_NOPAD.encode(modulus.big_endian_without_leading_zero()),
                    "e": BASE64URL_NOPAD.encode(exponent.big_endian_without_leading_zero()),
                })
            }
            Pair::Ec(pair) => {
                // A byte that says that both coordinates follow, and these.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({
                    "kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id,
                    "x": BASE64URL_NOPAD.encode(x), "y": BASE64URL_NOPAD.encode(y),
                })
            }
        }
    }

    /// The header of a token that it signs.
    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.id})
    }

    /// Signs claims under whatever header.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}

impl TestIssuer {
    /// One with one key for ES256.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .unwrap();
        let issuer = Self(Arc::new(Inner {
            url: format!("http://{}", listener.local_addr().unwrap()),
            asked: AtomicUsize::new(0),
            state: Mutex::new(Published {
                keys: vec![SigningKey::ec()],
                behaviour: Behaviour::Sound,
                job: Value::Null,
                person: Value::Null,
                under_way: HashMap::new(),
            }),
        }));
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .route("/token", get(token).post(exchange))
            .route("/authorize", get(authorize))
            .route("/userinfo", get(user_info))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        issuer
    }

    /// What tokens name it.
    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    /// Publishes other keys; the first one signs from now on.
    pub(crate) fn publish(&self, keys: Vec<Arc<SigningKey>>) {
        self.0.state.lock().unwrap().keys = keys;
    }

    /// The key that signs.
    pub(crate) fn key(&self) -> Arc<SigningKey> {
        self.0.state.lock().unwrap().keys[0].clone()
    }

    /// From now on it answers like this.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.0.state.lock().unwrap().behaviour = behaviour;
    }

    /// From now on it is asked for tokens by a job of which it says this.
    pub(crate) fn run_job(&self, claims: Value) {
        self.0.state.lock().unwrap().job = claims;
    }

    /// From now on whoever signs in is somebody of whom it says this.
    pub(crate) fn knows(&self, claims: Value) {
        self.0.state.lock().unwrap().person = claims;
    }

    /// Signs in as a browser does that was sent here; gives where it is sent back to.
    pub(crate) async fn log_in(&self, url: &str) -> String {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        let answer = http.build().unwrap().get(url).send().await.unwrap();
        answer.headers()[header::LOCATION].to_str().unwrap().to_owned()
    }

    /// How often it was asked for anything that tells of its keys.
    pub(crate) fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Claims about a job, made now; `more` adds to them, and null takes away.
    pub(crate) fn claims(&self, now: Timestamp, audience: &str, more: &Value) -> Value {
        let seconds = now.0 / 1000;
        let mut claims = json!({
            "iss": self.url(),
            "sub": "repo:acme/demo:ref:refs/tags/v1",
            "aud": audience,
            "iat": seconds,
            "nbf": seconds,
            "exp": seconds + LIFETIME.as_secs(),
            "jti": HEXLOWER.encode(&Seams::system().random::<8>()),
        });
        let claims_of = claims.as_object_mut().unwrap();
        for (name, value) in more.as_object().into_iter().flatten() {
            match value {
                Value::Null => claims_of.shift_remove(name),
                value => claims_of.insert(name.clone(), value.clone()),
            };
        }
        claims
    }

    /// A token that says this.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let key = self.key();
        key.sign(&key.header(), claims)
    }
}

/// What it answers instead of what it was asked for.
fn in_place(issuer: &TestIssuer) -> Option<Response> {
    issuer.0.asked.fetch_add(1, Ordering::SeqCst);
    match issuer.0.state.lock().unwrap().behaviour.clone() {
        Behaviour::Away => Some(StatusCode::SERVICE_UNAVAILABLE.into_response()),
        Behaviour::Endless => Some("{ ".repeat(1 << 20).into_response()),
        Behaviour::Redirects(to) => Some((StatusCode::FOUND, [(header::LOCATION, to)]).into_response()),
        Behaviour::Sound | Behaviour::Pretends(_) | Behaviour::KeysAt(_) => None,
    }
}

async fn configuration(State(issuer): State<TestIssuer>) -> Response {
    if let Some(answer) = in_place(&issuer) {
        return answer;
    }
    let (mut name, mut keys) = (issuer.url().to_owned(), format!("{}/keys", issuer.url()));
    match issuer.0.state.lock().unwrap().behaviour.clone() {
        Behaviour::Pretends(other) => name = other,
        Behaviour::KeysAt(other) => keys = other,
        _ => {}
    }
    Json(json!({
        "issuer": name,
        "jwks_uri": keys,
        "authorization_endpoint": format!("{}/authorize", issuer.url()),
        "token_endpoint": format!("{}/token", issuer.url()),
        "userinfo_endpoint": format!("{}/userinfo", issuer.url()),
    }))
    .into_response()
}

async fn keys(State(issuer): State<TestIssuer>) -> Response {
    if let Some(answer) = in_place(&issuer) {
        return answer;
    }
    let keys: Vec<Value> = {
        let state = issuer.0.state.lock().unwrap();
        state.keys.iter().map(|key| key.public()).collect()
    };
    // What is not known is for others.
    let odd = vec![json!({"kty": "new", "kid": "x"})];
    let keys = [odd, keys].concat();
    Json(json!({ "keys": keys })).into_response()
}

#[derive(Deserialize)]
struct For {
    audience: String,
}

/// What a job asks that runs on a service like GitHub's.
async fn token(State(issuer): State<TestIssuer>, Query(asked): Query<For>) -> Json<Value> {
    let job = issuer.0.state.lock().unwrap().job.clone();
    let now = Seams::system().clock.now();
    let claims = issuer.claims(now, &asked.audience, &job);
    Json(json!({"value": issuer.sign(&claims)}))
}

/// What it knows us by.
pub(crate) const CLIENT: (&str, &str) = ("cairn", "a secret: of/ours");

/// What a browser brings that is sent here to sign in.
#[derive(Clone, Deserialize)]
struct Authorize {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    scope: String,
    state: String,
    nonce: String,
    code_challenge: String,
    code_challenge_method: String,
}

async fn authorize(State(issuer): State<TestIssuer>, Query(asked): Query<Authorize>) -> Redirect {
    assert_eq!(asked.response_type, "code");
    assert_eq!(asked.client_id, CLIENT.0);
    assert_eq!(asked.code_challenge_method, "S256");
    assert!(
        asked.scope.split(' ').any(|scope| scope == "openid"),
        "{}",
        asked.scope
    );
    let code = HEXLOWER.encode(&Seams::system().random::<8>());
    let to = format!("{}?code={code}&state={}", asked.redirect_uri, asked.state);
    issuer.0.state.lock().unwrap().under_way.insert(code, asked);
    Redirect::to(&to)
}

#[derive(Deserialize)]
struct Exchange {
    grant_type: String,
    code: String,
    redirect_uri: String,
    code_verifier: String,
}

/// Takes each code once.
async fn exchange(
    State(issuer): State<TestIssuer>,
    headers: HeaderMap,
    Form(asked): Form<Exchange>,
) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    let refused = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error })));
    let escaped = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", escaped(CLIENT.0), escaped(CLIENT.1));
    let expected = format!("Basic {}", BASE64.encode(pair.as_bytes()));
    if headers
        .get(header::AUTHORIZATION)
        .is_none_or(|sent| *sent != expected)
    {
        return Err((
            StatusCode::UNAUTHORIZED,
            Json(json!({ "error": "invalid_client" })),
        ));
    }
    let begun = issuer.0.state.lock().unwrap().under_way.remove(&asked.code);
    let begun = begun.ok_or_else(|| refused("invalid_grant"))?;
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(asked.code_verifier.as_bytes()));
    let fits = asked.grant_type == "authorization_code"
        && asked.redirect_uri == begun.redirect_uri
        && challenge == begun.code_challenge;
    if !fits {
        return Err(refused("invalid_grant"));
    }
    let mut more = json!({ "nonce": begun.nonce });
    let person = issuer.0.state.lock().unwrap().person.clone();
    for (name, value) in person.as_object().into_iter().flatten() {
        more[name] = value.clone();
    }
    let claims = issuer.claims(Seams::system().clock.now(), CLIENT.0, &more);
    let token = issuer.sign(&claims);
    Ok(Json(json!({
        "access_token": "for-user-info", "token_type": "Bearer", "expires_in": 60, "id_token": token,
    })))
}

/// What else it says of whom it knows: what `userinfo` has of it.
async fn user_info(State(issuer): State<TestIssuer>, headers: HeaderMap) -> Json<Value> {
    assert_eq!(headers[header::AUTHORIZATION], "Bearer for-user-info");
    let person = issuer.0.state.lock().unwrap().person.clone();
    let mut info = person["userinfo"].clone();
    if info.get("sub").is_none() && info.is_object() {
        info["sub"] = person["sub"].clone();
    }
    Json(if info.is_null() { json!({}) } else { info })
}
