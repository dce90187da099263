//! Ten thousand workloads on five thousand hosts against one authority: joining, renewals at half-life in compressed
//! time, attribute changes, and everybody at once after an outage.
//!
//! ```console
//! $ cargo bench -p identity-authority --bench fleet
//! $ FLEET_WORKLOADS=1000 cargo bench -p identity-authority --bench fleet
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "a bench stops at the first thing that is wrong"
)]

use std::time::Duration;

#[path = "../tests/it/fleet.rs"]
mod fleet;
#[path = "../tests/it/support.rs"]
#[expect(
    dead_code,
    reason = "helpers of the tests, most of which are not for this"
)]
mod support;

fn main() {
    let workloads = std::env::var("FLEET_WORKLOADS").map_or(10_000, |text| text.parse().unwrap());
    let plan = fleet::Plan {
        workloads,
        hosts: workloads / 2,
        joining: 64,
        changing: 8,
        changes: workloads / 10,
        limit: Duration::from_secs(300),
    };
    println!("{plan:?}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for phase in runtime.block_on(fleet::simulate(plan)) {
        assert!(phase.done > 0 && phase.failed < 100 * workloads);
        println!("{phase}");
    }
}
