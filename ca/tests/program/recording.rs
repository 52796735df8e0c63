//! What hosts record of terminals, brought over their connection.

use std::num::NonZeroU64;

use ssh_key::PrivateKey;
use ssh_key::public::KeyData;
use wire::channel::ChannelId;
use wire::hostlink::{Hello, RecordingStanding, ToAuthority, ToHost, Welcome};
use wire::identifier::SessionId;
use wire::log::LogKey;
use wire::octets::Octets;
use wire::order::Instruction;
use wire::recording::RecordingKey;
use wire::recording::batch::Gatherer;
use wire::recording::block::{Block, Chain};
use wire::recording::lane::{Answer, PART_BYTES, Part, Refusal, Upload};
use wire::recording::record::{Begin, Content, Size};
use wire::recording::seal::Sealer;
use wire::recording::statement::{BlockSaid, Closed, Received, Said, Signed};
use wire::time::{Timestamp, Uptime};

use crate::authority::{Authority, Frames, Host, key};
use crate::link::{greeted, hello};

/// The key by which the hosts of these tests enrol.
const AGENT_KEY: u8 = 98;
/// Bytes of a block that no compression makes fewer: three parts, and a fourth.
const NOISE: usize = 50_000;

pub(crate) fn of() -> (SessionId, ChannelId) {
    (SessionId::new(NonZeroU64::new(0xfeed).unwrap()), ChannelId::new(5))
}

/// A recording to this key, of so many blocks, each of more than a part.
pub(crate) fn recording(to: RecordingKey, blocks: u64) -> Vec<Block> {
    let size = Size { columns: 80, rows: 24 };
    let at = |secs: u64| Uptime::from_nanos(secs.saturating_mul(1_000_000_000));
    let begin = Begin { at: Timestamp::from_secs(9), size, term: None };
    let mut gatherer = Gatherer::new(begin, at(0));
    let mut sealer = Sealer::new(Chain::new(of().0, of().1), to);
    let mut noise: u32 = 1;
    let mut bytes = || {
        let next = |_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        };
        (0..NOISE).map(next).collect::<Vec<u8>>()
    };
    let block = |number: u64| {
        gatherer.push(at(number), Content::Output(bytes()));
        let later = at(number.saturating_add(1));
        sealer.seal(&gatherer.take_due(later).unwrap()).unwrap()
    };
    (0..blocks).map(block).collect()
}

fn signed(said: &Said, key: &PrivateKey) -> Signed {
    Signed::make(said, key.public_key(), |message| raw(key, message)).unwrap()
}

fn raw(
    key: &impl ssh_key::SigningKey,
    message: &[u8],
) -> Result<ssh_key::Signature, ssh_key::Error> {
    Ok(key.try_sign(message)?)
}

fn parts(host: &Host, block: &Block, by: &PrivateKey) -> Vec<ToAuthority> {
    let said = signed(&Said::Block(BlockSaid::of(&host.enrolled.trust.host, block)), by);
    let header = block.header();
    let whole = block.bytes().len();
    let chunks = block.bytes().chunks(PART_BYTES).enumerate();
    let part = |(place, bytes): (usize, &[u8])| {
        let at = place.saturating_mul(PART_BYTES);
        let part = Part {
            session: header.session,
            channel: header.channel,
            block: header.number,
            whole: u32::try_from(whole).unwrap(),
            at: u32::try_from(at).unwrap(),
            bytes: Octets::new(bytes),
            said: (at.saturating_add(bytes.len()) == whole).then(|| said.clone()),
        };
        ToAuthority::Recording(Box::new(Upload::Part(part)))
    };
    chunks.map(part).collect()
}

async fn answer(frames: &mut Frames) -> Answer {
    loop {
        match frames.next().await.unwrap() {
            ToHost::Recording(answer) => return *answer,
            ToHost::Refused(problem) => panic!("{problem}"),
            _ => {}
        }
    }
}

/// Sends a block, each part when the one before is taken, and gives the word on it.
pub(crate) async fn send(frames: &mut Frames, host: &Host, block: &Block) -> Answer {
    let mut arrived = 0;
    for part in parts(host, block, &key(AGENT_KEY)) {
        frames.send(&part).await;
        match answer(frames).await {
            Answer::Taken { upto, .. } => {
                assert!(upto > arrived);
                arrived = upto;
            }
            last => return last,
        }
    }
    panic!("the last part was not answered")
}

fn received(host: &Host, answer: &Answer) -> Received {
    let Answer::Received(signed) = answer else { panic!("{answer:?}") };
    let log: LogKey = host.enrolled.trust.log_keys.first().unwrap().parse().unwrap();
    let key = KeyData::Ed25519(ssh_key::public::Ed25519PublicKey(log.public()));
    signed.read(&[key]).unwrap()
}

pub(crate) async fn closed(frames: &mut Frames, host: &Host, block: &Block) -> Answer {
    let said = Said::Closed(Closed {
        version: wire::VERSION,
        host: host.enrolled.trust.host.clone(),
        session: of().0,
        channel: of().1,
        blocks: block.header().number,
        head: block.hash(),
        end: None,
        torn: 0,
        broken: false,
    });
    let closed = Upload::Closed(signed(&said, &key(AGENT_KEY)));
    frames.send(&ToAuthority::Recording(Box::new(closed))).await;
    answer(frames).await
}

#[tokio::test]
async fn a_recording_is_stored_in_order_acknowledged_and_taken_up_after_a_crash() {
    let authority = Authority::start();
    let host = authority.host("db1").await;
    let to = host.enrolled.trust.recording.unwrap();
    assert_eq!(to.order, 0);
    let blocks = recording(to.key, 4);
    let (mut frames, welcome) = greeted(&authority, &host, 0).await;
    assert!(welcome.recordings && welcome.recording.is_none());
    for block in &blocks[..2] {
        let received = received(&host, &send(&mut frames, &host, block).await);
        assert_eq!((received.block, received.head), (block.header().number, block.hash()));
    }
    // Half a block, and the authority dies.
    let half = parts(&host, &blocks[2], &key(AGENT_KEY));
    frames.send(half.first().unwrap()).await;
    assert!(matches!(answer(&mut frames).await, Answer::Taken { .. }));
    authority.kill();
    authority.restart();
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    // One that it had is acknowledged with what it has; the cut one begins anew.
    assert_eq!(received(&host, &send(&mut frames, &host, &blocks[0]).await).block, 2);
    for block in &blocks[2..] {
        let word = received(&host, &send(&mut frames, &host, block).await);
        assert_eq!((word.block, word.closed), (block.header().number, false));
    }
    assert!(received(&host, &closed(&mut frames, &host, &blocks[3]).await).closed);
    let folder =
        authority.dir.path().join("state/recordings/db1/000000000000feed/0000000000000005");
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 5, "{names:?}");
    assert_eq!(names.pop().as_deref(), Some("closed"));
    assert_eq!(names.pop().as_deref(), Some("0000000004.block"));
    let stored = std::fs::read(folder.join("0000000001.block")).unwrap();
    assert!(stored.starts_with(blocks[0].bytes()));
}

#[tokio::test]
async fn what_does_not_continue_or_is_not_the_agents_is_refused() {
    let authority = Authority::start();
    let host = authority.host("db1").await;
    let blocks = recording(host.enrolled.trust.recording.unwrap().key, 3);
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    let refused = |answer: Answer| -> Refusal {
        match answer {
            Answer::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    };
    let gap = refused(send(&mut frames, &host, &blocks[1]).await);
    assert!(!gap.later && gap.why.contains("where block 1 belongs"), "{}", gap.why);
    for part in parts(&host, &blocks[0], &key(97)) {
        frames.send(&part).await;
    }
    let last = loop {
        match answer(&mut frames).await {
            Answer::Taken { .. } => {}
            last => break refused(last),
        }
    };
    assert!(last.why.contains("another key"), "{}", last.why);
    assert_eq!(received(&host, &send(&mut frames, &host, &blocks[0]).await).block, 1);
    // What is no block at all ends the connection.
    let odd = Part {
        session: of().0,
        channel: of().1,
        block: 2,
        whole: 4,
        at: 0,
        bytes: Octets::new("junk"),
        said: Some(Signed { text: "{}".into(), signature: String::new() }),
    };
    frames.send(&ToAuthority::Recording(Box::new(Upload::Part(odd)))).await;
    while frames.next().await.is_some() {}
}

#[tokio::test]
async fn a_new_recording_key_is_ordered_once_and_told_to_who_missed_it() {
    let authority = Authority::start();
    let host = authority.host("db1").await;
    let first = host.enrolled.trust.recording.unwrap().key;
    let knowing = async |last_order: u64, key: Option<RecordingKey>| -> Welcome {
        let mut frames = authority.link(Some(&host)).await;
        let ToAuthority::Hello(said) = hello(last_order) else { unreachable!() };
        let recording = Some(RecordingStanding { key: key.map(|key| key.name()) });
        frames.send(&ToAuthority::Hello(Hello { recording, ..said })).await;
        match frames.next().await.unwrap() {
            ToHost::Welcome(welcome) => welcome,
            other => panic!("{other:?}"),
        }
    };
    // Who knows the key needs no order.
    assert_eq!(knowing(0, Some(first)).await.newest_order, 0);
    // Who enrolled before there was one is told by an order, once.
    knowing(0, None).await;
    let again = knowing(1, None).await;
    assert_eq!(again.newest_order, 1);
    let signed = again.recording.unwrap();
    let order = signed.verify_any(&host.enrolled.trust.order_keys().unwrap()).unwrap();
    assert_eq!((order.recording, order.number.number()), (Some(first), 1));
    assert!(matches!(order.instruction, Instruction::Unlock(_)));

    let made = authority.run(&["keys", "record", "--json"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let second: RecordingKey = made["key"].as_str().unwrap().parse().unwrap();
    assert_ne!(second, first);
    assert_eq!(made["order"], 2);
    assert!(authority.dir.path().join("state/recording.2").exists());
    let welcome = knowing(2, Some(first)).await;
    assert_eq!((welcome.newest_order, welcome.recording.is_some()), (2, true));
    assert!(knowing(2, Some(second)).await.recording.is_none());
    assert!(authority.run(&["ledger", "verify"]).contains("the state is what the entries say"));
}
