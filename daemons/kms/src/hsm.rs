//! Keys of high sensitivity: made in an HSM through PKCS #11, never to leave it, every operation done there.
//!
//! | algorithm | made by | works by | in this process |
//! |---|---|---|---|
//! | `aes-256-gcm` | `CKM_AES_KEY_GEN` | `CKM_AES_GCM` | nonce, header, check of the 32 zero bytes |
//! | `hmac-sha-…` | `CKM_GENERIC_SECRET_KEY_GEN` | `CKM_SHA…_HMAC` | comparison, in constant time |
//! | `rsa-oaep-…` | `CKM_RSA_PKCS_KEY_PAIR_GEN` | `CKM_RSA_X_509` | [`oaep`]: padding with SHA-256, which tokens lack |
//! | `rsa-pss-…` | `CKM_RSA_PKCS_KEY_PAIR_GEN` | `CKM_RSA_PKCS_PSS` | hash of the message |
//! | `ecdsa-…` | `CKM_EC_KEY_PAIR_GEN` | `CKM_ECDSA` | hash of the message, DER of the signature |
//! | `ed25519` | `CKM_EC_EDWARDS_KEY_PAIR_GEN` | `CKM_EDDSA` | nothing |
//!
//! - A key is sensitive, not extractable, and for one use and one mechanism; each session looks at these attributes before
//!   it uses the key for the first time, and refuses a key that could ever leave the token.
//! - What a token lacks is said, by the mechanism's name, when a key is made; a new key does its work once before it is
//!   handed out.
//! - Every refusal to decrypt is one error. Everything else that goes wrong is [`OperationError::Unavailable`] for the
//!   caller, and in the log.
//! - AES-GCM in a token has random nonces, so a version may protect
//!   [`MAX_ENCRYPTIONS`](service::pkcs11::gcm::MAX_ENCRYPTIONS) messages; whoever calls counts them.
//!
//! Sessions, worker threads, and what happens when the token goes away: [`service::pkcs11`].

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use cryptoki::object::ObjectClass;
use kms_client::{Algorithm, KeyId, local::OperationError};
use service::pkcs11::{Token, TokenError, TokenSession};

use crate::limits::HSM_LOG_EVERY;

mod generate;
mod key;
mod mechanism;
pub mod oaep;
mod public;
mod reference;
mod work;

pub use key::HsmKey;
pub use reference::{BadReference, Reference};
pub use service::pkcs11::TokenConfig as HsmConfig;

/// An HSM, logged in to; cheap to clone.
#[derive(Clone)]
pub struct Hsm(Arc<Inner>);

struct Inner {
    token: Token,
    failures: AtomicU64,
    /// When a failure was last written to the log, in milliseconds since `began`.
    logged: AtomicU64,
    began: Instant,
}

impl Hsm {
    /// Loads the module, finds the token and logs in. Blocks on the token.
    ///
    /// # Errors
    ///
    /// See [`Token::open`].
    pub fn open(config: &HsmConfig) -> Result<Self, TokenError> {
        Ok(Self::new(Token::open(config)?))
    }

    /// On a token that is open already, such as the one with the root key.
    #[must_use]
    pub fn new(token: Token) -> Self {
        Self(Arc::new(Inner {
            token,
            failures: AtomicU64::new(0),
            logged: AtomicU64::new(u64::MAX),
            began: Instant::now(),
        }))
    }

    /// Whether the token has what a key of `algorithm` needs.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unsupported`] with the mechanism that is missing; or the token is not there.
    pub async fn supports(&self, algorithm: Algorithm) -> Result<(), TokenError> {
        let this = self.clone();
        self.0
            .token
            .run(move |_| mechanism::check(&this.0.token, algorithm))
            .await
    }

    /// Makes a key for a version, and gives its reference to be kept with the version.
    ///
    /// References have a random part, so that two replicas that make the same version make two objects: whoever does not
    /// get to store its reference destroys its own.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unsupported`] names what the token lacks; or a failed call, and then nothing is left behind.
    pub async fn generate(
        &self,
        key_id: KeyId,
        version: u32,
        algorithm: Algorithm,
    ) -> Result<Reference, TokenError> {
        self.supports(algorithm).await?;
        let reference = Reference::random(key_id, version)?;
        let made = self
            .0
            .token
            .run(move |session| generate::generate(session, reference, algorithm))
            .await;
        if made.is_err() {
            // It may have got as far as an object.
            if let Err(error) = self.destroy(reference).await {
                tracing::error!(%reference, %error, "an object may be left in the HSM: see `list`");
            }
        }
        made.map(|()| reference)
    }

    /// The key of a version; the token is asked only when it is used.
    ///
    /// # Errors
    ///
    /// [`BadReference`]: it was not made by [`Self::generate`] for this version of this key.
    pub fn key(
        &self,
        key_id: KeyId,
        version: u32,
        algorithm: Algorithm,
        reference: &[u8],
    ) -> Result<HsmKey, BadReference> {
        let reference = Reference::parse(reference)?;
        if reference.key_id() != key_id || reference.version() != version {
            return Err(BadReference);
        }
        HsmKey::new(self.clone(), reference, algorithm).ok_or(BadReference)
    }

    /// Destroys the key of a version for good; one that is gone already is no error.
    ///
    /// # Errors
    ///
    /// A failed call: try again.
    pub async fn destroy(&self, reference: Reference) -> Result<(), TokenError> {
        self.0
            .token
            .run(move |session| generate::destroy(session, reference))
            .await
    }

    /// References of every key of ours in the token, to be compared with the store's: a crash between making a key and
    /// storing its reference leaves one that nobody knows.
    ///
    /// # Errors
    ///
    /// A failed call.
    pub async fn list(&self) -> Result<Vec<Reference>, TokenError> {
        self.0.token.run(|session| generate::list(session)).await
    }

    /// Operations that failed for another reason than their input: a metric.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// Operations that wait for a worker: a metric.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.token.waiting()
    }

    /// Runs an operation, and turns its error into the caller's.
    async fn operate<T, F>(&self, reference: Reference, work: F) -> Result<T, OperationError>
    where
        T: Send + 'static,
        F: FnMut(&mut TokenSession) -> Result<T, TokenError> + Send + 'static,
    {
        match self.0.token.run(work).await {
            Ok(done) => Ok(done),
            Err(TokenError::Unauthentic) => Err(OperationError::DecryptionFailed),
            Err(error) => {
                self.failed(reference, &error);
                Err(OperationError::Unavailable)
            }
        }
    }

    fn failed(&self, reference: Reference, error: &TokenError) {
        let inner = &self.0;
        let failures = inner
            .failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        let now = u64::try_from(inner.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let logged = inner.logged.load(Ordering::Relaxed);
        let due = logged == u64::MAX
            || u128::from(now.saturating_sub(logged)) >= HSM_LOG_EVERY.as_millis();
        // Only one of those who come at the same time writes.
        if due
            && inner
                .logged
                .compare_exchange(logged, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            tracing::error!(%reference, %error, failures, "an operation in the HSM failed");
        }
    }
}

impl fmt::Debug for Hsm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hsm")
            .field("token", &self.0.token.name())
            .finish_non_exhaustive()
    }
}

/// Class of the object that holds the secret of a key.
const fn secret_class(algorithm: Algorithm) -> ObjectClass {
    match algorithm {
        Algorithm::Aes256Gcm
        | Algorithm::Aes256GcmSiv
        | Algorithm::ChaCha20Poly1305
        | Algorithm::Hmac(_) => ObjectClass::SECRET_KEY,
        Algorithm::RsaOaep(_)
        | Algorithm::RsaPss(..)
        | Algorithm::EcdsaP256
        | Algorithm::EcdsaP384
        | Algorithm::Ed25519 => ObjectClass::PRIVATE_KEY,
    }
}
