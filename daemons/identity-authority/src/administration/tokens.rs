//! Join tokens: making them under their site's rules.

use identity::attributes::INSTANCE;
use identity::join::{JoinSecret, JoinToken, JoinTokenRecord};
use identity::wire::{CreateTokenRequest, CreateTokenResponse, ErrorCode};
use service::audit::AuditContext;

use super::{Administration, CREATE_TOKEN, Caller};
use crate::call::{Call, Recorded};
use crate::facts::{with_json_sha256, with_spiffe_id};
use crate::limits;
use crate::random;
use crate::refusal::Refusal;
use crate::tables::{NewToken, TokenBounds, TokenInsertion};

impl Administration {
    /// Makes a join token under its site's rules.
    pub(crate) async fn create_token(
        &self,
        caller: Caller<'_>,
        request: CreateTokenRequest,
    ) -> Result<CreateTokenResponse, Recorded> {
        let context = with_spiffe_id(AuditContext::new(), request.spiffe_id.as_str());
        let mut context = with_json_sha256(context, "attributes_sha256", &request.attributes)
            .with(
                "attributes",
                serde_json::to_string(&request.attributes).unwrap_or_default(),
            )
            .with("lifetime_seconds", request.lifetime_seconds);
        if let Some(seconds) = request.document_lifetime_seconds {
            context = context.with("document_lifetime_seconds", seconds);
        }
        let call = Call::new(
            CREATE_TOKEN,
            format!("token{}", request.spiffe_id.path()),
            context,
        );
        if request.spiffe_id.trust_domain() != self.registry.trust_domain() {
            let message = format!(
                "the SPIFFE ID is not of trust domain {}",
                self.registry.trust_domain()
            );
            return Err(self
                .refuse(caller, &call, Refusal::bad_request("TRUST_DOMAIN", message))
                .await);
        }
        self.perform(caller, call, async |now| {
            self.make_token(request, now).await
        })
        .await
    }

    async fn make_token(
        &self,
        request: CreateTokenRequest,
        now: u64,
    ) -> Result<(CreateTokenResponse, AuditContext), Refusal> {
        let url = self.url.as_deref().ok_or_else(|| {
            Refusal::bad_request(
                "NO_URL",
                "the configuration has no url for join tokens: set url = \"https://<host>:<port>\"",
            )
        })?;
        let snapshot = self.registry.snapshot();
        let site = snapshot.site_of(&request.spiffe_id).ok_or_else(|| {
            Refusal::bad_request(
                "SITE_UNKNOWN",
                "no site of that name is registered: create it first",
            )
            .with_code(ErrorCode::NotFound)
        })?;
        if !site.enabled {
            return Err(Refusal::bad_request(
                "SITE_DISABLED",
                format!("site {} is disabled", site.name),
            )
            .with_code(ErrorCode::Conflict));
        }
        let (spiffe_id, attributes) = (&request.spiffe_id, &request.attributes);
        // Whoever chose it could choose another workload's.
        if attributes.contains_key(INSTANCE) {
            return Err(Refusal::bad_request(
                "INSTANCE_GIVEN",
                "attributes: leave out 'instance', which the authority draws itself",
            ));
        }
        site.rules
            .permit(spiffe_id, attributes)
            .map_err(|violation| Refusal::bad_request("OUTSIDE_RULES", violation.to_string()))?;
        let greatest = self.tokens.greatest_lifetime.as_secs();
        if !(1..=greatest).contains(&request.lifetime_seconds) {
            let message = format!("lifetime_seconds must be from 1 to {greatest}");
            return Err(Refusal::bad_request("TOKEN_LIFETIME", message));
        }
        let rng = &mut random::system();
        let secret = JoinSecret::generate(rng);
        let record = JoinTokenRecord::new(
            &secret,
            spiffe_id.clone(),
            attributes.clone(),
            now,
            request.lifetime_seconds,
            rng,
        )
        .map_err(|error| Refusal::bad_request("TOKEN", error.to_string()))?;
        let lifetime = site
            .rules
            .lifetime(request.document_lifetime_seconds)
            .min(self.greatest_lifetime);
        let row = NewToken {
            secret_hash: *record.secret_hash.as_bytes(),
            site: site.name.to_string(),
            spiffe_id: record.spiffe_id.to_string(),
            attributes: record.attributes.to_der(),
            lifetime,
            created_at: now,
            expires_at: record.expires_at,
        };
        let live = self.tokens.live_per_site;
        let bounds = TokenBounds {
            live,
            rows: live.saturating_mul(limits::TOKEN_ROWS_PER_LIVE),
        };
        if self.registry.tables().insert_token(&row, bounds).await? == TokenInsertion::Refused {
            let message = format!(
                "site {} has {live} unused join tokens already: let some be used or expire",
                site.name
            );
            return Err(
                Refusal::bad_request("TOO_MANY_TOKENS", message).with_code(ErrorCode::Conflict)
            );
        }
        let fingerprint = snapshot.bundle.fingerprint();
        let token = JoinToken::new(url, self.authority_id.clone(), fingerprint, secret)
            .map_err(|error| Refusal::internal("TOKEN", error.to_string()))?;
        let context = AuditContext::new()
            .with_hex("token_sha256", &row.secret_hash)
            .with("expires_at", row.expires_at)
            .with("document_lifetime_seconds", lifetime);
        Ok((
            CreateTokenResponse {
                token,
                expires_at: row.expires_at,
            },
            context,
        ))
    }
}
