//! `blindfold bench`: what sealing, evaluating and opening cost, beside the floor of each.
//!
//! | module | measures |
//! |---|---|
//! | `curve` | the computations of unsealer and workload, against one multiplication |
//! | `payload` | whole objects, against the bare cipher |
//! | `server` | opens by the SDK against running unsealers |
//!
//! The measurements use nothing but the public operations that daemons and SDK use too.

mod clock;
mod curve;
mod payload;
mod pipe;
mod process;
mod report;
mod server;
mod stop;

use blindfold_core::limits::MAX_BATCH;

use self::{clock::Rounds, report::Report, stop::Stop};
use crate::{
    cli::{BenchArgs, BenchName},
    failure::{Failure, Outcome},
};

/// Runs `blindfold bench`.
pub(crate) fn run(args: &BenchArgs, json: bool) -> Outcome {
    let stop = Stop::on_signals()?;
    if args.server.server {
        if args.names.iter().any(|name| *name != BenchName::Open) {
            return Err(
                Failure::usage("--server opens; it cannot evaluate or seal there")
                    .remedy("leave the other names out: blindfold bench --server"),
            );
        }
        return server::run(args, &stop, json);
    }
    let wanted = |name| args.names.is_empty() || args.names.contains(&name);
    let rounds = Rounds::new(args.duration, &stop);
    let mut report = Report::new(json);
    for (name, measure) in [
        (BenchName::Evaluate, curve::evaluate as Measure),
        (BenchName::Open, curve::open),
    ] {
        for count in args.elements.iter().filter(|_| wanted(name)) {
            let count = usize::from(*count).min(MAX_BATCH);
            let Some(row) = measure(count, &rounds)? else {
                return report.interrupted();
            };
            report.row(&row)?;
        }
    }
    if wanted(BenchName::Seal) {
        for step in payload::steps(args) {
            let Some(row) = step.measure(&rounds)? else {
                return report.interrupted();
            };
            report.row(&row)?;
        }
    }
    Ok(())
}

/// Measures with so many elements; nothing when it was stopped before.
type Measure = fn(usize, &Rounds<'_>) -> Outcome<Option<report::Row>>;
