//! Handlers of joining and renewing.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use identity::wire::{CONTENT_TYPE, DocumentResponse, JoinRequest, RenewRequest};
use service::audit::AuditContext;
use service::listener::{MaybePeer, PeerAddress};

use super::input::{self, Payload};
use crate::authority::Inner;
use crate::call::{Call, Recorded};
use crate::refusal::Refusal;
use crate::rules::{JOIN, RENEW};

/// `POST /v1/join`.
pub(super) async fn join(
    State(inner): State<Arc<Inner>>,
    address: Option<Extension<PeerAddress>>,
    headers: HeaderMap,
    body: Payload,
) -> Result<Response, Recorded> {
    let context = source(address.as_deref());
    let counted = match address.as_deref() {
        Some(PeerAddress(address)) => inner.documents.admit_join(address.ip()),
        // Only a router without a listener gets here.
        None => Ok(()),
    };
    let request = counted.and_then(|()| input::json::<JoinRequest>(&headers, body));
    match request {
        Ok(request) => inner.documents.join(&request, context).await.map(answer),
        Err(refusal) => Err(inner
            .admission
            .refuse(None, &Call::new(JOIN, "", context), refusal)
            .await),
    }
}

/// `POST /v1/renew`.
pub(super) async fn renew(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
    address: Option<Extension<PeerAddress>>,
    headers: HeaderMap,
    body: Payload,
) -> Result<Response, Recorded> {
    let context = source(address.as_deref());
    let request = match (&peer, input::json::<RenewRequest>(&headers, body)) {
        (None, _) => Err(Refusal::unauthenticated()),
        (Some(principal), request) => request.map(|request| (principal, request)),
    };
    match request {
        Ok((principal, request)) => inner
            .documents
            .renew(principal, &request, context)
            .await
            .map(answer),
        Err(refusal) => Err(inner
            .admission
            .refuse(peer.as_deref(), &Call::new(RENEW, "", context), refusal)
            .await),
    }
}

fn source(address: Option<&PeerAddress>) -> AuditContext {
    match address {
        Some(PeerAddress(address)) => AuditContext::new().with("address", address.ip().to_string()),
        None => AuditContext::new(),
    }
}

fn answer(document: DocumentResponse) -> Response {
    json_response(serde_json::to_vec(&document).unwrap_or_default())
}

/// An answer that nobody keeps.
pub(super) fn json_response(json: impl Into<Body>) -> Response {
    let mut response = Response::new(json.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
