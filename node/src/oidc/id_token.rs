//! ID tokens: what an issuer says of a job, signed.
//!
//! Two algorithms are taken, whatever the header of a token asks for; the key is one that the
//! issuer publishes, never one that comes with the token.

use std::time::Duration;

use cairn_cluster::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::{Map, Value};

/// The longest token.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// How far the clocks of an issuer and of a node may be apart.
const LEEWAY: Duration = Duration::from_secs(30);

/// The longest life of a token: it is remembered until its end, so that it is used once.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A token of which nothing is certain yet.
#[derive(Clone)]
pub(crate) struct IdToken<'t> {
    text: &'t str,
    header: Header,
    issuer: String,
}

/// What an issuer surely said.
pub(crate) struct Verified {
    /// The claims.
    pub(crate) claims: Map<String, Value>,
    /// Tells this token from all others: whoever shows it again is known by it.
    pub(crate) proof: [u8; 32],
    /// From when on it would be refused by any node.
    pub(crate) ends_at: Timestamp,
}

/// A token that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidIdToken {
    /// It is no token at all.
    #[error("the ID token is malformed: {0}")]
    Malformed(&'static str),
    /// It is signed in a way that is not taken.
    #[error("the ID token is not signed by RS256 or ES256")]
    Algorithm,
    /// Its issuer did not sign it.
    #[error("the signature of the ID token does not hold")]
    Signature,
    /// Its time is over.
    #[error("the ID token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the ID token does not hold yet")]
    Early,
    /// It lives too long.
    #[error("the ID token lives for more than a day")]
    LongLived,
}

impl<'t> IdToken<'t> {
    /// Reads what must be known to find the key.
    pub(crate) fn read(text: &'t str) -> Result<Self, InvalidIdToken> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(InvalidIdToken::Malformed("it is too long"));
        }
        if text.split('.').count() != 3 {
            return Err(InvalidIdToken::Malformed("it does not have three parts"));
        }
        let wrong = |_| InvalidIdToken::Malformed("its header or its claims cannot be read");
        // An algorithm that is not known at all, `none` among them, has no name to read.
        let header = jsonwebtoken::decode_header(text).map_err(|_| InvalidIdToken::Algorithm)?;
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
            return Err(InvalidIdToken::Algorithm);
        }
        if header.crit.is_some() {
            return Err(InvalidIdToken::Malformed("it asks for an extension"));
        }
        let claims: Map<String, Value> =
            jsonwebtoken::dangerous::insecure_decode_claims(text).map_err(wrong)?;
        let issuer = claims.get("iss").and_then(Value::as_str);
        let issuer = issuer.ok_or(InvalidIdToken::Malformed("it names no issuer"))?;
        Ok(Self {
            text,
            header,
            issuer: issuer.into(),
        })
    }

    /// Who is said to have made it.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What key it is said to be signed with.
    pub(super) fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// How it is signed.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.header.alg
    }

    /// Makes sure that the issuer of this key made it, and that its time is now.
    pub(crate) fn verify(&self, key: &DecodingKey, now: Timestamp) -> Result<Verified, InvalidIdToken> {
        let mut validation = Validation::new(self.header.alg);
        validation.required_spec_claims.clear();
        // Times are compared to the clock that is passed in; audiences are for the rules to say.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(self.text, key, &validation);
        let claims = decoded.map_err(|_| InvalidIdToken::Signature)?.claims;
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(InvalidIdToken::Malformed("it names another issuer"));
        }
        let ends_at = self.check_times(&claims, now.0 / 1000)?;
        Ok(Verified {
            proof: self.proof(&claims),
            claims,
            ends_at: Timestamp(ends_at.saturating_mul(1000)),
        })
    }

    fn check_times(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, InvalidIdToken> {
        let leeway = LEEWAY.as_secs();
        let ends = time(claims, "exp")?.ok_or(InvalidIdToken::Malformed("it has no end"))?;
        let made = time(claims, "iat")?.ok_or(InvalidIdToken::Malformed("it was made at no time"))?;
        let begins = time(claims, "nbf")?.unwrap_or(made);
        if now >= ends.saturating_add(leeway) {
            return Err(InvalidIdToken::Expired);
        }
        if begins.max(made) > now + leeway {
            return Err(InvalidIdToken::Early);
        }
        if ends > made.saturating_add(MAX_LIFETIME.as_secs()) {
            return Err(InvalidIdToken::LongLived);
        }
        Ok(ends.saturating_add(leeway))
    }

    /// By the name that the issuer gave the token, or by what was signed: the signature itself
    /// can be written in more than one way.
    fn proof(&self, claims: &Map<String, Value>) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("cairn 2026-11 id tokens that were used");
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        };
        part(&self.issuer);
        match claims.get("jti") {
            Some(Value::String(id)) if !id.is_empty() => {
                part("jti");
                part(id);
            }
            _ => {
                part("signed");
                part(self.text.rsplit_once('.').map_or(self.text, |(signed, _)| signed));
            }
        }
        *hasher.finalize().as_bytes()
    }
}

/// Seconds since the epoch; they may have a fraction.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, InvalidIdToken> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_u64().or_else(|| {
        let fraction = value.as_f64().filter(|seconds| *seconds >= 0.0);
        fraction.map(|seconds| seconds as u64)
    });
    match seconds {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(InvalidIdToken::Malformed("one of its times is not a time")),
    }
}

/// For whom a token was made: one audience, or several.
pub(crate) fn audiences(claims: &Map<String, Value>) -> Vec<&str> {
    match claims.get("aud") {
        Some(Value::String(audience)) => vec![audience],
        Some(Value::Array(audiences)) => audiences.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}
