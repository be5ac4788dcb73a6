//! What a node says of itself.

use serde::{Deserialize, Serialize};

/// What the node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Which events are written, as in `info,cairn_cluster=debug`.
    pub filter: LogFilter,
    /// How an event is written.
    pub format: LogFormat,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Which events are logged: levels by module, as `tracing` writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogFilter(String);

impl Default for LogFilter {
    fn default() -> Self {
        // Consensus logs each step of an election at info; they matter when one goes wrong.
        Self("info,openraft=warn".into())
    }
}

impl LogFilter {
    /// The filter as the logger wants it.
    pub fn to_env_filter(&self) -> tracing_subscriber::EnvFilter {
        tracing_subscriber::EnvFilter::new(&self.0)
    }
}

impl TryFrom<String> for LogFilter {
    type Error = tracing_subscriber::filter::ParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        tracing_subscriber::EnvFilter::try_new(&text)?;
        Ok(Self(text))
    }
}

impl From<LogFilter> for String {
    fn from(filter: LogFilter) -> Self {
        filter.0
    }
}
