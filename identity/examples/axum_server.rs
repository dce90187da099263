//! An HTTP service over mutual TLS: a policy says who may do what, and handlers know who asks.
//!
//! ```console
//! $ cargo run -p identity --example axum_server --features axum -- ./orders 127.0.0.1:8443
//! ```

use std::env;
use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use identity::mtls::axum::{Authorize, serve};
use identity::mtls::{Authorizer, Peer};
use identity::policy::Policy;

#[path = "shared/load.rs"]
mod load;

/// Orders are read by everybody in production, and written by the shop.
const POLICY: &str = "
v: 1
rules:
  - effect: allow
    actions: get
    resource: /v1/orders/{id}
    principal: {selector: environment=production}
  - effect: allow
    actions: [get, put]
    resource: /v1/orders/{id}
    principal: {spiffe_id: spiffe://acme.example/paris/shop}
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [directory, address] = arguments.as_slice() else {
        return Err("usage: axum_server DIRECTORY ADDRESS".into());
    };
    let identity = load::identity(directory)?;
    let clients = Authorizer::trust_domain(identity.bundle().trust_domain().clone());
    let listener = identity.acceptor(clients)?.bind_async(address).await?;
    serve(listener, orders(POLICY)?).await;
    Ok(())
}

pub(crate) fn orders(policy: &str) -> Result<Router, Box<dyn Error>> {
    let policy = Arc::new(Policy::from_yaml(policy)?);
    Ok(Router::new()
        .route("/v1/orders/{id}", get(read).put(write))
        .layer(Authorize::by_route(policy)))
}

async fn read(Path(id): Path<u64>, peer: Peer) -> String {
    format!("order {id} for {}\n", peer.principal().spiffe_id())
}

async fn write(Path(id): Path<u64>, peer: Peer, body: String) -> String {
    let writer = peer.principal().spiffe_id().path();
    format!("order {id} is now {body:?}, says {writer}\n")
}
