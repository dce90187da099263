//! A sealer's secret key: made, read, and signing.
//!
//! The key is a secret key file of minisign, so that either program signs with the keys of the other; what it makes is
//! checked everywhere by `blindfold-core`, never here.
//!
//! # Not promised
//!
//! That the secret key is wiped from memory: the crate `minisign` keeps copies that it does not wipe. It is read last,
//! and the command ends soon after. A passphrase is wiped here, but not there.

use core::fmt;
use std::{
    io::{self, Read},
    path::Path,
};

use base64ct::{Base64, Encoding as _};
use blindfold_core::{SealerKey, SealerKeys, SealerSignature};
use minisign::{KeyPair, SecretKey, SecretKeyBox};
use zeroize::Zeroizing;

use crate::{
    cli::PassphraseArgs,
    commands::now,
    failure::{Context, Failure, Kind, Outcome},
    files, terminal,
};

/// What the second line of an unprotected secret key begins with: `Ed`, no key derivation, `B2`, in base64.
const PLAIN: &str = "RWQAAEIy";
/// The same of a key under a passphrase: `Ed`, `Sc`, `B2`.
const PROTECTED: &str = "RWRTY0Iy";
/// Bytes of the second line; the last 32 of them are a checksum.
const SECRET_KEY_BYTES: usize = 2 + 2 + 2 + 32 + 8 + 8 + 8 + 64 + CHECKSUM_BYTES;
/// Bytes of the checksum. minisign 0.11 leaves it zero in a key without a passphrase, and its crate refuses that.
const CHECKSUM_BYTES: usize = 32;
/// What keys and signatures of minisign begin with.
pub(crate) const COMMENT: &str = "untrusted comment: ";
/// Longest passphrase: minisign's.
const MAX_PASSPHRASE_BYTES: usize = 1024;
/// Longest comment that is signed: minisign writes up to 8 KiB, and people read one line.
const MAX_COMMENT_BYTES: usize = 1024;

/// A secret key that signs; never printed.
pub(crate) struct SealerSecret(KeyPair);

impl SealerSecret {
    /// Makes a new key, under `passphrase` if there is one; gives the texts of the secret and the public key file.
    pub(crate) fn generate(
        passphrase: Option<&Zeroizing<String>>,
    ) -> Outcome<(Zeroizing<String>, SealerKey)> {
        let (made, protected) = match passphrase {
            None => (KeyPair::generate_unencrypted_keypair(), ""),
            Some(passphrase) => {
                let passphrase = passphrase.as_str().to_owned();
                (
                    KeyPair::generate_encrypted_keypair(Some(passphrase)),
                    "encrypted ",
                )
            }
        };
        let pair = made.about(Kind::Internal, "sealer key")?;
        let comment = format!("blindfold sealer {protected}secret key");
        let file = pair
            .sk
            .to_box(Some(&comment))
            .about(Kind::Internal, "sealer key")?;
        let secret = Self(pair);
        let public = secret.public()?;
        Ok((Zeroizing::new(file.into()), public))
    }

    /// Reads a secret key file, which only its owner may read.
    pub(crate) fn read(path: &Path, passphrase: &PassphraseArgs) -> Outcome<Self> {
        let bytes = files::read_secret(path)?;
        Self::parse(&bytes, &path.display().to_string(), || {
            passphrase_of(passphrase, path)
        })
    }

    /// Parses a secret key file; asks for the passphrase only if it is protected by one.
    pub(crate) fn parse(
        bytes: &[u8],
        name: &str,
        passphrase: impl FnOnce() -> Outcome<Zeroizing<String>>,
    ) -> Outcome<Self> {
        let malformed = || {
            Failure::data(format_args!("{name} is no secret key of a sealer"))
                .remedy("make one with: blindfold key generate --kind sealer")
        };
        let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
        let line = text.lines().nth(1).filter(|_| text.starts_with(COMMENT));
        let line = line.ok_or_else(malformed)?;
        let secret_key = if line.starts_with(PLAIN) {
            plain_key(text, line).ok_or_else(malformed)?
        } else if line.starts_with(PROTECTED) {
            let passphrase = passphrase()?;
            SecretKeyBox::from(text.to_owned())
                .into_secret_key(Some(passphrase.as_str().to_owned()))
                .map_err(|_| {
                    Failure::data(format_args!(
                        "{name} does not open with this passphrase, or was altered"
                    ))
                })?
        } else {
            return Err(malformed());
        };
        let public = minisign::PublicKey::from_secret_key(&secret_key).map_err(|_| malformed())?;
        let secret = Self(KeyPair {
            pk: public,
            sk: secret_key,
        });
        // What can't sign is refused here, not by everybody who gets a signature: the crate checks with the public key.
        secret.public()?;
        let probe = minisign::sign(Some(&secret.0.pk), &secret.0.sk, io::empty(), None, None);
        probe.map_err(|_| malformed())?;
        Ok(secret)
    }

    /// The public key.
    pub(crate) fn public(&self) -> Outcome<SealerKey> {
        SealerKey::parse(&self.0.pk.to_base64()).about(Kind::Data, "sealer key")
    }

    /// Signs all of `reader`; gives the text of the signature's file. `name` and the time are the default `comment`.
    pub(crate) fn sign(
        &self,
        reader: impl Read,
        name: &Path,
        comment: Option<&str>,
    ) -> Outcome<String> {
        let comment = match comment {
            Some(text) => checked_comment(text)?.to_owned(),
            None => {
                let name = name.file_name().unwrap_or_default().to_string_lossy();
                // A name may hold anything but `/`; a comment must not.
                let shown: String = name
                    .chars()
                    .map(|c| if c.is_control() { '?' } else { c })
                    .collect();
                format!("timestamp:{}\tfile:{shown}\thashed", now())
            }
        };
        let untrusted = "signature from blindfold sealer secret key";
        let signature = minisign::sign(
            Some(&self.0.pk),
            &self.0.sk,
            reader,
            Some(&comment),
            Some(untrusted),
        );
        let text = signature.about(Kind::Io, "cannot sign")?.into_string();
        SealerSignature::parse(&text).about(Kind::Internal, "signature")?;
        Ok(text)
    }
}

/// The crate's own type would print the key.
impl fmt::Debug for SealerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealerSecret").finish_non_exhaustive()
    }
}

/// A key without a passphrase, with its checksum or with none.
fn plain_key(text: &str, line: &str) -> Option<SecretKey> {
    let mut bytes = Zeroizing::new([0; SECRET_KEY_BYTES]);
    let decoded = Base64::decode(line, bytes.as_mut_slice()).ok()?;
    let checksum = decoded.last_chunk::<CHECKSUM_BYTES>()?;
    if decoded.len() == SECRET_KEY_BYTES && *checksum == [0; CHECKSUM_BYTES] {
        return SecretKey::from_bytes(decoded).ok();
    }
    let file = SecretKeyBox::from(text.to_owned());
    file.into_unencrypted_secret_key().ok()
}

fn checked_comment(text: &str) -> Outcome<&str> {
    if text.len() > MAX_COMMENT_BYTES || text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Failure::usage(format_args!(
            "a comment is one line of at most {MAX_COMMENT_BYTES} bytes"
        )));
    }
    Ok(text)
}

/// Whether `bytes` are a secret key file of minisign.
pub(crate) fn is_secret(bytes: &[u8]) -> bool {
    let text = str::from_utf8(bytes).unwrap_or_default();
    let line = text.lines().nth(1).filter(|_| text.starts_with(COMMENT));
    line.is_some_and(|line| line.starts_with(PLAIN) || line.starts_with(PROTECTED))
}

/// The public keys in these files.
pub(crate) fn read_signers(paths: &[std::path::PathBuf]) -> Outcome<SealerKeys> {
    let read = |path: &std::path::PathBuf| -> Outcome<SealerKey> {
        let bytes = files::read(path, "sealer key")?;
        if is_secret(&bytes) {
            return Err(
                Failure::data(format_args!("{} is a secret key", path.display())).remedy(
                    "name the public key: blindfold key show SECRET, or the file written beside it",
                ),
            );
        }
        let text = str::from_utf8(&bytes).about(Kind::Data, path.display())?;
        SealerKey::parse(text).about(Kind::Data, path.display())
    };
    paths.iter().map(read).collect()
}

/// The passphrase from its file, or else from the terminal.
fn passphrase_of(args: &PassphraseArgs, key: &Path) -> Outcome<Zeroizing<String>> {
    match &args.passphrase_file {
        Some(path) => read_passphrase(path),
        None => ask(&format!("Passphrase of {}: ", key.display())),
    }
}

/// The passphrase in a file that only its owner may read, without one line end.
pub(crate) fn read_passphrase(path: &Path) -> Outcome<Zeroizing<String>> {
    let bytes = files::read_secret(path)?;
    let text = std::str::from_utf8(&bytes).about(Kind::Data, path.display())?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    checked(line.strip_suffix('\r').unwrap_or(line))
        .map_err(|why| Failure::data(format_args!("{}: {why}", path.display())))
}

/// Asks for a new passphrase on the terminal, twice.
pub(crate) fn ask_new(key: &Path) -> Outcome<Zeroizing<String>> {
    let first = ask(&format!("New passphrase of {}: ", key.display()))?;
    let second = ask("The same again: ")?;
    if *first != *second {
        return Err(Failure::data("the two passphrases differ").remedy("run the command again"));
    }
    Ok(first)
}

fn ask(prompt: &str) -> Outcome<Zeroizing<String>> {
    let answer = terminal::ask(prompt).map_err(|error| {
        Failure::usage(format_args!(
            "no terminal to ask for a passphrase on ({error})"
        ))
        .remedy("put it into a file that only you may read: --passphrase-file FILE")
    })?;
    let answer = std::str::from_utf8(&answer).about(Kind::Data, "passphrase")?;
    checked(answer).map_err(|why| Failure::data(format_args!("passphrase: {why}")))
}

fn checked(passphrase: &str) -> Result<Zeroizing<String>, String> {
    match passphrase.len() {
        0 => Err("it is empty".to_owned()),
        1..=MAX_PASSPHRASE_BYTES if !passphrase.contains(['\n', '\0']) => {
            Ok(Zeroizing::new(passphrase.to_owned()))
        }
        _ => Err(format!(
            "a passphrase is one line of at most {MAX_PASSPHRASE_BYTES} bytes"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_key_is_not_printed() {
        let (file, _) = SealerSecret::generate(None).unwrap();
        let secret =
            SealerSecret::parse(file.as_bytes(), "k", || panic!("it has no passphrase")).unwrap();
        assert_eq!(format!("{secret:?}"), "SealerSecret { .. }");
        // What the crate's own type would have shown.
        assert!(format!("{:?}", secret.0.sk).len() > 100);
    }

    #[test]
    fn protected_key_opens_with_its_passphrase_only() {
        let passphrase = |text: &str| Zeroizing::new(text.to_owned());
        let (file, public) = SealerSecret::generate(Some(&passphrase("right"))).unwrap();
        assert!(is_secret(file.as_bytes()));
        let parse = |text: &str| {
            let text = passphrase(text);
            SealerSecret::parse(file.as_bytes(), "k", || Ok(text))
        };
        assert_eq!(parse("right").unwrap().public().unwrap(), public);
        let error = parse("wrong").unwrap_err();
        assert!(error.to_string().contains("passphrase"), "{error}");
    }

    #[test]
    fn what_is_no_secret_key_is_refused_before_anything_is_asked() {
        let (file, public) = SealerSecret::generate(None).unwrap();
        let altered = file.replacen("RWQAAEIy", "RWQAAEIz", 1);
        let line = file.lines().nth(1).unwrap();
        let cut = format!("{COMMENT}x\n{}\n", &line[..200]);
        // The last bytes of the key, before the checksum.
        let mut bent = line.to_owned();
        bent.replace_range(130..131, if &line[130..131] == "A" { "B" } else { "A" });
        let bent = format!("{COMMENT}x\n{bent}\n");
        // As minisign 0.11 writes it, without a checksum; then with a secret that its public half does not fit.
        let mut bytes = Base64::decode_vec(line).unwrap();
        bytes[SECRET_KEY_BYTES - CHECKSUM_BYTES..].fill(0);
        let bare = |bytes: &[u8]| format!("{COMMENT}x\n{}\n", Base64::encode_string(bytes));
        let parsed = SealerSecret::parse(bare(&bytes).as_bytes(), "k", || panic!("asked"));
        assert_eq!(parsed.unwrap().public().unwrap(), public);
        bytes[70] ^= 1;
        let unfit = bare(&bytes);
        for text in [
            "",
            "x",
            &altered,
            &cut,
            &bent,
            &unfit,
            &public.to_file_text(),
        ] {
            let parsed = SealerSecret::parse(text.as_bytes(), "k", || panic!("asked"));
            assert_eq!(parsed.unwrap_err().kind(), Kind::Data, "{text}");
        }
    }

    #[test]
    fn comments_and_passphrases_are_one_line() {
        assert!(checked_comment("release 7\tby ops").is_ok());
        for bad in ["a\nb", "a\rb", "\u{1b}[2J", &"x".repeat(1025)] {
            assert!(checked_comment(bad).is_err(), "{bad:?}");
        }
        assert_eq!(checked("correct horse").unwrap().as_str(), "correct horse");
        for bad in ["", "a\nb", "a\0b", &"x".repeat(1025)] {
            assert!(checked(bad).is_err(), "{bad:?}");
        }
    }
}
