//! identity-authority daemon.
fn main() {}
