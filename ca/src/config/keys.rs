//! Where each of the authority's keys lies: the tables `[keys.user]`, `[keys.host]`, `[keys.order]` and `[keys.log]`.
//!
//! Who can change this: root on the authority's machine. Gains: names another backend, which is refused unless it
//! holds the key that was pinned when the authority was set up.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use wire::identifier::Fingerprint;

use super::{ConfigError, Setting, Source, secs};

/// Where the key of each purpose lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The one that signs user certificates.
    pub(crate) user: Backend,
    /// The one that signs host certificates.
    pub(crate) host: Backend,
    /// The one that signs orders.
    pub(crate) order: Backend,
    /// The one that signs the ledger's checkpoints.
    pub(crate) log: Backend,
}

/// What holds a private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    /// A file in the state folder.
    File {
        /// What `init` makes.
        kind: Kind,
        /// Where its passphrase is.
        passphrase: Place,
    },
    /// Any ssh-agent.
    SshAgent {
        /// Its socket.
        socket: PathBuf,
        /// Which of its keys is pinned when one is.
        key: AgentKey,
        /// How long a signature may take.
        timeout: Duration,
    },
    /// A token behind a PKCS#11 module.
    Pkcs11(Token),
}

/// A key on a PKCS#11 token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    /// The shared library.
    pub(crate) module: PathBuf,
    /// The token's label.
    pub(crate) token: Option<String>,
    /// The token's serial number.
    pub(crate) serial: Option<String>,
    /// The key's label.
    pub(crate) label: Option<String>,
    /// The key's id.
    pub(crate) id: Option<Vec<u8>>,
    /// What `init` makes if the token has no such key.
    pub(crate) kind: Kind,
    /// Where the PIN is.
    pub(crate) pin: Place,
    /// How long a signature may take.
    pub(crate) timeout: Duration,
}

/// Where a passphrase or a PIN is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// In a file that only its owner can read.
    File(PathBuf),
    /// Among the credentials that systemd gives to the unit.
    Credential(String),
    /// Among the credentials if it is there, else whoever sits at the terminal is asked.
    Default,
}

/// How a key of an ssh-agent is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AgentKey {
    /// By its fingerprint.
    Fingerprint(Fingerprint),
    /// By a file with its public half.
    File(PathBuf),
}

/// What kind of key is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Ed25519.
    Ed25519,
    /// ECDSA on the curve P-256.
    EcdsaP256,
    /// ECDSA on the curve P-384.
    EcdsaP384,
    /// ECDSA on the curve P-521.
    EcdsaP521,
    /// RSA of 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA of 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
}

impl Backend {
    /// What it is called in `ca.toml`.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::SshAgent { .. } => "ssh-agent",
            Self::Pkcs11(_) => "pkcs11",
        }
    }
}

impl Keys {
    pub(super) fn checked(source: &Source, form: Option<KeysForm>) -> Result<Self, ConfigError> {
        let form = form.unwrap_or_default();
        let log = form.log.as_ref().map_or(0, |table| table.span().start);
        let keys = Self {
            user: backend(source, "user", form.user)?,
            host: backend(source, "host", form.host)?,
            order: backend(source, "order", form.order)?,
            log: backend(source, "log", form.log)?,
        };
        // Checkpoints are C2SP signed notes, which know Ed25519 alone.
        match &keys.log {
            Backend::File { kind, .. } | Backend::Pkcs11(Token { kind, .. })
                if *kind != Kind::Ed25519 =>
            {
                let message =
                    "keys.log: the log's key must be ed25519, because checkpoints are signed notes";
                Err(source.wrong(log, message.into()))
            }
            _ => Ok(keys),
        }
    }
}

fn backend(
    source: &Source,
    purpose: &str,
    form: Option<Spanned<KeyForm>>,
) -> Result<Backend, ConfigError> {
    let Some(form) = form else {
        return Ok(Backend::File { kind: Kind::Ed25519, passphrase: Place::Default });
    };
    let at = form.span().start;
    let mut table = Table { source, purpose, at, form: form.into_inner() };
    let name = table.form.backend.take().unwrap_or(Name::File);
    let made = match name {
        Name::File => {
            let passphrase = table.place(Secret::Passphrase)?;
            Backend::File { kind: table.form.kind.take().unwrap_or(Kind::Ed25519), passphrase }
        }
        Name::SshAgent => Backend::SshAgent {
            socket: table.path("socket")?,
            key: table.agent_key()?,
            timeout: table.timeout()?,
        },
        Name::Pkcs11 => Backend::Pkcs11(table.token()?),
    };
    table.refuse_rest(&made)?;
    Ok(made)
}

/// One table of the file while it is taken apart: what is left at the end belongs to another backend.
struct Table<'a> {
    source: &'a Source,
    purpose: &'a str,
    at: usize,
    form: KeyForm,
}

impl Table<'_> {
    fn wrong(&self, at: usize, what: &str) -> ConfigError {
        self.source.wrong(at, format!("keys.{}: {what}", self.purpose))
    }

    /// The absolute path under this key, which must be there.
    fn path(&mut self, key: &str) -> Result<PathBuf, ConfigError> {
        let value = if key == "socket" { self.form.socket.take() } else { self.form.module.take() };
        let value = value.ok_or_else(|| self.wrong(self.at, &format!("`{key}` is missing")))?;
        self.absolute(key, value)
    }

    fn absolute(&self, key: &str, value: Spanned<PathBuf>) -> Result<PathBuf, ConfigError> {
        let at = value.span().start;
        let path = value.into_inner();
        if path.is_absolute() {
            return Ok(path);
        }
        Err(self.wrong(at, &format!("{key}: {} is not an absolute path", path.display())))
    }

    fn place(&mut self, secret: Secret) -> Result<Place, ConfigError> {
        let form = &mut self.form;
        let (file_key, file, credential) = match secret {
            Secret::Passphrase => {
                ("passphrase_file", form.passphrase_file.take(), form.passphrase_credential.take())
            }
            Secret::Pin => ("pin_file", form.pin_file.take(), form.pin_credential.take()),
        };
        match (file, credential) {
            (Some(_), Some(both)) => Err(self.wrong(
                both.span().start,
                "the secret is in a file or in a credential, not in both",
            )),
            (Some(file), None) => Ok(Place::File(self.absolute(file_key, file)?)),
            (None, Some(name)) => {
                let at = name.span().start;
                let name = name.into_inner();
                let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
                    return Err(self.wrong(at, &format!("{name:?} is no name of a credential")));
                }
                Ok(Place::Credential(name))
            }
            (None, None) => Ok(Place::Default),
        }
    }

    fn timeout(&mut self) -> Result<Duration, ConfigError> {
        let key = format!("keys.{}.timeout", self.purpose);
        self.source.span(&key, self.form.timeout.take(), secs(5), &(secs(1)..=secs(60)))
    }

    fn agent_key(&mut self) -> Result<AgentKey, ConfigError> {
        let missing = "`key` is missing: the fingerprint of a key that the agent holds, or the path of its public half";
        let value = self.form.key.take().ok_or_else(|| self.wrong(self.at, missing))?;
        let at = value.span().start;
        let text = value.into_inner();
        if let Ok(fingerprint) = text.parse() {
            return Ok(AgentKey::Fingerprint(fingerprint));
        }
        let path = PathBuf::from(&text);
        if path.is_absolute() {
            return Ok(AgentKey::File(path));
        }
        let what =
            format!("key: {text:?} is neither a fingerprint (SHA256:…) nor an absolute path");
        Err(self.wrong(at, &what))
    }

    fn token(&mut self) -> Result<Token, ConfigError> {
        let module = self.path("module")?;
        let pin = self.place(Secret::Pin)?;
        let timeout = self.timeout()?;
        let id = match self.form.id.take() {
            None => None,
            Some(text) => {
                let what = format!("id: {:?} is not hexadecimal", text.get_ref());
                Some(
                    hexadecimal(text.get_ref())
                        .ok_or_else(|| self.wrong(text.span().start, &what))?,
                )
            }
        };
        let form = &mut self.form;
        let (token, serial) = (form.token.take(), form.token_serial.take());
        let (label, kind) = (form.label.take(), form.kind.take().unwrap_or(Kind::Ed25519));
        if token.is_none() && serial.is_none() {
            return Err(self.wrong(self.at, "`token` or `token_serial` is missing"));
        }
        if label.is_none() && id.is_none() {
            return Err(self.wrong(self.at, "`label` or `id` of the key is missing"));
        }
        Ok(Token { module, token, serial, label, id, kind, pin, timeout })
    }

    fn refuse_rest(&self, backend: &Backend) -> Result<(), ConfigError> {
        let form = &self.form;
        let left = [
            ("passphrase_file", form.passphrase_file.is_some()),
            ("passphrase_credential", form.passphrase_credential.is_some()),
            ("type", form.kind.is_some()),
            ("socket", form.socket.is_some()),
            ("key", form.key.is_some()),
            ("timeout", form.timeout.is_some()),
            ("module", form.module.is_some()),
            ("token", form.token.is_some()),
            ("token_serial", form.token_serial.is_some()),
            ("label", form.label.is_some()),
            ("id", form.id.is_some()),
            ("pin_file", form.pin_file.is_some()),
            ("pin_credential", form.pin_credential.is_some()),
        ];
        match left.iter().find(|(_, is_left)| *is_left) {
            None => Ok(()),
            Some((key, _)) => {
                let what = format!("`{key}` is no setting of the backend {:?}", backend.name());
                Err(self.wrong(self.at, &what))
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Secret {
    Passphrase,
    Pin,
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.is_empty() || digits.len() > MAX_ID || !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits
        .chunks_exact(2)
        .map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?))
        .collect()
}

/// The tables as they are written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysForm {
    user: Option<Spanned<KeyForm>>,
    host: Option<Spanned<KeyForm>>,
    order: Option<Spanned<KeyForm>>,
    log: Option<Spanned<KeyForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm {
    backend: Option<Name>,
    passphrase_file: Option<Spanned<PathBuf>>,
    passphrase_credential: Option<Spanned<String>>,
    #[serde(rename = "type")]
    kind: Option<Kind>,
    socket: Option<Spanned<PathBuf>>,
    key: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    module: Option<Spanned<PathBuf>>,
    token: Option<String>,
    token_serial: Option<String>,
    label: Option<String>,
    id: Option<Spanned<String>>,
    pin_file: Option<Spanned<PathBuf>>,
    pin_credential: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Name {
    File,
    SshAgent,
    Pkcs11,
}

/// Longest id of a key, in hexadecimal digits.
const MAX_ID: usize = 128;
/// Every setting of one key, for `check --settings` and for whoever reads this file.
pub(crate) const KEY_SETTINGS: [Setting; 14] = [
    Setting {
        key: "backend",
        default: "file",
        range: "file, ssh-agent, pkcs11",
        sentence: "What holds the private key.",
    },
    Setting {
        key: "type",
        default: "ed25519",
        range: "ed25519, ecdsa-p256, ecdsa-p384, ecdsa-p521, rsa-3072, rsa-4096; file, pkcs11",
        sentence: "What is made when a key is made; the log's key is always ed25519.",
    },
    Setting {
        key: "passphrase_file",
        default: "",
        range: "a path; file",
        sentence: "The passphrase of the key's file, in a file that only its owner can read.",
    },
    Setting {
        key: "passphrase_credential",
        default: "curfew-ca.passphrase",
        range: "a systemd credential; file",
        sentence: "The passphrase as a credential of the unit; if it is not there, the terminal is asked.",
    },
    Setting {
        key: "socket",
        default: "",
        range: "a path; ssh-agent",
        sentence: "The agent's socket.",
    },
    Setting {
        key: "key",
        default: "",
        range: "SHA256:… or a path; ssh-agent",
        sentence: "The agent's key: its fingerprint, or a file with its public half.",
    },
    Setting {
        key: "module",
        default: "",
        range: "a path; pkcs11",
        sentence: "The module, a shared library.",
    },
    Setting {
        key: "token",
        default: "",
        range: "a label; pkcs11",
        sentence: "The token, by its label.",
    },
    Setting {
        key: "token_serial",
        default: "",
        range: "a serial number; pkcs11",
        sentence: "The token, by its serial number.",
    },
    Setting {
        key: "label",
        default: "",
        range: "a label; pkcs11",
        sentence: "The key on the token, by its label.",
    },
    Setting {
        key: "id",
        default: "",
        range: "hexadecimal; pkcs11",
        sentence: "The key on the token, by its id.",
    },
    Setting {
        key: "pin_file",
        default: "",
        range: "a path; pkcs11",
        sentence: "The token's PIN, in a file that only its owner can read.",
    },
    Setting {
        key: "pin_credential",
        default: "curfew-ca.pin",
        range: "a systemd credential; pkcs11",
        sentence: "The PIN as a credential of the unit; if it is not there, the terminal is asked.",
    },
    Setting {
        key: "timeout",
        default: "5s",
        range: "1s to 1m; ssh-agent, pkcs11",
        sentence: "How long a signature may take.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<Keys, ConfigError> {
        Config::parse(&Source::of(text)).map(|config| config.keys)
    }

    #[test]
    fn each_purpose_has_a_backend_of_its_own() {
        let keys = parse(
            r#"
            [keys.user]
            backend = "pkcs11"
            module = "/usr/lib/softhsm/libsofthsm2.so"
            token = "curfew"
            label = "user"
            id = "01aF"
            pin_file = "/etc/curfew/pin"
            type = "ecdsa-p256"
            [keys.host]
            backend = "ssh-agent"
            socket = "/run/agent"
            key = "/etc/curfew/host_ca.pub"
            timeout = "2s"
            [keys.order]
            type = "rsa-3072"
            passphrase_credential = "secret"
            "#,
        )
        .unwrap();
        let Backend::Pkcs11(token) = keys.user else { panic!("{keys:?}") };
        assert_eq!((token.id, token.kind), (Some(vec![1, 0xaf]), Kind::EcdsaP256));
        assert!(
            matches!(keys.host, Backend::SshAgent { timeout, .. } if timeout == Duration::from_secs(2))
        );
        let passphrase = Place::Credential("secret".into());
        assert_eq!(keys.order, Backend::File { kind: Kind::Rsa3072, passphrase });
        assert_eq!(keys.log, Backend::File { kind: Kind::Ed25519, passphrase: Place::Default });
    }

    #[test]
    fn what_is_wrong_names_its_line_and_purpose() {
        let table = [
            ("[keys.user]\nbackend = \"tpm\"", "test.toml:2: unknown variant `tpm`"),
            ("[keys.mail]\n", "test.toml:1: unknown field `mail`"),
            ("\n[keys.user]\nsocket = \"/a\"", "test.toml:2: keys.user: `socket` is no setting of"),
            ("[keys.log]\ntype = \"rsa-4096\"", "test.toml:1: keys.log: the log's key must be"),
            (
                "[keys.user]\npassphrase_file = \"a\"",
                "test.toml:2: keys.user: passphrase_file: a is not",
            ),
            (
                "[keys.user]\npassphrase_file = \"/a\"\npassphrase_credential = \"b\"",
                "test.toml:3: keys.user: the secret is in a file or",
            ),
            (
                "[keys.user]\npassphrase_credential = \"../b\"",
                "test.toml:2: keys.user: \"../b\" is no name",
            ),
            ("[keys.user]\nbackend = \"ssh-agent\"", "test.toml:1: keys.user: `socket` is missing"),
            (
                "[keys.user]\nbackend = \"ssh-agent\"\nsocket = \"/a\"",
                "test.toml:1: keys.user: `key` is missing",
            ),
            (
                "[keys.user]\nbackend = \"ssh-agent\"\nsocket = \"/a\"\nkey = \"ana\"",
                "test.toml:4: keys.user: key: \"ana\" is neither",
            ),
            (
                "[keys.user]\nbackend = \"ssh-agent\"\nsocket = \"/a\"\nkey = \"/b\"\ntimeout = \"2m\"",
                "test.toml:5: keys.user.timeout: 2m is out of range",
            ),
            (
                "[keys.host]\nbackend = \"pkcs11\"\nmodule = \"/m\"\nlabel = \"l\"",
                "test.toml:1: keys.host: `token` or `token_serial` is missing",
            ),
            (
                "[keys.host]\nbackend = \"pkcs11\"\nmodule = \"/m\"\ntoken = \"t\"",
                "test.toml:1: keys.host: `label` or `id`",
            ),
            (
                "[keys.host]\nbackend = \"pkcs11\"\nmodule = \"/m\"\ntoken = \"t\"\nid = \"0\"",
                "test.toml:5: keys.host: id: \"0\" is not hexadecimal",
            ),
        ];
        for (text, start) in table {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn the_table_and_the_file_agree() {
        for setting in &KEY_SETTINGS {
            let other = if setting.key == "backend" { "" } else { "backend = \"tpm\"\n" };
            let text = format!("[keys.user]\n{} = \"\"\n{other}", setting.key);
            let error = parse(&text).unwrap_err().to_string();
            assert!(!error.contains("unknown field"), "{error}");
        }
        let error = parse("[keys.user]\nnone = 1").unwrap_err().to_string();
        for setting in &KEY_SETTINGS {
            assert!(error.contains(&format!("`{}`", setting.key)), "{error}");
        }
        assert_eq!(error.matches('`').count() / 2, KEY_SETTINGS.len() + 1, "{error}");
    }
}
