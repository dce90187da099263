//! `blindfold bench`: its rows, its bounds, and a load on a real unsealer.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{dev::Dev, program::Bench};

fn rows(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn rows_for_machines_are_one_object_a_line_with_floor_and_ratio() {
    let bench = Bench::new();
    let text = bench.text(
        "bench evaluate open --elements 1,7 --duration 0.05 --json",
        b"",
    );
    let rows = rows(&text);
    let shape: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["name"].as_str().unwrap(),
                row["elements"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        shape,
        [("evaluate", 1), ("evaluate", 7), ("open", 1), ("open", 7)]
    );
    for row in &rows {
        assert!(
            ["aws-lc", "pure"].contains(&row["backend"].as_str().unwrap()),
            "{row}"
        );
        let (ns, floor) = (
            row["ns"].as_f64().unwrap(),
            row["floor_ns"].as_f64().unwrap(),
        );
        let ratio = row["ratio"].as_f64().unwrap();
        assert!(floor > 1000.0, "a multiplication takes its time: {row}");
        assert!((ns / floor - ratio).abs() < 0.01, "{row}");
        // Less than one multiplication for an element would mean that something was not done.
        assert!(ratio > 1.0 && row["rounds"].as_u64().unwrap() >= 3, "{row}");
        assert!(row["median_ns"].as_f64().unwrap() >= ns, "{row}");
    }
}

#[test]
fn streams_are_measured_in_constant_memory() {
    let bench = Bench::new();
    let words = "bench seal --size 1KiB,24MiB --mode stream --duration 0.05 --json";
    let rows = rows(&bench.text(words, b""));
    let (small, large) = (1 << 10, 24 << 20);
    let peak = |step, bytes: u64| {
        let mut found = rows
            .iter()
            .filter(|row| row["step"] == step && row["bytes"] == bytes);
        let row = found.next().unwrap();
        assert!(found.next().is_none() && row["name"] == "seal", "{row}");
        assert!(row["share_of_floor"].as_f64().unwrap() > 0.0, "{row}");
        let more = row["more_memory_bytes"].as_u64().unwrap();
        assert!(more <= row["peak_memory_bytes"].as_u64().unwrap(), "{row}");
        // The limit of the product, whatever the size.
        assert!(more < 8 << 20, "{row}");
        more
    };
    assert_eq!(rows.len(), 4);
    for step in ["seal_stream", "open_stream"] {
        let more = peak(step, large).saturating_sub(peak(step, small));
        assert!(more < 4 << 20, "{step} takes {more} bytes more");
    }
    let both = bench.text("bench seal --size 1KiB --duration 0.01 --json", b"");
    let steps: Vec<_> = both
        .lines()
        .map(|line| line.split("\"step\":\"").nth(1).unwrap())
        .collect();
    for (line, step) in steps
        .iter()
        .zip(["seal\"", "open\"", "seal_stream\"", "open_stream\""])
    {
        assert!(line.starts_with(step), "{line}");
    }
    assert_eq!(steps.len(), 4);
}

#[test]
fn people_get_a_table_and_wrong_words_a_remedy() {
    let bench = Bench::new();
    let text = bench.text("bench evaluate --elements 2 --duration 0.01", b"");
    assert!(
        text.contains("per element of 2") && text.contains("ratio"),
        "{text}"
    );
    for words in [
        "bench evaluate --elements 0",
        "bench evaluate --elements 257",
        "bench --duration 0",
        "bench seal --size 3kB",
        "bench nothing",
        "bench --concurrency 2",
    ] {
        bench.fails(64, words, b"");
    }
    let error = bench.fails(64, "bench --server", b"");
    assert!(error.contains("BLINDFOLD_CONFIG"), "{error}");
    let error = bench.fails(64, "bench seal --server", b"");
    assert!(error.contains("--server"), "{error}");
    let error = bench.fails(64, "bench seal --mode memory --size 1GiB", b"");
    assert!(error.contains("--mode stream"), "{error}");
}

#[test]
fn load_on_an_unsealer_is_counted_and_ends_in_time() {
    let mut bench = Bench::new();
    let dev = Dev::start(&mut bench);
    let pid = dev.pid();
    let words =
        format!("bench --server --elements 3 --concurrency 2 --duration 1.5 --pid {pid} --json");
    let began = Instant::now();
    let row = bench.json(&words, b"");
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(row["name"], "open");
    assert_eq!(row["elements"], 3);
    assert_eq!(row["interrupted"], false);
    assert_eq!(row["unfinished"], 0);
    assert_eq!(row["errors"], serde_json::json!({}));
    let opens = row["opens"].as_u64().unwrap();
    assert!(opens > 0, "{row}");
    let latency = |name: &str| row["latency_ns"][name].as_u64().unwrap();
    assert!(
        latency("p50") <= latency("p90") && latency("p99.9") <= latency("max"),
        "{row}"
    );
    assert!(row["server_cpu_ns"].as_f64().unwrap() > 0.0, "{row}");
    assert!(row["server_cpu_ratio"].as_f64().unwrap() >= 1.0, "{row}");
    assert!(row["server_best_ratio"].as_f64().unwrap() > 0.5, "{row}");

    // At a rate: no more than that many, and each begun on time.
    let row = bench.json(
        "bench --server --elements 1 --rate 10 --duration 1 --json",
        b"",
    );
    assert!(row["opens"].as_u64().unwrap() <= 10, "{row}");

    // An object of one's own, and one that is denied.
    let seal = "seal --key dev/unsealer.pub --policy";
    let object = bench.ok(&format!("{seal} dev/policy.yaml"), b"x");
    bench.write("object", object);
    let text = bench.text(
        "bench --server --object object --elements 1 --duration 0.3",
        b"",
    );
    assert!(
        text.contains("one value") && text.contains("p99.9"),
        "{text}"
    );
    let other = String::from_utf8(bench.read("dev/policy.yaml")).unwrap();
    bench.write("other.yaml", other.replace("/dev/workload", "/dev/other"));
    let denied = bench.ok(&format!("{seal} other.yaml"), b"x");
    bench.write("denied", denied);
    let error = bench.fails(77, "bench --server --object denied --duration 1", b"");
    assert!(error.contains("denied"), "{error}");
    dev.stop();
    let error = bench.fails(69, "bench --server --duration 1", b"");
    assert!(error.contains("cannot reach"), "{error}");
}

#[test]
fn a_server_that_ends_during_the_load_shows_as_errors() {
    let mut bench = Bench::new();
    let dev = Dev::start(&mut bench);
    // The SDK repeats what may pass; here the deadline of a call ends it.
    let config = bench.path("dev/wingman.toml");
    let mut text = std::fs::read_to_string(&config).unwrap();
    text.push_str("\n[timeouts]\nopen_seconds = 1\n");
    std::fs::write(bench.path("dev/short.toml"), text).unwrap();
    let child = bench
        .command("bench --server --elements 1 --config dev/short.toml --duration 6 --json")
        .spawn()
        .unwrap();
    // Sealing, the bare evaluation and the first opens take about a second.
    std::thread::sleep(Duration::from_secs(3));
    dev.stop();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let row: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        row["errors"]["unavailable"]["count"].as_u64().unwrap() > 0,
        "{row}"
    );
}

#[test]
fn interrupt_ends_a_run_with_what_it_has() {
    let bench = Bench::new();
    // Left alone, it would take an hour.
    let mut child = bench
        .command("bench evaluate --elements 1 --duration 3600 --json")
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut rest)
        .unwrap();
    assert!(child.wait().unwrap().success());
    let rows = rows(&rest);
    assert!(
        rows.len() == 1 && rows[0]["rounds"].as_u64().unwrap() >= 1,
        "{rest}"
    );
}
