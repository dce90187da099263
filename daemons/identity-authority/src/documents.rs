//! Documents: joining with a token, attesting with other evidence, and renewing.
//!
//! Whatever the signing request asks for is ignored: the name and the attributes come from the evidence or from the
//! current document, and the site's rules are asked each time. A document never outlives its site's greatest lifetime,
//! the authority's, or the issuing certificate.
//!
//! # Order of checks
//!
//! From cheap to dear, so that nobody makes this side work for more than they show:
//!
//! | check | kept in | counts against |
//! |---|---|---|
//! | rate of the source | memory | address or user |
//! | form of the request, site, attestor allowed | memory | |
//! | attempts at the site | memory | the site |
//! | signature of the request, evidence | processor | |
//! | the site's rules for what was attested | memory | |
//! | rate and day of the site | memory, store in blocks | the site |
//! | policies, and the record of the decision | audit log | |
//! | single use, sequence, revocation | store | the evidence |
//! | the rules again, then the signature | processor | |

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use identity::attributes::INSTANCE;
use identity::issue::{Csr, IssueRequest, Issuer};
use identity::wire::{CsrDer, DocumentResponse, ErrorCode};
use identity::{Attributes, SpiffeId};
use rustls_pki_types::CertificateDer;
use service::audit::AuditContext;
use service::authorize::Grant;
use service::quota::{QuotaConfig, QuotaTable};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::call::{Admission, Call, Recorded};
use crate::config::RatesConfig;
use crate::limits;
use crate::metrics::{AuthorityMetrics, Issued};
use crate::random;
use crate::refusal::Refusal;
use crate::registry::{Registry, Site, Snapshot};
use crate::tables::TablesError;

mod attest;
mod join;
mod reissue;
mod renew;
mod signed;

pub(crate) use attest::{Asker, CHALLENGE};
use signed::Signed;

/// Issues documents to others.
#[derive(Debug)]
pub(crate) struct Documents {
    registry: Arc<Registry>,
    admission: Arc<Admission>,
    issuer: ArcSwap<Issuer>,
    greatest_lifetime: u64,
    joins: QuotaTable,
    renewals: QuotaTable,
    /// Attempts at each site whose evidence is looked at.
    attempts: QuotaTable,
    /// Sites whose vouchers' clocks were complained of.
    skews: QuotaTable,
    /// Processes of the host whose executables are read at a time.
    measuring: Arc<Semaphore>,
    signed: Signed,
    metrics: AuthorityMetrics,
}

/// What is to be certified, all of it attested.
struct Subject {
    spiffe_id: SpiffeId,
    attributes: Attributes,
    lifetime: u64,
    /// Start of its validity, where the store keeps the order of documents; set back as any other's when there is none.
    not_before: Option<u64>,
    /// Attestor that vouched; none for a renewal.
    attestor: Option<&'static str>,
    /// SHA-256 of the document that is renewed.
    renews: Option<[u8; 32]>,
    csr: Csr,
    /// The one answer for whatever keeps it from being certified.
    refused: &'static str,
}

impl Documents {
    pub(crate) fn new(
        registry: Arc<Registry>,
        admission: Arc<Admission>,
        issuer: Issuer,
        greatest_lifetime: u64,
        rates: &RatesConfig,
        metrics: AuthorityMetrics,
    ) -> Self {
        let now = Instant::now();
        let joins = QuotaConfig {
            names: limits::QUOTA_NAMES,
            burst: rates.joins_burst,
            per_second: rates.joins_per_second,
        };
        // Counted in sixtieths: the rate is per minute, and buckets fill per second.
        let renewals = QuotaConfig {
            names: limits::QUOTA_NAMES,
            burst: rates.renewals_burst.saturating_mul(UNITS_PER_RENEWAL),
            per_second: rates.renewals_per_minute,
        };
        Self {
            registry,
            admission,
            issuer: ArcSwap::from_pointee(issuer),
            greatest_lifetime,
            joins: QuotaTable::new(joins, now),
            renewals: QuotaTable::new(renewals, now),
            attempts: attest::attempts(now),
            skews: attest::skews(now),
            measuring: Arc::new(Semaphore::new(limits::UNIX_MEASUREMENTS)),
            signed: Signed::default(),
            metrics,
        }
    }

    /// The issuing CA in use.
    pub(crate) fn issuer(&self) -> Arc<Issuer> {
        self.issuer.load_full()
    }

    /// Stores which documents were signed.
    ///
    /// # Errors
    ///
    /// The store; what was not stored is stored the next time.
    pub(crate) async fn remember_signed(&self) -> Result<(), TablesError> {
        self.signed.flush(self.registry.tables()).await
    }

    /// Signs with `issuer` from now on.
    pub(crate) fn replace_issuer(&self, issuer: Issuer) {
        self.issuer.store(Arc::new(issuer));
    }

    /// Counts another document for one instance.
    ///
    /// # Errors
    ///
    /// Too many for that instance.
    fn admit_again(&self, spiffe_id: &SpiffeId, attributes: &Attributes) -> Result<(), Refusal> {
        let instance = attributes.text(INSTANCE).unwrap_or_default();
        self.admit_repeat(
            &format!("{spiffe_id}#{instance}"),
            "renewals of this instance",
        )
    }

    /// Counts what `whose` may do a few times.
    fn admit_repeat(&self, whose: &str, what: &str) -> Result<(), Refusal> {
        self.renewals
            .take(whose, UNITS_PER_RENEWAL, Instant::now())
            .map_err(|exceeded| Refusal::rate_limited("RENEWAL_RATE", what, exceeded))
    }

    /// Signs. The grant is the only way here.
    ///
    /// Its record took time, in which the site may have been switched off or given other rules: they are asked again.
    fn issue(
        &self,
        grant: &Grant,
        call: &Call,
        subject: &Subject,
        now: u64,
    ) -> Result<(DocumentResponse, AuditContext), Refusal> {
        call.check(grant)?;
        let snapshot = self.registry.fresh()?;
        let site = vouched(
            &snapshot,
            &subject.spiffe_id,
            &subject.attributes,
            subject.refused,
        )?;
        if let Some(kind) = subject.attestor
            && !site.rules.attestors().allows(kind)
        {
            let why = format!("site {} no longer allows the attestor {kind}", site.name);
            return Err(Refusal::denied(
                "ATTESTOR_NOT_ALLOWED",
                subject.refused,
                why,
            ));
        }
        let issuer = self.issuer();
        if !snapshot.bundle.allows_issuer(&issuer.fingerprint()) {
            // Revoked this moment: the next one signs in the next.
            return Err(Refusal::unavailable(
                "ISSUER",
                "the issuing certificate was replaced",
            ));
        }
        let lifetime = site
            .rules
            .lifetime(Some(subject.lifetime))
            .min(self.greatest_lifetime);
        let mut request = IssueRequest::new(
            subject.spiffe_id.clone(),
            subject.attributes.clone(),
            now,
            lifetime,
        );
        if let Some(not_before) = subject.not_before {
            request.not_before = not_before;
        }
        if snapshot
            .bundle
            .is_revoked(&request.attributes, request.not_before)
        {
            let why = "the instance was revoked, or its attributes changed once more meanwhile";
            return Err(Refusal::denied("INSTANCE_REVOKED", subject.refused, why));
        }
        let not_after = request.not_after;
        let chain = certify(&issuer, &subject.csr, request)?;
        self.signed
            .note(&chain, (issuer.fingerprint(), not_after), subject.renews);
        let response = DocumentResponse::new(&chain, snapshot.bundle.clone());
        let mut context = AuditContext::new().with(
            "not_after",
            now.saturating_add(lifetime).min(issuer.not_after()),
        );
        if let Some(leaf) = chain.first() {
            context = context.with_hex("certificate_sha256", &Sha256::digest(leaf));
        }
        if let Some(instance) = subject.attributes.text(INSTANCE) {
            context = context.with("instance", instance);
        }
        Ok((response, context))
    }

    async fn conclude(
        &self,
        grant: Grant,
        done: Result<(DocumentResponse, AuditContext), Refusal>,
        kind: Issued,
    ) -> Result<DocumentResponse, Recorded> {
        let response = self.admission.conclude(grant, done).await?;
        self.metrics.issued(kind);
        Ok(response)
    }
}

/// The site of this identity, if it may vouch for it now.
///
/// # Errors
///
/// No such site, a disabled one, or outside its rules; `message` is the answer for each.
fn vouched<'a>(
    snapshot: &'a Snapshot,
    spiffe_id: &SpiffeId,
    attributes: &Attributes,
    message: &'static str,
) -> Result<&'a Arc<Site>, Refusal> {
    let site = snapshot
        .site_of(spiffe_id)
        .ok_or_else(|| Refusal::denied("SITE_UNKNOWN", message, "the site is not registered"))?;
    if !site.enabled {
        let why = format!("site {} is disabled", site.name);
        return Err(Refusal::denied("SITE_DISABLED", message, why));
    }
    site.rules
        .permit(spiffe_id, attributes)
        .map_err(|violation| Refusal::denied("OUTSIDE_RULES", message, violation.to_string()))?;
    Ok(site)
}

/// Checks form, algorithms and proof of possession of a signing request.
fn verify_csr(csr: &CsrDer) -> Result<Csr, Refusal> {
    csr.verify().map_err(|error| {
        Refusal::bad_request("BAD_CSR", error.to_string()).with_code(ErrorCode::BadCsr)
    })
}

/// Signs one document; it ends with the issuing certificate at the latest.
pub(crate) fn sign(
    issuer: &Issuer,
    csr: &Csr,
    spiffe_id: SpiffeId,
    attributes: Attributes,
    now: u64,
    lifetime: u64,
) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let request = IssueRequest::new(spiffe_id, attributes, now, lifetime);
    certify(issuer, csr, request)
}

fn certify(
    issuer: &Issuer,
    csr: &Csr,
    mut request: IssueRequest,
) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    request.not_after = request.not_after.min(issuer.not_after());
    issuer
        .issue(csr, &request, &mut random::system())
        .map_err(|error| Refusal::internal("ISSUE", format!("nothing was issued: {error}")))
}

const UNITS_PER_RENEWAL: u32 = 60;

#[cfg(test)]
mod tests;
