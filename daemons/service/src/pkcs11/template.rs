//! Attributes of the keys that are made here.

use cryptoki::{
    error::{Error, RvError},
    mechanism::MechanismType,
    object::Attribute,
};

/// What a key is for; everything else is switched off, which some tokens leave on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Use {
    /// Encrypt and decrypt.
    Encryption,
    /// Sign and verify, or make and check codes.
    Signature,
}

/// Attributes of every secret or private key: it never leaves the token, and works only after a login.
#[must_use]
pub fn kept_inside(id: &[u8], label: &str) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Id(id.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
    ]
}

/// Attributes of a secret key for one use.
#[must_use]
pub fn only_for(purpose: Use) -> Vec<Attribute> {
    let mut attributes = private_only_for(purpose);
    attributes.extend(public_only_for(purpose));
    attributes
}

/// Attributes of a private key for one use.
#[must_use]
pub fn private_only_for(purpose: Use) -> Vec<Attribute> {
    vec![
        Attribute::Decrypt(purpose == Use::Encryption),
        Attribute::Sign(purpose == Use::Signature),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]
}

/// Attributes of a public key for one use.
#[must_use]
pub fn public_only_for(purpose: Use) -> Vec<Attribute> {
    vec![
        Attribute::Encrypt(purpose == Use::Encryption),
        Attribute::Verify(purpose == Use::Signature),
        Attribute::Wrap(false),
    ]
}

/// The template with what not every token knows.
pub(super) fn strict(template: &[Attribute], allowed: &[MechanismType]) -> Vec<Attribute> {
    let mut strict = template.to_vec();
    strict.extend([
        Attribute::Modifiable(false),
        Attribute::Copyable(false),
        Attribute::AllowedMechanisms(allowed.to_vec()),
    ]);
    strict
}

/// Whether the token refused the template, and not the operation.
pub(super) const fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::AttributeTypeInvalid
                | RvError::AttributeValueInvalid
                | RvError::AttributeReadOnly
                | RvError::TemplateInconsistent,
            _
        )
    )
}
