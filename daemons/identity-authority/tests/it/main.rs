//! The identity authority over real loopback connections, as its clients see it.

mod administration;
mod attesting;
mod attribute_change;
mod federation;
mod fleet;
mod hostile;
mod hostile_voucher;
mod hosts;
mod joining;
mod outage;
mod renewing;
mod replicas;
mod revocations;
mod secrets;
mod sites;
mod support;
