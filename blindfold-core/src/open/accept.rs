//! First step of opening: which locks this opener may and can use, and whether they are enough.

use std::sync::Arc;

use super::{AcceptedHeader, LockFault, OpenError, UsableLock};
use crate::group::Element;
use crate::kdf::sha384;
use crate::key::{AuthorityKey, Suite};
use crate::limits::MLKEM768_CIPHERTEXT_BYTES;
use crate::object::{Header, Lock, Role};
use crate::profile::{AcceptanceProfile, Expectation, PinnedKeys};
use crate::schedule::ext_aad_digest;
use crate::signature::SealerKey;

impl AcceptedHeader {
    /// Checks `header` and finds its usable locks; see [`crate::Sealed::accept`] for the errors.
    pub(crate) fn new(
        header: Arc<Header>,
        keys: &PinnedKeys,
        profile: &AcceptanceProfile,
        expectation: &Expectation,
        signers: &[&SealerKey],
    ) -> Result<Self, OpenError> {
        profile.check(&header, keys, signers)?;
        expectation.check(&header)?;
        check_distinct(&header, keys)?;

        let mut locks = Vec::new();
        let mut faults = Vec::new();
        for lock in &header.locks {
            if lock.role == Role::Recovery && !profile.recovery_allowed() {
                continue;
            }
            match usable(lock, keys, profile) {
                Ok(usable) => locks.push(usable),
                Err(error) => faults.push(LockFault {
                    position: lock.position,
                    role: lock.role,
                    key_id: lock.key_id,
                    authority: keys.get(&lock.key_id).map(|key| key.authority().to_owned()),
                    error,
                }),
            }
        }
        check_enough(&header, &locks, &faults)?;

        let ext_aad = expectation.ext_aad.as_deref();
        let binding = sha384(&[&header.raw]);
        Ok(Self {
            binding,
            ext_aad_digest: ext_aad_digest(ext_aad),
            header,
            locks,
            faults,
        })
    }
}

/// "checked against the key records at Seal and at Open, distinct public keys and distinct authority names"
fn check_distinct(header: &Header, keys: &PinnedKeys) -> Result<(), OpenError> {
    let shares = header.locks.iter().filter(|lock| lock.role == Role::Share);
    let records: Vec<_> = shares.filter_map(|lock| keys.get(&lock.key_id)).collect();
    if header.threshold > 1 && !are_distinct(&records) {
        return Err(OpenError::DuplicateAuthority);
    }
    Ok(())
}

/// Whether no two records share a key id, a public key or an authority name.
pub(crate) fn are_distinct(records: &[&AuthorityKey]) -> bool {
    records.iter().enumerate().all(|(index, one)| {
        records.iter().skip(index + 1).all(|other| {
            one.key_id() != other.key_id()
                && one.public_key_bytes() != other.public_key_bytes()
                && one.authority() != other.authority()
        })
    })
}

/// The lock with its pinned record, if both agree and the profile allows it.
fn usable(
    lock: &Lock,
    keys: &PinnedKeys,
    profile: &AcceptanceProfile,
) -> Result<UsableLock, OpenError> {
    let suite = Suite::try_from(lock.suite)
        .map_err(|_| OpenError::Unsupported("an unknown suite of a needed lock"))?;
    profile.check_key(lock.key_id)?;
    profile.check_suite(lock.suite)?;
    let key_id = lock.key_id;
    let key = keys.get(&key_id).ok_or(OpenError::UnknownKey { key_id })?;
    // "lock.suite/tenant/version MUST equal the record"; "A key record of
    // the wrong purpose => KEY_MISMATCH": a record's purpose is that of its suite.
    let agreements = [
        (key.suite() == suite, "suite"),
        (key.tenant() == lock.tenant, "tenant"),
        (key.version() == lock.key_version, "version"),
    ];
    if let Some((_, field)) = agreements.into_iter().find(|(agrees, _)| !agrees) {
        return Err(OpenError::KeyMismatch { key_id, field });
    }
    let ask = match lock.policy()? {
        Some(policy) => {
            let element = Element::decode(lock.enc()).map_err(|_| OpenError::BadElement)?;
            Some((policy, element))
        }
        None if lock.enc().len() == MLKEM768_CIPHERTEXT_BYTES => None,
        None => {
            return Err(OpenError::BadField(
                "the length of a static lock's ciphertext",
            ));
        }
    };
    Ok(UsableLock {
        position: lock.position,
        key: key.clone(),
        ask,
    })
}

/// Whether the usable locks can open the object at all; if not, why the first unusable one is so.
fn check_enough(
    header: &Header,
    locks: &[UsableLock],
    faults: &[LockFault],
) -> Result<(), OpenError> {
    let role_of = |usable: &UsableLock| {
        header
            .locks
            .get(usize::from(usable.position))
            .map(|lock| lock.role)
    };
    if locks
        .iter()
        .any(|usable| role_of(usable) == Some(Role::Recovery))
    {
        return Ok(());
    }
    let shares = locks
        .iter()
        .filter(|usable| role_of(usable) == Some(Role::Share))
        .count();
    let too_few = shares < usize::from(header.threshold);
    let decisive = |fault: &&LockFault| match fault.role {
        Role::Share => too_few,
        Role::Required => true,
        Role::Recovery => false,
    };
    match faults.iter().find(decisive) {
        Some(fault) => Err(fault.error.clone()),
        None => Ok(()),
    }
}
