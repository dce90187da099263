//! AWS instance identity documents, signed by OpenSSL as AWS signs them.

use std::fs;
use std::path::Path;

use attest::aws::{Aws, AwsError, CmsError, Document, DocumentError};
use attest::{AttestError, Attested, Attestor, Claim};
use base64ct::{Base64, Encoding};
use identity::limits::MAX_CLOCK_SKEW_SECONDS;
use identity::wire::Evidence;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{NOW, Place, openssl};

const ACCOUNT: &str = "123456789012";
/// 2025-12-31T23:59:00Z.
const STARTED: u64 = NOW - 60;

/// Laid out as EC2 does it.
fn document() -> String {
    serde_json::to_string_pretty(&json!({
        "accountId": ACCOUNT,
        "architecture": "x86_64",
        "availabilityZone": "us-west-2b",
        "billingProducts": null,
        "devpayProductCodes": null,
        "imageId": "ami-5fb8c835",
        "instanceId": "i-1234567890abcdef0",
        "instanceType": "m7g.large",
        "kernelId": null,
        "marketplaceProductCodes": ["1abc2defghijklm3nopqrs4tu"],
        "pendingTime": "2025-12-31T23:59:00Z",
        "privateIp": "10.158.112.84",
        "ramdiskId": null,
        "region": "us-west-2",
        "version": "2017-09-30",
    }))
    .unwrap()
}

/// A region's key and certificate.
struct Region(TempDir);

impl Region {
    fn new() -> Self {
        Self::with("rsa:2048")
    }

    fn with(key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        openssl(
            folder.path(),
            &[
                "req",
                "-x509",
                "-newkey",
                key,
                "-nodes",
                "-keyout",
                "key",
                "-out",
                "crt",
                "-days",
                "9000",
                "-set_serial",
                "0xb6a0c1d2e3f4",
                "-subj",
                "/C=US/ST=Washington State/L=Seattle/O=Amazon Web Services LLC",
            ],
        );
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn certificate(&self) -> String {
        fs::read_to_string(self.path().join("crt")).unwrap()
    }

    fn aws(&self) -> Aws {
        Aws::new(&[self.certificate()], &[ACCOUNT.to_owned()]).unwrap()
    }

    /// The message by `openssl cms -sign`, with these options besides.
    fn sign(&self, document: &str, options: &[&str]) -> Vec<u8> {
        fs::write(self.path().join("document"), document).unwrap();
        let mut arguments = vec![
            "cms", "-sign", "-binary", "-in", "document", "-signer", "crt", "-inkey", "key",
            "-outform", "DER",
        ];
        if !options.contains(&"-md") {
            arguments.extend(["-md", "sha256"]);
        }
        arguments.extend(options);
        openssl(self.path(), &arguments)
    }
}

/// As the metadata service gives it: lines of 64 characters.
fn lines(message: &[u8]) -> String {
    let text = Base64::encode_string(message);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    lines.join("\n") + "\n"
}

fn verify(aws: &Aws, document: &str, message: &[u8]) -> Result<Attested, AttestError> {
    let evidence = attest::aws::evidence(document.to_owned(), lines(message));
    aws.verify(&evidence, &Place::new().context())
}

fn cms(error: CmsError) -> Result<Attested, AttestError> {
    Err(AttestError::Aws(AwsError::Signature(error)))
}

#[test]
fn documents_are_taken_in_every_form_that_aws_and_openssl_write() {
    let region = Region::new();
    let document = document();
    for options in [
        // Inside of the message, with indefinite lengths and in pieces, as AWS does it.
        &["-nodetach", "-stream"][..],
        &["-nodetach", "-stream", "-nocerts"],
        &["-nodetach"],
        &["-nodetach", "-nosmimecap"],
        // Beside it.
        &[],
        &["-nocerts"],
        &["-stream"],
    ] {
        let message = region.sign(&document, options);
        let attested = verify(&region.aws(), &document, &message)
            .unwrap_or_else(|error| panic!("{options:?}: {error}"));
        let Claim::Facts(facts) = attested.claim else {
            panic!("facts");
        };
        for (name, value) in [
            ("account", ACCOUNT),
            ("region", "us-west-2"),
            ("availability_zone", "us-west-2b"),
            ("instance_id", "i-1234567890abcdef0"),
            ("instance_type", "m7g.large"),
            ("image_id", "ami-5fb8c835"),
        ] {
            assert_eq!(facts.text(name), Some(value));
        }
        assert_eq!(facts.len(), Aws::FACTS.len());
        assert_eq!(
            attested.subject.as_deref(),
            Some("us-west-2/i-1234567890abcdef0")
        );
        assert_eq!(attested.sequence, Some(STARTED));
        assert_eq!(
            attested.single_use.unwrap().expires_at,
            i64::MAX.unsigned_abs()
        );
    }
    // The first byte of an indefinite length, so that the test above says what it means.
    let message = region.sign(&document, &["-nodetach", "-stream"]);
    assert_eq!(message[..2], [0x30, 0x80]);
    // The old name of the same.
    fs::write(region.path().join("document"), &document).unwrap();
    let message = openssl(
        region.path(),
        &[
            "smime",
            "-sign",
            "-binary",
            "-in",
            "document",
            "-signer",
            "crt",
            "-inkey",
            "key",
            "-outform",
            "DER",
            "-md",
            "sha256",
            "-nodetach",
        ],
    );
    assert!(verify(&region.aws(), &document, &message).is_ok());
}

#[test]
fn messages_of_another_form_are_refused() {
    let region = Region::new();
    let document = document();
    openssl(
        region.path(),
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "key2",
            "-out",
            "crt2",
            "-subj",
            "/CN=Second",
        ],
    );
    for (fault, options) in [
        ("no_signed_attributes", &["-noattr"][..]),
        ("no_signed_attributes_inside", &["-noattr", "-nodetach"]),
        ("signer_by_key_identifier", &["-keyid"]),
        ("sha1", &["-md", "sha1"]),
        ("sha384", &["-md", "sha384"]),
        ("sha512", &["-md", "sha512"]),
        ("pss", &["-keyopt", "rsa_padding_mode:pss"]),
        (
            "other_content_type",
            &["-econtent_type", "1.2.3.4", "-nodetach"],
        ),
        ("two_signers", &["-signer", "crt2", "-inkey", "key2"]),
    ] {
        let message = region.sign(&document, options);
        assert_eq!(
            verify(&region.aws(), &document, &message),
            cms(CmsError::Form),
            "{fault}"
        );
    }
    let good = region.sign(&document, &["-nocerts"]);
    for (fault, message) in [
        ("empty", vec![]),
        ("cut", good[..good.len() - 1].to_vec()),
        ("trailing", [&good[..], &[0]].concat()),
        (
            "certificate",
            der::pem::decode_vec(region.certificate().as_bytes())
                .unwrap()
                .1,
        ),
    ] {
        assert_eq!(
            verify(&region.aws(), &document, &message),
            cms(CmsError::Form),
            "{fault}"
        );
    }
}

#[test]
fn other_documents_and_signers_are_refused() {
    let region = Region::new();
    let document = document();
    let other = document.replace("i-1234567890abcdef0", "i-1234567890abcdef1");
    assert_ne!(document, other);
    // Content inside of the message that is not the one shown.
    let inside = region.sign(&document, &["-nodetach"]);
    assert_eq!(
        verify(&region.aws(), &other, &inside),
        cms(CmsError::Content)
    );
    let beside = region.sign(&document, &[]);
    assert_eq!(
        verify(&region.aws(), &other, &beside),
        cms(CmsError::Digest)
    );
    // White space that JSON does not care for counts.
    assert_eq!(
        verify(&region.aws(), &format!("{document}\n"), &beside),
        cms(CmsError::Digest)
    );
    // Another key, under the very same issuer and serial number: its own certificate in the message is no help.
    let forger = Region::new();
    for options in [&["-nodetach"][..], &[], &["-nocerts"]] {
        let forged = forger.sign(&other, options);
        assert_eq!(
            verify(&region.aws(), &other, &forged),
            cms(CmsError::Signature)
        );
    }
    // Both listed, as while a region's certificate is replaced.
    let both = Aws::new(
        &[region.certificate(), forger.certificate()],
        &[ACCOUNT.to_owned()],
    )
    .unwrap();
    assert!(verify(&both, &document, &beside).is_ok());
    assert!(verify(&both, &other, &forger.sign(&other, &[])).is_ok());
    // A signer that is not listed.
    let stranger = Region(tempfile::tempdir().unwrap());
    openssl(
        stranger.path(),
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "key",
            "-out",
            "crt",
            "-subj",
            "/CN=Stranger",
        ],
    );
    assert_eq!(
        verify(&region.aws(), &document, &stranger.sign(&document, &[])),
        cms(CmsError::UnknownSigner)
    );
}

#[test]
fn every_flipped_bit_is_refused() {
    let region = Region::new();
    let aws = region.aws();
    let document = document();
    for options in [&["-nocerts"][..], &["-nocerts", "-nodetach", "-stream"]] {
        let message = region.sign(&document, options);
        assert!(verify(&aws, &document, &message).is_ok());
        let mut taken = Vec::new();
        for bit in 0..message.len() * 8 {
            let mut bent = message.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            if verify(&aws, &document, &bent).is_ok() {
                taken.push((bit / 8, bit % 8, message[bit / 8]));
            }
        }
        assert_eq!(taken, [], "{options:?}");
        for bit in 0..document.len() * 8 {
            let mut bent = document.clone().into_bytes();
            bent[bit / 8] ^= 1 << (bit % 8);
            if let Ok(bent) = String::from_utf8(bent) {
                assert!(
                    verify(&aws, &bent, &message).is_err(),
                    "document, bit {bit}"
                );
            }
        }
    }
}

#[test]
fn signed_documents_are_read_strictly() {
    let region = Region::new();
    let aws = region.aws();
    let good: Value = serde_json::from_str(&document()).unwrap();
    let show = |document: &str| verify(&aws, document, &region.sign(document, &["-nocerts"]));
    let refused = |error| Err(AttestError::Aws(AwsError::Document(error)));
    let needed = [
        "accountId",
        "region",
        "availabilityZone",
        "instanceId",
        "instanceType",
        "imageId",
        "pendingTime",
    ];
    for member in needed {
        let mut missing = good.clone();
        missing.as_object_mut().unwrap().remove(member);
        assert_eq!(
            show(&missing.to_string()),
            refused(DocumentError::Json),
            "{member}"
        );
        let twice = good
            .to_string()
            .replacen('{', &format!("{{\"{member}\":{},", good[member]), 1);
        assert_eq!(show(&twice), refused(DocumentError::Json), "{member} twice");
    }
    assert_eq!(
        show(&json!([good]).to_string()),
        refused(DocumentError::Json)
    );
    assert_eq!(show(""), refused(DocumentError::Json));
    assert_eq!(
        show(&format!("{good} {good}")),
        refused(DocumentError::Json)
    );
    for (member, value) in [
        ("accountId", "12345678901"),
        ("accountId", "12345678901x"),
        ("region", ""),
        ("region", "us/west"),
        ("region", "US-WEST-2"),
        ("availabilityZone", "../x"),
        ("instanceId", "1234567890abcdef0"),
        ("instanceId", "i-12"),
        ("instanceId", "i-1234567890ABCDEF0"),
        ("instanceId", "i-1234567890abcdef0/x"),
        ("instanceType", "m7g large"),
        ("imageId", "ami-"),
        ("pendingTime", "yesterday"),
        ("pendingTime", "1969-12-31T23:59:59Z"),
        ("pendingTime", "2025-12-31T23:59:00"),
    ] {
        let mut other = good.clone();
        other[member] = json!(value);
        assert_eq!(
            show(&other.to_string()),
            refused(DocumentError::Value),
            "{member}: {value:?}"
        );
    }
    let mut number = good.clone();
    number["accountId"] = json!(123_456_789_012_u64);
    assert_eq!(show(&number.to_string()), refused(DocumentError::Json));
    // Bytes that are no text, in a member that is passed over.
    let mut bytes = good.to_string().into_bytes();
    let place = bytes.windows(6).position(|part| part == b"x86_64");
    bytes[place.unwrap()] = 0xff;
    assert_eq!(Document::parse(&bytes), Err(DocumentError::Json));
    // Members that AWS may add one day.
    let mut more = good.clone();
    more["tags"] = json!({"a": [1, 2]});
    assert!(show(&more.to_string()).is_ok());
    let mut account = good.clone();
    account["accountId"] = json!("210987654321");
    assert_eq!(
        show(&account.to_string()),
        Err(AttestError::Aws(AwsError::Account))
    );
    let mut ahead = good.clone();
    ahead["pendingTime"] = json!("2026-01-01T00:05:00Z");
    assert_eq!(MAX_CLOCK_SKEW_SECONDS, 300);
    assert!(show(&ahead.to_string()).is_ok());
    ahead["pendingTime"] = json!("2026-01-01T00:05:01Z");
    assert_eq!(
        show(&ahead.to_string()),
        Err(AttestError::Aws(AwsError::FromTheFuture))
    );
}

#[test]
fn use_is_one_start_of_one_instance() {
    let region = Region::new();
    let aws = region.aws();
    let id = |document: &str| {
        verify(&aws, document, &region.sign(document, &["-nocerts"]))
            .unwrap()
            .single_use
            .unwrap()
            .id
    };
    let first = id(&document());
    assert_eq!(first, id(&document()));
    // The same instance with another type, or otherwise described, is no other use.
    assert_eq!(first, id(&document().replace("m7g.large", "m7g.xlarge")));
    for other in [
        document().replace("i-1234567890abcdef0", "i-1234567890abcdef1"),
        document().replace("us-west-2\"", "us-west-1\""),
        document().replace("23:59:00Z", "23:59:01Z"),
    ] {
        assert_ne!(first, id(&other));
    }
}

#[test]
fn texts_are_bounded() {
    let region = Region::new();
    let aws = region.aws();
    let verify = |document: String, signature: String| {
        let evidence = Evidence::Aws {
            document,
            signature,
        };
        aws.verify(&evidence, &Place::new().context())
    };
    let error = |error| Err(AttestError::Aws(error));
    assert_eq!(
        verify(" ".repeat(8193), String::new()),
        error(AwsError::TooLong)
    );
    assert_eq!(
        verify(String::new(), "A".repeat(24577)),
        error(AwsError::TooLong)
    );
    for text in ["*", "AAAAA", "AA AA", "AAA\t"] {
        assert_eq!(
            verify(String::new(), text.to_owned()),
            error(AwsError::Base64)
        );
    }
    assert_eq!(
        aws.verify(&Evidence::Unix {}, &Place::new().context()),
        Err(AttestError::OtherKind("aws"))
    );
}

#[test]
fn rules_without_sense_are_refused() {
    let region = Region::new();
    let certificate = region.certificate();
    let account = ACCOUNT.to_owned();
    let refused = |certificates: &[String], accounts: &[String]| {
        Aws::new(certificates, accounts).unwrap_err().0
    };
    assert_eq!(refused(&[], std::slice::from_ref(&account)), "certificates");
    assert_eq!(
        refused(
            &vec![certificate.clone(); 97],
            std::slice::from_ref(&account)
        ),
        "certificates"
    );
    assert_eq!(refused(std::slice::from_ref(&certificate), &[]), "accounts");
    for bad in ["", "12345678901", "1234567890123", "12345678901a", "*"] {
        assert_eq!(
            refused(std::slice::from_ref(&certificate), &[bad.to_owned()]),
            "accounts"
        );
    }
    let short = Region::with("rsa:1024").certificate();
    assert_eq!(
        refused(&[short], std::slice::from_ref(&account)),
        "certificates"
    );
    let ca = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
    assert_eq!(refused(&[ca.cert.pem()], &[account]), "certificates");
}

proptest! {
    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,100}") {
        let _ = Document::parse(&bytes);
        let mut json = document();
        json.insert_str(40, &text);
        let _ = Document::parse(json.as_bytes());
    }
}
