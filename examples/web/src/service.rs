//! What is served, and what a client is told when it is not.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use formicary::{CancelToken, Fair, Pool, SubmitErrorKind, TenantStats};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::primes;

/// In seconds. Longer than the queue takes, which is as long as `--queue` tasks are.
const RETRY_IN: &str = "1";

#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) pool: Arc<Pool<Fair>>,
    pub(crate) deadline: Duration,
    pub(crate) per_client: usize,
    pub(crate) draining: CancelToken,
    pub(crate) prometheus: PrometheusHandle,
}

impl Service {
    pub(crate) fn routes(self) -> Router {
        Router::new()
            .route("/primes/{below}", get(count))
            .route("/metrics", get(|State(service): State<Service>| async move { service.prometheus.render() }))
            .route("/ready", get(ready))
            .with_state(self)
    }

    /// Why there is no room: because of this client, or of all.
    fn refusal(&self, client: &str) -> Response {
        let client = Some(client.into());
        let waits = |tenant: &TenantStats| tenant.tenant == client && tenant.queued >= self.per_client;
        if self.pool.tenants().iter().any(waits) {
            later(StatusCode::TOO_MANY_REQUESTS, "too many requests of yours wait")
        } else {
            later(StatusCode::SERVICE_UNAVAILABLE, "too many requests wait")
        }
    }
}

fn later(status: StatusCode, why: &'static str) -> Response {
    (status, [(RETRY_AFTER, RETRY_IN)], why).into_response()
}

async fn ready(State(service): State<Service>) -> Response {
    if service.draining.is_cancelled() {
        return later(StatusCode::SERVICE_UNAVAILABLE, "about to end");
    }
    "ready".into_response()
}

async fn count(State(service): State<Service>, Path(below): Path<u64>, headers: HeaderMap) -> Response {
    let client = headers.get("x-client").and_then(|name| name.to_str().ok()).unwrap_or("anybody").to_owned();
    // The server drops this future, and with it the guard, when the client has left.
    let token = CancelToken::new();
    let _leaving = token.clone().drop_guard();
    let tasks = service.pool.with().tenant(client.as_str()).timeout(service.deadline).token(&token);
    // One that starts late would take the time of those that can still be done.
    let tasks = tasks.max_queue_time(service.deadline / 2);
    // Never waits for room: a client that is told to come again can do better than one that hangs.
    let handle = match tasks.try_spawn(move || primes::count(below)) {
        Ok(handle) => handle,
        Err(refusal) if refusal.kind() == SubmitErrorKind::Full => return service.refusal(&client),
        Err(_closed) => return later(StatusCode::SERVICE_UNAVAILABLE, "about to end"),
    };
    match handle.await {
        Ok(Some(count)) => format!("{count}\n").into_response(),
        Ok(None) => later(StatusCode::SERVICE_UNAVAILABLE, "stopped: out of time"),
        Err(error) if error.is_panic() => (StatusCode::INTERNAL_SERVER_ERROR, "a fault of ours").into_response(),
        Err(_never_started) => later(StatusCode::SERVICE_UNAVAILABLE, "not started in time"),
    }
}
