//! Kubernetes' figures, `96Mi` or `1500m`, as numbers.

/// Reads bytes.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (figure, unit) = text.split_at(split);
    let factor: u64 = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        // Servers write such a figure where a fraction was asked for.
        "m" => return figure.parse::<u64>().ok().map(|figure| figure.div_ceil(1000)),
        _ => return None,
    };
    figure.parse::<u64>().ok()?.checked_mul(factor)
}

/// Reads thousandths of a core.
pub(crate) fn millis(text: &str) -> Option<u32> {
    let nanos = if let Some(figure) = text.strip_suffix('n') {
        figure.parse::<u64>().ok()?
    } else if let Some(figure) = text.strip_suffix('u') {
        figure.parse::<u64>().ok()?.checked_mul(1_000)?
    } else if let Some(figure) = text.strip_suffix('m') {
        figure.parse::<u64>().ok()?.checked_mul(1_000_000)?
    } else {
        text.parse::<u64>().ok()?.checked_mul(1_000_000_000)?
    };
    u32::try_from(nanos.div_ceil(1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_in_every_unit_that_servers_write() {
        assert_eq!(
            [bytes("96Mi"), bytes("1500"), bytes("128974848000m")],
            [Some(96 << 20), Some(1500), Some(128_974_848)]
        );
        assert_eq!([millis("250m"), millis("2"), millis("1234567n")], [Some(250), Some(2000), Some(2)]);
        assert_eq!((bytes("much"), millis("")), (None, None));
    }
}
