//! `/metrics`, `/healthz` and `/readyz` over plain HTTP/1.1, on a listener of their own.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

use super::Metrics;
use crate::{config::MetricsConfig, limits};

/// The running metrics listener; it ends when this is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl MetricsServer {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Binds the address of `config` and answers there until the returned value is dropped.
///
/// It outlives the drain of the main listener, so that `/readyz` can say `draining`.
///
/// # Errors
///
/// The operating system's error if the address can't be bound.
pub async fn serve(config: &MetricsConfig, metrics: Arc<Metrics>) -> io::Result<MetricsServer> {
    let listener = TcpListener::bind(config.address).await?;
    let address = listener.local_addr()?;
    let app = app(metrics);
    let task = tokio::spawn(run(listener, app));
    Ok(MetricsServer { address, task })
}

fn app(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/metrics", get(encode))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(metrics)
}

async fn encode(State(metrics): State<Arc<Metrics>>) -> Response {
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, form)], metrics.encode()).into_response()
}

async fn ready(State(metrics): State<Arc<Metrics>>) -> Response {
    let missing = metrics.readiness().missing();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready: {}\n", missing.join(", ")),
    )
        .into_response()
}

async fn run(listener: TcpListener, app: Router) {
    let places = Arc::new(Semaphore::new(limits::METRICS_CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "metrics listener can't accept");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Beyond the bound: closed at once, so that nobody waits for a scrape that never comes.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let _place = place;
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits::METRICS_TIMEOUT)
                .max_headers(limits::HEADERS)
                .max_buf_size(limits::HEAD_BYTES)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away or sends garbage concerns nobody.
            let _ = tokio::time::timeout(limits::METRICS_TIMEOUT, connection).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;

    async fn get(app: &Router, path: &str) -> (StatusCode, String) {
        let request = axum::extract::Request::get(path)
            .body(axum::body::Body::empty())
            .unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing_and_health_does_not_care() {
        let metrics = Metrics::new("x");
        let app = app(Arc::clone(&metrics));
        let audit = metrics.readiness().condition("audit");
        assert_eq!(
            get(&app, "/readyz").await,
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: audit\n".to_owned()
            )
        );
        assert_eq!(
            get(&app, "/healthz").await,
            (StatusCode::OK, "ok\n".to_owned())
        );
        audit.set(true);
        assert_eq!(
            get(&app, "/readyz").await,
            (StatusCode::OK, "ready\n".to_owned())
        );
        let (status, text) = get(&app, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(
            text.contains("# TYPE blindfold_audit_failures counter"),
            "{text}"
        );
        assert_eq!(get(&app, "/other").await.0, StatusCode::NOT_FOUND);
    }
}
