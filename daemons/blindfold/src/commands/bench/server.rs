//! Opens by the SDK against running unsealers: latency, throughput, errors.
//!
//! Every caller is a `Wingman` of its own, with a connection of its own that is kept. The load ends by itself; a call
//! that still waits then is waited for a little while and counted as unfinished.

mod load;
mod tally;

use std::{collections::BTreeMap, time::Duration};

use blindfold_core::{
    AuthorityKey, CanonicalPolicy, LockSpec, PolicyRef, Purpose, SealOptions, Sealed, Sealer,
    Window,
};
use identity::{SpiffeId, policy::Policy};
use serde_json::json;
use wingman_sdk::Wingman;

use self::{
    load::{Load, Loaded},
    tally::Tally,
};
use super::{
    clock::{Measured, Rounds},
    curve,
    process::CpuTimes,
    report::{rounded, time},
    stop::Stop,
};
use crate::{
    admin::identity_failure,
    cli::{BenchArgs, ServerArgs},
    commands::{print, print_json, seal::canonical},
    failure::{Context, Failure, Kind, Outcome},
    files::Source,
    object::{self, Object},
    random,
};

/// How long the computations without network are measured beforehand.
const BARE_DURATION: Duration = Duration::from_secs(1);

/// Runs `blindfold bench --server`.
pub(super) fn run(args: &BenchArgs, stop: &Stop, json: bool) -> Outcome {
    let words = &args.server;
    let config = words.config.as_deref().ok_or_else(|| {
        Failure::usage("--server needs the configuration of a workload")
            .remedy("set BLINDFOLD_CONFIG, or name the file with --config")
    })?;
    let wingman = Wingman::from_config(config).kind(Kind::Usage)?;
    let count = args.elements.first().map_or(1, |count| usize::from(*count));
    let objects = match &words.object {
        Some(path) => vec![read(&Source::of(Some(path)))?; count],
        None => make(&wingman, words.threshold, count)?,
    };
    let Some(bare) = bare(words, count, stop)? else {
        return Ok(());
    };
    // Callers after the first find the identity that the first one obtained.
    let mut callers = vec![wingman];
    for _ in 1..words.concurrency {
        callers.push(Wingman::from_config(config).kind(Kind::Usage)?);
    }
    let load = Load {
        objects,
        duration: args.duration,
        rate: words.rate,
    };
    let before = words.pid.and_then(CpuTimes::of);
    let loaded = load::run(load, callers, stop)?;
    let after = words.pid.and_then(CpuTimes::of);
    let server_cpu = match (words.pid, before, after) {
        (None, ..) => None,
        (Some(_), Some(before), Some(after)) => Some(after.since(before)),
        (Some(pid), ..) => {
            return Err(Failure::new(
                Kind::Input,
                format_args!("no process {pid} runs here, or not all the time"),
            ));
        }
    };
    let report = Report {
        words,
        count,
        bare,
        loaded,
        server_cpu,
    };
    if json {
        print_json(&report.to_json())
    } else {
        print(report.to_text())
    }
}

/// The floor, and the evaluation alone where the server's CPU time is held against it.
struct Bare {
    floor: f64,
    evaluate: Option<f64>,
}

fn bare(words: &ServerArgs, count: usize, stop: &Stop) -> Outcome<Option<Bare>> {
    let rounds = Rounds::new(BARE_DURATION, stop);
    let measured: Option<Measured> = match words.pid {
        Some(_) => curve::measure_evaluate(count, &rounds)?,
        None => rounds.run(&mut curve::floor(), &mut curve::floor())?,
    };
    Ok(measured.map(|measured| Bare {
        floor: measured.floor,
        evaluate: words.pid.map(|_| measured.best),
    }))
}

/// A sealed object in any form that fits into memory.
fn read(source: &Source) -> Outcome<Sealed> {
    let (reader, _) = source.open("sealed object")?;
    match object::read(reader).map_err(|e| e.named(&source.name()))? {
        Object::Whole(sealed) => Ok(sealed),
        Object::Stream {
            mut payload,
            header,
        } => {
            let mut bytes = header.as_bytes().to_vec();
            std::io::Read::read_to_end(
                &mut std::io::Read::take(&mut payload, crate::files::MAX_WHOLE),
                &mut bytes,
            )
            .about(Kind::Io, source.name())?;
            Sealed::parse(&bytes).about(Kind::Data, source.name())
        }
    }
}

/// Objects that this workload, and nobody else, may open, sealed to the newest key of each configured authority.
fn make(wingman: &Wingman, threshold: u8, count: usize) -> Outcome<Vec<Sealed>> {
    let identity = wingman.identity().kind(Kind::Usage)?;
    let tls = identity.obtain().map_err(|e| identity_failure(&e))?;
    let policy = only(tls.document().spiffe_id())?;
    let locks = newest(wingman.pinned_keys().iter())
        .map(|key| LockSpec::share(key, PolicyRef::Inline(policy.clone()), Window::unbounded()))
        .collect();
    let options = SealOptions::new().threshold(threshold).label("bench");
    let sealer = Sealer::new(locks, options).about(Kind::Usage, "cannot seal")?;
    let seal = || {
        let object = sealer
            .seal(b"bench", &mut random::generator())
            .about(Kind::Internal, "sealing")?;
        Sealed::parse(&object).about(Kind::Internal, "sealed object")
    };
    (0..count).map(|_| seal()).collect()
}

/// The policy that lets `workload` open.
fn only(workload: &SpiffeId) -> Outcome<CanonicalPolicy> {
    let policy = json!({
        "v": 1,
        "name": "blindfold-bench",
        "rules": [{"effect": "allow", "actions": ["open"], "principal": {"spiffe_id": workload.as_str()}}],
    });
    canonical(&Policy::from_text(&policy.to_string()).about(Kind::Internal, "policy")?)
}

/// Of each authority and tenant the key with the highest version.
fn newest<'a>(
    keys: impl Iterator<Item = &'a AuthorityKey>,
) -> impl Iterator<Item = &'a AuthorityKey> {
    let mut newest = BTreeMap::new();
    for key in keys.filter(|key| key.purpose() == Purpose::PolicyUnseal) {
        let kept = newest.entry((key.authority(), key.tenant())).or_insert(key);
        if key.version() > kept.version() {
            *kept = key;
        }
    }
    newest.into_values()
}

/// CPU time of the server for each open, in nanoseconds.
#[derive(Clone, Copy)]
struct Server {
    all: f64,
    /// Of the threads that evaluate; nothing where the process has none.
    evaluating: Option<f64>,
    /// The best bare evaluation in this process.
    bare: f64,
}

impl Server {
    /// All CPU time to that of evaluating, both of the same process under the same load.
    fn ratio(self) -> Option<f64> {
        Some(self.all / self.evaluating?)
    }
}

/// What came out, for people and for machines.
struct Report<'a> {
    words: &'a ServerArgs,
    count: usize,
    bare: Bare,
    loaded: Loaded,
    server_cpu: Option<CpuTimes>,
}

impl Report<'_> {
    fn opens(&self) -> &Tally {
        &self.loaded.tally
    }

    fn per_second(&self) -> f64 {
        self.opens().done() as f64 / self.loaded.elapsed.as_secs_f64().max(1e-9)
    }

    fn server(&self) -> Option<Server> {
        let used = self.server_cpu?;
        let each = |time: Duration| time.as_secs_f64() * 1e9 / self.loaded.all_opens.max(1) as f64;
        let evaluating = each(used.evaluating);
        Some(Server {
            all: each(used.all),
            evaluating: (evaluating > 0.0).then_some(evaluating),
            bare: self.bare.evaluate?,
        })
    }

    fn to_json(&self) -> serde_json::Value {
        let count = self.count as f64;
        let p50 = self.opens().quantile(0.5) as f64;
        let server = self.server();
        json!({
            "name": "open",
            "server": true,
            "backend": blindfold_core::backend(),
            "elements": self.count,
            "ns": (p50 / count).round(),
            "floor_ns": self.bare.floor.round(),
            "ratio": rounded(p50 / count / self.bare.floor),
            "concurrency": self.words.concurrency,
            "rate": self.words.rate,
            "seconds": rounded(self.loaded.elapsed.as_secs_f64()),
            "opens": self.opens().done(),
            "per_second": rounded(self.per_second()),
            "latency_ns": BTreeMap::from(self.opens().latencies()),
            "errors": self.opens().errors(),
            "unfinished": self.loaded.unfinished,
            "interrupted": self.loaded.interrupted,
            "server_cpu_ns": server.map(|server| server.all.round()),
            "server_evaluating_ns": server.and_then(|server| server.evaluating).map(f64::round),
            "server_cpu_ratio": server.and_then(Server::ratio).map(rounded),
            "server_best_ratio": server.map(|server| rounded(server.all / server.bare)),
        })
    }

    fn to_text(&self) -> String {
        use std::fmt::Write;
        let mut out = String::new();
        let opens = self.opens();
        let values = match self.count {
            1 => "one value".to_owned(),
            count => format!("{count} values"),
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "opens of {values} by {} at a time, {:.1} s{}\n",
            self.words.concurrency,
            self.loaded.elapsed.as_secs_f64(),
            if self.loaded.interrupted {
                " (stopped)"
            } else {
                ""
            }
        );
        let _ = writeln!(
            out,
            "opened    {}, {:.1} per second",
            opens.done(),
            self.per_second()
        );
        let _ = write!(out, "latency  ");
        for (name, ns) in opens.latencies() {
            let _ = write!(out, " {name} {}", time(ns as f64));
        }
        let _ = writeln!(
            out,
            "\nfloor     {} for one P-384 multiplication here ({}); p50 is {:.1} times that, per value",
            time(self.bare.floor),
            blindfold_core::backend(),
            opens.quantile(0.5) as f64 / self.count as f64 / self.bare.floor
        );
        if let Some(server) = self.server() {
            let _ = writeln!(
                out,
                "server    {} of CPU for each open, {:.2} times the best bare evaluation here ({})",
                time(server.all),
                server.all / server.bare,
                time(server.bare)
            );
            if let (Some(evaluating), Some(ratio)) = (server.evaluating, server.ratio()) {
                let _ = writeln!(
                    out,
                    "          {ratio:.2} times what its evaluating threads used meanwhile ({})",
                    time(evaluating)
                );
            }
        }
        for (kind, error) in opens.errors() {
            let _ = writeln!(
                out,
                "errors    {} {kind}, such as: {}",
                error.count, error.example
            );
        }
        if self.loaded.unfinished > 0 {
            let _ = writeln!(
                out,
                "unfinished {} when the time was up",
                self.loaded.unfinished
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use blindfold_core::UnsealingKey;

    use super::*;

    #[test]
    fn newest_key_of_each_authority_is_sealed_to() {
        let rng = &mut random::generator();
        let mut key = |authority, version| {
            let key = UnsealingKey::generate(authority, "acme", version, rng).unwrap();
            key.record().clone()
        };
        let keys = [key("a", 2), key("b", 1), key("a", 10), key("a", 3)];
        let newest: Vec<_> = newest(keys.iter())
            .map(|key| (key.authority(), key.version()))
            .collect();
        assert_eq!(newest, [("a", 10), ("b", 1)]);
    }

    #[test]
    fn made_policy_allows_the_workload_only() {
        let policy = only(&"spiffe://acme.example/paris/api".parse().unwrap()).unwrap();
        let text = String::from_utf8(policy.as_bytes().to_vec()).unwrap();
        assert!(
            text.contains("\"spiffe://acme.example/paris/api\""),
            "{text}"
        );
    }
}
