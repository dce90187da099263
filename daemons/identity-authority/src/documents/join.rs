//! Joining: a join token makes one identity.

use std::sync::Arc;

use attest::{AttestError, Context};
use identity::issue::Csr;
use identity::join::{JoinTokenRecord, Redemption, RedemptionRefusal};
use identity::policy::Facts;
use identity::wire::{DocumentResponse, Evidence, JoinRequest};
use identity::{Attributes, SpiffeId};

use super::{Asker, Documents, Subject, verify_csr, vouched};
use crate::call::{Call, Recorded};
use crate::facts::with_spiffe_id;
use crate::metrics::Issued;
use crate::refusal::Refusal;
use crate::registry::Site;
use crate::rules::JOIN;
use crate::tables::TokenRow;

/// A join that nothing but its token can refuse any more.
struct Prepared {
    record: JoinTokenRecord,
    subject: Subject,
    site: Arc<Site>,
    now: u64,
}

impl Documents {
    /// Redeems a join token: one identity per token, whatever runs at the same time.
    pub(crate) async fn join(
        &self,
        request: &JoinRequest,
        asker: &Asker,
    ) -> Result<DocumentResponse, Recorded> {
        let hash = *request.token_secret.hash().as_bytes();
        let mut call = Call::new(JOIN, "", asker.context().with_hex("token_sha256", &hash));
        let prepared = match self.prepare_join(request, &hash, &mut call).await {
            Ok(prepared) => prepared,
            Err(refusal) => return Err(self.admission.refuse(None, &call, refusal).await),
        };
        let Prepared {
            record,
            subject,
            site,
            now,
        } = prepared;
        let facts = Facts {
            spiffe_id: &subject.spiffe_id,
            attributes: &subject.attributes,
        };
        let grant = self
            .admission
            .grant_attested(facts, &call, &site.rules.policies(), now)
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
    ) -> Result<Prepared, Refusal> {
        let now = self.admission.clock().now()?;
        let row = self.registry.tables().token(hash).await?;
        let row = row.ok_or_else(|| {
            token_refused(
                "TOKEN_UNKNOWN",
                "no such token, or it expired and was removed",
            )
        })?;
        call.resource = format!("site/{}", row.site);
        call.note(|context| with_spiffe_id(context, &row.spiffe_id));
        let csr = verify_csr(&request.csr)?;
        call.note(|context| context.with_hex("csr_key_sha256", csr.public_key_sha256()));
        let (record, lifetime) = record_of(request, row)?;
        let snapshot = self.registry.fresh()?;
        let site = vouched(
            &snapshot,
            &record.spiffe_id,
            &record.attributes,
            JOIN_REFUSED,
        )?;
        let context = Context {
            now,
            csr_key_sha256: csr.public_key_sha256(),
            site: &site.name,
            trust_domain: self.registry.trust_domain(),
            audience: &self.registry.trust_domain().identity_authority(),
            challenge: None,
            unix_peer: None,
            join_token: Some(&record),
        };
        let evidence = Evidence::JoinToken {
            secret_hash: request.token_secret.hash(),
        };
        site.rules
            .attestors()
            .verify(&evidence, &context)
            .map_err(|error| match error {
                AttestError::JoinToken(refusal) => redemption_refused(&record.spiffe_id, refusal),
                AttestError::NotAllowed(_) => {
                    token_refused("ATTESTOR_NOT_ALLOWED", error.to_string())
                }
                _ => token_refused("EVIDENCE", error.to_string()),
            })?;
        if record.redeemed.is_some() {
            // Within its minute a used token must not wear out the rate of its whole site.
            self.admit_again(&record.spiffe_id, &record.attributes)?;
        }
        site.take()?;
        site.take_day(self.registry.tables(), now).await?;
        let subject = Subject {
            spiffe_id: record.spiffe_id.clone(),
            attributes: record.attributes.clone(),
            lifetime: site.rules.lifetime(Some(lifetime)),
            not_before: None,
            attestor: Some(evidence.kind()),
            renews: None,
            csr,
            refused: JOIN_REFUSED,
        };
        Ok(Prepared {
            record,
            subject,
            site: Arc::clone(site),
            now,
        })
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
        Redemption::Refused(refusal) => Err(redemption_refused(&record.spiffe_id, refusal)),
    }
}

fn redemption_refused(spiffe_id: &SpiffeId, refusal: RedemptionRefusal) -> Refusal {
    let name = match refusal {
        RedemptionRefusal::Expired => "TOKEN_EXPIRED",
        RedemptionRefusal::OtherKey => {
            // Two parties hold this token: one of them may have stolen it.
            tracing::warn!(%spiffe_id, "a used join token was shown with another key");
            "TOKEN_USED_BY_OTHER"
        }
        _ => "TOKEN_USED",
    };
    token_refused(name, refusal.to_string())
}

fn token_refused(record: &'static str, why: impl Into<String>) -> Refusal {
    Refusal::denied(record, JOIN_REFUSED, why)
}

/// One answer for whatever is wrong with a token.
const JOIN_REFUSED: &str = "the join token is not valid: it is unknown, expired, already used, or its site no longer \
                            allows it; ask for a new one";
