//! Failures of the command: what went wrong, what to do next, and an exit code that says of which kind it is.
//!
//! The codes follow `sysexits.h`, so that scripts can tell a refusal from a broken input or an absent service.

use std::{fmt, io, path::Path, process::ExitCode};

/// Kind of a failure; its number is the exit status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Wrong words on the command line, or a configuration file that is refused.
    Usage = 64,
    /// An object, key, policy or token that is malformed, altered, or does not fit.
    Data = 65,
    /// An input that cannot be read.
    Input = 66,
    /// A service that cannot be reached.
    Unavailable = 69,
    /// Something that should not happen; report it.
    Internal = 70,
    /// An output that cannot be created.
    Output = 73,
    /// Reading or writing failed half-way.
    Io = 74,
    /// A refusal that a later attempt may not meet (rate limit, overload).
    Temporary = 75,
    /// Denied by policy, or by the permissions of a file.
    Denied = 77,
}

impl Kind {
    /// Stable name for `--json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Data => "data",
            Self::Input => "input",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::Output => "output",
            Self::Io => "io",
            Self::Temporary => "temporary",
            Self::Denied => "denied",
        }
    }
}

/// A failure, as the person at the terminal sees it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
    remedy: Option<String>,
}

/// Result of every command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure of `kind`, described by `message` (which holds no secret).
    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
            remedy: None,
        }
    }

    /// Wrong words on the command line.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Input that is refused.
    pub(crate) fn data(message: impl fmt::Display) -> Self {
        Self::new(Kind::Data, message)
    }

    /// An error on `path`, of `kind`.
    pub(crate) fn file(kind: Kind, path: &Path, error: &io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::PermissionDenied {
            Kind::Denied
        } else {
            kind
        };
        let failure = Self::new(kind, format_args!("{}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::NotFound => {
                failure.remedy("check the name, and the folder it is looked for in")
            }
            io::ErrorKind::PermissionDenied => {
                failure.remedy("ask its owner, or run as the user that it belongs to")
            }
            _ => failure,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl fmt::Display) -> Self {
        self.remedy = Some(remedy.to_string());
        self
    }

    /// Puts the place before the message.
    #[must_use]
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// What went wrong.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What to do next, where that is known.
    pub(crate) fn remedy_text(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// The kind, for those who choose by it.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The failure as `--json` shows it.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "error": self.kind.name(), "message": self.message, "remedy": self.remedy,
        })
    }

    /// Prints the failure on standard error and gives the exit code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        if json {
            eprintln!("{}", self.to_json());
        } else {
            eprintln!("blindfold: {self}");
        }
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  {remedy}")?;
        }
        Ok(())
    }
}

/// Adds the kind to errors that have a text of their own.
pub(crate) trait Context<T> {
    /// Turns the error into a failure of `kind`.
    fn kind(self, kind: Kind) -> Outcome<T>;
    /// Turns the error into a failure of `kind` about `what`.
    fn about(self, kind: Kind, what: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: std::error::Error> Context<T> for Result<T, E> {
    fn kind(self, kind: Kind) -> Outcome<T> {
        self.map_err(|error| Failure::new(kind, chain(&error)))
    }

    fn about(self, kind: Kind, what: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure::new(kind, format_args!("{what}: {}", chain(&error))))
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedy_stands_on_a_line_of_its_own() {
        let failure = Failure::data("key is malformed").remedy("ask for the record again");
        assert_eq!(
            failure.to_string(),
            "key is malformed\n  ask for the record again"
        );
        assert_eq!(failure.kind() as u8, 65);
    }
}
