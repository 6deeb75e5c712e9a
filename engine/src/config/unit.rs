//! Sizes and durations as people write them: `"896KB"` (1 KB = 1024 bytes) and `"5s"`.
//!
//! Left out on purpose: decimal kilobytes, months and years, and numbers without a unit (except 0), because a reader
//! of a configuration file should never have to guess.

/// 1 KB, in bytes.
pub const KB: u64 = 1 << 10;
/// 1 MB, in bytes.
pub const MB: u64 = 1 << 20;
/// 1 GB, in bytes.
pub const GB: u64 = 1 << 30;
/// 1 TB, in bytes.
pub const TB: u64 = 1 << 40;

/// A millisecond, in microseconds.
pub const MILLISECOND: u64 = 1_000;
/// A second, in microseconds.
pub const SECOND: u64 = 1_000_000;
/// A minute, in microseconds.
pub const MINUTE: u64 = 60 * SECOND;
/// An hour, in microseconds.
pub const HOUR: u64 = 60 * MINUTE;
/// A day, in microseconds.
pub const DAY: u64 = 24 * HOUR;

const SIZES: [(&str, u64); 5] = [("B", 1), ("KB", KB), ("MB", MB), ("GB", GB), ("TB", TB)];
const DURATIONS: [(&str, u64); 6] =
    [("us", 1), ("ms", MILLISECOND), ("s", SECOND), ("m", MINUTE), ("h", HOUR), ("d", DAY)];

/// Bytes of `"896KB"`, `"1.5 GB"` or `"0"`; `None` if it is not a size or exceeds 2^64. Units in any case.
pub fn parse_size(text: &str) -> Option<u64> {
    parse(text, |unit| SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor))
}

/// Microseconds of `"5s"`, `"1.5h"` or `"0"`; `None` if it is not a duration or exceeds 2^64.
pub fn parse_duration(text: &str) -> Option<u64> {
    parse(text, |unit| DURATIONS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor))
}

/// The shortest exact text of a number of bytes.
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES)
}

/// The shortest exact text of a number of microseconds.
pub fn show_duration(micros: u64) -> String {
    show(micros, &DURATIONS)
}

fn parse(text: &str, factor_of: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    if unit.is_empty() {
        // 0 is 0 in every unit; any other number would leave the unit to guesswork.
        return (number.parse::<u64>().ok()? == 0).then_some(0);
    }
    let factor = factor_of(unit)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let (whole, fraction) = number.split_once('.')?;
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scale = 10u64.pow(fraction.len() as u32);
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor);
    if part % u128::from(scale) != 0 {
        return None;
    }
    let part = u64::try_from(part / u128::from(scale)).ok()?;
    whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(part)
}

fn show(amount: u64, units: &[(&str, u64)]) -> String {
    match units.iter().rev().find(|(_, factor)| amount != 0 && amount.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", amount / factor),
        None => "0".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_in_1024() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse_size(text), expected, "{text}");
        check("896KB", Some(896 * 1024));
        check("1mb", Some(1 << 20));
        check("1.5 GB", Some(3 << 29));
        check("17B", Some(17));
        check("0", Some(0));
        check("17", None);
        check("0.3B", None);
        check("1.KB", None);
        check("-1KB", None);
        check("", None);
        check("KB", None);
        check("20000000TB", None);
        check("1KiB", None);
    }

    #[test]
    fn durations_are_microseconds() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse_duration(text), expected, "{text}");
        check("5s", Some(5_000_000));
        check("1.5ms", Some(1_500));
        check("7d", Some(7 * DAY));
        check("500us", Some(500));
        check("5", None);
        check("5 seconds", None);
        check("0.1us", None);
        check("1M", None);
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        for amount in [0, 1, 999, 1000, 1024, 896 * KB, 3 * GB, TB, u64::MAX] {
            assert_eq!(parse_size(&show_size(amount)), Some(amount));
            assert_eq!(parse_duration(&show_duration(amount)), Some(amount));
        }
        assert_eq!(show_size(896 * KB), "896KB");
        assert_eq!(show_duration(90 * SECOND), "90s");
    }
}
