//! The text of an HTML page: what a reader of the page sees.
//!
//! Not a parser, only what a search needs, and it takes any bytes: tags, comments, scripts and
//! styles go; the common entities are decoded, others stay as they stand. Line breaks stay
//! where they are, so that line numbers are those of the file. A tag ends a word, except
//! `<wbr>`, which is made to stand inside words.

/// Named entities that stand for a character that people search for or that ends a word.
const ENTITIES: [(&str, char); 12] = [
    ("amp", '&'),
    ("apos", '\''),
    ("copy", '©'),
    ("gt", '>'),
    ("hellip", '…'),
    ("ldquo", '“'),
    ("lt", '<'),
    ("mdash", '—'),
    ("nbsp", ' '),
    ("ndash", '–'),
    ("quot", '"'),
    ("rdquo", '”'),
];
/// `&#x10FFFF;` is the longest number of a character.
const ENTITY_BYTES_MAX: usize = 10;

/// The visible text of a page.
pub(crate) fn text(page: &str) -> String {
    let mut out = String::with_capacity(page.len() / 2);
    let mut rest = page;
    while let Some(at) = rest.find(['<', '&']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let len =
            if rest.starts_with('&') { entity(rest, &mut out) } else { markup(rest, &mut out) };
        rest = &rest[len..];
    }
    out.push_str(rest);
    out
}

/// Decodes the entity that `rest` begins with; its length.
fn entity(rest: &str, out: &mut String) -> usize {
    let end = rest.bytes().take(ENTITY_BYTES_MAX).position(|byte| byte == b';');
    let decoded = end.and_then(|end| {
        let name = &rest[1..end];
        let Some(number) = name.strip_prefix('#') else {
            return ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, c)| (*c, end));
        };
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        Some((char::from_u32(code.ok()?)?, end))
    });
    let (c, end) = decoded.unwrap_or(('&', 0));
    out.push(c);
    end + 1
}

/// Skips the tag or comment that `rest` begins with, and what a script or style holds; the
/// length of what was skipped. What never ends is skipped to the end of the page.
fn markup(rest: &str, out: &mut String) -> usize {
    let after = rest[1..].chars().next();
    if !after.is_some_and(|c| c.is_ascii_alphabetic() || "/!?".contains(c)) {
        out.push('<');
        return 1;
    }
    let (len, gap) = if let Some(comment) = rest.strip_prefix("<!--") {
        (comment.find("-->").map_or(rest.len(), |at| 4 + at + 3), true)
    } else {
        let tag = tag_len(rest);
        match name(&rest[1..tag]) {
            n if n.eq_ignore_ascii_case("script") => (tag + raw_len(&rest[tag..], "script"), true),
            n if n.eq_ignore_ascii_case("style") => (tag + raw_len(&rest[tag..], "style"), true),
            n => (tag, !n.eq_ignore_ascii_case("wbr")),
        }
    };
    if gap {
        out.push(' ');
    }
    out.extend(rest[..len].chars().filter(|c| *c == '\n'));
    len
}

/// The name that a tag begins with; empty for an end tag.
fn name(tag: &str) -> &str {
    let end = tag.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tag.len());
    &tag[..end]
}

/// The length of the tag at the start, its `>` included. A `>` in a quoted value is part of
/// the tag; a quote counts only where a value begins.
fn tag_len(rest: &str) -> usize {
    let mut quote = None;
    let mut value_begins = false;
    for (at, byte) in rest.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'>') => return at + 1,
            (None, b'"' | b'\'') if value_begins => quote = Some(byte),
            _ => {}
        }
        value_begins = byte == b'=' || (value_begins && byte.is_ascii_whitespace());
    }
    rest.len()
}

/// How far the contents of a script or style reach: to its end tag, which is not included.
fn raw_len(rest: &str, name: &str) -> usize {
    let ends = |at: usize| {
        let tail = &rest.as_bytes()[at + 2..];
        tail.len() >= name.len() && tail[..name.len()].eq_ignore_ascii_case(name.as_bytes())
    };
    rest.match_indices("</").map(|(at, _)| at).find(|at| ends(*at)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn tags_end_words_and_values_are_hidden() {
        assert_eq!(text("a<b class=\"x > y\">c</b>d").replace(' ', "|"), "a|c|d");
        assert_eq!(text("long<wbr>word"), "longword");
        assert_eq!(text("<p title='it''s'>1 < 2<br>").trim(), "1 < 2");
    }

    #[test]
    fn scripts_styles_and_comments_go_and_lines_stay() {
        let page = "<!-- a\n --><STYLE>b\n</style><script>if (c</d) \n</SCRIPT>e\n<!-- f";
        assert_eq!(text(page).replace(' ', ""), "\n\n\ne\n");
    }

    #[test]
    fn entities_are_decoded_once() {
        assert_eq!(
            text("&lt;T&gt; &amp;amp; &#65;&#x42; &eacute; & &#0x;"),
            "<T> &amp; AB &eacute; & &#0x;"
        );
        assert_eq!(text("é&é;éééééé"), "é&é;éééééé");
    }
}
