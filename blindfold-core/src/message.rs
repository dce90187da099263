//! Request and response of `POST /pbseal/v1/evaluate`.
//!
//! Parsing is strict and bounded: one exact length per content, no trailing byte. A request is taken
//! in two steps: [`Request::parse`] reads the frame, [`Request::check`] the policy. The elements
//! themselves are decoded only when the request is evaluated, after it was authorized.
//!
//! Specification: PBSEAL, sections 9.8 and 9.9.

mod request;
mod response;

pub(crate) use self::request::UNREAD_REQUEST_ID;
pub use self::request::{CheckedRequest, Request, request_id_or_zero};
pub use self::response::{Outcome, Refusal, Response};

/// Media type of requests and responses.
pub const CONTENT_TYPE: &str = "application/pbseal";
/// Path of the one endpoint.
pub const PATH: &str = "/pbseal/v1/evaluate";

/// Version of both messages.
const VERSION: u8 = 1;

/// Reason a message was refused before its content was looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Does not begin as such a message does.
    #[error("not a PBSEAL message: check the address of the unsealing authority")]
    BadMagic,
    /// Written by a later version of the protocol.
    #[error("the message has a version this program does not know: use a newer one")]
    UnsupportedVersion,
    /// Longer than any message.
    #[error("the message is longer than any valid one")]
    TooLarge,
    /// Ends inside a field.
    #[error("the message is cut short")]
    Truncated,
    /// More bytes than the fields have.
    #[error("the message is followed by other bytes")]
    Trailing,
    /// No element, or more than 256.
    #[error("a message carries 1 to 256 elements")]
    BadCount,
    /// A status this version does not know.
    #[error("the response has an unknown status: use a newer program")]
    BadStatus,
}

impl From<crate::codec::Truncated> for MessageError {
    fn from(_: crate::codec::Truncated) -> Self {
        Self::Truncated
    }
}

impl From<crate::codec::Trailing> for MessageError {
    fn from(_: crate::codec::Trailing) -> Self {
        Self::Trailing
    }
}
