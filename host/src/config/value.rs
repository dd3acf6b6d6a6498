//! Durations, sizes and near misses of names, from text. Pure.

use std::time::{Duration, SystemTime};

use toml::value::{Datetime, Offset};

/// What a duration looks like, for messages.
pub(super) const DURATION: &str = "a duration with its unit, such as \"30s\" or \"500ms\"";
/// What a size looks like, for messages.
pub(super) const SIZE: &str = "a number of bytes, such as 65536 or \"64KiB\"";

/// Reads a duration as the configuration writes it: `500ms`, `30s`, `5m` or `1h`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// Reads `65536`, `64KiB`, `1MiB` or `1GiB`; a space before the unit is fine.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

/// The moment of a date since 1970. Where it has no time of day it is the day's first moment, and
/// where it has no offset it is UTC's.
pub(super) fn date(date: &Datetime) -> Option<SystemTime> {
    let day = date.date?;
    let seconds_of_day = date.time.map_or(0, |time| {
        i64::from(time.hour) * 3_600
            + i64::from(time.minute) * 60
            + i64::from(time.second.unwrap_or(0))
    });
    let offset_minutes = match date.offset {
        Some(Offset::Custom { minutes }) => i64::from(minutes),
        Some(Offset::Z) | None => 0,
    };
    // Years begin in March here, so that a leap day is the last of its year.
    let (year, month) = (i64::from(day.year), i64::from(day.month));
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(day.day) - 1;
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + day_of_year - 719_468;
    let seconds = days * 86_400 + seconds_of_day - offset_minutes * 60;
    let since = Duration::from_secs(u64::try_from(seconds).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, text[digits..].trim_start()))
}

/// Writes a duration as it would be read.
pub(super) fn show_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(
        milliseconds,
        &[(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")],
    )
}

/// Writes a size as it would be read.
pub(super) fn show_size(bytes: u64) -> String {
    show(
        bytes,
        &[
            (1 << 30, "GiB"),
            (1 << 20, "MiB"),
            (1 << 10, "KiB"),
            (1, ""),
        ],
    )
}

/// In the largest unit that leaves no rest; the last unit always fits.
fn show(number: u64, units: &[(u64, &str)]) -> String {
    let fits = |(unit, _): &&(u64, &str)| number > 0 && number.is_multiple_of(*unit);
    let (unit, name) = units.iter().find(fits).copied().unwrap_or((1, ""));
    format!("{}{name}", number / unit)
}

/// The known name that somebody most likely meant, if any is near.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let distance_max = name.len().max(3) / 3;
    let near = known.iter().map(|known| (distance(name, known), *known));
    near.filter(|(distance, _)| *distance <= distance_max)
        .min()
        .map(|(_, known)| known)
}

/// Insertions, deletions and replacements from one name to the other; `-` and `_` are the same.
fn distance(from: &str, to: &str) -> usize {
    let bytes = |text: &str| text.to_ascii_lowercase().replace('-', "_").into_bytes();
    let (from, to) = (bytes(from), bytes(to));
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (place, byte) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = place + 1;
        for column in 0..to.len() {
            let replaced = diagonal + usize::from(*byte != to[column]);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(duration("500 ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3_600)));
        for wrong in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "30sec",
            "99999999999999999999s",
            "9999999999999999999h",
        ] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_may_have_a_unit() {
        assert_eq!(size("17"), Some(17));
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("1 MiB"), Some(1 << 20));
        for wrong in [
            "",
            "KiB",
            "64KB",
            "64kib",
            "-1",
            "1.5MiB",
            "99999999999999999999",
            "99999999999999GiB",
        ] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read() {
        for milliseconds in [1, 500, 1_000, 90_000, 120_000, 7_200_000] {
            let shown = show_duration(Duration::from_millis(milliseconds));
            assert_eq!(
                duration(&shown),
                Some(Duration::from_millis(milliseconds)),
                "{shown}"
            );
        }
        for bytes in [1, 1_023, 1 << 10, 3 << 20, 1 << 30] {
            assert_eq!(size(&show_size(bytes)), Some(bytes));
        }
    }

    #[test]
    fn near_misses_are_found() {
        let known = ["ping_interval", "timeout", "max_message_bytes"];
        assert_eq!(nearest("ping_intervall", &known), Some("ping_interval"));
        assert_eq!(nearest("pingInterval", &known), Some("ping_interval"));
        assert_eq!(
            nearest("max-message-byte", &known),
            Some("max_message_bytes")
        );
        assert_eq!(nearest("timout", &known), Some("timeout"));
        assert_eq!(nearest("colour", &known), None);
    }

    #[test]
    fn a_date_is_a_moment() {
        let seconds = |text: &str| {
            let moment = date(&text.parse().expect("a date")).expect("after 1970");
            let since = moment.duration_since(SystemTime::UNIX_EPOCH);
            since.expect("after 1970").as_secs()
        };
        for (text, expected) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2000-03-01T00:00:01Z", 951_868_801),
            ("2026-11-22T12:30:00+02:00", 1_795_343_400),
            ("2100-03-01", 4_107_542_400),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        assert_eq!(date(&"1969-12-31".parse().expect("a date")), None);
    }
}
