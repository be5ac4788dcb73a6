//! From an issuer's word to a token, and what that is good for, by requests.

mod exchanges;
mod id_tokens;
mod rules;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::http::settings::HttpSettings;
use crate::registry::fixture;
use crate::testing::clock::StoppedClock;
use crate::testing::issuer::{Behaviour, LIFETIME, SigningKey, TestIssuer};
use crate::testing::{Answer, TestNode};

const HOST: &str = "cairn.example";
const PROJECT_RULES: &str = "/api/cairn/v1/projects/1/trust_rules";
const GROUP_RULES: &str = "/api/cairn/v1/groups/1/trust_rules";

/// A node, and a service that runs jobs.
struct Ci {
    node: TestNode,
    clock: Arc<StoppedClock>,
    issuer: TestIssuer,
}

impl Ci {
    async fn start() -> Self {
        let settings = HttpSettings {
            issuers: vec!["*".parse().unwrap()],
            ..HttpSettings::default()
        };
        let (node, clock) = StoppedClock::node_with(settings).await;
        Self {
            node,
            clock,
            issuer: TestIssuer::start().await,
        }
    }

    /// The same with a rule for the jobs of `acme/demo`, in project 1.
    async fn with_rule(more: Value) -> (Self, u64) {
        let ci = Self::start().await;
        let id = ci.rule(PROJECT_RULES, more).await;
        (ci, id)
    }

    /// Makes a rule; `more` adds to what it says.
    async fn rule(&self, place: &str, more: Value) -> u64 {
        let mut rule = json!({
            "name": "release",
            "issuer": self.issuer.url(),
            "claims": {"repository": "acme/demo"},
            "scopes": ["read_package_registry", "write_package_registry"],
        });
        rule.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let made = self.node.post(place).by("owner").json(&rule).send().await;
        made.expect(201).json()["id"].as_u64().unwrap()
    }

    /// What is said of a job, with changes.
    fn claims(&self, more: Value) -> Value {
        let mut said = json!({"repository": "acme/demo", "ref": "refs/tags/v1"});
        said.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let now = self.node.app().store().now();
        self.issuer.claims(now, HOST, &said)
    }

    fn id_token(&self, more: Value) -> String {
        self.issuer.sign(&self.claims(more))
    }

    async fn exchange(&self, id_token: &str) -> Answer {
        exchange(&self.node, json!({"token": id_token})).await
    }

    /// A token for a job.
    async fn token(&self) -> String {
        self.token_for(json!({})).await
    }

    /// The same with more said of what it is for.
    async fn token_for(&self, more: Value) -> String {
        let mut fields = json!({"token": self.id_token(json!({}))});
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let made = exchange(&self.node, fields).await.expect(200).json();
        made["access_token"].as_str().unwrap().to_owned()
    }

    async fn put(&self, token: &str, target: &str) -> Answer {
        self.node
            .put(file(target))
            .bearer(token)
            .body("bytes")
            .send()
            .await
    }

    async fn get(&self, token: &str, target: &str) -> Answer {
        self.node.get(file(target)).bearer(token).send().await
    }

    /// Is refused, for this reason.
    async fn refuses(&self, id_token: &str, error: &str, part: &str) {
        let refused = self.exchange(id_token).await.expect(400).json();
        assert_eq!(refused["error"], error, "{refused}");
        let description = refused["error_description"].as_str().unwrap();
        assert!(description.contains(part), "{description} / {part}");
    }
}

/// A file of a generic package, as `project/package`.
fn file(target: &str) -> String {
    let (project, package) = target.split_once('/').unwrap();
    format!("/api/v4/projects/{project}/packages/generic/{package}/1.0/file")
}

async fn exchange(node: &TestNode, fields: Value) -> Answer {
    node.post("/-/oidc/exchange").json(&fields).send().await
}
