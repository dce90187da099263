//! AWS instance identity documents: what EC2 says about one of its instances, signed.
//!
//! An instance reads the document and its signature from its metadata service (`/latest/dynamic/instance-identity/`,
//! `document` and `rsa2048`) and shows both. The signature is PKCS #7 with SHA-256 and RSA, by one of the certificates
//! that the site's rules list: those in the message itself are not looked at, and a listed one is trusted until it is
//! taken off the list. The document inside the signature, where there is one, must be the document shown, byte by byte.
//!
//! Facts: `account`, `region`, `availability_zone`, `instance_id`, `instance_type`, `image_id`.
//!
//! # Not promised
//!
//! A document is bound to no key and does not expire: whoever reads it first, on the instance or through a hole in one
//! of its programs, becomes the instance. So each is good once, for each start of an instance (`pendingTime` changes when
//! it is stopped and started), its documents are superseded by those of a later start, and whoever comes second is
//! refused and heard of. Processes on the instance must be kept from the metadata service (IMDSv2, hop limit 1).

use base64ct::{Base64, Encoding};
use identity::Attributes;
use identity::limits::MAX_CLOCK_SKEW_SECONDS;
use identity::wire::Evidence;
use sha2::{Digest, Sha256};

use crate::attestor::{Attested, Attestor, Claim, Context, SingleUse};
use crate::error::AttestError;
use crate::limits::{
    AWS_USE_LABEL, MAX_AWS_CERTIFICATES, MAX_AWS_DOCUMENT_BYTES, MAX_AWS_SIGNATURE_BYTES, MAX_LIST,
    NEVER,
};

mod ber;
mod cms;
mod document;

pub use cms::CmsError;
pub use document::{Document, DocumentError};

use cms::Signer;

/// Verifies instance identity documents.
#[derive(Debug)]
pub struct Aws {
    signers: Vec<Signer>,
    accounts: Vec<String>,
}

/// Reason a document was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AwsError {
    /// Over the bound.
    #[error("document or signature is too long")]
    TooLong,
    /// Not base64.
    #[error("signature is not base64")]
    Base64,
    /// The signature.
    #[error(transparent)]
    Signature(#[from] CmsError),
    /// The signed document.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Of an account that the rules do not list.
    #[error("document is of an account that the site's rules do not list")]
    Account,
    /// `pendingTime` lies further ahead than clocks may differ.
    #[error("document is of an instance that starts in the future: look at the authority's clock")]
    FromTheFuture,
}

impl Aws {
    /// Facts that a document has.
    pub const FACTS: &[&str] = &[
        "account",
        "region",
        "availability_zone",
        "instance_id",
        "instance_type",
        "image_id",
    ];

    /// Verifier of documents of `accounts`, signed by one of `certificates` (PEM).
    ///
    /// # Errors
    ///
    /// The member that is wrong, and what is wrong with it, for whoever writes the rules.
    pub fn new(
        certificates: &[String],
        accounts: &[String],
    ) -> Result<Self, (&'static str, String)> {
        let mut signers: Vec<Signer> = Vec::new();
        for (index, pem) in certificates.iter().enumerate() {
            let chain = identity::pem::decode_chain(pem).ok_or_else(|| {
                let why = format!("[{index}] is not PEM of certificates and nothing else");
                ("certificates", why)
            })?;
            for certificate in chain {
                let signer = Signer::from_certificate(&certificate)
                    .map_err(|why| ("certificates", format!("[{index}] {why}")))?;
                signers.push(signer);
            }
        }
        if !(1..=MAX_AWS_CERTIFICATES).contains(&signers.len()) {
            let why = format!("give 1 to {MAX_AWS_CERTIFICATES} certificates");
            return Err(("certificates", why));
        }
        if !(1..=MAX_LIST).contains(&accounts.len()) {
            return Err(("accounts", format!("give 1 to {MAX_LIST} account numbers")));
        }
        if let Some(bad) = accounts
            .iter()
            .find(|account| !document::is_account(account))
        {
            return Err(("accounts", format!("{bad:?} is not 12 digits")));
        }
        Ok(Self {
            signers,
            accounts: accounts.to_vec(),
        })
    }

    /// Verifies the signature and parses the document that was signed.
    ///
    /// # Errors
    ///
    /// [`AwsError`], but for the account and the time, which [`Attestor::verify`] looks at.
    pub fn open(&self, document: &str, signature: &str) -> Result<Document, AwsError> {
        if document.len() > MAX_AWS_DOCUMENT_BYTES || signature.len() > MAX_AWS_SIGNATURE_BYTES {
            return Err(AwsError::TooLong);
        }
        // The metadata service breaks lines, and ends with one.
        let signature: String = signature
            .chars()
            .filter(|character| !matches!(character, '\n' | '\r'))
            .collect();
        let signature = Base64::decode_vec(&signature).map_err(|_| AwsError::Base64)?;
        cms::verify(&signature, document.as_bytes(), &self.signers)?;
        Ok(Document::parse(document.as_bytes())?)
    }
}

impl Attestor for Aws {
    fn kind(&self) -> &'static str {
        "aws"
    }

    fn verify(&self, evidence: &Evidence, context: &Context<'_>) -> Result<Attested, AttestError> {
        let Evidence::Aws {
            document,
            signature,
        } = evidence
        else {
            return Err(AttestError::OtherKind(self.kind()));
        };
        let document = self.open(document, signature)?;
        if !self.accounts.contains(&document.account) {
            return Err(AwsError::Account.into());
        }
        if document.pending_time > context.now.saturating_add(MAX_CLOCK_SKEW_SECONDS) {
            return Err(AwsError::FromTheFuture.into());
        }
        Ok(Attested {
            claim: Claim::Facts(facts(&document)?),
            subject: Some(format!("{}/{}", document.region, document.instance_id)),
            sequence: Some(document.pending_time),
            single_use: Some(SingleUse {
                id: use_of(&document),
                expires_at: NEVER,
            }),
            lifetime: None,
            clock_ahead: None,
        })
    }
}

/// One start of one instance. No field holds a zero byte, so that no two of them make one text.
fn use_of(document: &Document) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(AWS_USE_LABEL);
    for field in [&document.account, &document.region, &document.instance_id] {
        hash.update(field.as_bytes());
        hash.update([0]);
    }
    hash.update(document.pending_time.to_be_bytes());
    hash.finalize().into()
}

fn facts(document: &Document) -> Result<Attributes, AttestError> {
    let mut facts = Attributes::new();
    for (name, value) in [
        ("account", &document.account),
        ("region", &document.region),
        ("availability_zone", &document.availability_zone),
        ("instance_id", &document.instance_id),
        ("instance_type", &document.instance_type),
        ("image_id", &document.image_id),
    ] {
        facts
            .insert(name, value.clone())
            .map_err(|_| AwsError::Document(DocumentError::Value))?;
    }
    Ok(facts)
}

/// The evidence of this instance: both texts as the metadata service gives them.
#[must_use]
pub fn evidence(document: String, rsa2048: String) -> Evidence {
    Evidence::Aws {
        document,
        signature: rsa2048,
    }
}
