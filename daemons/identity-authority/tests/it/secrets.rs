//! No secret is in the store, the audit log or what the program prints.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use identity::DocumentKey;
use identity::join::JoinToken;
use identity::tls::Alpn;
use identity::tls::bootstrap::{DangerousUnauthenticatedBundleFetch, anonymous_client_config};
use identity::wire::{self, BUNDLE_PATH, SITES_PATH, TOKENS_PATH};
use serde_json::json;

use crate::support::{
    API, Client, Lab, POLICY, Workload, expectation, rng, site_request, token_request,
};

/// Every file in `folder` and its bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(path).unwrap(),
            )
        })
        .collect()
}

fn contains(bytes: &[u8], secret: &[u8]) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_tokens_are_nowhere() {
    let lab = Lab::new().await;
    lab.paris().await;
    let client = lab.anonymous().await;
    let mut secrets = Vec::new();
    for redeemed in [true, false] {
        let token = lab.token_for(API, &[("environment", "production")]).await;
        let copy = JoinToken::parse(&token.expose_text()).unwrap();
        let raw = copy.secret().expose_bytes().to_vec();
        secrets.push(hex::encode(&raw).into_bytes());
        // The text's base64 of the secret; its ends depend on what stands beside, so the middle is looked for.
        let text = token.expose_text();
        secrets.push(text.as_bytes()[text.len() - 40..text.len() - 10].to_vec());
        secrets.push(raw);
        if redeemed {
            let key = DocumentKey::generate(&mut rng());
            client.join(copy.into_secret(), &key).await.document();
            let again = client
                .join(token.into_secret(), &DocumentKey::generate(&mut rng()))
                .await;
            again.expect_error(403, "denied");
        }
    }
    let (folder, config, _clock) = lab.stop().await;
    for (name, bytes) in files(folder.path()) {
        for secret in &secrets {
            assert!(!contains(&bytes, secret), "{name}");
        }
        if name != "root.key" {
            let root_key = std::fs::read(&config.root_key.path).unwrap();
            assert!(!contains(&bytes, root_key.trim_ascii()), "{name}");
            // The key that signs checkpoints of the audit log is a file of its own.
            assert!(
                name.ends_with(".jsonl.key") || !contains(&bytes, b"PRIVATE KEY"),
                "{name}"
            );
            assert!(
                !contains(&bytes, &hex::decode(root_key.trim_ascii()).unwrap()),
                "{name}"
            );
        }
    }
    assert!(
        files(folder.path()).len() >= 4,
        "store, root key, audit log, policy"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_the_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new().await;
    for name in ["root.key", "authority.db", "audit.jsonl"] {
        let mode = std::fs::metadata(lab.path(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

fn program(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_identity-authority"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap()
}

fn folder_with_configuration() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("administration.yaml"), POLICY).unwrap();
    std::fs::write(
        folder.path().join("a.toml"),
        "trust_domain = \"acme.example\"\nurl = \"https://127.0.0.1:1\"\nlisten.address = \"127.0.0.1:0\"\n\
         store.path = \"a.db\"\nroot_key.path = \"root.key\"\naudit.path = \"audit.jsonl\"\n\
         administration.policy = \"administration.yaml\"\nmetrics.address = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    folder
}

#[test]
fn init_writes_the_token_to_a_private_file_and_prints_none_of_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder_with_configuration();
    let out = program(
        folder.path(),
        &[
            "init",
            "--config",
            "a.toml",
            "--admin-token-out",
            "admin.token",
        ],
    );
    assert!(out.status.success(), "{out:?}");
    let path = folder.path().join("admin.token");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = std::fs::read_to_string(&path).unwrap();
    let token = JoinToken::parse(text.trim_end()).unwrap();
    assert_eq!(token.authority_url(), "https://127.0.0.1:1");
    for stream in [&out.stdout, &out.stderr] {
        assert!(
            !contains(stream, b"bfjoin1:") && !contains(stream, &text.as_bytes()[20..60]),
            "{out:?}"
        );
    }
    let again = program(folder.path(), &["init", "--config", "a.toml"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("not overwritten"),
        "{again:?}"
    );

    let other = program(
        folder.path(),
        &[
            "admin-token",
            "--config",
            "a.toml",
            "--name",
            "eve",
            "--out",
            "admin.token",
        ],
    );
    assert_eq!(other.status.code(), Some(1));
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        text,
        "not overwritten"
    );
    let other = program(
        folder.path(),
        &[
            "admin-token",
            "--config",
            "a.toml",
            "--name",
            "eve",
            "--out",
            "eve.token",
        ],
    );
    assert!(other.status.success(), "{other:?}");
    let switched = program(
        folder.path(),
        &["disable-site", "--config", "a.toml", "blindfold"],
    );
    assert!(switched.status.success(), "{switched:?}");
}

#[test]
fn bad_configuration_exits_with_64_and_names_the_place() {
    let folder = folder_with_configuration();
    let check = |arguments: &[&str]| program(folder.path(), arguments);
    assert!(
        check(&["run", "--config", "a.toml", "--check"])
            .status
            .success()
    );
    assert!(
        !folder.path().join("a.db").exists(),
        "a check makes nothing"
    );
    assert!(check(&["--version"]).status.success());
    let file = folder.path().join("bad.toml");
    let good = std::fs::read_to_string(folder.path().join("a.toml")).unwrap();
    std::fs::write(&file, format!("{good}[documents]\nlifetime = \"1h\"\n")).unwrap();
    for arguments in [
        &["run", "--config", "bad.toml"][..],
        &["run", "--config", "bad.toml", "--check"],
        &["init", "--config", "bad.toml"],
    ] {
        let out = check(arguments);
        assert_eq!(out.status.code(), Some(64), "{out:?}");
        assert!(
            String::from_utf8_lossy(&out.stderr).contains("bad.toml:10:1"),
            "{out:?}"
        );
    }
    assert_eq!(
        check(&["run", "--config", "none.toml"]).status.code(),
        Some(64)
    );
    let out = check(&["run", "--config", "a.toml"]);
    assert_eq!(out.status.code(), Some(1), "not initialized: {out:?}");
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("root.key")
            || String::from_utf8_lossy(&out.stderr).contains("init")
    );
}

/// A daemon process that is killed if the test fails.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn program_serves_logs_no_secret_at_its_most_talkative_and_ends_on_sigterm() {
    let folder = folder_with_configuration();
    let file = folder.path().join("a.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}log.filter = \"trace\"\n")).unwrap();
    let made = program(
        folder.path(),
        &[
            "init",
            "--config",
            "a.toml",
            "--admin-token-out",
            "admin.token",
        ],
    );
    assert!(made.status.success(), "{made:?}");
    let mut daemon = Daemon(
        Command::new(env!("CARGO_BIN_EXE_identity-authority"))
            .current_dir(folder.path())
            .args(["run", "--config", "a.toml"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut reader = BufReader::new(daemon.0.stderr.take().unwrap());
    let mut log = String::new();
    let address: SocketAddr = loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "ended:\n{log}");
        log.push_str(&line);
        if let Some((_, rest)) = line.split_once("serving address=") {
            break rest.split_whitespace().next().unwrap().parse().unwrap();
        }
    };
    // A pipe that nobody empties would stop the daemon.
    let drained = std::thread::spawn(move || {
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        rest
    });

    let admin_token = std::fs::read_to_string(folder.path().join("admin.token")).unwrap();
    let admin_token = JoinToken::parse(admin_token.trim_end()).unwrap();
    let mut secrets = vec![admin_token.secret().expose_bytes().to_vec()];
    let fetch = DangerousUnauthenticatedBundleFetch::new().unwrap();
    let bundle = Client {
        address,
        config: fetch.dangerous_client_config(),
    }
    .get(BUNDLE_PATH)
    .await
    .body;
    let bundle = Arc::new(
        fetch
            .accept(&bundle, admin_token.bundle_fingerprint())
            .unwrap(),
    );
    let config = anonymous_client_config(bundle, expectation(), &[Alpn::Http11]).unwrap();
    let anonymous = Client { address, config };
    let join = async |token: JoinToken| {
        let key = DocumentKey::generate(&mut rng());
        Workload::new(
            address,
            anonymous.join(token.into_secret(), &key).await.document(),
            key,
        )
    };
    let admin = join(admin_token).await.client();
    assert_eq!(
        admin
            .post_json(SITES_PATH, &site_request("paris", &json!({})))
            .await
            .status,
        201
    );
    let answer = admin.post_json(TOKENS_PATH, &token_request(API, &[])).await;
    let token: wire::CreateTokenResponse = wire::parse_response(&answer.body).unwrap();
    secrets.push(token.token.secret().expose_bytes().to_vec());
    join(token.token).await.renew().await.0.document();
    // A body that is nearly right is refused without being repeated.
    let nearly = format!(
        "{{\"token_secret\":\"{}\",\"csr\":1}}",
        hex::encode(&secrets[1])
    );
    anonymous
        .post(wire::JOIN_PATH, nearly.as_bytes())
        .await
        .expect_error(400, "bad_request");

    let pid = rustix::process::Pid::from_child(&daemon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(daemon.0.wait().unwrap().success(), "drained");
    let rest = drained.join().unwrap();
    assert!(contains(&rest, b"DEBUG"), "it was talkative");
    let mut places = files(folder.path());
    places.retain(|(name, _)| name != "admin.token");
    places.push(("its log".to_owned(), [log.into_bytes(), rest].concat()));
    for (place, bytes) in &places {
        for secret in &secrets {
            assert!(!contains(bytes, secret), "{place}");
            assert!(!contains(bytes, hex::encode(secret).as_bytes()), "{place}");
        }
        assert!(!contains(bytes, b"bfjoin1:"), "{place}");
        assert!(
            place.ends_with(".jsonl.key") || !contains(bytes, b"PRIVATE KEY"),
            "{place}"
        );
    }
}
