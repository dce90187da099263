//! Documents of a day: set aside in the store in blocks, spent from memory.

use identity::SiteName;
use tokio::sync::Mutex;

use crate::limits;
use crate::refusal::Refusal;
use crate::tables::Tables;

/// What this replica has set aside of one site's day and not yet spent.
#[derive(Debug, Default)]
pub(crate) struct DayQuota {
    // Held while the store is asked: a crowd asks once.
    left: Mutex<Left>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Left {
    day: u64,
    documents: u64,
    /// The bound that the documents were set aside under.
    greatest: u64,
}

impl DayQuota {
    /// Spends one document of the day that `now` is in; all replicas together spend at most `greatest`.
    ///
    /// # Errors
    ///
    /// The day is used up, or the store can't be asked.
    pub(crate) async fn take(
        &self,
        tables: &Tables,
        site: &SiteName,
        now: u64,
        greatest: u64,
    ) -> Result<(), Refusal> {
        let day = now / DAY_SECONDS;
        let mut left = self.left.lock().await;
        if left.day != day || left.greatest != greatest {
            // What was set aside under a greater bound must not be spent under a smaller one.
            *left = Left {
                day,
                documents: 0,
                greatest,
            };
        }
        if left.documents == 0 {
            let want = (greatest / limits::DAY_BLOCK_PART).clamp(1, limits::DAY_BLOCK);
            left.documents = tables
                .reserve_issues(site.as_str(), day, want, greatest)
                .await?;
        }
        if left.documents == 0 {
            return Err(Refusal::day_used_up(
                site.as_str(),
                DAY_SECONDS - now % DAY_SECONDS,
            ));
        }
        left.documents -= 1;
        Ok(())
    }
}

/// Seconds of a day in UTC, which knows no leap seconds here.
pub(crate) const DAY_SECONDS: u64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use service::database::Location;

    use super::*;
    use crate::tables::{NewAuthority, RootRow};

    async fn tables(folder: &tempfile::TempDir) -> Tables {
        let location = Location::Sqlite(folder.path().join("a.db"));
        let tables = Tables::open(&location).await.unwrap();
        let root = RootRow {
            fingerprint: [1; 32],
            certificate: "root".into(),
            key_wrapped: None,
            not_after: 10_000,
        };
        let new = NewAuthority {
            trust_domain: "acme.example",
            root: &root,
            issuer: None,
            site: ("paris", "{}"),
        };
        assert!(tables.create_authority(&new, 100).await.unwrap());
        tables
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn replicas_spend_a_day_together_and_never_more() {
        let folder = tempfile::tempdir().unwrap();
        let tables = tables(&folder).await;
        let site = SiteName::parse("paris").unwrap();
        let replicas: Vec<_> = (0..3).map(|_| Arc::new(DayQuota::default())).collect();
        let tasks: Vec<_> = (0..400)
            .map(|number| {
                let (quota, tables, site) = (
                    Arc::clone(&replicas[number % 3]),
                    tables.clone(),
                    site.clone(),
                );
                tokio::spawn(async move { quota.take(&tables, &site, 7 * DAY_SECONDS, 250).await })
            })
            .collect();
        let mut spent = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(()) => spent += 1,
                Err(refusal) => assert_eq!(
                    (refusal.record, refusal.retry_after),
                    ("SITE_DAY", Some(86_400))
                ),
            }
        }
        // A block has two: what another replica has set aside and not spent is not to be had.
        assert!((246..=250).contains(&spent), "{spent}");
        let quota = &replicas[0];
        while quota
            .take(&tables, &site, 7 * DAY_SECONDS, 250)
            .await
            .is_ok()
        {
            spent += 1;
        }
        assert!(spent <= 250, "{spent}");
        assert!(
            quota
                .take(&tables, &site, 7 * DAY_SECONDS, 200)
                .await
                .is_err(),
            "a smaller bound"
        );
        quota
            .take(&tables, &site, 8 * DAY_SECONDS, 250)
            .await
            .unwrap();
        assert!(
            quota
                .take(&tables, &site, 8 * DAY_SECONDS, 0)
                .await
                .is_err(),
            "what was set aside under a greater bound"
        );
    }
}
