//! Revocations: of one instance, of one issuing CA; sites are switched off in `sites`.

use identity::SiteName;
use identity::bundle::is_instance;
use identity::limits::{MAX_DOCUMENT_LIFETIME_SECONDS, MAX_REVOKED_INSTANCES};
use identity::wire::{ErrorCode, IssuerState, RevocationList, RevokeRequest, RevokedInstanceInfo};
use service::audit::AuditContext;

use super::{
    ALL_FEDERATIONS, ALL_REVOCATIONS, Administration, Caller, LIST_FEDERATIONS, LIST_REVOCATIONS,
    REVOKE, host_context,
};
use crate::call::{Call, Recorded};
use crate::limits;
use crate::refusal::Refusal;
use crate::registry::Snapshot;
use crate::tables::{IssuerChange, RevocationRow, RevocationWrite};

impl Administration {
    /// Revokes an instance, or an issuing CA that does not sign; what is revoked already stays so.
    ///
    /// From here on the authority refuses it, and the bundle tells everybody else.
    pub(crate) async fn revoke(
        &self,
        caller: Caller<'_>,
        request: RevokeRequest,
    ) -> Result<RevocationList, Recorded> {
        let call = revocation_call(&request);
        self.perform(caller, call, async |now| {
            match request {
                RevokeRequest::Instance {
                    site,
                    instance,
                    reason,
                } => self.revoke_instance(&site, instance, reason, now).await?,
                RevokeRequest::Issuer {
                    fingerprint,
                    reason,
                } => self.revoke_issuer(&fingerprint, &reason, now).await?,
                _ => {
                    return Err(Refusal::bad_request(
                        "REVOCATION",
                        "this authority revokes instances and issuing certificates",
                    ));
                }
            }
            self.reload().await?;
            let snapshot = self.registry.snapshot();
            let context = AuditContext::new().with("bundle_sequence", snapshot.bundle.sequence());
            Ok((list_of(&snapshot), context))
        })
        .await
    }

    /// All revocations in force.
    pub(crate) async fn revocations(&self, caller: Caller<'_>) -> Result<RevocationList, Recorded> {
        let context = host_context(AuditContext::new(), caller);
        let call = Call::new(LIST_REVOCATIONS, ALL_REVOCATIONS, context);
        self.perform(caller, call, async |_| {
            let list = list_of(&self.registry.snapshot());
            let context = AuditContext::new().with("count", list.instances.len());
            Ok((list, context))
        })
        .await
    }

    /// Decides whether the caller may see how `count` federations are.
    pub(crate) async fn note_federations(
        &self,
        caller: Caller<'_>,
        count: usize,
    ) -> Result<(), Recorded> {
        let call = Call::new(LIST_FEDERATIONS, ALL_FEDERATIONS, AuditContext::new());
        self.perform(caller, call, async |_| {
            Ok(((), AuditContext::new().with("count", count)))
        })
        .await
    }

    async fn revoke_instance(
        &self,
        site: &SiteName,
        instance: String,
        reason: String,
        now: u64,
    ) -> Result<(), Refusal> {
        check_reason(&reason)?;
        if !is_instance(&instance) {
            return Err(Refusal::bad_request(
                "INSTANCE",
                "an instance is 1 to 64 ASCII letters, digits, dots, hyphens and underscores: take the attribute `instance` \
                 of the document",
            ));
        }
        if !self.registry.snapshot().sites.contains_key(site) {
            return Err(Refusal::bad_request(
                "SITE_UNKNOWN",
                format!("no site {site} is registered"),
            )
            .with_code(ErrorCode::NotFound));
        }
        let row = RevocationRow {
            instance,
            site: site.as_str().to_owned(),
            spiffe_id: None,
            refused_before: None,
            // Those who joined by a token have no row that tells: no document lives longer.
            ends_at: now.saturating_add(MAX_DOCUMENT_LIFETIME_SECONDS),
            reason,
        };
        let written = self
            .registry
            .tables()
            .revoke_instance(&row, MAX_REVOKED_INSTANCES, now)
            .await?;
        let conflict = |record, message: String| {
            Err(Refusal::bad_request(record, message).with_code(ErrorCode::Conflict))
        };
        match written {
            RevocationWrite::Done => Ok(()),
            RevocationWrite::TooMany => conflict(
                "TOO_MANY_REVOCATIONS",
                format!(
                    "{MAX_REVOKED_INSTANCES} instances are revoked already, as many as a bundle holds: disable the site"
                ),
            ),
            RevocationWrite::OtherSite => conflict(
                "OTHER_SITE",
                format!("the instance is not one of site {site}"),
            ),
        }
    }

    async fn revoke_issuer(
        &self,
        fingerprint: &str,
        reason: &str,
        now: u64,
    ) -> Result<(), Refusal> {
        check_reason(reason)?;
        let snapshot = self.registry.snapshot();
        let known = snapshot
            .issuers
            .iter()
            .find(|issuer| hex_of(&issuer.fingerprint) == fingerprint);
        let Some(issuer) = known else {
            return Err(Refusal::bad_request(
                "ISSUER_UNKNOWN",
                "no issuing certificate has this fingerprint, 64 lower-case hex digits: see `blindfold ca issuers`",
            )
            .with_code(ErrorCode::NotFound));
        };
        let conflict = |message| {
            Err(Refusal::bad_request("ISSUER_STATE", message).with_code(ErrorCode::Conflict))
        };
        match issuer.state {
            IssuerState::Revoked => return Ok(()),
            IssuerState::Active => {
                return conflict(
                    "this issuing certificate signs: replace it in the same step with `blindfold ca rotate --revoke-former`",
                );
            }
            _ => {}
        }
        let step = IssuerChange::Move {
            fingerprint: issuer.fingerprint,
            from: issuer.state,
            to: IssuerState::Revoked,
            last_document_not_after: None,
        };
        let changed = self.registry.tables().change_issuers(&[step], now).await?;
        if changed {
            return Ok(());
        }
        conflict("the issuing certificate changed its state meanwhile: look again, and repeat")
    }
}

/// One line for people; it stands in listings and in the audit log.
fn check_reason(reason: &str) -> Result<(), Refusal> {
    if reason.len() <= limits::REASON_BYTES && !reason.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Refusal::bad_request(
        "REASON",
        format!(
            "the reason is one line of at most {} bytes",
            limits::REASON_BYTES
        ),
    ))
}

fn revocation_call(request: &RevokeRequest) -> Call {
    // Bounded by the body: what is no instance, fingerprint or reason is refused after the record of who tried.
    let shown = |text: &str| text.chars().take(limits::REASON_BYTES).collect::<String>();
    let (resource, reason) = match request {
        RevokeRequest::Instance {
            site,
            instance,
            reason,
        } => (
            format!("site/{site}/instance/{}", shown(instance)),
            shown(reason),
        ),
        RevokeRequest::Issuer {
            fingerprint,
            reason,
        } => (format!("issuer/{}", shown(fingerprint)), shown(reason)),
        _ => (ALL_REVOCATIONS.to_owned(), String::new()),
    };
    Call::new(REVOKE, resource, AuditContext::new().with("reason", reason))
}

fn list_of(snapshot: &Snapshot) -> RevocationList {
    RevocationList {
        instances: snapshot
            .revocations
            .iter()
            .map(|row| RevokedInstanceInfo {
                instance: row.instance.clone(),
                spiffe_id: row
                    .spiffe_id
                    .as_deref()
                    .and_then(|text| identity::SpiffeId::parse(text).ok()),
                before: row.refused_before,
                until: row.ends_at,
                reason: row.reason.clone(),
            })
            .collect(),
        issuers: snapshot
            .issuers
            .iter()
            .filter(|issuer| issuer.state == IssuerState::Revoked)
            .map(|issuer| hex_of(&issuer.fingerprint))
            .collect(),
        sites: snapshot.bundle.disabled_sites().iter().cloned().collect(),
    }
}

fn hex_of(fingerprint: &[u8; 32]) -> String {
    identity::BundleFingerprint(*fingerprint).to_string()
}
