//! Tokens that are made, used and revoked.

use anyhow::Context as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// A token of the administrator, to be revoked.
pub struct Token {
    id: u64,
    secret: String,
}

/// Makes a token through a node.
pub async fn make(cluster: &Cluster, node: usize) -> anyhow::Result<Token> {
    let user = cluster.url(node).to_owned() + "/api/v4/user";
    let user = cluster.http().expect(Method::GET, &user, StatusCode::OK).await?;
    let user: Value = serde_json::from_slice(&user.body)?;
    let url = format!(
        "{}/api/v4/users/{}/personal_access_tokens",
        cluster.url(node),
        user["id"]
    );
    let request = cluster.http().request(Method::POST, &url);
    let request = request.json(&json!({ "name": "chaos", "scopes": ["api"] }));
    let made = cluster.http().expect_of(request, StatusCode::CREATED).await?;
    let made: Value = serde_json::from_slice(&made.body)?;
    Ok(Token {
        id: made["id"].as_u64().context("a token without an id")?,
        secret: made["token"]
            .as_str()
            .context("a token without a secret")?
            .to_owned(),
    })
}

/// What a node answers to a token; nothing if it does not answer.
pub async fn try_out(cluster: &Cluster, node: usize, token: &Token) -> Option<StatusCode> {
    let url = format!("{}/api/v4/projects/1/packages", cluster.url(node));
    let request = cluster.http().client.get(url).bearer_auth(&token.secret);
    let answer = cluster.http().send(request).await;
    answer.map(|answer| answer.status)
}

/// Revokes a token through a node. Says whether that was acknowledged.
pub async fn revoke(cluster: &Cluster, node: usize, token: &Token) -> bool {
    let url = format!("{}/api/v4/personal_access_tokens/{}", cluster.url(node), token.id);
    let request = cluster.http().request(Method::DELETE, &url);
    let answer = cluster.http().send(request).await;
    answer.is_some_and(|answer| answer.status == StatusCode::NO_CONTENT)
}
