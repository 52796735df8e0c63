//! Passphrases and PINs: from a file, from a credential of systemd, or from whoever sits at the terminal; never from the
//! command line or the environment, which others can read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::config::keys::Place;

/// A passphrase or a PIN. It is wiped when it is dropped, and nothing shows it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<String>);

/// The secrets that were found so far, each asked for once.
#[derive(Default)]
pub(crate) struct Secrets {
    found: BTreeMap<(Use, Place), Secret>,
}

/// What a secret opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// Files of private keys.
    Passphrase,
    /// A PKCS#11 token.
    Pin,
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The file or credential cannot be read.
    #[error("the {what} in {path} cannot be read: {source}")]
    Read {
        /// Which secret.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can read the file.
    #[error("the {what} in {path} can be read by others (mode {mode:o}); run `chmod 600 {path}`")]
    Open {
        /// Which secret.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// What is there is no secret.
    #[error("the {what} from {from} {reason}")]
    Form {
        /// Which secret.
        what: &'static str,
        /// Where it came from.
        from: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The program was not started with credentials.
    #[error(
        "the {what} is to be the credential {name:?}, but systemd gave none; add LoadCredentialEncrypted={name} to the unit (`systemctl edit curfew-ca`), or name a file in ca.toml"
    )]
    NoCredentials {
        /// Which secret.
        what: &'static str,
        /// The credential.
        name: String,
    },
    /// Nobody can be asked.
    #[error(
        "the {what} is needed and nobody can be asked: standard input is no terminal, there is no credential {name:?}, and ca.toml names no file ({setting})"
    )]
    NoTerminal {
        /// Which secret.
        what: &'static str,
        /// The credential that would have been taken.
        name: &'static str,
        /// The setting that would name a file.
        setting: &'static str,
    },
    /// The terminal failed.
    #[error("the terminal cannot be used: {0}")]
    Terminal(std::io::Error),
    /// The person gave up.
    #[error("nothing was entered")]
    Cancelled,
    /// Two different entries.
    #[error("the two entries differ; nothing was changed")]
    Differ,
}

impl Secret {
    /// The bytes, for the one who opens something with them.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl Use {
    /// As people say it.
    const fn name(self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase",
            Self::Pin => "PIN",
        }
    }

    /// The credential that is taken when none is named.
    const fn credential(self) -> &'static str {
        match self {
            Self::Passphrase => "curfew-ca.passphrase",
            Self::Pin => "curfew-ca.pin",
        }
    }

    const fn setting(self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase_file",
            Self::Pin => "pin_file",
        }
    }
}

impl Secrets {
    /// The secret that is kept in this place; `opens` is what a person is told that it opens.
    pub(crate) fn find(
        &mut self,
        what: Use,
        place: &Place,
        opens: &str,
    ) -> Result<Secret, SecretError> {
        if let Some(secret) = self.found.get(&(what, place.clone())) {
            return Ok(secret.clone());
        }
        let found = look(what, place)?;
        let secret = match found {
            Some(secret) => secret,
            None if std::io::stdin().is_terminal() => {
                ask(&format!("{} for {opens}: ", shown(what)))?
            }
            None => {
                let (name, setting) = (what.credential(), what.setting());
                return Err(SecretError::NoTerminal { what: what.name(), name, setting });
            }
        };
        self.keep(what, place.clone(), secret.clone());
        Ok(secret)
    }

    /// The passphrase for files that are about to be written: where it will be looked for later, else entered twice.
    pub(crate) fn choose(&mut self, place: &Place) -> Result<Secret, SecretError> {
        let what = Use::Passphrase;
        if self.found.contains_key(&(what, place.clone())) || !std::io::stdin().is_terminal() {
            return self.find(what, place, "the keys");
        }
        let secret = match look(what, place)? {
            Some(secret) => secret,
            None => {
                let first = ask("New passphrase for the authority's keys: ")?;
                if first.0.chars().count() < MIN_LENGTH {
                    let from = "the terminal".to_owned();
                    let reason = "is too short; take at least 12 characters";
                    return Err(SecretError::Form { what: what.name(), from, reason });
                }
                if ask("The same again: ")? != first {
                    return Err(SecretError::Differ);
                }
                first
            }
        };
        self.keep(what, place.clone(), secret.clone());
        Ok(secret)
    }

    /// Remembers a secret for this place.
    pub(crate) fn keep(&mut self, what: Use, place: Place, secret: Secret) {
        self.found.insert((what, place), secret);
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.found.keys()).finish()
    }
}

/// Reads a passphrase from a file, or from standard input for `-`.
pub(crate) fn passphrase_of(path: &Path) -> Result<Secret, SecretError> {
    let what = Use::Passphrase.name();
    if path == Path::new("-") {
        let input = std::io::stdin().lock();
        return parse(what, path, "standard input".into(), input);
    }
    owned(what, path)
}

/// The password of the ledger's database; nothing when none is kept.
pub(crate) fn password(place: &Place) -> Result<Option<Secret>, SecretError> {
    const WHAT: &str = "password";
    match place {
        Place::File(path) => owned(WHAT, path).map(Some),
        Place::Credential(name) => match credential(name) {
            Some(path) => given(WHAT, &path).map(Some),
            None => Err(SecretError::NoCredentials { what: WHAT, name: name.clone() }),
        },
        Place::Default => match credential("curfew-ca.database") {
            Some(path) if path.exists() => given(WHAT, &path).map(Some),
            _ => Ok(None),
        },
    }
}

/// A secret that must be there, of this name: in a file or a credential.
pub(crate) fn password_of(what: &'static str, place: &Place) -> Result<Secret, SecretError> {
    let absent = |name: &str| SecretError::NoCredentials { what, name: name.to_owned() };
    match place {
        Place::File(path) => owned(what, path),
        Place::Credential(name) => {
            credential(name).ok_or_else(|| absent(name)).and_then(|path| given(what, &path))
        }
        Place::Default => Err(absent("a file")),
    }
}

/// What a file or a credential says; nothing when the terminal has to be asked.
fn look(what: Use, place: &Place) -> Result<Option<Secret>, SecretError> {
    match place {
        Place::File(path) => owned(what.name(), path).map(Some),
        Place::Credential(name) => match credential(name) {
            Some(path) => given(what.name(), &path).map(Some),
            None => Err(SecretError::NoCredentials { what: what.name(), name: name.clone() }),
        },
        Place::Default => match credential(what.credential()) {
            Some(path) if path.exists() => given(what.name(), &path).map(Some),
            _ => Ok(None),
        },
    }
}

fn credential(name: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("CREDENTIALS_DIRECTORY")?;
    Some(PathBuf::from(dir).join(name)).filter(|path| path.is_absolute())
}

/// A file that only its owner may read.
fn owned(what: &'static str, path: &Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::Read { what, path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Open { what, path: path.into(), mode });
    }
    parse(what, path, path.display().to_string(), file)
}

/// A credential: systemd keeps others out of its folder, and shows its access list as group bits.
fn given(what: &'static str, path: &Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::Read { what, path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    parse(what, path, path.display().to_string(), file)
}

/// The one line.
fn parse(
    what: &'static str,
    path: &Path,
    from: String,
    source: impl std::io::Read,
) -> Result<Secret, SecretError> {
    // Room first, so that growing leaves no copy behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_LENGTH.saturating_mul(2)));
    let limit = u64::try_from(MAX_LENGTH).unwrap_or(u64::MAX).saturating_add(1);
    source.take(limit).read_to_string(&mut text).map_err(|source| SecretError::Read {
        what,
        path: path.into(),
        source,
    })?;
    let kept = text.trim_end_matches(['\r', '\n']).len();
    let reason = match kept {
        0 => "is empty",
        _ if text.len() > MAX_LENGTH => "is too long; at most 1024 bytes are read",
        _ => {
            text.truncate(kept);
            if !text.contains(|c: char| c.is_control()) {
                return Ok(Secret(text));
            }
            "has more than one line, or control characters"
        }
    };
    Err(SecretError::Form { what, from, reason })
}

fn shown(what: Use) -> &'static str {
    match what {
        Use::Passphrase => "Passphrase",
        Use::Pin => "PIN",
    }
}

/// Asks at the terminal, which shows nothing of what is typed.
fn ask(question: &str) -> Result<Secret, SecretError> {
    let input = std::io::stdin();
    let mut said = std::io::stderr();
    // Quiet first: what is typed at the sight of the question would be shown, or flushed away.
    let quiet = Quiet::begin(&input).map_err(|error| SecretError::Terminal(error.into()))?;
    said.write_all(question.as_bytes())
        .and_then(|()| said.flush())
        .map_err(SecretError::Terminal)?;
    let typed = typed(input.lock());
    drop(quiet);
    said.write_all(b"\n").map_err(SecretError::Terminal)?;
    typed
}

/// One line, read byte by byte: the terminal no longer treats rubbing out and interruption itself.
fn typed(mut input: impl std::io::Read) -> Result<Secret, SecretError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LENGTH));
    let mut byte = [0];
    while bytes.len() < MAX_LENGTH {
        match input.read(&mut byte) {
            Ok(0) => return Err(SecretError::Cancelled),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(SecretError::Terminal(error)),
        }
        let [byte] = byte;
        match byte {
            b'\r' | b'\n' => break,
            // Interrupt, end, quit.
            3 | 4 | 28 => return Err(SecretError::Cancelled),
            8 | 127 => drop(bytes.pop()),
            // Start again.
            21 => bytes.clear(),
            _ => bytes.push(byte),
        }
    }
    let from = "the terminal".to_owned();
    let wrong = |reason| SecretError::Form { what: "secret", from: from.clone(), reason };
    let text = std::str::from_utf8(&bytes).map_err(|_not| wrong("is not UTF-8"))?;
    if text.is_empty() {
        return Err(SecretError::Cancelled);
    }
    if text.contains(|c: char| c.is_control()) {
        return Err(wrong("has control characters"));
    }
    Ok(Secret(Zeroizing::new(text.to_owned())))
}

/// A terminal that does not echo, until this is dropped.
struct Quiet<'a> {
    terminal: &'a std::io::Stdin,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn begin(terminal: &'a std::io::Stdin) -> rustix::io::Result<Self> {
        let before = tcgetattr(terminal.as_fd())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal.as_fd(), OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // A terminal that has gone away needs no echo.
        tcsetattr(self.terminal.as_fd(), OptionalActions::Flush, &self.before).unwrap_or_default();
    }
}

/// Longest secret, in bytes.
const MAX_LENGTH: usize = 1024;
/// Shortest passphrase that is taken at a terminal, in characters.
const MIN_LENGTH: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn file(dir: &Path, text: &[u8], mode: u32) -> PathBuf {
        let path = dir.join("secret");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_file_gives_its_one_line_and_nothing_else_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let place = |text: &[u8], mode| Place::File(file(dir.path(), text, mode));
        let find = |place: Place| Secrets::default().find(Use::Pin, &place, "a token");
        assert_eq!(find(place(b"right\n", 0o600)).unwrap().reveal(), "right");
        assert_eq!(find(place(b"with space \r\n", 0o400)).unwrap().reveal(), "with space ");
        for (text, mode, complaint) in [
            (&b"right\n"[..], 0o640, "can be read by others (mode 640)"),
            (b"\n\n", 0o600, "is empty"),
            (b"two\nlines\n", 0o600, "more than one line"),
            (&[b'a'; 1025], 0o600, "is too long"),
            (b"\xff", 0o600, "cannot be read"),
        ] {
            let error = find(place(text, mode)).err().unwrap().to_string();
            assert!(error.contains(complaint), "{error}");
            assert!(!error.contains("two"), "{error}");
        }
        let missing = find(Place::File(dir.path().join("none"))).err().unwrap().to_string();
        assert!(missing.contains("the PIN in") && missing.contains("No such file"), "{missing}");
    }

    #[test]
    fn what_is_typed_can_be_rubbed_out_and_given_up() {
        let typed = |keys: &[u8]| typed(keys);
        assert_eq!(typed(b"ab\x7fc\n").unwrap().reveal(), "ac");
        assert_eq!(typed(b"wrong\x15right\r").unwrap().reveal(), "right");
        for gave_up in [&b"abc\x03"[..], b"abc\x04", b"\n", b"abc"] {
            assert!(matches!(typed(gave_up), Err(SecretError::Cancelled)), "{gave_up:?}");
        }
    }

    #[test]
    fn nobody_is_asked_where_there_is_no_terminal() {
        if std::io::stdin().is_terminal() {
            return;
        }
        let error =
            Secrets::default().find(Use::Passphrase, &Place::Default, "a key").err().unwrap();
        assert!(matches!(error, SecretError::NoTerminal { .. }), "{error}");
    }
}
