//! One pattern, matched in time proportional to pattern × path, whatever it looks like.

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) enum Glob {
    /// `**name` without other wildcards: any path with that ending.
    Suffix(String),
    Tokens(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Literal(char),
    /// `?`: one character but `/`.
    One,
    /// `*`: any characters but `/`.
    Star,
    /// `**` before something: nothing, or anything up to a `/`.
    Directories,
    /// `**` at the end: anything.
    Rest,
    /// `[a-z]`: one of these, or none of these.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    pub(super) fn new(pattern: &str) -> Result<Self, &'static str> {
        if let Some(suffix) = pattern.strip_prefix("**")
            && !suffix.contains(['*', '?', '[', '\\'])
        {
            return Ok(Self::Suffix(suffix.to_owned()));
        }
        tokens(pattern).map(Self::Tokens)
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Suffix(suffix) => {
                path.ends_with(suffix.as_str()) || suffix.strip_prefix('/').is_some_and(|name| name == path)
            }
            Self::Tokens(tokens) => run(tokens, path),
        }
    }
}

fn tokens(pattern: &str) -> Result<Vec<Token>, &'static str> {
    let mut out = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_none() { Token::Rest } else { Token::Directories }
            }
            '*' => Token::Star,
            '?' => Token::One,
            '[' => class(&mut chars)?,
            '\\' => Token::Literal(chars.next().ok_or("ends with a `\\`")?),
            c => Token::Literal(c),
        });
    }
    Ok(out)
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    const OPEN: &str = "has a `[` that isn't closed or holds nothing";
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let mut letter = |first: bool| match chars.next().ok_or(OPEN)? {
            ']' if first => Ok(None),
            ']' | '-' => Err(OPEN),
            '\\' => chars.next().map(Some).ok_or(OPEN),
            c => Ok(Some(c)),
        };
        let Some(low) = letter(true)? else { break };
        if chars.next_if_eq(&'-').is_some() {
            let high = match chars.next().ok_or(OPEN)? {
                ']' => return Err(OPEN),
                '\\' => chars.next().ok_or(OPEN)?,
                c => c,
            };
            if high < low {
                return Err("has a range that runs backwards");
            }
            ranges.push((low, high));
        } else {
            ranges.push((low, low));
        }
    }
    if ranges.is_empty() { Err(OPEN) } else { Ok(Token::Class { negated, ranges }) }
}

/// Follows all ways through the pattern at once: `at[i]` says that token `i` is next, `inside[i]` that
/// `Directories` at `i` has begun and waits for its `/`.
fn run(tokens: &[Token], path: &str) -> bool {
    let mut at = vec![false; tokens.len() + 1];
    let mut inside = vec![false; tokens.len() + 1];
    at[0] = true;
    skip_empty(tokens, &mut at);
    for c in path.chars() {
        let mut next = vec![false; tokens.len() + 1];
        let mut next_inside = vec![false; tokens.len() + 1];
        for (i, token) in tokens.iter().enumerate() {
            if !at[i] && !inside[i] {
                continue;
            }
            match token {
                Token::Directories => {
                    next_inside[i] = true;
                    next[i + 1] |= c == '/';
                }
                Token::Rest => next[i] = true,
                Token::Star => next[i] |= c != '/',
                Token::One => next[i + 1] |= c != '/',
                Token::Literal(l) => next[i + 1] |= *l == c,
                Token::Class { negated, ranges } => {
                    next[i + 1] |= ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated;
                }
            }
        }
        skip_empty(tokens, &mut next);
        (at, inside) = (next, next_inside);
    }
    at[tokens.len()]
}

/// Steps over tokens that may match nothing.
fn skip_empty(tokens: &[Token], at: &mut [bool]) {
    for (i, token) in tokens.iter().enumerate() {
        if at[i] && matches!(token, Token::Star | Token::Directories | Token::Rest) {
            at[i + 1] = true;
        }
    }
}
