//! The identity authority over real loopback connections, as its clients see it.

mod administration;
mod hostile;
mod joining;
mod renewing;
mod secrets;
mod sites;
mod support;
