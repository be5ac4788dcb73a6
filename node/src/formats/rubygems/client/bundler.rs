//! Bundler: installing, updating, and what is outdated.

use super::*;

impl Desk {
    /// A project that wants a gem from a source.
    fn gemfile(&self, folder: &str, source: &str, wanted: &str) {
        self.write(
            format!("{folder}/Gemfile"),
            format!("source '{source}'\n{wanted}\n"),
        );
    }
}

/// A source without what signs in.
fn plain(source: &str, token: &str) -> String {
    source.replace(&format!("__token__:{token}@"), "")
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_are_installed_and_updated_through_other_nodes() {
    let bundle = Desk::with("bundle").await;
    let name = unique("bundled").replace('-', "_");
    let base = format!("{name}_base");
    bundle.publish(0, &base, "1.0.0", "").await;
    bundle
        .publish(1, &name, "1.0.0", &format!("s.add_dependency '{base}', '~> 1.0'"))
        .await;
    let source = bundle.source(2, "projects/1", &bundle.read);
    let url = plain(&source, &bundle.read);
    bundle.gemfile("app", &url, &format!("gem '{name}'"));
    let app = bundle.folder("app");
    let signed_in = format!("__token__:{}", bundle.read);
    bundle
        .ok(&app, &["config", "set", "--global", &url, &signed_in])
        .await;
    bundle
        .ok(&app, &["install", "--verbose"])
        .await
        .says(&format!("Installing {name} 1.0.0"))
        .says(&format!("Installing {base} 1.0.0"));
    let code = format!("require '{name}'");
    bundle
        .ok(&app, &["exec", "ruby", "-e", &code])
        .await
        .says(&format!("{name} is 1.0.0"));

    // What was added since is asked for, and nothing else.
    bundle.publish(1, &name, "1.1.0", "").await;
    bundle
        .ok(&app, &["update", "--all", "--verbose"])
        .await
        .says(&format!("Installing {name} 1.1.0"))
        .says("HTTP 206 Partial Content");
    let lock = String::from_utf8(bundle.read("app/Gemfile.lock")).unwrap();
    assert!(lock.contains(&format!("{name} (1.1.0)")), "{lock}");

    for version in ["1.2.0", "2.0.0.rc1"] {
        bundle.publish(2, &name, version, "").await;
    }
    let outdated = ["outdated", "--parseable"];
    bundle
        .fails(
            &app,
            &outdated,
            FAILED,
            &[&format!("{name} (newest 1.2.0, installed 1.1.0")],
        )
        .await;

    // A yanked version is not taken into new bundles.
    let yank = ["-X", "DELETE", "-d", &format!("gem_name={name}&version=1.2.0")];
    bundle
        .curl("api/v1/gems/yank", &bundle.cluster.token, &yank)
        .await
        .says("200");
    bundle.gemfile("other", &url, &format!("gem '{name}'"));
    bundle
        .ok(&bundle.folder("other"), &["lock", "--print"])
        .await
        .says(&format!("{name} (1.1.0)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bundler_is_told_when_nothing_was_added() {
    let bundle = Desk::with("bundle").await;
    let (cluster, name) = (bundle.cluster, unique("alone").replace('-', "_"));
    // Nobody else pushes to a project of its own.
    let new = serde_json::json!({"name": name, "path": name, "namespace_id": 1});
    let made = cluster.ask(
        reqwest::Method::POST,
        "/api/v4/projects",
        &cluster.root,
        Some(new),
    );
    let of = format!("projects/{}", made.await["id"]);
    let source = bundle.source(2, &of, &cluster.root);
    let url = plain(&source, &cluster.root);
    let file = bundle.build(&name, "1.0.0", "").await;
    let gem = Client::of_system("gem").with("GEM_HOST_API_KEY", &cluster.root);
    let push = ["push", &file, "--host", url.trim_end_matches('/')];
    gem.ok(bundle.home(), &push).await;
    bundle.gemfile("app", &source, &format!("gem '{name}'"));
    let app = bundle.folder("app");
    bundle.ok(&app, &["install"]).await;
    bundle
        .ok(&app, &["lock", "--update", "--verbose"])
        .await
        .says("HTTP 304 Not Modified");
}

#[tokio::test(flavor = "multi_thread")]
async fn bundler_reads_the_gems_of_a_group() {
    let bundle = Desk::with("bundle").await;
    let name = unique("grouped").replace('-', "_");
    bundle.publish(0, &name, "1.0.0", "").await;
    let source = bundle.source(1, "groups/acme/-", &bundle.cluster.root);
    // The URL itself may sign in as well.
    bundle.gemfile("app", &source, &format!("gem '{name}'"));
    bundle
        .ok(&bundle.folder("app"), &["install"])
        .await
        .says(&format!("Installing {name} 1.0.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bundler_says_why_it_was_refused() {
    let bundle = Desk::with("bundle").await;
    let source = bundle.source(0, "projects/1", &bundle.read);
    let url = plain(&source, &bundle.read);
    bundle.gemfile("app", &url, "gem 'nothing_like_it'");
    let app = bundle.folder("app");
    let run = bundle.run(&app, &["install"]).await;
    run.says("Authentication is required");
    assert_ne!(run.code, Some(0), "{run}");
    let wrong = format!("__token__:{WRONG_TOKEN}");
    bundle
        .ok(&app, &["config", "set", "--global", &url, &wrong])
        .await;
    let run = bundle.run(&app, &["install"]).await;
    run.says("Bad username or password");
    assert_ne!(run.code, Some(0), "{run}");
    let right = format!("__token__:{}", bundle.read);
    bundle
        .ok(&app, &["config", "set", "--global", &url, &right])
        .await;
    let run = bundle.run(&app, &["install"]).await;
    run.says("Could not find gem 'nothing_like_it'");
    assert_ne!(run.code, Some(0), "{run}");
}

/// Has Bundler take no compact index, as versions before 1.12 do.
const WITHOUT_COMPACT_INDEX: &str = "\
require 'bundler'
require 'bundler/fetcher'
Bundler::Fetcher::CompactIndex.class_eval { define_method(:available?) { false } }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_installed_by_the_dependency_api() {
    let bundle = Desk::with("bundle").await;
    let name = unique("asked").replace('-', "_");
    let base = format!("{name}_base");
    bundle.publish(0, &base, "1.0.0", "").await;
    for version in ["1.0.0", "1.1.0"] {
        bundle
            .publish(
                1,
                &name,
                version,
                &format!("s.add_dependency '{base}', '>= 0.9', '< 2'"),
            )
            .await;
    }
    let source = bundle.source(2, "projects/1", &bundle.read);
    let url = plain(&source, &bundle.read);
    bundle.gemfile("app", &url, &format!("gem '{name}', '~> 1.0'"));
    bundle.write("old.rb", WITHOUT_COMPACT_INDEX);
    let old = format!("-r{}", bundle.home().join("old.rb").display());
    let old = at_home(Client::of_system("bundle")).with("RUBYOPT", old);
    let app = bundle.folder("app");
    let signed_in = format!("__token__:{}", bundle.read);
    old.ok(&app, &["config", "set", "--global", &url, &signed_in])
        .await;
    let ran = old.ok(&app, &["install", "--verbose"]).await;
    ran.says("Query Gemcutter Dependency Endpoint API")
        .says(&format!("Installing {name} 1.1.0"))
        .says(&format!("Installing {base} 1.0.0"));
    assert!(
        !ran.to_string()
            .contains("could not fetch from the dependency API"),
        "{ran}"
    );
}
