//! Being told when document or bundle were replaced, on any executor.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{TlsIdentity, Trust};

/// Who waits.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    next: AtomicU64,
    wakers: Mutex<HashMap<u64, Waker>>,
}

impl Waiters {
    /// Wakes everybody, once; whoever still waits comes again.
    pub(super) fn wake(&self) {
        let woken = std::mem::take(&mut *self.lock());
        woken.into_values().for_each(Waker::wake);
    }

    fn insert(&self, id: u64, waker: &Waker) -> Option<Waker> {
        self.lock().insert(id, waker.clone())
    }

    fn remove(&self, id: u64) -> Option<Waker> {
        self.lock().remove(&id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells when document or bundle of a [`TlsIdentity`] were replaced; one waits at a time.
#[derive(Debug)]
pub struct Changes {
    trust: Arc<Trust>,
    id: u64,
    seen: u64,
}

impl TlsIdentity {
    /// Tells of every change from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes {
            trust: Arc::clone(&self.trust),
            id: self.trust.waiters.next.fetch_add(1, Ordering::Relaxed),
            seen: self.generation(),
        }
    }
}

impl Changes {
    /// Waits for a change since the last one seen here; changes that follow each other closely count as one.
    pub async fn changed(&mut self) {
        poll_fn(|context| self.poll_changed(context)).await;
    }

    /// As [`Changes::changed`].
    pub fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_changed() {
            return Poll::Ready(());
        }
        let former = self.trust.waiters.insert(self.id, context.waker());
        // Without the lock: what a waker drops may be another one who waits.
        drop(former);
        // A change before the registration woke nobody.
        if self.is_changed() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn is_changed(&mut self) -> bool {
        let generation = self.trust.generation.load(Ordering::Acquire);
        std::mem::replace(&mut self.seen, generation) != generation
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let waker = self.trust.waiters.remove(self.id);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;
    use std::time::Duration;

    use rustls::time_provider::TimeProvider;
    use rustls_pki_types::UnixTime;

    use super::*;
    use crate::testing::{NOW, Realm, id};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[derive(Debug)]
    struct Frozen;

    impl TimeProvider for Frozen {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
        }
    }

    #[test]
    fn everybody_who_waits_is_woken_once_per_change() {
        let realm = Realm::acme();
        let mut request = realm.request();
        request.spiffe_id = id("spiffe://acme.example/paris/api");
        let identity = TlsIdentity::with_clock(
            realm.document(&request, 1),
            realm.bundle.clone(),
            Arc::new(Frozen),
        )
        .unwrap();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let (mut first, mut second) = (identity.changes(), identity.changes());
        assert!(first.poll_changed(&mut context).is_pending());
        assert!(first.poll_changed(&mut context).is_pending());
        assert!(second.poll_changed(&mut context).is_pending());

        identity
            .replace_document(realm.document(&request, 2))
            .unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
        assert!(first.poll_changed(&mut context).is_ready());
        assert!(first.poll_changed(&mut context).is_pending());
        // Missed while nobody waited, and still told.
        identity
            .replace_document(realm.document(&request, 3))
            .unwrap();
        assert!(second.poll_changed(&mut context).is_ready());
        drop((first, second));
        assert!(identity.trust.waiters.lock().is_empty());
    }
}
