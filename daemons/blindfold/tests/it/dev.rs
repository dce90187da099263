//! `blindfold dev` and what is done with it: sealing, opening, administration, restart; and `blindfold demo`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::program::Bench;

/// A control plane that ends with the test.
pub(crate) struct Dev {
    child: Child,
    pub(crate) ready: serde_json::Value,
}

impl Dev {
    pub(crate) fn start(bench: &mut Bench) -> Self {
        Self::start_with(bench, "")
    }

    /// With further words.
    pub(crate) fn start_with(bench: &mut Bench, words: &str) -> Self {
        let mut child = bench
            .command(&format!("dev --dir dev --json {words}"))
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        bench.set(
            "BLINDFOLD_CONFIG",
            ready["BLINDFOLD_CONFIG"].as_str().unwrap().into(),
        );
        bench.set(
            "BLINDFOLD_ADMIN",
            ready["BLINDFOLD_ADMIN"].as_str().unwrap().into(),
        );
        Self { child, ready }
    }

    /// Its process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as Ctrl-C does, and expects that it does so in order.
    pub(crate) fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "dev ended with {status}");
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("dev did not end");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn seal_open_administer_and_restart() {
    let mut bench = Bench::new();
    let dev = Dev::start(&mut bench);
    let seal = "seal --key dev/unsealer.pub --policy dev/policy.yaml --label db/password";
    let object = bench.ok(seal, b"hunter2");
    assert_eq!(bench.ok("open", &object), b"hunter2");
    assert_eq!(bench.ok("open --label db/password", &object), b"hunter2");
    let error = bench.fails(65, "open --label other", &object);
    assert!(error.contains("LABEL_MISMATCH"), "{error}");

    // Large and binary, through files.
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 253) as u8).collect();
    bench.write("large", &large);
    bench.ok("seal --key dev/unsealer.pub --policy dev/policy.yaml --format binary -o large.sealed large", b"");
    bench.ok("open -o large.opened large.sealed", b"");
    assert_eq!(bench.read("large.opened"), large);

    // A policy that does not name the workload.
    let other = String::from_utf8(bench.read("dev/policy.yaml"))
        .unwrap()
        .replace("/dev/workload", "/dev/other");
    bench.write("other.yaml", other);
    let refused = bench.ok("seal --key dev/unsealer.pub --policy other.yaml", b"x");
    let error = bench.fails(77, "open", &refused);
    assert!(error.contains("denied"), "{error}");

    // Named policies and digest mode, through administration.
    let named = bench.ok(
        "seal --key dev/unsealer.pub --policy-name prod/db",
        b"named",
    );
    bench.fails(65, "open", &named);
    bench.ok(
        "unsealer policy put --tenant dev prod/db dev/policy.yaml",
        b"",
    );
    assert_eq!(bench.ok("open", &named), b"named");
    bench.ok("unsealer policy remove --tenant dev prod/db", b"");
    bench.fails(65, "open", &named);
    let digest = bench.ok(
        "seal --key dev/unsealer.pub --policy-digest-of dev/policy.yaml",
        b"digest",
    );
    bench.fails(65, "open", &digest);
    bench.ok(
        "unsealer document register --tenant dev dev/policy.yaml",
        b"",
    );
    assert_eq!(bench.ok("open", &digest), b"digest");
    let hex = bench.text("policy digest dev/policy.yaml", b"");
    bench.ok(&format!("unsealer deny add --tenant dev {hex}"), b"");
    bench.fails(77, "open", &object);
    bench.ok(&format!("unsealer deny remove --tenant dev {hex}"), b"");
    assert_eq!(bench.ok("open", &object), b"hunter2");

    // A key made offline and imported, then compromised.
    bench.ok(
        "key generate --authority dev.unsealer --tenant dev --key-version 7 -o k7 --public k7.pub",
        b"",
    );
    bench.ok("unsealer key import k7", b"");
    let id = bench.json("key show --json k7", b"")["key_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let listed = bench.json("unsealer key list --json", b"");
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .any(|key| key["key_id"] == id.as_str())
    );
    bench.ok(&format!("unsealer key set-state {id} compromised"), b"");

    // Sites and tokens.
    bench.ok(
        "site add paris --attribute environment=production,staging",
        b"",
    );
    let token = bench.text(
        "token create --spiffe-id spiffe://dev.blindfold.example/paris/api",
        b"",
    );
    assert!(token.starts_with("bfjoin1:") && token.ends_with('\n'));
    bench.fails(65, "token create --spiffe-id spiffe://dev.blindfold.example/paris/api --attribute environment=test", b"");
    bench.ok("site disable paris", b"");
    let sites = bench.text("site list", b"");
    assert!(sites.contains("paris\tdisabled"), "{sites}");
    let mut rules = bench.json("site rules paris", b"");
    assert_eq!(rules["attributes"]["environment"][1], "staging", "{rules}");
    rules["issues_per_day"] = 5.into();
    bench.ok("site rules paris --set -", rules.to_string().as_bytes());
    assert_eq!(bench.json("site rules paris", b""), rules);
    bench.fails(65, "site rules rome", b"");
    bench.fails(65, "site rules paris --set -", b"{}");
    bench.fails(
        65,
        "token create --spiffe-id spiffe://dev.blindfold.example/paris/api",
        b"",
    );
    bench.ok("site enable paris", b"");

    // A restart keeps keys, addresses and identities.
    let first = dev.ready.clone();
    dev.stop();
    let error = bench.fails(69, "open", &object);
    assert!(error.contains("cannot reach"), "{error}");
    let dev = Dev::start(&mut bench);
    assert_eq!(dev.ready, first);
    assert_eq!(bench.ok("open", &object), b"hunter2");
    dev.stop();
}

#[test]
fn a_restart_pins_former_keys_and_keeps_own_changes() {
    let mut bench = Bench::new();
    let dev = Dev::start(&mut bench);
    assert_eq!(bench.read("dev/.gitignore"), b"*\n");
    let seal = "seal --key dev/unsealer.pub --policy dev/policy.yaml";
    let old = bench.ok(seal, b"old");
    let first = dev.ready["fingerprint"].as_str().unwrap().to_owned();
    bench.ok("unsealer key generate --tenant dev --key-version 2", b"");
    bench.ok(&format!("unsealer key set-state {first} open-only"), b"");
    dev.stop();

    // The newest key is sealed to, the former one still opens.
    let dev = Dev::start(&mut bench);
    assert_ne!(dev.ready["fingerprint"], first.as_str());
    let new = bench.ok(seal, b"new");
    assert_eq!(bench.ok("open", &new), b"new");
    assert_eq!(bench.ok("open", &old), b"old");
    let text = String::from_utf8(bench.read("dev/wingman.toml")).unwrap();
    let keys = "key = [\"unsealer.pub\", \"unsealer.v1.pub\"]";
    assert!(text.contains(keys), "{text}");
    dev.stop();

    // Whoever removes the first line has the file for himself.
    let (_, own) = text.split_once('\n').unwrap();
    let own = format!("{own}# mine\n");
    bench.write("dev/wingman.toml", &own);
    let dev = Dev::start(&mut bench);
    assert_eq!(bench.read("dev/wingman.toml"), own.as_bytes());
    assert!(
        bench
            .read("dev/admin.toml")
            .starts_with(b"# Written anew at each start")
    );
    dev.stop();
}

#[test]
fn two_control_planes_do_not_share_a_folder() {
    let mut bench = Bench::new();
    let dev = Dev::start(&mut bench);
    let error = bench.fails(75, "dev --dir dev", b"");
    assert!(error.contains("another process"), "{error}");
    let error = bench.fails(64, "dev --dir other --unsealer-listen 0.0.0.0:0", b"");
    assert!(error.contains("loopback"), "{error}");
    assert!(
        !bench.path("dev/admin.token").exists(),
        "a redeemed token is left behind"
    );
    dev.stop();
    let error = bench.fails(64, "dev --dir dev --trust-domain other.example", b"");
    assert!(
        error.contains("trust domain dev.blindfold.example"),
        "{error}"
    );
}

#[test]
fn disabled_site_of_the_workload_is_refused_within_seconds() {
    let mut bench = Bench::new();
    let dev = Dev::start(&mut bench);
    let object = bench.ok("seal --key dev/unsealer.pub --policy dev/policy.yaml", b"x");
    assert_eq!(bench.ok("open", &object), b"x");
    bench.ok("site disable dev", b"");
    let deadline = Instant::now() + Duration::from_secs(30);
    while bench.run("open", &object).status.success() {
        assert!(Instant::now() < deadline, "a disabled site still opens");
        std::thread::sleep(Duration::from_millis(500));
    }
    dev.stop();
}

#[test]
fn demo_happens_for_people_and_for_machines() {
    let bench = Bench::new();
    let text = bench.text("demo", b"");
    assert!(
        text.contains("All 7 steps happened and were checked"),
        "{text}"
    );
    for line in bench.text("demo --json", b"").lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["event"].is_string());
    }
}
