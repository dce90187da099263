//! Handlers of issuing CAs.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use identity::wire::{IssuerList, RotateIssuerRequest};
use service::audit::AuditContext;
use service::listener::MaybePeer;

use super::admin::admit;
use super::documents::json_response;
use super::input::{self, Payload};
use crate::administration::{ALL_ISSUERS, Caller, LIST_ISSUERS, ROTATE_ISSUER};
use crate::authority::Inner;
use crate::call::{Call, Recorded};

/// `GET /v1/admin/issuers`.
pub(super) async fn list(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
) -> Result<Response, Recorded> {
    let call = Call::new(LIST_ISSUERS, ALL_ISSUERS, AuditContext::new());
    let (peer, ()) = admit(&inner, peer, &call, || Ok(())).await?;
    let list = inner.administration.issuers(Caller::Peer(&peer)).await?;
    Ok(json_response(issuers_json(&list)))
}

/// `POST /v1/admin/issuers/rotate`.
pub(super) async fn rotate(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
    headers: HeaderMap,
    body: Payload,
) -> Result<Response, Recorded> {
    let call = Call::new(ROTATE_ISSUER, ALL_ISSUERS, AuditContext::new());
    let read = || input::json::<RotateIssuerRequest>(&headers, body);
    let (peer, request) = admit(&inner, peer, &call, read).await?;
    let list = inner
        .administration
        .rotate_issuer(Caller::Peer(&peer), request.revoke_former)
        .await?;
    Ok(json_response(issuers_json(&list)))
}

fn issuers_json(list: &IssuerList) -> Vec<u8> {
    // Names and numbers always serialize.
    serde_json::to_vec(list).unwrap_or_default()
}
