//! V1: only verified peers of sites in good standing.

use std::sync::Arc;

use blindfold_core::{CONTENT_TYPE, PATH};
use identity::tls::{Alpn, TlsIdentity};
use identity::{SiteName, SpiffeId, TrustBundle};

use super::good;
use crate::support::*;

#[tokio::test]
async fn v1_without_a_certificate_nothing_is_answered() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let bundle = Arc::new(world.trust.bundle.clone());
    let server = SpiffeId::parse(SERVER).unwrap();
    let config =
        identity::tls::bootstrap::anonymous_client_config(bundle, server, &[Alpn::Http11]).unwrap();
    let nobody = Client::with_config(running.address, config);
    let request = good(&record).bytes();
    let answer = nobody
        .try_request("POST", PATH, Some(CONTENT_TYPE), &request)
        .await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(
        code(
            &world
                .client(&running, API)
                .evaluate(&good(&record).bytes())
                .await
        ),
        0
    );
    running.stop().await;
}

#[tokio::test]
async fn v1_foreign_and_expired_certificates_are_refused() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let post = async |client: Client| {
        let request = good(&record).bytes();
        client
            .try_request("POST", PATH, Some(CONTENT_TYPE), &request)
            .await
    };
    // Another root that calls itself the same trust domain; the client trusts the real server.
    let forged = Trust::new(DOMAIN);
    let both = TrustBundle::new(
        world.trust.bundle.trust_domain().clone(),
        1,
        world
            .trust
            .bundle
            .trust_anchors()
            .iter()
            .chain(forged.bundle.trust_anchors())
            .cloned(),
    )
    .unwrap();
    let identity = TlsIdentity::new(forged.document(API, now(), 3600), both).unwrap();
    assert!(post(Client::new(running.address, identity)).await.is_err());
    // Expired two minutes ago; the client's clock is an hour slow, so that it shows it.
    let expired = world.trust.document(API, now() - 3720, 3600);
    let slow =
        TlsIdentity::with_clock(expired, world.trust.bundle.clone(), Arc::new(SlowClock)).unwrap();
    assert!(post(Client::new(running.address, slow)).await.is_err());
    assert_eq!(
        code(
            &world
                .client(&running, API)
                .evaluate(&good(&record).bytes())
                .await
        ),
        0
    );
    running.stop().await;
}

#[derive(Debug)]
struct SlowClock;

impl rustls::time_provider::TimeProvider for SlowClock {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        Some(rustls_pki_types::UnixTime::since_unix_epoch(
            std::time::Duration::from_secs(now() - 1800),
        ))
    }
}

#[tokio::test]
async fn v1_a_disabled_site_is_refused_from_the_next_bundle_on() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    assert_eq!(code(&client.evaluate(&good(&record).bytes()).await), 0);
    let site = SiteName::parse("paris").unwrap();
    let next = TrustBundle::new(
        world.trust.bundle.trust_domain().clone(),
        2,
        world.trust.bundle.trust_anchors().iter().cloned(),
    )
    .unwrap()
    .with_disabled_sites([site])
    .unwrap();
    running.identity.replace_bundle(next).unwrap();
    let request = good(&record).bytes();
    let answer = client
        .try_request("POST", PATH, Some(CONTENT_TYPE), &request)
        .await;
    assert!(answer.is_err(), "{answer:?}");
    running.stop().await;
}
