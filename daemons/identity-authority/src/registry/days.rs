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
