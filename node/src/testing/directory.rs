//! A directory for tests: a real `slapd` on this machine, with a folder of its own, which
//! `ops/clients.d/ldap` installs.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapError, Mod, Scope, SearchEntry};
use tempfile::TempDir;

use crate::http::entrance::fixture::Authority;

/// Who may do everything in it, and the password.
const MANAGER: (&str, &str) = ("cn=manager,dc=example,dc=com", "of the manager");

/// Who may read it and no more, and the password.
pub(crate) const READER: (&str, &str) = ("cn=cairn,ou=services,dc=example,dc=com", "of the reader");

/// What everybody in it has for a password.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A directory, until it is dropped. In `ou=people,dc=example,dc=com` there are
///
/// - `ann`, who is in the groups `packages` and `package-administrators` of `ou=groups,dc=example,dc=com`,
/// - `bob`, who is in `packages`, and `eve`, who is in none,
/// - `a*(b)\c`, who only has an odd name, and two who are called `twin`,
/// - `max1` and `max2`, who are `Max` and `max` in `labeledURI`, of which the case counts,
/// - a reference to a directory that does not exist.
pub(crate) struct TestDirectory {
    folder: TempDir,
    port: u16,
    tls_port: u16,
    program: Child,
}

impl TestDirectory {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir(path.join("data")).unwrap();
        certificates(path);
        std::fs::write(path.join("entries.ldif"), entries()).unwrap();
        let shown = path.display();
        let (manager, password) = MANAGER;
        let configuration = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
             moduleload back_monitor\n\
             pidfile {shown}/pid\nTLSCACertificateFile {shown}/authority.pem\n\
             TLSCertificateFile {shown}/certificate.pem\nTLSCertificateKeyFile {shown}/key.pem\n\
             database mdb\nmaxsize 16777216\nsuffix dc=example,dc=com\nrootdn {manager}\nrootpw \"{password}\"\n\
             directory {shown}/data\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact=\"{}\" read by * none\n\
             database monitor\naccess to * by dn.exact=\"{manager}\" read by * none\n",
            READER.0
        );
        std::fs::write(path.join("slapd.conf"), configuration).unwrap();
        let added = Command::new("/usr/sbin/slapadd")
            .arg("-f")
            .arg(path.join("slapd.conf"))
            .arg("-b")
            .arg("dc=example,dc=com")
            .arg("-l")
            .arg(path.join("entries.ldif"))
            .output()
            .expect("slapadd runs; ops/clients.d/ldap installs it");
        assert!(
            added.status.success(),
            "{}",
            String::from_utf8_lossy(&added.stderr)
        );
        let (port, tls_port) = (free_port(), free_port());
        let program = Command::new("/usr/sbin/slapd")
            .args(["-d", "0", "-f"])
            .arg(path.join("slapd.conf"))
            .arg("-h")
            .arg(format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}"))
            .stdin(Stdio::null())
            .spawn()
            .expect("slapd runs; ops/clients.d/ldap installs it");
        let directory = Self {
            folder,
            port,
            tls_port,
            program,
        };
        directory.answers().await;
        directory
    }

    /// Where it speaks in the clear, or by StartTLS.
    pub(crate) fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// Where it speaks TLS.
    pub(crate) fn tls_url(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.tls_port)
    }

    /// Where the certificate of its authority is, and other files can be.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds somebody.
    pub(crate) async fn add(&self, name: &str) {
        let one = |text: &str| HashSet::from([text.to_owned()]);
        let attributes = vec![
            ("objectClass".to_owned(), one("inetOrgPerson")),
            ("uid".to_owned(), one(name)),
            ("cn".to_owned(), one(name)),
            ("sn".to_owned(), one("x")),
            ("userPassword".to_owned(), one(PASSWORD)),
        ];
        let mut ldap = self.manager().await.expect("it answers");
        let added = ldap.add(&dn(name), attributes).await;
        added.unwrap().success().unwrap();
    }

    /// Removes somebody.
    pub(crate) async fn remove(&self, name: &str) {
        let mut ldap = self.manager().await.expect("it answers");
        ldap.delete(&dn(name)).await.unwrap().success().unwrap();
    }

    /// Gives somebody another value of an attribute, in place of those that are there.
    pub(crate) async fn replace(&self, name: &str, attribute: &str, values: &[&str]) {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        self.change(&dn(name), Mod::Replace(attribute.to_owned(), values))
            .await;
    }

    /// Has somebody leave a group.
    pub(crate) async fn leave(&self, name: &str, group: &str) {
        let member = HashSet::from([dn(name)]);
        self.change(&group_dn(group), Mod::Delete("member".to_owned(), member))
            .await;
    }

    /// Has somebody join a group.
    pub(crate) async fn join(&self, name: &str, group: &str) {
        let member = HashSet::from([dn(name)]);
        self.change(&group_dn(group), Mod::Add("member".to_owned(), member))
            .await;
    }

    /// The `entryUUID` of somebody.
    pub(crate) async fn id(&self, name: &str) -> String {
        let found = self.read(&dn(name), "entryUUID").await;
        found.expect("everybody has one")
    }

    /// How often it was asked by now to bind somebody, for this answer included.
    pub(crate) async fn binds(&self) -> u64 {
        let count = self.read("cn=Bind,cn=Operations,cn=Monitor", "monitorOpInitiated");
        count.await.expect("it counts").parse().unwrap()
    }

    async fn read(&self, dn: &str, attribute: &str) -> Option<String> {
        let mut ldap = self.manager().await.expect("it answers");
        let found = ldap.search(dn, Scope::Base, "(objectClass=*)", vec![attribute]);
        let entry = found.await.unwrap().success().unwrap().0.remove(0);
        SearchEntry::construct(entry).attrs.remove(attribute)?.pop()
    }

    async fn change(&self, dn: &str, change: Mod<String>) {
        let mut ldap = self.manager().await.expect("it answers");
        let changed = ldap.modify(dn, vec![change]).await;
        changed.unwrap().success().unwrap();
    }

    async fn manager(&self) -> Result<Ldap, LdapError> {
        let (connection, mut ldap) = LdapConnAsync::new(&self.url()).await?;
        tokio::spawn(connection.drive());
        ldap.simple_bind(MANAGER.0, MANAGER.1).await?.success()?;
        Ok(ldap)
    }

    async fn answers(&self) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while let Err(error) = self.manager().await {
            assert!(
                tokio::time::Instant::now() < deadline,
                "slapd does not answer: {error}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn dn(name: &str) -> String {
    format!("uid={name},ou=people,dc=example,dc=com")
}

fn group_dn(name: &str) -> String {
    format!("cn={name},ou=groups,dc=example,dc=com")
}

fn entries() -> String {
    let unit = |name: &str| {
        let short = name.split_once(',').map_or(name, |(first, _)| first);
        format!("dn: ou={name},dc=example,dc=com\nobjectClass: organizationalUnit\nou: {short}\n\n")
    };
    let person = |dn: &str, name: &str, address: &str| {
        format!(
            "dn: {dn}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name} of the company\nsn: x\n\
             mail: {name}@company.example\nlabeledURI: {address}\nuserPassword: {PASSWORD}\n\n"
        )
    };
    let group = |name: &str, members: &[&str]| {
        let members = members.iter().map(|member| format!("member: {}\n", dn(member)));
        format!(
            "dn: {}\nobjectClass: groupOfNames\ncn: {name}\n{}\n",
            group_dn(name),
            members.collect::<String>()
        )
    };
    [
        "dn: dc=example,dc=com\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n\n".into(),
        unit("people"),
        unit("others,ou=people"),
        unit("groups"),
        unit("services"),
        format!(
            "dn: {}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: cairn\n\
             userPassword: {}\n\n",
            READER.0, READER.1
        ),
        "dn: ou=elsewhere,ou=people,dc=example,dc=com\nobjectClass: referral\nobjectClass: extensibleObject\n\
         ou: elsewhere\nref: ldap://127.0.0.1:1/ou=people,dc=example,dc=com\n\n"
            .into(),
        person(&dn("ann"), "ann", "ann"),
        person(&dn("bob"), "bob", "bob"),
        person(&dn("eve"), "eve", "eve"),
        person(&dn("a*(b)\\5Cc"), "a*(b)\\c", "odd"),
        person(&dn("twin"), "twin", "twin"),
        person("uid=twin,ou=others,ou=people,dc=example,dc=com", "twin", "twin"),
        person(&dn("max1"), "max1", "Max"),
        person(&dn("max2"), "max2", "max"),
        group("packages", &["ann", "bob"]),
        group("package-administrators", &["ann"]),
    ]
    .concat()
}

/// An authority, and a certificate of it for this machine; and another authority.
fn certificates(folder: &Path) {
    let authority = Authority::new();
    let issued = authority.issue();
    for (name, text) in [
        ("authority.pem", &authority.certificate),
        ("certificate.pem", &issued.certificate),
        ("key.pem", &issued.key),
        ("other-authority.pem", &Authority::new().certificate),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
