//! The identity of an example, from an identity directory as `blindfold` and `wingman-sdk` keep it.
//!
//! A program that runs longer than a document lives takes its identity from `wingman_sdk::identity::IdentitySource`,
//! which renews it; the connections follow.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use identity::tls::TlsIdentity;
use identity::{IdentityDocument, TrustBundle};

pub(crate) fn identity(directory: &str) -> Result<Arc<TlsIdentity>, Box<dyn Error>> {
    let file = |name: &str| fs::read_to_string(Path::new(directory).join(name));
    let document = IdentityDocument::from_pem(&file("document.pem")?, &file("key.pem")?)?;
    let bundle = TrustBundle::from_json(file("bundle.json")?.as_bytes())?;
    Ok(TlsIdentity::new(document, bundle)?)
}
