//! Replays the kept corpus of every target on the stable toolchain.

use std::{fs, path::PathBuf};

/// A target's function and the folder of its corpus.
type Target = (&'static str, fn(&[u8]));

const TARGETS: &[Target] = &[
    ("object", blindfold_fuzz::object),
    ("request", blindfold_fuzz::request),
    ("response", blindfold_fuzz::response),
    ("key_record", blindfold_fuzz::key_record),
    ("signature", blindfold_fuzz::signature),
    ("policy_document", blindfold_fuzz::policy_document),
    ("selector", blindfold_fuzz::selector),
    ("spiffe_id", blindfold_fuzz::spiffe_id),
    (
        "certificate_extension",
        blindfold_fuzz::certificate_extension,
    ),
    ("document", blindfold_fuzz::document),
    ("kms_ciphertext", blindfold_fuzz::kms_ciphertext),
    ("voucher_token", blindfold_fuzz::voucher_token),
    ("aws_document", blindfold_fuzz::aws_document),
    ("tpm_structures", blindfold_fuzz::tpm_structures),
];

#[test]
fn kept_corpus_of_every_target_replays() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for (name, target) in TARGETS {
        let folder = root.join("corpus").join(name);
        let mut replayed = 0_usize;
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            target(&fs::read(&path).unwrap());
            replayed += 1;
        }
        assert!(replayed > 0, "{name} keeps no corpus");
        println!("{name}: {replayed} inputs");
    }
}

#[test]
fn every_target_of_the_manifest_is_replayed() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let declared = manifest.matches("fuzz_targets/").count();
    assert_eq!(declared, TARGETS.len(), "a target is missing from TARGETS");
}
