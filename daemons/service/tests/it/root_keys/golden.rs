//! Key slots of version 1, made by another program with other libraries: `tests/vectors/root_slots_v1.py`.
//!
//! If this fails, change the code: files of this version are in use.

use base64ct::{Base64, Encoding};
use serde_json::Value;
use service::root_key::{Passphrase, RootKeys, Share, Sources, open_to_change};

use super::{Lab, key_file, write_private};

#[test]
fn key_slots_of_version_1_open_by_every_source() {
    let vector: Value =
        serde_json::from_str(include_str!("../../vectors/root-slots-v1.json")).unwrap();
    let text = |name: &str| vector[name].as_str().unwrap().to_owned();
    let lab = Lab::new(key_file);
    write_private(&lab.slots(), vector["document"].to_string().as_bytes());
    write_private(&lab.path("kek"), text("key_file").as_bytes());

    let keys = RootKeys::load(&lab.with_key_file()).unwrap();
    assert_eq!(
        keys.newest().to_string(),
        vector["document"]["body"]["newest"]
    );
    let row = Base64::decode_vec(&text("row")).unwrap();
    assert_eq!(keys.unwrap(b"row", &row).unwrap().as_slice(), b"secret");
    assert!(!keys.is_newest(&row));

    let passphrase = Passphrase::Typed(text("passphrase").into_bytes().into());
    let shares = |left_out: usize| -> Vec<Share> {
        let lines = vector["shares"].as_array().unwrap().iter().enumerate();
        lines
            .filter(|(index, _)| *index != left_out)
            .map(|(_, line)| Share::parse(line.as_str().unwrap()).unwrap())
            .collect()
    };
    let mut sources = vec![Sources {
        passphrase: Some(passphrase),
        ..Sources::default()
    }];
    sources.extend((0..3).map(|left_out| Sources {
        shares: shares(left_out),
        ..Sources::default()
    }));
    for sources in sources {
        let unlocked = open_to_change(&lab.slots(), &sources).unwrap();
        assert_eq!(unlocked.newest(), Some(keys.newest()));
    }
}
