//! Durations, byte sizes, shares of a core and plain numbers, each with its range.

use std::ops::RangeInclusive;

use crate::formation::CPU_MILLIS;

use super::error::{Fault, shown};
use super::tree::{Node, Value};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Reads a whole number within a range.
pub(super) fn whole(node: &Node, range: RangeInclusive<u32>) -> Result<u32, Fault> {
    let (low, high) = (*range.start(), *range.end());
    let fix = format!("use a whole number from {low} to {high}, without quotes");
    let Value::Integer(number, _) = &node.value else {
        return Err(Fault::invalid(format!("is {}, no whole number", node.value.shown()), fix));
    };
    number
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| Fault::invalid(format!("is {}, out of range", node.value.shown()), fix))
}

/// Reads a duration such as `"90s"` or `"1h30m"` in whole seconds.
pub(super) fn seconds(node: &Node, range: RangeInclusive<u32>) -> Result<u32, Fault> {
    let (low, high) = (spoken(*range.start()), spoken(*range.end()));
    let fix = format!("use a text from \"{low}\" to \"{high}\", such as \"30s\" or \"5m\"");
    let Value::Text(text) = &node.value else {
        return Err(Fault::invalid(format!("is {}, no duration", node.value.shown()), fix));
    };
    match parse_duration(text) {
        Some(seconds) => u32::try_from(seconds)
            .ok()
            .filter(|seconds| range.contains(seconds))
            .ok_or_else(|| Fault::invalid(format!("is {}, out of range", shown(text)), fix)),
        None => Err(Fault::invalid(format!("is {}, no duration in whole seconds", shown(text)), fix)),
    }
}

/// Parses `"90s"`, `"2m"`, `"1h30m"`, `"7d"`: returns seconds; `None` if it is anything else.
pub fn parse_duration(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        let (factor, divisor) = match &rest[..letters] {
            "ms" => (1, 1000),
            "s" => (1, 1),
            "m" => (MINUTE, 1),
            "h" => (HOUR, 1),
            "d" => (DAY, 1),
            _ => return None,
        };
        if !number.is_multiple_of(divisor) {
            return None;
        }
        rest = &rest[letters..];
        total = total.checked_add((number / divisor).checked_mul(factor)?)?;
    }
    Some(total)
}

fn spoken(seconds: u32) -> String {
    let seconds = u64::from(seconds);
    match seconds {
        0 => "0s".to_owned(),
        s if s % HOUR == 0 => format!("{}h", s / HOUR),
        s if s % MINUTE == 0 => format!("{}m", s / MINUTE),
        s => format!("{s}s"),
    }
}

/// Reads a size such as `"512Mi"`.
pub(super) fn bytes(node: &Node, range: RangeInclusive<u64>) -> Result<u64, Fault> {
    let (low, high) = (spoken_size(*range.start()), spoken_size(*range.end()));
    let fix = format!("use a text from \"{low}\" to \"{high}\", such as \"512Mi\" or \"1Gi\"");
    let Value::Text(text) = &node.value else {
        return Err(Fault::invalid(format!("is {}, no size with a unit", node.value.shown()), fix));
    };
    match parse_bytes(text) {
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        Some(_) => Err(Fault::invalid(format!("is {}, out of range", shown(text)), fix)),
        None => Err(Fault::invalid(format!("is {}, no size with a unit", shown(text)), fix)),
    }
}

fn spoken_size(bytes: u64) -> String {
    let units = [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
    let unit = units.iter().find(|(shift, _)| bytes >= 1 << shift && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// Parses `"512Mi"`, `"1Gi"`, `"1.5G"`: returns bytes; `None` if it is anything else.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let factor: u64 = match text[split..].trim_end_matches('B') {
        "k" | "K" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    let (whole, fraction) = text[..split].split_once('.').unwrap_or((&text[..split], "0"));
    if fraction.is_empty() || fraction.len() > 6 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u64 = fraction.parse().ok()?;
    whole.checked_mul(factor)?.checked_add(fraction.checked_mul(factor)? / scale)
}

/// Reads a share of cores, `1`, `0.5` or `"250m"`, as thousandths.
pub(super) fn cpu(node: &Node) -> Result<u32, Fault> {
    let millis = match &node.value {
        Value::Integer(Some(cores), _) => {
            u32::try_from(*cores).ok().and_then(|cores| cores.checked_mul(1000))
        }
        Value::Float(cores, _) => millis_of(*cores),
        Value::Text(text) => parse_cpu(text),
        _ => None,
    };
    millis.filter(|millis| CPU_MILLIS.contains(millis)).ok_or_else(|| {
        Fault::invalid(
            format!("is {}, no share of cores", node.value.shown()),
            "use 0.01 to 256 cores, such as 0.5, 2 or \"250m\"",
        )
    })
}

/// Parses `"250m"`, `"1"`, `"0.5"`: returns thousandths of a core; `None` if it is anything else.
pub fn parse_cpu(text: &str) -> Option<u32> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'm') {
        return None;
    }
    match text.strip_suffix('m') {
        Some(millis) => millis.parse().ok(),
        None => millis_of(text.parse().ok()?),
    }
}

fn millis_of(cores: f64) -> Option<u32> {
    let millis = (cores * 1000.0).round();
    if !(0.0..=1e9).contains(&millis) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked one line above")]
    Some(millis as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_as_people_write_them() {
        assert_eq!(parse_duration("1h30m"), Some(5400));
        assert_eq!(parse_duration("2000ms"), Some(2));
        for bad in ["", "5", "s", "1.5s", "-5s", "500ms", "5 s", "99999999999999999999s", "5S", "1µs"] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
        assert_eq!(parse_bytes("512Mi"), Some(512 << 20));
        assert_eq!(parse_bytes("1.5Gi"), Some(3 << 29));
        assert_eq!(parse_bytes("1GB"), Some(1_000_000_000));
        for bad in ["", "5", "Mi", "-1Mi", "1.Mi", "1..5Mi", "1e9Mi", "99999999999999Ti", "1 Mi", "½Mi"] {
            assert_eq!(parse_bytes(bad), None, "{bad:?}");
        }
        assert_eq!(parse_cpu("250m"), Some(250));
        assert_eq!(parse_cpu("0.5"), Some(500));
        for bad in ["", "m", "1e99", "NaN", "inf", "-1", "0.1m"] {
            assert_eq!(parse_cpu(bad), None, "{bad:?}");
        }
    }
}
