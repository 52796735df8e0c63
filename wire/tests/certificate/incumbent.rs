//! The corpus: every subject by every authority with every set of options, as user and as host certificate.

use std::collections::BTreeMap;

use ssh_key::public::KeyData;
use wire::certificate::{Certificate, Checked, Draft, FOREVER, Kind};
use wire::identifier::Serial;
use wire::time::Timestamp;

use super::desk::{Authority, Desk};
use super::listing::listing;

/// Options as `ssh-keygen` takes them and as a draft has them.
struct Set {
    arguments: &'static [&'static str],
    critical: &'static [(&'static str, &'static str)],
    extensions: &'static [(&'static str, &'static str)],
    is_for_hosts: bool,
}

const SETS: [Set; 5] = [
    Set { arguments: &["-O", "clear"], critical: &[], extensions: &[], is_for_hosts: true },
    Set {
        arguments: &[],
        critical: &[],
        extensions: &[
            ("permit-pty", ""),
            ("permit-user-rc", ""),
            ("permit-X11-forwarding", ""),
            ("permit-agent-forwarding", ""),
            ("permit-port-forwarding", ""),
        ],
        is_for_hosts: false,
    },
    Set {
        arguments: &[
            "-O",
            "clear",
            "-O",
            "force-command=env A=b,c \"run it\"",
            "-O",
            "source-address=10.0.0.0/8,2001:db8::/32",
            "-O",
            "verify-required",
            "-O",
            "no-touch-required",
            "-O",
            "permit-pty",
        ],
        critical: &[
            ("verify-required", ""),
            ("source-address", "10.0.0.0/8,2001:db8::/32"),
            ("force-command", "env A=b,c \"run it\""),
        ],
        extensions: &[("permit-pty", ""), ("no-touch-required", "")],
        is_for_hosts: false,
    },
    Set {
        arguments: &["-O", "clear", "-O", "source-address=0.0.0.0/0"],
        critical: &[("source-address", "0.0.0.0/0")],
        extensions: &[],
        is_for_hosts: false,
    },
    Set {
        arguments: &[
            "-O",
            "clear",
            "-O",
            "extension:role@curfew.internal=deploy",
            "-O",
            "extension:flag@example.com",
            "-O",
            "extension:Text@example.com=two\nlines ü",
        ],
        critical: &[],
        extensions: &[
            ("role@curfew.internal", "deploy"),
            ("flag@example.com", ""),
            ("Text@example.com", "two\nlines ü"),
        ],
        is_for_hosts: true,
    },
];

/// What one certificate says, beside its subject and its options.
struct Said {
    serial: u64,
    key_id: &'static str,
    principals: Vec<String>,
    window: (u64, u64),
}

fn usual(kind: Kind) -> Said {
    let principals: &[&str] = match kind {
        Kind::User => &["app@db1", "root@db1"],
        Kind::Host => &["db1", "db1.example.com", "10.0.0.1", "2001:db8::1"],
    };
    Said {
        serial: 7,
        key_id: "ana@example.com/g1/7",
        principals: principals.iter().map(ToString::to_string).collect(),
        window: (1_700_000_000, 1_700_000_900),
    }
}

fn draft(kind: Kind, subject: &KeyData, said: &Said, set: &Set) -> Checked {
    let owned = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let draft = Draft {
        kind,
        subject: subject.clone(),
        serial: Serial::try_new(said.serial).unwrap(),
        key_id: said.key_id.into(),
        principals: said.principals.clone(),
        valid_after: Timestamp::from_secs(said.window.0),
        valid_before: Timestamp::from_secs(said.window.1),
        critical: owned(set.critical),
        extensions: owned(set.extensions),
    };
    draft.check().unwrap()
}

/// `ssh-keygen -s`
fn theirs(
    desk: &Desk,
    (kind, subject): (Kind, &str),
    ca: &[&str],
    said: &Said,
    set: &Set,
) -> Certificate {
    let serial = said.serial.to_string();
    let window = format!("{:#x}:{:#x}", said.window.0, said.window.1);
    let (principals, file) = (said.principals.join(","), format!("{subject}.pub"));
    let mut arguments = vec!["-q"];
    arguments.extend(ca);
    arguments.extend(["-I", said.key_id, "-n", &principals, "-z", &serial, "-V", &window]);
    if kind == Kind::Host {
        arguments.push("-h");
    }
    arguments.extend(set.arguments);
    arguments.push(&file);
    let made = desk.keygen(&arguments);
    assert!(made.status.success(), "{arguments:?}: {made:?}");
    read(desk, subject)
}

fn read(desk: &Desk, subject: &str) -> Certificate {
    let text = std::fs::read_to_string(desk.path(&format!("{subject}-cert.pub"))).unwrap();
    let certificate: Certificate = text.parse().unwrap();
    assert_eq!(certificate.verify_signature(), Ok(()));
    certificate
}

/// Ours for the same, signed by the ssh-agent under their nonce.
fn ours(desk: &Desk, checked: Checked, authority: &Authority, nonce: &[u8]) -> Certificate {
    let nonce = nonce.try_into().unwrap();
    let to_be_signed = checked.to_be_signed(nonce, &authority.key).unwrap();
    let signature = desk.sign(authority, to_be_signed.as_bytes());
    to_be_signed.finish(&signature).unwrap().into_certificate()
}

fn assert_listed_as_read(desk: &Desk, certificate: &Certificate) {
    let listed = desk.list(&certificate.to_openssh());
    assert!(listed.status.success(), "{listed:?}");
    let expected = listing("listed-cert.pub", certificate);
    let (listed, expected) =
        (String::from_utf8_lossy(&listed.stdout), String::from_utf8_lossy(&expected));
    assert_eq!(listed, expected);
}

#[test]
fn every_subject_authority_and_option_is_byte_for_byte_what_ssh_keygen_makes() {
    let desk = Desk::with_agent();
    let (subjects, authorities) = (desk.subjects(), desk.authorities());
    let mut count = 0;
    for (name, subject) in &subjects {
        for authority in &authorities {
            for (kind, set) in [Kind::User, Kind::Host]
                .into_iter()
                .flat_map(|kind| SETS.iter().map(move |set| (kind, set)))
            {
                if kind == Kind::Host && !set.is_for_hosts {
                    continue;
                }
                let said = usual(kind);
                let ca: Vec<&str> =
                    [Some(["-s", authority.name]), authority.algorithm.map(|name| ["-t", name])]
                        .into_iter()
                        .flatten()
                        .flatten()
                        .collect();
                let theirs = theirs(&desk, (kind, name), &ca, &said, set);
                let ours = ours(&desk, draft(kind, subject, &said, set), authority, theirs.nonce());
                assert_eq!(
                    ours.to_be_signed(),
                    theirs.to_be_signed(),
                    "{name} by {}",
                    authority.name
                );
                assert_eq!(ours.signature().algorithm().as_str(), authority.signs_as());
                assert_listed_as_read(&desk, &ours);
                count += 1;
            }
        }
    }
    assert_eq!(count, 10 * 6 * 7);
}

#[test]
fn a_certificate_by_an_ssh_agent_reads_as_any_other() {
    let desk = Desk::with_agent();
    desk.pair("user", "ed25519", "256");
    for authority in desk.authorities() {
        let public = format!("{}.pub", authority.name);
        let mut ca = vec!["-U", "-s", public.as_str()];
        ca.extend(authority.algorithm.map(|name| ["-t", name]).into_iter().flatten());
        let made = theirs(&desk, (Kind::User, "user"), &ca, &usual(Kind::User), &SETS[2]);
        assert_eq!(*made.authority(), authority.key);
        assert_eq!(made.signature().algorithm().as_str(), authority.signs_as());
        assert_listed_as_read(&desk, &made);
    }
}

#[test]
fn the_edges_are_the_same_ones() {
    let desk = Desk::with_agent();
    let subject = desk.pair("user", "ed25519", "256");
    let authority = &desk.authorities()[0];
    let long = "a".repeat(253);
    let many: Vec<String> =
        (1..=256).map(|number| format!("app@host-{number}.example.com")).collect();
    let cases = [
        Said { serial: u64::MAX, ..usual(Kind::User) },
        Said { serial: 1 << 63, key_id: "x", ..usual(Kind::User) },
        Said { principals: many, ..usual(Kind::User) },
        Said { principals: vec![long], ..usual(Kind::User) },
        Said { window: (0, 1), ..usual(Kind::User) },
        Said {
            key_id: "a/b:c=d@e._-f",
            window: (4_102_444_799, 4_102_444_800),
            ..usual(Kind::User)
        },
    ];
    for said in cases {
        let theirs = theirs(&desk, (Kind::User, "user"), &["-s", authority.name], &said, &SETS[0]);
        let ours =
            ours(&desk, draft(Kind::User, &subject, &said, &SETS[0]), authority, theirs.nonce());
        assert_eq!(ours.to_be_signed(), theirs.to_be_signed());
        assert_eq!(ours.serial(), said.serial);
        assert_listed_as_read(&desk, &ours);
    }
}

#[test]
fn whatever_ssh_keygen_signs_is_read_though_we_would_not_sign_it() {
    let desk = Desk::new();
    desk.pair("ca", "ed25519", "256");
    desk.pair("user", "ed25519", "256");
    let cases: [&[&str]; 10] = [
        &["-I", "no expiry, no principal"],
        &["-I", "", "-n", "a"],
        &["-I", "x", "-V", "always:forever", "-z", "0"],
        &["-I", "x", "-V", "+1w:forever"],
        &["-I", "x", "-V", "always:+1w"],
        &["-I", "a \"quoted\"\nline\x1b[2J", "-n", "*,a b,ü"],
        &["-I", "x", "-O", "critical:unknown@example.com=1", "-O", "critical:flag@example.com"],
        &["-I", "x", "-O", "extension:e@example.com=", "-O", "extension:UPPER"],
        &["-I", "x", "-h", "-n", "*.example.com,db1"],
        &["-I", "x", "-O", "force-command=a=b\nc"],
    ];
    for arguments in cases {
        let all = [&["-q", "-s", "ca"], arguments, &["user.pub"]].concat();
        let made = desk.keygen(&all);
        assert!(made.status.success(), "{all:?} {made:?}");
        assert_listed_as_read(&desk, &read(&desk, "user"));
    }
    assert_eq!(read(&desk, "user").valid_before(), FOREVER);
}

#[test]
fn a_key_id_that_is_no_text_is_kept_byte_for_byte() {
    use std::os::unix::ffi::OsStrExt as _;
    let desk = Desk::new();
    desk.pair("ca", "ed25519", "256");
    desk.pair("user", "ed25519", "256");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-s"])
        .arg(desk.path("ca"))
        .arg("-I")
        .arg(std::ffi::OsStr::from_bytes(b"\xff\xfeana\xc3"))
        .arg(desk.path("user.pub"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let certificate = read(&desk, "user");
    assert_eq!(certificate.key_id().as_bytes(), b"\xff\xfeana\xc3");
    assert_listed_as_read(&desk, &certificate);
}
