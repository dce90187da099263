//! TPMs in software, for tests: `swtpm`, each with its own state, and its maker's certificates where a test wants some.
//!
//! Needs the Debian packages `swtpm`, `swtpm-tools` and `util-linux`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "helpers of tests panic to report"
)]

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{KeyKind, TpmAddress, TpmOptions, TpmProver};

/// A running TPM; it ends with this, or with the thread that started it.
#[derive(Debug)]
pub struct Swtpm {
    process: Child,
    folder: TempDir,
}

impl Swtpm {
    /// A TPM as it left the factory of somebody who certifies nothing.
    #[must_use]
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// A TPM whose RSA endorsement key `maker` certified.
    #[must_use]
    pub fn certified_by(maker: &Maker) -> Self {
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
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "swtpm does not answer in time");
            if let Some(status) = swtpm.process.try_wait().unwrap() {
                panic!("swtpm ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        swtpm
    }

    /// Its socket; it takes one connection at a time.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("tpm.sock")
    }

    /// What a prover opens it with.
    #[must_use]
    pub fn options(&self, endorsement_key: KeyKind) -> TpmOptions {
        TpmOptions {
            address: TpmAddress::Unix(self.socket()),
            endorsement_key,
            ..TpmOptions::default()
        }
    }

    /// Opens it.
    #[must_use]
    pub fn open(&self, endorsement_key: KeyKind) -> TpmProver {
        TpmProver::open(&self.options(endorsement_key)).unwrap()
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Somebody who makes TPMs: `swtpm_localca` with keys of its own.
#[derive(Debug)]
pub struct Maker {
    folder: TempDir,
}

impl Default for Maker {
    fn default() -> Self {
        Self::new()
    }
}

impl Maker {
    /// A new one, whose CA is made with its first TPM.
    #[must_use]
    pub fn new() -> Self {
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
    #[must_use]
    pub fn issuer(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("issuercert.pem")).unwrap()
    }

    /// Its root, PEM.
    #[must_use]
    pub fn root(&self) -> String {
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
