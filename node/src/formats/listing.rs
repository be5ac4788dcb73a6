//! Listings as clients read them: JSON by pages, or HTML whose links mirror tools follow.

use axum::body::Bytes;
use cairn_cluster::Timestamp;
use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::http::error::ApiError;
use crate::registry::time::iso;

/// What may stand in a segment of a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What ends a directory among names, because it comes after whatever may be in one.
pub(crate) const AFTER_NAMES: char = '\u{10ffff}';

/// What lies directly in a directory, where only things with slashes in their names are known.
pub(crate) enum Child<T> {
    /// Something deeper lies in a directory of this name.
    Dir(String),
    /// It lies here, by the rest of its name.
    Leaf(String, T),
}

impl<T> Child<T> {
    /// Where it is among the others.
    pub(crate) fn position(&self) -> String {
        match self {
            Self::Dir(name) => format!("{name}/"),
            Self::Leaf(name, _) => name.clone(),
        }
    }
}

/// What lies in the directory `below`, which is empty or ends with a slash, past the position `after`; at most
/// `limit`. `next` gives things whose names begin with `below`, past a name, in the order of their names.
pub(crate) async fn children<T, F>(
    below: &str,
    after: Option<&str>,
    limit: usize,
    name: impl Fn(&T) -> &str,
    next: impl Fn(Option<String>, usize) -> F,
) -> Result<Vec<Child<T>>, ApiError>
where
    F: Future<Output = Result<Vec<T>, ApiError>>,
{
    let mut found = Vec::new();
    let mut after = after.map(|position| past(&format!("{below}{position}")));
    'pages: loop {
        let batch = next(after.clone(), limit).await?;
        let full = batch.len() == limit;
        for item in batch {
            if found.len() == limit {
                return Ok(found);
            }
            let whole = name(&item).to_owned();
            let rest = whole.strip_prefix(below).unwrap_or_default();
            if let Some((directory, _)) = rest.split_once('/') {
                // All that lies in it is one entry.
                after = Some(past(&format!("{below}{directory}/")));
                found.push(Child::Dir(directory.into()));
                continue 'pages;
            }
            found.push(Child::Leaf(rest.into(), item));
            after = Some(whole);
        }
        if !full {
            return Ok(found);
        }
    }
}

/// Where to go on after a name, or after everything in a directory.
fn past(position: &str) -> String {
    match position.ends_with('/') {
        true => format!("{position}{AFTER_NAMES}"),
        false => position.into(),
    }
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Something with entries of its own.
    Dir {
        /// Its name, without a slash.
        name: String,
    },
    /// A file that is made whenever it is asked for.
    Made {
        /// Its name.
        name: String,
    },
    /// A file.
    File {
        /// Its name.
        name: String,
        /// How many bytes it has.
        size: u64,
        /// Their digest.
        sha256: [u8; 32],
        /// When it was published.
        modified: Timestamp,
        /// The file beside it that it says something about.
        about: Option<String>,
    },
}

/// How the names of files end that say something about another file: signatures, attestations,
/// lists of what is inside. The rest of the name is the other file's.
const ABOUT: [&str; 9] = [
    ".asc",
    ".sig",
    ".minisig",
    ".sigstore",
    ".sigstore.json",
    ".intoto.jsonl",
    ".spdx.json",
    ".cdx.json",
    ".sbom.json",
];

/// The name of the file that a file of this name says something about.
pub(crate) fn subject(name: &str) -> Option<&str> {
    let subjects = ABOUT.iter().filter_map(|end| name.strip_suffix(end));
    subjects
        .filter(|subject| !subject.is_empty())
        .min_by_key(|subject| subject.len())
}

impl Entry {
    /// The name, with a slash at the end of a directory's.
    pub(crate) fn link(&self) -> String {
        match self {
            Self::Dir { name } => format!("{}/", encoded(name)),
            Self::Made { name } | Self::File { name, .. } => encoded(name),
        }
    }

    /// The name as it is, for `after`.
    pub(crate) fn position(&self) -> String {
        match self {
            Self::Dir { name } => format!("{name}/"),
            Self::Made { name } | Self::File { name, .. } => name.clone(),
        }
    }

    fn json(&self, base: &str) -> Value {
        let url = format!("{base}{}", self.link());
        match self {
            Self::Dir { name } => json!({ "name": name, "type": "dir", "url": url }),
            Self::Made { name } => json!({ "name": name, "type": "file", "url": url }),
            Self::File {
                name,
                size,
                sha256,
                modified,
                about,
            } => {
                let mut shown = json!({
                    "name": name,
                    "type": "file",
                    "size": size,
                    "sha256": HEXLOWER.encode(sha256),
                    "last_modified": iso(*modified),
                    "url": url,
                });
                if let Some(subject) = about {
                    shown["attached_to"] = subject.as_str().into();
                }
                shown
            }
        }
    }
}

/// A segment of a path, percent-encoded.
pub(crate) fn encoded(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}

/// A whole path, percent-encoded between its slashes.
pub(crate) fn encoded_path(path: &str) -> String {
    let segments: Vec<_> = path.split('/').map(encoded).collect();
    segments.join("/")
}

/// A page as JSON. `base` is the URL of the directory, with a slash at its end; `next` is where
/// the next page begins.
pub(crate) fn json_page(path: &str, base: &str, entries: &[Entry], next: Option<&str>) -> Value {
    json!({
        "path": path,
        "entries": entries.iter().map(|entry| entry.json(base)).collect::<Vec<_>>(),
        "next": next,
    })
}

/// How an HTML listing begins. Its first link leads upwards.
pub(crate) fn html_head(path: &str) -> Bytes {
    let path = escaped(path);
    format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>Index of /{path}</title></head>\n\
         <body><h1>Index of /{path}</h1>\n<pre>\n<a href=\"../\">../</a>\n"
    )
    .into()
}

/// The lines of some entries.
pub(crate) fn html_entries(entries: &[Entry]) -> Bytes {
    let mut out = String::new();
    for entry in entries {
        let (link, name) = (entry.link(), escaped(&entry.position()));
        out.push_str(&format!("<a href=\"{link}\">{name}</a>"));
        if let Entry::File { size, modified, .. } = entry {
            out.push_str(&format!("  {}  {size}", iso(*modified)));
        }
        out.push('\n');
    }
    out.into()
}

/// How an HTML listing ends.
pub(crate) const HTML_END: Bytes = Bytes::from_static(b"</pre></body></html>\n");

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Entry {
        Entry::File {
            name: name.into(),
            size: 7,
            sha256: [0xab; 32],
            modified: Timestamp(1_782_907_200_123),
            about: None,
        }
    }

    #[test]
    fn html_escapes_names_and_encodes_links() {
        let html = html_entries(&[Entry::Dir { name: "<b>&".into() }, file("a b\"'.tgz")]);
        assert_eq!(
            html,
            "<a href=\"%3Cb%3E%26/\">&lt;b&gt;&amp;/</a>\n\
             <a href=\"a%20b%22%27.tgz\">a b&quot;&#39;.tgz</a>  2026-07-01T12:00:00.123Z  7\n"
        );
    }

    #[test]
    fn what_belongs_to_a_file_says_so_in_its_name() {
        for (name, expected) in [
            ("tool.tgz.asc", Some("tool.tgz")),
            ("tool.sigstore.json", Some("tool")),
            ("tool.tgz.intoto.jsonl", Some("tool.tgz")),
            ("a.asc.sig", Some("a.asc")),
            ("tool.tgz", None),
            ("asc", None),
            (".asc", None),
        ] {
            assert_eq!(subject(name), expected, "{name}");
        }
    }

    #[test]
    fn json_says_what_there_is_and_where() {
        let page = json_page("tool/1/", "http://c/tool/1/", &[file("x+y.tgz")], Some("x+y.tgz"));
        assert_eq!(page["entries"][0]["url"], "http://c/tool/1/x%2By.tgz");
        assert_eq!(page["entries"][0]["sha256"], "ab".repeat(32));
        assert_eq!(page["next"], "x+y.tgz");
    }
}
