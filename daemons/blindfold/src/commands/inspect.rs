//! `blindfold inspect`: everything public about an object.

use blindfold_core::{Dem, Header, Lock, Role, Suite};
use serde_json::{Value, json};

use super::{print, print_json};
use crate::{
    cli::InspectArgs,
    failure::{Context, Kind, Outcome},
    files::Source,
    object::{self, Object},
};

/// Seconds in a day, the unit of windows.
const DAY: i64 = 86_400;

/// Runs `blindfold inspect`.
pub(crate) fn run(args: &InspectArgs, json: bool) -> Outcome {
    let source = Source::of(args.file.as_deref());
    let (reader, length) = source.open("sealed object")?;
    let object = object::read(reader).map_err(|e| e.named(&source.name()))?;
    let header = object.header();
    let payload = match &object {
        Object::Whole(sealed) => Some((sealed.as_bytes().len() - header.as_bytes().len()) as u64),
        Object::Stream { .. } => length.map(|n| n.saturating_sub(header.as_bytes().len() as u64)),
    };
    let shown = describe(header, payload)?;
    if json {
        print_json(&shown)
    } else {
        print(text(header, payload)?)
    }
}

fn cipher(dem: Dem) -> &'static str {
    match dem {
        Dem::Aes256GcmSiv => "AES-256-GCM-SIV",
        Dem::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        _ => "unknown",
    }
}

fn suite(id: u16) -> String {
    match Suite::try_from(id) {
        Ok(Suite::P384Sha384) => "PB-P384-SHA384".to_owned(),
        Ok(Suite::MlKem768) => "STATIC-MLKEM768".to_owned(),
        _ => format!("unknown 0x{id:04x}"),
    }
}

/// A day of a window, if it has one.
pub(crate) fn date(day: u32) -> Option<String> {
    (day != 0).then(|| {
        jiff::Timestamp::from_second(i64::from(day) * DAY).map_or_else(
            |_| format!("day {day}"),
            |t| t.strftime("%Y-%m-%d").to_string(),
        )
    })
}

/// The policy of a lock: mode and value in a form for people and programs.
pub(crate) fn policy(lock: &Lock) -> (&'static str, Value) {
    let bytes = lock.policy_bytes();
    match lock.policy_mode() {
        1 => (
            "inline",
            serde_json::from_slice(bytes).unwrap_or_else(|_| json!(hex::encode(bytes))),
        ),
        2 => ("name", json!(String::from_utf8_lossy(bytes))),
        3 => ("digest", json!(hex::encode(bytes))),
        _ => ("none", Value::Null),
    }
}

fn describe(header: &Header, payload: Option<u64>) -> Outcome<Value> {
    let locks: Vec<Value> = header
        .locks()
        .iter()
        .map(|lock| {
            let (mode, value) = policy(lock);
            json!({
                "position": lock.position(),
                "role": lock.role().name().to_ascii_lowercase(),
                "suite": suite(lock.suite_id()),
                "key_id": lock.key_id().to_string(),
                "tenant": lock.tenant(),
                "key_version": lock.key_version(),
                "policy_mode": mode,
                "policy": value,
                "not_before": date(lock.window().not_before_day()),
                "not_after": date(lock.window().not_after_day()),
            })
        })
        .collect();
    Ok(json!({
        "format": "pbseal-v1",
        "label": header.label(),
        "cipher": cipher(header.dem()),
        "threshold": header.threshold(),
        "padded": header.is_padded(),
        "external_aad": header.requires_ext_aad(),
        "header_bytes": header.as_bytes().len(),
        "payload_bytes": payload,
        "locks": locks,
    }))
}

fn text(header: &Header, payload: Option<u64>) -> Outcome<String> {
    use std::fmt::Write;
    let mut out = String::new();
    let shares = header
        .locks()
        .iter()
        .filter(|lock| lock.role() == Role::Share)
        .count();
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "label      {}",
        if header.label().is_empty() {
            "(none)"
        } else {
            header.label()
        }
    );
    let _ = writeln!(
        out,
        "cipher     {}{}",
        cipher(header.dem()),
        if header.is_padded() { ", padded" } else { "" }
    );
    let _ = writeln!(
        out,
        "opens by   {} of {shares} unsealing authorities",
        header.threshold()
    );
    if header.requires_ext_aad() {
        let _ = writeln!(out, "external   data given at sealing must be given again");
    }
    if let Some(bytes) = payload {
        let _ = writeln!(out, "payload    {bytes} bytes");
    }
    for lock in header.locks() {
        let (mode, value) = policy(lock);
        let _ = writeln!(
            out,
            "\nlock {}     {}, {}",
            lock.position(),
            lock.role().name().to_ascii_lowercase(),
            suite(lock.suite_id())
        );
        let _ = writeln!(out, "  key      {}", lock.key_id());
        let _ = writeln!(
            out,
            "  tenant   {}, key version {}",
            lock.tenant(),
            lock.key_version()
        );
        if let Some(day) = date(lock.window().not_before_day()) {
            let _ = writeln!(out, "  from     {day}");
        }
        if let Some(day) = date(lock.window().not_after_day()) {
            let _ = writeln!(out, "  until    {day}");
        }
        match mode {
            "none" => {}
            "inline" => {
                let pretty =
                    serde_json::to_string_pretty(&value).about(Kind::Internal, "policy")?;
                let _ = writeln!(out, "  policy   inline");
                for line in pretty.lines() {
                    let _ = writeln!(out, "    {line}");
                }
            }
            mode => {
                let _ = writeln!(
                    out,
                    "  policy   {mode} {}",
                    value.as_str().unwrap_or_default()
                );
            }
        }
    }
    Ok(out)
}
