//! The same ten rules and requests in Blindfold, Cedar and Regorus: equal answers, and the time each takes.
//!
//! Everything that can be done ahead of a decision is done ahead of it, in each engine's own way: policies parsed and
//! compiled, requests and entities built, the virtual machine warm. What is left is the one call that decides. Engines
//! take turns in samples of a millisecond, and the best tenth of the samples counts, so that other work on the machine
//! falls on none of them.
//!
//! Fails if two engines disagree, if Blindfold is not ahead everywhere, or if one of its decisions allocates.

use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use identity::policy::{Facts, Policy, Query};
use identity::{Attributes, SpiffeId};
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::RegoVM;
use regorus::{CompiledPolicy, Engine, Value};

type Error = Box<dyn std::error::Error>;

/// A request, and the answer to it.
struct Case {
    name: &'static str,
    spiffe_id: &'static str,
    attributes: &'static [(&'static str, &'static str)],
    allowed: bool,
}

const ACTION: &str = "open";
const RESOURCE: &str = "unseal/acme/eu-1";
/// 2026-06-01T00:00:00Z.
const NOW: u32 = 1_780_272_000;

const PRODUCTION: &[(&str, &str)] = &[
    ("environment", "production"),
    ("instance", "4711"),
    ("tier", "gold"),
];

const CASES: [Case; 5] = [
    Case {
        name: "allow, first of eight",
        spiffe_id: "spiffe://acme.example/paris/ns/billing/sa/api",
        attributes: PRODUCTION,
        allowed: true,
    },
    Case {
        name: "allow, last of eight",
        spiffe_id: "spiffe://acme.example/paris/ns/payments/sa/api",
        attributes: PRODUCTION,
        allowed: true,
    },
    Case {
        name: "deny, by first rule",
        spiffe_id: "spiffe://acme.example/paris/ns/payments/sa/api",
        attributes: &[
            ("environment", "laptop"),
            ("instance", "4711"),
            ("tier", "gold"),
        ],
        allowed: false,
    },
    Case {
        name: "deny, by second rule",
        spiffe_id: "spiffe://acme.example/paris/ns/payments/sa/api",
        attributes: &[
            ("environment", "production"),
            ("quarantined", "yes"),
            ("tier", "gold"),
        ],
        allowed: false,
    },
    Case {
        name: "deny, no rule",
        spiffe_id: "spiffe://acme.example/paris/ns/games/sa/api",
        attributes: PRODUCTION,
        allowed: false,
    },
];

/// One engine with one request, ready to decide.
trait Decide {
    fn decide(&mut self) -> bool;
}

struct Blindfold {
    policy: Policy,
    spiffe_id: SpiffeId,
    attributes: Attributes,
}

impl Blindfold {
    fn new(case: &Case) -> Result<Self, Error> {
        let mut attributes = Attributes::new();
        for (key, value) in case.attributes {
            attributes.insert(key, *value)?;
        }
        let policy = Policy::from_yaml(include_str!("../rules/blindfold.yaml"))?;
        Ok(Self {
            policy,
            spiffe_id: SpiffeId::parse(case.spiffe_id)?,
            attributes,
        })
    }
}

impl Decide for Blindfold {
    fn decide(&mut self) -> bool {
        let facts = Facts {
            spiffe_id: &self.spiffe_id,
            attributes: &self.attributes,
        };
        let query = Query {
            facts,
            action: ACTION,
            resource: RESOURCE,
            now: NOW.into(),
        };
        self.policy.decide(black_box(&query)).is_allow()
    }
}

struct Cedar {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: Entities,
    request: Request,
}

impl Cedar {
    fn new(case: &Case) -> Result<Self, Error> {
        let principal: EntityUid = r#"Workload::"4711""#.parse()?;
        let resource: EntityUid = r#"Key::"eu-1""#.parse()?;
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let attributes: HashMap<String, RestrictedExpression> = case
            .attributes
            .iter()
            .chain([&("spiffe_id", case.spiffe_id)])
            .map(|(key, value)| ((*key).to_owned(), text(value)))
            .collect();
        let entities = [
            Entity::new(principal.clone(), attributes, HashSet::new())?,
            Entity::new(
                resource.clone(),
                HashMap::from([("name".to_owned(), text(RESOURCE))]),
                HashSet::new(),
            )?,
        ];
        let context =
            Context::from_pairs([("now".to_owned(), RestrictedExpression::new_long(NOW.into()))])?;
        let action = format!("Action::\"{ACTION}\"").parse()?;
        Ok(Self {
            authorizer: Authorizer::new(),
            policies: include_str!("../rules/cedar.cedar").parse()?,
            entities: Entities::from_entities(entities, None)?,
            request: Request::new(principal, action, resource, context, None)?,
        })
    }
}

impl Decide for Cedar {
    fn decide(&mut self) -> bool {
        let response =
            self.authorizer
                .is_authorized(black_box(&self.request), &self.policies, &self.entities);
        response.decision() == Decision::Allow
    }
}

fn rego(case: &Case) -> Result<(CompiledPolicy, Value), Error> {
    let mut engine = Engine::new();
    engine.add_policy(
        "rego.rego".to_owned(),
        include_str!("../rules/rego.rego").to_owned(),
    )?;
    let policy = engine.compile_with_entrypoint(&ENTRY_POINT.into())?;
    let attributes: HashMap<&str, &str> = case.attributes.iter().copied().collect();
    let input = serde_json::json!({
        "spiffe_id": case.spiffe_id,
        "attributes": attributes,
        "action": ACTION,
        "resource": RESOURCE,
        "now": NOW,
    });
    Ok((policy, Value::from_json_str(&input.to_string())?))
}

const ENTRY_POINT: &str = "data.acme.allow";

/// Regorus' virtual machine, kept warm: its fastest way.
struct RegorusMachine {
    machine: RegoVM,
    input: Value,
}

impl RegorusMachine {
    fn new(case: &Case) -> Result<Self, Error> {
        let (policy, input) = rego(case)?;
        let mut machine = RegoVM::new();
        machine.load_program(Compiler::compile_from_policy(&policy, &[ENTRY_POINT])?);
        machine.set_max_instructions(usize::MAX);
        Ok(Self { machine, input })
    }
}

impl Decide for RegorusMachine {
    fn decide(&mut self) -> bool {
        self.machine.set_input(black_box(&self.input).clone());
        matches!(self.machine.execute(), Ok(Value::Bool(true)))
    }
}

/// Regorus' compiled policy, by its interpreter.
struct RegorusInterpreter {
    policy: CompiledPolicy,
    input: Value,
}

impl RegorusInterpreter {
    fn new(case: &Case) -> Result<Self, Error> {
        let (policy, input) = rego(case)?;
        Ok(Self { policy, input })
    }
}

impl Decide for RegorusInterpreter {
    fn decide(&mut self) -> bool {
        matches!(
            self.policy.eval_with_input(black_box(&self.input).clone()),
            Ok(Value::Bool(true))
        )
    }
}

const ENGINES: [&str; 4] = ["Blindfold", "Cedar", "Regorus VM", "Regorus"];
const SAMPLES: usize = 400;
const SAMPLE: Duration = Duration::from_millis(1);

fn engines(case: &Case) -> Result<[Box<dyn Decide>; 4], Error> {
    Ok([
        Box::new(Blindfold::new(case)?),
        Box::new(Cedar::new(case)?),
        Box::new(RegorusMachine::new(case)?),
        Box::new(RegorusInterpreter::new(case)?),
    ])
}

/// Nanoseconds for one decision in one sample of `rounds`.
fn sample(engine: &mut dyn Decide, rounds: u32) -> f64 {
    let begun = Instant::now();
    for _ in 0..rounds {
        black_box(engine.decide());
    }
    begun.elapsed().as_nanos() as f64 / f64::from(rounds)
}

/// Mean of the best tenth of the samples of each engine, in nanoseconds.
fn measure(engines: &mut [Box<dyn Decide>; 4]) -> [f64; 4] {
    let rounds = [0, 1, 2, 3].map(|index| {
        let one = sample(&mut *engines[index], 1000);
        (SAMPLE.as_nanos() as f64 / one).max(1.0) as u32
    });
    let mut samples: [Vec<f64>; 4] = Default::default();
    for _ in 0..SAMPLES {
        for (index, engine) in engines.iter_mut().enumerate() {
            samples[index].push(sample(&mut **engine, rounds[index]));
        }
    }
    samples.map(|mut samples| {
        samples.sort_by(f64::total_cmp);
        let best = &samples[..SAMPLES / 10];
        best.iter().sum::<f64>() / best.len() as f64
    })
}

fn main() -> Result<ExitCode, Error> {
    println!(
        "{:<24}{:>20}{:>20}{:>20}{:>20}",
        "ns a decision (ratio)", ENGINES[0], ENGINES[1], ENGINES[2], ENGINES[3]
    );
    let mut ahead = true;
    let mut allocations = Vec::new();
    for case in &CASES {
        let mut engines = engines(case)?;
        for (engine, name) in engines.iter_mut().zip(ENGINES) {
            assert_eq!(engine.decide(), case.allowed, "{name}: {}", case.name);
        }
        let times = measure(&mut engines);
        let cells = times.map(|time| format!("{time:.0} ({:.1})", time / times[0]));
        println!(
            "{:<24}{:>20}{:>20}{:>20}{:>20}",
            case.name, cells[0], cells[1], cells[2], cells[3]
        );
        ahead &= times.iter().skip(1).all(|time| *time > times[0]);
        let counts = engines.map(|mut engine| {
            let counted = allocation_counter::measure(|| {
                black_box(engine.decide());
            });
            counted.count_total
        });
        assert_eq!(counts[0], 0, "Blindfold allocates: {}", case.name);
        allocations.push((case.name, counts));
    }
    println!();
    println!(
        "{:<24}{:>20}{:>20}{:>20}{:>20}",
        "allocations", ENGINES[0], ENGINES[1], ENGINES[2], ENGINES[3]
    );
    for (name, counts) in allocations {
        println!(
            "{name:<24}{:>20}{:>20}{:>20}{:>20}",
            counts[0], counts[1], counts[2], counts[3]
        );
    }
    if !ahead {
        eprintln!("Blindfold is not ahead everywhere");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
