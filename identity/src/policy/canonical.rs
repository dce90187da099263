//! Canonical form: RFC 8785, of documents whose numbers are integers.
//!
//! One document has one canonical form, whatever its spacing, order of members, escapes or language were. Nothing is
//! filled in and nothing left out.

use std::fmt::Write;

use sha2::{Digest, Sha384};

use super::tree::{Member, Node, Value};

/// Domain separation of a policy's digest (PBSEAL v1, section 9: `DS("policy")`).
const DIGEST_LABEL: &[u8] = b"PBSEAL-V1-policy";

/// Writes `node` in canonical form.
pub(crate) fn write(node: &Node) -> String {
    let mut out = String::new();
    write_node(node, &mut out);
    out
}

/// SHA-384 over the label, led by its length, and the canonical form (PBSEAL v1, section 9: `H("policy", doc)`).
pub(crate) fn digest(canonical: &[u8]) -> [u8; 48] {
    const LENGTH: u8 = DIGEST_LABEL.len() as u8;
    let hash = Sha384::new()
        .chain_update([LENGTH])
        .chain_update(DIGEST_LABEL)
        .chain_update(canonical);
    hash.finalize().into()
}

/// Depth is bounded by the readers.
fn write_node(node: &Node, out: &mut String) {
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        // RFC 8785, section 3.2.2.3: below 2^53 ECMAScript prints integers in full.
        Value::Integer(integer) => {
            // Writing to a string does not fail.
            let _ = write!(out, "{integer}");
        }
        Value::Text(text) | Value::Plain(text) => write_string(text, out),
        Value::List(entries) => {
            out.push('[');
            for (index, entry) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_node(entry, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<&Member> = members.iter().collect();
            // RFC 8785, section 3.2.3: names "sorted [...] as arrays of UTF-16 code units".
            members.sort_by(|a, b| a.name.encode_utf16().cmp(b.name.encode_utf16()));
            out.push('{');
            for (index, member) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(&member.name, out);
                out.push(':');
                write_node(&member.node, out);
            }
            out.push('}');
        }
    }
}

/// RFC 8785, section 3.2.2.2: the short escapes where there are, `\u00xx` for the other controls, all else as it is.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
