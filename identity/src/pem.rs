//! Strict PEM (RFC 7468): certificates one after another and nothing else.

use der::pem::LineEnding;
use rustls_pki_types::CertificateDer;

use crate::limits::{MAX_CERTIFICATE_BYTES, MAX_CHAIN_CERTIFICATES, MAX_CHAIN_PEM_BYTES};

/// Writes certificates in their order.
#[must_use]
pub fn encode_chain(chain: &[CertificateDer<'_>]) -> String {
    // Fails only on lengths over `usize`.
    let encode = |certificate: &CertificateDer<'_>| {
        der::pem::encode_string(LABEL, LineEnding::LF, certificate)
    };
    chain
        .iter()
        .map(|certificate| encode(certificate).unwrap_or_default())
        .collect()
}

/// Reads 1 to [`MAX_CHAIN_CERTIFICATES`] certificates; only white space may stand between them.
#[must_use]
pub fn decode_chain(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    if pem.len() > MAX_CHAIN_PEM_BYTES {
        return None;
    }
    let mut chain = Vec::new();
    let mut rest = pem.trim_ascii_start();
    while !rest.is_empty() {
        // The decoder skips text before the first line.
        if !rest.starts_with(BEGIN) {
            return None;
        }
        let end = rest.find(END)? + END.len();
        let (block, after) = rest.split_at_checked(end)?;
        let (label, der) = der::pem::decode_vec(block.as_bytes()).ok()?;
        if label != LABEL
            || der.len() > MAX_CERTIFICATE_BYTES
            || chain.len() == MAX_CHAIN_CERTIFICATES
        {
            return None;
        }
        chain.push(CertificateDer::from(der));
        rest = after.trim_ascii_start();
    }
    if chain.is_empty() { None } else { Some(chain) }
}

const LABEL: &str = "CERTIFICATE";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(count: usize) -> Vec<CertificateDer<'static>> {
        (0..count)
            .map(|i| CertificateDer::from(vec![u8::try_from(i).unwrap(); 100 + i]))
            .collect()
    }

    #[test]
    fn chain_survives_a_round_trip() {
        for count in 1..=MAX_CHAIN_CERTIFICATES {
            let pem = encode_chain(&chain(count));
            assert_eq!(decode_chain(&pem), Some(chain(count)));
            assert_eq!(
                decode_chain(&format!("\n{}\r\n \n", pem.replace('\n', "\r\n"))),
                Some(chain(count))
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let pem = encode_chain(&chain(2));
        for (fault, text) in [
            ("empty", String::new()),
            ("text_before", format!("Certificate:\n{pem}")),
            (
                "text_between",
                pem.replacen(
                    "-----END CERTIFICATE-----\n",
                    "-----END CERTIFICATE-----\nsubject\n",
                    1,
                ),
            ),
            ("text_after", format!("{pem}subject")),
            ("other_label", pem.replace("CERTIFICATE", "PRIVATE KEY")),
            (
                "one_other_label",
                pem.replacen("BEGIN CERTIFICATE", "BEGIN PRIVATE KEY", 1),
            ),
            ("cut", pem[..pem.len() - 10].to_owned()),
            ("too_many", encode_chain(&chain(MAX_CHAIN_CERTIFICATES + 1))),
            (
                "too_long",
                encode_chain(&[CertificateDer::from(vec![0; MAX_CERTIFICATE_BYTES + 1])]),
            ),
            ("far_too_long", " ".repeat(MAX_CHAIN_PEM_BYTES) + &pem),
        ] {
            assert_eq!(decode_chain(&text), None, "{fault}");
        }
    }
}
