//! Rows of join tokens.

use identity::join::Redeemed;

use super::{Tables, TablesError, digest, signed, unsigned};

/// A token to be stored: everything but its secret.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    pub(crate) secret_hash: [u8; 32],
    pub(crate) site: String,
    pub(crate) spiffe_id: String,
    /// DER, as in the document.
    pub(crate) attributes: Vec<u8>,
    /// Lifetime of the document, seconds.
    pub(crate) lifetime: u64,
    pub(crate) created_at: u64,
    pub(crate) expires_at: u64,
}

/// A stored token.
#[derive(Clone, Debug)]
pub(crate) struct TokenRow {
    pub(crate) site: String,
    pub(crate) spiffe_id: String,
    pub(crate) attributes: Vec<u8>,
    pub(crate) lifetime: u64,
    pub(crate) expires_at: u64,
    pub(crate) redeemed: Option<Redeemed>,
}

/// Bounds on the tokens of one site that have not expired.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBounds {
    /// Not yet redeemed.
    pub(crate) live: u32,
    /// Redeemed or not.
    pub(crate) rows: u32,
}

/// What became of an insertion.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TokenInsertion {
    Done,
    /// One of the bounds is reached, or the site is switched off.
    Refused,
}

type TokenColumns = (
    String,
    String,
    Vec<u8>,
    i64,
    i64,
    Option<Vec<u8>>,
    Option<i64>,
);

impl Tables {
    /// Adds a token if its site is enabled and within its bounds, in one statement.
    pub(crate) async fn insert_token(
        &self,
        token: &NewToken,
        bounds: TokenBounds,
    ) -> Result<TokenInsertion, TablesError> {
        self.patiently(|| self.insert_token_once(token, bounds))
            .await
    }

    async fn insert_token_once(
        &self,
        token: &NewToken,
        bounds: TokenBounds,
    ) -> Result<TokenInsertion, TablesError> {
        // Bounds hold against other replicas too, which PostgreSQL's single statement alone would not do.
        let mut transaction = self.begin().await?;
        let known: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM join_tokens WHERE secret_hash = $1")
                .bind(token.secret_hash.as_slice())
                .fetch_one(&mut *transaction)
                .await?;
        if known == 1 {
            // A secret is drawn once: this is the same call again, whose answer was lost.
            return Ok(TokenInsertion::Done);
        }
        let done = sqlx::query(
            "INSERT INTO join_tokens (secret_hash, site, spiffe_id, attributes, lifetime, created_at, expires_at) \
             SELECT $1, $2, $3, $4, $5, $6, $7 \
             WHERE EXISTS (SELECT 1 FROM sites WHERE name = $2 AND enabled = 1) \
             AND (SELECT COUNT(*) FROM join_tokens \
                  WHERE site = $2 AND expires_at > $6 AND csr_key_sha256 IS NULL) < $8 \
             AND (SELECT COUNT(*) FROM join_tokens WHERE site = $2 AND expires_at > $6) < $9",
        )
        .bind(token.secret_hash.as_slice())
        .bind(&token.site)
        .bind(&token.spiffe_id)
        .bind(token.attributes.clone())
        .bind(signed(token.lifetime))
        .bind(signed(token.created_at))
        .bind(signed(token.expires_at))
        .bind(i64::from(bounds.live))
        .bind(i64::from(bounds.rows))
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(TokenInsertion::Refused);
        }
        transaction.commit().await?;
        Ok(TokenInsertion::Done)
    }

    /// The token whose secret has this hash.
    pub(crate) async fn token(
        &self,
        secret_hash: &[u8; 32],
    ) -> Result<Option<TokenRow>, TablesError> {
        let row: Option<TokenColumns> = self
            .patiently(|| async {
                let sql = "SELECT site, spiffe_id, attributes, lifetime, expires_at, csr_key_sha256, redeemed_at \
                           FROM join_tokens WHERE secret_hash = $1";
                Ok(sqlx::query_as(sql)
                    .bind(secret_hash.as_slice())
                    .fetch_optional(self.database.pool())
                    .await?)
            })
            .await?;
        let Some((site, spiffe_id, attributes, lifetime, expires_at, key, redeemed_at)) = row
        else {
            return Ok(None);
        };
        let redeemed = match (key, redeemed_at) {
            (None, None) => None,
            (Some(key), Some(at)) => Some(Redeemed {
                csr_key_sha256: digest(key)?,
                at: unsigned(at)?,
            }),
            _ => return Err(TablesError::Damaged("a token redeemed by half")),
        };
        Ok(Some(TokenRow {
            site,
            spiffe_id,
            attributes,
            lifetime: unsigned(lifetime)?,
            expires_at: unsigned(expires_at)?,
            redeemed,
        }))
    }

    /// Redeems a token for a key: true for one key only, whatever runs at the same time on any replica. The key may hear
    /// false although it was the one, if the first answer was lost: the row says which key it was.
    pub(crate) async fn redeem_token(
        &self,
        secret_hash: &[u8; 32],
        redeemed: &Redeemed,
    ) -> Result<bool, TablesError> {
        self.patiently(|| async {
            // INVARIANT (one identity per token)
            let done = sqlx::query(
                "UPDATE join_tokens SET csr_key_sha256 = $2, redeemed_at = $3 \
             WHERE secret_hash = $1 AND csr_key_sha256 IS NULL AND expires_at > $3 \
             AND EXISTS (SELECT 1 FROM sites WHERE name = join_tokens.site AND enabled = 1)",
            )
            .bind(secret_hash.as_slice())
            .bind(redeemed.csr_key_sha256.as_slice())
            .bind(signed(redeemed.at))
            .execute(self.database.pool())
            .await?;
            Ok(done.rows_affected() == 1)
        })
        .await
    }

    /// Removes tokens that expired before `before`, at most `at_most`, and says how many.
    pub(crate) async fn purge_tokens(&self, before: u64, at_most: u32) -> Result<u64, TablesError> {
        self.patiently(|| async {
            let done = sqlx::query(
                "DELETE FROM join_tokens WHERE secret_hash IN \
             (SELECT secret_hash FROM join_tokens WHERE expires_at < $1 LIMIT $2)",
            )
            .bind(signed(before))
            .bind(i64::from(at_most))
            .execute(self.database.pool())
            .await?;
            Ok(done.rows_affected())
        })
        .await
    }

    /// Tokens that can be redeemed now, of all sites.
    pub(crate) async fn live_tokens(&self, now: u64) -> Result<u64, TablesError> {
        let count: i64 = self
            .patiently(|| async {
                let sql = "SELECT COUNT(*) FROM join_tokens WHERE expires_at > $1 AND csr_key_sha256 IS NULL";
                Ok(sqlx::query_scalar(sql)
                    .bind(signed(now))
                    .fetch_one(self.database.pool())
                    .await?)
            })
            .await?;
        unsigned(count)
    }
}
