//! How long a change of attributes takes to reach a peer: 200 changes over running daemons, each way.
//!
//! `cargo bench -p identity-authority --bench attribute_change`

#[path = "../tests/it/attribute_change.rs"]
mod attribute_change;

use attribute_change::{Way, measure};

fn main() {
    for way in [Way::Pushed, Way::File] {
        measure(way, 200).print(way);
    }
}
