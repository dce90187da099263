//! Objects that outlived their version: the store was told of a destruction, and the HSM was not, or did not answer.

use std::sync::Arc;

use kms_client::{State, wire::ErrorCode};
use serde::Serialize;
use service::audit::AuditContext;

use super::{AdminError, Destroy, Operation, about, find, of_key};
use crate::{engine::Engine, hsm::Reference};

/// Destroys an object in the HSM whose version is destroyed; only the schedule does.
#[derive(Debug)]
pub(crate) struct DestroyLeftover {
    pub(crate) tenant: String,
    pub(crate) reference: Reference,
}

/// What that answers.
#[derive(Debug, Serialize)]
pub(crate) struct Removed {}

impl DestroyLeftover {
    fn key(&self) -> String {
        self.reference.key_id().to_string()
    }
}

impl Operation for DestroyLeftover {
    type Reply = Removed;
    const ACTION: &'static str = Destroy::ACTION;

    fn resource(&self, engine: &Engine) -> String {
        of_key(engine, &self.tenant, &self.key())
    }

    fn context(&self) -> AuditContext {
        about(&self.tenant, &self.key())
            .with("version", self.reference.version())
            .with("leftover", true)
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Removed, AdminError> {
        let key = find(engine, &self.tenant, &self.key())?;
        let version = key.versions.get(&self.reference.version());
        // INVARIANT (terminal): a destroyed version never has material again, so nothing that is kept is destroyed.
        if version.is_none_or(|version| version.state != State::Destroyed) {
            return Err(AdminError::new(
                ErrorCode::WrongState,
                "the version is not destroyed, so its object stays",
            ));
        }
        engine.destroy_in_hsm(self.reference.as_bytes()).await?;
        Ok(Removed {})
    }
}
