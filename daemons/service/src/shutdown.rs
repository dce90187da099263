//! One signal that tells every part of a daemon to drain.
//!
//! SIGTERM or SIGINT triggers it once. A second signal of either kind is not caught here: listeners
//! give themselves a deadline (`limits.drain`), so a drain always ends.

use std::future::Future;

use tokio::sync::watch;

/// Handle to the one shutdown signal; clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    sender: watch::Sender<bool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A signal not yet given.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sender: watch::Sender::new(false),
        }
    }

    /// Gives the signal; giving it again changes nothing.
    pub fn trigger(&self) {
        self.sender
            .send_if_modified(|given| !std::mem::replace(given, true));
    }

    /// Whether the signal was given.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        *self.sender.borrow()
    }

    /// Completes once the signal is given, at once if it was.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut receiver = self.sender.subscribe();
        // The future holds a sender too, so the channel never closes under it.
        let sender = self.sender.clone();
        async move {
            let _held = sender;
            // `Err` would mean that every sender is gone, which `_held` rules out.
            let _ = receiver.wait_for(|given| *given).await;
        }
    }

    /// Triggers on SIGTERM and SIGINT from now on.
    ///
    /// # Errors
    ///
    /// The operating system's error if a handler can't be installed.
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "draining");
            shutdown.trigger();
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn every_waiter_hears_it_early_and_late() {
        let shutdown = Shutdown::new();
        let early = tokio::spawn(shutdown.wait());
        assert!(!shutdown.is_triggered());
        shutdown.clone().trigger();
        shutdown.trigger();
        tokio::time::timeout(Duration::from_secs(5), early)
            .await
            .unwrap()
            .unwrap();
        tokio::time::timeout(Duration::from_secs(5), shutdown.wait())
            .await
            .unwrap();
        assert!(shutdown.is_triggered());
    }

    #[tokio::test]
    async fn waiting_outlives_the_handle_without_firing() {
        let shutdown = Shutdown::new();
        let wait = shutdown.wait();
        drop(shutdown);
        assert!(
            tokio::time::timeout(Duration::from_millis(50), wait)
                .await
                .is_err()
        );
    }
}
