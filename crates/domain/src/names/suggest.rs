//! A valid name close to a refused one. What comes out is checked once more by the name's own rules.

use super::check;

/// Lower case, everything else that no label has turned into single dashes.
pub(super) fn label(value: &str) -> Option<String> {
    let mut slug = String::new();
    for c in value.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' => slug.push(c),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    let slug = slug.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let slug: String = slug.chars().take(39).collect();
    let slug = slug.trim_end_matches('-');
    (!slug.is_empty()).then(|| slug.to_owned())
}

/// A word of the platform gets `-app` behind it.
pub(super) fn app(value: &str) -> Option<String> {
    let slug = label(value)?;
    let longer: String = slug.chars().take(35).collect();
    let longer = format!("{}-app", longer.trim_end_matches('-'));
    [slug, longer].into_iter().find(|name| check::app(name).is_ok())
}

pub(super) fn process(value: &str) -> Option<String> {
    let slug: String = label(value)?.chars().take(20).collect();
    Some(slug.trim_end_matches('-').to_owned())
}

pub(super) fn environment(value: &str) -> Option<String> {
    let parts: Option<Vec<String>> = value.split('/').filter(|part| !part.is_empty()).map(label).collect();
    let parts = parts?;
    let kept = if parts.len() > 2 { vec![parts[0].clone(), parts[1..].join("-")] } else { parts };
    Some(kept.join("/"))
}

/// Underscores for what no variable has; a name that is the platform's gets a word in front.
pub(super) fn env_key(value: &str) -> Option<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let key: String = value.trim().chars().map(plain).take(120).collect();
    if !key.contains(|c: char| c.is_ascii_alphanumeric()) || key.starts_with("LD_") {
        return None;
    }
    if key.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(format!("_{key}"));
    }
    let own = key.strip_prefix("PANDA_").unwrap_or(&key);
    if check::env_key(&key).is_ok() { Some(key) } else { Some(format!("APP_{own}")) }
}

/// The host of what may be a whole address.
pub(super) fn hostname(value: &str) -> Option<String> {
    let rest = value.trim().split_once("://").map_or(value.trim(), |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next()?.rsplit('@').next()?;
    let host = host.split(':').next()?.trim_end_matches('.');
    Some(host.to_ascii_lowercase())
}

pub(super) fn title(value: &str) -> Option<String> {
    let plain: String = value.chars().filter(|c| check::title(&format!("x{c}")).is_ok()).collect();
    let plain: String = plain.trim().chars().take(60).collect();
    (!plain.is_empty()).then_some(plain)
}

pub(super) fn email(value: &str) -> Option<String> {
    let plain = value.trim().to_lowercase();
    (!plain.is_empty()).then_some(plain)
}
