//! An identity authority that really issues, under the real redemption rule.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex},
};

use attest::voucher::{Algorithm, Claims, Signer, Vouchers};
use identity::{
    Attributes, SiteName, SpiffeId, TrustBundle,
    attributes::INSTANCE,
    issue::IssueRequest,
    join::{JoinSecret, JoinToken, JoinTokenRecord, Redemption},
    tls::{ClientAuth, TlsIdentity},
    wire::{self, AttestRequest, DocumentResponse, Evidence, JoinRequest, RenewRequest},
};
use rustls_pki_types::CertificateDer;
use wingman_sdk::identity::{AuthorityContact, Clock, IdentityConfig};

use crate::{
    clock::TestClock,
    server::{Received, Reply, TestServer},
    world::{World, id, now, rng},
};

/// What a test can change while the authority runs.
pub(crate) struct Desk {
    pub(crate) world: World,
    pub(crate) tokens: Vec<JoinTokenRecord>,
    /// The bundle handed out; that of the world unless changed.
    pub(crate) bundle: TrustBundle,
    /// Seconds from issuing to expiry.
    pub(crate) lifetime: u64,
    /// By which it issues.
    pub(crate) clock: TestClock,
    /// Seconds from the start of a document to its issuing.
    pub(crate) backdate: u64,
    /// So many answers to attestations get lost, after the work was done.
    pub(crate) lose_attestations: usize,
    /// Every connection ends without an answer.
    pub(crate) away: bool,
    vouchers: Vouchers,
    /// Tokens used, with the key each was used for.
    used: HashMap<String, [u8; 32]>,
    /// By `uid`: greatest sequence, the attributes that go with it, and the latest start of a document.
    launched: BTreeMap<String, (u64, Attributes, u64)>,
    /// What becomes of the next replies, last first: `Some` replaces the real one, after the work was done.
    pub(crate) twists: Vec<Option<Reply>>,
}

/// An authority under test.
pub(crate) struct TestAuthority {
    pub(crate) server: TestServer,
    pub(crate) desk: Arc<Mutex<Desk>>,
    signer: Signer,
}

impl TestAuthority {
    pub(crate) fn start() -> Self {
        Self::start_by(&TestClock::default())
    }

    /// One with a clock of its own.
    pub(crate) fn start_by(clock: &TestClock) -> Self {
        let world = World::new();
        // Its own document is long-lived, whatever it issues.
        let own = world.document_between("identity-authority", now() - 3600, now() + 6 * 24 * 3600);
        let provider = Arc::new(clock.clone());
        let tls = TlsIdentity::with_clock(own, world.bundle.clone(), provider).unwrap();
        let signer = Signer::generate("k1", Algorithm::Es256, &mut rng()).unwrap();
        let vouchers = Vouchers::new(&[signer.voucher_key().unwrap()]).unwrap();
        let bundle = world.bundle.clone();
        let desk = Desk {
            world,
            tokens: Vec::new(),
            bundle,
            lifetime: 3600,
            clock: clock.clone(),
            backdate: 1,
            lose_attestations: 0,
            away: false,
            vouchers,
            used: HashMap::new(),
            launched: BTreeMap::new(),
            twists: Vec::new(),
        };
        let desk = Arc::new(Mutex::new(desk));
        let at_work = Arc::clone(&desk);
        let server = TestServer::start(tls, ClientAuth::Optional, move |received| {
            let mut desk = at_work.lock().unwrap();
            if desk.away {
                return Reply::Close;
            }
            let reply = desk.reply(received);
            if received.path == wire::ATTEST_PATH && desk.lose_attestations > 0 {
                desk.lose_attestations -= 1;
                return Reply::Close;
            }
            let reply = match desk.twists.pop() {
                Some(Some(twisted)) => twisted,
                _ => reply,
            };
            reply.dated(desk.clock.now())
        });
        Self {
            server,
            desk,
            signer,
        }
    }

    pub(crate) fn contact(&self) -> AuthorityContact {
        AuthorityContact {
            url: self.server.url(),
            spiffe_id: id("identity-authority"),
        }
    }

    /// A token of the voucher of Paris, by the authority's clock.
    pub(crate) fn voucher_token(&self, sequence: u64, tier: &str, key: [u8; 32]) -> String {
        let now = self.desk.lock().unwrap().clock.unix();
        let mut attributes = Attributes::new();
        attributes.insert("tier", tier).unwrap();
        let claims = Claims {
            site: SiteName::parse("paris").unwrap(),
            audience: id("identity-authority"),
            subject: id("paris/api"),
            uid: "pod-1".to_owned(),
            sequence,
            issued_at: now,
            expires_at: now + 60,
            token_id: Claims::draw_token_id(&mut rng()),
            csr_key_sha256: key,
            attributes,
        };
        self.signer.sign(&claims, &mut rng()).unwrap().to_string()
    }

    pub(crate) fn token(&self, path: &str) -> JoinToken {
        let mut desk = self.desk.lock().unwrap();
        let fingerprint = desk.world.bundle.fingerprint();
        let secret = JoinSecret::generate(&mut rng());
        let record =
            JoinTokenRecord::new(&secret, id(path), Attributes::new(), now(), 600, &mut rng())
                .unwrap();
        desk.tokens.push(record);
        JoinToken::new(
            &self.server.url(),
            id("identity-authority"),
            fingerprint,
            secret,
        )
        .unwrap()
    }

    /// The paths that were asked for.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.server
            .received()
            .into_iter()
            .map(|received| received.path)
            .collect()
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        self.paths().iter().filter(|asked| *asked == path).count()
    }
}

impl Desk {
    fn reply(&mut self, received: &Received) -> Reply {
        match (received.method.as_str(), received.path.as_str()) {
            ("GET", wire::BUNDLE_PATH) => Reply::json(200, self.bundle.to_json()),
            ("POST", wire::ATTEST_PATH) => {
                self.attest(&wire::parse_request(&received.body).unwrap())
            }
            ("POST", wire::JOIN_PATH) => self.join(&wire::parse_request(&received.body).unwrap()),
            ("POST", wire::RENEW_PATH) => {
                let Some(peer) = &received.peer else {
                    return denied();
                };
                if self.bundle.is_disabled(peer.spiffe_id()) {
                    return denied();
                }
                let request: RenewRequest = wire::parse_request(&received.body).unwrap();
                let (id, attributes) = (peer.spiffe_id().clone(), peer.attributes().clone());
                // Superseded, or of a revoked issuer: its holder has to attest again.
                if peer.recheck(&self.bundle, self.clock.unix()).is_err() {
                    return denied();
                }
                let from = self.clock.unix() - self.backdate;
                self.issue(&request.csr, id, attributes, from)
            }
            _ => Reply::status(404),
        }
    }

    fn join(&mut self, request: &JoinRequest) -> Reply {
        let key = *request.csr.verify().unwrap().public_key_sha256();
        let hash = request.token_secret.hash();
        let Some(record) = self
            .tokens
            .iter_mut()
            .find(|record| record.secret_hash == hash)
        else {
            return denied();
        };
        match record.redeem(&key, self.clock.unix()) {
            Redemption::First(redeemed) => record.redeemed = Some(redeemed),
            Redemption::Repeat => {}
            Redemption::Refused(_) => return denied(),
        }
        let spiffe_id = record.spiffe_id.clone();
        let mut attributes = Attributes::new();
        attributes.insert("environment", "test").unwrap();
        let from = self.clock.unix() - self.backdate;
        self.issue(&request.csr, spiffe_id, attributes, from)
    }

    /// The real voucher check, and the rules of single use, sequence and supersession.
    fn attest(&mut self, request: &AttestRequest) -> Reply {
        let Evidence::Voucher { token } = &request.evidence else {
            return denied();
        };
        let key = *request.csr.verify().unwrap().public_key_sha256();
        let now = self.clock.unix();
        let Ok(claims) = self.vouchers.open(token) else {
            return denied();
        };
        let fits = claims.csr_key_sha256 == key
            && claims.audience == id("identity-authority")
            && claims.site == request.site
            && now.abs_diff(claims.issued_at) <= 300
            && *self.used.entry(claims.token_id.clone()).or_insert(key) == key;
        if !fits || self.bundle.is_disabled(&claims.subject) {
            return denied();
        }
        let mut attributes = claims.attributes.clone();
        attributes.insert(INSTANCE, "0123456789abcdef").unwrap();
        let mut from = now - self.backdate;
        if let Some((sequence, before, last)) = self.launched.get(&claims.uid) {
            if claims.sequence < *sequence
                || (claims.sequence == *sequence && *before != attributes)
            {
                return denied();
            }
            from = from.max(last + 1);
            if *before != attributes {
                let next = self.bundle.sequence() + 1;
                let revoked = [("0123456789abcdef".to_owned(), Some(from))];
                self.bundle = self
                    .world
                    .bundle_of(next)
                    .with_revoked_instances(revoked)
                    .unwrap();
            }
        }
        let noted = (claims.sequence, attributes.clone(), from);
        self.launched.insert(claims.uid, noted);
        self.issue(&request.csr, claims.subject, attributes, from)
    }

    fn issue(
        &self,
        csr: &wire::CsrDer,
        spiffe_id: SpiffeId,
        attributes: Attributes,
        from: u64,
    ) -> Reply {
        let mut request = IssueRequest::new(spiffe_id, attributes, from, 60);
        request.not_before = from;
        request.not_after = self.clock.unix() + self.lifetime;
        let csr = csr.verify().unwrap();
        let chain: Vec<CertificateDer<'static>> =
            self.world.issuer.issue(&csr, &request, &mut rng()).unwrap();
        let answer = DocumentResponse::new(&chain, self.bundle.clone());
        Reply::json(200, serde_json::to_vec(&answer).unwrap())
    }
}

fn denied() -> Reply {
    Reply::json(403, r#"{"error":"denied","message":"not permitted"}"#)
}

/// A directory to be made and a token file of mode 0600 beside it.
pub(crate) fn directory_with_token(base: &Path, token: &JoinToken) -> IdentityConfig {
    let file = base.join("join-token");
    write_secret(&file, token.expose_text().as_bytes());
    IdentityConfig::new(base.join("identity")).join_token_file(file)
}

pub(crate) fn write_secret(file: &Path, bytes: &[u8]) {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .unwrap();
    file.write_all(bytes).unwrap();
}
