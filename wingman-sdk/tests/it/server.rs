//! A TLS server on loopback: HTTP/1.1 over rustls, one thread a connection, as wrong as a test wants.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use identity::{
    Principal,
    tls::{ClientAuth, TlsIdentity, server_config},
    verify::Usage,
};
use rustls::{ServerConnection, StreamOwned};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
    pub(crate) peer: Option<Principal>,
    /// Counts connections, from 1.
    pub(crate) connection: usize,
}

/// What to do about a request.
pub(crate) enum Reply {
    Http {
        status: u16,
        content_type: &'static str,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// The end of the connection.
    Close,
    /// Another reply, later.
    Late(Duration, Box<Reply>),
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self::Http {
            status,
            content_type: "",
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn ok(content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self::Http {
            status: 200,
            content_type,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub(crate) fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Http {
            status,
            content_type: "application/json",
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

impl Reply {
    /// The same with a header `Date`.
    pub(crate) fn dated(mut self, at: SystemTime) -> Self {
        if let Self::Http { headers, .. } = &mut self {
            let at = jiff::Timestamp::try_from(at).unwrap();
            let date = jiff::fmt::rfc2822::DateTimePrinter::new()
                .timestamp_to_rfc9110_string(&at)
                .unwrap();
            headers.push(("date", date));
        }
        self
    }
}

type Handler = dyn Fn(&Received) -> Reply + Send + Sync;

/// A running server.
pub(crate) struct TestServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    tls: Arc<TlsIdentity>,
    client_auth: ClientAuth,
    handler: Box<Handler>,
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    stop: AtomicBool,
}

impl TestServer {
    pub(crate) fn start(
        tls: Arc<TlsIdentity>,
        client_auth: ClientAuth,
        handler: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            tls,
            client_auth,
            handler: Box::new(handler),
            received: Mutex::default(),
            connections: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stop.load(Ordering::SeqCst) {
                    break;
                }
                let connection = Arc::clone(&accepting);
                thread::spawn(move || connection.serve(stream.unwrap()));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The requests so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// How many TCP connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many TLS handshakes ended well on this side.
    pub(crate) fn handshakes(&self) -> usize {
        self.shared.handshakes.load(Ordering::SeqCst)
    }

    /// Accepts no further connections and answers nothing on open ones.
    pub(crate) fn stop(&self) {
        if !self.shared.stop.swap(true, Ordering::SeqCst) {
            // Wakes the accepting thread, which drops the listener.
            drop(TcpStream::connect(self.address));
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn serve(&self, tcp: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let config = server_config(&self.tls, self.client_auth).unwrap();
        let mut connection = ServerConnection::new(config).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut tcp = tcp;
        while connection.is_handshaking() {
            if connection.complete_io(&mut tcp).is_err() {
                return;
            }
        }
        self.handshakes.fetch_add(1, Ordering::SeqCst);
        let Ok(peer) = self.tls.peer_principal(&connection, Usage::Client) else {
            return;
        };
        let mut stream = StreamOwned::new(connection, tcp);
        while let Some(mut received) = read_request(&mut stream) {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            received.peer.clone_from(&peer);
            received.connection = number;
            self.received.lock().unwrap().push(received.clone());
            if !reply(&mut stream, (self.handler)(&received)) {
                return;
            }
        }
    }
}

fn reply(stream: &mut impl Write, reply: Reply) -> bool {
    match reply {
        Reply::Late(pause, then) => {
            thread::sleep(pause);
            self::reply(stream, *then)
        }
        Reply::Close => false,
        Reply::Raw(bytes) => {
            // The client may have gone away.
            let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
            false
        }
        Reply::Http {
            status,
            content_type,
            headers,
            body,
        } => {
            let mut head = format!(
                "HTTP/1.1 {status} Some Reason\r\ncontent-length: {}\r\n",
                body.len()
            );
            if !content_type.is_empty() {
                head += &format!("content-type: {content_type}\r\n");
            }
            for (name, value) in headers {
                head += &format!("{name}: {value}\r\n");
            }
            head += "\r\n";
            let whole = [head.as_bytes(), &body].concat();
            stream
                .write_all(&whole)
                .and_then(|()| stream.flush())
                .is_ok()
        }
    }
}

fn read_request(stream: &mut impl Read) -> Option<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut body = bytes[end + 4..].to_vec();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, path) = (
        first.next().unwrap().to_owned(),
        first.next().unwrap().to_owned(),
    );
    let (mut length, mut content_type) = (0, String::new());
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "content-type" => content_type = value.trim().to_owned(),
            _ => {}
        }
    }
    while body.len() < length {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        body.extend_from_slice(&buffer[..read]);
    }
    Some(Received {
        method,
        path,
        content_type,
        body,
        peer: None,
        connection: 0,
    })
}
