//! `blindfold ca init`: the key ceremony, and transcripts.

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use identity::{
    TrustDomain,
    issue::{CaCertificate, RootAuthority},
    limits::BACKDATE_SECONDS,
};
use serde::Serialize;
use service::{
    files::{MODE_PUBLIC, MODE_SECRET},
    root_key,
};
use sha2::{Digest, Sha256};

use super::{CERTIFICATE, KEY, SLOTS, TRANSCRIPT, key::KeyFile, refused, show, time};
use crate::{
    cleanup::Unfinished,
    cli::CaInitArgs,
    commands::{
        now, one,
        root::{self, described},
    },
    failure::{Context, Failure, Kind, Outcome},
    files,
};

/// What a ceremony made.
#[derive(Serialize)]
struct Made {
    folder: PathBuf,
    trust_domain: TrustDomain,
    certificate_sha256: String,
    shares: Vec<PathBuf>,
    /// Network interfaces that were up: there should be none.
    networks: Vec<String>,
}

/// Runs `blindfold ca init`.
pub(super) fn run(args: &CaInitArgs, json: bool) -> Outcome {
    let trust_domain =
        TrustDomain::parse(&args.trust_domain).about(Kind::Usage, "--trust-domain")?;
    let folder = args.out.as_path();
    if folder.symlink_metadata().is_ok() {
        return Err(Failure::new(
            Kind::Output,
            format_args!("{} exists already", folder.display()),
        )
        .remedy("name a folder that does not exist: no root is ever overwritten"));
    }
    let networks = networks();
    if !networks.is_empty() {
        eprintln!(
            "blindfold: this machine is on a network ({}): a root made here is as safe as this machine. It is noted in the transcript.",
            networks.join(", ")
        );
    }
    // Asked before anything is made.
    let new = root::new_slots(&args.new, &args.hsm)?;
    let (_, unfinished) = Unfinished::make(|| {
        std::fs::DirBuilder::new().mode(0o700).create(folder)?;
        Ok(folder.to_owned())
    })
    .map_err(|e| Failure::file(Kind::Output, folder, &e))?;
    let made = make(args, &trust_domain, &new, networks);
    if made.is_err() {
        // Shares that were kept meanwhile open nothing.
        let _ = std::fs::remove_dir_all(folder);
    }
    drop(unfinished);
    let (made, certificate) = made?;
    one(&made, json, |made| {
        let mut text = show::certificate_text(&certificate);
        text.push_str(&format!(
            "\n{} holds the root; read the fingerprint aloud, and have {TRANSCRIPT} signed by the witnesses",
            made.folder.display()
        ));
        for share in &made.shares {
            text.push_str(&format!("\nshare: {}", share.display()));
        }
        if !made.shares.is_empty() {
            text.push_str(
                "\nGive each share to its custodian over a safe way, and remove it here.",
            );
        }
        text
    })
}

fn make(
    args: &CaInitArgs,
    trust_domain: &TrustDomain,
    new: &root_key::NewSlots,
    networks: Vec<String>,
) -> Outcome<(Made, CaCertificate)> {
    let folder = args.out.as_path();
    let slots = folder.join(SLOTS);
    let prepared = root_key::create(&slots, None, new).map_err(root::failed)?;
    let keys = prepared.root_keys().map_err(root::failed)?;

    let made_at = now();
    let not_after = made_at.saturating_add(u64::from(args.days).saturating_mul(DAY_SECONDS));
    let root = RootAuthority::create(
        trust_domain,
        made_at.saturating_sub(BACKDATE_SECONDS),
        not_after,
        &mut crate::random::generator(),
    )
    .map_err(|e| refused(&e))?;
    let certificate =
        CaCertificate::root_from_pem(&root.certificate_pem()).map_err(|e| refused(&e))?;
    let key = KeyFile::wrap(&root, &certificate, &keys)?;
    // What was written is what opens: tried while the key is still at hand.
    drop(key.open(&certificate, &keys)?);
    drop(root);
    files::write(Some(&folder.join(KEY)), MODE_SECRET, false, &key.to_json()?)?;
    files::write(
        Some(&folder.join(CERTIFICATE)),
        MODE_PUBLIC,
        false,
        certificate.to_pem().as_bytes(),
    )?;
    let changed = root::keep(prepared, &slots, args.new.shares_folder.as_deref())?;

    let mut transcript = Transcript::new("Key ceremony: the root of a trust domain", made_at);
    transcript.row("Trust domain", trust_domain.as_str());
    transcript.networks(&networks);
    for source in &root_key::describe(&slots).map_err(root::failed)?.sources {
        transcript.row("The key is opened by", &described(source));
    }
    transcript.block("The root", &show::certificate_text(&certificate));
    transcript.block("Its certificate", &certificate.to_pem());
    for name in [CERTIFICATE, KEY, SLOTS] {
        transcript.file(&folder.join(name))?;
    }
    transcript.write(&folder.join(TRANSCRIPT))?;
    let made = Made {
        folder: folder.to_owned(),
        trust_domain: trust_domain.clone(),
        certificate_sha256: hex::encode(certificate.fingerprint()),
        shares: changed.shares.into_iter().map(|share| share.file).collect(),
        networks,
    };
    Ok((made, certificate))
}

/// What was done, in a form that people sign: Markdown that reads as it is.
pub(super) struct Transcript(String);

impl Transcript {
    pub(super) fn new(title: &str, at: u64) -> Self {
        let mut transcript = Self(format!("# {title}\n\n"));
        transcript.row("Time of this machine (UTC)", &time(at));
        transcript.row("Program", concat!("blindfold ", env!("CARGO_PKG_VERSION")));
        let program = std::env::current_exe().and_then(std::fs::read);
        let hash = program.map_or_else(
            |error| format!("not readable: {error}"),
            |bytes| hex::encode(Sha256::digest(bytes)),
        );
        transcript.row("Its SHA-256", &hash);
        transcript
    }

    pub(super) fn row(&mut self, name: &str, value: &str) {
        // Names and values are one line each, so that nothing imitates another row.
        let value: String = value
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        self.0.push_str(&format!("- {name}: {value}\n"));
    }

    pub(super) fn networks(&mut self, networks: &[String]) {
        let text = if networks.is_empty() {
            "none".to_owned()
        } else {
            networks.join(", ")
        };
        self.row("Network interfaces that were up", &text);
    }

    pub(super) fn block(&mut self, title: &str, text: &str) {
        self.0.push_str(&format!(
            "\n## {title}\n\n```text\n{}\n```\n\n",
            text.trim_end()
        ));
    }

    /// A file by its hash, so that what was taken away can be compared.
    pub(super) fn file(&mut self, path: &Path) -> Outcome {
        let bytes = files::read(path, "file")?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.row(
            &format!("SHA-256 of {name}"),
            &hex::encode(Sha256::digest(&*bytes)),
        );
        Ok(())
    }

    pub(super) fn write(mut self, path: &Path) -> Outcome {
        self.0.push_str(WITNESSES);
        files::write(Some(path), MODE_PUBLIC, false, self.0.as_bytes())
    }
}

/// Network interfaces that are up, but the loopback.
pub(super) fn networks() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/class/net") else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            std::fs::read_to_string(entry.path().join("operstate"))
                .is_ok_and(|state| state.trim() == "up")
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

pub(super) const DAY_SECONDS: u64 = 86_400;

const WITNESSES: &str = "
## Witnesses

The fingerprint was read aloud from the screen and compared with this page.

| name | signature | date |
|---|---|---|
|  |  |  |
|  |  |  |
|  |  |  |
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transcript_has_no_rows_but_its_own() {
        let mut transcript = Transcript::new("Test", 1_800_000_000);
        transcript.row("Custodian", "eve\n- Trust domain: evil.example");
        let text = transcript.0;
        assert!(text.starts_with("# Test\n\n- Time of this machine (UTC): 2027-01-15T08:00:00Z\n"));
        assert!(text.contains("- Custodian: eve - Trust domain: evil.example\n"));
        assert!(!text.contains("\n- Trust domain"));
    }
}
