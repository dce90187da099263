//! The client on tokio: keys in hand are worked with at once, on the task itself; the service is asked on tokio's threads
//! for blocking work.
//!
//! As many calls ask at a time as there are kept connections ([`MAX_ASYNC_CALLS`]), so that none makes a handshake of its
//! own; further ones wait without holding a thread. Large batches and streams belong on `spawn_blocking` with
//! [`AsyncKms::blocking`].

use std::{fmt, sync::Arc};

use tokio::{sync::Semaphore, task};
use zeroize::Zeroizing;

use super::{Key, Kms, settle, try_here};
use crate::{
    error::{KmsError, Place},
    job::{self, Job},
    limits::MAX_ASYNC_CALLS,
    wire::{self, ToSign},
};

/// A [`Kms`] for tasks of tokio. Clones share it.
///
/// A call that is dropped while the service is asked ends there; what the service did meanwhile is seen by nobody.
#[derive(Clone)]
pub struct AsyncKms {
    kms: Kms,
    calls: Arc<Semaphore>,
}

/// A [`Key`] for tasks of tokio; see there for its operations and their errors. Where the runtime ends before a call,
/// that is [`KmsError::Runtime`].
#[derive(Clone)]
pub struct AsyncKey {
    key: Key,
    calls: Arc<Semaphore>,
}

impl From<Kms> for AsyncKms {
    fn from(kms: Kms) -> Self {
        Self {
            kms,
            calls: Arc::new(Semaphore::new(MAX_ASYNC_CALLS)),
        }
    }
}

impl AsyncKms {
    /// The same client for threads that may block.
    #[must_use]
    pub fn blocking(&self) -> &Kms {
        &self.kms
    }

    /// A key by its name or identifier. Asks nobody.
    #[must_use]
    pub fn key(&self, name: &str) -> AsyncKey {
        AsyncKey {
            key: self.kms.key(name),
            calls: Arc::clone(&self.calls),
        }
    }

    /// See [`Key::encrypt`].
    ///
    /// # Errors
    ///
    /// See [`AsyncKey`].
    pub async fn encrypt(
        &self,
        key: &str,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        self.key(key).encrypt(plaintext, aad).await
    }

    /// See [`Key::decrypt`].
    ///
    /// # Errors
    ///
    /// See [`AsyncKey`].
    pub async fn decrypt(
        &self,
        key: &str,
        ciphertext: &[u8],
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        self.key(key).decrypt(ciphertext, aad).await
    }

    /// See [`Kms::random`].
    ///
    /// # Errors
    ///
    /// Those of [`Kms::random`], and [`KmsError::Runtime`].
    pub async fn random(&self, bytes: usize) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let kms = self.kms.clone();
        let place = Place::of_tenant(&self.kms.cache.tenant);
        on_threads(&self.calls, &place, move || kms.random(bytes)).await
    }
}

impl AsyncKey {
    /// Its name, or identifier, as it was asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.name()
    }

    /// See [`Key::encrypt`].
    ///
    /// # Errors
    ///
    /// See [`AsyncKey`].
    pub async fn encrypt(&self, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, KmsError> {
        if let Some(done) = self.at_once(&job::Encrypt { plaintext, aad }) {
            return done;
        }
        let (plaintext, aad) = (secret(plaintext), aad.to_vec());
        self.asked(move |key| key.encrypt(&plaintext, &aad)).await
    }

    /// See [`Key::decrypt`].
    ///
    /// # Errors
    ///
    /// See [`AsyncKey`].
    pub async fn decrypt(
        &self,
        ciphertext: &[u8],
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        if let Some(done) = self.at_once(&job::Decrypt { ciphertext, aad }) {
            return done;
        }
        let (ciphertext, aad) = (ciphertext.to_vec(), aad.to_vec());
        self.asked(move |key| key.decrypt(&ciphertext, &aad)).await
    }

    /// See [`Key::hmac`].
    ///
    /// # Errors
    ///
    /// See [`AsyncKey`].
    pub async fn hmac(&self, message: &[u8]) -> Result<wire::Mac, KmsError> {
        if let Some(done) = self.at_once(&job::Hmac { message }) {
            return done;
        }
        let message = secret(message);
        self.asked(move |key| key.hmac(&message)).await
    }

    /// See [`Key::hmac_verify`].
    ///
    /// # Errors
    ///
    /// See [`AsyncKey`].
    pub async fn hmac_verify(
        &self,
        message: &[u8],
        mac: &[u8],
        version: Option<u32>,
    ) -> Result<bool, KmsError> {
        let job = job::HmacVerify {
            message,
            mac,
            version,
        };
        if let Some(done) = self.at_once(&job) {
            return done;
        }
        let (message, mac) = (secret(message), mac.to_vec());
        self.asked(move |key| key.hmac_verify(&message, &mac, version))
            .await
    }

    /// See [`Key::sign`].
    ///
    /// # Errors
    ///
    /// See [`AsyncKey`].
    pub async fn sign(&self, input: &ToSign) -> Result<wire::Signed, KmsError> {
        // RSA takes too long for the task's own thread.
        let input = input.clone();
        self.asked(move |key| key.sign(&input)).await
    }

    /// See [`Key::verify`].
    ///
    /// # Errors
    ///
    /// See [`AsyncKey`].
    pub async fn verify(
        &self,
        input: &ToSign,
        signature: &[u8],
        version: Option<u32>,
    ) -> Result<bool, KmsError> {
        let job = job::Verify {
            input,
            signature,
            version,
        };
        if let Some(done) = self.at_once(&job) {
            return done;
        }
        let (input, signature) = (input.clone(), signature.to_vec());
        self.asked(move |key| key.verify(&input, &signature, version))
            .await
    }

    /// See [`Key::generate_data_key`].
    ///
    /// # Errors
    ///
    /// See [`AsyncKey`].
    pub async fn generate_data_key(
        &self,
        bytes: usize,
        aad: &[u8],
    ) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), KmsError> {
        if let Some(done) = self.at_once(&job::DataKey { bytes, aad }) {
            return done;
        }
        let aad = aad.to_vec();
        self.asked(move |key| key.generate_data_key(bytes, &aad))
            .await
    }

    /// See [`Key::re_encrypt`].
    ///
    /// # Errors
    ///
    /// See [`AsyncKey`].
    pub async fn re_encrypt(
        &self,
        ciphertext: &[u8],
        aad: &[u8],
        to: Option<&str>,
        new_aad: Option<&[u8]>,
    ) -> Result<Vec<u8>, KmsError> {
        let (ciphertext, aad) = (ciphertext.to_vec(), aad.to_vec());
        let (to, new_aad) = (to.map(str::to_owned), new_aad.map(<[u8]>::to_vec));
        self.asked(move |key| key.re_encrypt(&ciphertext, &aad, to.as_deref(), new_aad.as_deref()))
            .await
    }

    /// See [`Key::public_key`].
    ///
    /// # Errors
    ///
    /// See [`AsyncKey`].
    pub async fn public_key(&self, version: Option<u32>) -> Result<wire::PublicKey, KmsError> {
        self.asked(move |key| key.public_key(version)).await
    }

    /// Does a job with the key in hand, if that takes no request.
    fn at_once<J: Job>(&self, job: &J) -> Option<Result<J::Output, KmsError>> {
        let place = &self.key.place;
        if let Err(reason) = job.check() {
            return Some(Err(KmsError::operation(place, reason)));
        }
        let slot = self.key.slot.as_ref()?;
        settle(place, try_here(&self.key.kms.cache, slot, job))
    }

    async fn asked<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Key) -> Result<T, KmsError> + Send + 'static,
    ) -> Result<T, KmsError> {
        let key = self.key.clone();
        on_threads(&self.calls, &self.key.place, move || work(&key)).await
    }
}

/// A copy that is wiped: work on another thread can't borrow.
fn secret(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}

/// Does `work` on a thread that may block, a few at a time.
async fn on_threads<T: Send + 'static>(
    calls: &Arc<Semaphore>,
    place: &Place,
    work: impl FnOnce() -> Result<T, KmsError> + Send + 'static,
) -> Result<T, KmsError> {
    let ended = || KmsError::Runtime {
        place: place.clone(),
    };
    let permit = Arc::clone(calls)
        .acquire_owned()
        .await
        .map_err(|_| ended())?;
    let done = task::spawn_blocking(move || {
        // Held by the work, not by the task: one that is dropped does not make room before its thread is free.
        let _permit = permit;
        work()
    });
    done.await.unwrap_or_else(|_| Err(ended()))
}

impl fmt::Debug for AsyncKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncKms").field(&self.kms).finish()
    }
}

impl fmt::Debug for AsyncKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncKey").field(&self.key.place).finish()
    }
}
