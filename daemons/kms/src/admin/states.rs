//! States of versions, and their end.
//!
//! | from | to | by |
//! |---|---|---|
//! | enabled, decrypt-only, disabled | one another | an administrator |
//! | these | pending-destruction, for at least the least delay | an administrator |
//! | pending-destruction | disabled | an administrator, until its time has come |
//! | pending-destruction | destroyed | time alone: [`Destroy`] |
//! | destroyed | nothing | nobody |

use std::sync::Arc;

use kms_client::{
    KeyId, State,
    wire::{
        ErrorCode,
        admin::{Key, SetState},
    },
};
use serde::Serialize;
use service::audit::AuditContext;

use super::{
    AdminError, Operation, about, find,
    keys::{changed, expect},
    of_key,
};
use crate::{
    engine::Engine,
    limits::{DESTRUCTION_DELAY, MAX_DESTRUCTION_DELAY},
    store::{self, Held, Version},
};

/// Whether a version's time has come by the clock on the wall; the store also wants it to have run for its time.
pub(crate) fn is_due(version: &Version, now: u64) -> bool {
    version.state == State::PendingDestruction && version.destroy_at.is_some_and(|at| at <= now)
}

/// Whether an administrator may make this step.
fn is_step(from: State, to: State) -> bool {
    use State::{DecryptOnly, Destroyed, Disabled, Enabled, PendingDestruction};
    match (from, to) {
        (
            Enabled | DecryptOnly | Disabled,
            Enabled | DecryptOnly | Disabled | PendingDestruction,
        ) => from != to,
        (PendingDestruction, Disabled) => true,
        (PendingDestruction, _) | (Destroyed, _) | (_, Destroyed) => false,
    }
}

impl Operation for SetState {
    type Reply = Key;
    const ACTION: &'static str = "set-state";

    fn resource(&self, engine: &Engine) -> String {
        of_key(engine, &self.tenant, &self.key)
    }

    fn context(&self) -> AuditContext {
        about(&self.tenant, &self.key)
            .with("expected_revision", self.expected_revision)
            .with("version", self.version)
            .with("state", self.state.name())
            .with("delay_seconds", self.delay_seconds.unwrap_or(0))
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Key, AdminError> {
        let key = find(engine, &self.tenant, &self.key)?;
        expect(&key, self.expected_revision)?;
        let version = version(&key, self.version)?;
        let now = engine.unix_seconds();
        if !is_step(version.state, self.state) {
            return Err(AdminError::new(
                ErrorCode::WrongState,
                format!(
                    "version {} is {} and can't become {} by hand",
                    self.version, version.state, self.state
                ),
            ));
        }
        if is_due(version, now) {
            return Err(AdminError::new(
                ErrorCode::WrongState,
                format!(
                    "the time of version {} has come: it is being destroyed",
                    self.version
                ),
            ));
        }
        let destroy_at = match (self.state, self.delay_seconds) {
            (State::PendingDestruction, delay) => Some(now.saturating_add(checked(engine, delay)?)),
            (_, None) => None,
            (_, Some(_)) => {
                return Err(AdminError::bad_request(
                    "only `pending-destruction` has a delay",
                ));
            }
        };
        let set = engine
            .store()
            .set_state(
                &key.id,
                self.expected_revision,
                self.version,
                self.state,
                destroy_at,
                now,
            )
            .await?;
        changed(engine, &set).await
    }
}

fn version(key: &store::Key, number: u32) -> Result<&Version, AdminError> {
    let found = key.versions.get(&number);
    found.ok_or_else(|| AdminError::not_found(format_args!("version {number}")))
}

/// The delay of a destruction, in seconds.
fn checked(engine: &Engine, delay: Option<u64>) -> Result<u64, AdminError> {
    let least = engine
        .administration()
        .lifecycle()
        .least_destruction_delay
        .as_secs();
    let delay = delay.unwrap_or(DESTRUCTION_DELAY.as_secs().max(least));
    if (least..=MAX_DESTRUCTION_DELAY.as_secs()).contains(&delay) {
        return Ok(delay);
    }
    Err(AdminError::bad_request(format!(
        "a version is destroyed after {least} to {} seconds",
        MAX_DESTRUCTION_DELAY.as_secs()
    )))
}

/// Destroys the material of a version whose time has come; only the schedule does.
#[derive(Debug)]
pub(crate) struct Destroy {
    pub(crate) tenant: String,
    pub(crate) key: KeyId,
    pub(crate) version: u32,
    pub(crate) expected_revision: u64,
}

/// What a destruction answers.
#[derive(Debug, Serialize)]
pub(crate) struct Destroyed {
    /// Of the key, after it.
    pub(crate) revision: u64,
}

impl Operation for Destroy {
    type Reply = Destroyed;
    const ACTION: &'static str = "destroy-version";

    fn resource(&self, engine: &Engine) -> String {
        of_key(engine, &self.tenant, &self.key.to_string())
    }

    fn context(&self) -> AuditContext {
        about(&self.tenant, &self.key.to_string())
            .with("expected_revision", self.expected_revision)
            .with("version", self.version)
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Destroyed, AdminError> {
        let key = find(engine, &self.tenant, &self.key.to_string())?;
        expect(&key, self.expected_revision)?;
        let version = version(&key, self.version)?;
        let now = engine.unix_seconds();
        if !is_due(version, now) {
            return Err(AdminError::new(
                ErrorCode::WrongState,
                format!("the time of version {} has not come", self.version),
            ));
        }
        let in_hsm = match &version.held {
            Held::Hsm(reference) => Some(reference.clone()),
            Held::Software(_) | Held::Gone => None,
        };
        // In the store first: should somebody keep the version at this very moment, one of both is refused, and
        // nothing that is kept is destroyed.
        let destroyed = engine
            .store()
            .destroy_version(&key.id, self.expected_revision, self.version, now)
            .await;
        let gone = match (destroyed, in_hsm) {
            (Ok(destroyed), Some(reference)) => {
                engine.changed().await;
                let gone = engine.destroy_in_hsm(&reference).await;
                gone.map(|()| destroyed)
            }
            (Ok(destroyed), None) => {
                engine.changed().await;
                return Ok(Destroyed {
                    revision: destroyed.revision,
                });
            }
            (Err(error), _) => Err(error.into()),
        };
        // The store does not know the object any more, if it got so far: the schedule looks for it in the HSM.
        let destroyed = gone.inspect_err(|_| engine.expect_leftovers())?;
        Ok(Destroyed {
            revision: destroyed.revision,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_back_from_the_dead_and_nobody_kills_at_once() {
        let all = [
            State::Enabled,
            State::DecryptOnly,
            State::Disabled,
            State::PendingDestruction,
            State::Destroyed,
        ];
        for state in all {
            assert!(!is_step(State::Destroyed, state), "{state}");
            assert!(!is_step(state, State::Destroyed), "{state}");
            assert!(!is_step(state, state), "{state}");
        }
        // What was to be destroyed comes back switched off, so that keeping it is one decision and using it another.
        let back: Vec<_> = all
            .into_iter()
            .filter(|to| is_step(State::PendingDestruction, *to))
            .collect();
        assert_eq!(back, [State::Disabled]);
    }
}
