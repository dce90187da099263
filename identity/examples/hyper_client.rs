//! An HTTP client with hyper over mutual TLS.
//!
//! ```console
//! $ cargo run -p identity --example hyper_client --features hyper -- \
//!     ./api spiffe://dev.example/site/orders https://127.0.0.1:8443/v1/orders/7
//! ```

use std::env;
use std::error::Error;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use identity::SpiffeId;
use identity::mtls::hyper::Client;

#[path = "shared/load.rs"]
mod load;

/// More is no answer of this service.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [directory, server, url] = arguments.as_slice() else {
        return Err("usage: hyper_client DIRECTORY SPIFFE-ID URL".into());
    };
    let client = Client::new(&load::identity(directory)?, SpiffeId::parse(server)?);
    let (status, body) = get(&client, url).await?;
    print!("{status}\n{body}");
    Ok(())
}

pub(crate) async fn get(
    client: &Client<Empty<Bytes>>,
    url: &str,
) -> Result<(u16, String), Box<dyn Error>> {
    let response = client
        .request(Request::get(url).body(Empty::new())?)
        .await?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
    let body = body.collect().await.map_err(|error| error.to_string())?;
    Ok((status, String::from_utf8(body.to_bytes().to_vec())?))
}
