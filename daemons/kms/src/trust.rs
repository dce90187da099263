//! The service's own identity: where it comes from, and whether it can still tell peers apart.

use service::config::IdentityPaths;
use wingman_sdk::identity::{IdentityConfig, IdentitySource};

use crate::limits::MAX_BUNDLE_AGE;

/// The `[identity]` section, for [`IdentitySource`].
#[must_use]
pub fn identity_config(paths: &IdentityPaths) -> IdentityConfig {
    let config = IdentityConfig::new(paths.directory.as_path());
    match &paths.join_token_file {
        Some(file) => config.join_token_file(file.as_path()),
        None => config,
    }
}

/// Whether peers can be told by this identity, whose bundle was confirmed within [`MAX_BUNDLE_AGE`].
/// For [`Kms::only_while`](crate::Kms::only_while).
#[must_use]
pub fn is_fresh(source: &IdentitySource) -> bool {
    source.can_tell_peers(MAX_BUNDLE_AGE)
}
