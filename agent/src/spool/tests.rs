use super::*;
use ssh_key::private::Ed25519Keypair;
use wire::octets::Octets;
use wire::record::{Exit, ExitStatus, Loss, Record};
use wire::recording::seal::OpeningKey;
use wire::spool::Sealed;
use wire::spool::check::{Finding, Reader, Standing};

const QUOTA: u64 = 1 << 30;
const NOW: Now = Now { at: Timestamp::from_secs(1), up: Uptime::from_nanos(1) };
const ALL: Wanted = Wanted { bytes: u64::MAX, reads: u32::MAX };

fn event(after: u64) -> Event {
    Event::Loss(Loss { after, missing: 1 })
}

fn exit(sequence: u64) -> Event {
    Event::Exit(Exit { sequence, pid: 1, status: ExitStatus::Code(0), ran_micros: None })
}

fn fill(spool: &mut Spool, count: u64) {
    for index in 0..count {
        spool.append(None, &event(index), NOW).unwrap();
    }
}

fn recording_key() -> OpeningKey {
    OpeningKey::new(&[9; 32]).unwrap()
}

fn agent_key() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[3; 32]))
}

fn host() -> HostName {
    "db1".parse().unwrap()
}

/// Opens it as an agent does that seals, or as one that was told no key.
fn open(folder: &Path, quota: u64, form: Form) -> Spool {
    let mut spool = Spool::open(folder, quota).unwrap();
    if form == Form::Sealed {
        spool.seal_to(recording_key().public(), (host(), Some(agent_key()))).unwrap();
    }
    spool
}

fn reader(standing: Standing) -> Reader {
    Reader::new(host(), Some(agent_key().public_key().key_data().clone()), standing)
}

/// What the authority makes of all that the spool gives after record `number`.
fn read_after(spool: &mut Spool, number: u64, bytes: u64) -> (Vec<Record>, Vec<Finding>) {
    let mut reader = reader(Standing { last: number, head: None });
    let (mut last, mut records, mut findings) = (number, Vec::new(), Vec::new());
    loop {
        match spool.after(last, Wanted { bytes, ..ALL }).unwrap() {
            Piece::Nothing => return (records, findings),
            Piece::Beyond => panic!("everything is read here"),
            Piece::Records(some) => {
                last = some.last().unwrap().number.number();
                reader.passed(last);
                records.extend(some);
            }
            Piece::Sealed(piece) => {
                assert!(piece.last > last, "it goes on");
                last = piece.last;
                let (cover, frames) = (Octets::new(piece.cover), Octets::new(piece.frames));
                let sealed = Sealed { cover: Some(cover), frames };
                let open = |cover: &wire::spool::cover::Cover| recording_key().segment(cover);
                let taken = reader.take(&sealed, open, NOW.at).unwrap();
                records.extend(taken.records);
                findings.extend(taken.findings);
            }
        }
    }
}

fn all(spool: &mut Spool) -> Vec<u64> {
    let (records, findings) = read_after(spool, 0, u64::MAX);
    assert!(findings.is_empty(), "{findings:?}");
    numbers(&records)
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.number.number()).collect()
}

/// Those that say that they, or several, cannot be read.
fn lost(records: &[Record]) -> Vec<(u64, u64)> {
    let of = |record: &Record| match record.event {
        Event::Unreadable { from, .. } => {
            let number = record.number.number();
            Some((from.map_or(number, |from| from.number()), number))
        }
        _ => None,
    };
    records.iter().filter_map(of).collect()
}

const FORMS: [Form; 2] = [Form::Plain, Form::Sealed];

#[test]
fn records_are_numbered_on_after_a_restart() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        fill(&mut open(folder.path(), QUOTA, form), 3);
        let mut spool = open(folder.path(), QUOTA, form);
        assert_eq!(spool.append(None, &event(9), NOW).unwrap().number(), 4);
        let (records, findings) = read_after(&mut spool, 1, u64::MAX);
        assert_eq!((numbers(&records), findings), (vec![2, 3, 4], vec![]));
        assert_eq!(records[2].event, event(9));
        assert_eq!(spool.after(4, ALL).unwrap(), Piece::Nothing);
        assert!(spool.take_found().is_empty());
    }
}

#[test]
fn what_is_written_is_a_record_as_it_travels() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), QUOTA, form);
        spool.append(None, &event(7), NOW).unwrap();
        let session = std::num::NonZeroU64::new(9).map(SessionId::new);
        spool.append(session, &event(8), NOW).unwrap();
        for record in read_after(&mut spool, 0, u64::MAX).0 {
            let line = Line {
                number: record.number,
                at: record.at,
                uptime: record.uptime,
                session: record.session,
                event: &record.event,
            };
            assert_eq!(
                serde_json::to_string(&line).unwrap(),
                serde_json::to_string(&record).unwrap()
            );
        }
    }
}

#[test]
fn nothing_of_what_is_sealed_can_be_read_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path(), QUOTA, Form::Sealed);
    let secret = "a-word-that-stands-nowhere-else";
    for _ in 0..20 {
        let told = Event::Warned { message: secret.into(), terminals: 1 };
        spool.append(None, &told, NOW).unwrap();
    }
    for entry in fs::read_dir(folder.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for word in [secret.as_bytes(), b"warned", b"message", b"uptime"] {
            assert!(!bytes.windows(word.len()).any(|part| part == word));
        }
    }
    assert_eq!(read_after(&mut spool, 0, u64::MAX).0.len(), 20);
}

#[test]
fn what_a_version_before_left_is_read_before_what_is_sealed() {
    let folder = tempfile::tempdir().unwrap();
    fill(&mut open(folder.path(), QUOTA, Form::Plain), 3);
    let mut spool = open(folder.path(), QUOTA, Form::Plain);
    assert!(!spool.seals());
    fill(&mut spool, 1);
    spool.seal_to(recording_key().public(), (host(), Some(agent_key()))).unwrap();
    fill(&mut spool, 2);
    assert_eq!(all(&mut spool), [1, 2, 3, 4, 5, 6]);
    // Another key is another segment.
    let other = OpeningKey::new(&[8; 32]).unwrap();
    spool.seal_to(other.public(), (host(), Some(agent_key()))).unwrap();
    fill(&mut spool, 1);
    let firsts: Vec<u64> =
        segments(folder.path()).unwrap().into_iter().map(|segment| segment.first).collect();
    assert_eq!(firsts, [1, 5, 7]);
}

#[test]
fn a_torn_record_is_cut_off_and_its_number_given_again() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        fill(&mut open(folder.path(), QUOTA, form), 3);
        let newest = segments(folder.path()).unwrap().pop().unwrap();
        let whole = fs::read(&newest.path).unwrap();
        for cut in 1..40 {
            for entry in fs::read_dir(folder.path()).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
            fs::write(&newest.path, &whole[..whole.len() - cut]).unwrap();
            let mut spool = open(folder.path(), QUOTA, form);
            assert_eq!(spool.append(None, &event(7), NOW).unwrap().number(), 3);
            assert_eq!(all(&mut spool), [1, 2, 3], "{form:?} {cut}");
            assert!(spool.take_found().is_empty(), "{form:?} {cut}");
        }
    }
}

#[test]
fn damage_in_the_middle_costs_nothing_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    fill(&mut open(folder.path(), QUOTA, Form::Plain), 3);
    let path = Segment::new(folder.path(), 1, Form::Plain).path;
    let mut bytes = fs::read(&path).unwrap();
    let second = bytes.iter().position(|byte| *byte == b'\n').unwrap().saturating_add(5);
    bytes[second] = 0xff;
    fs::write(&path, &bytes).unwrap();
    let mut spool = open(folder.path(), QUOTA, Form::Plain);
    assert_eq!(spool.append(None, &event(7), NOW).unwrap().number(), 4);
    let (records, _) = read_after(&mut spool, 0, u64::MAX);
    assert_eq!(numbers(&records), [1, 2, 3, 4]);
    assert!(matches!(records[1].event, Event::Unreadable { bytes, .. } if bytes > 10));
    assert_eq!(records[2].event, event(2));
}

/// Where each frame of the only sealed segment lies.
fn frames(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (_, mut rest) = SignedCover::decode(bytes).unwrap();
    let mut found = Vec::new();
    while let Ok((frame, left)) = wire::spool::frame::Frame::read(rest) {
        let at = bytes.len().saturating_sub(rest.len());
        found.push(at..at.saturating_add(frame.bytes().len()));
        rest = left;
    }
    found
}

/// Six sealed records, a change made to their file, with the agent running or not, and one more record after it.
fn meddled(
    change: impl Fn(&mut Vec<u8>, &[std::ops::Range<usize>]),
) -> Vec<(Spool, Vec<Record>, Vec<Finding>)> {
    let made = |restarts: bool| {
        let folder = tempfile::tempdir().unwrap();
        let run = tempfile::tempdir().unwrap();
        let tail = run.path().join("tail");
        let mut spool = open(folder.path(), QUOTA, Form::Sealed);
        spool.remember_in(&tail).unwrap();
        fill(&mut spool, 6);
        let path = Segment::new(folder.path(), 1, Form::Sealed).path;
        let mut bytes = fs::read(&path).unwrap();
        let frames = frames(&bytes);
        change(&mut bytes, &frames);
        fs::write(&path, &bytes).unwrap();
        if restarts {
            drop(spool);
            spool = open(folder.path(), QUOTA, Form::Sealed);
            spool.remember_in(&tail).unwrap();
        }
        let (mut records, mut findings) = read_after(&mut spool, 0, u64::MAX);
        assert_eq!(spool.append(None, &event(7), NOW).unwrap().number(), 7);
        let (more, others) = read_after(&mut spool, 6, u64::MAX);
        records.extend(more);
        findings.extend(others);
        (spool, records, findings)
    };
    vec![made(false), made(true)]
}

#[test]
fn every_byte_of_a_record_that_is_changed_is_found_and_the_rest_goes_on() {
    let length = {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), QUOTA, Form::Sealed);
        fill(&mut spool, 6);
        frames(&fs::read(Segment::new(folder.path(), 1, Form::Sealed).path).unwrap())[2].len()
    };
    for at in 0..length {
        for (_, records, findings) in meddled(|bytes, frames| bytes[frames[2].start + at] ^= 1) {
            assert_eq!(lost(&records), [(3, 3)], "byte {at}: {findings:?}");
            let others = records.iter().filter(|record| record.number.number() != 3);
            assert_eq!(others.count(), 6, "byte {at}");
        }
    }
}

#[test]
fn what_is_cut_out_is_placed_and_the_rest_goes_on() {
    type Cut = fn(&mut Vec<u8>, &[std::ops::Range<usize>]);
    let cuts: [(Cut, &[(u64, u64)]); 6] = [
        (|bytes, at| drop(bytes.drain(at[0].clone())), &[(1, 1)]),
        (|bytes, at| drop(bytes.drain(at[1].start..at[3].end)), &[(2, 4)]),
        // Half of one, and half of the next.
        (|bytes, at| drop(bytes.drain(at[1].start + 20..at[2].start + 20)), &[(2, 3)]),
        (|bytes, at| bytes[at[1].start..at[3].end].fill(0), &[(2, 4)]),
        (|bytes, at| bytes.truncate(at[4].start), &[(5, 6)]),
        (|bytes, at| bytes.truncate(at[5].start + 9), &[(6, 6)]),
    ];
    for (number, (cut, gone)) in cuts.into_iter().enumerate() {
        for (_, records, findings) in meddled(cut) {
            let found = lost(&records);
            if number == 2 {
                // Of two halves the first is taken for a changed record, or for none.
                assert!(found.iter().all(|(from, to)| *from >= 2 && *to <= 3), "{found:?}");
            } else {
                assert_eq!(found, gone, "{number}: {findings:?}");
            }
            assert!(!found.is_empty(), "{number}");
            assert_eq!(records.last().unwrap().event, event(7));
        }
    }
}

#[test]
fn what_is_reordered_repeated_or_put_in_is_placed_or_passed_over() {
    for (_, records, findings) in meddled(|bytes, at| {
        let [second, third] = [1, 2].map(|place: usize| bytes[at[place].clone()].to_vec());
        drop(bytes.splice(at[1].start..at[2].end, [third, second].concat()));
    }) {
        assert_eq!((lost(&records), findings), (vec![(2, 2)], vec![]));
        assert_eq!(numbers(&records), [1, 2, 3, 4, 5, 6, 7]);
    }
    for (_, records, findings) in meddled(|bytes, at| {
        let first = bytes[at[0].clone()].to_vec();
        drop(bytes.splice(at[2].start..at[2].start, first));
    }) {
        assert_eq!((numbers(&records), lost(&records)), (vec![1, 2, 3, 4, 5, 6, 7], vec![]));
        assert!(findings.is_empty());
    }
    for (mut spool, records, findings) in meddled(|bytes, at| {
        drop(bytes.splice(at[2].start..at[2].start, b"put in".iter().copied()));
    }) {
        assert_eq!((numbers(&records), lost(&records)), (vec![1, 2, 3, 4, 5, 6, 7], vec![]));
        assert!(findings.is_empty());
        let found = spool.take_found();
        assert!(found.iter().any(|one| one.contains("6 bytes in")), "{found:?}");
    }
}

#[test]
fn a_segment_whose_beginning_was_changed_is_lost_after_a_restart_and_the_next_is_not() {
    for at in [0, 9, 100, 200, 300, 500] {
        let made = meddled(|bytes, _| bytes[at] ^= 1);
        for ((mut spool, records, findings), restarted) in made.into_iter().zip([false, true]) {
            let lost = lost(&records);
            assert_eq!(records.last().unwrap().event, event(7), "{at}");
            if restarted {
                assert_eq!((lost.first().unwrap().0, lost.last().unwrap().1), (1, 6), "{at}");
                assert!(lost.len() == 1 || findings.len() == 1, "{at}: {findings:?}");
            } else {
                // The agent knows it better.
                assert!(lost.is_empty() && findings.is_empty(), "{at}: {findings:?}");
                let found = spool.take_found();
                assert!(found.iter().any(|it| it.contains("the beginning of")), "{at}: {found:?}");
            }
        }
    }
}

#[test]
fn segments_that_were_taken_away_are_named_by_their_records() {
    for running in [true, false] {
        let (folder, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tail = run.path().join("tail");
        let mut spool = open(folder.path(), QUOTA, Form::Sealed);
        spool.remember_in(&tail).unwrap();
        for _ in 0..4 {
            fill(&mut spool, 2);
            spool.rotate().unwrap();
        }
        for first in [3, 5, 9] {
            fs::remove_file(Segment::new(folder.path(), first, Form::Sealed).path).unwrap();
        }
        fs::remove_file(Segment::new(folder.path(), 7, Form::Sealed).path).unwrap();
        if !running {
            drop(spool);
            spool = open(folder.path(), QUOTA, Form::Sealed);
            spool.remember_in(&tail).unwrap();
            assert!(spool.take_found()[0].contains("ended with number 8"));
        }
        let (records, _) = read_after(&mut spool, 0, u64::MAX);
        assert_eq!((numbers(&records), lost(&records)), (vec![1, 2, 8], vec![(3, 8)]));
        assert_eq!(spool.append(None, &event(7), NOW).unwrap().number(), 9);
        let (records, _) = read_after(&mut spool, 8, u64::MAX);
        assert_eq!(records[0].event, event(7), "the rest goes on ({running})");
    }
}

#[test]
fn an_older_copy_that_was_put_back_is_found_by_what_the_authority_has() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path(), QUOTA, Form::Sealed);
    fill(&mut spool, 3);
    let path = Segment::new(folder.path(), 1, Form::Sealed).path;
    let older = fs::read(&path).unwrap();
    fill(&mut spool, 2);
    let mut reader = reader(Standing::default());
    let mut take = |spool: &mut Spool, after: u64| {
        let Piece::Sealed(piece) = spool.after(after, ALL).unwrap() else { panic!() };
        let (cover, frames) = (Some(Octets::new(piece.cover)), Octets::new(piece.frames));
        let open = |cover: &wire::spool::cover::Cover| recording_key().segment(cover);
        reader.take(&Sealed { cover, frames }, open, NOW.at).unwrap()
    };
    assert!(take(&mut spool, 0).findings.is_empty());
    drop(spool);
    fs::write(&path, older).unwrap();
    let mut spool = open(folder.path(), QUOTA, Form::Sealed);
    assert_eq!(spool.newest(), 3);
    spool.go_on_after(5).unwrap();
    fill(&mut spool, 1);
    let taken = take(&mut spool, 5);
    assert_eq!((taken.findings[0].from, taken.findings.len()), (6, 1));
    assert_eq!(taken.records[0].number.number(), 6);
}

#[test]
fn numbers_that_the_authority_knows_are_not_given_again() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), QUOTA, form);
        fill(&mut spool, 2);
        spool.go_on_after(1).unwrap();
        assert_eq!(spool.newest(), 2);
        spool.go_on_after(40).unwrap();
        drop(spool);
        let mut spool = open(folder.path(), QUOTA, form);
        assert_eq!(spool.append(None, &event(7), NOW).unwrap().number(), 41);
        assert_eq!(numbers(&read_after(&mut spool, 40, u64::MAX).0), [41]);
        drop(spool);
        assert_eq!(open(folder.path(), QUOTA, form).newest(), 41);
    }
}

#[test]
fn the_quota_is_kept_and_its_last_part_is_for_what_must_not_be_lost() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let limit = 64_000;
        let mut spool = open(folder.path(), limit, form);
        let what_runs = exit(1);
        let mut programs = 0;
        while spool.append(None, &what_runs, NOW).is_ok() {
            programs += 1;
            assert!(programs < 1_000, "there is an end");
        }
        let Extent { bytes, quota } = spool.extent();
        assert!(bytes <= 60_000 && bytes > 59_000 && quota == limit, "{bytes}");
        // Opened again it knows as much.
        drop(spool);
        let mut spool = open(folder.path(), limit, form);
        assert_eq!(spool.extent(), Extent { bytes, quota });
        let refused = spool.append(None, &what_runs, NOW).unwrap_err().to_string();
        assert!(refused.contains("takes all of `records_quota`, 64000 bytes"), "{refused}");
        let mut others = 0;
        while spool.append(None, &event(7), NOW).is_ok() {
            others += 1;
            assert!(others < 1_000, "there is an end");
        }
        assert!(others > 3 && spool.extent().bytes <= limit);
        assert_eq!(spool.newest(), programs + others, "what is refused takes no number");
        // What the authority has makes room, once its segment is closed.
        spool.rotate().unwrap();
        fill(&mut open(folder.path(), QUOTA, form), 1);
        let mut spool = open(folder.path(), limit, form);
        assert!(spool.append(None, &what_runs, NOW).is_err());
        spool.acknowledge(programs + others).unwrap();
        assert!(spool.extent().bytes < 2_000);
        spool.append(None, &what_runs, NOW).unwrap();
    }
}

#[test]
fn there_is_room_as_long_as_the_longest_record_fits() {
    let folder = tempfile::tempdir().unwrap();
    let quota = 2 * MAX_LINE;
    let mut spool = Spool::open(folder.path(), quota).unwrap();
    assert!(spool.has_room());
    let long = Event::Warned { message: "m".repeat(200_000), terminals: 1 };
    let mut count = 0;
    while spool.has_room() {
        spool.append(None, &long, NOW).unwrap();
        count += 1;
        assert!(count < 100, "there is an end");
    }
    let Extent { bytes, .. } = spool.extent();
    assert!(bytes + MAX_LINE > quota - quota / RESERVE && bytes < quota - MAX_LINE / 2);
}

#[test]
fn acknowledged_segments_go_and_numbering_stays() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), QUOTA, form);
        fill(&mut spool, 2);
        spool.rotate().unwrap();
        fill(&mut spool, 2);
        spool.acknowledge(1).unwrap();
        assert_eq!(numbers(&read_after(&mut spool, 1, u64::MAX).0), [2, 3, 4]);
        spool.acknowledge(4).unwrap();
        assert_eq!(segments(folder.path()).unwrap().len(), 1);
        assert_eq!(spool.waiting(), 0);
        drop(spool);
        let mut spool = open(folder.path(), QUOTA, form);
        assert_eq!(spool.append(None, &event(7), NOW).unwrap().number(), 5);
        let (records, findings) = read_after(&mut spool, 4, u64::MAX);
        assert_eq!((numbers(&records), findings), (vec![5], vec![]));
    }
}

#[test]
fn a_reader_takes_about_as_much_as_it_asked_for() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), QUOTA, form);
        fill(&mut spool, 50);
        spool.rotate().unwrap();
        fill(&mut spool, 50);
        let (records, findings) = read_after(&mut spool, 0, 300);
        assert_eq!((numbers(&records), findings), ((1..=100).collect(), vec![]));
        let count = match spool.after(10, Wanted { bytes: 400, ..ALL }).unwrap() {
            Piece::Records(some) => some.len(),
            Piece::Sealed(piece) => usize::try_from(piece.last).unwrap() - 10,
            other => panic!("{other:?}"),
        };
        assert!((1..10).contains(&count), "{count}");
    }
}

#[test]
fn a_large_record_goes_alone_behind_small_ones() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), QUOTA, form);
        fill(&mut spool, 3);
        let large: String = (0..2_000_u32).map(|at| format!("{:x}", at * 7_919)).collect();
        spool.append(None, &Event::Warned { message: large, terminals: 1 }, NOW).unwrap();
        fill(&mut spool, 1);
        let mut last =
            |after: u64| match spool.after(after, Wanted { bytes: 1_000, ..ALL }).unwrap() {
                Piece::Records(some) => some.last().unwrap().number.number(),
                Piece::Sealed(piece) => piece.last,
                other => panic!("{other:?}"),
            };
        assert_eq!([last(0), last(3), last(4)], [3, 4, 5], "{form:?}");
    }
}

#[test]
fn what_unpacks_to_much_is_sent_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path(), QUOTA, Form::Sealed);
    for _ in 0..5 {
        let large = Event::Warned { message: "m".repeat(900_000), terminals: 1 };
        spool.append(None, &large, NOW).unwrap();
    }
    assert!(spool.extent().bytes < 10_000);
    assert_eq!(all(&mut spool), [1, 2, 3, 4, 5]);
}

#[test]
fn what_is_too_new_for_who_asks_waits_and_what_is_before_it_goes() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), QUOTA, form);
        fill(&mut spool, 2);
        let meddled = wire::record::Meddled { what: "x".into(), mended: false };
        spool.append(None, &Event::Meddled(meddled), NOW).unwrap();
        let old = Wanted { bytes: u64::MAX, reads: 1 };
        let last = match spool.after(0, old).unwrap() {
            Piece::Records(some) => some.last().unwrap().number.number(),
            Piece::Sealed(piece) => piece.last,
            other => panic!("{other:?}"),
        };
        assert_eq!(last, 2);
        assert_eq!(spool.after(2, old).unwrap(), Piece::Beyond);
        assert_eq!(all(&mut spool), [1, 2, 3]);
    }
}

/// Programs as a build starts them, each with its end.
fn built(number: u32) -> [Event; 2] {
    let pid = i32::try_from(number).unwrap().saturating_add(40_000);
    let [sequence, after] =
        [0, 1].map(|one| u64::from(number).saturating_mul(2).saturating_add(one));
    let words = ["gcc", "-O2", "-Iinclude", "-c"].map(Octets::new);
    let file = format!("src/part{}/unit{number}.c", number % 17);
    let arguments = words.into_iter().chain([Octets::new(file)]).collect();
    let program = wire::record::Program {
        resolved: Some(Octets::new("/usr/bin/x86_64-linux-gnu-gcc-12")),
        inode: 1_203_411,
        device: (254, 1),
        folder: Some(Octets::new("/home/deploy/work/project")),
        gid: 1_001,
        egid: 1_001,
        login_uid: Some(1_001),
        ..wire::record::Program::default()
    };
    let exec = wire::record::Exec {
        sequence,
        pid,
        parent: 39_999,
        uid: 1_001,
        euid: 1_001,
        path: Octets::new("/usr/bin/gcc"),
        arguments,
        cut: 0,
        terminal: Some("pts0".into()),
        nameless: false,
        program: Some(Box::new(program)),
    };
    let ran_micros = Some(u64::from(number).saturating_mul(7) % 90_000);
    let status = ExitStatus::Code(0);
    [Event::Exec(exec), Event::Exit(Exit { sequence: after, pid, status, ran_micros })]
}

#[test]
fn a_program_and_its_end_take_less_of_the_disk_than_in_the_clear() {
    let session = std::num::NonZeroU64::new(0x5d1c_9a77_e02b_4f10).map(SessionId::new);
    let takes = FORMS.map(|form| {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), QUOTA, form);
        for number in 0..500 {
            let millis = 1_796_084_417_000 + u64::from(number) * 13;
            let up = Uptime::from_nanos(91_034_120_311_456 + u64::from(number) * 13_207_101);
            let now = Now { at: Timestamp::from_millis(millis), up };
            for event in built(number) {
                spool.append(session, &event, now).unwrap();
            }
        }
        spool.extent().bytes / 500
    });
    println!("a program and its end: {} bytes in the clear, {} sealed", takes[0], takes[1]);
    assert!(takes[1] * 10 < takes[0] * 7, "{takes:?}");
}
