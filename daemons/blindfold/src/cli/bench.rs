//! The words of `blindfold bench`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum, ValueHint};

use super::Cipher;

const ABOUT: &str = "\
Measure sealing, evaluating and opening, on this machine or against a running unsealer

Each row stands beside its floor, measured in the same run and in turn with it, so read the ratio: times vary with \
the machine, ratios hardly do.

  evaluate  what an unsealer computes for a request: decode, evaluate, prove, check the own output.
            Floor: one multiplication of a P-384 point by a secret scalar, same backend. Per element.
  open      what a workload computes to open values of one batch: blind, check the proof, unblind.
            Same floor, per element.
  seal      sealing and opening whole objects, in memory and as a stream in constant memory.
            Floor: the bare cipher in place over 64 KiB, again and again. Per object.

Shown is the best of many short rounds, in CPU time of the one thread that works; others' load hardly shows in it. \
With --server, whole opens by the SDK are timed by the clock instead: network, TLS, both sides' computation, the \
unsealer's audit log, and the SDK's own repetitions when it is told to come back later.";

const EXAMPLES: &str = "\
Examples:
  blindfold bench                                          everything, about half a minute
  blindfold bench evaluate --elements 1,100 --json
  blindfold bench seal --size 1GiB --mode stream
  blindfold bench --server --concurrency 8 --duration 30   with BLINDFOLD_CONFIG set
  blindfold bench --server --rate 200 --pid $(pidof unsealer)

With --json each row is an object on a line of its own: name, backend, elements, ns (per element), floor_ns, ratio, …
Ctrl-C ends the run; what was measured until then is shown.";

/// Words of `bench`.
#[derive(Args, Debug)]
#[command(about = "Measure sealing, evaluating and opening, here or against a running unsealer", long_about = ABOUT, after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    /// What to measure; everything when none is named
    #[arg(value_enum)]
    pub(crate) names: Vec<BenchName>,
    /// Elements in a request, for evaluate and open; with --server values opened at once (its first number)
    #[arg(long, value_name = "N[,N…]", value_delimiter = ',', default_values_t = [1, 10, 100], value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) elements: Vec<u16>,
    /// Plaintext sizes, for seal: bytes, KiB, MiB or GiB
    #[arg(long = "size", value_name = "SIZE[,SIZE…]", value_delimiter = ',', default_value = "1KiB,64KiB,1MiB,1GiB", value_parser = size)]
    pub(crate) sizes: Vec<u64>,
    /// Seal in memory or as a stream; both when absent (in memory up to 64 MiB)
    #[arg(long, value_enum)]
    pub(crate) mode: Option<BenchMode>,
    /// Payload cipher, for seal
    #[arg(long, value_enum, default_value_t = Cipher::Aes256GcmSiv)]
    pub(crate) cipher: Cipher,
    /// Seconds for each row, or for the whole load on a server
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) duration: Duration,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Words of `bench --server`.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// Open against the unsealers of the configuration; only those whom you may put under load
    #[arg(long)]
    pub(crate) server: bool,
    /// The workload's configuration: identity, unsealers, acceptance profile
    #[arg(long, env = "BLINDFOLD_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Sealed object to open; when absent one is made that this workload may open
    #[arg(long, requires = "server", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) object: Option<PathBuf>,
    /// How many of the authorities are needed to open the object that is made
    #[arg(
        long,
        requires = "server",
        conflicts_with = "object",
        default_value_t = 1
    )]
    pub(crate) threshold: u8,
    /// Callers at a time, each with a connection of its own
    #[arg(long, requires = "server", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// Opens per second, begun on time whatever earlier ones take; as many as go when absent
    #[arg(long, requires = "server", value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,
    /// Process ID of the unsealer, if it runs here: its CPU time for each open, beside the bare evaluation
    #[arg(long, requires = "server", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum BenchName {
    /// The unsealer's computation
    Evaluate,
    /// The workload's computation
    Open,
    /// Whole objects against the bare cipher
    Seal,
}

/// Where the object is while it is sealed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum BenchMode {
    /// In memory, whole
    Memory,
    /// From a reader to a writer, in constant memory
    Stream,
}

/// Longest run: documents of an hour are renewed meanwhile, but nobody wants to wait for more.
const MAX_SECONDS: f64 = 3600.0;

/// Largest plaintext that is measured.
const MAX_SIZE: u64 = 1 << 40;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if seconds > 0.0 && seconds <= MAX_SECONDS {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("more than 0 and at most {MAX_SECONDS} seconds"))
    }
}

fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..).unwrap_or_default() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("{other:?} is no unit: use KiB, MiB or GiB")),
    };
    let number: u64 = digits.parse().map_err(|_| "not a size".to_owned())?;
    number
        .checked_mul(unit)
        .filter(|size| (1..=MAX_SIZE).contains(size))
        .ok_or_else(|| format!("1 byte to {} GiB", MAX_SIZE >> 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(size("1"), Ok(1));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        for refused in [
            "",
            "0",
            "1kB",
            "-1",
            "1.5MiB",
            "MiB",
            "99999GiB",
            "99999999999999999999",
        ] {
            assert!(size(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn durations_are_bounded() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for refused in ["0", "-1", "3601", "NaN", "inf", "x"] {
            assert!(seconds(refused).is_err(), "{refused}");
        }
    }
}
