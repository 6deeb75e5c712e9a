//! JSON written straight into a byte buffer: what a shard needs for `${.}`, without a document in between.
//!
//! Text is copied in runs. Eight bytes at a time are checked for the few that JSON escapes, so that text without any,
//! which is nearly all of it, costs little more than the copy.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Appends `text` as a JSON string, quotes included.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (clean, tail) = rest.split_at(clean_len(rest));
        out.extend_from_slice(clean);
        let [byte, tail @ ..] = tail else { break };
        put_escaped(out, *byte);
        rest = tail;
    }
    out.push(b'"');
}

/// Appends bytes as a JSON string in base64.
pub(super) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    put_bare_base64(out, bytes);
    out.push(b'"');
}

/// Appends bytes in base64 (RFC 4648, padded).
pub(super) fn put_bare_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    // Four characters for every three bytes begun.
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written =
        STANDARD.encode_slice(bytes, &mut out[start..]).expect("the room was computed from the input's length");
    out.truncate(start + written);
}

/// Appends a whole number in decimal.
pub(super) fn put_int(out: &mut Vec<u8>, value: i64) {
    // 19 digits hold any u64 below 2^63, and its negation.
    let mut digits = [0; 19];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `true` or `false`.
pub(super) fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Appends the 32 digits of `value` in upper-case hexadecimal.
pub(super) fn put_hex(out: &mut Vec<u8>, value: u128) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digits: [u8; 32] = std::array::from_fn(|i| DIGITS[(value >> (124 - 4 * i) & 15) as usize]);
    out.extend_from_slice(&digits);
}

/// How many bytes at the start need no escape.
fn clean_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xFF;
    const HIGH: u64 = ONES * 0x80;
    // A borrow can only spoil bytes above a true hit, so the lowest hit is exact.
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (words, tail) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let quote = zero_bytes(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_bytes(word ^ (ONES * u64::from(b'\\')));
        let hits = control | quote | backslash;
        if hits != 0 {
            return i * 8 + (hits.trailing_zeros() / 8) as usize;
        }
    }
    let checked = words.len() * 8;
    checked + tail.iter().position(|&byte| is_escaped(byte)).unwrap_or(tail.len())
}

/// RFC 8259 section 7: the quotation mark, the reverse solidus and U+0000 to U+001F.
fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cold]
fn put_escaped(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0A => b'n',
        0x0C => b'f',
        0x0D => b'r',
        _ => {
            let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// Every ASCII character and some others, at every offset within and across words, read back by a parser that is not ours.
    #[test]
    fn text_survives_a_foreign_parser() {
        let characters = (0..=0x7F).map(char::from).chain(['é', '€', '\u{2028}', '𝄞']);
        for c in characters {
            for before in 0..18 {
                let text = format!("{}{c}{}{c}", "x".repeat(before), "y".repeat(7));
                let json = written(|out| put_text(out, &text));
                assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text, "{json}");
            }
        }
    }

    #[test]
    fn text_is_escaped_no_more_than_needed() {
        let check = |text: &str, expected: &str| assert_eq!(written(|out| put_text(out, text)), expected);
        check("", r#""""#);
        check("plain/topic é", r#""plain/topic é""#);
        check("a\"b\\c\nd\u{1}\u{1f}\u{7f}", "\"a\\\"b\\\\c\\nd\\u0001\\u001f\u{7f}\"");
    }

    #[test]
    fn numbers() {
        for value in [0, 9, 10, -1, 1_764_000_000_123, i64::MAX, i64::MIN] {
            assert_eq!(written(|out| put_int(out, value)), value.to_string());
        }
        assert_eq!(written(|out| put_hex(out, 0xABC)), format!("{:032X}", 0xABC));
    }

    #[test]
    fn base64() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(written(|out| put_base64(out, bytes)), expected);
        check(b"", r#""""#);
        check(&[0xFF], r#""/w==""#);
        check(&[0xFF, 0xFE, 0xFD, 0], r#""//79AA==""#);
    }
}
