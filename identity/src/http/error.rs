//! Why an HTTP exchange failed, told apart by what helps.

use std::{io, time::Duration};

use rustls::CertificateError;

use crate::limits::MAX_SHOWN_CHARACTERS;

/// Reason an exchange with a server of the trust domain failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The URL in the configuration cannot be used.
    #[error("`{url}` is not a usable URL ({why}): write `https://host:port`")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The TLS configuration could not be made from the identity.
    #[error("the identity cannot be used for TLS: obtain a new one")]
    Configuration {
        /// What was wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No connection; nothing was sent.
    #[error("cannot reach {server}: check that it runs and that the URL and the network are right")]
    Unreachable {
        /// The server's URL.
        server: String,
        /// The reason.
        source: io::Error,
    },
    /// The server did not prove the SPIFFE ID that is expected of it; nothing was sent.
    #[error(
        "{server} did not prove to be {expected}, so nothing was sent: check the URL and the expected \
         SPIFFE ID; if both are right, someone may stand in between ({detail})"
    )]
    WrongServer {
        /// The server's URL.
        server: String,
        /// Who it should have been.
        expected: String,
        /// What the verifier said.
        detail: String,
    },
    /// TLS failed otherwise; no request was sent.
    #[error(
        "no TLS connection to {server} ({detail}): check that the URL leads to a Blindfold daemon"
    )]
    Tls {
        /// The server's URL.
        server: String,
        /// What rustls said.
        detail: String,
    },
    /// The server refused this workload's identity document.
    #[error(
        "{server} refused this workload's identity document ({alert}): it may have expired, its site may be \
         disabled, or this machine's clock may be wrong; renew it or join again"
    )]
    IdentityRefused {
        /// The server's URL.
        server: String,
        /// The TLS alert.
        alert: String,
    },
    /// The time for one attempt ran out.
    #[error("{server} did not answer in time ({stage}): it may be overloaded or unreachable")]
    Timeout {
        /// The server's URL.
        server: String,
        /// What was being waited for.
        stage: String,
    },
    /// The connection broke after the request began; whether it took effect is unknown.
    #[error(
        "the connection to {server} broke before its answer was complete: if that goes on, the server may refuse this \
         workload's identity, or fail (its log says which)"
    )]
    Interrupted {
        /// The server's URL.
        server: String,
        /// The reason.
        source: io::Error,
    },
    /// The server refused the request.
    #[error("{server} answered {status}{}", shown(*.status, .code, .message))]
    Status {
        /// The server's URL.
        server: String,
        /// The HTTP status.
        status: u16,
        /// The error code of its body, empty if it has none.
        code: String,
        /// The message of its body, shortened, empty if it has none.
        message: String,
        /// When it says a repetition may succeed.
        retry_after: Option<Duration>,
    },
    /// The answer is of another type than asked for.
    #[error(
        "{server} answered with content type `{found}` instead of `{expected}`: check that the URL leads to the right daemon"
    )]
    ContentType {
        /// The server's URL.
        server: String,
        /// The type asked for.
        expected: &'static str,
        /// The type found, shortened.
        found: String,
    },
    /// The answer is longer than any right one.
    #[error(
        "the answer of {server} is larger than {limit} bytes and was not read: check that the URL leads to the right daemon"
    )]
    TooLarge {
        /// The server's URL.
        server: String,
        /// The greatest size read.
        limit: u64,
    },
    /// The answer is not what the interface says.
    #[error(
        "the answer of {server} cannot be understood ({why}): daemon and library may be of different versions"
    )]
    Malformed {
        /// The server's URL.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// The request could not be written as JSON.
    #[error("the request cannot be encoded ({why})")]
    Request {
        /// What is wrong with it.
        why: String,
    },
}

impl HttpError {
    /// Whether the same request, made anew, may succeed without anybody doing anything.
    ///
    /// A request that changes something may have taken effect: repeat it only if that does no harm.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Interrupted { .. } => true,
            Self::Status { status, .. } => matches!(status, 429 | 500..=599),
            _ => false,
        }
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The error code that the server's body carried, such as `denied`.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Status { code, .. } if !code.is_empty() => Some(code),
            _ => None,
        }
    }
}

/// Sorts what `ureq` says; `expected` is the SPIFFE ID the server had to prove.
pub(super) fn classify(error: ureq::Error, server: &str, expected: &str, limit: u64) -> HttpError {
    let server = server.to_owned();
    match error {
        ureq::Error::Io(error) => classify_io(error, server, expected),
        ureq::Error::Timeout(stage) => HttpError::Timeout {
            server,
            stage: match stage {
                ureq::Timeout::Connect | ureq::Timeout::Resolve => "while connecting",
                _ => "no complete answer",
            }
            .to_owned(),
        },
        ureq::Error::HostNotFound => HttpError::Unreachable {
            server,
            source: io::Error::new(io::ErrorKind::NotFound, "host name not found"),
        },
        ureq::Error::ConnectionFailed => HttpError::Unreachable {
            server,
            source: io::Error::from(io::ErrorKind::NotConnected),
        },
        ureq::Error::BodyExceedsLimit(_) => HttpError::TooLarge { server, limit },
        other => HttpError::Malformed {
            server,
            why: shorten(&other.to_string()),
        },
    }
}

fn classify_io(error: io::Error, server: String, expected: &str) -> HttpError {
    if let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        let detail = shorten(&describe(tls));
        return match tls {
            rustls::Error::AlertReceived(alert) => HttpError::IdentityRefused {
                server,
                alert: format!("{alert:?}"),
            },
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                HttpError::WrongServer {
                    server,
                    expected: expected.to_owned(),
                    detail,
                }
            }
            _ => HttpError::Tls { server, detail },
        };
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::PermissionDenied => HttpError::Unreachable {
            server,
            source: error,
        },
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => HttpError::Timeout {
            server,
            stage: "connection".to_owned(),
        },
        _ => HttpError::Interrupted {
            server,
            source: error,
        },
    }
}

/// What rustls says, without its debug forms.
fn describe(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(reason) = error else {
        return error.to_string();
    };
    match reason {
        CertificateError::Other(other) => other.0.to_string(),
        CertificateError::Expired => {
            "its document has expired, or the clock here is wrong".to_owned()
        }
        CertificateError::NotValidYet => {
            "its document is not valid yet, or the clock here is wrong".to_owned()
        }
        CertificateError::Revoked => {
            "its site is disabled, its instance revoked, or its issuing CA is revoked or not known here yet".to_owned()
        }
        CertificateError::UnknownIssuer => "its document is not of this trust domain".to_owned(),
        other => other.to_string(),
    }
}

/// Text from outside, cut and without control characters, for one line of a log.
pub fn shorten(text: &str) -> String {
    let mut short: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_SHOWN_CHARACTERS)
        .collect();
    if text.chars().nth(MAX_SHOWN_CHARACTERS).is_some() {
        short.push('…');
    }
    short
}

fn shown(status: u16, code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") if matches!(status, 300..=399 | 404 | 405 | 415) => {
            ": check that the URL leads to the right daemon".to_owned()
        }
        ("", "") => String::new(),
        ("", message) => format!(": {message}"),
        (code, "") => format!(" ({code})"),
        (code, message) => format!(" ({code}): {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_text_is_cut_and_has_no_control_characters() {
        let text = format!("a\u{1b}[31m\r\nb{}", "x".repeat(2 * MAX_SHOWN_CHARACTERS));
        let short = shorten(&text);
        assert_eq!(short.chars().count(), MAX_SHOWN_CHARACTERS + 1);
        assert!(!short.chars().any(char::is_control));
    }

    #[test]
    fn only_passing_failures_may_pass() {
        let status = |status| HttpError::Status {
            server: String::new(),
            status,
            code: String::new(),
            message: String::new(),
            retry_after: None,
        };
        assert!(status(503).may_pass() && status(500).may_pass() && status(429).may_pass());
        assert!(!status(400).may_pass() && !status(403).may_pass() && !status(404).may_pass());
        let io = |kind| {
            classify(
                ureq::Error::Io(io::Error::from(kind)),
                "https://a",
                "spiffe://a/b",
                1,
            )
        };
        assert!(io(io::ErrorKind::ConnectionRefused).may_pass());
        assert!(io(io::ErrorKind::UnexpectedEof).may_pass());
        assert!(
            !classify(
                ureq::Error::BodyExceedsLimit(9),
                "https://a",
                "spiffe://a/b",
                1
            )
            .may_pass()
        );
    }
}
