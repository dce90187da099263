//! Ten thousand instances and one authority in virtual time: the plans are the real ones, the authority is a model
//! that issues so many documents in a second and refuses the rest as the real one does.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use ::identity::{
    Attributes, DocumentKey, IdentityDocument, TrustDomain,
    issue::{Csr, IssueRequest, RootAuthority},
};

use super::*;

const INSTANCES: usize = 10_000;
/// Documents in a second; far below what one core issues.
const CAPACITY: f64 = 500.0;
const START: u64 = 1_800_000_000;
const HOUR: u64 = 3600;

/// SplitMix64: the same numbers each time.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap()) / f64::from(u32::MAX)
    }
}

/// One that issues at most [`CAPACITY`] documents in a second, and tells the others to come again.
struct Authority {
    away_until: Duration,
    room: f64,
    last: Duration,
}

impl Authority {
    fn asked(&mut self, at: Duration) -> Result<(), Failure> {
        let outage = Failure {
            may_pass: true,
            ..Failure::default()
        };
        if at < self.away_until {
            return Err(outage);
        }
        self.room = CAPACITY.min(self.room + CAPACITY * (at - self.last).as_secs_f64());
        self.last = at;
        if self.room < 1.0 {
            // 429, `Retry-After: 1`
            return Err(Failure {
                retry_after: Some(Duration::from_secs(1)),
                ..outage
            });
        }
        self.room -= 1.0;
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Outcome {
    /// Requests in each second.
    load: BTreeMap<u64, u32>,
    issued: u64,
    refused: u64,
    most_tries: u32,
    /// When the last one had a document for the first time.
    all_served: Duration,
}

impl Outcome {
    fn peak(&self, from: u64) -> u32 {
        self.load
            .range(from..)
            .map(|(_, load)| *load)
            .max()
            .unwrap_or_default()
    }
}

/// A document's times, as real documents have them.
struct Plan(IdentityDocument);

impl Plan {
    fn new(lifetime: u64) -> Self {
        let mut rng = crate::random::system();
        let domain = TrustDomain::parse("acme.example").unwrap();
        let root = RootAuthority::create(&domain, START - HOUR, START + 99 * 24 * HOUR, &mut rng);
        let root = root.unwrap();
        let issuer = root
            .create_issuer(START - HOUR, START + 98 * 24 * HOUR, &mut rng)
            .unwrap();
        let key = DocumentKey::generate(&mut rng);
        let csr = Csr::parse(&key.csr_der(&mut rng).unwrap()).unwrap();
        let id = "spiffe://acme.example/paris/api".parse().unwrap();
        let mut request = IssueRequest::new(id, Attributes::new(), START, lifetime);
        (request.not_before, request.not_after) = (START, START + lifetime);
        let chain = issuer.issue(&csr, &request, &mut rng).unwrap();
        Self(IdentityDocument::new(chain, key).unwrap())
    }

    /// When a document that was issued at `now` is renewed, and when it ends.
    fn of(&self, now: u64) -> (u64, u64) {
        let half_life = self.0.half_life(&mut crate::random::system()) - START;
        let lifetime = self.0.not_after() - START;
        (now + half_life, now + lifetime)
    }
}

/// Everybody wants a document at the start; ends after `until`.
fn simulate(lifetime: u64, away: Duration, until: Duration) -> Outcome {
    let plan = Plan::new(lifetime);
    let mut dice = Dice(7);
    let mut authority = Authority {
        away_until: away,
        room: CAPACITY,
        last: Duration::ZERO,
    };
    let mut schedules = vec![Schedule::default(); INSTANCES];
    let mut ends = vec![0; INSTANCES];
    let mut tries = vec![0_u32; INSTANCES];
    let mut waiting: BinaryHeap<_> = (0..INSTANCES)
        .map(|instance| Reverse((Duration::ZERO, instance)))
        .collect();
    let (mut outcome, mut without) = (Outcome::default(), INSTANCES);
    while let Some(Reverse((at, instance))) = waiting.pop() {
        if at > until {
            break;
        }
        let now = Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(START) + at,
            boot: at,
        };
        *outcome.load.entry(at.as_secs()).or_default() += 1;
        let schedule = &mut schedules[instance];
        let pause = match authority.asked(at) {
            Ok(()) => {
                let (renew_at, end) = plan.of(now.unix());
                if ends[instance] == 0 {
                    without -= 1;
                    if without == 0 {
                        outcome.all_served = at;
                    }
                }
                ends[instance] = end;
                tries[instance] = 0;
                outcome.issued += 1;
                schedule.renewed(Some(renew_at), &now);
                schedule.until_due(&now).unwrap()
            }
            Err(failure) => {
                outcome.refused += 1;
                if at >= away {
                    tries[instance] += 1;
                    outcome.most_tries = outcome.most_tries.max(tries[instance]);
                }
                let left = Duration::from_secs(ends[instance].saturating_sub(now.unix()));
                schedule.failed(&Failure { left, ..failure }, &now, dice.fraction())
            }
        };
        waiting.push(Reverse((at + pause, instance)));
    }
    assert_eq!(without, 0, "somebody was never served");
    outcome
}

#[test]
fn ten_thousand_at_once_are_served_without_collapse() {
    let outcome = simulate(HOUR, Duration::ZERO, Duration::from_secs(1200));
    let ideal = f64::from(u32::try_from(INSTANCES).unwrap()) / CAPACITY;
    println!(
        "10,000 at once, {CAPACITY} documents/s: all served after {:.1} s ({ideal} s were the least), {} refusals, at \
         most {} tries each, {} requests in the first second, {} in any later one",
        outcome.all_served.as_secs_f64(),
        outcome.refused,
        outcome.most_tries + 1,
        outcome.load[&0],
        outcome.peak(1),
    );
    assert_eq!(outcome.issued, 10_000);
    assert!(outcome.all_served.as_secs_f64() < ideal * 5.0);
    // The wave breaks: nobody comes back in the same second as everybody else.
    assert!(f64::from(outcome.peak(1)) < CAPACITY * 3.0);
    assert!(outcome.refused < 60_000, "{} refusals", outcome.refused);
}

#[test]
fn authority_that_was_away_for_a_day_is_not_overrun() {
    let day = Duration::from_secs(24 * HOUR);
    let outcome = simulate(HOUR, day, day + Duration::from_secs(1200));
    let after = |second: u64| outcome.load.get(&(day.as_secs() + second)).copied();
    println!(
        "10,000 after a day: all served {:.1} s after the return, {} requests in its first second, {} in the busiest, \
         {:.2} tries per instance and minute while it was away",
        (outcome.all_served - day).as_secs_f64(),
        after(0).unwrap_or_default(),
        outcome.peak(day.as_secs()),
        outcome
            .load
            .range(600..day.as_secs())
            .map(|(_, load)| f64::from(*load))
            .sum::<f64>()
            / f64::from(u32::try_from(INSTANCES).unwrap())
            / ((day.as_secs_f64() - 600.0) / 60.0),
    );
    // Evenly spread over the pauses: no more than the authority can take, nearly at once.
    assert!(f64::from(outcome.peak(day.as_secs())) < CAPACITY * 2.0);
    assert!(outcome.all_served - day < Duration::from_secs(120));
}

#[test]
fn renewals_of_a_fleet_that_started_together_spread() {
    let outcome = simulate(HOUR, Duration::ZERO, Duration::from_secs(12 * HOUR));
    // From the first renewals on: 10,000 documents in about half an hour each.
    let steady = outcome.peak(600);
    let mean = outcome
        .load
        .range(6 * HOUR..)
        .map(|(_, load)| f64::from(*load))
        .sum::<f64>()
        / (6.0 * 3600.0);
    println!(
        "renewals of 10,000 documents of an hour: {mean:.1}/s on average, {steady}/s in the busiest second of 12 hours"
    );
    assert!((5.0..8.0).contains(&mean), "{mean}");
    assert!(f64::from(steady) < mean * 10.0);
}

#[test]
fn documents_outlast_an_authority_that_is_away_for_less_than_their_second_half() {
    // Days are lived through by those whose documents live for days.
    let (lifetime, away) = (72 * HOUR, 24 * HOUR);
    let plan = Plan::new(lifetime);
    let mut dice = Dice(9);
    for _ in 0..100 {
        // The outage begins at the worst moment: just before the renewal.
        let (renew_at, end) = plan.of(START);
        let mut schedule = Schedule::default();
        let begin = Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(START),
            boot: Duration::ZERO,
        };
        schedule.renewed(Some(renew_at), &begin);
        let mut now = begin.after(schedule.until_due(&begin).unwrap());
        let back = now.unix() + away;
        let mut tries = 0;
        while now.unix() < back {
            assert!(now.unix() < end, "ended while the authority was away");
            let left = Duration::from_secs(end - now.unix());
            let failure = Failure {
                retry_after: None,
                may_pass: true,
                left,
            };
            now = now.after(schedule.failed(&failure, &now, dice.fraction()));
            tries += 1;
        }
        assert!(now.unix() - back <= 60, "noticed within a minute");
        assert!((1400..5800).contains(&tries), "{tries} tries in a day");
    }
}
