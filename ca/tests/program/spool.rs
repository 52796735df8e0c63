//! What hosts send of their sealed spools, brought over their connection.

use wire::api::{SessionDetail, Spoiled};
use wire::hostlink::{ToAuthority, ToHost};
use wire::identifier::RecordNumber;
use wire::incident::{Cause, IncidentView};
use wire::log::Hash;
use wire::octets::Octets;
use wire::problem::Code;
use wire::record::{Event, Record};
use wire::recording::RecordingKey;
use wire::recording::seal::OpeningKey;
use wire::recording::statement::Signed;
use wire::spool::Sealed;
use wire::spool::cover::{NOTHING, SignedCover};
use wire::spool::seal::{Packer, Sealer};

use crate::authority::{Authority, Host, key};
use crate::link::{acknowledged, began, ended, exec, greeted, record};

/// The key by which the hosts of these tests enrol.
const AGENT_KEY: u8 = 98;

/// A segment as a host writes it.
struct Segment {
    cover: SignedCover,
    sealer: Sealer,
    packer: Packer,
}

impl Segment {
    fn begin(host: &Host, to: RecordingKey, (first, previous): (u64, Hash)) -> Self {
        let (sealer, cover) = Sealer::begin((first, previous), &to).unwrap();
        let begun = cover.said_by(&host.enrolled.trust.host);
        let key = key(AGENT_KEY);
        let said = Signed::make(&begun, key.public_key(), |message| raw(&key, message)).unwrap();
        let cover = SignedCover { cover, said: Some(said) };
        Self { cover, sealer, packer: Packer::new().unwrap() }
    }

    fn seal(&mut self, record: &Record) -> Vec<u8> {
        let text = serde_json::to_vec(record).unwrap();
        let packed = self.packer.pack(&text, record.event.generation()).unwrap();
        self.sealer.seal(packed).unwrap()
    }

    /// These frames, with the segment's beginning.
    fn send(&self, frames: &[&[u8]]) -> ToAuthority {
        let cover = Some(Octets::new(self.cover.encode()));
        ToAuthority::Sealed(Box::new(Sealed { cover, frames: Octets::new(frames.concat()) }))
    }
}

fn raw(
    key: &impl ssh_key::SigningKey,
    message: &[u8],
) -> Result<ssh_key::Signature, ssh_key::Error> {
    Ok(key.try_sign(message)?)
}

fn recording_key(host: &Host) -> RecordingKey {
    let to = host.enrolled.trust.recording.unwrap();
    assert!(to.seals, "a host that joins is told to seal from its first record on");
    to.key
}

async fn spoiled(authority: &Authority) -> Vec<(u64, u64)> {
    let incidents = authority.run(&["incident", "list", "--json"]);
    let incidents: Vec<IncidentView> = serde_json::from_str(&incidents).unwrap();
    let mut found: Vec<(u64, u64)> = incidents
        .iter()
        .filter_map(|it| match &it.cause {
            Cause::Spoiled { from, to, .. } => Some((*from, *to)),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    found
}

async fn shown(authority: &Authority) -> SessionDetail {
    let token = authority.login("ana", 1).await.unwrap();
    authority.read("/v1/sessions/000000000000feed", &token).await.unwrap()
}

#[tokio::test]
async fn sealed_records_are_opened_and_kept_once_in_order_and_across_a_crash() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let host = authority.host("db1").await;
    let mut segment = Segment::begin(&host, recording_key(&host), (1, NOTHING));
    let all = [record(1, began()), record(2, exec()), record(3, ended())];
    let frames = all.each_ref().map(|record| segment.seal(record));
    let (mut link, welcome) = greeted(&authority, &host, 0).await;
    assert!(welcome.sealed && welcome.records >= 8);
    link.send(&segment.send(&[&frames[0]])).await;
    assert_eq!(acknowledged(&mut link).await, 1);
    // The beginning is known on this connection.
    let rest = Sealed { cover: None, frames: Octets::new(frames[1].clone()) };
    link.send(&ToAuthority::Sealed(Box::new(rest))).await;
    assert_eq!(acknowledged(&mut link).await, 2);
    authority.restart();
    let (mut link, welcome) = greeted(&authority, &host, 0).await;
    assert_eq!(welcome.last_record, 2);
    link.send(&segment.send(&[&frames[1], &frames[2]])).await;
    assert_eq!(acknowledged(&mut link).await, 3);
    // The next segment continues this one, with another agent of the host or another authority between.
    let mut next = Segment::begin(&host, recording_key(&host), (4, segment.sealer.head()));
    let frame = next.seal(&record(4, exec()));
    authority.restart();
    let (mut link, _) = greeted(&authority, &host, 0).await;
    link.send(&next.send(&[&frame])).await;
    assert_eq!(acknowledged(&mut link).await, 4);
    let detail = shown(&authority).await;
    assert_eq!(detail.records[..3], all);
    assert!(detail.spoiled.is_empty() && spoiled(&authority).await.is_empty());
    assert!(authority.run(&["ledger", "verify"]).contains("the state is what the entries say"));
}

#[tokio::test]
async fn a_changed_record_is_an_incident_with_its_place_and_shown_with_who_was_there() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let host = authority.host("db1").await;
    let mut segment = Segment::begin(&host, recording_key(&host), (1, NOTHING));
    let all =
        [began(), exec(), exec(), exec(), ended(), Event::Unreadable { bytes: 1, from: None }];
    let mut frames: Vec<Vec<u8>> =
        (1..).zip(all).map(|(number, event)| segment.seal(&record(number, event))).collect();
    let end = frames[2].len() - 1;
    frames[2][end] ^= 1;
    let (mut link, _) = greeted(&authority, &host, 0).await;
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    link.send(&segment.send(&frames[..5])).await;
    assert_eq!(acknowledged(&mut link).await, 5);
    let detail = shown(&authority).await;
    assert_eq!(detail.session.execs, 2);
    assert!(detail.session.ended.is_some(), "the rest goes on");
    let [Spoiled { from: 3, to: 3, flaw }] = detail.spoiled.as_slice() else {
        panic!("{detail:?}")
    };
    assert!(flaw.contains("changed on the host's disk"), "{flaw}");
    assert_eq!(spoiled(&authority).await, [(3, 3)]);
    // What is lost after its end is not its own; what comes again is not told again.
    let gone = Event::Unreadable { bytes: 0, from: RecordNumber::try_new(6).ok() };
    let gone = Record { session: None, ..record(9, gone) };
    for _ in 0..2 {
        link.send(&ToAuthority::Records(vec![gone.clone()])).await;
        assert_eq!(acknowledged(&mut link).await, 9);
    }
    assert_eq!(spoiled(&authority).await, [(3, 3), (6, 9)]);
    assert_eq!(shown(&authority).await.spoiled.len(), 1);
}

#[tokio::test]
async fn another_spool_in_the_place_of_the_hosts_is_found_across_connections() {
    let authority = Authority::start();
    let host = authority.host("db1").await;
    let mut segment = Segment::begin(&host, recording_key(&host), (1, NOTHING));
    let frames = [1, 2].map(|number| segment.seal(&record(number, exec())));
    let (mut link, _) = greeted(&authority, &host, 0).await;
    link.send(&segment.send(&[&frames[0], &frames[1]])).await;
    assert_eq!(acknowledged(&mut link).await, 2);
    authority.restart();
    // The host went back to an older image, and goes on after what it was told that the authority has.
    let mut other = Segment::begin(&host, recording_key(&host), (3, NOTHING));
    let frame = other.seal(&record(3, exec()));
    let (mut link, _) = greeted(&authority, &host, 0).await;
    link.send(&other.send(&[&frame])).await;
    assert_eq!(acknowledged(&mut link).await, 3);
    assert_eq!(spoiled(&authority).await, [(3, 3)]);
    // What the link makes up is not the host's.
    let mut forged = Segment::begin(&host, recording_key(&host), (4, other.sealer.head()));
    forged.cover.said = segment.cover.said.clone();
    let frame = forged.seal(&record(4, exec()));
    link.send(&forged.send(&[&frame])).await;
    assert_eq!(acknowledged(&mut link).await, 4);
    assert_eq!(spoiled(&authority).await, [(3, 3), (4, 4)]);
}

#[tokio::test]
async fn what_is_sealed_to_a_key_that_is_not_here_stays_on_the_host_and_holds_nothing_else_up() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let host = authority.host("db1").await;
    let other = OpeningKey::new(&[77; 32]).unwrap().public();
    let mut segment = Segment::begin(&host, other, (1, NOTHING));
    let frame = segment.seal(&record(1, began()));
    let (mut link, _) = greeted(&authority, &host, 0).await;
    link.send(&segment.send(&[&frame])).await;
    link.send(&segment.send(&[&frame])).await;
    authority.run(&["lock", "identity", "ana", "--reason", "one", "--json"]);
    let Some(ToHost::Order(_)) = link.next().await else { panic!("orders go on") };
    assert_eq!(spoiled(&authority).await, [(1, 1)]);
    let (_link, welcome) = greeted(&authority, &host, 0).await;
    assert_eq!(welcome.last_record, 0);
}

#[tokio::test]
async fn sealed_records_that_no_agent_sends_are_refused() {
    let authority = Authority::start();
    let host = authority.host("db1").await;
    let mut segment = Segment::begin(&host, recording_key(&host), (1, NOTHING));
    let frames = [1, 2].map(|number| segment.seal(&record(number, exec())));
    let sealed = |cover: Option<Octets>, frames: &[u8]| {
        ToAuthority::Sealed(Box::new(Sealed { cover, frames: Octets::new(frames) }))
    };
    let cases = [
        segment.send(&[&frames[1]]),
        segment.send(&[&frames[0][..60]]),
        sealed(None, &frames[0]),
        sealed(Some(Octets::new("no beginning")), &frames[0]),
    ];
    for case in cases {
        let (mut link, _) = greeted(&authority, &host, 0).await;
        link.send(&case).await;
        let Some(ToHost::Refused(problem)) = link.next().await else { panic!("not refused") };
        assert_eq!(problem.code, Code::Malformed);
        assert!(link.next().await.is_none());
    }
    let (_link, welcome) = greeted(&authority, &host, 0).await;
    assert_eq!(welcome.last_record, 0);
}
