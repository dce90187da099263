//! HTTP: which bytes reach which operation, and how answers leave.
//!
//! | status | body | when |
//! |---|---|---|
//! | 200 | `PBSR` | every evaluate request that got as far as the protocol, refusals included |
//! | 404 | empty | no such path |
//! | 405 | empty | evaluate and administration are `POST` |
//! | 413 | empty | an evaluate body above 45,378 bytes |
//! | 415 | empty | an evaluate body of another type than `application/pbseal` |
//! | 200, 4xx, 500 | JSON | administration, see [`crate::wire`] |
//!
//! The listener answers before any of this: see `service::listener`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use blindfold_core::limits::MAX_REQUEST_BYTES;
use blindfold_core::{CONTENT_TYPE, PATH};
use identity::Principal;
use service::audit::AuditContext;
use service::authorize::Refused;
use service::listener::Peer;

use crate::engine::Engine;
use crate::evaluate;

mod admin;

/// All routes of the daemon.
pub(crate) fn app(engine: Arc<Engine>) -> Router {
    Router::new()
        .route(PATH, post(answer))
        .merge(admin::routes())
        .fallback(async || StatusCode::NOT_FOUND)
        .method_not_allowed_fallback(async || StatusCode::METHOD_NOT_ALLOWED)
        .with_state(engine)
}

async fn answer(
    State(engine): State<Arc<Engine>>,
    Peer(principal): Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !has_type(&headers, CONTENT_TYPE) {
        let why = "the content type is not application/pbseal";
        refuse(&engine, &principal, PATH, "UNSUPPORTED_MEDIA_TYPE", why).await;
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    if body.len() > MAX_REQUEST_BYTES {
        let why = "the body is larger than any request";
        refuse(&engine, &principal, PATH, "TOO_LARGE", why).await;
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    let response = evaluate::answer(&engine, &principal, &body).await;
    let headers = [
        (header::CONTENT_TYPE, CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, response).into_response()
}

/// Whether the request says exactly once that its body is of this type.
fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.as_bytes().eq_ignore_ascii_case(wanted.as_bytes()),
        _ => false,
    }
}

/// Records a refusal made before the protocol was reached.
async fn refuse(
    engine: &Engine,
    principal: &Principal,
    resource: &str,
    code: &'static str,
    why: &str,
) {
    let refused = Refused {
        principal: Some(principal),
        action: "POST",
        resource,
        code,
        why,
        context: AuditContext::new(),
    };
    // It is refused whether or not that can be recorded; readiness shows a failing audit log.
    if engine
        .authorizer()
        .refuse(refused, engine.now())
        .await
        .is_err()
    {
        tracing::error!(code, "a refusal could not be recorded");
    }
}
