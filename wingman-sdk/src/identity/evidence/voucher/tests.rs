use std::{fs, os::unix::fs::PermissionsExt};

use ::identity::{SiteName, SpiffeId};

use super::*;

fn ask(voucher: &VoucherFile, key: [u8; 32]) -> Result<String, EvidenceError> {
    let authority: SpiffeId = "spiffe://acme.example/identity-authority".parse().unwrap();
    let site = SiteName::parse("paris").unwrap();
    let request = EvidenceRequest {
        csr_key_sha256: &key,
        site: &site,
        authority: &authority,
        challenge: None,
    };
    match voucher.evidence(&request)? {
        Evidence::Voucher { token } => Ok(token.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn token_is_read_anew_and_shown_for_one_key() {
    let base = tempfile::tempdir().unwrap();
    let file = base.path().join("token");
    let voucher = VoucherFile::new(&file);
    let error = ask(&voucher, [1; 32]).unwrap_err();
    assert!(
        error.may_pass() && error.to_string().contains("token.request"),
        "{error}"
    );
    assert_eq!(voucher.generation(), 0);
    fs::write(&file, " \n").unwrap();
    assert!(
        ask(&voucher, [1; 32])
            .unwrap_err()
            .to_string()
            .contains("empty")
    );
    fs::write(&file, "aaa.bbb.ccc\n").unwrap();
    assert_eq!(ask(&voucher, [1; 32]).unwrap(), "aaa.bbb.ccc");
    assert_eq!(
        ask(&voucher, [1; 32]).unwrap(),
        "aaa.bbb.ccc",
        "a lost answer"
    );
    let error = ask(&voucher, [2; 32]).unwrap_err();
    assert!(
        error.may_pass() && error.to_string().contains("spent"),
        "{error}"
    );
    let before = voucher.generation();
    fs::write(base.path().join("new"), "ddd.eee.fff").unwrap();
    fs::rename(base.path().join("new"), &file).unwrap();
    assert_ne!(voucher.generation(), before);
    assert_eq!(ask(&voucher, [2; 32]).unwrap(), "ddd.eee.fff");
    fs::write(&file, vec![b'a'; 40_000]).unwrap();
    assert!(!ask(&voucher, [3; 32]).unwrap_err().may_pass());
}

#[test]
fn token_swapped_behind_a_link_is_noticed() {
    let base = tempfile::tempdir().unwrap();
    let path = |name: &str| base.path().join(name);
    for (directory, token) in [("one", "a.b.c"), ("two", "d.e.f")] {
        fs::create_dir(path(directory)).unwrap();
        fs::write(path(directory).join("token"), token).unwrap();
    }
    std::os::unix::fs::symlink("one", path("data")).unwrap();
    let voucher = VoucherFile::new(path("data").join("token"));
    let before = voucher.generation();
    std::os::unix::fs::symlink("two", path("next")).unwrap();
    fs::rename(path("next"), path("data")).unwrap();
    assert_ne!(voucher.generation(), before);
    assert_eq!(ask(&voucher, [1; 32]).unwrap(), "d.e.f");
}

#[test]
fn voucher_is_told_the_next_key() {
    let base = tempfile::tempdir().unwrap();
    let voucher = VoucherFile::new(base.path().join("token"));
    let file = base.path().join("token.request");
    let told = || fs::read_to_string(&file).unwrap();
    voucher.expect(&[0xab; 32], true);
    let key = "ab".repeat(32);
    assert_eq!(
        told(),
        format!(r#"{{"public_key_sha256":"{key}","wanted":true}}"#)
    );
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o644, "the voucher may be another user");
    voucher.expect(&[0xab; 32], false);
    assert!(told().contains(r#""wanted":false"#));
    // Not written again while nothing changes.
    let generation = files::generation(&file);
    voucher.expect(&[0xab; 32], false);
    assert_eq!(files::generation(&file), generation);
    // But when another process asked for something else since, or nobody knows of it any more.
    VoucherFile::new(base.path().join("token")).expect(&[0xcd; 32], false);
    voucher.expect(&[0xab; 32], false);
    assert!(told().contains(&key));
    fs::remove_file(&file).unwrap();
    voucher.expect(&[0xab; 32], false);
    assert!(told().contains(&key));
}

#[test]
fn debug_shows_no_token() {
    let base = tempfile::tempdir().unwrap();
    let voucher = VoucherFile::new(base.path().join("token"));
    fs::write(base.path().join("token"), "c2VjcmV0.c2VjcmV0.c2VjcmV0").unwrap();
    ask(&voucher, [1; 32]).unwrap();
    assert!(!format!("{voucher:?}").contains("c2VjcmV0"));
}
