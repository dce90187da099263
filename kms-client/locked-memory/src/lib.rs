//! Secrets in memory that is never swapped out: one locked arena for a process.
#![forbid(unsafe_code)]
