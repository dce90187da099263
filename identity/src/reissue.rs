//! Documents of an issuing CA that was revoked: how their holders get new ones.
//!
//! After a compromise of an issuing CA its documents are refused everywhere, and whoever has its key can make more of
//! them. The authority remembers which ones *it* signed. The holder of such a document proves that it has the document's
//! private key, over a connection without a client certificate, and gets the same identity again.
//!
//! What is signed by the document's key, with the digest of its curve:
//!
//! | bytes | field |
//! |------:|---|
//! | 22 | label, `blindfold reissue v1` and two zero bytes |
//! | 32 | SHA-256 of the document's DER |
//! | 32 | SHA-256 of the request's DER |
//!
//! Whoever repeats it gets a document for a key that it does not have.

use base64ct::{Base64, Encoding};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};

use crate::bundle::TrustBundle;
use crate::document::{DocumentError, IdentityDocument};
use crate::ec;
use crate::pem;
use crate::principal::Principal;
use crate::verify::{Usage, VerifyError, verify_peer};
use crate::wire::{CsrDer, ReissueRequest};
use crate::x509::leaf::Leaf;

/// Signs the request `csr_der` with the key of `document`.
///
/// # Errors
///
/// [`DocumentError::Encoding`]: signing failed.
pub fn sign_reissue(
    document: &IdentityDocument,
    csr_der: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, DocumentError> {
    let leaf = document.chain().first().ok_or(DocumentError::Chain)?;
    let message = message(leaf, csr_der);
    let signature = document.key().ec().sign(&message, rng);
    Ok(signature.map_err(|_| DocumentError::Encoding)?.into())
}

impl ReissueRequest {
    /// The request of the holder of `document` for the key that `csr` is of.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Encoding`]: signing failed.
    pub fn sign(
        document: &IdentityDocument,
        csr: CsrDer,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, DocumentError> {
        let signature = sign_reissue(document, csr.as_bytes(), rng)?;
        Ok(Self {
            document: document.chain_pem(),
            csr,
            signature: Base64::encode_string(&signature),
        })
    }
}

/// Verifies that the holder of the document `chain_pem` asks for `csr_der`: by the roots, sites and instances of `bundle`,
/// whichever issuing CA signed it.
///
/// That the document is *no forgery* is not known by this: whoever has the CA's key passes.
///
/// # Errors
///
/// [`ReissueError`].
pub fn verify_reissue(
    chain_pem: &str,
    csr_der: &[u8],
    signature: &[u8],
    bundle: &TrustBundle,
    now: u64,
) -> Result<(Principal, TrustBundle), ReissueError> {
    let chain = pem::decode_chain(chain_pem).ok_or(ReissueError::Chain)?;
    // An empty list allows every CA below the roots.
    let bundle = bundle
        .clone()
        .with_issuers([])
        .map_err(|_| ReissueError::Chain)?;
    let usage = chain
        .first()
        .and_then(|leaf| Leaf::from_der(leaf).ok())
        .map(|leaf| {
            if leaf.client {
                Usage::Client
            } else {
                Usage::Server
            }
        })
        .ok_or(ReissueError::Chain)?;
    let principal = verify_peer(&chain, &bundle, usage, now).map_err(ReissueError::Document)?;
    let leaf_der = chain.first().ok_or(ReissueError::Chain)?;
    let leaf = Leaf::from_der(leaf_der).map_err(|_| ReissueError::Chain)?;
    let (spki, curve) = ec::parse_spki(&leaf.spki_der).ok_or(ReissueError::Chain)?;
    ec::verify(
        &spki,
        &curve.signature_algorithm(),
        &message(leaf_der, csr_der),
        signature,
    )
    .map_err(|_| ReissueError::Signature)?;
    Ok((principal, bundle))
}

fn message(leaf: &[u8], csr_der: &[u8]) -> Vec<u8> {
    let mut message = LABEL.to_vec();
    message.extend_from_slice(&Sha256::digest(leaf));
    message.extend_from_slice(&Sha256::digest(csr_der));
    message
}

const LABEL: &[u8] = b"blindfold reissue v1\0\0";

/// Reason a document was not accepted for another one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReissueError {
    /// Not PEM of an identity document and what signed it.
    #[error("not the PEM of an identity document")]
    Chain,
    /// Refused by a rule that is not about its issuing CA.
    #[error("document is refused")]
    Document(#[source] VerifyError),
    /// The signature is not the document's key's, or over another request.
    #[error("signature over the request is not the document's")]
    Signature,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DocumentKey;
    use crate::testing::{HOUR, NOW, Realm, rng};

    #[test]
    fn holder_of_a_document_asks_whoever_signed_it() {
        let realm = Realm::acme();
        let document = realm.document(&realm.request(), 3);
        let mut rng = rng(4);
        let csr = DocumentKey::generate(&mut rng).csr_der(&mut rng).unwrap();
        let signature = sign_reissue(&document, &csr, &mut rng).unwrap();
        let revoked = realm.bundle.clone().with_issuers([[7; 32]]).unwrap();
        let chain = document.chain_pem();
        let verify = |csr: &[u8], signature: &[u8], now| {
            verify_reissue(&chain, csr, signature, &revoked, now).map(|(who, _)| who)
        };
        let who = verify(&csr, &signature, NOW).unwrap();
        assert_eq!(who.spiffe_id(), document.spiffe_id());
        // Of another request, bent, by another key, too late.
        let other = DocumentKey::generate(&mut rng).csr_der(&mut rng).unwrap();
        assert_eq!(
            verify(&other, &signature, NOW),
            Err(ReissueError::Signature)
        );
        for bit in 0..signature.len() * 8 {
            let mut bent = signature.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(
                verify(&csr, &bent, NOW).is_err(),
                "accepted, bit {bit} flipped"
            );
        }
        let thief = realm.document(&realm.request(), 9);
        let stolen = sign_reissue(&thief, &csr, &mut rng).unwrap();
        assert_eq!(verify(&csr, &stolen, NOW), Err(ReissueError::Signature));
        let late = verify(&csr, &signature, NOW + 2 * HOUR);
        assert!(matches!(
            late,
            Err(ReissueError::Document(VerifyError::Expired { .. }))
        ));
        assert_eq!(
            verify_reissue("x", &csr, &signature, &revoked, NOW).unwrap_err(),
            ReissueError::Chain
        );
    }

    #[test]
    fn other_rules_hold_on() {
        let realm = Realm::acme();
        let document = realm.document(&realm.request(), 3);
        let mut rng = rng(4);
        let csr = DocumentKey::generate(&mut rng).csr_der(&mut rng).unwrap();
        let signature = sign_reissue(&document, &csr, &mut rng).unwrap();
        let off = realm
            .bundle
            .clone()
            .with_disabled_sites([crate::SiteName::parse("paris").unwrap()])
            .unwrap();
        let refused = verify_reissue(&document.chain_pem(), &csr, &signature, &off, NOW);
        assert_eq!(
            refused.unwrap_err(),
            ReissueError::Document(VerifyError::SiteDisabled)
        );
        let instance = document.attributes().text("instance").unwrap().to_owned();
        let gone = realm
            .bundle
            .clone()
            .with_revoked_instances([(instance, None)])
            .unwrap();
        let refused = verify_reissue(&document.chain_pem(), &csr, &signature, &gone, NOW);
        assert_eq!(
            refused.unwrap_err(),
            ReissueError::Document(VerifyError::InstanceRevoked)
        );
    }
}
