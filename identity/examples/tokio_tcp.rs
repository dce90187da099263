//! An own protocol over mutual TLS, with tokio: the server sends back what it gets, and a client reads and writes at once.
//!
//! ```console
//! $ cargo run -p identity --example tokio_tcp --features tokio -- serve ./db 127.0.0.1:5433 spiffe://dev.example/site
//! $ cargo run -p identity --example tokio_tcp --features tokio -- call ./api 127.0.0.1:5433 spiffe://dev.example/site/db
//! ```

use std::env;
use std::error::Error;
use std::io;
use std::sync::Arc;

use identity::SpiffeId;
use identity::mtls::Authorizer;
use identity::mtls::tokio::{MtlsListener, MtlsStream};
use identity::tls::TlsIdentity;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[path = "shared/load.rs"]
mod load;

/// The protocol's name, agreed on in the handshake.
const PROTOCOL: &[u8] = b"echo/1";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [role, directory, address, peer] = arguments.as_slice() else {
        return Err("usage: tokio_tcp serve|call DIRECTORY ADDRESS SPIFFE-ID".into());
    };
    let (identity, peer) = (load::identity(directory)?, SpiffeId::parse(peer)?);
    if role == "serve" {
        serve(listen(&identity, peer, address).await?).await?;
    } else {
        let answer = call(&identity, peer, address, b"hello").await?;
        println!("{}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// Clients below `clients` may come.
pub(crate) async fn listen(
    identity: &Arc<TlsIdentity>,
    clients: SpiffeId,
    address: &str,
) -> Result<MtlsListener, Box<dyn Error>> {
    let acceptor = identity.acceptor(Authorizer::within(clients))?;
    let listener = acceptor.with_protocol(PROTOCOL).bind_async(address).await?;
    Ok(listener.on_refusal(|address, error| eprintln!("{address}: {error}")))
}

pub(crate) async fn serve(mut listener: MtlsListener) -> io::Result<()> {
    loop {
        let (stream, address) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = echo(stream).await {
                eprintln!("{address}: {error}");
            }
        });
    }
}

async fn echo(stream: MtlsStream) -> io::Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

pub(crate) async fn call(
    identity: &Arc<TlsIdentity>,
    server: SpiffeId,
    address: &str,
    bytes: &[u8],
) -> Result<Vec<u8>, Box<dyn Error>> {
    let connector = identity.connector(server)?.with_protocol(PROTOCOL);
    let (mut from, mut to) = tokio::io::split(connector.connect_async(address).await?);
    let send = async {
        to.write_all(bytes).await?;
        to.shutdown().await
    };
    let mut answer = Vec::new();
    tokio::try_join!(send, from.read_to_end(&mut answer))?;
    Ok(answer)
}
