//! Starting a daemon: configuration first, exit status by the book, metrics on their own listener.

use std::{
    fs,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::Deserialize;
use service::{
    config::{ConfigError, EXIT_CONFIG, ListenConfig, LogConfig, MetricsConfig},
    daemon::{self, Daemon},
    metrics::{self, Metrics},
    shutdown::Shutdown,
};
use tokio::net::TcpStream;

use crate::harness::{Log, alone, get};

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    listen: ListenConfig,
    #[serde(default)]
    log: LogConfig,
}

/// Runs a daemon whose work is to note that it ran.
fn run(text: &str, check: bool, fail: bool) -> (ExitCode, bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daemon.toml");
    fs::write(&path, text).unwrap();
    let daemon = Daemon {
        name: "test",
        env_prefix: "SERVICE_TEST_DAEMON",
        config: Some(path),
        check,
        threads: std::num::NonZeroUsize::new(1),
    };
    let ran = Arc::new(AtomicBool::new(false));
    let validate = |config: &Config| -> Result<LogConfig, ConfigError> {
        config.listen.validate()?;
        Ok(config.log.clone())
    };
    let work = Arc::clone(&ran);
    let code = daemon::run(
        &daemon,
        validate,
        async move |_config: Config, shutdown: Shutdown| {
            work.store(true, Ordering::SeqCst);
            shutdown.trigger();
            shutdown.wait().await;
            if fail {
                Err(std::io::Error::other("failed"))
            } else {
                Ok(())
            }
        },
    );
    (code, ran.load(Ordering::SeqCst))
}

#[test]
fn bad_configuration_exits_64_and_runs_nothing() {
    let bad = ExitCode::from(EXIT_CONFIG);
    for text in [
        "[listen]\nadress = \"127.0.0.1:1\"",
        "not toml",
        "[listen.limits]\nmax_connections = 0",
        "[log]\nfilter = \"service=nonsense\"",
        "[log]\nformat = \"xml\"",
    ] {
        for check in [true, false] {
            assert_eq!(run(text, check, false), (bad, false), "{text}");
        }
    }
}

#[test]
fn missing_file_exits_64() {
    let daemon = Daemon {
        name: "test",
        env_prefix: "SERVICE_TEST_DAEMON",
        config: Some("/nonexistent/daemon.toml".into()),
        check: true,
        threads: None,
    };
    let code = daemon::run(
        &daemon,
        |config: &Config| Ok(config.log.clone()),
        async |_: Config, _| Ok::<(), std::io::Error>(()),
    );
    assert_eq!(code, ExitCode::from(EXIT_CONFIG));
}

#[test]
fn check_stops_after_the_configuration() {
    assert_eq!(
        run("[log]\nfilter = \"warn\"", true, true),
        (ExitCode::SUCCESS, false)
    );
}

#[test]
fn a_failed_run_exits_1() {
    alone("daemon::a_failed_run_exits_1", || {
        let text = "[log]\nfilter = \"off\"\nformat = \"json\"";
        assert_eq!(run(text, false, true), (ExitCode::FAILURE, true));
    });
}

#[test]
fn a_clean_run_exits_0() {
    alone("daemon::a_clean_run_exits_0", || {
        assert_eq!(run("", false, false), (ExitCode::SUCCESS, true))
    });
}

#[test]
fn panics_are_logged_with_their_place_and_without_what_they_held() {
    alone(
        "daemon::panics_are_logged_with_their_place_and_without_what_they_held",
        || {
            let log = Log::default();
            daemon::log_panics();
            tracing::subscriber::with_default(log.subscriber(), || {
                let held = std::hint::black_box(String::from("held-secret"));
                assert!(std::panic::catch_unwind(|| panic!("could not use {held}")).is_err());
                assert!(std::panic::catch_unwind(|| panic!("written in the program")).is_err());
            });
            let text = log.text();
            assert!(!text.contains("held-secret"), "{text}");
            assert!(
                text.contains("written in the program") && text.contains("message withheld"),
                "{text}"
            );
            assert_eq!(text.matches("tests/it/daemon.rs:").count(), 2, "{text}");
        },
    );
}

#[tokio::test]
async fn metrics_health_and_readiness_answer_over_plain_http() {
    let metrics = Metrics::new("test");
    let config = MetricsConfig {
        address: "127.0.0.1:0".parse().unwrap(),
        allow_remote: false,
    };
    let server = metrics::serve(&config, Arc::clone(&metrics)).await.unwrap();
    let ready = metrics.readiness().condition("listener");
    let ask = async |path: &str| {
        get(
            &mut TcpStream::connect(server.address()).await.unwrap(),
            path,
        )
        .await
        .unwrap()
    };
    assert_eq!(ask("/healthz").await.status, 200);
    let unready = ask("/readyz").await;
    assert_eq!(
        (unready.status, unready.body.as_str()),
        (503, "not ready: listener\n")
    );
    ready.set(true);
    assert_eq!(ask("/readyz").await.status, 200);
    let text = ask("/metrics").await;
    assert!(
        text.head.contains("application/openmetrics-text"),
        "{}",
        text.head
    );
    assert!(
        text.body
            .contains("blindfold_audit_failures_total{service=\"test\"} 0")
    );
    assert_eq!(ask("/").await.status, 404);

    // Nobody who connects and says nothing keeps others from it.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(server.address()).await.unwrap());
    }
    assert_eq!(ask("/healthz").await.status, 200);
    let address = server.address();
    drop(server);
    drop(silent);
    crate::harness::until("the listener is gone", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
}
