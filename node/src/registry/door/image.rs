//! Projects as container clients name them: by the beginning of an image's name.

use crate::auth::action::{Action, Decision, Verb};
use crate::formats::oci;
use crate::http::error::ApiError;
use crate::registry::door::{Access, Authorised};
use crate::registry::names::{FullPath, MAX_DEPTH, Reference};
use crate::registry::project::{self, Project};
use crate::registry::protection::{ContainerGuard, Right};

impl Access {
    /// Comes to the project that the longest possible beginning of a container image's name
    /// names, to do `A`; the rest of the name is returned too (empty if there is none).
    ///
    /// The actions that a derived token grants are checked against the whole name, as the
    /// container clients asked for it.
    pub async fn image<A: Action>(&self, name: &str) -> Result<(Authorised<Project, A>, String), ApiError> {
        if let Some(grants) = self.caller().grants() {
            let action = match A::VERB {
                Verb::PushImage => "push",
                Verb::DeleteImage => "delete",
                _ => "pull",
            };
            if !grants.allow("repository", name, action) {
                // A client that gets a challenge asks for a token that goes further.
                return Err(ApiError::unauthorized());
            }
        }
        let Some((project, rest)) = self.find_image(name).await? else {
            return Err(self.unknown::<Project>());
        };
        let project: Authorised<Project, A> = self.decided(project).await?;
        if !project.scope(oci::NAME).covers(&rest) {
            return Err(self.refuse::<Project>(A::VERB, Decision::Forbidden));
        }
        match self.is_protected::<A>(project.project(), name).await? {
            false => Ok((project, rest)),
            true => Err(ApiError::forbidden(format!("repository {name} is protected"))),
        }
    }

    /// Whether the caller may do `A` to an image of this name: for a protocol that hands out a
    /// token for what is allowed of what was asked for.
    pub async fn may_touch_image<A: Action>(&self, name: &str) -> Result<bool, ApiError> {
        match self.find_image(name).await? {
            Some((project, rest)) => {
                let Some(project) = self.readable::<A>(project).await? else {
                    return Ok(false);
                };
                let covered = project.scope(oci::NAME).covers(&rest);
                Ok(covered && !self.is_protected::<A>(project.project(), name).await?)
            }
            None => Ok(false),
        }
    }

    /// Whether a rule forbids to do this to a repository. Asked before anything is sent for it; what
    /// is decided then is decided again in the transaction that changes something.
    async fn is_protected<A: Action>(&self, project: &Project, name: &str) -> Result<bool, ApiError> {
        let right = match A::VERB {
            Verb::PushImage => Right::Push,
            Verb::DeleteImage => Right::Delete,
            _ => return Ok(false),
        };
        let reader = &mut self.snapshot().clone();
        let guard = ContainerGuard::of(reader, project, self.caller(), self.now()).await?;
        Ok(!guard.allows(name, right))
    }

    async fn find_image(&self, name: &str) -> Result<Option<(Project, String)>, ApiError> {
        // A project path has at least two segments, and at most one more than groups nest.
        let ends: Vec<usize> = name
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([name.len()])
            .take(MAX_DEPTH + 1)
            .collect();
        for end in ends.into_iter().skip(1).rev() {
            let Ok(path) = name[..end].parse::<FullPath>() else {
                continue;
            };
            let reference = Reference::Path(path);
            if let Some(project) = project::find(&mut self.snapshot().clone(), &reference).await? {
                let rest = name[end..].trim_start_matches('/').into();
                return Ok(Some((project, rest)));
            }
        }
        Ok(None)
    }
}
