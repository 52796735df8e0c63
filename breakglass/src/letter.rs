//! What custodians hand to one another: text that survives being copied, read aloud, printed, and put in a QR code.
//!
//! ```text
//! CURFEW-1 COMMITMENT
//! 01 0G4F 7XKQ … C2
//! 02 …
//! END 02 8FJ3KQ2M
//! ```
//!
//! Base 32 without I, L, O and U (they are read as 1, 1, 0 and nothing); upper and lower case, blanks and blank lines do not
//! matter, and what stands before and after is passed over. A line has a check of its own, so that who mishears one repeats
//! that one; the last line checks the whole, its title included. The checks find mistakes, not malice: that is what the
//! content is bound for. Everything is in the alphanumeric set of QR codes.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

/// What a letter is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A group: its key, members and threshold. Public.
    Group,
    /// A share of the key, under a passphrase. For one custodian.
    Share,
    /// What is to be signed.
    Request,
    /// The first round of a signature.
    Commitment,
    /// The second round of a signature.
    Signature,
    /// What was signed, and the part of each custodian in it.
    Receipt,
    /// The first round of a key generation or of new shares.
    Dealing,
    /// The second round: for every other custodian a sealed part.
    Parts,
    /// The third round: a share is safe on its disk.
    Kept,
}

/// A letter: its kind and its content, which nobody has understood yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// What it is about.
    pub kind: Kind,
    /// Its content.
    pub body: Vec<u8>,
}

/// Why a text is no letter; each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LetterFlaw {
    /// There is nothing of ours in it.
    #[error("there is no line that begins with {TITLE}")]
    Missing,
    /// It is of a version or kind that is not known here.
    #[error("its first line, {0:?}, is of no kind that this version knows")]
    Title(String),
    /// A line is out of order.
    #[error(
        "line {expected:02} is expected and another one stands there; copy all lines in their order"
    )]
    Order {
        /// The line that should be there.
        expected: usize,
    },
    /// A line was misread.
    #[error("line {0:02} was not copied correctly; compare it again")]
    Line(usize),
    /// The last line is missing.
    #[error("it has no last line (END); copy all of it")]
    End,
    /// The whole does not fit its check.
    #[error(
        "its last line does not fit the lines before; compare the first line and the number of lines"
    )]
    Whole,
    /// Longer than any.
    #[error("it is longer than {MAX_BYTES} bytes")]
    Long,
    /// A good letter, but another one is wanted.
    #[error("this is a letter of the kind {found}; {wanted} is wanted here")]
    Kind {
        /// What it is.
        found: Kind,
        /// What should be there.
        wanted: Kind,
    },
}

impl Letter {
    /// A letter with this content.
    #[must_use]
    pub const fn new(kind: Kind, body: Vec<u8>) -> Self {
        Self { kind, body }
    }

    /// Reads a letter wherever it stands in `text`.
    ///
    /// # Errors
    /// The first line that was not copied correctly.
    pub fn read(text: &str) -> Result<Self, LetterFlaw> {
        if text.len() > MAX_TEXT {
            return Err(LetterFlaw::Long);
        }
        let mut lines = text.lines().map(plain).skip_while(|line| !line.starts_with(TITLE));
        let title = lines.next().ok_or(LetterFlaw::Missing)?;
        let kind = Kind::of_title(&title).ok_or_else(|| LetterFlaw::Title(title.clone()))?;
        let mut body = Vec::new();
        let mut expected: usize = 1;
        for mut line in lines.filter(|line| !line.is_empty()) {
            if let Some(end) = line.strip_prefix("END") {
                let whole = end_of(kind, &body, expected.saturating_sub(1));
                let is_whole = folded(end) == folded(&whole);
                return if is_whole { Ok(Self { kind, body }) } else { Err(LetterFlaw::Whole) };
            }
            read_line(&line, expected, kind, &mut body)?;
            line.zeroize();
            expected = expected.saturating_add(1);
            if body.len() > MAX_BYTES {
                return Err(LetterFlaw::Long);
            }
        }
        Err(LetterFlaw::End)
    }

    /// Its content, when it is of the kind that is wanted.
    ///
    /// # Errors
    /// When it is of another.
    pub fn expect(self, wanted: Kind) -> Result<Vec<u8>, LetterFlaw> {
        if self.kind == wanted {
            Ok(self.body)
        } else {
            Err(LetterFlaw::Kind { found: self.kind, wanted })
        }
    }
}

/// What the letter is called by people: six groups of four letters over its kind and all of its content.
#[must_use]
pub fn code(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let text = base32(digest.get(..CODE_BYTES).unwrap_or_default());
    groups(&text)
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE} {}", self.kind)?;
        let mut count: usize = 0;
        for bytes in self.body.chunks(LINE_BYTES) {
            count = count.saturating_add(1);
            let check = line_check(self.kind, count, bytes);
            writeln!(f, "{count:02} {} {check}", groups(&base32(bytes)))?;
        }
        writeln!(f, "END {}", end_of(self.kind, &self.body, count))
    }
}

/// Content may be secret: it is not shown.
impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Letter({}, {} bytes)", self.kind, self.body.len())
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Group,
        Self::Share,
        Self::Request,
        Self::Commitment,
        Self::Signature,
        Self::Receipt,
        Self::Dealing,
        Self::Parts,
        Self::Kept,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Group => "GROUP",
            Self::Share => "SHARE",
            Self::Request => "REQUEST",
            Self::Commitment => "COMMITMENT",
            Self::Signature => "SIGNATURE",
            Self::Receipt => "RECEIPT",
            Self::Dealing => "DEALING",
            Self::Parts => "PARTS",
            Self::Kept => "KEPT",
        }
    }

    fn of_title(title: &str) -> Option<Self> {
        let name = title.strip_prefix(TITLE)?.trim();
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A line as it is read: upper case, single blanks, without what mail puts before it.
fn plain(line: &str) -> String {
    let line = line.trim_start_matches(['>', ' ', '\t']);
    let words: Vec<String> = line.split_whitespace().map(str::to_ascii_uppercase).collect();
    words.join(" ")
}

fn read_line(
    line: &str,
    expected: usize,
    kind: Kind,
    body: &mut Vec<u8>,
) -> Result<(), LetterFlaw> {
    let (number, rest) = line.split_once(' ').ok_or(LetterFlaw::Line(expected))?;
    if folded(number) != format!("{expected:02}") {
        return Err(LetterFlaw::Order { expected });
    }
    let (text, check) = rest.rsplit_once(' ').ok_or(LetterFlaw::Line(expected))?;
    let bytes = unbase32(&folded(text)).ok_or(LetterFlaw::Line(expected))?;
    let fits = !bytes.is_empty()
        && bytes.len() <= LINE_BYTES
        && folded(check) == line_check(kind, expected, &bytes);
    if !fits {
        return Err(LetterFlaw::Line(expected));
    }
    // Only the last line may be short: nothing is left out in the middle.
    if !body.len().is_multiple_of(LINE_BYTES) {
        return Err(LetterFlaw::Line(expected.saturating_sub(1)));
    }
    body.extend_from_slice(&bytes);
    Ok(())
}

fn line_check(kind: Kind, number: usize, bytes: &[u8]) -> String {
    let digest = Sha256::new()
        .chain_update(kind.name())
        .chain_update(u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes())
        .chain_update(bytes)
        .finalize();
    base32(&digest).chars().take(2).collect()
}

fn end_of(kind: Kind, body: &[u8], lines: usize) -> String {
    let digest = Sha256::new().chain_update(kind.name()).chain_update([0]).chain_update(body);
    let check: String = base32(&digest.finalize()).chars().take(END_CHARACTERS).collect();
    format!("{lines:02} {check}")
}

/// What is easily mistaken is one.
fn folded(text: &str) -> String {
    let fold = |letter: char| match letter {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    text.chars().filter(|letter| !letter.is_whitespace()).map(fold).collect()
}

fn groups(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let groups: Vec<String> = letters.chunks(4).map(|group| group.iter().collect()).collect();
    groups.join(" ")
}

fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut held, mut bits): (u32, u32) = (0, 0);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits = bits.saturating_add(8);
        while bits >= 5 {
            bits = bits.saturating_sub(5);
            text.push(letter(held >> bits));
        }
        held &= (1_u32 << bits).saturating_sub(1);
    }
    if bits > 0 {
        text.push(letter(held << 5_u32.saturating_sub(bits)));
    }
    text
}

fn letter(value: u32) -> char {
    let index = usize::try_from(value & 31).unwrap_or_default();
    ALPHABET.get(index).map_or('0', |byte| char::from(*byte))
}

fn unbase32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut held, mut bits): (u32, u32) = (0, 0);
    for letter in text.bytes() {
        let value = ALPHABET.iter().position(|known| *known == letter)?;
        held = (held << 5) | u32::try_from(value).ok()?;
        bits = bits.saturating_add(5);
        if bits >= 8 {
            bits = bits.saturating_sub(8);
            bytes.push(u8::try_from((held >> bits) & 0xff).ok()?);
        }
        held &= (1_u32 << bits).saturating_sub(1);
    }
    // One text for one content: what is left over is less than a letter, and nothing.
    (bits < 5 && held == 0).then_some(bytes)
}

/// How every letter begins, with the version of its form.
pub const TITLE: &str = "CURFEW-1";
/// Largest content: a receipt of five custodians with the longest request is a tenth of it.
pub const MAX_BYTES: usize = 16 * 1024;
/// Longest text around it: what mail programs add fits.
const MAX_TEXT: usize = 128 * 1024;
/// Bytes a line: eight groups of four letters.
const LINE_BYTES: usize = 20;
/// Letters of the check over the whole: 40 bits.
const END_CHARACTERS: usize = 8;
/// Bytes of a code that people compare: 120 bits, so that nobody finds two contents of one code.
const CODE_BYTES: usize = 15;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Letter {
        Letter::new(Kind::Commitment, (0..90).collect())
    }

    #[test]
    fn a_letter_reads_back_however_it_was_copied() {
        let letter = sample();
        let text = letter.to_string();
        assert_eq!(Letter::read(&text).unwrap(), letter);
        let mail = format!("Hello\n\n> {}\nBye", text.replace('\n', "\n> "));
        assert_eq!(Letter::read(&mail).unwrap(), letter);
        let spoken = text.to_lowercase().replace('0', "o").replace('1', "l");
        let spoken = spoken.replace("curfew-l", "curfew-1");
        assert_eq!(Letter::read(&spoken).unwrap(), letter);
        let loose = text.replace(' ', "  ").replace('\n', "\r\n\n");
        assert_eq!(Letter::read(&loose).unwrap(), letter);
        assert!(
            text.bytes().all(|byte| b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ -\n".contains(&byte))
        );
    }

    #[test]
    fn a_mistake_is_named_by_its_line() {
        let text = sample().to_string();
        let lines: Vec<&str> = text.lines().collect();
        let swapped =
            [lines[0], lines[2], lines[1], lines[3], lines[4], lines[5], lines[6]].join("\n");
        assert_eq!(Letter::read(&swapped), Err(LetterFlaw::Order { expected: 1 }));
        let (third, other) = (lines[3], if lines[3].ends_with("Z") { "A" } else { "Z" });
        let wrong = format!("{}{other}", third.strip_suffix(|_| true).unwrap());
        assert_eq!(Letter::read(&text.replace(third, &wrong)), Err(LetterFlaw::Line(3)));
        assert_eq!(Letter::read(&lines[..6].join("\n")), Err(LetterFlaw::End));
        let shorter = [lines[0], lines[1], lines[6]].join("\n");
        assert_eq!(Letter::read(&shorter), Err(LetterFlaw::Whole));
        // Every check covers the kind: a letter under another title is none.
        let other = text.replace("COMMITMENT", "SIGNATURE");
        assert_eq!(Letter::read(&other), Err(LetterFlaw::Line(1)));
        assert!(matches!(Letter::read("CURFEW-1 X\n"), Err(LetterFlaw::Title(_))));
        assert!(matches!(Letter::read("CURFEW-2 GROUP\n"), Err(LetterFlaw::Missing)));
        assert_eq!(Letter::read("nothing"), Err(LetterFlaw::Missing));
        let found = Letter::read(&text).unwrap().expect(Kind::Group);
        assert!(matches!(found, Err(LetterFlaw::Kind { .. })));
    }

    proptest! {
        #[test]
        fn every_content_reads_back(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            for kind in Kind::ALL {
                let letter = Letter::new(kind, body.clone());
                prop_assert_eq!(Letter::read(&letter.to_string()).unwrap(), letter);
            }
        }

        #[test]
        fn one_wrong_letter_is_found(place in 0usize..200, letter in "[0-9A-HJKMNP-TV-Z]") {
            let text = sample().to_string();
            let mut letters: Vec<String> = text.chars().map(String::from).collect();
            if let Some(old) = letters.get_mut(place)
                && !old.trim().is_empty()
            {
                *old = letter;
            }
            let other = letters.concat();
            if let Ok(read) = Letter::read(&other) {
                prop_assert_eq!(read, sample());
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,300}") {
            drop(Letter::read(&text));
            drop(Letter::read(&format!("CURFEW-1 SHARE\n01 {text}")));
        }
    }
}
