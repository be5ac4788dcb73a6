//! Short-lived tokens that a protocol derives from a longer-lived one (container clients ask
//! for them), or hands to anonymous callers.
//!
//! A JWT signed by a key that every node derives from the cluster's secret. It names its parent,
//! which is read again at every use, so it dies with it; and it can only narrow what the parent
//! may do: to what a client asked for, for minutes, or to one file, for as long as a link to it is
//! to hold. One algorithm is accepted, whatever the header of a token asks for.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use cairn_cluster::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::auth::caller::{Basis, Caller, PasswordUse};
use crate::auth::token::TokenId;

const ISSUER: &str = "cairn";

/// How far the clocks of two nodes may be apart.
const LEEWAY: Duration = Duration::from_secs(30);

/// Longest life of a token that a client asked for.
pub const MAX_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Longest life of a token in a link.
pub const MAX_LINK_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a derived token may be used for; it is nothing beyond this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(pub Vec<Grant>);

/// Some actions on one thing, in the words of the protocol that asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What kind of thing: `repository`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which one.
    pub name: String,
    /// What may be done to it.
    pub actions: Vec<String>,
}

impl Grants {
    /// Whether `action` on this thing is granted.
    pub fn allow(&self, kind: &str, name: &str, action: &str) -> bool {
        self.0.iter().any(|grant| {
            grant.kind == kind
                && grant.name == name
                && grant
                    .actions
                    .iter()
                    .any(|granted| granted == action || granted == "*")
        })
    }
}

/// What a derived token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    aud: String,
    sub: String,
    /// The parent; absent in a token for an anonymous caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tid: Option<TokenId>,
    /// The password that was shown for it instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pwd: Option<PasswordUse>,
    access: Grants,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
}

impl Claims {
    /// What it is derived from; nothing if it was handed to nobody in particular.
    pub fn parent(&self) -> Basis {
        match (&self.tid, self.pwd) {
            (Some(id), _) => Basis::Token(id.clone()),
            (None, Some(password)) => Basis::Password(password),
            (None, None) => Basis::Nothing,
        }
    }

    /// What it may be used for.
    pub fn grants(&self) -> &Grants {
        &self.access
    }

    /// The protocol's service it is for.
    pub fn audience(&self) -> &str {
        &self.aud
    }

    /// When it ends to hold.
    pub(crate) fn expiry(&self) -> Timestamp {
        Timestamp((self.exp + LEEWAY.as_secs()).saturating_mul(1000))
    }
}

/// Signs and checks derived tokens.
#[derive(Clone)]
pub struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// A derived token that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a token of this cluster, or it has expired")]
pub struct InvalidToken;

impl Signer {
    /// The signer whose key is derived from the cluster's secret.
    pub fn derive(cluster_secret: &[u8; 32]) -> Self {
        let key = blake3::derive_key("cairn 2026-07 derived tokens", cluster_secret);
        Self {
            encoding: EncodingKey::from_secret(&key),
            decoding: DecodingKey::from_secret(&key),
        }
    }

    /// A token for `caller`, held to `grants`, that lives no longer than [`MAX_LINK_LIFETIME`].
    pub fn sign(
        &self,
        caller: &Caller,
        audience: &str,
        grants: Grants,
        now: Timestamp,
        lifetime: Duration,
        nonce: [u8; 16],
    ) -> String {
        let seconds = now.0 / 1000;
        let claims = Claims {
            iss: ISSUER.into(),
            aud: audience.into(),
            sub: caller.username().unwrap_or_default().into(),
            tid: caller.token().cloned(),
            pwd: match caller.basis() {
                Basis::Password(password) => Some(*password),
                _ => None,
            },
            access: grants,
            iat: seconds,
            nbf: seconds,
            exp: seconds + lifetime.min(MAX_LINK_LIFETIME).as_secs(),
            jti: data_encoding::HEXLOWER.encode(&nonce),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .expect("claims are text and numbers, and the key fits the algorithm")
    }

    /// Checks signature, issuer and times. Whether the parent still holds is for the caller to see.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, InvalidToken> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.required_spec_claims = HashSet::from(["iss".into(), "exp".into()]);
        validation.validate_aud = false;
        // Times are compared to the clock that is passed in.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation)
            .map_err(|_| InvalidToken)?
            .claims;
        let seconds = now.0 / 1000;
        let begun = claims.nbf <= seconds + LEEWAY.as_secs();
        if begun && seconds < claims.exp + LEEWAY.as_secs() {
            Ok(claims)
        } else {
            Err(InvalidToken)
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    const NOW: Timestamp = Timestamp(1_782_907_200_000);

    fn signed(signer: &Signer) -> String {
        let grants = Grants(vec![Grant {
            kind: "repository".into(),
            name: "acme/demo".into(),
            actions: vec!["pull".into()],
        }]);
        signer.sign(
            &Caller::anonymous(),
            "container_registry",
            grants,
            NOW,
            MAX_LIFETIME,
            [1; 16],
        )
    }

    #[test]
    fn a_signed_token_holds_for_its_lifetime_on_every_node() {
        let token = signed(&Signer::derive(&[1; 32]));
        let elsewhere = Signer::derive(&[1; 32]);
        let claims = elsewhere.verify(&token, NOW).unwrap();
        assert_eq!(claims.parent(), Basis::Nothing);
        assert!(claims.grants().allow("repository", "acme/demo", "pull"));
        assert!(!claims.grants().allow("repository", "acme/demo", "push"));
        assert!(!claims.grants().allow("repository", "acme/other", "pull"));
        assert!(elsewhere.verify(&token, NOW.plus(MAX_LIFETIME)).is_ok());
        assert_eq!(
            elsewhere.verify(&token, NOW.plus(MAX_LIFETIME + LEEWAY)),
            Err(InvalidToken)
        );
        assert_eq!(
            elsewhere.verify(&token, Timestamp(NOW.0 - 60_000)),
            Err(InvalidToken)
        );
    }

    #[test]
    fn another_key_or_algorithm_does_not_hold() {
        let signer = Signer::derive(&[1; 32]);
        let token = signed(&Signer::derive(&[2; 32]));
        assert_eq!(signer.verify(&token, NOW), Err(InvalidToken));

        let token = signed(&signer);
        let (_, rest) = token.split_once('.').unwrap();
        let (payload, signature) = rest.split_once('.').unwrap();
        for header in [
            r#"{"alg":"none","typ":"JWT"}"#,
            r#"{"alg":"HS512","typ":"JWT"}"#,
            r#"{"alg":"RS256","typ":"JWT","jwk":{}}"#,
        ] {
            let header = BASE64URL_NOPAD.encode(header.as_bytes());
            for signature in ["", signature] {
                let forged = format!("{header}.{payload}.{signature}");
                assert_eq!(signer.verify(&forged, NOW), Err(InvalidToken));
            }
        }
    }
}
