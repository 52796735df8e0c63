use std::net::IpAddr;

use wire::identifier::{RecordNumber, SessionId};
use wire::octets::Octets;
use wire::record::{
    ChannelEvent, EndReason, Event, Exec, FileDeed, FileTouched, FilesUnseen, Loss, Network,
    NetworkDeed, Record, SessionEnded,
};
use wire::time::Uptime;

use super::*;

/// A Wednesday, at 10:20 UTC.
const BEGAN: u64 = 1_800_000_000 + 5 * 86_400 + 2 * 3_600 + 20 * 60;

fn scene() -> Scene {
    Scene {
        identity: "ana@example.com".parse().unwrap(),
        is_program: false,
        host: "db-1".parse().unwrap(),
        login: "postgres".parse().unwrap(),
        role: "dba".parse().unwrap(),
        remote: "10.0.0.9".into(),
        began: Timestamp::from_secs(BEGAN),
        incidents: Vec::new(),
    }
}

fn exec(path: &str) -> Event {
    Event::Exec(Exec {
        sequence: 1,
        pid: 5,
        parent: 4,
        uid: 0,
        euid: 0,
        path: Octets::new(path),
        arguments: Vec::new(),
        cut: 0,
        terminal: None,
        nameless: false,
        program: None,
    })
}

fn network(what: NetworkDeed, address: &str, port: u16) -> Event {
    let address: IpAddr = address.parse().unwrap();
    let program = Octets::new("nc");
    Event::Network(Network { sequence: 1, pid: 5, program, what, address: Some(address), port })
}

fn file(what: FileDeed, path: &str) -> Event {
    Event::File(Box::new(FileTouched {
        pid: 5,
        program: None,
        what,
        path: Octets::new(path),
        inode: 1,
        device: 1,
        nameless: false,
        times: 1,
    }))
}

fn done(events: Vec<Event>) -> Deeds {
    let mut deeds = Deeds::default();
    for (number, event) in (1_u64..).zip(events) {
        deeds.take(&Record {
            number: RecordNumber::try_new(number).unwrap(),
            at: Timestamp::from_secs(BEGAN),
            uptime: Uptime::from_nanos(number),
            session: Some("00000000000000a1".parse::<SessionId>().unwrap()),
            event,
        });
    }
    deeds.finish()
}

/// Enough is known of the role and of the person, and this besides.
fn usual(more: &[(Facet, &str)]) -> Before {
    let known = Known { ever: true, usual: 10, approved: false };
    let own = [
        (Facet::Role, ""),
        (Facet::Person, ""),
        (Facet::Host, "db-1"),
        (Facet::Login, "postgres"),
        (Facet::Source, "10.0.0.0/24"),
        (Facet::Hour, "10"),
    ];
    let all = own.iter().chain(more).map(|(facet, what)| ((*facet, (*what).to_owned()), known));
    Before(all.collect())
}

fn found(scene: &Scene, deeds: &Deeds, before: &Before) -> Vec<(Oddity, String)> {
    let odd = judge(scene, deeds, before, Timestamp::from_secs(BEGAN));
    odd.reasons.into_iter().map(|reason| (reason.oddity, reason.says)).collect()
}

fn only(scene: &Scene, deeds: &Deeds, before: &Before) -> (Oddity, String) {
    let mut all = found(scene, deeds, before);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn what_is_usual_is_not_odd() {
    let deeds = done(vec![
        exec("/usr/bin/psql"),
        network(NetworkDeed::Connect, "10.1.2.3", 5432),
        network(NetworkDeed::Listen, "0.0.0.0", 8080),
        file(FileDeed::Written, "/etc/motd"),
        file(FileDeed::Written, "/home/ana/notes"),
        file(FileDeed::Opened, "/srv/payroll"),
    ]);
    let before = usual(&[
        (Facet::Program, "/usr/bin/psql"),
        (Facet::Connect, "10.1.2.0/24:5432"),
        (Facet::Listen, "8080"),
        (Facet::Written, "/etc/motd"),
        (Facet::Opened, "/srv/payroll"),
    ]);
    assert_eq!(found(&scene(), &deeds, &before), []);
}

#[test]
fn each_thing_that_is_not_usual_is_said_with_what_it_rests_on() {
    let table = [
        (
            exec("/usr/bin/nc"),
            Oddity::NewProgram,
            "ran /usr/bin/nc, which nobody with role dba did before",
        ),
        (
            network(NetworkDeed::Connect, "203.0.113.7", 4444),
            Oddity::NewAddress,
            "connected to 203.0.113.7:4444 (nc), which nobody with role dba did before",
        ),
        (
            network(NetworkDeed::Listen, "0.0.0.0", 4444),
            Oddity::NewListener,
            "listened at 0.0.0.0:4444 (nc), which nobody with role dba did before",
        ),
        (
            file(FileDeed::Written, "/usr/local/bin/x"),
            Oddity::NewFile,
            "wrote /usr/local/bin/x, which nobody with role dba did before",
        ),
        (
            file(FileDeed::Written, "/etc/sudoers"),
            Oddity::GuardedFile,
            "wrote what guards who gets in: /etc/sudoers",
        ),
        (
            file(FileDeed::Written, "/home/eve/.ssh/authorized_keys"),
            Oddity::GuardedFile,
            "wrote what guards who gets in: /home/eve/.ssh/authorized_keys",
        ),
        (
            file(FileDeed::Opened, "/srv/payroll"),
            Oddity::NewOpened,
            "opened /srv/payroll, which nobody with role dba did before",
        ),
    ];
    for (event, oddity, says) in table {
        assert_eq!(only(&scene(), &done(vec![event]), &usual(&[])), (oddity, says.to_owned()));
    }
}

#[test]
fn what_was_not_seen_and_who_was_left_is_odd_too() {
    let table = [
        (
            Event::Loss(Loss { after: 1, missing: 7 }),
            Oddity::Unseen,
            "not all that was done in it was seen: 7 events were lost",
        ),
        (
            Event::FilesUnseen(FilesUnseen { why: "the watcher died".into() }),
            Oddity::Unseen,
            "not all that was done in it was seen: files: the watcher died",
        ),
        (
            Event::SessionEnded(SessionEnded {
                reason: EndReason::Left,
                killed: 0,
                survivors: 2,
                took_micros: 0,
                steps: None,
            }),
            Oddity::Survivors,
            "2 of its processes outlived it",
        ),
    ];
    for (event, oddity, says) in table {
        assert_eq!(only(&scene(), &done(vec![event]), &usual(&[])), (oddity, says.to_owned()));
    }
}

#[test]
fn a_program_without_a_name_and_a_hand_in_a_workload_s_session_are_odd_whatever_was_before() {
    let Event::Exec(exec) = exec("/memfd:x") else { panic!() };
    let nameless = done(vec![Event::Exec(Exec { nameless: true, ..exec.clone() })]);
    let before = usual(&[(Facet::Program, "/memfd:x")]);
    assert_eq!(only(&scene(), &nameless, &before).0, Oddity::Nameless);
    let typed = done(vec![Event::Exec(Exec { terminal: Some("pts0".into()), ..exec })]);
    assert_eq!(found(&scene(), &typed, &before), []);
    let job = Scene { is_program: true, ..scene() };
    let (oddity, says) = only(&job, &typed, &before);
    assert!(oddity == Oddity::ByHand && says.contains("is a workload"), "{says}");
    let opened = Event::Channel(ChannelEvent::Unrelayed { why: "no".into(), refused: false });
    let both = found(&job, &done(vec![opened]), &before);
    assert_eq!(both.iter().map(|one| one.0).collect::<Vec<_>>(), [Oddity::ByHand, Oddity::Unseen]);
}

#[test]
fn what_guards_who_gets_in_is_usual_only_once_a_reviewer_has_found_it_in_order() {
    let deeds = done(vec![file(FileDeed::Written, "/etc/sudoers.d/ops")]);
    let mut before = usual(&[(Facet::Written, "/etc/sudoers.d/ops")]);
    assert_eq!(only(&scene(), &deeds, &before).0, Oddity::GuardedFile);
    let known = Known { ever: true, usual: 1, approved: true };
    before.0.insert((Facet::Written, "/etc/sudoers.d/ops".into()), known);
    assert_eq!(found(&scene(), &deeds, &before), []);
    // Nor does it hide where nothing else is known.
    let all = found(&scene(), &deeds, &Before::default());
    assert_eq!(all.first().unwrap().0, Oddity::GuardedFile);
}

#[test]
fn a_place_that_is_new_to_a_person_is_told_from_one_that_nobody_has_judged_yet() {
    let before = |facet, what: &str, ever| {
        let mut before = usual(&[]);
        before.0.insert((facet, what.into()), Known { ever, ..Known::default() });
        before
    };
    let none = Deeds::default();
    for (facet, what, oddity, first, later) in [
        (
            Facet::Host,
            "db-1",
            Oddity::NewHost,
            "first time of ana@example.com on db-1",
            "on db-1, which is not usual for ana@example.com yet",
        ),
        (
            Facet::Login,
            "postgres",
            Oddity::NewLogin,
            "first time of ana@example.com as postgres",
            "as postgres, which is not usual for ana@example.com yet",
        ),
        (
            Facet::Source,
            "10.0.0.0/24",
            Oddity::NewSource,
            "from 10.0.0.9, a network that ana@example.com never came from",
            "from 10.0.0.9, a network that is not usual for ana@example.com yet",
        ),
    ] {
        assert_eq!(only(&scene(), &none, &before(facet, what, false)), (oddity, first.into()));
        assert_eq!(only(&scene(), &none, &before(facet, what, true)), (oddity, later.into()));
    }
    let odd = Scene { remote: "UNKNOWN\u{1b}[2J".into(), ..scene() };
    let (oddity, says) = only(&odd, &none, &usual(&[]));
    assert!(oddity == Oddity::NewSource && says.starts_with("from UNKNOWN\\u{1b}[2J,"), "{says}");
}

#[test]
fn a_time_at_which_a_person_does_not_work_is_odd_once_enough_is_known_of_when_they_do() {
    let at = |more: u64| Scene { began: Timestamp::from_secs(BEGAN + more), ..scene() };
    let none = Deeds::default();
    for near in [0, 3_600, 2 * 3_600, 22 * 3_600] {
        assert_eq!(found(&at(near), &none, &usual(&[])), [], "{near}");
    }
    let night = only(&at(17 * 3_600 - 8 * 60), &none, &usual(&[]));
    let says =
        "began at 03:12 UTC on a Thursday, outside of the hours on which ana@example.com works";
    assert_eq!(night, (Oddity::NewHour, says.to_owned()));
    let sunday = only(&at(4 * 86_400), &none, &usual(&[]));
    assert!(sunday.1.contains("on a Sunday, on a weekend, outside of the days"), "{sunday:?}");
    assert_eq!(found(&at(4 * 86_400), &none, &usual(&[(Facet::Weekend, "")])), []);
    let mut few = usual(&[]);
    few.0.insert((Facet::Person, String::new()), Known { ever: true, usual: 9, approved: false });
    assert_eq!(found(&at(17 * 3_600), &none, &few), []);
}

#[test]
fn too_little_known_is_a_reason_by_itself_and_accuses_of_nothing_else() {
    let deeds = done((0..400).map(|number| exec(&format!("/bin/{number}"))).collect());
    let all = found(&scene(), &deeds, &Before::default());
    let kinds: Vec<Oddity> = all.iter().map(|one| one.0).collect();
    assert_eq!(kinds, [Oddity::UnknownRole, Oddity::UnknownPerson]);
}

#[test]
fn a_session_with_thousands_of_odd_things_is_told_in_a_few_words() {
    let long = format!("/tmp/\u{202e}{}", "x".repeat(4_000));
    let mut events = vec![exec(&long), exec(&format!("{long}y"))];
    events.extend((0..1_000).map(|number| exec(&format!("/bin/{number}"))));
    let deeds = done(events);
    let odd = judge(&scene(), &deeds, &usual(&[]), Timestamp::from_secs(BEGAN));
    let [reason] = odd.reasons.as_slice() else { panic!("{odd:?}") };
    assert_eq!((reason.evidence.len(), reason.more), (5, 295), "300 of a kind are kept");
    assert!(reason.evidence.iter().all(|one| one.chars().count() <= 120));
    assert!(!reason.says.chars().any(wire::octets::is_hidden) && reason.says.len() < 1_000);
    let keys: std::collections::BTreeSet<&String> = deeds.facets().map(|(_, what)| what).collect();
    assert_eq!(keys.len(), 300, "long paths that begin alike are two");
    assert!(keys.iter().all(|key| key.len() <= 256));
}

#[test]
fn an_incident_comes_first_and_more_reasons_never_weigh_less() {
    let incidents = vec![(17, "session 1: too many programs".into()), (19, "again".into())];
    let scene = Scene { incidents, ..scene() };
    let one = judge(&scene, &Deeds::default(), &usual(&[]), Timestamp::from_secs(1));
    assert_eq!(one.weight, 40);
    assert_eq!(one.reasons[0].says, "incident 17 was raised over it: session 1: too many programs");
    assert_eq!(one.reasons[0].evidence, ["17: session 1: too many programs", "19: again"]);
    let more =
        judge(&scene, &done(vec![exec("/usr/bin/nc")]), &usual(&[]), Timestamp::from_secs(1));
    assert_eq!((more.weight, more.reasons[0].oddity), (60, Oddity::Incident));
}

#[test]
fn what_is_held_against_whom_is_said_for_each_facet() {
    for facet in Facet::ALL {
        assert_eq!(facet.is_of_role(), facet.is_activity() || facet == Facet::Role);
    }
    let names: std::collections::BTreeSet<&str> = Facet::ALL.map(Facet::name).into();
    assert_eq!(names.len(), Facet::ALL.len());
}
