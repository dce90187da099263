//! The daemon `kms`.
#![forbid(unsafe_code)]

fn main() {}
