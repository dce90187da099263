//! The key management service: keys with versions, rotation, policies, and three sensitivities.
#![forbid(unsafe_code)]
