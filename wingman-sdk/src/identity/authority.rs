//! What is said to the identity authority, and what is believed of its answers.

use std::{sync::Arc, time::Duration};

use ::identity::{
    BundleFingerprint, DocumentKey, IdentityDocument, SpiffeId, TrustBundle,
    join::JoinToken,
    tls::{Alpn, ServerExpectation, TlsIdentity, bootstrap},
    verify::{Usage, VerifyError, verify_peer},
    wire,
};
use tracing::debug;

use super::{
    AuthorityContact, IdentityError, clock::Clocks, freshness::Confirmed, shared::Obtained, time,
};
use crate::{
    http::{Backoff, Conditional, Deadline, Exchange, HttpClient, HttpError, JSON},
    limits,
};

/// How long somebody waits for a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Patience {
    /// One attempt: the background thread has a schedule of its own.
    Once,
    /// Some attempts, for whoever waits for the answer.
    Several,
}

/// Makes one attempt, or some of them with pauses while they may pass.
pub(super) fn attempts<T>(
    patience: Patience,
    mut attempt: impl FnMut() -> Result<T, IdentityError>,
) -> Result<T, IdentityError> {
    if patience == Patience::Once {
        return attempt();
    }
    let deadline = Deadline::after(limits::ATTEMPT_TIMEOUT * limits::JOIN_ATTEMPTS);
    let mut backoff = Backoff::new(limits::BACKOFF_FIRST, limits::BACKOFF_LONGEST);
    let mut asked = 1;
    loop {
        let error = match attempt() {
            Err(error) if error.may_pass() => error,
            other => return other,
        };
        // Missing evidence is looked for locally, which costs nobody anything.
        let pause = if matches!(error, IdentityError::Evidence(_)) {
            limits::EVIDENCE_POLL
        } else if asked < limits::JOIN_ATTEMPTS {
            asked += 1;
            let told = error.retry_after().unwrap_or_default();
            backoff.pause() + told.min(limits::LONGEST_RETRY_AFTER)
        } else {
            return Err(error);
        };
        if !deadline.sleep(pause) {
            return Err(error);
        }
        debug!(%error, "no document yet, trying again");
    }
}

/// Redeems a join token for a document of `key`.
///
/// The bundle comes first, over a connection that proves nothing, and must hash to what the token pins. The token's
/// secret travels only on a second connection, whose server proved the authority's SPIFFE ID under that bundle.
/// A lost answer is asked for again with the same key, which the authority allows for a minute.
pub(super) fn join(
    token: &JoinToken,
    key: &DocumentKey,
    clocks: &Clocks,
) -> Result<Obtained, IdentityError> {
    let url = token.authority_url();
    let wrong = |why: String| IdentityError::WrongAuthority {
        url: url.to_owned(),
        why,
    };
    let asked = Confirmed::now(clocks);
    let pinned = pinned_bundle(url, token.bundle_fingerprint(), clocks)?;
    bearable(clocks)?;
    let client = stranger(url, token.authority_id(), &pinned, clocks)?;
    let request = wire::JoinRequest::new(token, csr(key)?).expose_json();
    let answer = client
        .json(
            wire::JOIN_PATH,
            Some(&request),
            limits::MAX_IDENTITY_ANSWER_BYTES,
        )
        .map_err(|error| match error {
            HttpError::WrongServer { detail, .. } => wrong(detail),
            HttpError::Status {
                status: 400..=428 | 430..=499,
                code,
                message,
                ..
            } => IdentityError::TokenRefused {
                url: url.to_owned(),
                message: either(message, code),
            },
            other => IdentityError::Authority(other),
        })?;
    let contact = AuthorityContact {
        url: url.to_owned(),
        spiffe_id: token.authority_id().clone(),
    };
    accept(&answer, key, &pinned, contact, asked, clocks)
}

/// Fetches the bundle over a connection that proves nothing; it must have this fingerprint.
pub(super) fn pinned_bundle(
    url: &str,
    fingerprint: &BundleFingerprint,
    clocks: &Clocks,
) -> Result<TrustBundle, IdentityError> {
    let wrong = |why: String| IdentityError::WrongAuthority {
        url: url.to_owned(),
        why,
    };
    let fetch = bootstrap::DangerousUnauthenticatedBundleFetch::new()
        .map_err(|error| wrong(error.to_string()))?;
    let client = HttpClient::first_contact(url, fetch.dangerous_client_config())
        .map_err(IdentityError::Authority)?;
    let json = get_bundle(&hearing(client, clocks)).map_err(IdentityError::Authority)?;
    fetch
        .accept(&json, fingerprint)
        .map_err(|error| wrong(error.to_string()))
}

/// A client that shows no document; its server must prove to be `server` under `bundle`.
pub(super) fn stranger(
    url: &str,
    server: &SpiffeId,
    bundle: &TrustBundle,
    clocks: &Clocks,
) -> Result<HttpClient, IdentityError> {
    let wrong = |why: String| IdentityError::WrongAuthority {
        url: url.to_owned(),
        why,
    };
    let expectation = ServerExpectation {
        spiffe_id: server.clone(),
    };
    let config = bootstrap::anonymous_client_config_with_clock(
        Arc::new(bundle.clone()),
        expectation,
        &[Alpn::Http11],
        clocks.for_tls(),
    )
    .map_err(|error| wrong(error.to_string()))?;
    let client = HttpClient::first_contact(url, config).map_err(IdentityError::Authority)?;
    Ok(hearing(client, clocks))
}

/// The same client, whose answers tell how far the clocks are apart.
pub(super) fn hearing(client: HttpClient, clocks: &Clocks) -> HttpClient {
    let clocks = clocks.clone();
    client.with_date_observer(Arc::new(move |date| clocks.heard(date)))
}

/// Refuses to spend anything that is good only once while the clocks are too far apart.
pub(super) fn bearable(clocks: &Clocks) -> Result<(), IdentityError> {
    match clocks.skew() {
        Some(skew) if !skew.is_bearable() => Err(IdentityError::ClockSkew { skew }),
        _ => Ok(()),
    }
}

/// Renews the identity that `client` shows; one whose issuing CA was revoked is exchanged.
pub(super) fn renew(
    client: &HttpClient,
    contact: &AuthorityContact,
    current: &TlsIdentity,
    key: &DocumentKey,
    clocks: &Clocks,
) -> Result<Obtained, IdentityError> {
    let asked = Confirmed::now(clocks);
    let unusable = |why: String| IdentityError::Key { why };
    let stranger = if is_of_revoked_issuer(current) {
        Some(stranger(
            &contact.url,
            &contact.spiffe_id,
            &current.bundle(),
            clocks,
        )?)
    } else {
        None
    };
    let (client, path, request) = match &stranger {
        // No server takes the document in a handshake; the authority knows whether it signed it.
        Some(stranger) => {
            let rng = &mut crate::random::system();
            let request = wire::ReissueRequest::sign(&current.document(), csr(key)?, rng)
                .map_err(|error| unusable(error.to_string()))?;
            (stranger, wire::REISSUE_PATH, serde_json::to_vec(&request))
        }
        None => {
            let request = wire::RenewRequest { csr: csr(key)? };
            (client, wire::RENEW_PATH, serde_json::to_vec(&request))
        }
    };
    let request = request.map_err(|error| unusable(error.to_string()))?;
    let answer = client
        .json(path, Some(&request), limits::MAX_IDENTITY_ANSWER_BYTES)
        .map_err(|error| match error {
            HttpError::Status {
                status: 400..=428 | 430..=499,
                code,
                message,
                ..
            } => IdentityError::RenewalRefused {
                url: contact.url.clone(),
                message: either(message, code),
            },
            other => IdentityError::Authority(other),
        })?;
    let obtained = accept(
        &answer,
        key,
        &current.bundle(),
        contact.clone(),
        asked,
        clocks,
    )?;
    if obtained.document.spiffe_id() != current.document().spiffe_id() {
        return Err(answer_error("it is made out to another SPIFFE ID"));
    }
    Ok(obtained)
}

/// Whether the document at hand is refused because the CA that signed it was revoked, and for no other reason.
fn is_of_revoked_issuer(current: &TlsIdentity) -> bool {
    let (document, bundle) = (current.document(), current.bundle());
    let verified = verify_peer(document.chain(), &bundle, Usage::Client, current.now());
    verified == Err(VerifyError::IssuerRevoked)
}

/// Asks for the current bundle without showing a document: for one that is refused, and may be accepted again.
pub(super) fn refresh_anonymously(
    contact: &AuthorityContact,
    current: &TrustBundle,
    clocks: &Clocks,
) -> Result<TrustBundle, IdentityError> {
    let client = stranger(&contact.url, &contact.spiffe_id, current, clocks)?;
    refresh(&client, current)
}

/// Asks for the current bundle.
pub(super) fn refresh(
    client: &HttpClient,
    current: &TrustBundle,
) -> Result<TrustBundle, IdentityError> {
    let json = get_bundle(client).map_err(IdentityError::Authority)?;
    read_bundle(&json, current)
}

/// What an authority says to somebody who may have its bundle already.
#[derive(Debug)]
pub(super) struct Watched {
    /// The current bundle; nothing if it is the one that goes with the validator.
    pub(super) bundle: Option<TrustBundle>,
    /// Goes with the bundle.
    pub(super) validator: Option<String>,
    /// Goes with the bundles of federated trust domains, if there are any.
    pub(super) federation: Option<String>,
    /// Whether the authority held the question.
    pub(super) waited: bool,
    /// Whether it could have, and did not: it has no room for all who wait.
    pub(super) turned_away: bool,
}

/// Asks for the current bundle, or, with the `validator` of `current`, for another one: for up to `wait`.
pub(super) fn watch(
    client: &HttpClient,
    current: &TrustBundle,
    validator: Option<&str>,
    wait: Duration,
) -> Result<Watched, IdentityError> {
    let question = Conditional {
        path: wire::BUNDLE_PATH,
        etag: validator,
        wait,
        limit: limits::MAX_BUNDLE_BYTES,
        accept: JSON,
    };
    let answer = client
        .get_conditionally(&question)
        .map_err(IdentityError::Authority)?;
    let bundle = answer
        .content
        .map(|content| read_bundle(&content.body, current))
        .transpose()?;
    let could_wait = !wait.is_zero() && validator.is_some() && bundle.is_none();
    Ok(Watched {
        turned_away: could_wait && !answer.waited,
        bundle,
        validator: answer.etag,
        federation: answer.federation,
        waited: answer.waited,
    })
}

/// Asks for the bundles of federated trust domains.
pub(super) fn federated(client: &HttpClient) -> Result<Vec<TrustBundle>, IdentityError> {
    let limit = ::identity::limits::MAX_FEDERATED_BYTES as u64;
    let answer: wire::FederatedBundles = client
        .json(wire::BUNDLES_PATH, None, limit)
        .map_err(IdentityError::Authority)?;
    Ok(answer.bundles)
}

fn read_bundle(json: &[u8], current: &TrustBundle) -> Result<TrustBundle, IdentityError> {
    let bundle = TrustBundle::from_json(json).map_err(|error| answer_error(error.to_string()))?;
    check_succession(current, &bundle)?;
    Ok(bundle)
}

fn get_bundle(client: &HttpClient) -> Result<Vec<u8>, HttpError> {
    let exchange = Exchange {
        path: wire::BUNDLE_PATH,
        body: None,
        accept: JSON,
        limit: limits::MAX_BUNDLE_BYTES,
        timeout: limits::ATTEMPT_TIMEOUT,
    };
    client
        .exchange(&exchange)
        .map(|answer| answer.body.to_vec())
}

/// Takes over an answer, provided that its document is one for `key` and can be used now.
pub(super) fn accept(
    answer: &wire::DocumentResponse,
    key: &DocumentKey,
    known: &TrustBundle,
    authority: AuthorityContact,
    asked: Confirmed,
    clocks: &Clocks,
) -> Result<Obtained, IdentityError> {
    let key_pem = key.expose_pem().map_err(|error| IdentityError::Key {
        why: error.to_string(),
    })?;
    let document = IdentityDocument::from_pem(&answer.document, &key_pem)
        .map_err(|error| answer_error(error.to_string()))?;
    let bundle = answer.bundle.clone();
    check_succession(known, &bundle)?;
    let obtained = Obtained {
        document,
        bundle,
        authority: Some(authority),
        confirmed: Some(asked),
    };
    obtained.check(clocks.now()).map_err(|error| match error {
        // Fresh from the authority: if it is not valid now, one of two clocks is wrong.
        IdentityError::NotYetValid { .. } | IdentityError::Expired { .. } => {
            bearable(clocks).err().unwrap_or(error)
        }
        other => other,
    })?;
    Ok(obtained)
}

/// A bundle follows another one of the same trust domain, and never goes back: an old one would enable
/// disabled sites again.
fn check_succession(known: &TrustBundle, next: &TrustBundle) -> Result<(), IdentityError> {
    if next.trust_domain() != known.trust_domain() {
        return Err(answer_error("its bundle is of another trust domain"));
    }
    if next.sequence() < known.sequence() {
        return Err(answer_error("its bundle is older than the one at hand"));
    }
    Ok(())
}

impl Obtained {
    /// Checks that this identity is usable at `now` (Unix seconds) and would convince others.
    pub(super) fn check(&self, now: u64) -> Result<(), IdentityError> {
        check(&self.document, &self.bundle, now)
    }
}

/// Checks that `document` is usable at `now` (Unix seconds) under `bundle`.
pub(super) fn check(
    document: &IdentityDocument,
    bundle: &TrustBundle,
    now: u64,
) -> Result<(), IdentityError> {
    let spiffe_id = document.spiffe_id().clone();
    if now > document.not_after() {
        return Err(IdentityError::Expired {
            spiffe_id,
            not_after: time::show(document.not_after()),
        });
    }
    if now < document.not_before() {
        return Err(IdentityError::NotYetValid {
            spiffe_id,
            not_before: time::show(document.not_before()),
        });
    }
    match verify_peer(document.chain(), bundle, Usage::Client, now) {
        Ok(_) => Ok(()),
        Err(VerifyError::SiteDisabled) => Err(IdentityError::SiteDisabled { spiffe_id }),
        Err(error) => Err(IdentityError::Unverified {
            spiffe_id,
            why: error.to_string(),
        }),
    }
}

pub(super) fn csr(key: &DocumentKey) -> Result<wire::CsrDer, IdentityError> {
    let der = key
        .csr_der(&mut crate::random::system())
        .map_err(|error| IdentityError::Key {
            why: error.to_string(),
        })?;
    wire::CsrDer::new(der).map_err(|error| IdentityError::Key {
        why: error.to_string(),
    })
}

pub(super) fn answer_error(why: impl Into<String>) -> IdentityError {
    IdentityError::Answer { why: why.into() }
}

pub(super) fn either(message: String, code: String) -> String {
    match (message.is_empty(), code.is_empty()) {
        (false, _) => message,
        (true, false) => code,
        (true, true) => "without a reason".to_owned(),
    }
}

/// How long a bundle is kept before asking again.
pub(super) fn refresh_interval(bundle: &TrustBundle) -> Duration {
    Duration::from_secs(bundle.refresh_hint_seconds()).clamp(
        limits::SHORTEST_BUNDLE_REFRESH,
        limits::LONGEST_BUNDLE_REFRESH,
    )
}
