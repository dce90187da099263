//! The `kms` daemon.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use kms::{Config, ENV_PREFIX, Kms};
use service::daemon::{self, Daemon};
use wingman_sdk::identity::IdentitySource;

/// The key management service: keys with versions, rotation, policies, and three sensitivities.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file (TOML).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and stop.
    #[arg(long, global = true)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (the default).
    Run,
    /// Create the root key and the store.
    Init,
    /// Accept the store after a backup was restored on purpose, although this replica has seen a later state of it.
    AcceptRestored,
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let Arguments {
        config,
        check,
        command,
    } = Arguments::parse();
    let daemon = Daemon {
        name: "kms",
        env_prefix: ENV_PREFIX,
        config,
        check,
        threads: None,
    };
    let validate = |config: &Config| config.validate().map(|()| config.log.clone());
    daemon::run(&daemon, validate, async |config, shutdown| -> Outcome {
        match command.unwrap_or(Command::Run) {
            Command::Init => Ok(kms::init(&config).await?),
            Command::AcceptRestored => {
                let epoch = kms::accept_restored(&config).await?;
                tracing::warn!(epoch, "the restored store is accepted on this replica");
                Ok(())
            }
            Command::Run => {
                let paths = config
                    .identity
                    .as_ref()
                    .ok_or("set [identity] to run the key management service")?;
                let source = IdentitySource::from_config(&kms::identity_config(paths));
                let joining = source.clone();
                let identity = tokio::task::spawn_blocking(move || joining.obtain()).await??;
                // The directory's bundle may be years old: sites may have been switched off since.
                let refreshing = source.clone();
                let refreshed = tokio::task::spawn_blocking(move || refreshing.refresh()).await?;
                if let Err(error) = refreshed {
                    tracing::error!(%error, "the trust bundle can't be refreshed: nobody is served until it is");
                }
                source.start_renewal()?;
                let opening = Kms::open(config, identity);
                let Some(opened) = daemon::unless_stopped(&shutdown, opening).await else {
                    return Ok(());
                };
                let kms = opened?.only_while(move || kms::is_fresh(&source));
                daemon::reopen_on_hangup(kms.audit())?;
                Ok(kms.serve(shutdown).await?)
            }
        }
    })
}
