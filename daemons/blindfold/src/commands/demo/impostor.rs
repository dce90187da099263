//! An unsealing authority that was taken over: it proves the right identity, and its evaluation is wrong.
//!
//! It answers every request as its own key would, and says that it used the one that was asked for. Whoever believed
//! it would derive a wrong key at best, and one that the impostor chose at worst.

use std::{net::SocketAddr, path::Path, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use blindfold_core::{AuthorityKey, CONTENT_TYPE, KeyId, PATH, Request, UnsealingKey};
use identity::tls::{ClientAuth, TlsIdentity};
use service::{
    audit::AuditLog,
    authorize::Authorizer,
    listener::{Limits, Server},
    metrics::Metrics,
    shutdown::Shutdown,
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    failure::{Context, Kind, Outcome},
    random,
};

/// A running impostor.
#[derive(Debug)]
pub(super) struct Impostor {
    shutdown: Shutdown,
    serving: JoinHandle<Outcome>,
    audit: AuditLog,
}

/// The key that it claims to have, and the one it has.
struct Keys {
    claimed: KeyId,
    own: UnsealingKey,
}

impl Impostor {
    /// Listens at `address` with the identity of the authority whose key `record` is. Its own log goes to `audit`.
    pub(super) async fn start(
        address: SocketAddr,
        identity: Arc<TlsIdentity>,
        record: &AuthorityKey,
        audit: &Path,
    ) -> Outcome<Self> {
        let own = UnsealingKey::generate(
            record.authority(),
            record.tenant(),
            1,
            &mut random::generator(),
        )
        .about(Kind::Internal, "impostor's key")?;
        let keys = Keys {
            claimed: record.key_id(),
            own,
        };
        let router = Router::new()
            .route(PATH, post(answer))
            .with_state(Arc::new(keys));
        let metrics = Metrics::new("impostor");
        let audit = AuditLog::open(audit, "impostor", &metrics)
            .about(Kind::Internal, "impostor's audit log")?;
        let authorizer = Authorizer::new(audit.clone(), metrics);
        let server = Server::new(
            identity,
            ClientAuth::Required,
            router,
            authorizer,
            Limits::default(),
        );
        let listener = TcpListener::bind(address)
            .await
            .about(Kind::Unavailable, address)?;
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move {
            let served = server.serve(listener, stop).await;
            served.about(Kind::Internal, "impostor")
        });
        Ok(Self {
            shutdown,
            serving,
            audit,
        })
    }

    pub(super) async fn stop(self) -> Outcome {
        self.shutdown.trigger();
        let ended = self.serving.await.about(Kind::Internal, "impostor")?;
        self.audit.close().await;
        ended
    }
}

async fn answer(State(keys): State<Arc<Keys>>, body: Bytes) -> Response {
    match evaluate(&keys, &body) {
        Some(answer) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], answer).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// Evaluates with its own key what was meant for the claimed one.
fn evaluate(keys: &Keys, body: &[u8]) -> Option<Vec<u8>> {
    let claimed = keys.claimed.as_bytes();
    let at = body
        .windows(claimed.len())
        .position(|bytes| bytes == claimed)?;
    let mut forged = body.to_vec();
    forged
        .get_mut(at..at + claimed.len())?
        .copy_from_slice(keys.own.record().key_id().as_bytes());
    let request = Request::parse(&forged).ok()?.check().ok()?;
    let response = keys
        .own
        .blind_evaluate(&request, &mut random::generator())
        .ok()?;
    Some(response.to_bytes().to_vec())
}
