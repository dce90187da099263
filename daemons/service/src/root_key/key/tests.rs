use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

fn key(folder: &tempfile::TempDir, name: &str) -> RootKey {
    RootKey::load_or_create(&folder.path().join(name)).unwrap()
}

fn private(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    files::create_new(path, bytes, MODE_SECRET).unwrap();
}

#[test]
fn opens_only_with_its_key_context_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (key(&folder, "one"), key(&folder, "two"));
    let wrapped = one.wrap(b"keys/1", b"secret").unwrap();
    assert_eq!(
        one.unwrap(b"keys/1", &wrapped).unwrap().as_slice(),
        b"secret"
    );
    assert!(matches!(
        one.unwrap(b"keys/2", &wrapped),
        Err(RootKeyError::Unauthentic)
    ));
    assert!(matches!(
        one.unwrap(b"", &wrapped),
        Err(RootKeyError::Unauthentic)
    ));
    assert!(matches!(
        two.unwrap(b"keys/1", &wrapped),
        Err(RootKeyError::OtherKey { .. })
    ));
    for bit in 0..wrapped.len() * 8 {
        let mut bent = wrapped.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(
            one.unwrap(b"keys/1", &bent).is_err(),
            "opened, bit {bit} flipped"
        );
    }
    for length in 0..wrapped.len() {
        assert!(
            one.unwrap(b"keys/1", &wrapped[..length]).is_err(),
            "opened, cut to {length}"
        );
    }
    assert!(
        one.unwrap(b"keys/1", &[wrapped.as_slice(), b"x"].concat())
            .is_err()
    );
}

#[test]
fn header_bytes_can_not_become_context() {
    let folder = tempfile::tempdir().unwrap();
    let key = key(&folder, "key");
    let wrapped = key.wrap(b"", b"secret").unwrap();
    assert!(key.unwrap(&wrapped[..HEADER], &wrapped).is_err());
}

#[test]
fn wrapping_twice_gives_different_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let key = key(&folder, "key");
    assert_ne!(key.wrap(b"c", b"s").unwrap(), key.wrap(b"c", b"s").unwrap());
    assert!(
        key.unwrap(b"c", &key.wrap(b"c", b"").unwrap())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn golden_bytes_of_version_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    private(
        &path,
        b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
    );
    let key = RootKey::load(&path).unwrap();
    assert_eq!(key.id(), GOLDEN_ID);
    let wrapped = hex::decode(GOLDEN).unwrap();
    assert_eq!(
        key.unwrap(b"keys/1", &wrapped).unwrap().as_slice(),
        b"secret"
    );
}

const GOLDEN_ID: &str = "d4e4e121955d9fd2";
// Made with another implementation (OpenSSL): magic, version, key ID, nonce, ciphertext of "secret", tag.
const GOLDEN: &str = concat!(
    "42465257",
    "01",
    "d4e4e121955d9fd2",
    "6465666768696a6b6c6d6e6f",
    "f8bcace8c22d",
    "f1aa13ad78734a445a7cf8be7fe2affd"
);

#[test]
fn created_once_reloaded_ever_after() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let first = RootKey::load_or_create(&path).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(fs::read(&path).unwrap().len(), 65);
    let again = RootKey::load_or_create(&path).unwrap();
    again
        .unwrap(b"c", &first.wrap(b"c", b"s").unwrap())
        .unwrap();
    assert!(RootKey::create(&path).is_err());
}

#[test]
fn many_creators_agree_on_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let ids: Vec<_> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| RootKey::load_or_create(&path).unwrap().id()))
            .collect();
        tasks.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn raw_and_hexadecimal_are_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, text) = (folder.path().join("raw"), folder.path().join("text"));
    let bytes: Vec<u8> = (10..42).collect();
    private(&raw, &bytes);
    private(&text, hex::encode(&bytes).as_bytes());
    assert_eq!(
        RootKey::load(&raw).unwrap().id(),
        RootKey::load(&text).unwrap().id()
    );
}

#[test]
fn bad_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    for bad in [
        &b""[..],
        b"short",
        &[b'a'; 31],
        &[b'a'; 33],
        &[b'a'; 63],
        &[b'g'; 64],
        &[b'a'; 66],
    ] {
        private(&path, bad);
        assert!(
            matches!(RootKey::load(&path), Err(RootKeyError::Malformed(_))),
            "{} bytes",
            bad.len()
        );
    }
    for bad in [&[0; 32][..], &[0xff; 32], &[b'0'; 64], &[b'a'; 64]] {
        private(&path, bad);
        assert!(matches!(
            RootKey::load(&path),
            Err(RootKeyError::NotRandom(_))
        ));
    }
    fs::write(&path, hex::encode([7; 32])).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = RootKey::load(&path).unwrap_err();
    assert!(matches!(
        error,
        RootKeyError::File(FileError::TooOpen { .. })
    ));
    // A key that exists but can't be used is never replaced by a new one.
    assert!(RootKey::load_or_create(&path).is_err());
}

#[test]
fn debug_shows_no_key_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let key = RootKey::load_or_create(&path).unwrap();
    let digits = fs::read_to_string(&path).unwrap();
    let shown = format!("{key:?} {key:#?}");
    assert!(shown.contains(&key.id()));
    for window in digits.trim().as_bytes().windows(12) {
        assert!(
            !shown.contains(std::str::from_utf8(window).unwrap()),
            "{shown}"
        );
    }
    assert!(!shown.contains(&format!("{:?}", hex::decode(digits.trim()).unwrap())));
}
