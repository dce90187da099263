//! The binary: its commands, and serving with an identity of its own.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};

use blindfold_core::{CONTENT_TYPE, PATH, Refusal, Response};

use crate::support::*;

fn unsealer(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_unsealer"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

#[test]
fn it_checks_initializes_and_imports() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unsealer.toml");
    let config = "authority = \"unsealer-1\"\n[audit]\npath = \"audit.jsonl\"\n[store]\npath = \"unsealer.db\"\n[root_key]\npath = \"root.key\"\n";
    std::fs::write(&path, config).unwrap();
    let file = path.to_str().unwrap();

    let checked = unsealer(&["run", "--check", "--config", file]);
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "checking creates nothing"
    );

    let early = unsealer(&["import-key", "--config", file, "no.key"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&early.stderr).contains("unsealer init"),
        "{early:?}"
    );

    assert!(unsealer(&["init", "--config", file]).status.success());
    let key = new_key(TENANT, 1);
    let key_path = folder.path().join("unsealer.key");
    write_secret(&key_path, &key_file(&key));
    let imported = unsealer(&["import-key", "--config", file, key_path.to_str().unwrap()]);
    assert!(imported.status.success(), "{imported:?}");
    let printed = String::from_utf8(imported.stdout).unwrap();
    assert_eq!(printed.trim(), key.record().key_id().to_string());

    std::fs::set_permissions(&key_path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = unsealer(&["import-key", "--config", file, key_path.to_str().unwrap()]);
    assert!(
        String::from_utf8_lossy(&open.stderr).contains("chmod 600"),
        "{open:?}"
    );

    let nameless = unsealer(&["run", "--config", file]);
    assert_eq!(nameless.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&nameless.stderr).contains("[identity]"),
        "{nameless:?}"
    );

    std::fs::write(&path, format!("{config}surprise = 1\n")).unwrap();
    let bad = unsealer(&["run", "--config", file]);
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
    address: SocketAddr,
    trust: Trust,
    key: blindfold_core::UnsealingKey,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Daemon {
    /// Initializes it, imports a key, and starts it with the identity of the unsealer and, where there is one, the
    /// contact of an identity authority.
    fn start(contact: Option<&str>) -> Self {
        let trust = Trust::new(DOMAIN);
        let folder = tempfile::tempdir().unwrap();
        let identity = folder.path().join("identity");
        std::fs::create_dir(&identity).unwrap();
        std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o700)).unwrap();
        let document = trust.document(SERVER, now(), 3600);
        let write = |name: &str, bytes: &[u8]| write_secret(&identity.join(name), bytes);
        write("document.pem", document.chain_pem().as_bytes());
        write("key.pem", document.key().expose_pem().unwrap().as_bytes());
        write("bundle.json", &trust.bundle.to_json());
        if let Some(contact) = contact {
            write("authority.json", contact.as_bytes());
        }
        // A port that was free a moment ago: the daemon says on standard error where it listens.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let path = folder.path().join("unsealer.toml");
        let config = format!(
            "authority = \"unsealer-1\"\n[listen]\naddress = \"{address}\"\n[metrics]\naddress = \"127.0.0.1:0\"\n[audit]\npath = \"audit.jsonl\"\n[store]\npath = \"unsealer.db\"\n[root_key]\npath = \"root.key\"\n[identity]\ndirectory = \"identity\"\n"
        );
        std::fs::write(&path, config).unwrap();
        let file = path.to_str().unwrap();
        assert!(unsealer(&["init", "--config", file]).status.success());
        let key = new_key(TENANT, 1);
        let key_path = folder.path().join("unsealer.key");
        write_secret(&key_path, &key_file(&key));
        let imported = unsealer(&["import-key", "--config", file, key_path.to_str().unwrap()]);
        assert!(imported.status.success(), "{imported:?}");
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_unsealer"))
            .args(["--config", file])
            .env_clear()
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            folder,
            child,
            address,
            trust,
            key,
        }
    }

    /// What it said on standard error so far.
    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Its answer to a good request, once it listens.
    async fn answer(&self) -> Response {
        let client = Client::new(self.address, self.trust.identity(API));
        let request = RawRequest::new(self.key.record(), &inline(&lets_open(API))).bytes();
        for _ in 0..200 {
            let asked = client.try_request("POST", PATH, Some(CONTENT_TYPE), &request);
            if let Ok(reply) = asked.await {
                return Response::parse(&reply.body).unwrap();
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the daemon never answered: {}", self.said());
    }

    /// Tells it to stop and expects that it does so in order; gives its audit log.
    fn stop(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        assert!(self.said().contains("serving"), "{}", self.said());
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status:?}: {}", self.said());
        std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap()
    }
}

#[tokio::test]
async fn it_serves_with_its_own_identity_until_it_is_told_to_stop() {
    let daemon = Daemon::start(None);
    let answer = daemon.answer().await;
    assert_eq!(
        code(&answer),
        Refusal::Denied.code(),
        "its tenant admits nobody"
    );
    let audit = daemon.stop();
    assert!(
        audit.contains("\"started\"") && audit.contains("\"stopped\""),
        "{audit}"
    );
}

#[tokio::test]
async fn it_serves_nobody_by_a_bundle_of_unknown_age() {
    // Nobody listens there: the bundle of the directory can't be confirmed.
    let daemon = Daemon::start(Some(
        r#"{"url":"https://127.0.0.1:1","spiffe_id":"spiffe://acme.example/identity-authority"}"#,
    ));
    let answer = daemon.answer().await;
    assert_eq!(
        code(&answer),
        Refusal::Internal.code(),
        "sites may have been switched off since"
    );
    assert!(
        daemon.said().contains("can't be refreshed"),
        "{}",
        daemon.said()
    );
    let audit = daemon.stop();
    assert!(audit.contains("the trust bundle is too old"), "{audit}");
}
