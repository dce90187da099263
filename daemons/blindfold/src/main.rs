//! The `blindfold` command: seal offline, open blind, administer, and run the whole control plane for development.
#![forbid(unsafe_code)]

mod admin;
mod cleanup;
mod cli;
mod commands;
mod control_plane;
mod failure;
mod files;
mod limits;
mod locks;
mod object;
mod random;
mod sealer;
mod terminal;

use std::{io::Write, process::ExitCode};

use clap::{CommandFactory, Parser};

use crate::{
    cli::{Cli, Command},
    commands::{
        audit, bench, ca, config, demo, dev, inspect, key, kms, open, policy, recover, reseal,
        root, seal, sign, site, token, unsealer,
    },
    failure::{Kind, Outcome},
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() {
                Kind::Usage as u8
            } else {
                0
            };
            // A closed pipe is no reason for another error.
            let _ = error.print();
            if let Some(remedy) = cli::remedy(&error) {
                let _ = writeln!(std::io::stderr(), "\n{remedy}");
            }
            return ExitCode::from(code);
        }
    };
    let json = cli.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

fn run(cli: Cli) -> Outcome {
    let json = cli.json;
    // `dev` drains when it is asked to end; `bench` shows what it has.
    if !matches!(cli.command, Command::Dev(_) | Command::Bench(_)) {
        cleanup::watch()?;
    }
    match cli.command {
        Command::Key(command) => key::run(command, json),
        Command::Policy(command) => policy::run(command, json),
        Command::Seal(args) => seal::run(&args, json),
        Command::Inspect(args) => inspect::run(&args, json),
        Command::Open(args) => open::run(&args),
        Command::Sign(args) => sign::run(&args, json),
        Command::VerifySignature(args) => sign::verify(&args, json),
        Command::Recover(args) => recover::run(&args),
        Command::Reseal(args) => reseal::run(&args, json),
        Command::Config(command) => config::run(command, json),
        Command::Token(command) => token::run(command, json),
        Command::Site(command) => site::run(command, json),
        Command::Identity(command) => commands::identity::run(command, json),
        Command::Federation(command) => commands::identity::federation(command, json),
        Command::Unsealer(command) => unsealer::run(command, json),
        Command::Kms(command) => kms::run(command, json),
        Command::Audit(command) => audit::run(command, json),
        Command::Root(command) => root::run(command, json),
        Command::Ca(command) => ca::run(command, json),
        Command::Bench(args) => bench::run(&args, json),
        Command::Dev(args) => dev::run(&args, json),
        Command::Demo(args) => demo::run(&args, json),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "blindfold",
                &mut std::io::stdout(),
            );
            Ok(())
        }
    }
}
