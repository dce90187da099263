//! Loaded modules, their tokens, and logging in.
//!
//! A module is loaded and initialized once a process: PKCS #11 counts the process as one application, and finalizing it
//! would end the sessions of everybody else in it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::MechanismType,
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{TokenConfig, TokenError};
use crate::{files, limits};

/// Modules of this process.
static MODULES: Mutex<Option<HashMap<PathBuf, Pkcs11>>> = Mutex::new(None);

/// PINs that tokens refused, by module and token.
type RefusedPins = HashMap<(PathBuf, String), Zeroizing<Vec<u8>>>;

/// One login at a time, and the PIN that a token refused: tokens count wrong ones.
static LOGINS: Mutex<Option<RefusedPins>> = Mutex::new(None);

/// Why a token is not logged in to that would be locked by one wrong PIN more.
const FINAL_TRY: &str = "CKF_USER_PIN_FINAL_TRY: one wrong PIN more locks the token, so log in by hand with the right one, which sets its count back";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept is whole between any two statements, so a panic elsewhere left nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The module at `path`, loaded and initialized.
fn load(path: &Path) -> Result<Pkcs11, TokenError> {
    let refused = |error: &Error| TokenError::Module {
        module: path.to_owned(),
        cause: match error {
            Error::LibraryLoading(cause) => cause.to_string(),
            other => match TokenError::from_call("", other) {
                TokenError::Call { call, code, .. } => format!("{call} answered {code}"),
                other => other.to_string(),
            },
        },
    };
    let mut modules = lock(&MODULES);
    let modules = modules.get_or_insert_default();
    let module = match modules.get(path) {
        Some(module) => module.clone(),
        None => Pkcs11::new(path).map_err(|error| refused(&error))?,
    };
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
            modules.insert(path.to_owned(), module.clone());
            Ok(module)
        }
        Err(error) => Err(refused(&error)),
    }
}

/// A token that was found.
#[derive(Debug)]
pub(super) struct Found {
    module: Pkcs11,
    slot: Slot,
}

/// Finds the one token that the configuration names.
pub(super) fn find(config: &TokenConfig) -> Result<Found, TokenError> {
    let path: &Path = &config.module;
    let module = load(path)?;
    let failed = |error: Error| TokenError::from_call(&config.token, &error);
    let mut found = Vec::new();
    let mut known = Vec::new();
    for slot in module
        .get_slots_with_initialized_token()
        .map_err(failed)?
        .into_iter()
        .take(limits::PKCS11_SLOTS)
    {
        // A token that was pulled out meanwhile is not the one.
        let Ok(info) = module.get_token_info(slot) else {
            continue;
        };
        known.push(format!("`{}` ({})", info.label(), info.serial_number()));
        if info.label() == config.token || info.serial_number() == config.token {
            found.push(slot);
        }
    }
    match *found.as_slice() {
        [slot] => Ok(Found { module, slot }),
        _ => Err(TokenError::Token {
            module: path.to_owned(),
            token: config.token.clone(),
            count: found.len(),
            known: if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            },
        }),
    }
}

impl Found {
    /// Opens a session that may change objects, logged in as the user.
    pub(super) fn log_in(&self, config: &TokenConfig) -> Result<Session, TokenError> {
        let failed = |error: Error| TokenError::from_call(&config.token, &error);
        let session = self.module.open_rw_session(self.slot).map_err(failed)?;
        let mut refused = lock(&LOGINS);
        let refused = refused.get_or_insert_default();
        let place = (config.module.to_path_buf(), config.token.clone());
        let pin = read_pin(config)?;
        let refusal = |code: String| TokenError::Pin {
            token: config.token.clone(),
            pin_file: config.pin_file.to_path_buf(),
            code,
        };
        if refused
            .get(&place)
            .is_some_and(|wrong| bool::from(wrong.as_slice().ct_eq(pin.as_bytes())))
        {
            return Err(refusal("earlier".to_owned()));
        }
        // What is kept here is forgotten when the process ends, and who starts it again and again would lock the token.
        let info = self.module.get_token_info(self.slot).map_err(failed)?;
        if info.user_pin_final_try() {
            return Err(refusal(FINAL_TRY.to_owned()));
        }
        // A copy of exactly this length, which the box takes over as it is, and wipes.
        let secret = AuthPin::from(String::from(pin.as_str()).into_boxed_str());
        match session.login(UserType::User, Some(&secret)) {
            // Being logged in belongs to the process: another session was first.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                refused.remove(&place);
                Ok(session)
            }
            Err(
                error @ Error::Pkcs11(
                    RvError::PinIncorrect
                    | RvError::PinInvalid
                    | RvError::PinLenRange
                    | RvError::PinLocked
                    | RvError::PinExpired,
                    _,
                ),
            ) => {
                refused.insert(place, Zeroizing::new(pin.as_bytes().to_vec()));
                Err(match TokenError::from_call(&config.token, &error) {
                    TokenError::Call { code, .. } => refusal(code),
                    other => other,
                })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Key sizes that the token offers for a mechanism, in the unit of the mechanism; nothing when it lacks it.
    pub(super) fn key_sizes(&self, mechanism: MechanismType) -> Option<(usize, usize)> {
        self.module
            .get_mechanism_info(self.slot, mechanism)
            .ok()
            .map(|info| (info.min_key_size(), info.max_key_size()))
    }
}

/// The PIN: the first line of its file.
fn read_pin(config: &TokenConfig) -> Result<Zeroizing<String>, TokenError> {
    let cause = |cause| TokenError::PinFile {
        token: config.token.clone(),
        cause,
    };
    let bytes =
        files::read_secret(&config.pin_file, limits::PKCS11_PIN_FILE_BYTES).map_err(cause)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let pin = text.strip_suffix('\n').unwrap_or(text);
    let pin = pin.strip_suffix('\r').unwrap_or(pin);
    if pin.is_empty() || pin.contains('\n') {
        return Err(TokenError::Pin {
            token: config.token.clone(),
            pin_file: config.pin_file.to_path_buf(),
            code: "it is not one line of text".to_owned(),
        });
    }
    Ok(Zeroizing::new(pin.to_owned()))
}
