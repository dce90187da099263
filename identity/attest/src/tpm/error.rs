//! Why evidence of a TPM was refused.

/// Reason evidence of a TPM was refused; for the audit log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// Not base64, or longer than it can be.
    #[error("{0} is not base64 or too long")]
    Encoding(&'static str),
    /// Not an endorsement key of the usual templates.
    #[error("endorsement key is not one of the templates L-1 (RSA-2048) and L-2 (P-256)")]
    EndorsementKey,
    /// Not a key that signs only what its TPM made.
    #[error("attestation key is not a restricted signing key that its TPM made and keeps")]
    AttestationKey,
    /// Neither listed nor certified.
    #[error(
        "endorsement key is not listed in 'endorsement_keys', and no certificate of it leads to 'anchors'"
    )]
    UnknownEndorsementKey,
    /// The certificate verified, and says something about another key, or about one for signatures, or nothing that can be
    /// read.
    #[error("certificate of the endorsement key is of another key, for signatures, or malformed")]
    EndorsementCertificate,
    /// A number of certificates over the bound.
    #[error("too many certificates of the endorsement key")]
    ChainTooLong,
    /// No credential can be made for the key.
    #[error("no credential can be made for the endorsement key")]
    Credential,
    /// What the authority kept in the challenge.
    #[error("challenge was not made by this attestor")]
    Challenge,
    /// The secret is not the one that only the TPM could open.
    #[error(
        "the activated secret is wrong: the attestation key is not in the TPM of the endorsement key"
    )]
    Secret,
    /// The attestation key did not sign this quote.
    #[error("signature of the quote is not the attestation key's")]
    Signature,
    /// Signed, and no quote over SHA-256 registers.
    #[error("what the attestation key signed is no quote over SHA-256 registers")]
    Quote,
    /// A quote over another challenge or for another key.
    #[error("quote answers another challenge, or is for another certificate request")]
    QualifyingData,
    /// The values shown do not have the digest that was quoted.
    #[error("values of the registers are not the ones that were quoted")]
    Registers,
}
