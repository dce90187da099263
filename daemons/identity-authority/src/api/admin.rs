//! Handlers of administration.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use identity::Principal;
use identity::SiteName;
use identity::wire::{CreateSiteRequest, CreateTokenRequest, ErrorCode, Site, SiteList, SiteRules};
use service::audit::AuditContext;
use service::listener::MaybePeer;

use super::documents::json_response;
use super::input::{self, Payload};
use crate::administration::{
    ALL_SITES, CREATE_SITE, CREATE_TOKEN, Caller, DISABLE_SITE, ENABLE_SITE, LIST_SITES,
    REPLACE_SITE_RULES,
};
use crate::authority::Inner;
use crate::call::{Call, Recorded};
use crate::limits;
use crate::refusal::Refusal;

type Name = Result<Path<String>, PathRejection>;

/// `POST /v1/admin/sites`.
pub(super) async fn create_site(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
    headers: HeaderMap,
    body: Payload,
) -> Result<Response, Recorded> {
    let call = named(CREATE_SITE, "");
    let (peer, request) = admit(&inner, peer, &call, || {
        input::json::<CreateSiteRequest>(&headers, body)
    })
    .await?;
    let site = inner
        .administration
        .create_site(Caller::Peer(&peer), request)
        .await?;
    Ok(created(json_response(site_json(&site))))
}

/// `PUT /v1/admin/sites/{name}`.
pub(super) async fn replace_rules(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
    name: Name,
    headers: HeaderMap,
    body: Payload,
) -> Result<Response, Recorded> {
    let call = named(REPLACE_SITE_RULES, name_text(&name));
    let read = || Ok((site_name(name)?, input::json::<SiteRules>(&headers, body)?));
    let (peer, (name, rules)) = admit(&inner, peer, &call, read).await?;
    let site = inner
        .administration
        .replace_rules(Caller::Peer(&peer), name, rules)
        .await?;
    Ok(json_response(site_json(&site)))
}

/// `GET /v1/admin/sites`.
pub(super) async fn list_sites(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
    uri: Uri,
) -> Result<Response, Recorded> {
    let call = Call::new(LIST_SITES, ALL_SITES, AuditContext::new());
    let read = || page(uri.query().unwrap_or_default());
    let (peer, (after, at_most)) = admit(&inner, peer, &call, read).await?;
    let page = inner
        .administration
        .sites(Caller::Peer(&peer), after.as_ref(), at_most)
        .await?;
    let list = SiteList { sites: page.sites };
    let mut response = json_response(serde_json::to_vec(&list).unwrap_or_default());
    // RFC 8288: the next page, for whoever asks on.
    if let (true, Some(last)) = (page.more, list.sites.last())
        && let Ok(link) = format!("<?after={}&limit={at_most}>; rel=\"next\"", last.name).parse()
    {
        response
            .headers_mut()
            .insert(axum::http::header::LINK, link);
    }
    Ok(response)
}

/// `POST /v1/admin/sites/{name}/disable`.
pub(super) async fn disable_site(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
    name: Name,
    body: Payload,
) -> Result<Response, Recorded> {
    switch(&inner, peer, name, body, false).await
}

/// `POST /v1/admin/sites/{name}/enable`.
pub(super) async fn enable_site(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
    name: Name,
    body: Payload,
) -> Result<Response, Recorded> {
    switch(&inner, peer, name, body, true).await
}

async fn switch(
    inner: &Inner,
    peer: Option<Arc<Principal>>,
    name: Name,
    body: Payload,
    enabled: bool,
) -> Result<Response, Recorded> {
    let call = named(
        if enabled { ENABLE_SITE } else { DISABLE_SITE },
        name_text(&name),
    );
    let read = || {
        input::nothing(body)?;
        site_name(name)
    };
    let (peer, name) = admit(inner, peer, &call, read).await?;
    let site = inner
        .administration
        .switch_site(Caller::Peer(&peer), name, enabled)
        .await?;
    Ok(json_response(site_json(&site)))
}

/// `POST /v1/admin/tokens`.
pub(super) async fn create_token(
    State(inner): State<Arc<Inner>>,
    MaybePeer(peer): MaybePeer,
    headers: HeaderMap,
    body: Payload,
) -> Result<Response, Recorded> {
    let call = Call::new(CREATE_TOKEN, "token", AuditContext::new());
    let (peer, request) = admit(&inner, peer, &call, || {
        input::json::<CreateTokenRequest>(&headers, body)
    })
    .await?;
    let token = inner
        .administration
        .create_token(Caller::Peer(&peer), request)
        .await?;
    // The buffer that the answer is sent from is the TLS side's; it is not wiped.
    Ok(created(json_response(token.expose_json().to_vec())))
}

/// The peer and what it asks, once both are known and it is still welcome.
pub(super) async fn admit<T>(
    inner: &Inner,
    peer: Option<Arc<Principal>>,
    call: &Call,
    read: impl FnOnce() -> Result<T, Refusal>,
) -> Result<(Arc<Principal>, T), Recorded> {
    let Some(principal) = peer else {
        return Err(inner
            .admission
            .refuse(None, call, Refusal::unauthenticated())
            .await);
    };
    match welcome(inner, &principal).and_then(|()| read()) {
        Ok(request) => Ok((principal, request)),
        Err(refusal) => Err(inner
            .admission
            .refuse(Some(&principal), call, refusal)
            .await),
    }
}

/// It may have been revoked since the connection was made; the listener asks too, of its own clock.
fn welcome(inner: &Inner, principal: &Principal) -> Result<(), Refusal> {
    let snapshot = inner.registry.snapshot();
    let bundle = &snapshot.bundle;
    if bundle.is_disabled(principal.spiffe_id()) {
        let why = "the administrator's site is disabled";
        return Err(Refusal::denied("SITE_DISABLED", "denied", why));
    }
    if bundle.is_revoked(principal.attributes(), principal.not_before())
        || !bundle.allows_issuer(principal.issuer_fingerprint())
    {
        let why = "the administrator's document is revoked";
        return Err(Refusal::denied("REVOKED", "denied", why));
    }
    Ok(())
}

/// `after=<site name>`: only sites whose names come after; `limit=<number>`: at most so many.
fn page(query: &str) -> Result<(Option<SiteName>, usize), Refusal> {
    let bad = |message: String| Refusal::bad_request("QUERY", message);
    let (mut after, mut limit) = (None, None);
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "after" if after.is_none() => {
                after =
                    Some(SiteName::parse(&value).map_err(|error| bad(format!("after: {error}")))?);
            }
            "limit" if limit.is_none() => {
                limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=limits::SITES_PAGE).contains(limit));
                if limit.is_none() {
                    return Err(bad(format!(
                        "limit must be from 1 to {}",
                        limits::SITES_PAGE
                    )));
                }
            }
            _ => {
                return Err(bad(
                    "the query may hold after=<site name> and limit=<number>, each once".to_owned(),
                ));
            }
        }
    }
    Ok((after, limit.unwrap_or(limits::SITES_PAGE)))
}

fn site_name(name: Name) -> Result<SiteName, Refusal> {
    let text = name.map(|Path(text)| text).unwrap_or_default();
    SiteName::parse(&text).map_err(|error| {
        Refusal::bad_request("SITE_NAME", format!("no site name: {error}"))
            .with_code(ErrorCode::NotFound)
    })
}

fn name_text(name: &Name) -> &str {
    name.as_ref().map_or("", |Path(text)| text)
}

fn named(action: &'static str, site: &str) -> Call {
    Call::new(action, format!("site/{site}"), AuditContext::new())
}

fn site_json(site: &Site) -> Vec<u8> {
    // Names, lists and numbers always serialize.
    serde_json::to_vec(site).unwrap_or_default()
}

fn created(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::CREATED;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_holds_a_name_and_a_bound() {
        let paris = SiteName::parse("paris").unwrap();
        assert_eq!(page("").unwrap(), (None, limits::SITES_PAGE));
        assert_eq!(page("after=paris&limit=7").unwrap(), (Some(paris), 7));
        for bad in [
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=",
            "limit=1&limit=2",
            "after=",
            "after=a%2Fb",
            "x=1",
        ] {
            assert_eq!(page(bad).unwrap_err().record, "QUERY", "{bad}");
        }
    }
}
