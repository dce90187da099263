//! Attestors.
#![forbid(unsafe_code)]
