//! The encoder: RFC 8785 for the values that the restriction leaves.

use core::fmt::Write;

use super::Value;

/// The one canonical form of `value`.
pub(super) fn encode(value: &Value) -> String {
    let mut out = String::new();
    put(&mut out, value);
    out
}

fn put(out: &mut String, value: &Value) {
    match value {
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        // Writing to a String does not fail.
        Value::Integer(integer) => drop(write!(out, "{integer}")),
        Value::String(string) => put_string(out, string),
        Value::Array(values) => put_list(out, "[", "]", values, put),
        Value::Object(members) => put_list(out, "{", "}", members, |out, (name, value)| {
            put_string(out, name);
            out.push(':');
            put(out, value);
        }),
    }
}

fn put_list<T>(
    out: &mut String,
    open: &str,
    close: &str,
    items: &[T],
    put_item: impl Fn(&mut String, &T),
) {
    out.push_str(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        put_item(out, item);
    }
    out.push_str(close);
}

/// RFC 8785, section 3.2.2.2.
fn put_string(out: &mut String, string: &str) {
    out.push('"');
    for character in string.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x08' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\x0c' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control @ '\0'..='\x1f' => drop(write!(out, "\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}
