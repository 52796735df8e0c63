//! The names of things, each checked once, on construction or on deserialising.
//!
//! Character sets are strict because these names end up in certificates, log lines, file names and
//! terminal output: no space, quote, comma, wildcard, control character or anything outside ASCII.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("{kind} is empty")]
    Empty {
        /// What was being named.
        kind: &'static str,
    },
    /// The name is longer than its kind allows.
    #[error("{kind} is {length} bytes long; at most {limit} are allowed")]
    TooLong {
        /// What was being named.
        kind: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The longest allowed, in bytes.
        limit: usize,
    },
    /// A character that this kind of name cannot hold.
    #[error("{kind} holds {character:?}, which is not allowed; {allowed}")]
    Character {
        /// What was being named.
        kind: &'static str,
        /// The first offending character.
        character: char,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// A shape rule of this kind of name is broken.
    #[error("{kind} {reason}")]
    Shape {
        /// What was being named.
        kind: &'static str,
        /// The rule that was broken.
        reason: &'static str,
    },
}

/// One rule set for one kind of name.
struct Rule {
    kind: &'static str,
    limit: usize,
    allowed: &'static str,
    first: fn(char) -> bool,
    rest: fn(char) -> bool,
}

impl Rule {
    fn check(&self, text: &str) -> Result<(), NameError> {
        if text.is_empty() {
            return Err(NameError::Empty { kind: self.kind });
        }
        if text.len() > self.limit {
            let length = text.len();
            return Err(NameError::TooLong { kind: self.kind, length, limit: self.limit });
        }
        let offending = text.chars().enumerate().find(|(index, character)| {
            let fits = if *index == 0 { self.first } else { self.rest };
            !fits(*character)
        });
        match offending {
            None => Ok(()),
            Some((_, character)) => {
                Err(NameError::Character { kind: self.kind, character, allowed: self.allowed })
            }
        }
    }
}

/// Writes the parts every checked name shares; the rule is what differs.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $rule:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and keeps it.
            ///
            /// # Errors
            /// The first rule that `text` breaks.
            pub fn try_new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                $rule.check(&text)?;
                let extra: fn(&str) -> Result<(), NameError> = $check;
                extra(&text)?;
                Ok(Self(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::try_new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// A person or a workload, by its stable name: `ana@example.com`, `ci:deploy`.
    Identity,
    Rule {
        kind: "identity",
        limit: 64,
        allowed: "use letters, digits and . _ @ : = -, beginning with a letter or digit",
        first: |c| c.is_ascii_alphanumeric(),
        rest: |c| c.is_ascii_alphanumeric() || "._@:=-".contains(c),
    },
    |_| Ok(())
);

name!(
    /// A team's name, as an operator, an identity provider or a directory calls it: `sre`, `db-owners`.
    TeamName,
    Rule {
        kind: "team",
        limit: 64,
        allowed: "use letters, digits and . _ : -, beginning with a letter or digit",
        first: |c| c.is_ascii_alphanumeric(),
        rest: |c| c.is_ascii_alphanumeric() || "._:-".contains(c),
    },
    |_| Ok(())
);

name!(
    /// A unix account on a host: `postgres`, `deploy`, `root`.
    Login,
    Rule {
        kind: "login",
        limit: 32,
        allowed: "use letters, digits and . _ -, beginning with a letter, digit or _",
        first: |c| c.is_ascii_alphanumeric() || c == '_',
        rest: |c| c.is_ascii_alphanumeric() || "._-".contains(c),
    },
    |_| Ok(())
);

name!(
    /// An enrolled machine's name, lower case, as in its certificates: `db1`, `db1.example.com`.
    HostName,
    Rule {
        kind: "host name",
        limit: 64,
        allowed: "use lower-case letters, digits and . -, beginning with a letter or digit",
        first: |c| c.is_ascii_lowercase() || c.is_ascii_digit(),
        rest: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c),
    },
    |text| {
        if text.contains("..") || text.ends_with(['.', '-']) {
            return Err(NameError::Shape {
                kind: "host name",
                reason: "has an empty label or ends in . or -",
            });
        }
        Ok(())
    }
);

name!(
    /// Where a host is reached: a host name or an IP address without brackets.
    Address,
    Rule {
        kind: "address",
        limit: 64,
        allowed: "use lower-case letters, digits and . : -",
        first: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == ':',
        rest: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".:-".contains(c),
    },
    |_| Ok(())
);

name!(
    /// A role's name: a bundle of abilities for a task.
    RoleName,
    Rule {
        kind: "role",
        limit: 32,
        allowed: "use lower-case letters, digits and _ -, beginning with a letter",
        first: |c| c.is_ascii_lowercase(),
        rest: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c),
    },
    |_| Ok(())
);

name!(
    /// The name of a quorum, a list of seats that people must fill: `owner`, `owner+security`.
    QuorumName,
    Rule {
        kind: "quorum",
        limit: 64,
        allowed: "use lower-case letters, digits and + _ -, beginning with a letter",
        first: |c| c.is_ascii_lowercase(),
        rest: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+_-".contains(c),
    },
    |_| Ok(())
);

name!(
    /// The name of a rota: who is on call, and when.
    RotaName,
    Rule {
        kind: "rota",
        limit: 64,
        allowed: "use lower-case letters, digits and _ -, beginning with a letter",
        first: |c| c.is_ascii_lowercase(),
        rest: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c),
    },
    |_| Ok(())
);

name!(
    /// A ticket as its tracker calls it: `OPS-1234`, `acme/infra#12`.
    Ticket,
    Rule {
        kind: "ticket",
        limit: 64,
        allowed: "use letters, digits and . _ / # -, beginning with a letter, digit or #",
        first: |c| c.is_ascii_alphanumeric() || c == '#',
        rest: |c| c.is_ascii_alphanumeric() || "._/#-".contains(c),
    },
    |_| Ok(())
);

name!(
    /// A host's label, `key=value`: `env=prod`.
    Label,
    Rule {
        kind: "label",
        limit: 64,
        allowed: "use key=value of lower-case letters, digits and . _ -",
        first: |c| c.is_ascii_lowercase() || c.is_ascii_digit(),
        rest: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-=".contains(c),
    },
    |text| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() && !value.contains('=') => Ok(()),
        _ => Err(NameError::Shape { kind: "label", reason: "is not of the form key=value" }),
    }
);

name!(
    /// What a certificate lets its holder be, and where: `login@host`.
    Principal,
    Rule {
        kind: "principal",
        limit: 97,
        allowed: "use login@host",
        first: |c| c.is_ascii_alphanumeric() || c == '_',
        rest: |c| c.is_ascii_alphanumeric() || "._@-".contains(c),
    },
    |text| {
        let (login, host) = text
            .split_once('@')
            .ok_or(NameError::Shape { kind: "principal", reason: "is not of the form login@host" })?;
        Login::try_new(login)?;
        HostName::try_new(host).map(|_| ())
    }
);

name!(
    /// What an incident is called by those who deal with it: `INC-42`.
    IncidentName,
    Rule {
        kind: "incident",
        limit: 20,
        allowed: "use letters, digits and . _ -, beginning with a letter or digit",
        first: |c| c.is_ascii_alphanumeric(),
        rest: |c| c.is_ascii_alphanumeric() || "._-".contains(c),
    },
    |_| Ok(())
);

name!(
    /// Who holds a share of the break-glass key, by a short name: `ann`.
    Custodian,
    Rule {
        kind: "custodian",
        limit: 12,
        allowed: "use lower-case letters, digits and -, beginning with a letter",
        first: |c| c.is_ascii_lowercase(),
        rest: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
    },
    |_| Ok(())
);

impl Principal {
    /// The principal that opens `login` on `host`.
    ///
    /// # Errors
    /// Never for two checked names, unless together they pass the length limit.
    pub fn of(login: &Login, host: &HostName) -> Result<Self, NameError> {
        Self::try_new(format!("{login}@{host}"))
    }
}

name!(
    /// The SHA-256 fingerprint of a key or certificate, as OpenSSH prints it: `SHA256:` and 43 base64 characters.
    Fingerprint,
    Rule {
        kind: "fingerprint",
        limit: 50,
        allowed: "use SHA256: followed by 43 base64 characters",
        first: |c| c == 'S',
        rest: |c| c.is_ascii_alphanumeric() || ":+/".contains(c),
    },
    |text| match text.strip_prefix("SHA256:").map(|digest| STANDARD_NO_PAD.decode(digest)) {
        Some(Ok(digest)) if digest.len() == 32 => Ok(()),
        _ => Err(NameError::Shape {
            kind: "fingerprint",
            reason: "is not SHA256: followed by 43 base64 characters",
        }),
    }
);

impl Fingerprint {
    /// The fingerprint of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(bytes);
        Self(format!("SHA256:{}", STANDARD_NO_PAD.encode(digest)))
    }
}

/// Writes a numbered name with a letter before it, such as `g17`.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// The number `value`, which is at least 1.
            ///
            /// # Errors
            /// When `value` is 0.
            pub fn try_new(value: u64) -> Result<Self, NameError> {
                NonZeroU64::new(value)
                    .map(Self)
                    .ok_or(NameError::Shape { kind: $kind, reason: "is 0; numbers begin at 1" })
            }

            /// The number `value`.
            #[must_use]
            pub const fn of(value: NonZeroU64) -> Self {
                Self(value)
            }

            /// The number itself.
            #[must_use]
            pub const fn number(self) -> u64 {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{}{}", $prefix, self.0))
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let wrong = NameError::Shape { kind: $kind, reason: concat!("is not ", $prefix, "N") };
                let digits = text.strip_prefix($prefix).ok_or_else(|| wrong.clone())?;
                let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                match digits.parse::<u64>() {
                    Ok(value) if plain => Self::try_new(value),
                    _ => Err(wrong),
                }
            }
        }
    };
}

number!(
    /// A certificate's serial number; from the ledger, at least 1 (serial 0 cannot be revoked).
    Serial, "serial", ""
);
number!(
    /// A grant's number in the ledger, written `g17`.
    GrantId, "grant", "g"
);
number!(
    /// A request's number in the ledger, written `r42`.
    RequestId, "request", "r"
);
number!(
    /// An order's number; orders are numbered without gaps from 1.
    OrderNumber, "order", ""
);
number!(
    /// A record's number on its host; records are numbered without gaps from 1.
    RecordNumber, "record", ""
);

/// A session's name: a random 64-bit number that is also its tag in the kernel, written as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(NonZeroU64);

impl SessionId {
    /// The session with this tag.
    #[must_use]
    pub const fn new(tag: NonZeroU64) -> Self {
        Self(tag)
    }

    /// The tag in the kernel.
    #[must_use]
    pub const fn tag(self) -> NonZeroU64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:016x}", self.0))
    }
}

impl FromStr for SessionId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = NameError::Shape { kind: "session", reason: "is not 16 hex digits" };
        let plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16).ok().and_then(NonZeroU64::new) {
            Some(tag) if plain => Ok(Self(tag)),
            _ => Err(wrong),
        }
    }
}

impl TryFrom<String> for SessionId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(session: SessionId) -> Self {
        session.to_string()
    }
}

/// What a certificate's key id says: `identity/grant/serial`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyId {
    /// Whose certificate it is.
    pub identity: Identity,
    /// The grant it was issued under.
    pub grant: GrantId,
    /// Its serial number.
    pub serial: Serial,
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.identity, self.grant, self.serial)
    }
}

impl FromStr for KeyId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong =
            NameError::Shape { kind: "key id", reason: "is not of the form identity/grant/serial" };
        let parts: Vec<&str> = text.split('/').collect();
        let [identity, grant, serial] = parts.as_slice() else {
            return Err(wrong);
        };
        Ok(Self { identity: identity.parse()?, grant: grant.parse()?, serial: serial.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_names_are_refused() {
        for text in ["", "a b", "a,root", "a\nb", "a\"b", "*", "-a", "a\u{e9}", "a/b", "a'b", "a$b"]
        {
            assert!(Identity::try_new(text).is_err(), "{text:?}");
            assert!(Login::try_new(text).is_err(), "{text:?}");
            assert!(HostName::try_new(text).is_err(), "{text:?}");
            assert!(RoleName::try_new(text).is_err(), "{text:?}");
            assert!(TeamName::try_new(text).is_err(), "{text:?}");
            assert!(Label::try_new(text).is_err(), "{text:?}");
            assert!(Principal::try_new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_principal_names_one_login_and_one_host() {
        assert!(Principal::try_new("deploy@db1.example.com").is_ok());
        for text in ["deploy", "@db1", "deploy@", "a@b@c", "deploy@db1,root@db1", "deploy@*"] {
            assert!(Principal::try_new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_past_its_limit_says_by_how_much() {
        let error = Login::try_new("a".repeat(33)).unwrap_err();
        assert_eq!(error.to_string(), "login is 33 bytes long; at most 32 are allowed");
    }

    #[test]
    fn key_id_reads_back_what_it_wrote() {
        let text = "ana@example.com/g7/19";
        assert_eq!(text.parse::<KeyId>().unwrap().to_string(), text);
        for wrong in
            ["ana/7/19", "ana/g0/19", "ana/g7/0", "ana/g7/19/1", "ana/g7", "a b/g7/1", "ana/g+7/1"]
        {
            assert!(wrong.parse::<KeyId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_fingerprint_is_a_digest() {
        let text = Fingerprint::of(b"key").to_string();
        assert!(Fingerprint::try_new(&text).is_ok());
        for wrong in
            [text.replace("SHA", "sha"), format!("{text}="), text.chars().take(49).collect()]
        {
            assert!(Fingerprint::try_new(wrong).is_err());
        }
        for wrong in [":", "x"] {
            let last = format!("SHA256:{}{wrong}", "A".repeat(42));
            assert!(Fingerprint::try_new(&last).is_err(), "{last} has bits beyond 32 bytes");
        }
    }

    #[test]
    fn zero_is_not_a_serial() {
        assert!(serde_json::from_str::<Serial>("0").is_err());
        assert_eq!(serde_json::from_str::<Serial>("7").unwrap().number(), 7);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_name_panic(text in "\\PC{0,200}") {
            drop((Identity::try_new(&text), Principal::try_new(&text), text.parse::<KeyId>()));
            drop((text.parse::<SessionId>(), Fingerprint::try_new(&text), text.parse::<GrantId>()));
        }

        #[test]
        fn session_ids_read_back(tag in 1u64..) {
            let id = SessionId::new(NonZeroU64::new(tag).unwrap());
            prop_assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
        }
    }
}
