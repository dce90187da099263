//! What an opener accepts: pinned keys, acceptance profile, expectation.
//!
//! Anybody can seal to a public key, so an object by itself proves nothing about who made it or how strongly it was
//! meant to be sealed. The profile is what stops a writer of the repository from putting his own one-of-one object in
//! the place of a two-of-three.
//!
//! Specification: PBSEAL v1, section 11.4.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use crate::dem::Dem;
use crate::key::{AuthorityKey, KeyId, Purpose, Suite};
use crate::object::{Header, Role};
use crate::open::OpenError;
use crate::signature::{SealerKey, SealerKeys};

/// The key records that this opener trusts, found by their fingerprint.
///
/// Records come from the operator, never from an object or from the network at open time.
#[derive(Clone, Debug, Default)]
pub struct PinnedKeys {
    // INVARIANT (own name): each record stands under its own key id.
    records: BTreeMap<KeyId, AuthorityKey>,
}

impl PinnedKeys {
    /// No key at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Pins a record; `false` if it was pinned already.
    pub fn insert(&mut self, record: AuthorityKey) -> bool {
        self.records.insert(record.key_id(), record).is_none()
    }

    /// The record of this fingerprint.
    #[must_use]
    pub fn get(&self, key_id: &KeyId) -> Option<&AuthorityKey> {
        self.records.get(key_id)
    }

    /// All records, in the order of their fingerprints.
    pub fn iter(&self) -> impl Iterator<Item = &AuthorityKey> {
        self.records.values()
    }

    /// How many records are pinned.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing is pinned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl FromIterator<AuthorityKey> for PinnedKeys {
    fn from_iter<I: IntoIterator<Item = AuthorityKey>>(records: I) -> Self {
        let mut keys = Self::new();
        for record in records {
            keys.insert(record);
        }
        keys
    }
}

impl Extend<AuthorityKey> for PinnedKeys {
    fn extend<I: IntoIterator<Item = AuthorityKey>>(&mut self, records: I) {
        for record in records {
            self.insert(record);
        }
    }
}

/// Which objects an opener accepts at all.
///
/// The default accepts locks of any pinned key, every suite and DEM that this crate has, any threshold, any label,
/// asks for no site lock and no signature, and leaves RECOVERY locks alone.
///
/// ```
/// use blindfold_core::{AcceptanceProfile, Dem};
///
/// let profile = AcceptanceProfile::new()
///     .minimum_threshold(2)
///     .require_site_lock(true)
///     .allow_dems([Dem::Aes256GcmSiv]);
/// # let _ = profile;
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AcceptanceProfile {
    minimum_threshold: u8,
    require_site_lock: bool,
    keys: Option<BTreeSet<KeyId>>,
    suites: BTreeSet<u16>,
    dems: BTreeSet<Dem>,
    label: Option<String>,
    allow_recovery: bool,
    sealers: Option<SealerKeys>,
}

impl Default for AcceptanceProfile {
    fn default() -> Self {
        Self {
            minimum_threshold: 1,
            require_site_lock: false,
            keys: None,
            suites: [Suite::P384Sha384, Suite::MlKem768]
                .iter()
                .map(|suite| suite.id())
                .collect(),
            dems: [Dem::Aes256GcmSiv, Dem::ChaCha20Poly1305].into(),
            label: None,
            allow_recovery: false,
            sealers: None,
        }
    }
}

impl AcceptanceProfile {
    /// The default profile.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses objects with a threshold below `threshold`.
    #[must_use]
    pub fn minimum_threshold(mut self, threshold: u8) -> Self {
        self.minimum_threshold = threshold;
        self
    }

    /// Whether to refuse objects without a REQUIRED static lock of an allowed pinned key.
    #[must_use]
    pub fn require_site_lock(mut self, require: bool) -> Self {
        self.require_site_lock = require;
        self
    }

    /// Uses only locks of these keys, of those that are pinned.
    #[must_use]
    pub fn allow_keys(mut self, keys: impl IntoIterator<Item = KeyId>) -> Self {
        self.keys = Some(keys.into_iter().collect());
        self
    }

    /// Uses only locks of these suites.
    #[must_use]
    pub fn allow_suites(mut self, suites: impl IntoIterator<Item = Suite>) -> Self {
        self.suites = suites.into_iter().map(Suite::id).collect();
        self
    }

    /// Refuses objects that are encrypted in another way than these.
    #[must_use]
    pub fn allow_dems(mut self, dems: impl IntoIterator<Item = Dem>) -> Self {
        self.dems = dems.into_iter().collect();
        self
    }

    /// Refuses objects with another label; [`Expectation::label`] does so for one object.
    #[must_use]
    pub fn expect_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Whether RECOVERY locks may open an object: for the break-glass tool, not for a workload, as such a lock opens
    /// alone, whatever the threshold.
    #[must_use]
    pub fn allow_recovery(mut self, allow: bool) -> Self {
        self.allow_recovery = allow;
        self
    }

    /// Refuses objects that none of these sealers is proven to have signed; with no key at all, every object.
    ///
    /// A signed object comes from [`Signed`](crate::Signed) or [`SignedStream`](crate::SignedStream).
    #[must_use]
    pub fn require_signature_by(mut self, sealers: SealerKeys) -> Self {
        self.sealers = Some(sealers);
        self
    }

    /// The sealers one of whom must have signed; `None` where no signature is demanded.
    #[must_use]
    pub fn sealers(&self) -> Option<&SealerKeys> {
        self.sealers.as_ref()
    }

    pub(crate) fn recovery_allowed(&self) -> bool {
        self.allow_recovery
    }

    /// Checks everything that concerns the object as a whole.
    ///
    /// The object is signed by one of `signers`, or will be proven to be before its end; by nobody if there is none.
    pub(crate) fn check(
        &self,
        header: &Header,
        keys: &PinnedKeys,
        signers: &[&SealerKey],
    ) -> Result<(), OpenError> {
        let accepted = |sealers: &SealerKeys| {
            !signers.is_empty() && signers.iter().all(|signer| sealers.contains(signer))
        };
        if !self.sealers.as_ref().is_none_or(accepted) {
            return Err(OpenError::ProfileViolation(
                "it carries no signature of an accepted sealer",
            ));
        }
        if !self.dems.contains(&header.dem()) {
            return Err(OpenError::ProfileViolation(
                "its way of encryption (DEM) is not allowed",
            ));
        }
        if header.threshold() < self.minimum_threshold {
            return Err(OpenError::ProfileViolation(
                "its threshold is below the minimum",
            ));
        }
        let is_site_lock = |key_id: KeyId| {
            let pinned = keys
                .get(&key_id)
                .is_some_and(|record| record.purpose() == Purpose::StaticLock);
            pinned && self.check_key(key_id).is_ok()
        };
        let site_lock = header
            .locks()
            .iter()
            .any(|lock| lock.role() == Role::Required && is_site_lock(lock.key_id()));
        if self.require_site_lock && !site_lock {
            return Err(OpenError::ProfileViolation(
                "it has no REQUIRED site lock of a pinned key",
            ));
        }
        match &self.label {
            Some(label) if label != header.label() => Err(OpenError::LabelMismatch),
            _ => Ok(()),
        }
    }

    /// Whether a lock of this key may be used.
    pub(crate) fn check_key(&self, key_id: KeyId) -> Result<(), OpenError> {
        match &self.keys {
            Some(keys) if !keys.contains(&key_id) => Err(OpenError::ProfileViolation(
                "a needed lock is of a key that is not allowed",
            )),
            _ => Ok(()),
        }
    }

    /// Whether a lock of this suite may be used.
    pub(crate) fn check_suite(&self, suite: u16) -> Result<(), OpenError> {
        if self.suites.contains(&suite) {
            Ok(())
        } else {
            Err(OpenError::ProfileViolation(
                "a needed lock is of a suite that is not allowed",
            ))
        }
    }
}

/// What the opener knows about one object beforehand.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Expectation {
    /// The label that the object must have; `None` accepts any.
    pub label: Option<String>,
    /// The external AAD given at sealing; `None` if there was none.
    pub ext_aad: Option<Vec<u8>>,
}

/// Whether there is an external AAD is shown, not what it says: it may be meant for those who know it.
impl fmt::Debug for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expectation")
            .field("label", &self.label)
            .field("has_ext_aad", &self.ext_aad.is_some())
            .finish_non_exhaustive()
    }
}

impl Expectation {
    /// Any label, no external AAD.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The label that the object must have.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The external AAD that was given at sealing.
    #[must_use]
    pub fn ext_aad(mut self, ext_aad: impl Into<Vec<u8>>) -> Self {
        self.ext_aad = Some(ext_aad.into());
        self
    }

    pub(crate) fn check(&self, header: &Header) -> Result<(), OpenError> {
        if self
            .label
            .as_deref()
            .is_some_and(|label| label != header.label())
        {
            return Err(OpenError::LabelMismatch);
        }
        if self.ext_aad.is_some() != header.requires_ext_aad() {
            return Err(OpenError::AadMismatch {
                required: header.requires_ext_aad(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_aad_is_not_printed() {
        let expected = Expectation::new().label("db").ext_aad("env=prod");
        assert_eq!(
            format!("{expected:?}"),
            r#"Expectation { label: Some("db"), has_ext_aad: true, .. }"#
        );
    }
}
