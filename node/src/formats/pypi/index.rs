//! The package indexes of Python: the simple API, as HTML (PEP 503) and as JSON (PEP 691), and
//! the older JSON documents that tools still ask for.
//!
//! A page is a concatenation: of each file there is one [`Entry`], made when it is published,
//! which becomes one line. URLs of files are relative, so that they lead to the same place as
//! the page: clients send their credentials only there.

use std::fmt::Write as _;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::names::Version;
use super::records::Entry;

/// The version of the simple API that is spoken (PEP 700, 714, 740 and 792 included).
const API_VERSION: &str = "1.4";

/// Which form of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Json,
    /// HTML under its own name.
    SimpleHtml,
    /// The same, as browsers and old clients call it.
    Html,
}

impl Form {
    const ALL: [Self; 3] = [Self::Json, Self::SimpleHtml, Self::Html];

    /// Its media type: what clients find out the form by.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/vnd.pypi.simple.v1+json",
            Self::SimpleHtml => "application/vnd.pypi.simple.v1+html",
            Self::Html => "text/html; charset=utf-8",
        }
    }

    /// Tells apart the entity tags of the forms.
    pub(super) fn letter(self) -> char {
        match self {
            Self::Json => 'j',
            Self::SimpleHtml => 's',
            Self::Html => 'h',
        }
    }

    /// The form that a client prefers; plain HTML, if it names none.
    pub(super) fn accepted(accept: &str) -> Self {
        let ranges: Vec<_> = accept.split(',').filter_map(media_range).collect();
        let rank = |form: &Self| {
            let name = form.media_type().split(';').next().unwrap_or_default();
            let whole_type = name.split('/').next().unwrap_or_default();
            let quality = |wanted: &str| ranges.iter().find(|(range, _)| range == wanted).map(|(_, q)| *q);
            let exact = quality(name);
            let any = || quality(&format!("{whole_type}/*")).or_else(|| quality("*/*"));
            // Whoever takes anything may be a browser.
            let preference = match (exact.is_some(), form) {
                (true, Self::Json) | (false, Self::Html) => 2,
                (_, Self::SimpleHtml) => 1,
                _ => 0,
            };
            let thousandths = exact.or_else(any).unwrap_or(0);
            (thousandths, exact.is_some(), preference)
        };
        let best = Self::ALL.into_iter().max_by_key(rank);
        match best {
            Some(best) if rank(&best).0 > 0 => best,
            _ => Self::Html,
        }
    }

    /// The form of this name, as the query parameter `format` has it.
    pub(super) fn named(media_type: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|form| form.media_type().split(';').next() == Some(media_type))
    }
}

/// A range of media types in lower case, and its quality in thousandths.
fn media_range(text: &str) -> Option<(String, u32)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| range.contains('/'))?;
    let quality = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse::<f32>().ok());
    // Anything but a number from 0 to 1 counts as one of them.
    let thousandths = quality.map_or(1000, |quality| (quality.clamp(0.0, 1.0) * 1000.0) as u32);
    Some((range.to_ascii_lowercase(), thousandths))
}

/// Writes the page of a project: [`Page::begin`], each [`Page::file`], [`Page::end`]. What is
/// written so far can be taken at any time.
pub(super) struct Page {
    form: Form,
    /// The URL of the registry, with a slash at its end.
    base: String,
    project: String,
    out: String,
    is_first: bool,
}

impl Page {
    pub(super) fn begin(form: Form, base: &str, project: &str) -> Self {
        let out = match form {
            Form::Json => format!(
                "{{\"meta\":{{\"api-version\":\"{API_VERSION}\"}},\"name\":{},\
                 \"project-status\":{{\"status\":\"active\"}},\"files\":[",
                json!(project)
            ),
            Form::SimpleHtml | Form::Html => {
                let status = "<meta name=\"pypi:project-status\" content=\"active\">\n";
                html_head(&format!("Links for {project}"), status)
            }
        };
        Self {
            form,
            base: base.into(),
            project: project.into(),
            out,
            is_first: true,
        }
    }

    /// Adds a file.
    pub(super) fn file(&mut self, entry: &Entry) {
        match self.form {
            Form::Json => {
                if !std::mem::take(&mut self.is_first) {
                    self.out.push(',');
                }
                let file = json_file(entry, &self.base, &self.project);
                self.out.push_str(&file.to_string());
            }
            Form::SimpleHtml | Form::Html => html_file(entry, &mut self.out),
        }
    }

    /// Ends the page, with the versions that its files belong to.
    pub(super) fn end(&mut self, mut versions: Vec<Version>) {
        match self.form {
            Form::Json => {
                versions.sort();
                versions.dedup();
                let versions: Vec<_> = versions.iter().map(Version::to_string).collect();
                let _ = write!(self.out, "],\"versions\":{}}}", json!(versions));
            }
            Form::SimpleHtml | Form::Html => self.out.push_str(HTML_END),
        }
    }

    /// Takes what is written so far.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }
}

const HTML_END: &str = "</body>\n</html>\n";

fn html_head(title: &str, more: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n\
         <meta name=\"pypi:repository-version\" content=\"{API_VERSION}\">\n{more}\
         <title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n"
    )
}

fn html_file(entry: &Entry, out: &mut String) {
    let _ = write!(out, "<a href=\"{}#sha256={}\"", file_url(entry), entry.sha256);
    if let Some(requires) = &entry.requires_python {
        let _ = write!(out, " data-requires-python=\"{}\"", escaped(requires));
    }
    if entry.is_wheel {
        let sha256 = &entry.metadata.sha256;
        let _ = write!(
            out,
            " data-dist-info-metadata=\"sha256={sha256}\" data-core-metadata=\"sha256={sha256}\""
        );
    }
    if let Some(reason) = &entry.yanked {
        let _ = write!(out, " data-yanked=\"{}\"", escaped(reason));
    }
    let _ = writeln!(out, ">{}</a><br>", escaped(&entry.file));
}

fn json_file(entry: &Entry, base: &str, project: &str) -> Value {
    let core_metadata = match entry.is_wheel {
        true => json!({"sha256": entry.metadata.sha256}),
        false => json!(false),
    };
    let yanked = match entry.yanked.as_deref() {
        None => json!(false),
        Some("") => json!(true),
        Some(reason) => json!(reason),
    };
    let provenance = entry
        .attestations
        .is_some()
        .then(|| provenance_url(entry, base, project));
    json!({
        "filename": entry.file,
        "url": file_url(entry),
        "hashes": {"sha256": entry.sha256},
        "requires-python": entry.requires_python,
        "size": entry.size_bytes,
        "upload-time": microseconds(entry),
        "yanked": yanked,
        "core-metadata": core_metadata,
        "data-dist-info-metadata": core_metadata,
        "provenance": provenance,
    })
}

/// Where a file is, relative to the page of its project.
fn file_url(entry: &Entry) -> String {
    format!("../../{}", file_path(entry))
}

/// Where a file is, relative to the URL of the registry.
fn file_path(entry: &Entry) -> String {
    format!("files/{}/{}", entry.sha256, encoded(&entry.file))
}

fn provenance_url(entry: &Entry, base: &str, project: &str) -> String {
    let (version, file) = (encoded(&entry.version), encoded(&entry.file));
    format!("{base}integrity/{project}/{version}/{file}/provenance")
}

/// Writes a text as one segment of a path.
fn encoded(text: &str) -> impl std::fmt::Display + '_ {
    const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    utf8_percent_encode(text, SEGMENT)
}

/// Writes a text inside of an HTML element or attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#x27;"),
            c => out.push(c),
        }
    }
    out
}

fn uploaded_at(entry: &Entry) -> Timestamp {
    let millis = i64::try_from(entry.uploaded_at.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

/// A time with the six digits of a fraction that clients expect.
fn microseconds(entry: &Entry) -> String {
    uploaded_at(entry).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Writes the list of all projects: [`Names::begin`], each [`Names::project`], [`Names::end`].
pub(super) struct Names {
    form: Form,
    out: String,
    is_first: bool,
}

impl Names {
    pub(super) fn begin(form: Form) -> Self {
        let out = match form {
            Form::Json => format!("{{\"meta\":{{\"api-version\":\"{API_VERSION}\"}},\"projects\":["),
            Form::SimpleHtml | Form::Html => html_head("Simple index", ""),
        };
        Self {
            form,
            out,
            is_first: true,
        }
    }

    /// Adds a project by its normalised name.
    pub(super) fn project(&mut self, name: &str) {
        match self.form {
            Form::Json => {
                if !std::mem::take(&mut self.is_first) {
                    self.out.push(',');
                }
                let _ = write!(self.out, "{{\"name\":{}}}", json!(name));
            }
            Form::SimpleHtml | Form::Html => {
                let _ = writeln!(
                    self.out,
                    "<a href=\"{}/\">{}</a><br>",
                    encoded(name),
                    escaped(name)
                );
            }
        }
    }

    pub(super) fn end(&mut self) {
        self.out.push_str(match self.form {
            Form::Json => "]}",
            Form::SimpleHtml | Form::Html => HTML_END,
        });
    }

    /// Takes what is written so far.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }
}

/// What the older JSON document says of a version or of a whole project, besides its files.
pub(super) struct Legacy<'a> {
    /// What the metadata tells: see [`super::metadata::CoreMetadata::info`].
    pub(super) info: Map<String, Value>,
    /// The URL of the registry, with a slash at its end.
    pub(super) base: &'a str,
    pub(super) project: &'a str,
    /// The files of the version that `info` is about.
    pub(super) files: &'a [Entry],
    pub(super) serial: u64,
}

/// The document up to its releases, without the last brace.
pub(super) fn legacy(document: Legacy<'_>) -> Map<String, Value> {
    let Legacy {
        mut info,
        base,
        project,
        files,
        serial,
    } = document;
    let yanked = files.iter().all(|file| file.yanked.is_some()) && !files.is_empty();
    let reason = files.iter().find_map(|file| file.yanked.as_deref());
    let package_url = format!("{base}simple/{project}/");
    info.insert("package_url".into(), json!(package_url));
    info.insert("project_url".into(), json!(package_url));
    info.insert("release_url".into(), json!(package_url));
    info.insert("yanked".into(), json!(yanked));
    let reason = reason.filter(|reason| yanked && !reason.is_empty());
    info.insert("yanked_reason".into(), json!(reason));
    let urls: Vec<_> = files.iter().map(|file| legacy_file(file, base)).collect();
    Map::from_iter([
        ("info".to_owned(), Value::Object(info)),
        ("last_serial".to_owned(), json!(serial)),
        ("urls".to_owned(), json!(urls)),
        ("vulnerabilities".to_owned(), json!([])),
        ("ownership".to_owned(), json!({"roles": [], "organization": null})),
    ])
}

/// A file as the older JSON documents describe it.
pub(super) fn legacy_file(entry: &Entry, base: &str) -> Value {
    let time = uploaded_at(entry);
    let core_metadata = match entry.is_wheel {
        true => json!({"sha256": entry.metadata.sha256}),
        false => json!(false),
    };
    json!({
        "filename": entry.file,
        "packagetype": if entry.is_wheel { "bdist_wheel" } else { "sdist" },
        "python_version": entry.python,
        "requires_python": entry.requires_python,
        "size": entry.size_bytes,
        "upload_time": time.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
        "upload_time_iso_8601": microseconds(entry),
        "url": format!("{base}{}", file_path(entry)),
        "digests": {"md5": entry.md5, "sha256": entry.sha256, "blake2b_256": entry.blake2b_256},
        "md5_digest": entry.md5,
        "yanked": entry.yanked.is_some(),
        "yanked_reason": entry.yanked.as_deref().filter(|reason| !reason.is_empty()),
        "core-metadata": core_metadata,
        "comment_text": "",
        "has_sig": false,
        "downloads": -1,
    })
}

#[cfg(test)]
mod tests {
    use cairn_cluster::{BlobId, Timestamp};

    use super::super::metadata::CoreMetadata;
    use super::super::records::Attached;
    use super::*;

    const BASE: &str = "https://cairn.example/api/v4/projects/1/packages/pypi/";

    fn entry(file: &str, version: &str) -> Entry {
        let attached = |digit: &str| Attached {
            blob: BlobId([7; 32]),
            size_bytes: 100,
            sha256: digit.repeat(64),
        };
        Entry {
            file: file.into(),
            version: version.into(),
            size_bytes: 1234,
            uploaded_at: Timestamp(1_767_323_045_678),
            is_wheel: file.ends_with(".whl"),
            python: if file.ends_with(".whl") { "py3" } else { "source" }.into(),
            requires_python: None,
            sha256: "a".repeat(64),
            md5: "b".repeat(32),
            blake2b_256: "c".repeat(64),
            metadata: attached("d"),
            attestations: None,
            publisher: Some("alice".into()),
            yanked: None,
        }
    }

    /// A source distribution, a wheel with everything, a yanked local version.
    fn entries() -> Vec<Entry> {
        let mut rich = entry("acme_foo-1.10-py3-none-any.whl", "1.10");
        rich.requires_python = Some(">=3.8,<4".into());
        rich.attestations = Some(rich.metadata.clone());
        let mut yanked = entry("acme_foo-1.9+local.1-py3-none-any.whl", "1.9+local.1");
        yanked.yanked = Some("broken & \"bad\" <3".into());
        let mut silent = entry("acme_foo-1.2.zip", "1.2");
        silent.yanked = Some(String::new());
        vec![entry("acme_foo-1.10.tar.gz", "1.10"), rich, silent, yanked]
    }

    fn page(form: Form) -> String {
        let mut page = Page::begin(form, BASE, "acme-foo");
        let mut out = String::new();
        let mut versions = Vec::new();
        for entry in entries() {
            page.file(&entry);
            versions.push(entry.version.parse().unwrap());
            out += &page.take();
        }
        page.end(versions);
        out + &page.take()
    }

    /// Compares with a file of `testdata`, or writes it where `CAIRN_UPDATE_GOLDEN` is set.
    fn check_golden(file: &str, actual: &str) {
        let mut shown = actual.to_owned();
        if file.ends_with(".json") {
            let value: Value = serde_json::from_str(actual).unwrap();
            shown = serde_json::to_string_pretty(&value).unwrap() + "\n";
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/formats/pypi/testdata")
            .join(file);
        if std::env::var_os("CAIRN_UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &shown).unwrap();
        }
        assert_eq!(shown, std::fs::read_to_string(&path).unwrap(), "{file} differs");
    }

    #[test]
    fn pages_are_what_clients_expect() {
        check_golden("project.json", &page(Form::Json));
        check_golden("project.html", &page(Form::Html));
        assert_eq!(page(Form::Html), page(Form::SimpleHtml));
    }

    #[test]
    fn the_list_of_projects_is_what_clients_expect() {
        for (form, file) in [(Form::Json, "projects.json"), (Form::Html, "projects.html")] {
            let mut names = Names::begin(form);
            names.project("acme-foo");
            names.project("bar");
            names.end();
            check_golden(file, &names.take());
        }
    }

    #[test]
    fn the_older_document_is_what_clients_expect() {
        let metadata = "Metadata-Version: 2.4\nName: Acme.Foo\nVersion: 1.10\nSummary: does things\n\
            License-Expression: MIT\nRequires-Python: >=3.8,<4\nRequires-Dist: bar>=1\n\
            Classifier: Private :: Do Not Upload\nProject-URL: Home, https://acme.example\n\n# Foo\n";
        let files = &entries()[..2];
        let document = legacy(Legacy {
            info: CoreMetadata::parse(metadata.as_bytes()).unwrap().info(),
            base: BASE,
            project: "acme-foo",
            files,
            serial: 42,
        });
        check_golden("legacy.json", &Value::Object(document).to_string());
    }

    #[test]
    fn clients_get_the_form_they_prefer() {
        let check = |accept: &str, expected: Form| assert_eq!(Form::accepted(accept), expected, "{accept}");
        // As pip, uv and poetry send it.
        check(
            "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
            Form::Json,
        );
        check(
            "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01",
            Form::Json,
        );
        check("application/vnd.pypi.simple.v1+json, */*;q=0.1", Form::Json);
        check("text/html", Form::Html);
        check("text/html,application/xhtml+xml,*/*;q=0.8", Form::Html);
        check("application/vnd.pypi.simple.v1+html", Form::SimpleHtml);
        check(
            "application/vnd.pypi.simple.v1+json;q=0, text/html;q=0.5",
            Form::Html,
        );
        check("*/*", Form::Html);
        check("", Form::Html);
        check("image/png", Form::Html);
        check("nonsense, ;;;=, a/b;q=x", Form::Html);
        assert_eq!(
            Form::named("application/vnd.pypi.simple.v1+json"),
            Some(Form::Json)
        );
        assert_eq!(Form::named("text/html"), Some(Form::Html));
        assert_eq!(Form::named("json"), None);
    }
}
