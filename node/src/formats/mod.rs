//! The package formats: one folder and one row each.

mod advisories;
mod attested;
pub mod cargo;
pub mod composer;
pub mod conan;
pub mod generic;
pub mod go;
pub mod helm;
mod inspected;
mod json;
mod listing;
mod lists;
pub mod maven;
mod merged;
pub mod npm;
pub mod nuget;
pub mod oci;
mod owners;
mod place;
pub mod pypi;
mod ranking;
pub mod rubygems;
mod xml;

use async_trait::async_trait;
use axum::Router;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use cairn_cluster::{Blobs, Collection, Key, Snapshot, Space, Timestamp, Txn};

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::host::BaseUrl;
pub(crate) use crate::registry::PartRemovals;
pub use crate::registry::Progress;
use crate::registry::blob_names::{self, Piece};
use crate::registry::cleanup::{ContainerPolicy, Turn};
use crate::registry::package::{Edit, File, Package, Version};
use crate::registry::settings::DuplicatePolicy;
use crate::registry::storage::{Account, Sums};

/// What Cairn must know of a package format.
#[async_trait]
pub trait Format: Send + Sync {
    /// In URLs, configuration and metrics: `npm`.
    fn name(&self) -> &'static str;

    /// Its routes at one level, relative to the base URL that [`Level`] says.
    ///
    /// A path parameter named `id` is the project or group; a format has none of that name.
    fn routes(&self, level: Level) -> Router<App>;

    /// An error, in the words of its clients. Headers of the error, and the challenge of a 401,
    /// are added to what this returns.
    fn render(&self, error: &ApiError) -> Response;

    /// The same, for clients that differ in what they can read.
    fn render_for(&self, error: &ApiError, request: &RequestHead<'_>) -> Response {
        let _ = request;
        self.render(error)
    }

    /// The challenge that an answer of 401 carries.
    fn challenge(&self, request: &RequestHead<'_>) -> HeaderValue {
        let _ = request;
        HeaderValue::from_static(r#"Basic realm="cairn""#)
    }

    /// Removes a version that the REST API was told to remove. A format that keeps more about its
    /// versions than their records mends that in the same transaction.
    async fn delete_version(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
    ) -> Result<(), ApiError> {
        edit.delete_version(&package, &version).await
    }

    /// Mends what a format keeps about a file that the REST API has removed from a version, in
    /// the same transaction.
    async fn file_deleted(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
    ) -> Result<(), ApiError> {
        let _ = (edit, package, version, file);
        Ok(())
    }

    /// Mends what a format keeps beside the records of a version that was put back, by what it left with
    /// [`Edit::keep`], in the same transaction.
    async fn version_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        kept: Bytes,
    ) -> Result<(), ApiError> {
        let _ = (edit, package, version, kept);
        Ok(())
    }

    /// The same for a file.
    async fn file_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
        kept: Bytes,
    ) -> Result<(), ApiError> {
        let _ = (edit, package, version, file, kept);
        Ok(())
    }

    /// Lets go of what a format left to put something back, which is not to be.
    async fn discard(&self, discarded: Discarded<'_>) -> Result<(), ApiError> {
        let _ = discarded;
        Ok(())
    }

    /// The one form of all spellings of a package's name, or of a pattern of names in which `*`
    /// stands for anything: rules are held against names in it.
    fn spelled_alike(&self, name: &str) -> String {
        name.to_owned()
    }

    /// What happens to duplicates unless a project or group says otherwise; none if its clients
    /// leave no choice.
    fn default_duplicates(&self) -> Option<DuplicatePolicy> {
        None
    }

    /// Whether some versions are snapshots and the others releases, so that a project may take but one kind.
    fn has_snapshots(&self) -> bool {
        false
    }

    /// The names by which clients are led to a version, as dist-tags are, in their order.
    fn tags(&self, package: &Package, version: &Version) -> Result<Vec<String>, ApiError> {
        let _ = (package, version);
        Ok(Vec::new())
    }

    /// Whether a version stays whatever a cleanup policy says, because something else of the
    /// package leads to it, or may do so.
    fn is_led_to(&self, package: &Package, version: &Version) -> bool {
        self.tags(package, version).map_or(true, |tags| !tags.is_empty())
    }

    /// Deletes the tags of container images that a policy lets go.
    async fn clean_up_images(&self, turn: &Turn, policy: &ContainerPolicy) -> Result<(), ApiError> {
        let _ = (turn, policy);
        Ok(())
    }

    /// Takes apart a piece of what the format keeps in a project by records of its own, when
    /// nobody can come to it any more, and says whether there is more to do.
    async fn remove(&self, removal: Removal<'_>) -> Result<Progress, ApiError> {
        let _ = removal;
        Ok(Progress::Done)
    }

    /// Counts what the format stores in a project by records of its own, apart from the files of
    /// packages.
    async fn count_stored(&self, stored: Stored<'_>) -> Result<(), ApiError> {
        let _ = stored;
        Ok(())
    }

    /// Says what the format named a blob for by a record of its own, whose `key` lies below its
    /// `records` in a project.
    fn describe_blob(&self, records: &Collection, key: &Key) -> Vec<Piece> {
        vec![blob_names::below(records, key)]
    }

    /// What a publish for which a quota leaves no room is answered: 403, because the clients of most
    /// formats send everything again and again when the status is one of the server's.
    fn over_quota(&self, message: &str) -> ApiError {
        ApiError::forbidden(message)
    }

    /// What a user pastes, or a command writes, to set up each client.
    fn clients(&self) -> &'static [ClientSetup];
}

/// What of a format's own records is to be taken apart, by one transaction of several.
pub struct Removal<'a> {
    /// The transaction.
    pub txn: &'a mut Txn,
    /// The blob store, to let go of blobs.
    pub blobs: &'a Blobs,
    /// Where the project's blobs lie.
    pub space: Space,
    /// The format's own records in the project.
    pub records: Collection,
    /// Which part of them, by the number that it was ordered with; none for all of them, because
    /// the project was deleted.
    pub part: Option<u64>,
    /// As whose it counted.
    pub(crate) account: Account,
}

/// Something deleted that is not put back.
pub struct Discarded<'a> {
    /// The transaction.
    pub txn: &'a mut Txn,
    /// The blob store, to let go of blobs.
    pub blobs: &'a Blobs,
    /// Where the project's blobs lie.
    pub space: Space,
    /// The format's own records in the project.
    pub records: Collection,
    /// The normalised name of the package.
    pub package: &'a str,
    /// What the format left with [`Edit::keep`].
    pub kept: &'a Bytes,
    /// Where more is ordered to be taken apart.
    pub(crate) removals: PartRemovals<'a>,
}

impl Discarded<'_> {
    /// Orders that a part of what the format keeps in the project is taken apart by [`Format::remove`].
    pub(crate) async fn order_removal(&mut self, part: u64) -> Result<(), ApiError> {
        self.removals.order(self.txn, part, Timestamp::default()).await
    }
}

/// What of a format's own records in a project is to be counted.
pub struct Stored<'a> {
    /// The view.
    pub snapshot: &'a Snapshot,
    /// The format's own records in the project.
    pub records: Collection,
    /// The parts of them that are still to be taken apart, by their numbers.
    pub parts: Vec<u64>,
    /// What is counted.
    pub(crate) sums: &'a mut Sums,
}

/// What an answer is made for.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    /// The head of the request.
    pub parts: &'a Parts,
    /// The URL of the host root, as the client knows it.
    pub base_url: &'a BaseUrl,
}

/// Where routes are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// `/api/v4/projects/{id}/packages/<format>`
    Project,
    /// `/api/v4/groups/{id}/-/packages/<format>`: the packages of all projects below a group.
    Group,
    /// `/api/v4/packages/<format>`: the packages of all projects.
    Instance,
    /// The host root, for protocols that fix their paths; mounted without a prefix.
    Host,
}

impl Level {
    /// Every level.
    pub const ALL: [Level; 4] = [Level::Project, Level::Group, Level::Instance, Level::Host];

    /// What the paths of a format's routes begin with.
    pub fn prefix(self, format: &str) -> String {
        match self {
            Self::Project => format!("/api/v4/projects/{{id}}/packages/{format}"),
            Self::Group => format!("/api/v4/groups/{{id}}/-/packages/{format}"),
            Self::Instance => format!("/api/v4/packages/{format}"),
            Self::Host => String::new(),
        }
    }
}

/// Which routes answer a request; the router says it to each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mount {
    /// The format's name.
    pub(crate) format: &'static str,
    /// The level that its routes are mounted at.
    pub(crate) level: Level,
}

impl Mount {
    /// What the router said of this request.
    pub(crate) fn of(parts: &Parts) -> Result<Self, ApiError> {
        let said = parts.extensions.get().copied();
        said.ok_or_else(|| ApiError::internal(std::io::Error::other("the request has no format")))
    }
}

/// How one client of a format is set up. In the texts, `{base}` stands for the URL of the host
/// root, `{host}` for its host, `{project}` for a project's number, `{path}` for its path, and
/// `{token}` for a token.
#[derive(Clone, Copy, Debug)]
pub struct ClientSetup {
    /// The client: `npm`.
    pub client: &'static str,
    /// The file that holds its configuration, below the home directory; none if it has none.
    pub file: Option<&'static str>,
    /// What that file must say.
    pub configuration: &'static str,
    /// A command that publishes.
    pub publish: &'static str,
    /// A command that fetches.
    pub install: &'static str,
}

/// Every format Cairn speaks, in alphabetical order.
pub const FORMATS: &[&dyn Format] = &[
    &cargo::Cargo,
    &composer::Composer,
    &conan::Conan,
    &generic::Generic,
    &go::Go,
    &helm::Helm,
    &maven::Maven,
    &npm::Npm,
    &nuget::Nuget,
    &oci::Oci,
    &pypi::Pypi,
    &rubygems::Rubygems,
];

/// The parsers of formats that are fuzzed.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) const FUZZ_TARGETS: &[&[crate::fuzz::Target]] = &[
    cargo::fuzz::TARGETS,
    composer::fuzz::TARGETS,
    conan::fuzz::TARGETS,
    generic::fuzz::TARGETS,
    go::fuzz::TARGETS,
    helm::fuzz::TARGETS,
    maven::fuzz::TARGETS,
    npm::fuzz::TARGETS,
    nuget::fuzz::TARGETS,
    oci::fuzz::TARGETS,
    pypi::fuzz::TARGETS,
    rubygems::fuzz::TARGETS,
];

/// Finds a format by its name.
pub fn by_name(name: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|format| format.name() == name)
}

/// Adds a challenge unless the answer has one.
pub(crate) fn add_challenge(response: &mut Response, challenge: HeaderValue) {
    response
        .headers_mut()
        .entry(header::WWW_AUTHENTICATE)
        .or_insert(challenge);
}
