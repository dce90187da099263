//! Handing a key out: of low sensitivity only, to whom the policies allow it, for a while.
//!
//! The key travels inside mTLS and, inside that, sealed by HPKE to the ephemeral key of this very request, so that
//! whatever terminates or records TLS on the way has no key. It is handed with what the policies let this principal do,
//! and until when; whoever may only read gets no more uses than reading needs, whoever may only write gets the primary
//! version alone, and whoever may do nothing that needs the secret gets none.

use identity::policy::{Facts, Table};
use kms_client::{
    Operation, Sensitivity, State,
    algorithm::Family,
    hpke,
    wire::{self, ErrorCode, FETCH_INFO, Fetched, Lease, LeasedOperation, LeasedVersion},
};
use service::{audit::ItemOutcome, clock};

use crate::{
    call::{Allowed, Call, give_up, parse},
    limits::{FETCH_ITEMS, LEASE_REFRESH_PARTS},
    refusal::Refusal,
    wiped,
};

/// Operations that a holder of the key does by itself, the greatest number a table takes.
const OPERATIONS: [Operation; 11] = [
    Operation::Encrypt,
    Operation::Decrypt,
    Operation::Hmac,
    Operation::HmacVerify,
    Operation::Sign,
    Operation::Verify,
    Operation::GenerateDataKey,
    Operation::GenerateDataKeyWithoutPlaintext,
    Operation::ReEncryptFrom,
    Operation::ReEncryptTo,
    Operation::PublicKey,
];

impl Call<'_> {
    /// Hands the key out.
    pub(crate) async fn fetch_key(
        &self,
        (tenant, key): (&str, &str),
        body: &[u8],
    ) -> Result<Fetched, Refusal> {
        let operation = Operation::FetchKey;
        let snapshot = self.enter(operation, tenant, key).await?;
        let allowed = self.allow(&snapshot, operation, tenant, key).await?;
        let parsed = parse::<wire::FetchKey>(body).and_then(|request| {
            if request.recipient.as_ref().len() != hpke::PUBLIC_KEY_BYTES {
                return Err(Refusal::bad_request("`recipient` has 32 bytes"));
            }
            if allowed.key.record.sensitivity != Sensitivity::Low {
                return Err(Refusal::new(
                    ErrorCode::StaysInService,
                    "the key stays in the service: ask it for each operation",
                ));
            }
            self.charge(FETCH_ITEMS)?;
            Ok((request, self.leased_operations(&allowed)?))
        });
        let (request, operations) = match parsed {
            Ok(parsed) => parsed,
            Err(refusal) => return Err(self.refuse_on(operation, &allowed.key, refusal).await),
        };
        let permit = self.permit(&allowed, 1).await?;
        match self.hand_out(&allowed, operations, request).await {
            Ok(fetched) => {
                self.engine.metrics().items(operation, 1, 0);
                let outcome = match allowed.key.ring.primary() {
                    Some(primary) => ItemOutcome::success().with_version(primary),
                    None => ItemOutcome::success(),
                };
                Ok(permit.release(&[outcome], fetched).await?)
            }
            Err(refusal) => Err(give_up(permit, &[None], refusal).await),
        }
    }

    /// What the policies let this principal do with the key, and until when; something that needs the secret.
    fn leased_operations(
        &self,
        allowed: &Allowed,
    ) -> Result<Vec<(Operation, LeasedOperation)>, Refusal> {
        let key = &allowed.key;
        let (Some(admission), Some(policy)) = (&allowed.tenant.admission, &key.policy) else {
            return Err(Refusal::denied());
        };
        let now = clock::unix_seconds(self.now);
        let names = OPERATIONS.map(Operation::name);
        let facts = || Facts::from(&**self.principal);
        let tables: [Table; 2] =
            [admission, policy].map(|policy| policy.table(facts(), &key.resource, &names, now));
        let [admission, policy] = &tables;
        let operations: Vec<_> = OPERATIONS
            .iter()
            .enumerate()
            .filter(|(_, operation)| operation.fits(key.algorithm))
            .filter(|(place, _)| tables.iter().all(|table| table.allows(*place, now)))
            .map(|(_, operation)| {
                let leased = LeasedOperation {
                    operation: operation.name().to_owned(),
                    not_before: admission.not_before().max(policy.not_before()),
                    not_after: admission.not_after().min(policy.not_after()),
                };
                (*operation, leased)
            })
            .collect();
        let family = key.algorithm.family();
        if operations
            .iter()
            .any(|(operation, _)| needs_secret(family, *operation))
        {
            return Ok(operations);
        }
        Err(Refusal::new(
            ErrorCode::StaysInService,
            "nothing that you may do needs the secret key: ask the service for each operation",
        ))
    }

    async fn hand_out(
        &self,
        allowed: &Allowed,
        operations: Vec<(Operation, LeasedOperation)>,
        request: wire::FetchKey,
    ) -> Result<Fetched, Refusal> {
        let key = &allowed.key;
        let protects = operations.iter().any(|(operation, _)| operation.protects());
        let reads = operations
            .iter()
            .any(|(operation, _)| !operation.protects());
        let terms = key.record.settings.lease;
        let primary = key.ring.primary();
        let uses = match key.ring.protecting(Operation::FetchKey) {
            Ok(version) if protects => {
                self.engine.spend(version, terms.uses, self.now).await?;
                terms.uses
            }
            _ => 0,
        };
        let mut versions = Vec::new();
        for (version, state) in key.ring.versions() {
            let wanted = match state {
                State::Enabled | State::DecryptOnly => reads || Some(version) == primary,
                State::Disabled | State::PendingDestruction | State::Destroyed => false,
            };
            if wanted {
                let mut material = self.engine.material(key, version)?;
                versions.push(LeasedVersion {
                    version,
                    state,
                    material: std::mem::take(&mut *material).into(),
                });
            }
        }
        let now = clock::unix_seconds(self.now);
        let expires_at = now.saturating_add(terms.seconds);
        let lease = Lease {
            key_id: key.id,
            name: key.record.name.clone(),
            algorithm: key.algorithm,
            primary: primary.unwrap_or(0),
            versions,
            operations: operations.into_iter().map(|(_, leased)| leased).collect(),
            revision: key.record.revision,
            issued_at: now,
            refresh_at: now.saturating_add(terms.seconds / LEASE_REFRESH_PARTS),
            expires_at,
            outage_until: now.saturating_add(terms.outage_seconds).max(expires_at),
            uses,
        };
        let plain =
            wiped::to_json(&lease).map_err(|_| Refusal::internal("the lease can't be written"))?;
        let aad = wire::fetch_aad(&key.record.tenant, key.id);
        let (encapsulated, sealed) = hpke::seal(
            request.recipient.as_ref(),
            FETCH_INFO,
            aad.as_bytes(),
            &plain,
        )
        .map_err(|_| Refusal::bad_request("`recipient` is no good X25519 public key"))?;
        Ok(Fetched {
            key_id: key.id,
            encapsulated: encapsulated.into(),
            sealed: sealed.into(),
        })
    }
}

/// Whether an operation can't be done with the public key alone.
const fn needs_secret(family: Family, operation: Operation) -> bool {
    match family {
        Family::Aead | Family::Mac => true,
        Family::PublicKeyEncryption => {
            matches!(operation, Operation::Decrypt | Operation::ReEncryptFrom)
        }
        Family::Signature => matches!(operation, Operation::Sign),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_operations_need_no_secret() {
        for operation in OPERATIONS {
            assert!(needs_secret(Family::Aead, operation));
        }
        assert!(!needs_secret(Family::Signature, Operation::Verify));
        assert!(needs_secret(Family::Signature, Operation::Sign));
        assert!(!needs_secret(
            Family::PublicKeyEncryption,
            Operation::Encrypt
        ));
        assert!(needs_secret(
            Family::PublicKeyEncryption,
            Operation::Decrypt
        ));
    }
}
