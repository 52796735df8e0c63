//! Cases: questions with the answers that the policy beside them must give, in `*.test.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::tz::TimeZone;
use serde::Deserialize;
use toml::Spanned;

use crate::fault::{Fault, nearest};
use crate::question::{Access, Act, Being, Evidence, Moment, Pending, Place, Question, Seen, Who};
use crate::set::{File, PolicySet, Verdict};
use crate::split::line;

/// The cases of one file, each a question that can be put.
#[derive(Debug)]
pub struct Cases {
    file: String,
    each: Vec<Case>,
}

/// One question and what must be the answer.
#[derive(Debug)]
struct Case {
    name: String,
    line: usize,
    question: Question,
    expect: Expect,
}

/// How one case went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The file.
    pub file: String,
    /// The line where the case begins.
    pub line: usize,
    /// What the case is about.
    pub name: String,
    /// What was answered instead; nothing when all is well.
    pub failed: Option<Failed>,
}

/// An answer that was not the one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What was expected.
    pub wanted: String,
    /// What came.
    pub got: Verdict,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, got {}", self.wanted, named(&self.got))
    }
}

impl Cases {
    /// Reads a file of cases. Times without an offset are of `zone`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(file: &File, zone: &TimeZone) -> Result<Self, Vec<Fault>> {
        let form: Form = toml::from_str(&file.text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            vec![Fault::new(&file.name, line(&file.text, offset), error.message())]
        })?;
        let (mut each, mut faults) = (Vec::new(), Vec::new());
        for case in &form.case {
            let at = line(&file.text, case.span().start);
            match form.question(case.get_ref(), zone) {
                Ok(question) => each.push(Case {
                    name: case.get_ref().name.clone(),
                    line: at,
                    question,
                    expect: case.get_ref().expect.clone(),
                }),
                Err(what) => {
                    let message = format!("case {:?}: {what}", case.get_ref().name);
                    faults.push(Fault::new(&file.name, at, message));
                }
            }
        }
        if form.case.is_empty() {
            faults.push(Fault::new(&file.name, 1, "there is no [[case]]"));
        }
        if faults.is_empty() { Ok(Self { file: file.name.clone(), each }) } else { Err(faults) }
    }

    /// Puts every question to a policy.
    #[must_use]
    pub fn run(&self, set: &PolicySet) -> Vec<Outcome> {
        let outcome = |case: &Case| Outcome {
            file: self.file.clone(),
            line: case.line,
            name: case.name.clone(),
            failed: case.expect.judge(set.decide(&case.question)),
        };
        self.each.iter().map(outcome).collect()
    }
}

impl Form {
    fn question(&self, case: &CaseForm, zone: &TimeZone) -> Result<Question, String> {
        let who = self.who(&case.who)?;
        Ok(Question {
            act: self.act(case)?,
            moment: Moment::at(moment(case.at.as_deref(), zone)?, zone),
            mfa_age: case.mfa_age.as_deref().map(|text| seconds("mfa_age", text)).transpose()?,
            who,
        })
    }

    fn who(&self, name: &str) -> Result<Who, String> {
        let people = &self.identity;
        let form = people.get(name).ok_or_else(|| absent("identity", name, people.keys()))?;
        let kind = if form.workload { Being::Workload } else { Being::Person };
        Ok(Who {
            name: name.into(),
            kind,
            teams: form.teams.clone(),
            roles: form.roles.clone(),
            disabled: form.disabled,
            operator: form.operator,
        })
    }

    fn act(&self, case: &CaseForm) -> Result<Act, String> {
        Ok(match case.action {
            Action::Request => Act::Request(self.access(case)?),
            Action::Issue => Act::Issue(self.access(case)?),
            Action::Breakglass => Act::Breakglass(self.access(case)?),
            Action::Approve => Act::Approve(self.pending(case)?),
            Action::Review => Act::Review(self.seen(case)?),
            Action::Watch => Act::Watch(self.seen(case)?),
            Action::Lock => Act::Lock,
            Action::Administer => Act::Administer,
            Action::Export => Act::Export,
        })
    }

    fn access(&self, case: &CaseForm) -> Result<Access, String> {
        Ok(Access {
            host: self.place(case)?,
            role: needed("role", case.role.as_ref())?,
            login: needed("login", case.login.as_ref())?,
            seconds: seconds("duration", case.duration.as_deref().unwrap_or("1h"))?,
            renewal: case.renewal,
            reason: case.reason.clone(),
            risk: case.risk,
            evidence: Evidence {
                approvers: case.approvers,
                quorums: case.quorums.clone(),
                ticket: case.ticket.clone(),
                ticket_open: case.ticket_open,
                on_call: case.on_call,
                urgent: case.urgent,
            },
        })
    }

    fn pending(&self, case: &CaseForm) -> Result<Pending, String> {
        let requester = needed("requester", case.requester.as_ref())?;
        let beneficiary = case.beneficiary.clone().unwrap_or_else(|| requester.clone());
        let mut teams = self.who(&requester)?.teams;
        teams.extend(self.who(&beneficiary)?.teams);
        Ok(Pending {
            id: "case".into(),
            requester,
            beneficiary,
            teams,
            host: self.place(case)?,
            role: needed("role", case.role.as_ref())?,
            login: needed("login", case.login.as_ref())?,
            seconds: seconds("duration", case.duration.as_deref().unwrap_or("1h"))?,
            risk: case.risk,
        })
    }

    fn seen(&self, case: &CaseForm) -> Result<Seen, String> {
        let owner = needed("owner", case.owner.as_ref())?;
        Ok(Seen {
            id: "case".into(),
            teams: self.who(&owner)?.teams,
            owner,
            host: self.place(case)?,
            role: needed("role", case.role.as_ref())?,
            login: needed("login", case.login.as_ref())?,
        })
    }

    fn place(&self, case: &CaseForm) -> Result<Place, String> {
        let (name, hosts) = (needed("host", case.host.as_ref())?, &self.host);
        let form = hosts.get(&name).ok_or_else(|| absent("host", &name, hosts.keys()))?;
        Ok(Place { labels: form.labels.clone(), name })
    }
}

impl Expect {
    fn judge(&self, got: Verdict) -> Option<Failed> {
        let is_it = match (self, &got) {
            (Self::Word(Word::Allowed), Verdict::Allowed { .. })
            | (Self::Word(Word::NotEligible), Verdict::NotEligible) => true,
            (Self::Missing(wanted), Verdict::Missing(missing)) => {
                missing.iter().map(|one| one.id.as_str()).eq(wanted.iter().map(String::as_str))
            }
            _ => false,
        };
        let wanted = match self {
            Self::Word(Word::Allowed) => "allowed".into(),
            Self::Word(Word::NotEligible) => "not eligible".into(),
            Self::Missing(wanted) => format!("missing {}", wanted.join(", ")),
        };
        (!is_it).then_some(Failed { wanted, got })
    }
}

/// A verdict by the names of its policies.
fn named(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Missing(missing) => {
            let ids: Vec<&str> = missing.iter().map(|one| one.id.as_str()).collect();
            format!("missing {}", ids.join(", "))
        }
        other => other.to_string(),
    }
}

fn needed(key: &str, value: Option<&String>) -> Result<String, String> {
    value.cloned().ok_or_else(|| format!("this action needs `{key}`"))
}

fn absent<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a String>) -> String {
    match nearest(name, known.map(String::as_str)) {
        Some(near) => format!("there is no [{kind}.{name:?}]; did you mean {near:?}?"),
        None => format!("there is no [{kind}.{name:?}] in this file"),
    }
}

fn seconds(key: &str, text: &str) -> Result<u64, String> {
    let wrong = |_: jiff::Error| {
        format!("{key}: {text:?} is no span of time; write it as 90s, 15m, 1h or 2d")
    };
    let span: jiff::Span = text.parse().map_err(wrong)?;
    let span = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(wrong)?;
    u64::try_from(span.as_secs())
        .map_err(|_negative| format!("{key}: {text:?} is less than nothing"))
}

/// A moment in milliseconds: with an offset or Z as it is, without one in the zone; a Monday's noon when absent.
fn moment(text: Option<&str>, zone: &TimeZone) -> Result<i64, String> {
    let text = text.unwrap_or(MONDAY_NOON);
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let wrong = |_: jiff::Error| format!("at: {text:?} is no moment; write it as 2026-11-30T14:00");
    let civil: jiff::civil::DateTime = text.parse().map_err(wrong)?;
    Ok(civil.to_zoned(zone.clone()).map_err(wrong)?.timestamp().as_millisecond())
}

/// When a case is asked that does not say when.
const MONDAY_NOON: &str = "2026-11-30T12:00";

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default)]
    identity: BTreeMap<String, IdentityForm>,
    #[serde(default)]
    host: BTreeMap<String, HostForm>,
    #[serde(default)]
    case: Vec<Spanned<CaseForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityForm {
    #[serde(default)]
    teams: BTreeSet<String>,
    #[serde(default)]
    roles: BTreeSet<String>,
    #[serde(default)]
    workload: bool,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    operator: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostForm {
    #[serde(default)]
    labels: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own in the file")]
struct CaseForm {
    name: String,
    who: String,
    action: Action,
    expect: Expect,
    host: Option<String>,
    role: Option<String>,
    login: Option<String>,
    duration: Option<String>,
    mfa_age: Option<String>,
    at: Option<String>,
    risk: Option<u8>,
    ticket: Option<String>,
    requester: Option<String>,
    beneficiary: Option<String>,
    owner: Option<String>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    approvers: u32,
    #[serde(default)]
    quorums: BTreeSet<String>,
    #[serde(default)]
    renewal: bool,
    #[serde(default)]
    ticket_open: bool,
    #[serde(default)]
    on_call: bool,
    #[serde(default)]
    urgent: bool,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Action {
    Request,
    Issue,
    Breakglass,
    Approve,
    Review,
    Watch,
    Lock,
    Administer,
    Export,
}

/// What must be the answer: a word, or the names of all that must be missing, in the order of the files.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "expect is \"allowed\", \"not-eligible\" or a list of names of policies"
)]
enum Expect {
    Word(Word),
    Missing(Vec<String>),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Allowed,
    NotEligible,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "[identity.\"ana\"]\nroles = [\"dba\"]\n[host.db1]\nlabels = [\"tier=0\"]\n";

    fn read(text: &str) -> Result<Cases, Vec<Fault>> {
        Cases::read(&File { name: "a.test.toml".into(), text: text.into() }, &TimeZone::UTC)
    }

    fn case(rest: &str) -> String {
        format!("{HEAD}[[case]]\nname = \"c\"\nwho = \"ana\"\nlogin = \"postgres\"\n{rest}")
    }

    fn set() -> PolicySet {
        let text = "@id(\"a\") permit (principal, action == Curfew::Action::\"issue\", resource) when { principal in context.role };\n\
            @id(\"late\") @advice(\"wait for the morning\") forbid (principal, action == Curfew::Action::\"issue\", resource) when { context.minute < 540 };";
        PolicySet::load(&[File { name: "a.cedar".into(), text: text.into() }]).unwrap()
    }

    #[test]
    fn a_case_passes_or_says_what_came_instead() {
        let table = [
            ("action = \"issue\"\nhost = \"db1\"\nrole = \"dba\"\nexpect = \"allowed\"", None),
            (
                "action = \"issue\"\nhost = \"db1\"\nrole = \"root\"\nexpect = \"not-eligible\"",
                None,
            ),
            (
                "action = \"issue\"\nhost = \"db1\"\nrole = \"dba\"\nat = \"2026-11-30T08:59\"\nexpect = [\"late\"]",
                None,
            ),
            (
                "action = \"issue\"\nhost = \"db1\"\nrole = \"dba\"\nat = \"2026-11-30T09:30:00+01:00\"\nexpect = [\"late\"]",
                None,
            ),
            (
                "action = \"issue\"\nhost = \"db1\"\nrole = \"dba\"\nexpect = [\"late\"]",
                Some("expected missing late, got allowed by a"),
            ),
            ("action = \"lock\"\nexpect = \"allowed\"", Some("expected allowed, got not eligible")),
        ];
        for (text, failed) in table {
            let outcomes = read(&case(text)).unwrap().run(&set());
            let said = outcomes[0].failed.as_ref().map(ToString::to_string);
            assert_eq!(said.as_deref(), failed, "{text}");
            assert_eq!((outcomes[0].line, outcomes[0].name.as_str()), (5, "c"));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let issue = "action = \"issue\"\nexpect = \"allowed\"\n";
        let table = [
            (case(issue), "a.test.toml:5: case \"c\": this action needs `host`"),
            (
                case(&format!("{issue}host = \"db2\"")),
                "a.test.toml:5: case \"c\": there is no [host.\"db2\"]; did you mean \"db1\"?",
            ),
            (
                case(&format!("{issue}host = \"db1\"\nrole = \"dba\"\nduration = \"long\"")),
                "a.test.toml:5: case \"c\": duration: \"long\" is no span",
            ),
            (
                case(&format!("{issue}host = \"db1\"\nrole = \"dba\"\nat = \"noon\"")),
                "a.test.toml:5: case \"c\": at: \"noon\" is no moment",
            ),
            (
                case("action = \"isue\"\nexpect = \"allowed\""),
                "a.test.toml:9: unknown variant `isue`",
            ),
            (
                case("action = \"issue\"\nexpect = \"maybe\""),
                "a.test.toml:10: expect is \"allowed\", \"not-eligible\" or a list",
            ),
            (case(&format!("{issue}colour = 1")), "a.test.toml:11: unknown field `colour`"),
            (HEAD.to_owned(), "a.test.toml:1: there is no [[case]]"),
            (
                case("action = \"approve\"\nexpect = \"allowed\"\nrequester = \"bob\""),
                "a.test.toml:5: case \"c\": there is no [identity.\"bob\"] in",
            ),
        ];
        for (text, start) in table {
            let faults = read(&text).unwrap_err();
            assert!(faults[0].to_string().starts_with(start), "{}", faults[0]);
        }
    }
}
