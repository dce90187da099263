//! What administration asks of the store beside its changes.

use service::root_key::RootKeys;

use super::{KmsStore, records::Version};

impl KmsStore {
    /// The root keys that wrap everything here.
    pub(crate) fn roots(&self) -> &RootKeys {
        &self.inner.roots
    }

    /// Whether a version that waits for its destruction has done so in time of operation, too.
    ///
    /// To be asked before [`KmsStore::destroy_version`], which looks again: so nothing is tried, and recorded, in vain.
    pub(crate) async fn has_waited(&self, version: &Version) -> bool {
        let uptime = self.inner.state.lock().await.uptime();
        version.destroy_uptime.is_some_and(|at| at <= uptime)
    }
}
