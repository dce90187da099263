//! A small service whose configuration holds two sealed values: a token that callers must show, and a key that
//! signs its answers. Both are opened at start, in one round trip, and exist nowhere but in this process.
//!
//! To see it run, start a control plane:
//!
//! ```console
//! $ blindfold dev --dir ./dev
//! ```
//!
//! and in a second terminal seal two secrets into a configuration, offline, and start the service:
//!
//! ```console
//! $ export BLINDFOLD_CONFIG=$PWD/dev/wingman.toml
//! $ seal() { blindfold seal --key dev/unsealer.pub --policy dev/policy.yaml --label "$1"; }
//! $ cat > service.toml <<END
//! listen = "127.0.0.1:8080"
//! api_token = "$(printf 'open sesame' | seal service/api-token)"
//! signing_key = "$(head -c 32 /dev/urandom | seal service/signing-key)"
//! END
//! $ cargo run -p wingman-sdk --example service -- service.toml
//! ```
//!
//! Then ask it, with the token and without:
//!
//! ```console
//! $ curl -i -H 'authorization: Bearer open sesame' http://127.0.0.1:8080/
//! $ curl -i http://127.0.0.1:8080/
//! ```
//!
//! The file `service.toml` may be read by everybody: only a workload that satisfies `dev/policy.yaml` can open what is
//! in it. Swap the two values in the file, and the service refuses to start: each field demands its label.

use std::{
    error::Error,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use wingman_sdk::{
    ExposeSecret, Sealed, SecretBytes, SecretString, Wingman,
    sealed::{Fields, SealedFields},
};

/// The configuration file. A secret in plain text would be refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    listen: SocketAddr,
    api_token: Sealed<SecretString>,
    signing_key: Sealed<SecretBytes>,
}

impl SealedFields for Config {
    fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>) {
        fields.labelled("api_token", "service/api-token", &self.api_token);
        fields.labelled("signing_key", "service/signing-key", &self.signing_key);
    }
}

/// The service, its secrets opened.
#[derive(Debug)]
pub(crate) struct Service {
    listen: SocketAddr,
    api_token: SecretString,
    signing_key: SecretBytes,
}

impl Service {
    /// Reads the configuration and opens what is sealed in it.
    pub(crate) fn from_config(wingman: &Wingman, text: &str) -> Result<Self, Box<dyn Error>> {
        let config: Config = toml::from_str(text)?;
        wingman.open_fields(&config)?;
        let Config {
            listen,
            api_token,
            signing_key,
        } = config;
        Ok(Self {
            listen,
            api_token: api_token.into_opened()?,
            signing_key: signing_key.into_opened()?,
        })
    }

    /// The status and the body for a request head.
    pub(crate) fn answer(
        &self,
        head: &str,
        time: u64,
    ) -> Result<(&'static str, String), Box<dyn Error>> {
        let shown = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("authorization")
                .then(|| value.trim().strip_prefix("Bearer "))?
        });
        let expected = self.api_token.expose_secret().as_bytes();
        if !bool::from(shown.unwrap_or_default().as_bytes().ct_eq(expected)) {
            return Ok(("401 Unauthorized", "show the token\n".to_owned()));
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(self.signing_key.expose_secret())?;
        mac.update(&time.to_be_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        Ok((
            "200 OK",
            format!("{{\"time\":{time},\"signature\":\"{signature}\"}}\n"),
        ))
    }

    fn serve(&self) -> Result<(), Box<dyn Error>> {
        let listener = TcpListener::bind(self.listen)?;
        println!("listening on http://{}", listener.local_addr()?);
        for stream in listener.incoming() {
            // One caller's trouble is not the next one's.
            if let Err(error) = self.exchange(&stream?) {
                eprintln!("a caller was not answered: {error}");
            }
        }
        Ok(())
    }

    fn exchange(&self, mut stream: &TcpStream) -> Result<(), Box<dyn Error>> {
        const MAX_HEAD_BYTES: u64 = 8 * 1024;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut reader = BufReader::new(stream.take(MAX_HEAD_BYTES));
        let mut head = String::new();
        while reader.read_line(&mut head)? > 2 {}
        let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let (status, body) = self.answer(&head, time)?;
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )?;
        Ok(())
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let config = std::env::var("BLINDFOLD_CONFIG").unwrap_or("wingman.toml".to_owned());
    let wingman = Wingman::from_config(config)?;
    let file = std::env::args().nth(1).unwrap_or("service.toml".to_owned());
    let service = Service::from_config(&wingman, &std::fs::read_to_string(file)?)?;
    // Everything is open: this service needs its identity no more, and starts no renewal.
    service.serve()
}

fn main() -> ExitCode {
    let Err(error) = run() else {
        return ExitCode::SUCCESS;
    };
    // The causes say what to do.
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}
