//! HTTP over mutual TLS between members of a trust domain.
//!
//! A client is bound to one server: to its URL and to the SPIFFE ID it must prove. Before the first byte
//! of a request leaves, the server has proven that ID under the trust bundle. Answers are bounded and of
//! the expected content type. Connections are kept, but never beyond the life of either document; a renewed identity or a
//! changed bundle starts over with new ones. Redirects and proxies are never followed.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use identity::http::HttpClient;
//! use identity::tls::TlsIdentity;
//! use identity::{IdentityDocument, TrustBundle};
//!
//! # let (chain, key, bundle) = (String::new(), String::new(), Vec::new());
//! let document = IdentityDocument::from_pem(&chain, &key)?;
//! let client = HttpClient::new(
//!     TlsIdentity::new(document, TrustBundle::from_json(&bundle)?)?,
//!     "https://127.0.0.1:7443",
//!     &"spiffe://dev.example/identity-authority".parse()?,
//! )?;
//! let sites: serde_json::Value = client.get_json("/v1/admin/sites")?;
//! # let _ = sites;
//! # Ok(())
//! # }
//! ```

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde::{Serialize, de::DeserializeOwned};
use ureq::{
    Agent,
    http::{HeaderMap, Response, header},
    unversioned::{
        resolver::DefaultResolver,
        transport::{Connector, TcpConnector},
    },
};
use url::Url;
use zeroize::Zeroizing;

pub use self::conditional::{Conditional, Conditioned};
use self::connector::{Lifetime, TlsConnector, Validity};
pub use self::error::{HttpError, shorten};
pub use self::retry::{Backoff, Deadline, fraction};
use self::unix::{NoResolver, UnixConnector};
use crate::{
    SpiffeId, limits,
    tls::{self, AcceptedDomains, Alpn, ServerExpectation, TlsIdentity},
    verify::Usage,
};

mod conditional;
mod connector;
mod error;
mod put;
mod retry;
mod unix;

/// Any media type, as a request says it: for documents whose specification names none.
pub const ANY: &str = "*/*";

/// The media type of JSON.
pub const JSON: &str = "application/json";

/// A client of one server, whose SPIFFE ID is verified before anything is sent.
pub struct HttpClient {
    base: Url,
    server: String,
    expected: String,
    timeout: Duration,
    link: Link,
    heard: Option<DateObserver>,
}

/// Hears what a server says the time is, as its answer begins.
pub type DateObserver = Arc<dyn Fn(SystemTime) + Send + Sync>;

/// Where connections come from.
enum Link {
    /// First contact: one rustls configuration, no identity of one's own.
    Fixed(Agent),
    /// Follows the identity: a new agent, hence new connections, whenever it changes.
    Following {
        identity: Arc<TlsIdentity>,
        server: ServerExpectation,
        current: Mutex<Option<(u64, Agent)>>,
    },
}

impl HttpClient {
    /// Makes a client; connects only when asked for something.
    ///
    /// # Errors
    ///
    /// [`HttpError::Url`]: not `https://host[:port]`.
    pub fn new(
        identity: Arc<TlsIdentity>,
        url: &str,
        server: &SpiffeId,
    ) -> Result<Self, HttpError> {
        let expectation = ServerExpectation {
            spiffe_id: server.clone(),
        };
        let link = Link::Following {
            identity,
            server: expectation,
            current: Mutex::new(None),
        };
        Self::over(url, server.to_string(), link)
    }

    /// Makes a client without an identity of its own, for the first contact; whom it trusts is what `config` verifies.
    ///
    /// # Errors
    ///
    /// [`HttpError::Url`]: not `https://host[:port]`.
    pub fn first_contact(url: &str, config: Arc<rustls::ClientConfig>) -> Result<Self, HttpError> {
        Self::stranger(url, config, "the identity authority of the join token")
    }

    /// Makes a client without an identity of its own; whom it trusts is what `config` verifies, and `expected` says so
    /// in errors.
    ///
    /// # Errors
    ///
    /// [`HttpError::Url`]: not `https://host[:port]`.
    pub fn stranger(
        url: &str,
        config: Arc<rustls::ClientConfig>,
        expected: &str,
    ) -> Result<Self, HttpError> {
        let clock = Arc::clone(&config.time_provider);
        let lifetime: Lifetime = Arc::new(move |_| {
            let clock = Arc::clone(&clock);
            let now = move || clock.current_time().map_or(u64::MAX, |time| time.as_secs());
            let until = now().saturating_add(limits::ATTEMPT_TIMEOUT.as_secs());
            Validity::new(until, now)
        });
        let agent = new_agent(config, lifetime);
        Self::over(url, expected.to_owned(), Link::Fixed(agent))
    }

    /// Makes a client of whoever listens on a Unix socket of this host, in HTTP/1.1 without TLS: the owner of the
    /// socket's directory decides who that is.
    ///
    /// # Errors
    ///
    /// [`HttpError::Url`]: the path is empty or longer than any socket's.
    pub fn unix_socket(path: &Path) -> Result<Self, HttpError> {
        let server = path.display().to_string();
        let connector = UnixConnector::new(path).ok_or_else(|| HttpError::Url {
            url: shorten(&server),
            why: "a Unix socket has a path of 1 to 107 bytes",
        })?;
        let base = Url::parse("http://localhost/").map_err(|_| HttpError::Url {
            url: shorten(&server),
            why: "it does not parse",
        })?;
        let settings = settings().https_only(false).build();
        let agent = Agent::with_parts(settings, connector, NoResolver);
        Ok(Self {
            base,
            expected: server.clone(),
            server,
            timeout: limits::ATTEMPT_TIMEOUT,
            link: Link::Fixed(agent),
            heard: None,
        })
    }

    fn over(url: &str, expected: String, link: Link) -> Result<Self, HttpError> {
        let base = check_url(url)?;
        let server = base.origin().ascii_serialization();
        Ok(Self {
            base,
            server,
            expected,
            timeout: limits::ATTEMPT_TIMEOUT,
            link,
            heard: None,
        })
    }

    /// Tells `observer` the time in the header `Date` of every answer, whatever its status.
    #[must_use]
    pub fn with_date_observer(mut self, observer: DateObserver) -> Self {
        self.heard = Some(observer);
        self
    }

    /// Closes the idle connections, and keeps none of those in use: for a machine that slept, whose peers are gone.
    pub fn forget_connections(&self) {
        if let Link::Following { current, .. } = &self.link {
            *current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Sets the time for one exchange, from connecting to the last byte of the answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The server as shown to people: scheme, host and port.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Gets JSON.
    ///
    /// # Errors
    ///
    /// Every [`HttpError`] but [`HttpError::Url`] and [`HttpError::Request`].
    pub fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, HttpError> {
        self.json(path, None, limits::MAX_JSON_ANSWER_BYTES)
    }

    /// Posts JSON and gets JSON; an empty answer counts as `null`.
    ///
    /// # Errors
    ///
    /// Every [`HttpError`] but [`HttpError::Url`].
    pub fn post_json<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, HttpError> {
        // A body may carry a join token: wiped once sent.
        let encoded =
            Zeroizing::new(
                serde_json::to_vec(body).map_err(|error| HttpError::Request {
                    why: error.to_string(),
                })?,
            );
        self.json(path, Some(&encoded), limits::MAX_JSON_ANSWER_BYTES)
    }

    /// Posts bytes that already are JSON, secrets in it included, and gets JSON.
    ///
    /// # Errors
    ///
    /// Every [`HttpError`] but [`HttpError::Url`] and [`HttpError::Request`].
    pub fn post_json_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &[u8],
    ) -> Result<T, HttpError> {
        self.json(path, Some(body), limits::MAX_JSON_ANSWER_BYTES)
    }

    /// Posts bytes of another content type, secrets included, and gets JSON.
    ///
    /// # Errors
    ///
    /// Every [`HttpError`] but [`HttpError::Url`] and [`HttpError::Request`].
    pub fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        content_type: &'static str,
        body: &[u8],
    ) -> Result<T, HttpError> {
        self.send(
            path,
            Some((content_type, body)),
            limits::MAX_JSON_ANSWER_BYTES,
        )
    }

    /// Sends JSON, if any, and gets JSON of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// As [`HttpClient::get_json`].
    pub fn json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&[u8]>,
        limit: u64,
    ) -> Result<T, HttpError> {
        self.send(path, body.map(|body| (JSON, body)), limit)
    }

    fn send<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<(&'static str, &[u8])>,
        limit: u64,
    ) -> Result<T, HttpError> {
        let answer = self.exchange(&Exchange {
            path,
            body,
            accept: JSON,
            limit,
            timeout: self.timeout,
        })?;
        let bytes = if answer.body.is_empty() {
            b"null"
        } else {
            answer.body.as_slice()
        };
        serde_json::from_slice(bytes).map_err(|error| HttpError::Malformed {
            server: self.server.clone(),
            why: shorten(&error.to_string()),
        })
    }

    /// Makes one exchange; every status but 2xx is an error.
    ///
    /// # Errors
    ///
    /// Every [`HttpError`] but [`HttpError::Url`].
    pub fn exchange(&self, exchange: &Exchange<'_>) -> Result<Answer, HttpError> {
        let agent = self.agent()?;
        let url = self
            .base
            .join(exchange.path)
            .map_err(|_| HttpError::Request {
                why: "bad path".to_owned(),
            })?;
        let sent = match exchange.body {
            None => configured(agent.get(url.as_str()), exchange).call(),
            Some((content_type, body)) => configured(agent.post(url.as_str()), exchange)
                .content_type(content_type)
                .send(body),
        };
        let response = sent.map_err(|error| self.classify(error, exchange.limit))?;
        self.check(response, exchange)
    }

    fn check(
        &self,
        mut response: Response<ureq::Body>,
        exchange: &Exchange<'_>,
    ) -> Result<Answer, HttpError> {
        let status = response.status().as_u16();
        let found = content_type(response.headers());
        let retry_after = header_text(response.headers(), header::RETRY_AFTER)
            .and_then(|text| text.parse().ok())
            .map(Duration::from_secs);
        let date = header_text(response.headers(), header::DATE).and_then(http_date);
        if let (Some(heard), Some(date)) = (&self.heard, date) {
            heard(date);
        }
        let limit = exchange.limit;
        // ureq refuses a body that has exactly its limit: one byte more is let in, and refused here.
        let read = response
            .body_mut()
            .with_config()
            .limit(limit.saturating_add(1))
            .read_to_vec();
        let body = read.map_err(|error| self.classify(error, limit))?;
        if body.len() as u64 > limit {
            return Err(HttpError::TooLarge {
                server: self.server.clone(),
                limit,
            });
        }
        if !(200..300).contains(&status) {
            let told = if found == JSON {
                serde_json::from_slice(&body).unwrap_or_default()
            } else {
                Told::default()
            };
            return Err(HttpError::Status {
                server: self.server.clone(),
                status,
                code: shorten(&told.error),
                message: shorten(&told.message),
                retry_after,
            });
        }
        if exchange.accept != ANY && found != exchange.accept && !body.is_empty() {
            return Err(HttpError::ContentType {
                server: self.server.clone(),
                expected: exchange.accept,
                found: shorten(&found),
            });
        }
        Ok(Answer {
            body: Zeroizing::new(body),
            date,
        })
    }

    fn classify(&self, error: ureq::Error, limit: u64) -> HttpError {
        error::classify(error, &self.server, &self.expected, limit)
    }

    fn agent(&self) -> Result<Agent, HttpError> {
        let (identity, server, current) = match &self.link {
            Link::Fixed(agent) => return Ok(agent.clone()),
            Link::Following {
                identity,
                server,
                current,
            } => (identity, server, current),
        };
        // Read before the configuration is made: a change in between makes a new agent next time.
        let generation = identity.generation();
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, agent)) = current.as_ref()
            && *of == generation
        {
            return Ok(agent.clone());
        }
        let config =
            tls::client_config(identity, server.clone(), &[Alpn::Http11]).map_err(|error| {
                HttpError::Configuration {
                    source: error.into(),
                }
            })?;
        let agent = new_agent(config, lifetime(identity, &server.spiffe_id));
        // Dropping the old agent closes its idle connections; those in use end with their exchange.
        *current = Some((generation, agent.clone()));
        Ok(agent)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("server", &self.server)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// One request and what its answer must be.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Path and query, from `/` on.
    pub path: &'a str,
    /// Content type and body of a `POST`; a `GET` without.
    pub body: Option<(&'static str, &'a [u8])>,
    /// The one content type of a right answer.
    pub accept: &'static str,
    /// Greatest size of a right answer's body.
    pub limit: u64,
    /// From connecting to the last byte of the answer.
    pub timeout: Duration,
}

/// An answer of the right type and size; its body is wiped on drop, since it may hold secrets.
pub struct Answer {
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
    /// The server's clock, if it told.
    pub date: Option<SystemTime>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// The error body of every daemon.
#[derive(Default, serde::Deserialize)]
struct Told {
    // The key management service says `code`.
    #[serde(default, alias = "code")]
    error: String,
    #[serde(default)]
    message: String,
}

/// Checks that a URL is `https://host[:port]`.
///
/// # Errors
///
/// [`HttpError::Url`]: it is not.
pub fn check_url(text: &str) -> Result<Url, HttpError> {
    let refuse = |why| HttpError::Url {
        url: shorten(text),
        why,
    };
    let url = Url::parse(text).map_err(|_| refuse("it does not parse"))?;
    if url.scheme() != "https" {
        return Err(refuse("its scheme is not https"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(refuse("it has no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it carries a user name"));
    }
    if url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
        return Err(refuse("it has more than a host and a port"));
    }
    Ok(url)
}

/// A connection lives no longer than any certificate of either side, by the clock that both are judged by.
fn lifetime(identity: &Arc<TlsIdentity>, server: &SpiffeId) -> Lifetime {
    let identity = Arc::clone(identity);
    let accepted = AcceptedDomains::of(server);
    Arc::new(move |connection| {
        let own = identity.document().not_after();
        // The handshake verified the server; whoever cannot be verified again gets no second exchange.
        let peer = identity
            .peer_principal_of(connection, Usage::Server, &accepted)
            .ok()
            .flatten();
        let until = peer.map_or(0, |peer| own.min(peer.deadline()));
        let clock = Arc::clone(&identity);
        Validity::new(until, move || clock.now())
    })
}

fn new_agent(config: Arc<rustls::ClientConfig>, lifetime: Lifetime) -> Agent {
    let connector = ().chain(TcpConnector::default()).chain(TlsConnector::new(config, lifetime));
    let settings = settings().https_only(true).build();
    Agent::with_parts(settings, connector, DefaultResolver::default())
}

fn settings() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("blindfold/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(limits::MAX_HEADER_BYTES)
        .max_idle_connections(limits::IDLE_CONNECTIONS)
        .max_idle_connections_per_host(limits::IDLE_CONNECTIONS)
        .max_idle_age(limits::IDLE_CONNECTION_AGE)
        .timeout_connect(Some(limits::CONNECT_TIMEOUT))
}

fn configured<B>(
    request: ureq::RequestBuilder<B>,
    exchange: &Exchange<'_>,
) -> ureq::RequestBuilder<B> {
    request
        .header(header::ACCEPT, exchange.accept)
        .config()
        .timeout_global(Some(exchange.timeout))
        .build()
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The media type in lower case, without parameters.
fn content_type(headers: &HeaderMap) -> String {
    let text = header_text(headers, header::CONTENT_TYPE).unwrap_or_default();
    text.split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// The time in a `Date` header (RFC 9110, section 5.6.7).
fn http_date(text: &str) -> Option<SystemTime> {
    jiff::fmt::rfc2822::parse(text)
        .ok()
        .map(|zoned| SystemTime::from(zoned.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_must_be_https_host_and_port_only() {
        for url in [
            "https://127.0.0.1:7443",
            "https://unsealer.example",
            "https://[::1]:1/",
        ] {
            assert!(check_url(url).is_ok(), "{url}");
        }
        for url in [
            "http://127.0.0.1:7443",
            "127.0.0.1:7443",
            "https://",
            "https://user@host",
            "https://host/path",
            "https://host/?query",
            "https://host/#fragment",
            "unix:/run/socket",
        ] {
            assert!(
                matches!(check_url(url), Err(HttpError::Url { .. })),
                "{url}"
            );
        }
    }

    #[test]
    fn date_header_is_read() {
        let read = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(
            read.duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs(),
            784_111_777
        );
        assert_eq!(http_date("yesterday"), None);
    }
}
