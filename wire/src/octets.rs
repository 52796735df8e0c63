//! Bytes from a host, such as an argument: text where they are UTF-8, base64 where they are not, never altered.

use std::fmt;

use base64::Engine as _;
use serde::{Deserialize, Serialize};

/// Any bytes; in JSON a string when they are UTF-8, else `{"base64": "…"}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Octets(Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Binary { base64: String },
}

impl Octets {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A form that is safe on a terminal and on one line: control characters, quotes, backslashes and
    /// bytes that are no UTF-8 are escaped. For reading, not for running.
    #[must_use]
    pub fn display(&self) -> String {
        let mut shown = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if is_hidden(character) || "\\'\"".contains(character) {
                    shown.extend(character.escape_default());
                } else {
                    shown.push(character);
                }
            }
            for byte in chunk.invalid() {
                shown.push_str(&format!("\\x{byte:02x}"));
            }
        }
        shown
    }
}

/// Text from elsewhere made safe for one line of a terminal: control and deceptive characters are escaped, prose stays
/// readable.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// JSON made safe for a terminal: what [`plain`] escapes is escaped as JSON has it, so that whoever parses it reads the same.
/// Line ends between its parts stay.
#[must_use]
pub fn plain_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        // Those below a space are escaped within strings already, and line ends stand between them.
        if character >= ' ' && is_hidden(character) {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units).iter();
            shown.extend(units.map(|unit| format!("\\u{unit:04x}")));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// What cannot be seen, or changes how the rest of a line is shown: control characters; marks of direction, with which a name can be
/// shown backwards; line separators; what has no width; what only picks how its neighbour looks; tags; private use; and what is no
/// character.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || is_noncharacter(character)
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{e000}'..='\u{f8ff}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{13430}'..='\u{1345f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
                | '\u{f0000}'..='\u{10ffff}'
        )
}

/// The last two of each plane, and 32 in the first one: Unicode promises that they are no characters.
fn is_noncharacter(character: char) -> bool {
    matches!(character, '\u{fdd0}'..='\u{fdef}') || u32::from(character) & 0xfffe == 0xfffe
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.display())
    }
}

impl From<Octets> for Form {
    fn from(octets: Octets) -> Self {
        String::from_utf8(octets.0).map_or_else(
            |error| Self::Binary {
                base64: base64::engine::general_purpose::STANDARD.encode(error.as_bytes()),
            },
            Self::Text,
        )
    }
}

impl TryFrom<Form> for Octets {
    type Error = base64::DecodeError;
    fn try_from(form: Form) -> Result<Self, Self::Error> {
        match form {
            Form::Text(text) => Ok(Self(text.into_bytes())),
            Form::Binary { base64 } => {
                base64::engine::general_purpose::STANDARD.decode(base64).map(Self)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_terminal_cannot_be_driven_by_what_is_shown() {
        let shown = Octets::new(b"a\x1b[2J\n\xff\"\xe2\x80\xae".to_vec()).display();
        assert_eq!(shown, "a\\u{1b}[2J\\n\\xff\\\"\\u{202e}");
    }

    #[test]
    fn prose_stays_readable_and_drives_no_terminal() {
        let shown = plain("it's \"C:\\x\"\x1b]0;t\x07\r\u{202e}");
        assert_eq!(shown, "it's \"C:\\x\"\\u{1b}]0;t\\u{7}\\r\\u{202e}");
    }

    proptest! {
        #[test]
        fn json_that_is_shown_drives_no_terminal_and_reads_the_same(text in "[\\PC\u{0}-\u{a0}\u{200b}-\u{206f}\u{e000}\u{e0000}-\u{e0fff}]*") {
            let json = serde_json::to_string(&text).unwrap();
            let shown = plain_json(&json);
            prop_assert!(!shown.chars().any(is_hidden));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }

        #[test]
        fn any_bytes_survive_json(bytes: Vec<u8>) {
            let octets = Octets::new(bytes);
            let json = serde_json::to_string(&octets).unwrap();
            prop_assert_eq!(serde_json::from_str::<Octets>(&json).unwrap(), octets);
        }

        #[test]
        fn what_is_shown_has_no_control_characters(bytes: Vec<u8>) {
            prop_assert!(!Octets::new(bytes).display().chars().any(char::is_control));
        }
    }
}
