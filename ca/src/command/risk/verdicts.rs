//! `curfew-ca risk verdicts`: whether scores foresaw what reviewers found.

use std::collections::BTreeMap;

use serde::Deserialize;
use wire::identifier::{GrantId, RequestId, Serial, SessionId};
use wire::ledger::Page;
use wire::octets::plain;
use wire::request::Asked;
use wire::review::Verdict;
use wire::time::Timestamp;

use super::super::{say, say_json};
use crate::admin::client::Client;
use crate::risk::Reckoned;

/// What was known of risks before, by what they were of.
#[derive(Debug, Default)]
struct Scores {
    requests: BTreeMap<RequestId, u8>,
    grants: BTreeMap<GrantId, RequestId>,
    certificates: BTreeMap<Serial, (Option<u8>, GrantId)>,
}

/// A session that was reviewed, and the risk that it was begun under.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
struct Judged {
    session: SessionId,
    verdict: Verdict,
    score: Option<u8>,
    note: String,
}

/// How scores and verdicts agree.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
struct Agreement {
    /// The score that tells high from low.
    at: u8,
    /// Not in order, with a score of that or more; and with less.
    foreseen: u64,
    missed: u64,
    /// In order, with a score of that or more; and with less.
    warned: u64,
    quiet: u64,
    /// Sessions without a score, as far back as was looked.
    unknown: u64,
}

/// Reads the past and says how they agree; those that were missed one by one.
pub(super) async fn show(
    client: &Client,
    (since, at): (Timestamp, u8),
    json: bool,
) -> anyhow::Result<()> {
    let judged = judged(client, since).await?;
    let agreement = Agreement::of(at, judged.values());
    let missed =
        |one: &&Judged| one.verdict != Verdict::Ok && one.score.is_some_and(|score| score < at);
    if json {
        let sessions: Vec<&Judged> = judged.values().collect();
        return say_json(&serde_json::json!({ "agreement": agreement, "sessions": sessions }));
    }
    for one in judged.values().filter(missed) {
        let Judged { session, verdict, score, note } = one;
        let score = score.unwrap_or_default();
        say(&format!(
            "missed: session {session} was {verdict} with a risk of {score}: {}",
            plain(note)
        ))?;
    }
    say(&agreement.in_words())
}

impl Agreement {
    fn of<'a>(at: u8, judged: impl Iterator<Item = &'a Judged>) -> Self {
        let mut found = Self { at, ..Self::default() };
        for one in judged {
            let place = match (one.verdict, one.score) {
                (_, None) => &mut found.unknown,
                (Verdict::Ok, Some(score)) if score >= at => &mut found.warned,
                (Verdict::Ok, Some(_)) => &mut found.quiet,
                (_, Some(score)) if score >= at => &mut found.foreseen,
                (_, Some(_)) => &mut found.missed,
            };
            *place = place.saturating_add(1);
        }
        found
    }

    fn in_words(&self) -> String {
        let Self { at, foreseen, missed, warned, quiet, unknown } = self;
        let (bad, good) = (foreseen.saturating_add(*missed), warned.saturating_add(*quiet));
        format!(
            "of {bad} sessions that were not in order {foreseen} had a risk of {at} or more; of {good} in order {warned} had; {unknown} have no score"
        )
    }
}

/// The last verdict on each session, with the risk that it was begun under.
async fn judged(client: &Client, since: Timestamp) -> anyhow::Result<BTreeMap<SessionId, Judged>> {
    let mut scores = Scores::default();
    each(client, ("request_made", since), |made: Made| {
        if let (Ok(asked), Some(risk)) = (Asked::parse(&made.asked), made.risk) {
            scores.requests.insert(asked.request, risk.score());
        }
    })
    .await?;
    each(client, ("grant_begun", since), |begun: Begun| {
        scores.grants.extend(begun.request.map(|request| (begun.grant, request)));
    })
    .await?;
    each(client, ("certificate", since), |one: Certified| {
        let score = one.risk.map(|risk| risk.score());
        scores.certificates.insert(one.serial, (score, one.grant));
    })
    .await?;
    let mut found = BTreeMap::new();
    each(client, ("session_reviewed", since), |review: Reviewed| {
        let Reviewed { session, serial, verdict, note } = review;
        let score = Serial::try_new(serial).ok().and_then(|serial| scores.of(serial));
        found.insert(session, Judged { session, verdict, score, note });
    })
    .await?;
    Ok(found)
}

impl Scores {
    /// The risk of a certificate: its own, or that of the request that it is under.
    fn of(&self, serial: Serial) -> Option<u8> {
        let (own, grant) = self.certificates.get(&serial)?;
        let request = || self.requests.get(self.grants.get(grant)?).copied();
        (*own).or_else(request)
    }
}

/// Each body of a kind, in order, from a moment on; one that was erased says nothing.
async fn each<T: for<'a> Deserialize<'a>>(
    client: &Client,
    (kind, since): (&str, Timestamp),
    mut work: impl FnMut(T),
) -> anyhow::Result<()> {
    let (mut after, millis) = (0, since.millis());
    loop {
        let path = format!("/v1/entries?after={after}&kind={kind}&since_millis={millis}");
        let page: Page = client.read(&path).await?;
        for body in page.entries.iter().filter_map(|entry| entry.body.as_ref()) {
            work(serde_json::from_str(&body.text)?);
        }
        if page.reached >= page.size || page.reached <= after {
            return Ok(());
        }
        after = page.reached;
    }
}

#[derive(Deserialize)]
struct Made {
    asked: String,
    risk: Option<Reckoned>,
}

#[derive(Deserialize)]
struct Begun {
    grant: GrantId,
    request: Option<RequestId>,
}

#[derive(Deserialize)]
struct Certified {
    serial: Serial,
    grant: GrantId,
    risk: Option<Reckoned>,
}

#[derive(Deserialize)]
struct Reviewed {
    session: SessionId,
    /// 0 where it was begun by no certificate of ours.
    serial: u64,
    verdict: Verdict,
    note: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_foresaw_a_verdict_missed_it_warned_for_nothing_or_was_quiet() {
        let judged = |session: u64, verdict, score| Judged {
            session: SessionId::new(session.try_into().unwrap()),
            verdict,
            score,
            note: String::new(),
        };
        let all = [
            judged(1, Verdict::Incident, Some(70)),
            judged(2, Verdict::OutOfScope, Some(69)),
            judged(3, Verdict::Ok, Some(90)),
            judged(4, Verdict::Ok, Some(0)),
            judged(5, Verdict::Ok, Some(1)),
            judged(6, Verdict::Incident, None),
        ];
        let found = Agreement::of(70, all.iter());
        let words = "of 2 sessions that were not in order 1 had a risk of 70 or more; of 3 in order 1 had; 1 have no score";
        assert_eq!(found.in_words(), words);
    }
}
