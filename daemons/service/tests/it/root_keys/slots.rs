//! Files of key slots.

use serde_json::Value;
use service::root_key::{
    Kind, NewSlots, Passphrase, RootKey, RootKeyError, RootKeys, Sources, create, describe,
    open_to_change,
};

use super::{Lab, MEMORY_KIB, PASSPHRASE, again, custodians, key_file, passphrase, write_private};

/// A file that a key file, a passphrase and two of three custodians open.
fn three_ways() -> Lab {
    Lab::new(|folder| NewSlots {
        passphrase: Some((passphrase(), MEMORY_KIB)),
        custodians: custodians(2).custodians,
        ..key_file(folder)
    })
}

#[test]
fn every_source_opens_the_same_root_key() {
    let lab = three_ways();
    let by_file = RootKeys::load(&lab.with_key_file()).unwrap();
    assert_eq!(by_file.opened_by(), "key file");
    let wrapped = by_file.wrap(b"row 1", b"secret").unwrap();

    write_private(&lab.path("passphrase"), &[PASSPHRASE, b"\n"].concat());
    let mut config = lab.config();
    config.passphrase_file = Some(lab.path("passphrase").into());
    let by_passphrase = RootKeys::load(&config).unwrap();
    assert_eq!(by_passphrase.opened_by(), "passphrase");
    assert_eq!(
        by_passphrase.unwrap(b"row 1", &wrapped).unwrap().as_slice(),
        b"secret"
    );

    let sources = Sources {
        shares: again([&lab.shares[2], &lab.shares[0]]),
        ..Sources::default()
    };
    let unlocked = open_to_change(&lab.slots(), &sources).unwrap();
    assert_eq!(unlocked.opened_by(), "custodians carol, alice");
    assert_eq!(unlocked.newest(), Some(by_file.newest()));
}

#[test]
fn nothing_opens_without_a_source_of_the_file() {
    let lab = three_ways();
    assert!(matches!(
        RootKeys::load(&lab.config()),
        Err(RootKeyError::Sealed { threshold: 2, .. })
    ));
    RootKey::create(&lab.path("other")).unwrap();
    let mut config = lab.config();
    config.key_file = Some(lab.path("other").into());
    write_private(&lab.path("passphrase"), b"another passphrase of six words");
    config.passphrase_file = Some(lab.path("passphrase").into());
    let refused = RootKeys::load(&config).unwrap_err().to_string();
    assert!(
        refused.contains("key file: it is not the one that the slot was made with")
            && refused.contains("passphrase: it is not the one")
            && refused.contains("custodians: not at hand"),
        "{refused}"
    );
    // One wrong source does not keep the right one from opening.
    let mut config = lab.with_key_file();
    config.passphrase_file = Some(lab.path("passphrase").into());
    RootKeys::load(&config).unwrap();

    let alone = Lab::new(key_file);
    assert!(matches!(
        RootKeys::load(&alone.config()),
        Err(RootKeyError::NotOpened { .. })
    ));
}

#[test]
fn wrong_missing_and_repeated_shares_are_named() {
    let lab = three_ways();
    let other = three_ways();
    let refusal = |shares| {
        let sources = Sources {
            shares,
            ..Sources::default()
        };
        open_to_change(&lab.slots(), &sources)
            .unwrap_err()
            .to_string()
    };
    let [alice, bob, _] = &lab.shares[..] else {
        unreachable!()
    };
    let one = refusal(again([alice]));
    assert!(one.contains("1 of 2 shares given"), "{one}");
    let twice = refusal(again([alice, alice]));
    assert!(
        twice.contains("the share of alice was given already"),
        "{twice}"
    );
    let foreign = refusal(again([&other.shares[0], bob]));
    assert!(
        foreign.contains(&format!(
            "alice belongs to sharing {}",
            other.shares[0].set_name()
        )),
        "{foreign}"
    );
    for message in [one, twice, foreign] {
        for share in lab.shares.iter().chain(&other.shares) {
            assert!(!message.contains(share.expose_line().as_str()));
        }
    }
}

/// Flips every byte of the MAC's input there is, by members: whatever is changed refuses.
#[test]
fn every_change_of_the_file_is_seen() {
    let lab = three_ways();
    let config = lab.with_key_file();
    RootKeys::load(&config).unwrap();
    let text = std::fs::read_to_string(lab.slots()).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut changes = 0;
    for (pointer, value) in leaves(&document, String::new()) {
        let bent = match value {
            Value::String(text) => Value::String(bend(&text)),
            Value::Number(number) => Value::from(number.as_u64().unwrap() + 1),
            other => panic!("{other}"),
        };
        let mut altered = document.clone();
        *altered.pointer_mut(&pointer).unwrap() = bent;
        write_private(&lab.slots(), altered.to_string().as_bytes());
        assert!(RootKeys::load(&config).is_err(), "{pointer} was changed");
        changes += 1;
    }
    assert!(changes > 20, "{changes}");
    // Slots and keys that are left out, doubled, or exchanged; members nobody knows.
    for (pointer, change) in [
        ("/body/slots", "remove"),
        ("/body/slots", "double"),
        ("/body/slots", "reverse"),
        ("/body/keys", "double"),
        ("/body/keys", "remove"),
    ] {
        let mut altered = document.clone();
        let list = altered
            .pointer_mut(pointer)
            .unwrap()
            .as_array_mut()
            .unwrap();
        match change {
            "remove" => drop(list.pop()),
            "double" => list.push(list[0].clone()),
            _ => list.reverse(),
        }
        write_private(&lab.slots(), altered.to_string().as_bytes());
        assert!(RootKeys::load(&config).is_err(), "{pointer} {change}");
    }
    let mut altered = document.clone();
    altered["body"]["more"] = Value::Bool(true);
    write_private(&lab.slots(), altered.to_string().as_bytes());
    assert!(matches!(
        RootKeys::load(&config),
        Err(RootKeyError::Slots { .. })
    ));
    write_private(&lab.slots(), document.to_string().as_bytes());
    RootKeys::load(&config).unwrap();
}

fn leaves(value: &Value, pointer: String) -> Vec<(String, Value)> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| leaves(value, format!("{pointer}/{name}")))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(index, value)| leaves(value, format!("{pointer}/{index}")))
            .collect(),
        leaf => vec![(pointer, leaf.clone())],
    }
}

/// Another text of the same form.
fn bend(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] = match bytes[middle] {
        b'0'..=b'8' | b'a'..=b'e' | b'A'..=b'Y' => bytes[middle] + 1,
        b'9' => b'0',
        b'f'..=b'z' => b'a',
        _ => b'0',
    };
    String::from_utf8(bytes).unwrap()
}

#[test]
fn slots_of_another_file_are_no_use() {
    let (one, two) = (Lab::new(key_file), Lab::new(key_file));
    let read = |lab: &Lab| -> Value {
        serde_json::from_slice(&std::fs::read(lab.slots()).unwrap()).unwrap()
    };
    let (mut first, second) = (read(&one), read(&two));
    first["body"]["slots"] = second["body"]["slots"].clone();
    write_private(&one.slots(), first.to_string().as_bytes());
    let mut config = one.config();
    config.key_file = Some(two.path("kek").into());
    assert!(RootKeys::load(&config).is_err());
}

#[test]
fn damaged_files_are_refused_with_their_name() {
    let lab = Lab::new(key_file);
    for text in [
        "{".repeat(100),
        format!("{{\"body\": {}}}", "[".repeat(5000)),
        "{}".to_owned() + &" ".repeat(100),
        "x".repeat(100),
    ] {
        write_private(&lab.slots(), text.as_bytes());
        let error = RootKeys::load(&lab.with_key_file()).unwrap_err();
        assert!(error.to_string().contains("slots"), "{error}");
    }
    let large = vec![b'{'; service::limits::ROOT_KEY_SLOTS_BYTES + 1];
    write_private(&lab.slots(), &large);
    assert!(matches!(
        RootKeys::load(&lab.with_key_file()),
        Err(RootKeyError::File(_))
    ));
}

#[test]
fn a_bare_key_is_taken_over_and_its_rows_stay_readable() {
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("root.key");
    let old = RootKey::create(&bare).unwrap();
    let wrapped = old.wrap(b"row", b"secret").unwrap();
    let slots = folder.path().join("slots");
    let new = key_file(folder.path());
    create(&slots, Some(RootKey::load(&bare).unwrap()), &new)
        .unwrap()
        .commit()
        .unwrap();
    let mut config = service::config::RootKeyConfig::at(slots.clone());
    config.key_file = Some(folder.path().join("kek").into());
    let keys = RootKeys::load(&config).unwrap();
    assert_eq!(keys.newest(), old.key_id());
    assert_eq!(keys.unwrap(b"row", &wrapped).unwrap().as_slice(), b"secret");
    // The file is never overwritten by another `init`.
    assert!(create(&slots, None, &new).unwrap().commit().is_err());
    // And sources are not silently without use.
    config.path = bare.into();
    assert!(matches!(
        RootKeys::load(&config),
        Err(RootKeyError::Bare(_))
    ));
}

#[test]
fn rotation_keeps_former_keys_until_they_are_retired() {
    let lab = Lab::new(key_file);
    let keys = RootKeys::load(&lab.with_key_file()).unwrap();
    let first = keys.newest();
    let mut changes = keys.subscribe();
    let wrapped = keys.wrap(b"row", b"secret").unwrap();
    assert!(!keys.reload().unwrap(), "nothing changed");

    let second = lab.change().rotate(true).unwrap();
    assert!(keys.reload().unwrap());
    assert_eq!((keys.newest(), keys.ids()), (first, vec![first, second]));
    assert!(!changes.has_changed().unwrap());

    lab.change().activate(second).unwrap();
    assert!(keys.reload().unwrap());
    assert_eq!((keys.newest(), keys.ids()), (second, vec![second, first]));
    assert_eq!(*changes.borrow_and_update(), second);

    // A row is wrapped anew.
    assert!(!keys.is_newest(&wrapped));
    let secret = keys.unwrap(b"row", &wrapped).unwrap();
    let anew = keys.wrap(b"row", &secret).unwrap();
    assert!(keys.is_newest(&anew));

    assert!(matches!(
        lab.change().retire(second),
        Err(RootKeyError::InUse(id)) if id == second
    ));
    lab.change().retire(first).unwrap();
    assert!(matches!(
        lab.change().retire(first),
        Err(RootKeyError::NoSuchKey { .. })
    ));
    assert!(keys.reload().unwrap());
    assert_eq!(keys.ids(), [second]);
    assert_eq!(keys.unwrap(b"row", &anew).unwrap().as_slice(), b"secret");
    assert!(matches!(
        keys.unwrap(b"row", &wrapped),
        Err(RootKeyError::OtherKey { .. })
    ));
    assert_eq!(describe(&lab.slots()).unwrap().revision, 4);
}

#[test]
fn an_older_file_is_not_taken_by_a_running_daemon() {
    let lab = Lab::new(key_file);
    let old = std::fs::read(lab.slots()).unwrap();
    lab.change().rotate(false).unwrap();
    let keys = RootKeys::load(&lab.with_key_file()).unwrap();
    let newest = keys.newest();
    write_private(&lab.slots(), &old);
    assert!(matches!(
        keys.reload(),
        Err(RootKeyError::RolledBack {
            found: 1,
            present: 2,
            ..
        })
    ));
    assert!(!keys.reload().unwrap(), "not tried at every look");
    assert_eq!(keys.newest(), newest);
}

#[test]
fn rekeying_shuts_out_former_custodians() {
    let lab = three_ways();
    let keys = RootKeys::load(&lab.with_key_file()).unwrap();
    let wrapped = keys.wrap(b"row", b"secret").unwrap();
    let former = keys.newest();

    // The passphrase's slot can't be made anew without it.
    let next = NewSlots {
        custodians: Some((2, ["bob", "carol", "dave"].map(str::to_owned).into())),
        ..NewSlots::default()
    };
    let refused = lab.change().rekey(&lab.sources(), &next, &[]).unwrap_err();
    assert!(refused.to_string().contains("passphrase"), "{refused}");
    // Nor with a wrong one.
    let wrong = Sources {
        passphrase: Some(Passphrase::Typed(
            b"another passphrase of six words".to_vec().into(),
        )),
        ..lab.sources()
    };
    assert!(matches!(
        lab.change().rekey(&wrong, &next, &[]),
        Err(RootKeyError::WrongSource)
    ));

    let prepared = lab
        .change()
        .rekey(&lab.sources(), &next, &[Kind::Passphrase])
        .unwrap();
    let fresh = again(&prepared.shares);
    prepared.commit().unwrap();

    // The running daemon follows, and rows move on to a root key of which former custodians know nothing.
    assert!(keys.reload().unwrap());
    assert_ne!(keys.newest(), former);
    assert_eq!(keys.ids().len(), 2);
    assert_eq!(keys.unwrap(b"row", &wrapped).unwrap().as_slice(), b"secret");

    let open = |shares| {
        let sources = Sources {
            shares,
            ..Sources::default()
        };
        open_to_change(&lab.slots(), &sources)
    };
    let refused = open(again(&lab.shares)).unwrap_err().to_string();
    assert!(refused.contains("belongs to sharing"), "{refused}");
    assert_eq!(
        open(again(&fresh[1..])).unwrap().newest(),
        Some(keys.newest())
    );
    let kinds: Vec<_> = describe(&lab.slots())
        .unwrap()
        .sources
        .iter()
        .map(service::root_key::Source::kind)
        .collect();
    assert_eq!(kinds, [Kind::KeyFile, Kind::Custodians]);
}

#[test]
fn one_command_changes_the_file_at_a_time() {
    let lab = Lab::new(key_file);
    let first = lab.change();
    assert!(matches!(
        open_to_change(&lab.slots(), &lab.sources()),
        Err(RootKeyError::Locked(_))
    ));
    first.rotate(false).unwrap();
    lab.change().rotate(false).unwrap();
    assert_eq!(describe(&lab.slots()).unwrap().keys.len(), 3);
}

#[test]
fn impossible_slots_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slots");
    let refusal = |new: NewSlots| create(&path, None, &new).unwrap_err().to_string();
    let of = |threshold, names: &[&str]| NewSlots {
        custodians: Some((threshold, names.iter().map(|n| (*n).to_owned()).collect())),
        ..NewSlots::default()
    };
    let typed = |text: &[u8], memory| NewSlots {
        passphrase: Some((Passphrase::Typed(text.to_vec().into()), memory)),
        ..NewSlots::default()
    };
    for (new, word) in [
        (NewSlots::default(), "no source"),
        (of(1, &["alice", "bob"]), "quorum"),
        (of(3, &["alice", "bob"]), "quorum"),
        (of(2, &["alice", "alice"]), "twice"),
        (of(2, &["alice", "../bob"]), "no name"),
        (typed(b"short", MEMORY_KIB), "passphrase"),
        (typed(PASSPHRASE, 1024), "Argon2id"),
        (typed(PASSPHRASE, u32::MAX), "Argon2id"),
    ] {
        let refused = refusal(new);
        assert!(refused.contains(word), "{refused}");
    }
    assert!(!path.exists());
}

#[test]
fn the_file_holds_no_secret() {
    let lab = three_ways();
    let text = std::fs::read_to_string(lab.slots()).unwrap();
    let kek = std::fs::read_to_string(lab.path("kek")).unwrap();
    assert!(!text.contains(kek.trim()));
    assert!(!text.contains(std::str::from_utf8(PASSPHRASE).unwrap()));
    for share in &lab.shares {
        assert!(!text.contains(share.expose_line().as_str()));
    }
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(lab.slots()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // And is refused when others could have read or written it.
    std::fs::set_permissions(lab.slots(), std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        RootKeys::load(&lab.with_key_file()),
        Err(RootKeyError::File(_))
    ));
}

#[test]
fn debug_of_what_is_open_shows_no_key() {
    let lab = three_ways();
    let unlocked = lab.change();
    let shown = format!(
        "{unlocked:?} {:?} {:?}",
        passphrase(),
        RootKeys::load(&lab.with_key_file()).unwrap()
    );
    let kek = std::fs::read_to_string(lab.path("kek")).unwrap();
    assert!(
        !shown.contains(kek.trim()) && !shown.contains("words"),
        "{shown}"
    );
}
