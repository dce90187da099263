//! A sealed value in a few words: what is public about it, and whether it is the same.

use blindfold_core::{Header, Role};
use sha2::{Digest, Sha256};
use wingman_sdk::SealedObject;

/// Bytes of digests that are shown: enough to tell values and policies apart at a glance.
const SHOWN_BYTES: usize = 4;

/// One line: a digest of the whole value, its policy, its keys.
pub(super) fn describe(object: &SealedObject) -> String {
    format!(
        "sealed {} ({})",
        short(object.as_bytes()),
        locks(object.header())
    )
}

/// The locks of an object: policy, keys, threshold, and what else is needed or sufficient.
pub(super) fn locks(header: &Header) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut push = |part: String| {
        if !parts.contains(&part) {
            parts.push(part);
        }
    };
    let shares = || header.locks().iter().filter(|l| l.role() == Role::Share);
    for lock in shares() {
        push(match lock.policy_mode() {
            2 => format!("policy {}", String::from_utf8_lossy(lock.policy_bytes())),
            3 => format!("policy digest {}", hex_start(lock.policy_bytes())),
            _ => match inline_name(lock.policy_bytes()) {
                Some(name) => format!("policy {name}, inline {}", short(lock.policy_bytes())),
                None => format!("policy inline {}", short(lock.policy_bytes())),
            },
        });
    }
    for lock in shares() {
        push(format!(
            "key {} version {} of {}",
            hex_start(lock.key_id().as_bytes()),
            lock.key_version(),
            lock.tenant()
        ));
    }
    if shares().count() > 1 {
        push(format!("{} of {}", header.threshold(), shares().count()));
    }
    for lock in header.locks() {
        let key = hex_start(lock.key_id().as_bytes());
        match lock.role() {
            Role::Share => {}
            Role::Required => push(format!("site key {key}")),
            Role::Recovery => push(format!("recovery key {key}")),
        }
    }
    parts.join(", ")
}

/// The name that an inline policy gives itself.
fn inline_name(document: &[u8]) -> Option<String> {
    let policy: serde_json::Value = serde_json::from_slice(document).ok()?;
    policy
        .get("name")?
        .as_str()
        .map(|name| name.escape_default().to_string())
}

fn short(bytes: &[u8]) -> String {
    hex_start(&Sha256::digest(bytes))
}

fn hex_start(bytes: &[u8]) -> String {
    hex::encode(bytes.get(..SHOWN_BYTES).unwrap_or(bytes))
}
