//! TPMs in software: `swtpm`, each with its own state, and its maker's certificates where a test wants some.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use attest::tpm::{KeyKind, TpmAddress, TpmOptions, TpmProver};
use tempfile::TempDir;

/// A running TPM; it ends with this, or with the thread that started it.
pub(super) struct Swtpm {
    process: Child,
    folder: TempDir,
}

impl Swtpm {
    /// A TPM as it left the factory of somebody who certifies nothing.
    pub(super) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// A TPM whose RSA endorsement key `maker` certified.
    pub(super) fn certified_by(maker: &Maker) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--overwrite"])
            .args(["--pcr-banks", "sha256", "--tpmstate"])
            .arg(folder.path())
            .arg("--config")
            .arg(maker.folder.path().join("setup.conf"))
            .arg("--logfile")
            .arg(folder.path().join("log"))
            .stdin(Stdio::null())
            .output()
            .expect("swtpm_setup runs (Debian: apt-get install swtpm-tools)");
        assert!(
            output.status.success(),
            "swtpm_setup: {}",
            std::fs::read_to_string(folder.path().join("log")).unwrap_or_default()
        );
        Self::start_in(folder)
    }

    fn start_in(folder: TempDir) -> Self {
        let socket = folder.path().join("tpm.sock");
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "swtpm", "socket", "--tpm2"])
            .args(["--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", folder.path().display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv and swtpm run (Debian: apt-get install util-linux swtpm)");
        let mut swtpm = Self { process, folder };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !socket.exists() {
            assert!(Instant::now() < deadline, "swtpm made no socket in time");
            if let Some(status) = swtpm.process.try_wait().unwrap() {
                panic!("swtpm ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        swtpm
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("tpm.sock")
    }

    pub(super) fn options(&self, endorsement_key: KeyKind) -> TpmOptions {
        TpmOptions {
            address: TpmAddress::Unix(self.socket()),
            endorsement_key,
            ..TpmOptions::default()
        }
    }

    pub(super) fn open(&self, endorsement_key: KeyKind) -> TpmProver {
        TpmProver::open(&self.options(endorsement_key)).unwrap()
    }

    /// A connection for commands that no honest machine sends.
    pub(super) fn raw(&self) -> Raw {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match UnixStream::connect(self.socket()) {
                Ok(stream) => return Raw(stream),
                Err(error) => assert!(Instant::now() < deadline, "swtpm: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Somebody who makes TPMs: `swtpm_localca` with keys of its own.
pub(super) struct Maker {
    folder: TempDir,
}

impl Maker {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write(
            "localca.conf",
            format!(
                "statedir = {path}\nsigningkey = {path}/signkey.pem\n\
                 issuercert = {path}/issuercert.pem\ncertserial = {path}/certserial\n"
            ),
        );
        write(
            "localca.options",
            "--platform-manufacturer Acme\n--platform-version 2.1\n--platform-model Anvil\n"
                .to_owned(),
        );
        write(
            "setup.conf",
            format!(
                "create_certs_tool = {}\ncreate_certs_tool_config = {path}/localca.conf\n\
                 create_certs_tool_options = {path}/localca.options\n",
                found("swtpm_localca").display()
            ),
        );
        Self { folder }
    }

    /// The CA that signed the certificates, PEM.
    pub(super) fn issuer(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("issuercert.pem")).unwrap()
    }

    /// Its root, PEM.
    pub(super) fn root(&self) -> String {
        let path = self.folder.path().join("swtpm-localca-rootca-cert.pem");
        std::fs::read_to_string(path).unwrap()
    }
}

fn found(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| Path::is_file(path))
        .expect("swtpm_localca (Debian: apt-get install swtpm-tools)")
}

/// Commands in bytes.
pub(super) struct Raw(UnixStream);

impl Raw {
    /// Runs a command; code and the rest of the answer.
    pub(super) fn run(
        &mut self,
        code: u32,
        handles: &[u32],
        sessions: &[u32],
        parameters: &[u8],
    ) -> (u32, Vec<u8>) {
        let mut body: Vec<u8> = handles
            .iter()
            .flat_map(|handle| handle.to_be_bytes())
            .collect();
        if !sessions.is_empty() {
            body.extend_from_slice(&(sessions.len() as u32 * 9).to_be_bytes());
            for session in sessions {
                body.extend_from_slice(&session.to_be_bytes());
                body.extend_from_slice(&[0; 5]);
            }
        }
        body.extend_from_slice(parameters);
        let tag: u16 = if sessions.is_empty() { 0x8001 } else { 0x8002 };
        let mut command = tag.to_be_bytes().to_vec();
        command.extend_from_slice(&(body.len() as u32 + 10).to_be_bytes());
        command.extend_from_slice(&code.to_be_bytes());
        command.extend_from_slice(&body);
        loop {
            self.0.write_all(&command).unwrap();
            let mut head = [0; 10];
            self.0.read_exact(&mut head).unwrap();
            let length = u32::from_be_bytes(head[2..6].try_into().unwrap()) as usize;
            let mut answer = vec![0; length - 10];
            self.0.read_exact(&mut answer).unwrap();
            // TPM_RC_RETRY: it was not run.
            match u32::from_be_bytes(head[6..].try_into().unwrap()) {
                0x922 => {}
                code => return (code, answer),
            }
        }
    }

    /// As [`Raw::run`], and it must succeed.
    pub(super) fn succeed(
        &mut self,
        code: u32,
        handles: &[u32],
        sessions: &[u32],
        parameters: &[u8],
    ) -> Vec<u8> {
        let (rc, answer) = self.run(code, handles, sessions, parameters);
        assert_eq!(rc, 0, "the TPM refused the command 0x{code:x}");
        answer
    }
}

/// A `TPM2B`.
pub(super) fn sized(bytes: &[u8]) -> Vec<u8> {
    let mut sized = (bytes.len() as u16).to_be_bytes().to_vec();
    sized.extend_from_slice(bytes);
    sized
}
