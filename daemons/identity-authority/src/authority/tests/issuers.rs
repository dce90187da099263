//! The life of issuing CAs and roots, seen from the authority; what peers see of it is in `tests/it`.

use base64ct::{Base64, Encoding};
use identity::issue::{CaCertificate, Csr, IssueRequest, IssuerRequest, RootAuthority};
use identity::limits::{BACKDATE_SECONDS, MAX_CLOCK_SKEW_SECONDS};
use identity::reissue::sign_reissue;
use identity::verify::VerifyError;
use identity::wire::{
    CsrDer, DocumentResponse, IssuerInfo, IssuerState, JoinRequest, ReissueRequest, RenewRequest,
};
use identity::{DocumentKey, IdentityDocument};
use service::audit::AuditContext;

use super::*;
use crate::documents::Asker;
use crate::foundation::init_below;
use crate::random;

const DAY: u64 = 86_400;
/// Of [`short_lifetimes`]: a document's lifetime with its back-dating.
const LONGEST: u64 = 600 + BACKDATE_SECONDS;

async fn states(authority: &Authority) -> Vec<IssuerState> {
    let list = authority.operator().issuers().await.unwrap();
    list.issuers.iter().map(|issuer| issuer.state).collect()
}

async fn info(authority: &Authority, state: IssuerState) -> IssuerInfo {
    let list = authority.operator().issuers().await.unwrap();
    let mut found = list
        .issuers
        .into_iter()
        .filter(|issuer| issuer.state == state);
    found.next().unwrap()
}

/// A workload that joins with a token of the administrators' site.
async fn join(authority: &Authority, name: &str) -> IdentityDocument {
    let token = authority
        .operator()
        .create_token(admin(name))
        .await
        .unwrap();
    let key = DocumentKey::generate(&mut random::system());
    let request = JoinRequest {
        token_secret: token.token.into_secret(),
        csr: csr(&key),
    };
    let answer = authority
        .inner
        .documents
        .join(&request, &Asker::Unknown)
        .await;
    document(answer.unwrap(), key)
}

fn csr(key: &DocumentKey) -> CsrDer {
    CsrDer::new(key.csr_der(&mut random::system()).unwrap()).unwrap()
}

fn document(response: DocumentResponse, key: DocumentKey) -> IdentityDocument {
    IdentityDocument::from_chain_pem(&response.document, key).unwrap()
}

/// Asks for a new document in the place of `old`; the code of the refusal for the record otherwise.
async fn reissue(
    authority: &Authority,
    old: &IdentityDocument,
) -> Result<IdentityDocument, &'static str> {
    let key = DocumentKey::generate(&mut random::system());
    let csr = csr(&key);
    let signature = sign_reissue(old, csr.as_bytes(), &mut random::system()).unwrap();
    let request = ReissueRequest {
        document: old.chain_pem(),
        csr,
        signature: Base64::encode_string(&signature),
    };
    let documents = &authority.inner.documents;
    let answer = documents.reissue(&request, AuditContext::new()).await;
    answer
        .map(|response| document(response, key))
        .map_err(|recorded| recorded.into_refusal().record)
}

fn verified(
    authority: &Authority,
    document: &IdentityDocument,
    now: u64,
) -> Result<(), VerifyError> {
    verify_peer(document.chain(), &authority.bundle(), Usage::Client, now).map(drop)
}

#[tokio::test]
async fn issuers_overlap_until_the_last_document_has_ended() {
    let lab = Lab::new(short_lifetimes).await;
    let authority = lab.open().await.unwrap();
    let inner = &authority.inner;
    let mut own = OwnRenewal::after(inner);
    let (first, bundle) = (inner.documents.issuer(), authority.bundle());
    // Six lifetimes and the horizon of a minute before its end.
    lab.clock
        .advance(Duration::from_secs(6 * LONGEST - 60 - 10));
    upkeep::once(inner, &mut own).await;
    assert_eq!(states(&authority).await, [IssuerState::Active]);
    lab.clock.advance(Duration::from_secs(20));
    upkeep::once(inner, &mut own).await;
    assert_eq!(
        states(&authority).await,
        [IssuerState::Prepared, IssuerState::Active]
    );
    assert_eq!(
        inner.documents.issuer().fingerprint(),
        first.fingerprint(),
        "not signing yet"
    );
    assert_eq!(
        authority.bundle().issuers().len(),
        2,
        "verifiers learn of it"
    );
    lab.clock.advance(Duration::from_secs(60));
    let late = join(&authority, "late").await;
    upkeep::once(inner, &mut own).await;
    assert_eq!(
        states(&authority).await,
        [IssuerState::Active, IssuerState::Retiring]
    );
    let second = inner.documents.issuer();
    assert_ne!(second.fingerprint(), first.fingerprint());
    assert!(second.not_before() > first.not_before());
    assert_eq!(
        authority.bundle().fingerprint(),
        bundle.fingerprint(),
        "join tokens stay good"
    );
    assert_eq!(
        inner.tls.document().chain().get(1),
        second.chain().first(),
        "the own document moves at once"
    );
    // Whoever has the bundle of before knows both.
    verify_peer(
        inner.tls.document().chain(),
        &authority.bundle(),
        Usage::Server,
        lab.now(),
    )
    .unwrap();
    verified(&authority, &late, lab.now()).unwrap();
    let retiring = info(&authority, IssuerState::Retiring).await;
    assert!(retiring.last_document_not_after >= late.not_after());
    lab.clock.set(service::clock::now());
    let wait = retiring.last_document_not_after + MAX_CLOCK_SKEW_SECONDS;
    lab.clock
        .set(std::time::UNIX_EPOCH + Duration::from_secs(wait));
    upkeep::once(inner, &mut own).await;
    assert_eq!(
        authority.bundle().issuers().len(),
        2,
        "by the slowest clock"
    );
    lab.clock.advance(Duration::from_secs(1));
    upkeep::once(inner, &mut own).await;
    assert_eq!(states(&authority).await, [IssuerState::Active]);
    let chain = inner.documents.issuer().chain_pem();
    close(authority).await;
    let again = lab.open().await.unwrap();
    assert_eq!(
        again.inner.documents.issuer().chain_pem(),
        chain,
        "a restart keeps it"
    );
}

#[tokio::test]
async fn after_a_compromise_everything_is_issued_anew_and_forgeries_are_not() {
    let lab = Lab::new(|_| ()).await;
    let authority = lab.open().await.unwrap();
    let inner = &authority.inner;
    let stolen = inner.documents.issuer();
    let honest = join(&authority, "ada").await;
    assert_eq!(
        reissue(&authority, &honest).await.unwrap_err(),
        "REISSUE",
        "nothing is revoked"
    );
    inner.documents.remember_signed().await.unwrap();
    // Whoever has the issuing key makes a document of an administrator.
    let forged = |not_after: u64| {
        let key = DocumentKey::generate(&mut random::system());
        let csr = Csr::parse(&key.csr_der(&mut random::system()).unwrap()).unwrap();
        let mut request = IssueRequest::new(
            honest.spiffe_id().clone(),
            honest.attributes().clone(),
            lab.now(),
            3_600,
        );
        request.not_after = not_after;
        let chain = stolen.issue(&csr, &request, &mut random::system()).unwrap();
        IdentityDocument::new(chain, key).unwrap()
    };
    let forgery = forged(lab.now() + 3_000);
    verified(&authority, &forgery, lab.now()).expect("believed until the key is revoked");
    let before = authority.bundle();
    // And has it renewed, so that the authority itself has signed the next one.
    let launderer = verify_peer(forgery.chain(), &before, Usage::Client, lab.now()).unwrap();
    let key = DocumentKey::generate(&mut random::system());
    let request = RenewRequest { csr: csr(&key) };
    let renewed = inner
        .documents
        .renew(&launderer, &request, AuditContext::new())
        .await;
    let laundered = document(renewed.unwrap(), key);
    // As the honest one has, too.
    let honest_one = verify_peer(honest.chain(), &before, Usage::Client, lab.now()).unwrap();
    let key = DocumentKey::generate(&mut random::system());
    let request = RenewRequest { csr: csr(&key) };
    let renewed = inner
        .documents
        .renew(&honest_one, &request, AuditContext::new())
        .await;
    let honest_again = document(renewed.unwrap(), key);
    inner.documents.remember_signed().await.unwrap();

    authority.operator().rotate_issuer(true).await.unwrap();
    upkeep::once(inner, &mut OwnRenewal::after(inner)).await;
    assert_eq!(
        states(&authority).await,
        [IssuerState::Active, IssuerState::Revoked]
    );
    assert!(authority.bundle().sequence() > before.sequence());
    for document in [&honest, &forgery] {
        let refused = verified(&authority, document, lab.now());
        assert_eq!(refused, Err(VerifyError::IssuerRevoked));
    }
    let own = inner.tls.document();
    verify_peer(own.chain(), &authority.bundle(), Usage::Server, lab.now()).unwrap();
    // Who slept through it finds the authority by the bundle of before.
    verify_peer(own.chain(), &before, Usage::Server, lab.now()).unwrap();

    let again = reissue(&authority, &honest).await.unwrap();
    verified(&authority, &again, lab.now()).unwrap();
    assert_eq!(
        (again.spiffe_id(), again.attributes()),
        (honest.spiffe_id(), honest.attributes())
    );
    assert_eq!(
        reissue(&authority, &forgery).await.unwrap_err(),
        "REISSUE_UNKNOWN"
    );
    assert_eq!(
        reissue(&authority, &laundered).await.unwrap_err(),
        "REISSUE_UNKNOWN",
        "a renewal makes no honest document of a forgery"
    );
    reissue(&authority, &honest_again).await.unwrap();
    // Its answer may be lost: the same again is no harm.
    reissue(&authority, &honest).await.unwrap();
    assert_eq!(reissue(&authority, &again).await.unwrap_err(), "REISSUE");
    // A site that was switched off gets nothing.
    let site = SiteName::parse("blindfold").unwrap();
    authority.operator().disable_site(site).await.unwrap();
    assert_eq!(reissue(&authority, &honest).await.unwrap_err(), "REISSUE");
}

#[tokio::test]
async fn forced_rotation_revokes_what_was_prepared_too() {
    let lab = Lab::new(|_| ()).await;
    let authority = lab.open().await.unwrap();
    authority.operator().rotate_issuer(false).await.unwrap();
    let again = authority.operator().rotate_issuer(false).await.unwrap_err();
    assert!(again.to_string().contains("prepared already"), "{again}");
    authority.operator().rotate_issuer(true).await.unwrap();

    assert_eq!(
        states(&authority).await,
        [
            IssuerState::Active,
            IssuerState::Revoked,
            IssuerState::Revoked
        ]
    );
    assert_eq!(authority.bundle().issuers().len(), 1);
    // Remembered until they end by themselves.
    lab.clock.advance(Duration::from_secs(91 * DAY));
    upkeep::once(&authority.inner, &mut OwnRenewal::after(&authority.inner)).await;
    assert!(!states(&authority).await.contains(&IssuerState::Revoked));
}

/// A root on another machine, as this test holds it.
struct Elsewhere {
    root: RootAuthority,
    pem: String,
}

impl Elsewhere {
    fn new(now: u64) -> Self {
        let domain = TrustDomain::parse("acme.example").unwrap();
        let rng = &mut random::system();
        let root = RootAuthority::create(&domain, now - DAY, now + 3650 * DAY, rng).unwrap();
        let pem = root.certificate_pem();
        Self { root, pem }
    }

    async fn sign(&self, lab: &Lab, csr: &str, days: u64) -> String {
        let request = IssuerRequest::from_pem(csr).unwrap();
        let now = lab.now();
        let signed = self.root.sign_issuer(
            &request,
            now - BACKDATE_SECONDS,
            now + days * DAY,
            &mut random::system(),
        );
        signed.unwrap().to_pem()
    }

    /// An authority below it that has its first issuing certificate.
    async fn authority(&self) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), |_| ());
        let clock = ManualClock::new(service::clock::now());
        init_below(&config, Arc::new(clock.clone()), &self.pem)
            .await
            .unwrap();
        let lab = Lab {
            folder,
            config,
            clock,
        };
        let error = lab.open().await.unwrap_err();
        assert!(matches!(error, AuthorityError::NoIssuer), "{error}");
        with_operator(&lab.config, async |operator| {
            let csr = operator.issuer_request(false).await?;
            assert_eq!(
                operator.issuer_request(false).await?,
                csr,
                "the one that waits"
            );
            let chain = self.sign(&lab, &csr, 90).await;
            operator.install_issuer(&chain, false).await
        })
        .await
        .unwrap();
        lab
    }
}

#[tokio::test]
async fn root_elsewhere_signs_and_is_asked_in_time() {
    let elsewhere = Elsewhere::new(unix_seconds(service::clock::now()));
    let lab = elsewhere.authority().await;
    let authority = lab.open().await.unwrap();
    let inner = &authority.inner;
    let mut own = OwnRenewal::after(inner);
    assert_eq!(states(&authority).await, [IssuerState::Active]);
    let first = join(&authority, "ada").await;
    verified(&authority, &first, lab.now()).unwrap();
    let error = authority.operator().rotate_issuer(true).await.unwrap_err();
    assert!(error.to_string().contains("issuer request"), "{error}");
    // With a third of its life left, the request lies there.
    lab.clock.advance(Duration::from_secs(59 * DAY));
    upkeep::once(inner, &mut own).await;
    assert!(
        inner
            .registry
            .tables()
            .issuer_requests()
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        inner.issuers.outlook(lab.now()),
        crate::issuers::Outlook::Fine
    );
    lab.clock.advance(Duration::from_secs(2 * DAY));
    upkeep::once(inner, &mut own).await;
    let waiting = inner.registry.tables().issuer_requests().await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert!(matches!(
        inner.issuers.outlook(lab.now()),
        crate::issuers::Outlook::Due { .. }
    ));
    let chain = elsewhere.sign(&lab, &waiting[0].csr, 90).await;
    authority
        .operator()
        .install_issuer(&chain, false)
        .await
        .unwrap();
    let twice = authority
        .operator()
        .install_issuer(&chain, false)
        .await
        .unwrap_err();
    assert!(twice.to_string().contains("installed already"), "{twice}");
    upkeep::once(inner, &mut own).await;
    lab.clock.advance(Duration::from_secs(61));
    upkeep::once(inner, &mut own).await;
    assert_eq!(
        states(&authority).await,
        [IssuerState::Active, IssuerState::Retiring]
    );
    // After a compromise: a new key, signed elsewhere, in force at once.
    let operator = authority.operator();
    lab.clock.advance(Duration::from_secs(600));
    let fresh = operator.issuer_request(true).await.unwrap();
    let chain = elsewhere.sign(&lab, &fresh, 90).await;
    operator.install_issuer(&chain, true).await.unwrap();

    assert_eq!(
        states(&authority).await,
        [
            IssuerState::Active,
            IssuerState::Revoked,
            IssuerState::Revoked
        ]
    );
    // Nobody signs in time: not ready, and everything that can be done was.
    lab.clock.advance(Duration::from_secs(88 * DAY));
    upkeep::once(inner, &mut own).await;
    assert_eq!(
        inner.issuers.outlook(lab.now()),
        crate::issuers::Outlook::Overdue
    );
}

#[tokio::test]
async fn what_the_root_elsewhere_should_not_have_signed_is_refused() {
    let elsewhere = Elsewhere::new(unix_seconds(service::clock::now()));
    let lab = elsewhere.authority().await;
    let authority = lab.open().await.unwrap();
    let operator = authority.operator();
    let refused = async |chain: &str, expected: &str| {
        let error = operator.install_issuer(chain, false).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    let csr = operator.issuer_request(true).await.unwrap();
    refused("x", "certificate chain is not PEM").await;
    // Too soon after the first, too short, by another root, for another's key.
    lab.clock.advance(Duration::from_secs(600));
    let short = elsewhere.sign(&lab, &csr, 2).await;
    refused(&short, "ends too soon").await;
    let stranger = Elsewhere::new(lab.now());
    refused(
        &stranger.sign(&lab, &csr, 90).await,
        "verifiers would refuse",
    )
    .await;
    let key = identity::issue::IssuerKey::generate(&mut random::system());
    let domain = TrustDomain::parse("acme.example").unwrap();
    let strange = key.request_pem(&domain, &mut random::system()).unwrap();
    refused(
        &elsewhere.sign(&lab, &strange, 90).await,
        "no request of this authority",
    )
    .await;
    refused(&elsewhere.pem, "no request of this authority").await;
    assert_eq!(
        states(&authority).await,
        [IssuerState::Active],
        "nothing changed"
    );
    let good = elsewhere.sign(&lab, &csr, 90).await;
    operator.install_issuer(&good, false).await.unwrap();
}

#[tokio::test]
async fn init_refuses_what_is_no_root_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |_| ());
    let clock = ManualClock::new(service::clock::now());
    let now = unix_seconds(clock.now());
    let refused = async |pem: &str, expected: &str| {
        let done = init_below(&config, Arc::new(clock.clone()), pem).await;
        let error = done.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(
            !folder.path().join("root.key").exists(),
            "nothing is left behind"
        );
    };
    refused("x", "PEM").await;
    let domain = TrustDomain::parse("acme.example").unwrap();
    let rng = &mut random::system();
    let short = RootAuthority::create(&domain, now - DAY, now + 100 * DAY, rng).unwrap();
    refused(&short.certificate_pem(), "too soon").await;
    let other = TrustDomain::parse("other.example").unwrap();
    let other = RootAuthority::create(&other, now - DAY, now + 3650 * DAY, rng).unwrap();
    refused(&other.certificate_pem(), "trust domain").await;
    let issuer = other.create_issuer(now - DAY, now + 90 * DAY, rng).unwrap();
    refused(&issuer.chain_pem(), "no root's").await;
}

#[tokio::test]
async fn root_is_replaced_while_documents_of_both_are_accepted() {
    let lab = Lab::new(|_| ()).await;
    let authority = lab.open().await.unwrap();
    let inner = &authority.inner;
    let operator = authority.operator();
    let mut own = OwnRenewal::after(inner);
    let old = operator.roots().await.unwrap()[0].0.fingerprint();
    let before = join(&authority, "ada").await;
    let alone = operator.remove_root(&old).await.unwrap_err();
    assert!(alone.to_string().contains("the only root"), "{alone}");
    // In the same second: it is the newer one all the same.
    let new = operator.add_root(None).await.unwrap();
    assert_eq!(authority.bundle().trust_anchors().len(), 2);
    let needed = operator.remove_root(&old).await.unwrap_err();
    assert!(
        needed.to_string().contains("in force was signed by it"),
        "{needed}"
    );
    operator.rotate_issuer(false).await.unwrap();
    upkeep::once(inner, &mut own).await;
    lab.clock.advance(Duration::from_secs(61));
    upkeep::once(inner, &mut own).await;
    let after = join(&authority, "bob").await;
    let roots = operator.roots().await.unwrap();
    assert_eq!(roots[0].0.fingerprint(), new);
    let below_new = [roots[0].0.clone()];
    inner
        .documents
        .issuer()
        .verify_under(&below_new, lab.now(), &mut random::system())
        .unwrap();
    for document in [&before, &after] {
        verified(&authority, document, lab.now()).unwrap();
    }
    let retiring = info(&authority, IssuerState::Retiring).await;
    let end = retiring.last_document_not_after + MAX_CLOCK_SKEW_SECONDS + 1;
    lab.clock
        .set(std::time::UNIX_EPOCH + Duration::from_secs(end));
    upkeep::once(inner, &mut own).await;
    operator.remove_root(&old).await.unwrap();
    assert_eq!(authority.bundle().trust_anchors().len(), 1);
    let third = join(&authority, "cy").await;
    verified(&authority, &third, lab.now()).unwrap();
    let unknown = operator.remove_root(&old).await.unwrap_err();
    assert!(
        unknown.to_string().contains("no root has this fingerprint"),
        "{unknown}"
    );
}

#[tokio::test]
async fn company_root_is_added_by_its_certificate_alone() {
    let lab = Lab::new(|_| ()).await;
    let authority = lab.open().await.unwrap();
    let operator = authority.operator();
    let elsewhere = Elsewhere::new(lab.now());
    let added = operator.add_root(Some(&elsewhere.pem)).await.unwrap();
    let root = CaCertificate::root_from_pem(&elsewhere.pem).unwrap();
    assert_eq!(added, root.fingerprint());
    assert_eq!(
        operator.add_root(Some(&elsewhere.pem)).await.unwrap(),
        added,
        "once"
    );
    let kept: Vec<_> = operator
        .roots()
        .await
        .unwrap()
        .iter()
        .map(|root| root.1)
        .collect();
    assert_eq!(
        kept.iter().filter(|here| **here).count(),
        1,
        "its key is elsewhere"
    );
}

#[tokio::test]
async fn replica_that_slept_makes_no_issuer_below_a_root_that_is_gone() {
    let lab = Lab::new(|_| ()).await;
    let authority = lab.open().await.unwrap();
    let old = authority.operator().roots().await.unwrap()[0]
        .0
        .fingerprint();
    with_operator(&lab.config, async |operator| {
        operator.add_root(None).await?;
        operator.rotate_issuer(true).await?;
        operator.remove_root(&old).await
    })
    .await
    .unwrap();
    // This one has not looked since: it knows the old root only.
    let stale = authority.operator().rotate_issuer(false).await.unwrap_err();
    assert!(stale.to_string().contains("another replica"), "{stale}");
    authority.operator().rotate_issuer(false).await.unwrap();
    let roots: Vec<_> = authority.operator().roots().await.unwrap();
    let roots: Vec<_> = roots.into_iter().map(|(root, _)| root).collect();
    let prepared = authority.inner.registry.snapshot().issuers[0].clone();
    assert_eq!(prepared.state, IssuerState::Prepared);
    let domain = TrustDomain::parse("acme.example").unwrap();
    let issuer =
        crate::certificates::load_issuer(&prepared, &domain, &authority.inner.root_key).unwrap();
    issuer
        .verify_under(&roots, lab.now(), &mut random::system())
        .expect("verifiers accept what it will sign");
}

#[tokio::test]
async fn crowd_of_reloads_reads_the_store_a_few_times() {
    let lab = Lab::new(|_| ()).await;
    let authority = lab.open().await.unwrap();
    let registry = Arc::clone(&authority.inner.registry);
    let before = registry.readings();
    let site = SiteName::parse("blindfold").unwrap();
    with_operator(&lab.config, async |operator| {
        operator.disable_site(site.clone()).await
    })
    .await
    .unwrap();
    // All have come before the first one has read.
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let registry = Arc::clone(&registry);
        crowd.spawn(async move { registry.reload().await.unwrap() });
    }
    crowd.join_all().await;
    assert!(authority.bundle().disabled_sites().contains(&site));
    let readings = registry.readings() - before;
    assert!((1..=8).contains(&readings), "{readings}");
}
