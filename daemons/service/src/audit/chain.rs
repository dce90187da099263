//! The chain of records: a number and the digest of the line before, in front of every line.
//!
//! A line begins `{"seq":N,"prev":"<64 hexadecimal digits>",` and nothing else; `prev` is the SHA-256 of the whole line
//! before, without its line end. The first line of a chain has number 1 and random digits, which tell chains apart. A
//! checkpoint ends in `,"signature":"<Base64>"}`: Ed25519 over [`limits::AUDIT_CHECKPOINT_LABEL`] and the line up to
//! there, which fixes every record before it.

use std::io::Write;

use aws_lc_rs::signature::ED25519_PUBLIC_KEY_LEN;
use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

use super::{AuditUnavailable, signer::Signer};
use crate::limits;

/// Last line of a chain: what the next one continues.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) sha256: [u8; 32],
}

/// Start of a chained line.
pub(crate) const SEQ: &[u8] = br#"{"seq":"#;
const PREV: &[u8] = br#","prev":""#;
/// What separates the signed part of a checkpoint from its signature.
pub(crate) const SIGNATURE: &[u8] = br#","signature":""#;
const _: () = assert!(ED25519_PUBLIC_KEY_LEN == 32);

impl Head {
    /// Before the first line of a new chain.
    pub(crate) fn new_chain() -> Result<Self, AuditUnavailable> {
        let mut sha256 = [0; 32];
        getrandom::fill(&mut sha256).map_err(|_| AuditUnavailable)?;
        Ok(Self { seq: 0, sha256 })
    }

    /// After `line`, which has no line end.
    pub(crate) fn after(seq: u64, line: &[u8]) -> Self {
        Self {
            seq,
            sha256: Sha256::digest(line).into(),
        }
    }

    /// Adds each of `lines` to `out` with its number and the digest of the one before.
    ///
    /// Every line is a JSON object with members, and ends in a line end.
    pub(crate) fn chain(&mut self, out: &mut Vec<u8>, lines: &[u8]) {
        for line in lines.split_inclusive(|b| *b == b'\n') {
            let Some(members) = line.strip_prefix(b"{") else {
                continue;
            };
            let start = self.open(out);
            out.extend_from_slice(members);
            self.close(out, start);
        }
    }

    /// Adds a checkpoint whose members, `{"time":…}`, are `line`.
    pub(crate) fn checkpoint(&mut self, out: &mut Vec<u8>, line: &[u8], signer: &Signer) -> bool {
        let members = line.strip_prefix(b"{").unwrap_or(line);
        let members = members.strip_suffix(b"}\n").unwrap_or(members);
        let start = self.open(out);
        out.extend_from_slice(members);
        let mut signed = limits::AUDIT_CHECKPOINT_LABEL.to_vec();
        signed.extend_from_slice(out.get(start..).unwrap_or_default());
        let Some(signature) = signer.sign(&signed) else {
            out.truncate(start);
            return false;
        };
        out.extend_from_slice(SIGNATURE);
        out.extend_from_slice(Base64::encode_string(&signature).as_bytes());
        out.extend_from_slice(b"\"}\n");
        self.close(out, start);
        true
    }

    fn open(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let mut digits = [0; 64];
        // Two digits for each byte: it always fits, and writing to memory does not fail.
        let _ = hex::encode_to_slice(self.sha256, &mut digits);
        out.extend_from_slice(SEQ);
        let _ = write!(out, "{}", self.seq.saturating_add(1));
        out.extend_from_slice(PREV);
        out.extend_from_slice(&digits);
        out.extend_from_slice(b"\",");
        start
    }

    fn close(&mut self, out: &[u8], start: usize) {
        let line = out.get(start..).unwrap_or_default();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        *self = Self::after(self.seq.saturating_add(1), line);
    }
}

/// The number and the digest in front of a line, and where its other members begin; `None` for any other line.
pub(crate) fn parse(line: &[u8]) -> Option<(u64, [u8; 32], &[u8])> {
    let rest = line.strip_prefix(SEQ)?;
    let digits = rest
        .iter()
        .take(20)
        .take_while(|b| b.is_ascii_digit())
        .count();
    let (number, rest) = rest.split_at_checked(digits)?;
    if number.first() == Some(&b'0') {
        return None;
    }
    let seq = std::str::from_utf8(number).ok()?.parse().ok()?;
    let (digest, rest) = rest.strip_prefix(PREV)?.split_at_checked(64)?;
    let mut prev = [0; 32];
    if digest.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    hex::decode_to_slice(digest, &mut prev).ok()?;
    Some((seq, prev, rest.strip_prefix(b"\",")?))
}

/// The signed part of a checkpoint and its signature.
pub(crate) fn parse_checkpoint(line: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    // A signature of 64 bytes has 88 digits.
    let rest = line.strip_suffix(b"\"}")?;
    let (signed, digits) = rest.split_at_checked(rest.len().checked_sub(88)?)?;
    let signed = signed.strip_suffix(SIGNATURE)?;
    let signature = Base64::decode_vec(std::str::from_utf8(digits).ok()?).ok()?;
    Some((signed, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_names_its_number_and_the_digest_of_the_one_before() {
        let mut head = Head {
            seq: 8,
            sha256: [0xab; 32],
        };
        let mut out = Vec::new();
        head.chain(&mut out, b"{\"kind\":\"a\"}\n{\"kind\":\"b\"}\n");
        let text = std::str::from_utf8(&out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[0],
            format!(r#"{{"seq":9,"prev":"{}","kind":"a"}}"#, "ab".repeat(32))
        );
        let digest = hex::encode(Sha256::digest(lines[0]));
        assert_eq!(
            lines[1],
            format!(r#"{{"seq":10,"prev":"{digest}","kind":"b"}}"#)
        );
        assert_eq!(head, Head::after(10, lines[1].as_bytes()));
        let (seq, prev, rest) = parse(lines[1].as_bytes()).unwrap();
        assert_eq!(
            (seq, hex::encode(prev), rest),
            (10, digest, &b"\"kind\":\"b\"}"[..])
        );
    }

    #[test]
    fn only_the_one_form_of_a_line_is_read() {
        let digest = "0".repeat(64);
        let good = format!(r#"{{"seq":7,"prev":"{digest}","kind":"a"}}"#);
        assert!(parse(good.as_bytes()).is_some());
        for bad in [
            good.replace(":7", ":07"),
            good.replace(":7", ": 7"),
            good.replace(":7", ":-7"),
            good.replace(":7", ":"),
            good.replace(":7", ":99999999999999999999"),
            good.replace("\"seq\"", "\"Seq\""),
            good.replace(&digest, &digest[1..]),
            good.replace(&digest, &"A".repeat(64)),
            good.replace("prev", "kind"),
            String::new(),
        ] {
            assert!(parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
