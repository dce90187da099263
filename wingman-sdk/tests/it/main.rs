//! The promises of `wingman-sdk`, against servers that really evaluate and really issue.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test by panicking"
)]

mod attesting;
mod clock;
mod config;
mod document_paths;
mod document_properties;
mod documents;
mod events;
mod example;
mod freshness;
mod identity_source;
mod issuing;
mod kms;
mod load_config;
mod load_elsewhere;
mod load_places;
mod open;
mod outage;
mod redaction;
mod retry;
mod rotation;
mod sealed_fields;
mod server;
mod signed;
mod site_key;
mod stream;
mod threshold;
mod threshold_faults;
mod transport;
mod unsealing;
mod world;
