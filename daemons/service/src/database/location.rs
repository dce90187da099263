//! Where a database is and how it is reached, checked before anything connects.

use std::{
    fmt,
    net::IpAddr,
    path::{self, PathBuf},
};

use sqlx::any::AnyConnectOptions;
use url::Url;
use zeroize::Zeroizing;

use super::{DatabaseError, Engine};
use crate::{files, limits};

/// Where a database is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Location {
    /// A file.
    Sqlite(PathBuf),
    /// A server.
    Postgres(PostgresLocation),
}

/// A PostgreSQL database, and the file with the password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PostgresLocation {
    // INVARIANT (no secret): without a password.
    url: Url,
    password_file: Option<PathBuf>,
}

/// Parameters that a URL may have; others would change what this program relies on, or hold secrets.
const PARAMETERS: &[&str] = &[
    "application_name",
    "host",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
];

impl Location {
    /// A PostgreSQL database by URL; the password, if one is needed, is in `password_file`.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Location`]: not such a URL, a password in it, an unknown parameter, or a server on another
    /// machine that is not to be verified.
    pub fn postgres(url: &str, password_file: Option<PathBuf>) -> Result<Self, DatabaseError> {
        let refuse = |why: &str| Err(DatabaseError::Location(why.to_owned()));
        let Ok(mut url) = Url::parse(url) else {
            return refuse("not a URL: write postgres://user@host/database");
        };
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return refuse("write postgres://user@host/database");
        }
        if url.password().is_some() {
            return refuse(
                "a password in the URL would be seen in the configuration: put it into a file of mode 0600 and name that in password_file",
            );
        }
        if url.path().trim_matches('/').is_empty() || url.username().is_empty() {
            return refuse("name the user and the database: postgres://user@host/database");
        }
        let mut host = url.host_str().unwrap_or_default().replace("%2F", "/");
        let mut mode = None;
        for (name, value) in url.query_pairs() {
            if !PARAMETERS.contains(&&*name) {
                return Err(DatabaseError::Location(format!(
                    "parameter {name:?} can't be set here: known are {}",
                    PARAMETERS.join(", ")
                )));
            }
            match &*name {
                "host" => host = value.into_owned(),
                "sslmode" => mode = Some(value.into_owned()),
                _ => {}
            }
        }
        if host.is_empty() {
            return refuse(
                "name the host, or the folder of the Unix socket: postgres://user@host/database?host=/run/postgresql",
            );
        }
        match (is_local(&host), mode.as_deref()) {
            (true, _) | (false, Some("verify-full")) => {}
            (false, None) => {
                url.query_pairs_mut().append_pair("sslmode", "verify-full");
            }
            (false, Some(_)) => {
                return refuse(
                    "a server on another machine is reached with sslmode=verify-full only: anything less lets who is in between read and change everything",
                );
            }
        }
        Ok(Self::Postgres(PostgresLocation { url, password_file }))
    }

    /// Which database it is.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }

    pub(super) fn options(&self) -> Result<AnyConnectOptions, DatabaseError> {
        let url = match self {
            Self::Sqlite(path) => {
                let absolute = path::absolute(path).unwrap_or_else(|_| path.clone());
                let Some(text) = absolute.to_str() else {
                    return Err(DatabaseError::Location(format!(
                        "{} is not UTF-8: SQLite needs a path that is",
                        path.display()
                    )));
                };
                Zeroizing::new(format!("sqlite://{}?mode=rw", escaped(text)))
            }
            Self::Postgres(location) => location.with_password()?,
        };
        url.parse()
            .map_err(|_| DatabaseError::Location(format!("{self} can't be used as a URL")))
    }
}

impl PostgresLocation {
    fn with_password(&self) -> Result<Zeroizing<String>, DatabaseError> {
        let Some(file) = &self.password_file else {
            return Ok(Zeroizing::new(self.url.to_string()));
        };
        let bytes = files::read_secret(file, limits::DATABASE_PASSWORD_BYTES)?;
        let text = std::str::from_utf8(bytes.trim_ascii_end())
            .ok()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| {
                DatabaseError::Location(format!(
                    "{} holds no password: write it as one line of UTF-8",
                    file.display()
                ))
            })?;
        let mut url = self.url.clone();
        let password = Zeroizing::new(escaped(text));
        url.set_password(Some(&password))
            .map_err(|()| DatabaseError::Location("the URL has no place for a password".into()))?;
        Ok(Zeroizing::new(String::from(url)))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(PostgresLocation { url, .. }) => {
                let host = url
                    .query_pairs()
                    .find_map(|(name, value)| (name == "host").then(|| value.into_owned()))
                    .unwrap_or_else(|| url.host_str().unwrap_or_default().replace("%2F", "/"));
                write!(
                    f,
                    "postgres database {} on {host}",
                    url.path().trim_matches('/')
                )?;
                url.port().map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

/// Whether the way to the server does not leave this machine.
fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.starts_with('/')
        || host == "localhost"
        || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Everything percent-encoded that could mean something in a URL.
fn escaped(text: &str) -> String {
    // Room for the longest form from the start: growing would leave copies of a password behind.
    let mut escaped = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-') {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            for nibble in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(nibble), 16).unwrap_or('0');
                escaped.push(digit.to_ascii_uppercase());
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MODE_SECRET;

    fn refused(url: &str) -> String {
        Location::postgres(url, None).unwrap_err().to_string()
    }

    #[test]
    fn secrets_and_unknown_parameters_are_refused() {
        let message = refused("postgres://kms:hunter2@db.example/kms");
        assert!(
            message.contains("password_file") && !message.contains("hunter2"),
            "{message}"
        );
        for bad in [
            "postgres://kms@db.example/kms?password=hunter2",
            "postgres://kms@db.example/kms?options=-csynchronous_commit%3Doff",
            "postgres://kms@db.example/kms?hostaddr=10.0.0.1",
        ] {
            let message = refused(bad);
            assert!(
                message.contains("can't be set") && !message.contains("hunter2"),
                "{message}"
            );
        }
        for bad in [
            "",
            "db",
            "mysql://a@b/c",
            "postgres://db.example/kms",
            "postgres://kms@db.example",
            "postgres://kms@/kms",
        ] {
            refused(bad);
        }
    }

    #[test]
    fn other_machines_are_verified() {
        for good in [
            "postgres://k@db.example/kms",
            "postgres://k@db.example/kms?sslmode=verify-full",
        ] {
            let Location::Postgres(location) = Location::postgres(good, None).unwrap() else {
                panic!("{good}");
            };
            assert!(location.url.as_str().contains("sslmode=verify-full"));
        }
        for bad in ["disable", "allow", "prefer", "require", "verify-ca"] {
            let message = refused(&format!("postgres://k@db.example/kms?sslmode={bad}"));
            assert!(message.contains("verify-full"), "{message}");
        }
        for local in ["127.0.0.1", "[::1]", "localhost", "%2Frun%2Fpostgresql"] {
            Location::postgres(&format!("postgres://k@{local}/kms?sslmode=disable"), None).unwrap();
        }
    }

    #[test]
    fn password_is_escaped_and_in_no_message() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        files::create_new(&file, b"p/@:?#% \xc3\xa4\n", MODE_SECRET).unwrap();
        let location =
            Location::postgres("postgres://k@[::1]:5433/kms", Some(file.clone())).unwrap();
        let options = location.options().unwrap();
        assert_eq!(
            options.database_url.password(),
            Some("p/%40%3A%3F%23%25%20%C3%A4")
                .map(|p| p.replace('/', "%2F"))
                .as_deref()
        );
        assert_eq!(location.to_string(), "postgres database kms on [::1]:5433");
        assert!(!format!("{location:?}").contains("@:?#"));
        files::write_atomic(&file, b"\n", MODE_SECRET).unwrap();
        assert!(location.options().is_err());
    }

    #[test]
    fn odd_file_names_are_themselves() {
        let location = Location::Sqlite("/tmp/a b?mode=memory#%41.db".into());
        let options = location.options().unwrap();
        assert_eq!(options.database_url.query(), Some("mode=rw"));
        assert_eq!(
            options.database_url.path(),
            "/tmp/a%20b%3Fmode%3Dmemory%23%2541.db"
        );
    }
}
