//! What happens to keys by time: rotation by their settings, destruction after its delay.
//!
//! Every replica looks; each change is compared with the revision it was made from, so that exactly one replica rotates a
//! key and the others find it rotated. Nothing here is urgent: what fails is tried again at the next look.
//!
//! # Clocks
//!
//! A clock that jumps forward makes keys due before their time. A rotation too early does no harm. A destruction can't be
//! taken back, so it also waits until the store has been in operation for the delay, however late the clock says it is:
//! see [`KmsStore::destroy_version`](crate::store::KmsStore::destroy_version).

use std::{sync::Arc, time::Duration};

use kms_client::{
    State,
    wire::{ErrorCode, admin::RotateKey},
};
use serde::Deserialize;
use service::config::{ConfigError, duration};

use crate::{
    admin::{self, AdminError, Caller, Destroy, DestroyLeftover, is_due, rotate_at},
    engine::Engine,
    limits::{
        LEAST_DESTRUCTION_DELAY, LEAST_ROTATION, LIFECYCLE_POLL, MAX_DESTRUCTION_DELAY,
        MAX_LIFECYCLE_POLL, MAX_ROTATION_SECONDS,
    },
    store::Key,
};

/// `[lifecycle]`: what happens to keys by time.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct LifecycleConfig {
    /// Least time between scheduling a destruction and doing it; what a person has to notice a mistake.
    #[serde(deserialize_with = "duration")]
    pub least_destruction_delay: Duration,
    /// Least time between rotations of a key by its settings.
    #[serde(deserialize_with = "duration")]
    pub least_rotation: Duration,
    /// Time between looks at what is due.
    #[serde(deserialize_with = "duration")]
    pub poll: Duration,
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        Self {
            least_destruction_delay: LEAST_DESTRUCTION_DELAY,
            least_rotation: LEAST_ROTATION,
            poll: LIFECYCLE_POLL,
        }
    }
}

impl LifecycleConfig {
    /// Checks it.
    ///
    /// # Errors
    ///
    /// Names the setting and what is possible.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.least_destruction_delay > MAX_DESTRUCTION_DELAY {
            return Err(ConfigError::invalid(
                "lifecycle.least_destruction_delay",
                "must be at most 720h, the greatest delay",
            ));
        }
        if !(1..=MAX_ROTATION_SECONDS).contains(&self.least_rotation.as_secs()) {
            return Err(ConfigError::invalid(
                "lifecycle.least_rotation",
                "must be 1s to 10 years",
            ));
        }
        if self.poll.is_zero() || self.poll > MAX_LIFECYCLE_POLL {
            return Err(ConfigError::invalid(
                "lifecycle.poll",
                "must be more than 0s and at most 1h",
            ));
        }
        Ok(())
    }
}

/// Looks at every key again and again; never returns.
pub(crate) async fn run(engine: Arc<Engine>) {
    let mut tick = tokio::time::interval(engine.administration().lifecycle().poll);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        look(&engine).await;
    }
}

/// Does what is due now.
pub(crate) async fn look(engine: &Arc<Engine>) {
    let view = match admin::view(engine) {
        Ok(view) => view,
        // The store is not to be had: whoever watches it says so.
        Err(_) => return,
    };
    let now = engine.unix_seconds();
    for key in view.keys() {
        destroy_due(engine, key, now).await;
        if rotate_at(key).is_some_and(|at| at <= now) {
            let rotate = RotateKey {
                tenant: key.tenant.clone(),
                key: key.id.to_string(),
                expected_revision: key.revision,
            };
            let rotated = admin::perform(engine, Caller::Schedule, rotate).await;
            told(key, "rotated", rotated.map(|key| key.primary));
        }
    }
    clear_leftovers(engine).await;
}

/// Destroys what the HSM still has of destroyed versions: it was away, or a replica died in between.
async fn clear_leftovers(engine: &Arc<Engine>) {
    if !engine.take_leftovers() {
        return;
    }
    let (Ok(view), Ok(references)) = (admin::view(engine), engine.list_in_hsm().await) else {
        engine.expect_leftovers();
        return;
    };
    for reference in references {
        let (id, version) = (reference.key_id(), reference.version());
        let Some(key) = view.key(&id) else { continue };
        let state = key.versions.get(&version).map(|version| version.state);
        if state != Some(State::Destroyed) {
            continue;
        }
        let destroy = DestroyLeftover {
            tenant: key.tenant.clone(),
            reference,
        };
        let destroyed = admin::perform(engine, Caller::Schedule, destroy).await;
        if destroyed.is_err() {
            engine.expect_leftovers();
        }
        told(key, "destroyed", destroyed.map(|_| version));
    }
}

async fn destroy_due(engine: &Arc<Engine>, key: &Key, now: u64) {
    let mut expected_revision = key.revision;
    for version in key.versions.values().filter(|version| is_due(version, now)) {
        if !engine.store().has_waited(version).await {
            continue;
        }
        let destroy = Destroy {
            tenant: key.tenant.clone(),
            key: key.id,
            version: version.version,
            expected_revision,
        };
        let destroyed = admin::perform(engine, Caller::Schedule, destroy).await;
        if let Ok(destroyed) = &destroyed {
            expected_revision = destroyed.revision;
        }
        let is_done = destroyed.is_ok();
        told(key, "destroyed", destroyed.map(|_| version.version));
        if !is_done {
            return;
        }
    }
}

fn told(key: &Key, what: &str, result: Result<u32, AdminError>) {
    let (tenant, name) = (&key.tenant, &key.name);
    match result {
        Ok(version) => tracing::info!(%tenant, key = %name, version, "{what} by schedule"),
        // Another replica, or an administrator, was faster: looked at again next time.
        Err(error) if error.code() == ErrorCode::Conflict => {
            tracing::debug!(%tenant, key = %name, "changed meanwhile: not {what} here");
        }
        Err(error) => {
            tracing::error!(%tenant, key = %name, %error, "could not be {what} by schedule: tried again later");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_settings_are_named() {
        LifecycleConfig::default().validate().unwrap();
        for (config, name) in [
            (
                LifecycleConfig {
                    least_destruction_delay: MAX_DESTRUCTION_DELAY + Duration::from_secs(1),
                    ..LifecycleConfig::default()
                },
                "least_destruction_delay",
            ),
            (
                LifecycleConfig {
                    least_rotation: Duration::ZERO,
                    ..LifecycleConfig::default()
                },
                "least_rotation",
            ),
            (
                LifecycleConfig {
                    poll: Duration::ZERO,
                    ..LifecycleConfig::default()
                },
                "poll",
            ),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
