//! What the `main` of every daemon does: read configuration, log, run until told to stop.
//!
//! A daemon's own `main` parses its arguments, and calls [`run`]:
//!
//! ```no_run
//! use service::{config::LogConfig, daemon::{self, Daemon}};
//!
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     #[serde(default)]
//!     log: LogConfig,
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     let daemon = Daemon { name: "example", env_prefix: "EXAMPLE", config: None, check: false, threads: None };
//!     daemon::run(
//!         &daemon,
//!         |config: &Config| Ok(config.log.clone()),
//!         async |_config: Config, shutdown| {
//!             shutdown.wait().await;
//!             Ok::<(), std::io::Error>(())
//!         },
//!     )
//! }
//! ```

use std::{
    error::Error,
    io::{self, Write},
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
};

use serde::de::DeserializeOwned;
use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

use crate::{
    audit::AuditLog,
    config::{self, ConfigError, EXIT_CONFIG, LogConfig, LogFormat},
    shutdown::Shutdown,
};

/// Which daemon this is, and what its arguments said.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// Its name, as in messages.
    pub name: &'static str,
    /// Prefix of its environment variables.
    pub env_prefix: &'static str,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--check`: stop after the configuration.
    pub check: bool,
    /// Threads that serve connections; one for each core when absent.
    pub threads: Option<NonZeroUsize>,
}

/// Loads and validates the configuration, then runs `serve` until it ends.
///
/// `validate` checks what one setting alone can't tell and says how to log. With `check` nothing runs.
/// Before that, the process keeps its memory from core dumps and debuggers ([`locked_memory::harden`]).
/// SIGTERM and SIGINT trigger the given [`Shutdown`]. Exit status: 0 after a clean end, 64
/// ([`EXIT_CONFIG`]) for bad configuration, 1 for anything else.
pub fn run<C, E, V, S>(daemon: &Daemon, validate: V, serve: S) -> ExitCode
where
    C: DeserializeOwned,
    E: Into<Box<dyn Error + Send + Sync>>,
    V: FnOnce(&C) -> Result<LogConfig, ConfigError>,
    S: AsyncFnOnce(C, Shutdown) -> Result<(), E>,
{
    let loaded = config::load::<C>(daemon.config.as_deref(), daemon.env_prefix)
        .and_then(|config| validate(&config).map(|log| (config, log)))
        .and_then(|(config, log)| filter(&log).map(|_| (config, log)));
    let (config, log) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            say(daemon, &error.to_string());
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if daemon.check {
        say(daemon, "configuration is good");
        return ExitCode::SUCCESS;
    }
    if let Err(error) = init_tracing(&log) {
        say(daemon, &error.to_string());
        return ExitCode::from(EXIT_CONFIG);
    }
    log_panics();
    // Keys are in memory from here on: no core dump, and no debugger of another process of this user.
    if let Err(error) = locked_memory::harden() {
        say(daemon, &error.to_string());
        return ExitCode::FAILURE;
    }
    let outcome = runtime(daemon.threads).and_then(|runtime| {
        runtime.block_on(async {
            let shutdown = Shutdown::new();
            shutdown.on_signals()?;
            serve(config, shutdown)
                .await
                .map_err(|e| io::Error::other(e))
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(daemon, &error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn runtime(threads: Option<NonZeroUsize>) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.get());
    }
    builder.enable_all().build()
}

/// Messages before and after logging go to standard error as they are.
fn say(daemon: &Daemon, message: &str) {
    let _ = writeln!(io::stderr(), "{}: {message}", daemon.name);
}

fn filter(config: &LogConfig) -> Result<EnvFilter, ConfigError> {
    EnvFilter::try_new(&config.filter).map_err(|error| {
        ConfigError::invalid(
            "log.filter",
            &format!("{error}: write a level (info), or target=level pairs with commas"),
        )
    })
}

/// Starts logging to standard error; called once per process.
///
/// # Errors
///
/// [`ConfigError`] if the filter can't be read, or logging was started before.
pub fn init_tracing(config: &LogConfig) -> Result<(), ConfigError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(config)?)
        .with_writer(io::stderr)
        .with_span_events(FmtSpan::NONE);
    let outcome = match config.format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    outcome.map_err(|_| ConfigError::invalid("log", "logging was started before in this process"))
}

/// Logs where a panic happened, and what it said only if that was written in the program: a formatted
/// message may hold anything.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic
            .payload()
            .downcast_ref::<&'static str>()
            .copied()
            .unwrap_or("(message withheld)");
        tracing::error!(place, message, "panic");
    }));
}

/// What `open` gives, or `None` when the signal comes first: a daemon that waits, such as for custodians, can be stopped.
pub async fn unless_stopped<T>(shutdown: &Shutdown, open: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = shutdown.wait() => None,
        opened = open => Some(opened),
    }
}

/// Reopens the audit log on every SIGHUP from now on, for programs that rotate it.
///
/// # Errors
///
/// The operating system's error if a handler can't be installed.
pub fn reopen_on_hangup(audit: &AuditLog) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let audit = audit.clone();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: reopening the audit log");
            audit.reopen();
        }
    });
    Ok(())
}
