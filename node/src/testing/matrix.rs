//! Every route with every kind of caller, against a checked-in table.
//!
//! `matrix.txt` has a line for each route and caller's view: the method, the route as the source
//! has it, a target, the status that each of [`CALLERS`] gets, and maybe a body. A route that is
//! in the source and not in the table fails the test; so a new route is decided on, not forgotten.
//! `CAIRN_UPDATE_GOLDEN` writes the statuses anew, to be read in review; `CAIRN_MATRIX=npm` looks at the
//! rows of one part alone, which takes seconds. Where a body is wrong on purpose, 400 or 415 says that
//! the caller was let in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use axum::http::Method;
use futures::future;

use crate::formats::{cargo, composer, conan, go, helm, maven, npm, nuget, oci, pypi, rubygems};
use crate::registry::fixture;
use crate::registry::settings::DuplicatePolicy;
use crate::testing::{CALLERS, TestNode};

const TABLE: &str = "src/testing/matrix.txt";

/// A line of the table.
struct Row {
    method: Method,
    route: String,
    target: String,
    statuses: Vec<u16>,
    body: String,
}

impl Row {
    fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let mut word = || words.next().unwrap_or_else(|| panic!("{line:?} is too short"));
        let (method, route, target) = (word(), word(), word());
        let statuses = word().split(',').map(|status| status.parse().unwrap()).collect();
        Self {
            method: method.parse().unwrap(),
            route: route.into(),
            target: target.into(),
            statuses,
            body: words.collect::<Vec<_>>().join(" "),
        }
    }

    /// What its route belongs to: `admin`, `http`, or a format.
    fn part(&self) -> &str {
        self.route.split(':').next().unwrap_or_default()
    }

    fn show(&self) -> String {
        let statuses: Vec<_> = self.statuses.iter().map(u16::to_string).collect();
        let line = format!(
            "{:6} {} {} {} {}",
            self.method.as_str(),
            self.route,
            self.target,
            statuses.join(","),
            self.body
        );
        line.trim_end().into()
    }

    /// What each caller gets; after a change, the next one gets a new node.
    async fn statuses_now(&self) -> Vec<u16> {
        let mut statuses = Vec::new();
        let mut node = furnished(self.part()).await;
        for caller in CALLERS {
            let mut request = node.request(self.method.clone(), &self.target).by(caller);
            if !self.body.is_empty() {
                let kind = if self.body.starts_with('{') {
                    "application/json"
                } else {
                    "text/plain"
                };
                request = request.header("content-type", kind).body(self.body.clone());
            }
            let status = request.send().await.status;
            statuses.push(status);
            if !self.method.is_safe() && (200..300).contains(&status) {
                node = furnished(self.part()).await;
            }
        }
        statuses
    }
}

/// A node with what the rows of one part ask for: something in `acme/demo`, `acme/open` and
/// `acme/inside`.
async fn furnished(part: &str) -> TestNode {
    let node = TestNode::start().await;
    for (project, image) in [(1, "acme/demo/img"), (2, "acme/open/img"), (3, "acme/inside/img")] {
        match part {
            "cargo" => cargo::tests::furnish(&node, project).await,
            "composer" => composer::tests::furnish(&node, project).await,
            "conan" => conan::tests::furnish(&node, project).await,
            "go" => go::tests::furnish(&node, project).await,
            "helm" => helm::tests::furnish(&node, project).await,
            "maven" => maven::tests::furnish(&node, project).await,
            "npm" => npm::tests::furnish(&node, project).await,
            "nuget" => nuget::tests::furnish(&node, project).await,
            "oci" => oci::tests::furnish(&node, image).await,
            "pypi" => pypi::tests::furnish(&node, project).await,
            "rubygems" => rubygems::tests::furnish(&node, project).await,
            "admin" | "generic" | "http" => publish_generic(&node, project).await,
            other => panic!("publish something of {other} here, for its rows in the table"),
        }
        if part == "generic" {
            let target = format!("/api/v4/projects/{project}/packages/generic/-/raw/dir/file");
            node.put(target).by("root").body("bytes").send().await.expect(201);
        }
    }
    if part == "admin" {
        add_tokens_and_a_member(&node).await;
    }
    node
}

/// Version 2 with file 1 in project 1, version 4 in project 2, version 6 in project 3.
async fn publish_generic(node: &TestNode, project: u64) {
    let target = format!("/api/v4/projects/{project}/packages/generic/tool/1.0.0/tool.tgz");
    node.put(target).by("root").body("bytes").send().await.expect(201);
    fixture::set_duplicates(node.app(), project, "generic", DuplicatePolicy::Replace).await;
}

/// Deploy tokens 4 and 5, access tokens 10 and 11 of the users 8 and 9, who are bots, and user 10
/// as a member of project 1; a rule of each kind that protects names, numbers 1 to 3, and cleanup
/// policies that are switched on; the trust rules 1 of project 1 and 2 of its group.
async fn add_tokens_and_a_member(node: &TestNode) {
    let deploy = r#"{"name":"x","scopes":["read_registry"]}"#;
    let access = r#"{"name":"x","scopes":["api"],"access_level":30}"#;
    let member = r#"{"user_id":10,"access_level":10}"#;
    let trust =
        r#"{"name":"x","issuer":"https://ci.example","claims":{"sub":"x"},"scopes":["read_registry"]}"#;
    for (target, body) in [
        ("v4/projects/1/deploy_tokens", deploy),
        ("v4/groups/1/deploy_tokens", deploy),
        ("v4/projects/1/access_tokens", access),
        ("v4/groups/1/access_tokens", access),
        ("v4/users", r#"{"username":"extra"}"#),
        ("v4/projects/1/members", member),
        (
            "v4/projects/1/packages/protection/rules",
            r#"{"package_name_pattern":"p*","package_type":"generic","minimum_access_level_for_push":"owner"}"#,
        ),
        (
            "v4/projects/1/registry/protection/repository/rules",
            r#"{"repository_path_pattern":"acme/demo/p*","minimum_access_level_for_push":"owner"}"#,
        ),
        (
            "v4/projects/1/registry/protection/tag/rules",
            r#"{"tag_name_pattern":"p"}"#,
        ),
        ("cairn/v1/projects/1/trust_rules", trust),
        ("cairn/v1/groups/1/trust_rules", trust),
    ] {
        let request = node.post(format!("/api/{target}")).by("root");
        let request = request.header("content-type", "application/json");
        request.body(body).send().await.expect(201);
    }
    for kind in ["packages", "registry"] {
        let target = format!("/api/cairn/v1/projects/1/{kind}/cleanup_policy");
        let request = node.put(target).by("root");
        let request = request.header("content-type", "application/json");
        request
            .body(r#"{"enabled":true,"keep_n":5}"#)
            .send()
            .await
            .expect(200);
    }
}

fn table() -> (Vec<String>, Vec<Row>) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE)).unwrap();
    let (comments, rows): (Vec<_>, Vec<_>) = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .partition(|line| line.starts_with('#'));
    let comments = comments.into_iter().map(str::to_owned).collect();
    (comments, rows.into_iter().map(Row::parse).collect())
}

/// The projects that rows of a format must be about: a private one, a public one, an internal one, and one that is not
/// there.
const PROJECTS: [&str; 4] = ["1", "2", "3", "99"];

/// Whether the table says, for each kind of project, who reads something of a format there and who changes something.
pub(super) fn tells_of_all_projects(format: &str) -> bool {
    let (_, rows) = table();
    let has_row = |project: &str, reads: bool| {
        let below = format!("/api/v4/projects/{project}/");
        rows.iter().any(|row| {
            row.part() == format && row.method.is_safe() == reads && row.target.starts_with(&below)
        })
    };
    PROJECTS
        .iter()
        .all(|project| has_row(project, true) && has_row(project, false))
}

/// Whether there is something of a format that the administrator can read.
pub(super) fn is_read_by_root(format: &str) -> bool {
    let root = CALLERS.iter().position(|caller| *caller == "root").unwrap();
    let (_, rows) = table();
    rows.iter()
        .any(|row| row.part() == format && row.method == Method::GET && row.statuses[root] == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_answers_every_caller_as_the_table_says() {
    let (comments, rows) = table();
    let update = std::env::var_os("CAIRN_UPDATE_GOLDEN").is_some();
    let only = std::env::var("CAIRN_MATRIX").ok();
    let mut wrong = Vec::new();
    let judged = rows.into_iter().map(|mut row| {
        let is_looked_at = only.as_ref().is_none_or(|only| row.part() == only);
        tokio::spawn(async move {
            let before = row.show();
            if is_looked_at {
                row.statuses = row.statuses_now().await;
            }
            (before, row)
        })
    });
    let mut rows = Vec::new();
    for judged in future::join_all(judged).await {
        let (before, row) = judged.unwrap();
        if before != row.show() {
            wrong.push(format!("- {before}\n+ {}", row.show()));
        }
        rows.push(row);
    }
    if update {
        let lines: Vec<_> = comments.into_iter().chain(rows.iter().map(Row::show)).collect();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
        fs::write(path, lines.join("\n") + "\n").unwrap();
        return;
    }
    assert!(wrong.is_empty(), "{}\n{}", CALLERS.join(","), wrong.join("\n"));
}

/// Routes whose path names a project, but which say nothing of it: they are about the caller, or
/// about tokens.
const ABOUT_NO_PROJECT: [&str; 13] = [
    "conan:/v1/ping",
    "conan:/v2/ping",
    "conan:/v1/users/authenticate",
    "conan:/v2/users/authenticate",
    "conan:/v1/users/check_credentials",
    "conan:/v2/users/check_credentials",
    "npm:/-/whoami",
    "npm:/-/npm/v1/user",
    "npm:/-/npm/v1/tokens",
    "npm:/-/npm/v1/tokens/token/{key}",
    "npm:/-/user/{user}",
    "npm:/-/user/token/{token}",
    "cargo:/me",
];

/// Credentials that do not hold open nothing, and are told so even on public data.
#[test]
fn the_table_turns_away_whatever_does_not_hold() {
    let (_, rows) = table();
    let column = |name: &str| CALLERS.iter().position(|caller| *caller == name).unwrap();
    let mut let_in = Vec::new();
    for row in &rows {
        let (others, unsound) = row.statuses.split_at(column("expired"));
        // What answers all alike asks nobody who they are.
        let asks = others.iter().any(|status| *status != others[0]) || others[0] == 401;
        if asks && unsound.iter().any(|status| *status != 401) {
            let_in.push(row.show());
        }
    }
    assert!(let_in.is_empty(), "{}", let_in.join("\n"));
}

/// Whoever has no right to something private learns nothing, not even that it is there.
#[test]
fn the_table_lets_no_stranger_near_private_things() {
    let (_, rows) = table();
    let column = |name: &str| CALLERS.iter().position(|caller| *caller == name).unwrap();
    let private = |row: &&Row| {
        let mut segments = row
            .target
            .split('/')
            .skip_while(|part| !["projects", "groups", "packages"].contains(part));
        segments
            .nth(1)
            .is_some_and(|reference| ["1", "99", "acme"].contains(&reference))
    };
    let about_no_project = |row: &&Row| ABOUT_NO_PROJECT.contains(&row.route.as_str());
    for row in rows.iter().filter(private).filter(|row| !about_no_project(row)) {
        for caller in ["anonymous", "stranger", "foreign-deploy"] {
            let status = row.statuses[column(caller)];
            assert!(
                matches!(status, 401 | 404 | 405),
                "{} lets {caller} see {status}",
                row.show()
            );
        }
    }
}

/// The project or group in a target of the table, and another one in its place.
fn elsewhere(row: &Row) -> Option<String> {
    let (_, below) = row.route.split_once("{id}/")?;
    let names_something = below.split('/').any(|part| part.ends_with("_id}"));
    let places = [("/projects/1/", "/projects/2/"), ("/groups/1/", "/groups/2/")];
    let (here, there) = places.into_iter().find(|(here, _)| row.target.contains(here))?;
    names_something.then(|| row.target.replace(here, there))
}

#[tokio::test]
async fn what_is_below_one_place_is_not_found_through_another_by_anybody() {
    let (_, rows) = table();
    let root = CALLERS.iter().position(|caller| *caller == "root").unwrap();
    let mut asked = 0;
    for part in ["admin", "oci"] {
        let node = furnished(part).await;
        let there = |row: &&Row| row.part() == part && row.statuses[root] < 300;
        for row in rows.iter().filter(there) {
            let Some(target) = elsewhere(row) else {
                continue;
            };
            let request = node.request(row.method.clone(), &target).by("root");
            let request = request.header("content-type", "application/json");
            let status = request.body(row.body.clone()).send().await.status;
            assert_eq!(status, 404, "{} {target}", row.method);
            asked += 1;
        }
    }
    assert!(asked > 30, "{asked} rows are few: has the table another form?");
}

#[test]
fn every_route_of_the_source_is_in_the_table() {
    let (_, rows) = table();
    let known: BTreeSet<(String, String)> = rows
        .iter()
        .map(|row| (row.method.to_string(), row.route.clone()))
        .collect();
    let missing: Vec<_> = routes_of_source()
        .into_iter()
        .filter(|(method, file, path)| {
            let route = ((*method).to_owned(), format!("{}:{path}", part_of(file)));
            !known.contains(&route)
        })
        .map(|(method, file, path)| format!("{method} {}:{path}", part_of(&file)))
        .collect();
    assert!(
        missing.is_empty(),
        "routes without a row:\n{}",
        missing.join("\n")
    );
}

/// The routes that are mounted somewhere: method, file below `src`, and path.
pub(crate) fn routes_of_source() -> BTreeSet<(&'static str, String, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut routes = BTreeSet::new();
    for file in rust_files(&source).into_iter().filter(|file| !is_test(file)) {
        let text = fs::read_to_string(&file).unwrap();
        let file = file.strip_prefix(&source).unwrap().to_string_lossy().into_owned();
        for (methods, path) in routes_in(&text) {
            routes.extend(
                methods
                    .into_iter()
                    .map(|method| (method, file.clone(), path.clone())),
            );
        }
    }
    routes
}

/// `admin`, `http`, or the format: what a route's path is relative to.
fn part_of(file: &str) -> &str {
    let mut parts = file.split('/');
    match parts.next() {
        Some("formats") => parts.next().unwrap_or_default(),
        Some(other) => other,
        None => "",
    }
}

/// All sources in a folder and below it.
pub(super) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn is_test(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.to_string_lossy();
    ["tests.rs", "client.rs", "server.rs"].contains(&name.as_ref())
        || folder.contains("/testing/")
        || folder.contains("/cli/")
}

/// The literal paths given to `.route(`, with the methods of what is mounted there.
fn routes_in(source: &str) -> Vec<(Vec<&'static str>, String)> {
    let source = source
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    // Routes of the REST API are described where they are mounted.
    let source = source.replace(".api_route(", ".route(").replace("_with(", "(");
    let mut found = Vec::new();
    for call in source.split(".route(").skip(1) {
        let call = &call[..end_of_call(call)];
        let Some(path) = call
            .trim_start()
            .strip_prefix('"')
            .and_then(|rest| rest.split('"').next())
        else {
            continue;
        };
        let methods = ["get", "put", "post", "patch", "delete"]
            .into_iter()
            .filter(|method| call.contains(&format!(" {method}(")) || call.contains(&format!(".{method}(")));
        let methods = methods.map(|method| match method {
            "get" => "GET",
            "put" => "PUT",
            "post" => "POST",
            "patch" => "PATCH",
            _ => "DELETE",
        });
        found.push((methods.collect(), path.to_owned()));
    }
    found
}

fn end_of_call(call: &str) -> usize {
    let mut depth = 1;
    for (at, byte) in call.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    call.len()
}
