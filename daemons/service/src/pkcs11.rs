//! Tokens (hardware security modules) through PKCS #11: logged-in sessions on worker threads.
//!
//! - [`Token::open`] loads the module and finds the token, logs in once to see that the PIN is right, and starts the worker
//!   threads. Each has one logged-in session of its own, and knows the handles of the objects it has used.
//! - A job that meets a lost session (token removed, session closed, logged out, module finalized by somebody else) is run
//!   again once, on a new session. What a job returns then is its answer.
//! - The queue is bounded: more waiting jobs than [`PKCS11_QUEUE`](crate::limits::PKCS11_QUEUE) are refused ([`TokenError::Busy`]), and so is one
//!   that was not answered in time, so that a hung token holds no caller.
//! - The PIN is read from its file at each login and wiped right after. A PIN that the token refused is not tried again
//!   until the file changes: tokens lock themselves after a few wrong ones. Since a process that starts anew does not know
//!   that, a token that says it is at its last try is left alone until somebody has logged in by hand.
//! - Errors name the call and the token's answer (`CKR_…`), never a secret.
//!
//! | module | gives |
//! |---|---|
//! | [`TokenConfig`] | module, token, file with the PIN |
//! | [`Token`] | the workers; [`Token::run`] and [`Token::run_blocking`] |
//! | [`TokenSession`] | one session, for the time of a job |
//! | [`gcm`] | AES-256-GCM with a committing layout, in the token |
//! | [`template`] | attributes of keys that never leave the token |
//! | [`WrappingKey`] | an AES key of the token that wraps other secrets |
//!
//! # Not promised
//!
//! The module is foreign code in this process. It is never finalized: other parts of the process may be using it.
//!
//! Specification: PKCS #11 Base Specification 3.0 (OASIS), and 2.40.

mod config;
mod error;
pub mod gcm;
mod module;
mod session;
pub mod template;
mod workers;
mod wrapping;

pub use config::TokenConfig;
pub use error::TokenError;
pub use session::TokenSession;
pub use workers::Token;
pub use wrapping::WrappingKey;
