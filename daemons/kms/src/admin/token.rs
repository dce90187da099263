//! Import tokens: the private half of an import's key pair, wrapped under the root key and given away.
//!
//! So no replica keeps anything, and any of them can do the import. A token says what it is for; it is good once, since the
//! version (or, with a backup, the revision) that it is for is there afterwards, and for some hours.

use kms_client::{
    Algorithm, KeyId,
    import::ImportSecret,
    wire::{
        Bytes,
        admin::{ImportPurpose, Wrapping},
    },
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::AdminError;
use crate::{engine::Engine, limits::MAX_TOKEN_BYTES};

/// Context under which tokens are wrapped; no row of the store has it.
const CONTEXT: &[u8] = b"kms.import_token/v1";

/// What a token says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Terms {
    pub(super) purpose: ImportPurpose,
    pub(super) tenant: String,
    pub(super) name: String,
    pub(super) key_id: KeyId,
    pub(super) version: u32,
    /// Revision of the key when the token was made; 0: there was none.
    pub(super) revision: u64,
    pub(super) algorithm: Algorithm,
    pub(super) wrapping: Wrapping,
    pub(super) expires_at: u64,
}

#[derive(Deserialize, Serialize)]
struct Token {
    terms: Terms,
    secret: Bytes,
}

/// A token with the private key inside.
pub(super) fn issue(
    engine: &Engine,
    terms: &Terms,
    secret: &ImportSecret,
) -> Result<Vec<u8>, AdminError> {
    let token = Token {
        terms: terms.clone(),
        secret: secret.expose_bytes().to_vec().into(),
    };
    // Sized beforehand: a vector that grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_TOKEN_BYTES));
    serde_json::to_writer(&mut *text, &token).map_err(|error| AdminError::internal(&error))?;
    engine
        .store()
        .roots()
        .wrap(CONTEXT, &text)
        .map_err(|error| AdminError::internal(&error))
}

/// Reads a token, if it is one of this service's, not too old, and for this tenant, name and purpose.
pub(super) fn read(
    engine: &Engine,
    token: &[u8],
    (purpose, tenant, name): (ImportPurpose, &str, &str),
) -> Result<(Terms, ImportSecret), AdminError> {
    let refused = || {
        AdminError::bad_request(
            "the token is none of this service for this tenant, key and purpose: ask for new import parameters",
        )
    };
    let text = engine
        .store()
        .roots()
        .unwrap(CONTEXT, token)
        .map_err(|_| refused())?;
    let Token { terms, mut secret } = serde_json::from_slice(&text).map_err(|_| refused())?;
    if (terms.purpose, terms.tenant.as_str(), terms.name.as_str()) != (purpose, tenant, name) {
        return Err(refused());
    }
    if terms.expires_at <= engine.unix_seconds() {
        return Err(AdminError::bad_request(
            "the token has expired: ask for new import parameters",
        ));
    }
    let secret = Zeroizing::new(std::mem::take(&mut secret.0));
    let secret = ImportSecret::from_bytes(terms.wrapping, secret);
    Ok((terms, secret))
}
