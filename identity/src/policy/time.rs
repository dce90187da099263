//! Times of a policy: RFC 3339 with whole seconds.

use jiff::Timestamp;

use super::error::{Fault, quoted};

/// Unix seconds of an RFC 3339 date and time.
///
/// Fractions are refused, since decisions are made on whole seconds, and so are leap seconds, which Unix time has not.
pub(crate) fn parse(text: &str) -> Result<i64, Fault> {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let (time, offset) = text.split_at_checked(SHAPE.len()).unwrap_or((text, ""));
    let digit_or = |byte: u8, shape: u8| if shape == b'd' { byte.is_ascii_digit() } else { byte == shape };
    let fits = |text: &str, shape: &[u8]| {
        text.len() == shape.len() && text.bytes().zip(shape).all(|(byte, shape)| digit_or(byte.to_ascii_uppercase(), *shape))
    };
    if offset.starts_with('.') && fits(time, SHAPE) {
        return Err(Fault::new(format!("time {} has a fraction", quoted(text)), "write whole seconds"));
    }
    // RFC 3339, section 5.6: time-offset = "Z" / time-numoffset.
    let offset_fits = fits(offset, b"Z") || fits(offset, b"+dd:dd") || fits(offset, b"-dd:dd");
    if !fits(time, SHAPE) || !offset_fits {
        return Err(Fault::new(
            format!("{} is no RFC 3339 date and time", quoted(text)),
            "write it as 2026-01-01T00:00:00Z or with an offset such as +02:00",
        ));
    }
    if time.ends_with("60") {
        return Err(Fault::new(format!("time {} is a leap second", quoted(text)), "write the second before or after"));
    }
    // RFC 3339, section 5.6: time-hour is at most 23, in offsets too, which jiff reads more widely.
    if offset.get(1..3).is_some_and(|hours| hours > "23") || offset.get(4..6).is_some_and(|minutes| minutes > "59") {
        return Err(Fault::new(format!("offset of time {} is over 23:59", quoted(text)), "write the time with Z"));
    }
    let timestamp: Timestamp = text
        .to_ascii_uppercase()
        .parse()
        .map_err(|_| Fault::new(format!("there is no date and time {}", quoted(text)), "correct its day or hour"))?;
    Ok(timestamp.as_second())
}

/// Unix seconds in RFC 3339, or as a number beyond the year 9999.
pub(crate) fn write(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => format!("Unix second {seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_read() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-01T00:00:00Z", 1_767_225_600),
            ("2026-01-01t00:00:00z", 1_767_225_600),
            ("2026-01-01T02:00:00+02:00", 1_767_225_600),
            ("2025-12-31T19:30:00-04:30", 1_767_225_600),
            ("2026-01-01T00:00:00-00:00", 1_767_225_600),
            ("2024-02-29T23:59:59Z", 1_709_251_199),
            ("1969-12-31T23:59:59Z", -1),
            ("0000-01-01T00:00:00Z", -62_167_219_200),
            ("9999-12-30T23:59:59Z", 253_402_214_399),
        ] {
            assert_eq!(parse(text), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_rfc3339_is_refused() {
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:00 Z",
            "2026-01-01T00:00:00.5Z",
            "2026-01-01T00:00:00,5Z",
            "2026-01-01T00:00:00+0200",
            "2026-01-01T00:00:00+02",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+02:60",
            "2026-01-01T00:00:00[UTC]",
            "2026-01-01T00:00:00Z[UTC]",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2016-12-31T23:59:60Z",
            "+002026-01-01T00:00:00Z",
            "20260101T000000Z",
            "２026-01-01T00:00:00Z",
            "1767225600",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn written_times_are_read_again() {
        for seconds in [0, -1, 1_767_225_600, 253_402_214_399] {
            assert_eq!(parse(&write(seconds)), Ok(seconds));
        }
        assert_eq!(write(i64::MAX), format!("Unix second {}", i64::MAX));
    }
}
