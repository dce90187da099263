//! HTTP: which bytes reach which operation, and how answers leave.
//!
//! | status | body | when |
//! |---|---|---|
//! | 200 | JSON, see [`kms_client::wire`] | the request was done; items may have failed |
//! | 4xx, 5xx | JSON, [`kms_client::wire::ErrorBody`] | the request was refused as a whole |
//! | 404, 405 | empty | no such path; everything is `POST` |
//!
//! The listener answers before any of this: see `service::listener`.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use kms_client::{
    Operation,
    wire::{self, ErrorCode, path},
};
use serde::Serialize;
use service::{
    audit::AuditContext,
    listener::{Peer, Streams},
};
use zeroize::Zeroize;

mod admin;

use crate::{
    call::Call,
    engine::Engine,
    limits::{MAX_STREAM_BYTES, MAX_STREAM_TIME},
    operations::Item,
    refusal::Refusal,
    streams, wiped,
};

/// Type of every body.
pub(crate) const JSON: &str = "application/json";

/// All routes of the daemon.
pub(crate) fn app(engine: Arc<Engine>) -> Router {
    Router::new()
        .route(path::OPERATION, post(operation))
        .route(path::RANDOM, post(random))
        .route(path::WATCH, post(watch))
        .route(path::STREAM, post(stream))
        .merge(admin::routes())
        .fallback(async || StatusCode::NOT_FOUND)
        .method_not_allowed_fallback(async || StatusCode::METHOD_NOT_ALLOWED)
        .with_state(engine)
}

async fn operation(
    State(engine): State<Arc<Engine>>,
    Peer(principal): Peer,
    segments: Result<Path<(String, String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let call = Call::new(&engine, &principal);
    let Ok(Path((tenant, key, last))) = segments else {
        return unknown_path(&call).await;
    };
    if let Err(refused) = check_type(&call, &headers).await {
        return refused;
    }
    let body = Request(body);
    let (at, body) = ((tenant.as_str(), key.as_str()), body.bytes());
    match last.as_str() {
        "re-encrypt" => answer(call.re_encrypt(at, body).await),
        "fetch-key" => answer(call.fetch_key(at, body).await),
        last => match last.parse::<Operation>() {
            Ok(operation) => operate(&call, operation, at, body).await,
            Err(_) => unknown_path(&call).await,
        },
    }
}

async fn operate(call: &Call<'_>, operation: Operation, at: (&str, &str), body: &[u8]) -> Response {
    async fn as_items<I: Item>(
        call: &Call<'_>,
        operation: Operation,
        at: (&str, &str),
        body: &[u8],
    ) -> Response {
        answer(call.operate::<I>(operation, at, body).await)
    }
    match operation {
        Operation::Encrypt => as_items::<wire::Encrypt>(call, operation, at, body).await,
        Operation::Decrypt => as_items::<wire::Decrypt>(call, operation, at, body).await,
        Operation::Hmac => as_items::<wire::Hmac>(call, operation, at, body).await,
        Operation::HmacVerify => as_items::<wire::HmacVerify>(call, operation, at, body).await,
        Operation::Sign => as_items::<wire::Sign>(call, operation, at, body).await,
        Operation::Verify => as_items::<wire::Verify>(call, operation, at, body).await,
        Operation::GenerateDataKey | Operation::GenerateDataKeyWithoutPlaintext => {
            as_items::<wire::GenerateDataKey>(call, operation, at, body).await
        }
        Operation::PublicKey => as_items::<wire::PublicKeyItem>(call, operation, at, body).await,
        // These have paths of their own.
        Operation::ReEncryptFrom
        | Operation::ReEncryptTo
        | Operation::Random
        | Operation::FetchKey => unknown_path(call).await,
    }
}

/// Which requests reach their handlers as they arrive.
pub(crate) fn streams() -> Streams {
    Streams {
        is_streamed: |uri| uri.path().starts_with(path::STREAMS),
        bytes: MAX_STREAM_BYTES,
        time: MAX_STREAM_TIME,
    }
}

async fn stream(
    State(engine): State<Arc<Engine>>,
    Peer(principal): Peer,
    segments: Result<Path<(String, String, String)>, PathRejection>,
    headers: HeaderMap,
    mut body: Body,
) -> Response {
    let call = Call::new(&engine, &principal);
    let response = match segments {
        Ok(Path(segments)) => streamed(&call, &segments, &headers, &mut body).await,
        Err(_) => unknown_path(&call).await,
    };
    if response.status() != StatusCode::OK {
        streams::discard(&mut body).await;
    }
    response
}

async fn streamed(
    call: &Call<'_>,
    (tenant, key, last): &(String, String, String),
    headers: &HeaderMap,
    body: &mut Body,
) -> Response {
    let aad = match streams::aad_of(headers) {
        Ok(aad) => aad,
        Err(refusal) => return refuse(call, refusal).await,
    };
    let at = (tenant.as_str(), key.as_str());
    let answered = match last.parse::<Operation>() {
        Ok(Operation::Encrypt) => call.encrypt_stream(at, aad, body).await,
        Ok(Operation::Decrypt) => call.decrypt_stream(at, aad, body).await,
        Ok(Operation::Hmac) => return answer(call.hmac_stream(at, body).await),
        Ok(Operation::Sign) => return answer(call.sign_stream(at, body).await),
        _ => return unknown_path(call).await,
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

async fn random(
    State(engine): State<Arc<Engine>>,
    Peer(principal): Peer,
    tenant: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let call = Call::new(&engine, &principal);
    let Ok(Path(tenant)) = tenant else {
        return unknown_path(&call).await;
    };
    if let Err(refused) = check_type(&call, &headers).await {
        return refused;
    }
    answer(call.random(&tenant, &body).await)
}

async fn watch(
    State(engine): State<Arc<Engine>>,
    Peer(principal): Peer,
    tenant: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let call = Call::new(&engine, &principal);
    let Ok(Path(tenant)) = tenant else {
        return unknown_path(&call).await;
    };
    if let Err(refused) = check_type(&call, &headers).await {
        return refused;
    }
    answer(call.watch(&tenant, &body).await)
}

/// A request's body, which is wiped where nobody else holds it; what TLS and HTTP copied on the way is not.
struct Request(Bytes);

impl Request {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Ok(mut buffer) = std::mem::take(&mut self.0).try_into_mut() {
            buffer.as_mut().zeroize();
        }
    }
}

async fn check_type(call: &Call<'_>, headers: &HeaderMap) -> Result<(), Response> {
    if has_type(headers, JSON) {
        return Ok(());
    }
    let refusal = Refusal::bad_request("send the body as application/json");
    Err(refuse(call, refusal).await)
}

async fn unknown_path(call: &Call<'_>) -> Response {
    let refusal = Refusal::new(
        ErrorCode::BadRequest,
        "there is no such operation: see the API reference",
    );
    refuse(call, refusal).await
}

async fn refuse(call: &Call<'_>, refusal: Refusal) -> Response {
    let context = AuditContext::new();
    call.refuse("POST", "kms", refusal, context)
        .await
        .into_response()
}

/// Whether the request says exactly once that its body is of this type.
pub(crate) fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.as_bytes().eq_ignore_ascii_case(wanted.as_bytes()),
        _ => false,
    }
}

fn answer<T: Serialize>(result: Result<T, Refusal>) -> Response {
    match result {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(refusal) => refusal.into_response(),
    }
}

/// A JSON answer that nobody keeps.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Wiped here, also where it grows, but not where HTTP and TLS hold it.
    let bytes = match wiped::to_json(body) {
        Ok(bytes) => bytes,
        // Structures with text keys always serialize.
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    let mut response = Response::new(Body::from(Bytes::from_owner(bytes)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
