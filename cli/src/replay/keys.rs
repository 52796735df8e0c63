//! Keys as a terminal sends them, and what they mean while a recording is shown. Pure.

use std::time::Duration;

use screen::player::Wish;

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// A letter.
    Letter(char),
    /// Return.
    Enter,
    /// What takes back the last letter.
    Backspace,
    /// Escape by itself.
    Escape,
    /// An arrow to the right.
    Right,
    /// An arrow to the left.
    Left,
    /// Up, or the page before.
    Up,
    /// Down, or the next page.
    Down,
    /// To the beginning.
    Home,
    /// To the end.
    End,
    /// Control and this letter.
    Control(char),
}

/// What the reader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Of the film.
    Film(Wish),
    /// To the end, and on with what comes.
    End,
    /// No more.
    Quit,
    /// A text to find is being typed, as far as it goes.
    Typing(String),
    /// Nothing.
    Nothing,
}

/// What was typed and is not done yet.
#[derive(Debug, Default)]
pub(crate) struct Keyboard {
    bytes: Vec<u8>,
    /// The text to find, while it is typed.
    text: Option<String>,
    last: String,
}

impl Keyboard {
    /// Takes bytes from the terminal, and gives what they mean.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Command> {
        self.bytes.extend_from_slice(bytes);
        let mut commands = Vec::new();
        while let Some((key, length)) = first(&self.bytes) {
            self.bytes.drain(..length.min(self.bytes.len()));
            let command = self.means(key);
            if command != Command::Nothing {
                commands.push(command);
            }
        }
        commands
    }

    fn means(&mut self, key: Key) -> Command {
        if let Some(text) = self.text.take() {
            return self.typed(text, key);
        }
        let film = Command::Film;
        match key {
            Key::Letter('q') | Key::Control('c' | 'd') => Command::Quit,
            Key::Letter(' ') => film(Wish::Pause),
            Key::Right | Key::Letter('l') => film(Wish::Forward(STEP)),
            Key::Left | Key::Letter('h') => film(Wish::Back(STEP)),
            Key::Up => film(Wish::Back(LEAP)),
            Key::Down => film(Wish::Forward(LEAP)),
            Key::Home | Key::Letter('g') => film(Wish::To(Duration::ZERO)),
            Key::End | Key::Letter('G') => Command::End,
            Key::Letter('+' | '>') => film(Wish::Faster),
            Key::Letter('-' | '<') => film(Wish::Slower),
            Key::Letter('i') => film(Wish::Idle),
            Key::Letter('n') => film(Wish::NextMark),
            Key::Letter('p') => film(Wish::LastMark),
            Key::Letter('.') => film(Wish::Step),
            Key::Letter('N') if !self.last.is_empty() => film(Wish::Find(self.last.clone())),
            Key::Letter('/') => {
                self.text = Some(String::new());
                Command::Typing(String::new())
            }
            _ => Command::Nothing,
        }
    }

    fn typed(&mut self, mut text: String, key: Key) -> Command {
        match key {
            Key::Enter if text.is_empty() => return Command::Typing(String::new()),
            Key::Enter => {
                self.last.clone_from(&text);
                return Command::Film(Wish::Find(text));
            }
            Key::Escape | Key::Control('c') => return Command::Typing(String::new()),
            Key::Backspace => drop(text.pop()),
            Key::Letter(letter) if text.chars().count() < MAX_TEXT => text.push(letter),
            _ => {}
        }
        self.text = Some(text.clone());
        Command::Typing(text)
    }

    /// Whether a text is being typed.
    pub(crate) const fn is_typing(&self) -> bool {
        self.text.is_some()
    }
}

/// The first key in these bytes and its length; nothing when they are the beginning of one.
fn first(bytes: &[u8]) -> Option<(Key, usize)> {
    let known = SEQUENCES.iter().find(|(sequence, _)| bytes.starts_with(sequence));
    if let Some((sequence, key)) = known {
        return Some((*key, sequence.len()));
    }
    match bytes {
        [] => None,
        // A sequence that is not known is passed over as a whole.
        [0x1b, b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte))?;
            Some((Key::Control('?'), end.saturating_add(3)))
        }
        [0x1b, ..] => Some((Key::Escape, 1)),
        [b'\r' | b'\n', ..] => Some((Key::Enter, 1)),
        [0x7f | 0x08, ..] => Some((Key::Backspace, 1)),
        [control @ 0x01..=0x1a, ..] => {
            Some((Key::Control(char::from(control.saturating_add(0x60))), 1))
        }
        [first, ..] => {
            let length = match first {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                _ => 1,
            };
            let letter = bytes.get(..length)?;
            let letter = std::str::from_utf8(letter).ok().and_then(|text| text.chars().next());
            Some(letter.map_or((Key::Control('?'), 1), |letter| (Key::Letter(letter), length)))
        }
    }
}

/// Keys that are sent as sequences.
const SEQUENCES: [(&[u8], Key); 14] = [
    (b"\x1b[A", Key::Up),
    (b"\x1bOA", Key::Up),
    (b"\x1b[5~", Key::Up),
    (b"\x1b[B", Key::Down),
    (b"\x1bOB", Key::Down),
    (b"\x1b[6~", Key::Down),
    (b"\x1b[C", Key::Right),
    (b"\x1bOC", Key::Right),
    (b"\x1b[D", Key::Left),
    (b"\x1bOD", Key::Left),
    (b"\x1b[H", Key::Home),
    (b"\x1b[1~", Key::Home),
    (b"\x1b[F", Key::End),
    (b"\x1b[4~", Key::End),
];
/// How far an arrow goes.
const STEP: Duration = Duration::from_secs(5);
/// How far a page goes.
const LEAP: Duration = Duration::from_secs(60);
/// Longest text to find.
const MAX_TEXT: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Command> {
        Keyboard::default().take(bytes)
    }

    #[test]
    fn keys_mean_what_the_help_says() {
        let wishes = [
            (" ".as_bytes(), Wish::Pause),
            (b"\x1b[C", Wish::Forward(STEP)),
            (b"\x1bOD", Wish::Back(STEP)),
            (b"\x1b[5~", Wish::Back(LEAP)),
            (b">", Wish::Faster),
            (b"<", Wish::Slower),
            (b"i", Wish::Idle),
            (b"n", Wish::NextMark),
            (b"p", Wish::LastMark),
            (b".", Wish::Step),
            (b"g", Wish::To(Duration::ZERO)),
        ];
        for (bytes, wish) in wishes {
            assert_eq!(all(bytes), [Command::Film(wish)], "{bytes:?}");
        }
        for bytes in [b"q", b"\x03"] {
            assert_eq!(all(bytes), [Command::Quit]);
        }
    }

    #[test]
    fn a_text_is_typed_and_found_again() {
        let mut keyboard = Keyboard::default();
        let last = keyboard.take("/aß\u{7f}b\r".as_bytes()).pop();
        assert_eq!(last, Some(Command::Film(Wish::Find("ab".into()))));
        assert_eq!(keyboard.take(b"N"), [Command::Film(Wish::Find("ab".into()))]);
        assert_eq!(keyboard.take(b"/q\x1b").pop(), Some(Command::Typing(String::new())));
        assert_eq!(keyboard.take(b"q"), [Command::Quit]);
    }

    #[test]
    fn a_sequence_that_comes_in_parts_or_is_unknown_means_nothing_else() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.take(b"\x1b["), []);
        assert_eq!(keyboard.take(b"C"), [Command::Film(Wish::Forward(STEP))]);
        assert_eq!(keyboard.take(b"\x1b[200~q"), [Command::Quit]);
        assert_eq!(keyboard.take(b"\xff\xfeq"), [Command::Quit]);
    }
}
