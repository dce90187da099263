//! `[audit]`: where records go.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::ConfigPath;

/// `[audit]`: where the audit log is written, and who signs it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// The file, JSON lines, created with mode 0600.
    pub path: ConfigPath,
    /// The key that signs checkpoints, created with mode 0600, its public half beside it in a file ending in `.pub`; the
    /// path of the log with `.key` if absent.
    #[serde(default)]
    pub signer: Option<ConfigPath>,
    /// `[audit.syslog]`: where records go as well.
    #[serde(default)]
    pub syslog: Option<SyslogConfig>,
}

impl AuditConfig {
    /// A log at `path` with everything else as by default.
    #[must_use]
    pub fn at(path: impl Into<ConfigPath>) -> Self {
        Self {
            path: path.into(),
            signer: None,
            syslog: None,
        }
    }

    /// The file of the signer's key.
    #[must_use]
    pub fn signer_path(&self) -> PathBuf {
        match &self.signer {
            Some(path) => path.as_path().to_owned(),
            None => {
                let mut name = self.path.as_os_str().to_owned();
                name.push(".key");
                name.into()
            }
        }
    }
}

/// `[audit.syslog]`: a syslog server (RFC 5424) that gets every record too. The file is the durable one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SyslogConfig {
    /// `unix:/dev/log` or `tcp:host:port`.
    pub address: SyslogAddress,
    /// Facility, 0 to 23; 13 is "log audit".
    #[serde(default)]
    pub facility: Facility,
}

/// Where a syslog server listens.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SyslogAddress {
    /// A socket for datagrams, one for each record.
    Unix(PathBuf),
    /// A host and port; messages have their length in front (RFC 6587, section 3.4.1).
    Tcp(String),
}

/// Facility of syslog messages (RFC 5424, section 6.2.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Facility(u8);

impl Facility {
    /// The number in front of a message of `severity`.
    #[must_use]
    pub fn priority(self, severity: u8) -> u8 {
        self.0.saturating_mul(8).saturating_add(severity.min(7))
    }
}

impl Default for Facility {
    fn default() -> Self {
        Self(13)
    }
}

impl<'de> Deserialize<'de> for Facility {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            facility @ 0..=23 => Ok(Self(facility)),
            other => Err(D::Error::custom(format!(
                "{other} is no facility: use 0 to 23, as 13 for audit or 10 for authpriv"
            ))),
        }
    }
}

/// Neither a socket nor a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the address of a syslog server: write unix:/dev/log, or tcp:host:port")]
pub struct BadSyslogAddress;

impl FromStr for SyslogAddress {
    type Err = BadSyslogAddress;

    fn from_str(text: &str) -> Result<Self, BadSyslogAddress> {
        if let Some(path) = text.strip_prefix("unix:").filter(|p| p.starts_with('/')) {
            return Ok(Self::Unix(path.into()));
        }
        let server = text.strip_prefix("tcp:").ok_or(BadSyslogAddress)?;
        let (host, port) = server.rsplit_once(':').ok_or(BadSyslogAddress)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(BadSyslogAddress);
        }
        Ok(Self::Tcp(server.to_owned()))
    }
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(server) => write!(f, "tcp:{server}"),
        }
    }
}

impl<'de> Deserialize<'de> for SyslogAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_facilities_are_read_strictly() {
        let read = |text: &str| toml::from_str::<AuditConfig>(text);
        let config = read("path = 'a.jsonl'\n[syslog]\naddress = 'unix:/dev/log'").unwrap();
        let syslog = config.syslog.clone().unwrap();
        assert_eq!(syslog.address, SyslogAddress::Unix("/dev/log".into()));
        assert_eq!(syslog.facility.priority(6), 110);
        assert!(config.signer_path().ends_with("a.jsonl.key"));
        let config =
            read("path = 'a'\nsigner = '/k'\n[syslog]\naddress = 'tcp:[::1]:601'\nfacility = 10")
                .unwrap();
        assert_eq!(config.signer_path(), PathBuf::from("/k"));
        assert_eq!(config.syslog.unwrap().address.to_string(), "tcp:[::1]:601");
        for bad in [
            "log",
            "unix:dev/log",
            "tcp:host",
            "tcp::601",
            "tcp:host:x",
            "udp:host:514",
        ] {
            let error = read(&format!("path = 'a'\n[syslog]\naddress = '{bad}'")).unwrap_err();
            assert!(
                error.to_string().contains("tcp:host:port"),
                "{bad}: {error}"
            );
        }
        assert!(read("path = 'a'\n[syslog]\naddress = 'unix:/l'\nfacility = 24").is_err());
    }
}
