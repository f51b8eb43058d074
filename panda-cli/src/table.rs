//! Words and numbers for lists.

use jiff::Timestamp;
use panda_domain::clock::Clock;

/// Returns a moment as people say it: `12s ago`, `3m ago`, `5h ago`, `9d ago`; a date after that.
pub(crate) fn ago(moment: &str, clock: &Clock) -> String {
    let Ok(at) = moment.parse::<Timestamp>() else { return moment.to_owned() };
    let seconds = clock.now().duration_since(at).as_secs();
    match seconds {
        ..=0 => "now".to_owned(),
        1..=59 => format!("{seconds}s ago"),
        60..=3599 => format!("{}m ago", seconds / 60),
        3600..=172_799 => format!("{}h ago", seconds / 3600),
        172_800..=5_183_999 => format!("{}d ago", seconds / 86_400),
        _ => moment.chars().take(10).collect(),
    }
}

/// Returns thousandths of a core as people say them: `0.5`, `2`.
pub(crate) fn cores(millis: u32) -> String {
    let text = format!("{:.3}", f64::from(millis) / 1000.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns bytes as panda.toml writes them: `512Mi`, `1Gi`.
pub(crate) fn memory(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 && b.is_multiple_of(1 << 30) => format!("{}Gi", b >> 30),
        b => format!("{}Mi", b >> 20),
    }
}

/// Returns a release's name, `-` when there is none.
pub(crate) fn release(number: Option<u32>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("v{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_sizes_read_as_people_say_them() {
        let clock = Clock::manual("2026-01-02T00:00:00Z".parse().unwrap());
        assert_eq!(ago("2026-01-01T23:59:30Z", &clock), "30s ago");
        assert_eq!(ago("2026-01-01T20:00:00Z", &clock), "4h ago");
        assert_eq!(ago("2020-05-06T00:00:00Z", &clock), "2020-05-06");
        assert_eq!(ago("soon", &clock), "soon");
        assert_eq!(
            (cores(250), cores(2000), memory(512 << 20), memory(1 << 30)),
            ("0.25".into(), "2".into(), "512Mi".into(), "1Gi".into())
        );
    }
}
