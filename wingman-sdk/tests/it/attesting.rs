//! Identities by evidence: tokens of a voucher, in files and by a source of one's own.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use identity::{
    SiteName,
    tls::TlsIdentity,
    wire::{ATTEST_PATH, Evidence, RENEW_PATH},
};
use wingman_sdk::identity::{
    Attestation, BundlePin, EvidenceError, EvidenceRequest, EvidenceSource, IdentityError,
    IdentitySource, RenewalState, VoucherFile,
};

use crate::{
    issuing::TestAuthority,
    world::{World, id},
};

/// A voucher that writes tokens for whatever key is asked for.
pub(crate) struct Launcher {
    base: tempfile::TempDir,
}

impl Launcher {
    pub(crate) fn new() -> Self {
        Self {
            base: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.base.path().join("identity")
    }

    fn token_file(&self) -> PathBuf {
        self.base.path().join("token")
    }

    pub(crate) fn attestation(&self, authority: &TestAuthority) -> Attestation {
        let fingerprint = authority.desk.lock().unwrap().world.bundle.fingerprint();
        Attestation::new(
            authority.contact(),
            paris(),
            BundlePin::Fingerprint(fingerprint),
            VoucherFile::new(self.token_file()),
        )
    }

    /// The key that a token is asked for, and whether it is wanted now.
    pub(crate) fn request(&self) -> Option<([u8; 32], bool)> {
        let json = fs::read(self.base.path().join("token.request")).ok()?;
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let mut key = [0; 32];
        hex::decode_to_slice(json["public_key_sha256"].as_str().unwrap(), &mut key).unwrap();
        Some((key, json["wanted"].as_bool().unwrap()))
    }

    /// Writes a token as soon as its key is known.
    pub(crate) fn launch(&self, authority: &TestAuthority, sequence: u64, tier: &str) {
        until("a key is asked for", || self.request().is_some());
        let (key, _) = self.request().unwrap();
        self.write(&authority.voucher_token(sequence, tier, key));
    }

    pub(crate) fn write(&self, token: &str) {
        let beside = self.base.path().join("token.new");
        fs::write(&beside, token).unwrap();
        fs::rename(beside, self.token_file()).unwrap();
    }
}

fn paris() -> SiteName {
    SiteName::parse("paris").unwrap()
}

fn tier(tls: &TlsIdentity) -> String {
    let document = tls.document();
    document
        .attributes()
        .text("tier")
        .unwrap_or_default()
        .to_owned()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(40), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A source whose first token came after it was asked for.
fn launched(launcher: &Launcher, authority: &TestAuthority) -> IdentitySource {
    // Room for changes faster than one a second: each document begins later than the one before.
    authority.desk.lock().unwrap().backdate = 300;
    let source = IdentitySource::attested_in(launcher.directory(), launcher.attestation(authority));
    thread::scope(|scope| {
        let obtaining = scope.spawn(|| source.obtain().map(drop));
        until("it is wanted", || {
            launcher.request().is_some_and(|(_, wanted)| wanted)
        });
        launcher.launch(authority, 1, "silver");
        obtaining.join().unwrap().unwrap();
    });
    source
}

#[test]
fn token_that_arrives_becomes_an_identity() {
    let (authority, launcher) = (TestAuthority::start(), Launcher::new());
    let source = launched(&launcher, &authority);
    let tls = source.obtain().unwrap();
    assert_eq!(tls.document().spiffe_id(), &id("paris/api"));
    assert_eq!(tier(&tls), "silver");
    assert_eq!(authority.count(ATTEST_PATH), 1);
    // The voucher knows the key of the next document already, and this one is not it.
    let (next, wanted) = launcher.request().unwrap();
    assert!(!wanted);
    assert_ne!(next, tls.document().key().public_key_sha256());
    // A restart asks nobody, a renewal needs no token.
    let again = IdentitySource::attested_in(launcher.directory(), launcher.attestation(&authority));
    assert_eq!(
        again.obtain().unwrap().document().chain(),
        tls.document().chain()
    );
    again.renew().unwrap();
    assert_eq!(authority.count(RENEW_PATH), 1);
    assert_eq!(authority.count(ATTEST_PATH), 1);
    assert_ne!(launcher.request().unwrap().0, next, "that key is used");
}

#[test]
fn changed_token_replaces_the_document_within_a_second() {
    let (authority, launcher) = (TestAuthority::start(), Launcher::new());
    let source = launched(&launcher, &authority);
    source.start_renewal().unwrap();
    let tls = source.obtain().unwrap();
    let mut took = Vec::new();
    for sequence in 2..12 {
        let (former, generation) = (tls.document(), tls.generation());
        let wanted = format!("gold-{sequence}");
        launcher.launch(&authority, sequence, &wanted);
        let start = Instant::now();
        until("the new document", || tier(&tls) == wanted);
        took.push(start.elapsed());
        assert!(tls.generation() > generation);
        assert!(
            tls.bundle()
                .is_revoked(former.attributes(), former.not_before())
        );
        assert!(source.obtain().is_ok());
    }
    took.sort();
    println!(
        "token file to document: median {:?}, most {:?}",
        took[5], took[9]
    );
    // One second is promised; the rest is for a loaded machine.
    assert!(took[5] < Duration::from_secs(5), "{took:?}");
    // Once each; an exchange that a loaded machine broke off is repeated.
    assert!((11..20).contains(&authority.count(ATTEST_PATH)));
}

#[test]
fn refused_evidence_leaves_the_identity_as_it_is() {
    let (authority, launcher) = (TestAuthority::start(), Launcher::new());
    let source = launched(&launcher, &authority);
    source.start_renewal().unwrap();
    let tls = source.obtain().unwrap();
    let before = tls.document();
    // The sequence goes back.
    launcher.launch(&authority, 0, "gold");
    until("the refusal shows", || {
        matches!(
            source.status().renewal,
            RenewalState::EvidenceRefused { .. }
        )
    });
    assert_eq!(tls.document().chain(), before.chain());
    assert!(source.obtain().is_ok());
    assert!(launcher.request().unwrap().1, "another token is wanted");
    let error = source.attest().unwrap_err();
    assert!(matches!(
        error,
        IdentityError::Evidence(_) | IdentityError::EvidenceRefused { .. }
    ));
    let asked = authority.count(ATTEST_PATH);
    thread::sleep(Duration::from_millis(600));
    assert_eq!(authority.count(ATTEST_PATH), asked, "shown once");
    launcher.launch(&authority, 2, "gold");
    until("the next token does", || tier(&tls) == "gold");
    assert!(matches!(
        source.status().renewal,
        RenewalState::Waiting { .. }
    ));
}

#[test]
fn answer_lost_is_asked_for_again_with_the_same_token_and_key() {
    let (authority, launcher) = (TestAuthority::start(), Launcher::new());
    let source = launched(&launcher, &authority);
    source.start_renewal().unwrap();
    let tls = source.obtain().unwrap();
    // Until the answer to an attestation was lost, whatever else is asked meanwhile.
    authority.desk.lock().unwrap().lose_attestations = 1;
    launcher.launch(&authority, 2, "gold");
    until("the new document", || tier(&tls) == "gold");
    assert!(authority.count(ATTEST_PATH) >= 3, "asked again");
}

#[test]
fn superseded_document_is_replaced_at_once() {
    let (authority, launcher) = (TestAuthority::start(), Launcher::new());
    let source = launched(&launcher, &authority);
    source.start_renewal().unwrap();
    let tls = source.obtain().unwrap();
    let before = tls.document();
    {
        let mut desk = authority.desk.lock().unwrap();
        let next = desk.bundle.sequence() + 1;
        let revoked = [("0123456789abcdef".to_owned(), Some(before.not_before() + 1))];
        desk.bundle = desk
            .world
            .bundle_of(next)
            .with_revoked_instances(revoked)
            .unwrap();
    }
    // The token is spent: another one is asked for.
    until("a token is wanted", || launcher.request().unwrap().1);
    assert!(matches!(
        source.freshness(),
        freshness if !freshness.document_valid
    ));
    launcher.launch(&authority, 1, "silver");
    until("the new document", || {
        tls.document().chain() != before.chain()
    });
    assert!(source.obtain().is_ok());
    assert_eq!(
        authority.count(RENEW_PATH),
        0,
        "a refused document renews nothing"
    );
}

#[test]
fn evidence_is_shown_to_nobody_but_the_pinned_authority() {
    let (real, impostor) = (TestAuthority::start(), TestAuthority::start());
    let launcher = Launcher::new();
    launcher.write("a.b.c");
    let mut contact = real.contact();
    contact.url = impostor.server.url();
    let pin = BundlePin::Fingerprint(real.desk.lock().unwrap().world.bundle.fingerprint());
    let shown = Attestation::new(
        contact.clone(),
        paris(),
        pin,
        VoucherFile::new(launcher.token_file()),
    );
    let error = IdentitySource::from_attestation(shown)
        .obtain()
        .unwrap_err();
    assert!(
        matches!(error, IdentityError::NotTheAuthority { .. }),
        "{error}"
    );
    assert_eq!(impostor.count(ATTEST_PATH), 0);
    // By a bundle file, too; and one of another trust domain is refused beforehand.
    let file = launcher.base.path().join("bundle.json");
    fs::write(&file, World::new().bundle.to_json()).unwrap();
    let shown = Attestation::new(
        contact,
        paris(),
        BundlePin::File(file),
        VoucherFile::new(launcher.token_file()),
    );
    let error = IdentitySource::from_attestation(shown)
        .obtain()
        .unwrap_err();
    assert!(
        matches!(error, IdentityError::NotTheAuthority { .. }),
        "{error}"
    );
    assert_eq!(impostor.count(ATTEST_PATH), 0);
}

/// Whoever stole an issuing CA that was revoked since has a document that the pinned roots would still accept.
#[test]
fn pin_brings_no_revoked_authority_back() {
    let authority = TestAuthority::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.json");
    let first = authority.desk.lock().unwrap().world.bundle.clone();
    fs::write(&file, first.to_json()).unwrap();
    let pins = [
        BundlePin::Fingerprint(first.fingerprint()),
        BundlePin::File(file),
    ];
    for (sequence, pin) in (1..).zip(pins) {
        authority.desk.lock().unwrap().bundle = first.clone();
        authority.desk.lock().unwrap().backdate = 300;
        let launcher = Launcher::new();
        let voucher = VoucherFile::new(launcher.token_file());
        let shown = Attestation::new(authority.contact(), paris(), pin, voucher);
        let source = IdentitySource::from_attestation(shown);
        thread::scope(|scope| {
            let obtaining = scope.spawn(|| source.obtain().map(drop));
            launcher.launch(&authority, sequence, "silver");
            obtaining.join().unwrap().unwrap();
        });
        let (key, _) = launcher.request().unwrap();
        launcher.write(&authority.voucher_token(sequence, "silver", key));
        let attested = authority.count(ATTEST_PATH);
        {
            let mut desk = authority.desk.lock().unwrap();
            let next = desk.world.bundle_of(desk.bundle.sequence() + 1);
            desk.bundle = next.with_issuers([[7; 32]]).unwrap();
        }
        source.refresh().unwrap();
        let error = source.attest().unwrap_err();
        assert!(
            matches!(error, IdentityError::NotTheAuthority { .. }),
            "{error}"
        );
        assert_eq!(authority.count(ATTEST_PATH), attested, "evidence was shown");
    }
}

/// Asks the test for tokens, as an embedder's own voucher would.
#[derive(Debug)]
struct Asked {
    tokens: Mutex<std::sync::mpsc::Sender<[u8; 32]>>,
    answers: Mutex<std::sync::mpsc::Receiver<String>>,
    generation: Arc<AtomicU64>,
}

impl EvidenceSource for Asked {
    fn evidence(&self, request: &EvidenceRequest<'_>) -> Result<Evidence, EvidenceError> {
        assert_eq!(request.authority, &id("identity-authority"));
        assert_eq!(request.site, &paris());
        let sent = self.tokens.lock().unwrap().send(*request.csr_key_sha256);
        sent.map_err(EvidenceError::never)?;
        let token = self.answers.lock().unwrap().recv();
        let token = token.map_err(EvidenceError::never)?.into();
        Ok(Evidence::Voucher { token })
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }
}

#[test]
fn own_source_is_asked_when_it_says_so() {
    let authority = TestAuthority::start();
    let (tokens, asked) = std::sync::mpsc::channel();
    let (answer, answers) = std::sync::mpsc::channel();
    let generation = Arc::new(AtomicU64::new(0));
    let own = Asked {
        tokens: Mutex::new(tokens),
        answers: Mutex::new(answers),
        generation: Arc::clone(&generation),
    };
    let pin = BundlePin::Fingerprint(authority.desk.lock().unwrap().world.bundle.fingerprint());
    let shown = Attestation::new(authority.contact(), paris(), pin, own);
    let source = IdentitySource::from_attestation(shown);
    thread::scope(|scope| {
        let authority = &authority;
        scope.spawn(move || {
            for (sequence, tier) in (1..).zip(["silver", "gold"]) {
                let key = asked.recv_timeout(Duration::from_secs(40)).unwrap();
                let token = authority.voucher_token(sequence, tier, key);
                answer.send(token).unwrap();
            }
        });
        source.start_renewal().unwrap();
        let tls = source.obtain().unwrap();
        assert_eq!(tier(&tls), "silver");
        generation.store(1, Ordering::SeqCst);
        source.nudge();
        until("the new document", || tier(&tls) == "gold");
    });
}

#[test]
fn configuration_names_a_voucher() {
    let (authority, launcher) = (TestAuthority::start(), Launcher::new());
    let bundle = launcher.base.path().join("pinned.json");
    fs::write(&bundle, authority.desk.lock().unwrap().bundle.to_json()).unwrap();
    let file = launcher.base.path().join("wingman.toml");
    let text = format!(
        "[identity]\ndirectory = \"identity\"\n[identity.attestation]\nattestor = \"voucher\"\nsite = \"paris\"\n\
         authority_url = \"{}\"\nauthority_id = \"{}\"\nbundle_file = \"pinned.json\"\ntoken_file = \"token\"\n",
        authority.server.url(),
        id("identity-authority"),
    );
    fs::write(&file, text).unwrap();
    let wingman = wingman_sdk::Wingman::from_config(Path::new(&file)).unwrap();
    thread::scope(|scope| {
        let obtaining = scope.spawn(|| wingman.identity().unwrap().obtain().map(drop));
        launcher.launch(&authority, 1, "silver");
        obtaining.join().unwrap().unwrap();
    });
    assert!(launcher.directory().join("document.pem").exists());
}
