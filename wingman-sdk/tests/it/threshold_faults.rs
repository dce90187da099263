//! t of n under injected faults: servers that are dead, slow, lying, talking nonsense or unsteady, in every mixture.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use blindfold_core::Refusal;
use wingman_sdk::{
    Error, Expectation, ExposeSecret, UnsealerError, UnsealerHealth, Wingman, WingmanBuilder,
};

use crate::{
    server::Reply,
    unsealing::{Behaviour, TestUnsealer, threshold},
    world::{World, rng},
};

/// What a server does with a request; may be changed while it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Honest,
    /// An answer of another key: well-formed, and its proof does not hold.
    WrongProof,
    /// The right elements in the wrong places.
    WrongElement,
    /// An element that is no point of the curve.
    NoElement,
    /// Bytes that are no answer.
    Nonsense,
    /// The end of the connection.
    Closes,
    Fails,
    Denies,
    /// Later than anybody waits.
    Late,
}

const ALL: [Fate; 9] = [
    Fate::Honest,
    Fate::WrongProof,
    Fate::WrongElement,
    Fate::NoElement,
    Fate::Nonsense,
    Fate::Closes,
    Fate::Fails,
    Fate::Denies,
    Fate::Late,
];

/// How long a late answer takes: longer than the deadline of these tests.
const LATE: Duration = Duration::from_secs(12);

/// Longer than a healthy server takes on a machine under load, and shorter than [`LATE`].
const PATIENT: Duration = Duration::from_secs(4);

/// A server whose fate a test decides.
struct Fated {
    unsealer: TestUnsealer,
    fate: Arc<Mutex<Fate>>,
}

impl Fated {
    fn start(world: &World, name: &str, fate: Fate) -> Self {
        let fate = Arc::new(Mutex::new(fate));
        let (ruling, twisting) = (Arc::clone(&fate), Arc::clone(&fate));
        let behaviour = Behaviour {
            rule: Box::new(move |_, _| match *ruling.lock().unwrap() {
                Fate::Denies => Err((Refusal::Denied, 0)),
                _ => Ok(()),
            }),
            twist: Box::new(move |_, reply| twist(*twisting.lock().unwrap(), reply)),
        };
        Self {
            unsealer: TestUnsealer::start(world, name, behaviour),
            fate,
        }
    }

    fn set(&self, fate: Fate) {
        *self.fate.lock().unwrap() = fate;
    }

    fn asked(&self) -> usize {
        self.unsealer.server.received().len()
    }
}

fn twist(fate: Fate, reply: Reply) -> Reply {
    match fate {
        Fate::Honest | Fate::Denies => reply,
        Fate::Late => Reply::Late(LATE, Box::new(reply)),
        Fate::Closes => Reply::Close,
        Fate::Fails => Reply::status(500),
        Fate::Nonsense => altered(reply, |body| body.truncate(body.len() / 2)),
        // An answer ends with the elements, 49 bytes each, and the proof, two scalars of 48 bytes.
        Fate::WrongProof => altered(reply, |body| {
            let last = body.len() - 1;
            body[last] ^= 1;
        }),
        Fate::WrongElement => altered(reply, |body| {
            let end = body.len() - 96;
            // The other square root: the negative of the point, which is a point as well.
            body[end - 49] ^= 1;
        }),
        Fate::NoElement => altered(reply, |body| {
            let end = body.len() - 96;
            body[end - 49..end].fill(0xff);
        }),
    }
}

fn altered(reply: Reply, alter: impl FnOnce(&mut Vec<u8>)) -> Reply {
    match reply {
        Reply::Http {
            status,
            content_type,
            headers,
            mut body,
        } => {
            alter(&mut body);
            Reply::Http {
                status,
                content_type,
                headers,
                body,
            }
        }
        other => other,
    }
}

fn start(world: &World, fates: &[Fate]) -> Vec<Fated> {
    ["a", "b", "c", "d", "e"]
        .iter()
        .zip(fates)
        .map(|(name, fate)| Fated::start(world, name, *fate))
        .collect()
}

fn unsealers(fated: &[Fated]) -> Vec<&TestUnsealer> {
    fated.iter().map(|one| &one.unsealer).collect()
}

fn builder(world: &World, fated: &[Fated]) -> WingmanBuilder<wingman_sdk::Ready> {
    fated.iter().fold(
        Wingman::builder().identity(world.workload("paris/api")),
        |builder, one| builder.unsealer(one.unsealer.config()),
    )
}

#[test]
fn load_is_spread_over_healthy_authorities() {
    let world = World::new();
    let fated = start(&world, &[Fate::Honest; 3]);
    let sealed = threshold(2, &unsealers(&fated), b"secret");
    let wingman = builder(&world, &fated)
        .hedge_after(PATIENT)
        .build()
        .unwrap();
    for _ in 0..60 {
        wingman.open(&sealed).unwrap();
    }
    let asked: Vec<_> = fated.iter().map(Fated::asked).collect();
    assert_eq!(asked.iter().sum::<usize>(), 120, "nobody is asked in vain");
    // Forty each on average; this is five standard deviations away.
    assert!(asked.iter().all(|count| *count >= 22), "{asked:?}");
    for status in wingman.unsealer_status() {
        assert_eq!(status.health, UnsealerHealth::Healthy);
        assert_eq!((status.failed, status.refused, status.lied), (0, 0, 0));
        assert!(status.answered >= 22 && status.last_answer.is_some());
        assert!(status.last_fault.is_none() && status.retry_at.is_none());
    }
}

#[test]
fn every_wrong_answer_is_named_and_made_up_for() {
    let world = World::new();
    for (fate, lie) in [
        (Fate::WrongProof, true),
        (Fate::WrongElement, true),
        (Fate::NoElement, false),
        (Fate::Nonsense, false),
    ] {
        let fated = start(&world, &[Fate::Honest, fate, Fate::Honest]);
        let sealed = threshold(2, &unsealers(&fated), b"secret");
        let any = Expectation::new();
        let mut named = Vec::new();
        while named.is_empty() {
            // Each time without memory, so that the culprit's turn comes.
            let wingman = builder(&world, &fated).build().unwrap();
            let (opened, faults) = wingman.open_each_with_faults(&[(&sealed, &any)]);
            assert_eq!(opened[0].as_ref().unwrap().expose_secret(), b"secret");
            named = faults;
            let status = &wingman.unsealer_status()[1];
            assert_eq!(status.lied, u64::from(lie && !named.is_empty()), "{fate:?}");
        }
        let [fault] = named.as_slice() else {
            panic!("{named:?}")
        };
        assert_eq!(fault.authority, "b", "{fate:?}");
        let of_this_kind = match &fault.reason {
            UnsealerError::ProofInvalid => lie,
            UnsealerError::Answer { .. } => !lie,
            _ => false,
        };
        assert!(of_this_kind, "{fate:?}: {fault}");
    }
}

#[test]
fn unsteady_authority_costs_neither_success_nor_time() {
    let world = World::new();
    let count = AtomicUsize::new(0);
    let unsteady =
        Behaviour::twist(
            move |_, reply| match count.fetch_add(1, Ordering::SeqCst) % 2 {
                0 => Reply::Close,
                _ => reply,
            },
        );
    let mut fated = start(&world, &[Fate::Honest; 2]);
    fated.push(Fated {
        unsealer: TestUnsealer::start(&world, "unsteady", unsteady),
        fate: Arc::new(Mutex::new(Fate::Honest)),
    });
    let sealed = threshold(2, &unsealers(&fated), b"secret");
    let wingman = builder(&world, &fated).build().unwrap();
    for _ in 0..30 {
        let start = Instant::now();
        assert_eq!(wingman.open(&sealed).unwrap().expose_secret(), b"secret");
        assert!(start.elapsed() < Duration::from_secs(3));
    }
    let status = &wingman.unsealer_status()[2];
    assert!(status.failed >= 1, "{status:?}");
}

#[test]
fn shunned_authority_is_tried_again_beside_healthy_ones() {
    let world = World::new();
    let fated = start(&world, &[Fate::Closes, Fate::Honest, Fate::Honest]);
    let sealed = threshold(2, &unsealers(&fated), b"secret");
    let wingman = builder(&world, &fated)
        .hedge_after(PATIENT)
        .build()
        .unwrap();
    let health = || wingman.unsealer_status()[0].health;
    while health() != UnsealerHealth::Down {
        wingman.open(&sealed).unwrap();
    }
    // A repetition may still be under way.
    thread::sleep(Duration::from_millis(400));
    let at_first = fated[0].asked();
    wingman.open(&sealed).unwrap();
    assert_eq!(fated[0].asked(), at_first, "asked in its pause");
    fated[0].set(Fate::Honest);
    // Its first pause is five seconds at most.
    thread::sleep(Duration::from_millis(5200));
    wingman.open(&sealed).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while health() != UnsealerHealth::Healthy {
        assert!(Instant::now() < deadline, "never tried again");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(fated[0].asked(), at_first + 1, "one request is a try");
}

#[test]
fn many_threads_open_while_some_authorities_are_slow_and_lying() {
    let world = World::new();
    let fates = [
        Fate::Late,
        Fate::WrongProof,
        Fate::Honest,
        Fate::Closes,
        Fate::Honest,
    ];
    let fated = start(&world, &fates);
    let sealed = threshold(2, &unsealers(&fated), b"secret");
    let wingman = builder(&world, &fated)
        .hedge_after(PATIENT)
        .build()
        .unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(wingman.open(&sealed).unwrap().expose_secret(), b"secret");
                }
            });
        }
    });
    // Each thread may have met the liar once, at the same time; nobody asked it again.
    assert!(fated[1].asked() <= 8, "{}", fated[1].asked());
    assert!(fated[0].asked() <= 8, "{}", fated[0].asked());
}

/// Whatever the mixture: it opens exactly if t are honest, and an error names those who are not.
#[test]
fn random_mixtures_open_exactly_if_enough_are_honest() {
    let world = World::new();
    let fated = start(&world, &[Fate::Honest; 5]);
    let sealed: Vec<_> = (1..=5)
        .map(|t| threshold(t, &unsealers(&fated), b"secret"))
        .collect();
    let eager = || {
        builder(&world, &fated)
            .hedge_after(Duration::from_millis(100))
            .open_deadline(Duration::from_secs(4))
    };
    // One remembers everything that ever happened to it: memory must never keep it from opening.
    let remembering = eager().build().unwrap();
    let mut random = rng();
    let mut draw = move |below: usize| {
        use getrandom::rand_core::Rng;
        random.next_u32() as usize % below
    };
    for round in 0..6 {
        for one in &fated {
            // Half of them honest, or hardly anything would ever open.
            one.set(if draw(2) == 0 {
                Fate::Honest
            } else {
                ALL[draw(ALL.len())]
            });
        }
        let fates: Vec<_> = fated.iter().map(|one| *one.fate.lock().unwrap()).collect();
        let honest = fates.iter().filter(|fate| **fate == Fate::Honest).count();
        let t = 1 + draw(5);
        for wingman in [&eager().build().unwrap(), &remembering] {
            let outcome = wingman.open(&sealed[t - 1]);
            let case = format!("round {round}: {t} of {fates:?}");
            let error = match outcome {
                Ok(secret) => {
                    assert_eq!(secret.expose_secret(), b"secret");
                    assert!(honest >= t, "{case}: opened");
                    continue;
                }
                Err(error) => error,
            };
            assert!(honest < t, "{case}: {error}");
            let Error::TooFew {
                missing, faults, ..
            } = &error
            else {
                panic!("{case}: {error}")
            };
            assert!(*missing >= t - honest, "{case}: {error}");
            let mut named = HashSet::new();
            for fault in faults {
                named.insert(fault.authority.as_str());
                let index = fault.authority.as_bytes()[0] - b'a';
                let fate = fates[usize::from(index)];
                let late = matches!(fault.reason, UnsealerError::OutOfTime);
                assert!(fate != Fate::Honest || late, "{case}: {error}");
                let lies = matches!(fate, Fate::WrongProof | Fate::WrongElement);
                let of_a_lie = matches!(fault.reason, UnsealerError::ProofInvalid);
                assert!(of_a_lie == lies || late, "{case}: {error}");
            }
            // So many had to fail before it was beyond help, and each of them is named.
            assert!(named.len() > 5 - t, "{case}: {error}");
        }
    }
}
