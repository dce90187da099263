//! A trust domain of the test's own, and a key management service over mutual TLS whose answers a test decides on.
//!
//! Its keys are real keyrings, so that what the client makes here and what the service makes can read each other.

use std::{
    collections::HashSet,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use getrandom::{SysRng, rand_core::UnwrapErr};
use identity::{
    Attributes, DocumentKey, IdentityDocument, SpiffeId, TrustBundle, TrustDomain,
    issue::{Csr, IssueRequest, Issuer, RootAuthority},
    tls::{ClientAuth, TlsIdentity},
};
use kms_client::{
    Algorithm, KeyId, Kms, KmsBuilder, Operation, State, hpke,
    keyring::Keyring,
    local::{OperationError, VersionKey},
    material::Material,
    wire::{self, ErrorBody, ErrorCode, Outcome},
};
use serde::{Serialize, de::DeserializeOwned};

use super::server::{Received, Reply, TestServer};

/// Far beyond what anything here takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Waits until `holds`, and fails when it never does.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn id(path: &str) -> SpiffeId {
    format!("spiffe://test.example/{path}").parse().unwrap()
}

pub(crate) struct World {
    issuer: Issuer,
    bundle: TrustBundle,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut rng = UnwrapErr(SysRng);
        let domain = TrustDomain::parse("test.example").unwrap();
        let (from, end) = (now() - 3600, now() + 60 * 24 * 3600);
        let root = RootAuthority::create(&domain, from, end, &mut rng).unwrap();
        let issuer = root.create_issuer(from, end, &mut rng).unwrap();
        let bundle = TrustBundle::new(domain, 1, [root.certificate().clone()]).unwrap();
        Self { issuer, bundle }
    }

    pub(crate) fn tls(&self, path: &str) -> Arc<TlsIdentity> {
        let mut rng = UnwrapErr(SysRng);
        let key = DocumentKey::generate(&mut rng);
        let csr = Csr::parse(&key.csr_der(&mut rng).unwrap()).unwrap();
        let request = IssueRequest::new(id(path), Attributes::new(), now(), 3600);
        let chain = self.issuer.issue(&csr, &request, &mut rng).unwrap();
        let document = IdentityDocument::new(chain, key).unwrap();
        TlsIdentity::new(document, self.bundle.clone()).unwrap()
    }
}

/// What the service is to do.
pub(crate) struct Rules {
    pub(crate) ring: Keyring,
    /// Of every version, from 1.
    materials: Vec<wire::Bytes>,
    pub(crate) low: bool,
    pub(crate) revision: u64,
    /// Operations that the policy allows.
    pub(crate) allowed: HashSet<Operation>,
    /// Seconds after issue: refresh, end, end during an outage.
    pub(crate) terms: (u64, u64, u64),
    pub(crate) uses: u64,
    /// Answers everything with this, as often as it says.
    pub(crate) failing: Option<(ErrorCode, u16, usize)>,
    /// Whether watches hear of changes.
    pub(crate) pushes: bool,
    /// Changes a handed key on its way.
    pub(crate) forge: Option<fn(&mut wire::Lease)>,
}

/// A service with one key, `orders` of tenant `acme`.
pub(crate) struct Service {
    pub(crate) server: TestServer,
    pub(crate) world: World,
    shared: Arc<Shared>,
}

struct Shared {
    rules: Mutex<Rules>,
    changed: Condvar,
    watches: AtomicUsize,
    fetches: AtomicUsize,
    handed_uses: AtomicUsize,
}

impl Service {
    pub(crate) fn start(low: bool, algorithm: Algorithm) -> Self {
        let world = World::new();
        let key_id = KeyId::from_bytes([7; 16]);
        let shared = Arc::new(Shared {
            rules: Mutex::new(Rules {
                ring: Keyring::new(key_id, "orders", algorithm),
                materials: Vec::new(),
                low,
                revision: 1,
                allowed: Operation::all().collect(),
                terms: (600, 1200, 2400),
                uses: 1_000_000,
                failing: None,
                pushes: true,
                forge: None,
            }),
            changed: Condvar::new(),
            watches: AtomicUsize::new(0),
            fetches: AtomicUsize::new(0),
            handed_uses: AtomicUsize::new(0),
        });
        let handler = Arc::clone(&shared);
        let server = TestServer::start(world.tls("kms"), ClientAuth::Required, move |received| {
            handler.answer(received)
        });
        let service = Self {
            server,
            world,
            shared,
        };
        service.rotate();
        service
    }

    pub(crate) fn builder(&self) -> KmsBuilder {
        Kms::builder(&self.server.url(), id("kms"))
            .tenant("acme")
            .identity(self.world.tls("app"))
            .deadline(PATIENCE)
            .attempt_timeout(PATIENCE)
    }

    pub(crate) fn client(&self) -> Kms {
        self.builder().build().unwrap()
    }

    pub(crate) fn rules(&self) -> MutexGuard<'_, Rules> {
        self.shared.rules.lock().unwrap()
    }

    /// Changes the key, and tells those who watch it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Rules)) {
        let mut rules = self.rules();
        change(&mut rules);
        rules.revision += 1;
        drop(rules);
        self.shared.changed.notify_all();
    }

    /// Makes a new version, and the primary one.
    pub(crate) fn rotate(&self) {
        self.change(Rules::rotate);
    }

    pub(crate) fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// Watches that are held now.
    pub(crate) fn watches(&self) -> usize {
        self.shared.watches.load(Ordering::SeqCst)
    }

    /// Uses handed out so far.
    pub(crate) fn handed_uses(&self) -> usize {
        self.shared.handed_uses.load(Ordering::SeqCst)
    }

    /// Requests for operations, without fetches and watches.
    pub(crate) fn operations(&self) -> Vec<String> {
        let received = self.server.received();
        let paths = received.into_iter().map(|received| received.path);
        paths
            .filter(|path| !path.contains("/fetch-key") && !path.contains("/watch/"))
            .collect()
    }
}

impl Rules {
    pub(crate) fn rotate(&mut self) {
        let version = self.ring.versions().last().map_or(0, |(last, _)| last) + 1;
        let material = Material::generate(self.ring.algorithm()).unwrap();
        self.materials.push(material.to_bytes().to_vec().into());
        let key = VersionKey::new(self.ring.id(), version, material).unwrap();
        self.ring
            .insert(version, State::Enabled, Some(Arc::new(key)))
            .unwrap();
        self.ring.set_primary(version).unwrap();
    }

    fn handed_versions(&self) -> Vec<wire::LeasedVersion> {
        let versions = self.ring.versions().zip(&self.materials);
        versions
            .filter(|((_, state), _)| matches!(state, State::Enabled | State::DecryptOnly))
            .map(|((version, state), material)| wire::LeasedVersion {
                version,
                state,
                material: material.clone(),
            })
            .collect()
    }
}

type Refused = (ErrorCode, u16);

impl Shared {
    fn answer(&self, received: &Received) -> Reply {
        {
            let mut rules = self.rules.lock().unwrap();
            if let Some((code, status, times)) = rules.failing
                && times > 0
            {
                rules.failing = Some((code, status, times - 1));
                return refuse((code, status));
            }
        }
        let path = received.path.strip_prefix("/v1/").unwrap().to_owned();
        let segments: Vec<_> = path.split('/').collect();
        let answered = match segments.as_slice() {
            ["watch", "acme"] => self.watch(&parse(&received.body)),
            ["random", "acme"] => {
                let request: wire::RandomRequest = parse(&received.body);
                json(&wire::RandomResponse {
                    random: vec![5; request.bytes].into(),
                })
            }
            ["keys", "acme", "orders", operation] => self.operate(operation, &received.body),
            _ => Err((ErrorCode::Denied, 403)),
        };
        answered.unwrap_or_else(refuse)
    }

    fn operate(&self, name: &str, body: &[u8]) -> Result<Reply, Refused> {
        let rules = self.rules.lock().unwrap();
        let allows = |operation: Operation| {
            if rules.allowed.contains(&operation) {
                Ok(())
            } else {
                Err((ErrorCode::Denied, 403))
            }
        };
        if name == "re-encrypt" {
            allows(Operation::ReEncryptFrom)?;
            let request: wire::ReEncryptRequest = parse(body);
            return each(request.items, |item: wire::ReEncrypt| {
                let (plaintext, _) = rules
                    .ring
                    .decrypt(&aad(item.aad.as_ref()), &item.ciphertext.0)?;
                let new = item.new_aad.as_ref().or(item.aad.as_ref());
                let (ciphertext, version) = rules.ring.encrypt(&aad(new), &plaintext)?;
                Ok(wire::Encrypted {
                    ciphertext: ciphertext.into(),
                    version,
                })
            });
        }
        let operation: Operation = name.parse().unwrap();
        allows(operation)?;
        let ring = &rules.ring;
        match operation {
            Operation::FetchKey => self.fetch(&rules, &parse(body)),
            Operation::Encrypt => batch(body, |item: wire::Encrypt| {
                let (ciphertext, version) =
                    ring.encrypt(&aad(item.aad.as_ref()), &item.plaintext.0)?;
                Ok(wire::Encrypted {
                    ciphertext: ciphertext.into(),
                    version,
                })
            }),
            Operation::Decrypt => batch(body, |item: wire::Decrypt| {
                let (plaintext, version) =
                    ring.decrypt(&aad(item.aad.as_ref()), &item.ciphertext.0)?;
                Ok(wire::Decrypted {
                    plaintext: plaintext.to_vec().into(),
                    version,
                })
            }),
            Operation::Hmac => batch(body, |item: wire::Hmac| {
                let (mac, version) = ring.mac(&item.message.0)?;
                Ok(wire::Mac {
                    mac: mac.into(),
                    version,
                })
            }),
            Operation::HmacVerify => batch(body, |item: wire::HmacVerify| {
                ring.mac_verify(&item.message.0, &item.mac.0, item.version)
            }),
            Operation::Sign => batch(body, |item: wire::Sign| {
                let (signature, version) = ring.sign(&item.input)?;
                Ok(wire::Signed {
                    signature: signature.into(),
                    version,
                })
            }),
            Operation::Verify => batch(body, |item: wire::Verify| {
                ring.verify(&item.input, &item.signature.0, item.version)
            }),
            Operation::GenerateDataKey => batch(body, |item: wire::GenerateDataKey| {
                let made = ring.generate_data_key(&aad(item.aad.as_ref()), item.bytes)?;
                Ok(wire::DataKey {
                    plaintext: Some(made.plaintext.to_vec().into()),
                    ciphertext: made.ciphertext.into(),
                    version: made.version,
                })
            }),
            Operation::GenerateDataKeyWithoutPlaintext => {
                batch(body, |item: wire::GenerateDataKey| {
                    let made = ring.generate_data_key(&aad(item.aad.as_ref()), item.bytes)?;
                    Ok(wire::DataKey {
                        plaintext: None,
                        ciphertext: made.ciphertext.into(),
                        version: made.version,
                    })
                })
            }
            Operation::PublicKey => batch(body, |item: wire::PublicKeyItem| {
                let (spki, version) = ring.public_key_spki(item.version)?;
                Ok(wire::PublicKey {
                    spki: spki.into(),
                    algorithm: ring.algorithm(),
                    version,
                })
            }),
            Operation::ReEncryptFrom | Operation::ReEncryptTo | Operation::Random => {
                Err((ErrorCode::BadRequest, 400))
            }
        }
    }

    fn fetch(&self, rules: &Rules, request: &wire::FetchKey) -> Result<Reply, Refused> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        if !rules.low {
            return Err((ErrorCode::StaysInService, 409));
        }
        self.handed_uses
            .fetch_add(usize::try_from(rules.uses).unwrap(), Ordering::SeqCst);
        let issued_at = now();
        let (refresh, end, outage) = rules.terms;
        let mut lease = wire::Lease {
            key_id: rules.ring.id(),
            name: "orders".to_owned(),
            algorithm: rules.ring.algorithm(),
            primary: rules.ring.primary().unwrap(),
            versions: rules.handed_versions(),
            operations: rules
                .allowed
                .iter()
                .map(|operation| wire::LeasedOperation {
                    operation: operation.name().to_owned(),
                    not_before: 0,
                    not_after: u64::MAX,
                })
                .collect(),
            revision: rules.revision,
            issued_at,
            refresh_at: issued_at + refresh,
            expires_at: issued_at + end,
            outage_until: issued_at + outage,
            uses: rules.uses,
        };
        if let Some(forge) = rules.forge {
            forge(&mut lease);
        }
        let (encapsulated, sealed) = hpke::seal(
            &request.recipient.0,
            wire::FETCH_INFO,
            wire::fetch_aad("acme", rules.ring.id()).as_bytes(),
            &serde_json::to_vec(&lease).unwrap(),
        )
        .unwrap();
        json(&wire::Fetched {
            key_id: rules.ring.id(),
            encapsulated: encapsulated.into(),
            sealed: sealed.into(),
        })
    }

    fn watch(&self, request: &wire::WatchRequest) -> Result<Reply, Refused> {
        self.watches.fetch_add(1, Ordering::SeqCst);
        let known = request.keys[0].revision;
        let (rules, _) = self
            .changed
            .wait_timeout_while(self.rules.lock().unwrap(), PATIENCE, |rules| {
                !rules.pushes || rules.revision == known
            })
            .unwrap();
        self.watches.fetch_sub(1, Ordering::SeqCst);
        let changed = if rules.revision == known {
            Vec::new()
        } else {
            vec![request.keys[0].key_id]
        };
        json(&wire::WatchResponse { changed })
    }
}

fn aad(aad: Option<&wire::Bytes>) -> Vec<u8> {
    aad.map(|aad| aad.0.clone()).unwrap_or_default()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> T {
    serde_json::from_slice(body).unwrap()
}

fn batch<T: DeserializeOwned, A: Serialize>(
    body: &[u8],
    work: impl Fn(T) -> Result<A, OperationError>,
) -> Result<Reply, Refused> {
    each(parse::<wire::Request<T>>(body).items, work)
}

fn each<T, A: Serialize>(
    items: Vec<T>,
    work: impl Fn(T) -> Result<A, OperationError>,
) -> Result<Reply, Refused> {
    if !(1..=256).contains(&items.len()) {
        return Err((ErrorCode::BadRequest, 400));
    }
    let results = items
        .into_iter()
        .map(|item| match work(item) {
            Ok(answer) => Outcome::Ok(answer),
            Err(reason) => Outcome::Error {
                error: ErrorBody {
                    code: reason.code(),
                    message: reason.to_string(),
                },
            },
        })
        .collect();
    json(&wire::Response { results })
}

fn json<T: Serialize>(answer: &T) -> Result<Reply, Refused> {
    Ok(Reply::json(200, serde_json::to_vec(answer).unwrap()))
}

fn refuse((code, status): Refused) -> Reply {
    let body = ErrorBody {
        code,
        message: "said by the service".to_owned(),
    };
    Reply::json(status, serde_json::to_vec(&body).unwrap())
}
