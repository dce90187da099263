//! Who is asking, as axum extractors.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use identity::Principal;

use crate::{
    audit::AuditContext,
    authorize::{Authorizer, Refused},
    clock,
};

/// The verified peer; a request without one is answered 401 and recorded.
///
/// A [`Principal`] can only come from verification, so a handler that takes this can't be reached by
/// an unauthenticated caller. Tests of a router put a [`MaybePeer`] into the request's extensions.
#[derive(Clone, Debug)]
pub struct Peer(pub Arc<Principal>);

/// The verified peer, if the connection has one.
#[derive(Clone, Debug, Default)]
pub struct MaybePeer(pub Option<Arc<Principal>>);

/// Address of the peer's socket; for logs, never for decisions.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// Answer to a request that needs a verified peer and has none.
#[derive(Clone, Copy, Debug)]
pub struct Unauthenticated;

impl IntoResponse for Unauthenticated {
    fn into_response(self) -> Response {
        // RFC 9110 asks for a challenge with 401; no registered scheme means a client certificate.
        (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "mTLS")],
        )
            .into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Unauthenticated;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Unauthenticated> {
        if let Some(MaybePeer(Some(principal))) = parts.extensions.get() {
            return Ok(Self(Arc::clone(principal)));
        }
        if let Some(authorizer) = parts.extensions.get::<Authorizer>() {
            let refused = Refused {
                principal: None,
                action: parts.method.as_str(),
                resource: parts.uri.path(),
                code: "UNAUTHENTICATED",
                why: "no client certificate",
                context: AuditContext::new(),
            };
            // Refused either way; a failing audit log shows in readiness.
            let _ = authorizer.refuse(refused, clock::now()).await;
        }
        Err(Unauthenticated)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        let MaybePeer(principal) = parts.extensions.get().cloned().unwrap_or_default();
        Ok(principal.map(Self))
    }
}

impl<S: Sync> FromRequestParts<S> for MaybePeer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}
