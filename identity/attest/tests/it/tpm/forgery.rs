//! What impostors bring: CAs of their own, attestation keys in software, quotes that no TPM made.

use super::*;

/// Somebody with a CA.
pub(super) struct Ca {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub(super) fn certify(&self, key: &Point, purposes: Vec<ExtendedKeyUsagePurpose>) -> Vec<u8> {
        self.certify_for(key, purposes, Vec::new())
    }

    pub(super) fn certify_for(
        &self,
        key: &Point,
        purposes: Vec<ExtendedKeyUsagePurpose>,
        usages: Vec<KeyUsagePurpose>,
    ) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.extended_key_usages = purposes;
        params.key_usages = usages;
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }
}

/// Point of a P-256 endorsement key, as certificates have it.
pub(super) struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// The coordinates end the public area.
pub(super) fn point(key: &EndorsementKey) -> Point {
    let bytes = key.to_bytes();
    let (x, y) = (&bytes[bytes.len() - 66..][..32], &bytes[bytes.len() - 32..]);
    Point([&[4][..], x, y].concat())
}

pub(super) fn der(pem: &str) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}

/// `TPMT_PUBLIC` of a signing key on P-256.
pub(super) fn attestation_area(
    attributes: u32,
    policy: &[u8],
    key: &p256::ecdsa::SigningKey,
) -> Vec<u8> {
    let point = key.verifying_key().to_sec1_point(false);
    let mut area = vec![0, 0x23, 0, 0x0b];
    area.extend_from_slice(&attributes.to_be_bytes());
    area.extend_from_slice(&sized(policy));
    area.extend_from_slice(&[0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10]);
    area.extend_from_slice(&sized(point.x().unwrap()));
    area.extend_from_slice(&sized(point.y().unwrap()));
    area
}

/// What a TPM would sign over register 0, with all bits zero.
pub(super) fn forged_quote(nonce: &[u8; 32]) -> Vec<u8> {
    let data = Sha256::new()
        .chain_update(attest::limits::TPM_QUOTE_LABEL)
        .chain_update(nonce)
        .chain_update(CSR_KEY)
        .finalize();
    let mut quote = vec![0xff, 0x54, 0x43, 0x47, 0x80, 0x18];
    quote.extend_from_slice(&sized(&[0; 34]));
    quote.extend_from_slice(&sized(&data));
    quote.extend_from_slice(&[0; 25]);
    quote.extend_from_slice(&[0, 0, 0, 1, 0, 0x0b, 3, 1, 0, 0]);
    quote.extend_from_slice(&sized(&Sha256::digest([0; 32])));
    quote
}

pub(super) fn software_signature(key: &p256::ecdsa::SigningKey, message: &[u8]) -> Vec<u8> {
    let signature: p256::ecdsa::Signature = key.sign(message);
    let (r, s) = signature.split_bytes();
    [&[0, 0x18, 0, 0x0b][..], &sized(&r), &sized(&s)].concat()
}

/// Makes the P-256 endorsement key.
pub(super) fn endorsement_primary(raw: &mut Raw) -> u32 {
    let mut area = hex::decode(
        "0023000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa\
         00060080004300100003001000200000000000000000000000000000000000000000000000000000000000000000\
         0020",
    )
    .unwrap();
    area.extend_from_slice(&[0; 32]);
    let mut parameters = sized(&[0; 4]);
    parameters.extend_from_slice(&sized(&area));
    parameters.extend_from_slice(&[0; 6]);
    let answer = raw.succeed(0x131, &[ENDORSEMENT], &[PASSWORD], &parameters);
    u32::from_be_bytes(answer[..4].try_into().unwrap())
}

/// A policy session that satisfies the endorsement key's policy.
pub(super) fn endorsement_session(raw: &mut Raw) -> u32 {
    let mut parameters = sized(&[0; 32]);
    parameters.extend_from_slice(&[0, 0, 1, 0, 0x10, 0, 0x0b]);
    let answer = raw.succeed(0x176, &[NULL_HIERARCHY, NULL_HIERARCHY], &[], &parameters);
    let session = u32::from_be_bytes(answer[..4].try_into().unwrap());
    raw.succeed(0x151, &[ENDORSEMENT, session], &[PASSWORD], &[0; 10]);
    session
}

pub(super) const ENDORSEMENT: u32 = 0x4000_000b;
pub(super) const NULL_HIERARCHY: u32 = 0x4000_0007;
pub(super) const PASSWORD: u32 = 0x4000_0009;
