//! Break-glass with a kit that has expired, and on machines whose clocks are an hour off.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use breakglass::group::Group;
use breakglass::keygen::{Dealing, Kept, Plan};
use breakglass::letter::Letter;
use breakglass::request::Request;
use breakglass::share::Cost;
use breakglass::terms::Terms;
use rand_core::OsRng;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use wire::identifier::Custodian;
use wire::time::Timestamp;

/// Shares of ann and bob, in a group that ends at `expires`.
fn shares(expires: u64) -> Vec<Kept> {
    let names: Vec<Custodian> = ["ann", "bob"].map(|name| name.parse().unwrap()).into();
    let plan = Plan::new(&names, 2, Timestamp::from_secs(expires)).unwrap();
    let split = |all: Vec<(Dealing, Letter)>| -> (Vec<Dealing>, Vec<String>) {
        all.into_iter().map(|(one, letter)| (one, letter.to_string())).unzip()
    };
    let begun = names.iter().map(|name| Dealing::begin(plan.clone(), name, None, &mut OsRng));
    let (mut dealings, letters) = split(begun.map(Result::unwrap).collect());
    for dealing in &mut dealings {
        letters.iter().for_each(|letter| assert!(dealing.take(letter).is_ok()));
    }
    let (mut dealt, letters): (Vec<_>, Vec<_>) =
        dealings.into_iter().map(|one| one.deal().unwrap()).unzip();
    for one in &mut dealt {
        letters.iter().for_each(|letter| assert!(one.take(&letter.to_string()).is_ok()));
    }
    dealt.into_iter().map(|one| one.finish().unwrap()).collect()
}

/// A request to them for half an hour from `from` on, made by somebody else's program.
fn request(group: &Group, from: u64) -> Request {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
    let terms = Terms {
        drill: false,
        incident: "INC-1".parse().unwrap(),
        reason: "all is down".into(),
        hosts: vec!["db1".parse().unwrap()],
        login: "breakglass".parse().unwrap(),
        from: Timestamp::from_secs(from),
        secs: 1_800,
        custodians: ["ann", "bob"].map(|name| name.parse().unwrap()).into(),
        networks: None,
        subject: key.public_key().key_data().clone(),
    };
    Request::new(group, terms, &mut OsRng).unwrap()
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap()
}

fn curfew(dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_curfew"));
    command.arg("breakglass").args(words).current_dir(dir).env("CURFEW_HOME", dir);
    command.stdin(Stdio::null()).output().unwrap()
}

fn refused(dir: &Path, words: &[&str], part: &str) {
    let output = curfew(dir, words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{words:?}");
    assert!(said.contains(part), "{part}: {said}");
}

/// Puts ann's share, the group, and a request into a folder.
fn lay_out(dir: &Path, kept: &[Kept], from: u64) {
    let share = kept[0].share();
    let locked = share.lock("a passphrase for tests", Cost::least(), &mut OsRng).unwrap();
    let owner = fs::Permissions::from_mode(0o600);
    fs::write(dir.join("ann.share"), locked.letter().to_string()).unwrap();
    fs::set_permissions(dir.join("ann.share"), owner.clone()).unwrap();
    fs::write(dir.join("group.txt"), share.group().letter().to_string()).unwrap();
    fs::write(dir.join("request.txt"), request(share.group(), from).letter().to_string()).unwrap();
    let secret = dir.join("passphrase");
    fs::write(&secret, "a passphrase for tests\n").unwrap();
    fs::set_permissions(&secret, owner).unwrap();
    fs::create_dir_all(dir.join("stick")).unwrap();
}

const SIGN: [&str; 11] = [
    "sign",
    "--share",
    "ann.share",
    "--request",
    "request.txt",
    "--exchange",
    "stick",
    "--agree",
    "0000",
    "--passphrase-file",
    "passphrase",
];
const ASK: [&str; 13] = [
    "request",
    "--group",
    "group.txt",
    "--host",
    "db1",
    "--incident",
    "INC-1",
    "--reason",
    "r",
    "--custodian",
    "ann",
    "--custodian",
    "bob",
];

#[test]
fn an_expired_kit_asks_for_nothing_and_signs_nothing_and_says_what_to_look_for() {
    let dir = tempfile::tempdir().unwrap();
    lay_out(dir.path(), &shares(1_700_000_000), now());
    refused(dir.path(), &ASK, "this group expired");
    refused(dir.path(), &SIGN, "Look for the newer kit");
    assert!(fs::read_dir(dir.path().join("stick")).unwrap().next().is_none(), "nothing was given");
    let shown = curfew(dir.path(), &["show", "group.txt"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("expires    2023-11-14"), "{shown:?}");
}

#[test]
fn a_clock_that_is_an_hour_off_is_told_or_does_no_harm() {
    let kept = shares(now() + 86_400);
    // This machine is an hour ahead of whoever asks: what is asked for ended half an hour ago by its clock.
    let dir = tempfile::tempdir().unwrap();
    lay_out(dir.path(), &kept, now() - 3_600);
    refused(dir.path(), &SIGN, "seconds ago by this machine's clock");
    // It is an hour behind: it goes on, to where the code is compared, and says both moments.
    lay_out(dir.path(), &kept, now() + 3_600);
    refused(dir.path(), &SIGN, "--agree CODE says something else");
    let shown = curfew(dir.path(), &["show", "request.txt"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("(in "), "{shown}");
    // A day and more: somebody's clock is wrong, and it says so.
    lay_out(dir.path(), &kept, now() + 100_000);
    refused(dir.path(), &SIGN, "seconds from now by this machine's clock");
}
