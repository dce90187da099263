//! A SoftHSM token for one test, in a process of its own: SoftHSM finds its tokens by a variable of the environment, and a
//! module is initialized once a process.
//!
//! Between the tests and SoftHSM is a module that fails where a test asks it to.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail like tests"
)]

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use service::pkcs11::TokenConfig;

/// Folder of the token; set in the process that runs the test.
const FOLDER: &str = "BLINDFOLD_TEST_TOKEN";

/// What that process says when the test came to its end.
const DONE: &str = "the test with its token is done";

/// Label of the token.
pub(crate) const LABEL: &str = "test token";

/// A token with its folder.
pub(crate) struct TestToken {
    folder: PathBuf,
}

/// Functions that can be made to fail, with their place in `CK_FUNCTION_LIST`.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "each crate that includes this uses some of them")]
pub(crate) enum Function {
    GetSlotList = 4,
    /// Works; its "answer" is added to the flags.
    GetTokenInfo = 6,
    OpenSession = 12,
    GetSessionInfo = 15,
    Login = 18,
    DestroyObject = 22,
    FindObjectsInit = 26,
    EncryptInit = 29,
    Encrypt = 30,
    DecryptInit = 33,
    Decrypt = 34,
    SignInit = 42,
    Sign = 43,
    VerifyInit = 48,
    GenerateKey = 58,
    GenerateKeyPair = 59,
}

/// Answers of tokens (PKCS #11 3.0, `pkcs11t.h`).
#[expect(dead_code, reason = "each crate that includes this uses some of them")]
pub(crate) mod ckr {
    pub(crate) const OK: u64 = 0;
    pub(crate) const GENERAL_ERROR: u64 = 0x05;
    pub(crate) const ATTRIBUTE_TYPE_INVALID: u64 = 0x12;
    pub(crate) const DEVICE_ERROR: u64 = 0x30;
    pub(crate) const DEVICE_REMOVED: u64 = 0x32;
    pub(crate) const KEY_HANDLE_INVALID: u64 = 0x60;
    pub(crate) const MECHANISM_INVALID: u64 = 0x70;
    pub(crate) const OPERATION_ACTIVE: u64 = 0x90;
    pub(crate) const SESSION_HANDLE_INVALID: u64 = 0xb3;
    pub(crate) const TOKEN_NOT_PRESENT: u64 = 0xe0;
    pub(crate) const USER_NOT_LOGGED_IN: u64 = 0x101;
}

/// Runs `body` with a token of its own; `test` is the test's whole name.
pub(crate) fn with_token(test: &str, body: impl FnOnce(&TestToken)) {
    if let Some(folder) = env::var_os(FOLDER) {
        body(&TestToken {
            folder: folder.into(),
        });
        println!("{DONE}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let token = TestToken {
        folder: folder.path().to_owned(),
    };
    token.prepare();
    let output = token
        .environment(Command::new(env::current_exe().unwrap()))
        .args([test, "--exact", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    // Without the word, no test of that name was run.
    assert!(
        output.status.success() && out.contains(DONE),
        "{test}\n{out}\n{err}"
    );
}

/// SoftHSM's module.
pub(crate) fn softhsm() -> &'static str {
    [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
    ]
    .into_iter()
    .find(|path| Path::new(path).exists())
    .expect("SoftHSM is installed: its Debian package is softhsm2")
}

impl TestToken {
    /// Makes the token, its PIN and the module between.
    pub(crate) fn prepare(&self) {
        fs::create_dir_all(self.folder.join("tokens")).unwrap();
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            self.folder.join("tokens").display()
        );
        fs::write(self.folder.join("softhsm2.conf"), conf).unwrap();
        self.write_pin("12345678");
        self.init(LABEL);
        let source = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../service/tests/it/token/faulty.c"
        );
        let built = Command::new("cc")
            .args(["-std=gnu11", "-O1", "-shared", "-fPIC", "-Wall", "-o"])
            .arg(self.module())
            .args([source, "-ldl", "-lpthread"])
            .status()
            .unwrap();
        assert!(built.success(), "can't build {source}");
    }

    /// Adds a token.
    pub(crate) fn init(&self, label: &str) {
        let made = self
            .environment(Command::new("softhsm2-util"))
            .args(["--init-token", "--free", "--label", label])
            .args(["--pin", "12345678", "--so-pin", "87654321"])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
    }

    /// What SoftHSM and the module between read.
    pub(crate) fn environment(&self, mut command: Command) -> Command {
        command
            .env("SOFTHSM2_CONF", self.folder.join("softhsm2.conf"))
            .env("FAULTY_MODULE", softhsm())
            .env("FAULTY_FILE", self.folder.join("faults"));
        command
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The module between.
    pub(crate) fn module(&self) -> PathBuf {
        self.folder.join("faulty.so")
    }

    pub(crate) fn write_pin(&self, pin: &str) {
        let path = self.folder.join("pin");
        fs::write(&path, format!("{pin}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The token with one worker, so that faults meet the job they are meant for.
    pub(crate) fn config(&self) -> TokenConfig {
        TokenConfig {
            module: self.module().into(),
            token: LABEL.to_owned(),
            pin_file: self.folder.join("pin").into(),
            workers: 1,
        }
    }

    /// Lets functions fail: which, with what, how often.
    pub(crate) fn fail(&self, faults: &[(Function, u64, u32)]) {
        self.put(faults.iter().map(|(f, code, times)| (*f, *code, *times, 0)));
    }

    /// Lets a function take its time, once.
    #[expect(dead_code, reason = "each crate that includes this uses some of them")]
    pub(crate) fn delay(&self, function: Function, milliseconds: u32) {
        self.put([(function, ckr::OK, 1, milliseconds)]);
    }

    fn put(&self, faults: impl IntoIterator<Item = (Function, u64, u32, u32)>) {
        let lines: Vec<String> = faults
            .into_iter()
            .map(|(f, code, times, pause)| format!("{} {code} {times} {pause}\n", f as u8))
            .collect();
        fs::write(self.folder.join("faults"), lines.concat()).unwrap();
    }

    /// How many of the faults have not happened.
    pub(crate) fn faults_left(&self) -> u32 {
        let text = fs::read_to_string(self.folder.join("faults")).unwrap_or_default();
        text.lines()
            .map(|line| line.split(' ').nth(2).unwrap().parse::<u32>().unwrap())
            .sum()
    }

    /// Ends every session, as another part of the process or the library itself may.
    pub(crate) fn finalize(&self) {
        cryptoki::context::Pkcs11::new(self.module())
            .unwrap()
            .finalize()
            .unwrap();
    }

    /// Takes the token away.
    pub(crate) fn remove(&self) {
        fs::rename(self.folder.join("tokens"), self.folder.join("away")).unwrap();
        fs::create_dir(self.folder.join("tokens")).unwrap();
        self.finalize();
    }

    /// Puts it back.
    pub(crate) fn put_back(&self) {
        fs::remove_dir_all(self.folder.join("tokens")).unwrap();
        fs::rename(self.folder.join("away"), self.folder.join("tokens")).unwrap();
        self.finalize();
    }
}

/// Threads for what waits.
pub(crate) fn runtime() -> Arc<tokio::runtime::Runtime> {
    Arc::new(
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap(),
    )
}
