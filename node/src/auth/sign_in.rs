//! Signing in at a provider: what binds the way there and the way back to one browser.
//!
//! Nothing is stored between the two, so strangers cannot have the cluster write anything, and the
//! browser may come back to any node. The browser keeps a random binding in a cookie; the state that
//! the provider hands back is a message that only the cluster can have made, for that binding. The
//! nonce of the ID token and the verifier of PKCE (RFC 7636) are derived from the same, and are
//! nowhere until they are needed. That a state comes back once is for the transaction to see that
//! begins the session.

use std::fmt;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use cairn_cluster::Timestamp;
use data_encoding::BASE64URL_NOPAD;
use subtle::ConstantTimeEq;

use crate::auth::session::{cookies, forget_cookie, set_cookie};

/// The cookie that holds the binding.
const COOKIE_NAME: &str = "__Host-cairn-oidc";

/// How long somebody may take at the provider.
const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// The longest path to come back to.
const MAX_RETURN_TO_BYTES: usize = 1000;

/// The key of what is derived; the cluster has one.
#[derive(Clone)]
pub(crate) struct AttemptKey([u8; 32]);

/// What one browser has for all that it begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Binding([u8; 32]);

/// One way to a provider and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The name of the provider.
    pub(crate) provider: String,
    /// Where the browser goes when it is signed in: a path on our host.
    pub(crate) return_to: String,
    /// From when on nobody may come back.
    pub(crate) ends_at: Timestamp,
    /// Tells it from others.
    random: [u8; 16],
}

/// A state that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this browser did not begin to sign in here, or took too long; begin again")]
pub(crate) struct BadState;

impl AttemptKey {
    /// The key that is derived from the cluster's secret.
    pub(crate) fn derive(cluster_secret: &[u8; 32]) -> Self {
        Self(blake3::derive_key(
            "cairn 2026-11 sign-ins at providers",
            cluster_secret,
        ))
    }

    fn mac(&self, what: &str, binding: &Binding, attempt: &Attempt) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        part(what.as_bytes());
        part(&binding.0);
        part(attempt.provider.as_bytes());
        part(attempt.return_to.as_bytes());
        part(&attempt.ends_at.0.to_be_bytes());
        part(&attempt.random);
        hasher.finalize()
    }

    /// What the provider is to hand back.
    pub(crate) fn state(&self, binding: &Binding, attempt: &Attempt) -> String {
        let mac = self.mac("state", binding, attempt);
        let fixed = [
            attempt.ends_at.0.to_be_bytes().as_slice(),
            &attempt.random,
            mac.as_bytes(),
        ]
        .concat();
        let return_to = BASE64URL_NOPAD.encode(attempt.return_to.as_bytes());
        format!("{}.{return_to}", BASE64URL_NOPAD.encode(&fixed))
    }

    /// What the ID token is to hold.
    pub(crate) fn nonce(&self, binding: &Binding, attempt: &Attempt) -> String {
        BASE64URL_NOPAD.encode(self.mac("nonce", binding, attempt).as_bytes())
    }

    /// What proves to the provider that who fetches the tokens has sent the browser.
    pub(crate) fn verifier(&self, binding: &Binding, attempt: &Attempt) -> String {
        BASE64URL_NOPAD.encode(self.mac("verifier", binding, attempt).as_bytes())
    }

    /// Tells an attempt that came back from all others.
    pub(crate) fn proof(&self, binding: &Binding, attempt: &Attempt) -> [u8; 32] {
        *self.mac("proof", binding, attempt).as_bytes()
    }

    /// Reads a state that came back to a browser.
    pub(crate) fn read(
        &self,
        binding: &Binding,
        provider: &str,
        state: &str,
        now: Timestamp,
    ) -> Result<Attempt, BadState> {
        let (fixed, return_to) = state.split_once('.').ok_or(BadState)?;
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| BadState);
        let (fixed, return_to) = (decode(fixed)?, decode(return_to)?);
        let (ends_at, rest) = fixed.split_first_chunk::<8>().ok_or(BadState)?;
        let (random, mac) = rest.split_first_chunk::<16>().ok_or(BadState)?;
        let attempt = Attempt {
            provider: provider.to_owned(),
            return_to: String::from_utf8(return_to).map_err(|_| BadState)?,
            ends_at: Timestamp(u64::from_be_bytes(*ends_at)),
            random: *random,
        };
        let is_ours: bool = self.mac("state", binding, &attempt).as_bytes().ct_eq(mac).into();
        match is_ours && now < attempt.ends_at {
            true => Ok(attempt),
            false => Err(BadState),
        }
    }
}

impl Binding {
    /// One of these random bytes.
    pub(crate) fn of(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// What a browser sent.
    pub(crate) fn sent(headers: &HeaderMap) -> Option<Self> {
        let mut values = cookies(headers, COOKIE_NAME);
        let value = values.next().filter(|_| values.next().is_none())?;
        let bytes = BASE64URL_NOPAD.decode(value.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// What has a browser keep it.
    pub(crate) fn cookie(&self) -> HeaderValue {
        set_cookie(COOKIE_NAME, BASE64URL_NOPAD.encode(&self.0), LIFETIME)
    }

    /// What has a browser forget it.
    pub(crate) fn forget() -> HeaderValue {
        forget_cookie(COOKIE_NAME)
    }
}

impl Attempt {
    /// One that begins now.
    pub(crate) fn begin(provider: &str, return_to: Option<&str>, now: Timestamp, random: [u8; 16]) -> Self {
        Self {
            provider: provider.to_owned(),
            return_to: return_to
                .filter(|path| is_own_path(path))
                .unwrap_or("/")
                .to_owned(),
            ends_at: now.plus(LIFETIME),
            random,
        }
    }
}

/// Whether a browser that is sent there stays on our host. Browsers take a backslash for a slash,
/// and leave out control characters.
fn is_own_path(path: &str) -> bool {
    let begins_well = path.starts_with('/') && !path.starts_with("//");
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    begins_well && is_plain && path.len() <= MAX_RETURN_TO_BYTES
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Binding")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_796_000_000_000);

    #[test]
    fn a_state_holds_for_its_browser_provider_and_time() {
        let key = AttemptKey::derive(&[1; 32]);
        let (binding, other) = (Binding::of([2; 32]), Binding::of([3; 32]));
        let attempt = Attempt::begin("company", Some("/projects"), NOW, [4; 16]);
        let state = key.state(&binding, &attempt);
        let elsewhere = AttemptKey::derive(&[1; 32]);
        let read = |binding, provider, now| elsewhere.read(binding, provider, &state, now);
        assert_eq!(read(&binding, "company", NOW), Ok(attempt.clone()));
        assert_eq!(read(&other, "company", NOW), Err(BadState));
        assert_eq!(read(&binding, "other", NOW), Err(BadState));
        assert_eq!(read(&binding, "company", attempt.ends_at), Err(BadState));
        let foreign = AttemptKey::derive(&[9; 32]);
        assert_eq!(foreign.read(&binding, "company", &state, NOW), Err(BadState));
        for bad in ["", ".", "AAAA.AAAA", &state[1..], &format!("{state}A")] {
            assert_eq!(key.read(&binding, "company", bad, NOW), Err(BadState), "{bad}");
        }
        let nonce = key.nonce(&binding, &attempt);
        assert_ne!(nonce, key.verifier(&binding, &attempt));
        assert_ne!(nonce, key.nonce(&other, &attempt));
    }

    #[test]
    fn a_browser_comes_back_to_our_host_alone() {
        for (path, expected) in [
            (Some("/projects/1?x=y"), "/projects/1?x=y"),
            (None, "/"),
            (Some("https://evil.example"), "/"),
            (Some("//evil.example"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("/\t/evil.example"), "/"),
            (Some(""), "/"),
        ] {
            assert_eq!(Attempt::begin("x", path, NOW, [0; 16]).return_to, expected);
        }
    }
}
