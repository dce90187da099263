//! Attestors: what is shown about a workload or its host, verified, then parsed from the same bytes.
//!
//! An identity authority holds one [`Attestors`] for each site, made from the site's rules: the attestors that the site
//! allows and what each of them trusts. [`Attestors::verify`] turns evidence into a [`Vouched`]: a SPIFFE ID, attributes
//! and what single use, sequence and lifetime go with them. Nothing is granted here: the authority asks the site's rules
//! afterwards, and its store decides over single use and sequence.
//!
//! # Guarantees
//!
//! - An attestor looks at facts only after the evidence that holds them was verified, and reads them from the very bytes
//!   that were verified.
//! - All evidence is bound to the key that the document will be issued for; a process on the authority's own host and an
//!   AWS document are not, and say so ([`aws`], [`unix`]).
//! - Every length is held against [`limits`] first. Nothing here does I/O, but for [`unix`], which reads the executable
//!   of its peer, and the machine's side of [`tpm`]. Clock and randomness of verifiers are arguments.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | [`attestor`] | the trait, its context and its answers |
//! | [`attestors`] | the attestors of one site |
//! | [`mapping`] | how facts become a SPIFFE ID and attributes |
//! | [`join_token`], [`voucher`], [`x509`], [`aws`], [`tpm`], [`unix`] | attestors, each with the half of its client |
//! | [`limits`] | every bound of the crate, with its reason |
//!
//! # Not promised
//!
//! Single use: an attestor names what may be used once, the authority's store sees to it.
#![forbid(unsafe_code)]

pub mod attestor;
pub mod attestors;
pub mod aws;
pub mod error;
pub mod join_token;
pub mod limits;
pub mod mapping;
pub mod tpm;
pub mod unix;
pub mod voucher;
pub mod x509;

pub use attestor::{
    Attested, Attestor, Challenge, ChallengeContext, Claim, Context, OpenedChallenge, SingleUse,
};
pub use attestors::{Attestors, Vouched};
pub use error::{AttestError, RuleError};
