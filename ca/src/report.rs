//! What a report of an incident says of one session, read from its records: each kind of deed with its count, and the first
//! different ones by name. Pure.

use std::collections::BTreeMap;

use wire::identifier::{RequestId, SessionId};
use wire::incident::Cause;
use wire::lock::Subject;
use wire::octets::Octets;
use wire::record::{Event, FileDeed, Incident, NetworkDeed, Record};
use wire::report::{DeedKind, Deeds, MAX_NAMED, MAX_WORDS, Named};
use wire::time::Timestamp;

/// What an incident is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// A session.
    Session(SessionId),
    /// Whatever was done under a certificate of this number.
    Serial(u64),
    /// Whatever was done under a request.
    Request(RequestId),
    /// A host.
    Host,
}

/// What was done in one session.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    kinds: BTreeMap<DeedKind, Kind>,
    /// Who, under what, as its host said when it began.
    pub(crate) subject: Option<Subject>,
}

#[derive(Debug, Default)]
struct Kind {
    total: u64,
    more: u64,
    places: BTreeMap<Octets, usize>,
    named: Vec<Named>,
}

impl About {
    /// What this is about.
    pub(crate) fn of(cause: &Cause) -> Self {
        match cause {
            Cause::Threshold { session, .. }
            | Cause::Reviewed { session, .. }
            | Cause::Unbelieved { session, .. } => Self::Session(*session),
            Cause::Unissued { serial, .. } => Self::Serial(*serial),
            Cause::Unreceipted { used, .. } => Self::Serial(used.name.serial.number()),
            Cause::BreakGlass { request, .. } | Cause::Shrunk { request, .. } => {
                Self::Request(*request)
            }
            Cause::Reported(Incident::Unproved { attempt, .. }) => Self::Serial(attempt.serial),
            Cause::Reported(Incident::BreakGlass(used)) => Self::Serial(used.name.serial.number()),
            Cause::Reported(Incident::Pass(used)) => Self::Request(used.pass.request),
            Cause::Reported(
                Incident::Dispute(_)
                | Incident::Outside(_)
                | Incident::Meddled(_)
                | Incident::Restored(_),
            )
            | Cause::Ahead { .. }
            | Cause::Gone { .. }
            | Cause::Spoiled { .. }
            | Cause::Silent { .. }
            | Cause::Witnessed { .. } => Self::Host,
        }
    }
}

impl Summary {
    /// Reads the next record.
    pub(crate) fn take(&mut self, record: &Record) {
        let at = record.at;
        match &record.event {
            Event::SessionBegan(began) => self.subject = Some(began.subject.clone()),
            Event::Exec(exec) => {
                let mut words = exec.path.as_bytes().to_vec();
                for argument in exec.arguments.iter().skip(1) {
                    words.push(b' ');
                    words.extend_from_slice(argument.as_bytes());
                    if words.len() > MAX_WORDS {
                        break;
                    }
                }
                self.add(DeedKind::Ran, &words, (1, at));
            }
            Event::Network(network) => {
                let kind = match network.what {
                    NetworkDeed::Connect => DeedKind::Connected,
                    NetworkDeed::Listen => DeedKind::Listened,
                };
                let mut words = network.place().into_bytes();
                words.extend_from_slice(b" by ");
                words.extend_from_slice(network.program.as_bytes());
                self.add(kind, &words, (1, at));
            }
            Event::File(file) => {
                let kind = match file.what {
                    FileDeed::Written => DeedKind::Wrote,
                    FileDeed::Opened => DeedKind::Opened,
                };
                self.add(kind, file.path.as_bytes(), (file.times, at));
            }
            Event::Threshold(crossed) => {
                let words = format!("{crossed}: {}", crossed.response);
                self.add(DeedKind::Crossed, words.as_bytes(), (1, at));
            }
            Event::Loss(loss) => {
                self.add(DeedKind::Unseen, b"events were lost", (loss.missing, at));
            }
            Event::Unreadable { .. } => {
                self.add(DeedKind::Unseen, b"a record cannot be read any more", (1, at));
            }
            Event::FilesUnseen(unseen) => {
                self.add(DeedKind::Unseen, unseen.why.as_bytes(), (1, at));
            }
            _ => {}
        }
    }

    /// All of it, by kind.
    pub(crate) fn deeds(&mut self) -> Vec<Deeds> {
        let kinds = std::mem::take(&mut self.kinds).into_iter();
        let deeds =
            kinds.map(|(kind, Kind { total, more, named, .. })| Deeds { kind, total, named, more });
        deeds.collect()
    }

    fn add(&mut self, kind: DeedKind, words: &[u8], (times, at): (u64, Timestamp)) {
        let words: Vec<u8> = if words.len() > MAX_WORDS {
            words.iter().copied().take(MAX_WORDS).chain(*b"...").collect()
        } else {
            words.to_vec()
        };
        let what = Octets::new(words);
        let kind = self.kinds.entry(kind).or_default();
        kind.total = kind.total.saturating_add(times);
        let place = kind.places.get(&what).copied();
        if let Some(named) = place.and_then(|place| kind.named.get_mut(place)) {
            named.times = named.times.saturating_add(times);
        } else if kind.named.len() < MAX_NAMED {
            kind.places.insert(what.clone(), kind.named.len());
            kind.named.push(Named { what, times, first: at });
        } else {
            kind.more = kind.more.saturating_add(times);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::identifier::RecordNumber;
    use wire::record::{Exec, Loss, Meddled};
    use wire::time::Uptime;

    fn ran(number: u64, path: &str, argument: &str) -> Record {
        record(
            number,
            Event::Exec(Exec {
                sequence: number,
                pid: 5,
                parent: 4,
                uid: 0,
                euid: 0,
                path: Octets::new(path),
                arguments: vec![Octets::new("x"), Octets::new(argument)],
                cut: 0,
                terminal: None,
                nameless: false,
                program: None,
            }),
        )
    }

    fn record(number: u64, event: Event) -> Record {
        Record {
            number: RecordNumber::try_new(number).unwrap(),
            at: Timestamp::from_secs(number),
            uptime: Uptime::from_nanos(number),
            session: None,
            event,
        }
    }

    #[test]
    fn what_was_done_is_counted_whole_and_named_in_part() {
        let mut summary = Summary::default();
        summary.take(&ran(1, "/bin/cat", "/etc/passwd"));
        summary.take(&ran(2, "/bin/cat", "/etc/passwd"));
        for number in 3..=1_002 {
            summary.take(&ran(number, "/bin/cat", &format!("{number}")));
        }
        summary.take(&ran(2_000, "/bin/echo", &"y".repeat(5_000)));
        summary.take(&record(2_001, Event::Loss(Loss { after: 1, missing: 7 })));
        let deeds = summary.deeds();
        let [ran, unseen] = deeds.as_slice() else { panic!("{deeds:?}") };
        assert_eq!((ran.kind, ran.total, ran.named.len()), (DeedKind::Ran, 1_003, MAX_NAMED));
        let named: u64 = ran.named.iter().map(|one| one.times).sum();
        assert_eq!(named + ran.more, ran.total, "nothing is left out without being counted");
        let first = &ran.named[0];
        assert_eq!((first.what.display().as_str(), first.times), ("/bin/cat /etc/passwd", 2));
        assert_eq!((unseen.kind, unseen.total), (DeedKind::Unseen, 7));
    }

    #[test]
    fn long_words_are_cut_and_two_that_begin_alike_are_counted_together() {
        let mut summary = Summary::default();
        for end in ["a", "b"] {
            summary.take(&ran(1, "/bin/echo", &format!("{}{end}", "y".repeat(5_000))));
        }
        let deeds = summary.deeds();
        assert_eq!((deeds[0].named.len(), deeds[0].named[0].times), (1, 2));
        assert_eq!(deeds[0].named[0].what.as_bytes().len(), MAX_WORDS + 3);
    }

    #[test]
    fn an_incident_is_of_a_session_a_certificate_a_request_or_its_host() {
        let session: SessionId = "00000000000000a1".parse().unwrap();
        let flaw = String::new();
        assert_eq!(About::of(&Cause::Unbelieved { session, flaw }), About::Session(session));
        let meddled = Incident::Meddled(Meddled { what: "x".into(), mended: false });
        assert_eq!(About::of(&Cause::Reported(meddled)), About::Host);
        let said = r#"{"unissued": {"serial": 9, "key_id": "x", "login": "root", "remote": "", "began": true}}"#;
        assert_eq!(About::of(&serde_json::from_str(said).unwrap()), About::Serial(9));
    }
}
