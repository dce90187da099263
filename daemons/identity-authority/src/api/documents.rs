//! Handlers of joining, attesting and renewing.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use identity::wire::{
    AttestRequest, CONTENT_TYPE, ChallengeRequest, DocumentResponse, JoinRequest, ReissueRequest,
    RenewRequest,
};
use serde::de::DeserializeOwned;
use service::audit::AuditContext;
use service::listener::{MaybePeer, PeerAddress};

use super::input::{self, Payload};
use crate::authority::Inner;
use crate::call::{Call, Recorded};
use crate::documents::{Asker, CHALLENGE};
use crate::local::LocalPeer;
use crate::refusal::Refusal;
use crate::rules::{JOIN, RENEW};

/// Where the connection comes from, as the listener told.
type Address = Option<Extension<PeerAddress>>;
type Local = Option<Extension<LocalPeer>>;

/// `POST /v1/join`.
pub(super) async fn join(
    State(inner): State<Arc<Inner>>,
    address: Address,
    headers: HeaderMap,
    body: Payload,
) -> Result<Response, Recorded> {
    let (asker, request) =
        admit::<JoinRequest>(&inner, JOIN, (address, None), &headers, body).await?;
    inner.documents.join(&request, &asker).await.map(answer)
}

/// `POST /v1/reissue`.
pub(super) async fn reissue(
    State(inner): State<Arc<Inner>>,
    address: Address,
    headers: HeaderMap,
    body: Payload,
) -> Result<Response, Recorded> {
    let (asker, request) =
        admit::<ReissueRequest>(&inner, RENEW, (address, None), &headers, body).await?;
    inner
        .documents
        .reissue(&request, asker.context())
        .await
        .map(answer)
}

/// `POST /v1/attest`, on the network and on the Unix socket.
pub(super) async fn attest(
    State(inner): State<Arc<Inner>>,
    address: Address,
    local: Local,
    headers: HeaderMap,
    body: Payload,
) -> Result<Response, Recorded> {
    let (asker, request) =
        admit::<AttestRequest>(&inner, JOIN, (address, local), &headers, body).await?;
    inner
        .documents
        .attest(&inner.root_key, request, &asker)
        .await
        .map(answer)
}

/// `POST /v1/challenge`.
pub(super) async fn challenge(
    State(inner): State<Arc<Inner>>,
    address: Address,
    local: Local,
    headers: HeaderMap,
    body: Payload,
) -> Result<Response, Recorded> {
    let (asker, request) =
        admit::<ChallengeRequest>(&inner, CHALLENGE, (address, local), &headers, body).await?;
    let challenge = inner
        .documents
        .challenge(&inner.root_key, &request, &asker)
        .await?;
    // Texts always serialize.
    Ok(json_response(
        serde_json::to_vec(&challenge).unwrap_or_default(),
    ))
}

/// Who asks and what, once the rate of where it comes from has room.
async fn admit<T: DeserializeOwned>(
    inner: &Inner,
    action: &'static str,
    (address, local): (Address, Local),
    headers: &HeaderMap,
    body: Payload,
) -> Result<(Asker, T), Recorded> {
    let asker = match (local, address) {
        (Some(Extension(LocalPeer(peer))), _) => Asker::Process(peer),
        (None, Some(Extension(PeerAddress(address)))) => Asker::Address(address.ip()),
        // Only a router without a listener gets here.
        (None, None) => Asker::Unknown,
    };
    let request = inner
        .documents
        .admit_asker(&asker)
        .and_then(|()| input::json::<T>(headers, body));
    match request {
        Ok(request) => Ok((asker, request)),
        Err(refusal) => {
            let call = Call::new(action, "", asker.context());
            Err(inner.admission.refuse(None, &call, refusal).await)
        }
    }
}

/// `POST /v1/renew`.
pub(super) async fn renew(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
    address: Address,
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
