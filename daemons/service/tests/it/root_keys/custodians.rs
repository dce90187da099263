//! A sealed daemon and its custodians.

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use service::root_key::{
    NewSlots, RootKeyError, RootKeys, Share,
    unseal::{self, Request, Status},
};
use tokio::task::JoinHandle;

use super::{Lab, again, custodians, key_file};

type Obtained = JoinHandle<Result<RootKeys, RootKeyError>>;

/// Starts to obtain the keys, and waits until the socket answers.
async fn sealed(lab: &Lab) -> (Obtained, PathBuf) {
    let config = lab.with_custodians();
    let socket = lab.path("unseal.sock");
    let obtained = tokio::spawn(async move { RootKeys::obtain(&config).await });
    let deadline = Instant::now() + Duration::from_secs(30);
    while ask(&socket, Request::Status).await.is_err() {
        assert!(Instant::now() < deadline, "the socket never answered");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (obtained, socket)
}

/// Asks away from the runtime's threads.
async fn ask(socket: &Path, request: Request<'_>) -> Result<Status, RootKeyError> {
    let socket = socket.to_owned();
    let share = match request {
        Request::Share(share) => Some(again([share]).remove(0)),
        _ => None,
    };
    let forget = matches!(request, Request::Forget);
    tokio::task::spawn_blocking(move || match (&share, forget) {
        (Some(share), _) => unseal::ask(&socket, Request::Share(share)),
        (None, true) => unseal::ask(&socket, Request::Forget),
        (None, false) => unseal::ask(&socket, Request::Status),
    })
    .await
    .unwrap()
}

async fn finished(obtained: Obtained) -> RootKeys {
    tokio::time::timeout(Duration::from_secs(30), obtained)
        .await
        .unwrap()
        .unwrap()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_opens_a_sealed_daemon_share_by_share() {
    let lab = Lab::new(|_| custodians(2));
    let (obtained, socket) = sealed(&lab).await;
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let status = ask(&socket, Request::Share(&lab.shares[2])).await.unwrap();
    assert_eq!(
        status,
        Status {
            sealed: true,
            sharing: lab.shares[0].set_name(),
            threshold: 2,
            given: vec!["carol".to_owned()],
            holders: ["alice", "bob", "carol"].map(str::to_owned).into(),
            error: None,
        }
    );
    assert!(!obtained.is_finished());
    let status = ask(&socket, Request::Share(&lab.shares[0])).await.unwrap();
    assert!(!status.sealed);
    let keys = finished(obtained).await;
    assert_eq!(keys.opened_by(), "custodians carol, alice");
    keys.unwrap(b"c", &keys.wrap(b"c", b"s").unwrap()).unwrap();
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_shares_are_named_and_the_others_still_count() {
    let lab = Lab::new(|_| custodians(3));
    let other = Lab::new(|_| custodians(3));
    let (obtained, socket) = sealed(&lab).await;
    ask(&socket, Request::Share(&lab.shares[0])).await.unwrap();
    // Right in form, of another sharing.
    let refused = ask(&socket, Request::Share(&other.shares[1]))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("the share of bob belongs to sharing"),
        "{refused}"
    );
    // Right in form and of this sharing, with another value: bytes of alice's under the name of bob.
    let forged = forge(&lab.shares[0], "bob", 2);
    let refused = ask(&socket, Request::Share(&forged)).await.unwrap_err();
    assert!(
        refused.to_string().contains("the share of bob is wrong"),
        "{refused}"
    );
    let refused = ask(&socket, Request::Share(&lab.shares[0]))
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("the share of alice was given already"),
        "{refused}"
    );
    for share in lab.shares.iter().chain(&other.shares) {
        assert!(!refused.to_string().contains(share.expose_line().as_str()));
    }
    ask(&socket, Request::Share(&lab.shares[1])).await.unwrap();
    let status = ask(&socket, Request::Share(&lab.shares[2])).await.unwrap();
    assert!(!status.sealed);
    finished(obtained).await;
}

/// The bytes of `share` as another holder's share of the same sharing, with a right checksum.
fn forge(share: &Share, holder: &str, place: u8) -> Share {
    use base64ct::{Base64UrlUnpadded, Encoding};
    use sha2::{Digest, Sha256};
    let line = share.expose_line();
    let bytes = Base64UrlUnpadded::decode_vec(line.strip_prefix("bfroot1-").unwrap()).unwrap();
    let secret = &bytes[bytes.len() - 36..bytes.len() - 4];
    let mut forged = bytes[..8].to_vec();
    forged.push(place);
    forged.extend_from_slice(&bytes[9..11]);
    forged.push(u8::try_from(holder.len()).unwrap());
    forged.extend_from_slice(holder.as_bytes());
    forged.extend_from_slice(secret);
    let checksum = Sha256::new()
        .chain_update(b"blindfold-root-share-v1")
        .chain_update(&forged)
        .finalize();
    forged.extend_from_slice(&checksum[..4]);
    Share::parse(&format!(
        "bfroot1-{}",
        Base64UrlUnpadded::encode_string(&forged)
    ))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_shares_have_to_be_given_again() {
    let lab = Lab::new(|_| custodians(2));
    let (obtained, socket) = sealed(&lab).await;
    ask(&socket, Request::Share(&lab.shares[0])).await.unwrap();
    let status = ask(&socket, Request::Forget).await.unwrap();
    assert!(status.given.is_empty());
    let status = ask(&socket, Request::Share(&lab.shares[1])).await.unwrap();
    assert_eq!(
        (status.sealed, status.given),
        (true, vec!["bob".to_owned()])
    );
    ask(&socket, Request::Share(&lab.shares[0])).await.unwrap();
    finished(obtained).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_do_no_harm() {
    let lab = Lab::new(|_| custodians(2));
    let (obtained, socket) = sealed(&lab).await;
    for request in [
        &b"\n"[..],
        b"{}\n",
        b"not json\n",
        b"{\"request\": \"open\"}\n",
        b"{\"request\": \"share\", \"share\": \"bfroot1-AAAA\"}\n",
        b"{\"request\": \"status\", \"more\": 1}\n",
        &[b'x'; 100_000],
        &[0xff, b'\n'],
        b"{\"request\": \"status\"",
    ] {
        let (socket, request) = (socket.clone(), request.to_vec());
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(socket).unwrap();
            // It may have stopped listening half way.
            let _ = stream.write_all(&request);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            answer
        })
        .await
        .unwrap();
        if !answer.is_empty() {
            let status: Status = serde_json::from_slice(&answer).unwrap();
            assert!(status.sealed && status.error.is_some(), "{status:?}");
        }
    }
    ask(&socket, Request::Share(&lab.shares[0])).await.unwrap();
    ask(&socket, Request::Share(&lab.shares[1])).await.unwrap();
    finished(obtained).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_was_left_behind_is_replaced_and_a_file_is_not() {
    let lab = Lab::new(|_| custodians(2));
    let socket = lab.path("unseal.sock");
    // Bound and dropped without removal, as a killed process leaves it.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let (obtained, _) = sealed(&lab).await;
    obtained.abort();
    assert!(obtained.await.unwrap_err().is_cancelled());
    assert!(!socket.exists(), "dropping the future ends it");

    std::fs::write(&socket, "something else").unwrap();
    let refused = RootKeys::obtain(&lab.with_custodians()).await.unwrap_err();
    assert!(matches!(refused, RootKeyError::Socket { .. }), "{refused}");
    assert_eq!(std::fs::read(&socket).unwrap(), b"something else");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_source_opens_without_custodians() {
    let lab = Lab::new(|folder| NewSlots {
        custodians: custodians(2).custodians,
        ..key_file(folder)
    });
    let mut config = lab.with_custodians();
    config.key_file = lab.with_key_file().key_file;
    let keys = RootKeys::obtain(&config).await.unwrap();
    assert_eq!(keys.opened_by(), "key file");
    assert!(!lab.path("unseal.sock").exists());
    // Without a socket nobody is waited for.
    assert!(matches!(
        RootKeys::obtain(&lab.config()).await,
        Err(RootKeyError::Sealed { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_daemon_takes_up_a_rotation() {
    let lab = Lab::new(key_file);
    let keys = RootKeys::obtain(&lab.with_key_file()).await.unwrap();
    let mut newest = keys.subscribe();
    let second = lab.change().rotate(false).unwrap();
    tokio::time::timeout(Duration::from_secs(30), newest.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(keys.newest(), second);
}
