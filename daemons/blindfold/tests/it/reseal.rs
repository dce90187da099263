//! `blindfold reseal` against a real unsealer whose key is rotated.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::{PermissionsExt, symlink},
};

use serde_json::Value;

use crate::{
    dev::Dev,
    program::{Bench, names},
};

/// A control plane of which the key has a new version: the old one only opens.
struct Rotated {
    bench: Bench,
    dev: Dev,
    old_id: String,
}

impl Rotated {
    fn new() -> Self {
        let mut bench = Bench::new();
        let dev = Dev::start(&mut bench);
        std::fs::copy(bench.path("dev/unsealer.pub"), bench.path("v1.pub")).unwrap();
        let record = bench.ok("unsealer key generate --tenant dev --key-version 2", b"");
        bench.write("v2.pub", record);
        let id = |name: &str| {
            let shown = bench.json(&format!("key show --json {name}"), b"");
            shown["key_id"].as_str().unwrap().to_owned()
        };
        let old_id = id("v1.pub");
        bench.ok(&format!("unsealer key set-state {old_id} open-only"), b"");
        // The workload pins both versions, as during every rotation.
        let config = String::from_utf8(bench.read("dev/wingman.toml")).unwrap();
        let both = config.replace(
            "key = \"unsealer.pub\"",
            "key = [\"../v2.pub\", \"../v1.pub\"]",
        );
        assert_ne!(both, config);
        bench.write("dev/both.toml", both);
        std::fs::create_dir_all(bench.path("tree/deep/.git")).unwrap();
        let config = bench.path("dev/both.toml");
        bench.set("BLINDFOLD_CONFIG", config);
        Self { bench, dev, old_id }
    }

    /// A value in one line.
    fn seal(&self, words: &str, secret: &[u8]) -> String {
        let text = self
            .bench
            .text(&format!("seal --key v1.pub {words}"), secret);
        text.trim_end().to_owned()
    }

    fn inspect(&self, value: &str) -> Value {
        self.bench.json("inspect --json", value.as_bytes())
    }

    /// Elements of each request to open that was allowed, since the start.
    fn requests(&self) -> Vec<u64> {
        let log = String::from_utf8(self.bench.read("dev/unsealer/audit.jsonl")).unwrap();
        log.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|line| line["kind"] == "decision" && line["action"] == "open")
            .map(|line| line["context"]["count"].as_u64().unwrap())
            .collect()
    }
}

const INLINE: &str = "--policy dev/policy.yaml";

#[test]
fn new_key_version_over_a_tree_of_every_form() {
    let it = Rotated::new();
    let bench = &it.bench;
    bench.ok(
        "unsealer policy put --tenant dev prod/db dev/policy.yaml",
        b"",
    );
    bench.write("aad", "context");

    // Twelve values in texts of all kinds, three whole files, one large stream.
    let values: Vec<String> = (0..12)
        .map(|i| {
            let more = match i {
                0 => "--no-pad",
                1 => "--cipher chacha20-poly1305",
                2 => "--not-before 2026-01-01 --not-after 2099-12-31",
                _ => "",
            };
            let policy = if i % 2 == 0 {
                INLINE
            } else {
                "--policy-name prod/db"
            };
            it.seal(
                &format!("{policy} --label path.{i} {more}"),
                format!("secret {i}").as_bytes(),
            )
        })
        .collect();
    let [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11] = &values[..] else {
        panic!("twelve values");
    };
    let armor = |words: &str| {
        let text = bench.text(
            &format!("seal --key v1.pub --format armor {words}"),
            b"armored",
        );
        text.trim_end().to_owned()
    };
    let (block, quoted) = (armor(INLINE), armor(INLINE));
    let texts = [
        (
            "tree/app.toml",
            format!(
                "# comment {{\n[db]   \npassword = \"{v0}\"   # keep\nusers = ['{v1}', \"{v2}\"]\r\n"
            ),
        ),
        (
            "tree/deep/app.yaml",
            format!(
                "db:\n    password:   {v3}\n    key: |\n      {}\n    'x y': \"{v4}\"\n",
                block.replace('\n', "\n      ")
            ),
        ),
        (
            "tree/deep/app.json",
            format!(
                "{{\"a\": \"{v5}\", \"pem\": \"{}\\n\", \"b\":[\"{v6}\",1.50]}}",
                quoted.replace('\n', "\\n")
            ),
        ),
        ("tree/.env", format!("export A='{v7}'\nB={v8} # c\n\n")),
        ("tree/notes.md", format!("one {v9}, two ({v10})\n")),
    ];
    for (name, text) in &texts {
        bench.write(name, text);
    }
    bench.write("tree/deep/.git/kept", v11);
    bench.write("tree/plain.txt", "nothing here, but pbseal1: is mentioned");
    let permissions = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(bench.path("tree/app.toml"), permissions).unwrap();
    symlink("../v1.pub", bench.path("tree/link")).unwrap();
    bench.write("outside", v11);
    symlink("../outside", bench.path("tree/outside-link")).unwrap();
    bench.ok(
        &format!("seal --key v1.pub {INLINE} --format armor --label file -o tree/whole.armor"),
        b"whole armor",
    );
    bench.ok(
        &format!("seal --key v1.pub {INLINE} --format binary --aad-file aad -o tree/whole.bin"),
        b"whole binary",
    );
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    bench.ok(
        &format!("seal --key v1.pub {INLINE} --format binary --label large -o tree/large.bin"),
        &large,
    );
    // Another authority's: nobody's business here.
    bench.ok(
        "key generate --authority other --tenant other -o o.key --public o.pub",
        b"",
    );
    let foreign = bench.text(&format!("seal --key o.pub {INLINE}"), b"x");
    bench.write("tree/foreign", &foreign);

    // 11 + 2 in texts, 3 whole files: outdated; one foreign.
    let before = bench.text("reseal --report --key v2.pub tree", b"");
    assert!(before.contains("17 sealed values"), "{before}");
    assert!(before.contains("16 to be resealed"), "{before}");
    bench.fails(65, "reseal --report --check --key v2.pub tree", b"");

    // The external data is needed for one of them; the rest goes on.
    let asked = it.requests().len();
    let output = bench.run("reseal --key v2.pub tree", b"");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{stderr}");
    assert!(
        stderr.contains("tree/whole.bin: it was sealed with external data"),
        "{stderr}"
    );
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.contains("15 resealed in 7 files, 1 current, 1 problems"),
        "{stdout}"
    );
    // One request for the stream and one for each policy and window of all the others.
    let mut requests = it.requests().split_off(asked);
    requests.sort_unstable();
    assert_eq!(requests, [1, 1, 5, 8], "as few requests as possible");
    bench.ok("reseal --key v2.pub --aad-file aad --verify tree", b"");

    // Nothing is on the old key any more; it can be retired.
    bench.ok("reseal --report --check --key v2.pub tree", b"");
    bench.ok(
        &format!("unsealer key set-state {} retired", it.old_id),
        b"",
    );

    // Every value opens to what it was, with its label; every other byte is where it was.
    for (name, old) in &texts {
        let new = String::from_utf8(bench.read(name)).unwrap();
        let mut restored = new.clone();
        let found: Vec<&str> = one_line_values(&new);
        let were: Vec<&str> = one_line_values(old);
        assert_eq!(found.len(), were.len(), "{name}");
        for (now, was) in found.iter().zip(&were) {
            assert_ne!(now, was, "{name}");
            let i = values.iter().position(|value| value == was).unwrap();
            let secret = bench.ok(&format!("open --label path.{i}"), now.as_bytes());
            assert_eq!(secret, format!("secret {i}").into_bytes());
            let (now_shown, was_shown) = (it.inspect(now), it.inspect(was));
            for same in ["cipher", "padded", "threshold", "label", "payload_bytes"] {
                assert_eq!(now_shown[same], was_shown[same], "{same}");
            }
            for same in ["not_before", "not_after", "policy", "policy_mode", "role"] {
                assert_eq!(
                    now_shown["locks"][0][same], was_shown["locks"][0][same],
                    "{same}"
                );
            }
            assert_eq!(now_shown["locks"][0]["key_version"], 2);
            restored = restored.replacen(now, was, 1);
        }
        for (armor, between) in [(&block, "\n      "), (&quoted, "\\n")] {
            let was = armor.replace('\n', between);
            if let Some(at) = old.find(&was) {
                let end = restored.find("-----END PBSEAL-----").unwrap() + 20;
                let now = restored.get(at..end).unwrap().to_owned();
                assert_ne!(now, was);
                let plain = format!("{}\n", now.replace(between, "\n"));
                assert_eq!(bench.ok("open", plain.as_bytes()), b"armored");
                restored.replace_range(at..end, &was);
            }
        }
        assert_eq!(&restored, old, "{name}");
    }
    let mode = bench
        .path("tree/app.toml")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(
        bench.ok("open --label file tree/whole.armor", b""),
        b"whole armor"
    );
    assert_eq!(
        bench.ok("open --aad-file aad tree/whole.bin", b""),
        b"whole binary"
    );
    bench.ok("open --label large -o large tree/large.bin", b"");
    assert_eq!(bench.read("large"), large);
    // Left alone: version control, what links lead to, other authorities.
    assert_eq!(bench.read("tree/deep/.git/kept"), v11.as_bytes());
    assert_eq!(bench.read("outside"), v11.as_bytes());
    assert_eq!(bench.read("tree/foreign"), foreign.as_bytes());
    assert!(
        bench
            .path("tree/outside-link")
            .symlink_metadata()
            .unwrap()
            .is_symlink()
    );

    // What is current stays byte for byte.
    let after: Vec<_> = texts.iter().map(|(name, _)| bench.read(name)).collect();
    let again = bench.text("reseal --key v2.pub --aad-file aad tree", b"");
    assert!(
        again.contains("0 resealed in 0 files, 17 current"),
        "{again}"
    );
    for ((name, _), bytes) in texts.iter().zip(after) {
        assert_eq!(bench.read(name), bytes);
    }
    assert!(
        names(&bench.path("tree"))
            .iter()
            .all(|name| !name.starts_with(".blindfold-"))
    );
    it.dev.stop();
}

/// The `pbseal1:` values of a text, in their order.
fn one_line_values(text: &str) -> Vec<&str> {
    text.match_indices("pbseal1:")
        .map(|(at, _)| {
            let rest = text.get(at..).unwrap();
            let of_value = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':');
            rest.split_once(|c| !of_value(c))
                .map_or(rest, |(value, _)| value)
        })
        .filter(|value| value.len() > 100)
        .collect()
}

#[test]
fn new_policy_and_what_may_not_be_opened() {
    let it = Rotated::new();
    let bench = &it.bench;
    let other = String::from_utf8(bench.read("dev/policy.yaml"))
        .unwrap()
        .replace("/dev/workload", "/dev/other");
    bench.write("other.yaml", other);
    let wider = String::from_utf8(bench.read("dev/policy.yaml"))
        .unwrap()
        .replace("name: development", "name: wider");
    bench.write("wider.yaml", wider);
    let mine = it.seal(&format!("{INLINE} --label mine"), b"mine");
    let theirs = it.seal("--policy other.yaml --label theirs", b"theirs");
    bench.write("tree/both.env", format!("A={mine}\nB={theirs}\n"));
    bench.write("tree/both.env.minisig", "a signature");
    bench.write("tree/theirs", &theirs);

    // Denied: named; the other value of the same file is resealed.
    let output = bench.run("reseal --json --policy wider.yaml tree", b"");
    assert_eq!(output.status.code(), Some(77));
    let events: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let problems: Vec<_> = events.iter().filter(|e| e["event"] == "problem").collect();
    assert_eq!(problems.len(), 2);
    assert_eq!(problems[0]["error"], "denied");
    assert_eq!(
        (&problems[0]["line"], &problems[0]["label"]),
        (&2.into(), &"theirs".into())
    );
    let resealed: Vec<_> = events.iter().filter(|e| e["event"] == "resealed").collect();
    assert_eq!(resealed.len(), 1);
    assert_eq!(resealed[0]["signature_stale"], true);
    let text = String::from_utf8(bench.read("tree/both.env")).unwrap();
    let [first, second] = one_line_values(&text)[..] else {
        panic!("{text}");
    };
    assert_eq!(second, theirs);
    let shown = it.inspect(first);
    assert_eq!(shown["locks"][0]["policy"]["name"], "wider");
    // The key was not asked to change.
    assert_eq!(shown["locks"][0]["key_version"], 1);
    assert_eq!(bench.ok("open --label mine", first.as_bytes()), b"mine");
    assert_eq!(bench.read("tree/theirs"), theirs.as_bytes());

    // To a policy that shuts ourselves out: done when asked for, but not with --verify.
    bench.write("tree/both.env", &mine);
    std::fs::remove_file(bench.path("tree/theirs")).unwrap();
    let error = bench.fails(77, "reseal --verify --policy other.yaml tree", b"");
    assert!(error.contains("left as it was"), "{error}");
    assert_eq!(bench.read("tree/both.env"), mine.as_bytes());
    bench.ok("reseal --policy other.yaml tree", b"");
    let shut = bench.read("tree/both.env");
    bench.fails(77, "open", &shut);

    // Nobody there: one failure, and every file as it was.
    bench.write("tree/both.env", &mine);
    let Rotated { bench, dev, .. } = it;
    dev.stop();
    let error = bench.fails(69, "reseal --key v2.pub tree", b"");
    assert_eq!(error.matches("cannot reach").count(), 1, "{error}");
    assert_eq!(bench.read("tree/both.env"), mine.as_bytes());
}

#[test]
fn key_that_nobody_holds_is_found_out_by_verify() {
    let it = Rotated::new();
    let bench = &it.bench;
    let value = it.seal(INLINE, b"x");
    bench.write("tree/value", &value);
    let large = vec![7; 2_000_000];
    bench.ok(
        &format!("seal --key v1.pub {INLINE} --format binary -o tree/large"),
        &large,
    );
    let before = bench.read("tree/large");
    bench.ok(
        "key generate --authority dev.unsealer --tenant dev --key-version 9 -o k9 --public v9.pub",
        b"",
    );
    let error = bench.fails(64, "reseal --verify --key v9.pub tree", b"");
    assert!(error.contains("does not pin it"), "{error}");
    let config = String::from_utf8(bench.read("dev/both.toml")).unwrap();
    let config = config.replace("key = [", "key = [\"../v9.pub\", ");
    bench.write("dev/both.toml", config);
    // The unsealer was never given it.
    let error = bench.fails(65, "reseal --verify --key v9.pub tree", b"");
    assert_eq!(error.matches("left as it was").count(), 2, "{error}");
    assert_eq!(bench.read("tree/value"), value.as_bytes());
    assert_eq!(bench.read("tree/large"), before);
    assert_eq!(names(&bench.path("tree")), ["deep", "large", "value"]);
    bench.ok("unsealer key import k9", b"");
    bench.ok("reseal --verify --key v9.pub tree", b"");
    assert_eq!(bench.ok("open tree/value", b""), b"x");
    assert_eq!(bench.ok("open tree/large", b""), large);
    it.dev.stop();
}

#[test]
fn site_lock_and_recovery_lock_of_an_object_are_kept_or_renewed() {
    let it = Rotated::new();
    let bench = &it.bench;
    for (name, version) in [("site", 1), ("site-2", 2)] {
        bench.ok(&format!("key generate --kind site --authority paris --tenant dev --key-version {version} -o dev/{name}.key --public {name}.pub"), b"");
    }
    bench.ok(
        "key generate --kind site --authority safe --tenant dev -o safe.key --public safe.pub",
        b"",
    );
    let config = String::from_utf8(bench.read("dev/both.toml")).unwrap();
    bench.write(
        "dev/both.toml",
        format!("{config}\n[site]\nkey_file = \"site.key\"\n"),
    );
    let value = it.seal(
        &format!("{INLINE} --site-lock site.pub --recovery safe.pub"),
        b"locked",
    );
    bench.write("tree/value", &value);
    // The recovery key is pinned nowhere.
    let error = bench.fails(65, "reseal --key v2.pub tree", b"");
    assert!(error.contains("not at hand"), "{error}");
    bench.ok(
        "reseal --key v2.pub --key site-2.pub --key safe.pub tree",
        b"",
    );
    let new = bench.read("tree/value");
    let locks = bench.json("inspect --json", &new)["locks"].clone();
    let kept: Vec<_> = locks
        .as_array()
        .unwrap()
        .iter()
        .map(|lock| {
            (
                lock["role"].as_str().unwrap(),
                lock["key_version"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(kept, [("share", 2), ("required", 2), ("recovery", 1)]);
    assert_eq!(bench.ok("recover --secret-key safe.key", &new), b"locked");
    bench.write(
        "dev/both.toml",
        format!("{config}\n[site]\nkey_file = \"site-2.key\"\n"),
    );
    assert_eq!(bench.ok("open", &new), b"locked");
    it.dev.stop();
}

#[test]
fn interrupted_run_leaves_whole_files_and_is_run_again() {
    const FILES: usize = 120;
    let it = Rotated::new();
    let bench = &it.bench;
    let value = it.seal(&format!("{INLINE} --label x"), b"again and again");
    for i in 0..FILES {
        bench.write(&format!("tree/{i}.env"), format!("# {i}\nA={value}\n"));
    }
    let mut child = bench.command("reseal --key v2.pub tree").spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("resealed "), "{line}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    child.wait().unwrap();
    // Each file is either as it was or wholly new: its frame stands around one whole object.
    let mut renewed = 0;
    for i in 0..FILES {
        let text = String::from_utf8(bench.read(&format!("tree/{i}.env"))).unwrap();
        let frame = text.strip_prefix(&format!("# {i}\nA=")).unwrap();
        let [now] = one_line_values(&text)[..] else {
            panic!("{text}");
        };
        assert_eq!(frame, format!("{now}\n"));
        blindfold_core::Sealed::from_text(now).unwrap();
        renewed += usize::from(now != value);
    }
    assert!(renewed > 0);
    let left = names(&bench.path("tree"));
    assert!(
        left.iter().all(|name| !name.starts_with(".blindfold-")),
        "{left:?}"
    );
    bench.ok("reseal --key v2.pub tree", b"");
    bench.ok("reseal --report --check --key v2.pub tree", b"");
    for i in [0, FILES / 2, FILES - 1] {
        let text = String::from_utf8(bench.read(&format!("tree/{i}.env"))).unwrap();
        assert_eq!(
            bench.ok("open", one_line_values(&text)[0].as_bytes()),
            b"again and again"
        );
    }
    it.dev.stop();
}

#[test]
fn profile_that_demands_signatures_is_obeyed() {
    let it = Rotated::new();
    let bench = &it.bench;
    let public = bench.ok("key generate --kind sealer --out sealer.key", b"");
    bench.write("sealer.pub", public);
    let config = String::from_utf8(bench.read("dev/both.toml")).unwrap();
    let strict = config.replace("[profile]\n", "[profile]\nsigners = [\"../sealer.pub\"]\n");
    assert_ne!(strict, config);
    bench.write("dev/both.toml", strict);
    let (one, two) = (it.seal(INLINE, b"one"), it.seal(INLINE, b"two"));
    let armor = bench.text(
        &format!("seal --key v1.pub --format armor {INLINE}"),
        b"three",
    );
    let text = format!(
        "A={one}\nB={two}\nC=\"{}\"\n",
        armor.trim_end().replace('\n', "\\n")
    );
    bench.write("tree/app.env", &text);
    let large = vec![7; 2_000_000];
    for (name, secret) in [("tree/large", &large[..]), ("tree/small", b"small")] {
        bench.ok(
            &format!("seal --key v1.pub {INLINE} --format binary -o {name}"),
            secret,
        );
    }

    let files = ["tree/app.env", "tree/large", "tree/small"];
    let before = files.map(|name| bench.read(name));
    let error = bench.fails(66, "reseal --key v2.pub tree", b"");
    assert_eq!(error.matches("must be signed").count(), 3, "{error}");
    let error = bench.fails(64, "reseal --verify --key v2.pub tree", b"");
    assert!(error.contains("signed"), "{error}");
    assert_eq!(files.map(|name| bench.read(name)), before);

    // Signed, and changed afterwards: refused.
    bench.ok(&format!("sign -s sealer.key {}", files.join(" ")), b"");
    bench.write("tree/app.env", format!("{text}# more\n"));
    let mut bent = before[1].clone();
    let last = bent.len() - 1;
    bent[last] ^= 1;
    bench.write("tree/large", &bent);
    bench.fails(65, "reseal --key v2.pub tree/app.env tree/large", b"");
    assert_eq!(bench.read("tree/large"), bent);
    assert!(
        String::from_utf8(bench.read("tree/app.env"))
            .unwrap()
            .contains(&one)
    );

    // As it was signed: resealed; the new content waits for its sealer.
    bench.write("tree/app.env", &text);
    bench.write("tree/large", &before[1]);
    let output = bench.text("reseal --key v2.pub tree", b"");
    assert_eq!(output.matches("sign it again").count(), 3, "{output}");
    assert!(output.contains("5 resealed in 3 files"), "{output}");
    bench.fails(65, "open tree/small", b"");
    bench.ok(&format!("sign -s sealer.key {}", files.join(" ")), b"");
    assert_eq!(bench.ok("open tree/small", b""), b"small");
    assert_eq!(bench.ok("open tree/large", b""), large);
    bench.ok("reseal --report --check --key v2.pub tree", b"");
    it.dev.stop();
}
