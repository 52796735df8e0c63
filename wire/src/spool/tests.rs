use super::super::cover::SignedCover;
use super::super::seal::{Packer, Sealer};
use super::*;
use crate::octets::Octets;
use crate::record::{Exit, ExitStatus};
use crate::recording::seal::OpeningKey;
use crate::recording::statement::Signed;
use ssh_key::private::Ed25519Keypair;
use ssh_key::{PrivateKey, Signature, SigningKey};

const NOW: Timestamp = Timestamp::from_secs(9);

fn key(seed: u8) -> OpeningKey {
    OpeningKey::new(&[seed; 32]).unwrap()
}

fn agent(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn raw(key: &impl SigningKey, message: &[u8]) -> Result<Signature, ssh_key::Error> {
    Ok(key.try_sign(message)?)
}

fn host() -> HostName {
    "db1".parse().unwrap()
}

/// A segment as a host writes it.
struct Written {
    cover: SignedCover,
    frames: Vec<Vec<u8>>,
    head: Hash,
}

fn record(number: u64, pid: i32) -> Record {
    let exit = Exit { sequence: number, pid, status: ExitStatus::Code(0), ran_micros: None };
    Record {
        number: RecordNumber::try_new(number).unwrap(),
        at: NOW,
        uptime: Uptime::from_nanos(number),
        session: None,
        event: Event::Exit(exit),
    }
}

fn signed(cover: Cover, seed: u8) -> SignedCover {
    let key = agent(seed);
    let begun = cover.said_by(&host());
    let said = Signed::make(&begun, key.public_key(), |message| raw(&key, message)).unwrap();
    SignedCover { cover, said: Some(said) }
}

/// Records `first..=last`, of a process `pid`, behind the frame of this hash.
fn write((first, last): (u64, u64), previous: Hash, pid: i32) -> Written {
    let (mut sealer, cover) = Sealer::begin((first, previous), &key(1).public()).unwrap();
    let mut packer = Packer::new().unwrap();
    let frames = (first..=last)
        .map(|number| {
            let plain = serde_json::to_vec(&record(number, pid)).unwrap();
            sealer.seal(packer.pack(&plain, 1).unwrap()).unwrap()
        })
        .collect();
    Written { cover: signed(cover, 3), frames, head: sealer.head() }
}

fn reader(standing: Standing) -> Reader {
    Reader::new(host(), Some(agent(3).public_key().key_data().clone()), standing)
}

fn sealed(written: &Written, frames: &[Vec<u8>]) -> Sealed {
    let cover = Some(Octets::new(written.cover.encode()));
    Sealed { cover, frames: Octets::new(frames.concat()) }
}

fn take(reader: &mut Reader, sealed: &Sealed) -> Result<Taken, ReadError> {
    reader.take(sealed, |cover| key(1).segment(cover), NOW)
}

fn finding(from: u64, to: u64, fault: Fault) -> Finding {
    Finding { from, to, fault }
}

fn numbers(taken: &Taken) -> Vec<u64> {
    taken.records.iter().map(|record| record.number.number()).collect()
}

fn lost(taken: &Taken) -> Vec<u64> {
    let is_lost = |record: &&Record| matches!(record.event, Event::Unreadable { .. });
    taken.records.iter().filter(is_lost).map(|record| record.number.number()).collect()
}

#[test]
fn what_was_written_is_read_over_segments_and_connections_without_a_finding() {
    let one = write((1, 3), super::super::cover::NOTHING, 1);
    let two = write((4, 5), one.head, 1);
    let mut first = reader(Standing::default());
    let taken = take(&mut first, &sealed(&one, &one.frames[..2])).unwrap();
    assert_eq!((numbers(&taken), taken.findings.len()), (vec![1, 2], 0));
    assert_eq!(taken.records[1], record(2, 1));
    // Another connection: the middle of a segment, of which something comes again.
    let mut second = reader(taken.standing);
    let taken = take(&mut second, &sealed(&one, &one.frames)).unwrap();
    assert_eq!((numbers(&taken), taken.findings.len()), (vec![3], 0));
    let taken = take(&mut second, &sealed(&two, &two.frames[..1])).unwrap();
    assert_eq!((numbers(&taken), taken.findings.len()), (vec![4], 0));
    let rest = Sealed { cover: None, frames: Octets::new(two.frames[1].clone()) };
    let taken = take(&mut second, &rest).unwrap();
    assert_eq!((numbers(&taken), taken.findings.len()), (vec![5], 0));
    assert_eq!(taken.standing, Standing { last: 5, head: Some(two.head) });
}

#[test]
fn a_changed_record_is_placed_and_the_rest_goes_on() {
    let one = write((1, 4), super::super::cover::NOTHING, 1);
    for changed in 0..4_usize {
        let mut frames = one.frames.clone();
        let last = frames[changed].len() - 1;
        frames[changed][last] ^= 1;
        let taken = take(&mut reader(Standing::default()), &sealed(&one, &frames)).unwrap();
        let place = u64::try_from(changed).unwrap() + 1;
        assert_eq!(taken.findings, [finding(place, place, Fault::Changed)]);
        assert_eq!((numbers(&taken), lost(&taken)), (vec![1, 2, 3, 4], vec![place]));
    }
    // Two beside each other are one place.
    let mut frames = one.frames.clone();
    for frame in &mut frames[1..3] {
        frame[30] ^= 1;
    }
    let taken = take(&mut reader(Standing::default()), &sealed(&one, &frames)).unwrap();
    assert_eq!(taken.findings, [finding(2, 3, Fault::Changed)]);
}

#[test]
fn what_is_cut_or_reordered_leaves_a_gap_and_what_is_repeated_is_passed_over() {
    let one = write((1, 4), super::super::cover::NOTHING, 1);
    let of = |places: &[usize]| -> Vec<Vec<u8>> {
        places.iter().map(|place| one.frames[*place].clone()).collect()
    };
    for wrong in [&[0, 2][..], &[1, 0, 2, 3], &[0, 0, 2]] {
        let taken = take(&mut reader(Standing::default()), &sealed(&one, &of(wrong)));
        assert!(matches!(taken, Err(ReadError::Gap { .. })), "{wrong:?}");
    }
    let again = of(&[0, 1, 0, 1, 2, 3]);
    let taken = take(&mut reader(Standing::default()), &sealed(&one, &again)).unwrap();
    assert_eq!((numbers(&taken), taken.findings.len()), (vec![1, 2, 3, 4], 0));
    // After a gap that the host has told of, the rest is believed by its key.
    let mut told = reader(Standing::default());
    take(&mut told, &sealed(&one, &of(&[0]))).unwrap();
    told.passed(2);
    let taken = take(&mut told, &sealed(&one, &of(&[2, 3]))).unwrap();
    assert_eq!((numbers(&taken), taken.findings.len()), (vec![3, 4], 0));
}

#[test]
fn a_record_of_another_segment_or_of_another_host_is_none_here() {
    let one = write((1, 2), super::super::cover::NOTHING, 1);
    let other = write((1, 2), super::super::cover::NOTHING, 2);
    let mixed = [one.frames[0].clone(), other.frames[1].clone()];
    let taken = take(&mut reader(Standing::default()), &sealed(&one, &mixed)).unwrap();
    assert_eq!(taken.findings, [finding(2, 2, Fault::Changed)]);
    // A whole segment that the host never signed: the link cannot make one up.
    let forged = SignedCover { said: other.cover.said.clone(), ..one.cover.clone() };
    let unsigned = SignedCover { said: None, ..one.cover.clone() };
    let by_another = signed(one.cover.cover.clone(), 4);
    for cover in [forged, unsigned, by_another] {
        let forged = Written { cover, frames: one.frames.clone(), head: one.head };
        let taken = take(&mut reader(Standing::default()), &sealed(&forged, &one.frames)).unwrap();
        assert_eq!((taken.findings.len(), lost(&taken)), (1, vec![1, 2]));
        assert_eq!((taken.findings[0].from, taken.findings[0].to), (1, 2));
        assert!(matches!(taken.findings[0].fault, Fault::Segment(_)));
    }
}

#[test]
fn a_changed_beginning_costs_its_segment_and_not_the_next() {
    let one = write((1, 2), super::super::cover::NOTHING, 1);
    let two = write((3, 4), one.head, 1);
    for at in [20, 60, 100, 159, 200, 500] {
        let mut cover = one.cover.encode();
        cover[at] ^= 1;
        let changed = Sealed { cover: Some(Octets::new(cover)), ..sealed(&one, &one.frames) };
        let mut reader = reader(Standing::default());
        let taken = take(&mut reader, &changed).unwrap();
        assert_eq!((lost(&taken), taken.findings.len()), (vec![1, 2], 1), "{at}");
        let taken = take(&mut reader, &sealed(&two, &two.frames)).unwrap();
        assert_eq!((numbers(&taken), taken.findings.len()), (vec![3, 4], 0), "{at}");
    }
}

#[test]
fn an_older_state_put_back_is_found_where_it_parts_from_what_is_known() {
    let one = write((1, 3), super::super::cover::NOTHING, 1);
    let mut here = reader(Standing::default());
    take(&mut here, &sealed(&one, &one.frames)).unwrap();
    // The host went back to record 2 and numbers on after 3, which the authority has told it.
    let older = Frame::read(&one.frames[1]).unwrap().0.hash();
    let two = write((4, 5), older, 2);
    let taken = take(&mut here, &sealed(&two, &two.frames)).unwrap();
    assert_eq!(taken.findings, [finding(4, 4, Fault::Order)]);
    assert_eq!((numbers(&taken), lost(&taken)), (vec![4, 5], vec![]));
    // Another life of the same segment, in its middle.
    let fork = write((1, 5), super::super::cover::NOTHING, 2);
    let known = Standing { last: 3, head: Some(one.head) };
    let taken = take(&mut reader(known), &sealed(&fork, &fork.frames)).unwrap();
    assert_eq!(taken.findings, [finding(4, 4, Fault::Order)]);
}

#[test]
fn what_is_sealed_and_is_not_its_record_is_found() {
    let (mut sealer, cover) =
        Sealer::begin((1, super::super::cover::NOTHING), &key(1).public()).unwrap();
    let mut packer = Packer::new().unwrap();
    let texts = [serde_json::to_vec(&record(2, 1)).unwrap(), b"no record".to_vec()];
    let seal = |text: &Vec<u8>| sealer.seal(packer.pack(text, 1).unwrap()).unwrap();
    let frames: Vec<Vec<u8>> = texts.iter().map(seal).collect();
    let written = Written { cover: signed(cover, 3), frames, head: sealer.head() };
    let taken = take(&mut reader(Standing::default()), &sealed(&written, &written.frames)).unwrap();
    assert_eq!(taken.findings, [finding(1, 2, Fault::Foreign)]);
}

#[test]
fn another_recording_key_takes_nothing_and_loses_nothing() {
    let one = write((1, 2), super::super::cover::NOTHING, 1);
    let mut here = reader(Standing::default());
    let refused = here.take(&sealed(&one, &one.frames), |cover| key(2).segment(cover), NOW);
    assert!(matches!(refused, Err(ReadError::Key { from: 1, .. })));
    assert_eq!(take(&mut here, &sealed(&one, &one.frames)).unwrap().records.len(), 2);
    let rest = Sealed { cover: None, frames: Octets::new(one.frames[1].clone()) };
    assert!(matches!(take(&mut reader(Standing::default()), &rest), Err(ReadError::NoCover)));
}

#[test]
fn what_no_agent_sends_is_refused() {
    let one = write((1, 2), super::super::cover::NOTHING, 1);
    let cut = Sealed { frames: Octets::new(one.frames[0][..40].to_vec()), ..sealed(&one, &[]) };
    assert!(matches!(take(&mut reader(Standing::default()), &cut), Err(ReadError::Form(_))));
    let long = Octets::new([one.cover.encode(), b"x".to_vec()].concat());
    let long = Sealed { cover: Some(long), ..sealed(&one, &one.frames) };
    assert!(matches!(take(&mut reader(Standing::default()), &long), Err(ReadError::Form(_))));
    // Little that becomes much.
    let mut packer = Packer::new().unwrap();
    let (mut sealer, cover) =
        Sealer::begin((1, super::super::cover::NOTHING), &key(1).public()).unwrap();
    let bomb = vec![b' '; usize::try_from(MAX_PLAIN).unwrap()];
    let mut seal = || sealer.seal(packer.pack(&bomb, 1).unwrap()).unwrap();
    let frames = vec![seal(), seal()];
    let bombs = Written { cover: signed(cover, 3), frames, head: one.head };
    let refused = take(&mut reader(Standing::default()), &sealed(&bombs, &bombs.frames));
    assert!(matches!(refused, Err(ReadError::Length)));
}
