//! The witness against logs that grow, lie, go back and race.

use tlog_tiles::{HashReader, prove_tree, stored_hashes, tree_hash};
use wire::log::{Checkpoint, Hash};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const LOG: &str = "ca.example.com/ledger";

#[derive(Default)]
struct Log(Vec<tlog_tiles::Hash>);

impl HashReader for Log {
    fn read_hashes(&self, at: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(at.iter().map(|at| self.0[usize::try_from(*at).unwrap()]).collect())
    }
}

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn log_key() -> LogKey {
    LogKey::new(LOG.parse().unwrap(), pair().public_key().as_ref().try_into().unwrap())
}

impl Log {
    fn new(size: u64, word: &str) -> Self {
        let mut log = Self::default();
        for entry in 0..size {
            let bytes = format!("{} {entry}", if entry < 5 { "same" } else { word });
            let hashes = stored_hashes(entry, bytes.as_bytes(), &log).unwrap();
            log.0.extend(hashes);
        }
        log
    }

    fn note(&self, size: u64) -> Note {
        let head = Head { size, root: Hash(tree_hash(size, self).unwrap().0) };
        let text = Checkpoint { origin: LOG.into(), head }.text();
        let line = log_key().line(pair().sign(text.as_bytes()).as_ref().try_into().unwrap());
        Note::new(text, vec![line]).unwrap()
    }

    fn submission(&self, old: u64, new: u64) -> String {
        let path =
            if old == 0 || old > new { Vec::new() } else { prove_tree(new, old, self).unwrap() };
        let lines: String = path.iter().map(|hash| format!("{}\n", Hash(hash.0))).collect();
        format!("old {old}\n{lines}\n{}", self.note(new))
    }
}

fn witness() -> (tempfile::TempDir, Witness) {
    let dir = tempfile::tempdir().unwrap();
    Witness::create(dir.path(), &"w1.example.com".parse().unwrap()).unwrap();
    let again = Witness::create(dir.path(), &"w1.example.com".parse().unwrap());
    assert!(matches!(again, Err(WitnessError::Exists(_))));
    let witness = Witness::open(dir.path(), vec![log_key()]).unwrap();
    (dir, witness)
}

#[test]
fn what_continues_is_cosigned_and_what_does_not_is_refused_as_the_protocol_says() {
    let (dir, witness) = witness();
    let (log, fork) = (Log::new(60, "entry"), Log::new(60, "other"));
    let add = |body: &str| witness.add(body, NOW).unwrap();
    let Answer::Cosigned(line) = add(&log.submission(0, 10)) else { panic!() };
    let policy =
        Policy { logs: vec![log_key()], witnesses: vec![witness.key().clone()], quorum: 1 };
    let attested = policy.attest(log.note(10).with([line]).unwrap()).unwrap();
    assert_eq!(attested.cosigned()[0].at, NOW);
    assert!(matches!(add(&log.submission(0, 20)), Answer::Conflict(10)));
    assert!(matches!(add(&log.submission(9, 20)), Answer::Conflict(10)));
    assert!(matches!(add(&fork.submission(10, 20)), Answer::Inconsistent));
    assert!(matches!(add(&fork.submission(10, 10)), Answer::Conflict(10)));
    assert!(matches!(add(&log.submission(10, 10)), Answer::Cosigned(_)));
    assert!(matches!(add(&log.submission(10, 9)), Answer::Malformed(_)), "the old is larger");
    assert!(matches!(add(&log.submission(10, 40)), Answer::Cosigned(_)));
    // Known after a restart as before.
    let again = Witness::open(dir.path(), vec![log_key()]).unwrap();
    assert!(matches!(again.add(&log.submission(10, 50), NOW).unwrap(), Answer::Conflict(40)));
    assert!(matches!(again.add(&log.submission(40, 50), NOW).unwrap(), Answer::Cosigned(_)));
}

#[test]
fn strangers_and_junk_are_told_apart() {
    let (dir, witness) = witness();
    let log = Log::new(20, "entry");
    let good = log.submission(0, 10);
    let add = |body: &str| witness.add(body, NOW).unwrap();
    assert!(matches!(add(&good.replace(LOG, "other.example.com/log")), Answer::Unknown));
    let other = Witness::open(dir.path(), vec![LogKey::new(LOG.parse().unwrap(), [9; 32])]);
    assert!(matches!(other.unwrap().add(&good, NOW).unwrap(), Answer::Unsigned));
    for junk in [
        String::new(),
        good.replace("old 0", "old 00"),
        good.replace("old 0", "old +0"),
        good.replace("old 0", "size 0"),
        good.replace("\n\n", "\n"),
        format!("old 0\n{}\n{}", "x\n", log.note(10)),
        format!("old 0\n{}\n{}", format!("{}\n", Hash::of(b"")).repeat(64), log.note(10)),
    ] {
        assert!(matches!(add(&junk), Answer::Malformed(_)), "{junk:?}");
    }
    assert!(matches!(add(&good), Answer::Cosigned(_)));
}

#[test]
fn of_two_at_once_only_one_continues() {
    let (_dir, witness) = witness();
    let (log, fork) = (Log::new(60, "entry"), Log::new(60, "other"));
    witness.add(&log.submission(0, 5), NOW).unwrap();
    let cosigned: usize = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|turn| {
                let from = if turn % 2 == 0 { &log } else { &fork };
                let witness = &witness;
                scope.spawn(move || witness.add(&from.submission(5, 30), NOW).unwrap())
            })
            .collect();
        tries
            .into_iter()
            .filter(|_| true)
            .map(|one| usize::from(matches!(one.join().unwrap(), Answer::Cosigned(_))))
            .sum()
    });
    assert_eq!(cosigned, 1);
}
