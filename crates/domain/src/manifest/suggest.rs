//! "Did you mean": the closest of some words.

/// Returns the candidate that `word` was most likely meant to be, if one is close enough.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 60 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let allowed = match word.chars().count() {
        0..=4 => 1,
        5..=7 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .map(|candidate| {
            let plain = candidate.to_lowercase().replace('-', "_");
            (strsim::damerau_levenshtein(&word, &plain), candidate)
        })
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn a_slip_finds_its_word_and_another_word_finds_none() {
        assert_eq!(closest("replcas", ["port", "replicas"]), Some("replicas"));
        assert_eq!(closest("Health-Timeout", ["health_timeout"]), Some("health_timeout"));
        assert_eq!(closest("zzz", ["cpu", "port"]), None);
        assert_eq!(closest("shpo", ["wiki", "shop"]), Some("shop"));
        assert_eq!(closest("nope", ["open"]), None);
        assert_eq!(closest(&"a".repeat(10_000), ["a"]), None);
    }
}
