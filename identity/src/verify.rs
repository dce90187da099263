//! Verification of a peer's certificate chain: the one way to a [`Principal`].
//!
//! rustls-webpki builds and checks the path; the rules it does not know are checked on the same bytes, inside the
//! path it accepted. Identity and attributes are read from the leaf whose signature was verified, never from another
//! certificate of the chain.
//!
//! | rule | by |
//! |---|---|
//! | chain to an anchor of the bundle, each signature, CA bit, path lengths | webpki |
//! | validity of leaf and intermediates at the time given | webpki |
//! | validity of the anchor at the time given | here |
//! | intermediates: `keyCertSign`, critical basic constraints, own trust domain | here |
//! | leaf: everything in the profile of an identity document | here |
//! | trust domain of the leaf is the bundle's | here |
//! | extended key usage fits the peer's role | webpki and here |
//! | site not disabled, instance not revoked | here |
//! | the CA that signed the leaf is one of the bundle's issuers, if it names any; for the identity authority, or one that began after the bundle was made | here |
//! | at most four certificates of at most 16 KiB | here, before anything is parsed |
//!
//! Specification: SPIFFE X509-SVID, section 5; RFC 5280, section 6.

use core::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::bundle::{Anchor, TrustBundle};
use crate::ec;
use crate::limits::{MAX_CERTIFICATE_BYTES, MAX_CHAIN_CERTIFICATES};
use crate::principal::Principal;
use crate::spiffe_id::SpiffeId;
use crate::x509::CertificateError;
use crate::x509::authority::Authority;
use crate::x509::leaf::Leaf;

/// Role in which the peer shows its document.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Usage {
    /// The peer is the TLS client.
    Client,
    /// The peer is the TLS server.
    Server,
}

/// Verifies a peer's chain, leaf first, under `bundle` at `now` (Unix seconds).
///
/// # Errors
///
/// The rule that the chain breaks, see [`VerifyError`].
pub fn verify_peer(
    chain: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    usage: Usage,
    now: u64,
) -> Result<Principal, VerifyError> {
    if chain.len() > MAX_CHAIN_CERTIFICATES {
        return Err(VerifyError::ChainTooLong);
    }
    if chain
        .iter()
        .any(|certificate| certificate.len() > MAX_CERTIFICATE_BYTES)
    {
        return Err(VerifyError::Certificate(CertificateError::TooLong));
    }
    let (leaf_der, intermediates) = chain.split_first().ok_or(VerifyError::NoCertificate)?;
    let leaf = Leaf::from_der(leaf_der).map_err(VerifyError::Certificate)?;
    if leaf.spiffe_id.trust_domain() != bundle.trust_domain() {
        return Err(VerifyError::TrustDomain);
    }
    // Before the signatures: a site that was switched off costs its verifiers next to nothing.
    if bundle.is_disabled(&leaf.spiffe_id) {
        return Err(VerifyError::SiteDisabled);
    }
    if bundle.is_revoked(&leaf.attributes, leaf.not_before) {
        return Err(VerifyError::InstanceRevoked);
    }
    let (fits, key_usage) = match usage {
        Usage::Client => (leaf.client, KeyUsage::client_auth()),
        Usage::Server => (leaf.server, KeyUsage::server_auth()),
    };
    if !fits {
        return Err(VerifyError::ExtendedKeyUsage);
    }
    let valid = |anchor: &&Anchor| anchor.not_before <= now && now <= anchor.not_after;
    let anchors: Vec<&Anchor> = bundle.anchors().iter().filter(valid).collect();
    if anchors.is_empty() {
        return Err(VerifyError::AnchorsExpired);
    }
    let trust_anchors: Vec<TrustAnchor<'_>> = anchors
        .iter()
        .map(|anchor| anchor.trust_anchor.clone())
        .collect();

    let end_entity = EndEntityCert::try_from(leaf_der)
        .map_err(|_| VerifyError::Certificate(CertificateError::Encoding))?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let check_path = |path: &VerifiedPath<'_>| {
        // The leaf that was verified is the leaf that was read.
        if path.end_entity().der() != *leaf_der {
            return Err(webpki::Error::UnknownIssuer);
        }
        Lifespan::of(path, &leaf, bundle)?;
        // Here, so that another path is tried whose issuer is allowed.
        let anchor = anchor_of(path, &anchors).ok_or(webpki::Error::UnknownIssuer)?;
        let issuer = issuer_of(path, anchor);
        let allowed = bundle.allows_issuer(&issuer.fingerprint)
            || bundle.is_before_issuer_of(&leaf.spiffe_id, issuer.not_before);
        if allowed {
            Ok(())
        } else {
            Err(webpki::Error::CertRevoked)
        }
    };
    let path = end_entity
        .verify_for_usage(
            ALGORITHMS,
            &trust_anchors,
            intermediates,
            time,
            key_usage,
            None,
            Some(&check_path),
        )
        .map_err(|error| from_webpki(&error))?;
    let anchor = anchor_of(&path, &anchors).ok_or(VerifyError::UnknownIssuer)?;
    let lifespan = Lifespan::of(&path, &leaf, bundle).map_err(|error| from_webpki(&error))?;
    let issuer = issuer_of(&path, anchor);

    let principal = Principal {
        fingerprint: Sha256::digest(leaf_der).into(),
        anchor_fingerprint: anchor.fingerprint,
        issuer_fingerprint: issuer.fingerprint,
        issuer_not_before: issuer.not_before,
        public_key_sha256: ec::spki_sha256(&leaf.spki_der),
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        valid_from: lifespan.not_before.max(anchor.not_before),
        deadline: lifespan.not_after.min(anchor.not_after),
        spiffe_id: leaf.spiffe_id,
        attributes: leaf.attributes,
    };
    principal.recheck(bundle, now)?;
    Ok(principal)
}

/// The anchor at which a path ends.
fn anchor_of<'a>(path: &VerifiedPath<'_>, anchors: &[&'a Anchor]) -> Option<&'a Anchor> {
    anchors
        .iter()
        .copied()
        .find(|anchor| anchor.trust_anchor == *path.anchor())
}

/// The CA certificate that signed the leaf.
struct SignedBy {
    fingerprint: [u8; 32],
    not_before: u64,
}

fn issuer_of(path: &VerifiedPath<'_>, anchor: &Anchor) -> SignedBy {
    match path.intermediate_certificates().next() {
        Some(issuer) => SignedBy {
            fingerprint: Sha256::digest(issuer.der()).into(),
            // One that can't be read was refused before; it would be older than every bundle.
            not_before: Authority::from_der(&issuer.der())
                .map_or(0, |authority| authority.not_before),
        },
        None => SignedBy {
            fingerprint: anchor.fingerprint,
            not_before: anchor.not_before,
        },
    }
}

/// Time in which all certificates of a path below its anchor are valid.
struct Lifespan {
    not_before: u64,
    not_after: u64,
}

impl Lifespan {
    /// Checks the intermediates by the rules that webpki does not know.
    fn of(
        path: &VerifiedPath<'_>,
        leaf: &Leaf,
        bundle: &TrustBundle,
    ) -> Result<Self, webpki::Error> {
        let mut span = Self {
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        };
        for intermediate in path.intermediate_certificates() {
            let authority = Authority::from_der(&intermediate.der())
                .map_err(|_| webpki::Error::EndEntityUsedAsCa)?;
            if authority
                .trust_domain
                .is_some_and(|named| named != *bundle.trust_domain())
            {
                return Err(webpki::Error::EndEntityUsedAsCa);
            }
            span.not_before = span.not_before.max(authority.not_before);
            span.not_after = span.not_after.min(authority.not_after);
        }
        Ok(span)
    }
}

/// Signature algorithms of certificates.
pub(crate) const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::aws_lc_rs::ECDSA_P256_SHA256,
    webpki::aws_lc_rs::ECDSA_P384_SHA384,
];

fn from_webpki(error: &webpki::Error) -> VerifyError {
    match error {
        webpki::Error::CertExpired { not_after, .. } => VerifyError::Expired {
            not_after: not_after.as_secs(),
        },
        webpki::Error::CertNotValidYet { not_before, .. } => VerifyError::NotYetValid {
            not_before: not_before.as_secs(),
        },
        webpki::Error::InvalidSignatureForPublicKey => VerifyError::Signature,
        webpki::Error::UnknownIssuer => VerifyError::UnknownIssuer,
        // No revocation list is ever handed to webpki: only the rule on issuers says this.
        webpki::Error::CertRevoked => VerifyError::IssuerRevoked,
        webpki::Error::PathLenConstraintViolated => VerifyError::PathLength,
        webpki::Error::CaUsedAsEndEntity => VerifyError::Certificate(CertificateError::IsCa),
        webpki::Error::RequiredEkuNotFoundContext(_) | webpki::Error::EmptyEkuExtension => {
            VerifyError::ExtendedKeyUsage
        }
        webpki::Error::UnsupportedSignatureAlgorithmContext(_)
        | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            VerifyError::SignatureAlgorithm
        }
        webpki::Error::MaximumSignatureChecksExceeded
        | webpki::Error::MaximumPathBuildCallsExceeded
        | webpki::Error::MaximumPathDepthExceeded => VerifyError::ChainTooLong,
        // The leaf was read by stricter rules before: what is malformed lies above it.
        _ => VerifyError::Intermediate,
    }
}

/// Reason a peer was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The peer showed no certificate.
    #[error("peer showed no identity document")]
    NoCertificate,
    /// More than four certificates, or too many ways to combine them.
    #[error("certificate chain is too long: at most four certificates, leaf first")]
    ChainTooLong,
    /// A certificate that is no identity document.
    #[error("peer's certificate is not an identity document")]
    Certificate(#[source] CertificateError),
    /// A certificate between leaf and anchor that is no CA of this trust domain.
    #[error("an intermediate certificate is not a CA of this trust domain")]
    Intermediate,
    /// More CAs below one another than one of them allows.
    #[error("certificate chain violates a path length constraint")]
    PathLength,
    /// Another trust domain than the bundle's.
    #[error("peer is of another trust domain")]
    TrustDomain,
    /// The document is not for this TLS role.
    #[error("extended key usage does not cover the peer's TLS role")]
    ExtendedKeyUsage,
    /// No anchor of the bundle is valid at this time.
    #[error("no trust anchor of the bundle is valid now: check the clock, then refresh the bundle")]
    AnchorsExpired,
    /// No path to an anchor of the bundle.
    #[error(
        "peer's document does not chain to the trust bundle: refresh the bundle, or the peer is not of this domain"
    )]
    UnknownIssuer,
    /// A signature in the chain is not its issuer's.
    #[error("a signature in the peer's certificate chain is wrong")]
    Signature,
    /// A signature of another algorithm than the two accepted.
    #[error(
        "a signature in the peer's certificate chain is neither ECDSA P-256/SHA-256 nor P-384/SHA-384"
    )]
    SignatureAlgorithm,
    /// Before its validity.
    #[error("certificate is valid only from Unix time {not_before} on: check the clocks")]
    NotYetValid {
        /// Start of the validity, Unix seconds.
        not_before: u64,
    },
    /// After its validity.
    #[error(
        "certificate expired at Unix time {not_after}: the peer must renew its identity document"
    )]
    Expired {
        /// Last second of the validity, Unix seconds.
        not_after: u64,
    },
    /// Its site was switched off.
    #[error("peer's site is disabled")]
    SiteDisabled,
    /// Its instance was revoked, or a newer document of the instance has superseded this one.
    #[error("peer's instance is revoked, or this document of it was superseded by a newer one")]
    InstanceRevoked,
    /// The CA that signed its document is not one of the bundle's.
    #[error(
        "the CA that signed the peer's document is revoked or not known yet: the peer must get a new identity document"
    )]
    IssuerRevoked,
    /// The anchor it was verified under left the bundle.
    #[error("peer's trust anchor left the bundle: the peer must renew its identity document")]
    AnchorRemoved,
    /// The server is not the one expected.
    #[error(
        "server proved to be {found}, expected was {expected}: check the URL and the SPIFFE ID configured for it"
    )]
    UnexpectedServer {
        /// Who it should have been.
        expected: SpiffeId,
        /// Who it is.
        found: SpiffeId,
    },
    /// A sound identity, but none that may be at the other end.
    #[error("peer proved to be {found}, which is not admitted: {why}")]
    Unauthorized {
        /// Who it is.
        found: SpiffeId,
        /// Which requirement it does not meet.
        why: &'static str,
    },
    /// The handshake is not finished, or resumed an older connection.
    #[error("connection has no finished full handshake")]
    Handshake,
}

#[cfg(test)]
mod tests;
