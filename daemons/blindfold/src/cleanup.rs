//! Removes unfinished files when the command is interrupted.
//!
//! What is registered here is removed on SIGINT, SIGQUIT, SIGTERM and SIGHUP, before the process ends; on every other way out its owner removes it.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Context, Kind, Outcome};

static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file or folder that must not outlive an interrupted command.
#[derive(Debug)]
pub(crate) struct Unfinished(PathBuf);

impl Unfinished {
    /// Makes something and registers it until the guard is dropped; dropping removes nothing.
    ///
    /// Made under the lock that an interruption takes: nothing is ever there without being registered.
    pub(crate) fn make<T: AsRef<Path>>(
        make: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<(T, Self)> {
        let mut registered = unfinished();
        let made = make()?;
        let path = made.as_ref().to_owned();
        registered.insert(path.clone());
        Ok((made, Self(path)))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        unfinished().remove(&self.0);
    }
}

/// Removes what is unfinished, gives the terminal back, and ends, on a signal. Not for commands that drain on a signal.
pub(crate) fn watch() -> Outcome {
    on_signals(|number| {
        // Held until the end: nothing is registered, and nothing renamed into place, any more.
        let paths = unfinished();
        for path in paths.iter() {
            // A file goes at once; a folder may be written to by processes that got the same signal.
            if std::fs::remove_file(path).is_err() {
                let _ = std::fs::remove_dir_all(path);
            }
        }
        crate::terminal::restore();
        std::process::exit(128 + number);
    })
}

/// Calls `act`, on a thread of its own, with the number of each SIGINT, SIGQUIT, SIGTERM and SIGHUP.
pub(crate) fn on_signals(act: impl Fn(i32) + Send + 'static) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .about(Kind::Internal, "signals")?;
    let listen = |kind| -> Outcome<Signal> { signal(kind).about(Kind::Internal, "signals") };
    let (mut interrupt, mut quit, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (
            listen(SignalKind::interrupt())?,
            listen(SignalKind::quit())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        )
    };
    std::thread::spawn(move || {
        loop {
            let kind = runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => SignalKind::interrupt(),
                    _ = quit.recv() => SignalKind::quit(),
                    _ = terminate.recv() => SignalKind::terminate(),
                    _ = hangup.recv() => SignalKind::hangup(),
                }
            });
            act(kind.as_raw_value());
        }
    });
    Ok(())
}
