//! `blindfold config`: values sealed inside configuration files.
//!
//! # Guarantees
//!
//! - A file is replaced whole or stays as it is; bytes outside of changed values stay.
//! - A value is sealed with its key path as label, and opened only where its label says it belongs.
//! - Nothing in the clear is written but where that was asked for; an editor's file lies in a folder of its user
//!   alone and goes with the command, also when it is interrupted.
//!
//! # Layout
//!
//! - `file`: a configuration file, read, parsed and replaced. `opened`: its sealed values in the clear.
//! - `rules`: `.blindfold.toml`. `setting`: what words and rules say together about one file.
//! - `findings`: what is wrong with a file; behind `verify` and `check`.
//! - `edit`: the editor, its private folder, and what becomes of the edited text.
//! - `git`: how Git is asked.

mod ask;
mod check;
mod diff;
mod edit;
mod file;
mod findings;
mod git;
mod git_setup;
mod opened;
mod rules;
mod seal;
mod set;
mod setting;
mod show;
mod summary;
mod textconv;
mod verify;

use crate::{cli::ConfigCommand, failure::Outcome};

/// Runs `blindfold config …`.
pub(crate) fn run(command: ConfigCommand, json: bool) -> Outcome {
    match command {
        ConfigCommand::Seal(args) => seal::run(&args, json),
        ConfigCommand::Edit(args) => edit::run(&args, json),
        ConfigCommand::Set(args) => set::run(&args, json),
        ConfigCommand::Show(args) => show::show(&args),
        ConfigCommand::Get(args) => show::get(&args),
        ConfigCommand::Verify(args) => verify::run(&args, json),
        ConfigCommand::Check(args) => check::run(&args, json),
        ConfigCommand::Diff(args) => diff::run(&args, json),
        ConfigCommand::Textconv(args) => textconv::run(&args),
        ConfigCommand::GitSetup(args) => git_setup::run(&args, json),
    }
}
