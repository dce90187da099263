//! What goes to `tracing`: somebody has to learn of an authority that lies, also where others make up for it.

use std::{
    fmt::{self, Write as _},
    sync::{Mutex, PoisonError},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use wingman_sdk::ExposeSecret;

use crate::{
    server::Reply,
    unsealing::{Behaviour, TestUnsealer, threshold, wingman},
    world::World,
};

static LINES: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

/// Keeps every event of the crate as a line.
struct Keeper;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("wingman_sdk")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push((*event.metadata().level(), line.0));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn wrong_proof_is_a_warning_that_names_the_culprit() {
    // For all threads: authorities are asked on threads of their own.
    tracing::subscriber::set_global_default(Keeper).unwrap();
    let world = World::new();
    let lie = Behaviour::twist(|_, reply| match reply {
        Reply::Http {
            status,
            content_type,
            headers,
            mut body,
        } => {
            // The proof is the end of an answer.
            *body.last_mut().unwrap() ^= 1;
            Reply::Http {
                status,
                content_type,
                headers,
                body,
            }
        }
        other => other,
    });
    let liar = TestUnsealer::start(&world, "event-liar", lie);
    let honest = TestUnsealer::start(&world, "event-honest", Behaviour::default());
    let sealed = threshold(1, &[&liar, &honest], b"secret-of-the-event-test");
    let wingman = wingman(&world, &[&liar, &honest]);
    while liar.server.received().is_empty() {
        let secret = wingman.open(&sealed).unwrap();
        assert_eq!(secret.expose_secret(), b"secret-of-the-event-test");
    }
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let of = |name: &str| -> Vec<_> {
        let bad = |line: &&(Level, String)| line.0 == Level::WARN && line.1.contains(name);
        lines.iter().filter(bad).collect()
    };
    let [(_, line)] = of("event-liar")[..] else {
        panic!("{lines:?}")
    };
    assert!(line.contains("wrong proof"), "{line}");
    assert!(line.contains(&liar.server.url()), "{line}");
    assert!(
        line.contains("spiffe://test.example/control/unsealer-event-liar"),
        "{line}"
    );
    assert!(
        line.contains(&liar.record.key_id().to_string()),
        "the key is not named: {line}"
    );
    assert!(of("event-honest").is_empty(), "{lines:?}");
    let told = lines.iter().any(|(_, line)| line.contains("secret-of"));
    assert!(!told, "a secret in the log: {lines:?}");
}
