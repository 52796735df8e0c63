//! A film as an asciicast, version 3: for other players and for keeping elsewhere, not as evidence.
//!
//! Shape: JSON lines; a header, then `[seconds since the event before, kind, text]`. Bytes that are no UTF-8 are
//! replaced, which the format cannot avoid. An asciicast holds what the session wrote *as it was*: whoever plays it with
//! another player shows it to their terminal. The lines themselves are safe on one, because JSON escapes what would drive it.

use std::time::Duration;

use serde_json::json;
use wire::octets::plain_json;

use crate::film::{Film, Moment, What};

/// The lines, each without its line end.
#[must_use]
pub fn lines(film: &Film, title: &str) -> Vec<String> {
    let first = film.moments().iter().find_map(|moment| match moment.what {
        What::Size(size) => Some(size),
        _ => None,
    });
    let (columns, rows) = first.map_or((80, 24), |size| (size.columns(), size.rows()));
    let mut term = json!({"cols": columns, "rows": rows});
    if let (Some(name), Some(body)) = (film.term(), term.as_object_mut()) {
        body.insert("type".into(), name.into());
    }
    let mut head = json!({"version": 3, "term": term, "title": title});
    if let (Some(at), Some(body)) = (film.began(), head.as_object_mut()) {
        body.insert("timestamp".into(), at.secs().into());
    }
    let mut lines = vec![plain_json(&head.to_string())];
    let mut writer = Writer::default();
    for moment in film.moments().iter().skip(1) {
        writer.write(moment, &mut lines);
    }
    writer.finish(&mut lines);
    lines
}

/// Keeps the beginnings of characters whose ends have not come.
#[derive(Default)]
struct Writer {
    at: Duration,
    output: Vec<u8>,
    input: Vec<u8>,
}

impl Writer {
    fn write(&mut self, moment: &Moment, lines: &mut Vec<String>) {
        let (kind, text) = match &moment.what {
            What::Output(bytes) => ("o", whole(&mut self.output, bytes)),
            What::Input(bytes) => ("i", whole(&mut self.input, bytes)),
            What::Size(size) => ("r", format!("{}x{}", size.columns(), size.rows())),
            What::Hidden(count) => ("m", format!("{count} bytes were typed that are not kept")),
            What::Note(text) => ("m", text.clone()),
            What::Lost(count) => ("m", format!("{count} bytes were lost")),
            What::End(end) => {
                let status = u8::from(*end != wire::channel::End::Exited);
                ("x", status.to_string())
            }
        };
        if !text.is_empty() {
            self.line((moment.at, kind), &text, lines);
        }
    }

    fn line(&mut self, (at, kind): (Duration, &str), text: &str, lines: &mut Vec<String>) {
        let since = at.saturating_sub(self.at);
        // Whole milliseconds; what is left counts with the next one.
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.at = self.at.saturating_add(Duration::from_millis(millis));
        let text = plain_json(&serde_json::Value::from(text).to_string());
        lines.push(format!("[{}.{:03}, \"{kind}\", {text}]", millis / 1000, millis % 1000));
    }

    fn finish(&mut self, lines: &mut Vec<String>) {
        if !self.output.is_empty() {
            self.line((self.at, "o"), "\u{fffd}", lines);
        }
    }
}

/// The characters that are whole now.
fn whole(pending: &mut Vec<u8>, bytes: &[u8]) -> String {
    pending.extend_from_slice(bytes);
    let kept = match pending.utf8_chunks().last() {
        // Up to three bytes may be the beginning of a character.
        Some(last)
            if std::str::from_utf8(last.invalid())
                .is_err_and(|flaw| flaw.error_len().is_none()) =>
        {
            last.invalid().len()
        }
        _ => 0,
    };
    let rest = pending.split_off(pending.len().saturating_sub(kept));
    let text = String::from_utf8_lossy(pending).into_owned();
    *pending = rest;
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::film::tests::film;

    #[test]
    fn a_film_is_written_as_the_format_has_it() {
        let film = film(&[(100, "a\x1b[1m"), (1_350, "b\u{fc}\"")]);
        let lines = lines(&film, "ana on db1");
        let head: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((&head["version"], &head["term"]["cols"]), (&json!(3), &json!(20)));
        assert_eq!(head["timestamp"], json!(1_000));
        assert_eq!(lines[1], "[0.100, \"o\", \"a\\u001b[1m\"]");
        assert_eq!(lines[2], "[1.250, \"o\", \"b\u{fc}\\\"\"]");
        for line in &lines[1..] {
            let event: (f64, String, String) = serde_json::from_str(line).unwrap();
            assert!(event.0 >= 0.0 && event.1.len() == 1);
        }
    }

    #[test]
    fn characters_that_are_cut_in_two_are_whole_again() {
        let mut pending = Vec::new();
        assert_eq!(whole(&mut pending, b"a\xc3"), "a");
        assert_eq!(whole(&mut pending, b"\xbcb\xff"), "\u{fc}b\u{fffd}");
        assert_eq!(whole(&mut pending, b"\xe6\xbc"), "");
        assert_eq!(whole(&mut pending, b"x"), "\u{fffd}x");
    }
}
