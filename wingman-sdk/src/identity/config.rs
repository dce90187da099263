//! The `[identity]` section of a configuration file.

use std::path::{Path, PathBuf};

use ::attest::tpm::{KeyKind, Registers, TpmAddress};
use ::identity::{BundleFingerprint, SiteName, SpiffeId};
use serde::Deserialize;

use super::{
    Attestation, AuthorityContact, AwsInstance, BundlePin, TpmMachine, UnixProcess, VoucherFile,
    X509Certificate,
};

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
    /// `x509`: a certificate of another CA.
    X509 {
        /// `certificate_file`: the chain, leaf first, PEM.
        certificate_file: PathBuf,
        /// `key_file`: its key, PEM.
        key_file: PathBuf,
    },
    /// `aws`: the identity document of this EC2 instance.
    Aws {
        /// `metadata_url`; the usual address if left out.
        metadata_url: Option<String>,
    },
    /// `tpm`: the machine's TPM 2.0.
    Tpm {
        /// `device`; `/dev/tpmrm0` if left out.
        device: TpmAddress,
        /// `endorsement_key`, `rsa2048` or `p256`; the former if left out.
        endorsement_key: KeyKind,
        /// `registers` to quote; 0 to 7 if left out.
        registers: Registers,
        /// `certificate_file`: the endorsement key's certificate in place of the TPM's, PEM.
        certificate_file: Option<PathBuf>,
        /// `intermediates_file`: certificates between it and the anchors of the site, PEM.
        intermediates_file: Option<PathBuf>,
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
            AttestorConfig::X509 {
                certificate_file,
                key_file,
            } => {
                let holder = X509Certificate::new(certificate_file, key_file);
                Attestation::new(authority, site, pin, holder)
            }
            AttestorConfig::Aws { metadata_url } => {
                let instance = metadata_url
                    .as_ref()
                    .map_or_else(AwsInstance::new, AwsInstance::at);
                Attestation::new(authority, site, pin, instance)
            }
            AttestorConfig::Tpm {
                device,
                endorsement_key,
                registers,
                certificate_file,
                intermediates_file,
            } => {
                let mut machine = TpmMachine::new(device.clone())
                    .endorsement_key(*endorsement_key)
                    .registers(*registers);
                if let Some(file) = certificate_file {
                    machine = machine.certificate_file(file);
                }
                if let Some(file) = intermediates_file {
                    machine = machine.intermediates_file(file);
                }
                Attestation::new(authority, site, pin, machine)
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
            AttestorConfig::X509 {
                certificate_file,
                key_file,
            } => {
                *certificate_file = base.join(&*certificate_file);
                *key_file = base.join(&*key_file);
            }
            AttestorConfig::Aws { .. } => {}
            AttestorConfig::Tpm {
                certificate_file,
                intermediates_file,
                ..
            } => {
                for file in [certificate_file, intermediates_file] {
                    *file = file.as_ref().map(|file| base.join(file));
                }
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
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    intermediates_file: Option<PathBuf>,
    metadata_url: Option<String>,
    device: Option<String>,
    endorsement_key: Option<String>,
    registers: Option<Vec<u8>>,
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
            "x509" => AttestorConfig::X509 {
                certificate_file: need(self.certificate_file.take(), "certificate_file")?,
                key_file: need(self.key_file.take(), "key_file")?,
            },
            "aws" => AttestorConfig::Aws {
                metadata_url: self.metadata_url.take(),
            },
            "tpm" => self.tpm()?,
            _ => {
                return Err(format!(
                    "attestor `{kind}` is not known: write `voucher`, `x509`, `aws`, `tpm` or `unix`"
                ));
            }
        };
        let left = [
            ("token_file", self.token_file.is_some()),
            ("request_file", self.request_file.is_some()),
            ("socket", self.socket.is_some()),
            ("certificate_file", self.certificate_file.is_some()),
            ("key_file", self.key_file.is_some()),
            ("intermediates_file", self.intermediates_file.is_some()),
            ("metadata_url", self.metadata_url.is_some()),
            ("device", self.device.is_some()),
            ("endorsement_key", self.endorsement_key.is_some()),
            ("registers", self.registers.is_some()),
        ];
        match left.iter().find(|(_, there)| *there) {
            Some((key, _)) => Err(format!("attestor `{kind}` has no key `{key}`")),
            None => Ok(attestor),
        }
    }

    fn tpm(&mut self) -> Result<AttestorConfig, String> {
        let device = match self.device.take() {
            Some(text) => text.parse().map_err(|error| format!("`device`: {error}"))?,
            None => TpmAddress::default(),
        };
        let endorsement_key = match self.endorsement_key.take().as_deref() {
            None | Some("rsa2048") => KeyKind::Rsa2048,
            Some("p256") => KeyKind::P256,
            Some(_) => return Err("`endorsement_key`: write `rsa2048` or `p256`".to_owned()),
        };
        let registers = match self.registers.take() {
            Some(numbers) => Registers::of(&numbers)
                .ok_or_else(|| "`registers`: write some numbers from 0 to 23".to_owned())?,
            None => Registers::boot(),
        };
        Ok(AttestorConfig::Tpm {
            device,
            endorsement_key,
            registers,
            certificate_file: self.certificate_file.take(),
            intermediates_file: self.intermediates_file.take(),
        })
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

    #[test]
    fn hosts_have_keys_of_their_own() {
        let read = |kind: &str, more: &str| {
            let common = COMMON.replace("\"voucher\"", &format!("\"{kind}\""));
            let text = format!("{common}bundle_file = \"b\"\n{more}");
            toml::from_str::<AttestationConfig>(&text)
                .map(|config| config.relative_to(Path::new("/etc/app")).attestor)
                .map_err(|error| error.message().to_owned())
        };
        let host = read("x509", "certificate_file = \"c\"\nkey_file = \"k\"").unwrap();
        assert!(matches!(
            &host,
            AttestorConfig::X509 { certificate_file, key_file }
                if certificate_file == Path::new("/etc/app/c") && key_file == Path::new("/etc/app/k")
        ));
        assert!(matches!(
            read("aws", ""),
            Ok(AttestorConfig::Aws { metadata_url: None })
        ));
        let AttestorConfig::Tpm {
            device,
            endorsement_key: KeyKind::Rsa2048,
            registers,
            certificate_file: None,
            intermediates_file: None,
        } = read("tpm", "").unwrap()
        else {
            panic!("defaults");
        };
        assert_eq!(device, TpmAddress::default());
        assert_eq!(registers, Registers::boot());
        let AttestorConfig::Tpm {
            device: TpmAddress::Unix(socket),
            endorsement_key: KeyKind::P256,
            registers,
            intermediates_file: Some(file),
            ..
        } = read(
            "tpm",
            "device = \"unix:/run/tpm.sock\"\nendorsement_key = \"p256\"\nregisters = [7, 4]\n\
             intermediates_file = \"i\"",
        )
        .unwrap()
        else {
            panic!("all of them");
        };
        assert_eq!(socket, Path::new("/run/tpm.sock"));
        assert_eq!(registers.numbers().collect::<Vec<_>>(), [4, 7]);
        assert_eq!(file, Path::new("/etc/app/i"));
        for (kind, more, told) in [
            ("x509", "certificate_file = \"c\"", "needs `key_file`"),
            ("aws", "key_file = \"k\"", "has no key `key_file`"),
            (
                "unix",
                "socket = \"s\"\nregisters = [1]",
                "has no key `registers`",
            ),
            ("tpm", "registers = [24]", "from 0 to 23"),
            ("tpm", "registers = []", "from 0 to 23"),
            ("tpm", "device = \"tcp:192.0.2.1:1\"", "no place of a TPM"),
            ("tpm", "endorsement_key = \"rsa\"", "rsa2048"),
            ("tmp", "", "`tpm`"),
        ] {
            let error = read(kind, more).unwrap_err();
            assert!(error.contains(told), "{kind} {more}: {error}");
        }
    }
}
