//! Records to a syslog server as well (RFC 5424), over a Unix datagram socket or TCP with octet counting.
//!
//! The file is the durable one: a record reaches syslog after it is durable there, and nobody waits for it. What the
//! server does not take in time is kept up to [`limits::SYSLOG_QUEUE_BYTES`]; beyond that the newest is lost, counted in
//! the metrics, and said in a message of its own once the server is back. Each message holds the whole line, so its `seq`
//! shows what is missing. After a broken connection what was on its way is sent again, so a record may come twice.

use std::{
    io::{self, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixDatagram,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    time::Instant,
};

use super::{AuditError, chain};
use crate::{
    clock,
    config::{SyslogAddress, SyslogConfig},
    limits,
    metrics::Metrics,
};

/// The way to one syslog server.
pub(super) struct Syslog {
    sender: Option<Sender<Vec<u8>>>,
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

struct Shared {
    waiting: AtomicUsize,
    lost: AtomicU64,
    closing: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Shared {
    fn lose(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::Relaxed);
        self.metrics.audit_syslog_lost(records);
    }
}

impl Syslog {
    /// Starts the thread that sends; the server need not be there yet.
    pub(super) fn start(
        config: &SyslogConfig,
        service: &str,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, AuditError> {
        let (sender, receiver) = mpsc::channel();
        let (done, ended) = mpsc::channel();
        let shared = Arc::new(Shared {
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            metrics: Arc::clone(metrics),
        });
        let mut courier = Courier {
            config: config.clone(),
            origin: origin(service),
            connection: None,
            failing: false,
            shared: Arc::clone(&shared),
        };
        std::thread::Builder::new()
            .name("audit-syslog".to_owned())
            .spawn(move || {
                courier.run(&receiver);
                // Nobody may be waiting.
                let _ = done.send(());
            })
            .map_err(AuditError::Thread)?;
        Ok(Self {
            sender: Some(sender),
            shared,
            ended,
        })
    }

    /// Hands `lines` over, or counts them as lost; never waits.
    pub(super) fn offer(&self, lines: &[u8]) {
        let shared = &self.shared;
        let waiting = shared.waiting.load(Ordering::Acquire);
        let room = waiting.saturating_add(lines.len()) <= limits::SYSLOG_QUEUE_BYTES;
        if room {
            shared.waiting.fetch_add(lines.len(), Ordering::AcqRel);
            let sent = self.sender.as_ref().map(|s| s.send(lines.to_vec()));
            if matches!(sent, Some(Ok(()))) {
                return;
            }
        }
        shared.lose(count(lines));
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.sender = None;
        let _ = self.ended.recv_timeout(limits::SYSLOG_DRAIN);
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|b| **b == b'\n').count() as u64
}

enum Connection {
    Unix(UnixDatagram),
    Tcp(TcpStream),
}

/// Sends what is waiting, in order.
struct Courier {
    config: SyslogConfig,
    /// ` HOSTNAME APP-NAME PROCID `
    origin: String,
    connection: Option<Connection>,
    failing: bool,
    shared: Arc<Shared>,
}

impl Courier {
    fn run(&mut self, receiver: &Receiver<Vec<u8>>) {
        let mut ending = None;
        while let Ok(lines) = receiver.recv() {
            self.shared.waiting.fetch_sub(lines.len(), Ordering::AcqRel);
            while let Err(error) = self.deliver(&lines) {
                if !self.failing {
                    tracing::warn!(%error, address = %self.config.address, "audit records don't reach syslog: they are in the file, and are sent once it is back");
                    self.failing = true;
                }
                self.connection = None;
                // The log was closed: what can't be sent soon is not waited for.
                if self.shared.closing.load(Ordering::Acquire) {
                    let since = *ending.get_or_insert_with(Instant::now);
                    if since.elapsed() >= limits::SYSLOG_DRAIN {
                        let waiting: u64 = receiver.try_iter().map(|lines| count(&lines)).sum();
                        self.shared.lose(count(&lines).saturating_add(waiting));
                        return;
                    }
                }
                std::thread::sleep(limits::SYSLOG_RETRY);
            }
            self.failing = false;
        }
    }

    fn deliver(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) if connection.is_open() => connection,
            _ => Connection::open(&self.config.address)?,
        };
        let lost = self.shared.lost.load(Ordering::Acquire);
        if lost > 0 {
            let text = format!(
                r#"{{"kind":"notice","why":"records did not reach syslog; they are in the file","lost":{lost}}}"#
            );
            let message = self.message(text.as_bytes(), "notice", 4, None);
            connection.send(&[message])?;
            self.shared.lost.fetch_sub(lost, Ordering::AcqRel);
        }
        let messages: Vec<Vec<u8>> = lines
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| self.record(line))
            .collect();
        let refused = connection.send(&messages)?;
        if refused > 0 {
            self.shared.lose(refused);
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// One record as a message; its time and kind are those of the line.
    fn record(&self, line: &[u8]) -> Vec<u8> {
        let members = chain::parse(line).map_or(line, |(.., members)| members);
        let time = text_of(members, br#""time":""#);
        let kind = text_of(members, br#""kind":""#).unwrap_or("record");
        let denied = kind == "refusal" || find(members, br#""decision":"deny""#).is_some();
        let severity = match kind {
            _ if denied => 4,
            "notice" | "checkpoint" => 5,
            _ => 6,
        };
        self.message(line, kind, severity, time)
    }

    fn message(&self, text: &[u8], kind: &str, severity: u8, time: Option<&str>) -> Vec<u8> {
        let mut message = Vec::with_capacity(text.len() + 128);
        let priority = self.config.facility.priority(severity);
        let now;
        let time = match time {
            Some(time) => time,
            None => {
                now = clock::rfc3339_micros(clock::now());
                &now
            }
        };
        // Writing to memory does not fail.
        let _ = write!(message, "<{priority}>1 {time}{}{kind} - ", self.origin);
        message.extend_from_slice(text);
        message
    }
}

impl Connection {
    fn open(address: &SyslogAddress) -> io::Result<Self> {
        match address {
            SyslogAddress::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(limits::SYSLOG_TIMEOUT))?;
                Ok(Self::Unix(socket))
            }
            SyslogAddress::Tcp(server) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for address in server.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, limits::SYSLOG_TIMEOUT) {
                        Ok(stream) => {
                            stream.set_write_timeout(Some(limits::SYSLOG_TIMEOUT))?;
                            return Ok(Self::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    /// Whether the peer has not hung up; what is written after that vanishes without an error.
    fn is_open(&self) -> bool {
        let Self::Tcp(stream) = self else { return true };
        if stream.set_nonblocking(true).is_err() {
            return false;
        }
        let peeked = stream.peek(&mut [0]);
        let open = matches!(&peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            || matches!(peeked, Ok(1..));
        stream.set_nonblocking(false).is_ok() && open
    }

    /// Sends every message; answers how many the server can't take at all.
    fn send(&mut self, messages: &[Vec<u8>]) -> io::Result<u64> {
        let mut refused = 0;
        match self {
            Self::Unix(socket) => {
                for message in messages {
                    match socket.send(message) {
                        Ok(_) => {}
                        Err(error) if too_long(&error) => refused += 1,
                        Err(error) => return Err(error),
                    }
                }
            }
            Self::Tcp(stream) => {
                let mut frames = Vec::with_capacity(messages.iter().map(|m| m.len() + 8).sum());
                for message in messages {
                    // Writing to memory does not fail.
                    let _ = write!(frames, "{} ", message.len());
                    frames.extend_from_slice(message);
                }
                stream.write_all(&frames)?;
            }
        }
        Ok(refused)
    }
}

/// EMSGSIZE: longer than a datagram can be.
fn too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

/// ` HOSTNAME APP-NAME PROCID `, each of printable ASCII or `-`.
fn origin(service: &str) -> String {
    let printable = |text: &str, most: usize| -> String {
        let text: String = text
            .trim()
            .chars()
            .filter(char::is_ascii_graphic)
            .take(most)
            .collect();
        if text.is_empty() {
            "-".to_owned()
        } else {
            text
        }
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!(
        " {} {} {} ",
        printable(&host, 255),
        printable(service, 48),
        std::process::id()
    )
}

/// The text after `name`, up to the next quotation mark. A quotation mark inside a text is escaped, so `name` is found
/// as a member only.
fn text_of<'a>(members: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let start = find(members, name)?.checked_add(name.len())?;
    let rest = members.get(start..)?;
    let end = rest.iter().position(|b| *b == b'"')?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}

#[cfg(test)]
mod tests;
