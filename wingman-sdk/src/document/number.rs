//! Numbers and truth values as the formats write them, read alike everywhere.

use super::entry::Kind;

/// A whole number: sign, `0x`, `0o`, `0b`, and `_` between digits (TOML).
pub(crate) fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, digits.get(2..)?),
        Some("0o") => (8, digits.get(2..)?),
        Some("0b") => (2, digits.get(2..)?),
        _ => (10, digits),
    };
    let digits = without_separators(digits)?;
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    // Read with its sign: the least number has no positive counterpart.
    let sign = if negative { "-" } else { "" };
    i128::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// A number with a fraction or an exponent; infinities and NaN as in TOML and YAML.
pub(crate) fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        "inf" | ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        "nan" | ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    let numeric = |byte: u8| byte.is_ascii_digit() || b"+-.eE_".contains(&byte);
    if !text.bytes().all(numeric) {
        return None;
    }
    let parts: Option<Vec<String>> = text
        .split('.')
        .map(|part| {
            if part.is_empty() {
                Some(String::new())
            } else {
                without_separators(part)
            }
        })
        .collect();
    parts?
        .join(".")
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
}

/// `true` or `false`, in the three spellings of YAML.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Whether two texts are the same value, however it is written.
pub(crate) fn same(kind: Kind, one: &str, other: &str) -> bool {
    match kind {
        _ if one == other => true,
        Kind::Integer => integer(one).is_some_and(|one| Some(one) == integer(other)),
        Kind::Float => match (float(one), float(other)) {
            (Some(one), Some(other)) => one == other || (one.is_nan() && other.is_nan()),
            _ => false,
        },
        Kind::Boolean => boolean(one).is_some_and(|one| Some(one) == boolean(other)),
        Kind::Null => true,
        Kind::String | Kind::DateTime => false,
    }
}

/// Takes out each `_` that stands between two digits; none may stand elsewhere.
fn without_separators(digits: &str) -> Option<String> {
    let edge = digits.is_empty() || digits.starts_with('_') || digits.ends_with('_');
    if edge || digits.contains("__") {
        return None;
    }
    Some(digits.chars().filter(|digit| *digit != '_').collect())
}

/// What a YAML scalar without quotes is (YAML 1.2.2, section 10.3.2).
pub(super) fn yaml_kind(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        _ => {}
    }
    if boolean(text).is_some() {
        return Kind::Boolean;
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let all = |digits: &str, radix| {
        !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))
    };
    let octal = text.strip_prefix("0o").is_some_and(|digits| all(digits, 8));
    let hexadecimal = text
        .strip_prefix("0x")
        .is_some_and(|digits| all(digits, 16));
    if all(unsigned, 10) || octal || hexadecimal {
        return Kind::Integer;
    }
    let special =
        matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN");
    if special || is_yaml_decimal(unsigned) {
        return Kind::Float;
    }
    Kind::String
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_yaml_decimal(unsigned: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
        }
        None => !mantissa.is_empty() && digits(mantissa),
    };
    exponent_fits && mantissa_fits
}
