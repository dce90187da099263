//! Handlers of bundles: our own, for other SPIFFE software, and those of other trust domains.
//!
//! All of it is public, as the certificates in it are. Whoever shows a document may wait for a change of the bundle
//! (`If-None-Match` and `Prefer: wait=<seconds>`, RFC 7240): so a revocation arrives as fast as it is decided.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use identity::limits::MAX_WAIT_SECONDS;
use identity::wire::{CONTENT_TYPE, FEDERATION_HEADER};
use service::listener::MaybePeer;
use tokio::time::{Instant, timeout_at};

use crate::authority::Inner;
use crate::refusal::Refusal;
use crate::registry::{Place, Snapshot};

/// `GET /v1/bundle`.
pub(super) async fn bundle(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let mut revisions = inner.registry.revisions();
    let mut snapshot = inner.registry.fresh()?;
    let wait = wished(&headers);
    let mut waited = false;
    if let (Some(wait), Some(peer), true) = (wait, &peer, has_nothing_for(&headers, &snapshot))
        && let Some(mut place) = inner.registry.waiters().take(peer, greatest(&inner))
    {
        waited = true;
        let until = Instant::now() + wait;
        while has_nothing_for(&headers, &snapshot)
            && next_revision(&mut revisions, &mut place, until).await
        {
            snapshot = inner.registry.snapshot();
        }
        // The store may have been lost meanwhile: nobody is told that what is old is current.
        snapshot = inner.registry.fresh()?;
    }
    let Snapshot { published, .. } = &*snapshot;
    let mut response = conditional(&headers, &published.bundle, &published.etag);
    let answered = response.headers_mut();
    if let Some(federated) = &published.federated
        && let Ok(etag) = HeaderValue::from_str(&federated.etag)
    {
        answered.insert(HeaderName::from_static(FEDERATION_HEADER), etag);
    }
    if let (true, Some(wait)) = (waited, wait)
        && let Ok(applied) = HeaderValue::from_str(&format!("wait={}", wait.as_secs()))
    {
        answered.insert(HeaderName::from_static("preference-applied"), applied);
    }
    Ok(response)
}

/// `GET /v1/spiffe-bundle`.
pub(crate) async fn spiffe_bundle(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let snapshot = inner.registry.fresh()?;
    let published = &snapshot.published;
    Ok(conditional(
        &headers,
        &published.spiffe,
        &published.spiffe_etag,
    ))
}

/// `GET /v1/bundles`.
pub(super) async fn federated(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let snapshot = inner.registry.fresh()?;
    Ok(match &snapshot.published.federated {
        Some(federated) => conditional(&headers, &federated.json, &federated.etag),
        None => conditional(
            &headers,
            &Bytes::from_static(br#"{"bundles":[]}"#),
            "\"none\"",
        ),
    })
}

/// Waits for a change of anything; false when it is time to answer.
async fn next_revision(
    revisions: &mut tokio::sync::watch::Receiver<u64>,
    place: &mut Place,
    until: Instant,
) -> bool {
    tokio::select! {
        changed = timeout_at(until, revisions.changed()) => matches!(changed, Ok(Ok(()))),
        () = place.closed() => false,
    }
}

/// Half of the connections may be held by those who wait; the others are for those who want something.
fn greatest(inner: &Inner) -> usize {
    inner.config.listen.limits.max_connections / 2
}

/// How long the client would wait, at most as long as we let it.
fn wished(headers: &HeaderMap) -> Option<Duration> {
    let wait = headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .find_map(|preference| {
            let (name, value) = preference.split_once('=')?;
            let value = value.trim().trim_matches('"');
            // RFC 7240, section 2: of several, the first counts.
            (name.trim().eq_ignore_ascii_case("wait")).then(|| value.parse::<u64>().ok())
        })
        .flatten()?;
    (wait > 0).then(|| Duration::from_secs(wait.min(MAX_WAIT_SECONDS)))
}

/// The body, or `304` for whoever has it already.
fn conditional(headers: &HeaderMap, body: &Bytes, etag: &str) -> Response {
    let mut response = if knows(headers, etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(Body::from(body.clone()));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        response
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    // Its age is what a revocation depends on: whoever keeps it asks again each time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Whether the client has this bundle, or a later one of a replica that was faster: answered at once, it would take this
/// side for one that does not push, and come back much later.
fn has_nothing_for(headers: &HeaderMap, snapshot: &Snapshot) -> bool {
    let (published, bundle) = (&snapshot.published, &snapshot.bundle);
    knows(headers, &published.etag)
        || knows_later(headers, bundle.trust_domain().as_str(), bundle.sequence())
}

/// Whether one of the validators is that of a bundle after `sequence`.
fn knows_later(headers: &HeaderMap, trust_domain: &str, sequence: u64) -> bool {
    let later = |tag: &str| {
        let tag = tag.trim().trim_start_matches("W/").trim_matches('"');
        let rest = tag.strip_prefix(trust_domain)?.strip_prefix('-')?;
        // What follows it is of the federated bundles.
        rest.split('-').next()?.parse::<u64>().ok()
    };
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(later)
        .any(|known| known > sequence)
}

fn knows(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .any(|value| names(value, etag))
}

/// RFC 9110, section 13.1.2: a list of validators, compared weakly, or `*`.
fn names(value: &HeaderValue, etag: &str) -> bool {
    value.to_str().is_ok_and(|list| {
        list.split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validators_are_compared_weakly_in_lists() {
        let etag = "\"acme.example-7\"";
        for value in [
            "\"acme.example-7\"",
            "W/\"acme.example-7\"",
            "\"x\", \"acme.example-7\"",
            "*",
        ] {
            assert!(
                names(&HeaderValue::from_str(value).unwrap(), etag),
                "{value}"
            );
        }
        for value in [
            "\"acme.example-70\"",
            "acme.example-7",
            "",
            "\"x\"",
            "\"ACME.example-7\"",
        ] {
            assert!(
                !names(&HeaderValue::from_str(value).unwrap(), etag),
                "{value}"
            );
        }
        assert!(!names(&HeaderValue::from_bytes(b"\xff").unwrap(), etag));
    }

    #[test]
    fn later_bundles_of_other_replicas_are_told_apart() {
        let later = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            knows_later(&headers, "acme.example", 7)
        };
        for value in [
            "\"acme.example-8\"",
            "\"acme.example-8-00ff\"",
            "W/\"acme.example-4000000000\"",
            "\"x\", \"acme.example-8\"",
        ] {
            assert!(later(value), "{value}");
        }
        for value in [
            "\"acme.example-7\"",
            "\"acme.example-6-8\"",
            "\"other.example-8\"",
            "\"acme.example8\"",
            "\"acme.example-99999999999999999999\"",
            "*",
            "",
        ] {
            assert!(!later(value), "{value}");
        }
    }

    #[test]
    fn waiting_is_bounded() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("prefer", HeaderValue::from_str(value).unwrap());
            }
            wished(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(of(&["wait=5"]), Some(5));
        assert_eq!(of(&["respond-async, Wait=\"7\""]), Some(7));
        assert_eq!(of(&["respond-async", "wait=8;foo=bar", "wait=9"]), Some(8));
        assert_eq!(of(&["wait=4000000000"]), Some(MAX_WAIT_SECONDS));
        for none in [
            "",
            "wait",
            "wait=0",
            "wait=-1",
            "wait=x",
            "waits=5",
            "wait=99999999999999999999",
        ] {
            assert_eq!(of(&[none]), None, "{none}");
        }
    }
}
