//! A real client of GitLab's REST API: `python-gitlab`, which `ops/clients.d/rest` installs.

use crate::testing::client::Client;
use crate::testing::cluster::{cluster, unique};

/// A script that knows nothing of Cairn.
const STORY: &str = include_str!("client/story.py");

#[tokio::test(flavor = "multi_thread")]
async fn python_gitlab_keeps_groups_projects_tokens_packages_and_images_in_order() {
    let cluster = cluster().await;
    let python = Client::kept("rest/python-gitlab/bin/python");
    python.write("story.py", STORY);
    let name = unique("story");
    let urls = [0, 1, 2].map(|node| cluster.url(node));
    let mut arguments = vec!["story.py"];
    arguments.extend(urls.iter().map(String::as_str));
    arguments.extend([cluster.root.as_str(), &name]);
    python.ok(python.home(), &arguments).await;
}
