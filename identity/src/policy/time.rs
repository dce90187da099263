//! Times of a policy: RFC 3339 with whole seconds.

use std::ops::Range;

use super::error::{Fault, quoted};

/// Unix seconds of an RFC 3339 date and time.
///
/// Fractions are refused, since decisions are made on whole seconds, and so are leap seconds, which Unix time has not.
pub(crate) fn parse(text: &str) -> Result<i64, Fault> {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let (time, offset) = text.split_at_checked(SHAPE.len()).unwrap_or((text, ""));
    let digit_or = |byte: u8, shape: u8| {
        if shape == b'd' {
            byte.is_ascii_digit()
        } else {
            byte == shape
        }
    };
    let fits = |text: &str, shape: &[u8]| {
        text.len() == shape.len()
            && text
                .bytes()
                .zip(shape)
                .all(|(byte, shape)| digit_or(byte.to_ascii_uppercase(), *shape))
    };
    if offset.starts_with('.') && fits(time, SHAPE) {
        return Err(Fault::new(
            format!("time {} has a fraction", quoted(text)),
            "write whole seconds",
        ));
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
        return Err(Fault::new(
            format!("time {} is a leap second", quoted(text)),
            "write the second before or after",
        ));
    }
    // RFC 3339, section 5.6: time-hour is at most 23, in offsets too.
    if offset.get(1..3).is_some_and(|hours| hours > "23")
        || offset.get(4..6).is_some_and(|minutes| minutes > "59")
    {
        return Err(Fault::new(
            format!("offset of time {} is over 23:59", quoted(text)),
            "write the time with Z",
        ));
    }
    let number = |range: Range<usize>| {
        text.get(range)
            .and_then(|digits| digits.parse::<i64>().ok())
            .unwrap_or_default()
    };
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let (hour, minute, second) = (number(11..13), number(14..16), number(17..19));
    let days = days_before(year, month, day);
    if (year, month, day) != civil(days) || hour > 23 || minute > 59 || second > 59 {
        return Err(Fault::new(
            format!("there is no date and time {}", quoted(text)),
            "correct the field out of range",
        ));
    }
    let local = days * DAY + hour * 3600 + minute * 60 + second;
    let east = (number(20..22) * 60 + number(23..25)) * 60;
    Ok(if offset.starts_with('-') {
        local + east
    } else {
        local - east
    })
}

/// Unix seconds in RFC 3339, or as a number outside the years 0 to 9999.
pub(crate) fn write(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    if !(days_before(0, 1, 1)..days_before(10_000, 1, 1)).contains(&days) {
        return format!("Unix second {seconds}");
    }
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; a day beyond its month counts on into the next.
///
/// Years begin in March here, so that the leap day is the last one, and repeat every 400 years, which have 146,097 days
/// (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (month + 9).rem_euclid(12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of the date that many days after 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

const DAY: i64 = 86_400;

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
            ("9999-12-31T23:59:59Z", 253_402_300_799),
            ("9999-12-31T23:59:59-23:59", 253_402_387_139),
            ("0000-01-01T00:00:00+23:59", -62_167_305_540),
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
        for seconds in [0, -1, 1_767_225_600, 253_402_300_799, -62_167_219_200] {
            assert_eq!(parse(&write(seconds)), Ok(seconds));
        }
        for seconds in [i64::MAX, i64::MIN, 253_402_300_800, -62_167_219_201] {
            assert_eq!(write(seconds), format!("Unix second {seconds}"));
        }
    }

    /// Every day of eight centuries, counted one by one.
    #[test]
    fn calendar_is_the_gregorian_one() {
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let mut days = days_before(1600, 1, 1);
        assert_eq!(days, -135_140);
        for year in 1600..2400 {
            for month in 1..=12 {
                let length = match month {
                    2 => 28 + i64::from(leap(year)),
                    4 | 6 | 9 | 11 => 30,
                    _ => 31,
                };
                for day in 1..=length {
                    assert_eq!(
                        (days_before(year, month, day), civil(days)),
                        (days, (year, month, day))
                    );
                    days += 1;
                }
                assert_ne!(
                    civil(days_before(year, month, length + 1)),
                    (year, month, length + 1)
                );
            }
        }
    }
}
