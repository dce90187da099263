//! The binary: its commands, exit codes, and serving with an identity of its own.

use std::{
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use kms_client::{
    Operation,
    wire::{self, ErrorCode, path},
};

use crate::support::*;

const CONFIG: &str = "[metrics]\naddress = \"127.0.0.1:0\"\n[audit]\npath = \"audit.jsonl\"\n[store]\npath = \"kms.db\"\n[root_key]\npath = \"root.key\"\n";

fn kms(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_kms"))
        .args(arguments)
        .stdin(Stdio::null())
        .env_clear()
        .output()
        .unwrap()
}

fn write_secret(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn it_checks_and_initializes_and_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kms.toml");
    std::fs::write(&path, CONFIG).unwrap();
    let file = path.to_str().unwrap();
    let checked = kms(&["run", "--check", "--config", file]);
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "checking creates nothing"
    );
    for _ in 0..2 {
        let made = kms(&["init", "--config", file]);
        assert!(made.status.success(), "{made:?}");
    }
    for name in ["root.key", "kms.db"] {
        let mode = std::fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
    }
    let nameless = kms(&["--config", file]);
    assert_eq!(nameless.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&nameless.stderr).contains("[identity]"),
        "{nameless:?}"
    );
    std::fs::write(&path, format!("{CONFIG}surprise = 1\n")).unwrap();
    let bad = kms(&["--config", file]);
    assert_eq!(bad.status.code(), Some(64), "{bad:?}");
    assert!(
        String::from_utf8_lossy(&bad.stderr).contains("surprise"),
        "{bad:?}"
    );
}

/// The binary, serving from a folder of its own; killed when the test ends early.
struct Daemon {
    folder: tempfile::TempDir,
    child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_with_an_identity_of_its_own_and_ends_in_order() {
    let trust = Trust::new(DOMAIN);
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("identity");
    std::fs::create_dir(&identity).unwrap();
    std::fs::set_permissions(&identity, PermissionsExt::from_mode(0o700)).unwrap();
    let document = trust.document(SERVER, 3600);
    write_secret(
        &identity.join("document.pem"),
        document.chain_pem().as_bytes(),
    );
    let key = document.key().expose_pem().unwrap();
    write_secret(&identity.join("key.pem"), key.as_bytes());
    write_secret(&identity.join("bundle.json"), &trust.bundle.to_json());
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = free.local_addr().unwrap();
    drop(free);
    let path = folder.path().join("kms.toml");
    let config = format!(
        "[listen]\naddress = \"{address}\"\n{CONFIG}[identity]\ndirectory = \"identity\"\n"
    );
    std::fs::write(&path, config).unwrap();
    let file = path.to_str().unwrap();
    assert!(kms(&["init", "--config", file]).status.success());
    let child = Command::new(env!("CARGO_BIN_EXE_kms"))
        .args(["--config", file])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .env_clear()
        .spawn()
        .unwrap();
    let mut daemon = Daemon { folder, child };
    let client = Client::new(address, trust.identity(API));
    until("it listens", async || client.connect().await.is_ok()).await;
    let path = path::operation(TENANT, "orders", Operation::Encrypt);
    let body = wire::Request {
        items: vec![encrypt(b"x", b"")],
    };
    assert_eq!(client.refused_code(&path, &body).await, ErrorCode::Denied);
    let process = rustix::process::Pid::from_child(&daemon.child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    until("it ends", async || {
        daemon.child.try_wait().unwrap().is_some()
    })
    .await;
    assert!(daemon.child.wait().unwrap().success());
    let log = std::fs::read_to_string(daemon.folder.path().join("audit.jsonl")).unwrap();
    assert!(
        log.contains("\"started\"") && log.contains("\"stopped\""),
        "{log}"
    );
}
