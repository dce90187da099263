//! `blindfold ca inspect`, and how requests and certificates are shown before they are signed.

use std::{fmt::Write as _, path::Path};

use identity::{
    issue::{CaCertificate, IssuerRequest, spoken_fingerprint},
    limits::MAX_CHAIN_PEM_BYTES,
};
use serde_json::{Value, json};

use super::{key::KeyFile, refused, time};
use crate::{
    commands::{print, print_json},
    failure::{Context, Failure, Kind, Outcome},
    files,
};

/// Runs `blindfold ca inspect`.
pub(super) fn run(path: &Path, json: bool) -> Outcome {
    let text = text(path)?;
    let name = path.display().to_string();
    if text.trim_start().starts_with('{') {
        let key = KeyFile::parse(text.as_bytes(), &name)?;
        let shown = json!({"kind": "root key", "trust_domain": key.trust_domain, "certificate_sha256": key.certificate_sha256});
        return show(&[shown], json, || {
            format!(
                "key of a root of {}, wrapped\ncertificate {}\n",
                key.trust_domain, key.certificate_sha256
            )
        });
    }
    if text.contains("CERTIFICATE REQUEST-----") {
        let request = IssuerRequest::from_pem(&text).about(Kind::Data, &name)?;
        return show(&[request_json(&request)], json, || request_text(&request));
    }
    let all = CaCertificate::all_from_pem(&text).map_err(|e| refused(&e).at(&name))?;
    let shown: Vec<Value> = all.iter().map(certificate_json).collect();
    show(&shown, json, || {
        all.iter()
            .map(certificate_text)
            .collect::<Vec<_>>()
            .join("\n")
    })
}

fn show(values: &[Value], json: bool, text: impl FnOnce() -> String) -> Outcome {
    if json {
        print_json(&values)
    } else {
        print(text())
    }
}

/// Reads a bounded text file.
pub(super) fn text(path: &Path) -> Outcome<String> {
    let bytes = files::read(path, "file")?;
    if bytes.len() > MAX_CHAIN_PEM_BYTES {
        return Err(Failure::data(format_args!(
            "{} is longer than {MAX_CHAIN_PEM_BYTES} bytes",
            path.display()
        )));
    }
    let text = std::str::from_utf8(&bytes).about(Kind::Data, path.display())?;
    Ok(text.to_owned())
}

/// A request for people.
pub(super) fn request_text(request: &IssuerRequest) -> String {
    format!(
        "request for an issuing certificate of {}\nkey {}, SHA-256:\n{}\n",
        request.trust_domain(),
        request.curve(),
        spoken_fingerprint(&request.public_key_sha256())
    )
}

/// A certificate for people.
pub(super) fn certificate_text(certificate: &CaCertificate) -> String {
    let mut text = String::new();
    let kind = if certificate.is_root() {
        "root"
    } else {
        "certificate of a CA"
    };
    let domain = certificate
        .trust_domain()
        .map_or("no trust domain", |domain| domain.as_str());
    let below = match certificate.path_length() {
        Some(0) => "documents only".to_owned(),
        Some(number) => format!("{number} CAs below it"),
        None => "any number of CAs below it".to_owned(),
    };
    let rows = [
        ("subject", certificate.subject().to_owned()),
        ("issuer", certificate.issuer().to_owned()),
        ("serial number", certificate.serial_number().to_owned()),
        ("valid from", time(certificate.not_before())),
        ("valid to", time(certificate.not_after())),
        ("may sign", below),
        ("key", certificate.curve().to_owned()),
        ("key SHA-256", hex::encode(certificate.public_key_sha256())),
    ];
    // Writing to a text can't fail.
    let _ = writeln!(text, "{kind} of {domain}");
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<14} {value}");
    }
    let _ = writeln!(
        text,
        "certificate SHA-256:\n{}",
        spoken_fingerprint(&certificate.fingerprint())
    );
    text
}

pub(super) fn request_json(request: &IssuerRequest) -> Value {
    json!({
        "kind": "request",
        "trust_domain": request.trust_domain(),
        "curve": request.curve(),
        "key_sha256": hex::encode(request.public_key_sha256()),
    })
}

pub(super) fn certificate_json(certificate: &CaCertificate) -> Value {
    json!({
        "kind": if certificate.is_root() { "root" } else { "certificate" },
        "trust_domain": certificate.trust_domain(),
        "subject": certificate.subject(),
        "issuer": certificate.issuer(),
        "serial_number": certificate.serial_number(),
        "not_before": certificate.not_before(),
        "not_after": certificate.not_after(),
        "path_length": certificate.path_length(),
        "curve": certificate.curve(),
        "key_sha256": hex::encode(certificate.public_key_sha256()),
        "sha256": hex::encode(certificate.fingerprint()),
    })
}
