//! Counts of use: protections reserved in blocks before they are spent, reads reported when it suits.

use kms_client::{KeyId, State as VersionState};

use super::{
    KmsStore, StoreError,
    records::{Reserved, Usage, UsageReport},
    rows::Record,
};
use crate::limits;

impl KmsStore {
    /// Reserves up to `count` uses of an enabled version, none beyond the `limit`-th of its life.
    ///
    /// They are durable when this returns: after a crash the count is too high by what was not spent, never too low.
    ///
    /// # Errors
    ///
    /// [`StoreError::Limit`] if the life is over, [`StoreError::NotFound`], [`StoreError::Invalid`] if the version is not
    /// enabled, or the database's.
    pub async fn reserve_uses(
        &self,
        id: &KeyId,
        version: u32,
        count: u64,
        limit: u64,
    ) -> Result<Reserved, StoreError> {
        let count = count.clamp(1, limits::MAX_RESERVATION);
        self.transact(|moment| {
            let key = moment.state.key(id)?;
            let state = key.versions.get(&version).map(|version| version.state);
            match state {
                Some(VersionState::Enabled) => {}
                Some(state) => {
                    return Err(StoreError::Invalid(format!(
                        "version {version} of key {id} is {state}: it protects nothing"
                    )));
                }
                None => {
                    return Err(StoreError::NotFound(format!(
                        "version {version} of key {id}"
                    )));
                }
            }
            let usage = moment.state.usage.get(&(*id, version));
            let mut usage = usage.copied().unwrap_or_default();
            let last = usage.reserved.saturating_add(count).min(limit);
            if last <= usage.reserved {
                return Err(StoreError::Limit {
                    what: "uses of a version",
                    limit,
                });
            }
            let reserved = Reserved {
                first: usage.reserved + 1,
                last,
            };
            usage.reserved = last;
            Ok((vec![Record::Usage(*id, version, usage)], reserved))
        })
        .await
    }

    /// Adds what was counted since the last report; versions that are not there are passed over.
    ///
    /// # Errors
    ///
    /// [`StoreError::Limit`] above 1024 reports, or the database's.
    pub async fn report_usage(&self, reports: &[UsageReport]) -> Result<(), StoreError> {
        if reports.len() > limits::MAX_USAGE_REPORTS {
            return Err(StoreError::Limit {
                what: "reports of usage at once",
                limit: limits::MAX_USAGE_REPORTS as u64,
            });
        }
        self.transact(|moment| {
            let mut sums = std::collections::HashMap::<(KeyId, u32), Usage>::new();
            for report in reports {
                let place = (report.key, report.version);
                let Some(known) = moment.state.usage.get(&place) else {
                    continue;
                };
                let usage = sums.entry(place).or_insert(*known);
                usage.read = usage.read.saturating_add(report.read);
                usage.last_used_at = usage.last_used_at.max(report.last_used_at);
            }
            let records = sums
                .into_iter()
                .map(|((id, version), usage)| Record::Usage(id, version, usage));
            Ok((records.collect(), ()))
        })
        .await
    }
}
