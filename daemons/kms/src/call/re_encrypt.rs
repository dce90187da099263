//! Re-encryption: two keys, two decisions, two records for each item.

use std::{sync::Arc, time::Instant};

use kms_client::{
    Operation,
    wire::{self, Response},
};

use super::{Call, Results, check_count, count, give_up, is_heavy, names_key, outcomes, parse};
use crate::{
    backend::at_once,
    operations::{Done, context_sha256, open_each, re_encrypt_each, seal_each},
    refusal::Refusal,
    snapshot::Key,
};

impl Call<'_> {
    /// Re-encryption: both keys must allow it.
    pub(crate) async fn re_encrypt(
        &self,
        (tenant, key): (&str, &str),
        body: &[u8],
    ) -> Result<Response<wire::Encrypted>, Refusal> {
        let operation = Operation::ReEncryptFrom;
        let snapshot = self.enter(operation, tenant, key).await?;
        let source = self.allow(&snapshot, operation, tenant, key).await?;
        let parsed = async {
            let request: wire::ReEncryptRequest = parse(body)?;
            check_count(request.items.len())?;
            source.key.check(operation)?;
            if request.to.as_deref().is_some_and(|to| !names_key(to)) {
                return Err(Refusal::bad_request(
                    "`to` is no name or identifier of a key",
                ));
            }
            Ok(request)
        };
        let request = match parsed.await {
            Ok(request) => request,
            Err(refusal) => return Err(self.refuse_on(operation, &source.key, refusal).await),
        };
        let to = request.to.as_deref().unwrap_or(key);
        let onward = Operation::ReEncryptTo;
        let destination = self.allow(&snapshot, onward, tenant, to).await?;
        if let Err(refusal) = destination
            .key
            .check(onward)
            .and_then(|()| self.charge(request.items.len()))
        {
            return Err(self.refuse_on(onward, &destination.key, refusal).await);
        }
        let items = request.items;
        let hashes: Vec<_> = items
            .iter()
            .map(|item| context_sha256(item.aad.as_ref().map(AsRef::as_ref)))
            .collect();
        let new_hashes: Vec<_> = items
            .iter()
            .map(|item| item.new_aad.as_ref().or(item.aad.as_ref()))
            .map(|aad| context_sha256(aad.map(AsRef::as_ref)))
            .collect();
        let (from_permit, to_permit) = self
            .engine
            .authorizer()
            .permit_two(
                &source.ruling,
                &destination.ruling,
                count(items.len()),
                self.now,
            )
            .await?;
        if let Err(refusal) = self.spend(onward, &destination.key, items.len()).await {
            let refusal = give_up(from_permit, &hashes, refusal).await;
            return Err(give_up(to_permit, &new_hashes, refusal).await);
        }
        let began = Instant::now();
        let results = self
            .re_encrypt_all(items, &source.key, &destination.key)
            .await;
        self.engine.metrics().took(operation, began.elapsed());
        let results = match results {
            Ok(results) => results,
            Err(refusal) => {
                let refusal = give_up(from_permit, &hashes, refusal).await;
                return Err(give_up(to_permit, &new_hashes, refusal).await);
            }
        };
        let from: Results<()> = results
            .iter()
            .map(|result| match result {
                Ok((_, from)) => Ok(Done {
                    answer: (),
                    version: Some(*from),
                }),
                Err(refusal) => Err(refusal.clone()),
            })
            .collect();
        let outcomes = outcomes(&from, &hashes);
        let recorded = from_permit.begin_to_finish(&outcomes);
        let to: Results<wire::Encrypted> = results
            .into_iter()
            .map(|result| result.map(|(done, _)| done))
            .collect();
        let response = self.conclude(to_permit, operation, to, &new_hashes).await;
        recorded.await?;
        response
    }

    async fn re_encrypt_all(
        &self,
        items: Vec<wire::ReEncrypt>,
        source: &Arc<Key>,
        destination: &Arc<Key>,
    ) -> Result<Vec<Result<(Done<wire::Encrypted>, u32), Refusal>>, Refusal> {
        let (from, to) = (Arc::clone(source), Arc::clone(destination));
        let count = items.len();
        let opens = is_heavy(Operation::Decrypt, from.algorithm, count);
        let seals = is_heavy(Operation::Encrypt, to.algorithm, count);
        if !source.is_hsm() && !destination.is_hsm() {
            let all = async move { re_encrypt_each(&items, &from, &to).await };
            if opens || seals {
                return self.work(count, move || at_once(all)).await;
            }
            return Ok(all.await);
        }
        let _seat = self.token_seat(count)?;
        // One half waits for the HSM. The other one, where it is heavy, must not hold up the connections of this thread,
        // nor may a thread for heavy work wait for the HSM.
        let items = Arc::new(items);
        let first = Arc::clone(&items);
        let all = async move { open_each(&first, &from).await };
        let opened = if opens && !source.is_hsm() {
            self.work(count, move || at_once(all)).await?
        } else {
            all.await
        };
        let all = async move { seal_each(&items, opened, &to).await };
        if seals && !destination.is_hsm() {
            return self.work(count, move || at_once(all)).await;
        }
        Ok(all.await)
    }
}
