//! The operations on one key, each in the two ways it can be done: here with a key in hand, or by the service.

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    Operation,
    ciphertext::CiphertextHeader,
    lease::HandedKey,
    limits::{
        MAX_AAD_BYTES, MAX_DATA_KEY_BYTES, MAX_MESSAGE_BYTES, MAX_PLAINTEXT_BYTES,
        MIN_DATA_KEY_BYTES,
    },
    local::{OperationError, at_most},
    wire::{self, Bytes, ToSign},
};

/// One operation with what it works on.
pub(crate) trait Job {
    /// The item on the wire.
    type Item: Serialize;
    /// Its result on the wire.
    type Answer: DeserializeOwned;
    /// What the caller gets.
    type Output;

    /// The operations that the policy must allow; the first gives the path.
    const OPERATIONS: &'static [Operation];

    /// Refuses what the service would refuse for its size.
    fn check(&self) -> Result<(), OperationError>;
    /// Bytes to be encoded, for the size of the request.
    fn bytes(&self) -> usize;
    /// For the service.
    fn item(&self) -> Self::Item;
    /// From the service; nothing if it makes no sense.
    fn output(answer: Self::Answer) -> Option<Self::Output>;
    /// Here, with the key in hand.
    fn work(&self, key: &HandedKey) -> Result<Self::Output, OperationError>;
    /// Whether a refusal here may be due to a version that did not come with the key: the service knows what became of it.
    fn may_lack_version(&self, _key: &HandedKey) -> bool {
        false
    }
    /// The key that a re-encryption is for.
    fn to(&self) -> Option<&str> {
        None
    }
}

/// `aad` as an item has it.
fn some(aad: &[u8]) -> Option<Bytes> {
    (!aad.is_empty()).then(|| aad.to_vec().into())
}

fn lacks_version(key: &HandedKey, ciphertext: &[u8]) -> bool {
    CiphertextHeader::parse(ciphertext).is_ok_and(|header| key.lacks_version_of(&header))
}

/// Longest ciphertext that was ever made: the longest plaintext with header, salt, commitment and tag.
const MAX_CIPHERTEXT_BYTES: usize = MAX_PLAINTEXT_BYTES + 1024;

fn check_ciphertext(ciphertext: &[u8]) -> Result<(), OperationError> {
    // Nothing longer was ever made.
    if ciphertext.len() > MAX_CIPHERTEXT_BYTES {
        return Err(OperationError::DecryptionFailed);
    }
    Ok(())
}

fn check_aad(aad: &[u8]) -> Result<(), OperationError> {
    at_most("associated data", aad, MAX_AAD_BYTES)
}

#[derive(Clone, Copy)]
pub(crate) struct Encrypt<'a> {
    pub(crate) plaintext: &'a [u8],
    pub(crate) aad: &'a [u8],
}

impl Job for Encrypt<'_> {
    type Item = wire::Encrypt;
    type Answer = wire::Encrypted;
    type Output = Vec<u8>;

    const OPERATIONS: &'static [Operation] = &[Operation::Encrypt];

    fn check(&self) -> Result<(), OperationError> {
        at_most("plaintext", self.plaintext, MAX_PLAINTEXT_BYTES)?;
        check_aad(self.aad)
    }

    fn bytes(&self) -> usize {
        self.plaintext.len() + self.aad.len()
    }

    fn item(&self) -> wire::Encrypt {
        wire::Encrypt {
            plaintext: self.plaintext.to_vec().into(),
            aad: some(self.aad),
        }
    }

    fn output(mut answer: wire::Encrypted) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut answer.ciphertext.0))
    }

    fn work(&self, key: &HandedKey) -> Result<Vec<u8>, OperationError> {
        let (ciphertext, _) = key.keyring.encrypt(self.aad, self.plaintext)?;
        Ok(ciphertext)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Decrypt<'a> {
    pub(crate) ciphertext: &'a [u8],
    pub(crate) aad: &'a [u8],
}

impl Job for Decrypt<'_> {
    type Item = wire::Decrypt;
    type Answer = wire::Decrypted;
    type Output = Zeroizing<Vec<u8>>;

    const OPERATIONS: &'static [Operation] = &[Operation::Decrypt];

    fn check(&self) -> Result<(), OperationError> {
        check_ciphertext(self.ciphertext)?;
        check_aad(self.aad)
    }

    fn bytes(&self) -> usize {
        self.ciphertext.len() + self.aad.len()
    }

    fn item(&self) -> wire::Decrypt {
        wire::Decrypt {
            ciphertext: self.ciphertext.to_vec().into(),
            aad: some(self.aad),
        }
    }

    fn output(mut answer: wire::Decrypted) -> Option<Zeroizing<Vec<u8>>> {
        Some(Zeroizing::new(std::mem::take(&mut answer.plaintext.0)))
    }

    fn work(&self, key: &HandedKey) -> Result<Zeroizing<Vec<u8>>, OperationError> {
        let (plaintext, _) = key.keyring.decrypt(self.aad, self.ciphertext)?;
        Ok(plaintext)
    }

    fn may_lack_version(&self, key: &HandedKey) -> bool {
        lacks_version(key, self.ciphertext)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Hmac<'a> {
    pub(crate) message: &'a [u8],
}

impl Job for Hmac<'_> {
    type Item = wire::Hmac;
    type Answer = wire::Mac;
    type Output = wire::Mac;

    const OPERATIONS: &'static [Operation] = &[Operation::Hmac];

    fn check(&self) -> Result<(), OperationError> {
        at_most("message", self.message, MAX_MESSAGE_BYTES)
    }

    fn bytes(&self) -> usize {
        self.message.len()
    }

    fn item(&self) -> wire::Hmac {
        wire::Hmac {
            message: self.message.to_vec().into(),
        }
    }

    fn output(answer: wire::Mac) -> Option<wire::Mac> {
        Some(answer)
    }

    fn work(&self, key: &HandedKey) -> Result<wire::Mac, OperationError> {
        let (mac, version) = key.keyring.mac(self.message)?;
        Ok(wire::Mac {
            mac: mac.into(),
            version,
        })
    }
}

#[derive(Clone, Copy)]
pub(crate) struct HmacVerify<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) mac: &'a [u8],
    pub(crate) version: Option<u32>,
}

impl Job for HmacVerify<'_> {
    type Item = wire::HmacVerify;
    type Answer = wire::Verified;
    type Output = bool;

    const OPERATIONS: &'static [Operation] = &[Operation::HmacVerify];

    fn check(&self) -> Result<(), OperationError> {
        at_most("message", self.message, MAX_MESSAGE_BYTES)?;
        at_most("authentication code", self.mac, MAX_MESSAGE_BYTES)
    }

    fn bytes(&self) -> usize {
        self.message.len() + self.mac.len()
    }

    fn item(&self) -> wire::HmacVerify {
        wire::HmacVerify {
            message: self.message.to_vec().into(),
            mac: self.mac.to_vec().into(),
            version: self.version,
        }
    }

    fn output(answer: wire::Verified) -> Option<bool> {
        Some(answer.valid)
    }

    fn work(&self, key: &HandedKey) -> Result<bool, OperationError> {
        let verified = key
            .keyring
            .mac_verify(self.message, self.mac, self.version)?;
        Ok(verified.valid)
    }

    fn may_lack_version(&self, key: &HandedKey) -> bool {
        self.version
            .is_some_and(|version| key.lacks_version(version))
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Sign<'a> {
    pub(crate) input: &'a ToSign,
}

fn check_input(input: &ToSign) -> Result<(), OperationError> {
    match input {
        ToSign::Message(bytes) => at_most("message", bytes.as_ref(), MAX_MESSAGE_BYTES),
        ToSign::Digest(bytes) => at_most("digest", bytes.as_ref(), MAX_MESSAGE_BYTES),
    }
}

fn input_bytes(input: &ToSign) -> usize {
    match input {
        ToSign::Message(bytes) | ToSign::Digest(bytes) => bytes.as_ref().len(),
    }
}

impl Job for Sign<'_> {
    type Item = wire::Sign;
    type Answer = wire::Signed;
    type Output = wire::Signed;

    const OPERATIONS: &'static [Operation] = &[Operation::Sign];

    fn check(&self) -> Result<(), OperationError> {
        check_input(self.input)
    }

    fn bytes(&self) -> usize {
        input_bytes(self.input)
    }

    fn item(&self) -> wire::Sign {
        wire::Sign {
            input: self.input.clone(),
        }
    }

    fn output(answer: wire::Signed) -> Option<wire::Signed> {
        Some(answer)
    }

    fn work(&self, key: &HandedKey) -> Result<wire::Signed, OperationError> {
        let (signature, version) = key.keyring.sign(self.input)?;
        Ok(wire::Signed {
            signature: signature.into(),
            version,
        })
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Verify<'a> {
    pub(crate) input: &'a ToSign,
    pub(crate) signature: &'a [u8],
    pub(crate) version: Option<u32>,
}

impl Job for Verify<'_> {
    type Item = wire::Verify;
    type Answer = wire::Verified;
    type Output = bool;

    const OPERATIONS: &'static [Operation] = &[Operation::Verify];

    fn check(&self) -> Result<(), OperationError> {
        check_input(self.input)?;
        at_most("signature", self.signature, MAX_MESSAGE_BYTES)
    }

    fn bytes(&self) -> usize {
        input_bytes(self.input) + self.signature.len()
    }

    fn item(&self) -> wire::Verify {
        wire::Verify {
            input: self.input.clone(),
            signature: self.signature.to_vec().into(),
            version: self.version,
        }
    }

    fn output(answer: wire::Verified) -> Option<bool> {
        Some(answer.valid)
    }

    fn work(&self, key: &HandedKey) -> Result<bool, OperationError> {
        let verified = key
            .keyring
            .verify(self.input, self.signature, self.version)?;
        Ok(verified.valid)
    }

    fn may_lack_version(&self, key: &HandedKey) -> bool {
        self.version
            .is_some_and(|version| key.lacks_version(version))
    }
}

/// A data key, in the clear and encrypted.
#[derive(Clone, Copy)]
pub(crate) struct DataKey<'a> {
    pub(crate) bytes: usize,
    pub(crate) aad: &'a [u8],
}

/// A data key, encrypted only.
#[derive(Clone, Copy)]
pub(crate) struct DataKeyWithoutPlaintext<'a>(pub(crate) DataKey<'a>);

impl DataKey<'_> {
    fn check(&self) -> Result<(), OperationError> {
        check_aad(self.aad)?;
        if !(MIN_DATA_KEY_BYTES..=MAX_DATA_KEY_BYTES).contains(&self.bytes) {
            return Err(OperationError::DataKeySize(self.bytes));
        }
        Ok(())
    }

    fn item(&self) -> wire::GenerateDataKey {
        wire::GenerateDataKey {
            bytes: self.bytes,
            aad: some(self.aad),
        }
    }
}

impl Job for DataKey<'_> {
    type Item = wire::GenerateDataKey;
    type Answer = wire::DataKey;
    type Output = (Zeroizing<Vec<u8>>, Vec<u8>);

    const OPERATIONS: &'static [Operation] = &[Operation::GenerateDataKey];

    fn check(&self) -> Result<(), OperationError> {
        DataKey::check(self)
    }

    fn bytes(&self) -> usize {
        self.aad.len()
    }

    fn item(&self) -> wire::GenerateDataKey {
        DataKey::item(self)
    }

    fn output(mut answer: wire::DataKey) -> Option<Self::Output> {
        let mut plaintext = answer.plaintext.take()?;
        Some((
            Zeroizing::new(std::mem::take(&mut plaintext.0)),
            std::mem::take(&mut answer.ciphertext.0),
        ))
    }

    fn work(&self, key: &HandedKey) -> Result<Self::Output, OperationError> {
        let made = key.keyring.generate_data_key(self.aad, self.bytes)?;
        Ok((made.plaintext, made.ciphertext))
    }
}

impl Job for DataKeyWithoutPlaintext<'_> {
    type Item = wire::GenerateDataKey;
    type Answer = wire::DataKey;
    type Output = Vec<u8>;

    const OPERATIONS: &'static [Operation] = &[Operation::GenerateDataKeyWithoutPlaintext];

    fn check(&self) -> Result<(), OperationError> {
        self.0.check()
    }

    fn bytes(&self) -> usize {
        self.0.aad.len()
    }

    fn item(&self) -> wire::GenerateDataKey {
        self.0.item()
    }

    fn output(mut answer: wire::DataKey) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut answer.ciphertext.0))
    }

    fn work(&self, key: &HandedKey) -> Result<Vec<u8>, OperationError> {
        self.0.work(key).map(|(_, ciphertext)| ciphertext)
    }
}

/// A ciphertext to encrypt anew, under the same key's newest version or another key.
#[derive(Clone, Copy)]
pub(crate) struct ReEncrypt<'a> {
    pub(crate) ciphertext: &'a [u8],
    pub(crate) aad: &'a [u8],
    pub(crate) to: Option<&'a str>,
    pub(crate) new_aad: Option<&'a [u8]>,
}

impl Job for ReEncrypt<'_> {
    type Item = wire::ReEncrypt;
    type Answer = wire::Encrypted;
    type Output = Vec<u8>;

    const OPERATIONS: &'static [Operation] = &[Operation::ReEncryptFrom, Operation::ReEncryptTo];

    fn check(&self) -> Result<(), OperationError> {
        check_ciphertext(self.ciphertext)?;
        check_aad(self.aad)?;
        check_aad(self.new_aad.unwrap_or_default())
    }

    fn bytes(&self) -> usize {
        self.ciphertext.len() + self.aad.len() + self.new_aad.map_or(0, <[u8]>::len)
    }

    fn item(&self) -> wire::ReEncrypt {
        wire::ReEncrypt {
            ciphertext: self.ciphertext.to_vec().into(),
            aad: some(self.aad),
            // Empty is not the same as left out.
            new_aad: self.new_aad.map(|aad| aad.to_vec().into()),
        }
    }

    fn output(mut answer: wire::Encrypted) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut answer.ciphertext.0))
    }

    fn work(&self, key: &HandedKey) -> Result<Vec<u8>, OperationError> {
        let (plaintext, _) = key.keyring.decrypt(self.aad, self.ciphertext)?;
        let aad = self.new_aad.unwrap_or(self.aad);
        let (ciphertext, _) = key.keyring.encrypt(aad, &plaintext)?;
        Ok(ciphertext)
    }

    fn may_lack_version(&self, key: &HandedKey) -> bool {
        lacks_version(key, self.ciphertext)
    }

    fn to(&self) -> Option<&str> {
        self.to
    }
}

#[derive(Clone, Copy)]
pub(crate) struct PublicKey {
    pub(crate) version: Option<u32>,
}

impl Job for PublicKey {
    type Item = wire::PublicKeyItem;
    type Answer = wire::PublicKey;
    type Output = wire::PublicKey;

    const OPERATIONS: &'static [Operation] = &[Operation::PublicKey];

    fn check(&self) -> Result<(), OperationError> {
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }

    fn item(&self) -> wire::PublicKeyItem {
        wire::PublicKeyItem {
            version: self.version,
        }
    }

    fn output(answer: wire::PublicKey) -> Option<wire::PublicKey> {
        Some(answer)
    }

    fn work(&self, key: &HandedKey) -> Result<wire::PublicKey, OperationError> {
        let (spki, version) = key.keyring.public_key_spki(self.version)?;
        Ok(wire::PublicKey {
            spki: spki.into(),
            algorithm: key.keyring.algorithm(),
            version,
        })
    }

    fn may_lack_version(&self, key: &HandedKey) -> bool {
        self.version
            .is_some_and(|version| key.lacks_version(version))
    }
}
