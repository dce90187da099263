//! A private PostgreSQL server: in a folder of its own, on a Unix socket only, ended with the test.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::files::{self, MODE_SECRET};

const PASSWORD: &str = "p/ss: w@rd?";

/// A running server; dropped, it is ended and its folder removed.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    server: Child,
    user: Option<(u32, u32)>,
}

/// The program, from the path or from where Debian keeps it.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<_> = versions
            .map(|entry| entry.unwrap().path().join("bin"))
            .collect();
        versions.sort();
        folders.extend(versions.into_iter().rev());
    }
    folders
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: install the package postgresql"))
}

/// PostgreSQL refuses to run as root: then it runs as the user of its package, or as nobody.
fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |wanted: &str| {
        let line = users.lines().find(|line| line.starts_with(wanted))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(ids("postgres:").or_else(|| ids("nobody:")).unwrap())
}

fn command(user: Option<(u32, u32)>, name: &str) -> Command {
    // The server ends with the test, however that ends.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if let Some((uid, gid)) = user {
        command.args([
            format!("--reuid={uid}"),
            format!("--regid={gid}"),
            "--clear-groups".into(),
        ]);
    }
    command
        .arg(program(name))
        .stdin(Stdio::null())
        .current_dir("/");
    command.env_clear().env("LC_ALL", "C");
    command
}

impl Postgres {
    /// Makes a cluster and starts it. The thread that calls must live as long as the server.
    ///
    /// # Panics
    ///
    /// PostgreSQL is not installed, or does not start within a minute.
    #[must_use]
    pub fn start() -> Self {
        // In /tmp, since the path of a socket has at most 107 bytes and the other user has to reach it.
        let folder = tempfile::Builder::new()
            .prefix("pg")
            .tempdir_in("/tmp")
            .unwrap();
        let user = unprivileged();
        let (data, password) = (folder.path().join("data"), folder.path().join("password"));
        fs::create_dir(&data).unwrap();
        fs::create_dir(folder.path().join("s")).unwrap();
        files::create_new(&password, PASSWORD.as_bytes(), MODE_SECRET).unwrap();
        if let Some((uid, gid)) = user {
            for path in [folder.path(), &data, &folder.path().join("s"), &password] {
                chown(path, Some(uid), Some(gid)).unwrap();
            }
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let made = command(user, "initdb")
            .args([
                "--username=blindfold",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-sync",
                "-D",
            ])
            .arg(&data)
            .arg(format!("--pwfile={}", password.display()))
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let server = Self::run(folder.path(), user);
        let mut postgres = Self {
            folder,
            server,
            user,
        };
        postgres.await_start();
        postgres
    }

    fn run(folder: &Path, user: Option<(u32, u32)>) -> Child {
        let log = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(folder.join("log"))
            .unwrap();
        command(user, "postgres")
            .arg("-D")
            .arg(folder.join("data"))
            .arg("-k")
            .arg(folder.join("s"))
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "shared_buffers=16MB",
                "-c",
                "max_connections=60",
            ])
            .args([
                "-c",
                "synchronous_commit=off",
                "-c",
                "restart_after_crash=on",
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn await_start(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let socket = self.folder.path().join("s/.s.PGSQL.5432");
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(
                self.server.try_wait().unwrap().is_none() && Instant::now() < deadline,
                "{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the server wrote.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The file with the password.
    #[must_use]
    pub fn password_file(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// URL of a database, without password.
    ///
    /// # Panics
    ///
    /// The folder for temporary files is not UTF-8.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let socket = self.folder.path().join("s");
        let socket = socket.to_str().unwrap().replace('/', "%2F");
        format!("postgres://blindfold@{socket}/{database}")
    }

    /// URL of a database for a test's own connections.
    #[must_use]
    pub fn url_with_password(&self, database: &str) -> String {
        self.url(database)
            .replace("blindfold@", "blindfold:p%2Fss%3A%20w%40rd%3F@")
    }

    /// Makes a database.
    ///
    /// # Panics
    ///
    /// It can't be made within a minute.
    pub async fn create(&self, database: &str) {
        sqlx::any::install_default_drivers();
        let deadline = Instant::now() + Duration::from_secs(60);
        // It listens before it takes connections.
        let mut connection = loop {
            match <sqlx::AnyConnection as sqlx::Connection>::connect(
                &self.url_with_password("postgres"),
            )
            .await
            {
                Ok(connection) => break connection,
                Err(error) => assert!(Instant::now() < deadline, "{error}: {}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {database}")))
            .execute(&mut connection)
            .await
            .unwrap();
    }

    /// Processes that serve a connection.
    ///
    /// # Panics
    ///
    /// The kernel lists what is no process.
    #[must_use]
    pub fn backends(&self) -> Vec<i32> {
        let mother = self.server.id();
        let children = fs::read_to_string(format!("/proc/{mother}/task/{mother}/children"))
            .unwrap_or_default();
        children
            .split_whitespace()
            .filter(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.starts_with(b"postgres: blindfold ")
            })
            .map(|pid| pid.parse().unwrap())
            .collect()
    }

    /// Ends the server as a failing machine would, without a word to its clients' transactions.
    ///
    /// # Panics
    ///
    /// It was stopped already.
    pub fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.server);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        self.server.wait().unwrap();
    }

    /// Starts it again after [`Postgres::stop`].
    ///
    /// # Panics
    ///
    /// It does not start within a minute.
    pub fn start_again(&mut self) {
        self.server = Self::run(self.folder.path(), self.user);
        self.await_start();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Ok(None) = self.server.try_wait() {
            self.stop();
        }
    }
}
