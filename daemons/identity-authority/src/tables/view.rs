//! Everything that is kept in memory, read at one moment.

use super::{
    FederationRow, IssuerRow, RevocationRow, RootRow, SiteRow, Tables, TablesError, federations,
    issuers, revocations, roots, sites, unsigned,
};

/// What the snapshot in memory is made of.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) revision: u64,
    pub(crate) bundle_sequence: u64,
    pub(crate) sites_revision: u64,
    pub(crate) roots: Vec<RootRow>,
    pub(crate) issuers: Vec<IssuerRow>,
    pub(crate) revocations: Vec<RevocationRow>,
    pub(crate) federations: Vec<FederationRow>,
    /// None if they are those of the revision that was known.
    pub(crate) sites: Option<Vec<SiteRow>>,
}

impl Tables {
    /// The number that changes with every change of what a [`View`] shows. Asked once: who polls asks again anyway.
    pub(crate) async fn revision(&self) -> Result<u64, TablesError> {
        let revision: i64 = sqlx::query_scalar("SELECT revision FROM authority WHERE id = 1")
            .fetch_one(self.database.pool())
            .await
            .map_err(|cause| self.database.error(cause))?;
        unsigned(revision)
    }

    /// Reads everything; the sites, which are many, unless their revision is `known_sites`.
    pub(crate) async fn view(&self, known_sites: Option<u64>) -> Result<View, TablesError> {
        self.patiently(|| async {
            // One transaction is one moment: no sequence is ever seen with the rows of another.
            let mut transaction = self.database.begin_read().await?;
            let (revision, sequence, sites_revision): (i64, i64, i64) = sqlx::query_as(
                "SELECT revision, bundle_sequence, sites_revision FROM authority WHERE id = 1",
            )
            .fetch_one(&mut *transaction)
            .await?;
            let sites_revision = unsigned(sites_revision)?;
            let sites = if known_sites == Some(sites_revision) {
                None
            } else {
                Some(sites::all(&mut transaction).await?)
            };
            let view = View {
                revision: unsigned(revision)?,
                bundle_sequence: unsigned(sequence)?,
                sites_revision,
                roots: roots::all(&mut transaction).await?,
                issuers: issuers::all(&mut transaction).await?,
                revocations: revocations::all(&mut transaction).await?,
                federations: federations::all(&mut transaction).await?,
                sites,
            };
            transaction.commit().await?;
            Ok(view)
        })
        .await
    }
}
