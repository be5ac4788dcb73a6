//! An issuer of ID tokens for tests, on this machine: it says what a test wants of a job, signs by
//! keys that can be rotated, and can be away.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cairn_cluster::{Seams, Timestamp};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::Deserialize;
use serde_json::{Value, json};
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
            }),
        }));
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .route("/token", get(token))
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
    Json(json!({"issuer": name, "jwks_uri": keys})).into_response()
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
