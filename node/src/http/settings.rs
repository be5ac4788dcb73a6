//! How HTTP is spoken: what of the configuration the handlers and the server need.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use crate::config::{Config, Ldap, Oidc};
use crate::ldap::Directory;
use crate::oidc::{Issuer, Provider};
use crate::registry::sign_in::{Terms, directory};
use crate::registry::trust::Expected;

/// What clients are told and what is asked of them.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The URL under which clients reach the cluster. Without it, links are made from the
    /// `Host` header of each request.
    pub external_url: Option<ExternalUrl>,
    /// Other hosts under which requests are taken, when there is an external URL.
    pub allowed_hosts: Vec<String>,
    /// Addresses of proxies whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether `?private_token=` and `?job_token=` are taken as credentials.
    pub query_tokens: bool,
    /// The issuers that trust rules may name.
    pub issuers: Vec<Expected>,
    /// How people sign in.
    pub auth: AuthSettings,
    /// Limits on what clients send.
    pub limits: Limits,
    /// Limits on how often they ask.
    pub rates: RateLimits,
}

/// How people sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSettings {
    /// Whether by a password that Cairn keeps.
    pub passwords: bool,
    /// Whether package clients may send one where a token belongs.
    pub passwords_for_packages: bool,
    /// A session that was not used for this long has ended.
    pub session_idle: Duration,
    /// So has one that began so long ago.
    pub session_lifetime: Duration,
    /// Identity providers, by name.
    pub providers: BTreeMap<String, SignInProvider>,
    /// The directory, if there is one.
    pub directory: Option<SignInDirectory>,
}

impl AuthSettings {
    /// Who speaks of the accounts of a provider.
    pub(crate) fn issuer_of(&self, provider: &str) -> Option<&str> {
        match &self.directory {
            Some(_) if provider == directory::ISSUER => Some(directory::ISSUER),
            _ => Some(self.providers.get(provider)?.provider.issuer.as_str()),
        }
    }

    /// The name of the provider whose accounts an issuer speaks of.
    pub(crate) fn name_of(&self, issuer: &str) -> Option<&str> {
        let mut all = self.providers.iter();
        let (name, _) = all.find(|(_, known)| known.provider.issuer.as_str() == issuer)?;
        Some(name)
    }
}

/// A directory, and who of its people is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInDirectory {
    /// How it is asked.
    pub(crate) directory: Directory,
    /// Who is let in.
    pub(crate) terms: Terms,
    /// How often it is asked who is still there.
    pub(crate) look_every: Duration,
}

impl SignInDirectory {
    fn of(config: &Ldap) -> Option<Self> {
        Some(Self {
            directory: Directory {
                url: config.url.clone()?,
                start_tls: config.start_tls,
                authority_file: config.authority_file.clone(),
                account: config.bind_dn.clone().zip(config.bind_password_file.clone()),
                base: config.base.clone()?,
                user_filter: config.user_filter.clone(),
                id_attribute: config.id_attribute.clone(),
                username_attribute: config.username_attribute.clone(),
                name_attribute: config.name_attribute.clone(),
                email_attribute: config.email_attribute.clone(),
                group_base: config.group_base.clone(),
                group_filter: config.group_filter.clone(),
            },
            terms: Terms {
                auto_create: config.auto_create,
                required_group: config.required_group.clone(),
                admin_group: config.admin_group.clone(),
            },
            look_every: config.look_every,
        })
    }
}

/// An identity provider, and who of its people is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInProvider {
    /// How it is asked.
    pub(crate) provider: Provider,
    /// Who is let in.
    pub(crate) terms: Terms,
}

impl SignInProvider {
    fn of(name: &str, config: &Oidc) -> Self {
        Self {
            provider: Provider {
                issuer: config.issuer.clone(),
                client_id: config.client_id.clone(),
                client_secret_file: config.client_secret_file.clone(),
                title: config.title.clone().unwrap_or_else(|| name.to_owned()),
                scopes: config.scopes.clone(),
                username_claim: config.username_claim.clone(),
                email_claim: config.email_claim.clone(),
                groups_claim: config.groups_claim.clone(),
            },
            terms: Terms {
                auto_create: config.auto_create,
                required_group: config.required_group.clone(),
                admin_group: config.admin_group.clone(),
            },
        }
    }
}

/// How many requests a client may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests by which a user or deploy token reads, a minute.
    pub reads: Option<NonZeroU32>,
    /// All other requests of theirs, a minute.
    pub changes: Option<NonZeroU32>,
    /// Requests without credentials that hold, from one address, a minute.
    pub anonymous: Option<NonZeroU32>,
    /// What a client gets back in this time may be used at once.
    pub burst: Duration,
}

/// Limits on what clients send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request target.
    pub target_bytes: usize,
    /// Most header lines.
    pub headers: usize,
    /// Most bytes of header names and values together.
    pub header_bytes: usize,
    /// A connection that has not sent a whole request head in this time is closed.
    pub head_timeout: Duration,
    /// A body must bring this much ...
    pub body_bytes: u64,
    /// ... in this time, whenever Cairn waits for it.
    pub body_window: Duration,
    /// A client that takes nothing of an answer for this time is cut off; and a connection on
    /// which nothing is under way is closed after it.
    pub idle_timeout: Duration,
    /// Most connections at a time.
    pub connections: usize,
    /// Largest JSON body of the REST API.
    pub json_bytes: usize,
    /// Deepest nesting of JSON.
    pub json_depth: usize,
    /// Largest file of a package, and largest layer of an image.
    pub file_bytes: u64,
    /// Largest document that npm publishes.
    pub npm_publish_bytes: u64,
    /// Largest image manifest.
    pub oci_manifest_bytes: usize,
    /// How long an upload lives after its last byte.
    pub upload_session: Duration,
}

impl HttpSettings {
    /// What the configuration says, and fixed limits where it says nothing.
    pub fn of(config: &Config) -> Self {
        let (http, limits) = (&config.http, &config.limits);
        // A size that does not fit the machine's word is no limit on it.
        let in_memory = |size: bytesize::ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        Self {
            external_url: http.external_url.as_ref().map(ExternalUrl::of),
            allowed_hosts: http.allowed_hosts.clone(),
            trusted_proxies: http.trusted_proxies.clone(),
            query_tokens: http.query_tokens,
            issuers: config.trust.issuers.clone(),
            auth: AuthSettings {
                passwords: config.auth.passwords,
                passwords_for_packages: config.auth.passwords_for_packages,
                session_idle: config.auth.session_idle,
                session_lifetime: config.auth.session_lifetime,
                providers: config
                    .oidc
                    .iter()
                    .map(|(name, provider)| (name.clone(), SignInProvider::of(name, provider)))
                    .collect(),
                directory: SignInDirectory::of(&config.ldap),
            },
            limits: Limits {
                target_bytes: 8 << 10,
                headers: 100,
                header_bytes: in_memory(http.max_head),
                head_timeout: http.head_timeout,
                // 1 KiB/s, averaged so long that no pause of a network ends an upload.
                body_bytes: 30 << 10,
                body_window: Duration::from_secs(30),
                idle_timeout: http.idle_timeout,
                connections: http.max_connections,
                json_bytes: in_memory(limits.json_body),
                json_depth: 64,
                file_bytes: limits.artifact.as_u64(),
                npm_publish_bytes: limits.npm_publish.as_u64(),
                oci_manifest_bytes: in_memory(limits.oci_manifest),
                upload_session: limits.upload_session,
            },
            rates: RateLimits {
                reads: NonZeroU32::new(limits.reads_per_minute),
                changes: NonZeroU32::new(limits.changes_per_minute),
                anonymous: NonZeroU32::new(limits.anonymous_per_minute),
                burst: limits.request_burst,
            },
        }
    }
}

impl HttpSettings {
    /// Whether trust rules may name an issuer.
    pub(crate) fn may_be_trusted(&self, issuer: &Issuer) -> bool {
        self.issuers.iter().any(|expected| expected.is(issuer.as_str()))
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self::of(&Config::default())
    }
}

impl Default for Limits {
    fn default() -> Self {
        HttpSettings::default().limits
    }
}

/// `https://cairn.example` or `https://cairn.example:8443`: scheme and authority, no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalUrl {
    scheme: String,
    authority: String,
}

impl ExternalUrl {
    /// Scheme, host and port of a URL; the configuration makes sure that there is nothing else.
    pub fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        Self {
            scheme: url.scheme().into(),
            authority: match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.into(),
            },
        }
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl fmt::Display for ExternalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// Whether `address` lies in one of `networks`, also when it is written as an IPv6 address.
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks
        .iter()
        .any(|network| network.contains(&address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_shares_their_prefix() {
        let networks = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (address, expected) in [
            ("10.9.8.7", true),
            ("11.0.0.1", false),
            ("::ffff:10.1.1.1", true),
            ("fd12::1", true),
            ("::1", false),
        ] {
            assert_eq!(
                contains(&networks, address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
    }

    #[test]
    fn an_external_url_is_a_scheme_and_a_host() {
        let shown = |url: &str| ExternalUrl::of(&url.parse().unwrap()).to_string();
        assert_eq!(shown("https://Cairn.example:8443/"), "https://cairn.example:8443");
        assert_eq!(shown("https://cairn.example:443"), "https://cairn.example");
        assert_eq!(shown("http://[::1]:7080"), "http://[::1]:7080");
    }
}
