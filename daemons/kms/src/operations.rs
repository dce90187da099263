//! The operations: one item of a request in, one answer or refusal out.
//!
//! Everything here has been authorized. An item that fails does not touch the others of its request.

use kms_client::{
    Operation,
    keyring::Versioned,
    limits::{MAX_DATA_KEY_BYTES, MIN_DATA_KEY_BYTES},
    local::{OperationError, check_to_sign},
    wire::{
        self, Bytes, DataKey, Decrypted, Encrypted, ErrorCode, Mac, PublicKey, Signed, Verified,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    limits::MAX_VERIFICATIONS,
    refusal::Refusal,
    snapshot::{Key, Working},
};

/// What one item came to, with the version that did it.
#[derive(Debug)]
pub(crate) struct Done<A> {
    pub(crate) answer: A,
    pub(crate) version: Option<u32>,
}

impl<A> Done<A> {
    fn by(version: &Working, answer: A) -> Self {
        Self {
            answer,
            version: Some(version.version()),
        }
    }
}

/// One item of a request on one key.
pub(crate) trait Item: DeserializeOwned + Send + Sync + 'static {
    /// Its result.
    type Answer: Serialize + Send + 'static;

    /// The caller's associated data, whose hash is recorded.
    fn aad(&self) -> Option<&[u8]> {
        None
    }

    /// Whether it stands for as many verifications as there are versions.
    fn tries_versions(&self) -> bool {
        false
    }

    /// Does it. In software it never waits.
    fn perform(
        &self,
        key: &Key,
        operation: Operation,
    ) -> impl Future<Output = Result<Done<Self::Answer>, Refusal>> + Send;
}

/// SHA-256 of the caller's associated data, for the record.
pub(crate) fn context_sha256(aad: Option<&[u8]>) -> Option<[u8; 32]> {
    aad.map(|aad| Sha256::digest(aad).into())
}

fn bytes(aad: Option<&Bytes>) -> &[u8] {
    aad.map_or(&[], |aad| aad.as_ref())
}

/// Hands plaintext over to an answer, without a copy.
fn plaintext(mut bytes: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes(std::mem::take(&mut bytes))
}

impl Item for wire::Encrypt {
    type Answer = Encrypted;

    fn aad(&self) -> Option<&[u8]> {
        self.aad.as_ref().map(AsRef::as_ref)
    }

    async fn perform(&self, key: &Key, operation: Operation) -> Result<Done<Encrypted>, Refusal> {
        let version = key.ring.protecting(operation)?;
        let ciphertext = version
            .backend
            .encrypt(bytes(self.aad.as_ref()), self.plaintext.as_ref())
            .await?;
        let answer = Encrypted {
            ciphertext: ciphertext.into(),
            version: version.version(),
        };
        Ok(Done::by(version, answer))
    }
}

impl Item for wire::Decrypt {
    type Answer = Decrypted;

    fn aad(&self) -> Option<&[u8]> {
        self.aad.as_ref().map(AsRef::as_ref)
    }

    async fn perform(&self, key: &Key, operation: Operation) -> Result<Done<Decrypted>, Refusal> {
        let ciphertext = self.ciphertext.as_ref();
        let version = key.reading(ciphertext, operation)?;
        let decrypted = version
            .backend
            .decrypt(bytes(self.aad.as_ref()), ciphertext)
            .await?;
        version.uses.read();
        let answer = Decrypted {
            plaintext: plaintext(decrypted),
            version: version.version(),
        };
        Ok(Done::by(version, answer))
    }
}

impl Item for wire::Hmac {
    type Answer = Mac;

    async fn perform(&self, key: &Key, operation: Operation) -> Result<Done<Mac>, Refusal> {
        let version = key.ring.protecting(operation)?;
        let answer = Mac {
            mac: version.backend.mac(self.message.as_ref()).await?.into(),
            version: version.version(),
        };
        Ok(Done::by(version, answer))
    }
}

impl Item for wire::HmacVerify {
    type Answer = Verified;

    fn tries_versions(&self) -> bool {
        self.version.is_none()
    }

    async fn perform(&self, key: &Key, operation: Operation) -> Result<Done<Verified>, Refusal> {
        let (message, mac) = (self.message.as_ref(), self.mac.as_ref());
        for version in key.ring.checking(self.version, operation)? {
            if version.backend.mac_verify(message, mac).await? {
                return Ok(valid(version));
            }
        }
        Ok(not_valid())
    }
}

impl Item for wire::Sign {
    type Answer = Signed;

    async fn perform(&self, key: &Key, operation: Operation) -> Result<Done<Signed>, Refusal> {
        let version = key.ring.protecting(operation)?;
        check_to_sign(key.algorithm, &self.input)?;
        let answer = Signed {
            signature: version.backend.sign(&self.input).await?.into(),
            version: version.version(),
        };
        Ok(Done::by(version, answer))
    }
}

impl Item for wire::Verify {
    type Answer = Verified;

    fn tries_versions(&self) -> bool {
        self.version.is_none()
    }

    async fn perform(&self, key: &Key, operation: Operation) -> Result<Done<Verified>, Refusal> {
        check_to_sign(key.algorithm, &self.input)?;
        let signature = self.signature.as_ref();
        for version in key.ring.checking(self.version, operation)? {
            if version.backend.verify(&self.input, signature).await? {
                return Ok(valid(version));
            }
        }
        Ok(not_valid())
    }
}

fn valid(version: &Working) -> Done<Verified> {
    version.uses.read();
    let answer = Verified {
        valid: true,
        version: Some(version.version()),
    };
    Done::by(version, answer)
}

fn not_valid() -> Done<Verified> {
    Done {
        answer: Verified {
            valid: false,
            version: None,
        },
        version: None,
    }
}

impl Item for wire::GenerateDataKey {
    type Answer = DataKey;

    fn aad(&self) -> Option<&[u8]> {
        self.aad.as_ref().map(AsRef::as_ref)
    }

    async fn perform(&self, key: &Key, operation: Operation) -> Result<Done<DataKey>, Refusal> {
        if !(MIN_DATA_KEY_BYTES..=MAX_DATA_KEY_BYTES).contains(&self.bytes) {
            return Err(Refusal::bad_request("a data key has 16 to 64 bytes"));
        }
        let version = key.ring.protecting(operation)?;
        let data_key = random(self.bytes)?;
        let ciphertext = version
            .backend
            .encrypt(bytes(self.aad.as_ref()), &data_key)
            .await?;
        let answer = DataKey {
            plaintext: (operation == Operation::GenerateDataKey).then(|| plaintext(data_key)),
            ciphertext: ciphertext.into(),
            version: version.version(),
        };
        Ok(Done::by(version, answer))
    }
}

impl Item for wire::PublicKeyItem {
    type Answer = PublicKey;

    async fn perform(&self, key: &Key, operation: Operation) -> Result<Done<PublicKey>, Refusal> {
        let number = self.version.or(key.ring.primary());
        let number = number.ok_or(OperationError::NoPrimary)?;
        let version = key.ring.key(number, operation)?;
        let answer = PublicKey {
            spki: version.backend.public_key_spki().await?.into(),
            algorithm: key.algorithm,
            version: number,
        };
        Ok(Done::by(version, answer))
    }
}

/// What was decrypted under the source of a re-encryption, and the version that did it.
pub(crate) type Opened = Result<(Zeroizing<Vec<u8>>, u32), Refusal>;

/// What a re-encryption came to, with the version that decrypted.
pub(crate) type ReEncrypted = Result<(Done<Encrypted>, u32), Refusal>;

/// Decrypts under `source` and encrypts under `destination`, one after the other; plaintexts stay here and are wiped.
pub(crate) async fn re_encrypt_each(
    items: &[wire::ReEncrypt],
    source: &Key,
    destination: &Key,
) -> Vec<ReEncrypted> {
    let mut results = Vec::with_capacity(items.len());
    for item in items {
        results.push(match open(item, source).await {
            Ok(opened) => seal(item, opened, destination).await,
            Err(refusal) => Err(refusal),
        });
    }
    results
}

/// The first half of [`re_encrypt_each`].
pub(crate) async fn open_each(items: &[wire::ReEncrypt], source: &Key) -> Vec<Opened> {
    let mut opened = Vec::with_capacity(items.len());
    for item in items {
        opened.push(open(item, source).await);
    }
    opened
}

/// The second half of [`re_encrypt_each`].
pub(crate) async fn seal_each(
    items: &[wire::ReEncrypt],
    opened: Vec<Opened>,
    destination: &Key,
) -> Vec<ReEncrypted> {
    let mut results = Vec::with_capacity(items.len());
    for (item, opened) in items.iter().zip(opened) {
        results.push(match opened {
            Ok(opened) => seal(item, opened, destination).await,
            Err(refusal) => Err(refusal),
        });
    }
    results
}

async fn open(item: &wire::ReEncrypt, source: &Key) -> Opened {
    let ciphertext = item.ciphertext.as_ref();
    let from = source.reading(ciphertext, Operation::ReEncryptFrom)?;
    let decrypted = from
        .backend
        .decrypt(bytes(item.aad.as_ref()), ciphertext)
        .await?;
    from.uses.read();
    Ok((decrypted, from.version()))
}

async fn seal(
    item: &wire::ReEncrypt,
    (decrypted, from): (Zeroizing<Vec<u8>>, u32),
    destination: &Key,
) -> ReEncrypted {
    let new_aad = bytes(item.new_aad.as_ref().or(item.aad.as_ref()));
    let to = destination.ring.protecting(Operation::ReEncryptTo)?;
    let answer = Encrypted {
        ciphertext: to.backend.encrypt(new_aad, &decrypted).await?.into(),
        version: to.version(),
    };
    Ok((Done::by(to, answer), from))
}

/// Random bytes of the operating system.
///
/// # Errors
///
/// `INTERNAL` if it has none.
pub(crate) fn random(count: usize) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let mut bytes = Zeroizing::new(vec![0; count]);
    getrandom::fill(&mut bytes)
        .map_err(|_| Refusal::internal("the operating system has no random bytes"))?;
    Ok(bytes)
}

/// What a batch amounts to in operations: an item that names no version stands for one with each.
pub(crate) fn verifications<I: Item>(items: &[I], key: &Key) -> usize {
    let open = items.iter().filter(|item| item.tries_versions()).count();
    let tried = open.saturating_mul(key.ring.versions().count().max(1));
    tried.saturating_add(items.len() - open)
}

/// Refuses a batch that would try more versions than a request may.
///
/// # Errors
///
/// `BAD_REQUEST`, with the remedy.
pub(crate) fn check_verifications<I: Item>(items: &[I], key: &Key) -> Result<(), Refusal> {
    if verifications(items, key) > MAX_VERIFICATIONS {
        return Err(Refusal::new(
            ErrorCode::BadRequest,
            "too many versions to try: name the version of each item, or send fewer items",
        ));
    }
    Ok(())
}
