//! What is no certificate: each broken rule by its name, and whether OpenSSH refuses it too.

use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use wire::certificate::{Certificate, MAX_BYTES, Malformed, OptionFlaw};
use wire::key::KeyFlaw;
use wire::signature::SignatureFlaw;

use super::desk::{Desk, rsa, string};

/// The parts of a certificate, each as it stands on the wire.
#[derive(Clone)]
struct Parts {
    name: &'static [u8],
    /// After its name.
    subject: Vec<u8>,
    kind: u32,
    key_id: Vec<u8>,
    principals: Vec<u8>,
    critical: Vec<u8>,
    extensions: Vec<u8>,
    authority: Vec<u8>,
    signature: Option<Vec<u8>>,
    after: &'static [u8],
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn strings(texts: &[&[u8]]) -> Vec<u8> {
    let mut to = Vec::new();
    for text in texts {
        string(&mut to, text);
    }
    to
}

impl Parts {
    fn good() -> Self {
        let point = key(9).public_key().key_data().ed25519().unwrap().0;
        Self {
            name: b"ssh-ed25519-cert-v01@openssh.com",
            subject: strings(&[&point]),
            kind: 1,
            key_id: b"ana@example.com/g1/7".to_vec(),
            principals: strings(&[b"app@db1"]),
            critical: Vec::new(),
            extensions: strings(&[b"permit-pty", b""]),
            authority: key(1).public_key().to_bytes().unwrap(),
            signature: None,
            after: b"",
        }
    }

    fn bytes(&self) -> Vec<u8> {
        use ssh_key::SigningKey;
        fn sign(key: &impl SigningKey, message: &[u8]) -> Vec<u8> {
            key.try_sign(message).unwrap().try_into().unwrap()
        }
        let mut bytes = strings(&[self.name, &[7; 32]]);
        bytes.extend(&self.subject);
        bytes.extend(7_u64.to_be_bytes());
        bytes.extend(self.kind.to_be_bytes());
        bytes.extend(strings(&[&self.key_id, &self.principals]));
        bytes.extend([0_u64.to_be_bytes(), u64::MAX.to_be_bytes()].concat());
        bytes.extend(strings(&[&self.critical, &self.extensions, b"", &self.authority]));
        let signature = self.signature.clone().unwrap_or_else(|| sign(&key(1), &bytes));
        string(&mut bytes, &signature);
        bytes.extend(self.after);
        bytes
    }
}

fn line(name: &[u8], bytes: &[u8]) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("{} {base64}", String::from_utf8(name.to_vec()).unwrap())
}

/// A certificate of another type, with the key after its name.
fn certified(name: &'static [u8], blob: &[u8], plain: usize) -> Parts {
    Parts { name, subject: blob[4 + plain..].to_vec(), ..Parts::good() }
}

fn many(count: u32) -> Vec<u8> {
    let names: Vec<String> = (0..count).map(|number| format!("app@db{number}")).collect();
    strings(&names.iter().map(String::as_bytes).collect::<Vec<_>>())
}

type Broken = Vec<(&'static str, Parts, Malformed)>;

fn broken_text() -> Broken {
    let good = Parts::good;
    let with_key_id = |text: &[u8]| Parts { key_id: text.to_vec(), ..good() };
    let with_principals = |principals: &[u8]| Parts { principals: principals.to_vec(), ..good() };
    let (named, short) = (Malformed::Type, Malformed::Short);
    let (critical, extensions) = (strings(&[b"force-command"]), strings(&[b"permit-pty"]));
    vec![
        ("after it", Parts { after: b"x", ..good() }, Malformed::Trailing),
        ("kind", Parts { kind: 3, ..good() }, Malformed::Kind(3)),
        ("257 principals", with_principals(&many(257)), Malformed::Principals),
        ("NUL within", with_key_id(b"ana\0x"), Malformed::Nul("key id")),
        ("NUL in a name", with_principals(&strings(&[b"ro\0ot"])), Malformed::Nul("principal")),
        ("half a principal", with_principals(b"\0\0\0\x09root"), short.clone()),
        ("half an option", Parts { critical, ..good() }, short.clone()),
        ("half an extension", Parts { extensions, ..good() }, short),
        ("a plain key", Parts { name: b"ssh-ed25519", ..good() }, named("ssh-ed25519".into())),
        (
            "another type",
            Parts { name: b"ssh-dss-cert-v01@openssh.com", ..good() },
            named("ssh-dss-cert-v01@openssh.com".into()),
        ),
    ]
}

fn broken_signatures() -> Broken {
    let good = Parts::good;
    let by = |authority: &[u8]| Parts { authority: authority.to_vec(), ..good() };
    let signed = |parts: &[&[u8]]| Parts { signature: Some(strings(parts)), ..good() };
    let itself = Certificate::from_bytes(&good().bytes()).unwrap().to_bytes();
    let longer = [good().authority, vec![0]].concat();
    let sha1 = Parts {
        authority: wire::key::to_bytes(&rsa(2048)).unwrap(),
        ..signed(&[b"ssh-rsa", &[1; 256]])
    };
    let (authority, signature) = (Malformed::Authority, Malformed::Signature);
    let other = SignatureFlaw::Algorithm("rsa-sha2-512".into());
    vec![
        ("a certificate certifies", by(&itself), authority(KeyFlaw::Certificate)),
        ("more after the authority", by(&longer), authority(KeyFlaw::Trailing)),
        ("no authority", by(b""), authority(KeyFlaw::Short)),
        ("no signature", signed(&[]), signature(SignatureFlaw::Form)),
        ("too short", signed(&[b"ssh-ed25519", &[1; 63]]), signature(SignatureFlaw::Form)),
        ("more after", signed(&[b"ssh-ed25519", &[1; 64], b""]), signature(SignatureFlaw::Form)),
        ("SHA-1", sha1, signature(SignatureFlaw::Sha1)),
        ("another algorithm", signed(&[b"rsa-sha2-512", &[1; 256]]), signature(other)),
    ]
}

fn broken_keys() -> Broken {
    let rsa_key = |e: &[u8], n: &[u8]| {
        certified(b"ssh-rsa-cert-v01@openssh.com", &strings(&[b"ssh-rsa", e, n]), 7)
    };
    let positive = |length| [&[0][..], &vec![0x81; length]].concat();
    let long = wire::key::to_bytes(&rsa(16_392)).unwrap();
    let p256 = |first: u8, rest: usize| {
        let point = [&[first][..], &vec![1; rest]].concat();
        let blob = strings(&[b"ecdsa-sha2-nistp256", b"nistp256", &point]);
        certified(b"ecdsa-sha2-nistp256-cert-v01@openssh.com", &blob, 19)
    };
    let subject = Malformed::Subject;
    vec![
        ("weak RSA", rsa_key(&[1, 0, 1], &positive(128)), subject(KeyFlaw::WeakRsa(1024))),
        (
            "long RSA",
            certified(b"ssh-rsa-cert-v01@openssh.com", &long, 7),
            subject(KeyFlaw::LongRsa(16_392)),
        ),
        ("even exponent", rsa_key(&[2], &positive(256)), subject(KeyFlaw::Exponent)),
        ("negative modulus", rsa_key(&[1, 0, 1], &[0x81; 256]), subject(KeyFlaw::Form)),
        ("off the curve", p256(4, 64), subject(KeyFlaw::Point)),
        ("compressed", p256(2, 32), subject(KeyFlaw::Point)),
    ]
}

#[test]
fn each_broken_rule_is_named_and_openssh_refuses_it_too() {
    let desk = Desk::new();
    let good = Parts::good();
    assert!(desk.list(&line(good.name, &good.bytes())).status.success());
    let broken = [broken_text(), broken_signatures(), broken_keys()];
    for (what, parts, flaw) in broken.into_iter().flatten() {
        let bytes = parts.bytes();
        assert_eq!(Certificate::from_bytes(&bytes), Err(flaw), "{what}");
        // With its defaults sshd refuses SHA-1 as well, and takes RSA from 1024 bits on; ssh-keygen only reads.
        let ours_alone = ["SHA-1", "weak RSA", "even exponent"].contains(&what);
        let listed = desk.list(&line(parts.name, &bytes)).status;
        assert!(ours_alone || !listed.success(), "OpenSSH reads it: {what}");
    }
}

#[test]
fn a_name_that_c_would_cut_off_is_refused_though_openssh_reads_it() {
    let desk = Desk::new();
    for parts in [
        Parts { key_id: b"ana\0".to_vec(), ..Parts::good() },
        Parts { principals: strings(&[b"root\0"]), ..Parts::good() },
    ] {
        let bytes = parts.bytes();
        assert!(matches!(Certificate::from_bytes(&bytes), Err(Malformed::Nul(_))));
        assert!(desk.list(&line(parts.name, &bytes)).status.success());
    }
}

#[test]
fn a_certificate_signed_with_sha1_by_ssh_keygen_is_refused() {
    let desk = Desk::new();
    desk.pair("ca", "rsa", "2048");
    desk.pair("user", "ed25519", "256");
    let made = desk.keygen(&["-q", "-s", "ca", "-t", "ssh-rsa", "-I", "x", "-n", "a", "user.pub"]);
    assert!(made.status.success(), "{made:?}");
    let text = std::fs::read_to_string(desk.path("user-cert.pub")).unwrap();
    assert_eq!(Certificate::from_openssh(&text), Err(Malformed::Signature(SignatureFlaw::Sha1)));
}

#[test]
fn options_out_of_order_and_there_twice_are_read_as_openssh_reads_them() {
    let desk = Desk::new();
    let command = strings(&[b"id"]);
    let parts = Parts {
        critical: strings(&[
            b"source-address",
            b"\0\0\0\x0810.0.0.0",
            b"force-command",
            &command,
            b"force-command",
            &command,
        ]),
        extensions: strings(&[b"z@x", b"any", b"permit-pty", b"", b"permit-pty", b"", b"a@x", b""]),
        ..Parts::good()
    };
    let bytes = parts.bytes();
    let read = Certificate::from_bytes(&bytes).unwrap();
    assert_eq!(read.verify_signature(), Ok(()));
    assert_eq!(read.as_bytes(), bytes);
    assert_eq!(read.critical().text("force-command"), Err(OptionFlaw::Twice));
    assert_eq!(read.critical().text("source-address"), Ok(Some(&b"10.0.0.0"[..])));
    assert_eq!(read.extensions().flag("permit-pty"), Err(OptionFlaw::Twice));
    assert_eq!(read.extensions().text("z@x"), Err(OptionFlaw::NotText));
    assert_eq!(read.extensions().flag("z@x"), Err(OptionFlaw::NotFlag));
    assert_eq!(read.extensions().flag("a@x"), Ok(true));
    assert_eq!(read.extensions().flag("none"), Ok(false));
    let listed = desk.list(&read.to_openssh());
    assert!(listed.status.success());
    assert_eq!(listed.stdout, super::listing::listing("listed-cert.pub", &read));
}

#[test]
fn a_certificate_longer_than_any_is_not_looked_at() {
    let bytes = vec![0; MAX_BYTES + 1];
    assert_eq!(Certificate::from_bytes(&bytes), Err(Malformed::Length(MAX_BYTES + 1)));
    let text = "a".repeat(MAX_BYTES * 2);
    assert_eq!(Certificate::from_openssh(&text), Err(Malformed::Length(MAX_BYTES * 2)));
}

#[test]
fn a_line_is_type_certificate_and_comment() {
    let good = Parts::good();
    let text = line(good.name, &good.bytes());
    let read = Certificate::from_openssh(&text).unwrap();
    assert_eq!(read.to_openssh(), text);
    for fine in [format!("{text} ana@laptop and more\n"), format!("{text}\r\n")] {
        assert_eq!(Certificate::from_openssh(&fine), Ok(read.clone()));
    }
    let base64 = text.split(' ').nth(1).unwrap();
    for (wrong, flaw) in [
        (
            format!("ssh-rsa-cert-v01@openssh.com {base64}"),
            Malformed::Announced("ssh-rsa-cert-v01@openssh.com".into()),
        ),
        (base64.to_owned(), Malformed::Line),
        (format!("{text}\n{text}"), Malformed::Line),
        (format!("x {base64}="), Malformed::Line),
        (String::new(), Malformed::Line),
    ] {
        assert_eq!(Certificate::from_openssh(&wrong), Err(flaw), "{wrong}");
    }
}

#[test]
fn cut_anywhere_it_is_no_certificate() {
    let bytes = Parts::good().bytes();
    for length in 0..bytes.len() {
        assert!(Certificate::from_bytes(&bytes[..length]).is_err(), "{length}");
    }
}
