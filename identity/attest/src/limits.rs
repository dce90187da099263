//! Every bound of this crate, each with the reason for its size; and the labels that keep hashes and signatures apart.

use identity::limits::{MAX_ATTRIBUTES, MAX_SPIFFE_ID_BYTES};

/// Greatest length of what an attestor wants sealed into a challenge: two TPM public areas, names and a secret.
pub const MAX_CHALLENGE_STATE_BYTES: usize = 4 * 1024;

/// Greatest number of attestors of a site: one of each type there is, and room.
pub const MAX_ATTESTORS: usize = 16;

/// Greatest length of a template: a SPIFFE ID at its greatest.
pub const MAX_TEMPLATE_BYTES: usize = MAX_SPIFFE_ID_BYTES;

/// Greatest number of facts that one template names.
pub const MAX_TEMPLATE_FACTS: usize = 16;

/// Greatest length of a fact's name, far over the longest there is.
pub const MAX_FACT_NAME_BYTES: usize = 64;

/// Greatest number of attributes a mapping sets, with room for `instance` in a document.
pub const MAX_MAPPING_ATTRIBUTES: usize = MAX_ATTRIBUTES - 1;

/// Greatest length of a PEM text with one public key; a P-384 key takes about 220 bytes.
pub const MAX_PUBLIC_KEY_PEM_BYTES: usize = 1024;

/// Greatest number of public keys of one voucher: two overlap while one is replaced, several vouchers share a site.
pub const MAX_VOUCHER_KEYS: usize = 8;

/// Greatest length of the name of a voucher's key.
pub const MAX_KEY_ID_BYTES: usize = 64;

/// Greatest length of a voucher token: attributes at their greatest (8 KiB, binary ones in base64) and a SPIFFE ID at
/// its greatest, all of it in base64 once more.
pub const MAX_VOUCHER_TOKEN_BYTES: usize = 24 * 1024;

/// Greatest length of a token's header in base64; the longest there is takes 150 characters.
pub const MAX_VOUCHER_HEADER_BYTES: usize = 256;

/// Greatest time from `iat` to `exp`: a token goes straight from the voucher to the authority.
pub const MAX_VOUCHER_LIFETIME_SECONDS: u64 = 60;

/// Greatest length of `uid`; a Kubernetes UID has 36 characters.
pub const MAX_UID_BYTES: usize = 128;

/// Least length of `jti`: 80 random bits in base32, or 16 hex digits of a counter.
pub const MIN_TOKEN_ID_BYTES: usize = 16;

/// Greatest length of `jti`.
pub const MAX_TOKEN_ID_BYTES: usize = 128;

/// Greatest sequence number: the greatest integer that all JSON software reads alike (RFC 8259, section 6).
pub const MAX_SEQUENCE: u64 = (1 << 53) - 1;

/// Greatest number of trust anchors of one attestor, over all its PEM texts.
pub const MAX_ANCHORS: usize = 16;

/// Greatest number of certificates that sign documents of AWS, one for each region and its successor.
pub const MAX_AWS_CERTIFICATES: usize = 96;

/// Greatest number of accounts, users or executables in a rule; more are several sites.
pub const MAX_LIST: usize = 1024;

/// Greatest length of a signature of a foreign key in base64: RSA of 8192 bits.
pub const MAX_SIGNATURE_BASE64_BYTES: usize = 1368;

/// Greatest number of DNS names of a foreign certificate that become facts.
pub const MAX_DNS_NAMES: usize = 32;

/// Greatest length of an AWS instance identity document; those there are have about 500 bytes.
pub const MAX_AWS_DOCUMENT_BYTES: usize = 8 * 1024;

/// Greatest length of the PKCS #7 signature in base64: the document, a certificate and the signature of 8192 bits.
pub const MAX_AWS_SIGNATURE_BYTES: usize = 24 * 1024;

/// Greatest nesting of BER values; CMS with certificates needs 11.
pub const MAX_BER_DEPTH: usize = 16;

/// Greatest number of BER values in one message; CMS with a certificate has about 150.
pub const MAX_BER_NODES: usize = 1024;

/// Greatest number of signed attributes; OpenSSL writes four, AWS three.
pub const MAX_SIGNED_ATTRIBUTES: usize = 8;

/// Greatest length of an executable that is hashed: the greatest browsers and databases have 300 MB.
pub const MAX_EXECUTABLE_BYTES: u64 = 1 << 30;

/// What is read of the mounts that a process sees: tens of thousands of them.
pub const MAX_MOUNTS_BYTES: u64 = 4 * 1024 * 1024;

/// What is read of an executable at once.
pub const EXECUTABLE_CHUNK_BYTES: usize = 128 * 1024;

/// Greatest length of a TPM's `TPMT_PUBLIC`: RSA of 2048 bits takes 314 bytes.
pub const MAX_TPM_PUBLIC_BYTES: usize = 512;

/// Greatest number of certificates of an endorsement key: leaf, and what makers put above it in the TPM.
pub const MAX_TPM_CHAIN_CERTIFICATES: usize = 6;

/// Greatest length of one of them; those of makers have 1 to 2 KiB, and all of them must fit into one request.
pub const MAX_TPM_CERTIFICATE_BYTES: usize = 4 * 1024;

/// Greatest length of a quote (`TPMS_ATTEST`): two names, a digest and 50 bytes.
pub const MAX_TPM_QUOTE_BYTES: usize = 256;

/// Greatest length of a quote's signature (`TPMT_SIGNATURE`): RSA of 2048 bits and six bytes.
pub const MAX_TPM_SIGNATURE_BYTES: usize = 262;

/// SHA-256 registers of a TPM (PC Client Platform TPM Profile, section 4.6).
pub const MAX_TPM_REGISTERS: usize = 24;

/// Greatest number of trust anchors of endorsement keys: the world's makers of TPMs have some forty.
pub const MAX_TPM_ANCHORS: usize = 64;

/// Greatest number of endorsement keys that a site lists; a greater fleet has anchors.
pub const MAX_TPM_ENDORSEMENT_KEYS: usize = 1024;

/// Greatest length of a TPM's answer: `TPM_PT_MAX_RESPONSE_SIZE` of all there are is 4096.
pub const MAX_TPM_RESPONSE_BYTES: usize = 4096;

/// Greatest length of an NV index that holds a certificate or several.
pub const MAX_TPM_NV_BYTES: usize = 16 * 1024;

/// What is read of an NV index at once; every TPM gives at least 512 (`TPM_PT_NV_BUFFER_MAX`).
pub const TPM_NV_CHUNK_BYTES: u16 = 512;

/// How often a command is sent again to a TPM that says "retry", with [`TPM_RETRY_PAUSE`] between: three seconds.
pub const MAX_TPM_RETRIES: u32 = 30;

/// Pause before a command is sent again.
pub const TPM_RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// How long one command may take over a socket; making RSA keys takes slow TPMs half a minute.
pub const TPM_SOCKET_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(120);

/// How often registers are quoted again when they changed between quote and reading.
pub const MAX_TPM_QUOTES: usize = 5;

/// Before nonce and key hash, where they are hashed into what a TPM's quote is made over.
pub const TPM_QUOTE_LABEL: &[u8] = b"blindfold attest tpm quote v1\0";

/// Seconds of [`crate::SingleUse::expires_at`] for what is never forgotten: the greatest that a signed 64-bit column
/// holds.
pub const NEVER: u64 = i64::MAX.unsigned_abs();

/// Before the `jti` of a voucher's token, where it is hashed.
pub const VOUCHER_TOKEN_ID_LABEL: &[u8] = b"blindfold attest voucher jti v1\0";

/// Before the nonce of a challenge, where it is hashed for its single use.
pub const CHALLENGE_USE_LABEL: &[u8] = b"blindfold attest challenge use v1\0";

/// Before account, instance and its start, where they are hashed for their single use.
pub const AWS_USE_LABEL: &[u8] = b"blindfold attest aws instance v1\0";

/// Context of the signature by a foreign certificate's key; 64 spaces come before it, as in TLS 1.3.
pub const X509_PROOF_CONTEXT: &[u8] = b"blindfold attest x509 proof of possession v1";

/// Greatest length of a PEM text with one private key: RSA of 8192 bits takes about 6.5 KB.
pub const MAX_PRIVATE_KEY_PEM_BYTES: usize = 16 * 1024;
