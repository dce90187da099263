//! The attestors of one site, compiled from its rules.

use identity::wire::{self, AttestorRule, Evidence, Prover, SiteRules};
use identity::{Attributes, SiteName, SpiffeId, TrustDomain};
use rand_core::CryptoRng;

use crate::attestor::{Attested, Attestor, Challenge, ChallengeContext, Claim, Context, SingleUse};
use crate::aws::Aws;
use crate::error::{AttestError, RuleError};
use crate::join_token::JoinTokens;
use crate::limits::MAX_ATTESTORS;
use crate::mapping::Mapping;
use crate::tpm::Tpm;
use crate::unix::{self, Unix};
use crate::voucher::Vouchers;
use crate::x509::X509;

/// What a site may be vouched for by, each with what it trusts.
#[derive(Debug)]
pub struct Attestors {
    // INVARIANT (one of each kind): so that evidence has one verifier.
    attestors: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    attestor: Box<dyn Attestor>,
    /// For attestors that find facts.
    mapping: Option<Mapping>,
}

impl Entry {
    /// An attestor whose evidence names SPIFFE ID and attributes itself.
    fn named(attestor: impl Attestor + 'static) -> Self {
        Self {
            attestor: Box::new(attestor),
            mapping: None,
        }
    }

    fn compile(
        site: &SiteName,
        trust_domain: &TrustDomain,
        index: usize,
        rule: &AttestorRule,
    ) -> Result<Self, RuleError> {
        let fault = |(member, why)| RuleError::Member { index, member, why };
        let compile_mapping = |mapping, known: &dyn Fn(&str) -> bool| {
            Mapping::compile(site, trust_domain, mapping, known)
                .map_err(|error| RuleError::Template { index, error })
        };
        match rule {
            AttestorRule::JoinToken {} => Ok(Self::named(JoinTokens)),
            AttestorRule::Voucher { keys } => Vouchers::new(keys)
                .map(Self::named)
                .map_err(|error| fault(("keys", error.to_string()))),
            AttestorRule::X509 { anchors, mapping } => Ok(Self {
                attestor: Box::new(X509::new(anchors).map_err(|why| fault(("anchors", why)))?),
                mapping: Some(compile_mapping(mapping, &|fact| {
                    X509::FACTS.contains(&fact)
                })?),
            }),
            AttestorRule::Aws {
                certificates,
                accounts,
                mapping,
            } => Ok(Self {
                attestor: Box::new(Aws::new(certificates, accounts).map_err(fault)?),
                mapping: Some(compile_mapping(mapping, &|fact| {
                    Aws::FACTS.contains(&fact)
                })?),
            }),
            AttestorRule::Tpm {
                anchors,
                endorsement_keys,
                mapping,
            } => Ok(Self {
                attestor: Box::new(Tpm::compile(index, anchors, endorsement_keys)?),
                mapping: Some(compile_mapping(mapping, &Tpm::finds)?),
            }),
            AttestorRule::Unix {
                uids,
                executables,
                mapping,
            } => {
                let measures = names(mapping, unix::EXECUTABLE);
                Ok(Self {
                    attestor: Box::new(Unix::new(uids, executables, measures).map_err(fault)?),
                    mapping: Some(compile_mapping(mapping, &|fact| {
                        Unix::FACTS.contains(&fact)
                    })?),
                })
            }
            // A type that a newer version of the wire has.
            _ => Err(RuleError::Unsupported { index }),
        }
    }
}

/// Whether a mapping names a fact anywhere.
fn names(mapping: &wire::Mapping, fact: &str) -> bool {
    let place = format!("{{{fact}}}");
    mapping.spiffe_id.contains(&place)
        || mapping
            .attributes
            .values()
            .any(|text| text.contains(&place))
}

/// Whom evidence makes, as far as evidence tells; the rules of the site are asked next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vouched {
    /// Name of the attestor.
    pub kind: &'static str,
    /// Who it becomes.
    pub spiffe_id: SpiffeId,
    /// With these attributes; `instance` among them from a join token only.
    pub attributes: Attributes,
    /// What was found, for the audit log; empty when the evidence names SPIFFE ID and attributes itself.
    pub facts: Attributes,
    /// As [`Attested::subject`].
    pub subject: Option<String>,
    /// As [`Attested::sequence`].
    pub sequence: Option<u64>,
    /// As [`Attested::single_use`].
    pub single_use: Option<SingleUse>,
    /// As [`Attested::lifetime`].
    pub lifetime: Option<u64>,
    /// As [`Attested::clock_ahead`].
    pub clock_ahead: Option<i64>,
}

impl Attestors {
    /// Checks and compiles the attestors of `rules`, the rules of `site`; join tokens only when they name none.
    ///
    /// # Errors
    ///
    /// [`RuleError`], naming the member to change.
    pub fn compile(
        site: &SiteName,
        trust_domain: &TrustDomain,
        rules: &SiteRules,
    ) -> Result<Self, RuleError> {
        let Some(listed) = &rules.attestors else {
            return Ok(Self {
                attestors: vec![Entry::named(JoinTokens)],
            });
        };
        if listed.len() > MAX_ATTESTORS {
            return Err(RuleError::TooMany);
        }
        let mut attestors: Vec<Entry> = Vec::new();
        for (index, rule) in listed.iter().enumerate() {
            let entry = Entry::compile(site, trust_domain, index, rule)?;
            if attestors
                .iter()
                .any(|other| other.attestor.kind() == entry.attestor.kind())
            {
                return Err(RuleError::Twice {
                    index,
                    kind: entry.attestor.kind(),
                });
            }
            attestors.push(entry);
        }
        Ok(Self { attestors })
    }

    /// Whether the attestor `kind` is among them.
    #[must_use]
    pub fn allows(&self, kind: &str) -> bool {
        self.attestors
            .iter()
            .any(|entry| entry.attestor.kind() == kind)
    }

    /// Names of the attestors, in the order of the rules.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.attestors.iter().map(|entry| entry.attestor.kind())
    }

    /// Makes a challenge for `prover`.
    ///
    /// # Errors
    ///
    /// - [`AttestError::NotAllowed`]: the site does not allow that attestor.
    /// - Whatever the attestor finds wrong with what `prover` shows.
    pub fn challenge(
        &self,
        prover: &Prover,
        context: &ChallengeContext<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Challenge, AttestError> {
        self.entry(prover.kind())?
            .attestor
            .challenge(prover, context, rng)
    }

    /// Verifies the evidence and says whom it makes.
    ///
    /// # Errors
    ///
    /// - [`AttestError::NotAllowed`]: the site does not allow that attestor.
    /// - [`AttestError::Mapping`]: the facts fit no SPIFFE ID or attributes.
    /// - Whatever the attestor finds wrong with the evidence.
    pub fn verify(
        &self,
        evidence: &Evidence,
        context: &Context<'_>,
    ) -> Result<Vouched, AttestError> {
        let kind = evidence.kind();
        let entry = self.entry(kind)?;
        let Attested {
            claim,
            subject,
            sequence,
            single_use,
            lifetime,
            clock_ahead,
        } = entry.attestor.verify(evidence, context)?;
        let (spiffe_id, attributes, facts) = match claim {
            Claim::Named {
                spiffe_id,
                attributes,
            } => (spiffe_id, attributes, Attributes::new()),
            Claim::Facts(facts) => {
                let mapping = entry.mapping.as_ref().ok_or(AttestError::NoMapping)?;
                let (spiffe_id, attributes) = mapping.apply(&facts)?;
                (spiffe_id, attributes, facts)
            }
        };
        Ok(Vouched {
            kind,
            spiffe_id,
            attributes,
            facts,
            subject,
            sequence,
            single_use,
            lifetime,
            clock_ahead,
        })
    }

    fn entry(&self, kind: &'static str) -> Result<&Entry, AttestError> {
        self.attestors
            .iter()
            .find(|entry| entry.attestor.kind() == kind)
            .ok_or(AttestError::NotAllowed(kind))
    }
}
