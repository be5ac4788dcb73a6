//! The dependency API: what each version of some gems needs, for clients from before the compact index and those that
//! do without it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::documents::Pieces;
use super::index;
use super::marshal::Dump;
use super::records::Row;
use super::source::{self, Rows};
use super::store::head_of;
use crate::auth::Pull;
use crate::formats::place::Place;
use crate::http::assembled::state_tag;
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{Package, View};

/// The most gems that one request may ask about. Bundler asks about 100 at a time.
const MAX_GEMS: usize = 200;

/// The gems that a request asks about, as far as they are there.
#[derive(Clone)]
pub(super) struct Wanted {
    gems: Vec<(Scope, Package)>,
    /// Names the state of all of them.
    pub(super) state: String,
}

impl Wanted {
    /// Finds gems by their names, with commas between them.
    pub(super) async fn find(place: &Place<Pull>, names: &str) -> Result<Self, ApiError> {
        let mut wanted: Vec<&str> = names.split(',').collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.len() > MAX_GEMS {
            return Err(ApiError::unprocessable(format!(
                "ask about at most {MAX_GEMS} gems at a time"
            )));
        }
        let (mut gems, mut revisions) = (Vec::new(), Vec::new());
        for name in wanted {
            if let Some((scope, package)) = source::named(place, name).await? {
                let revision = View::of(&scope).revision(&package).await?;
                revisions.push((scope.project().id, revision));
                gems.push((scope, package));
            }
        }
        Ok(Self {
            state: format!("needs {}", state_tag(names, revisions)),
            gems,
        })
    }
}

/// A list of all versions of some gems, each with what it needs to run.
pub(super) struct Needs {
    ahead: VecDeque<(Scope, Package)>,
    /// The gem whose versions are being listed.
    current: Option<(Rows, String)>,
    dump: Dump,
    is_begun: bool,
}

impl Needs {
    pub(super) fn of(wanted: Wanted) -> Result<Self, ApiError> {
        let mut count = 0;
        for (_, package) in &wanted.gems {
            count += head_of(package)?.rows;
        }
        Ok(Self {
            ahead: wanted.gems.into(),
            current: None,
            dump: Dump::list(usize::try_from(count).map_err(ApiError::internal)?),
            is_begun: false,
        })
    }

    /// Some rows of a gem, with its name; none after the last gem.
    async fn rows(&mut self) -> Result<Option<(String, Vec<Row>)>, ApiError> {
        loop {
            if let Some((rows, name)) = &mut self.current
                && let Some(page) = rows.next().await?
            {
                return Ok(Some((name.clone(), page)));
            }
            let Some((scope, package)) = self.ahead.pop_front() else {
                return Ok(None);
            };
            let rows = Rows::new(scope, &package);
            self.current = Some((rows, package.display_name));
        }
    }
}

impl Pieces for Needs {
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let rows = self.rows().await?;
        if rows.is_none() && std::mem::replace(&mut self.is_begun, true) {
            return Ok(None);
        }
        self.is_begun = true;
        if let Some((name, rows)) = &rows {
            for row in rows {
                let needs = index::needs_in(&row.line);
                self.dump.needs(name, &row.version, &row.platform, &needs);
            }
        }
        Ok(Some(self.dump.take().into()))
    }
}
