//! Numbers of TPM 2.0 Library, part 2, as far as they are used here.

// TPM_ALG_ID.
pub(super) const RSA: u16 = 0x0001;
pub(super) const AES: u16 = 0x0006;
pub(super) const SHA256: u16 = 0x000b;
pub(super) const NULL: u16 = 0x0010;
pub(super) const RSASSA: u16 = 0x0014;
pub(super) const ECDSA: u16 = 0x0018;
pub(super) const ECC: u16 = 0x0023;
pub(super) const CFB: u16 = 0x0043;

// TPM_ECC_CURVE.
pub(super) const NIST_P256: u16 = 0x0003;

// TPMA_OBJECT.
pub(super) const FIXED_TPM: u32 = 1 << 1;
pub(super) const FIXED_PARENT: u32 = 1 << 4;
pub(super) const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
pub(super) const USER_WITH_AUTH: u32 = 1 << 6;
pub(super) const ADMIN_WITH_POLICY: u32 = 1 << 7;
pub(super) const NO_DA: u32 = 1 << 10;
pub(super) const RESTRICTED: u32 = 1 << 16;
pub(super) const DECRYPT: u32 = 1 << 17;
pub(super) const SIGN: u32 = 1 << 18;

// TPMS_ATTEST.
pub(super) const GENERATED_VALUE: [u8; 4] = [0xff, 0x54, 0x43, 0x47];
pub(super) const ATTEST_QUOTE: u16 = 0x8018;

/// Policy of endorsement keys: `TPM2_PolicySecret` of the endorsement hierarchy (EK Credential Profile, B.3).
pub(super) const ENDORSEMENT_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
