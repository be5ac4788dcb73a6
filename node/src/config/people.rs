//! How people sign in: by passwords, at identity providers, by a directory.

use std::path::PathBuf;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::ldap::{self, DirectoryUrl};
use crate::oidc::Issuer;

/// How people sign in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Whether a user may sign in by a password that Cairn keeps.
    pub passwords: bool,
    /// Whether package clients may send a password where a token belongs.
    pub passwords_for_packages: bool,
    /// A session ends when it was not used for this long ...
    #[serde(with = "duration")]
    pub session_idle: Duration,
    /// ... and this long after it began.
    #[serde(with = "duration")]
    pub session_lifetime: Duration,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            passwords: true,
            // A client keeps what it sends in a file; a token in it can do less, and be withdrawn.
            passwords_for_packages: false,
            session_idle: Duration::from_secs(24 * 60 * 60),
            session_lifetime: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// An identity provider that people sign in at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// Who it is, as its tokens name it.
    pub issuer: Issuer,
    /// Who Cairn is there.
    pub client_id: String,
    /// The file that holds the secret of this client; none for a public client.
    pub client_secret_file: Option<PathBuf>,
    /// What people call it; without one, its name.
    pub title: Option<String>,
    /// What is asked for.
    #[serde(default = "Oidc::scopes")]
    pub scopes: Vec<String>,
    /// The claim that holds the name to sign in with.
    #[serde(default = "Oidc::username_claim")]
    pub username_claim: String,
    /// The claim that holds the mail address.
    #[serde(default = "Oidc::email_claim")]
    pub email_claim: String,
    /// The claim that holds the groups.
    #[serde(default = "Oidc::groups_claim")]
    pub groups_claim: String,
    /// Whether there is a user for whoever comes first.
    #[serde(default)]
    pub auto_create: bool,
    /// The group that everybody must be in.
    pub required_group: Option<String>,
    /// The group of those who administer the instance.
    pub admin_group: Option<String>,
}

impl Oidc {
    fn scopes() -> Vec<String> {
        ["openid", "profile", "email"].map(String::from).into()
    }

    fn username_claim() -> String {
        "preferred_username".into()
    }

    fn email_claim() -> String {
        "email".into()
    }

    fn groups_claim() -> String {
        "groups".into()
    }
}

/// The directory that people sign in by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ldap {
    /// Where it is; nobody signs in by one without it.
    pub url: Option<DirectoryUrl>,
    /// Whether a connection by `ldap` is encrypted before anything is said.
    pub start_tls: bool,
    /// The PEM file with certificates of its authority, if it is none that the system knows.
    pub authority_file: Option<PathBuf>,
    /// Who searches; nobody in particular without one.
    pub bind_dn: Option<String>,
    /// The file with the password of that one.
    pub bind_password_file: Option<PathBuf>,
    /// Below which entry people are.
    pub base: Option<String>,
    /// What all of them have.
    pub user_filter: String,
    /// The attribute that holds what an entry is called for ever.
    pub id_attribute: String,
    /// The attribute that holds the name to sign in with.
    pub username_attribute: String,
    /// The one that holds the name to show.
    pub name_attribute: String,
    /// The one that holds the mail address.
    pub email_attribute: String,
    /// Below which entry groups are.
    pub group_base: Option<String>,
    /// What a group of somebody has.
    pub group_filter: String,
    /// Whether there is a user for whoever comes first.
    pub auto_create: bool,
    /// The group that everybody must be in.
    pub required_group: Option<String>,
    /// The group of those who administer the instance.
    pub admin_group: Option<String>,
    /// How often the cluster looks whether those who signed in are still there.
    #[serde(with = "duration")]
    pub look_every: Duration,
}

impl Default for Ldap {
    fn default() -> Self {
        Self {
            url: None,
            start_tls: false,
            authority_file: None,
            bind_dn: None,
            bind_password_file: None,
            base: None,
            user_filter: "(objectClass=person)".into(),
            id_attribute: "entryUUID".into(),
            username_attribute: "uid".into(),
            name_attribute: "cn".into(),
            email_attribute: "mail".into(),
            group_base: None,
            group_filter: "(|(member={dn})(uniqueMember={dn})(memberUid={username}))".into(),
            auto_create: false,
            required_group: None,
            admin_group: None,
            look_every: Duration::from_secs(60 * 60),
        }
    }
}

impl Ldap {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |reason: String| Err(ConfigError::Contradiction(reason));
        let Some(url) = &self.url else {
            return Ok(());
        };
        let is_encrypted = url.is_tls() || self.start_tls;
        // Passwords go over it.
        if !is_encrypted && !url.is_here() {
            return wrong(format!(
                "ldap.url is {url}: without start_tls it is for a directory on this very machine alone; use ldaps://"
            ));
        }
        if is_encrypted && !url.can_be_certified() {
            return wrong(format!(
                "ldap.url is {url}: write a name in place of the IPv6 address, for its certificate to be checked against"
            ));
        }
        if url.is_tls() && self.start_tls {
            return wrong("ldap.start_tls is for ldap://; by ldaps:// all is encrypted already".into());
        }
        if self.bind_dn.is_some() != self.bind_password_file.is_some() {
            return wrong("ldap.bind_dn and ldap.bind_password_file go together".into());
        }
        if self.base.is_none() {
            return wrong("ldap.base must say below which entry people are".into());
        }
        for (key, attribute) in [
            ("id_attribute", &self.id_attribute),
            ("username_attribute", &self.username_attribute),
            ("name_attribute", &self.name_attribute),
            ("email_attribute", &self.email_attribute),
        ] {
            if !ldap::is_attribute(attribute) {
                return wrong(format!(
                    "ldap.{key} is {attribute:?}: it is no name of an attribute"
                ));
            }
        }
        for (key, filter) in [
            ("user_filter", &self.user_filter),
            ("group_filter", &self.group_filter),
        ] {
            if !ldap::is_filter(filter) {
                return wrong(format!(
                    "ldap.{key} is {filter:?}: it is no filter, as (objectClass=person) is"
                ));
            }
        }
        if !self.group_filter.contains("{dn}") && !self.group_filter.contains("{username}") {
            return wrong(
                "ldap.group_filter must have {dn} or {username}, or everybody were in every group".into(),
            );
        }
        if self.look_every < MIN_LOOK_EVERY {
            return wrong(format!(
                "ldap.look_every is {:?}: it must be five minutes at least",
                self.look_every
            ));
        }
        Ok(())
    }
}

/// The directory is not asked for everybody more often than this.
const MIN_LOOK_EVERY: Duration = Duration::from_secs(5 * 60);

/// The shortest time after which a session that is not used may end: when it was used is written to
/// about ten minutes.
pub(super) const MIN_SESSION_IDLE: Duration = Duration::from_secs(30 * 60);
