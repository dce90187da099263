//! Attestation on the wire: which attestors a site allows, and the evidence shown to them.
//!
//! | request | who | body | answer |
//! |---|---|---|---|
//! | `POST /v1/challenge` | anybody | [`ChallengeRequest`] | [`ChallengeResponse`] |
//! | `POST /v1/attest` | whoever has evidence | [`AttestRequest`] | [`super::DocumentResponse`] |
//!
//! A challenge is opaque to the client: it holds, sealed by the authority, what the answer is checked against, so that
//! any replica can check it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::CsrDer;
use crate::join::JoinSecretHash;
use crate::spiffe_id::SiteName;

/// Path of [`AttestRequest`].
pub const ATTEST_PATH: &str = "/v1/attest";
/// Path of [`ChallengeRequest`].
pub const CHALLENGE_PATH: &str = "/v1/challenge";

/// An attestor that a site allows, with what it trusts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum AttestorRule {
    /// Single-use join tokens that administrators make.
    JoinToken {},
    /// Tokens signed by the site's voucher: they name SPIFFE ID and attributes themselves.
    Voucher {
        /// The voucher's public keys; two overlap while one is replaced.
        keys: Vec<VoucherKey>,
    },
    /// Possession of a certificate of another CA.
    X509 {
        /// Trust anchors, PEM.
        anchors: Vec<String>,
        /// What the facts become.
        mapping: Mapping,
    },
    /// An AWS instance identity document, one identity for each instance.
    Aws {
        /// Certificates that sign the documents of the regions allowed, PEM.
        certificates: Vec<String>,
        /// Account numbers; none allows none.
        accounts: Vec<String>,
        /// What the facts become.
        mapping: Mapping,
    },
    /// A TPM 2.0, by credential activation.
    Tpm {
        /// Trust anchors of endorsement key certificates, PEM; may be empty when keys are listed.
        #[serde(default)]
        anchors: Vec<String>,
        /// SHA-256 of endorsement public keys (`TPMT_PUBLIC`), lower-case hex, that need no certificate.
        #[serde(default)]
        endorsement_keys: Vec<String>,
        /// What the facts become.
        mapping: Mapping,
    },
    /// A process on the authority's own host, over its Unix socket.
    Unix {
        /// User numbers; none allows none.
        uids: Vec<u32>,
        /// SHA-256 of executables, lower-case hex; empty allows any.
        #[serde(default)]
        executables: Vec<String>,
        /// What the facts become.
        mapping: Mapping,
    },
}

/// A public key of a voucher.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoucherKey {
    /// Named in the header of tokens, 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
    pub kid: String,
    /// `SubjectPublicKeyInfo` as PEM: P-256 (ES256) or P-384 (ES384).
    pub public_key: String,
}

/// How facts become a SPIFFE ID and attributes: `{name}` stands for the fact of that name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Such as `spiffe://acme.example/paris/host/{instance_id}`; each fact fills a part of one segment.
    pub spiffe_id: String,
    /// Attributes and their templates.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// Body of `POST /v1/challenge`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// The site that is to vouch.
    pub site: SiteName,
    /// Request for the document that the evidence will be shown for.
    pub csr: CsrDer,
    /// For which attestor.
    pub prover: Prover,
}

/// Who wants a challenge, and what it is made for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Prover {
    /// [`Evidence::X509`].
    X509 {},
    /// [`Evidence::Tpm`].
    Tpm {
        /// `TPM2B_PUBLIC` of the endorsement key, base64.
        endorsement_key: String,
        /// Certificates of the endorsement key, leaf first, DER in base64; may be empty.
        endorsement_chain: Vec<String>,
        /// `TPM2B_PUBLIC` of the attestation key, base64.
        attestation_key: String,
    },
}

/// Answer to a challenge request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeResponse {
    /// To be sent back as it is.
    pub challenge: String,
    /// What is to be signed: 32 bytes, base64.
    pub nonce: String,
    /// TPM only: `TPM2B_ID_OBJECT`, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_blob: Option<String>,
    /// TPM only: `TPM2B_ENCRYPTED_SECRET`, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted_secret: Option<String>,
}

/// Body of `POST /v1/attest`. Voucher tokens are secrets until they are used: `Debug` is redacted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestRequest {
    /// The site that vouches.
    pub site: SiteName,
    /// Request for the document.
    pub csr: CsrDer,
    /// What is shown.
    pub evidence: Evidence,
}

/// What is shown to an attestor.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Evidence {
    /// A join token's secret. Not on the wire: [`super::JoinRequest`] carries it, and the authority puts its hash here.
    #[serde(skip)]
    JoinToken {
        /// Hash of the secret that was shown.
        secret_hash: JoinSecretHash,
    },
    /// A token of the site's voucher: compact JWS (RFC 7515).
    Voucher {
        /// The token.
        token: Zeroizing<String>,
    },
    /// A certificate and its key's signature over the challenge.
    X509 {
        /// Leaf first, DER in base64.
        chain: Vec<String>,
        /// Of [`ChallengeResponse`].
        challenge: String,
        /// Signature in the algorithm of the key, base64.
        signature: String,
    },
    /// An instance identity document, byte by byte, with its PKCS #7 signature.
    Aws {
        /// The document as the metadata service gives it.
        document: String,
        /// `rsa2048` of the metadata service: base64, line ends allowed.
        signature: String,
    },
    /// The activated credential and a quote over the challenge.
    Tpm {
        /// Of [`ChallengeResponse`].
        challenge: String,
        /// The activated secret, base64.
        secret: Zeroizing<String>,
        /// `TPMS_ATTEST` of the quote, base64.
        quote: String,
        /// `TPMT_SIGNATURE` of the quote, base64.
        signature: String,
        /// SHA-256 registers that were quoted, ascending by number, lower-case hex.
        pcrs: Vec<String>,
    },
    /// Nothing: the kernel says who is at the other end of the Unix socket.
    Unix {},
}

impl Evidence {
    /// Name of the attestor, as in rules and records.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::JoinToken { .. } => "join_token",
            Self::Voucher { .. } => "voucher",
            Self::X509 { .. } => "x509",
            Self::Aws { .. } => "aws",
            Self::Tpm { .. } => "tpm",
            Self::Unix {} => "unix",
        }
    }
}

impl Prover {
    /// Name of the attestor, as in rules and records.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::X509 {} => "x509",
            Self::Tpm { .. } => "tpm",
        }
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evidence")
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}
