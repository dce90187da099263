//! Decisions made before, so that a busy principal's policies are asked once.
//!
//! A decision is found by certificate, key and operation, and holds only for the very policies it was made of and
//! between the times at which they would say something else: a change of a policy makes it worthless at once.
//!
//! The cache has two generations of a fixed size, so that it can't be made to grow; what is used survives.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use identity::{Principal, policy::Policy};
use kms_client::{KeyId, Operation};
use service::authorize::{Authorizer, Ruling};

use crate::{
    limits::DECISIONS,
    snapshot::{Key, Tenant},
};

/// Labels of the two policies that must both allow.
pub(crate) const ADMISSION: &str = "admission";
/// See [`ADMISSION`].
pub(crate) const KEY: &str = "key";

/// What a decision is about.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct Subject {
    /// SHA-256 of the document, which fixes SPIFFE ID and attributes.
    certificate: [u8; 32],
    key: KeyId,
    operation: Operation,
}

#[derive(Clone)]
struct Entry {
    // Held, so that their addresses are theirs alone.
    admission: Arc<Policy>,
    key: Arc<Policy>,
    ruling: Arc<Ruling>,
}

impl Entry {
    fn is_of(&self, admission: &Arc<Policy>, key: &Arc<Policy>, now: SystemTime) -> bool {
        Arc::ptr_eq(&self.admission, admission)
            && Arc::ptr_eq(&self.key, key)
            && self.ruling.holds_at(now)
    }
}

#[derive(Default)]
struct Generations {
    young: HashMap<Subject, Entry>,
    old: HashMap<Subject, Entry>,
}

/// The cache.
pub(crate) struct Decisions {
    size: usize,
    generations: Mutex<Generations>,
}

impl Decisions {
    pub(crate) fn new() -> Self {
        Self::with_size(DECISIONS)
    }

    fn with_size(size: usize) -> Self {
        Self {
            size,
            generations: Mutex::default(),
        }
    }

    /// What admission and the key's policy say, and whether that was known.
    pub(crate) fn ruling(
        &self,
        authorizer: &Authorizer,
        principal: &Principal,
        (tenant, key): (&Tenant, &Key),
        operation: Operation,
        now: SystemTime,
    ) -> (Arc<Ruling>, bool) {
        let (Some(admission), Some(policy)) = (&tenant.admission, &key.policy) else {
            // No policy denies.
            let none = authorizer.rule(
                principal,
                operation.name(),
                &key.resource,
                &[],
                &key.context,
                now,
            );
            return (Arc::new(none), false);
        };
        let subject = Subject {
            certificate: *principal.fingerprint(),
            key: key.id,
            operation,
        };
        if let Some(entry) = self.find(&subject)
            && entry.is_of(admission, policy, now)
        {
            return (entry.ruling, true);
        }
        let policies = [(ADMISSION, &**admission), (KEY, &**policy)];
        let ruling = Arc::new(authorizer.rule(
            principal,
            operation.name(),
            &key.resource,
            &policies,
            &key.context,
            now,
        ));
        let entry = Entry {
            admission: Arc::clone(admission),
            key: Arc::clone(policy),
            ruling: Arc::clone(&ruling),
        };
        self.keep(subject, entry);
        (ruling, false)
    }

    fn find(&self, subject: &Subject) -> Option<Entry> {
        let mut generations = self.lock();
        if let Some(entry) = generations.young.get(subject) {
            return Some(entry.clone());
        }
        let entry = generations.old.remove(subject)?;
        self.insert(&mut generations, *subject, entry.clone());
        Some(entry)
    }

    fn keep(&self, subject: Subject, entry: Entry) {
        self.insert(&mut self.lock(), subject, entry);
    }

    fn insert(&self, generations: &mut Generations, subject: Subject, entry: Entry) {
        if generations.young.len() >= self.size && !generations.young.contains_key(&subject) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(subject, entry);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
