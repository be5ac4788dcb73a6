//! How the command line talks to a cluster: HTTP with a token, to whichever node answers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::{Host, Url};

use super::dev::EnvFile;
use super::failure::{Code, Failure, OrFail as _, chain};

/// Commands are small; an answer that takes longer than this will not come.
const DEADLINE: Duration = Duration::from_secs(60);

/// What is large takes its time; whoever reads it looks whether it still comes.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Rows of a list that are asked for at a time: as many as there are at most.
const ROWS: usize = 100;

/// What is said of a name that something else has.
const TAKEN: &str = "already been taken";

/// Error answers are shown; more of them than this is not.
const MAX_ERROR_BYTES: usize = 1000;

/// Where the cluster is and who asks.
#[derive(Args, Clone, Debug)]
pub(super) struct Connection {
    /// URL of any node; several, separated by commas, are tried in turn
    #[arg(
        long,
        env = "CAIRN_URL",
        value_name = "URL",
        value_delimiter = ',',
        help_heading = "Connection"
    )]
    url: Vec<Url>,

    // The environment is looked at below: an option overrides either of its two variables.
    /// Token to act with; better in a file or in CAIRN_TOKEN than in the list of processes
    #[arg(long, value_name = "TOKEN", help_heading = "Connection")]
    token: Option<String>,

    /// File that holds the token; CAIRN_TOKEN_FILE says the same
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "token",
        help_heading = "Connection"
    )]
    token_file: Option<PathBuf>,

    /// Folder of a running `cairn dev`, whose dev.env says what the options above leave out
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "cairn-data",
        help_heading = "Connection"
    )]
    dev: PathBuf,
}

impl Connection {
    /// Finds out the nodes and the token: options and environment first, then `dev.env`.
    pub(super) fn open(&self) -> Result<Client, Failure> {
        let env_file = EnvFile::read(&self.dev)?;
        let nodes = match (&self.url[..], &env_file) {
            ([], None) => {
                return Err(Failure::new(Code::Usage, "no cluster to talk to").next(format!(
                    "set CAIRN_URL and CAIRN_TOKEN (or --url and --token), or run `cairn dev` in this \
                     folder; {} does not exist",
                    EnvFile::path(&self.dev).display()
                )));
            }
            ([], Some(env_file)) => env_file.nodes.clone(),
            (urls, _) => urls.to_vec(),
        };
        if let Some(url) = nodes
            .iter()
            .find(|url| !["http", "https"].contains(&url.scheme()))
        {
            return Err(
                Failure::new(Code::Usage, format!("{url} is not the URL of a node"))
                    .next("begin it with http:// or https://"),
            );
        }
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let (token, token_file) = match (&self.token, &self.token_file) {
            (None, None) => (
                set("CAIRN_TOKEN").map(|token| token.to_string_lossy().into_owned()),
                set("CAIRN_TOKEN_FILE").map(PathBuf::from),
            ),
            (token, file) => (token.clone(), file.clone()),
        };
        let token = match (token, token_file, env_file) {
            (Some(token), _, _) => Some(token.trim().to_owned()),
            (None, Some(file), _) => Some(read_secret(&file)?),
            (None, None, Some(env_file)) => Some(env_file.token),
            (None, None, None) => None,
        };
        Client::new(nodes, token)
    }
}

/// Reads a secret from a file, or from standard input for `-`.
pub(super) fn read_secret(file: &Path) -> Result<String, Failure> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).or_fail("read the token from standard input")?
    } else {
        std::fs::read_to_string(file).or_fail(format_args!("read {}", file.display()))?
    };
    Ok(text.trim().to_owned())
}

/// A cluster as seen from outside. Its debug form shows no token.
pub(super) struct Client {
    http: reqwest::Client,
    nodes: Vec<Url>,
    token: Option<String>,
}

impl Client {
    /// A client of these nodes.
    pub(super) fn new(nodes: Vec<Url>, token: Option<String>) -> Result<Self, Failure> {
        let mut http = reqwest::Client::builder();
        let is_here = |node: &Url| match node.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            _ => false,
        };
        if nodes.iter().all(is_here) {
            // Another machine's loopback is not ours.
            http = http.no_proxy();
        }
        let http = http
            .timeout(DEADLINE)
            .connect_timeout(Duration::from_secs(5))
            // A redirect would carry the token to where it leads.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("cairn/", env!("CARGO_PKG_VERSION")))
            .build()
            .or_fail("set up HTTP")?;
        Ok(Self { http, nodes, token })
    }

    /// Gets a document.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// Sends a document and gets the answer.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Changes something and gets the answer.
    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// Changes a part of something and gets the answer.
    pub(super) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    /// Gets all rows of a list of the REST API, page by page.
    pub(super) async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failure> {
        let mut rows = Vec::new();
        let separator = if path.contains('?') { '&' } else { '?' };
        for page in 1.. {
            let path = format!("{path}{separator}per_page={ROWS}&page={page}");
            let some: Vec<T> = self.get(&path).await?;
            let is_last = some.len() < ROWS;
            rows.extend(some);
            if is_last {
                break;
            }
        }
        Ok(rows)
    }

    /// Removes something and gets the answer.
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::DELETE, path, None::<&()>).await
    }

    /// Gives something up; there is nothing to be said about it.
    pub(super) async fn give_up(&self, path: &str) -> Result<(), Failure> {
        let (node, answer) = self.ask(Method::DELETE, path, None::<&()>, DEADLINE, 0).await?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(refused(&node, answer).await),
        }
    }

    /// Asks for something large, whatever time it takes, beginning with the node of this number.
    pub(super) async fn open(&self, path: &str, first: usize) -> Result<Opened, Failure> {
        let (node, answer) = self.ask(Method::GET, path, None::<&()>, LONGEST, first).await?;
        match answer.status() {
            status if status.is_success() => Ok(Opened::Body(answer)),
            StatusCode::GONE => Ok(Opened::Gone(refused(&node, answer).await.message)),
            _ => Err(refused(&node, answer).await),
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<T, Failure> {
        let (node, answer) = self.ask(method.clone(), path, body, DEADLINE, 0).await?;
        if !answer.status().is_success() {
            return Err(refused(&node, answer).await);
        }
        answer
            .json()
            .await
            .or_fail(format_args!("read what {node} answered to {method} {path}"))
    }

    /// Asks the nodes in turn until one can be reached.
    ///
    /// Only a request that was never sent goes to the next node, and one that changes nothing
    /// also when a node says that it cannot answer now.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
        deadline: Duration,
        first: usize,
    ) -> Result<(Url, Response), Failure> {
        let mut last = Err(Failure::new(Code::Usage, "no node is named").next("set CAIRN_URL or use --url"));
        let nodes = self.nodes.iter().cycle().skip(first % self.nodes.len().max(1));
        for node in nodes.take(self.nodes.len()) {
            let url = node
                .join(path)
                .or_fail(format_args!("make a URL of {node} and {path}"))?;
            let mut request = self.http.request(method.clone(), url).timeout(deadline);
            if let Some(token) = &self.token {
                request = request.header("PRIVATE-TOKEN", token);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            match request.send().await {
                Ok(answer) => {
                    let may_ask_another =
                        answer.status() == StatusCode::SERVICE_UNAVAILABLE && method == Method::GET;
                    last = Ok((node.clone(), answer));
                    if !may_ask_another {
                        return last;
                    }
                }
                Err(error) => {
                    let never_sent = error.is_connect();
                    let failure = Failure::new(
                        Code::Unavailable,
                        format!("cannot reach {node}: {}", chain(&error.without_url())),
                    )
                    .next("check that the node runs, or name another one with --url");
                    if !never_sent && method != Method::GET {
                        return Err(failure.next(
                            "the node may have done it before it went silent: look before you try again",
                        ));
                    }
                    last = Err(failure);
                }
            }
        }
        last
    }
}

/// An answer to a request for something large.
pub(super) enum Opened {
    /// Its bytes are coming.
    Body(Response),
    /// It was there and is lost, for this reason.
    Gone(String),
}

/// Turns an answer that says no into words.
async fn refused(node: &Url, answer: Response) -> Failure {
    let status = answer.status();
    let body = answer.text().await.unwrap_or_default();
    let message = error_message(&body).unwrap_or_else(|| format!("{node} answered {status}"));
    // GitLab's API says of a path that is taken that it is a bad one.
    if message.contains(TAKEN) {
        return Failure::new(Code::Conflict, message).next("choose another one, or use what is there");
    }
    match status {
        StatusCode::UNAUTHORIZED => Failure::new(Code::Denied, message)
            .next("set CAIRN_TOKEN (or --token-file) to a token that is valid"),
        StatusCode::FORBIDDEN => {
            Failure::new(Code::Denied, message).next("use a token with the role and scope that this needs")
        }
        StatusCode::NOT_FOUND => Failure::new(Code::NotFound, message)
            .next("check the name or number; what the token may not see is not found either"),
        StatusCode::CONFLICT => Failure::new(Code::Conflict, message)
            .next("look at what is there, then change or remove it first"),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            Failure::failed(message).next("change the arguments; --help says what they mean")
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            Failure::new(Code::Unavailable, message).next("try again shortly; see `cairn cluster status`")
        }
        _ => Failure::failed(message),
    }
}

/// What an error document says: a text, or complaints by field.
fn error_message(body: &str) -> Option<String> {
    let document: serde_json::Value = serde_json::from_str(body).ok()?;
    let said = document.get("message").or_else(|| document.get("error"))?;
    let mut text = match said {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Object(fields) => complaints(fields),
        other => other.to_string(),
    };
    if let Some((end, _)) = text.char_indices().nth(MAX_ERROR_BYTES) {
        text.truncate(end);
    }
    Some(text)
}

/// Complaints by field, as a sentence each.
fn complaints(fields: &serde_json::Map<String, serde_json::Value>) -> String {
    let sentence = |(field, reasons): (&String, &serde_json::Value)| match reasons {
        serde_json::Value::Array(reasons) => {
            let reasons: Vec<&str> = reasons.iter().filter_map(|reason| reason.as_str()).collect();
            format!("{field} {}", reasons.join(" and "))
        }
        other => format!("{field} {other}"),
    };
    let sentences: Vec<String> = fields.iter().map(sentence).collect();
    sentences.join("; ")
}

/// A path of groups and a project as one segment of a URL.
pub(super) fn encode_path(path: &str) -> String {
    percent_encoding::utf8_percent_encode(path, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_in_each_of_their_forms() {
        let check = |body: &str, expected: Option<&str>| {
            assert_eq!(error_message(body).as_deref(), expected, "{body}");
        };
        check(
            r#"{"message":"404 Project Not Found"}"#,
            Some("404 Project Not Found"),
        );
        check(r#"{"error":"name is missing"}"#, Some("name is missing"));
        check(
            r#"{"message":{"path":["has already been taken"]}}"#,
            Some("path has already been taken"),
        );
        check(
            r#"{"message":{"name":["is too long","is odd"],"path":["is bad"]}}"#,
            Some("name is too long and is odd; path is bad"),
        );
        check("<html>", None);
        check("[]", None);
    }

    #[test]
    fn a_path_is_one_segment() {
        assert_eq!(encode_path("acme/demo"), "acme%2Fdemo");
    }
}
