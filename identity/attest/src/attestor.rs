//! The trait that every attestor has, what it is told, and what it answers.

use std::fmt;

use identity::join::JoinTokenRecord;
use identity::wire::{Evidence, Prover};
use identity::{Attributes, SiteName, SpiffeId, TrustDomain};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::error::AttestError;
use crate::unix::UnixPeer;

/// One way to show who somebody is, with what one site trusts for it.
pub trait Attestor: Send + Sync + fmt::Debug {
    /// Name, as in rules, records and tables; [`Evidence::kind`] of what it verifies.
    fn kind(&self) -> &'static str;

    /// Makes a challenge for evidence that answers one.
    ///
    /// # Errors
    ///
    /// [`AttestError::NoChallenge`] where evidence answers none; otherwise what is wrong with `prover`.
    fn challenge(
        &self,
        prover: &Prover,
        context: &ChallengeContext<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Challenge, AttestError> {
        let _ = (prover, context, rng);
        Err(AttestError::NoChallenge)
    }

    /// Verifies the evidence, then parses the bytes that were verified.
    ///
    /// # Errors
    ///
    /// [`AttestError`]: for the audit log; whoever showed the evidence hears "denied".
    fn verify(&self, evidence: &Evidence, context: &Context<'_>) -> Result<Attested, AttestError>;
}

/// What an attestor is told about the request.
///
/// Everything in it was established by the authority, not by whoever shows the evidence.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Unix seconds.
    pub now: u64,
    /// SHA-256 of the public key of the verified CSR: [`identity::issue::Csr::public_key_sha256`].
    pub csr_key_sha256: &'a [u8; 32],
    /// The site whose rules these are.
    pub site: &'a SiteName,
    /// The authority's trust domain.
    pub trust_domain: &'a TrustDomain,
    /// The authority itself: whom evidence must be meant for.
    pub audience: &'a SpiffeId,
    /// The challenge that the evidence answers, as the authority opened it: made for this site, kind and key, and not
    /// expired.
    pub challenge: Option<&'a OpenedChallenge>,
    /// Who is at the other end of the Unix socket that the request came from.
    pub unix_peer: Option<&'a UnixPeer>,
    /// The row of the join token whose hash the request's secret has.
    pub join_token: Option<&'a JoinTokenRecord>,
}

/// What an attestor is told when it makes a challenge.
#[derive(Clone, Copy, Debug)]
pub struct ChallengeContext<'a> {
    /// Unix seconds.
    pub now: u64,
    /// SHA-256 of the public key of the verified CSR.
    pub csr_key_sha256: &'a [u8; 32],
    /// The site whose rules these are.
    pub site: &'a SiteName,
    /// The authority's trust domain.
    pub trust_domain: &'a TrustDomain,
    /// The authority itself.
    pub audience: &'a SpiffeId,
}

/// A challenge that was just made. The authority seals `nonce` and `state`, bound to site, kind, key and expiry.
pub struct Challenge {
    /// What is to be signed.
    pub nonce: [u8; 32],
    /// What the attestor needs to check the answer; never leaves the authority unsealed. At most
    /// [`crate::limits::MAX_CHALLENGE_STATE_BYTES`].
    pub state: Zeroizing<Vec<u8>>,
    /// TPM only: `TPM2B_ID_OBJECT`.
    pub credential_blob: Option<Vec<u8>>,
    /// TPM only: `TPM2B_ENCRYPTED_SECRET`.
    pub encrypted_secret: Option<Vec<u8>>,
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge").finish_non_exhaustive()
    }
}

/// A challenge that came back and was opened by the authority.
pub struct OpenedChallenge {
    /// As in [`Challenge::nonce`].
    pub nonce: [u8; 32],
    /// As in [`Challenge::state`].
    pub state: Zeroizing<Vec<u8>>,
    /// First second at which it is expired, Unix seconds.
    pub expires_at: u64,
}

impl fmt::Debug for OpenedChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedChallenge")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// What evidence comes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attested {
    /// What was attested.
    pub claim: Claim,
    /// Whoever it was attested about, unique within site and kind; documents of one subject replace each other.
    pub subject: Option<String>,
    /// Of the subject, may not go back.
    pub sequence: Option<u64>,
    /// What the evidence may be used for once.
    pub single_use: Option<SingleUse>,
    /// Greatest lifetime of the document in seconds, as the evidence bounds it.
    pub lifetime: Option<u64>,
    /// By how many seconds the clock of whoever made the evidence is ahead of the authority's, where it tells; a
    /// negative one is behind, delays on the way included.
    pub clock_ahead: Option<i64>,
}

/// What was attested.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Claim {
    /// SPIFFE ID and attributes, named by somebody who may.
    Named {
        /// Who it becomes.
        spiffe_id: SpiffeId,
        /// With these attributes.
        attributes: Attributes,
    },
    /// Facts, which the rules of the site map to a SPIFFE ID and attributes.
    Facts(Attributes),
}

/// Something that may be used once in a site, by evidence of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SingleUse {
    /// What.
    pub id: [u8; 32],
    /// From this second on the evidence is refused for its age alone, with room for clocks that differ; Unix seconds.
    pub expires_at: u64,
}
