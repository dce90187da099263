//! What the snapshot looks like to those who ask for bundles.

use axum::body::Bytes;
use identity::bundle::{SpiffeBundle, spiffe_bundle_json};
use identity::wire::{FederatedBundles, IssuerState};
use identity::{TrustBundle, TrustDomain};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use super::RegistryError;
use crate::limits;
use crate::tables::{FederationRow, IssuerRow, TablesError};

/// Bodies and validators of the bundle's endpoints.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) bundle: Bytes,
    /// Changes with everything that whoever holds the bundle wants to know: its own content, and the federated bundles.
    pub(crate) etag: String,
    /// The same for other SPIFFE software.
    pub(crate) spiffe: Bytes,
    pub(crate) spiffe_etag: String,
    /// Of other trust domains; nothing without one.
    pub(crate) federated: Option<Federated>,
}

/// The bundles of other trust domains.
#[derive(Debug)]
pub(crate) struct Federated {
    pub(crate) bundles: Vec<TrustBundle>,
    pub(crate) json: Bytes,
    pub(crate) etag: String,
}

impl Published {
    pub(super) fn new(
        bundle: &TrustBundle,
        issuers: &[IssuerRow],
        federations: &[FederationRow],
    ) -> Result<Self, RegistryError> {
        let trust_domain = bundle.trust_domain();
        let federated = Federated::new(trust_domain, federations);
        let sequence = bundle.sequence();
        let etag = match &federated {
            None => format!("\"{trust_domain}-{sequence}\""),
            Some(federated) => format!(
                "\"{trust_domain}-{sequence}-{}\"",
                federated.etag.trim_matches('"')
            ),
        };
        let hint = limits::FEDERATION_REFRESH_HINT.as_secs();
        let authorities = authorities_of(issuers)?;
        Ok(Self {
            bundle: Bytes::from(bundle.to_json()),
            etag,
            spiffe: Bytes::from(spiffe_bundle_json(&authorities, sequence, hint)?),
            spiffe_etag: format!("\"spiffe-{trust_domain}-{sequence}\""),
            federated,
        })
    }

    /// The bundles of other trust domains.
    pub(crate) fn federated_bundles(&self) -> &[TrustBundle] {
        self.federated
            .as_ref()
            .map_or(&[], |federated| &federated.bundles)
    }
}

impl Federated {
    /// Reads the stored documents again. What can't be read is left out, so that nobody of it is believed: no other
    /// trust domain's document keeps this authority from its work.
    fn new(own: &TrustDomain, rows: &[FederationRow]) -> Option<Self> {
        if rows.is_empty() {
            return None;
        }
        let bundles = rows.iter().filter_map(|row| {
            let trust_domain = TrustDomain::parse(&row.trust_domain).ok()?;
            let read = SpiffeBundle::from_json(&trust_domain, row.bundle.as_bytes());
            if read.is_err() || trust_domain == *own {
                tracing::error!(%trust_domain, "the stored bundle of a federated trust domain can't be used");
                return None;
            }
            // None: it has revoked everything.
            read.ok()?.bundle
        });
        let answer = FederatedBundles {
            bundles: bundles.collect(),
        };
        // Types that always serialize.
        let json = serde_json::to_vec(&answer).unwrap_or_default();
        let hash: [u8; 32] = Sha256::digest(&json).into();
        let short: String = hash
            .iter()
            .take(ETAG_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Some(Self {
            bundles: answer.bundles,
            json: Bytes::from(json),
            etag: format!("\"{short}\""),
        })
    }
}

/// Enough that no two federated bundles in the life of a daemon share a validator.
const ETAG_BYTES: usize = 16;

/// The issuing CAs whose documents count, as certificates.
fn authorities_of(issuers: &[IssuerRow]) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    issuers
        .iter()
        .filter(|issuer| issuer.state != IssuerState::Revoked)
        .map(|issuer| {
            CertificateDer::from_pem_slice(issuer.chain.as_bytes()).map_err(|_| {
                RegistryError::Tables(TablesError::Damaged(
                    "an issuing CA that is no PEM certificate",
                ))
            })
        })
        .collect()
}
