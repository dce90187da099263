use std::path::Path;

use identity::attributes::Attributes;
use identity::verify::{Usage, verify_peer};
use identity::wire::CreateTokenRequest;
use identity::{SiteName, SpiffeId, TrustDomain};
use service::clock::ManualClock;

use super::*;
use crate::foundation::{accept_clock, init_with_clock, with_operator};
use crate::upkeep::OwnRenewal;

const POLICY: &str = "v: 1\nrules: []\n";

struct Lab {
    folder: tempfile::TempDir,
    config: Config,
    clock: ManualClock,
}

impl Lab {
    /// An initialized authority whose time begins now.
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), change);
        let clock = ManualClock::new(service::clock::now());
        init_with_clock(&config, Arc::new(clock.clone()))
            .await
            .unwrap();
        Self {
            folder,
            config,
            clock,
        }
    }

    async fn open(&self) -> Result<Authority, AuthorityError> {
        Authority::open_with_clock(self.config.clone(), Arc::new(self.clock.clone())).await
    }

    fn now(&self) -> u64 {
        unix_seconds(self.clock.now())
    }
}

fn config(folder: &Path, change: impl FnOnce(&mut Config)) -> Config {
    std::fs::write(folder.join("administration.yaml"), POLICY).unwrap();
    let mut config = Config::in_folder(TrustDomain::parse("acme.example").unwrap(), folder);
    change(&mut config);
    config
}

fn short_lifetimes(config: &mut Config) {
    config.documents.greatest_lifetime = Duration::from_secs(600);
    config.documents.own_lifetime = Duration::from_secs(600);
    config.certificates.issuer_lifetime = Duration::from_secs(12 * 900);
    config.certificates.root_lifetime = Duration::from_secs(100 * 900);
}

fn admin(name: &str) -> CreateTokenRequest {
    CreateTokenRequest {
        spiffe_id: SpiffeId::parse(&format!("spiffe://acme.example/blindfold/admin/{name}"))
            .unwrap(),
        attributes: Attributes::new(),
        lifetime_seconds: 300,
        document_lifetime_seconds: None,
    }
}

async fn close(authority: Authority) {
    upkeep::remember_time(&authority.inner).await;
    authority.audit().close().await;
    authority.inner.registry.tables().close().await;
}

#[tokio::test]
async fn own_document_is_renewed_at_half_life_and_not_before() {
    let lab = Lab::new(short_lifetimes).await;
    let authority = lab.open().await.unwrap();
    let inner = &authority.inner;
    let mut own = OwnRenewal::after(inner);
    let first = inner.tls.document();
    assert_eq!(
        first.spiffe_id().as_str(),
        "spiffe://acme.example/identity-authority"
    );
    lab.clock.advance(Duration::from_secs(60));
    upkeep::once(inner, &mut own).await;
    assert_eq!(
        inner.tls.document().not_after(),
        first.not_after(),
        "too early"
    );
    lab.clock.advance(Duration::from_secs(400));
    upkeep::once(inner, &mut own).await;
    let second = inner.tls.document();
    assert_eq!(second.not_after(), lab.now() + 600);
    assert_eq!(second.spiffe_id(), first.spiffe_id());
    verify_peer(
        second.chain(),
        &authority.bundle(),
        Usage::Server,
        lab.now(),
    )
    .unwrap();
    upkeep::once(inner, &mut own).await;
    assert_eq!(
        inner.tls.document().not_after(),
        second.not_after(),
        "once per half-life"
    );
}

#[tokio::test]
async fn issuer_that_ends_too_soon_is_replaced_at_start() {
    let lab = Lab::new(short_lifetimes).await;
    lab.clock.advance(Duration::from_secs(12 * 900 + 1_000));
    let authority = lab.open().await.unwrap();
    assert_eq!(
        authority.inner.documents.issuer().not_after(),
        lab.now() + 12 * 900
    );
    verify_peer(
        authority.tls_identity().document().chain(),
        &authority.bundle(),
        Usage::Server,
        lab.now(),
    )
    .unwrap();
}

#[tokio::test]
async fn root_too_old_for_another_issuer_refuses_to_start() {
    let lab = Lab::new(short_lifetimes).await;
    lab.clock.advance(Duration::from_secs(95 * 900));
    let error = lab.open().await.unwrap_err();
    assert!(matches!(error, AuthorityError::Certificates(_)), "{error}");
}

#[tokio::test]
async fn clock_set_back_stops_issuing_until_it_is_right() {
    let lab = Lab::new(|_| ()).await;
    let authority = lab.open().await.unwrap();
    let operator = authority.operator();
    operator.create_token(admin("a")).await.unwrap();
    let right = lab.clock.now();
    lab.clock.set(right - Duration::from_secs(3_600));
    let error = operator.create_token(admin("b")).await.unwrap_err();
    assert!(error.to_string().contains("the clock went back"), "{error}");
    upkeep::once(&authority.inner, &mut OwnRenewal::after(&authority.inner)).await;
    assert!(!authority.inner.metrics.clock.holds(), "not ready");
    // Switching off does not depend on the time.
    operator
        .disable_site(SiteName::parse("blindfold").unwrap())
        .await
        .unwrap();
    operator
        .disable_site(SiteName::parse("blindfold").unwrap())
        .await
        .unwrap();
    lab.clock.set(right + Duration::from_secs(1));
    operator
        .enable_site(SiteName::parse("blindfold").unwrap())
        .await
        .unwrap();
    operator.create_token(admin("b")).await.unwrap();
    upkeep::once(&authority.inner, &mut OwnRenewal::after(&authority.inner)).await;
    assert!(authority.inner.metrics.clock.holds());
}

#[tokio::test]
async fn clock_set_back_while_down_is_noticed_until_the_operator_confirms() {
    let mut lab = Lab::new(|_| ()).await;
    lab.clock.advance(Duration::from_secs(7_200));
    close(lab.open().await.unwrap()).await;
    lab.clock = ManualClock::new(service::clock::now());
    let error = lab.open().await.unwrap_err();
    assert!(matches!(error, AuthorityError::Clock(_)), "{error}");
    assert!(error.to_string().contains("accept-clock"), "{error}");
    accept_clock(&lab.config).await.unwrap();
    lab.clock.advance(Duration::from_secs(1));
    let authority = lab.open().await.unwrap();
    let error = accept_clock(&lab.config).await.unwrap_err();
    assert!(
        matches!(error, AuthorityError::Audit(_)),
        "not while it runs: {error}"
    );
    drop(authority);
}

#[tokio::test]
async fn expired_tokens_are_removed_by_upkeep() {
    let lab = Lab::new(|_| ()).await;
    let authority = lab.open().await.unwrap();
    let token = authority.operator().create_token(admin("a")).await.unwrap();
    let hash = *token.token.secret().hash().as_bytes();
    let tables = authority.inner.registry.tables();
    let mut own = OwnRenewal::after(&authority.inner);
    lab.clock.advance(Duration::from_secs(300 + 60));
    upkeep::once(&authority.inner, &mut own).await;
    assert!(
        tables.token(&hash).await.unwrap().is_some(),
        "a lost answer may still be asked for"
    );
    lab.clock.advance(Duration::from_secs(100));
    upkeep::once(&authority.inner, &mut own).await;
    assert!(tables.token(&hash).await.unwrap().is_none());
}

#[tokio::test]
async fn change_by_another_process_is_noticed() {
    let lab = Lab::new(|_| ()).await;
    let authority = lab.open().await.unwrap();
    let before = authority.bundle();
    let site = SiteName::parse("blindfold").unwrap();
    with_operator(&lab.config, async |operator| {
        operator.disable_site(site.clone()).await
    })
    .await
    .unwrap();
    assert_eq!(authority.bundle(), before, "nobody looked yet");
    authority.inner.registry.refresh().await.unwrap();
    let after = authority.bundle();
    assert!(after.disabled_sites().contains(&site) && after.sequence() > before.sequence());
    assert_eq!(
        *authority.tls_identity().bundle(),
        after,
        "the TLS side has it too"
    );
    let log = std::fs::read_to_string(lab.folder.path().join("audit.operator.jsonl")).unwrap();
    assert!(
        log.contains("\"disable-site\"") && log.contains("\"operator\":\"host\""),
        "{log}"
    );
}

#[tokio::test]
async fn init_never_overwrites() {
    let lab = Lab::new(|_| ()).await;
    let read = |name: &str| std::fs::read(lab.folder.path().join(name)).unwrap();
    let key = read("root.key");
    let before = lab.open().await.unwrap();
    let fingerprint = before.bundle().fingerprint();
    close(before).await;
    let error = init_with_clock(&lab.config, Arc::new(lab.clock.clone()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, AuthorityError::AlreadyInitialized { .. }),
        "{error}"
    );
    assert_eq!(read("root.key"), key);
    assert_eq!(
        lab.open().await.unwrap().bundle().fingerprint(),
        fingerprint
    );
}

#[tokio::test]
async fn store_of_another_trust_domain_or_none_is_refused() {
    let lab = Lab::new(|_| ()).await;
    let other = Config {
        trust_domain: TrustDomain::parse("other.example").unwrap(),
        ..lab.config.clone()
    };
    let error = Authority::open(other).await.unwrap_err();
    assert!(
        matches!(error, AuthorityError::OtherTrustDomain { .. }),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |_| ());
    let error = Authority::open(config.clone()).await.unwrap_err();
    assert!(
        !config.store.path.as_ref().unwrap().exists(),
        "no empty store was left behind"
    );
    assert!(
        error.to_string().contains("root.key") || error.to_string().contains("init"),
        "{error}"
    );
}

mod issuers;
