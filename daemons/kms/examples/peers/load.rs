//! One loop for both servers: a request on each kept connection, and the next when it is answered.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64ct::{Base64, Encoding};
use identity::tls::{Alpn, client_config};
use kms_client::{
    Operation,
    wire::{self, ToSign, path},
};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};

use crate::{PLAINTEXT, process::usage, quantile, serve};

/// What is measured.
pub(crate) struct Load {
    pub(crate) target: Target,
    pub(crate) clients: usize,
    pub(crate) duration: Duration,
    pub(crate) server: u32,
}

/// A server, how to reach it, and what it is asked.
pub(crate) struct Target {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    request: Vec<u8>,
}

impl Target {
    pub(crate) fn of(target: &str, folder: &Path, operation: &str) -> Self {
        match target {
            "kms" => Self::kms(folder, operation),
            "openbao" => Self::openbao(folder, operation),
            other => panic!("{other} is neither kms nor openbao"),
        }
    }

    fn kms(folder: &Path, operation: &str) -> Self {
        let (identity, server, address) = serve::client(folder);
        let bytes = |bytes: &[u8]| wire::Bytes(bytes.to_vec());
        let (path, body) = match operation {
            "encrypt" => {
                let item = wire::Encrypt {
                    plaintext: bytes(&PLAINTEXT),
                    aad: None,
                };
                let request = wire::Request { items: vec![item] };
                let path = path::operation(serve::TENANT, "orders", Operation::Encrypt);
                (path, serde_json::to_vec(&request).unwrap())
            }
            "sign" => {
                let item = wire::Sign {
                    input: ToSign::Message(bytes(&PLAINTEXT)),
                };
                let request = wire::Request { items: vec![item] };
                let path = path::operation(serve::TENANT, "releases", Operation::Sign);
                (path, serde_json::to_vec(&request).unwrap())
            }
            other => panic!("no operation {other}"),
        };
        Self {
            address: address.parse().unwrap(),
            name: ServerName::try_from("kms.invalid").unwrap(),
            tls: client_config(&identity, server, &[Alpn::Http11]).unwrap(),
            request: request(&path, "", &body),
        }
    }

    fn openbao(folder: &Path, operation: &str) -> Self {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap();
        roots.add(authority).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let plaintext = Base64::encode_string(&PLAINTEXT);
        let (path, body) = match operation {
            "encrypt" => (
                "/v1/transit/encrypt/orders",
                serde_json::json!({ "plaintext": plaintext }),
            ),
            "sign" => (
                "/v1/transit/sign/releases/sha2-256",
                serde_json::json!({ "input": plaintext, "signature_algorithm": "pss" }),
            ),
            other => panic!("no operation {other}"),
        };
        let token = format!("x-vault-token: {}\r\n", read("token").trim());
        Self {
            address: read("address").trim().parse().unwrap(),
            name: ServerName::try_from("localhost").unwrap(),
            tls: Arc::new(tls),
            request: request(path, &token, body.to_string().as_bytes()),
        }
    }
}

fn request(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// One kept connection.
struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(target: &Target) -> Self {
        let socket = TcpStream::connect(target.address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let tls = ClientConnection::new(Arc::clone(&target.tls), target.name.clone()).unwrap();
        Self {
            stream: StreamOwned::new(tls, socket),
            buffer: vec![0; 65536],
        }
    }

    /// Sends the request and reads the whole answer, which must be good.
    fn ask(&mut self, request: &[u8]) {
        self.stream.write_all(request).unwrap();
        let mut have = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[have..]).unwrap();
            assert!(read > 0, "the server hung up");
            have += read;
            let answer = &self.buffer[..have];
            let Some(head) = answer.windows(4).position(|w| w == b"\r\n\r\n") else {
                continue;
            };
            let text = std::str::from_utf8(&answer[..head]).unwrap();
            let length: usize = text
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map(|(_, length)| length.trim().parse().unwrap())
                .expect("an answer with a length");
            if have >= head + 4 + length {
                let body = String::from_utf8_lossy(&answer[head + 4..]);
                assert!(
                    text.starts_with("HTTP/1.1 200") && !body.contains("\"error"),
                    "{text}\n{body}"
                );
                return;
            }
        }
    }
}

/// Runs it and prints what came of it.
pub(crate) fn run(load: &Load) {
    let (stop, begin) = (AtomicBool::new(false), Barrier::new(load.clients + 1));
    let (mut times, elapsed, before, after) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..load.clients)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(&load.target);
                    // Warm: caches, buffers, the code itself.
                    for _ in 0..50 {
                        connection.ask(&load.target.request);
                    }
                    begin.wait();
                    let mut times = Vec::with_capacity(1 << 16);
                    while !stop.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        connection.ask(&load.target.request);
                        times.push(u64::try_from(began.elapsed().as_nanos()).unwrap());
                    }
                    times
                })
            })
            .collect();
        begin.wait();
        let (before, began) = (usage(load.server), Instant::now());
        std::thread::sleep(load.duration);
        stop.store(true, Ordering::Relaxed);
        let times: Vec<u64> = clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client"))
            .collect();
        (times, began.elapsed(), before, usage(load.server))
    });
    times.sort_unstable();
    let operations = times.len() as f64;
    let cpu = after.cpu - before.cpu;
    crate::print(&serde_json::json!({
        "operations": times.len(),
        "clients": load.clients,
        "seconds": elapsed.as_secs_f64(),
        "per_second": operations / elapsed.as_secs_f64(),
        "server_cpu_us": cpu * 1e6 / operations,
        "per_core_second": operations / cpu,
        "p50_us": quantile(&times, 500) as f64 / 1e3,
        "p99_us": quantile(&times, 990) as f64 / 1e3,
        "resident_mib": after.resident,
    }));
}
