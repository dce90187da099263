//! Documents: joining with a token and renewing.
//!
//! Whatever the signing request asks for is ignored: the name and the attributes come from the token or from the
//! current document, and the site's rules are asked each time. A document never outlives its site's greatest lifetime,
//! the authority's, or the issuing certificate.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use identity::attributes::INSTANCE;
use identity::issue::{Csr, IssueRequest, Issuer};
use identity::join::{JoinTokenRecord, Redemption, RedemptionRefusal};
use identity::limits::BACKDATE_SECONDS;
use identity::policy::Facts;
use identity::wire::{DocumentResponse, ErrorCode, JoinRequest, RenewRequest};
use identity::{Attributes, Principal, SpiffeId};
use rustls_pki_types::CertificateDer;
use service::audit::AuditContext;
use service::authorize::Grant;
use service::quota::{QuotaConfig, QuotaTable};
use sha2::{Digest, Sha256};

use crate::call::{Admission, Call, Recorded};
use crate::config::RatesConfig;
use crate::limits;
use crate::metrics::{AuthorityMetrics, Issued};
use crate::random;
use crate::refusal::Refusal;
use crate::registry::{Registry, Site};
use crate::rules::{JOIN, RENEW};
use crate::tables::TokenRow;

/// Issues documents to others.
#[derive(Debug)]
pub(crate) struct Documents {
    registry: Arc<Registry>,
    admission: Arc<Admission>,
    issuer: ArcSwap<Issuer>,
    greatest_lifetime: u64,
    joins: QuotaTable,
    renewals: QuotaTable,
    metrics: AuthorityMetrics,
}

/// What is to be certified, all of it attested.
struct Subject {
    spiffe_id: SpiffeId,
    attributes: Attributes,
    lifetime: u64,
    csr: Csr,
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
            metrics,
        }
    }

    /// The issuing CA in use.
    pub(crate) fn issuer(&self) -> Arc<Issuer> {
        self.issuer.load_full()
    }

    /// Signs with `issuer` from now on.
    pub(crate) fn replace_issuer(&self, issuer: Issuer) {
        self.issuer.store(Arc::new(issuer));
    }

    /// Counts an attempt to join from `address`, before its body is looked at.
    ///
    /// # Errors
    ///
    /// Too many from there.
    pub(crate) fn admit_join(&self, address: IpAddr) -> Result<(), Refusal> {
        let source = source_of(address);
        self.joins
            .take(&source, 1, Instant::now())
            .map_err(|exceeded| {
                Refusal::rate_limited("JOIN_RATE", &format!("joins from {source}"), exceeded)
            })
    }

    /// Redeems a join token: one identity per token, whatever runs at the same time.
    pub(crate) async fn join(
        &self,
        request: &JoinRequest,
        context: AuditContext,
    ) -> Result<DocumentResponse, Recorded> {
        let hash = *request.token_secret.hash().as_bytes();
        let mut call = Call::new(JOIN, "", context.with_hex("token_sha256", &hash));
        let prepared = match self.prepare_join(request, &hash, &mut call).await {
            Ok(prepared) => prepared,
            Err(refusal) => return Err(self.admission.refuse(None, &call, refusal).await),
        };
        let (record, subject, site, now) = prepared;
        let facts = Facts {
            spiffe_id: &subject.spiffe_id,
            attributes: &subject.attributes,
        };
        let grant = self
            .admission
            .grant_attested(facts, &call, (&call.resource, site.rules.policy()), now)
            .await?;
        let done = match self.redeem(&hash, &record, &subject, now).await {
            Ok(()) => self.issue(&grant, &call, &subject, now),
            Err(refusal) => Err(refusal),
        };
        self.conclude(grant, done, Issued::Join).await
    }

    /// Everything that can refuse a join without using the token up. The cheap checks come first: whoever has no
    /// token must not make this side verify signatures.
    async fn prepare_join(
        &self,
        request: &JoinRequest,
        hash: &[u8; 32],
        call: &mut Call,
    ) -> Result<(JoinTokenRecord, Subject, Arc<Site>, u64), Refusal> {
        let now = self.admission.clock().now()?;
        let row = self.registry.tables().token(hash).await?;
        let row = row.ok_or_else(|| {
            token_refused(
                "TOKEN_UNKNOWN",
                "no such token, or it expired and was removed",
            )
        })?;
        call.resource = format!("site/{}", row.site);
        call.context = std::mem::take(&mut call.context).with("spiffe_id", row.spiffe_id.as_str());
        let csr = request.csr.verify().map_err(|error| {
            Refusal::bad_request("BAD_CSR", error.to_string()).with_code(ErrorCode::BadCsr)
        })?;
        call.context =
            std::mem::take(&mut call.context).with_hex("csr_key_sha256", csr.public_key_sha256());
        let (record, lifetime) = record_of(request, row)?;
        check_redemption(&record, &csr, now)?;
        let snapshot = self.registry.snapshot();
        let site = snapshot
            .site_of(&record.spiffe_id)
            .ok_or_else(|| token_refused("SITE_UNKNOWN", "the token's site is not registered"))?;
        if !site.enabled {
            return Err(token_refused(
                "SITE_DISABLED",
                format!("site {} is disabled", site.name),
            ));
        }
        site.rules
            .permit(&record.spiffe_id, &record.attributes)
            .map_err(|violation| token_refused("OUTSIDE_RULES", violation.to_string()))?;
        site.take()?;
        let subject = Subject {
            spiffe_id: record.spiffe_id.clone(),
            attributes: record.attributes.clone(),
            lifetime: site.rules.lifetime(Some(lifetime)),
            csr,
        };
        Ok((record, subject, Arc::clone(site), now))
    }

    /// Uses the token up for this key, or sees that this key already did within the time allowed.
    async fn redeem(
        &self,
        hash: &[u8; 32],
        record: &JoinTokenRecord,
        subject: &Subject,
        now: u64,
    ) -> Result<(), Refusal> {
        let Redemption::First(redeemed) = record.redeem(subject.csr.public_key_sha256(), now)
        else {
            // `check_redemption` left only a repetition.
            return check_redemption(record, &subject.csr, now);
        };
        if self.registry.tables().redeem_token(hash, &redeemed).await? {
            return Ok(());
        }
        // Somebody was faster: the same client, asking twice, or another one.
        let row = self.registry.tables().token(hash).await?;
        let row =
            row.ok_or_else(|| token_refused("TOKEN_UNKNOWN", "the token was removed meanwhile"))?;
        let record = JoinTokenRecord {
            redeemed: row.redeemed,
            ..record.clone()
        };
        if record.redeemed.is_none() {
            return Err(token_refused(
                "SITE_DISABLED",
                "the token expired or its site was disabled meanwhile",
            ));
        }
        check_redemption(&record, &subject.csr, now)
    }

    /// Issues the same identity anew, with the same attributes, for as long as the site's rules allow it.
    pub(crate) async fn renew(
        &self,
        principal: &Principal,
        request: &RenewRequest,
        context: AuditContext,
    ) -> Result<DocumentResponse, Recorded> {
        let mut call = Call::new(RENEW, resource_of(principal.spiffe_id()), context);
        let (subject, site, now) = match self.prepare_renewal(principal, request, &mut call) {
            Ok(prepared) => prepared,
            Err(refusal) => {
                return Err(self.admission.refuse(Some(principal), &call, refusal).await);
            }
        };
        let grant = self
            .admission
            .grant(principal, &call, (&call.resource, site.rules.policy()), now)
            .await?;
        let done = self.issue(&grant, &call, &subject, now);
        self.conclude(grant, done, Issued::Renewal).await
    }

    fn prepare_renewal(
        &self,
        principal: &Principal,
        request: &RenewRequest,
        call: &mut Call,
    ) -> Result<(Subject, Arc<Site>, u64), Refusal> {
        let now = self.admission.clock().now()?;
        let (spiffe_id, attributes) = (principal.spiffe_id(), principal.attributes());
        let snapshot = self.registry.snapshot();
        principal
            .recheck(&snapshot.bundle, now)
            .map_err(|error| Refusal::denied("PEER", RENEWAL_REFUSED, error.to_string()))?;
        let whose = format!(
            "{spiffe_id}#{}",
            attributes.text(INSTANCE).unwrap_or_default()
        );
        self.renewals
            .take(&whose, UNITS_PER_RENEWAL, Instant::now())
            .map_err(|exceeded| {
                Refusal::rate_limited("RENEWAL_RATE", "renewals of this instance", exceeded)
            })?;
        let site = snapshot.site_of(spiffe_id).ok_or_else(|| {
            Refusal::denied(
                "SITE_UNKNOWN",
                RENEWAL_REFUSED,
                "the site is not registered",
            )
        })?;
        if !site.enabled {
            return Err(Refusal::denied(
                "SITE_DISABLED",
                RENEWAL_REFUSED,
                format!("site {} is disabled", site.name),
            ));
        }
        site.rules
            .permit(spiffe_id, attributes)
            .map_err(|violation| {
                Refusal::denied("OUTSIDE_RULES", RENEWAL_REFUSED, violation.to_string())
            })?;
        let csr = request.csr.verify().map_err(|error| {
            Refusal::bad_request("BAD_CSR", error.to_string()).with_code(ErrorCode::BadCsr)
        })?;
        call.context =
            std::mem::take(&mut call.context).with_hex("csr_key_sha256", csr.public_key_sha256());
        site.take()?;
        // As long as the current document was issued for; its start was set back by a fixed time.
        let former = principal
            .not_after()
            .saturating_sub(principal.not_before())
            .saturating_sub(BACKDATE_SECONDS);
        let subject = Subject {
            spiffe_id: spiffe_id.clone(),
            attributes: attributes.clone(),
            lifetime: site.rules.lifetime(Some(former)),
            csr,
        };
        Ok((subject, Arc::clone(site), now))
    }

    /// Signs. The grant is the only way here.
    fn issue(
        &self,
        grant: &Grant,
        call: &Call,
        subject: &Subject,
        now: u64,
    ) -> Result<(DocumentResponse, AuditContext), Refusal> {
        call.check(grant)?;
        let issuer = self.issuer();
        let (spiffe_id, attributes) = (subject.spiffe_id.clone(), subject.attributes.clone());
        let lifetime = subject.lifetime.min(self.greatest_lifetime);
        let chain = sign(&issuer, &subject.csr, spiffe_id, attributes, now, lifetime)?;
        let response = DocumentResponse::new(&chain, self.registry.snapshot().bundle.clone());
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

/// Signs one document; it ends with the issuing certificate at the latest.
pub(crate) fn sign(
    issuer: &Issuer,
    csr: &Csr,
    spiffe_id: SpiffeId,
    attributes: Attributes,
    now: u64,
    lifetime: u64,
) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let mut request = IssueRequest::new(spiffe_id, attributes, now, lifetime);
    request.not_after = request.not_after.min(issuer.not_after());
    issuer
        .issue(csr, &request, &mut random::system())
        .map_err(|error| Refusal::internal("ISSUE", format!("nothing was issued: {error}")))
}

/// The stored token as the rule of redemption wants it, and the lifetime of its documents.
fn record_of(request: &JoinRequest, row: TokenRow) -> Result<(JoinTokenRecord, u64), Refusal> {
    let damaged = |what: String| {
        Refusal::internal("STORE", format!("a token in the store is damaged: {what}"))
    };
    let record = JoinTokenRecord {
        secret_hash: request.token_secret.hash(),
        spiffe_id: SpiffeId::parse(&row.spiffe_id).map_err(|error| damaged(error.to_string()))?,
        attributes: Attributes::from_der(&row.attributes)
            .map_err(|error| damaged(error.to_string()))?,
        expires_at: row.expires_at,
        redeemed: row.redeemed,
    };
    Ok((record, row.lifetime))
}

fn check_redemption(record: &JoinTokenRecord, csr: &Csr, now: u64) -> Result<(), Refusal> {
    match record.redeem(csr.public_key_sha256(), now) {
        Redemption::First(_) | Redemption::Repeat => Ok(()),
        Redemption::Refused(refusal) => {
            let name = match refusal {
                RedemptionRefusal::Expired => "TOKEN_EXPIRED",
                RedemptionRefusal::OtherKey => {
                    // Two parties hold this token: one of them may have stolen it.
                    tracing::warn!(spiffe_id = %record.spiffe_id, "a used join token was shown with another key");
                    "TOKEN_USED_BY_OTHER"
                }
                _ => "TOKEN_USED",
            };
            Err(token_refused(name, refusal.to_string()))
        }
    }
}

/// One answer for whatever is wrong with a token.
fn token_refused(record: &'static str, why: impl Into<String>) -> Refusal {
    const MESSAGE: &str = "the join token is not valid: it is unknown, expired, already used, or its site no longer \
                           allows it; ask for a new one";
    Refusal::denied(record, MESSAGE, why)
}

/// One answer for whatever keeps an identity from being renewed.
const RENEWAL_REFUSED: &str =
    "the site no longer vouches for this identity: join again with a new token";

fn resource_of(spiffe_id: &SpiffeId) -> String {
    format!("site/{}", spiffe_id.site().unwrap_or_default())
}

/// Whose joins are counted together: an IPv4 address, or the /64 that one IPv6 subscriber has.
fn source_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!(
            "{}/64",
            std::net::Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)
        ),
    }
}

const UNITS_PER_RENEWAL: u32 = 60;
