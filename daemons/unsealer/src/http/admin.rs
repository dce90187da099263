//! The administration API over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use identity::Principal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use service::listener::Peer;
use zeroize::{Zeroize, Zeroizing};

use super::{has_type, refuse};
use crate::admin::{self, AdminError, Caller, ImportKey, Operation};
use crate::engine::Engine;
use crate::limits::{MAX_ADMIN_BODY_BYTES, MAX_KEY_FILE_BYTES};
use crate::wire::{self, ErrorCode, JSON_CONTENT_TYPE, KEY_FILE_CONTENT_TYPE, path};

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route(path::CREATE_TENANT, operation::<wire::CreateTenant>())
        .route(path::SET_ADMISSION, operation::<wire::SetAdmission>())
        .route(path::GET_TENANT, operation::<wire::GetTenant>())
        .route(path::LIST_TENANTS, operation::<wire::ListTenants>())
        .route(path::GENERATE_KEY, operation::<wire::GenerateKey>())
        .route(path::IMPORT_KEY, post(import_key))
        .route(path::SET_KEY_STATE, operation::<wire::SetKeyState>())
        .route(path::LIST_KEYS, operation::<wire::ListKeys>())
        .route(path::PUT_POLICY, operation::<wire::PutPolicy>())
        .route(path::GET_POLICY, operation::<wire::GetPolicy>())
        .route(path::LIST_POLICIES, operation::<wire::ListPolicies>())
        .route(path::POLICY_HISTORY, operation::<wire::PolicyHistory>())
        .route(path::REMOVE_POLICY, operation::<wire::RemovePolicy>())
        .route(
            path::REGISTER_DOCUMENT,
            operation::<wire::RegisterDocument>(),
        )
        .route(path::GET_DOCUMENT, operation::<wire::GetDocument>())
        .route(path::LIST_DOCUMENTS, operation::<wire::ListDocuments>())
        .route(path::REMOVE_DOCUMENT, operation::<wire::RemoveDocument>())
        .route(path::DENY_DIGEST, operation::<wire::DenyDigest>())
        .route(path::LIST_DENIED, operation::<wire::ListDenied>())
        .route(path::ALLOW_DIGEST, operation::<wire::AllowDigest>())
}

fn operation<O: Operation + DeserializeOwned>() -> MethodRouter<Arc<Engine>> {
    post(
        async |State(engine): State<Arc<Engine>>,
               Peer(principal): Peer,
               headers: HeaderMap,
               body: Bytes| {
            match read::<O>(&headers, &body) {
                Ok(operation) => authorized(engine, &principal, operation).await,
                Err(error) => refused::<O>(&engine, &principal, &error).await,
            }
        },
    )
}

/// Reads a JSON request.
fn read<O: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<O, AdminError> {
    check_body(headers, JSON_CONTENT_TYPE, body.len(), MAX_ADMIN_BODY_BYTES)?;
    serde_json::from_slice(body).map_err(|error| AdminError::bad_request(describe(&error)))
}

/// Where the JSON is wrong. Nothing of serde's text, which may repeat what was sent, and that may be a secret.
fn describe(error: &serde_json::Error) -> String {
    let place = format!("line {} column {}", error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Data => format!(
            "the body is JSON, but not that of this request ({place}): see the API reference"
        ),
        _ => format!("the body is not JSON ({place}): send one JSON object"),
    }
}

fn check_body(
    headers: &HeaderMap,
    content_type: &str,
    length: usize,
    limit: usize,
) -> Result<(), AdminError> {
    if !has_type(headers, content_type) {
        let message = format!("send the body as {content_type}");
        return Err(AdminError::new(ErrorCode::UnsupportedMediaType, message));
    }
    if length > limit {
        let message = format!("the body has more than {limit} bytes");
        return Err(AdminError::new(ErrorCode::TooLarge, message));
    }
    Ok(())
}

async fn import_key(
    State(engine): State<Arc<Engine>>,
    Peer(principal): Peer,
    evaluations: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let checked = check_body(
        &headers,
        KEY_FILE_CONTENT_TYPE,
        body.len(),
        MAX_KEY_FILE_BYTES,
    );
    let file = Zeroizing::new(body.to_vec());
    // The listener's buffer is wiped where nobody else holds it; what TLS and HTTP copied on the
    // way is not.
    if let Ok(mut buffer) = body.try_into_mut() {
        buffer.as_mut().zeroize();
    }
    // One answer for every path that holds no number, whatever else is wrong with it.
    let evaluations = evaluations
        .ok()
        .and_then(|Path(evaluations)| evaluations.parse::<u64>().ok())
        .ok_or_else(|| {
            AdminError::bad_request(
                "the last part of the path is the number of evaluations already made",
            )
        });
    match checked.and(evaluations) {
        Ok(evaluations) => authorized(engine, &principal, ImportKey { file, evaluations }).await,
        Err(error) => refused::<ImportKey>(&engine, &principal, &error).await,
    }
}

/// Does what the administration policy lets the caller do.
async fn authorized<O: Operation>(
    engine: Arc<Engine>,
    principal: &Principal,
    operation: O,
) -> Response {
    if !engine.is_trusted() {
        let stale = AdminError::new(
            ErrorCode::Internal,
            "the unsealer's trust bundle or document is out of date: see that it reaches the identity authority",
        );
        return refused::<O>(&engine, principal, &stale).await;
    }
    match admin::perform(&engine, Caller::Peer(principal), operation).await {
        Ok(reply) => json(StatusCode::OK, &reply),
        Err(failed) => error(&failed),
    }
}

/// Answers a request that could not be read.
async fn refused<O: Operation>(
    engine: &Engine,
    principal: &Principal,
    why: &AdminError,
) -> Response {
    refuse(engine, principal, O::ACTION, why.name(), &why.to_string()).await;
    error(why)
}

fn error(error: &AdminError) -> Response {
    let status = match error.code() {
        ErrorCode::Denied => StatusCode::FORBIDDEN,
        ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Conflict | ErrorCode::LimitReached => StatusCode::CONFLICT,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    };
    json(status, &error.body())
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let headers = [
        (header::CONTENT_TYPE, JSON_CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-store"),
    ];
    match serde_json::to_vec(body) {
        Ok(bytes) => (status, headers, bytes).into_response(),
        // Maps with text keys always serialize.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
