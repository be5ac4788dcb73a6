//! Scopes: what a client asks to be allowed, and what a token allows.
//!
//! The text form is that of the token authentication of container clients: `type:name:actions`,
//! for example `repository:group/project/image:pull,push` or `registry:catalog:*`. All of it is
//! pure.

use std::fmt;

use super::names::RepositoryName;
use crate::auth::derived::{Grant, Grants};

/// Kinds of entries in the access list of a token.
const REPOSITORY: &str = "repository";
const REGISTRY: &str = "registry";
const REFUSED: &str = "refused";
const CATALOG: &str = "catalog";

/// The most scopes of one request for a token.
const MAX_SCOPES: usize = 32;

/// What may be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Actions {
    pub(super) pull: bool,
    pub(super) push: bool,
    pub(super) delete: bool,
}

impl Actions {
    pub(super) const NONE: Self = Self {
        pull: false,
        push: false,
        delete: false,
    };
    pub(super) const PULL: Self = Self {
        pull: true,
        push: false,
        delete: false,
    };
    pub(super) const PUSH: Self = Self {
        pull: true,
        push: true,
        delete: false,
    };
    pub(super) const DELETE: Self = Self {
        pull: false,
        push: false,
        delete: true,
    };
    pub(super) const ALL: Self = Self {
        pull: true,
        push: true,
        delete: true,
    };

    /// Reads `pull,push`; `*` is all. Actions that Cairn does not know grant nothing.
    fn parse(list: &str) -> Self {
        list.split(',').fold(Self::NONE, Self::with)
    }

    fn with(self, action: &str) -> Self {
        match action {
            "pull" => Self { pull: true, ..self },
            "push" => Self { push: true, ..self },
            "delete" => Self { delete: true, ..self },
            "*" => Self::ALL,
            _ => self,
        }
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self {
            pull: self.pull || other.pull,
            push: self.push || other.push,
            delete: self.delete || other.delete,
        }
    }

    pub(super) fn intersection(self, other: Self) -> Self {
        Self {
            pull: self.pull && other.pull,
            push: self.push && other.push,
            delete: self.delete && other.delete,
        }
    }

    fn without(self, other: Self) -> Self {
        Self {
            pull: self.pull && !other.pull,
            push: self.push && !other.push,
            delete: self.delete && !other.delete,
        }
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.pull, "pull"), (self.push, "push"), (self.delete, "delete")]
            .into_iter()
            .filter_map(|(is_set, name)| is_set.then_some(name))
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.names().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// What something is to be done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// A repository.
    Repository(RepositoryName),
    /// The list of all repositories.
    Catalog,
}

/// One scope: some actions on one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) resource: Resource,
    pub(super) actions: Actions,
}

impl Resource {
    fn named(kind: &str, name: &str) -> Option<Self> {
        match (kind, name) {
            (REPOSITORY, name) => name.parse().ok().map(Self::Repository),
            (REGISTRY, CATALOG) => Some(Self::Catalog),
            _ => None,
        }
    }
}

impl Scope {
    pub(super) fn repository(name: &RepositoryName, actions: Actions) -> Self {
        Self {
            resource: Resource::Repository(name.clone()),
            actions,
        }
    }
}

impl Scope {
    /// Adds to a token's access list what of this scope is `allowed`.
    ///
    /// What was asked for and refused is listed too, as a kind that grants nothing: so a request
    /// that needs it is told that it may not, rather than to ask again.
    pub(super) fn grant(&self, allowed: Actions, grants: &mut Grants) {
        let (kind, name) = match &self.resource {
            Resource::Repository(name) => (REPOSITORY, name.as_str()),
            Resource::Catalog => (REGISTRY, CATALOG),
        };
        let granted = self.actions.intersection(allowed);
        for (kind, actions) in [(kind, granted), (REFUSED, self.actions.without(allowed))] {
            if actions != Actions::NONE {
                grants.0.push(Grant {
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                    actions: actions.names().map(str::to_owned).collect(),
                });
            }
        }
    }
}

/// Whether a token was refused one of these actions on a repository when it was made.
pub(super) fn was_refused(grants: &Grants, name: &RepositoryName, actions: Actions) -> bool {
    actions
        .names()
        .any(|action| grants.allow(REFUSED, name.as_str(), action))
}

/// The text of a scope, as challenges and token answers carry it.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            Resource::Repository(name) => write!(f, "repository:{name}:{}", self.actions),
            Resource::Catalog => f.write_str("registry:catalog:*"),
        }
    }
}

/// Scopes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScopeError {
    /// Not `type:name:actions`.
    #[error("scope {0:?} is not TYPE:NAME:ACTIONS")]
    Malformed(String),
    /// More than one request may carry.
    #[error("more than {MAX_SCOPES} scopes are asked for at once")]
    TooMany,
}

/// Reads the scopes of a token request: the values of every `scope` field, each of which may
/// hold several, separated by spaces.
///
/// Scopes for one thing are merged. Those of a kind that Cairn does not know, or for a name
/// that no repository can have, are left out: they grant nothing.
pub(super) fn parse_scopes<'a>(fields: impl Iterator<Item = &'a str>) -> Result<Vec<Scope>, ScopeError> {
    let mut scopes: Vec<Scope> = Vec::new();
    let texts = fields
        .flat_map(|field| field.split(' '))
        .filter(|text| !text.is_empty());
    for (count, text) in texts.enumerate() {
        if count == MAX_SCOPES {
            return Err(ScopeError::TooMany);
        }
        let Some(scope) = parse_scope(text)? else {
            continue;
        };
        match scopes.iter_mut().find(|known| known.resource == scope.resource) {
            Some(known) => known.actions = known.actions.union(scope.actions),
            None => scopes.push(scope),
        }
    }
    Ok(scopes)
}

fn parse_scope(text: &str) -> Result<Option<Scope>, ScopeError> {
    let malformed = || ScopeError::Malformed(text.chars().take(80).collect());
    // From both ends: the name in the middle may hold the colon of a port.
    let (kind, rest) = text.split_once(':').ok_or_else(malformed)?;
    let (name, actions) = rest.rsplit_once(':').ok_or_else(malformed)?;
    // A class suffix, as in `repository(plugin)`, says what is in the repository, not which it is.
    let kind = kind.split('(').next().unwrap_or(kind);
    Ok(Resource::named(kind, without_host(name)).map(|resource| Scope {
        resource,
        actions: Actions::parse(actions),
    }))
}

/// Some clients ask with the host in front; only one with a port can be told from a name.
fn without_host(name: &str) -> &str {
    match name.split_once('/') {
        Some((host, rest)) if host.contains(':') => rest,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(fields: &[&str], expected: &[&str]) {
        let scopes = parse_scopes(fields.iter().copied()).unwrap();
        let texts: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        assert_eq!(texts, expected, "{fields:?}");
    }

    #[test]
    fn scopes_are_read_as_clients_write_them() {
        check(&[], &[]);
        check(&["", " "], &[]);
        check(&["repository:a/b:pull"], &["repository:a/b:pull"]);
        check(&["repository:a/b:push,pull"], &["repository:a/b:pull,push"]);
        check(&["repository:a/b:*"], &["repository:a/b:pull,push,delete"]);
        check(
            &["repository:a:pull repository:b:push"],
            &["repository:a:pull", "repository:b:push"],
        );
        check(
            &["repository:a:pull", "repository:a:push"],
            &["repository:a:pull,push"],
        );
        check(&["repository(plugin):a/b:pull"], &["repository:a/b:pull"]);
        check(&["repository:localhost:5000/a/b:pull"], &["repository:a/b:pull"]);
        check(&["registry:catalog:*"], &["registry:catalog:*"]);
        check(&["repository:a:fly,pull"], &["repository:a:pull"]);
        check(&["repository:a:"], &["repository:a:"]);
        check(
            &["volume:a:pull", "repository:UPPER:pull", "registry:other:*"],
            &[],
        );
    }

    #[test]
    fn scopes_without_three_parts_are_malformed() {
        for text in ["a", "repository", "repository:a"] {
            let result = parse_scopes([text].into_iter());
            assert_eq!(result, Err(ScopeError::Malformed(text.to_owned())));
        }
    }

    #[test]
    fn the_number_of_scopes_is_bounded() {
        let many = "repository:a:pull ".repeat(MAX_SCOPES);
        assert_eq!(
            parse_scopes([many.as_str()].into_iter()).map(|scopes| scopes.len()),
            Ok(1)
        );
        let too_many = "repository:a:pull ".repeat(MAX_SCOPES + 1);
        assert_eq!(
            parse_scopes([too_many.as_str()].into_iter()),
            Err(ScopeError::TooMany)
        );
    }

    #[test]
    fn a_token_tells_what_was_refused_and_that_grants_nothing() {
        let name: RepositoryName = "a/b".parse().unwrap();
        let mut grants = Grants::default();
        Scope::repository(&name, Actions::PUSH).grant(Actions::PULL, &mut grants);
        let json = serde_json::to_string(&grants).unwrap();
        let expected = concat!(
            r#"[{"type":"repository","name":"a/b","actions":["pull"]},"#,
            r#"{"type":"refused","name":"a/b","actions":["push"]}]"#
        );
        assert_eq!(json, expected);
        assert!(grants.allow("repository", "a/b", "pull"));
        assert!(!grants.allow("repository", "a/b", "push"));
        assert!(was_refused(&grants, &name, Actions::PUSH));
        assert!(!was_refused(&grants, &name, Actions::PULL));
        assert!(!was_refused(&grants, &name, Actions::DELETE));
    }

    #[test]
    fn granting_never_gives_more_than_was_asked() {
        let mut grants = Grants::default();
        Scope::repository(&"a".parse().unwrap(), Actions::PULL).grant(Actions::ALL, &mut grants);
        assert!(!grants.allow("repository", "a", "push"));
        assert_eq!(grants.0.len(), 1);
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in ".{0,80}") {
            let _ = parse_scopes([text.as_str()].into_iter());
        }
    }
}
