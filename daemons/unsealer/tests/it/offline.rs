//! What the operator of the host does before the first start, and the binary.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use unsealer::{Config, Offline, Unsealer, UnsealerError};

use crate::support::*;

fn write_secret(path: &std::path::Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn init_is_repeatable_and_never_replaces_a_root_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::in_directory(AUTHORITY, folder.path());
    let missing = Offline::open(&config).await;
    assert!(matches!(missing, Err(UnsealerError::NotInitialized { .. })));
    unsealer::init(&config).await.unwrap();
    let root_key = std::fs::read(&*config.root_key.path).unwrap();
    unsealer::init(&config).await.unwrap();
    assert_eq!(std::fs::read(&*config.root_key.path).unwrap(), root_key);
    for file in [&*config.root_key.path, &*config.store.path] {
        assert_eq!(
            std::fs::metadata(file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    std::fs::remove_file(&*config.root_key.path).unwrap();
    assert!(matches!(
        unsealer::init(&config).await,
        Err(UnsealerError::RootKeyMissing { .. })
    ));
    assert!(!config.root_key.path.exists());
}

#[tokio::test]
async fn a_key_imported_offline_opens_once_its_tenant_admits() {
    let world = World::new().await;
    let key = new_key(TENANT, 1);
    let file = world.folder.path().join("unsealer.key");
    write_secret(&file, &key_file(&key));
    let offline = Offline::open(&world.config).await.unwrap();
    let imported = offline.import_key_file(&file, 12).await.unwrap();
    assert_eq!(imported.evaluations, 12);
    offline.close().await;
    let running = world.start().await;
    let sealed = seal(key.record(), inline(&lets_open(API)), b"x");
    let client = world.client(&running, API);
    assert!(
        client.open(&sealed, key.record()).await.is_err(),
        "its tenant admits nobody yet"
    );
    running
        .operator
        .set_admission(TENANT, Some(ADMIT_PARIS), 1)
        .await
        .unwrap();
    assert_eq!(client.open(&sealed, key.record()).await.unwrap(), b"x");
    running.stop().await;
}

#[tokio::test]
async fn a_running_unsealer_keeps_others_out() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    assert!(matches!(
        Offline::open(&world.config).await,
        Err(UnsealerError::InUse { .. })
    ));
    assert!(matches!(
        unsealer::init(&world.config).await,
        Err(UnsealerError::InUse { .. })
    ));
    let second = Unsealer::open(world.config.clone(), world.trust.identity(SERVER)).await;
    assert!(matches!(second, Err(UnsealerError::InUse { .. })));
    running.stop().await;
    Offline::open(&world.config).await.unwrap().close().await;
}

#[tokio::test]
async fn another_root_key_opens_nothing() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    running.stop().await;
    std::fs::remove_file(&*world.config.root_key.path).unwrap();
    service::root_key::RootKey::create(&world.config.root_key.path).unwrap();
    let error = Offline::open(&world.config).await.unwrap_err();
    assert!(error.to_string().contains("root key"), "{error}");
}

#[tokio::test]
async fn a_key_moved_to_another_row_does_not_open() {
    let world = World::new().await;
    let (running, first) = world.start_with_key().await;
    let second = running.operator.generate_key(TENANT, 2).await.unwrap();
    running.stop().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&*world.config.store.path);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query(
        "UPDATE unsealing_key SET wrapped = (SELECT wrapped FROM unsealing_key WHERE key_id = ?1)
         WHERE key_id = ?2",
    )
    .bind(first.key_id().as_bytes().as_slice())
    .bind(hex::decode(second.key_id).unwrap())
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    assert!(matches!(
        Offline::open(&world.config).await,
        Err(UnsealerError::Load(_))
    ));
}

fn unsealer(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_unsealer"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

#[test]
fn the_binary_checks_initializes_and_imports() {
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

/// Kills the daemon when the test ends early.
struct Daemon(std::process::Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn the_binary_serves_with_its_own_identity_until_it_is_told_to_stop() {
    let trust = Trust::new(DOMAIN);
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("identity");
    std::fs::create_dir(&identity).unwrap();
    std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o700)).unwrap();
    let document = trust.document(SERVER, now(), 3600);
    write_secret(
        &identity.join("document.pem"),
        document.chain_pem().as_bytes(),
    );
    write_secret(
        &identity.join("key.pem"),
        document.key().expose_pem().unwrap().as_bytes(),
    );
    write_secret(&identity.join("bundle.json"), &trust.bundle.to_json());
    // A port that was free a moment ago: the daemon says on standard error where it listens.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
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
    assert!(
        unsealer(&["import-key", "--config", file, key_path.to_str().unwrap()])
            .status
            .success()
    );

    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_unsealer"))
        .args(["--config", file])
        .env_clear()
        .stderr(log)
        .spawn()
        .unwrap();
    let mut daemon = Daemon(child);
    let client = Client::new(address, trust.identity(API));
    let request = RawRequest::new(key.record(), &inline(&lets_open(API))).bytes();
    let mut answer = None;
    for _ in 0..200 {
        let asked = client
            .try_request(
                "POST",
                blindfold_core::PATH,
                Some(blindfold_core::CONTENT_TYPE),
                &request,
            )
            .await;
        if let Ok(reply) = asked {
            answer = Some(reply);
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let said = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    let answer = answer.unwrap_or_else(|| panic!("the daemon never answered: {}", said()));
    let response = blindfold_core::Response::parse(&answer.body).unwrap();
    assert_eq!(
        code(&response),
        blindfold_core::Refusal::Denied.code(),
        "its tenant admits nobody"
    );

    let pid = rustix::process::Pid::from_child(&daemon.0);
    assert!(said().contains("serving"), "{}", said());
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = daemon.0.wait().unwrap();
    assert!(status.success(), "{status:?}: {}", said());
    let audit = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    assert!(
        audit.contains("\"started\"") && audit.contains("\"stopped\""),
        "{audit}"
    );
}

#[tokio::test]
async fn the_binary_serves_nobody_by_a_bundle_of_unknown_age() {
    let trust = Trust::new(DOMAIN);
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("identity");
    std::fs::create_dir(&identity).unwrap();
    std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o700)).unwrap();
    let document = trust.document(SERVER, now(), 3600);
    write_secret(
        &identity.join("document.pem"),
        document.chain_pem().as_bytes(),
    );
    write_secret(
        &identity.join("key.pem"),
        document.key().expose_pem().unwrap().as_bytes(),
    );
    write_secret(&identity.join("bundle.json"), &trust.bundle.to_json());
    // Nobody listens there: the bundle of the directory can't be confirmed.
    let contact =
        r#"{"url":"https://127.0.0.1:1","spiffe_id":"spiffe://acme.example/identity-authority"}"#;
    write_secret(&identity.join("authority.json"), contact.as_bytes());
    // A port that was free a moment ago: the daemon says on standard error where it listens.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
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
    assert!(
        unsealer(&["import-key", "--config", file, key_path.to_str().unwrap()])
            .status
            .success()
    );

    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_unsealer"))
        .args(["--config", file])
        .env_clear()
        .stderr(log)
        .spawn()
        .unwrap();
    let mut daemon = Daemon(child);
    let client = Client::new(address, trust.identity(API));
    let request = RawRequest::new(key.record(), &inline(&lets_open(API))).bytes();
    let mut answer = None;
    for _ in 0..200 {
        let asked = client
            .try_request(
                "POST",
                blindfold_core::PATH,
                Some(blindfold_core::CONTENT_TYPE),
                &request,
            )
            .await;
        if let Ok(reply) = asked {
            answer = Some(reply);
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let said = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    let answer = answer.unwrap_or_else(|| panic!("the daemon never answered: {}", said()));
    let response = blindfold_core::Response::parse(&answer.body).unwrap();
    assert_eq!(
        code(&response),
        blindfold_core::Refusal::Internal.code(),
        "sites may have been switched off since"
    );

    let pid = rustix::process::Pid::from_child(&daemon.0);
    assert!(said().contains("serving"), "{}", said());
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = daemon.0.wait().unwrap();
    assert!(status.success(), "{status:?}: {}", said());
    assert!(said().contains("can't be refreshed"), "{}", said());
    let audit = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    assert!(audit.contains("the trust bundle is too old"), "{audit}");
}
