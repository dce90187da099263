//! Grants for callers that have no identity document yet.

use std::time::SystemTime;

use identity::policy::{Facts, Policy, Query};

use super::{Authorizer, Denied, Grant};
use crate::{audit::AuditContext, clock};

impl Authorizer {
    /// As [`Authorizer::authorize`], for facts that something else than an identity document attests: a join token, or
    /// the operator of the host.
    ///
    /// Whoever calls this vouches for `facts`. The record's `principal` is `null`, so `context` has to say whose facts
    /// they are and what attests them.
    ///
    /// # Errors
    ///
    /// - [`Denied::ByPolicy`]: also when `policies` is empty.
    /// - [`Denied::AuditUnavailable`]: the decision could not be recorded.
    pub async fn authorize_attested(
        &self,
        facts: Facts<'_>,
        action: &str,
        resource: &str,
        policies: &[(&str, &Policy)],
        context: AuditContext,
        now: SystemTime,
    ) -> Result<Grant, Denied> {
        let query = Query {
            facts,
            action,
            resource,
            now: clock::unix_seconds(now),
        };
        self.decide(None, &query, policies, context, now).await
    }
}

#[cfg(test)]
mod tests {
    use identity::{Attributes, SpiffeId};

    use super::*;
    use crate::{audit::AuditLog, authorize::Outcome, metrics::Metrics};

    #[tokio::test]
    async fn policies_decide_and_the_record_has_no_principal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let metrics = Metrics::new("test");
        let audit = AuditLog::open(&path, "test", &metrics).unwrap();
        let authorizer = Authorizer::new(audit.clone(), metrics);
        let policy = Policy::from_yaml(
            "{v: 1, rules: [{effect: allow, actions: join, principal: {spiffe_id: 'spiffe://acme.example/paris/**'}}]}",
        )
        .unwrap();
        let ask = async |id: &str, policies: &[(&str, &Policy)]| {
            let (spiffe_id, attributes) = (SpiffeId::parse(id).unwrap(), Attributes::new());
            let facts = Facts {
                spiffe_id: &spiffe_id,
                attributes: &attributes,
            };
            let context = AuditContext::new().with("spiffe_id", id);
            authorizer
                .authorize_attested(facts, "join", "site/paris", policies, context, clock::now())
                .await
        };
        let granted = ask("spiffe://acme.example/paris/a", &[("site", &policy)])
            .await
            .unwrap();
        granted.finish(Outcome::success()).await.unwrap();
        let denied = ask("spiffe://acme.example/rome/a", &[("site", &policy)])
            .await
            .unwrap_err();
        assert_eq!(denied, Denied::ByPolicy);
        assert_eq!(
            ask("spiffe://acme.example/paris/a", &[]).await.unwrap_err(),
            Denied::ByPolicy
        );
        audit.close().await;

        let log = std::fs::read_to_string(&path).unwrap();
        let records: Vec<serde_json::Value> = log
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .filter(|record: &serde_json::Value| record["kind"] != "checkpoint")
            .collect();
        assert_eq!(records.len(), 4, "{log}");
        for record in &records {
            assert!(
                record["principal"].is_null() && record.get("principal").is_some(),
                "{record}"
            );
        }
        assert_eq!(records[0]["decision"], "allow");
        assert_eq!(
            records[0]["context"]["spiffe_id"],
            "spiffe://acme.example/paris/a"
        );
        assert_eq!(records[1]["outcome"], "success");
        assert_eq!(records[1]["id"], records[0]["id"]);
        assert_eq!(records[2]["decision"], "deny");
        assert_eq!(records[3]["decision"], "deny");
    }
}
