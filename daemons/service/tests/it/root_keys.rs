//! Root keys under several sources: files of key slots, custodians, rotation.

mod custodians;
mod golden;
mod hsm;
mod slots;

use std::path::{Path, PathBuf};

use service::{
    config::{CustodiansConfig, RootKeyConfig},
    root_key::{self, NewSlots, Passphrase, Share, Sources, open_to_change},
};

/// The least memory that is taken, so that tests are quick.
const MEMORY_KIB: u32 = 19 << 10;
const PASSPHRASE: &[u8] = b"six random words are long enough";

/// A folder with a file of key slots.
struct Lab {
    folder: tempfile::TempDir,
    shares: Vec<Share>,
}

impl Lab {
    /// With the slots that `new` makes of the folder.
    fn new(new: impl FnOnce(&Path) -> NewSlots) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prepared =
            root_key::create(&folder.path().join("slots"), None, &new(folder.path())).unwrap();
        let shares = again(&prepared.shares);
        prepared.commit().unwrap();
        Self { folder, shares }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn slots(&self) -> PathBuf {
        self.path("slots")
    }

    /// A configuration without any source.
    fn config(&self) -> RootKeyConfig {
        RootKeyConfig::at(self.slots())
    }

    fn with_key_file(&self) -> RootKeyConfig {
        RootKeyConfig {
            key_file: Some(self.path("kek").into()),
            ..self.config()
        }
    }

    fn with_custodians(&self) -> RootKeyConfig {
        RootKeyConfig {
            custodians: Some(CustodiansConfig {
                socket: self.path("unseal.sock").into(),
            }),
            ..self.config()
        }
    }

    /// Changes the file with its key file.
    fn change(&self) -> root_key::Unlocked {
        open_to_change(&self.slots(), &self.sources()).unwrap()
    }

    fn sources(&self) -> Sources {
        Sources {
            key_file: Some(self.path("kek")),
            ..Sources::default()
        }
    }
}

/// The same shares once more: they are not copied but by their text.
fn again<'a>(shares: impl IntoIterator<Item = &'a Share>) -> Vec<Share> {
    shares
        .into_iter()
        .map(|share| Share::parse(&share.expose_line()).unwrap())
        .collect()
}

fn key_file(folder: &Path) -> NewSlots {
    NewSlots {
        key_file: Some(folder.join("kek")),
        ..NewSlots::default()
    }
}

fn passphrase() -> Passphrase {
    Passphrase::Typed(PASSPHRASE.to_vec().into())
}

fn custodians(threshold: u8) -> NewSlots {
    NewSlots {
        custodians: Some((
            threshold,
            ["alice", "bob", "carol"].map(str::to_owned).into(),
        )),
        ..NewSlots::default()
    }
}

fn write_private(path: &Path, bytes: &[u8]) {
    let _ = std::fs::remove_file(path);
    service::files::create_new(path, bytes, service::files::MODE_SECRET).unwrap();
}
