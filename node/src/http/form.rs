//! Parameters as forms and query strings carry them: `name=x&scopes[]=api&scopes[]=read_api`.
//!
//! They are text; the types that take them read numbers and booleans with the functions here,
//! which take both forms, because the same parameters also come as JSON.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, de};
use serde_json::{Map, Value};

use crate::app::App;
use crate::auth::credentials::TOKEN_PARAMETERS;
use crate::http::error::ApiError;

/// The parameters of a query string. Those that are not known are ignored.
#[derive(Clone, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        parse(parts.uri.query().unwrap_or_default().as_bytes()).map(Query)
    }
}

/// Reads parameters; of a name that comes twice, the last counts, unless it ends with `[]`.
/// Credentials among them are for the door alone.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    read(object(text))
}

/// Reads parameters that were taken apart.
pub(super) fn read<T: DeserializeOwned>(parameters: Map<String, Value>) -> Result<T, ApiError> {
    serde_json::from_value(Value::Object(parameters)).map_err(|error| ApiError::parameter(error.to_string()))
}

/// Takes parameters apart, by name.
pub(super) fn object(text: &[u8]) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, value) in form_urlencoded::parse(text) {
        if TOKEN_PARAMETERS.contains(&name.as_ref()) {
            continue;
        }
        match name.strip_suffix("[]") {
            Some(name) => match object.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(values) => values.push(value.into_owned().into()),
                single => *single = Value::Array(vec![single.take(), value.into_owned().into()]),
            },
            None => {
                object.insert(name.into_owned(), value.into_owned().into());
            }
        }
    }
    object
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text<T> {
    Typed(T),
    Text(String),
}

/// A number, or its text.
pub fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    match Option::<Text<u64>>::deserialize(from)? {
        None => Ok(None),
        Some(Text::Typed(number)) => Ok(Some(number)),
        Some(Text::Text(text)) if text.is_empty() => Ok(None),
        Some(Text::Text(text)) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(D::Error::invalid_value(de::Unexpected::Str(&text), &"a number")),
        },
    }
}

/// A boolean, or a word for it.
pub fn boolean<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    match Option::<Text<bool>>::deserialize(from)? {
        None => Ok(None),
        Some(Text::Typed(value)) => Ok(Some(value)),
        // Python's clients write them with a capital.
        Some(Text::Text(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "t" | "yes" | "y" | "on" => Ok(Some(true)),
            "false" | "0" | "f" | "no" | "n" | "off" => Ok(Some(false)),
            "" => Ok(None),
            _ => Err(D::Error::invalid_value(
                de::Unexpected::Str(&text),
                &"true or false",
            )),
        },
    }
}

/// A number that can be taken away: null, or in a form nothing, is none; what is absent is to have
/// `#[serde(default)]`.
pub fn nullable_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    number(from).map(Some)
}

/// The same of a text.
pub fn nullable_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(Some(text.filter(|text| !text.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct Sample {
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        scopes: Vec<String>,
        #[serde(default, deserialize_with = "number")]
        page: Option<u64>,
        #[serde(default, deserialize_with = "boolean")]
        owned: Option<bool>,
    }

    #[test]
    fn a_form_and_json_give_the_same() {
        let form: Sample = parse(b"name=a+b%21&scopes[]=x&scopes[]=y&page=2&owned=true").unwrap();
        let json: Sample =
            serde_json::from_str(r#"{"name":"a b!","scopes":["x","y"],"page":2,"owned":true}"#).unwrap();
        assert_eq!(form, json);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "page=-1",
            "page=x",
            "page=99999999999999999999999",
            "owned=maybe",
            "scopes=x",
        ] {
            assert!(parse::<Sample>(text.as_bytes()).is_err(), "{text}");
        }
        let empty: Sample = parse(b"page=&unknown=1").unwrap();
        assert_eq!(empty.page, None);
    }
}
