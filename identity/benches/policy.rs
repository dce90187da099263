//! Decisions over ten rules, and what it takes to read a policy.
//!
//! The rules are those of `peer-bench`, where other engines decide them too.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use identity::policy::{Effect, Facts, Pattern, Policy, Query, Selector};
use identity::{Attributes, SpiffeId};

const RULES: &str = include_str!("../peer-bench/rules/blindfold.yaml");

/// 2026-06-01T00:00:00Z.
const NOW: u64 = 1_780_272_000;

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    let mut attributes = Attributes::new();
    for (key, value) in pairs {
        attributes.insert(key, *value).unwrap();
    }
    attributes
}

fn decide(c: &mut Criterion) {
    let policy = Policy::from_yaml(RULES).unwrap();
    let last = SpiffeId::parse("spiffe://acme.example/paris/ns/payments/sa/api").unwrap();
    let first = SpiffeId::parse("spiffe://acme.example/paris/ns/billing/sa/api").unwrap();
    let stranger = SpiffeId::parse("spiffe://acme.example/paris/ns/games/sa/api").unwrap();
    let production = attributes(&[
        ("environment", "production"),
        ("instance", "4711"),
        ("tier", "gold"),
    ]);
    let laptop = attributes(&[
        ("environment", "laptop"),
        ("instance", "4711"),
        ("tier", "gold"),
    ]);
    let nothing = Attributes::new();
    let mut group = c.benchmark_group("policy/decide");
    for (name, spiffe_id, attributes, effect) in [
        (
            "allowed by the first of eight",
            &first,
            &production,
            Effect::Allow,
        ),
        (
            "allowed by the last of eight",
            &last,
            &production,
            Effect::Allow,
        ),
        ("denied by a rule", &last, &laptop, Effect::Deny),
        (
            "denied for lack of a rule",
            &stranger,
            &production,
            Effect::Deny,
        ),
        ("denied for an absent fact", &last, &nothing, Effect::Deny),
    ] {
        let query = Query {
            facts: Facts {
                spiffe_id,
                attributes,
            },
            action: "open",
            resource: "unseal/acme/eu-1",
            now: NOW,
        };
        group.bench_function(name, |b| {
            b.iter(|| {
                let decision = black_box(&policy).decide(black_box(&query));
                assert_eq!(decision.effect, effect);
            });
        });
    }
    group.finish();
}

fn table(c: &mut Criterion) {
    let policy = Policy::from_yaml(RULES).unwrap();
    let spiffe_id = SpiffeId::parse("spiffe://acme.example/paris/ns/payments/sa/api").unwrap();
    let attributes = attributes(&[("environment", "production"), ("tier", "gold")]);
    let facts = Facts {
        spiffe_id: &spiffe_id,
        attributes: &attributes,
    };
    let actions = ["open", "seal", "encrypt", "decrypt"];
    let make = || policy.table(facts, "unseal/acme/eu-1", &actions, NOW);
    let table = make();
    let mut group = c.benchmark_group("policy/table");
    group.bench_function("made", |b| b.iter(|| assert_eq!(make(), table)));
    for (name, action) in [("asked, known", 0), ("asked, not in it", 4)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let decision = black_box(&table).decision(black_box(action), black_box(NOW));
                assert_eq!(decision.is_some(), action < 4);
            });
        });
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let policy = Policy::from_yaml(RULES).unwrap();
    let canonical = policy.canonical();
    let json = String::from_utf8(canonical.clone()).unwrap();
    let mut group = c.benchmark_group("policy/read");
    group.throughput(criterion::Throughput::Bytes(canonical.len() as u64));
    group.bench_function("yaml", |b| {
        b.iter(|| assert_eq!(Policy::from_yaml(black_box(RULES)).as_ref(), Ok(&policy)))
    });
    group.bench_function("json", |b| {
        b.iter(|| assert_eq!(Policy::from_json(black_box(&json)).as_ref(), Ok(&policy)))
    });
    group.bench_function("canonical", |b| {
        b.iter(|| {
            assert_eq!(
                Policy::from_canonical(black_box(&canonical)).as_ref(),
                Ok(&policy)
            )
        });
    });
    group.finish();
}

fn parts(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy/part");
    let selector: Selector = "environment=production,tier in (gold,silver),!quarantined"
        .parse()
        .unwrap();
    let attributes = attributes(&[("environment", "production"), ("tier", "silver")]);
    group.bench_function("selector", |b| {
        b.iter(|| {
            assert_eq!(
                black_box(&selector).answer(black_box(&attributes)),
                identity::policy::Answer::Yes
            )
        });
    });
    for (name, pattern, text) in [
        (
            "literal",
            "spiffe://acme.example/paris/ns/payments/sa/api",
            "spiffe://acme.example/paris/ns/payments/sa/api",
        ),
        (
            "star",
            "spiffe://acme.example/paris/ns/*/sa/api",
            "spiffe://acme.example/paris/ns/payments/sa/api",
        ),
        (
            "double star",
            "spiffe://acme.example/paris/**/api",
            "spiffe://acme.example/paris/ns/payments/sa/api",
        ),
    ] {
        let pattern: Pattern = pattern.parse().unwrap();
        group.bench_function(format!("pattern/{name}"), |b| {
            b.iter(|| assert!(black_box(&pattern).matches(black_box(text))));
        });
    }
    // The greatest pattern and text that lead the matcher astray everywhere.
    let pattern: Pattern = format!("**/{}b", "a/".repeat(250)).parse().unwrap();
    let text = ["a"; 1024].join("/");
    group.bench_function("pattern/adversarial", |b| {
        b.iter(|| assert!(!black_box(&pattern).matches(black_box(&text))));
    });
    group.finish();
}

criterion_group!(benches, decide, table, read, parts);
criterion_main!(benches);
