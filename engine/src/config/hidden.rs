//! Hides secrets in the lines that a problem shows: whoever reads them may be a log.
//!
//! It goes by the names of keys, and not by what was understood, because a line is shown when it was not understood.

/// Keys that end so hold a secret.
const NAMES: &[&str] = &["password", "secret", "token"];

/// The same text, byte for byte as long, with stars for every value that stands behind the name of a secret. A table
/// (`{ file = "…" }`) says where the secret is, and stays.
pub(super) fn hide(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut out = text.as_bytes().to_vec();
    for name in NAMES {
        for (at, _) in lower.match_indices(name) {
            if let Some((from, to)) = value_behind(&lower, at + name.len()) {
                out[from..to].iter_mut().for_each(|byte| *byte = b'*');
            }
        }
    }
    // Whole values were replaced, each from one character boundary to another.
    String::from_utf8(out).unwrap_or_default()
}

/// First and last byte of the value behind the key that ends at `at`.
fn value_behind(text: &str, at: usize) -> Option<(usize, usize)> {
    let skip = |from: usize, what: &[char]| from + (text[from..].len() - text[from..].trim_start_matches(what).len());
    // A key may be quoted.
    let equals = skip(at, &['"', '\'', ' ', '\t']);
    if !text[equals..].starts_with('=') {
        return None;
    }
    let from = skip(equals + 1, &[' ', '\t', '[']);
    let first = text[from..].chars().next()?;
    let ends: &[char] = match first {
        '{' | '\n' | '\r' => return None,
        '"' | '\'' => {
            let inner = from + 1;
            let line = text[inner..].find('\n').map_or(text.len(), |end| inner + end);
            let end = closing(&text[inner..line], first).map_or(line, |end| inner + end);
            return Some((inner, end));
        }
        _ => &['\n', '\r', ',', '}', ']'],
    };
    let end = text[from..].find(ends).map_or(text.len(), |end| from + end);
    Some((from, end))
}

/// Where a string ends; a backslash hides the quote behind it, except in literal strings.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_behind_the_names_of_secrets_are_stars() {
        let check = |text: &str, expected: &str| assert_eq!(hide(text), expected);
        check("password = \"hush\"", "password = \"****\"");
        check("a = { password = 'hu\\', username = \"u\" }", "a = { password = '***', username = \"u\" }");
        check("client_secret=\"a\\\"b\", x = 1", "client_secret=\"****\", x = 1");
        check("password = [\"hush\"]", "password = [\"****\"]");
        check("password = 12345\nnext = 1", "password = *****\nnext = 1");
        check("\"password\" = \"hush", "\"password\" = \"****");
        check("--set c.k.authentication.password=hush hush", "--set c.k.authentication.password=*********");
        check("AQUEDUCT__C__K__PASSWORD=hush", "AQUEDUCT__C__K__PASSWORD=****");
        check("password = \"h\u{e4}\"", "password = \"***\"");
        for unchanged in ["password = { file = \"/run/x\" }", "token_endpoint = \"http://x\"", "password", "password ="]
        {
            check(unchanged, unchanged);
        }
    }
}
