//! Crates as the optional routes of the web API show them, to bots and people: the names of
//! fields are the public registry's.

use serde_json::{Value, json};

use super::head::Head;
use super::store::VersionNotes;
use crate::registry::package::{self, Package};
use crate::registry::time::iso;
use crate::registry::user::User;

/// A crate.
pub(super) fn package(package: &Package, head: &Head) -> Value {
    let top = head.top.as_ref();
    let about = top.map(|top| &top.about);
    json!({
        "id": package.display_name,
        "name": package.display_name,
        "description": about.and_then(|about| about.description.as_deref()),
        "homepage": about.and_then(|about| about.homepage.as_deref()),
        "documentation": about.and_then(|about| about.documentation.as_deref()),
        "repository": about.and_then(|about| about.repository.as_deref()),
        "keywords": about.map(|about| &about.keywords),
        "categories": about.map(|about| &about.categories),
        "max_version": top.map(|top| &top.version),
        "max_stable_version": top.map(|top| &top.version).filter(|version| !version.is_prerelease()),
        "default_version": top.map(|top| &top.version),
        "yanked": top.is_some_and(|top| top.yanked),
        "created_at": iso(package.created_at),
        "updated_at": iso(head.updated_at),
        "exact_match": true,
    })
}

/// A version of the crate that is called `name`.
pub(super) fn version(name: &str, version: &package::Version, notes: &VersionNotes) -> Value {
    let num = &notes.version;
    let line = notes.fragment.line();
    json!({
        "id": version.id,
        "crate": name,
        "num": num,
        "dl_path": format!("/api/v1/crates/{name}/{num}/download"),
        "readme_path": format!("/api/v1/crates/{name}/{num}/readme"),
        "created_at": iso(version.created_at),
        "updated_at": iso(version.created_at),
        "yanked": notes.yanked,
        "license": notes.about.license,
        "crate_size": notes.size_bytes,
        "checksum": line["cksum"],
        "features": line["features"],
        "links": line["links"],
        "rust_version": line["rust_version"],
    })
}

/// What a version needs, from its line of the index.
pub(super) fn dependencies(version: &package::Version, notes: &VersionNotes) -> Value {
    let line = notes.fragment.line();
    let dependencies = line["deps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = dependencies.iter().map(|dependency| {
        let name = match &dependency["package"] {
            Value::Null => &dependency["name"],
            package => package,
        };
        json!({
            "version_id": version.id,
            "crate_id": name,
            "req": dependency["req"],
            "optional": dependency["optional"],
            "default_features": dependency["default_features"],
            "features": dependency["features"],
            "target": dependency["target"],
            "kind": dependency["kind"],
        })
    });
    json!({"dependencies": shown.collect::<Vec<_>>()})
}

/// Somebody who takes care of a crate.
pub(super) fn owner(user: &User) -> Value {
    // Cargo reads 32 bits.
    let id = u32::try_from(user.id).unwrap_or(u32::MAX);
    json!({"id": id, "login": user.username, "name": user.name, "kind": "user"})
}
