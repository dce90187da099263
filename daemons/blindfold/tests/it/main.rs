//! The command as people and scripts meet it: the real program, its output and its exit codes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers stop at the first surprise"
)]

mod audit;
mod bench;
mod book;
mod ca;
mod config_edit;
mod config_git;
mod config_offline;
mod config_rules;
mod dev;
mod kms;
mod offline;
mod program;
mod reseal;
mod reseal_offline;
mod revocation;
mod root;
mod several;
mod signatures;
mod sizes;
