use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
};

use super::*;

const LIMIT: u64 = 100;

/// A credential directory as a service manager makes it, with `site-key` in it.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    set(directory.path(), 0o700);
    fs::write(directory.path().join("site-key"), b"secret").unwrap();
    set(&directory.path().join("site-key"), 0o400);
    directory
}

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn read_in(directory: &tempfile::TempDir, name: &str) -> Result<Vec<u8>, CredentialError> {
    let directory = directory.path().as_os_str().to_owned();
    read_from(Some(directory), name, LIMIT).map(|bytes| bytes.to_vec())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn credential_is_read_from_a_private_directory() {
    let directory = directory();
    assert_eq!(read_in(&directory, "site-key").unwrap(), b"secret");
    for mode in [0o600, 0o400] {
        set(&directory.path().join("site-key"), mode);
        assert_eq!(read_in(&directory, "site-key").unwrap(), b"secret");
    }
}

#[test]
fn directory_that_is_not_set_or_relative_is_named() {
    for unset in [None, Some(OsString::new())] {
        let error = read_from(unset, "site-key", LIMIT).unwrap_err();
        assert!(matches!(error, CredentialError::NoDirectory { .. }));
        let message = error.to_string();
        assert!(
            message.contains("CREDENTIALS_DIRECTORY")
                && message.contains("LoadCredential=site-key"),
            "{message}"
        );
    }
    let error = read_from(Some("run/credentials".into()), "site-key", LIMIT).unwrap_err();
    assert!(matches!(error, CredentialError::Relative { .. }), "{error}");
}

#[test]
fn name_is_never_a_path() {
    let directory = directory();
    let long = "n".repeat(256);
    for name in [
        "",
        ".",
        "..",
        "../site-key",
        "a/b",
        "/etc/passwd",
        "a\nb",
        &long,
    ] {
        let error = read_in(&directory, name).unwrap_err();
        assert!(
            matches!(error, CredentialError::Name { .. }),
            "{name:?}: {error}"
        );
    }
}

#[test]
fn file_that_others_can_touch_is_refused() {
    let directory = directory();
    let file = directory.path().join("site-key");
    for mode in [0o404, 0o402, 0o401, 0o420, 0o410, 0o660, 0o777] {
        set(&file, mode);
        let error = read_in(&directory, "site-key").unwrap_err();
        assert!(
            matches!(&error, CredentialError::Unsafe { mode: found, .. } if *found == mode),
            "{mode:o}: {error}"
        );
        assert!(error.to_string().contains("LoadCredential="), "{error}");
    }
}

/// Where root owns it, systemd's access list for the service's user shows as the group's bits.
#[test]
fn group_may_read_only_what_root_owns() {
    let directory = directory();
    let file = directory.path().join("site-key");
    set(&file, 0o440);
    assert_eq!(read_in(&directory, "site-key").is_ok(), is_root());
    set(&file, 0o400);
    set(directory.path(), 0o750);
    assert_eq!(read_in(&directory, "site-key").is_ok(), is_root());
    set(directory.path(), 0o700);
    assert!(read_in(&directory, "site-key").is_ok());
}

#[test]
fn directory_that_others_can_enter_or_fill_is_refused() {
    let directory = directory();
    for mode in [0o770, 0o720, 0o701, 0o705, 0o1777, 0o755] {
        set(directory.path(), mode);
        let error = read_in(&directory, "site-key").unwrap_err();
        assert!(
            matches!(&error, CredentialError::Unsafe { path, .. } if path == directory.path()),
            "{mode:o}: {error}"
        );
    }
}

#[test]
fn what_another_user_owns_is_refused() {
    let directory = directory();
    let file = directory.path().join("site-key");
    // Only root can give a file away; others see the refusal of a file that they can't read at all.
    let given = chown(&file, Some(65_534), None);
    assert_eq!(given.is_ok(), is_root());
    match read_in(&directory, "site-key") {
        Err(CredentialError::Unsafe { why, owner, .. }) => {
            assert_eq!((why, owner), ("it belongs to another user", 65_534));
        }
        other => assert!(!is_root() && other.is_ok(), "{other:?}"),
    }
}

#[test]
fn links_fifos_and_missing_files_are_refused_and_never_block() {
    let directory = directory();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("key"), b"other").unwrap();
    set(&elsewhere.path().join("key"), 0o600);
    symlink(elsewhere.path().join("key"), directory.path().join("link")).unwrap();
    let error = read_in(&directory, "link").unwrap_err();
    let text = crate::error::Chain(&error).to_string();
    assert!(text.contains("symbolic link"), "{text}");

    let made = std::process::Command::new("mkfifo")
        .args(["-m", "600"])
        .arg(directory.path().join("fifo"))
        .status()
        .unwrap();
    assert!(made.success());
    let error = read_in(&directory, "fifo").unwrap_err();
    assert!(
        matches!(error, CredentialError::File(FileError::NotAFile { .. })),
        "{error}"
    );
    let error = read_in(&directory, "absent").unwrap_err();
    assert!(
        matches!(&error, CredentialError::File(error) if error.is_missing()),
        "{error}"
    );
}

#[test]
fn size_is_bounded() {
    let directory = directory();
    let file = directory.path().join("site-key");
    set(&file, 0o600);
    fs::write(&file, [7; 101]).unwrap();
    let error = read_in(&directory, "site-key").unwrap_err();
    assert!(
        matches!(
            error,
            CredentialError::File(FileError::TooLarge { limit: LIMIT, .. })
        ),
        "{error}"
    );
}
