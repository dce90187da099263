//! Policies ready to decide, and the bounded cache of inline ones.
//!
//! Compiled policies are told apart by digest. Those of the store live in the
//! snapshot; inline ones, which callers choose, live in [`InlineCache`], whose
//! size no caller can change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use identity::policy::Policy;

use crate::limits::{INLINE_CACHE_BYTES, INLINE_CACHE_ENTRIES};

/// Digest of a policy document, `H("policy", document)`.
pub(crate) type Digest = [u8; 48];

/// A policy document and what the policy engine makes of it.
#[derive(Debug)]
pub(crate) struct Compiled {
    digest: Digest,
    policy: Result<Policy, String>,
}

impl Compiled {
    /// Compiles a document in canonical form.
    ///
    /// A document the engine can't read is kept with the reason: it denies.
    pub(crate) fn new(document: &[u8], digest: Digest) -> Self {
        let policy = match Policy::from_canonical(document) {
            // The digest that the format computed and the one the engine
            // computed are of the same bytes; anything else is a defect, and denies.
            Ok(policy) if policy.digest() == digest => Ok(policy),
            Ok(_) => Err("the document does not have the digest it was found under".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        Self { digest, policy }
    }

    /// Digest of the document.
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The policy, or why the engine can't read it.
    pub(crate) fn policy(&self) -> Result<&Policy, &str> {
        self.policy.as_ref().map_err(String::as_str)
    }
}

/// Compiled inline policies, the recently used ones.
///
/// Two generations: the young one fills up, becomes the old one, and the old
/// one is forgotten. What is used in between moves to the young one.
#[derive(Debug)]
pub(crate) struct InlineCache {
    generations: Mutex<Generations>,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Digest, Entry>,
    young_bytes: usize,
    old: HashMap<Digest, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    compiled: Arc<Compiled>,
    bytes: usize,
}

impl InlineCache {
    /// An empty cache.
    pub(crate) fn new() -> Self {
        Self::with_bounds(INLINE_CACHE_ENTRIES, INLINE_CACHE_BYTES)
    }

    fn with_bounds(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            generations: Mutex::default(),
            max_entries,
            max_bytes,
        }
    }

    /// The compiled form of `document`, which has `digest`.
    pub(crate) fn compile(&self, document: &[u8], digest: Digest) -> Arc<Compiled> {
        if let Some(found) = self.find(&digest) {
            return found;
        }
        // Outside the lock: two callers may compile the same document once each.
        let compiled = Arc::new(Compiled::new(document, digest));
        let entry = Entry {
            compiled: Arc::clone(&compiled),
            bytes: document.len(),
        };
        self.keep(
            &mut self
                .generations
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            entry,
        );
        compiled
    }

    fn find(&self, digest: &Digest) -> Option<Arc<Compiled>> {
        let mut generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = generations.young.get(digest) {
            return Some(Arc::clone(&entry.compiled));
        }
        let entry = generations.old.remove(digest)?;
        let compiled = Arc::clone(&entry.compiled);
        self.keep(&mut generations, entry);
        Some(compiled)
    }

    // INVARIANT (bounded cache): no generation exceeds its entries or bytes.
    fn keep(&self, generations: &mut Generations, entry: Entry) {
        let full = generations.young.len() >= self.max_entries
            || generations.young_bytes.saturating_add(entry.bytes) > self.max_bytes;
        if full {
            generations.old = std::mem::take(&mut generations.young);
            generations.young_bytes = 0;
        }
        let (digest, bytes) = (*entry.compiled.digest(), entry.bytes);
        if generations.young.insert(digest, entry).is_none() {
            generations.young_bytes = generations.young_bytes.saturating_add(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(n: usize) -> (Vec<u8>, Digest) {
        let yaml = format!("v: 1\nname: p{n:05}\nrules: [{{effect: allow}}]\n");
        let policy = Policy::from_yaml(&yaml).unwrap();
        (policy.canonical(), policy.digest())
    }

    #[test]
    fn compiles_once_while_in_use() {
        let cache = InlineCache::new();
        let (bytes, digest) = document(1);
        let first = cache.compile(&bytes, digest);
        assert!(first.policy().is_ok());
        assert!(Arc::ptr_eq(&first, &cache.compile(&bytes, digest)));
    }

    #[test]
    fn a_flood_of_documents_stays_within_entries_and_bytes() {
        let size = document(0).0.len();
        let cache = InlineCache::with_bounds(8, size * 5);
        for n in 0..1000 {
            let (bytes, digest) = document(n);
            cache.compile(&bytes, digest);
            let generations = cache.generations.lock().unwrap();
            assert!(generations.young.len() <= 5 && generations.old.len() <= 5);
            assert_eq!(generations.young_bytes, generations.young.len() * size);
        }
    }

    #[test]
    fn what_is_used_survives_a_flood() {
        let cache = InlineCache::with_bounds(4, usize::MAX);
        let (bytes, digest) = document(0);
        let kept = cache.compile(&bytes, digest);
        for n in 1..100 {
            let (other, other_digest) = document(n);
            cache.compile(&other, other_digest);
            assert!(Arc::ptr_eq(&kept, &cache.compile(&bytes, digest)));
        }
    }

    #[test]
    fn unreadable_documents_are_kept_with_the_reason() {
        let cache = InlineCache::new();
        let compiled = cache.compile(br#"{"rules":[],"v":2}"#, [9; 48]);
        assert!(compiled.policy().is_err());
        assert!(Arc::ptr_eq(
            &compiled,
            &cache.compile(br#"{"rules":[],"v":2}"#, [9; 48])
        ));
    }

    #[test]
    fn a_document_under_another_digest_denies() {
        let (bytes, _) = document(1);
        assert!(
            Compiled::new(&bytes, [0; 48])
                .policy()
                .unwrap_err()
                .contains("digest")
        );
    }
}
