//! The way of every request: what it must pass, the answers that are in memory, its route; with
//! what an operator sees of it around.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tower::{Service, ServiceExt as _};

use crate::app::App;
use crate::http::answers::Answers;
use crate::http::{guard, observe, router};
use crate::registry::audit::Trail;

/// Answers requests. Cheap to clone.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    app: App,
    answers: Answers,
    routes: Router,
}

impl Front {
    /// The front of a node.
    pub fn new(app: App) -> Self {
        Self(Arc::new(Inner {
            answers: Answers::new(),
            routes: router::routes(&app).with_state(app.clone()),
            app,
        }))
    }

    #[cfg(test)]
    pub(crate) fn answers(&self) -> &Answers {
        &self.0.answers
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request) -> Response {
        let Inner { app, answers, routes } = &*self.0;
        observe::observe(request, async |request| {
            let (mut request, address) = match guard::pass(app, request) {
                Ok(passed) => passed,
                Err(refused) => return refused.into_response(),
            };
            let turn = app.rates().begin(&mut request, address);
            let route = async |request| match routes.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let route = async |mut request: Request| {
                let id = request.extensions().get();
                let trail = Trail::begin(request.method(), request.uri(), id);
                request.extensions_mut().insert(trail.clone());
                let response = observe::routed(request, route).await;
                app.denials().look(&trail, response.status(), app.store().now());
                response
            };
            let mut response = answers.answer(app, request, route).await;
            if let Some(address) = address {
                // For the log line.
                response.extensions_mut().insert(address);
            }
            if let Some(turn) = turn {
                turn.tell(app.store().now(), response.headers_mut());
            }
            response
        })
        .await
    }
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let front = self.clone();
        async move { Ok(front.answer(request).await) }.boxed()
    }
}
