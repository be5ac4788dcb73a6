//! The documents that clients fetch: `index.yaml`, and the lists of ChartMuseum's API.
//!
//! All of them are made of one document of JSON for each version, which is made when it is
//! published. `index.yaml` is JSON as well, which is YAML: Helm reads it many times faster, and
//! takes fields in it that it does not know. URLs are relative, so they lead to where the index is.

use cairn_cluster::Timestamp;
use serde_json::{Map, Value, json};

use super::metadata::Metadata;
use super::records::Entry;

/// The entry of a version, as it stands in the index.
pub(super) fn document(metadata: &Metadata, file: &str, sha256: &str, published_at: Timestamp) -> String {
    // What holds texts alone, and lists and maps of them, becomes JSON.
    let fields = serde_json::to_value(metadata).unwrap_or_default();
    let mut fields = match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    fields.insert("created".into(), json!(shown(published_at)));
    fields.insert("digest".into(), json!(sha256));
    fields.insert("urls".into(), json!([format!("charts/{file}")]));
    plain(&Value::Object(fields).to_string())
}

/// JSON that is YAML too: that has characters which YAML takes only escaped.
fn plain(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        let is_escaped = matches!(
            c,
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        );
        match is_escaped {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    out
}

fn shown(time: Timestamp) -> String {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Which document about the charts of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `index.yaml`, with the path that clients derive URLs for publishing from.
    Index { context_path: String },
    /// Versions by chart, as ChartMuseum lists them.
    Charts,
    /// The versions of one chart.
    Versions,
}

/// Writes a document: [`Listing::begin`], each [`Listing::version`], [`Listing::end`]. What is
/// written so far can be taken at any time.
pub(super) struct Listing {
    form: Form,
    out: String,
    /// The chart whose versions come now.
    chart: Option<String>,
    latest: Timestamp,
}

impl Listing {
    pub(super) fn begin(form: Form) -> Self {
        let out = match form {
            Form::Index { .. } => "{\"apiVersion\":\"v1\",\"entries\":{",
            Form::Charts => "{",
            Form::Versions => "[",
        };
        Self {
            form,
            out: out.into(),
            chart: None,
            latest: Timestamp::default(),
        }
    }

    /// Adds a version; those of one chart follow each other.
    pub(super) fn version(&mut self, entry: &Entry) {
        let is_first = self.chart.is_none();
        if self.chart.as_ref() == Some(&entry.chart) {
            self.out.push(',');
        } else if self.form != Form::Versions {
            self.out.push_str(if is_first { "" } else { "\n]," });
            self.out.push_str(&format!("\n{}:[", json!(entry.chart)));
        }
        self.chart = Some(entry.chart.clone());
        self.latest = self.latest.max(entry.published_at);
        self.out.push('\n');
        self.out.push_str(&entry.document);
    }

    pub(super) fn end(&mut self) {
        let is_empty = self.chart.is_none();
        let close = match &self.form {
            Form::Versions => "\n]",
            _ if is_empty => "}",
            _ => "\n]}",
        };
        self.out.push_str(close);
        if let Form::Index { context_path } = &self.form {
            // Known from the entries, so that it is the same on every node.
            if !is_empty {
                self.out
                    .push_str(&format!(",\n\"generated\":{}", json!(shown(self.latest))));
            }
            let server = json!({"contextPath": context_path});
            self.out.push_str(&format!(",\n\"serverInfo\":{server}"));
            self.out.push('}');
        }
        self.out.push('\n');
    }

    /// Takes what is written so far.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::metadata::tests::chart_yaml;
    use super::*;

    fn entry(name: &str, version: &str, more: &str, at: u64) -> Entry {
        let metadata =
            Metadata::read(format!("{}{more}", chart_yaml(name, version)).as_bytes(), None).unwrap();
        let (file, sha256) = (format!("{name}-{version}.tgz"), "a".repeat(64));
        Entry {
            chart: name.into(),
            version: version.parse().unwrap(),
            document: document(&metadata, &file, &sha256, Timestamp(at)),
            file,
            sha256,
            published_at: Timestamp(at),
        }
    }

    fn entries() -> Vec<Entry> {
        let rich = "appVersion: 1.10\ndescription: \"does\\nthings \u{2028}\"\nmaintainers:\n- name: Ann\n\
            annotations: {a: b}\ndependencies:\n- name: db\n  version: ^1\n  repository: \"@team\"\nunknown: x\n";
        vec![
            entry("app", "2.0.0+build.1", rich, 1_767_323_045_678),
            entry("app", "v1.0.0", "", 1_767_323_045_000),
            entry("web", "1.0.0-rc.1", "type: library\n", 1_767_323_050_000),
        ]
    }

    fn listed(form: Form, entries: &[Entry]) -> String {
        let mut listing = Listing::begin(form);
        let mut out = String::new();
        for entry in entries {
            listing.version(entry);
            out += &listing.take();
        }
        listing.end();
        out + &listing.take()
    }

    fn index(entries: &[Entry]) -> String {
        let context_path = "/api/v4/projects/1/packages/helm".into();
        listed(Form::Index { context_path }, entries)
    }

    /// Compares with a file of `testdata`, or writes it where `CAIRN_UPDATE_GOLDEN` is set.
    fn check_golden(file: &str, actual: &str) {
        crate::testing::check_golden("helm", file, actual.as_bytes());
    }

    #[test]
    fn documents_are_what_clients_expect() {
        check_golden("index.yaml", &index(&entries()));
        check_golden("charts.json", &listed(Form::Charts, &entries()));
        check_golden("versions.json", &listed(Form::Versions, &entries()[..2]));
    }

    #[test]
    fn what_is_empty_is_a_document_too() {
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(
            parse(&index(&[])),
            json!({"apiVersion": "v1", "entries": {}, "serverInfo": {"contextPath": "/api/v4/projects/1/packages/helm"}})
        );
        assert_eq!(parse(&listed(Form::Charts, &[])), json!({}));
        assert_eq!(parse(&listed(Form::Versions, &[])), json!([]));
    }

    proptest! {
        #[test]
        fn every_index_is_json_and_yaml(text in "[ -~\u{80}-\u{9f}\u{2028}\u{4e2d}\u{feff}\u{10000}\n\t]{0,60}") {
            let safe: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
            let more = format!("description: {}\n", plain(&json!(safe).to_string()));
            let written = index(&[entry("app", "1.0.0", &more, 0)]);
            let parsed: Value = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(&parsed["entries"]["app"][0]["description"], &json!(safe));
            let yaml: Value = super::super::metadata::yaml(written.as_bytes()).unwrap();
            prop_assert_eq!(yaml, parsed);
        }
    }
}
