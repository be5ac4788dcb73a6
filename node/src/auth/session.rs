//! Sessions of browsers: the cookie that names one, and which requests may come with it.
//!
//! The id is 256 random bits, new at every sign-in; what is stored is a keyed hash of it. A browser
//! sends the cookie along with whatever another site has it ask, so a request that changes something
//! must say that it comes from our own pages (the rule that Go's `CrossOriginProtection` has).

use std::fmt;
use std::time::Duration;

use axum::http::header::{COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use cookie::{Cookie, SameSite};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::http::host::BaseUrl;

/// The prefix has browsers refuse it from another host, or without TLS.
pub(crate) const COOKIE_NAME: &str = "__Host-cairn-session";

/// So much of a name tells the sessions of one user from each other.
const SHORT_BYTES: usize = 8;

/// What a browser keeps. Never logged, never stored.
#[derive(Clone)]
pub(crate) struct SessionId([u8; 32]);

/// Names a session in the store; whoever has it cannot make an id of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SessionName(pub(crate) [u8; 32]);

/// The key under which ids are hashed; the cluster has one.
#[derive(Clone)]
pub(crate) struct SessionKey([u8; 32]);

impl SessionId {
    /// One of these random bytes.
    pub(crate) fn of(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// What a request came with.
    pub(crate) fn sent(headers: &HeaderMap) -> Sent {
        let mut found = None;
        for value in cookies(headers, COOKIE_NAME) {
            let bytes = BASE64URL_NOPAD.decode(value.as_bytes()).ok();
            let Some(id) = bytes.and_then(|bytes| bytes.try_into().ok()) else {
                return Sent::Unfit;
            };
            // Of two, one was planted.
            if found.replace(Self(id)).is_some() {
                return Sent::Unfit;
            }
        }
        found.map_or(Sent::Nothing, Sent::Id)
    }

    /// Its name in the store.
    pub(crate) fn name(&self, key: &SessionKey) -> SessionName {
        SessionName(*blake3::keyed_hash(&key.0, &self.0).as_bytes())
    }

    /// What has a browser keep it.
    pub(crate) fn cookie(&self, lifetime: Duration) -> HeaderValue {
        set_cookie(COOKIE_NAME, BASE64URL_NOPAD.encode(&self.0), lifetime)
    }
}

/// What a browser sent.
pub(crate) enum Sent {
    /// No cookie of ours.
    Nothing,
    /// One that can be an id.
    Id(SessionId),
    /// One that cannot, or two.
    Unfit,
}

impl SessionName {
    /// What its user calls it by: a part of it, which names nothing in the store.
    pub(crate) fn short(&self) -> String {
        let (part, _) = self.0.split_at(SHORT_BYTES);
        HEXLOWER.encode(part)
    }
}

impl SessionKey {
    /// The key that is derived from the cluster's secret.
    pub(crate) fn derive(cluster_secret: &[u8; 32]) -> Self {
        Self(blake3::derive_key("cairn 2026-11 session ids", cluster_secret))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId")
    }
}

/// The values of cookies of one name.
pub(crate) fn cookies<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = String> + 'h {
    let lines = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| Cookie::split_parse(line.to_owned()))
        .filter_map(Result::ok)
        .filter(move |cookie| cookie.name() == name)
        .map(|cookie| cookie.value().to_owned())
}

/// What has a browser keep something for our own pages alone, out of reach of their scripts.
pub(crate) fn set_cookie(name: &str, value: String, lifetime: Duration) -> HeaderValue {
    let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    let cookie = Cookie::build((name, value))
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(cookie::time::Duration::seconds(seconds));
    HeaderValue::from_str(&cookie.to_string()).expect("the value is of characters that headers have")
}

/// What has a browser forget a cookie.
pub(crate) fn forget_cookie(name: &str) -> HeaderValue {
    set_cookie(name, String::new(), Duration::ZERO)
}

/// Whether a request was surely made by one of our own pages, or typed by its user.
pub(crate) fn is_from_own_pages(parts: &Parts) -> bool {
    match parts.headers.get("sec-fetch-site") {
        Some(site) => ["same-origin", "none"].iter().any(|own| site == own),
        None => parts
            .headers
            .get(ORIGIN)
            .is_some_and(|origin| is_own(origin, parts)),
    }
}

/// Whether a request was surely made by a page of another site.
pub(crate) fn is_from_elsewhere(parts: &Parts) -> bool {
    let says = ["sec-fetch-site", ORIGIN.as_str()];
    says.iter().any(|name| parts.headers.contains_key(*name)) && !is_from_own_pages(parts)
}

/// Whether an origin is of the host that was asked.
fn is_own(origin: &HeaderValue, parts: &Parts) -> bool {
    let Some(origin) = origin.to_str().ok().and_then(|origin| Url::parse(origin).ok()) else {
        return false;
    };
    let Some(host) = origin.host_str() else {
        return false;
    };
    let origin = match origin.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let asked = parts.uri.authority().map(|authority| authority.as_str());
    let asked = asked.or_else(|| parts.headers.get(HOST)?.to_str().ok());
    let known = parts.extensions.get::<BaseUrl>().map(BaseUrl::authority);
    [asked, known]
        .into_iter()
        .flatten()
        .any(|own| own.eq_ignore_ascii_case(&origin))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let request = Request::builder().uri("/x").header("host", "cairn.example:8443");
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_cookie_is_kept_from_scripts_other_hosts_and_plain_http() {
        let cookie = SessionId::of([7; 32]).cookie(Duration::from_secs(60));
        assert_eq!(
            cookie.to_str().unwrap(),
            "__Host-cairn-session=BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc; HttpOnly; SameSite=Lax; \
             Secure; Path=/; Max-Age=60"
        );
    }

    #[test]
    fn an_id_is_read_as_it_was_sent_and_two_are_not() {
        let id = BASE64URL_NOPAD.encode(&[7; 32]);
        let check = |cookie: &str, expected: &str| {
            let found = match SessionId::sent(&parts(&[("cookie", cookie)]).headers) {
                Sent::Nothing => "nothing",
                Sent::Id(SessionId(bytes)) => {
                    assert_eq!(bytes, [7; 32]);
                    "id"
                }
                Sent::Unfit => "unfit",
            };
            assert_eq!(found, expected, "{cookie}");
        };
        check("a=b; c=d", "nothing");
        check(&format!("a=b; {COOKIE_NAME}={id}; c=d"), "id");
        check(&format!("{COOKIE_NAME}={id}; {COOKIE_NAME}={id}"), "unfit");
        check(&format!("{COOKIE_NAME}=x"), "unfit");
        check(&format!("{COOKIE_NAME}="), "unfit");
        check(&format!("cairn-session={id}"), "nothing");
    }

    #[test]
    fn a_name_depends_on_the_cluster() {
        let id = SessionId::of([7; 32]);
        let name = |secret: [u8; 32]| id.name(&SessionKey::derive(&secret));
        assert_eq!(name([1; 32]), name([1; 32]));
        assert_ne!(name([1; 32]), name([2; 32]));
    }

    #[test]
    fn pages_of_others_are_told_from_our_own() {
        let check = |headers: &[(&str, &str)], own: bool, elsewhere: bool| {
            let parts = parts(headers);
            let found = (is_from_own_pages(&parts), is_from_elsewhere(&parts));
            assert_eq!(found, (own, elsewhere), "{headers:?}");
        };
        check(&[], false, false);
        check(&[("sec-fetch-site", "same-origin")], true, false);
        check(&[("sec-fetch-site", "none")], true, false);
        check(&[("sec-fetch-site", "same-site")], false, true);
        check(&[("sec-fetch-site", "cross-site")], false, true);
        let ours = ("origin", "https://cairn.example:8443");
        check(&[ours], true, false);
        check(&[("sec-fetch-site", "cross-site"), ours], false, true);
        for origin in [
            "https://cairn.example",
            "https://evil.example:8443",
            "https://cairn.example:8443.evil.example",
            "null",
        ] {
            check(&[("origin", origin)], false, true);
        }
    }
}
