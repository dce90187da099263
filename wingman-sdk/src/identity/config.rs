//! The `[identity]` section of a configuration file.

use std::path::{Path, PathBuf};

use ::identity::{BundleFingerprint, SiteName, SpiffeId};
use serde::Deserialize;

use super::{Attestation, AuthorityContact, BundlePin, UnixProcess, VoucherFile};

/// Where an identity is kept and what it is first obtained with; the `[identity]` section of a configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// The identity directory; made with mode 0700 when needed.
    pub directory: PathBuf,
    /// A file of mode 0600 with a join token, read when the directory holds no valid document.
    #[serde(default)]
    pub join_token_file: Option<PathBuf>,
    /// What is shown to the identity authority instead of a join token.
    #[serde(default)]
    pub attestation: Option<AttestationConfig>,
}

impl IdentityConfig {
    /// An identity directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            join_token_file: None,
            attestation: None,
        }
    }

    /// Names the file of a join token.
    #[must_use]
    pub fn join_token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.join_token_file = Some(file.into());
        self
    }

    /// Has evidence shown to the identity authority instead of a join token, which is not looked at any more.
    #[must_use]
    pub fn attestation(mut self, attestation: AttestationConfig) -> Self {
        self.attestation = Some(attestation);
        self
    }

    /// The same with relative paths taken from `base`.
    #[must_use]
    pub fn relative_to(&self, base: &Path) -> Self {
        Self {
            directory: base.join(&self.directory),
            join_token_file: self.join_token_file.as_ref().map(|file| base.join(file)),
            attestation: self
                .attestation
                .as_ref()
                .map(|attestation| attestation.relative_to(base)),
        }
    }
}

/// The `[identity.attestation]` section: who is asked, and with what evidence.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "AttestationTable")]
pub struct AttestationConfig {
    /// The identity authority.
    pub authority: AuthorityContact,
    /// The site that vouches.
    pub site: SiteName,
    /// By what the authority is known at the first contact.
    pub pin: BundlePin,
    /// What is shown.
    pub attestor: AttestorConfig,
}

/// The key `attestor` and those that go with it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AttestorConfig {
    /// `voucher`: tokens in a file.
    Voucher {
        /// `token_file`, which the voucher writes.
        token_file: PathBuf,
        /// `request_file`, which tells the voucher the next key; beside the token file if left out.
        request_file: Option<PathBuf>,
    },
    /// `unix`: this process, as the kernel tells the authority on the same host.
    Unix {
        /// `socket` of the authority.
        socket: PathBuf,
    },
}

impl AttestationConfig {
    /// What the configuration stands for. Reads nothing yet.
    #[must_use]
    pub fn to_attestation(&self) -> Attestation {
        let (authority, site, pin) = (self.authority.clone(), self.site.clone(), self.pin.clone());
        match &self.attestor {
            AttestorConfig::Voucher {
                token_file,
                request_file,
            } => {
                let mut voucher = VoucherFile::new(token_file);
                if let Some(file) = request_file {
                    voucher = voucher.request_file(file);
                }
                Attestation::new(authority, site, pin, voucher)
            }
            AttestorConfig::Unix { socket } => {
                Attestation::new(authority, site, pin, UnixProcess).over_unix_socket(socket)
            }
        }
    }

    fn relative_to(&self, base: &Path) -> Self {
        let mut config = self.clone();
        if let BundlePin::File(file) = &mut config.pin {
            *file = base.join(&*file);
        }
        match &mut config.attestor {
            AttestorConfig::Voucher {
                token_file,
                request_file,
            } => {
                *token_file = base.join(&*token_file);
                *request_file = request_file.as_ref().map(|file| base.join(file));
            }
            AttestorConfig::Unix { socket } => *socket = base.join(&*socket),
        }
        config
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttestationTable {
    attestor: String,
    authority_url: String,
    authority_id: SpiffeId,
    site: SiteName,
    bundle_fingerprint: Option<String>,
    bundle_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    request_file: Option<PathBuf>,
    socket: Option<PathBuf>,
}

impl TryFrom<AttestationTable> for AttestationConfig {
    type Error = String;

    fn try_from(mut table: AttestationTable) -> Result<Self, String> {
        let pin = match (table.bundle_fingerprint.take(), table.bundle_file.take()) {
            (Some(text), None) => BundlePin::Fingerprint(
                text.parse::<BundleFingerprint>()
                    .map_err(|error| format!("`bundle_fingerprint`: {error}"))?,
            ),
            (None, Some(file)) => BundlePin::File(file),
            _ => return Err("expected one of `bundle_fingerprint` and `bundle_file`".to_owned()),
        };
        crate::http::check_url(&table.authority_url).map_err(|error| error.to_string())?;
        let attestor = table.attestor()?;
        Ok(Self {
            authority: AuthorityContact {
                url: table.authority_url,
                spiffe_id: table.authority_id,
            },
            site: table.site,
            pin,
            attestor,
        })
    }
}

impl AttestationTable {
    fn attestor(&mut self) -> Result<AttestorConfig, String> {
        let kind = std::mem::take(&mut self.attestor);
        let need = |file: Option<PathBuf>, key: &str| {
            file.ok_or_else(|| format!("attestor `{kind}` needs `{key}`"))
        };
        let attestor = match kind.as_str() {
            "voucher" => AttestorConfig::Voucher {
                token_file: need(self.token_file.take(), "token_file")?,
                request_file: self.request_file.take(),
            },
            "unix" => AttestorConfig::Unix {
                socket: need(self.socket.take(), "socket")?,
            },
            _ => {
                return Err(format!(
                    "attestor `{kind}` is not known: write `voucher` or `unix`"
                ));
            }
        };
        let left = [
            ("token_file", &self.token_file),
            ("request_file", &self.request_file),
            ("socket", &self.socket),
        ];
        match left.iter().find(|(_, file)| file.is_some()) {
            Some((key, _)) => Err(format!("attestor `{kind}` has no key `{key}`")),
            None => Ok(attestor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: &str = "attestor = \"voucher\"\nauthority_url = \"https://127.0.0.1:7443\"\n\
        authority_id = \"spiffe://acme.example/identity-authority\"\nsite = \"paris\"\n";

    fn read(more: &str) -> Result<AttestationConfig, String> {
        toml::from_str(&format!("{COMMON}{more}")).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn needs_one_pin_and_the_keys_of_its_attestor() {
        let config = read("bundle_file = \"b.json\"\ntoken_file = \"t\"").unwrap();
        let there = config.relative_to(Path::new("/etc/app"));
        assert!(
            matches!(&there.pin, BundlePin::File(file) if file == Path::new("/etc/app/b.json"))
        );
        assert!(matches!(
            &there.attestor,
            AttestorConfig::Voucher { token_file, request_file: None } if token_file == Path::new("/etc/app/t")
        ));
        for (more, told) in [
            ("token_file = \"t\"", "bundle_fingerprint"),
            (
                "token_file = \"t\"\nbundle_file = \"b\"\nbundle_fingerprint = \"00\"",
                "expected one of",
            ),
            (
                "token_file = \"t\"\nbundle_fingerprint = \"00\"",
                "bundle_fingerprint",
            ),
            ("bundle_file = \"b\"", "needs `token_file`"),
            (
                "bundle_file = \"b\"\ntoken_file = \"t\"\nsocket = \"s\"",
                "has no key `socket`",
            ),
            (
                "bundle_file = \"b\"\ntoken_file = \"t\"\nsecret = 1",
                "secret",
            ),
        ] {
            let error = read(more).unwrap_err();
            assert!(error.contains(told), "{more}: {error}");
        }
    }
}
