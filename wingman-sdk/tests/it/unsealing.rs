//! An unsealing authority that really evaluates, under a rule of the test's.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;

use blindfold_core::{
    AuthorityKey, CONTENT_TYPE, CanonicalPolicy, CheckedRequest, LockSpec, PATH, PolicyName,
    PolicyRef, Refusal, Request, Response, SealOptions, Sealer, UnsealingKey, Window,
};
use identity::{Principal, tls::ClientAuth};
use wingman_sdk::{SealedObject, UnsealerConfig, Wingman};

use crate::{
    server::{Received, Reply, TestServer},
    world::{World, id, rng},
};

type Rule = dyn Fn(&CheckedRequest, &Principal) -> Result<(), (Refusal, u32)> + Send + Sync;
type Twist = dyn Fn(usize, Reply) -> Reply + Send + Sync;

/// An authority under test: its key, and the server in front of it.
pub(crate) struct TestUnsealer {
    pub(crate) record: AuthorityKey,
    pub(crate) server: TestServer,
    pub(crate) spiffe_id: identity::SpiffeId,
}

/// How an authority behaves.
pub(crate) struct Behaviour {
    pub(crate) rule: Box<Rule>,
    /// Changes the reply; gets the number of the request, from 1.
    pub(crate) twist: Box<Twist>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            rule: Box::new(|_, _| Ok(())),
            twist: Box::new(|_, reply| reply),
        }
    }
}

impl Behaviour {
    pub(crate) fn rule(
        rule: impl Fn(&CheckedRequest, &Principal) -> Result<(), (Refusal, u32)> + Send + Sync + 'static,
    ) -> Self {
        Self {
            rule: Box::new(rule),
            ..Self::default()
        }
    }

    pub(crate) fn twist(twist: impl Fn(usize, Reply) -> Reply + Send + Sync + 'static) -> Self {
        Self {
            twist: Box::new(twist),
            ..Self::default()
        }
    }
}

impl TestUnsealer {
    pub(crate) fn start(world: &World, name: &str, behaviour: Behaviour) -> Self {
        let key = UnsealingKey::generate(name, "acme", 1, &mut rng()).unwrap();
        let record = key.record().clone();
        let path = format!("control/unsealer-{name}");
        let count = AtomicUsize::new(0);
        let handler = move |received: &Received| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            (behaviour.twist)(number, answer(received, &key, &behaviour.rule))
        };
        let server = TestServer::start(world.tls(&path), ClientAuth::Required, handler);
        Self {
            record,
            server,
            spiffe_id: id(&path),
        }
    }

    /// One that claims the key of `record`, does not have it, and evaluates with a key of its own.
    pub(crate) fn lying(world: &World, name: &str, record: AuthorityKey) -> Self {
        let own = UnsealingKey::generate(name, "acme", 1, &mut rng()).unwrap();
        let (claimed, own_id) = (record.key_id(), own.record().key_id());
        let path = format!("control/unsealer-{name}");
        let handler = move |received: &Received| {
            // The request with its own key id in place of the claimed one.
            let mut forged = received.clone();
            assert_eq!(&forged.body[21..53], claimed.as_bytes());
            forged.body[21..53].copy_from_slice(own_id.as_bytes());
            answer(&forged, &own, &|_, _| Ok(()))
        };
        let server = TestServer::start(world.tls(&path), ClientAuth::Required, handler);
        Self {
            record,
            server,
            spiffe_id: id(&path),
        }
    }

    pub(crate) fn config(&self) -> UnsealerConfig {
        UnsealerConfig {
            keys: vec![self.record.clone()],
            url: self.server.url(),
            spiffe_id: self.spiffe_id.clone(),
        }
    }

    /// The blinded elements of every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.server
            .received()
            .iter()
            .map(|received| Request::parse(&received.body).unwrap())
            .collect()
    }
}

fn answer(received: &Received, key: &UnsealingKey, rule: &Rule) -> Reply {
    assert_eq!(
        (received.method.as_str(), received.path.as_str()),
        ("POST", PATH)
    );
    assert_eq!(received.content_type, CONTENT_TYPE);
    let request = Request::parse(&received.body).unwrap();
    let request_id = request.request_id();
    let refused = |refusal, after| {
        Reply::ok(
            CONTENT_TYPE,
            Response::refused(request_id, refusal, after).to_bytes(),
        )
    };
    let request = match request.check() {
        Ok(request) => request,
        Err(refusal) => return refused(refusal, 0),
    };
    if let Err((refusal, after)) = rule(&request, received.peer.as_ref().unwrap()) {
        return refused(refusal, after);
    }
    match key.blind_evaluate(&request, &mut rng()) {
        Ok(response) => Reply::ok(CONTENT_TYPE, response.to_bytes()),
        Err(error) => refused(error.refusal(), 0),
    }
}

pub(crate) fn named(name: &str) -> PolicyRef {
    PolicyRef::Name(PolicyName::from_bytes(name.as_bytes()).unwrap())
}

pub(crate) fn inline(document: &str) -> PolicyRef {
    PolicyRef::Inline(CanonicalPolicy::parse(document.as_bytes()).unwrap())
}

pub(crate) fn object(locks: Vec<LockSpec>, options: SealOptions, plaintext: &[u8]) -> SealedObject {
    let bytes = Sealer::new(locks, options)
        .unwrap()
        .seal(plaintext, &mut rng())
        .unwrap();
    SealedObject::parse(&bytes).unwrap()
}

/// One lock of one authority, under the policy named `payments`.
pub(crate) fn simple(record: &AuthorityKey, label: &str, plaintext: &[u8]) -> SealedObject {
    let lock = LockSpec::share(record, named("payments"), Window::unbounded());
    object(vec![lock], SealOptions::new().label(label), plaintext)
}

/// t of all these authorities, under the policy named `payments`.
pub(crate) fn threshold(t: u8, unsealers: &[&TestUnsealer], plaintext: &[u8]) -> SealedObject {
    let lock = |unsealer: &&TestUnsealer| {
        LockSpec::share(&unsealer.record, named("payments"), Window::unbounded())
    };
    object(
        unsealers.iter().map(lock).collect(),
        SealOptions::new().threshold(t),
        plaintext,
    )
}

/// A wingman of the workload `paris/api` that knows these authorities.
pub(crate) fn wingman(world: &World, unsealers: &[&TestUnsealer]) -> Wingman {
    // On a busy machine an honest answer may take seconds.
    let builder = Wingman::builder()
        .identity(world.workload("paris/api"))
        .hedge_after(Duration::from_secs(20));
    let builder = unsealers.iter().fold(builder, |builder, unsealer| {
        builder.unsealer(unsealer.config())
    });
    builder.build().unwrap()
}

/// A world, one authority, and a wingman that knows it.
pub(crate) fn setup(behaviour: Behaviour) -> (World, TestUnsealer, Wingman) {
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", behaviour);
    let wingman = wingman(&world, &[&unsealer]);
    (world, unsealer, wingman)
}

/// A list that a rule or a twist writes to.
pub(crate) type Log<T> = Arc<Mutex<Vec<T>>>;
