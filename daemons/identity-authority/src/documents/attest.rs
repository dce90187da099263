//! Attesting: evidence for one of a site's attestors makes one identity, or the next document of one there is.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use attest::unix::UnixPeer;
use attest::{AttestError, ChallengeContext, Context, OpenedChallenge, SingleUse, Vouched};
use base64ct::{Base64, Encoding};
use identity::attributes::INSTANCE;
use identity::issue::Csr;
use identity::limits::{BACKDATE_SECONDS, REDEMPTION_REPEAT_SECONDS};
use identity::policy::Facts;
use identity::wire::{
    AttestRequest, ChallengeRequest, ChallengeResponse, DocumentResponse, Evidence,
};
use identity::{Attributes, SiteName, SpiffeId};
use service::audit::AuditContext;
use service::quota::{QuotaConfig, QuotaTable};
use service::root_key::RootKeys;
use sha2::{Digest, Sha256};

use super::{Documents, Subject, verify_csr};
use crate::call::{Call, Recorded};
use crate::challenge::{self, ChallengeError, Purpose};
use crate::facts::{with_json_sha256, with_spiffe_id};
use crate::limits;
use crate::metrics::Issued;
use crate::random;
use crate::refusal::Refusal;
use crate::registry::Site;
use crate::rules::JOIN;
use crate::tables::{Attestation, AttestedUse, SingleUse as SingleUseRow, SubjectClaim};

/// Who shows evidence, as far as it is known without it.
#[derive(Clone, Debug)]
pub(crate) enum Asker {
    /// Over the network.
    Address(IpAddr),
    /// A process of this host.
    Process(Arc<UnixPeer>),
    /// A router without a listener.
    Unknown,
}

/// Evidence that was verified and may be granted.
struct Prepared {
    vouched: Vouched,
    subject: Subject,
    site: Arc<Site>,
    now: u64,
}

impl Asker {
    /// Whose attempts are counted together: an IPv4 address, the /64 that one IPv6 subscriber has, or a user.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Address(address) => match address.to_canonical() {
                IpAddr::V4(v4) => v4.to_string(),
                IpAddr::V6(v6) => format!("{}/64", Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            },
            Self::Process(peer) => format!("user {}", peer.uid()),
            Self::Unknown => String::new(),
        }
    }

    fn process(&self) -> Option<&Arc<UnixPeer>> {
        match self {
            Self::Process(peer) => Some(peer),
            _ => None,
        }
    }

    /// For the record.
    pub(crate) fn context(&self) -> AuditContext {
        match self {
            Self::Address(address) => AuditContext::new().with("address", address.to_string()),
            Self::Process(peer) => AuditContext::new()
                .with("uid", u64::from(peer.uid()))
                .with("pid", u64::from(peer.pid())),
            Self::Unknown => AuditContext::new(),
        }
    }
}

impl Documents {
    /// Counts an attempt of `asker`, before its body is looked at.
    ///
    /// # Errors
    ///
    /// Too many from there.
    pub(crate) fn admit_asker(&self, asker: &Asker) -> Result<(), Refusal> {
        let source = asker.name();
        self.joins
            .take(&source, 1, Instant::now())
            .map_err(|exceeded| {
                Refusal::rate_limited("JOIN_RATE", &format!("joins from {source}"), exceeded)
            })
    }

    /// Issues a document for evidence.
    pub(crate) async fn attest(
        &self,
        keys: &RootKeys,
        request: AttestRequest,
        asker: &Asker,
    ) -> Result<DocumentResponse, Recorded> {
        let kind = request.evidence.kind();
        let context = asker.context().with("attestor", kind);
        let mut call = Call::new(JOIN, resource_of(&request.site), context);
        let prepared = self
            .prepare_attestation(keys, request, asker, &mut call)
            .await;
        let Prepared {
            vouched,
            mut subject,
            site,
            now,
        } = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => return Err(self.admission.refuse(None, &call, refusal).await),
        };
        let facts = Facts {
            spiffe_id: &subject.spiffe_id,
            attributes: &subject.attributes,
        };
        let grant = self
            .admission
            .grant_attested(facts, &call, &site.rules.policies(), now)
            .await?;
        let done = match self.use_up(&vouched, &mut subject, &site, now).await {
            Ok((repeat, superseded)) => {
                self.issue(&grant, &call, &subject, now)
                    .map(|(response, context)| {
                        let context = context
                            .with("repeat", repeat)
                            .with("superseded", superseded);
                        (response, context)
                    })
            }
            Err(refusal) => Err(refusal),
        };
        self.conclude(grant, done, Issued::Attested(kind)).await
    }

    /// Makes a challenge for evidence that answers one.
    pub(crate) async fn challenge(
        &self,
        keys: &RootKeys,
        request: &ChallengeRequest,
        asker: &Asker,
    ) -> Result<ChallengeResponse, Recorded> {
        let context = asker.context().with("attestor", request.prover.kind());
        let call = Call::new(CHALLENGE, resource_of(&request.site), context);
        match self.make_challenge(keys, request) {
            Ok(response) => {
                self.metrics.challenge_made();
                Ok(response)
            }
            Err(refusal) => Err(self.admission.refuse(None, &call, refusal).await),
        }
    }

    fn make_challenge(
        &self,
        keys: &RootKeys,
        request: &ChallengeRequest,
    ) -> Result<ChallengeResponse, Refusal> {
        let now = self.admission.clock().now()?;
        let kind = request.prover.kind();
        let site = self.site_for(&request.site, kind)?;
        let csr = verify_csr(&request.csr)?;
        let context = ChallengeContext {
            now,
            csr_key_sha256: csr.public_key_sha256(),
            site: &site.name,
            trust_domain: self.registry.trust_domain(),
            audience: &self.registry.trust_domain().identity_authority(),
        };
        let made = site
            .rules
            .attestors()
            .challenge(&request.prover, &context, &mut random::system())
            .map_err(refused)?;
        let purpose = Purpose {
            site: &site.name,
            kind,
            csr_key_sha256: csr.public_key_sha256(),
        };
        let sealed = challenge::seal(keys, purpose, &made, now)
            .map_err(|error| Refusal::internal("CHALLENGE", error.to_string()))?;
        let base64 = |bytes: &Vec<u8>| Base64::encode_string(bytes);
        Ok(ChallengeResponse {
            challenge: sealed,
            nonce: Base64::encode_string(&made.nonce),
            credential_blob: made.credential_blob.as_ref().map(base64),
            encrypted_secret: made.encrypted_secret.as_ref().map(base64),
        })
    }

    /// The site of that name, if it allows the attestor and has an attempt left.
    fn site_for(&self, name: &SiteName, kind: &'static str) -> Result<Arc<Site>, Refusal> {
        let snapshot = self.registry.fresh()?;
        let denied = |record, why: String| Refusal::denied(record, ATTEST_REFUSED, why);
        let Some(site) = snapshot.sites.get(name) else {
            return Err(denied(
                "SITE_UNKNOWN",
                "the site is not registered".to_owned(),
            ));
        };
        if !site.enabled {
            return Err(denied("SITE_DISABLED", format!("site {name} is disabled")));
        }
        if !site.rules.attestors().allows(kind) {
            return Err(refused(AttestError::NotAllowed(kind)));
        }
        let per_minute = attempts_per_minute(site.rules.source().issues_per_minute);
        let units = (ATTEMPT_UNITS / per_minute).max(1);
        self.attempts
            .take(name.as_str(), units, Instant::now())
            .map_err(|exceeded| {
                let whose = format!("attempts at site {name}");
                Refusal::rate_limited("ATTEMPT_RATE", &whose, exceeded)
            })?;
        Ok(Arc::clone(site))
    }

    /// Everything that can refuse evidence without using it up.
    async fn prepare_attestation(
        &self,
        keys: &RootKeys,
        request: AttestRequest,
        asker: &Asker,
        call: &mut Call,
    ) -> Result<Prepared, Refusal> {
        let now = self.admission.clock().now()?;
        let AttestRequest {
            site,
            csr,
            evidence,
        } = request;
        let site = self.site_for(&site, evidence.kind())?;
        let csr = verify_csr(&csr)?;
        call.note(|context| context.with_hex("csr_key_sha256", csr.public_key_sha256()));
        let opened = open_challenge(keys, &site.name, &evidence, &csr, now)?;
        let mut vouched = self
            .verify(
                Arc::clone(&site),
                evidence,
                &csr,
                opened.as_ref(),
                asker,
                now,
            )
            .await
            .map_err(refused)?;
        if let Some(opened) = opened {
            // What answers a challenge counts once, whatever its attestor says.
            vouched.single_use.get_or_insert(SingleUse {
                id: Sha256::digest(opened.nonce).into(),
                expires_at: opened.expires_at,
            });
        }
        call.note(|context| named(context, &vouched));
        self.notice_clock(&site.name, vouched.clock_ahead);
        let (spiffe_id, attributes) = (&vouched.spiffe_id, &vouched.attributes);
        if attributes.contains_key(INSTANCE) {
            // Whoever chose it could choose another workload's.
            let why = "the evidence names the attribute 'instance', which the authority draws";
            return Err(Refusal::denied("INSTANCE_GIVEN", ATTEST_REFUSED, why));
        }
        // INVARIANT (blast radius): these are the rules of the site whose evidence was verified, and their prefix lies
        // within that site.
        site.rules
            .permit(spiffe_id, attributes)
            .map_err(|violation| {
                Refusal::denied("OUTSIDE_RULES", ATTEST_REFUSED, violation.to_string())
            })?;
        if let Some(single_use) = &vouched.single_use {
            // Shown again and again within its minute, it must not wear out the rate of its whole site.
            let whose = Sha256::new()
                .chain_update(site.name.as_str())
                .chain_update([0])
                .chain_update(vouched.kind)
                .chain_update([0])
                .chain_update(single_use.id)
                .finalize();
            let whose: String = whose.iter().map(|byte| format!("{byte:02x}")).collect();
            self.admit_repeat(&whose, "the same evidence")?;
        }
        site.take()?;
        site.take_day(self.registry.tables(), now).await?;
        let subject = Subject {
            spiffe_id: spiffe_id.clone(),
            attributes: attributes.clone(),
            lifetime: site.rules.lifetime(vouched.lifetime),
            not_before: None,
            attestor: Some(vouched.kind),
            renews: None,
            csr,
            refused: ATTEST_REFUSED,
        };
        Ok(Prepared {
            vouched,
            subject,
            site,
            now,
        })
    }

    async fn verify(
        &self,
        site: Arc<Site>,
        evidence: Evidence,
        csr: &Csr,
        challenge: Option<&OpenedChallenge>,
        asker: &Asker,
        now: u64,
    ) -> Result<Vouched, AttestError> {
        let trust_domain = self.registry.trust_domain();
        let audience = trust_domain.identity_authority();
        let (Evidence::Unix {}, Some(peer)) = (&evidence, asker.process().cloned()) else {
            let context = Context {
                now,
                csr_key_sha256: csr.public_key_sha256(),
                site: &site.name,
                trust_domain,
                audience: &audience,
                challenge,
                unix_peer: None,
                join_token: None,
            };
            return site.rules.attestors().verify(&evidence, &context);
        };
        // Reads and hashes an executable: few at a time, also when nobody waits for the answer any more.
        let Ok(turn) = Arc::clone(&self.measuring).acquire_owned().await else {
            return Err(AttestError::NotAllowed("unix"));
        };
        let (trust_domain, key) = (trust_domain.clone(), *csr.public_key_sha256());
        let verified = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let context = Context {
                now,
                csr_key_sha256: &key,
                site: &site.name,
                trust_domain: &trust_domain,
                audience: &audience,
                challenge: None,
                unix_peer: Some(&peer),
                join_token: None,
            };
            site.rules.attestors().verify(&evidence, &context)
        });
        verified
            .await
            .unwrap_or(Err(AttestError::NotAllowed("unix")))
    }

    /// Uses the evidence up and brings its subject up to date, whatever runs at the same time, on this replica or
    /// another; gives `subject` its instance and the start of its document. Says whether the same key showed the same
    /// evidence before, and whether former documents are refused from now on.
    async fn use_up(
        &self,
        vouched: &Vouched,
        subject: &mut Subject,
        site: &Site,
        now: u64,
    ) -> Result<(bool, bool), Refusal> {
        let mut candidate = subject.attributes.clone();
        candidate
            .set_new_instance(&mut random::system())
            .map_err(|error| {
                let why = format!("no room for the attribute 'instance': {error}");
                Refusal::denied("ATTRIBUTES", ATTEST_REFUSED, why)
            })?;
        let attested = AttestedUse {
            site: site.name.to_string(),
            kind: vouched.kind.to_owned(),
            single_use: vouched.single_use.map(|single_use| SingleUseRow {
                id: single_use.id,
                expires_at: single_use.expires_at,
            }),
            subject: vouched.subject.as_ref().map(|name| SubjectClaim {
                subject: name.clone(),
                spiffe_id: subject.spiffe_id.to_string(),
                sequence: vouched.sequence,
                digest: claim_digest(&subject.spiffe_id, &subject.attributes),
            }),
            csr_key_sha256: *subject.csr.public_key_sha256(),
            new_instance: candidate.text(INSTANCE).unwrap_or_default().to_owned(),
            now,
            backdate: BACKDATE_SECONDS,
            not_after: now.saturating_add(subject.lifetime.min(self.greatest_lifetime)),
            repeat_seconds: REDEMPTION_REPEAT_SECONDS,
            greatest_revocations: limits::SUPERSEDED_INSTANCES,
            greatest_revocations_of_site: limits::SUPERSEDED_INSTANCES_PER_SITE,
        };
        let (instance, not_before, repeat, superseded) =
            admitted(self.registry.tables().admit_attested(&attested).await?)?;
        if superseded {
            // The bundle that goes with the answer refuses what went before, and so does this replica from now on.
            self.registry
                .reload()
                .await
                .map_err(|error| Refusal::unavailable("STORE", error.to_string()))?;
            self.metrics.superseded();
        }
        subject
            .attributes
            .insert(INSTANCE, instance)
            .map_err(|error| Refusal::internal("ATTRIBUTES", error.to_string()))?;
        subject.not_before = Some(not_before);
        Ok((repeat, superseded))
    }

    /// Says so when a voucher's clock is off, once in a while for each site.
    fn notice_clock(&self, site: &SiteName, ahead: Option<i64>) {
        let Some(ahead) = ahead else { return };
        self.metrics.voucher_clock(ahead);
        if ahead.unsigned_abs() > limits::NOTABLE_SKEW_SECONDS
            && self
                .skews
                .take(site.as_str(), SKEW_UNITS, Instant::now())
                .is_ok()
        {
            tracing::warn!(%site, seconds_ahead = ahead, "the clock of the site's voucher differs: set both by NTP");
        }
    }
}

/// Digest of SPIFFE ID and attributes, `instance` left out: what a subject's documents certify until they change.
pub(super) fn claim_digest(spiffe_id: &SpiffeId, attributes: &Attributes) -> [u8; 32] {
    let mut attributes = attributes.clone();
    attributes.remove(INSTANCE);
    Sha256::new()
        .chain_update(CLAIM_LABEL)
        .chain_update(spiffe_id.as_str())
        .chain_update([0])
        .chain_update(attributes.to_der())
        .finalize()
        .into()
}

/// Table of attempts: buckets of a minute's worth, in which a site with few attempts takes more units for each.
pub(super) fn attempts(now: Instant) -> QuotaTable {
    let config = QuotaConfig {
        names: limits::SITES,
        burst: ATTEMPT_UNITS,
        per_second: ATTEMPT_UNITS / 60,
    };
    QuotaTable::new(config, now)
}

/// Table of complaints about clocks.
pub(super) fn skews(now: Instant) -> QuotaTable {
    let config = QuotaConfig {
        names: limits::SITES,
        burst: SKEW_UNITS,
        per_second: 1,
    };
    QuotaTable::new(config, now)
}

fn attempts_per_minute(issues_per_minute: u32) -> u32 {
    issues_per_minute
        .saturating_mul(limits::ATTEMPTS_PER_ISSUE)
        .max(limits::LEAST_ATTEMPTS_PER_MINUTE)
}

fn open_challenge(
    keys: &RootKeys,
    site: &SiteName,
    evidence: &Evidence,
    csr: &Csr,
    now: u64,
) -> Result<Option<OpenedChallenge>, Refusal> {
    let (Evidence::X509 { challenge, .. } | Evidence::Tpm { challenge, .. }) = evidence else {
        return Ok(None);
    };
    let purpose = Purpose {
        site,
        kind: evidence.kind(),
        csr_key_sha256: csr.public_key_sha256(),
    };
    challenge::open(keys, purpose, challenge, now)
        .map(Some)
        .map_err(|error| match error {
            ChallengeError::Keys(_) => Refusal::internal("CHALLENGE", error.to_string()),
            _ => Refusal::denied("CHALLENGE", ATTEST_REFUSED, error.to_string()),
        })
}

/// What the store said, as an answer.
fn admitted(attestation: Attestation) -> Result<(String, u64, bool, bool), Refusal> {
    let (record, why) = match attestation {
        Attestation::Admitted {
            instance,
            not_before,
            repeat,
            superseded,
        } => return Ok((instance, not_before, repeat, superseded)),
        Attestation::Used { by_other_key: true } => {
            // Two parties hold it: one of them may have stolen it.
            tracing::warn!("evidence that was used up was shown with another key");
            (
                "EVIDENCE_USED_BY_OTHER",
                "used up with another key".to_owned(),
            )
        }
        Attestation::Used { .. } => ("EVIDENCE_USED", "used up".to_owned()),
        Attestation::SequenceWentBack { latest } => (
            "SEQUENCE_WENT_BACK",
            format!("sequence {latest} was shown before"),
        ),
        Attestation::SequenceReused => (
            "SEQUENCE_REUSED",
            "the same sequence was shown with another SPIFFE ID or other attributes".to_owned(),
        ),
        Attestation::SequenceTooGreat => (
            "SEQUENCE_TOO_GREAT",
            "the sequence is beyond what can be stored".to_owned(),
        ),
        Attestation::SequenceMissing => (
            "SEQUENCE_MISSING",
            "the subject was shown with a sequence before".to_owned(),
        ),
        Attestation::Revoked => (
            "INSTANCE_REVOKED",
            "the subject's instance was revoked".to_owned(),
        ),
        Attestation::TooManyChanges => {
            return Err(later(
                "TOO_MANY_CHANGES",
                "attributes change faster than documents can begin",
                CHANGE_SECONDS,
            ));
        }
        Attestation::RevocationsFull => {
            return Err(later(
                "REVOCATIONS_FULL",
                "so many former documents are refused already that no further change can be told",
                FULL_SECONDS,
            ));
        }
    };
    Err(Refusal::denied(record, ATTEST_REFUSED, why))
}

fn later(record: &'static str, why: &str, seconds: u32) -> Refusal {
    Refusal {
        retry_after: Some(seconds),
        message: format!("too many changes of attributes: try again in {seconds} seconds"),
        ..Refusal::denied(record, "", why)
    }
    .with_code(identity::wire::ErrorCode::RateLimited)
}

fn refused(error: AttestError) -> Refusal {
    let record = match error {
        AttestError::NotAllowed(_) => "ATTESTOR_NOT_ALLOWED",
        _ => "EVIDENCE",
    };
    Refusal::denied(record, ATTEST_REFUSED, error.to_string())
}

/// What was attested, for the record.
fn named(context: AuditContext, vouched: &Vouched) -> AuditContext {
    let mut context = with_spiffe_id(context, vouched.spiffe_id.as_str());
    context = with_json_sha256(context, "attributes_sha256", &vouched.attributes);
    if !vouched.facts.is_empty() {
        context = with_json_sha256(context, "facts_sha256", &vouched.facts).with(
            "facts",
            serde_json::to_string(&vouched.facts).unwrap_or_default(),
        );
    }
    if let Some(subject) = &vouched.subject {
        context = context.with("subject", subject.as_str());
    }
    if let Some(sequence) = vouched.sequence {
        context = context.with("sequence", sequence);
    }
    if let Some(single_use) = &vouched.single_use {
        context = context.with_hex("evidence_sha256", &single_use.id);
    }
    context
}

fn resource_of(site: &SiteName) -> String {
    format!("site/{site}")
}

/// Action in records of refused challenges; policies are not asked.
pub(crate) const CHALLENGE: &str = "challenge";

/// One answer for whatever is wrong with evidence.
const ATTEST_REFUSED: &str = "the site does not vouch for this: it is unknown or switched off, its rules do not allow what \
                              was shown, or the evidence is not valid, expired or used; the authority's audit log says which";

const CLAIM_LABEL: &[u8] = b"blindfold-attested-claim-v1\0";
/// Units of a bucket of attempts.
const ATTEMPT_UNITS: u32 = 60 << 24;
/// A complaint about a clock every so many seconds.
const SKEW_UNITS: u32 = 600;
/// When the start of documents has fallen behind the clock again.
const CHANGE_SECONDS: u32 = 60;
/// When some of the revocations may have ended.
const FULL_SECONDS: u32 = 300;

#[cfg(test)]
mod tests;
