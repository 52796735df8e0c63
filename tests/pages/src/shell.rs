//! A shell's line in words: as much of `sh` as pages use.

use std::iter::Peekable;
use std::str::Chars;

/// A word without its quotes, or what stands between commands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Word(String),
    /// `|`: what comes next is another command, or, in a sentence, another possibility.
    Bar,
    /// The command is over.
    End,
}

/// Parts a text into words. Comments, what is redirected and what stands in a here-document are left out.
///
/// # Errors
/// When a quote does not end.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut lexer = Lexer {
        rest: text.chars().peekable(),
        tokens: Vec::new(),
        word: None,
        next: Next::Word,
        documents: Vec::new(),
    };
    while let Some(letter) = lexer.rest.next() {
        lexer.take(letter)?;
    }
    lexer.end();
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    tokens: Vec<Token>,
    word: Option<String>,
    next: Next,
    /// What ends each here-document that begins with the next line.
    documents: Vec<String>,
}

/// What the next word is.
enum Next {
    Word,
    /// Where something is redirected to.
    Place,
    /// What ends a here-document.
    Document,
}

impl Lexer<'_> {
    fn take(&mut self, letter: char) -> Result<(), String> {
        match letter {
            '\\' => match self.rest.next() {
                Some('\n') | None => {}
                Some(escaped) => self.push(escaped),
            },
            '\'' | '"' => self.quoted(letter)?,
            '$' if self.rest.peek() == Some(&'(') => self.substituted(),
            '#' if self.word.is_none() => {
                while self.rest.next_if(|next| *next != '\n').is_some() {}
            }
            ' ' | '\t' => self.end_word(),
            '\n' => {
                self.end();
                self.skip_documents();
            }
            '<' | '>' => self.redirect(letter),
            '|' if self.rest.next_if_eq(&'|').is_some() => self.end(),
            '|' => {
                self.end_word();
                self.tokens.push(Token::Bar);
            }
            ';' | '&' | '(' | ')' => self.end(),
            other => self.push(other),
        }
        Ok(())
    }

    fn push(&mut self, letter: char) {
        self.word.get_or_insert_with(String::new).push(letter);
    }

    fn quoted(&mut self, quote: char) -> Result<(), String> {
        let word = self.word.get_or_insert_with(String::new);
        while let Some(letter) = self.rest.next() {
            match letter {
                '\\' if quote == '"' => word.extend(self.rest.next()),
                _ if letter == quote => return Ok(()),
                _ => word.push(letter),
            }
        }
        Err(format!("a quote does not end: {quote}{word}"))
    }

    /// `$(…)` is one word, whatever stands in it.
    fn substituted(&mut self) {
        self.push('$');
        let mut depth = 0_usize;
        while let Some(letter) = self.rest.next() {
            self.push(letter);
            depth = match letter {
                '(' => depth.saturating_add(1),
                ')' => depth.saturating_sub(1),
                _ => depth,
            };
            if depth == 0 {
                return;
            }
        }
    }

    fn redirect(&mut self, sign: char) {
        let number = |word: &mut String| word.bytes().all(|byte| byte.is_ascii_digit());
        if self.word.take_if(number).is_none() {
            self.end_word();
        }
        let is_twice = self.rest.next_if_eq(&sign).is_some();
        while self.rest.next_if(|next| matches!(next, '&' | '-')).is_some() {}
        self.next = if is_twice && sign == '<' { Next::Document } else { Next::Place };
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        match std::mem::replace(&mut self.next, Next::Word) {
            Next::Word => self.tokens.push(Token::Word(word)),
            Next::Place => {}
            Next::Document => self.documents.push(word),
        }
    }

    fn end(&mut self) {
        self.end_word();
        self.tokens.push(Token::End);
    }

    fn skip_documents(&mut self) {
        for end in std::mem::take(&mut self.documents) {
            let mut line = String::new();
            for letter in self.rest.by_ref() {
                match letter {
                    '\n' if line == end => break,
                    '\n' => line.clear(),
                    other => line.push(other),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_parted_as_a_shell_does() {
        for (line, words) in [
            ("a 'b c' \"d \\\"e\\\"\" f\\ g", "a,b c,d \"e\",f g;"),
            ("a   # b", "a;"),
            ("a#b", "a#b;"),
            ("a \\\n b", "a,b;"),
            ("a 2>/dev/null > b < c d", "a,d;"),
            ("a >> b 2>&1", "a;"),
            ("a && b || c ; d", "a;b;c;d;"),
            ("a | b", "a|b;"),
            ("(a; b)", "a;b;"),
            ("a \"\" b", "a,,b;"),
            ("a $(b | c (d)) e", "a,$(b | c (d)),e;"),
            ("cat > x <<'EOF'\na | b\nEOF\nc", "cat;c;"),
        ] {
            assert_eq!(told(&tokens(line).unwrap()), words, "{line}");
        }
    }

    #[test]
    fn a_quote_that_does_not_end_is_told() {
        assert_eq!(tokens("a 'b").unwrap_err(), "a quote does not end: 'b");
    }

    fn told(tokens: &[Token]) -> String {
        let mut told = String::new();
        let mut is_within = false;
        for token in tokens {
            match token {
                Token::Word(word) => {
                    told.push_str(if is_within { "," } else { "" });
                    told.push_str(word);
                }
                Token::Bar => told.push('|'),
                Token::End if !told.ends_with(';') && !told.is_empty() => told.push(';'),
                Token::End => {}
            }
            is_within = matches!(token, Token::Word(_));
        }
        told
    }
}
