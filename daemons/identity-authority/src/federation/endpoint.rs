//! Our bundle document for the profile `https_web`: a small listener with a certificate of the web.
//!
//! It answers `GET` and `HEAD` of `/` and `/v1/spiffe-bundle`, and nothing else; what it serves is public. TLS 1.2 and
//! 1.3, HTTP/1.1, one deadline for each connection.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use identity::wire::SPIFFE_BUNDLE_PATH;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use service::files;
use service::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use crate::api;
use crate::authority::Inner;
use crate::config::BundleEndpointConfig;
use crate::error::AuthorityError;
use crate::limits;

/// The bound listener.
#[derive(Debug)]
pub(crate) struct BundleEndpoint {
    listener: TcpListener,
    address: SocketAddr,
    credential: Credential,
    acceptor: Acceptor,
}

struct Acceptor(TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

/// The web certificate's files, and which of their versions is in use.
#[derive(Debug)]
struct Credential {
    certificate: PathBuf,
    key: PathBuf,
    version: Option<[SystemTime; 2]>,
}

impl BundleEndpoint {
    /// Reads the certificate and binds the address.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::BundleEndpoint`], [`AuthorityError::Bind`], [`AuthorityError::File`].
    pub(crate) async fn bind(config: &BundleEndpointConfig) -> Result<Self, AuthorityError> {
        let mut credential = Credential {
            certificate: config.certificate.to_path_buf(),
            key: config.key.to_path_buf(),
            version: None,
        };
        let acceptor = Acceptor(credential.load()?);
        let bind = |cause| AuthorityError::Bind {
            address: config.address,
            cause,
        };
        let listener = TcpListener::bind(config.address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self {
            listener,
            address,
            credential,
            acceptor,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`.
    pub(crate) async fn serve(mut self, inner: Arc<Inner>, shutdown: Shutdown) {
        let router = Router::new()
            .route("/", get(api::bundle::spiffe_bundle))
            .route(SPIFFE_BUNDLE_PATH, get(api::bundle::spiffe_bundle))
            .with_state(inner);
        let seats = Arc::new(Semaphore::new(limits::BUNDLE_ENDPOINT_CONNECTIONS));
        let mut tasks = JoinSet::new();
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.wait() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if looked.elapsed() >= limits::CREDENTIAL_POLL {
                            looked = Instant::now();
                            self.reload();
                        }
                        // Whoever finds no seat is hung up on: the bundle is fetched again later.
                        if let Ok(seat) = Arc::clone(&seats).try_acquire_owned() {
                            let (acceptor, router) = (self.acceptor.0.clone(), router.clone());
                            tasks.spawn(async move {
                                let _ = timeout(
                                    limits::BUNDLE_ENDPOINT_DEADLINE,
                                    answer(stream, acceptor, router),
                                )
                                .await;
                                drop(seat);
                            });
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "can't accept at the bundle endpoint; raise the limit of open files if this stays");
                        tokio::time::sleep(limits::UNIX_ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        drop(self.listener);
        // Bounded by the deadline of each.
        while tasks.join_next().await.is_some() {}
    }

    /// Takes over a renewed certificate; one that can't be used changes nothing.
    fn reload(&mut self) {
        if self.credential.current() == self.credential.version {
            return;
        }
        match self.credential.load() {
            Ok(acceptor) => {
                self.acceptor = Acceptor(acceptor);
                tracing::info!("the bundle endpoint's certificate was read again");
            }
            Err(error) => {
                tracing::error!(%error, "the bundle endpoint goes on with its former certificate");
            }
        }
    }
}

impl Credential {
    fn current(&self) -> Option<[SystemTime; 2]> {
        let modified = |path: &Path| path.metadata().and_then(|found| found.modified()).ok();
        Some([modified(&self.certificate)?, modified(&self.key)?])
    }

    fn load(&mut self) -> Result<TlsAcceptor, AuthorityError> {
        let version = self.current();
        let refused = |why: &str| AuthorityError::BundleEndpoint(why.to_owned());
        let chain = files::read_bounded(&self.certificate, limits::WEB_CHAIN_BYTES)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain)
            .collect::<Result<_, _>>()
            .map_err(|_| refused("its certificate is not PEM"))?;
        let key = files::read_secret(&self.key, limits::WEB_CHAIN_BYTES)?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| refused("its private key is not PEM"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(&error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| refused(&error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        self.version = version;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// One request of one connection.
async fn answer(stream: TcpStream, acceptor: TlsAcceptor, router: Router) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    // Whoever breaks off is not worth a line: strangers come here.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_headers(limits::BUNDLE_ENDPOINT_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
}
