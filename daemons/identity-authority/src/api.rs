//! The HTTP API: from a whole request to a recorded answer.
//!
//! | request | who |
//! |---|---|
//! | `GET /v1/bundle`, `/v1/bundles`, `/v1/spiffe-bundle` | anybody |
//! | `POST /v1/join` | whoever has a join token |
//! | `POST /v1/challenge` | anybody, within the rates |
//! | `POST /v1/attest` | whoever has evidence |
//! | `POST /v1/renew` | mTLS |
//! | `POST /v1/reissue` | whoever has a document of a revoked issuing certificate |
//! | `GET`, `POST /v1/admin/sites` | mTLS, administration policy |
//! | `PUT /v1/admin/sites/{name}` | mTLS, administration policy |
//! | `POST /v1/admin/sites/{name}/disable`, `…/enable` | mTLS, administration policy |
//! | `POST /v1/admin/tokens` | mTLS, administration policy |
//! | `GET /v1/admin/issuers`, `POST …/rotate` | mTLS, administration policy |
//! | `GET`, `POST /v1/admin/revocations` | mTLS, administration policy |
//! | `GET /v1/admin/federations` | mTLS, administration policy |
//!
//! Bodies are [`identity::wire`]'s. Every refusal has its JSON, and is in the audit log before it is answered.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use identity::limits::MAX_WIRE_REQUEST_BYTES;
use identity::wire::{
    ATTEST_PATH, BUNDLE_PATH, BUNDLES_PATH, CHALLENGE_PATH, ErrorCode, FEDERATIONS_PATH,
    ISSUERS_PATH, JOIN_PATH, REISSUE_PATH, RENEW_PATH, REVOCATIONS_PATH, ROTATE_ISSUER_PATH,
    SITES_PATH, SPIFFE_BUNDLE_PATH, TOKENS_PATH,
};
use service::listener::MaybePeer;

use crate::authority::Inner;
use crate::call::{Call, Recorded};
use crate::refusal::Refusal;

mod admin;
pub(crate) mod bundle;
mod documents;
mod input;
mod issuers;
mod revocations;

/// All routes.
pub(crate) fn app(inner: Arc<Inner>) -> Router {
    let site = format!("{SITES_PATH}/{{name}}");
    Router::new()
        .route(BUNDLE_PATH, get(bundle::bundle))
        .route(BUNDLES_PATH, get(bundle::federated))
        .route(SPIFFE_BUNDLE_PATH, get(bundle::spiffe_bundle))
        .route(
            REVOCATIONS_PATH,
            get(revocations::list).post(revocations::revoke),
        )
        .route(ISSUERS_PATH, get(issuers::list))
        .route(ROTATE_ISSUER_PATH, post(issuers::rotate))
        .route(FEDERATIONS_PATH, get(revocations::federations))
        .route(JOIN_PATH, post(documents::join))
        .route(CHALLENGE_PATH, post(documents::challenge))
        .route(ATTEST_PATH, post(documents::attest))
        .route(RENEW_PATH, post(documents::renew))
        .route(REISSUE_PATH, post(documents::reissue))
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

/// What processes of this host find on the Unix socket.
pub(crate) fn local_app(inner: Arc<Inner>) -> Router {
    Router::new()
        .route(BUNDLE_PATH, get(bundle::bundle))
        .route(CHALLENGE_PATH, post(documents::challenge))
        .route(ATTEST_PATH, post(documents::attest))
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
