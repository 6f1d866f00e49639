//! Any bytes as one line of text, and back. Pure.
//!
//! Text stays as it is, but for the backslash; what a terminal would not show, or show as
//! something else, becomes one of
//!
//! ```text
//! \\   a backslash       \n   a line feed       \r   a carriage return
//! \t   a tab             \xHH any byte, as two hexadecimal digits
//! ```
//!
//! Each string of bytes has one such text, and no two have the same.

use std::fmt::Write;

/// The bytes as text.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str(r"\\"),
                '\n' => text.push_str(r"\n"),
                '\r' => text.push_str(r"\r"),
                '\t' => text.push_str(r"\t"),
                c if is_shown(c) => text.push(c),
                c => push_hex(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

/// Whether people see the character, and see it apart from others.
fn is_shown(c: char) -> bool {
    // The standard library knows which can be printed; quotes it escapes for other reasons.
    matches!(c, '\'' | '"') || c.escape_debug().len() == 1
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, r"\x{byte:02x}").expect("a string takes it");
    }
}

/// The bytes that a text stands for.
///
/// # Errors
///
/// A sentence about a backslash that nothing known follows.
pub(crate) fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (byte, len) = match *rest {
            [b'\\', ..] => (b'\\', 1),
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b't', ..] => (b'\t', 1),
            [b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(high) << 4 | hex(low), 3)
            }
            _ => {
                let at = text.len() - rest.len();
                return Err(format!(
                    r"the backslash at byte {at} is followed by none of \ n r t xHH; write \\ for \
                      a backslash"
                ));
            }
        };
        bytes.push(byte);
        rest = &rest[len..];
    }
    Ok(bytes)
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_and_the_rest_is_named() {
        for (bytes, text) in [
            (&b"user/1 'x' \"y\""[..], r#"user/1 'x' "y""#),
            ("käse ✓ 日本".as_bytes(), "käse ✓ 日本"),
            (b"a\tb\nc\rd\\", r"a\tb\nc\rd\\"),
            (b"k\xff\x00\x1b[31m", r"k\xff\x00\x1b[31m"),
            ("\u{202e}x\u{a0}".as_bytes(), r"\xe2\x80\xaex\xc2\xa0"),
            (b"", ""),
            // Text that looks like an escape is no escape.
            (br"\n", r"\\n"),
        ] {
            assert_eq!(escape(bytes), text);
            assert_eq!(unescape(text.as_bytes()).as_deref(), Ok(bytes));
        }
        assert_eq!(unescape(br"\xFf\xA0").unwrap(), [0xff, 0xa0]);
    }

    #[test]
    fn all_bytes_come_back_from_one_line_without_tabs() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut dice = fastrand::Rng::with_seed(seed);
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let random = (0..500).map(|_| {
            let len = dice.usize(..12);
            // Among others, many of those that matter.
            let byte = |dice: &mut fastrand::Rng| match dice.bool() {
                true => *dice.choice(b"\\nxrt0af\n\t\r\xc3\xa4\xe2\x80\xae").expect("some"),
                false => dice.u8(..),
            };
            (0..len).map(|_| byte(&mut dice)).collect()
        });
        for bytes in std::iter::once(all).chain(random) {
            let text = escape(&bytes);
            assert_eq!(unescape(text.as_bytes()), Ok(bytes.clone()), "{text}");
            assert!(!text.contains(['\n', '\t', '\r']), "{text:?}");
        }
    }

    #[test]
    fn a_backslash_before_anything_else_is_refused() {
        for text in [r"\", r"a\", r"\q", r"\x", r"\x1", r"\xg0", r"\x0g", r"\0", r"\N", r"\\\"] {
            let error = unescape(text.as_bytes()).unwrap_err();
            assert!(error.contains("backslash at byte"), "{text}: {error}");
        }
    }
}
