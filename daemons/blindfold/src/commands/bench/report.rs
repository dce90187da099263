//! Rows for people and for machines.

use std::io::IsTerminal;

use blindfold_core::{Dem, backend};
use serde_json::{Map, Value, json};

use super::{clock::Measured, process::Memory};
use crate::{
    commands::{print, print_json},
    failure::Outcome,
};

/// One measurement beside its floor.
#[derive(Clone, Debug)]
pub(super) struct Row {
    name: &'static str,
    what: String,
    measured: Measured,
    /// Nanoseconds are shown for one of so many.
    divisor: f64,
    more: Map<String, Value>,
    note: String,
}

impl Row {
    /// A request or batch of `count` elements; times are per element.
    pub(super) fn of_elements(name: &'static str, count: usize, measured: Measured) -> Self {
        let mut more = Map::new();
        more.insert("backend".to_owned(), json!(backend()));
        more.insert("elements".to_owned(), json!(count));
        Self {
            name,
            what: match count {
                1 => "1 element".to_owned(),
                count => format!("per element of {count}"),
            },
            measured,
            divisor: count as f64,
            more,
            note: String::new(),
        }
    }

    /// An object with a plaintext of `bytes`, in one step of sealing or opening; times are per object.
    pub(super) fn of_bytes(
        step: &'static str,
        cipher: Dem,
        bytes: u64,
        measured: Measured,
        memory: Option<Memory>,
    ) -> Self {
        let share = measured.floor / measured.best;
        let per_second = bytes as f64 / (measured.best / 1e9);
        let mut more = Map::new();
        let mut add = |key: &str, value: Value| more.insert(key.to_owned(), value);
        add("backend", json!(backend()));
        add("elements", json!(1));
        add("step", json!(step));
        add("cipher", json!(cipher_name(cipher)));
        add("bytes", json!(bytes));
        add("bytes_per_second", json!(per_second.round()));
        add("share_of_floor", json!(rounded(share)));
        add("peak_memory_bytes", json!(memory.map(|memory| memory.peak)));
        add("more_memory_bytes", json!(memory.map(|memory| memory.more)));
        let memory = memory
            .map(|memory| format!(", {:.1} MiB of memory more", mebibytes(memory.more)))
            .unwrap_or_default();
        Self {
            name: "seal",
            what: format!("{step} of {}", size(bytes)),
            measured,
            divisor: 1.0,
            note: format!(
                "{:.0} MiB/s, {:.0} % of the bare cipher{memory}",
                per_second / f64::from(1 << 20),
                share * 100.0
            ),
            more,
        }
    }

    fn each(&self) -> f64 {
        self.measured.best / self.divisor
    }

    fn ratio(&self) -> f64 {
        self.each() / self.measured.floor
    }

    fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("name".to_owned(), json!(self.name));
        object.extend(self.more.clone());
        let times = [
            ("ns", json!(self.each().round())),
            (
                "median_ns",
                json!((self.measured.median / self.divisor).round()),
            ),
            ("floor_ns", json!(self.measured.floor.round())),
            ("ratio", json!(rounded(self.ratio()))),
            ("rounds", json!(self.measured.rounds)),
        ];
        object.extend(times.map(|(key, value)| (key.to_owned(), value)));
        Value::Object(object)
    }

    fn to_text(&self) -> String {
        format!(
            "{:<9} {:<24} {:>10} {:>10} {:>8.2}  {}",
            self.name,
            self.what,
            time(self.each()),
            time(self.measured.floor),
            self.ratio(),
            self.note
        )
        .trim_end()
        .to_owned()
    }
}

/// Prints rows as they come.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
    begun: bool,
}

impl Report {
    /// A report without rows.
    pub(super) fn new(json: bool) -> Self {
        Self { json, begun: false }
    }

    /// Prints a row, below the head if it is the first.
    pub(super) fn row(&mut self, row: &Row) -> Outcome {
        if self.json {
            return print_json(&row.to_json());
        }
        if !std::mem::replace(&mut self.begun, true) {
            print(format_args!(
                "CPU time of one thread, best of many short rounds; backend {}\n\n{:<9} {:<24} {:>10} {:>10} {:>8}\n",
                backend(),
                "",
                "",
                "time",
                "floor",
                "ratio"
            ))?;
        }
        print(format_args!("{}\n", row.to_text()))
    }

    /// Says that the rest was not measured.
    pub(super) fn interrupted(&self) -> Outcome {
        if !self.json && std::io::stderr().is_terminal() {
            eprintln!("stopped: the rest was not measured");
        }
        Ok(())
    }
}

/// Name of a cipher, as on the command line.
fn cipher_name(cipher: Dem) -> &'static str {
    match cipher {
        Dem::Aes256GcmSiv => "aes256-gcm-siv",
        Dem::ChaCha20Poly1305 => "chacha20-poly1305",
        _ => "unknown",
    }
}

/// Three digits behind the point: more is noise.
pub(super) fn rounded(ratio: f64) -> f64 {
    (ratio * 1000.0).round() / 1000.0
}

/// Nanoseconds for people.
pub(super) fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    units
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(
            || format!("{bytes} bytes"),
            |(unit, name)| format!("{} {name}", bytes / unit),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: Measured = Measured {
        best: 2_000_000.0,
        median: 3_000_000.0,
        floor: 10_000.0,
        rounds: 5,
    };

    #[test]
    fn times_of_requests_are_per_element() {
        let row = Row::of_elements("evaluate", 100, MEASURED);
        let json = row.to_json();
        assert_eq!(json["name"], "evaluate");
        assert_eq!(json["backend"], backend());
        assert_eq!(json["elements"], 100);
        assert_eq!(json["ns"], 20_000.0);
        assert_eq!(json["median_ns"], 30_000.0);
        assert_eq!(json["floor_ns"], 10_000.0);
        assert_eq!(json["ratio"], 2.0);
        let text = row.to_text();
        assert!(
            text.contains("per element of 100") && text.contains("20.0 µs"),
            "{text}"
        );
        assert!(text.ends_with("2.00"), "{text}");
    }

    #[test]
    fn objects_show_throughput_memory_and_share_of_the_cipher() {
        let row = Row::of_bytes(
            "seal_stream",
            Dem::Aes256GcmSiv,
            1 << 20,
            MEASURED,
            Some(Memory {
                peak: 5 << 20,
                more: 2 << 20,
            }),
        );
        let json = row.to_json();
        assert_eq!(json["name"], "seal");
        assert_eq!(json["step"], "seal_stream");
        assert_eq!(json["ns"], 2_000_000.0);
        assert_eq!(json["share_of_floor"], 0.005);
        assert_eq!(json["bytes_per_second"], 524_288_000.0);
        assert_eq!(json["peak_memory_bytes"], 5 << 20);
        assert_eq!(json["more_memory_bytes"], 2 << 20);
        let text = row.to_text();
        assert!(
            text.contains("seal_stream of 1 MiB") && text.contains("500 MiB/s"),
            "{text}"
        );
    }

    #[test]
    fn sizes_and_times_have_fitting_units() {
        assert_eq!(size(1 << 30), "1 GiB");
        assert_eq!(size(1025), "1025 bytes");
        assert_eq!(time(12.0), "12 ns");
        assert_eq!(time(1_234.0), "1.2 µs");
        assert_eq!(time(12_340_000.0), "12.34 ms");
        assert_eq!(time(2.5e9), "2.50 s");
    }
}
