//! What a certificate allows and what it demands, and how several that have a say in it are combined: only ever to less.
//!
//! [`Bounds`] are ordered by width. [`Bounds::meet`] is the widest that is within both, so it does not matter in which
//! order roles, policies and a request are combined, or how often; where nothing is within both there is a
//! [`Conflict`], never a compromise. A request says [`Wishes`]; a wish for more than the bounds is refused, not trimmed.
//! Empty means *none*, never *any*: what is not bounded is `None`, and an empty list of networks or keys cannot be made.
//!
//! Who can change this: root on the authority's machine, by `roles.toml`. Gains: wider certificates.
//! Source: draft-miller-ssh-cert, PROTOCOL.certkeys, PROTOCOL.u2f.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ssh_key::public::KeyData;

use crate::limits::{IDLE_SECS, Limits};
use crate::network::Networks;

/// What a certificate may allow besides running commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    /// A terminal.
    Pty,
    /// Forwarding of ports.
    PortForwarding,
    /// Forwarding of the ssh-agent.
    AgentForwarding,
    /// Forwarding of X11.
    X11Forwarding,
}

impl Ability {
    /// Every ability.
    pub const ALL: [Self; 4] =
        [Self::Pty, Self::PortForwarding, Self::AgentForwarding, Self::X11Forwarding];

    /// The certificate extension that allows it.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Pty => "permit-pty",
            Self::PortForwarding => "permit-port-forwarding",
            Self::AgentForwarding => "permit-agent-forwarding",
            Self::X11Forwarding => "permit-X11-forwarding",
        }
    }

    /// Its name in `roles.toml` and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pty => "pty",
            Self::PortForwarding => "port-forwarding",
            Self::AgentForwarding => "agent-forwarding",
            Self::X11Forwarding => "x11-forwarding",
        }
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Ability {
    type Err = UnknownName;
    fn from_str(text: &str) -> Result<Self, UnknownName> {
        named(text, "ability", Self::ALL, Self::name)
    }
}

/// The kinds of key that a certificate can be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// ECDSA over a NIST curve.
    Ecdsa,
    /// RSA.
    Rsa,
    /// Ed25519 in a security key.
    SkEd25519,
    /// ECDSA in a security key.
    SkEcdsa,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Ed25519, Self::Ecdsa, Self::Rsa, Self::SkEd25519, Self::SkEcdsa];

    /// The kind of `key`; none for a key that is not certified at all. A key in a security key is never taken for the
    /// plain kind of the same algorithm.
    #[must_use]
    pub const fn of(key: &KeyData) -> Option<Self> {
        match key {
            KeyData::Ed25519(_) => Some(Self::Ed25519),
            KeyData::Ecdsa(_) => Some(Self::Ecdsa),
            KeyData::Rsa(_) => Some(Self::Rsa),
            KeyData::SkEd25519(_) => Some(Self::SkEd25519),
            KeyData::SkEcdsaSha2NistP256(_) => Some(Self::SkEcdsa),
            _ => None,
        }
    }

    /// Whether the private half is in a security key, which can ask for a touch or a PIN.
    #[must_use]
    pub const fn is_security_key(self) -> bool {
        matches!(self, Self::SkEd25519 | Self::SkEcdsa)
    }

    /// Its name in `roles.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
            Self::SkEd25519 => "sk-ed25519",
            Self::SkEcdsa => "sk-ecdsa",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KeyKind {
    type Err = UnknownName;
    fn from_str(text: &str) -> Result<Self, UnknownName> {
        named(text, "kind of key", Self::ALL, Self::name)
    }
}

/// The word is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} {given:?}; there are {known}")]
pub struct UnknownName {
    what: &'static str,
    given: String,
    known: String,
}

fn named<T: Copy, const N: usize>(
    text: &str,
    what: &'static str,
    all: [T; N],
    name: fn(T) -> &'static str,
) -> Result<T, UnknownName> {
    all.into_iter().find(|each| name(*each) == text).ok_or_else(|| UnknownName {
        what,
        given: text.chars().take(MAX_SHOWN).collect(),
        known: all.map(name).join(", "),
    })
}

/// The one command that a certificate can run, whatever the client asks for. sshd gives it to the login's shell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ForceCommand(String);

/// Why a text is no forced command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It says nothing; sshd would run the login's shell.
    #[error("the forced command is empty")]
    Empty,
    /// Longer than fits on the ways that a certificate takes.
    #[error(
        "the forced command is {0} bytes long; at most {MAX_COMMAND} are allowed: put it into a script on the host"
    )]
    TooLong(usize),
    /// A character that ends lines or drives terminals.
    #[error(
        "the forced command holds the control character {0:?}; put it into a script on the host"
    )]
    Control(char),
    /// A blank at an end, where nobody sees it.
    #[error("the forced command begins or ends with a blank")]
    Blank,
}

impl ForceCommand {
    /// Checks `text` and keeps it as it is: nothing is split, trimmed or expanded.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn try_new(text: impl Into<String>) -> Result<Self, CommandError> {
        let text = text.into();
        if text.is_empty() {
            return Err(CommandError::Empty);
        }
        if text.len() > MAX_COMMAND {
            return Err(CommandError::TooLong(text.len()));
        }
        if let Some(control) = text.chars().find(|character| character.is_control()) {
            return Err(CommandError::Control(control));
        }
        if text.trim() != text {
            return Err(CommandError::Blank);
        }
        Ok(Self(text))
    }

    /// The command as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ForceCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ForceCommand {
    type Err = CommandError;
    fn from_str(text: &str) -> Result<Self, CommandError> {
        Self::try_new(text)
    }
}

impl TryFrom<String> for ForceCommand {
    type Error = CommandError;
    fn try_from(text: String) -> Result<Self, CommandError> {
        Self::try_new(text)
    }
}

impl From<ForceCommand> for String {
    fn from(command: ForceCommand) -> Self {
        command.0
    }
}

/// How wide a certificate may be, at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// What the session may do besides running commands.
    pub abilities: BTreeSet<Ability>,
    /// The longest grant.
    pub lifetime: Duration,
    /// Where the login may come from; anywhere, when absent.
    pub sources: Option<Networks>,
    /// The one command; any, when absent.
    pub command: Option<ForceCommand>,
    /// Whether the security key must verify who touches it, at each login.
    pub verify_required: bool,
    /// What kinds of key it may be over.
    pub keys: BTreeSet<KeyKind>,
    /// What holds for the session besides the grant's end.
    pub limits: Limits,
}

/// Nothing is within both bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// No address is in both sets of networks.
    #[error("no address is both in {0} and in {1}")]
    Sources(Networks, Networks),
    /// Two commands are forced.
    #[error("two commands are forced: {:?} and {:?}", .0.as_str(), .1.as_str())]
    Commands(ForceCommand, ForceCommand),
    /// No kind of key is allowed by both.
    #[error("no kind of key is allowed by both")]
    Keys,
}

/// What a request may say about the certificate: each part makes it narrower, or is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wishes {
    /// Exactly these abilities; the role's, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<BTreeSet<Ability>>,
    /// Not these abilities.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without: BTreeSet<Ability>,
    /// Only from these networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Networks>,
    /// Only this command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<ForceCommand>,
    /// Only with verification by the security key.
    #[serde(default, skip_serializing_if = "is_false")]
    pub verify_required: bool,
    /// Ended after so many seconds without anything from the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_secs: Option<u64>,
}

/// A wish for more than is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wider {
    /// An ability that is not given.
    #[error("does not allow {0}")]
    Ability(Ability),
    /// Networks beyond those given.
    #[error("lets in from {allowed} only, and {asked} is not within")]
    Sources {
        /// What is allowed.
        allowed: Networks,
        /// What was asked for.
        asked: Networks,
    },
    /// A longer time without anything from the client.
    #[error("ends sessions that are idle for {allowed} s, and {asked} s were asked for")]
    Idle {
        /// What is allowed.
        allowed: u64,
        /// What was asked for.
        asked: u64,
    },
    /// A time that is no idle limit.
    #[error("ends idle sessions after 5 s to 7 days, and {0} s were asked for")]
    IdleRange(u64),
    /// Another command than the one given.
    #[error("forces the command {:?}, and another was asked for", .0.as_str())]
    Command(ForceCommand),
}

/// A key that may not be certified under these bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitKey {
    /// A plain key where a person must be verified.
    #[error(
        "asks for a PIN or a fingerprint at each login, which only a security key can ask for, and this is a plain key ({0}); \
         make one with `ssh-keygen -t ed25519-sk -O verify-required` and name it with `--key`"
    )]
    NoVerification(KeyKind),
    /// A kind of key that is not among those allowed.
    #[error(
        "certifies keys of type {allowed} only, and this one is {given}; name another with `--key`"
    )]
    Kind {
        /// What is allowed.
        allowed: String,
        /// What was given.
        given: KeyKind,
    },
}

impl Bounds {
    /// The widest bounds that are within both. Commutative, associative, idempotent.
    ///
    /// # Errors
    /// When nothing is within both.
    pub fn meet(&self, other: &Self) -> Result<Self, Conflict> {
        let keys: BTreeSet<KeyKind> = self.keys.intersection(&other.keys).copied().collect();
        if keys.is_empty() {
            return Err(Conflict::Keys);
        }
        Ok(Self {
            abilities: self.abilities.intersection(&other.abilities).copied().collect(),
            lifetime: self.lifetime.min(other.lifetime),
            sources: meet_sources(self.sources.as_ref(), other.sources.as_ref())?,
            command: meet_commands(self.command.as_ref(), other.command.as_ref())?,
            verify_required: self.verify_required || other.verify_required,
            keys,
            limits: self.limits.meet(&other.limits),
        })
    }

    /// Whether nothing in them goes beyond `other`.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.meet(other).is_ok_and(|both| both == *self)
    }

    /// The bounds, with what a request asks to leave out.
    ///
    /// # Errors
    /// The first wish for more than there is.
    pub fn narrowed(&self, wishes: &Wishes) -> Result<Self, Wider> {
        let mut abilities = self.abilities.clone();
        if let Some(only) = &wishes.only {
            if let Some(more) = only.difference(&self.abilities).next() {
                return Err(Wider::Ability(*more));
            }
            abilities.clone_from(only);
        }
        abilities.retain(|ability| !wishes.without.contains(ability));
        let sources = match (&self.sources, &wishes.sources) {
            (Some(allowed), Some(asked)) if !allowed.covers(asked) => {
                return Err(Wider::Sources { allowed: allowed.clone(), asked: asked.clone() });
            }
            (allowed, asked) => asked.clone().or_else(|| allowed.clone()),
        };
        let command = match (&self.command, &wishes.command) {
            (Some(forced), Some(asked)) if forced != asked => {
                return Err(Wider::Command(forced.clone()));
            }
            (forced, asked) => forced.clone().or_else(|| asked.clone()),
        };
        let verify_required = self.verify_required || wishes.verify_required;
        let limits = idle_for(&self.limits, wishes.idle_secs)?;
        Ok(Self { abilities, sources, command, verify_required, limits, ..self.clone() })
    }

    /// Whether a certificate within them can be over this kind of key.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, key: KeyKind) -> Result<(), UnfitKey> {
        if self.verify_required && !key.is_security_key() {
            return Err(UnfitKey::NoVerification(key));
        }
        if self.keys.contains(&key) {
            return Ok(());
        }
        let allowed: Vec<&str> = self.keys.iter().map(|kind| kind.name()).collect();
        Err(UnfitKey::Kind { allowed: allowed.join(", "), given: key })
    }

    /// The critical options that hold a certificate to them: sshd refuses it wherever it does not know one.
    #[must_use]
    pub fn critical_options(&self) -> BTreeMap<&'static str, String> {
        let mut options = BTreeMap::new();
        if let Some(command) = &self.command {
            options.insert(FORCE_COMMAND, command.as_str().to_owned());
        }
        if let Some(sources) = &self.sources {
            options.insert(SOURCE_ADDRESS, sources.to_string());
        }
        if self.verify_required {
            options.insert(VERIFY_REQUIRED, String::new());
        }
        options
    }
}

/// The limits with a shorter time of idleness. Where there is none for copies and commands, it holds for them too.
fn idle_for(limits: &Limits, asked: Option<u64>) -> Result<Limits, Wider> {
    let Some(asked) = asked else { return Ok(limits.clone()) };
    if !IDLE_SECS.contains(&asked) {
        return Err(Wider::IdleRange(asked));
    }
    if let Some(allowed) = limits.idle_secs.filter(|allowed| *allowed < asked) {
        return Err(Wider::Idle { allowed, asked });
    }
    let transfer_idle_secs = limits.transfer_idle_secs.or(Some(asked));
    Ok(Limits { idle_secs: Some(asked), transfer_idle_secs, ..limits.clone() })
}

fn meet_sources(
    ours: Option<&Networks>,
    theirs: Option<&Networks>,
) -> Result<Option<Networks>, Conflict> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => match ours.intersection(theirs) {
            None => Err(Conflict::Sources(ours.clone(), theirs.clone())),
            both => Ok(both),
        },
        (one, other) => Ok(one.or(other).cloned()),
    }
}

fn meet_commands(
    ours: Option<&ForceCommand>,
    theirs: Option<&ForceCommand>,
) -> Result<Option<ForceCommand>, Conflict> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => {
            Err(Conflict::Commands(ours.clone(), theirs.clone()))
        }
        (one, other) => Ok(one.or(other).cloned()),
    }
}

impl Wishes {
    /// Whether nothing is wished for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// The critical option that forces a command.
pub const FORCE_COMMAND: &str = "force-command";
/// The critical option that binds a certificate to networks.
pub const SOURCE_ADDRESS: &str = "source-address";
/// The critical option that demands verification by a security key.
pub const VERIFY_REQUIRED: &str = "verify-required";
/// Longest forced command, in bytes: sshd hands the certificate to our principals command as one argument, of which
/// Linux takes 128 KiB, and people must be able to read it.
pub const MAX_COMMAND: usize = 8 * 1024;
/// Characters of a wrong word that an error repeats.
const MAX_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::tests::limits;
    use crate::network::tests::a_set;
    use proptest::prelude::*;

    fn wide() -> Bounds {
        Bounds {
            abilities: BTreeSet::from([Ability::Pty, Ability::PortForwarding]),
            lifetime: Duration::from_secs(3_600),
            sources: None,
            command: None,
            verify_required: false,
            keys: KeyKind::ALL.into(),
            limits: Limits::default(),
        }
    }

    fn networks(text: &str) -> Networks {
        Networks::from_option(text).unwrap()
    }

    fn command(text: &str) -> ForceCommand {
        ForceCommand::try_new(text).unwrap()
    }

    #[test]
    fn a_command_is_kept_as_it_is_and_never_split() {
        for text in ["env A=b,c cmd --x=y", "a, b", "\"quoted\" 'x' \\ $HOME;id", "grüße", "="] {
            assert_eq!(command(text).as_str(), text);
            let bounds = Bounds { command: Some(command(text)), ..wide() };
            assert_eq!(bounds.critical_options()[FORCE_COMMAND], text);
        }
        let longest = "x".repeat(MAX_COMMAND);
        assert!(ForceCommand::try_new(&*longest).is_ok());
        for text in ["", " ", "a\nb", "a\0b", "a\u{1b}[2J", " a", "a\t", &format!("{longest}x")] {
            assert!(ForceCommand::try_new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn each_wish_narrows_and_the_rest_stays() {
        let all = wide();
        let narrow = |wishes: &Wishes| all.narrowed(wishes).unwrap();
        assert_eq!(narrow(&Wishes::default()), all);
        let without = Wishes {
            without: BTreeSet::from([Ability::Pty, Ability::X11Forwarding]),
            ..Wishes::default()
        };
        assert_eq!(narrow(&without).abilities, BTreeSet::from([Ability::PortForwarding]));
        let none = Wishes { only: Some(BTreeSet::new()), ..Wishes::default() };
        assert_eq!(narrow(&none).abilities, BTreeSet::new(), "empty means none");
        let from = Wishes { sources: Some(networks("10.0.0.0/8")), ..Wishes::default() };
        assert_eq!(narrow(&from).sources, Some(networks("10.0.0.0/8")));
        let one = Wishes { command: Some(command("uptime")), ..Wishes::default() };
        assert_eq!(narrow(&one).command, Some(command("uptime")));
        assert!(narrow(&Wishes { verify_required: true, ..Wishes::default() }).verify_required);
        let soon = narrow(&Wishes { idle_secs: Some(300), ..Wishes::default() }).limits;
        assert_eq!((soon.idle_secs, soon.transfer_idle_secs), (Some(300), Some(300)));
    }

    #[test]
    fn a_wish_for_more_is_refused_and_not_trimmed() {
        let bounds = Bounds {
            sources: Some(networks("10.0.0.0/8")),
            command: Some(command("uptime")),
            verify_required: true,
            limits: Limits { idle_secs: Some(300), ..Limits::default() },
            ..wide()
        };
        let table = [
            (Wishes { idle_secs: Some(301), ..Wishes::default() }, "idle for 300 s, and 301 s"),
            (Wishes { idle_secs: Some(4), ..Wishes::default() }, "after 5 s to 7 days, and 4 s"),
            (
                Wishes {
                    only: Some(BTreeSet::from([Ability::Pty, Ability::X11Forwarding])),
                    ..Wishes::default()
                },
                "does not allow x11-forwarding",
            ),
            (
                Wishes { sources: Some(networks("0.0.0.0/0")), ..Wishes::default() },
                "10.0.0.0/8 only",
            ),
            (
                Wishes { sources: Some(networks("10.0.0.0/7")), ..Wishes::default() },
                "10.0.0.0/8 only",
            ),
            (
                Wishes { sources: Some(networks("10.1.0.0/16,::/0")), ..Wishes::default() },
                "10.0.0.0/8 only",
            ),
            (
                Wishes { command: Some(command("id")), ..Wishes::default() },
                "forces the command \"uptime\"",
            ),
        ];
        for (wishes, why) in table {
            let error = bounds.narrowed(&wishes).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        // One option that is asked for leaves no other out.
        let asked = Wishes { sources: Some(networks("10.1.0.0/16")), ..Wishes::default() };
        let narrowed = bounds.narrowed(&asked).unwrap();
        assert!(narrowed.verify_required && narrowed.command == bounds.command);
        assert!(
            bounds.narrowed(&Wishes::default()).unwrap().verify_required,
            "nobody can switch it off"
        );
    }

    #[test]
    fn a_plain_key_is_never_taken_for_a_security_key() {
        let verified = Bounds { verify_required: true, ..wide() };
        let hardware = BTreeSet::from([KeyKind::SkEd25519, KeyKind::SkEcdsa]);
        let held = Bounds { keys: hardware, ..wide() };
        for kind in KeyKind::ALL {
            assert_eq!(verified.admit(kind).is_ok(), kind.is_security_key(), "{kind}");
            assert_eq!(held.admit(kind).is_ok(), kind.is_security_key(), "{kind}");
            assert!(wide().admit(kind).is_ok());
        }
        let said = held.admit(KeyKind::Ecdsa).unwrap_err().to_string();
        assert!(said.contains("sk-ed25519, sk-ecdsa only, and this one is ecdsa"), "{said}");
    }

    #[test]
    fn what_cannot_be_had_together_is_a_conflict() {
        let with = |text| Bounds { sources: Some(networks(text)), ..wide() };
        assert!(matches!(with("10.0.0.0/8").meet(&with("11.0.0.0/8")), Err(Conflict::Sources(..))));
        let run = |text| Bounds { command: Some(command(text)), ..wide() };
        assert!(matches!(run("a").meet(&run("b")), Err(Conflict::Commands(..))));
        assert_eq!(run("a").meet(&run("a")), Ok(run("a")));
        assert_eq!(run("a").meet(&wide()), Ok(run("a")));
        let of = |kind| Bounds { keys: BTreeSet::from([kind]), ..wide() };
        assert_eq!(of(KeyKind::Rsa).meet(&of(KeyKind::SkEcdsa)), Err(Conflict::Keys));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        assert_eq!(
            "tty".parse::<Ability>().unwrap_err().to_string(),
            "there is no ability \"tty\"; there are pty, port-forwarding, agent-forwarding, x11-forwarding"
        );
        for ability in Ability::ALL {
            assert_eq!(ability.name().parse(), Ok(ability));
            assert_eq!(serde_json::to_string(&ability).unwrap(), format!("\"{ability}\""));
        }
        for kind in KeyKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
    }

    fn abilities() -> impl Strategy<Value = BTreeSet<Ability>> {
        proptest::sample::subsequence(Ability::ALL.to_vec(), 0..=4)
            .prop_map(|list| list.into_iter().collect())
    }

    fn commands() -> impl Strategy<Value = Option<ForceCommand>> {
        proptest::option::weighted(0.4, prop_oneof![Just("a"), Just("b=c,d")])
            .prop_map(|text| text.map(command))
    }

    fn bounds() -> impl Strategy<Value = Bounds> {
        let keys = proptest::sample::subsequence(KeyKind::ALL.to_vec(), 2..=5);
        let sources = proptest::option::weighted(0.6, a_set());
        (abilities(), 1_u64..5, sources, commands(), any::<bool>(), keys, limits()).prop_map(
            |(abilities, secs, sources, command, verify_required, keys, limits)| Bounds {
                abilities,
                lifetime: Duration::from_secs(secs),
                sources,
                command,
                verify_required,
                keys: keys.into_iter().collect(),
                limits,
            },
        )
    }

    fn wishes() -> impl Strategy<Value = Wishes> {
        let only = proptest::option::of(abilities());
        let sources = proptest::option::of(a_set());
        let idle = proptest::option::of(4_u64..604_900);
        (only, abilities(), sources, commands(), any::<bool>(), idle).prop_map(
            |(only, without, sources, command, verify_required, idle_secs)| Wishes {
                idle_secs,
                only,
                without,
                sources,
                command,
                verify_required,
            },
        )
    }

    proptest! {
        #[test]
        fn meeting_is_commutative(a in bounds(), b in bounds()) {
            prop_assert_eq!(a.meet(&b).ok(), b.meet(&a).ok());
        }

        #[test]
        fn meeting_is_idempotent(a in bounds()) {
            prop_assert_eq!(a.meet(&a), Ok(a));
        }

        #[test]
        fn meeting_is_associative(a in bounds(), b in bounds(), c in bounds()) {
            let left = a.meet(&b).and_then(|both| both.meet(&c)).ok();
            let right = b.meet(&c).and_then(|both| a.meet(&both)).ok();
            prop_assert_eq!(left, right);
        }

        #[test]
        fn what_comes_of_meeting_is_never_wider_than_either(a in bounds(), b in bounds()) {
            if let Ok(both) = a.meet(&b) {
                prop_assert!(both.is_within(&a) && both.is_within(&b));
                prop_assert!(both.abilities.is_subset(&a.abilities));
                prop_assert!(both.lifetime <= a.lifetime && both.verify_required >= a.verify_required);
                for (mine, theirs) in both.sources.iter().zip(&a.sources) {
                    prop_assert!(theirs.covers(mine));
                }
                prop_assert!(a.sources.is_none() || both.sources.is_some());
                prop_assert!(a.command.is_none() || both.command == a.command);
            }
        }

        #[test]
        fn the_order_of_roles_does_not_matter(
            (roles, turned) in proptest::collection::vec(bounds(), 1..5)
                .prop_flat_map(|roles| (Just(roles.clone()), Just(roles).prop_shuffle())),
        ) {
            let all = |roles: &[Bounds]| {
                let first = roles[0].clone();
                roles.iter().try_fold(first, |met, role| met.meet(role)).ok()
            };
            prop_assert_eq!(all(&roles), all(&turned));
        }

        #[test]
        fn no_request_gets_more_than_its_role(role in bounds(), wishes in wishes()) {
            if let Ok(narrowed) = role.narrowed(&wishes) {
                prop_assert!(narrowed.is_within(&role));
                for (name, _) in role.critical_options() {
                    prop_assert!(narrowed.critical_options().contains_key(name));
                }
            }
        }

        #[test]
        fn wishes_are_read_back(wishes in wishes()) {
            let text = serde_json::to_string(&wishes).unwrap();
            prop_assert_eq!(serde_json::from_str::<Wishes>(&text).unwrap(), wishes);
        }
    }
}
