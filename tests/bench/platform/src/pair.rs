//! Two sides that are measured in turns.

use std::time::Duration;

use serde::Serialize;

/// What one comparison found, in milliseconds. A round's samples stand at the same place of both lists.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    pub(crate) name: &'static str,
    /// The ratio that is wanted at most.
    pub(crate) target: f64,
    pub(crate) ours_ms: Vec<f64>,
    pub(crate) theirs_ms: Vec<f64>,
    /// What the server says about the phases of ours, by name.
    pub(crate) phases: Vec<serde_json::Value>,
}

impl Pair {
    pub(crate) fn new(name: &'static str, target: f64) -> Self {
        Self { name, target, ours_ms: Vec::new(), theirs_ms: Vec::new(), phases: Vec::new() }
    }

    pub(crate) fn ours(&mut self, took: Duration) {
        eprintln!("{}: panda {} ms", self.name, took.as_millis());
        self.ours_ms.push(milliseconds(took));
    }

    pub(crate) fn theirs(&mut self, took: Duration) {
        eprintln!("{}: by hand {} ms", self.name, took.as_millis());
        self.theirs_ms.push(milliseconds(took));
    }

    /// The ratio of the medians.
    pub(crate) fn ratio(&self) -> f64 {
        median(&self.ours_ms) / median(&self.theirs_ms)
    }

    /// The median of each round's own ratio: what disturbs a round disturbs both of its sides.
    pub(crate) fn paired_ratio(&self) -> f64 {
        let ratios: Vec<f64> =
            self.ours_ms.iter().zip(&self.theirs_ms).map(|(ours, theirs)| ours / theirs).collect();
        median(&ratios)
    }
}

/// Tells whether ours goes first in this round: A-B-B-A.
pub(crate) fn ours_first(round: usize) -> bool {
    round.is_multiple_of(2)
}

pub(crate) fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

pub(crate) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The sample below which this share lies; between two samples in the middle.
pub(crate) fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    #[expect(clippy::cast_precision_loss, reason = "there are few samples")]
    let place = share * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last index"
    )]
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        assert!((median(&[4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
        assert!((quantile(&[1.0, 2.0, 3.0], 1.0) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn sides_take_turns_at_being_first() {
        assert_eq!([0, 1, 2, 3].map(ours_first), [true, false, true, false]);
    }
}
