//! The packages of several projects as one list, in the order of their names.

use std::collections::VecDeque;

use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{Package, View};

/// How many packages are read at a time, of all projects together.
const PAGE: usize = 500;

/// The packages of some projects; what is read ahead of them does not depend on their number.
pub(crate) struct Merged {
    lists: Vec<List>,
    page: usize,
}

/// The packages of one project, some of them read ahead.
struct List {
    scope: Scope,
    ahead: VecDeque<Package>,
    last: Option<String>,
    ended: bool,
}

impl List {
    /// The next package, which stays.
    async fn peek(&mut self, page: usize) -> Result<Option<&Package>, ApiError> {
        if self.ahead.is_empty() && !self.ended {
            let view = View::of(&self.scope);
            let packages = view.packages(self.last.as_deref(), page).await?;
            self.ended = packages.len() < page;
            self.last = packages.last().map(|package| package.name.clone());
            self.ahead = packages.into();
        }
        Ok(self.ahead.front())
    }
}

impl Merged {
    pub(crate) fn of(scopes: &[Scope]) -> Self {
        let lists = scopes.iter().map(|scope| List {
            scope: scope.clone(),
            ahead: VecDeque::new(),
            last: None,
            ended: false,
        });
        Self {
            lists: lists.collect(),
            page: (PAGE / scopes.len().max(1)).max(4),
        }
    }

    /// The packages of the next name: at least one. None after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Package>>, ApiError> {
        let mut least: Option<String> = None;
        for list in &mut self.lists {
            if let Some(package) = list.peek(self.page).await?
                && least.as_ref().is_none_or(|least| package.name < *least)
            {
                least = Some(package.name.clone());
            }
        }
        let Some(name) = least else {
            return Ok(None);
        };
        let mut of_name = Vec::new();
        for list in &mut self.lists {
            if list.ahead.front().is_some_and(|package| package.name == name) {
                of_name.extend(list.ahead.pop_front());
            }
        }
        Ok(Some(of_name))
    }
}
