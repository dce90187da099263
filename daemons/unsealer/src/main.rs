//! unsealer daemon.
fn main() {}
