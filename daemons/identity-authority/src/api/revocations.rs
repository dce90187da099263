//! Handlers of revocations, and of what is known of federations.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use identity::wire::{RevocationList, RevokeRequest};
use service::audit::AuditContext;
use service::listener::MaybePeer;

use super::admin::admit;
use super::documents::json_response;
use super::input::{self, Payload};
use crate::administration::{
    ALL_FEDERATIONS, ALL_REVOCATIONS, Caller, LIST_FEDERATIONS, LIST_REVOCATIONS, REVOKE,
};
use crate::authority::Inner;
use crate::call::{Call, Recorded};
use crate::federation;

/// `POST /v1/admin/revocations`.
pub(super) async fn revoke(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
    headers: HeaderMap,
    body: Payload,
) -> Result<Response, Recorded> {
    let call = Call::new(REVOKE, ALL_REVOCATIONS, AuditContext::new());
    let (peer, request) = admit(&inner, peer, &call, || {
        input::json::<RevokeRequest>(&headers, body)
    })
    .await?;
    let list = inner
        .administration
        .revoke(Caller::Peer(&peer), request)
        .await?;
    Ok(list_response(&list))
}

/// `GET /v1/admin/revocations`.
pub(super) async fn list(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
) -> Result<Response, Recorded> {
    let call = Call::new(LIST_REVOCATIONS, ALL_REVOCATIONS, AuditContext::new());
    let (peer, ()) = admit(&inner, peer, &call, || Ok(())).await?;
    let list = inner
        .administration
        .revocations(Caller::Peer(&peer))
        .await?;
    Ok(list_response(&list))
}

/// `GET /v1/admin/federations`.
pub(super) async fn federations(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
) -> Result<Response, Recorded> {
    let call = Call::new(LIST_FEDERATIONS, ALL_FEDERATIONS, AuditContext::new());
    let (peer, ()) = admit(&inner, peer, &call, || Ok(())).await?;
    let list = federation::list(&inner);
    inner
        .administration
        .note_federations(Caller::Peer(&peer), list.federations.len())
        .await?;
    Ok(json_response(serde_json::to_vec(&list).unwrap_or_default()))
}

fn list_response(list: &RevocationList) -> Response {
    // Names, lists and numbers always serialize.
    json_response(serde_json::to_vec(list).unwrap_or_default())
}
