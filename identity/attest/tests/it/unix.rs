//! Processes at the other end of a Unix socket.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use attest::unix::{Unix, UnixError, UnixPeer};
use attest::{AttestError, Attestor, Claim};
use identity::wire::Evidence;
use sha2::{Digest, Sha256};

use crate::support::Place;

fn digest(path: impl AsRef<Path>) -> String {
    hex::encode(Sha256::digest(fs::read(path).unwrap()))
}

fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid()
}

/// A Perl that connects to `socket`, and then waits for the end of its standard input.
fn perl(socket: &Path) -> Child {
    let program =
        "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; <STDIN>;";
    Command::new("perl")
        .args(["-e", program])
        .arg(socket)
        .stdin(Stdio::piped())
        .spawn()
        .expect("perl runs (Debian: perl-base)")
}

#[test]
fn kernel_tells_user_group_process_and_executable() {
    let place = Place::new();
    let (here, _there) = UnixStream::pair().unwrap();
    let peer = UnixPeer::of(&here).unwrap();
    assert_eq!((peer.uid(), peer.pid()), (own_uid(), std::process::id()));
    let own = digest("/proc/self/exe");
    assert_eq!(peer.executable_sha256(), Ok(own.as_str()));
    let attested = Unix::new(&[own_uid()], std::slice::from_ref(&own), false)
        .unwrap()
        .verify(&Evidence::Unix {}, &place.from(&peer))
        .unwrap();
    let Claim::Facts(facts) = attested.claim else {
        panic!("facts");
    };
    assert_eq!(facts.text("uid"), Some(own_uid().to_string().as_str()));
    assert_eq!(facts.text("gid"), Some(peer.gid().to_string().as_str()));
    assert_eq!(
        facts.text("pid"),
        Some(std::process::id().to_string().as_str())
    );
    assert_eq!(facts.text("executable_sha256"), Some(own.as_str()));
    assert_eq!(
        (attested.subject, attested.sequence, attested.single_use),
        (None, None, None)
    );
}

#[test]
fn executable_is_that_of_the_process_which_connected() {
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut child = perl(&path);
    let (socket, _) = listener.accept().unwrap();
    let peer = UnixPeer::of(&socket).unwrap();
    assert_eq!(peer.pid(), child.id());
    let perl = digest(format!("/proc/{}/exe", child.id()));
    assert_eq!(peer.executable_sha256(), Ok(perl.as_str()));
    let only = |executable: String| Unix::new(&[own_uid()], &[executable], false).unwrap();
    assert!(
        only(perl.clone())
            .verify(&Evidence::Unix {}, &place.from(&peer))
            .is_ok()
    );
    assert_eq!(
        only(digest("/proc/self/exe")).verify(&Evidence::Unix {}, &place.from(&peer)),
        Err(AttestError::Unix(UnixError::Executable))
    );
    child.kill().unwrap();
    child.wait().unwrap();
    // What was opened is still that of the process, whoever has its number now.
    assert_eq!(peer.executable_sha256(), Ok(perl.as_str()));
}

#[test]
fn process_that_ended_has_no_executable() {
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut child = perl(&path);
    let (socket, _) = listener.accept().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let peer = UnixPeer::of(&socket).unwrap();
    assert_eq!(peer.executable_sha256(), Err(UnixError::Gone));
    // Its user is what it was when it connected; its executable is asked for only where rules do.
    let users = Unix::new(&[own_uid()], &[], false).unwrap();
    let attested = users
        .verify(&Evidence::Unix {}, &place.from(&peer))
        .unwrap();
    let Claim::Facts(facts) = attested.claim else {
        panic!("facts");
    };
    assert!(!facts.contains_key("executable_sha256"));
    let measured = Unix::new(&[own_uid()], &[], true).unwrap();
    assert_eq!(
        measured.verify(&Evidence::Unix {}, &place.from(&peer)),
        Err(AttestError::Unix(UnixError::Gone))
    );
}

#[test]
fn others_are_refused() {
    let place = Place::new();
    let (here, _there) = UnixStream::pair().unwrap();
    let peer = UnixPeer::of(&here).unwrap();
    let other = own_uid() + 1;
    let unix = Unix::new(&[other], &[], false).unwrap();
    assert_eq!(
        unix.verify(&Evidence::Unix {}, &place.from(&peer)),
        Err(AttestError::Unix(UnixError::User(own_uid())))
    );
    assert_eq!(
        unix.verify(&Evidence::Unix {}, &place.context()),
        Err(AttestError::Unix(UnixError::NotLocal))
    );
    let evidence = Evidence::Aws {
        document: String::new(),
        signature: String::new(),
    };
    assert_eq!(
        unix.verify(&evidence, &place.from(&peer)),
        Err(AttestError::OtherKind("unix"))
    );
}

#[test]
fn sockets_of_another_kind_have_no_peer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(UnixPeer::of(&socket).is_err());
    let file = fs::File::open("/proc/self/exe").unwrap();
    assert_eq!(UnixPeer::of(&file).unwrap_err(), UnixError::NoCredentials);
}

#[test]
fn rules_without_sense_are_refused() {
    for (member, uids, executables) in [
        ("uids", vec![], vec![]),
        ("uids", vec![0; 1025], vec![]),
        ("executables", vec![0], vec!["00".to_owned()]),
        ("executables", vec![0], vec!["A".repeat(64)]),
        ("executables", vec![0], vec!["a".repeat(64); 1025]),
    ] {
        assert_eq!(Unix::new(&uids, &executables, false).unwrap_err().0, member);
    }
}
