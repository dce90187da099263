//! A workload of the demo: the process that opens, or tries to.

use std::{collections::BTreeMap, path::Path, process::Output};

use blindfold_core::Sealed as Object;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use wingman_sdk::{Error, ExposeSecret, LoadError, Sealed, SecretString, UnsealerFault, Wingman};

use crate::{
    commands::print_json,
    failure::{Context, Failure, Kind, Outcome, chain},
    files,
};

/// The application's configuration, as an application declares it.
#[derive(Deserialize)]
struct App {
    database: Database,
    tls: Tls,
}

#[derive(Deserialize)]
struct Database {
    password: Sealed<SecretString>,
}

#[derive(Deserialize)]
struct Tls {
    private_key: Sealed<SecretString>,
}

/// The same, as text: where the sealed values stand.
#[derive(Deserialize)]
pub(super) struct Places {
    pub(super) database: Place,
}

/// The database's section.
#[derive(Deserialize)]
pub(super) struct Place {
    pub(super) password: String,
}

/// SHA-256 of what was opened, by place.
pub(super) type Digests = BTreeMap<String, String>;

/// What a workload tells the demo, on one line of standard output. Holds no secret.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Told<O> {
    /// What it opened.
    Opened(O),
    /// Why it opened nothing.
    Refused(Refusal),
}

/// Why a workload opened nothing.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Refusal {
    /// The specification's name of the error.
    pub(super) name: String,
    /// For people.
    pub(super) message: String,
    /// What unsealing authorities answered.
    pub(super) faults: Vec<Fault>,
}

/// What an unsealing authority answered instead of helping.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Fault {
    /// The authority's name.
    pub(super) authority: String,
    /// The specification's name of the error.
    pub(super) name: String,
    /// For people.
    pub(super) message: String,
}

impl Fault {
    pub(super) fn of(fault: &UnsealerFault) -> Self {
        Self {
            authority: fault.authority.clone(),
            name: fault.reason.name().unwrap_or("ERROR").to_owned(),
            message: fault.to_string(),
        }
    }
}

impl Refusal {
    pub(super) fn of(error: &Error) -> Self {
        Self {
            name: error.name().unwrap_or("ERROR").to_owned(),
            message: innermost(error),
            faults: error
                .faults()
                .iter()
                .map(|fault| Fault::of(fault))
                .collect(),
        }
    }
}

impl<O: DeserializeOwned> Told<O> {
    /// Reads the output of a workload's process.
    pub(super) fn read(output: &Output) -> Outcome<Self> {
        let told = serde_json::from_slice(&output.stdout).map_err(|_| {
            super::failed(&format!(
                "a workload said: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ))
        })?;
        let opened = matches!(told, Self::Opened(_));
        super::check(
            opened == output.status.success(),
            "a workload's exit status contradicts its words",
        )?;
        Ok(told)
    }

    pub(super) fn opened(self) -> Outcome<O> {
        match self {
            Self::Opened(opened) => Ok(opened),
            Self::Refused(refusal) => Err(super::failed(&format!("refused: {}", refusal.message))),
        }
    }

    pub(super) fn refused(self) -> Outcome<Refusal> {
        match self {
            Self::Refused(refusal) => Ok(refusal),
            Self::Opened(_) => Err(super::failed("it opened what it must not open")),
        }
    }
}

impl<O: Serialize> Told<O> {
    /// Tells it; a refusal is the failure of the process too.
    pub(super) fn tell(&self) -> Outcome {
        print_json(self)?;
        match self {
            Self::Opened(_) => Ok(()),
            Self::Refused(refusal) => Err(Failure::new(Kind::Denied, &refusal.message)),
        }
    }
}

/// Runs as a workload with the configuration `config`; `app.toml` lies beside it.
pub(super) fn run(config: &Path, rewrite: bool) -> Outcome {
    let (wingman, text) = begin(config)?;
    let result = if rewrite {
        open_rewritten(&wingman, &text)?
    } else {
        open(&wingman, &text)?
    };
    let told = match result {
        Ok(opened) => Told::Opened(opened),
        Err(error) => Told::Refused(Refusal::of(&error)),
    };
    told.tell()
}

/// What every workload has: its wingman, and the application's configuration.
pub(super) fn begin(config: &Path) -> Outcome<(Wingman, String)> {
    let wingman = Wingman::from_config(config).kind(Kind::Usage)?;
    let text = files::read(
        &config.with_file_name("app.toml"),
        "application's configuration",
    )?;
    let text = String::from_utf8(text.to_vec()).about(Kind::Data, "app.toml")?;
    Ok((wingman, text))
}

type Opened = Result<Digests, Error>;

/// What an application does: deserialize, and every sealed value is open.
pub(super) fn open(wingman: &Wingman, text: &str) -> Outcome<Opened> {
    let app = match wingman.load(|| toml::from_str::<App>(text)) {
        Ok(app) => app,
        Err(LoadError::Open(error)) => return Ok(Err(error)),
        Err(error) => return Err(Failure::data(error)),
    };
    let digest = |value: &Sealed<SecretString>| -> Outcome<String> {
        let secret = value.expose().about(Kind::Internal, "opened value")?;
        Ok(hex::encode(Sha256::digest(
            secret.expose_secret().as_bytes(),
        )))
    };
    Ok(Ok(BTreeMap::from([
        (
            "database.password".to_owned(),
            digest(&app.database.password)?,
        ),
        ("tls.private_key".to_owned(), digest(&app.tls.private_key)?),
    ])))
}

/// What a thief with an identity of his own would try: the same object under a policy that allows him.
fn open_rewritten(wingman: &Wingman, text: &str) -> Outcome<Opened> {
    let places: Places = toml::from_str(text).about(Kind::Data, "app.toml")?;
    let object = Object::from_text(&places.database.password).about(Kind::Data, "object")?;
    let identity = wingman.identity().kind(Kind::Internal)?;
    identity
        .obtain()
        .map_err(|e| crate::admin::identity_failure(&e))?;
    let me = identity
        .status()
        .spiffe_id
        .ok_or_else(|| super::failed("the workload has no identity"))?;
    let policy = format!(
        "{{\"rules\":[{{\"effect\":\"allow\",\"principal\":{{\"spiffe_id\":\"{me}\"}}}}],\"v\":1}}"
    );
    let forged = with_policy(&object, policy.as_bytes())?;
    Ok(wingman.open(&forged).map(|_| BTreeMap::new()))
}

/// The object with another inline policy in its one lock; all lengths are made to fit.
fn with_policy(object: &Object, policy: &[u8]) -> Outcome<Object> {
    let bytes = object.as_bytes();
    let lock = object
        .locks()
        .first()
        .ok_or_else(|| super::failed("no lock"))?;
    let old = lock.policy_bytes();
    let at = bytes
        .windows(old.len())
        .position(|window| window == old)
        .ok_or_else(|| super::failed("no policy"))?;
    // Before the policy stand, from its lock's length on: role, suite, key id, tenant, key version, mode, and its own
    // length (section 9.6 of the specification).
    let into_lock = 1 + 2 + 32 + (1 + lock.tenant().len()) + 4 + 1 + 2;
    let lock_length = at
        .checked_sub(into_lock + 2)
        .ok_or_else(|| super::failed("no lock"))?;
    let grown = |old_length: usize| -> Outcome<[u8; 2]> {
        let length = old_length + policy.len() - old.len().min(old_length);
        Ok(u16::try_from(length)
            .about(Kind::Internal, "length")?
            .to_be_bytes())
    };
    let part = |from: usize, to: usize| {
        bytes
            .get(from..to)
            .ok_or_else(|| super::failed("object is short"))
    };
    let length_of = |at: usize| -> Outcome<usize> {
        Ok(part(at, at + 2)?
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte)))
    };
    let mut forged = part(0, lock_length)?.to_vec();
    forged.extend_from_slice(&grown(length_of(lock_length)?)?);
    forged.extend_from_slice(part(lock_length + 2, at - 2)?);
    forged.extend_from_slice(&grown(length_of(at - 2)?)?);
    forged.extend_from_slice(policy);
    forged.extend_from_slice(part(at + old.len(), bytes.len())?);
    Object::parse(&forged).about(Kind::Internal, "rewritten object")
}

/// The last cause: what the person needs to read.
fn innermost(error: &Error) -> String {
    match error {
        Error::Value { source, .. } => innermost(source),
        other => chain(other),
    }
}
