//! An AES key of the token that wraps secrets kept elsewhere, such as a root key.

use cryptoki::{
    mechanism::{Mechanism, MechanismType},
    object::{Attribute, ObjectClass, ObjectHandle},
};
use zeroize::Zeroizing;

use super::{
    Token, TokenError, TokenSession, gcm,
    template::{Use, kept_inside, only_for},
};

/// What the additional data begins with, so that no other use of the key makes the same ciphertext.
const WRAP: &[u8] = b"blindfold pkcs11 wrapping key v1\0";

/// A wrapping key: AES-256, made in the token, never to leave it; found by its label.
#[derive(Clone, Debug)]
pub struct WrappingKey {
    token: Token,
    label: String,
}

impl WrappingKey {
    /// Makes a key in the token. Blocks on it.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unfit`] when there is one of that label; a failed call.
    pub fn create(token: &Token, label: &str) -> Result<Self, TokenError> {
        let label = checked(label)?;
        token.run_blocking({
            let label = label.clone();
            move |session| create(session, &label)
        })?;
        Self::find(token, &label)
    }

    /// Finds the key of that label. Blocks on the token.
    ///
    /// # Errors
    ///
    /// [`TokenError::Object`] when there is none, or several; [`TokenError::Unfit`] when it can leave the token, or could.
    pub fn find(token: &Token, label: &str) -> Result<Self, TokenError> {
        let key = Self {
            token: token.clone(),
            label: checked(label)?,
        };
        token.run_blocking({
            let label = key.label.clone();
            move |session| handle(session, &label)
        })?;
        Ok(key)
    }

    /// Its label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Wraps `secret`, bound to `context`. Blocks on the token.
    ///
    /// # Errors
    ///
    /// The key is gone, or a failed call.
    pub fn wrap(&self, context: &[u8], secret: &[u8]) -> Result<Vec<u8>, TokenError> {
        let (label, context) = (self.label.clone(), [WRAP, context].concat());
        let secret = Zeroizing::new(secret.to_vec());
        self.token.run_blocking(move |session| {
            let key = handle(session, &label)?;
            gcm::seal(session, key, &context, &secret)
        })
    }

    /// Unwraps what [`Self::wrap`] made with the same context. Blocks on the token.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unauthentic`]: another key, another context, or changed bytes. Else the key is gone, or a call failed.
    pub fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let (label, context) = (self.label.clone(), [WRAP, context].concat());
        let wrapped = wrapped.to_vec();
        self.token.run_blocking(move |session| {
            let key = handle(session, &label)?;
            let (nonce, sealed) = wrapped.split_first_chunk().ok_or(TokenError::Unauthentic)?;
            gcm::open(session, key, &context, nonce, sealed)
        })
    }
}

/// Labels are identifiers as well: bounded, and never empty, since an empty template finds everything.
fn checked(label: &str) -> Result<String, TokenError> {
    if label.is_empty() || label.len() > crate::limits::PKCS11_LABEL_BYTES {
        return Err(TokenError::Internal(
            "the label of a wrapping key has 1 to 64 bytes",
        ));
    }
    Ok(label.to_owned())
}

fn create(session: &mut TokenSession, label: &str) -> Result<(), TokenError> {
    if !session
        .search(ObjectClass::SECRET_KEY, label.as_bytes())?
        .is_empty()
    {
        return Err(TokenError::Unfit {
            token: session.token().to_owned(),
            object: hex::encode(label),
            reason: "it exists already: use it, or give the new one another label",
        });
    }
    let mut template = kept_inside(label.as_bytes(), label);
    template.extend([Attribute::ValueLen(32.into())]);
    template.extend(only_for(Use::Encryption));
    session.generate_key(&Mechanism::AesKeyGen, &template, &[MechanismType::AES_GCM])?;
    Ok(())
}

fn handle(session: &mut TokenSession, label: &str) -> Result<ObjectHandle, TokenError> {
    session.find(
        ObjectClass::SECRET_KEY,
        label.as_bytes(),
        TokenSession::never_left,
    )
}
