//! Decisions of before, read from the ledger, with what the policy was asked then.

use std::collections::BTreeMap;

use policy::{Act, Explained, Question, Verdict};
use serde::{Deserialize, Serialize};
use wire::identifier::{HostName, SessionId};
use wire::ledger::{Entry, Page};
use wire::log::Leaf;
use wire::octets::plain;
use wire::time::Timestamp;

use crate::admin::client::Client;
use crate::command::shown;

/// A decision of before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Past {
    seq: u64,
    at: Timestamp,
    kind: String,
    serial: Option<u64>,
    judged: Said,
}

/// What a reviewer found that roles or policy should not have let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Gap {
    at: Timestamp,
    session: SessionId,
    host: HostName,
    serial: u64,
    gap: String,
}

/// What an entry says that the policy was asked, and what it said.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Said {
    set: String,
    verdict: Verdict,
    question: Question,
}

/// What would have been otherwise.
#[derive(Debug, Serialize)]
pub(super) struct Otherwise<'a> {
    entry: u64,
    at: Timestamp,
    kind: &'a str,
    question: &'a Question,
    before: &'a Verdict,
    after: &'a Verdict,
}

/// A decision, explained.
#[derive(Debug, Serialize)]
pub(super) struct Told<'a> {
    entry: u64,
    at: Timestamp,
    kind: &'a str,
    policy: &'a str,
    question: &'a Question,
    then: &'a Verdict,
    now: &'a Explained,
}

/// How a replay went.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    decisions: u64,
    opened: u64,
    closed: u64,
    reasons: u64,
    /// Decisions of which nothing is known: from before there was a policy, decided by something else, or erased.
    pub(super) unknown: u64,
}

impl Past {
    /// What the entry says, question by question; nothing when the policy was not asked, or its body was erased.
    fn read(entry: &Entry) -> anyhow::Result<Vec<Self>> {
        let leaf = Leaf::from_bytes(entry.leaf.as_bytes())?;
        let Some(body) = &entry.body else {
            return Ok(Vec::new());
        };
        let Body { policy, serial } = serde_json::from_str(&body.text)?;
        let judged = match policy {
            None => Vec::new(),
            Some(Asked::Once(judged)) => vec![*judged],
            Some(Asked::Often(judged)) => judged,
        };
        let (seq, at) = (leaf.seq, leaf.at);
        let one = |judged| Self { seq, at, kind: leaf.kind.clone(), serial, judged };
        Ok(judged.into_iter().map(one).collect())
    }

    pub(super) const fn question(&self) -> &Question {
        &self.judged.question
    }

    pub(super) const fn verdict(&self) -> &Verdict {
        &self.judged.verdict
    }

    /// The certificate that it was about, if it was allowed.
    pub(super) const fn serial(&self) -> Option<u64> {
        self.serial
    }

    /// The hash of the policies that were asked.
    pub(super) fn set(&self) -> &str {
        &self.judged.set
    }

    pub(super) fn head(&self) -> String {
        format!("entry {}, {}, {}", self.seq, shown(self.at), self.kind)
    }

    pub(super) fn otherwise<'a>(&'a self, after: &'a Verdict) -> Otherwise<'a> {
        Otherwise {
            entry: self.seq,
            at: self.at,
            kind: &self.kind,
            question: self.question(),
            before: self.verdict(),
            after,
        }
    }

    pub(super) fn explained<'a>(&'a self, now: &'a Explained) -> Told<'a> {
        Told {
            entry: self.seq,
            at: self.at,
            kind: &self.kind,
            policy: self.set(),
            question: self.question(),
            then: self.verdict(),
            now,
        }
    }

    /// The decision and the other one, on a line.
    pub(super) fn in_words(&self, after: &Verdict) -> String {
        let (seq, at, who) = (self.seq, shown(self.at), &self.question().who.name);
        let what = match &self.question().act {
            Act::Request(access) | Act::Issue(access) | Act::Breakglass(access) => {
                format!("{}@{} ({})", access.login, access.host.name, access.role)
            }
            Act::Approve(pending) => {
                format!("approval of {} on {}", pending.id, pending.host.name)
            }
            _ => self.kind.clone(),
        };
        let line = format!("{at}  #{seq}  {who}  {what}: was {}; would be {after}", self.verdict());
        plain(&line)
    }
}

impl Gap {
    /// The gap, and what another policy would have said to its certificate.
    pub(super) fn in_words(&self, after: Option<&Verdict>) -> String {
        let Self { at, session, host, gap, .. } = self;
        let said = match after {
            Some(Verdict::Allowed { .. }) => "stays open".to_owned(),
            Some(verdict) => format!("would be closed: {verdict}"),
            None => "its certificate is not among these decisions".to_owned(),
        };
        plain(&format!("{}  gap in session {session} on {host}: {gap}: {said}", shown(*at)))
    }

    /// The certificate that it is about.
    pub(super) const fn serial(&self) -> u64 {
        self.serial
    }
}

impl Replayed {
    /// Counts a decision; whether it would have been otherwise.
    pub(super) fn count(&mut self, past: &Past, after: &Verdict) -> bool {
        self.decisions = self.decisions.saturating_add(1);
        let is_yes = |verdict: &Verdict| matches!(verdict, Verdict::Allowed { .. });
        let counter = match (is_yes(past.verdict()), is_yes(after)) {
            (false, true) => &mut self.opened,
            (true, false) => &mut self.closed,
            // By which of its permits it says yes makes no difference to anybody.
            (true, true) => return false,
            (false, false) if past.verdict() == after => return false,
            (false, false) => &mut self.reasons,
        };
        *counter = counter.saturating_add(1);
        true
    }

    /// How many would have been otherwise.
    pub(super) const fn otherwise(&self) -> u64 {
        self.opened.saturating_add(self.closed).saturating_add(self.reasons)
    }

    pub(super) fn in_words(&self) -> String {
        let Self { decisions, opened, closed, reasons, unknown } = self;
        format!(
            "{decisions} decisions; {opened} would have been allowed that were denied, {closed} denied that were allowed, \
             {reasons} denied for another reason; {unknown} could not be decided again"
        )
    }
}

/// Reads every decision from a moment on, in order, and gives how many there were of which nothing is known.
pub(super) async fn each(
    client: &Client,
    since: Timestamp,
    mut work: impl FnMut(&Past) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let mut unknown: u64 = 0;
    for kind in KINDS {
        let mut after = 0;
        loop {
            let millis = since.millis();
            let path = format!("/v1/entries?after={after}&kind={kind}&since_millis={millis}");
            let page: Page = client.read(&path).await?;
            for entry in &page.entries {
                let decisions = Past::read(entry)?;
                if decisions.is_empty() {
                    unknown = unknown.saturating_add(1);
                }
                decisions.iter().try_for_each(&mut work)?;
            }
            if page.reached >= page.size || page.reached <= after {
                break;
            }
            after = page.reached;
        }
    }
    Ok(unknown)
}

/// What reviewers found since, by the last word on each session.
pub(super) async fn gaps(client: &Client, since: Timestamp) -> anyhow::Result<Vec<Gap>> {
    let mut last: BTreeMap<(SessionId, HostName), Option<Gap>> = BTreeMap::new();
    let mut after = 0;
    loop {
        let millis = since.millis();
        let path = format!("/v1/entries?after={after}&kind=session_reviewed&since_millis={millis}");
        let page: Page = client.read(&path).await?;
        for entry in &page.entries {
            let Some(body) = &entry.body else { continue };
            let Reviewed { session, host, serial, gap } = serde_json::from_str(&body.text)?;
            let at = Leaf::from_bytes(entry.leaf.as_bytes())?.at;
            let found = gap.zip(serial);
            let found =
                found.map(|(gap, serial)| Gap { at, session, host: host.clone(), serial, gap });
            last.insert((session, host), found);
        }
        if page.reached >= page.size || page.reached <= after {
            return Ok(last.into_values().flatten().collect());
        }
        after = page.reached;
    }
}

/// Reads one decision.
pub(super) async fn of(client: &Client, seq: u64) -> anyhow::Result<Past> {
    let Some(after) = seq.checked_sub(1) else {
        anyhow::bail!("entries are numbered from 1");
    };
    let page: Page = client.read(&format!("/v1/entries?after={after}&limit=1")).await?;
    let Some(entry) = page.entries.first() else {
        anyhow::bail!("there is no entry {seq}; the newest is {}", page.size);
    };
    // Of a request, which is judged host by host, the first.
    Past::read(entry)?.into_iter().next().ok_or_else(|| {
        anyhow::anyhow!(
            "entry {seq} is no decision that a policy was asked about, or its body was erased; `curfew-ca ledger show {seq}` shows it"
        )
    })
}

/// What is read of a body.
#[derive(Deserialize)]
struct Body {
    policy: Option<Asked>,
    #[serde(default)]
    serial: Option<u64>,
}

/// What is read of a verdict.
#[derive(Deserialize)]
struct Reviewed {
    session: SessionId,
    host: HostName,
    #[serde(default)]
    serial: Option<u64>,
    #[serde(default)]
    gap: Option<String>,
}

/// A policy was asked once, or host by host.
#[derive(Deserialize)]
#[serde(untagged)]
enum Asked {
    Once(Box<Said>),
    Often(Vec<Said>),
}

/// The kinds of entry that are decisions.
const KINDS: [&str; 7] = [
    "certificate",
    "denial",
    "extension_denied",
    "request_made",
    "request_refused",
    "request_approved",
    "act_refused",
];
