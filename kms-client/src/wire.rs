//! The JSON of the service's data API, used by the service and the client alike.
//!
//! Every call is a `POST` over mTLS to [`path::operation`], with a JSON body of 1 to 256 items and an answer of as many
//! results in their order: a batch is the one form, a single operation is a batch of one. A request that is refused as a
//! whole (denied, unknown key, unreadable) is answered with a status other than 200 and [`ErrorBody`]; an item that fails
//! has its error in its place and does not touch the others. Bytes are Base64 with padding (RFC 4648, section 4).
//! Unknown members are refused in requests and passed over in answers.
//!
//! # Evolution
//!
//! Within `/v1` members are only added, and then are optional in requests.

use std::fmt;

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Algorithm, KeyId, Operation, Sensitivity};

pub mod admin;

/// Paths of the data API.
pub mod path {
    use crate::Operation;

    /// Everything of this API is below: `/v1/keys/{tenant}/{key}/{operation}`; `key` is a name or an identifier.
    pub const OPERATION: &str = "/v1/keys/{tenant}/{key}/{operation}";
    /// [`super::RandomRequest`] → [`super::RandomResponse`].
    pub const RANDOM: &str = "/v1/random/{tenant}";
    /// [`super::WatchRequest`] → [`super::WatchResponse`], after a change or [`super::WATCH_SECONDS`].
    pub const WATCH: &str = "/v1/watch/{tenant}";

    /// Large data in one request, as it is: encrypt and decrypt answer with a [stream](crate::stream) and its plaintext, hmac
    /// and sign with their JSON. The associated data is in the header [`AAD_HEADER`](super::AAD_HEADER).
    pub const STREAM: &str = "/v1/streams/{tenant}/{key}/{operation}";
    /// Everything of that form is below.
    pub const STREAMS: &str = "/v1/streams/";

    /// Path of `operation` on `key`.
    ///
    /// A re-encryption is asked of its source, as `re-encrypt`.
    ///
    /// ```
    /// use kms_client::{Operation, wire::path};
    /// assert_eq!(path::operation("default", "orders", Operation::Encrypt), "/v1/keys/default/orders/encrypt");
    /// ```
    #[must_use]
    pub fn operation(tenant: &str, key: &str, operation: Operation) -> String {
        let last = match operation {
            Operation::ReEncryptFrom | Operation::ReEncryptTo => "re-encrypt",
            other => other.name(),
        };
        format!("/v1/keys/{tenant}/{key}/{last}")
    }
}

/// Bytes that travel as Base64; wiped on drop, never printed.
#[derive(Clone, Default, Eq, PartialEq, Zeroize, ZeroizeOnDrop)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = zeroize::Zeroizing::new(Base64::encode_string(&self.0));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = zeroize::Zeroizing::new(String::deserialize(deserializer)?);
        Base64::decode_vec(&text)
            .map(Self)
            .map_err(|_| D::Error::custom("not Base64 with padding"))
    }
}

/// Header of a streamed request with the caller's associated data in Base64; none when absent.
pub const AAD_HEADER: &str = "kms-aad";

/// Items of one request.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Request<T> {
    /// 1 to 256 of them.
    pub items: Vec<T>,
}

/// Results of one request, in the order of its items.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Response<T> {
    /// One for each item.
    pub results: Vec<Outcome<T>>,
}

/// What became of one item.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Outcome<T> {
    /// It failed; the others are not touched.
    Error {
        /// Why.
        error: ErrorBody,
    },
    /// It was done.
    Ok(T),
}

/// One plaintext to encrypt.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Encrypt {
    /// What is protected; at most 64 KiB, and with RSA-OAEP at most the modulus less 66 bytes.
    pub plaintext: Bytes,
    /// Associated data (encryption context): not secret, not in the ciphertext, and needed again to decrypt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aad: Option<Bytes>,
}

/// A ciphertext and the version that made it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Encrypted {
    /// Format: key identifier, version and algorithm come first.
    pub ciphertext: Bytes,
    /// Version of the key.
    pub version: u32,
}

/// One ciphertext to decrypt.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Decrypt {
    /// As `encrypt` made it.
    pub ciphertext: Bytes,
    /// The associated data it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aad: Option<Bytes>,
}

/// A plaintext and the version that protected it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Decrypted {
    /// What was protected.
    pub plaintext: Bytes,
    /// Version of the key.
    pub version: u32,
}

/// One message to authenticate.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hmac {
    /// At most 64 KiB.
    pub message: Bytes,
}

/// A message authentication code and the version that made it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Mac {
    /// As long as the hash (RFC 2104), not truncated.
    pub mac: Bytes,
    /// Version of the key.
    pub version: u32,
}

/// One code to check.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HmacVerify {
    /// The message.
    pub message: Bytes,
    /// The code, whole.
    pub mac: Bytes,
    /// The version that made it; without it every version that may verify is tried, newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// What is signed: a message, or its digest under the hash of the key's algorithm.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ToSign {
    /// The message itself, at most 64 KiB.
    Message(Bytes),
    /// Its digest, exactly as long as the hash; not with Ed25519.
    Digest(Bytes),
}

/// One thing to sign.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// `{"message": …}` or `{"digest": …}`.
    pub input: ToSign,
}

/// A signature and the version that made it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Signed {
    /// RSA: as long as the modulus. ECDSA: ASN.1 DER. Ed25519: 64 bytes.
    pub signature: Bytes,
    /// Version of the key.
    pub version: u32,
}

/// One signature to check.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// What was signed.
    pub input: ToSign,
    /// The signature.
    pub signature: Bytes,
    /// The version that made it; without it every version that may verify is tried, newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// Whether a code or a signature is good, and the version that made it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Verified {
    /// Whether it is good.
    pub valid: bool,
    /// The version that made it, if it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// One data key to make; for both operations that make one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateDataKey {
    /// Its size, 16 to 64 bytes.
    pub bytes: usize,
    /// Associated data of its ciphertext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aad: Option<Bytes>,
}

/// A data key.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DataKey {
    /// In the clear; absent where it was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<Bytes>,
    /// Encrypted under the key.
    pub ciphertext: Bytes,
    /// Version of the key.
    pub version: u32,
}

/// Ciphertexts of one key to encrypt anew, under its newest version or another key; the plaintext stays in the service.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReEncryptRequest {
    /// Name or identifier of the destination, in the same tenant; the source itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// 1 to 256 of them; each is answered with [`Encrypted`].
    pub items: Vec<ReEncrypt>,
}

/// One ciphertext to encrypt anew.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReEncrypt {
    /// As `encrypt` made it.
    pub ciphertext: Bytes,
    /// The associated data it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aad: Option<Bytes>,
    /// Associated data of the new ciphertext; the same when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_aad: Option<Bytes>,
}

/// Which public key is asked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKeyItem {
    /// The version; the primary one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// A public key.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PublicKey {
    /// `SubjectPublicKeyInfo` in DER (RFC 5280, section 4.1).
    pub spki: Bytes,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Version of the key.
    pub version: u32,
}

/// Asks for random bytes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RandomRequest {
    /// How many, 1 to 4096.
    pub bytes: usize,
}

/// Random bytes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RandomResponse {
    /// As many as asked for.
    pub random: Bytes,
}

/// Asks for the key itself; the answer is [`Fetched`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FetchKey {
    /// Ephemeral X25519 public key of this request (RFC 9180, DHKEM(X25519, HKDF-SHA256)), 32 bytes.
    pub recipient: Bytes,
}

/// A key, handed out for a while.
///
/// Refused with [`ErrorCode::Denied`] if the policy does not allow `fetch-key`, and with [`ErrorCode::StaysInService`] if
/// it does but the key is of medium or high sensitivity: either way the client sends its data to the service.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Fetched {
    /// Identifier of the key: part of the associated data, which the client may not know yet.
    pub key_id: KeyId,
    /// Encapsulated key (RFC 9180, section 4.1), 32 bytes.
    pub encapsulated: Bytes,
    /// [`Lease`] as JSON, sealed under AES-256-GCM with HKDF-SHA256 in base mode; `info` is [`FETCH_INFO`], the associated
    /// data [`fetch_aad`].
    pub sealed: Bytes,
}

/// Associated data of a handed key: `tenant/key-id`.
#[must_use]
pub fn fetch_aad(tenant: &str, key_id: KeyId) -> String {
    format!("{tenant}/{key_id}")
}

/// `info` of the HPKE context of a handed key.
pub const FETCH_INFO: &[u8] = b"blindfold kms fetch-key v1";

/// A key as it is handed out, and on which terms. Times are Unix seconds of the service's clock.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Lease {
    /// Identifier of the key.
    pub key_id: KeyId,
    /// Its name.
    pub name: String,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Version that protects.
    pub primary: u32,
    /// Its versions that may do anything at all.
    pub versions: Vec<LeasedVersion>,
    /// Operations that the policy allows this principal, as long as the lease runs.
    pub operations: Vec<LeasedOperation>,
    /// Revision of the key, for [`WatchRequest`].
    pub revision: u64,
    /// When it was handed out.
    pub issued_at: u64,
    /// From when on it should be refreshed.
    pub refresh_at: u64,
    /// End of its validity while the service can be reached.
    pub expires_at: u64,
    /// End of its validity during an outage of the service; at least `expires_at`.
    pub outage_until: u64,
    /// How often its versions may protect something under this lease, all together.
    pub uses: u64,
}

/// One version in a lease.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LeasedVersion {
    /// Its number.
    pub version: u32,
    /// `enabled` or `decrypt-only`.
    pub state: crate::State,
    /// Key material: raw bytes of a secret key, PKCS #8 DER of a private key.
    pub material: Bytes,
}

/// What a lease allows, and when: the policy's decision for this principal between two of its times.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LeasedOperation {
    /// Name of the operation.
    pub operation: String,
    /// First second at which it is allowed.
    pub not_before: u64,
    /// Last second at which it is allowed.
    pub not_after: u64,
}

/// Asks to hear of changes of handed keys.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WatchRequest {
    /// 1 to 256 keys.
    pub keys: Vec<WatchedKey>,
}

/// A key and what is known of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WatchedKey {
    /// The key.
    pub key_id: KeyId,
    /// The revision at hand.
    pub revision: u64,
}

/// Longest time that a watch is held without an answer, in seconds: below the idle timeouts of common balancers.
pub const WATCH_SECONDS: u64 = 25;

/// Keys that changed, or to which the principal lost its right; empty when nothing happened in time.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct WatchResponse {
    /// Their identifiers.
    pub changed: Vec<KeyId>,
}

/// A key as its users see it; part of refusals' context and of the client's knowledge.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct KeySummary {
    /// Identifier.
    pub key_id: KeyId,
    /// Name.
    pub name: String,
    /// Algorithm.
    pub algorithm: Algorithm,
    /// Sensitivity: how a client works with it.
    pub sensitivity: Sensitivity,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ErrorCode {
    /// Unreadable, or breaks a limit.
    BadRequest,
    /// The policy does not allow it, or there is no such key for this principal: one form on purpose.
    Denied,
    /// The version may not do this in its state.
    WrongState,
    /// The key's algorithm can't do this.
    WrongOperation,
    /// Not made by this key, damaged, or with other associated data: one form on purpose.
    DecryptionFailed,
    /// The key's limit of uses is reached: rotate it.
    LimitReached,
    /// A change made meanwhile was not seen.
    Conflict,
    /// The key is not handed out: its sensitivity is medium or high. The service does the operation.
    StaysInService,
    /// Something named does not exist.
    NotFound,
    /// Something of that name exists.
    AlreadyExists,
    /// Too many requests; try again later.
    TooManyRequests,
    /// The service can't answer now (audit log, store, HSM); try again later.
    Unavailable,
    /// A fault of the service.
    Internal,
}

/// A refusal.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ErrorBody {
    /// What a program decides by.
    pub code: ErrorCode,
    /// What a person reads: the place and the remedy; never a secret.
    pub message: String,
}

/// Largest body of a data request in bytes: 256 items of 64 KiB would be too much, so a batch of large items is split.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Whether `operation` takes its key from the path.
#[must_use]
pub const fn is_of_key(operation: Operation) -> bool {
    !matches!(operation, Operation::Random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_base64_and_not_printed() {
        let bytes = Bytes(b"secret".to_vec());
        assert_eq!(serde_json::to_string(&bytes).unwrap(), "\"c2VjcmV0\"");
        assert_eq!(format!("{bytes:?}"), "Bytes(6 bytes)");
        for bad in ["\"c2VjcmV\"", "\"c2Vjcm V0\"", "1", "\"c2VjcmV0==\""] {
            assert!(serde_json::from_str::<Bytes>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn outcomes_are_told_apart() {
        let text = r#"{"results":[{"ciphertext":"AA==","version":1},{"error":{"code":"DECRYPTION_FAILED","message":"x"}}]}"#;
        let response: Response<Encrypted> = serde_json::from_str(text).unwrap();
        assert!(matches!(response.results[0], Outcome::Ok(_)));
        assert!(matches!(response.results[1], Outcome::Error { .. }));
        assert_eq!(serde_json::to_string(&response).unwrap(), text);
    }

    #[test]
    fn what_is_signed_is_named() {
        let sign: Sign = serde_json::from_str(r#"{"input":{"digest":"AA=="}}"#).unwrap();
        assert!(matches!(sign.input, ToSign::Digest(_)));
        assert!(serde_json::from_str::<Sign>(r#"{"input":{"hash":"AA=="}}"#).is_err());
    }
}
