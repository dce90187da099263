//! Making and destroying keys in the token.

use cryptoki::{
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, ObjectClass, ObjectHandle},
};
use kms_client::{Algorithm, wire::ToSign};
use service::pkcs11::{
    TokenError, TokenSession,
    template::{kept_inside, only_for, private_only_for, public_only_for},
};

use super::{Reference, mechanism, public, work};
use crate::limits::HSM_LISTED_OBJECTS;

/// Makes a key and lets it work once. May be run again after a lost session.
pub(super) fn generate(
    session: &mut TokenSession,
    reference: Reference,
    algorithm: Algorithm,
) -> Result<(), TokenError> {
    // Of a former run whose end was not seen.
    destroy(session, reference)?;
    make(session, reference, algorithm)?;
    try_out(session, reference, algorithm)
}

fn make(
    session: &TokenSession,
    reference: Reference,
    algorithm: Algorithm,
) -> Result<(), TokenError> {
    let unsupported = || unsupported(session, algorithm, "any mechanism for it");
    let needs = mechanism::needs(algorithm).ok_or_else(unsupported)?;
    let allowed = [needs.operation];
    let mut secret = kept_inside(reference.as_bytes(), &reference.label());
    let mut public = vec![
        Attribute::Token(true),
        Attribute::Id(reference.as_bytes().to_vec()),
        Attribute::Label(reference.label().into_bytes()),
    ];
    public.extend(public_only_for(needs.purpose));
    match algorithm {
        Algorithm::Aes256Gcm | Algorithm::Hmac(_) => {
            let (mechanism, bytes) = match algorithm {
                Algorithm::Hmac(hash) => (Mechanism::GenericSecretKeyGen, hash.bytes()),
                _ => (Mechanism::AesKeyGen, 32),
            };
            let length = bytes.try_into().map_err(|error| session.failed(error))?;
            secret.push(Attribute::ValueLen(length));
            secret.extend(only_for(needs.purpose));
            session.generate_key(&mechanism, &secret, &allowed)?;
        }
        Algorithm::RsaOaep(bits) | Algorithm::RsaPss(bits, _) => {
            secret.extend(private_only_for(needs.purpose));
            let size = (8 * bits.bytes())
                .try_into()
                .map_err(|error| session.failed(error))?;
            public.extend([
                Attribute::ModulusBits(size),
                Attribute::PublicExponent(vec![1, 0, 1]),
            ]);
            session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &secret, &allowed)?;
        }
        Algorithm::EcdsaP256 | Algorithm::EcdsaP384 | Algorithm::Ed25519 => {
            secret.extend(private_only_for(needs.purpose));
            curve_pair(session, algorithm, &public, &secret, &allowed)?;
        }
        Algorithm::Aes256GcmSiv | Algorithm::ChaCha20Poly1305 => return Err(unsupported()),
    }
    Ok(())
}

/// Tries the names that a curve goes by.
fn curve_pair(
    session: &TokenSession,
    algorithm: Algorithm,
    public: &[Attribute],
    private: &[Attribute],
    allowed: &[cryptoki::mechanism::MechanismType],
) -> Result<(), TokenError> {
    let mechanism = match algorithm {
        Algorithm::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
        _ => Mechanism::EccKeyPairGen,
    };
    let mut made = Err(unsupported(session, algorithm, "its curve"));
    for curve in public::curves(algorithm) {
        let mut public = public.to_vec();
        public.push(Attribute::EcParams(curve.to_vec()));
        made = session.generate_key_pair(&mechanism, &public, private, allowed);
        match &made {
            Err(error) if !error.is_lost() => {}
            _ => break,
        }
    }
    made.map(|_| ())
}

/// A key that can't do its work is of no use to anybody, so it is seen here and not at the first request.
fn try_out(
    session: &mut TokenSession,
    reference: Reference,
    algorithm: Algorithm,
) -> Result<(), TokenError> {
    const MESSAGE: &[u8] = b"the first message of a new key";
    let worked = match algorithm {
        Algorithm::Aes256Gcm => {
            let sealed = work::seal(session, reference, b"first", MESSAGE)?;
            match sealed.split_first_chunk() {
                Some((nonce, sealed)) => {
                    let opened = work::open(session, reference, b"first", nonce, sealed)?;
                    let other = work::open(session, reference, b"other", nonce, sealed);
                    opened.as_slice() == MESSAGE && matches!(other, Err(TokenError::Unauthentic))
                }
                None => false,
            }
        }
        Algorithm::Hmac(hash) => {
            work::mac(session, reference, hash, MESSAGE)?.len() == hash.bytes()
        }
        Algorithm::RsaOaep(bits) => {
            let block = work::encrypt_block(session, reference, bits, b"first", MESSAGE)?;
            let opened = work::decrypt_block(session, reference, bits, b"first", &block)?;
            opened.as_slice() == MESSAGE
        }
        _ => {
            let input = ToSign::Message(MESSAGE.to_vec().into());
            let signature = work::sign(session, reference, algorithm, &input)?;
            // Another implementation has to agree, on the public key as well.
            work::public_key(session, reference, algorithm)?.verify(&input, &signature) == Ok(true)
                && work::verify(session, reference, algorithm, &input, &signature)?
        }
    };
    if worked {
        Ok(())
    } else {
        Err(unsupported(
            session,
            algorithm,
            "a working mechanism: what it answers is wrong",
        ))
    }
}

fn unsupported(session: &TokenSession, algorithm: Algorithm, lacks: &str) -> TokenError {
    TokenError::Unsupported {
        token: session.token().to_owned(),
        what: algorithm.to_string(),
        mechanism: lacks.to_owned(),
    }
}

/// Destroys every object of that reference.
pub(super) fn destroy(session: &mut TokenSession, reference: Reference) -> Result<(), TokenError> {
    // The secret one first, so that a failure in between leaves nothing but a public key.
    for class in [
        ObjectClass::SECRET_KEY,
        ObjectClass::PRIVATE_KEY,
        ObjectClass::PUBLIC_KEY,
    ] {
        for handle in session.search(class, reference.as_bytes())? {
            session.destroy(handle)?;
        }
    }
    Ok(())
}

/// References of every key of ours.
pub(super) fn list(session: &TokenSession) -> Result<Vec<Reference>, TokenError> {
    let mut references = Vec::new();
    for class in [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY] {
        let handles = session
            .raw()
            .find_objects(&[Attribute::Token(true), Attribute::Class(class)])
            .map_err(|error| session.failed(error))?;
        for handle in handles.into_iter().take(HSM_LISTED_OBJECTS) {
            if let Some(reference) = reference_of(session, handle)? {
                references.push(reference);
            }
        }
    }
    references.sort_unstable();
    references.dedup();
    Ok(references)
}

fn reference_of(
    session: &TokenSession,
    handle: ObjectHandle,
) -> Result<Option<Reference>, TokenError> {
    match session.raw().get_attributes(handle, &[AttributeType::Id]) {
        Ok(attributes) => Ok(match attributes.first() {
            Some(Attribute::Id(id)) => Reference::parse(id).ok(),
            _ => None,
        }),
        // Destroyed meanwhile.
        Err(Error::Pkcs11(RvError::ObjectHandleInvalid, _)) => Ok(None),
        Err(error) => Err(session.failed(error)),
    }
}
