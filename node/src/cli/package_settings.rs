//! The package settings of a project or group, of which `cairn duplicates` and `cairn versions` show and change one each,
//! by format.

use clap::Args;
use serde_json::{Map, Value};

use super::client::Connection;
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::rows::{Done, cell};

/// The word for what a project or group does not say itself.
pub(super) const INHERIT: &str = "inherit";

/// Whose settings, and at which cluster.
#[derive(Args)]
pub(super) struct Settings {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    connection: Connection,
}

impl Settings {
    /// All fields, by name.
    pub(super) async fn read(&self) -> Result<Map<String, Value>, Failure> {
        self.connection.open()?.get(&self.path()).await
    }

    /// Changes some fields, and says that `what` is now what was `said`.
    pub(super) async fn change(
        &self,
        what: &str,
        said: &str,
        fields: &Map<String, Value>,
        output: Output,
    ) -> Result<(), Failure> {
        let answer: Value = self.connection.open()?.put(&self.path(), fields).await?;
        output.show(&Done::new(format!("{what} of {}: {said}", self.place), answer));
        Ok(())
    }

    fn path(&self) -> String {
        self.place.api("packages/settings")
    }
}

/// A setting, or that it is none.
pub(super) fn shown(setting: &Value) -> String {
    match setting {
        Value::Null => "inherited".into(),
        setting => cell(setting),
    }
}

/// What a word stands for that takes something away.
pub(super) fn unless(word: &str, value: &str) -> Value {
    match value {
        value if value == word => Value::Null,
        value => value.into(),
    }
}
