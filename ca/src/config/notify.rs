//! Who is told of what by the authority itself: the tables `[[notify]]`.
//!
//! Who can change this: root on the authority's machine. Gains: has somebody told, or nobody, of what goes on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hyper::Uri;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use wire::odd::TOLD_FROM;

use super::keys::Place;
use super::{ConfigError, Setting, Source, command};

/// Somebody who is told.
#[derive(Debug, Clone)]
pub(crate) struct NotifyAt {
    /// What they are called here.
    pub(crate) name: String,
    /// How they are told.
    pub(crate) way: Way,
    /// Of what.
    pub(crate) events: BTreeSet<Event>,
    /// From which score on a request is an event of its own.
    pub(crate) risk_from: u8,
    /// From which weight on that a session was odd is told.
    pub(crate) odd_from: u8,
}

/// What somebody can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// Something was seen that must never happen.
    Incident,
    /// A request for access waits for approvals.
    Request,
    /// A request for access is a high risk, whether it waits or not.
    Risk,
    /// What became of a request for access.
    Decision,
    /// A request for a key waits for an approval.
    Key,
    /// A deletion waits for a second person.
    Deletion,
    /// Roles, policy, weights of risks or rules of behaviour changed, or a change was refused.
    Rules,
    /// Somebody or something was locked, or the lock was lifted.
    Lock,
    /// The authority or the policy said no.
    Refusal,
    /// A session has ended in which something was odd.
    Odd,
    /// Nothing: whether the receiver can be told.
    Test,
}

/// How somebody is told.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// A command is started.
    Command(Vec<String>),
    /// Something is posted.
    Post {
        /// Where to.
        url: Url,
        /// The roots that an https address is believed by; the system's when absent.
        root: Option<PathBuf>,
        /// What is shown as a bearer token.
        token: Option<Place>,
        /// What it is signed with.
        secret: Option<Place>,
    },
}

/// An address, which may be a secret itself.
#[derive(Debug, Clone)]
pub(crate) enum Url {
    /// As it stands in the settings.
    Plain(Uri),
    /// Somewhere else.
    Secret(Place),
}

/// `[[notify]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyForm {
    name: Spanned<String>,
    command: Option<Spanned<Vec<String>>>,
    url: Option<Spanned<String>>,
    url_file: Option<Spanned<PathBuf>>,
    url_credential: Option<Spanned<String>>,
    token_file: Option<Spanned<PathBuf>>,
    token_credential: Option<Spanned<String>>,
    secret_file: Option<Spanned<PathBuf>>,
    secret_credential: Option<Spanned<String>>,
    root: Option<PathBuf>,
    events: Option<Spanned<Vec<Spanned<String>>>>,
    risk_from: Option<Spanned<u8>>,
    odd_from: Option<Spanned<u8>>,
}

impl Event {
    /// Each that can be named in the settings.
    pub(crate) const ALL: [Self; 10] = [
        Self::Incident,
        Self::Request,
        Self::Risk,
        Self::Decision,
        Self::Key,
        Self::Deletion,
        Self::Rules,
        Self::Lock,
        Self::Refusal,
        Self::Odd,
    ];
    /// Those of a receiver that names none.
    pub(crate) const USUAL: [Self; 5] =
        [Self::Incident, Self::Request, Self::Risk, Self::Key, Self::Deletion];

    /// The one of this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == name)
    }

    /// Its name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Incident => "incident",
            Self::Request => "request",
            Self::Risk => "risk",
            Self::Decision => "decision",
            Self::Key => "key",
            Self::Deletion => "deletion",
            Self::Rules => "rules",
            Self::Lock => "lock",
            Self::Refusal => "refusal",
            Self::Odd => "odd",
            Self::Test => "test",
        }
    }
}

impl NotifyAt {
    pub(super) fn checked(
        source: &Source,
        forms: Vec<Spanned<NotifyForm>>,
    ) -> Result<Vec<Self>, ConfigError> {
        let mut all: Vec<Self> = Vec::new();
        for form in forms {
            let offset = form.span().start;
            let one = Self::of(source, (offset, form.into_inner()))?;
            if all.iter().any(|known| known.name == one.name) {
                return Err(source.wrong(offset, format!("notify: {:?} is there twice", one.name)));
            }
            all.push(one);
        }
        Ok(all)
    }

    fn of(source: &Source, (offset, mut form): (usize, NotifyForm)) -> Result<Self, ConfigError> {
        let name = form.name.get_ref();
        let is_word =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_word) {
            let why = format!(
                "notify: name: {name:?} is not 1 to {MAX_NAME} lower-case letters, digits, - and _"
            );
            return Err(source.wrong(form.name.span().start, why));
        }
        let events = events(source, form.events.take())?;
        let risk = (form.risk_from.take(), RISK_FROM, 0);
        let risk_from = number(source, risk, "risk_from: a score is 0 to 100")?;
        let odd = (form.odd_from.take(), ODD_FROM, TOLD_FROM);
        let odd_from = number(source, odd, "odd_from: such a weight is 30 to 100")?;
        let name = name.clone();
        Ok(Self { name, way: way(source, (offset, form))?, events, risk_from, odd_from })
    }
}

fn number(
    source: &Source,
    (given, usual, least): (Option<Spanned<u8>>, u8, u8),
    why: &str,
) -> Result<u8, ConfigError> {
    match given {
        None => Ok(usual),
        Some(given) if (least..=100).contains(given.get_ref()) => Ok(given.into_inner()),
        Some(given) => Err(source.wrong(given.span().start, format!("notify: {why}"))),
    }
}

fn way(source: &Source, (offset, form): (usize, NotifyForm)) -> Result<Way, ConfigError> {
    let wrong = |why: &str| source.wrong(offset, format!("notify: {why}"));
    let url_place = place(source, ("url", form.url_file, form.url_credential))?;
    let token = place(source, ("token", form.token_file, form.token_credential))?;
    let secret = place(source, ("secret", form.secret_file, form.secret_credential))?;
    let url = match (form.url, url_place) {
        (Some(_), Some(_)) => return Err(wrong("name `url` or where it is kept, not both")),
        (Some(url), None) => Some(Url::Plain(plain(source, &url)?)),
        (None, place) => place.map(Url::Secret),
    };
    match (form.command, url) {
        (Some(words), None) => {
            if token.is_some() || secret.is_some() || form.root.is_some() {
                return Err(wrong("a command needs no token, secret or root"));
            }
            let words = command(source, "notify: command", words)?;
            if words.is_empty() {
                Err(wrong("`command` names no program"))
            } else {
                Ok(Way::Command(words))
            }
        }
        (None, Some(url)) => Ok(Way::Post { url, root: form.root, token, secret }),
        (Some(_), Some(_)) => Err(wrong("it has a command and an address; write two tables")),
        (None, None) => {
            Err(wrong("it has neither `command` nor `url`, `url_file`, `url_credential`"))
        }
    }
}

fn plain(source: &Source, url: &Spanned<String>) -> Result<Uri, ConfigError> {
    parsed(url.get_ref()).ok_or_else(|| {
        let why = "notify: url: it is no http or https address; write it as https://chat.example.com/hook";
        source.wrong(url.span().start, why.to_owned())
    })
}

/// An address that can be posted to; no name and no password in it.
pub(crate) fn parsed(url: &str) -> Option<Uri> {
    let url: Uri = url.parse().ok()?;
    let is_web = matches!(url.scheme_str(), Some("http" | "https"));
    let is_bare = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (is_web && is_bare && url.host().is_some_and(|host| !host.is_empty())).then_some(url)
}

/// Where a secret is kept.
fn place(
    source: &Source,
    (what, file, credential): (&str, Option<Spanned<PathBuf>>, Option<Spanned<String>>),
) -> Result<Option<Place>, ConfigError> {
    let wrong = |at: usize, why: &str| source.wrong(at, format!("notify: {what}: {why}"));
    match (file, credential) {
        (Some(file), Some(_)) => {
            Err(wrong(file.span().start, "name a file or a credential, not both"))
        }
        (Some(file), None) if !file.get_ref().is_absolute() => {
            Err(wrong(file.span().start, "the file's path is not absolute"))
        }
        (Some(file), None) => Ok(Some(Place::File(file.into_inner()))),
        (None, Some(name)) => {
            let is_good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            let text = name.get_ref();
            if text.is_empty() || text.starts_with('.') || !text.chars().all(is_good) {
                return Err(wrong(
                    name.span().start,
                    "a credential is named by letters, digits and . _ -",
                ));
            }
            Ok(Some(Place::Credential(name.into_inner())))
        }
        (None, None) => Ok(None),
    }
}

fn events(
    source: &Source,
    names: Option<Spanned<Vec<Spanned<String>>>>,
) -> Result<BTreeSet<Event>, ConfigError> {
    let Some(names) = names else { return Ok(Event::USUAL.into_iter().collect()) };
    if names.get_ref().is_empty() {
        return Err(source.wrong(names.span().start, "notify: events: it names none".to_owned()));
    }
    let event = |name: Spanned<String>| {
        Event::of(name.get_ref()).ok_or_else(|| {
            let known = Event::ALL.map(Event::as_str);
            let meant = policy::nearest(name.get_ref(), known);
            let meant =
                meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
            let why = format!(
                "notify: events: there is no {:?}; there are {}{meant}",
                name.get_ref(),
                known.join(", ")
            );
            source.wrong(name.span().start, why)
        })
    };
    names.into_inner().into_iter().map(event).collect()
}

/// Longest name.
const MAX_NAME: usize = 32;
/// The score from which a request is an event of its own, unless the table says otherwise.
const RISK_FROM: u8 = 70;
/// The weight from which that a session was odd is told, unless the table says otherwise.
const ODD_FROM: u8 = 50;
/// The settings of the table, for `check --settings`.
pub(crate) const NOTIFY_SETTINGS: [Setting; 12] = [
    Setting {
        key: "name",
        default: "chat",
        range: "lower-case letters, digits, - and _",
        sentence: "What the receiver is called in logs, in `curfew status` and for `curfew-ca notify test`.",
    },
    Setting {
        key: "url",
        default: "https://chat.example.com/hook",
        range: "an http or https address",
        sentence: "Where notices are posted as JSON; any status from 200 to 299 says that one was taken.",
    },
    Setting {
        key: "url_credential",
        default: "curfew-ca.notify-url",
        range: "a credential of systemd; url_file: an absolute path, mode 0600",
        sentence: "Where that address is kept, when it is a secret itself.",
    },
    Setting {
        key: "token_credential",
        default: "curfew-ca.notify-token",
        range: "a credential of systemd; token_file: an absolute path, mode 0600",
        sentence: "Where the token is kept that is shown as `Authorization: Bearer`.",
    },
    Setting {
        key: "secret_credential",
        default: "curfew-ca.notify-secret",
        range: "a credential of systemd; secret_file: an absolute path, mode 0600",
        sentence: "Where the secret is kept that notices are signed with (HMAC-SHA256, headers webhook-id, webhook-timestamp, webhook-signature).",
    },
    Setting {
        key: "root",
        default: "/etc/ssl/certs/ca-certificates.crt",
        range: "a file of PEM certificates",
        sentence: "The roots that an https address is believed by.",
    },
    Setting {
        key: "command",
        default: "[]",
        range: "a program by its absolute path and at most 15 arguments",
        sentence: "Instead of an address: what is started for each notice, without a shell, as the authority's user, with the notice as JSON on its standard input. Exit code 0 says that it was taken, 65 that this one never will be; otherwise it is tried again.",
    },
    Setting {
        key: "events",
        default: "[\"incident\", \"request\", \"risk\", \"key\", \"deletion\"]",
        range: "those, and decision, rules, lock, refusal, odd",
        sentence: "What they are told of.",
    },
    Setting {
        key: "risk_from",
        default: "70",
        range: "0 to 100",
        sentence: "From which score on a request for access is told of as a risk, approved or not.",
    },
    Setting {
        key: "odd_from",
        default: "50",
        range: "30 to 100",
        sentence: "From which weight on a session that has ended is told of because of what was odd in it.",
    },
    Setting {
        key: "token_file",
        default: "/etc/curfew/notify-token",
        range: "an absolute path, mode 0600",
        sentence: "The same as token_credential, in a file that its owner alone may read.",
    },
    Setting {
        key: "secret_file",
        default: "/etc/curfew/notify-secret",
        range: "an absolute path, mode 0600",
        sentence: "The same as secret_credential, in such a file.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<Vec<NotifyAt>, String> {
        let read = Config::parse(&Source::of(text)).map(|config| config.notify);
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn a_receiver_is_an_address_or_a_command() {
        let all = read(
            "[[notify]]\nname = \"chat\"\nurl = \"https://chat.example.com/hook\"\ntoken_credential = \"hook\"\n\
             [[notify]]\nname = \"pager\"\ncommand = [\"/usr/bin/page\", \"-q\"]\nevents = [\"incident\"]\nrisk_from = 40\n",
        )
        .unwrap();
        let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["chat", "pager"]);
        assert_eq!((all[0].risk_from, all[1].risk_from), (70, 40));
        assert_eq!(all[0].odd_from, 50);
        assert!(all[0].events.contains(&Event::Key) && !all[0].events.contains(&Event::Lock));
        assert_eq!(all[1].events, BTreeSet::from([Event::Incident]));
        assert!(
            matches!(&all[0].way, Way::Post { token: Some(Place::Credential(name)), .. } if name == "hook")
        );
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_with_one_is_told_with_its_line() {
        let table = |more: &str| format!("\n[[notify]]\nname = \"a\"\n{more}");
        let url = "url = \"https://x/\"\n";
        for (text, why) in [
            (table(""), "test.toml:2: notify: it has neither `command`"),
            (
                "[[notify]]\nname = \"A b\"\nurl = \"https://x/\"".into(),
                "test.toml:2: notify: name: \"A b\"",
            ),
            (table("url = \"ftp://x/\""), "test.toml:4: notify: url: it is no http"),
            (table("url = \"https://ops:secret@x/\""), "test.toml:4: notify: url: it is no http"),
            (table("url = \"/hook\""), "test.toml:4: notify: url"),
            (
                table(&format!("{url}command = [\"/bin/true\"]")),
                "test.toml:2: notify: it has a command and an",
            ),
            (table(&format!("{url}url_file = \"/x\"")), "test.toml:2: notify: name `url` or"),
            (
                table(&format!("{url}token_file = \"x\"")),
                "test.toml:5: notify: token: the file's path",
            ),
            (
                table(&format!("{url}token_credential = \"../x\"")),
                "test.toml:5: notify: token: a credential",
            ),
            (table(&format!("{url}events = []")), "test.toml:5: notify: events: it names none"),
            (
                table(&format!("{url}events = [\"request\", \"incidents\"]")),
                "did you mean `incident`?",
            ),
            (table(&format!("{url}risk_from = 101")), "test.toml:5: notify: risk_from"),
            (table(&format!("{url}odd_from = 29")), "test.toml:5: notify: odd_from"),
            (table(&format!("{url}token = \"x\"")), "test.toml:5: unknown field `token`"),
            (
                table("command = [\"page\"]"),
                "test.toml:4: notify: command: page is no absolute path",
            ),
            (table("command = []"), "test.toml:2: notify: `command` names no program"),
            (
                table("command = [\"/bin/true\"]\ntoken_file = \"/x\""),
                "test.toml:2: notify: a command needs no",
            ),
            (
                table(&format!("{url}[[notify]]\nname = \"a\"\n{url}")),
                "test.toml:5: notify: \"a\" is there twice",
            ),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("secret@"), "{error}");
        }
    }
}
