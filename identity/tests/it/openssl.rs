//! OpenSSL as the other side: it reads our certificates, requests and keys, we read its, and both speak TLS.
//!
//! The command `openssl` must be installed; nothing here skips.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test helpers"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use identity::attributes::EXTENSION_OID_TEXT;
use identity::issue::{Csr, CsrError};
use identity::tls::{Alpn, ClientAuth, client_config, server_config};
use identity::verify::{Usage, verify_peer};
use identity::{DocumentKey, IdentityDocument};
use rustls::{ServerConnection, Stream};
use tempfile::TempDir;

use crate::support::{API, NOW, Realm, UNSEALER, id, new_client, rng};

pub(crate) fn openssl(directory: &Path, arguments: &str) -> Output {
    Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("the openssl command is needed by this test: install it")
}

pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

pub(crate) fn run(directory: &Path, arguments: &str) -> String {
    let output = openssl(directory, arguments);
    assert!(
        output.status.success(),
        "openssl {arguments}: {}",
        text(&output)
    );
    text(&output)
}

/// A folder with `root.pem`, `issuer.pem`, `leaf.pem`, `chain.pem` and `key.pem`.
fn files(realm: &Realm, document: &IdentityDocument) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("root.pem", &realm.root.certificate_pem());
    write("issuer.pem", &realm.issuer.chain_pem());
    write(
        "leaf.pem",
        &identity::issue::chain_to_pem(&document.chain()[..1]),
    );
    write("chain.pem", &document.chain_pem());
    write("key.pem", &document.key().expose_pem().unwrap());
    directory
}

#[test]
fn chain_verifies() {
    let realm = Realm::new(1);
    let directory = files(&realm, &realm.document(API, 1));
    let verify = |purpose: &str, at: u64| {
        let arguments = format!(
            "verify -x509_strict -attime {at} -purpose {purpose} -CAfile root.pem -untrusted issuer.pem leaf.pem"
        );
        openssl(directory.path(), &arguments)
    };
    for purpose in ["sslclient", "sslserver"] {
        let output = verify(purpose, NOW);
        assert!(output.status.success(), "{}", text(&output));
    }
    assert!(text(&verify("sslclient", NOW + 3601)).contains("certificate has expired"));
    assert!(!verify("smimesign", NOW).status.success());
    let alone = openssl(
        directory.path(),
        &format!("verify -attime {NOW} -CAfile root.pem leaf.pem"),
    );
    assert!(text(&alone).contains("unable to get local issuer certificate"));
}

#[test]
fn certificates_read_as_meant() {
    let realm = Realm::new(1);
    let directory = files(&realm, &realm.document(API, 1));
    let print = |file: &str| run(directory.path(), &format!("x509 -noout -text -in {file}"));
    let leaf = print("leaf.pem");
    for expected in [
        "Version: 3 (0x2)",
        "Signature Algorithm: ecdsa-with-SHA256",
        "ASN1 OID: prime256v1",
        "X509v3 Subject Alternative Name: critical\n                URI:spiffe://acme.example/paris/api",
        "X509v3 Basic Constraints: critical\n                CA:FALSE",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Extended Key Usage: \n                TLS Web Client Authentication, TLS Web Server Authentication",
        &format!("{EXTENSION_OID_TEXT}: \n"),
    ] {
        assert!(leaf.contains(expected), "{expected} is not in\n{leaf}");
    }
    let (issuer, root) = (print("issuer.pem"), print("root.pem"));
    for (ca, path_len, curve) in [(&issuer, 0, "prime256v1"), (&root, 1, "secp384r1")] {
        for expected in [
            &format!("ASN1 OID: {curve}"),
            &format!(
                "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:{path_len}"
            ),
            "X509v3 Key Usage: critical\n                Certificate Sign\n",
            "URI:spiffe://acme.example\n",
        ] {
            assert!(ca.contains(expected), "{expected} is not in\n{ca}");
        }
    }
    let identifier = |text: &str, of: &str| {
        let (_, rest) = text
            .split_once(&format!("X509v3 {of} Key Identifier: "))
            .unwrap();
        rest.trim_start().lines().next().unwrap().trim().to_owned()
    };
    assert_eq!(
        identifier(&leaf, "Authority"),
        identifier(&issuer, "Subject")
    );
    assert_eq!(
        identifier(&issuer, "Authority"),
        identifier(&root, "Subject")
    );
    // The attributes, as DER of any ASN.1 reader.
    let parsed = run(directory.path(), "asn1parse -in leaf.pem");
    let (_, after) = parsed
        .split_once(&format!("OBJECT            :{EXTENSION_OID_TEXT}"))
        .unwrap();
    let dump = after.lines().nth(1).unwrap();
    assert!(dump.contains("OCTET STRING      [HEX DUMP]:30"), "{dump}");
    assert!(dump.contains(&hex_upper(b"environment")), "{dump}");
}

fn hex_upper(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[test]
fn our_keys_and_requests_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut rng = rng(1);
    for (key, curve) in [
        (DocumentKey::generate(&mut rng), "prime256v1"),
        (DocumentKey::generate_p384(&mut rng), "secp384r1"),
    ] {
        fs::write(
            directory.path().join("key.pem"),
            key.expose_pem().unwrap().as_bytes(),
        )
        .unwrap();
        fs::write(
            directory.path().join("csr.der"),
            key.csr_der(&mut rng).unwrap(),
        )
        .unwrap();
        assert!(run(directory.path(), "pkey -in key.pem -noout -text").contains(curve));
        assert!(run(directory.path(), "pkey -in key.pem -check -noout").contains("Key is valid"));
        assert!(
            run(
                directory.path(),
                "req -inform DER -in csr.der -verify -noout"
            )
            .contains("verify OK")
        );
    }
}

#[test]
fn its_requests_are_read_and_their_names_ignored() {
    let realm = Realm::new(1);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for (curve, digest) in [("P-256", "sha256"), ("P-384", "sha384")] {
        run(
            path,
            &format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{curve} -out key.pem"),
        );
        run(
            path,
            &format!(
                "req -new -{digest} -key key.pem -outform DER -out csr.der -subj /CN=root/O=evil \
                 -addext subjectAltName=URI:spiffe://acme.example/core/unsealer,DNS:evil.example \
                 -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign"
            ),
        );
        let csr = Csr::parse(&fs::read(path.join("csr.der")).unwrap()).unwrap();
        let chain = realm
            .issuer
            .issue(&csr, &realm.request(API), &mut rng(1))
            .unwrap();
        let principal = verify_peer(&chain, &realm.bundle, Usage::Client, NOW).unwrap();
        assert_eq!(principal.spiffe_id().as_str(), API);
        fs::write(
            path.join("leaf.pem"),
            identity::issue::chain_to_pem(&chain[..1]),
        )
        .unwrap();
        let leaf = run(path, "x509 -noout -text -in leaf.pem");
        assert!(
            !leaf.contains("evil") && !leaf.contains("unsealer") && leaf.contains("CA:FALSE"),
            "{leaf}"
        );
        // Its key, as it writes it, fits the document.
        let key = fs::read_to_string(path.join("key.pem")).unwrap();
        assert!(IdentityDocument::from_pem(&identity::issue::chain_to_pem(&chain), &key).is_ok());
    }
}

#[test]
fn its_requests_of_other_kinds_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for (key, digest) in [
        ("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "-sha256"),
        ("-algorithm ED25519", ""),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-521", "-sha512"),
        (
            "-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
            "-sha256",
        ),
        (
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
            "-sha256",
        ),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "-sha1"),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "-sha384"),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "-sha256"),
    ] {
        run(path, &format!("genpkey {key} -out key.pem"));
        run(
            path,
            &format!("req -new {digest} -key key.pem -subj /CN=a -outform DER -out csr.der"),
        );
        let refused = Csr::parse(&fs::read(path.join("csr.der")).unwrap()).unwrap_err();
        assert_eq!(refused, CsrError::Algorithm, "{key} {digest}");
    }
}

#[test]
fn its_keys_of_other_kinds_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for key in [
        "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
        "-algorithm ED25519",
        "-algorithm EC -pkeyopt ec_paramgen_curve:P-521",
        "-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:x",
    ] {
        run(path, &format!("genpkey {key} -out key.pem"));
        assert!(
            DocumentKey::from_pem(&fs::read_to_string(path.join("key.pem")).unwrap()).is_err(),
            "{key}"
        );
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Stops the child when the test ends, however it ends.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bounded(socket: TcpStream) -> TcpStream {
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket
        .set_write_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket
}

#[test]
fn s_client_connects_to_our_server() {
    let realm = Realm::at(1, now());
    let directory = files(&realm, &realm.document(API, 1));
    let unsealer = realm.identity(UNSEALER, 2);
    let config = server_config(&unsealer, ClientAuth::Required).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = |more: &str| {
        let arguments = format!(
            "s_client -connect {address} -CAfile root.pem -verify_return_error -brief {more}"
        );
        let client = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the openssl command is needed by this test: install it");
        let mut client = Stopped(client);
        let mut socket = bounded(listener.accept().unwrap().0);
        let mut server = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut line = String::new();
        let outcome = (|| {
            while server.is_handshaking() {
                server.complete_io(&mut socket)?;
            }
            client.0.stdin.as_mut().unwrap().write_all(b"hello\n")?;
            BufReader::new(Stream::new(&mut server, &mut socket)).read_line(&mut line)
        })();
        (outcome.map(|_| line), server)
    };

    let with_document = "-cert chain.pem -key key.pem -cert_chain chain.pem";
    let (line, server) = connect(with_document);
    assert_eq!(line.unwrap(), "hello\n");
    let principal = unsealer
        .peer_principal(&server, Usage::Client)
        .unwrap()
        .unwrap();
    assert_eq!(principal.spiffe_id().as_str(), API);
    // OpenSSL 3.0 knows no ML-KEM, later ones do: either way the connection came about over TLS 1.3.
    assert_eq!(
        server.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );

    let (refused, server) = connect("");
    assert!(refused.is_err());
    assert!(unsealer.peer_principal(&server, Usage::Client).is_err());
    let (refused, _) = connect(&format!("{with_document} -tls1_2"));
    assert!(refused.is_err());
}

#[test]
fn our_client_connects_to_s_server() {
    let realm = Realm::at(1, now());
    let directory = files(&realm, &realm.document(UNSEALER, 2));
    let api = realm.identity(API, 1);
    // A free port; OpenSSL tells when it listens.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let arguments = format!(
        "s_server -accept 127.0.0.1:{port} -cert leaf.pem -key key.pem -cert_chain issuer.pem -CAfile root.pem \
         -Verify 3 -verify_return_error -alpn http/1.1 -rev"
    );
    let server = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the openssl command is needed by this test: install it");
    let mut server = Stopped(server);
    let mut stdout = BufReader::new(server.0.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ACCEPT") {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "s_server ended");
    }
    let talk = |expected: &str| -> std::io::Result<String> {
        let mut client = new_client(&client_config(&api, id(expected), &[Alpn::Http11]).unwrap());
        let mut socket = bounded(TcpStream::connect(("127.0.0.1", port))?);
        let mut stream = Stream::new(&mut client, &mut socket);
        stream.write_all(b"hello\n")?;
        let mut answer = [0; 6];
        stream.read_exact(&mut answer)?;
        let principal = api.peer_principal(&client, Usage::Server).unwrap().unwrap();
        assert_eq!(principal.spiffe_id().as_str(), expected);
        Ok(String::from_utf8(answer.to_vec()).unwrap())
    };
    assert_eq!(talk(UNSEALER).unwrap(), "olleh\n");
    assert!(talk(API).is_err());
}
