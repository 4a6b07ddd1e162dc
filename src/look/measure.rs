//! Times and sizes as every message writes them, so that no reader has to compare two forms.
//!
//! What is printed can be typed into the configuration: a time is read there with or without the blank.

use std::time::Duration;

/// The units of a time above the second, in milliseconds.
const LONG: [(u128, &str); 3] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min")];
/// The units of a size, each 1024 of the one after it.
const SIZES: [(u64, &str); 4] =
    [(1 << 40, "TB"), (1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")];

/// A time to the millisecond: `500 ms`, `1.5 s`, `1 min 25 s`, `2 h 5 min`.
pub fn time(time: Duration) -> String {
    let mut left = time.as_millis();
    let mut parts = Vec::new();
    for (unit, name) in LONG {
        if left >= unit {
            parts.push(format!("{} {name}", left / unit));
            left %= unit;
        }
    }
    if parts.is_empty() && left > 0 && left < 1000 {
        return format!("{left} ms");
    }
    if parts.is_empty() || left > 0 {
        let second = format!("{}.{:03}", left / 1000, left % 1000);
        parts.push(format!("{} s", second.trim_end_matches('0').trim_end_matches('.')));
    }
    parts.join(" ")
}

/// A time that was measured, to the tenth of a second. It is rounded up, as a size is.
pub fn about(measured: Duration) -> String {
    let step = if measured.as_secs() == 0 { 1 } else { 100 };
    let rounded = measured.as_millis().div_ceil(step) * step;
    time(Duration::from_millis(u64::try_from(rounded).unwrap_or(u64::MAX)))
}

/// How long ago something was, in its two largest units; nobody waits for the rest.
pub fn age(ago: Duration) -> String {
    let seconds = ago.as_secs();
    let least = match seconds {
        0 => return time(ago),
        1..=3599 => 1,
        3600..=86_399 => 60,
        _ => 3600,
    };
    time(Duration::from_secs(seconds / least * least))
}

/// A size in the largest unit that it fills, with a tenth where it is not whole: `16 MB`, `16.2 MB`. It is
/// rounded up, so that what exceeds a limit never reads like the limit.
pub fn size(bytes: u64) -> String {
    let Some((unit, name)) = SIZES.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes} B");
    };
    let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(unit));
    match tenths % 10 {
        0 => format!("{} {name}", tenths / 10),
        tenth => format!("{}.{tenth} {name}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_one_form_that_the_configuration_reads_too() {
        for (ms, said) in [
            (0, "0 s"),
            (500, "500 ms"),
            (1000, "1 s"),
            (1500, "1.5 s"),
            (3850, "3.85 s"),
            (60_000, "1 min"),
            (85_000, "1 min 25 s"),
            (90_500, "1 min 30.5 s"),
            (3_600_000, "1 h"),
            (7_500_000, "2 h 5 min"),
            (97_200_000, "1 d 3 h"),
        ] {
            let given = Duration::from_millis(ms);
            assert_eq!(time(given), said);
            assert_eq!(humantime::parse_duration(said), Ok(given), "{said}");
        }
        assert_eq!(about(Duration::from_millis(4_210)), "4.3 s");
        assert_eq!(about(Duration::from_millis(40)), "40 ms");
        assert_eq!(about(Duration::from_micros(5_000_001)), "5 s");
        assert!(!time(Duration::MAX).is_empty());
    }

    #[test]
    fn an_age_has_two_units_at_most() {
        for (ms, said) in [
            (0, "0 s"),
            (940, "940 ms"),
            (9_940, "9 s"),
            (85_999, "1 min 25 s"),
            (7_599_000, "2 h 6 min"),
            (100_000_000, "1 d 3 h"),
        ] {
            assert_eq!(age(Duration::from_millis(ms)), said);
        }
        assert!(!age(Duration::MAX).is_empty());
    }

    #[test]
    fn a_size_over_a_limit_never_reads_like_the_limit() {
        for (bytes, said) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 kB"),
            (16 << 20, "16 MB"),
            ((16 << 20) + 1, "16.1 MB"),
            (17_000_000, "16.3 MB"),
            ((1 << 30) - 1, "1024 MB"),
            (1 << 40, "1 TB"),
            (u64::MAX, "16777216 TB"),
        ] {
            assert_eq!(size(bytes), said);
        }
    }
}
