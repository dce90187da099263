//! The administration API over HTTP.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{MethodRouter, post},
};
use kms_client::wire::admin::{self as wire, path};
use serde::de::DeserializeOwned;
use service::{audit::AuditContext, listener::Peer};

use super::{JSON, Request, has_type, json};
use crate::{
    admin::{self, AdminError, Caller, Operation},
    call::Call,
    engine::Engine,
    limits::{ADMIN_ITEMS, MAX_ADMIN_BODY_BYTES},
    refusal::Refusal,
};

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route(path::CREATE_TENANT, operation::<wire::CreateTenant>())
        .route(path::SET_ADMISSION, operation::<wire::SetAdmission>())
        .route(path::GET_TENANT, operation::<wire::GetTenant>())
        .route(path::LIST_TENANTS, operation::<wire::ListTenants>())
        .route(path::CREATE_KEY, operation::<wire::CreateKey>())
        .route(path::GET_KEY, operation::<wire::GetKey>())
        .route(path::LIST_KEYS, operation::<wire::ListKeys>())
        .route(path::ROTATE_KEY, operation::<wire::RotateKey>())
        .route(path::SET_POLICY, operation::<wire::SetPolicy>())
        .route(path::SET_STATE, operation::<wire::SetState>())
        .route(path::SET_PRIMARY, operation::<wire::SetPrimary>())
        .route(path::SET_SETTINGS, operation::<wire::SetSettings>())
        .route(path::GET_USAGE, operation::<wire::GetUsage>())
        .route(
            path::IMPORT_PARAMETERS,
            operation::<wire::GetImportParameters>(),
        )
        .route(path::IMPORT_KEY, operation::<wire::ImportKey>())
        .route(path::EXPORT_KEY, operation::<wire::ExportKey>())
        .route(path::RESTORE_KEY, operation::<wire::RestoreKey>())
        .layer(DefaultBodyLimit::max(MAX_ADMIN_BODY_BYTES))
}

fn operation<O: Operation + DeserializeOwned>() -> MethodRouter<Arc<Engine>> {
    post(
        async |State(engine): State<Arc<Engine>>,
               Peer(principal): Peer,
               headers: HeaderMap,
               body: Bytes| {
            let call = Call::new(&engine, &principal);
            // Wiped when it is dropped: it may hold wrapped material and a token.
            let body = Request(body);
            if !engine.is_trusted() {
                let stale = "the service's trust bundle or document is out of date: see that it reaches the identity authority";
                return refused::<O>(&call, Refusal::unavailable(stale)).await;
            }
            if let Err(exceeded) = engine.charge(&principal, ADMIN_ITEMS) {
                return refused::<O>(&call, exceeded).await;
            }
            match read::<O>(&headers, body.bytes()) {
                Ok(operation) => {
                    match admin::perform(&engine, Caller::Peer(&principal), operation).await {
                        Ok(reply) => json(StatusCode::OK, &reply),
                        Err(error) => error.into_refusal().into_response(),
                    }
                }
                Err(error) => refused::<O>(&call, error.into_refusal()).await,
            }
        },
    )
}

fn read<O: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<O, AdminError> {
    if !has_type(headers, JSON) {
        return Err(AdminError::bad_request("send the body as application/json"));
    }
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

/// Answers a request that could not be read.
async fn refused<O: Operation>(call: &Call<'_>, refusal: Refusal) -> Response {
    call.refuse(O::ACTION, "kms", refusal, AuditContext::new())
        .await
        .into_response()
}
