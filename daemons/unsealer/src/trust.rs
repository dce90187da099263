//! Whether the unsealer's own identity can still tell peers apart.

use wingman_sdk::identity::IdentitySource;

use crate::limits::MAX_BUNDLE_AGE;

/// Whether peers can be told by this identity: its document is valid, and its bundle was confirmed by the identity
/// authority within [`MAX_BUNDLE_AGE`]. For [`Unsealer::only_while`](crate::Unsealer::only_while).
///
/// Where no authority is known, whoever fills the identity directory vouches for the bundle's age.
#[must_use]
pub fn is_fresh(source: &IdentitySource) -> bool {
    let freshness = source.freshness();
    let bundle = match freshness.bundle_age {
        Some(age) => age <= MAX_BUNDLE_AGE,
        None => source.authority().is_none(),
    };
    freshness.document_valid && bundle
}
