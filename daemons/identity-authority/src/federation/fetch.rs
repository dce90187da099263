//! One fetch of another trust domain's bundle.

use std::sync::Arc;

use identity::bundle::SpiffeBundle;
use identity::http::{ANY, Conditional, HttpClient, HttpError};
use identity::limits::MAX_FOREIGN_BUNDLE_BYTES;
use identity::tls::{Alpn, TlsError, bootstrap};
use identity::{BundleError, TrustBundle, TrustDomain};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use service::files::{self, FileError};

use crate::config::FederationConfig;
use crate::limits;
use crate::tables::FederationRow;

/// A document, read.
#[derive(Debug)]
pub(super) struct Fetched {
    document: String,
    pub(super) sequence: Option<u64>,
    refresh_hint: Option<u64>,
    pub(super) skipped: usize,
}

impl Fetched {
    /// Reads a document; what it keeps is the very text that was read.
    pub(super) fn read(trust_domain: &TrustDomain, document: &[u8]) -> Result<Self, FetchError> {
        let read = SpiffeBundle::from_json(trust_domain, document)?;
        let document = String::from_utf8(document.to_vec())
            .map_err(|_| BundleError::Json("not UTF-8".to_owned()))?;
        Ok(Self {
            document,
            // Zero is a publisher that does not count.
            sequence: read
                .bundle
                .as_ref()
                .map(TrustBundle::sequence)
                .filter(|&sequence| sequence > 0),
            refresh_hint: read.refresh_hint_seconds,
            skipped: read.skipped,
        })
    }

    pub(super) fn into_row(self, trust_domain: &TrustDomain, fetched_at: u64) -> FederationRow {
        FederationRow {
            trust_domain: trust_domain.as_str().to_owned(),
            bundle: self.document,
            sequence: self.sequence,
            refresh_hint: self.refresh_hint,
            fetched_at,
        }
    }
}

/// Fetches, over a connection whose server has proven who it is by the profile's rules.
pub(super) fn fetch(
    trust_domain: &TrustDomain,
    config: &FederationConfig,
    known: Option<&TrustBundle>,
) -> Result<Fetched, FetchError> {
    let (server, path) = config.url().ok_or(FetchError::Endpoint)?;
    let (tls, expected) = match config {
        FederationConfig::HttpsWeb { web_roots, .. } => (
            web(web_roots)?,
            format!("a server of that name, by {}", web_roots.display()),
        ),
        FederationConfig::HttpsSpiffe {
            endpoint_spiffe_id, ..
        } => {
            // Section 5.2.2: the endpoint is authenticated by the bundle that is known of its trust domain.
            let known = known.ok_or(FetchError::NoBundle)?;
            let server = endpoint_spiffe_id.clone();
            let tls = bootstrap::anonymous_client_config(
                Arc::new(known.clone()),
                server,
                &[Alpn::Http11],
            )?;
            (tls, endpoint_spiffe_id.to_string())
        }
    };
    let question = Conditional {
        path: &path,
        etag: None,
        wait: std::time::Duration::ZERO,
        limit: MAX_FOREIGN_BUNDLE_BYTES as u64,
        // The specification names no media type.
        accept: ANY,
    };
    let answer = HttpClient::stranger(&server, tls, &expected)?.get_conditionally(&question)?;
    let document = answer.content.ok_or(FetchError::Endpoint)?;
    Fetched::read(trust_domain, &document.body)
}

/// The web's rules: a chain to one of its roots, for the host in the URL.
fn web(roots: &std::path::Path) -> Result<Arc<ClientConfig>, FetchError> {
    let pem = files::read_bounded(roots, limits::WEB_ROOTS_BYTES)?;
    let mut store = RootCertStore::empty();
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .filter_map(Result::ok)
        .collect();
    // Of the hundreds in a usual file some are of a kind that is not read here.
    let (usable, _) = store.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(FetchError::WebRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| FetchError::WebRoots)?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Reason a bundle was not fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// Not a URL, or no document there.
    #[error("there is no bundle document at the endpoint")]
    Endpoint,
    /// Nothing to authenticate the endpoint with.
    #[error(
        "no bundle of the trust domain is known that could vouch for its endpoint: obtain it anew and put it into the file \
         of the setting `bundle`"
    )]
    NoBundle,
    /// No root in the file.
    #[error("the file of the setting `web_roots` holds no usable certificate")]
    WebRoots,
    /// A file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The exchange failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The TLS library refused.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not a bundle document.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The publisher went back.
    #[error(
        "the endpoint's bundle has sequence {offered}, older than {former}: nothing is taken over"
    )]
    Older {
        /// At hand.
        former: u64,
        /// What came.
        offered: u64,
    },
    /// The store can't be written.
    #[error("the bundle can't be stored: {0}")]
    Store(String),
    /// The thread was ended.
    #[error("the fetch was ended")]
    Ended,
}
