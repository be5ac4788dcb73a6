//! Documents of the newer protocol about all versions of a package, in the making.

use super::names::Version;
use super::records::{Line, Wants};
use super::registration::{Hive, MAX_INLINE, Page, Urls, index_head, leaf};
use super::source::{Lines, Source};
use super::warnings::Warnings;
use crate::http::assembled::Assemble;
use crate::http::error::ApiError;

/// Which versions there are.
pub(super) struct Versions {
    lines: Lines,
    wants: Wants,
    is_begun: bool,
    has_some: bool,
    is_done: bool,
}

impl Versions {
    pub(super) fn of(source: &Source) -> Self {
        Self {
            lines: source.lines(false),
            wants: Wants::EVERYTHING,
            is_begun: false,
            has_some: false,
            is_done: false,
        }
    }
}

impl Assemble for Versions {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        let mut out = String::new();
        if !self.is_begun {
            self.is_begun = true;
            out.push_str("{\"versions\":[");
        }
        match self.lines.next_page().await? {
            Some(page) => {
                for line in page.iter().filter(|line| self.wants.takes(line)) {
                    if self.has_some {
                        out.push(',');
                    }
                    self.has_some = true;
                    out.push_str(&format!("\"{}\"", line.version.in_urls()));
                }
            }
            None => {
                self.is_done = true;
                out.push_str("]}");
            }
        }
        Ok(Some(out))
    }
}

/// The registration of a package: its versions in pages, which are in it if they are few.
pub(super) struct Registration {
    source: Source,
    urls: Urls,
    hive: Hive,
    lines: Lines,
    /// What of a line is not written yet.
    ahead: Vec<Line>,
    pages: std::vec::IntoIter<Page>,
    is_inline: bool,
    warnings: Warnings,
    head: Option<String>,
    has_some: bool,
    is_done: bool,
}

impl Registration {
    pub(super) async fn begin(source: Source, urls: Urls, hive: Hive) -> Result<Self, ApiError> {
        let mut pages = Vec::new();
        let mut count = 0;
        let mut lines = source.lines(false);
        while let Some(page) = lines.next_page().await? {
            for line in page.iter().filter(|line| hive.wants().takes(line)) {
                Page::add(&mut pages, &line.version);
                count += 1;
            }
        }
        Ok(Self {
            head: Some(index_head(&urls, hive, pages.len())),
            warnings: source.warnings().await?,
            lines: source.lines(false),
            ahead: Vec::new(),
            is_inline: count <= MAX_INLINE,
            pages: pages.into_iter(),
            source,
            urls,
            hive,
            has_some: false,
            is_done: false,
        })
    }

    /// The next lines, as many as are asked for if there are so many.
    async fn take(&mut self, count: usize) -> Result<Vec<Line>, ApiError> {
        while self.ahead.len() < count
            && let Some(page) = self.lines.next_page().await?
        {
            self.ahead
                .extend(page.into_iter().filter(|line| self.hive.wants().takes(line)));
        }
        let rest = self.ahead.split_off(count.min(self.ahead.len()));
        Ok(std::mem::replace(&mut self.ahead, rest))
    }
}

impl Assemble for Registration {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        let mut out = self.head.take().unwrap_or_default();
        let Some(page) = self.pages.next() else {
            self.is_done = true;
            out.push_str("]}");
            return Ok(Some(out));
        };
        if self.has_some {
            out.push(',');
        }
        self.has_some = true;
        let mut head = serde_json::Value::from(page.head(&self.urls, self.hive, self.is_inline)).to_string();
        if self.is_inline {
            head.pop();
            out.push_str(&head);
            out.push_str(",\"items\":[");
            let lines = self.take(page.count).await?;
            let of = (&self.source, &self.warnings);
            out.push_str(&leaves(of, &self.urls, self.hive, &lines, false).await?);
            out.push_str("]}");
        } else {
            out.push_str(&head);
        }
        Ok(Some(out))
    }
}

async fn leaves(
    (source, warnings): (&Source, &Warnings),
    urls: &Urls,
    hive: Hive,
    lines: &[Line],
    mut has_some: bool,
) -> Result<String, ApiError> {
    let mut out = String::new();
    for line in lines {
        if let Some(notes) = source.notes(line).await? {
            if has_some {
                out.push(',');
            }
            has_some = true;
            out.push_str(&leaf(urls, hive, &notes, warnings).to_string());
        }
    }
    Ok(out)
}

/// One page of a registration by itself: the versions that are between two now.
pub(super) struct Between {
    source: Source,
    urls: Urls,
    hive: Hive,
    lines: std::vec::IntoIter<Line>,
    warnings: Warnings,
    head: Option<String>,
    has_some: bool,
    is_done: bool,
}

impl Between {
    pub(super) async fn begin(
        source: Source,
        urls: Urls,
        hive: Hive,
        (lower, upper): (Version, Version),
    ) -> Result<Self, ApiError> {
        let within = |line: &Line| hive.wants().takes(line) && lower <= line.version && line.version <= upper;
        let lines = source.lines(false).all(within).await?;
        let page = Page {
            count: lines.len(),
            lower,
            upper,
        };
        let mut head = serde_json::Value::from(page.head(&urls, hive, false)).to_string();
        head.pop();
        Ok(Self {
            head: Some(head + ",\"items\":["),
            lines: lines.into_iter(),
            warnings: source.warnings().await?,
            source,
            urls,
            hive,
            has_some: false,
            is_done: false,
        })
    }
}

impl Assemble for Between {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        let mut out = self.head.take().unwrap_or_default();
        let some: Vec<Line> = self.lines.by_ref().take(super::registration::PAGE).collect();
        if some.is_empty() {
            self.is_done = true;
            out.push_str("]}");
            return Ok(Some(out));
        }
        let of = (&self.source, &self.warnings);
        out.push_str(&leaves(of, &self.urls, self.hive, &some, self.has_some).await?);
        self.has_some = true;
        Ok(Some(out))
    }
}
