//! The certificates that the authority signs with, and the one that it shows itself.

use identity::attributes::Attributes;
use identity::issue::{Csr, Issuer};
use identity::limits::BACKDATE_SECONDS;
use identity::wire::IssuerState;
use identity::{DocumentKey, IdentityDocument};
use service::audit::{AuditContext, AuditLog};
use service::root_key::RootKeys;

use crate::certificates::{self, CertificateError, StoredIssuer};
use crate::config::Config;
use crate::documents::sign;
use crate::error::AuthorityError;
use crate::foundation::Foundation;
use crate::random;
use crate::registry::Registry;
use crate::tables::{IssuerChange, IssuerRow};

/// The stored issuing CA, or its successor if it ends too soon for the documents it would sign.
pub(super) async fn usable_issuer(
    config: &Config,
    foundation: &Foundation,
    now: u64,
) -> Result<Issuer, AuthorityError> {
    let row = active(&foundation.registry)?;
    let issuer = certificates::load_issuer(&row, &config.trust_domain, &foundation.root_key)?;
    if !is_due(config, &issuer, now) {
        return Ok(issuer);
    }
    let audit = foundation.admission.authorizer().audit();
    let (registry, root_key) = (&foundation.registry, &foundation.root_key);
    make_issuer(config, &row, root_key, audit, registry, now).await
}

/// The row of the issuing CA that signs.
pub(super) fn active(registry: &Registry) -> Result<IssuerRow, AuthorityError> {
    registry
        .snapshot()
        .issuers
        .iter()
        .find(|issuer| issuer.state == IssuerState::Active)
        .cloned()
        .ok_or(AuthorityError::NoIssuer)
}

/// Whether documents signed now might outlast a sixth of what is left.
pub(super) fn is_due(config: &Config, issuer: &Issuer, now: u64) -> bool {
    // The back-dated minute belongs to a document's lifetime.
    issuer.is_due_for_replacement(
        now,
        config.documents.greatest_lifetime.as_secs() + BACKDATE_SECONDS,
    )
}

/// Makes the next issuing CA; the former one stays in the bundle until its last document has ended.
pub(super) async fn make_issuer(
    config: &Config,
    former: &IssuerRow,
    root_key: &RootKeys,
    audit: &AuditLog,
    registry: &Registry,
    now: u64,
) -> Result<Issuer, AuthorityError> {
    let snapshot = registry.snapshot();
    let root = snapshot
        .roots
        .iter()
        .find(|root| root.key_wrapped.is_some())
        .ok_or(CertificateError::NoRootKey)?;
    let root = certificates::load_root(root, &config.trust_domain, root_key)?;
    let StoredIssuer { issuer, row } =
        certificates::create_issuer(&root, root_key, &config.certificates, now)?;
    drop(root);
    let context = AuditContext::new().with("not_after", issuer.not_after());
    audit
        .notice("replacing the issuing certificate", context)
        .await?;
    let steps = [
        IssuerChange::Move {
            fingerprint: former.fingerprint,
            from: IssuerState::Active,
            to: IssuerState::Retiring,
            last_document_not_after: Some(former.not_after),
        },
        IssuerChange::Insert(row),
    ];
    let replaced = registry.tables().change_issuers(&steps, now).await?;
    registry.reload().await?;
    if replaced {
        tracing::info!(
            not_after = issuer.not_after(),
            "the issuing certificate was replaced"
        );
        return Ok(issuer);
    }
    // Another replica replaced it meanwhile: its certificate counts.
    let row = active(registry)?;
    Ok(certificates::load_issuer(
        &row,
        &config.trust_domain,
        root_key,
    )?)
}

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
