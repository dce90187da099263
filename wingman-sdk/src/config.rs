//! The configuration file `wingman.toml`.
//!
//! ```toml
//! [identity]
//! directory = "identity"                 # document.pem, key.pem, bundle.json, authority.json; kept fresh
//! join_token_file = "join-token"         # used when the directory holds no valid document
//!
//! [[unsealer]]                           # one per unsealing authority
//! key = "unsealer.pub.json"              # its pinned key record, or a list of them during a rotation
//! url = "https://127.0.0.1:7444"
//! spiffe_id = "spiffe://dev.example/control/unsealer"
//!
//! [profile]                              # what sealed objects are accepted; all optional
//! threshold = 1                          # least number of authorities that must have taken part
//! require_site_lock = false              # refuse objects that this site's key does not lock too
//! ciphers = ["aes256-gcm-siv"]           # default: every cipher that is known
//! allow_recovery = false                 # whether the key of [site] may open RECOVERY locks, which open alone
//! pinned_keys = ["recovery.pub.json"]    # further key records that objects may name
//! signers = ["sealer.pub"]               # refuse what none of these sealers signed; default: no signature is asked for
//!
//! [site]                                 # opens site locks here, without asking anybody; one of the two
//! key_file = "site.key"
//! # credential = "site-key"              # a file of the environment's credential directory (systemd)
//!
//! [kms]                                  # the key management service; optional
//! url = "https://127.0.0.1:7445"
//! spiffe_id = "spiffe://dev.example/blindfold/kms"
//! tenant = "default"                     # whose keys are meant; this one if left out
//! keys_in_hand = true                    # whether keys of low sensitivity may come into this process
//!
//! [timeouts]
//! open_seconds = 30                      # all attempts of one call together
//! attempt_seconds = 10                   # one request
//! hedge_milliseconds = 700               # silence after which the next authority of a threshold is asked too
//! ```
//!
//! Paths are relative to the file. Unknown keys are refused with their line. Files that hold a secret must
//! be readable by their owner only.

use std::{
    num::{NonZeroU8, NonZeroU16},
    path::{Path, PathBuf},
    time::Duration,
};

use ::identity::SpiffeId;
use blindfold_core::{
    AcceptanceProfile, AuthorityKey, Dem, KeyId, SealerKey, SealerKeys, SecretKey, SignatureError,
};
use serde::Deserialize;

use crate::{
    credential::{self, CredentialError},
    files::{self, FileError},
    http::HttpError,
    identity::{IdentityConfig, IdentityError, IdentitySource},
    limits,
};

/// Why a configuration was refused; nothing was started and nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not what [`config`](self) describes.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The configuration file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// A key file is not one.
    #[error("{} is not a usable key ({why}): export it again", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A sealer's public key is not one.
    #[error("{} is not a usable sealer key", path.display())]
    Sealer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SignatureError,
    },
    /// A signature is demanded, and no sealer is left whose signature would do.
    #[error(
        "a signature is demanded and no sealer accepted: name the sealers' public keys under [profile] signers, or \
         leave the key out to accept unsigned objects"
    )]
    NoSealer,
    /// The site's key was not handed over as a credential.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// What was handed over as the site's key is not one.
    #[error(
        "the credential `{name}` is not a usable key ({why}): hand over the site's secret key file"
    )]
    CredentialKey {
        /// The credential.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A key does not serve the purpose it is configured for.
    #[error("key {key_id} {why}")]
    WrongPurpose {
        /// The key.
        key_id: KeyId,
        /// What it cannot be used for, and what to do.
        why: &'static str,
    },
    /// One key is configured for two servers.
    #[error(
        "key {key_id} is configured twice: list each unsealing authority once, with all its keys"
    )]
    DuplicateKey {
        /// The key.
        key_id: KeyId,
    },
    /// An unsealing authority without a key.
    #[error("the unsealing authority {url} has no pinned key: name its public record under `key`")]
    NoKey {
        /// Its URL.
        url: String,
    },
    /// Unsealing authorities or a key management service are configured but no identity.
    #[error(
        "unsealing authorities and the key management service want an identity: add an [identity] section"
    )]
    NoIdentity,
    /// The key management service cannot be used as configured.
    #[error("[kms]: {0}")]
    Kms(#[source] kms_client::BuildError),
    /// The profile can never be met.
    #[error(
        "no object with threshold {threshold} can be opened with the {authorities} configured unsealing authorities: \
         lower [profile] threshold, or add [[unsealer]] sections"
    )]
    Threshold {
        /// The least threshold demanded.
        threshold: u8,
        /// How many authorities are configured.
        authorities: usize,
    },
    /// A URL cannot be used.
    #[error(transparent)]
    Url(#[from] HttpError),
    /// The identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// An unsealing authority: what it is pinned to and where it is asked.
#[derive(Clone, Debug)]
pub struct UnsealerConfig {
    /// Its pinned key records: the current one, and older ones during a rotation.
    pub keys: Vec<AuthorityKey>,
    /// Where it is asked: `https://host:port`.
    pub url: String,
    /// The SPIFFE ID its server must prove.
    pub spiffe_id: SpiffeId,
}

/// The key management service: where it is asked, and whose keys are meant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KmsConfig {
    /// Where it is asked: `https://host:port`.
    pub url: String,
    /// The SPIFFE ID its server must prove.
    pub spiffe_id: SpiffeId,
    /// The tenant; [`kms_client::client::DEFAULT_TENANT`] if left out.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Whether keys of low sensitivity may come into this process; they may if left out.
    #[serde(default)]
    pub keys_in_hand: Option<bool>,
}

impl KmsConfig {
    /// The service at `url`, which must prove to be `spiffe_id`.
    pub fn new(url: impl Into<String>, spiffe_id: SpiffeId) -> Self {
        Self {
            url: url.into(),
            spiffe_id,
            tenant: None,
            keys_in_hand: None,
        }
    }

    /// Names the tenant whose keys are meant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Says whether keys of low sensitivity may come into this process.
    #[must_use]
    pub fn keys_in_hand(mut self, keys_in_hand: bool) -> Self {
        self.keys_in_hand = Some(keys_in_hand);
        self
    }
}

/// A configuration, read and checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) identity: Option<IdentitySource>,
    pub(crate) unsealers: Vec<UnsealerConfig>,
    pub(crate) pinned: Vec<AuthorityKey>,
    pub(crate) profile: ProfileConfig,
    pub(crate) sealers: Option<SealerKeys>,
    pub(crate) site_keys: Vec<SecretKey>,
    pub(crate) kms: Option<KmsConfig>,
    pub(crate) open_deadline: Option<Duration>,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) hedge_after: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    identity: Option<IdentityConfig>,
    #[serde(default)]
    unsealer: Vec<Unsealer>,
    #[serde(default)]
    profile: ProfileConfig,
    site: Option<Site>,
    kms: Option<KmsConfig>,
    #[serde(default)]
    timeouts: Timeouts,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unsealer {
    key: OneOrMore,
    url: String,
    spiffe_id: SpiffeId,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a path, or a list of paths")]
enum OneOrMore {
    One(PathBuf),
    More(Vec<PathBuf>),
}

/// The `[profile]` section.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileConfig {
    threshold: Option<NonZeroU8>,
    #[serde(default)]
    require_site_lock: bool,
    ciphers: Option<Vec<Cipher>>,
    #[serde(default)]
    allow_recovery: bool,
    /// Further key records that objects may name: of recovery keys, of authorities that this workload never asks.
    #[serde(default)]
    pinned_keys: Vec<PathBuf>,
    /// Public keys of the sealers one of whom must have signed.
    signers: Option<Vec<PathBuf>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Cipher {
    #[serde(rename = "aes256-gcm-siv")]
    Aes256GcmSiv,
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl ProfileConfig {
    /// The least threshold that is accepted.
    pub(crate) fn least_threshold(&self) -> u8 {
        self.threshold.map_or(1, NonZeroU8::get)
    }

    /// The profile that these settings make.
    pub(crate) fn to_profile(&self) -> AcceptanceProfile {
        let profile = AcceptanceProfile::default()
            .minimum_threshold(self.least_threshold())
            .require_site_lock(self.require_site_lock)
            .allow_recovery(self.allow_recovery);
        let Some(ciphers) = &self.ciphers else {
            return profile;
        };
        profile.allow_dems(ciphers.iter().map(|cipher| match cipher {
            Cipher::Aes256GcmSiv => Dem::Aes256GcmSiv,
            Cipher::ChaCha20Poly1305 => Dem::ChaCha20Poly1305,
        }))
    }
}

/// The `[site]` section: where the site's secret key is.
#[derive(Deserialize)]
#[serde(try_from = "SiteTable")]
enum Site {
    KeyFile(PathBuf),
    Credential(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteTable {
    key_file: Option<PathBuf>,
    credential: Option<String>,
}

impl TryFrom<SiteTable> for Site {
    type Error = &'static str;

    fn try_from(table: SiteTable) -> Result<Self, Self::Error> {
        match (table.key_file, table.credential) {
            (Some(path), None) => Ok(Self::KeyFile(path)),
            (None, Some(name)) => Ok(Self::Credential(name)),
            _ => Err("expected one of `key_file` and `credential`"),
        }
    }
}

impl Site {
    fn read(&self, base: &Path) -> Result<SecretKey, ConfigError> {
        match self {
            Self::KeyFile(path) => read_secret_key(&base.join(path)),
            Self::Credential(name) => read_credential_key(name),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Timeouts {
    open_seconds: Option<NonZeroU16>,
    attempt_seconds: Option<NonZeroU16>,
    hedge_milliseconds: Option<NonZeroU16>,
}

impl Config {
    /// Reads a configuration file and every file it names, but starts and sends nothing.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_text(path, limits::MAX_CONFIG_BYTES)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let file: File = toml::from_str(&text).map_err(|error| syntax(path, &text, &error))?;
        let unsealers = file
            .unsealer
            .into_iter()
            .map(|unsealer| unsealer.read(base))
            .collect::<Result<_, _>>()?;
        let pinned = file
            .profile
            .pinned_keys
            .iter()
            .map(|key| read_record(&base.join(key)))
            .collect::<Result<_, _>>()?;
        let site_keys = file
            .site
            .iter()
            .map(|site| site.read(base))
            .collect::<Result<_, _>>()?;
        let sealers = file.profile.signers.as_ref().map(|paths| {
            let paths = paths.iter().map(|path| base.join(path));
            paths.map(|path| read_sealer(&path)).collect()
        });
        let seconds =
            |seconds: Option<NonZeroU16>| seconds.map(|s| Duration::from_secs(s.get().into()));
        Ok(Self {
            identity: file
                .identity
                .map(|identity| IdentitySource::from_config(&identity.relative_to(base))),
            unsealers,
            pinned,
            profile: file.profile,
            sealers: sealers.transpose()?,
            site_keys,
            kms: file.kms,
            open_deadline: seconds(file.timeouts.open_seconds),
            attempt_timeout: seconds(file.timeouts.attempt_seconds),
            hedge_after: (file.timeouts.hedge_milliseconds)
                .map(|silence| Duration::from_millis(silence.get().into())),
        })
    }
}

impl Unsealer {
    fn read(self, base: &Path) -> Result<UnsealerConfig, ConfigError> {
        let paths = match self.key {
            OneOrMore::One(path) => vec![path],
            OneOrMore::More(paths) => paths,
        };
        let keys = paths
            .iter()
            .map(|path| read_record(&base.join(path)))
            .collect::<Result<_, _>>()?;
        Ok(UnsealerConfig {
            keys,
            url: self.url,
            spiffe_id: self.spiffe_id,
        })
    }
}

fn read_record(path: &Path) -> Result<AuthorityKey, ConfigError> {
    let json = files::read_text(path, limits::MAX_KEY_RECORD_BYTES)?;
    AuthorityKey::from_json(&json).map_err(|error| ConfigError::Key {
        path: path.into(),
        why: error.to_string(),
    })
}

fn read_sealer(path: &Path) -> Result<SealerKey, ConfigError> {
    let text = files::read_text(path, limits::MAX_SEALER_KEY_BYTES)?;
    SealerKey::parse(&text).map_err(|source| ConfigError::Sealer {
        path: path.into(),
        source,
    })
}

/// Reads a secret key that the environment hands over.
pub(crate) fn read_credential_key(name: &str) -> Result<SecretKey, ConfigError> {
    let bytes = credential::read(name, limits::MAX_KEY_FILE_BYTES)?;
    SecretKey::from_file_bytes(&bytes).map_err(|error| ConfigError::CredentialKey {
        name: name.to_owned(),
        why: error.to_string(),
    })
}

/// Reads a secret key file.
pub(crate) fn read_secret_key(path: &Path) -> Result<SecretKey, ConfigError> {
    let bytes = files::read_secret(path, limits::MAX_KEY_FILE_BYTES)?;
    SecretKey::from_file_bytes(&bytes).map_err(|error| ConfigError::Key {
        path: path.into(),
        why: error.to_string(),
    })
}

/// The place of a TOML error, without the line's text.
fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    ConfigError::Syntax {
        path: path.into(),
        line,
        column,
        message: error.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_shown_in_the_book_is_one() {
        let page = include_str!("../../docs/src/sdk.md");
        let start = page.find("```toml\n[identity]").unwrap() + "```toml\n".len();
        let end = page[start..].find("```").unwrap() + start;
        let file: File = toml::from_str(&page[start..end]).unwrap();
        assert_eq!(file.unsealer.len(), 1);
        assert_eq!(file.profile.least_threshold(), 1);
        assert!(file.identity.is_some() && file.site.is_some());
    }
}
