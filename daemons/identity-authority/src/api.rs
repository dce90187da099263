//! The HTTP API: from a whole request to a recorded answer.
//!
//! | request | who |
//! |---|---|
//! | `GET /v1/bundle` | anybody |
//! | `POST /v1/join` | whoever has a join token |
//! | `POST /v1/renew` | mTLS |
//! | `GET`, `POST /v1/admin/sites` | mTLS, administration policy |
//! | `PUT /v1/admin/sites/{name}` | mTLS, administration policy |
//! | `POST /v1/admin/sites/{name}/disable`, `…/enable` | mTLS, administration policy |
//! | `POST /v1/admin/tokens` | mTLS, administration policy |
//!
//! Bodies are [`identity::wire`]'s. Every refusal has its JSON, and is in the audit log before it is answered.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use identity::limits::MAX_WIRE_REQUEST_BYTES;
use identity::wire::{
    BUNDLE_PATH, CONTENT_TYPE, ErrorCode, JOIN_PATH, RENEW_PATH, SITES_PATH, TOKENS_PATH,
};
use service::listener::MaybePeer;

use crate::authority::Inner;
use crate::call::{Call, Recorded};
use crate::refusal::Refusal;

mod admin;
mod documents;
mod input;

/// All routes.
pub(crate) fn app(inner: Arc<Inner>) -> Router {
    let site = format!("{SITES_PATH}/{{name}}");
    Router::new()
        .route(BUNDLE_PATH, get(bundle))
        .route(JOIN_PATH, post(documents::join))
        .route(RENEW_PATH, post(documents::renew))
        .route(SITES_PATH, get(admin::list_sites).post(admin::create_site))
        .route(&site, put(admin::replace_rules))
        .route(&format!("{site}/disable"), post(admin::disable_site))
        .route(&format!("{site}/enable"), post(admin::enable_site))
        .route(TOKENS_PATH, post(admin::create_token))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_WIRE_REQUEST_BYTES))
        .with_state(inner)
}

impl IntoResponse for Recorded {
    fn into_response(self) -> Response {
        self.into_refusal().into_response()
    }
}

/// The trust bundle; `304` for whoever has this one already. Public, as the certificates in it are.
async fn bundle(State(inner): State<Arc<Inner>>, headers: HeaderMap) -> Response {
    let snapshot = inner.registry.snapshot();
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .any(|value| names(value, &snapshot.etag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(Body::from(snapshot.bundle_json.clone()));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        response
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&snapshot.etag) {
        headers.insert(header::ETAG, etag);
    }
    // Its age is what switching a site off depends on: whoever keeps it asks again each time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// RFC 9110, section 13.1.2: a list of validators, compared weakly, or `*`.
fn names(value: &HeaderValue, etag: &str) -> bool {
    value.to_str().is_ok_and(|list| {
        list.split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
    })
}

async fn not_found(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
    method: Method,
    uri: Uri,
) -> Recorded {
    let refusal = Refusal::bad_request(
        "NOT_FOUND",
        "no such path; see the API reference for those there are",
    )
    .with_code(ErrorCode::NotFound);
    let call = Call::new(
        static_name(&method),
        uri.path(),
        service::audit::AuditContext::new(),
    );
    inner
        .admission
        .refuse(peer.as_deref(), &call, refusal)
        .await
}

async fn wrong_method(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
    method: Method,
    uri: Uri,
) -> Response {
    let refusal = Refusal::bad_request(
        "METHOD",
        "this path has other methods, named in the header Allow",
    );
    let call = Call::new(
        static_name(&method),
        uri.path(),
        service::audit::AuditContext::new(),
    );
    let mut response = inner
        .admission
        .refuse(peer.as_deref(), &call, refusal)
        .await
        .into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// The method's name for a record; methods that nobody registered are all the same.
fn static_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "another method",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validators_are_compared_weakly_in_lists() {
        let etag = "\"acme.example-7\"";
        for value in [
            "\"acme.example-7\"",
            "W/\"acme.example-7\"",
            "\"x\", \"acme.example-7\"",
            "*",
        ] {
            assert!(
                names(&HeaderValue::from_str(value).unwrap(), etag),
                "{value}"
            );
        }
        for value in [
            "\"acme.example-70\"",
            "acme.example-7",
            "",
            "\"x\"",
            "\"ACME.example-7\"",
        ] {
            assert!(
                !names(&HeaderValue::from_str(value).unwrap(), etag),
                "{value}"
            );
        }
        assert!(!names(&HeaderValue::from_bytes(b"\xff").unwrap(), etag));
    }
}
