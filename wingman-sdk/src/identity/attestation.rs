//! A document for evidence: what is said to the identity authority, and to whom.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use ::identity::{BundleFingerprint, DocumentKey, SiteName, TrustBundle, wire};
use tracing::debug;
use zeroize::Zeroizing;

use super::{
    AuthorityContact, EvidenceRequest, EvidenceSource, IdentityError, authority, clock::Clocks,
    freshness::Confirmed, shared::Obtained,
};
use crate::{
    files,
    http::{HttpClient, HttpError},
    limits,
};

/// Where evidence is shown, by whom it is judged, and where it comes from.
///
/// ```
/// use identity::{BundleFingerprint, SiteName};
/// use wingman_sdk::identity::{Attestation, AuthorityContact, BundlePin, IdentitySource, VoucherFile};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let authority = AuthorityContact {
///     url: "https://identity.acme.example:7443".to_owned(),
///     spiffe_id: "spiffe://acme.example/identity-authority".parse()?,
/// };
/// let fingerprint: BundleFingerprint = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef".parse()?;
/// let voucher = VoucherFile::new("/run/voucher/token");
/// let attestation = Attestation::new(authority, SiteName::parse("paris")?, BundlePin::Fingerprint(fingerprint), voucher);
/// let source = IdentitySource::from_attestation(attestation); // sends nothing yet
/// assert!(source.status().spiffe_id.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Attestation {
    authority: AuthorityContact,
    site: SiteName,
    pin: BundlePin,
    socket: Option<PathBuf>,
    source: Arc<dyn EvidenceSource>,
}

/// By what the authority is known at the first contact. Later on the bundle at hand counts, which follows every
/// replacement of the roots.
#[derive(Clone, Debug)]
pub enum BundlePin {
    /// The fingerprint of its trust bundle, which is fetched.
    Fingerprint(BundleFingerprint),
    /// A file with its trust bundle.
    File(PathBuf),
}

impl Attestation {
    /// Evidence of `source`, shown to `authority` for `site`.
    #[must_use]
    pub fn new(
        authority: AuthorityContact,
        site: SiteName,
        pin: BundlePin,
        source: impl EvidenceSource,
    ) -> Self {
        Self {
            authority,
            site,
            pin,
            socket: None,
            source: Arc::new(source),
        }
    }

    /// Shows the evidence over the authority's Unix socket on this host, as a process attests itself. Renewals go to
    /// the URL.
    #[must_use]
    pub fn over_unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    pub(super) fn source(&self) -> &dyn EvidenceSource {
        &*self.source
    }

    /// One attempt to get a document of `key`. `known` is the bundle at hand, if there is one.
    pub(super) fn attest(
        &self,
        known: Option<&TrustBundle>,
        key: &DocumentKey,
        clocks: &Clocks,
    ) -> Result<Obtained, IdentityError> {
        let trust_domain = self.authority.spiffe_id.trust_domain();
        let known = known.filter(|known| known.trust_domain() == trust_domain);
        let csr_key = key.public_key_sha256();
        let result = match self.try_attest(known, key, &csr_key, clocks) {
            // The roots may have been replaced since: then the pin was too, or there is nobody to believe.
            Err(error @ IdentityError::NotTheAuthority { .. }) => {
                match known.and_then(|known| self.newer_pin(known, clocks)) {
                    Some(pinned) => {
                        debug!(%error, "the authority does not fit the bundle at hand, trying the pinned one");
                        self.try_attest(Some(&pinned), key, &csr_key, clocks)
                    }
                    None => Err(error),
                }
            }
            other => other,
        };
        if matches!(
            result,
            Err(IdentityError::Evidence(_) | IdentityError::EvidenceRefused { .. })
        ) {
            self.source.expect(&csr_key, true);
        }
        result
    }

    /// The pinned bundle, if it knows what the one at hand does not: an older one would bring back an issuing CA that was
    /// revoked since, with whoever stole it in the authority's place.
    fn newer_pin(&self, known: &TrustBundle, clocks: &Clocks) -> Option<TrustBundle> {
        match &self.pin {
            BundlePin::File(path) => self
                .read_bundle(path)
                .ok()
                .filter(|pinned| pinned.sequence() > known.sequence()),
            // The fingerprint is of the roots alone.
            BundlePin::Fingerprint(pin) if *pin == known.fingerprint() => None,
            BundlePin::Fingerprint(pin) => {
                let pinned = authority::pinned_bundle(&self.authority.url, pin, clocks).ok()?;
                let is_new = |anchor| !known.trust_anchors().contains(anchor);
                pinned.trust_anchors().iter().any(is_new).then_some(pinned)
            }
        }
    }

    fn try_attest(
        &self,
        known: Option<&TrustBundle>,
        key: &DocumentKey,
        csr_key: &[u8; 32],
        clocks: &Clocks,
    ) -> Result<Obtained, IdentityError> {
        let asked = Confirmed::now(clocks);
        let (client, bundle) = self.reach(known, clocks)?;
        // Before anything is spent that is good only once.
        let measured = clocks.skew().is_some_and(|skew| skew.is_bearable());
        if let (false, Some(bundle), None) = (measured, &bundle, &self.socket) {
            authority::refresh(&client, bundle).map_err(|error| self.wrong_server(error))?;
            authority::bearable(clocks)?;
        }
        let csr = authority::csr(key)?;
        let challenge = match self.source.prover().map_err(IdentityError::Evidence)? {
            Some(prover) => Some(self.challenge(&client, &csr, prover)?),
            None => None,
        };
        let request = EvidenceRequest {
            csr_key_sha256: csr_key,
            site: &self.site,
            authority: &self.authority.spiffe_id,
            challenge: challenge.as_ref(),
        };
        let evidence = self
            .source
            .evidence(&request)
            .map_err(IdentityError::Evidence)?;
        let kind = evidence.kind();
        let request = wire::AttestRequest {
            site: self.site.clone(),
            csr,
            evidence,
        };
        let body = encode(&request)?;
        let answer: wire::DocumentResponse = client
            .json(
                wire::ATTEST_PATH,
                Some(&body),
                limits::MAX_IDENTITY_ANSWER_BYTES,
            )
            .map_err(|error| self.refused(error, kind))?;
        let bundle = match bundle {
            Some(bundle) => bundle,
            None => self.pinned_in(&answer)?,
        };
        authority::accept(&answer, key, &bundle, self.authority.clone(), asked, clocks)
    }

    /// The way to the authority, and the bundle that it has to fit; over a Unix socket the answer may bring it.
    fn reach(
        &self,
        known: Option<&TrustBundle>,
        clocks: &Clocks,
    ) -> Result<(HttpClient, Option<TrustBundle>), IdentityError> {
        let bundle = match (known, &self.pin) {
            (Some(known), _) => Some(known.clone()),
            (None, BundlePin::File(path)) => Some(self.read_bundle(path)?),
            (None, BundlePin::Fingerprint(_)) if self.socket.is_some() => None,
            (None, BundlePin::Fingerprint(fingerprint)) => {
                let fetched = authority::pinned_bundle(&self.authority.url, fingerprint, clocks);
                Some(fetched.map_err(|error| match error {
                    IdentityError::WrongAuthority { why, .. } => self.wrong(why),
                    other => other,
                })?)
            }
        };
        let client = match (&self.socket, &bundle) {
            (None, Some(bundle)) => authority::stranger(
                &self.authority.url,
                &self.authority.spiffe_id,
                bundle,
                clocks,
            )?,
            (None, None) => return Err(IdentityError::NotRenewable),
            // The same host, the same clock.
            (Some(socket), _) => {
                HttpClient::unix_socket(socket).map_err(IdentityError::Authority)?
            }
        };
        Ok((client, bundle))
    }

    fn read_bundle(&self, path: &Path) -> Result<TrustBundle, IdentityError> {
        let trust_domain = self.authority.spiffe_id.trust_domain();
        let refuse = |why: String| IdentityError::PinnedBundle {
            path: path.into(),
            trust_domain: trust_domain.to_string(),
            why,
        };
        let json = files::read(path, limits::MAX_BUNDLE_BYTES)?;
        let bundle = TrustBundle::from_json(&json).map_err(|error| refuse(error.to_string()))?;
        if bundle.trust_domain() == trust_domain {
            Ok(bundle)
        } else {
            Err(refuse(format!("it is of {}", bundle.trust_domain())))
        }
    }

    fn pinned_in(&self, answer: &wire::DocumentResponse) -> Result<TrustBundle, IdentityError> {
        match &self.pin {
            BundlePin::Fingerprint(pinned) if answer.bundle.fingerprint() == *pinned => {
                Ok(answer.bundle.clone())
            }
            _ => Err(self.wrong("its bundle is not the pinned one".to_owned())),
        }
    }

    fn challenge(
        &self,
        client: &HttpClient,
        csr: &wire::CsrDer,
        prover: wire::Prover,
    ) -> Result<wire::ChallengeResponse, IdentityError> {
        let kind = match prover {
            wire::Prover::X509 { .. } => "x509",
            wire::Prover::Tpm { .. } => "tpm",
            _ => "challenged",
        };
        let body = encode(&wire::ChallengeRequest {
            site: self.site.clone(),
            csr: csr.clone(),
            prover,
        })?;
        client
            .json(
                wire::CHALLENGE_PATH,
                Some(&body),
                limits::MAX_CHALLENGE_ANSWER_BYTES,
            )
            .map_err(|error| self.refused(error, kind))
    }

    fn refused(&self, error: HttpError, attestor: &'static str) -> IdentityError {
        match error {
            HttpError::WrongServer { detail, .. } => self.wrong(detail),
            HttpError::Status {
                status: 400..=428 | 430..=499,
                code,
                message,
                ..
            } => IdentityError::EvidenceRefused {
                url: self.authority.url.clone(),
                attestor,
                message: authority::either(message, code),
            },
            other => IdentityError::Authority(other),
        }
    }

    fn wrong_server(&self, error: IdentityError) -> IdentityError {
        match error {
            IdentityError::Authority(HttpError::WrongServer { detail, .. }) => self.wrong(detail),
            other => other,
        }
    }

    fn wrong(&self, why: String) -> IdentityError {
        IdentityError::NotTheAuthority {
            url: self.authority.url.clone(),
            why,
        }
    }
}

/// Evidence may be a secret until it is used: wiped once sent.
fn encode<T: serde::Serialize>(request: &T) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    serde_json::to_vec(request)
        .map(Zeroizing::new)
        .map_err(|error| IdentityError::Key {
            why: error.to_string(),
        })
}
