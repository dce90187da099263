//! Evidence of attestors, signed with keys that everybody knows.

use std::sync::LazyLock;

use attest::{
    Attestor, Claim, Context,
    aws::{Aws, Document},
    voucher::{Signer, Vouchers},
};
use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64ct::{Base64, Encoding};
use identity::{SiteName, TrustDomain, wire::Evidence};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

static SIGNER: LazyLock<Signer> =
    LazyLock::new(|| Signer::from_pem("fuzz", include_str!("../keys/voucher.key")).unwrap());

static VOUCHERS: LazyLock<Vouchers> =
    LazyLock::new(|| Vouchers::new(&[SIGNER.voucher_key().unwrap()]).unwrap());

/// A whole token; or claims, or a header, a zero byte and claims, which get a good signature.
pub fn voucher_token(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        open(text);
    }
    let zero = data.iter().position(|byte| *byte == 0);
    let (header, claims) = match zero {
        Some(zero) => (&data[..zero], &data[zero + 1..]),
        None => (
            br#"{"alg":"ES256","kid":"fuzz","typ":"bfvoucher+jwt"}"#.as_slice(),
            data,
        ),
    };
    let token = SIGNER.sign_parts(header, claims, &mut ChaCha20Rng::from_seed([1; 32]));
    open(&token.unwrap());
}

/// What is opened can be signed again and says the same; what is vouched for lies in the site.
fn open(token: &str) {
    let Ok(claims) = VOUCHERS.open(token) else {
        return;
    };
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let again = SIGNER.sign(&claims, &mut rng).unwrap();
    assert_eq!(VOUCHERS.open(&again), Ok(claims.clone()));
    let site = SiteName::parse("paris").unwrap();
    let trust_domain = TrustDomain::parse("acme.example").unwrap();
    let context = Context {
        now: claims.issued_at,
        csr_key_sha256: &claims.csr_key_sha256,
        site: &site,
        trust_domain: &trust_domain,
        audience: &trust_domain.identity_authority(),
        challenge: None,
        unix_peer: None,
        join_token: None,
    };
    let evidence = Evidence::Voucher { token: again };
    if let Ok(attested) = VOUCHERS.verify(&evidence, &context) {
        let Claim::Named {
            spiffe_id,
            attributes,
        } = attested.claim
        else {
            panic!("a token names its SPIFFE ID");
        };
        assert_eq!(spiffe_id.trust_domain(), &trust_domain);
        assert_eq!(spiffe_id.site(), Some("paris"));
        assert!(!attributes.contains_key("instance"));
    }
}

static REGION: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::from_pkcs8(include_bytes!("../keys/aws.key")).unwrap());

/// A certificate, and its issuer and serial number as a signer is named by them.
static CERTIFICATE: &str = include_str!("../keys/aws.crt");
static NAMED: &[u8] = include_bytes!("../keys/aws.issuer-and-serial");

static AWS: LazyLock<Aws> =
    LazyLock::new(|| Aws::new(&[CERTIFICATE.to_owned()], &["123456789012".to_owned()]).unwrap());

/// A document, a zero byte and its signature in base64; a signature in DER of the kept document; or a document that
/// gets a good signature, inside of the message and beside it.
pub fn aws_document(data: &[u8]) {
    let zero = data.iter().position(|byte| *byte == 0);
    if let Some(zero) = zero {
        let parts = (
            std::str::from_utf8(&data[..zero]),
            std::str::from_utf8(&data[zero + 1..]),
        );
        if let (Ok(document), Ok(signature)) = parts {
            let opened = AWS.open(document, signature);
            assert!(opened.is_err() || opened.ok() == Document::parse(document.as_bytes()).ok());
        }
    }
    let kept = include_str!("../keys/aws.document");
    let opened = AWS.open(kept, &Base64::encode_string(data));
    assert!(opened.is_err() || opened.ok() == Document::parse(kept.as_bytes()).ok());
    let parsed = Document::parse(data);
    let Ok(document) = std::str::from_utf8(data) else {
        assert!(parsed.is_err());
        return;
    };
    for inside in [false, true] {
        let opened = AWS.open(document, &Base64::encode_string(&message(data, inside)));
        // A signature that is good leaves only the length and the document itself to be refused.
        assert_eq!(
            opened.ok(),
            parsed.clone().ok().filter(|_| data.len() <= 8192)
        );
    }
}

/// The CMS message that signs `document`.
fn message(document: &[u8], inside: bool) -> Vec<u8> {
    let null = |oid: &[u8]| value(0x30, &[&value(6, &[oid]), &value(5, &[])]);
    let attribute =
        |oid: &[u8], inner: &[u8]| value(0x30, &[&value(6, &[oid]), &value(0x31, &[inner])]);
    let attributes = [
        attribute(CONTENT_TYPE, &value(6, &[DATA])),
        attribute(
            MESSAGE_DIGEST,
            &value(4, &[digest(&SHA256, document).as_ref()]),
        ),
    ]
    .concat();
    let mut signature = vec![0; REGION.public_modulus_len()];
    REGION
        .sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            &value(0x31, &[&attributes]),
            &mut signature,
        )
        .unwrap();
    let signer = value(
        0x30,
        &[
            &value(2, &[&[1]]),
            NAMED,
            &null(SHA_256),
            &value(0xa0, &[&attributes]),
            &null(RSA_ENCRYPTION),
            &value(4, &[&signature]),
        ],
    );
    let content = if inside {
        value(0xa0, &[&value(4, &[document])])
    } else {
        Vec::new()
    };
    let signed = value(
        0x30,
        &[
            &value(2, &[&[1]]),
            &value(0x31, &[&null(SHA_256)]),
            &value(0x30, &[&value(6, &[DATA]), &content]),
            &value(0x31, &[&signer]),
        ],
    );
    value(0x30, &[&value(6, &[SIGNED_DATA]), &value(0xa0, &[&signed])])
}

/// A DER value.
fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let head = match content.len() {
        short @ 0..128 => vec![tag, short as u8],
        _ => [&[tag, 0x84 - zeros as u8], &length[zeros..]].concat(),
    };
    [head, content].concat()
}

// Content octets of object identifiers.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const SHA_256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 3, 4, 2, 1];
