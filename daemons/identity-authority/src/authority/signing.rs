//! The document that the authority shows itself.

use identity::attributes::Attributes;
use identity::issue::{Csr, Issuer};
use identity::{DocumentKey, IdentityDocument};

use crate::config::Config;
use crate::documents::sign;
use crate::error::AuthorityError;
use crate::random;

/// A document of the authority itself, under the one path that no site can have.
pub(super) fn own_document(
    config: &Config,
    issuer: &Issuer,
    now: u64,
) -> Result<IdentityDocument, AuthorityError> {
    let failed = |why: String| AuthorityError::OwnDocument(why);
    let rng = &mut random::system();
    let key = DocumentKey::generate(rng);
    let csr = key
        .csr_der(rng)
        .map_err(|error| failed(error.to_string()))?;
    let csr = Csr::parse(&csr).map_err(|error| failed(error.to_string()))?;
    let mut attributes = Attributes::new();
    attributes
        .set_new_instance(rng)
        .map_err(|error| failed(error.to_string()))?;
    let id = config.trust_domain.identity_authority();
    let chain = sign(
        issuer,
        &csr,
        id,
        attributes,
        now,
        config.documents.own_lifetime.as_secs(),
    )
    .map_err(|refusal| failed(refusal.why))?;
    IdentityDocument::new(chain, key).map_err(|error| failed(error.to_string()))
}
