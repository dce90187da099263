//! The `unsealer` daemon.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service::daemon::{self, Daemon};
use unsealer::{Config, ENV_PREFIX, Offline, Unsealer};
use wingman_sdk::identity::IdentitySource;

/// The unsealing authority: evaluates blinded elements for authorized workloads.
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
    /// Import a secret key file while the unsealer is not running.
    ImportKey {
        /// The file that `blindfold key generate` made, mode 0600.
        file: PathBuf,
        /// Evaluations the key has already made elsewhere.
        #[arg(long, default_value_t = 0)]
        evaluations: u64,
    },
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let Arguments {
        config,
        check,
        command,
    } = Arguments::parse();
    let daemon = Daemon {
        name: "unsealer",
        env_prefix: ENV_PREFIX,
        config,
        check,
        threads: Some(unsealer::connection_threads()),
    };
    let validate = |config: &Config| config.validate().map(|()| config.log.clone());
    daemon::run(&daemon, validate, async |config, shutdown| -> Outcome {
        match command.unwrap_or(Command::Run) {
            Command::Init => Ok(unsealer::init(&config).await?),
            Command::ImportKey { file, evaluations } => {
                let unsealer = Offline::open(&config).await?;
                let imported = unsealer.import_key_file(&file, evaluations).await;
                unsealer.close().await;
                Ok(writeln!(std::io::stdout(), "{}", imported?.key_id)?)
            }
            Command::Run => {
                let paths = config
                    .identity
                    .as_ref()
                    .ok_or("set [identity] to run the unsealer")?;
                let source = IdentitySource::from_config(&unsealer::identity_config(paths));
                let joining = source.clone();
                let identity = tokio::task::spawn_blocking(move || joining.obtain()).await??;
                // The directory's bundle may be years old: sites may have been switched off since.
                let refreshing = source.clone();
                let refreshed = tokio::task::spawn_blocking(move || refreshing.refresh()).await?;
                if let Err(error) = refreshed {
                    tracing::error!(%error, "the trust bundle can't be refreshed: nobody is served until it is");
                }
                source.start_renewal()?;
                let opening = Unsealer::open(config, identity);
                let Some(opened) = daemon::unless_stopped(&shutdown, opening).await else {
                    return Ok(());
                };
                let unsealer = opened?.only_while(move || unsealer::is_fresh(&source));
                daemon::reopen_on_hangup(unsealer.audit())?;
                Ok(unsealer.serve(shutdown).await?)
            }
        }
    })
}
