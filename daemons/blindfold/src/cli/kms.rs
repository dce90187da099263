//! The words of `blindfold kms …`: administration of keys, and operations with them.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use kms_client::{Algorithm, Sensitivity, State, wire::admin::Wrapping};

use super::AdminArgs;

mod operations;

pub(crate) use operations::*;

/// `blindfold kms …`
#[derive(Debug, Subcommand)]
pub(crate) enum KmsCommand {
    /// Tenants and whom they admit
    #[command(
        subcommand,
        after_help = "Examples:\n  blindfold kms tenant create acme --admission workloads.yaml\n  blindfold kms tenant list"
    )]
    Tenant(KmsTenantCommand),
    /// Create, rotate, import, export and destroy keys; say who may do what with them
    #[command(
        subcommand,
        after_help = "\
Examples:
  blindfold kms key create orders --tenant acme --algorithm aes-256-gcm --policy orders.yaml
  blindfold kms key rotate orders --tenant acme
  blindfold kms key usage orders --tenant acme
  blindfold kms key set-state orders --tenant acme 1 decrypt-only"
    )]
    Key(KmsKeyCommand),
    /// Encrypt as a workload
    Encrypt(EncryptArgs),
    /// Decrypt as a workload
    Decrypt(DecryptArgs),
    /// Make a message authentication code
    Hmac(HmacArgs),
    /// Check a message authentication code
    HmacVerify(HmacVerifyArgs),
    /// Sign a message, or its digest
    Sign(KmsSignArgs),
    /// Check a signature of a message, or of its digest
    Verify(KmsVerifyArgs),
    /// Make a data key, and its ciphertext under a key
    DataKey(DataKeyArgs),
    /// Encrypt a ciphertext anew, to the newest version or another key, without seeing what is inside
    ReEncrypt(ReEncryptArgs),
    /// Print the public key of an asymmetric key
    PublicKey(PublicKeyArgs),
    /// Print random bytes of the service
    Random(RandomArgs),
}

/// `blindfold kms tenant …`
#[derive(Debug, Subcommand)]
pub(crate) enum KmsTenantCommand {
    /// Create a tenant; without an admission policy it admits nobody
    #[command(
        after_help = "Example:\n  blindfold kms tenant create acme --admission workloads.yaml"
    )]
    Create {
        #[command(flatten)]
        admin: AdminArgs,
        /// Name of the tenant (a-z 0-9 . _ -)
        name: String,
        /// Admission policy (YAML or JSON)
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        admission: Option<PathBuf>,
    },
    /// Replace a tenant's admission policy
    #[command(after_help = "Example:\n  blindfold kms tenant set-admission acme workloads.yaml")]
    SetAdmission {
        #[command(flatten)]
        admin: AdminArgs,
        /// Name of the tenant
        name: String,
        /// Admission policy (YAML or JSON); without it the tenant admits nobody
        #[arg(value_hint = ValueHint::FilePath)]
        admission: Option<PathBuf>,
        #[command(flatten)]
        revision: RevisionArg,
    },
    /// Print a tenant's admission policy
    #[command(after_help = "Example:\n  blindfold kms tenant show acme > workloads.json")]
    Show {
        #[command(flatten)]
        admin: AdminArgs,
        /// Name of the tenant
        name: String,
    },
    /// List the tenants
    #[command(after_help = "Example:\n  blindfold kms tenant list")]
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// The revision that a change is made from.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RevisionArg {
    /// Refuse if it was changed since it had this revision; what it has now when absent
    #[arg(long, value_name = "N")]
    pub(crate) expected_revision: Option<u64>,
}

/// A key of a tenant, and how to reach the service as an administrator.
#[derive(Args, Debug)]
pub(crate) struct KeyArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// The tenant
    #[arg(long)]
    pub(crate) tenant: String,
    /// Name or identifier of the key
    pub(crate) key: String,
}

/// A key that is changed.
#[derive(Args, Debug)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    pub(crate) of: KeyArgs,
    #[command(flatten)]
    pub(crate) revision: RevisionArg,
}

/// `blindfold kms key …`
#[derive(Debug, Subcommand)]
pub(crate) enum KmsKeyCommand {
    /// Create a key with its first version
    Create(KeyCreateArgs),
    /// List the keys of a tenant
    #[command(after_help = "Example:\n  blindfold kms key list --tenant acme")]
    List {
        #[command(flatten)]
        admin: AdminArgs,
        /// The tenant
        #[arg(long)]
        tenant: String,
    },
    /// Show a key, its versions and its settings
    #[command(
        after_help = "Examples:\n  blindfold kms key show orders --tenant acme\n  blindfold kms key show orders --tenant acme --policy > orders.json"
    )]
    Show {
        #[command(flatten)]
        of: KeyArgs,
        /// Print the policy only
        #[arg(long)]
        policy: bool,
    },
    /// Make a new version, which protects from now on; the former ones go on reading
    #[command(after_help = "Example:\n  blindfold kms key rotate orders --tenant acme")]
    Rotate(ChangeArgs),
    /// Replace a key's policy
    #[command(
        after_help = "Examples:\n  blindfold kms key set-policy orders --tenant acme orders.yaml\n  blindfold kms key set-policy orders --tenant acme    (nobody may do anything with it)"
    )]
    SetPolicy {
        #[command(flatten)]
        change: ChangeArgs,
        /// Policy document (YAML or JSON); without it nobody may do anything with the key
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Change the state of a version
    #[command(after_help = "\
Examples:
  blindfold kms key set-state orders --tenant acme 1 decrypt-only
  blindfold kms key set-state orders --tenant acme 1 disabled        (also brings a version back that waits to be destroyed)")]
    SetState {
        #[command(flatten)]
        change: ChangeArgs,
        /// The version
        version: u32,
        /// The new state
        state: StateWord,
    },
    /// Let another version protect
    #[command(after_help = "Example:\n  blindfold kms key set-primary orders --tenant acme 3")]
    SetPrimary {
        #[command(flatten)]
        change: ChangeArgs,
        /// The version, which must be enabled
        version: u32,
    },
    /// Change rotation, lease terms and exports; what is not named stays
    #[command(
        after_help = "Examples:\n  blindfold kms key set orders --tenant acme --rotate-after 90d\n  blindfold kms key set orders --tenant acme --never-rotate --not-exportable"
    )]
    Set {
        #[command(flatten)]
        change: ChangeArgs,
        #[command(flatten)]
        settings: SettingsArgs,
        /// Rotate no more by schedule
        #[arg(long, conflicts_with = "rotate_after")]
        never_rotate: bool,
        /// Allow no sealed exports from now on; can't be taken back
        #[arg(long, conflicts_with = "exportable")]
        not_exportable: bool,
    },
    /// Destroy versions after a delay; until then `set-state … disabled` keeps them
    #[command(after_help = "\
Examples:
  blindfold kms key destroy orders --tenant acme 1 2
  blindfold kms key destroy orders --tenant acme --all --delay 7d

What only these versions can read is lost for good after the delay. Look at `kms key usage` before.")]
    Destroy {
        #[command(flatten)]
        change: ChangeArgs,
        /// The versions
        #[arg(required_unless_present = "all")]
        versions: Vec<u32>,
        /// Every version
        #[arg(long, conflicts_with = "versions")]
        all: bool,
        /// How long they can still be kept; 30d when absent
        #[arg(long, value_parser = duration, value_name = "DURATION")]
        delay: Option<Duration>,
    },
    /// Say how much each version is still used
    #[command(after_help = "Example:\n  blindfold kms key usage orders --tenant acme")]
    Usage(KeyArgs),
    /// Bring key material that was made elsewhere: a new key, or another version of one
    Import(KeyImportArgs),
    /// Ask for a public key that material can be wrapped to elsewhere (BYOK)
    ImportParameters(ImportParametersArgs),
    /// Export a key, sealed to a recipient of the service's configuration
    #[command(after_help = "\
Examples:
  blindfold kms key export orders --tenant acme --recipient recovery -o orders.backup
  blindfold kms key export orders --tenant acme --recipient lyon -o orders.copy    (for a service in another region)

The service seals to the recipients that its own configuration names, and to nobody else.")]
    Export {
        #[command(flatten)]
        change: ChangeArgs,
        /// Name of the recipient in the service's configuration
        #[arg(long)]
        recipient: String,
        /// Only this version; repeat for several
        #[arg(long = "key-version", value_name = "N")]
        versions: Vec<u32>,
        /// Where the sealed export goes; never overwritten
        #[arg(long, short, value_hint = ValueHint::FilePath)]
        out: PathBuf,
    },
    /// Restore a key from an export, or bring a copy up to date
    #[command(after_help = "\
Examples:
  blindfold kms key restore --tenant acme --secret-key recovery.key orders.backup
  blindfold kms key restore --tenant acme --name orders orders.copy     (sealed to this service's own key for copies)

With a recovery key the export is opened on this machine and sealed again for the service before it leaves.
Versions that the service has stay as they are; what was disabled or destroyed there stays so.")]
    Restore(KeyRestoreArgs),
}

/// State of a version that an administrator can set.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum StateWord {
    /// May do everything that the policy allows
    Enabled,
    /// Reads what it protected, protects nothing new
    DecryptOnly,
    /// Does nothing; can be enabled again
    Disabled,
}

impl From<StateWord> for State {
    fn from(word: StateWord) -> Self {
        match word {
            StateWord::Enabled => Self::Enabled,
            StateWord::DecryptOnly => Self::DecryptOnly,
            StateWord::Disabled => Self::Disabled,
        }
    }
}

/// Sensitivity of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum SensitivityWord {
    /// Handed to authorized workloads for a while, which then work with it by themselves
    Low,
    /// Stays in the service; the data comes to it
    Medium,
    /// Made in an HSM and never outside of it
    High,
}

impl From<SensitivityWord> for Sensitivity {
    fn from(word: SensitivityWord) -> Self {
        match word {
            SensitivityWord::Low => Self::Low,
            SensitivityWord::Medium => Self::Medium,
            SensitivityWord::High => Self::High,
        }
    }
}

/// What can be set of a key.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct SettingsArgs {
    /// Age of the primary version at which the service rotates the key, such as 90d
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) rotate_after: Option<Duration>,
    /// Low sensitivity: how long a handed key is valid, such as 1h
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) lease: Option<Duration>,
    /// Low sensitivity: how long it is valid in all while the service can't be reached, such as 4h
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) outage: Option<Duration>,
    /// Low sensitivity: how often its holder may protect something before asking again
    #[arg(long, value_name = "N")]
    pub(crate) lease_uses: Option<u64>,
    /// Allow sealed exports; only when the key is made
    #[arg(long)]
    pub(crate) exportable: bool,
}

/// Words of `kms key create`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold kms key create orders --tenant acme --algorithm aes-256-gcm --policy orders.yaml
  blindfold kms key create sessions --tenant acme --algorithm hmac-sha-256 --sensitivity low --rotate-after 7d
  blindfold kms key create releases --tenant acme --algorithm ecdsa-p256-sha-256 --sensitivity high

Without a policy nobody may do anything with the key. The resource that policies see is kms/TENANT/KEY, the action
the name of the operation: encrypt, decrypt, sign, …")]
pub(crate) struct KeyCreateArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// The tenant
    #[arg(long)]
    pub(crate) tenant: String,
    /// Name of the key (a-z 0-9 . _ -)
    pub(crate) name: String,
    /// Algorithm, such as aes-256-gcm, hmac-sha-256, ecdsa-p256-sha-256, rsa-pss-3072-sha-256, ed25519
    #[arg(long, value_parser = algorithm)]
    pub(crate) algorithm: Algorithm,
    /// Where the key material may be
    #[arg(long, value_enum, default_value_t = SensitivityWord::Medium)]
    pub(crate) sensitivity: SensitivityWord,
    /// Policy document (YAML or JSON)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

/// Words of `kms key import`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold kms key import orders --tenant acme --algorithm aes-256-gcm --policy orders.yaml aes.key
  openssl genpkey -algorithm ed25519 -outform DER | blindfold kms key import releases --tenant acme --algorithm ed25519
  blindfold kms key import orders --tenant acme --algorithm aes-256-gcm --token import.token --wrapped aes.wrapped

A secret key is brought as its raw bytes, a private key as PKCS #8 in DER. It is wrapped on this machine, to a public
key that the service makes for this one import. If the key exists, what is brought becomes its next version.")]
pub(crate) struct KeyImportArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// The tenant
    #[arg(long)]
    pub(crate) tenant: String,
    /// Name of the key
    pub(crate) name: String,
    /// Algorithm of the material
    #[arg(long, value_parser = algorithm)]
    pub(crate) algorithm: Algorithm,
    /// The material, in a file of its owner; standard input when absent or -
    #[arg(value_hint = ValueHint::FilePath, conflicts_with_all = ["token", "wrapped"])]
    pub(crate) file: Option<PathBuf>,
    /// Token of `kms key import-parameters`, for material that was wrapped elsewhere
    #[arg(long, requires = "wrapped", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token: Option<PathBuf>,
    /// The wrapped material
    #[arg(long, requires = "token", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) wrapped: Option<PathBuf>,
    /// A new key: where the material may be; it has been outside of an HSM already
    #[arg(long, value_enum, default_value_t = SensitivityWord::Medium)]
    pub(crate) sensitivity: SensitivityWord,
    /// A new key: its policy (YAML or JSON)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    #[command(flatten)]
    pub(crate) revision: RevisionArg,
}

/// How material is wrapped elsewhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum WrappingWord {
    /// HPKE (RFC 9180): X25519, HKDF-SHA256, AES-256-GCM
    Hpke,
    /// RSA-4096 OAEP with SHA-256, then AES key wrap with padding: what HSMs and other services make
    #[value(name = "rsa-4096-oaep-aes-kwp")]
    RsaAesKwp,
}

impl From<WrappingWord> for Wrapping {
    fn from(word: WrappingWord) -> Self {
        match word {
            WrappingWord::Hpke => Self::Hpke,
            WrappingWord::RsaAesKwp => Self::RsaAesKwp,
        }
    }
}

/// Words of `kms key import-parameters`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  blindfold kms key import-parameters orders --tenant acme --algorithm aes-256-gcm --public-key import.der --token import.token
  openssl rand 32 > kek.bin
  openssl pkeyutl -encrypt -pubin -keyform DER -inkey import.der -in kek.bin -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 > aes.wrapped
  openssl enc -e -id-aes256-wrap-pad -iv A65959A6 -K $(xxd -p -c 64 kek.bin) -in aes.key >> aes.wrapped
  blindfold kms key import orders --tenant acme --algorithm aes-256-gcm --token import.token --wrapped aes.wrapped

The public key is for one import of this key, and for some hours.")]
pub(crate) struct ImportParametersArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// The tenant
    #[arg(long)]
    pub(crate) tenant: String,
    /// Name of the key
    pub(crate) name: String,
    /// Algorithm of the material
    #[arg(long, value_parser = algorithm)]
    pub(crate) algorithm: Algorithm,
    /// How the material will be wrapped
    #[arg(long, value_enum, default_value_t = WrappingWord::RsaAesKwp)]
    pub(crate) wrapping: WrappingWord,
    /// Where the public key goes: DER for RSA, 32 bytes for HPKE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) public_key: PathBuf,
    /// Where the token goes, which is sent back with the material
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token: PathBuf,
}

/// Words of `kms key restore`.
#[derive(Args, Debug)]
pub(crate) struct KeyRestoreArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// The tenant that the key goes to
    #[arg(long)]
    pub(crate) tenant: String,
    /// Name of the key; with --secret-key that of the export when absent
    #[arg(long, required_unless_present = "secret_keys")]
    pub(crate) name: Option<String>,
    /// Recovery key that the export is sealed to; repeat for as many as it needs
    #[arg(long = "secret-key", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) secret_keys: Vec<PathBuf>,
    /// The sealed export; standard input when absent or -
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) revision: RevisionArg,
}

/// A whole number and a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or_default();
    let seconds = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        _ => None,
    };
    let parsed = number.parse::<u64>().ok().zip(seconds);
    parsed
        .and_then(|(number, seconds)| number.checked_mul(seconds))
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| "write a whole number and a unit, such as 30s, 15m, 12h or 90d".to_owned())
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    text.parse()
        .map_err(|error: kms_client::algorithm::UnknownAlgorithm| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, seconds) in [("1s", 1), ("15m", 900), ("12h", 43_200), ("90d", 7_776_000)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for bad in [
            "",
            "1",
            "d",
            "0d",
            "-1d",
            "1.5h",
            "1 d",
            "1w",
            "99999999999999999999d",
            "18446744073709551615d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
