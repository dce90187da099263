//! To whom sealed exports go, and what opens those of other regions: the service's own configuration says, no caller does.

use std::{collections::BTreeMap, fmt};

use blindfold_core::{
    AuthorityKey, CanonicalPolicy, LockSpec, PolicyRef, Purpose, SealOptions, Sealer, SecretKey,
    Window,
};
use identity::policy::Policy;
use kms_client::key::is_name;
use serde::Deserialize;
use service::{
    config::{ConfigError, ConfigPath},
    files,
};

use crate::limits::{
    MAX_KEY_RECORD_BYTES, MAX_POLICY_FILE_BYTES, MAX_RECIPIENTS, MAX_SECRET_KEY_BYTES,
};

/// `[export.NAME]`: a recipient of sealed exports.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipientConfig {
    /// Public records of unsealing keys, `threshold` of which open an export: keys kept offline, the key for copies of a
    /// service in another region, or unsealing authorities.
    pub keys: Vec<ConfigPath>,
    /// How many of them are needed.
    #[serde(default = "one")]
    pub threshold: u8,
    /// Public records of static keys, each of which opens an export alone.
    #[serde(default)]
    pub recovery: Vec<ConfigPath>,
    /// Who may open an export with the help of the unsealing authorities (YAML or JSON); when absent nobody may, and it
    /// takes the secret keys themselves.
    #[serde(default)]
    pub policy: Option<ConfigPath>,
}

fn one() -> u8 {
    1
}

/// `[copies]`: this service's own key, to which services in other regions export copies for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopiesConfig {
    /// Its secret key file, of mode 0600, made with `blindfold key generate`.
    pub key_file: ConfigPath,
}

/// A recipient, read and checked.
pub(crate) struct Recipient {
    locks: Vec<LockSpec>,
    threshold: u8,
}

/// All of it, read and checked.
pub(crate) struct Transfer {
    recipients: BTreeMap<String, Recipient>,
    copy_key: Option<SecretKey>,
}

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer")
            .field("recipients", &self.recipients.keys())
            .field("has_copy_key", &self.copy_key.is_some())
            .finish_non_exhaustive()
    }
}

impl Recipient {
    /// The locks of an export.
    pub(crate) fn locks(&self) -> Vec<LockSpec> {
        self.locks.clone()
    }

    /// How many of the shares are needed.
    pub(crate) fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Fingerprints of the keys.
    pub(crate) fn fingerprints(&self) -> Vec<String> {
        let ids = self.locks.iter().map(|lock| lock.key().key_id());
        ids.map(|id| id.to_string()).collect()
    }

    fn read(name: &str, config: &RecipientConfig) -> Result<Self, ConfigError> {
        let setting = |member: &str| format!("export.{name}.{member}");
        let policy = match &config.policy {
            Some(path) => read_policy(&setting("policy"), path)?,
            // No rule allows: no unsealing authority helps.
            None => Policy::from_text(r#"{"v": 1, "name": "nobody", "rules": []}"#)
                .map_err(|error| ConfigError::invalid(&setting("policy"), &error.to_string()))?,
        };
        let policy = CanonicalPolicy::parse(&policy.canonical())
            .map_err(|error| ConfigError::invalid(&setting("policy"), &error.to_string()))?;
        let mut locks = Vec::new();
        for path in &config.keys {
            let key = read_record(&setting("keys"), path, Purpose::PolicyUnseal)?;
            let policy = PolicyRef::Inline(policy.clone());
            locks.push(LockSpec::share(&key, policy, Window::unbounded()));
        }
        for path in &config.recovery {
            let key = read_record(&setting("recovery"), path, Purpose::StaticLock)?;
            locks.push(LockSpec::recovery_static(&key));
        }
        // What can't be sealed to is found out now, and not on the day of the backup.
        Sealer::new(
            locks.clone(),
            SealOptions::new().threshold(config.threshold),
        )
        .map_err(|error| ConfigError::invalid(&format!("export.{name}"), &error.to_string()))?;
        Ok(Self {
            locks,
            threshold: config.threshold,
        })
    }
}

impl Transfer {
    /// Reads every file that the configuration names.
    ///
    /// # Errors
    ///
    /// Names the setting and what is wrong.
    pub(crate) fn read(
        recipients: &BTreeMap<String, RecipientConfig>,
        copies: Option<&CopiesConfig>,
    ) -> Result<Self, ConfigError> {
        if recipients.len() > MAX_RECIPIENTS || !recipients.keys().all(|name| is_name(name)) {
            return Err(ConfigError::invalid(
                "export",
                "name at most 64 recipients, each with 1 to 64 characters out of a-z 0-9 . _ -",
            ));
        }
        let recipients = recipients
            .iter()
            .map(|(name, config)| Ok((name.clone(), Recipient::read(name, config)?)))
            .collect::<Result<_, ConfigError>>()?;
        let copy_key = copies.map(|copies| read_secret(&copies.key_file));
        Ok(Self {
            recipients,
            copy_key: copy_key.transpose()?,
        })
    }

    /// The recipient of that name.
    pub(crate) fn recipient(&self, name: &str) -> Option<&Recipient> {
        self.recipients.get(name)
    }

    /// The key that opens other regions' exports.
    pub(crate) fn copy_key(&self) -> Option<&SecretKey> {
        self.copy_key.as_ref()
    }
}

fn read_policy(setting: &str, path: &ConfigPath) -> Result<Policy, ConfigError> {
    let refuse = |why: &dyn fmt::Display| {
        ConfigError::invalid(setting, &format!("{}: {why}", path.display()))
    };
    let bytes = files::read_bounded(path, MAX_POLICY_FILE_BYTES)
        .map_err(|error| ConfigError::invalid(setting, &error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| refuse(&"it is not UTF-8 text"))?;
    Policy::from_text(&text).map_err(|error| refuse(&error))
}

fn read_record(
    setting: &str,
    path: &ConfigPath,
    purpose: Purpose,
) -> Result<AuthorityKey, ConfigError> {
    let refuse = |why: &dyn fmt::Display| {
        ConfigError::invalid(setting, &format!("{}: {why}", path.display()))
    };
    let bytes = files::read_bounded(path, MAX_KEY_RECORD_BYTES)
        .map_err(|error| ConfigError::invalid(setting, &error.to_string()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refuse(&"it is not UTF-8 text"))?;
    let key = AuthorityKey::from_json(text).map_err(|error| refuse(&error))?;
    if key.purpose() == purpose {
        return Ok(key);
    }
    Err(refuse(&match purpose {
        Purpose::StaticLock => "not a static key: put an unsealing key under `keys`",
        _ => "not an unsealing key: put a static key under `recovery`",
    }))
}

fn read_secret(path: &ConfigPath) -> Result<SecretKey, ConfigError> {
    let refuse = |why: &dyn fmt::Display| {
        ConfigError::invalid("copies.key_file", &format!("{}: {why}", path.display()))
    };
    let bytes = files::read_secret(path, MAX_SECRET_KEY_BYTES)
        .map_err(|error| ConfigError::invalid("copies.key_file", &error.to_string()))?;
    SecretKey::from_file_bytes(&bytes).map_err(|error| refuse(&error))
}
