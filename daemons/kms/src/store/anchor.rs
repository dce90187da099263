//! What one replica remembers outside of the store: how far it has seen the store come.
//!
//! Whoever can write to the database can put back an older copy of all of it, which is whole and authentic. A replica
//! whose anchor has seen more refuses it. The file is one line of text; it holds no secret:
//!
//! `blindfold-kms-anchor-v1 <store> <incarnation> <epoch> <SHA-256 of the ledger>`
//!
//! # Not promised
//!
//! A replica that starts without an anchor takes the store as it finds it, and remembers it from then on. Whoever can
//! write to this replica's disk as well can set the anchor back.

use std::path::{Path, PathBuf};

use service::files::{self, MODE_SECRET};
use sha2::{Digest as _, Sha256};

use super::{
    StoreError,
    ledger::{Incarnation, Ledger},
    place::StoreId,
};
use crate::limits;

const LABEL: &str = "blindfold-kms-anchor-v1";

/// A state of the store that was seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Seen {
    pub(super) store: StoreId,
    pub(super) incarnation: Incarnation,
    pub(super) epoch: u64,
    ledger: [u8; 32],
}

impl Seen {
    pub(super) fn of(ledger: &Ledger, sealed: &[u8]) -> Self {
        Self {
            store: ledger.store,
            incarnation: ledger.incarnation,
            epoch: ledger.epoch,
            ledger: Sha256::digest(sealed).into(),
        }
    }

    /// Refuses `now` when it is not a later state of the same store.
    pub(super) fn check(&self, now: &Self) -> Result<(), StoreError> {
        let refuse = |why: String| Err(StoreError::RolledBack(why));
        if self.store != now.store {
            return refuse(format!(
                "this replica has worked with store {}, and this is store {}",
                hex::encode(self.store),
                hex::encode(now.store)
            ));
        }
        if self.incarnation != now.incarnation {
            return refuse("a restored backup was accepted elsewhere".to_owned());
        }
        if now.epoch < self.epoch {
            return refuse(format!(
                "it is at epoch {}, and this replica has seen {}",
                now.epoch, self.epoch
            ));
        }
        if now.epoch == self.epoch && now.ledger != self.ledger {
            return refuse(format!(
                "this replica has seen another epoch {}",
                self.epoch
            ));
        }
        Ok(())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        (words.next()? == LABEL).then_some(())?;
        let mut seen = Self {
            store: [0; 16],
            incarnation: [0; 16],
            epoch: 0,
            ledger: [0; 32],
        };
        hex::decode_to_slice(words.next()?, &mut seen.store).ok()?;
        hex::decode_to_slice(words.next()?, &mut seen.incarnation).ok()?;
        seen.epoch = words.next()?.parse().ok()?;
        hex::decode_to_slice(words.next()?, &mut seen.ledger).ok()?;
        words.next().is_none().then_some(seen)
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{LABEL} {} {} {} {}",
            hex::encode(self.store),
            hex::encode(self.incarnation),
            self.epoch,
            hex::encode(self.ledger)
        )
    }
}

/// The file.
#[derive(Clone, Debug)]
pub(super) struct Anchor {
    path: PathBuf,
}

impl Anchor {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// What was seen; none before the first start.
    pub(super) fn read(&self) -> Result<Option<Seen>, StoreError> {
        let bytes = match files::read_secret(&self.path, limits::ANCHOR_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        std::str::from_utf8(&bytes)
            .ok()
            .and_then(Seen::parse)
            .map(Some)
            .ok_or_else(|| {
                StoreError::RolledBack(format!(
                    "{} is no anchor of this program, so it can't be told whether the store is the newest",
                    self.path.display()
                ))
            })
    }

    /// Remembers `seen`, durably.
    pub(super) async fn write(&self, seen: Seen) -> Result<(), StoreError> {
        let path = self.path.clone();
        // The disk may be slow, and others wait on this thread.
        let written = tokio::task::spawn_blocking(move || {
            files::write_atomic(&path, seen.to_string().as_bytes(), MODE_SECRET)
        });
        match written.await {
            Ok(done) => Ok(done?),
            Err(error) => Err(StoreError::Invalid(format!(
                "writing the anchor was cut short: {error}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(epoch: u64) -> Seen {
        let mut ledger = Ledger::new().unwrap();
        (ledger.store, ledger.incarnation, ledger.epoch) = ([1; 16], [2; 16], epoch);
        Seen::of(&ledger, &epoch.to_be_bytes())
    }

    #[test]
    fn later_states_of_the_same_store_pass_and_nothing_else() {
        seen(5).check(&seen(5)).unwrap();
        seen(5).check(&seen(6)).unwrap();
        let refused = |now: &Seen| seen(5).check(now).unwrap_err().to_string();
        assert!(refused(&seen(4)).contains("at epoch 4"));
        assert!(
            refused(&Seen {
                ledger: [0; 32],
                ..seen(5)
            })
            .contains("another epoch 5")
        );
        assert!(
            refused(&Seen {
                incarnation: [9; 16],
                ..seen(9)
            })
            .contains("accepted elsewhere")
        );
        assert!(
            refused(&Seen {
                store: [9; 16],
                ..seen(9)
            })
            .contains("this is store")
        );
    }

    #[tokio::test]
    async fn file_is_remembered_and_a_bent_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchor");
        let anchor = Anchor::new(&path);
        assert_eq!(anchor.read().unwrap(), None);
        anchor.write(seen(7)).await.unwrap();
        assert_eq!(anchor.read().unwrap(), Some(seen(7)));
        let text = seen(7).to_string();
        for bent in [
            "",
            "x\n",
            &text[1..],
            text.trim_end(),
            &format!("{} x\n", text.trim_end()),
            &text.replace(" 7 ", " -7 "),
        ] {
            files::write_atomic(&path, bent.as_bytes(), MODE_SECRET).unwrap();
            assert!(
                matches!(anchor.read(), Err(StoreError::RolledBack(_))),
                "{bent:?}"
            );
        }
    }
}
