//! Evidence that counts once, and the instances of attested subjects.

use sqlx::AnyConnection;

use super::{
    Concerns, RevocationRow, Tables, TablesError, count_change, digest, revocations, signed,
    unsigned,
};

/// What an attestor found, and the document that is to be issued for it.
#[derive(Clone, Debug)]
pub(crate) struct AttestedUse {
    pub(crate) site: String,
    /// The attestor.
    pub(crate) kind: String,
    /// If the evidence counts once.
    pub(crate) single_use: Option<SingleUse>,
    /// If the attestor tells subjects apart.
    pub(crate) subject: Option<SubjectClaim>,
    /// Key of the signing request.
    pub(crate) csr_key_sha256: [u8; 32],
    /// The attribute `instance`, drawn by the caller: becomes that of a subject without one.
    pub(crate) new_instance: String,
    pub(crate) now: u64,
    /// How far documents begin in the past, seconds.
    pub(crate) backdate: u64,
    /// When the document will end.
    pub(crate) not_after: u64,
    /// How long the same key may show the same evidence again, seconds.
    pub(crate) repeat_seconds: u64,
    /// As many revoked instances the bundle holds at most.
    pub(crate) greatest_revocations: usize,
    /// As many of them one site may have: no voucher leaves the others without.
    pub(crate) greatest_revocations_of_site: usize,
}

/// Evidence that counts once.
#[derive(Clone, Debug)]
pub(crate) struct SingleUse {
    /// Hash of what makes it one of a kind within its site and attestor.
    pub(crate) id: [u8; 32],
    /// Until when it must be remembered.
    pub(crate) expires_at: u64,
}

/// Who an attestor says it is.
#[derive(Clone, Debug)]
pub(crate) struct SubjectClaim {
    /// Told apart within site and attestor.
    pub(crate) subject: String,
    pub(crate) spiffe_id: String,
    /// Higher ones replace what lower ones said; at most [`i64::MAX`].
    pub(crate) sequence: Option<u64>,
    /// Over SPIFFE ID and attributes, the instance left out.
    pub(crate) digest: [u8; 32],
}

/// What became of evidence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Attestation {
    /// Issue a document with exactly this instance and start.
    Admitted {
        instance: String,
        not_before: u64,
        /// The same key showed the same evidence before.
        repeat: bool,
        /// SPIFFE ID or attributes are others than before: documents that began earlier are refused by the bundle now.
        superseded: bool,
    },
    /// Used up: by another key, or too long ago to be an answer lost.
    Used {
        /// Two parties had it.
        by_other_key: bool,
    },
    /// A higher sequence was shown before.
    SequenceWentBack { latest: u64 },
    /// The same sequence was shown with another SPIFFE ID or other attributes.
    SequenceReused,
    /// Beyond what can be stored.
    SequenceTooGreat,
    /// The subject was shown with a sequence before, and now without.
    SequenceMissing,
    /// The subject's instance was revoked: it gets no further document.
    Revoked,
    /// So many changes in so short a time that the next document would begin in the future.
    TooManyChanges,
    /// The bundle can't hold another revocation, so the former documents could not be refused.
    RevocationsFull,
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Renewal {
    /// No subject of any attestor: nothing ever replaces its attributes, and the document begins as any other.
    NoSubject,
    /// Issue a document with exactly this start.
    Granted { not_before: u64 },
    /// SPIFFE ID or attributes have changed: what is shown is out of date.
    Superseded,
    /// It gets no further document.
    Revoked,
}

/// An attested subject as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct InstanceRow {
    pub(crate) instance: String,
    pub(crate) spiffe_id: String,
    pub(crate) sequence: Option<u64>,
    pub(crate) digest: [u8; 32],
    pub(crate) latest_not_before: u64,
    pub(crate) latest_not_after: u64,
    pub(crate) revoked: bool,
}

type Columns = (String, String, Option<i64>, Vec<u8>, i64, i64, Option<i64>);

const COLUMNS: &str = "SELECT instance, spiffe_id, sequence, digest, latest_not_before, latest_not_after, revoked_at \
                       FROM instances";

impl Tables {
    /// Uses evidence up and brings its subject up to date, in one transaction; nothing is written unless it is admitted.
    ///
    /// Whatever runs at the same time, on any replica: evidence that counts once is admitted for one key only; a
    /// sequence does not go back; and when SPIFFE ID or attributes change, the former documents are in the bundle's
    /// revocations and no further one with the former attributes begins after them.
    pub(crate) async fn admit_attested(
        &self,
        attested: &AttestedUse,
    ) -> Result<Attestation, TablesError> {
        self.patiently(|| async {
            let mut transaction = self.begin_rows().await?;
            let outcome = admit(&mut transaction, attested).await?;
            if matches!(outcome, Attestation::Admitted { .. }) {
                transaction.commit().await?;
            } else {
                transaction.rollback().await?;
            }
            Ok(outcome)
        })
        .await
    }

    /// Notes that a document with the same SPIFFE ID and attributes is issued again, before it is.
    ///
    /// `digest` is that of the document shown: one that was superseded, even in this moment, is not renewed.
    pub(crate) async fn renew_instance(
        &self,
        instance: &str,
        digest: &[u8; 32],
        now: u64,
        backdate: u64,
        not_after: u64,
    ) -> Result<Renewal, TablesError> {
        self.patiently(|| async {
            // Most documents come of join tokens and have no row: they cost one look.
            let Some(row) = self.instance_once(instance).await? else {
                return Ok(Renewal::NoSubject);
            };
            if row.revoked {
                return Ok(Renewal::Revoked);
            }
            // One statement: it finds the digest and the start of whatever change came last.
            let start: Option<i64> = sqlx::query_scalar(
                "UPDATE instances SET \
                 latest_not_before = CASE WHEN latest_not_before > $3 THEN latest_not_before ELSE $3 END, \
                 latest_not_after = CASE WHEN latest_not_after > $4 THEN latest_not_after ELSE $4 END \
                 WHERE instance = $1 AND digest = $2 AND revoked_at IS NULL RETURNING latest_not_before",
            )
            .bind(instance)
            .bind(digest.as_slice())
            .bind(signed(now.saturating_sub(backdate)))
            .bind(signed(not_after))
            .fetch_optional(self.database.pool())
            .await?;
            if let Some(start) = start {
                return Ok(Renewal::Granted {
                    not_before: unsigned(start)?,
                });
            }
            Ok(match self.instance_once(instance).await? {
                Some(row) if row.revoked => Renewal::Revoked,
                _ => Renewal::Superseded,
            })
        })
        .await
    }

    /// The subject that has this instance.
    #[cfg(test)]
    pub(crate) async fn instance(
        &self,
        instance: &str,
    ) -> Result<Option<InstanceRow>, TablesError> {
        self.patiently(|| self.instance_once(instance)).await
    }

    async fn instance_once(&self, instance: &str) -> Result<Option<InstanceRow>, TablesError> {
        let sql = format!("{COLUMNS} WHERE instance = $1");
        let row: Option<Columns> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(instance)
            .fetch_optional(self.database.pool())
            .await?;
        row.map(instance_row).transpose()
    }

    /// Removes evidence that need not be remembered and subjects whose last document ended before `ended_before`, at
    /// most `at_most` each, and says whether there may be more.
    pub(crate) async fn purge_attested(
        &self,
        now: u64,
        ended_before: u64,
        at_most: u32,
    ) -> Result<bool, TablesError> {
        self.patiently(|| async {
            let uses = sqlx::query(
                "DELETE FROM single_uses WHERE (site, kind, id) IN \
                 (SELECT site, kind, id FROM single_uses WHERE expires_at < $1 LIMIT $2)",
            )
            .bind(signed(now))
            .bind(i64::from(at_most))
            .execute(self.database.pool())
            .await?;
            // What was revoked stays: its subject gets no further document.
            let instances = sqlx::query(
                "DELETE FROM instances WHERE latest_not_after < $1 AND revoked_at IS NULL AND instance IN \
                 (SELECT instance FROM instances WHERE latest_not_after < $1 AND revoked_at IS NULL LIMIT $2)",
            )
            .bind(signed(ended_before))
            .bind(i64::from(at_most))
            .execute(self.database.pool())
            .await?;
            let most = u64::from(at_most);
            Ok(uses.rows_affected() == most || instances.rows_affected() == most)
        })
        .await
    }
}

async fn admit(
    connection: &mut AnyConnection,
    attested: &AttestedUse,
) -> Result<Attestation, TablesError> {
    let mut known_instance = None;
    if let Some(single_use) = &attested.single_use {
        match use_up(connection, attested, single_use).await? {
            Use::First => {}
            Use::Again(instance) => known_instance = Some(instance),
            Use::Refused { by_other_key } => return Ok(Attestation::Used { by_other_key }),
        }
    }
    let repeat = known_instance.is_some();
    let Some(claim) = &attested.subject else {
        return Ok(Attestation::Admitted {
            instance: known_instance.unwrap_or_else(|| attested.new_instance.clone()),
            not_before: attested.now.saturating_sub(attested.backdate),
            repeat,
            superseded: false,
        });
    };
    let outcome = claim_subject(connection, attested, claim, repeat).await?;
    if let (Some(single_use), Attestation::Admitted { instance, .. }) =
        (&attested.single_use, &outcome)
        && !repeat
    {
        sqlx::query(
            "UPDATE single_uses SET instance = $1 WHERE site = $2 AND kind = $3 AND id = $4",
        )
        .bind(instance)
        .bind(&attested.site)
        .bind(&attested.kind)
        .bind(single_use.id.as_slice())
        .execute(connection)
        .await?;
    }
    Ok(outcome)
}

enum Use {
    First,
    /// By the same key, a moment ago; its instance.
    Again(String),
    Refused {
        by_other_key: bool,
    },
}

async fn use_up(
    connection: &mut AnyConnection,
    attested: &AttestedUse,
    single_use: &SingleUse,
) -> Result<Use, TablesError> {
    // INVARIANT (one identity per evidence): a concurrent insertion waits here for the end of the first one.
    let done = sqlx::query(
        "INSERT INTO single_uses (site, kind, id, csr_key_sha256, instance, used_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    )
    .bind(&attested.site)
    .bind(&attested.kind)
    .bind(single_use.id.as_slice())
    .bind(attested.csr_key_sha256.as_slice())
    .bind(&attested.new_instance)
    .bind(signed(attested.now))
    .bind(signed(single_use.expires_at))
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(Use::First);
    }
    let row: Option<(Vec<u8>, String, i64)> = sqlx::query_as(
        "SELECT csr_key_sha256, instance, used_at FROM single_uses WHERE site = $1 AND kind = $2 AND id = $3",
    )
    .bind(&attested.site)
    .bind(&attested.kind)
    .bind(single_use.id.as_slice())
    .fetch_optional(connection)
    .await?;
    let Some((key, instance, used_at)) = row else {
        // Removed in this moment, since it need not be remembered: then it is out of date as well.
        return Ok(Use::Refused {
            by_other_key: false,
        });
    };
    if digest(key)? != attested.csr_key_sha256 {
        return Ok(Use::Refused { by_other_key: true });
    }
    let until = unsigned(used_at)?.saturating_add(attested.repeat_seconds);
    Ok(if attested.now <= until {
        Use::Again(instance)
    } else {
        Use::Refused {
            by_other_key: false,
        }
    })
}

async fn claim_subject(
    connection: &mut AnyConnection,
    attested: &AttestedUse,
    claim: &SubjectClaim,
    repeat: bool,
) -> Result<Attestation, TablesError> {
    if claim
        .sequence
        .is_some_and(|sequence| i64::try_from(sequence).is_err())
    {
        return Ok(Attestation::SequenceTooGreat);
    }
    let earliest = attested.now.saturating_sub(attested.backdate);
    let admitted = |instance: &str, not_before: u64, superseded: bool| Attestation::Admitted {
        instance: instance.to_owned(),
        not_before,
        repeat,
        superseded,
    };
    let inserted = sqlx::query(
        "INSERT INTO instances (site, kind, subject, instance, spiffe_id, sequence, digest, latest_not_before, \
         latest_not_after, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT (site, kind, subject) DO NOTHING",
    )
    .bind(&attested.site)
    .bind(&attested.kind)
    .bind(&claim.subject)
    .bind(&attested.new_instance)
    .bind(&claim.spiffe_id)
    .bind(claim.sequence.map(signed))
    .bind(claim.digest.as_slice())
    .bind(signed(earliest))
    .bind(signed(attested.not_after))
    .bind(signed(attested.now))
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(admitted(&attested.new_instance, earliest, false));
    }
    let Some(row) = lock(connection, attested, claim).await? else {
        // Removed in this moment, since its documents had ended: asked again, it is a new one.
        return Err(TablesError::Interfered);
    };
    if row.revoked {
        return Ok(Attestation::Revoked);
    }
    let same = row.digest == claim.digest;
    match (claim.sequence, row.sequence) {
        (None, Some(_)) => return Ok(Attestation::SequenceMissing),
        (Some(shown), Some(latest)) if shown < latest => {
            return Ok(Attestation::SequenceWentBack { latest });
        }
        (Some(shown), Some(latest)) if shown == latest && !same => {
            return Ok(Attestation::SequenceReused);
        }
        _ => {}
    }
    // What begins at the start of the latest one is refused by no entry of this subject; what supersedes begins after it.
    let not_before = earliest.max(if same {
        row.latest_not_before
    } else {
        row.latest_not_before.saturating_add(1)
    });
    if not_before > attested.now {
        return Ok(Attestation::TooManyChanges);
    }
    sqlx::query(
        "UPDATE instances SET spiffe_id = $1, sequence = $2, digest = $3, latest_not_before = $4, latest_not_after = $5 \
         WHERE instance = $6",
    )
    .bind(&claim.spiffe_id)
    .bind(claim.sequence.map(signed))
    .bind(claim.digest.as_slice())
    .bind(signed(not_before))
    .bind(signed(row.latest_not_after.max(attested.not_after)))
    .bind(&row.instance)
    .execute(&mut *connection)
    .await?;
    // Verifiers whose clocks are behind take documents for that much longer.
    let superseded =
        !same && row.latest_not_after.saturating_add(attested.backdate) >= attested.now;
    if superseded {
        count_change(connection, Concerns::Bundle, attested.now).await?;
        let entry = RevocationRow {
            instance: row.instance.clone(),
            site: attested.site.clone(),
            spiffe_id: Some(row.spiffe_id),
            refused_before: Some(not_before),
            ends_at: row.latest_not_after,
            reason: SUPERSEDED.to_owned(),
        };
        let now = attested.now;
        let of_site: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM revoked_instances WHERE site = $1 AND instance <> $2",
        )
        .bind(&entry.site)
        .bind(&entry.instance)
        .fetch_one(&mut *connection)
        .await?;
        let full = unsigned(of_site)? >= attested.greatest_revocations_of_site as u64;
        if full || !revocations::put(connection, &entry, attested.greatest_revocations, now).await?
        {
            return Ok(Attestation::RevocationsFull);
        }
    }
    Ok(admitted(&row.instance, not_before, superseded))
}

/// The row of a subject, which nobody else writes until the transaction ends.
async fn lock(
    connection: &mut AnyConnection,
    attested: &AttestedUse,
    claim: &SubjectClaim,
) -> Result<Option<InstanceRow>, TablesError> {
    // SQLite has no `FOR UPDATE`; a row written to what it is serves on both.
    sqlx::query(
        "UPDATE instances SET digest = digest WHERE site = $1 AND kind = $2 AND subject = $3",
    )
    .bind(&attested.site)
    .bind(&attested.kind)
    .bind(&claim.subject)
    .execute(&mut *connection)
    .await?;
    let sql = format!("{COLUMNS} WHERE site = $1 AND kind = $2 AND subject = $3");
    let row: Option<Columns> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(&attested.site)
        .bind(&attested.kind)
        .bind(&claim.subject)
        .fetch_optional(connection)
        .await?;
    row.map(instance_row).transpose()
}

fn instance_row(columns: Columns) -> Result<InstanceRow, TablesError> {
    let (instance, spiffe_id, sequence, sum, latest_not_before, latest_not_after, revoked) =
        columns;
    Ok(InstanceRow {
        instance,
        spiffe_id,
        sequence: sequence.map(unsigned).transpose()?,
        digest: digest(sum)?,
        latest_not_before: unsigned(latest_not_before)?,
        latest_not_after: unsigned(latest_not_after)?,
        revoked: revoked.is_some(),
    })
}

/// Why an entry is in the bundle that no person put there.
const SUPERSEDED: &str = "attributes changed";
