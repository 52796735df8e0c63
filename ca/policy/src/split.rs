//! The statements of a file of policies, each with its place, so that whatever is wrong can say where.
//!
//! The language ends a policy with `;` and nothing else; strings and comments are stepped over. A statement that was cut
//! wrongly does not parse, and the count is compared with what the language's own parser finds, so nothing slips through.

/// One policy's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statement<'a> {
    /// Where its first character is, in bytes.
    pub(crate) offset: usize,
    /// From there to its semicolon.
    pub(crate) text: &'a str,
}

/// Cuts a file into its statements. What follows the last semicolon is one too, unless it is blank.
pub(crate) fn statements(text: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let (mut state, mut begin) = (State::Code, None);
    for (at, byte) in text.bytes().enumerate() {
        state = match (state, byte) {
            (State::Code, b'/') if next_is_slash(text, at) => State::Comment,
            (State::Code, b'"') => State::Text,
            (State::Comment, b'\n') | (State::Text, b'"') => State::Code,
            (State::Text, b'\\') => State::Escape,
            (State::Escape, _) => State::Text,
            (same, _) => same,
        };
        if state == State::Comment || byte.is_ascii_whitespace() {
            continue;
        }
        let offset = *begin.get_or_insert(at);
        if state == State::Code && byte == b';' {
            found.extend(statement(text, offset, at.saturating_add(1)));
            begin = None;
        }
    }
    if let Some(offset) = begin {
        found.extend(statement(text, offset, text.len()));
    }
    found
}

/// The line of a byte, counted from 1.
pub(crate) fn line(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    before.filter(|byte| *byte == b'\n').count().saturating_add(1)
}

fn next_is_slash(text: &str, at: usize) -> bool {
    text.as_bytes().get(at.saturating_add(1)) == Some(&b'/')
}

fn statement(text: &str, offset: usize, end: usize) -> Option<Statement<'_>> {
    text.get(offset..end).map(|text| Statement { offset, text })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    Comment,
    Text,
    Escape,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(usize, &str)> {
        statements(text).iter().map(|one| (line(text, one.offset), one.text)).collect()
    }

    #[test]
    fn semicolons_in_strings_and_comments_end_nothing() {
        let text = "// one; two\n a \"x;\\\";\" b; // c;\n\n d;";
        assert_eq!(cut(text), [(2, "a \"x;\\\";\" b;"), (4, "d;")]);
    }

    #[test]
    fn what_lacks_its_semicolon_is_a_statement_and_blanks_are_none() {
        assert_eq!(cut("a;\nb"), [(1, "a;"), (2, "b")]);
        assert_eq!(cut(" \n // only words"), []);
        assert_eq!(cut("\"é;\";"), [(1, "\"é;\";")]);
    }
}
