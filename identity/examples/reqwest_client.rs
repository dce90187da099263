//! An HTTP client with reqwest over mutual TLS.
//!
//! ```console
//! $ cargo run -p identity --example reqwest_client --features reqwest -- \
//!     ./api spiffe://dev.example/site/orders https://127.0.0.1:8443/v1/orders/7
//! ```

use std::env;
use std::error::Error;

use identity::SpiffeId;
use identity::mtls::reqwest::Client;

#[path = "shared/load.rs"]
mod load;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [directory, server, url] = arguments.as_slice() else {
        return Err("usage: reqwest_client DIRECTORY SPIFFE-ID URL".into());
    };
    let orders = Client::new(&load::identity(directory)?, SpiffeId::parse(server)?);
    let (status, body) = put(&orders, url, "paid").await?;
    print!("{status}\n{body}");
    Ok(())
}

pub(crate) async fn put(
    orders: &Client,
    url: &str,
    order: &str,
) -> Result<(u16, String), Box<dyn Error>> {
    // Anew for every request: it follows the identity.
    let client = orders.current()?;
    let response = client.put(url).body(order.to_owned()).send().await?;
    Ok((response.status().as_u16(), response.text().await?))
}
