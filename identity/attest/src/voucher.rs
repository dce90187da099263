//! Voucher tokens: what a site's voucher signs for one launched instance.
//!
//! A token is a compact JWS (RFC 7515) of a JWT (RFC 7519). It is good once, for at most a minute, at one authority and
//! for one key, and names SPIFFE ID and attributes itself; the authority's rules for the site bound what of that it
//! takes.
//!
//! # Form
//!
//! Three parts of unpadded base64url. The header is a JSON object of exactly these members:
//!
//! | member | value |
//! |---|---|
//! | `alg` | `ES256` for a P-256 key, `ES384` for a P-384 key (RFC 7518); the key decides, the header must agree |
//! | `kid` | name of the key in the site's rules |
//! | `typ` | `bfvoucher+jwt` |
//!
//! The claims are a JSON object of exactly these members:
//!
//! | member | value |
//! |---|---|
//! | `iss` | name of the site |
//! | `aud` | SPIFFE ID of the authority, one text |
//! | `sub` | SPIFFE ID to be issued, below `spiffe://<trust domain>/<site>/` |
//! | `uid` | the launched instance, 1 to 128 characters of `A-Z a-z 0-9 . _ : / -`; a pod's UID |
//! | `seq` | goes up whenever attributes or SPIFFE ID of that instance change, at most 2^53 - 1 |
//! | `iat`, `exp` | Unix seconds, whole; at most 60 apart |
//! | `jti` | unique, 16 to 128 characters of `A-Z a-z 0-9 . _ -` |
//! | `cnf` | `{"spki#S256": …}`: SHA-256 of the DER of the request's `SubjectPublicKeyInfo`, unpadded base64url |
//! | `attributes` | of the document, without `instance`, which the authority draws |
//!
//! `cnf` is the confirmation of RFC 7800. Its member is none of the registered ones: `jkt` (RFC 9449) is a hash of the
//! key as JWK and `x5t#S256` (RFC 8705) one of a certificate that does not exist yet; this is the hash that the
//! authority and its records have of every request. A member that is missing, unknown or there twice refuses the token,
//! and so does any whole that is not an object.
//!
//! Signatures with either value of `s` are accepted, as RFC 7518 has it: whoever alters one that way gains nothing, for
//! `jti` says what is used once. Clocks may differ by [`MAX_CLOCK_SKEW_SECONDS`].
//!
//! # Example
//!
//! ```
//! use attest::voucher::{Algorithm, Claims, Signer, Vouchers};
//! use identity::{Attributes, SiteName, SpiffeId};
//! # use rand_chacha::rand_core::SeedableRng;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
//! # let (now, csr_key_sha256) = (1_767_225_600, [0; 32]);
//! // The voucher, whose public key stands in the rules of its site.
//! let signer = Signer::generate("paris-1", Algorithm::Es256, &mut rng)?;
//! let claims = Claims {
//!     site: SiteName::parse("paris")?,
//!     audience: SpiffeId::parse("spiffe://acme.example/identity-authority")?,
//!     subject: SpiffeId::parse("spiffe://acme.example/paris/ns/payments/sa/api")?,
//!     uid: "4b8f2c1e-6d33-4c55-9a1e-0b9a6d1c2f77".to_owned(),
//!     sequence: 1,
//!     issued_at: now,
//!     expires_at: now + 60,
//!     token_id: Claims::draw_token_id(&mut rng),
//!     csr_key_sha256,
//!     attributes: Attributes::new(),
//! };
//! let token = signer.sign(&claims, &mut rng)?;
//!
//! // The authority.
//! let vouchers = Vouchers::new(&[signer.voucher_key()?])?;
//! assert_eq!(vouchers.open(&token)?, claims);
//! # Ok(())
//! # }
//! ```
//!
//! # Not promised
//!
//! Single use and order: the authority's store sees to both, by [`crate::SingleUse`] and [`crate::Attested::sequence`].

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, ParsedPublicKey,
};
use base64ct::{Base64UrlUnpadded, Encoding};
use identity::attributes::INSTANCE;
use identity::limits::MAX_CLOCK_SKEW_SECONDS;
use identity::wire::{Evidence, VoucherKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spki::DecodePublicKey;

use crate::attestor::{Attested, Attestor, Claim, Context, SingleUse};
use crate::error::AttestError;
use crate::limits::{
    MAX_KEY_ID_BYTES, MAX_PUBLIC_KEY_PEM_BYTES, MAX_SEQUENCE, MAX_TOKEN_ID_BYTES, MAX_UID_BYTES,
    MAX_VOUCHER_HEADER_BYTES, MAX_VOUCHER_KEYS, MAX_VOUCHER_LIFETIME_SECONDS,
    MAX_VOUCHER_TOKEN_BYTES, MIN_TOKEN_ID_BYTES, VOUCHER_TOKEN_ID_LABEL,
};

mod claims;
mod signer;

pub use claims::Claims;
pub use signer::{Signer, SignerError};

/// Signature algorithm of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA on P-384 with SHA-384.
    #[serde(rename = "ES384")]
    Es384,
}

/// Verifies the tokens of a site's voucher.
#[derive(Debug)]
pub struct Vouchers {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    kid: String,
    algorithm: Algorithm,
    public_key: ParsedPublicKey,
}

/// Reason a token was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VoucherError {
    /// Over the bound.
    #[error("token is longer than {MAX_VOUCHER_TOKEN_BYTES} bytes")]
    TooLong,
    /// Not a compact JWS in unpadded base64url.
    #[error("token is not a compact JWS: three parts of unpadded base64url between two dots")]
    Form,
    /// Header other than the one form.
    #[error(
        "header of the token is not an object of exactly alg (ES256, ES384), kid and typ (bfvoucher+jwt)"
    )]
    Header,
    /// No such key in the rules of the site.
    #[error("the site has no voucher key of the token's kid")]
    UnknownKey,
    /// The header names another algorithm than the key has.
    #[error("alg of the token is not the algorithm of its key")]
    Algorithm,
    /// Not signed by that key.
    #[error("signature of the token is not its key's")]
    Signature,
    /// Claims other than the one form.
    #[error("claims of the token are not an object of exactly the members of a voucher token")]
    Claims,
    /// For another site.
    #[error("iss of the token is another site")]
    Site,
    /// For another authority.
    #[error("aud of the token is another authority")]
    Audience,
    /// SPIFFE ID outside of the site.
    #[error("sub of the token lies outside of its site")]
    OutsideSite,
    /// `uid` too long or with other characters.
    #[error(
        "uid of the token is not 1 to {MAX_UID_BYTES} characters of A-Z, a-z, 0-9, '.', '_', ':', '/' and '-'"
    )]
    Uid,
    /// `seq` over the greatest.
    #[error("seq of the token is over {MAX_SEQUENCE}")]
    Sequence,
    /// `jti` too short, too long or with other characters.
    #[error(
        "jti of the token is not {MIN_TOKEN_ID_BYTES} to {MAX_TOKEN_ID_BYTES} characters of A-Z, a-z, 0-9, '.', '_' and '-'"
    )]
    TokenId,
    /// `exp` not after `iat`, or too long after it.
    #[error("exp of the token is not 1 to {MAX_VOUCHER_LIFETIME_SECONDS} seconds after iat")]
    Lifetime,
    /// Made in the future, by more than clocks may differ.
    #[error("token is made {ahead} seconds from now: set the clocks of voucher and authority")]
    FromTheFuture {
        /// By how much.
        ahead: u64,
    },
    /// Expired, by more than clocks may differ.
    #[error(
        "token expired {behind} seconds ago: ask the voucher for a new one, and look at the clocks"
    )]
    Expired {
        /// By how much.
        behind: u64,
    },
    /// Bound to another key than the request's.
    #[error("token is bound to another key than the signing request's")]
    OtherKey,
    /// Names the instance, which the authority draws.
    #[error("attributes of the token name 'instance', which the authority sets itself")]
    Instance,
}

/// Reason a voucher's keys were refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// None, or too many.
    #[error("give 1 to {MAX_VOUCHER_KEYS} keys")]
    Count,
    /// Two of one name.
    #[error("two keys have one kid: give each its own")]
    Twice,
    /// Not a name.
    #[error("kid is not 1 to {MAX_KEY_ID_BYTES} characters of A-Z, a-z, 0-9, '.', '_' and '-'")]
    KeyId,
    /// Not a public key of one of the two curves.
    #[error("public_key is not one PEM block PUBLIC KEY with a P-256 or P-384 key")]
    PublicKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: Algorithm,
    kid: String,
    typ: String,
}

impl Vouchers {
    /// Verifier of tokens signed by any of `keys`.
    ///
    /// # Errors
    ///
    /// [`KeyError`]: what is wrong with them.
    pub fn new(keys: &[VoucherKey]) -> Result<Self, KeyError> {
        if !(1..=MAX_VOUCHER_KEYS).contains(&keys.len()) {
            return Err(KeyError::Count);
        }
        let mut compiled: Vec<Key> = Vec::new();
        for VoucherKey { kid, public_key } in keys {
            if !is_key_id(kid) {
                return Err(KeyError::KeyId);
            }
            if compiled.iter().any(|other| other.kid == *kid) {
                return Err(KeyError::Twice);
            }
            let (algorithm, public_key) = parse_public_key(public_key)?;
            compiled.push(Key {
                kid: kid.clone(),
                algorithm,
                public_key,
            });
        }
        Ok(Self { keys: compiled })
    }

    /// Verifies the signature and parses the claims from the bytes that were signed.
    ///
    /// What the claims say is held against nothing here; [`Attestor::verify`] does that.
    ///
    /// # Errors
    ///
    /// - [`VoucherError::TooLong`], [`VoucherError::Form`], [`VoucherError::Header`]: not such a token.
    /// - [`VoucherError::UnknownKey`], [`VoucherError::Algorithm`], [`VoucherError::Signature`]: not signed.
    /// - [`VoucherError::Claims`] and the errors of single claims: signed, but not in the one form.
    pub fn open(&self, token: &str) -> Result<Claims, VoucherError> {
        if token.len() > MAX_VOUCHER_TOKEN_BYTES {
            return Err(VoucherError::TooLong);
        }
        // RFC 7515, section 5.2. The signing input is the text itself, up to the last dot.
        let (signed, signature) = token.rsplit_once('.').ok_or(VoucherError::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(VoucherError::Form)?;
        if header.len() > MAX_VOUCHER_HEADER_BYTES {
            return Err(VoucherError::Header);
        }
        let header: Header = parse_object(&decode(header)?).ok_or(VoucherError::Header)?;
        if header.typ != TYPE {
            return Err(VoucherError::Header);
        }
        let key = self
            .keys
            .iter()
            .find(|key| key.kid == header.kid)
            .ok_or(VoucherError::UnknownKey)?;
        // RFC 8725, section 3.1: the algorithm is the key's; nothing of the token chooses it.
        if header.alg != key.algorithm {
            return Err(VoucherError::Algorithm);
        }
        let signature = decode(signature)?;
        let payload = decode(payload)?;
        key.public_key
            .verify_sig(signed.as_bytes(), &signature)
            .map_err(|_| VoucherError::Signature)?;
        let claims: Claims = parse_object(&payload).ok_or(VoucherError::Claims)?;
        claims.check_form()?;
        Ok(claims)
    }
}

impl Attestor for Vouchers {
    fn kind(&self) -> &'static str {
        "voucher"
    }

    fn verify(&self, evidence: &Evidence, context: &Context<'_>) -> Result<Attested, AttestError> {
        let Evidence::Voucher { token } = evidence else {
            return Err(AttestError::OtherKind(self.kind()));
        };
        let claims = self.open(token)?;
        check_context(&claims, context)?;
        let Claims {
            subject,
            uid,
            sequence,
            issued_at,
            expires_at,
            token_id,
            attributes,
            ..
        } = claims;
        Ok(Attested {
            claim: Claim::Named {
                spiffe_id: subject,
                attributes,
            },
            subject: Some(uid),
            sequence: Some(sequence),
            single_use: Some(SingleUse {
                id: Sha256::new_with_prefix(VOUCHER_TOKEN_ID_LABEL)
                    .chain_update(token_id.as_bytes())
                    .finalize()
                    .into(),
                // Another replica may forget by a clock that is ahead, and be asked by one that is behind.
                expires_at: expires_at.saturating_add(2 * MAX_CLOCK_SKEW_SECONDS),
            }),
            lifetime: None,
            clock_ahead: Some(difference(issued_at, context.now)),
        })
    }
}

/// Holds the claims against what the authority knows of the request.
fn check_context(claims: &Claims, context: &Context<'_>) -> Result<(), VoucherError> {
    if claims.site != *context.site {
        return Err(VoucherError::Site);
    }
    if claims.audience != *context.audience {
        return Err(VoucherError::Audience);
    }
    let own = claims.subject.trust_domain() == context.trust_domain
        && claims.subject.site() == Some(context.site.as_str())
        && claims.subject.segments().count() > 1;
    if !own {
        return Err(VoucherError::OutsideSite);
    }
    let ahead = claims.issued_at.saturating_sub(context.now);
    if ahead > MAX_CLOCK_SKEW_SECONDS {
        return Err(VoucherError::FromTheFuture { ahead });
    }
    let behind = context.now.saturating_sub(claims.expires_at);
    // `exp` is the first second at which the token is not good any more (RFC 7519, section 4.1.4).
    if context.now >= claims.expires_at.saturating_add(MAX_CLOCK_SKEW_SECONDS) {
        return Err(VoucherError::Expired { behind });
    }
    if claims.csr_key_sha256 != *context.csr_key_sha256 {
        return Err(VoucherError::OtherKey);
    }
    if claims.attributes.contains_key(INSTANCE) {
        return Err(VoucherError::Instance);
    }
    Ok(())
}

fn parse_public_key(pem: &str) -> Result<(Algorithm, ParsedPublicKey), KeyError> {
    if pem.len() > MAX_PUBLIC_KEY_PEM_BYTES {
        return Err(KeyError::PublicKey);
    }
    // Both parsers check that the point lies on its curve.
    let p256 = p256::PublicKey::from_public_key_pem(pem).map(|key| key.to_sec1_bytes());
    let p384 = p384::PublicKey::from_public_key_pem(pem).map(|key| key.to_sec1_bytes());
    let (algorithm, verification, point): (_, &'static EcdsaVerificationAlgorithm, _) =
        match (p256, p384) {
            (Ok(point), _) => (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, point),
            (_, Ok(point)) => (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED, point),
            _ => return Err(KeyError::PublicKey),
        };
    let key = ParsedPublicKey::new(verification, &point).map_err(|_| KeyError::PublicKey)?;
    Ok((algorithm, key))
}

/// Reads one JSON object; serde alone would take an array of the members' values as well.
fn parse_object<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Option<T> {
    if json.first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(json).ok()
}

fn decode(part: &str) -> Result<Vec<u8>, VoucherError> {
    Base64UrlUnpadded::decode_vec(part).map_err(|_| VoucherError::Form)
}

/// `a - b`, within bounds.
fn difference(a: u64, b: u64) -> i64 {
    let distance = i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX);
    if a < b { -distance } else { distance }
}

fn is_key_id(kid: &str) -> bool {
    (1..=MAX_KEY_ID_BYTES).contains(&kid.len()) && kid.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// `typ` of a token, so that no other JWT of the voucher's key passes for one (RFC 8725, section 3.11).
const TYPE: &str = "bfvoucher+jwt";

#[cfg(test)]
mod tests;
