//! How a new object is locked: as the words of a command say, as a rule says, or as another object is.

use std::path::PathBuf;

use blindfold_core::{
    AuthorityKey, Dem, Header, Lock, LockSpec, PinnedKeys, PolicyName, PolicyRef, Purpose, Role,
    SealError, SealOptions, Sealer, Window,
};

use crate::{
    cli::{Cipher, LockArgs, PolicyChoice},
    commands::{
        policy_file,
        seal::{canonical, check_fingerprints, read_keys},
    },
    failure::{Context, Failure, Kind, Outcome, chain},
};

/// What to lock with, as files and names; nothing is read yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// Public records of the unsealing authorities.
    pub(crate) keys: Vec<PathBuf>,
    /// Fingerprints, in hexadecimal; every key must be among them where there is any.
    pub(crate) fingerprints: Vec<String>,
    /// The policy.
    pub(crate) policy: Option<PolicyPlace>,
    /// How many authorities are needed.
    pub(crate) threshold: u8,
    /// Public records of site keys.
    pub(crate) site_locks: Vec<PathBuf>,
    /// Public records of recovery keys.
    pub(crate) recovery: Vec<PathBuf>,
    /// First day, `YYYY-MM-DD`.
    pub(crate) not_before: Option<String>,
    /// Last day, `YYYY-MM-DD`.
    pub(crate) not_after: Option<String>,
    /// Payload cipher.
    pub(crate) cipher: Cipher,
    /// Whether the length is not rounded up.
    pub(crate) no_pad: bool,
}

/// Where a policy is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum PolicyPlace {
    /// A document that is sealed in whole.
    Inline(PathBuf),
    /// A document of which the digest is sealed in.
    DigestOf(PathBuf),
    /// A name.
    Name(String),
}

impl PolicyPlace {
    /// The policy that the words name, if any does.
    pub(crate) fn of(choice: &PolicyChoice) -> Option<Self> {
        let inline = choice.policy.clone().map(Self::Inline);
        let digest = choice.policy_digest_of.clone().map(Self::DigestOf);
        inline
            .or(digest)
            .or(choice.policy_name.clone().map(Self::Name))
    }

    /// Reads the policy.
    pub(crate) fn read(&self) -> Outcome<PolicyRef> {
        Ok(match self {
            Self::Inline(path) => PolicyRef::Inline(canonical(&policy_file(path)?)?),
            Self::DigestOf(path) => PolicyRef::Digest(*canonical(&policy_file(path)?)?.digest()),
            Self::Name(name) => PolicyRef::Name(
                name.parse::<PolicyName>()
                    .about(Kind::Usage, format_args!("policy name {name:?}"))?,
            ),
        })
    }
}

impl From<&LockArgs> for Choice {
    fn from(args: &LockArgs) -> Self {
        Self {
            keys: args.keys.clone(),
            fingerprints: args.fingerprints.clone(),
            policy: PolicyPlace::of(&args.policy),
            threshold: args.threshold,
            site_locks: args.site_locks.clone(),
            recovery: args.recovery.clone(),
            not_before: args.not_before.clone(),
            not_after: args.not_after.clone(),
            cipher: args.cipher,
            no_pad: args.no_pad,
        }
    }
}

/// Locks and settings of new objects.
#[derive(Clone, Debug)]
pub(crate) struct Locks {
    specs: Vec<LockSpec>,
    threshold: u8,
    dem: Dem,
    padded: bool,
}

impl Locks {
    /// Reads every file that `choice` names.
    pub(crate) fn of(choice: &Choice) -> Outcome<Self> {
        let keys = read_keys(&choice.keys)?;
        let site_locks = read_keys(&choice.site_locks)?;
        let recovery = read_keys(&choice.recovery)?;
        check_fingerprints(
            &choice.fingerprints,
            keys.iter().chain(&site_locks).chain(&recovery),
        )?;
        let Some(policy) = &choice.policy else {
            return Err(Failure::usage("no policy is given")
                .remedy("name one: --policy FILE, --policy-name NAME or --policy-digest-of FILE"));
        };
        let policy = policy.read()?;
        let window = Window::new(
            day(choice.not_before.as_deref())?,
            day(choice.not_after.as_deref())?,
        )
        .about(Kind::Usage, "not-before and not-after")?;

        let mut specs: Vec<LockSpec> = keys
            .iter()
            .map(|key| LockSpec::share(key, policy.clone(), window))
            .collect();
        specs.extend(site_locks.iter().map(LockSpec::required_static));
        for key in &recovery {
            if key.purpose() != Purpose::StaticLock {
                return Err(
                    Failure::usage(format_args!("{} is no static key", key.authority()))
                        .remedy("make a recovery key with: blindfold key generate --kind site"),
                );
            }
            specs.push(LockSpec::recovery_static(key));
        }
        Ok(Self {
            specs,
            threshold: choice.threshold,
            dem: match choice.cipher {
                Cipher::Aes256GcmSiv => Dem::Aes256GcmSiv,
                Cipher::Chacha20Poly1305 => Dem::ChaCha20Poly1305,
            },
            padded: !choice.no_pad,
        })
    }

    /// The locks and settings of an object whose keys are all among `keys`.
    pub(crate) fn like(header: &Header, keys: &PinnedKeys) -> Outcome<Self> {
        Self::like_but(header, keys, |_| (None, None))
    }

    /// As [`Locks::like`], with another key or another policy for those locks to which `other` gives one.
    pub(crate) fn like_but<'a>(
        header: &Header,
        keys: &'a PinnedKeys,
        mut other: impl FnMut(&Lock) -> (Option<&'a AuthorityKey>, Option<&'a PolicyRef>),
    ) -> Outcome<Self> {
        let specs = header.locks().iter().map(|lock| {
            let id = lock.key_id();
            let (other_key, other_policy) = other(lock);
            let Some(key) = other_key.or_else(|| keys.get(&id)) else {
                return Err(Failure::data(format_args!("the record of the key {id} (tenant {}, version {}) is not at hand", lock.tenant(), lock.key_version()))
                    .remedy("name the key's public record: --key FILE, a rule's `keys`, or `pinned_keys` in the workload's configuration"));
            };
            let policy = match other_policy {
                Some(policy) => Some(policy.clone()),
                None => lock.policy().about(Kind::Data, "policy of a lock")?,
            };
            let window = lock.window();
            Ok(match (lock.role(), policy) {
                (Role::Share, Some(policy)) => LockSpec::share(key, policy, window),
                (Role::Required, Some(policy)) => LockSpec::required_policy(key, policy, window),
                (Role::Recovery, Some(policy)) => LockSpec::recovery_policy(key, policy, window),
                (Role::Required, None) => LockSpec::required_static(key),
                (Role::Recovery, None) => LockSpec::recovery_static(key),
                (Role::Share, None) => return Err(Failure::data("a share without a policy")),
            })
        });
        Ok(Self {
            specs: specs.collect::<Outcome<_>>()?,
            threshold: header.threshold(),
            dem: header.dem(),
            padded: header.is_padded(),
        })
    }

    /// A sealer of objects with these locks.
    pub(crate) fn sealer(&self, label: &str, ext_aad: Option<Vec<u8>>) -> Outcome<Sealer> {
        let mut options = SealOptions::new()
            .threshold(self.threshold)
            .dem(self.dem)
            .pad(self.padded)
            .label(label);
        if let Some(ext_aad) = ext_aad {
            options = options.ext_aad(ext_aad);
        }
        Sealer::new(self.specs.clone(), options).map_err(|e| refused(&e))
    }
}

fn refused(error: &SealError) -> Failure {
    let name = error
        .name()
        .map(|name| format!(" ({name})"))
        .unwrap_or_default();
    Failure::data(format_args!("cannot seal: {}{name}", chain(error)))
}

/// Days since 1970-01-01 UTC of a date; 0 for none.
fn day(date: Option<&str>) -> Outcome<u32> {
    let Some(text) = date else { return Ok(0) };
    let date: jiff::civil::Date = text.parse().about(
        Kind::Usage,
        format_args!("{text:?} is not a date (YYYY-MM-DD)"),
    )?;
    let epoch = jiff::civil::date(1970, 1, 1);
    let days = date.since(epoch).about(Kind::Usage, "date")?.get_days();
    u32::try_from(days)
        .ok()
        .filter(|days| *days > 0)
        .ok_or_else(|| Failure::usage(format_args!("{text} does not lie after 1970-01-01")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(day(None).unwrap(), 0);
        assert_eq!(day(Some("1970-01-02")).unwrap(), 1);
        assert_eq!(day(Some("2026-11-22")).unwrap(), 20_779);
        assert!(day(Some("1970-01-01")).is_err());
        assert!(day(Some("2026-02-30")).is_err());
        assert!(day(Some("tomorrow")).is_err());
    }
}
