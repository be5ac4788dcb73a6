//! A directory that people sign in by: LDAP (RFC 4511), as far as it is asked who somebody is.
//!
//! Signing in is a search by an account of ours, and then a bind as the entry that was found, with the
//! password that somebody typed. Names go into filters escaped. Who was found is known by an id that the
//! directory gave the entry for ever, never by a name, which somebody else may have next year.

mod connection;
mod entry;
mod url;

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt as _;
use ldap3::{LdapError, Scope, SearchEntry, dn_escape, ldap_escape, parse_filter};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

pub(crate) use entry::EntryId;
pub use url::DirectoryUrl;

use crate::auth::password::{BadPassword, Password};
use connection::Connection;

/// How long it may take to ask for one person, all questions together.
const DEADLINE: Duration = Duration::from_secs(15);

/// So many people at a time are asked for by a node; others wait.
const MAX_AT_A_TIME: usize = 16;

/// An attribute that no entry has: what is asked for where that an entry exists is enough (RFC 4511,
/// section 4.5.1.8).
const NO_ATTRIBUTES: &str = "1.1";

/// How a directory is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directory {
    /// Where it is.
    pub(crate) url: DirectoryUrl,
    /// Whether a connection that is not by TLS from the beginning goes on by it before anything is said.
    pub(crate) start_tls: bool,
    /// Certificates of its authority, if it is none that the system knows.
    pub(crate) authority_file: Option<PathBuf>,
    /// Who searches, and the file with the password; nobody in particular without one.
    pub(crate) account: Option<(String, PathBuf)>,
    /// Below which entry people are.
    pub(crate) base: String,
    /// What all of them have.
    pub(crate) user_filter: String,
    /// The attribute that holds what an entry is called for ever.
    pub(crate) id_attribute: String,
    /// The one that holds the name to sign in with.
    pub(crate) username_attribute: String,
    /// The one that holds the name to show.
    pub(crate) name_attribute: String,
    /// The one that holds the mail address.
    pub(crate) email_attribute: String,
    /// Below which entry groups are; without one, the attribute `memberOf` of a person has them.
    pub(crate) group_base: Option<String>,
    /// What a group of somebody has: `{dn}` and `{username}` stand for the person's.
    pub(crate) group_filter: String,
}

/// Somebody in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it is called for ever.
    pub(crate) id: EntryId,
    /// The name to sign in with, as the directory writes it.
    pub(crate) username: String,
    /// The name to show.
    pub(crate) name: Option<String>,
    /// The mail address.
    pub(crate) email: Option<String>,
    /// Those of the groups that were asked about that it is in.
    pub(crate) groups: Vec<String>,
}

/// Why a directory did not say anything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    /// It cannot be reached.
    #[error("the directory cannot be reached")]
    Reach(#[source] io::Error),
    /// It takes too long, or too many ask it.
    #[error("the directory does not answer in time")]
    Slow,
    /// A file of the configuration cannot be read.
    #[error("cannot read {0}")]
    File(PathBuf, #[source] io::Error),
    /// A file of the configuration does not hold certificates, or others as well.
    #[error("{0} does not hold certificates of an authority")]
    Authority(PathBuf),
    /// A file of the configuration does not hold a password.
    #[error("{0} does not hold a password: it {1}")]
    Password(PathBuf, BadPassword),
    /// It does not do StartTLS.
    #[error("the directory does not go on by TLS")]
    NoTls,
    /// The conversation broke.
    #[error("the conversation with the directory broke")]
    Ldap(#[from] LdapError),
    /// It says something that is not as the protocol has it.
    #[error("what the directory answers cannot be read")]
    Malformed,
    /// It does not take the account by which we search.
    #[error("the directory does not take the password of {0}")]
    Account(String),
    /// It does not do what it was asked.
    #[error("the directory does not do what it was asked: {0}")]
    Refused(String),
    /// An entry cannot be known again.
    #[error("an entry has no {0}, or several, or we may not read it")]
    NoId(String),
}

/// Who asks a directory, on this node.
pub(crate) struct Conversations(Semaphore);

impl Default for Conversations {
    fn default() -> Self {
        Self(Semaphore::new(MAX_AT_A_TIME))
    }
}

/// A connection by which we may search. It ends when it is dropped.
pub(crate) struct Searcher<'d> {
    directory: &'d Directory,
    connection: Connection,
}

impl Directory {
    /// Whether somebody has a name and a password: who it is then, and in which of these groups.
    ///
    /// A name that nobody has is asked for as one that somebody has.
    pub(crate) async fn authenticate(
        &self,
        conversations: &Conversations,
        name: &str,
        password: &Password,
        groups: &[&str],
    ) -> Result<Option<Entry>, DirectoryError> {
        bounded(async {
            let turn = conversations.0.acquire().await;
            let _turn = turn.expect("the semaphore is never closed");
            let mut searcher = self.begin().await?;
            let found = searcher.by_name(name).await?;
            let dn = match &found {
                Some(found) => found.dn.clone(),
                None => self.dn_of_nobody(name),
            };
            let is_right = searcher.connection.bind(&dn, password).await?;
            let Some(found) = found.filter(|_| is_right) else {
                return Ok(None);
            };
            // What somebody may read is not what we may.
            searcher.introduce().await?;
            searcher.entry(&found, groups).await.map(Some)
        })
        .await
    }

    /// Connects, as whoever may search.
    pub(crate) async fn searcher(&self) -> Result<Searcher<'_>, DirectoryError> {
        bounded(self.begin()).await
    }

    async fn begin(&self) -> Result<Searcher<'_>, DirectoryError> {
        let connection = Connection::open(&self.url, self.start_tls, self.authority_file.as_deref()).await?;
        let mut searcher = Searcher {
            directory: self,
            connection,
        };
        searcher.introduce().await?;
        Ok(searcher)
    }

    /// What finds the person of whom an attribute has a value, which is escaped, and nobody else.
    fn filter_of(&self, attribute: &str, escaped: &str) -> String {
        format!("(&{}({attribute}={escaped}))", self.user_filter)
    }

    /// What finds the groups of somebody.
    fn group_filter_of(&self, dn: &str, username: &str) -> String {
        let (dn, username) = (ldap_escape(dn), ldap_escape(username));
        // What was put in for the one is not looked through for the other.
        let parts = self.group_filter.split("{dn}");
        let parts: Vec<String> = parts.map(|part| part.replace("{username}", &username)).collect();
        parts.join(&dn)
    }

    /// An entry that there is hardly, for a name that nobody has.
    fn dn_of_nobody(&self, name: &str) -> String {
        format!("{}={},{}", self.username_attribute, dn_escape(name), self.base)
    }
}

impl Searcher<'_> {
    /// The person of an id, and in which of these groups it is; none if there is none by now.
    pub(crate) async fn find(
        &mut self,
        id: &EntryId,
        groups: &[&str],
    ) -> Result<Option<Entry>, DirectoryError> {
        bounded(async {
            match self.by_id(id).await? {
                Some(found) => self.entry(&found, groups).await.map(Some),
                None => Ok(None),
            }
        })
        .await
    }

    /// Whether there is anybody at all who is found by its id.
    pub(crate) async fn finds_anybody(&mut self) -> Result<bool, DirectoryError> {
        bounded(async {
            let directory = self.directory;
            let (base, filter) = (&directory.base, &directory.user_filter);
            let attribute = directory.id_attribute.as_str();
            let found = self
                .connection
                .search(base, Scope::Subtree, filter, &[attribute], 1)
                .await?;
            let id = found
                .entries
                .first()
                .and_then(|found| entry::id(found, attribute));
            match id {
                Some(id) => Ok(self.by_id(&id).await?.is_some()),
                None => Ok(false),
            }
        })
        .await
    }

    /// Says who we are, if we are somebody.
    async fn introduce(&mut self) -> Result<(), DirectoryError> {
        let Some((dn, file)) = &self.directory.account else {
            return Ok(());
        };
        // Read whenever it is needed, so that it can be replaced.
        let text = tokio::fs::read_to_string(file).await;
        let text = text.map_err(|error| DirectoryError::File(file.clone(), error))?;
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        let password = Password::try_from(text).map_err(|bad| DirectoryError::Password(file.clone(), bad))?;
        match self.connection.bind(dn, &password).await? {
            true => Ok(()),
            false => Err(DirectoryError::Account(dn.clone())),
        }
    }

    /// The entry of the person of an id; none if there is none by now.
    async fn by_id(&mut self, id: &EntryId) -> Result<Option<SearchEntry>, DirectoryError> {
        let attribute = &self.directory.id_attribute;
        let filter = self.directory.filter_of(attribute, &id.to_string());
        let found = self.only(&filter).await?;
        // What the directory takes for the same may be another one to us.
        Ok(found.filter(|found| entry::id(found, attribute).is_some_and(|found| found == *id)))
    }

    /// The entry of the person of a name; none if there is none, or more than one.
    async fn by_name(&mut self, name: &str) -> Result<Option<SearchEntry>, DirectoryError> {
        let directory = self.directory;
        let attribute = &directory.username_attribute;
        let filter = directory.filter_of(attribute, &ldap_escape(name));
        let found = self.only(&filter).await?;
        // A directory takes more for the same than we do: blanks around it, other forms of a character. If
        // all of these came in, each could be used to guess on, after too many tries with another.
        Ok(found.filter(|found| {
            let own = entry::username(found, attribute);
            own.is_some_and(|own| own.eq_ignore_ascii_case(name))
        }))
    }

    /// The one person that a filter finds; none if there are several.
    async fn only(&mut self, filter: &str) -> Result<Option<SearchEntry>, DirectoryError> {
        let directory = self.directory;
        let attributes = [
            directory.id_attribute.as_str(),
            &directory.username_attribute,
            &directory.name_attribute,
            &directory.email_attribute,
            "memberOf",
        ];
        let found = self
            .connection
            .search(&directory.base, Scope::Subtree, filter, &attributes, 1)
            .await?;
        if !found.is_all {
            warn!(
                filter,
                "the directory has several entries where there may be one, so none of them is let in"
            );
            return Ok(None);
        }
        Ok(found.entries.into_iter().next())
    }

    async fn entry(&mut self, found: &SearchEntry, groups: &[&str]) -> Result<Entry, DirectoryError> {
        let directory = self.directory;
        let id = entry::id(found, &directory.id_attribute);
        let username = entry::username(found, &directory.username_attribute).unwrap_or_default();
        let mut entry = Entry {
            id: id.ok_or_else(|| DirectoryError::NoId(directory.id_attribute.clone()))?,
            username: username.to_owned(),
            name: entry::text(found, &directory.name_attribute),
            email: entry::text(found, &directory.email_attribute),
            groups: Vec::new(),
        };
        for group in groups {
            if self.is_in(found, username, group).await? {
                entry.groups.push((*group).to_owned());
            }
        }
        Ok(entry)
    }

    /// Whether a person is in a group, which is named as a whole or by its `cn`.
    async fn is_in(
        &mut self,
        found: &SearchEntry,
        username: &str,
        group: &str,
    ) -> Result<bool, DirectoryError> {
        let Some(base) = &self.directory.group_base else {
            return Ok(entry::says_to_be_in(found, group));
        };
        let filter = self.directory.group_filter_of(&found.dn, username);
        let (base, scope, filter) = match group.contains('=') {
            true => (group, Scope::Base, filter),
            false => (
                base.as_str(),
                Scope::Subtree,
                format!("(&{filter}(cn={}))", ldap_escape(group)),
            ),
        };
        let found = self
            .connection
            .search(base, scope, &filter, &[NO_ATTRIBUTES], 1)
            .await?;
        Ok(!found.entries.is_empty())
    }
}

/// Whether a filter of the configuration is one.
pub(crate) fn is_filter(text: &str) -> bool {
    // It goes into another one.
    let is_whole = |text: &str| parse_filter(text).is_ok();
    let text = text.replace("{dn}", "x").replace("{username}", "x");
    text.starts_with('(') && is_whole(&text) && is_whole(&format!("(&{text}(cn=x))"))
}

/// Whether this names an attribute (RFC 4512, section 1.4).
pub(crate) fn is_attribute(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.;".contains(&byte);
    text.len() <= 255
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(is_plain)
}

/// Waits for what a directory is asked, and not for ever. The crate that reads its answers panics where
/// they are malformed, which takes nothing down but the question.
async fn bounded<T>(asked: impl Future<Output = Result<T, DirectoryError>>) -> Result<T, DirectoryError> {
    let asked = Box::pin(AssertUnwindSafe(asked).catch_unwind());
    match timeout(DEADLINE, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(DirectoryError::Malformed),
        Err(_) => Err(DirectoryError::Slow),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn directory(url: &str) -> Directory {
        Directory {
            url: url.parse().unwrap(),
            start_tls: false,
            authority_file: None,
            account: None,
            base: "dc=example".into(),
            user_filter: "(objectClass=person)".into(),
            id_attribute: "entryUUID".into(),
            username_attribute: "uid".into(),
            name_attribute: "cn".into(),
            email_attribute: "mail".into(),
            group_base: None,
            group_filter: "(|(member={dn})(memberUid={username}))".into(),
        }
    }

    #[test]
    fn a_name_cannot_widen_the_filter_that_it_is_put_into() {
        let directory = directory("ldap://127.0.0.1");
        let check = |name: &str, expected: &str| {
            assert_eq!(directory.filter_of("uid", &ldap_escape(name)), expected);
        };
        check("ann", "(&(objectClass=person)(uid=ann))");
        check("*", "(&(objectClass=person)(uid=\\2a))");
        check(
            "a)(|(uid=*)",
            "(&(objectClass=person)(uid=a\\29\\28|\\28uid=\\2a\\29))",
        );
        check("a\\\0", "(&(objectClass=person)(uid=a\\5c\\00))");
        assert_eq!(
            directory.group_filter_of("uid=a(n)n,dc=example", "a*"),
            "(|(member=uid=a\\28n\\29n,dc=example)(memberUid=a\\2a))"
        );
        assert_eq!(
            directory.group_filter_of("uid={username}", "{dn}"),
            "(|(member=uid={username})(memberUid={dn}))"
        );
        assert_eq!(
            directory.dn_of_nobody(" ann,dc=example+cn=manager"),
            "uid=\\20ann\\2cdc\\3dexample\\2bcn\\3dmanager,dc=example"
        );
    }

    #[test]
    fn filters_and_attributes_of_the_configuration_are_such() {
        for filter in [
            "(objectClass=person)",
            "(&(objectClass=person)(!(userAccountControl:1.2.840.113556.1.4.803:=2)))",
            "(member:1.2.840.113556.1.4.1941:={dn})",
            "(|(member={dn})(uniqueMember={dn})(memberUid={username}))",
        ] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in [
            "",
            "objectClass=person",
            "(objectClass=person",
            "(uid=a))",
            "(&(uid=a)",
            "()",
        ] {
            assert!(!is_filter(filter), "{filter}");
        }
        assert!(is_attribute("sAMAccountName") && is_attribute("2.5.4.3"));
        for attribute in ["", "uid=*)(cn", "u d", "-a", "\u{fc}id"] {
            assert!(!is_attribute(attribute), "{attribute}");
        }
    }

    /// What comes of asking a directory that says this and no more.
    async fn asked_of_one_that_says(answer: &'static [u8]) -> DirectoryError {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ldap://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let listening = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
                .await
                .unwrap();
            // Until whoever asked has gone.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        });
        let password = Password::try_from("horse".to_owned()).unwrap();
        let directory = directory(&url);
        let conversations = Conversations::default();
        let asked = directory
            .authenticate(&conversations, "ann", &password, &[])
            .await;
        listening.abort();
        asked.expect_err("nothing was said")
    }

    #[tokio::test]
    async fn what_cannot_be_read_takes_nothing_down() {
        // No message; an entry that is none, to the first request; one with a name that is not text; another
        // operation than a search answers with; messages of too few parts.
        for answer in [
            b"\x04\x01x".as_slice(),
            b"\x30\x07\x02\x01\x01\x64\x02\x04\x00",
            b"\x30\x0a\x02\x01\x01\x64\x05\x04\x01\xff\x30\x00",
            b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00",
            b"\x30\x03\x02\x01\x01",
            b"\x30\x00",
        ] {
            let error = asked_of_one_that_says(answer).await;
            assert!(
                matches!(error, DirectoryError::Malformed | DirectoryError::Ldap(_)),
                "{error:?} for {answer:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_says_nothing_is_not_waited_for() {
        let error = asked_of_one_that_says(b"").await;
        let is_slow = match &error {
            DirectoryError::Slow => true,
            // The clock of this test goes on while the connection is made.
            DirectoryError::Reach(error) => error.kind() == io::ErrorKind::TimedOut,
            _ => false,
        };
        assert!(is_slow, "{error:?}");
    }

    #[tokio::test]
    async fn a_directory_is_asked_neither_elsewhere_in_the_clear_nor_where_nobody_is_asked() {
        let password = Password::try_from("horse".to_owned()).unwrap();
        let conversations = Conversations::default();
        for url in ["ldap://192.0.2.1", "ldaps://169.254.169.254", "ldaps://0.0.0.0"] {
            let directory = directory(url);
            let asked = directory
                .authenticate(&conversations, "ann", &password, &[])
                .await;
            let error = anyhow::Error::new(asked.unwrap_err());
            assert!(format!("{error:#}").contains("never asked"), "{error:#}");
        }
    }
}
