//! The whole configuration of a node, typed.
//!
//! One TOML file; every key has a default, unknown keys are refused. The environment overrides
//! the file: `CAIRN_<SECTION>_<KEY>`, for instance `CAIRN_HTTP_LISTEN=0.0.0.0:7080`. Each key is
//! documented in `ops/cairn.toml`, which a test holds against the defaults below. No key holds
//! a secret: those come from files or from standard input where a command needs one.

mod log;
mod people;
mod sources;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use cairn_cluster::membership::{NodeAddress, Zone};
use figment::Figment;
use ipnet::IpNet;
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::{Deserialize, Serialize};
use url::Url;

pub use self::log::{Log, LogFilter, LogFormat};
use self::people::MIN_SESSION_IDLE;
pub use self::people::{Auth, Ldap, Oidc};
use self::sources::{Environment, File};
use crate::registry::trust::Expected;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This node itself.
    pub node: Node,
    /// Where clients come in.
    pub http: Http,
    /// Where the other nodes come in.
    pub cluster: Cluster,
    /// How much a client may ask for.
    pub limits: Limits,
    /// Who is believed.
    pub trust: Trust,
    /// How people sign in.
    pub auth: Auth,
    /// The directory that people sign in by.
    pub ldap: Ldap,
    /// Identity providers that people sign in at, by names that their URLs have.
    pub oidc: BTreeMap<String, Oidc>,
    /// What the node says of itself.
    pub log: Log,
}

/// This node itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// The folder that holds all that this node keeps.
    pub data: PathBuf,
    /// Folders, a disk each, over which shards are spread. Without any, they lie in `data`.
    pub disks: Vec<PathBuf>,
    /// The failure domain this node is in; copies are spread over zones where there are several.
    pub zone: Zone,
    /// What blobs leave free on each disk, so that metadata can always be written.
    #[serde(serialize_with = "exact_size")]
    pub reserve: ByteSize,
    /// Room for what blobs were fetched from other zones; 0 keeps none of it.
    #[serde(serialize_with = "exact_size")]
    pub cache: ByteSize,
    /// How long requests under way may take to finish once the node was told to stop.
    #[serde(with = "duration")]
    pub drain: Duration,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            data: "/var/lib/cairn".into(),
            disks: Vec::new(),
            zone: Zone::default(),
            reserve: ByteSize::gib(5),
            cache: ByteSize::gib(20),
            // Shorter than the 90 s after which common service managers kill what does not stop.
            drain: Duration::from_secs(60),
        }
    }
}

/// Where clients come in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// The address clients connect to.
    pub listen: SocketAddr,
    /// A PEM file with the certificate that clients are shown, and those that lead to an authority;
    /// without one, HTTP is spoken in the clear.
    pub tls_certificate: Option<PathBuf>,
    /// The PEM file with its private key.
    pub tls_key: Option<PathBuf>,
    /// Networks of proxies whose connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Vec<IpNet>,
    /// The URL under which clients know the cluster; without it, the one that each client used.
    pub external_url: Option<Url>,
    /// Other hosts under which requests are taken when there is an `external_url`.
    pub allowed_hosts: Vec<String>,
    /// Proxies whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether `?private_token=` and `?job_token=` are taken as credentials.
    pub query_tokens: bool,
    /// Connections served at once; more of them wait to be accepted.
    pub max_connections: usize,
    /// Bytes of request line and headers.
    #[serde(serialize_with = "exact_size")]
    pub max_head: ByteSize,
    /// How long a client may take to send request line and headers.
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    /// How long a body may stand still before the request is given up.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            // Plain HTTP carries tokens in the clear, so it leaves the machine only when told to.
            listen: SocketAddr::from(([127, 0, 0, 1], 7080)),
            tls_certificate: None,
            tls_key: None,
            proxy_protocol: Vec::new(),
            external_url: None,
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            // GitLab's clients may rely on them; our own logs never hold a query.
            query_tokens: true,
            max_connections: 10_000,
            max_head: ByteSize::kib(32),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// Where the other nodes come in. This port speaks mutual TLS with the cluster's own certificates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// The address the other nodes connect to.
    pub listen: SocketAddr,
    /// What the other nodes are told to connect to, if it is not `listen`.
    pub advertise: Option<NodeAddress>,
    /// How much log is written from one snapshot of the metadata to the next.
    #[serde(serialize_with = "exact_size")]
    pub snapshot_every: ByteSize,
    /// How much log is kept for nodes that were away, at least.
    #[serde(serialize_with = "exact_size")]
    pub log_retention: ByteSize,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7081)),
            advertise: None,
            snapshot_every: ByteSize::mib(512),
            log_retention: ByteSize::gib(2),
        }
    }
}

impl Cluster {
    /// The address that the other nodes are told.
    pub fn advertised(&self) -> NodeAddress {
        let listen = || self.listen.to_string().parse().expect("an address and a port");
        self.advertise.clone().unwrap_or_else(listen)
    }
}

/// How much a client may ask for. A limit of one format's own is named after the format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// One file of a package, or one layer of an image.
    #[serde(serialize_with = "exact_size")]
    pub artifact: ByteSize,
    /// A JSON body of the REST API.
    #[serde(serialize_with = "exact_size")]
    pub json_body: ByteSize,
    /// The document that `npm publish` sends: metadata and the tarball in Base64.
    #[serde(serialize_with = "exact_size")]
    pub npm_publish: ByteSize,
    /// A manifest or an image index.
    #[serde(serialize_with = "exact_size")]
    pub oci_manifest: ByteSize,
    /// How long an upload session lives after its last byte came in.
    #[serde(with = "duration")]
    pub upload_session: Duration,
    /// Requests by which a user or deploy token reads, a minute; 0 for no limit.
    pub reads_per_minute: u32,
    /// All other requests of theirs, a minute; 0 for no limit.
    pub changes_per_minute: u32,
    /// Requests without credentials from one address, a minute; 0 for no limit.
    pub anonymous_per_minute: u32,
    /// What the three limits above give in this time may be used at once.
    #[serde(with = "duration")]
    pub request_burst: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Artefacts stream through bounded memory; the limit guards disks, not memory.
            artifact: ByteSize::tib(5),
            json_body: ByteSize::mib(1),
            npm_publish: ByteSize::gib(2),
            // The least that registries must accept.
            oci_manifest: ByteSize::mib(4),
            upload_session: Duration::from_secs(24 * 60 * 60),
            // As in GitLab, whoever wants limits on requests sets them.
            reads_per_minute: 0,
            changes_per_minute: 0,
            anonymous_per_minute: 0,
            request_burst: Duration::from_secs(60),
        }
    }
}

/// Who is believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// The issuers that trust rules may name; a `*` at the end stands for any rest.
    pub issuers: Vec<Expected>,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            // Whose jobs publish is for the maintainers of a project to say. What is asked on this
            // machine itself is not.
            issuers: vec!["https://*".parse().expect("the beginning of a URL is a pattern")],
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{name}: {error}")]
    Syntax {
        /// The file.
        name: String,
        /// Where, and what was expected.
        error: toml::de::Error,
    },
    /// A key is unknown, or its value is not of its type.
    // The library calls its own outermost level "default".
    #[error("{}", .0.to_string().replace("\"default.", "\""))]
    Value(Box<figment::Error>),
    /// The values contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

impl Config {
    /// Reads the file, if one is named, and the environment over it.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let text = match file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                    path: path.to_owned(),
                    source,
                })?;
                Some((path, text))
            }
        };
        Self::from_sources(
            text.as_ref().map(|(path, text)| (*path, text.as_str())),
            std::env::vars(),
        )
    }

    /// The text of a file, and over it the environment.
    pub fn from_sources(
        file: Option<(&Path, &str)>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut figment = Figment::new();
        if let Some((path, text)) = file {
            let name = path.display().to_string();
            let sections = toml::from_str(text).map_err(|error| ConfigError::Syntax {
                name: name.clone(),
                error,
            })?;
            figment = figment.merge(File { name, sections });
        }
        let config: Self = figment
            .merge(Environment::new(environment))
            // The environment knows only text; a number there is still a number.
            .extract_lossy()
            .map_err(|error| ConfigError::Value(Box::new(error)))?;
        config.validate()?;
        Ok(config)
    }

    /// The same configuration as the text of a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("each value has a form in TOML")
    }

    /// Finds values that contradict each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let disks = &self.node.disks;
        for (number, disk) in disks.iter().enumerate() {
            if !disk.is_absolute() {
                return Err(ConfigError::Contradiction(format!(
                    "node.disks lists {}: a disk is named by its absolute path",
                    disk.display()
                )));
            }
            if disks[..number].contains(disk) {
                return Err(ConfigError::Contradiction(format!(
                    "node.disks lists {} twice",
                    disk.display()
                )));
            }
        }
        if self.cluster.listen.port() == 0 {
            return Err(ConfigError::Contradiction(
                "cluster.listen has port 0: the other nodes must find this one at a port that stays".into(),
            ));
        }
        if self.cluster.advertise.is_none() && self.cluster.listen.ip().is_unspecified() {
            return Err(ConfigError::Contradiction(format!(
                "cluster.listen is {}, which no other node can connect to: \
                 set cluster.advertise to the name or address of this machine, with the port",
                self.cluster.listen
            )));
        }
        if self.http.max_connections == 0 {
            return Err(ConfigError::Contradiction(
                "http.max_connections is 0: no client could connect".into(),
            ));
        }
        let alone = match (&self.http.tls_certificate, &self.http.tls_key) {
            (Some(_), None) => Some(["tls_certificate", "tls_key"]),
            (None, Some(_)) => Some(["tls_key", "tls_certificate"]),
            _ => None,
        };
        if let Some([there, missing]) = alone {
            return Err(ConfigError::Contradiction(format!(
                "http.{there} is set without http.{missing}: TLS needs both"
            )));
        }
        let auth = &self.auth;
        if auth.session_idle < MIN_SESSION_IDLE || auth.session_lifetime < auth.session_idle {
            return Err(ConfigError::Contradiction(format!(
                "auth.session_idle is {:?} and auth.session_lifetime {:?}: the first must be 30 minutes at \
                 least, and no longer than the second",
                auth.session_idle, auth.session_lifetime
            )));
        }
        self.ldap.validate()?;
        for (name, provider) in &self.oidc {
            if name == "ldap" {
                return Err(ConfigError::Contradiction(
                    "oidc.ldap: that is what the directory is called".into(),
                ));
            }
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if name.is_empty() || name.len() > 32 || !name.bytes().all(is_plain) {
                return Err(ConfigError::Contradiction(format!(
                    "oidc.{name}: the name of a provider has 1 to 32 of a-z, 0-9 and '-'"
                )));
            }
            if !provider.scopes.iter().any(|scope| scope == "openid") {
                return Err(ConfigError::Contradiction(format!(
                    "oidc.{name}.scopes leaves out openid, without which a provider says of nobody who it is"
                )));
            }
        }
        if let Some(url) = &self.http.external_url {
            let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
            if !matches!(url.scheme(), "http" | "https") || !plain || !url.username().is_empty() {
                return Err(ConfigError::Contradiction(format!(
                    "http.external_url is {url}: it must be http:// or https://, a host and perhaps a port, \
                     without a path"
                )));
            }
        }
        Ok(())
    }
}

/// Writes a size to the byte; its usual form is rounded.
fn exact_size<S: serde::Serializer>(size: &ByteSize, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&format_args!("{} B", size.as_u64()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const REFERENCE: &str = include_str!("../../../ops/cairn.toml");

    fn parse(text: &str) -> Result<Config, String> {
        with_environment(text, &[])
    }

    fn with_environment(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_sources(Some((Path::new("test.toml"), text)), environment)
            .map_err(|error| error.to_string())
    }

    fn keys(value: &serde_json::Value) -> BTreeSet<String> {
        let sections = value.as_object().unwrap();
        sections
            .iter()
            .flat_map(|(section, keys)| {
                let keys = keys.as_object().unwrap();
                keys.keys().map(move |key| format!("{section}.{key}"))
            })
            .collect()
    }

    #[test]
    fn the_reference_file_holds_the_defaults() {
        assert_eq!(parse(REFERENCE).unwrap(), Config::default());
    }

    #[test]
    fn the_reference_file_documents_each_key() {
        let mut documented = BTreeSet::new();
        let (mut section, mut before) = (String::new(), "");
        for line in REFERENCE.lines() {
            if let Some(name) = line.trim_start_matches('#').strip_prefix('[') {
                section = name.trim_end_matches(']').to_owned();
            }
            // A key without a default is shown as a comment: "#key = example".
            if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ")
                && !key.is_empty()
                && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            {
                assert!(
                    before.starts_with("# "),
                    "{section}.{key} has no word of explanation"
                );
                documented.insert(format!("{section}.{key}"));
            }
            before = line;
        }
        let mut known = keys(&serde_json::to_value(Config::default()).unwrap());
        // Of providers there is an example.
        let example = Oidc {
            issuer: "https://login.example.com".parse().unwrap(),
            client_id: String::new(),
            client_secret_file: None,
            title: None,
            scopes: Vec::new(),
            username_claim: String::new(),
            email_claim: String::new(),
            groups_claim: String::new(),
            auto_create: false,
            required_group: None,
            admin_group: None,
        };
        known.extend(keys(&serde_json::json!({ "oidc.company": example })));
        assert_eq!(documented, known);
    }

    #[test]
    fn examples_in_the_reference_file_are_valid() {
        let text: String = REFERENCE
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if key.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') => {
                    format!("{key}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect();
        let config = parse(&text).unwrap();
        assert!(config.http.external_url.is_some() && config.cluster.advertise.is_some());
        assert_eq!(config.oidc["company"].username_claim, "preferred_username");
    }

    #[test]
    fn a_configuration_survives_being_written_and_read() {
        let mut config = Config::default();
        config.node.zone = "rack-7".parse().unwrap();
        config.cluster.advertise = Some("[2001:db8::1]:7081".parse().unwrap());
        config.http.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        config.limits.artifact = ByteSize(12_345_678_901);
        assert_eq!(parse(&config.to_toml()).unwrap(), config);
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let config = with_environment(
            "[http]\nlisten = \"127.0.0.1:1\"\nmax_connections = 5",
            &[
                ("CAIRN_HTTP_LISTEN", "127.0.0.1:2"),
                ("CAIRN_HTTP_MAX_CONNECTIONS", "6"),
                ("CAIRN_HTTP_TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
                ("CAIRN_NODE_ZONE", "7"),
                ("CAIRN_NODE_DISKS", "[\"/srv/a\", \"/srv/b\"]"),
                ("CAIRN_NODE_DRAIN", "2m"),
                ("CAIRN_LIMITS_JSON_BODY", "2 MiB"),
                ("CAIRN_CACHE", "for scripts"),
                ("CAIRN_URL", "for the command line"),
            ],
        )
        .unwrap();
        assert_eq!(config.http.listen, "127.0.0.1:2".parse().unwrap());
        assert_eq!(config.http.max_connections, 6);
        assert_eq!(config.http.trusted_proxies.len(), 1);
        assert_eq!(config.node.zone.to_string(), "7");
        assert_eq!(config.node.disks, [Path::new("/srv/a"), Path::new("/srv/b")]);
        assert_eq!(config.node.drain, Duration::from_secs(120));
        assert_eq!(config.limits.json_body, ByteSize::mib(2));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("[http]\nlistne = \"127.0.0.1:1\"", "listne");
        check("[htpt]\n", "htpt");
        check("[http\n", "test.toml: TOML parse error at line 1");
        check("[http]\nlisten = \"localhost\"", "http.listen");
        check("[node]\ndrain = \"soon\"", "node.drain");
        check("[node]\nzone = \"a b\"", "not a zone");
        check("[limits]\nartifact = \"many\"", "limits.artifact");
        check("[log]\nformat = \"xml\"", "xml");
        check("[cluster]\nadvertise = \"no-port\"", "no-port");
        check("[cluster]\nlisten = \"0.0.0.0:7081\"", "set cluster.advertise");
        check("[cluster]\nlisten = \"127.0.0.1:0\"", "cluster.listen");
        check("[node]\ndisks = [\"srv/a\"]", "absolute path");
        check("[node]\ndisks = [\"/srv/a\", \"/srv/a\"]", "/srv/a twice");
        check("[http]\nmax_connections = 0", "http.max_connections");
        check("[http]\ntls_certificate = \"/a.pem\"", "without http.tls_key");
        check("[http]\ntls_key = \"/a.pem\"", "without http.tls_certificate");
        check(
            "[oidc.Company]\nissuer = \"https://a.example\"\nclient_id = \"x\"",
            "oidc.Company",
        );
        check(
            "[oidc.a]\nissuer = \"http://a.example\"\nclient_id = \"x\"",
            "https",
        );
        check("[oidc.a]\nissuer = \"https://a.example\"", "client_id");
        check(
            "[oidc.a]\nissuer = \"https://a.example\"\nclient_id = \"x\"\nscopes = [\"email\"]",
            "openid",
        );
        check("[ldap]\nurl = \"https://a.example\"", "ldaps://");
        check("[ldap]\nurl = \"ldaps://a.example\"", "ldap.base");
        let directory = |url: &str, key: &str, needle: &str| {
            check(
                &format!("[ldap]\nurl = \"{url}\"\nbase = \"dc=a\"\n{key}"),
                needle,
            );
        };
        directory("ldap://a.example", "", "start_tls");
        directory("ldap://127.0.0.1.a.example", "", "start_tls");
        directory("ldaps://[2001:db8::1]", "", "IPv6");
        directory("ldaps://a.example", "start_tls = true", "ldap.start_tls");
        directory("ldaps://a.example", "bind_dn = \"cn=a\"", "go together");
        directory("ldaps://a.example", "bind_password_file = \"/a\"", "go together");
        directory(
            "ldaps://a.example",
            "username_attribute = \"*\"",
            "ldap.username_attribute",
        );
        directory("ldaps://a.example", "user_filter = \"uid=a\"", "ldap.user_filter");
        directory(
            "ldaps://a.example",
            "group_filter = \"(cn=a)\"",
            "ldap.group_filter",
        );
        directory("ldaps://a.example", "look_every = \"1s\"", "look_every");
        check("[auth]\nsession_idle = \"5m\"", "auth.session_idle");
        check("[auth]\nsession_lifetime = \"1h\"", "auth.session_lifetime");
        check("[http]\nproxy_protocol = [\"10.0.0.0\"]", "http.proxy_protocol");
        check(
            "[http]\nexternal_url = \"https://packages.example.com/cairn\"",
            "without a path",
        );
        let error = with_environment("", &[("CAIRN_HTTP_LISTNE", "x")]).unwrap_err();
        assert!(
            error.contains("CAIRN_HTTP_LISTNE") || error.contains("listne"),
            "{error}"
        );
        let error = with_environment("", &[("CAIRN_HTTP_LISTEN", "x")]).unwrap_err();
        assert!(error.contains("CAIRN_HTTP_LISTEN"), "{error}");
    }
}
