//! What went wrong with a token, and whether a new session may help.

use std::path::PathBuf;

use cryptoki::error::{Error, RvError};

use crate::files::FileError;

/// Why a token did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The module is missing or is no PKCS #11 module.
    #[error(
        "can't use the PKCS #11 module {module}: {cause}: install it, or correct `module` in the configuration"
    )]
    Module {
        /// The module.
        module: PathBuf,
        /// Why.
        cause: String,
    },
    /// No token, or several, have that label or serial number.
    #[error(
        "{count} tokens of {module} are named `{token}`, not one (there are: {known}): plug it in or initialize it, or correct `token` in the configuration"
    )]
    Token {
        /// The module.
        module: PathBuf,
        /// What was looked for.
        token: String,
        /// How many there are.
        count: usize,
        /// Labels and serial numbers of those that are there.
        known: String,
    },
    /// The file of the PIN can't be used.
    #[error("can't read the PIN of token `{token}`: {cause}")]
    PinFile {
        /// The token.
        token: String,
        /// Why.
        cause: FileError,
    },
    /// The token does not take the PIN; it is not tried again until its file changes.
    #[error(
        "token `{token}` refused the PIN in {pin_file} ({code}): correct the file; the same PIN is not tried again, since tokens lock themselves after a few wrong ones"
    )]
    Pin {
        /// The token.
        token: String,
        /// The file.
        pin_file: PathBuf,
        /// What the token answered.
        code: String,
    },
    /// A call failed.
    #[error("{call} of token `{token}` answered {code}")]
    Call {
        /// The token.
        token: String,
        /// The function.
        call: String,
        /// What the token answered.
        code: String,
        /// Whether a new session may help.
        lost: bool,
        /// Whether a handle was not known any more.
        stale: bool,
        /// Whether it was about the input, so that a caller who chose the input is to blame.
        input: bool,
    },
    /// No object, or several, have that identifier.
    #[error(
        "token `{token}` has {count} objects `{object}`, not one: it was removed there, or this is another token; restore the token from its maker's backup"
    )]
    Object {
        /// The token.
        token: String,
        /// Identifier of the object, in hexadecimal digits.
        object: String,
        /// How many there are.
        count: usize,
    },
    /// An object is not as it has to be.
    #[error("object `{object}` of token `{token}` is refused: {reason}")]
    Unfit {
        /// The token.
        token: String,
        /// Identifier of the object, in hexadecimal digits.
        object: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The token lacks something.
    #[error("token `{token}` can't do {what}: it lacks {mechanism}")]
    Unsupported {
        /// The token.
        token: String,
        /// What was wanted.
        what: String,
        /// The mechanism that is missing, or its key size.
        mechanism: String,
    },
    /// What was to be opened was not made by this key, or was changed: one form on purpose.
    #[error("not made by this key, or damaged")]
    Unauthentic,
    /// Too many jobs wait already.
    #[error("token `{token}` is behind: {waiting} jobs wait already; try again later")]
    Busy {
        /// The token.
        token: String,
        /// How many wait.
        waiting: usize,
    },
    /// The token did not answer in time.
    #[error("token `{token}` did not answer within {seconds} seconds: see whether it works")]
    TimedOut {
        /// The token.
        token: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A fault of this program.
    #[error("{0}")]
    Internal(&'static str),
}

impl TokenError {
    /// From a call's error.
    #[must_use]
    pub fn from_call(token: &str, error: &Error) -> Self {
        let (call, code, rv) = match error {
            Error::Pkcs11(rv, function) => (format!("C_{function:?}"), ckr(*rv), Some(*rv)),
            other => ("a call".to_owned(), other.to_string(), None),
        };
        Self::Call {
            token: token.to_owned(),
            call,
            code,
            lost: rv.is_some_and(is_lost),
            stale: rv.is_some_and(is_stale),
            input: rv.is_some_and(is_input),
        }
    }

    /// The same failed call again, for the log.
    pub(super) fn copy(&self) -> Self {
        match self {
            Self::Call {
                token,
                call,
                code,
                lost,
                stale,
                input,
            } => Self::Call {
                token: token.clone(),
                call: call.clone(),
                code: code.clone(),
                lost: *lost,
                stale: *stale,
                input: *input,
            },
            _ => Self::Internal("the session was lost"),
        }
    }

    /// A session that can't even tell its state is lost, whatever it answers.
    pub(super) fn with_lost_session(mut self) -> Self {
        if let Self::Call { lost, .. } = &mut self {
            *lost = true;
        }
        self
    }

    /// Whether a new session may help.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        matches!(self, Self::Call { lost: true, .. })
    }

    /// Whether a handle was not known any more.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        matches!(self, Self::Call { stale: true, .. })
    }

    /// Whether the token found fault with the input.
    #[must_use]
    pub const fn is_about_input(&self) -> bool {
        matches!(self, Self::Call { input: true, .. })
    }
}

/// Answers after which the session is of no more use.
const fn is_lost(rv: RvError) -> bool {
    matches!(
        rv,
        RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::UserNotLoggedIn
            | RvError::CryptokiNotInitialized
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::SlotIdInvalid
            | RvError::DeviceError
            | RvError::DeviceRemoved
            | RvError::DeviceMemory
            | RvError::HostMemory
            | RvError::FunctionCanceled
            // A former operation was left half done: only a new session is surely clean.
            | RvError::OperationActive
            | RvError::OperationNotInitialized
    )
}

/// Answers after which the object has to be looked up anew.
const fn is_stale(rv: RvError) -> bool {
    matches!(
        rv,
        RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid | RvError::KeyChanged
    )
}

/// Answers about data of the caller. SoftHSM says `CKR_GENERAL_ERROR` to a wrong tag, so that belongs here too.
const fn is_input(rv: RvError) -> bool {
    matches!(
        rv,
        RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::DataInvalid
            | RvError::DataLenRange
            | RvError::SignatureInvalid
            | RvError::SignatureLenRange
            | RvError::GeneralError
            | RvError::FunctionFailed
            | RvError::ArgumentsBad
    )
}

/// The specification's name of an answer: `DeviceRemoved` is `CKR_DEVICE_REMOVED`.
fn ckr(rv: RvError) -> String {
    let mut name = String::from("CKR");
    for character in format!("{rv:?}").chars() {
        if character.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(character.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn answers_have_the_names_of_the_specification() {
        for (rv, name) in [
            (RvError::DeviceRemoved, "CKR_DEVICE_REMOVED"),
            (RvError::PinIncorrect, "CKR_PIN_INCORRECT"),
            (RvError::VendorDefined(7), "CKR_VENDOR_DEFINED(7)"),
        ] {
            assert_eq!(ckr(rv), name);
        }
    }

    #[test]
    fn lost_sessions_and_bad_input_are_told_apart() {
        let of = |rv| TokenError::from_call("t", &Error::Pkcs11(rv, Function::Decrypt));
        let removed = of(RvError::DeviceRemoved);
        assert!(removed.is_lost() && !removed.is_about_input() && !removed.is_stale());
        let tag = of(RvError::EncryptedDataInvalid);
        assert!(!tag.is_lost() && tag.is_about_input() && !tag.is_stale());
        let gone = of(RvError::KeyHandleInvalid);
        assert!(!gone.is_lost() && gone.is_stale());
        assert_eq!(
            removed.to_string(),
            "C_Decrypt of token `t` answered CKR_DEVICE_REMOVED"
        );
    }
}
