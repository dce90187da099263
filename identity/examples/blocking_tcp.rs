//! An own protocol over mutual TLS, with threads: the server greets its clients by their SPIFFE ID.
//!
//! ```console
//! $ cargo run -p identity --example blocking_tcp -- serve ./db 127.0.0.1:5433 spiffe://dev.example/site
//! $ cargo run -p identity --example blocking_tcp -- call ./api 127.0.0.1:5433 spiffe://dev.example/site/db
//! ```

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::sync::Arc;
use std::thread;

use identity::SpiffeId;
use identity::mtls::Authorizer;
use identity::mtls::blocking::{Incoming, MtlsListener};
use identity::tls::TlsIdentity;

#[path = "shared/load.rs"]
mod load;

/// The protocol's name, agreed on in the handshake.
const PROTOCOL: &[u8] = b"greet/1";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [role, directory, address, peer] = arguments.as_slice() else {
        return Err("usage: blocking_tcp serve|call DIRECTORY ADDRESS SPIFFE-ID".into());
    };
    let (identity, peer) = (load::identity(directory)?, SpiffeId::parse(peer)?);
    if role == "serve" {
        let listener = listen(&identity, peer, address)?;
        serve(&listener)?;
    } else {
        print!("{}", call(&identity, peer, address, "hello")?);
    }
    Ok(())
}

/// Clients below `clients` may come.
pub(crate) fn listen(
    identity: &Arc<TlsIdentity>,
    clients: SpiffeId,
    address: &str,
) -> Result<MtlsListener, Box<dyn Error>> {
    let acceptor = identity.acceptor(Authorizer::within(clients))?;
    Ok(acceptor.with_protocol(PROTOCOL).bind(address)?)
}

pub(crate) fn serve(listener: &MtlsListener) -> io::Result<()> {
    loop {
        let connection = listener.accept()?;
        thread::spawn(move || {
            let address = connection.address();
            if let Err(error) = greet(connection) {
                eprintln!("{address}: {error}");
            }
        });
    }
}

fn greet(connection: Incoming) -> io::Result<()> {
    let mut stream = BufReader::new(connection.handshake()?);
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        let stream = stream.get_mut();
        let caller = stream.peer().principal().spiffe_id().clone();
        writeln!(stream, "{} to you, {caller}", line.trim_end())?;
        stream.flush()?;
        line.clear();
    }
    stream.into_inner().close()
}

pub(crate) fn call(
    identity: &Arc<TlsIdentity>,
    server: SpiffeId,
    address: &str,
    greeting: &str,
) -> Result<String, Box<dyn Error>> {
    let connector = identity.connector(server)?.with_protocol(PROTOCOL);
    let mut stream = connector.connect(address)?;
    writeln!(stream, "{greeting}")?;
    stream.flush()?;
    let mut answer = String::new();
    BufReader::new(&mut stream).read_line(&mut answer)?;
    stream.close()?;
    Ok(answer)
}
