//! `blindfold root`: root keys of services, and what opens them.

mod sources;

use std::{
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
};

use serde::Serialize;
use service::root_key::{
    self, Kind as SlotKind, Prepared, RootKey, RootKeyError, RootKeyId, Share, Source, unseal,
};
use zeroize::Zeroizing;

use self::sources::parse_share;
pub(super) use self::sources::{new_slots, sources};
use super::{one, print, print_json};
use crate::{
    cli::{
        RootCommand, RootInitArgs, RootKeyArgs, RootRekeyArgs, RootRotateArgs, RootSlotKind,
        RootUnsealArgs,
    },
    failure::{Context, Failure, Kind, Outcome, chain},
    files, terminal,
};

/// Runs `blindfold root …`.
pub(crate) fn run(command: RootCommand, json: bool) -> Outcome {
    // Root keys and shares pass through this process.
    locked_memory::harden().kind(Kind::Internal)?;
    match command {
        RootCommand::Init(args) => init(&args, json),
        RootCommand::Show { slots } => show(&slots, json),
        RootCommand::Unseal(args) => unseal(&args, json),
        RootCommand::Rotate(args) => rotate(&args, json),
        RootCommand::Activate(args) => activate(&args, json),
        RootCommand::Retire(args) => retire(&args.key, json),
        RootCommand::Rekey(args) => rekey(&args, json),
    }
}

/// What a change did.
#[derive(Serialize)]
pub(super) struct Changed {
    slots: PathBuf,
    /// The root key that the change was about.
    root_key: String,
    /// Files with new shares.
    pub(super) shares: Vec<ShareFile>,
}

#[derive(Serialize)]
pub(super) struct ShareFile {
    holder: String,
    pub(super) file: PathBuf,
}

fn init(args: &RootInitArgs, json: bool) -> Outcome {
    if args.slots.symlink_metadata().is_ok() {
        return Err(Failure::new(
            Kind::Output,
            format_args!("{} exists already", args.slots.display()),
        )
        .remedy("choose another name; `blindfold root rekey` changes an existing file"));
    }
    let from = args.from.as_deref().map(RootKey::load).transpose();
    let new = new_slots(&args.new, &args.hsm)?;
    let prepared = root_key::create(&args.slots, from.map_err(failed)?, &new).map_err(failed)?;
    let changed = keep(prepared, &args.slots, args.new.shares_folder.as_deref())?;
    report(&changed, json, |changed| {
        format!(
            "{}: key slots for root key {}",
            changed.slots.display(),
            changed.root_key
        )
    })
}

fn rekey(args: &RootRekeyArgs, json: bool) -> Outcome {
    let sources = sources(&args.slots, &args.open)?;
    let new = new_slots(&args.new, &args.open.hsm)?;
    let remove: Vec<_> = args.remove.iter().map(|kind| slot_kind(*kind)).collect();
    let unlocked = root_key::open_to_change(&args.slots, &sources).map_err(failed)?;
    let prepared = unlocked.rekey(&sources, &new, &remove).map_err(failed)?;
    let changed = keep(prepared, &args.slots, args.new.shares_folder.as_deref())?;
    report(&changed, json, |changed| {
        format!(
            "{}: new slots; root key {} wraps from now on",
            changed.slots.display(),
            changed.root_key
        )
    })
}

/// Writes the shares, then the slots: what only custodians open is lost without their shares.
pub(super) fn keep(prepared: Prepared, slots: &Path, folder: Option<&Path>) -> Outcome<Changed> {
    let root_key = prepared.newest().map(|id| id.to_string());
    let sharing = prepared.shares.first().map(Share::set_name);
    let mut shares: Vec<ShareFile> = Vec::new();
    let kept = write_shares(&prepared.shares, folder, &mut shares)
        .and_then(|()| prepared.commit().map_err(failed));
    if let Err(failure) = kept {
        let Some(sharing) = sharing.filter(|_| !shares.is_empty()) else {
            return Err(failure);
        };
        if !may_be_in_force(slots, &sharing) {
            for share in &shares {
                // They belong to slots that were never written.
                let _ = std::fs::remove_file(&share.file);
            }
            return Err(failure);
        }
        return Err(failure.remedy(format_args!(
            "keep the new shares: they open {} if `blindfold root show --json` names the sharing {sharing}",
            slots.display()
        )));
    }
    Ok(Changed {
        slots: slots.to_owned(),
        root_key: root_key.unwrap_or_default(),
        shares,
    })
}

/// Whether the file of key slots may be the one of this sharing: a failure to make it durable comes after it is in place,
/// and nothing else than its shares may open it.
fn may_be_in_force(slots: &Path, sharing: &str) -> bool {
    match root_key::describe(slots) {
        Ok(shown) => shown.sources.iter().any(
            |source| matches!(source, Source::Custodians { sharing: there, .. } if there == sharing),
        ),
        Err(RootKeyError::File(error)) => !error.is_not_found(),
        Err(_) => true,
    }
}

fn write_shares(shares: &[Share], folder: Option<&Path>, written: &mut Vec<ShareFile>) -> Outcome {
    let Some(folder) = folder else {
        return Ok(());
    };
    files::private_folder(folder)?;
    for share in shares {
        let file = folder.join(format!("{}.share", share.holder()));
        let text = share.expose_text();
        files::write(
            Some(&file),
            service::files::MODE_SECRET,
            false,
            text.as_bytes(),
        )?;
        written.push(ShareFile {
            holder: share.holder().to_owned(),
            file,
        });
    }
    Ok(())
}

fn report(changed: &Changed, json: bool, line: impl Fn(&Changed) -> String) -> Outcome {
    one(changed, json, |changed| {
        let mut text = line(changed);
        for share in &changed.shares {
            text.push_str(&format!(
                "\nshare of {}: {}",
                share.holder,
                share.file.display()
            ));
        }
        if !changed.shares.is_empty() {
            text.push_str(
                "\nGive each share to its custodian over a safe way, and remove it here.",
            );
        }
        text
    })
}

fn show(slots: &Path, json: bool) -> Outcome {
    let shown = root_key::describe(slots).map_err(failed)?;
    if json {
        return print_json(&shown);
    }
    print(format_args!("revision {}\n", shown.revision))?;
    for (id, created) in &shown.keys {
        let role = if *id == shown.newest {
            "wraps"
        } else {
            "unwraps only"
        };
        print(format_args!("root key {id}, made {created}, {role}\n"))?;
    }
    for source in &shown.sources {
        print(format_args!("opened by {}\n", described(source)))?;
    }
    Ok(())
}

pub(super) fn described(source: &Source) -> String {
    match source {
        Source::KeyFile {} => "a key file".to_owned(),
        Source::Hsm { key } => format!("key {key} of an HSM"),
        Source::Passphrase {
            memory_kib,
            passes,
            lanes,
            ..
        } => format!(
            "a passphrase (Argon2id, {} MiB, {passes} passes, {lanes} lanes)",
            memory_kib / 1024
        ),
        Source::Custodians {
            threshold, holders, ..
        } => {
            let names: Vec<_> = holders.iter().map(|holder| holder.name.as_str()).collect();
            format!("{threshold} custodians of {}", names.join(", "))
        }
        other => other.kind().name().to_owned(),
    }
}

fn rotate(args: &RootRotateArgs, json: bool) -> Outcome {
    let sources = sources(&args.slots, &args.open)?;
    let unlocked = root_key::open_to_change(&args.slots, &sources).map_err(failed)?;
    let id = unlocked.rotate(args.stage).map_err(failed)?;
    report(&changed(&args.slots, id), json, |changed| {
        if args.stage {
            format!(
                "root key {} was added; activate it once every replica has the file",
                changed.root_key
            )
        } else {
            format!("root key {} wraps from now on", changed.root_key)
        }
    })
}

fn activate(args: &RootKeyArgs, json: bool) -> Outcome {
    let id = root_key_id(&args.id)?;
    let sources = sources(&args.slots, &args.open)?;
    let unlocked = root_key::open_to_change(&args.slots, &sources).map_err(failed)?;
    unlocked.activate(id).map_err(failed)?;
    report(&changed(&args.slots, id), json, |changed| {
        format!("root key {} wraps from now on", changed.root_key)
    })
}

fn retire(args: &RootKeyArgs, json: bool) -> Outcome {
    let id = root_key_id(&args.id)?;
    let sources = sources(&args.slots, &args.open)?;
    let unlocked = root_key::open_to_change(&args.slots, &sources).map_err(failed)?;
    unlocked.retire(id).map_err(failed)?;
    report(&changed(&args.slots, id), json, |changed| {
        format!("root key {} was removed", changed.root_key)
    })
}

fn changed(slots: &Path, id: RootKeyId) -> Changed {
    Changed {
        slots: slots.to_owned(),
        root_key: id.to_string(),
        shares: Vec::new(),
    }
}

fn root_key_id(word: &str) -> Outcome<RootKeyId> {
    RootKeyId::parse(word).ok_or_else(|| {
        Failure::usage(format_args!("{word:?} is no ID of a root key"))
            .remedy("it has 16 hexadecimal digits: see `blindfold root show`")
    })
}

fn unseal(args: &RootUnsealArgs, json: bool) -> Outcome {
    let share;
    let request = if args.status {
        unseal::Request::Status
    } else if args.forget {
        unseal::Request::Forget
    } else {
        share = parse_share(&share_text(args.share.as_deref())?, "share")?;
        unseal::Request::Share(&share)
    };
    let status = unseal::ask(&args.socket, request).map_err(failed)?;
    one(&status, json, |status| {
        if !status.sealed {
            return "the root keys are open".to_owned();
        }
        let given = if status.given.is_empty() {
            "nobody yet".to_owned()
        } else {
            status.given.join(", ")
        };
        format!(
            "sealed: {} of {} shares given, by {given}\ncustodians: {}",
            status.given.len(),
            status.threshold,
            status.holders.join(", ")
        )
    })
}

/// A share from its file, from standard input, or from the terminal.
fn share_text(file: Option<&Path>) -> Outcome<Zeroizing<Vec<u8>>> {
    match file {
        Some(path) if path != Path::new("-") => files::read_secret(path),
        None if std::io::stdin().is_terminal() => {
            terminal::ask("Share (it is not shown): ").about(Kind::Input, "terminal")
        }
        _ => {
            let limit = service::limits::SHARE_FILE_BYTES;
            let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
            std::io::stdin()
                .take(limit as u64 + 1)
                .read_to_end(&mut bytes)
                .about(Kind::Input, "standard input")?;
            Ok(bytes)
        }
    }
}

fn slot_kind(kind: RootSlotKind) -> SlotKind {
    match kind {
        RootSlotKind::KeyFile => SlotKind::KeyFile,
        RootSlotKind::Hsm => SlotKind::Hsm,
        RootSlotKind::Passphrase => SlotKind::Passphrase,
        RootSlotKind::Custodians => SlotKind::Custodians,
    }
}

/// An error of root keys as the person at the terminal sees it.
pub(super) fn failed(error: RootKeyError) -> Failure {
    let (kind, remedy) = match &error {
        RootKeyError::File(error) if error.is_not_found() => (Kind::Input, None),
        RootKeyError::File(_) => (Kind::Denied, None),
        RootKeyError::NotOpened { .. } | RootKeyError::Sealed { .. } => (
            Kind::Denied,
            Some("give a source that it has: --key-file, --passphrase, --hsm-module, or --share"),
        ),
        RootKeyError::Socket { .. } => (
            Kind::Unavailable,
            Some(
                "a service listens there only while it is sealed: see whether it runs, and its log",
            ),
        ),
        RootKeyError::Token(_) => (Kind::Unavailable, None),
        RootKeyError::Locked(_) => (Kind::Temporary, None),
        RootKeyError::BadSlots(_)
        | RootKeyError::InUse(_)
        | RootKeyError::NoSuchKey { .. }
        | RootKeyError::TooMany(_) => (Kind::Usage, None),
        RootKeyError::Memory(_) | RootKeyError::NoRandomness => (Kind::Internal, None),
        _ => (Kind::Data, None),
    };
    let failure = Failure::new(kind, chain(&error));
    match remedy {
        Some(remedy) => failure.remedy(remedy),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use service::root_key::NewSlots;

    use super::*;

    #[test]
    fn shares_of_slots_that_are_in_place_are_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let slots = folder.path().join("root.slots");
        let new = NewSlots {
            custodians: Some((2, vec!["alice".to_owned(), "bob".to_owned()])),
            ..NewSlots::default()
        };
        let prepared = root_key::create(&slots, None, &new).unwrap();
        let sharing = prepared.shares[0].set_name();
        assert!(!may_be_in_force(&slots, &sharing), "not there");
        prepared.commit().unwrap();
        assert!(may_be_in_force(&slots, &sharing));
        let other = root_key::create(&slots, None, &new).unwrap();
        assert!(!may_be_in_force(&slots, &other.shares[0].set_name()));
        // The name is taken: shares that open nothing go.
        let shares = folder.path().join("shares");
        assert!(keep(other, &slots, Some(&shares)).is_err());
        assert_eq!(std::fs::read_dir(&shares).unwrap().count(), 0);
        // Who can't tell keeps them.
        std::fs::write(&slots, "{").unwrap();
        assert!(may_be_in_force(&slots, &sharing));
    }
}
