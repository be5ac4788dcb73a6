//! What a stored chart holds, for ChartMuseum's API: its values and templates.

use std::io::Read;

use bytes::Bytes;
use data_encoding::BASE64;
use futures::StreamExt;
use serde_json::{Value, json};

use super::artifact::Limits;
use crate::archive::{self, Compressed, Refused, Visitor, feed, small_file};
use crate::auth::Access;
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::File;

/// The most that is shown of one chart.
const MAX_SHOWN_BYTES: u64 = 16 << 20;

/// What of a chart is shown.
#[derive(Default)]
pub(super) struct Contents {
    /// Its `values.yaml`.
    pub(super) values: Option<Vec<u8>>,
    templates: Vec<(String, Vec<u8>)>,
    shown_bytes: u64,
}

impl Contents {
    /// Its templates, as ChartMuseum shows them.
    pub(super) fn templates(&self) -> Value {
        let templates = self.templates.iter();
        templates
            .map(|(name, data)| json!({"name": name, "data": BASE64.encode(data)}))
            .collect()
    }

    fn read(source: impl Compressed) -> Result<Self, Refused> {
        let mut contents = Self::default();
        archive::walk_tar_gz(source, &Limits::default().archive, &mut contents)?;
        contents.templates.sort();
        Ok(contents)
    }
}

impl Visitor for Contents {
    type Error = Refused;

    fn file(&mut self, path: &str, _: u64, content: &mut dyn Read) -> Result<(), Refused> {
        let inner = path.split_once('/').map_or("", |(_, inner)| inner);
        if inner != "values.yaml" && !inner.starts_with("templates/") {
            return Ok(());
        }
        let bytes = small_file(path, content, MAX_SHOWN_BYTES - self.shown_bytes)?;
        self.shown_bytes += bytes.len() as u64;
        match inner {
            "values.yaml" => self.values = Some(bytes),
            _ => self.templates.push((inner.into(), bytes)),
        }
        Ok(())
    }

    fn link(&mut self, _: &str) -> Result<(), Refused> {
        Ok(())
    }
}

/// Reads a stored chart.
pub(super) async fn read(access: &Access, scope: &Scope, file: &File) -> Result<Contents, ApiError> {
    let (feeder, fed) = feed();
    let reading = access
        .app()
        .parser_threads()
        .start(access.caller(), move || Contents::read(fed))
        .await;
    let stored = scope
        .blobs()
        .read(scope.snapshot(), scope.space(), &file.blob, None);
    let mut pieces = stored.await?;
    while let Some(piece) = pieces.next().await {
        let piece: Bytes = piece?;
        if !feeder.push(piece).await {
            break;
        }
    }
    drop(feeder);
    let contents = reading.await.map_err(ApiError::internal)?;
    contents.map_err(|refused| ApiError::unprocessable(format!("the chart {refused}")))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::artifact::tests::{chart_of, packed};
    use super::*;

    #[test]
    fn values_and_templates_of_the_chart_itself_are_shown() {
        let contents = Contents::read(Cursor::new(chart_of("app", "1.0.0").as_slice())).unwrap();
        assert_eq!(contents.values.as_deref(), Some(b"replicas: 1\n".as_slice()));
        let data = BASE64.encode(b"kind: ConfigMap\n");
        assert_eq!(
            contents.templates(),
            json!([{"name": "templates/note.yaml", "data": data}])
        );
        let other = packed(&[
            ("app/charts/sub/values.yaml", "x"),
            ("app/templates/b", "b"),
            ("app/templates/a", "a"),
        ]);
        let contents = Contents::read(Cursor::new(other.as_slice())).unwrap();
        assert_eq!(contents.values, None);
        assert_eq!(contents.templates()[0]["name"], "templates/a");
    }
}
