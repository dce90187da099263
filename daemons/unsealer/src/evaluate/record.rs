//! What the audit log says of evaluate requests.

use blindfold_core::{CheckedRequest, KeyId, PolicyRef, Refusal, Window};
use identity::policy::Policy;
use service::audit::AuditContext;
use service::authorize::{Denied, Grant, Outcome, Refused};

use super::{Asked, Facets, OPEN, Refusing};
use crate::compiled::Compiled;
use crate::snapshot::Key;

impl Asked<'_> {
    /// Records a refusal made before a grant.
    pub(super) async fn refuse(&self, refusal: Refusal, why: &str, facets: Facets) -> Refusing {
        let refused = Refused {
            principal: Some(self.principal),
            action: OPEN,
            resource: &facets.resource,
            code: refusal.name(),
            why,
            context: facets.context,
        };
        match self.engine.authorizer().refuse(refused, self.now).await {
            Ok(()) => Refusing {
                refusal,
                retry_after: 0,
            },
            // An answer without a record would be a fact that nobody can look up.
            Err(_) => Refusing {
                refusal: Refusal::Internal,
                retry_after: 0,
            },
        }
    }

    /// Records a denial that is known already as the decision of `policies`.
    pub(super) async fn denied_by(
        &self,
        policies: &[(&str, &Policy)],
        facets: &Facets,
    ) -> Refusing {
        let context = facets.context.clone();
        let authorizer = self.engine.authorizer();
        let decided = authorizer.authorize(
            self.principal,
            OPEN,
            &facets.resource,
            policies,
            context,
            self.now,
        );
        match decided.await {
            // Deciding twice at one time gives one result; should it not, nothing is done.
            Ok(grant) => {
                let refusing = Refusing {
                    refusal: Refusal::Denied,
                    retry_after: 0,
                };
                self.give_up(grant, refusing, "decided differently a moment ago")
                    .await
            }
            Err(denied) => refusing(denied),
        }
    }

    /// Uses a grant up without doing what it grants.
    pub(super) async fn give_up(&self, grant: Grant, refusing: Refusing, why: &str) -> Refusing {
        let outcome = Outcome::failure(refusing.refusal.name()).because(why);
        match grant.finish(outcome).await {
            Ok(()) => refusing,
            Err(_) => Refusing {
                refusal: Refusal::Internal,
                retry_after: 0,
            },
        }
    }
}

/// What a caller gets who has no grant.
pub(super) fn refusing(denied: Denied) -> Refusing {
    let refusal = match denied {
        Denied::ByPolicy => Refusal::Denied,
        Denied::AuditUnavailable => Refusal::Internal,
    };
    Refusing {
        refusal,
        retry_after: 0,
    }
}

/// Which request it is, for the audit log.
pub(super) fn identify(request_id: [u8; 16], key_id: KeyId, count: usize) -> AuditContext {
    AuditContext::new()
        .with_hex("request_id", &request_id)
        .with("key_id", key_id.to_string())
        .with("count", count)
}

/// The context that the decision on this evaluation must have been made with.
pub(super) fn evaluated(key: &Key, request: &CheckedRequest, policy: &Compiled) -> AuditContext {
    let context = identify(request.request_id(), request.key_id(), request.count())
        .with("tenant", key.record.tenant());
    let context = describe(context, request.policy(), request.window());
    match request.policy() {
        PolicyRef::Name(_) => context.with_hex("digest", policy.digest()),
        PolicyRef::Inline(_) | PolicyRef::Digest(_) => context,
    }
}

/// Policy and window for the audit log: a name, or a digest.
pub(super) fn describe(context: AuditContext, policy: &PolicyRef, window: Window) -> AuditContext {
    let context = context
        .with("not_before_day", window.not_before_day())
        .with("not_after_day", window.not_after_day());
    match policy {
        PolicyRef::Inline(document) => context
            .with("mode", "inline")
            .with_hex("policy", document.digest()),
        PolicyRef::Name(name) => context.with("mode", "name").with("policy", name.as_str()),
        PolicyRef::Digest(digest) => context.with("mode", "digest").with_hex("policy", digest),
    }
}
