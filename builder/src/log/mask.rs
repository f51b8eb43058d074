//! Secret values don't get into logs, neither as they are nor in base 64.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use panda_domain::secret::Secret;

/// Shorter values are not masked: they would shred the log without hiding anything.
const SHORTEST: usize = 4;
/// What stands in a log instead of a secret.
const MASKED: &str = "[secret]";

/// Knows the texts that must not appear.
#[derive(Clone, Default)]
pub struct Mask {
    /// Longest first, so that no half of a secret stays.
    needles: Vec<String>,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({} texts)", self.needles.len())
    }
}

impl Mask {
    /// Hides these values, each line of those with several, and their base 64.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut needles = Vec::new();
        for secret in secrets {
            let value = secret.reveal();
            let trimmed = value.trim();
            let whole = [value, trimmed].into_iter();
            for text in whole.chain(trimmed.lines().map(str::trim)).filter(|text| text.len() >= SHORTEST) {
                needles.push(text.to_owned());
                needles.extend(
                    [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].map(|code| code.encode(text)),
                );
                // `echo $SECRET | base64` encodes the end of the line too.
                needles.push(STANDARD.encode(format!("{text}\n")));
            }
        }
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        Self { needles }
    }

    /// Returns the text with every secret replaced by `[secret]`.
    pub fn apply(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for needle in &self.needles {
            if out.contains(needle.as_str()) {
                out = out.replace(needle.as_str(), MASKED);
            }
        }
        out
    }

    /// Returns the length in bytes of the longest text that is hidden.
    pub(crate) fn longest(&self) -> usize {
        self.needles.first().map_or(0, String::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_its_lines_and_its_base64_are_hidden() {
        let secrets =
            [Secret::new("s3cr3t-value\n"), Secret::new("-----BEGIN\nMIIabcd\n-----END"), Secret::new("abc")];
        let mask = Mask::new(&secrets);
        let encoded = STANDARD.encode("s3cr3t-value\n");
        let text = format!("a s3cr3t-value b {encoded} c MIIabcd d abc {}", STANDARD.encode("s3cr3t-value"));
        assert_eq!(mask.apply(&text), "a [secret] b [secret] c [secret] d abc [secret]");
        assert!(!format!("{mask:?}").contains("s3cr3t"));
    }
}
