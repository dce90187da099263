//! The identity authority's daemon; everything it does is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use identity_authority::command::{Arguments, Command, operate};
use identity_authority::{Authority, AuthorityError, Config, config};
use service::daemon::{self, Daemon};
use service::shutdown::Shutdown;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config, check } => {
            let daemon = Daemon {
                name: "identity-authority",
                env_prefix: config::ENVIRONMENT_PREFIX,
                config: config.config,
                check,
                threads: None,
            };
            daemon::run(
                &daemon,
                |config: &Config| config.validate().map(|()| config.log.clone()),
                serve,
            )
        }
        command => operate(command),
    }
}

async fn serve(config: Config, shutdown: Shutdown) -> Result<(), AuthorityError> {
    let opening = Authority::open(config);
    let Some(opened) = daemon::unless_stopped(&shutdown, opening).await else {
        return Ok(());
    };
    let authority = opened?;
    if let Err(error) = daemon::reopen_on_hangup(authority.audit()) {
        tracing::warn!(%error, "SIGHUP will not reopen the audit log");
    }
    authority.serve(shutdown).await
}
