//! Where values come from: a file, and the environment over it.

use std::collections::BTreeSet;

use figment::providers::Serialized;
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::Config;

/// What begins the name of each environment variable that overrides a key.
const PREFIX: &str = "CAIRN_";

/// What a file says, under its name for errors.
pub(super) struct File {
    pub(super) name: String,
    pub(super) sections: toml::Table,
}

impl Provider for File {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::defaults(&self.sections).data()
    }
}

/// The variables that belong to a section. Others with the prefix are for the command line
/// (`CAIRN_URL`, `CAIRN_TOKEN`) and for scripts (`CAIRN_CACHE`).
pub(super) struct Environment {
    sections: Map<String, Dict>,
}

impl Environment {
    pub(super) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut sections = Map::<String, Dict>::new();
        for (name, value) in variables {
            let Some(path) = name.strip_prefix(PREFIX).map(str::to_ascii_lowercase) else {
                continue;
            };
            let Some((section, key)) = path.split_once('_') else {
                continue;
            };
            if Self::known_sections().contains(section) {
                let value = match value.trim_start().starts_with('[') {
                    true => value.parse().unwrap_or_else(|never| match never {}),
                    false => Value::from(value),
                };
                let section = sections.entry(section.to_owned()).or_default();
                section.insert(key.to_owned(), value);
            }
        }
        Self { sections }
    }

    fn known_sections() -> BTreeSet<String> {
        let defaults = Serialized::defaults(Config::default())
            .data()
            .expect("the defaults have a form as values");
        defaults.into_values().flat_map(Dict::into_keys).collect()
    }
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment").interpolater(|_, keys| {
            let keys: Vec<_> = keys.iter().map(|key| key.to_ascii_uppercase()).collect();
            format!("{PREFIX}{}", keys.join("_"))
        })
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::defaults(&self.sections).data()
    }
}
