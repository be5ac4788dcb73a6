//! Requests of a client that knows what it was told, and what it was not.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};

/// Far longer than any request here takes, so that a hang ends; what became of it is unknown.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(300);

/// A machine that does not answer at all is not there.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A client with the administrator's token. Cheap to clone.
#[derive(Clone)]
pub struct Http {
    pub(crate) client: Client,
    token: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Http {
    pub(crate) fn new(token: &str, patience: Duration) -> anyhow::Result<Self> {
        // A client that follows or repeats by itself would hide what it was told.
        let client = Client::builder()
            .no_proxy()
            .timeout(patience)
            .connect_timeout(patience.min(CONNECT_WITHIN))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()?;
        Ok(Self {
            client,
            token: token.to_owned(),
        })
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// A request of the administrator.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        // Every format takes this form.
        self.client
            .request(method, url)
            .basic_auth("root", Some(&self.token))
    }

    /// Sends a request. Without an answer nobody knows whether it was done.
    pub async fn send(&self, request: RequestBuilder) -> Option<Answer> {
        Answer::of(request.send().await.ok()?).await.ok()
    }

    /// Sends a request without a body that must be answered with this status.
    pub async fn expect(&self, method: Method, url: &str, status: StatusCode) -> anyhow::Result<Answer> {
        self.expect_of(self.request(method, url), status).await
    }

    /// Sends a request that must be answered with this status.
    pub async fn expect_of(&self, request: RequestBuilder, status: StatusCode) -> anyhow::Result<Answer> {
        let answer = Answer::of(request.send().await?).await?;
        let said = || String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(
            answer.status == status,
            "answered {} rather than {status}: {}",
            answer.status,
            said()
        );
        Ok(answer)
    }
}

impl Answer {
    async fn of(response: Response) -> reqwest::Result<Self> {
        Ok(Self {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.bytes().await?,
        })
    }

    /// The value of a header, as text.
    pub fn header(&self, name: &str) -> anyhow::Result<&str> {
        let value = self.headers.get(name);
        let value = value.with_context(|| format!("no header {name}"))?;
        Ok(value.to_str()?)
    }
}
