//! Writes the seeds: a few real values for each target. `cargo run --example seeds` in `fuzz/`.

use std::error::Error;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use curfew_fuzz::{NOW, certificate, key, raw, seal};
use serde::Serialize;
use wire::channel::{ChannelId, End};
use wire::frame::encode;
use wire::gate::{Answer, Login, Question};
use wire::hostlink::{Enrol, Heartbeat, Hello, ToAuthority, ToHost, Welcome};
use wire::identifier::{Fingerprint, OrderNumber, RecordNumber, Serial, SessionId};
use wire::key_request::{CONSENT, KeyApproval, KeyRequestAsk, KeyWish, POSSESSION, SignedWish};
use wire::krl::signed::SignedKrl;
use wire::krl::{Issuer, Krl};
use wire::lock::{Lock, Subject, Target};
use wire::log::Hash;
use wire::octets::Octets;
use wire::order::{Instruction, Order};
use wire::problem::{Code, Problem};
use wire::record::{
    AgentStarted, EndReason, Event, Exec, Receipt, Record, SessionBegan, SessionEnded, Steps, Tier,
};
use wire::recording::batch::Gatherer;
use wire::recording::block::Chain;
use wire::recording::lane::Part;
use wire::recording::record::{Begin, Content, Lost, Size, Term, Why};
use wire::recording::seal::{OpeningKey, Sealer};
use wire::recording::statement::{BlockSaid, Said, Signed};
use wire::recording::stored::{Piece, Place, StoredBlock};
use wire::spool::cover::{NOTHING, SignedCover};
use wire::spool::seal::{Packer, Sealer as RecordSealer};
use wire::time::Uptime;

#[path = "seeds/breakglass.rs"]
mod letters;

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    orders()?;
    frames()?;
    certificates()?;
    keys()?;
    names()?;
    kernel()?;
    files()?;
    requests()?;
    lists()?;
    recordings()?;
    reading()?;
    tokens()?;
    directory()?;
    letters::seeds()?;
    backups()?;
    agent_replies()
}

fn put(target: &str, name: &str, bytes: impl AsRef<[u8]>) -> Done {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&dir)?;
    Ok(fs::write(dir.join(name), bytes)?)
}

fn reading() -> Done {
    put(
        "search",
        "words",
        r#"exec:rm,shred path:/etc who:ana -host:db1 since:7d "access denied""#,
    )?;
    put("search", "moments", "since:2026-11-30T06:30 until:90s uid:0 kind:refused arg:*shadow*")?;
    let shown = b"\x50\x18\x10$ ls\r\n\x1b[1;31mred\x1b[0m\x1b[?1049h\x1b[2J\x1b[H\xe6\xbc\xa2\x1b]52;c;eA==\x07";
    put("screen", "shell", shown)
}

fn backups() -> Done {
    let files: [(&str, &[u8]); 4] = [
        ("ledger.db", b"SQLite format 3\0"),
        ("ca.toml", b"names = [\"ca.example.com\"]\n"),
        ("policy/10-freeze.cedar", b"permit (principal, action, resource);\n"),
        ("state/user_ca.slot", b"ssh-ed25519 AAAA\n"),
    ];
    let listed = files.map(|(name, content)| {
        serde_json::json!({ "name": name, "bytes": content.len(), "sha256": Hash::of(content) })
    });
    let note = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/log/note");
    let manifest = serde_json::json!({
        "format": "curfew-backup",
        "version": 2,
        "at": 1_796_000_000_000_u64,
        "program": "0.1.0",
        "origin": "example.com/log",
        "fingerprint": Fingerprint::of(b"key").to_string(),
        "checkpoint": fs::read_to_string(note)?,
        "log_keys": [],
        "files": listed,
        "left_out": [{ "key": "root_key.pem", "whereabouts": "plain_file" }],
    });
    let manifest = serde_json::to_vec(&manifest)?;
    let mut tar = tar::Builder::new(Vec::new());
    let whole = [("manifest.json", manifest.as_slice())].into_iter().chain(files);
    for (name, content) in whole {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o600);
        header.set_size(u64::try_from(content.len())?);
        tar.append_data(&mut header, name, content)?;
    }
    put("backup", "whole", tar.into_inner()?)
}

fn tokens() -> Done {
    let signer = key(3);
    let public = signer.public_key().key_data().ed25519().ok_or("an Ed25519 key")?;
    let x = URL_SAFE_NO_PAD.encode(public.0);
    let keys = format!(
        r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"a","alg":"EdDSA","x":"{x}"}}]}}"#
    );
    let of = |name: &str, claims: &str| {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"a","typ":"JWT"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = raw(&signer, signed.as_bytes())?;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_bytes()));
        put("token", name, [token.as_bytes(), b"\0", keys.as_bytes()].concat())
    };
    let times = r#""iat":1799999990,"exp":1800000600"#;
    of(
        "person",
        &format!(
            r#"{{"iss":"https://a","aud":"b","sub":"ana","nonce":"n","amr":["mfa"],{times}}}"#
        ),
    )?;
    of(
        "workload",
        &format!(
            r#"{{"iss":"https://a","aud":["b"],"sub":"repo:x","ref":"main","jti":"7",{times}}}"#
        ),
    )?;
    put("token", "device", b"\0{\"device_code\":\"d\",\"user_code\":\"U-1\",\"verification_uri\":\"https://a/d\",\"expires_in\":600,\"interval\":5}")?;
    put(
        "token",
        "granted",
        b"\0{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"id_token\":\"a.b.c\"}",
    )?;
    put("token", "provider", b"\0{\"issuer\":\"https://a\",\"token_endpoint\":\"https://a/t\",\"jwks_uri\":\"https://a/k\"}")
}

fn directory() -> Done {
    const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0";
    const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
    let of = |name, text: &str, body: &str| {
        put("scim", name, [text.as_bytes(), b"\0", body.as_bytes()].concat())
    };
    let user = format!(
        r#"{{"schemas":["{CORE}:User"],"userName":"ana@example.com","externalId":"7","displayName":"Ana","active":true}}"#
    );
    of("user", r#"userName eq "ana@example.com""#, &user)?;
    let group = format!(
        r#"{{"schemas":["{CORE}:Group"],"displayName":"dba","members":[{{"value":"1"}},{{"value":"2"}}]}}"#
    );
    of("group", r#"displayName eq "dba""#, &group)?;
    let patch =
        |operations: &str| format!(r#"{{"schemas":["{PATCH}"],"Operations":[{operations}]}}"#);
    of("user-patch", "meta.version", &patch(r#"{"op":"replace","path":"active","value":false}"#))?;
    let members = r#"{"op":"add","path":"members","value":[{"value":"3"}]},{"op":"remove","path":"members[value eq \"1\"]"}"#;
    of("group-patch", "displayName,members", &patch(members))
}

fn requests() -> Done {
    let sign = r#"{"signed":{"approval":"{}","signature":"-----BEGIN SSH SIGNATURE-----"}}"#;
    let asked = r#"{"version":1,"authority":"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU","request":42,"identity":"ana","role":"dba","logins":["postgres"],"hosts":["db1"],"duration_secs":3600,"use_within_secs":900,"reason":"stuck","urgent":false,"at":1800000000000,"expires":1800003600000}"#;
    let approval = r#"{"version":1,"authority":"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU","request":42,"hash":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","by":"bob","duration_secs":60,"policy":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","at":1,"until":2}"#;
    put(
        "request",
        "ask",
        r#"{"role":"dba","hosts":["db1"],"reason":"stuck","start":1800000000000}"#,
    )?;
    put("request", "sign", sign)?;
    put("request", "asked", asked)?;
    put("request", "approval", approval)?;
    let said = r#"{"version":1,"authority":"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU","by":"ana","text":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","at":1800000000000}"#;
    put("behaviour", "said", said)?;
    put("behaviour", "ask", sign.replace("approval", "acknowledgement"))?;
    put("risk_weights", "shipped", risk::DEFAULT)?;
    let small = "version = 1\nname = 'mine'\npilot = ['dba']\nlearn_until = '2026-11-01T00:00:00Z'\n[relief]\non_call = 5\nfloor = 20\n[factor.hosts]\npoints = 9\nfull = 3\n";
    put("risk_weights", "small", small)?;
    put("tracker", "theirs", r#"{"exists":true,"open":true,"assigned_to":"ana@example.com"}"#)?;
    put("tracker", "closed", r#"{"exists":true,"open":false,"assigned_to":null}"#)?;
    key_requests()
}

fn key_requests() -> Done {
    let wish = KeyWish {
        version: wire::VERSION,
        authority: Fingerprint::of(b"root"),
        identity: "ana".parse()?,
        public_key: key(9).public_key().to_openssh()?,
        replaces: None,
        reason: "a new laptop".parse()?,
        at: NOW,
    };
    let text = wish.text()?;
    let seal = |seed: u8, namespace: &str| {
        let seal = key(seed).sign(namespace, ssh_key::HashAlg::Sha512, text.as_bytes())?;
        seal.to_pem(ssh_key::LineEnding::LF)
    };
    let signed = SignedWish { wish: text.clone(), possession: seal(9, POSSESSION)? };
    let ask = KeyRequestAsk { signed, consent: Some(seal(8, CONSENT)?) };
    put("key_request", "ask", serde_json::to_vec(&ask)?)?;
    put("key_request", "wish", &text)?;
    let approval = KeyApproval {
        version: wire::VERSION,
        authority: Fingerprint::of(b"root"),
        request: 7,
        hash: wire::log::Hash::of(text.as_bytes()),
        by: "bob".parse()?,
        at: NOW,
    };
    put("key_request", "approval", approval.text()?)
}

fn lists() -> Done {
    let mut krl = Krl::new(3, NOW);
    put("krl", "empty", krl.encode()?)?;
    let issuer = Issuer::of(key(1).public_key().key_data())?;
    for number in (1..=40).chain([70, 140, 210]).chain((1_000..1_200).step_by(3)) {
        krl.revoke_serial(&issuer, Serial::try_new(number)?);
    }
    put("krl", "serials", krl.encode()?)?;
    krl.revoke_key_id(&Issuer::ANY, "ana@example.com/g1/7")?;
    krl.revoke_key(key(4).public_key().key_data())?;
    krl.revoke_sha1([5; 20]);
    krl.revoke_sha256([6; 32]);
    put("signed_krl", "list", krl.encode()?)?;
    let text = key(4).public_key().to_openssh()?;
    put("signed_krl", "text", format!("# stolen\n{text}\n"))?;
    let bytes = krl.encode()?;
    let order_key = key(2);
    let sign = |message: &[u8]| raw(&order_key, message);
    let signed = SignedKrl::sign((3, &bytes), order_key.public_key(), sign)?;
    put("signed_krl", "announced", serde_json::to_string(&signed)?)?;
    put("krl", "every-kind", krl.encode()?)
}

fn order(instruction: Instruction) -> Result<Order, Box<dyn Error>> {
    let number = OrderNumber::try_new(3)?;
    Ok(Order {
        version: wire::VERSION,
        number,
        at: NOW,
        by: "ops@example.com".into(),
        instruction,
        extend: None,
        recording: None,
        watched: None,
        passable: false,
    })
}

fn orders() -> Done {
    let target = Target::Identity("ana@example.com".parse()?);
    let lock = Lock { target: target.clone(), reason: "stolen".into(), until: Some(NOW) };
    for (name, instruction) in
        [("lock", Instruction::Lock(lock)), ("unlock", Instruction::Unlock(target))]
    {
        let order = order(instruction)?;
        put("order", name, serde_json::to_vec(&order)?)?;
        let signed = order.sign(key(2).public_key(), |message| raw(&key(2), message))?;
        put("order", &format!("signed-{name}"), serde_json::to_vec(&signed)?)?;
        put("frame", &format!("order-{name}"), framed(0, &ToHost::Order(signed))?)?;
    }
    Ok(())
}

fn framed<T: Serialize>(kind: u8, value: &T) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = vec![kind, 255];
    bytes.extend(encode(value)?);
    Ok(bytes)
}

fn frames() -> Done {
    let host = "db1".to_owned();
    let hello = Hello {
        version: wire::VERSION,
        agent_version: "0.1.0".into(),
        tier: Tier::Full,
        last_order: 2,
        at: NOW,
        renews: true,
        krl: None,
        tree: None,
        proof: None,
        keys: None,
        era: None,
        recording: None,
    };
    let enrol = Enrol {
        version: 1,
        token: "t".into(),
        csr: "c".into(),
        host_keys: vec![host],
        agent_key: None,
    };
    let order = OrderNumber::try_new(3)?;
    let receipt = Receipt {
        order,
        sessions: 1,
        killed: 4,
        survivors: 0,
        took_micros: 9,
        done: true,
        kills: 0,
    };
    let last_order = Some(order);
    let beat = Heartbeat {
        at: NOW,
        sessions: 1,
        spooled: 2,
        last_order,
        krl: None,
        certificates: None,
        keys: None,
        trouble: None,
        group_keys: None,
    };
    let said = [
        ("enrol", ToAuthority::Enrol(enrol)),
        ("hello", ToAuthority::Hello(hello)),
        ("records", ToAuthority::Records(records()?)),
        ("receipt", ToAuthority::Receipt(receipt)),
        ("heartbeat", ToAuthority::Heartbeat(beat)),
    ];
    for (name, frame) in said {
        put("frame", name, framed(1, &frame)?)?;
    }
    let welcome = Welcome {
        version: 1,
        last_record: 0,
        newest_order: 3,
        at: NOW,
        tree: Some(2),
        challenge: Some("c".into()),
        records: 3,
        era: None,
        recordings: true,
        recording: None,
        sealed: true,
    };
    let refused = Problem::new(Code::Denied, "no");
    for (name, frame) in [
        ("welcome", ToHost::Welcome(welcome)),
        ("acknowledged", ToHost::Acknowledged(RecordNumber::try_new(1)?)),
        ("refused", ToHost::Refused(refused)),
    ] {
        put("frame", name, framed(0, &frame)?)?;
    }
    gate()
}

fn gate() -> Done {
    let login = Login {
        user: Octets::new("app"),
        remote: Octets::new("10.0.0.1"),
        service: Octets::new("sshd"),
    };
    let principals = Question::Principals {
        login: Octets::new("app"),
        key_type: Octets::new("ssh-ed25519-cert-v01@openssh.com"),
        certificate: Octets::new(b"\xff\xfe".to_vec()),
    };
    let open = Question::Open { login: login.clone(), auth_info: Octets::new("password") };
    for (name, question) in [
        ("principals", principals),
        ("account", Question::Account(login)),
        ("open", open),
        ("close", Question::Close),
    ] {
        put("frame", name, framed(2, &question)?)?;
    }
    for (name, answer) in [
        ("names", Answer::Principals(vec!["app@db1".parse()?])),
        ("permit", Answer::Permit),
        ("refuse", Answer::Refuse("no".into())),
    ] {
        put("frame", name, framed(3, &answer)?)?;
    }
    Ok(())
}

fn records() -> Result<Vec<Record>, Box<dyn Error>> {
    let subject = Subject {
        identity: "ana@example.com".parse()?,
        grant: "g1".parse()?,
        serial: "7".parse()?,
        key: Fingerprint::of(b"key"),
        role: "deploy".parse()?,
        login: "app".parse()?,
        host: "db1".parse()?,
        authority: None,
    };
    let began = SessionBegan {
        subject,
        certificate_until: NOW,
        grant_until: NOW,
        remote: "10.0.0.1".into(),
        monitor_pid: 100,
        options: std::collections::BTreeMap::new(),
        limits: wire::limits::Limits::default(),
    };
    let exec = Exec {
        sequence: 1,
        pid: 101,
        parent: 100,
        uid: 1000,
        euid: 1000,
        path: Octets::new("/usr/bin/ls"),
        arguments: vec![Octets::new("ls"), Octets::new(b"\xff".to_vec())],
        cut: 0,
        terminal: Some("pts0".into()),
        nameless: false,
        program: None,
    };
    let ended = SessionEnded {
        reason: EndReason::GrantEnded,
        killed: 2,
        survivors: 0,
        took_micros: 5,
        steps: Some(Box::new(Steps { passes: 2, connection: true, groups: 1, ..Steps::default() })),
    };
    let started = AgentStarted { agent_version: "0.1.0".into(), tier: Tier::Full, adopted: 0 };
    let session: SessionId = "00000000000000a7".parse()?;
    let events = [
        (None, Event::AgentStarted(started)),
        (Some(session), Event::SessionBegan(Box::new(began))),
        (Some(session), Event::Exec(exec)),
        (Some(session), Event::SessionEnded(ended)),
    ];
    let numbered = (1..).zip(events).map(|(number, (session, event))| {
        let number = RecordNumber::try_new(number)?;
        Ok(Record { number, at: NOW, uptime: Uptime::from_nanos(1), session, event })
    });
    numbered.collect()
}

/// What a host says of a kill: signed, bare, and the text alone.
fn kills() -> Done {
    let killed = wire::kill::Killed {
        version: wire::VERSION,
        host: "db1".parse()?,
        session: "00000000000000a7".parse()?,
        reason: EndReason::Locked { order: OrderNumber::try_new(4)?, reason: "left".into() },
        at: NOW,
        took_micros: 41_000,
        marked: true,
        passes: 6,
        killed: wire::record::Tally { connection: 2, group: 3, alone: 4 },
        handed: wire::kill::HandedTally { units: 1, jobs: 2, manager: 3 },
        survivors: 1,
        named: vec![wire::record::Slow { pid: 7, command: Octets::new(b"d\xff".to_vec()) }],
        interrupted: true,
    };
    let (signed, bare) = (killed.sign(Some(&key(9)))?, killed.sign(None)?);
    put("kill", "signed", serde_json::to_vec(&signed)?)?;
    put("kill", "bare", serde_json::to_vec(&bare)?)?;
    put("kill", "text", bare.text)
}

/// A recording of one block, to the key that the target opens with.
fn recordings() -> Done {
    let session: SessionId = "00000000000000a7".parse()?;
    let channel = ChannelId::new(5);
    let size = Size { columns: 80, rows: 24 };
    let begin = Begin { at: NOW, size, term: Term::new("xterm-256color") };
    let mut gatherer = Gatherer::new(begin, Uptime::from_nanos(1));
    for content in [
        Content::Output(b"$ ".to_vec()),
        Content::Input(b"ls\r".to_vec()),
        Content::Hidden(8),
        Content::Size(size),
        Content::Note("watched".into()),
        Content::Loss(Lost { output: 1, input: 2, why: Why::Quota }),
        Content::End(End::Exited),
    ] {
        gatherer.push(Uptime::from_nanos(2), content);
    }
    let batch = gatherer.take_due(Uptime::from_nanos(3)).ok_or("it has ended")?;
    put("recording", "records", &batch.plain)?;
    let opening = OpeningKey::new(&[9; 32]).map_err(|_unspecified| "no key")?;
    let block = Sealer::new(Chain::new(session, channel), opening.public()).seal(&batch)?;
    put("recording", "block", block.bytes())?;
    let host = "db1".parse()?;
    let said = Said::Block(BlockSaid::of(&host, &block));
    let agent_key = key(3);
    let said = Signed::make(&said, agent_key.public_key(), |message| raw(&agent_key, message))?;
    let place = Place { host, session, channel, piece: Piece::Block(1) };
    put("recording", "name", place.to_string())?;
    put("recording", "stored", StoredBlock { block: block.clone(), said: said.clone() }.encode())?;
    let whole = block.bytes().len();
    let part = Part {
        session,
        channel,
        block: 1,
        whole: u32::try_from(whole)?,
        at: 0,
        bytes: Octets::new(block.bytes()),
        said: Some(said),
    };
    put("recording", "parts", serde_json::to_vec(&[part])?)
}

fn certificates() -> Done {
    let certificate = certificate();
    let text = certificate.to_openssh();
    put("certificate", "binary", certificate.as_bytes())?;
    put("certificate", "text", &text)?;
    put(
        "mounts",
        "two",
        "22 1 0:20 / / rw shared:1 - overlay overlay rw\n26 22 254:1 / /srv/a\\040b rw - ext4 /dev/vda1 rw\n",
    )?;
    put("sshd_log", "one", "app\0ana/g1/7")?;
    put("auth_info", "publickey", format!("publickey {text}\napp\0\x03"))?;
    put("auth_info", "password", "password\nkeyboard-interactive/pam\n\x04")?;
    // All good ones: bits of zero are what the derive takes for the first variant.
    put("signed_certificate", "zeros", [0; 64])?;
    put("signed_certificate", "counting", (0..=255).collect::<Vec<u8>>())
}

/// One of each kind; the points are those of P-256, P-384 and P-521 that everybody knows, their generators.
fn keys() -> Done {
    for (name, line) in KEYS {
        let key = wire::key::from_openssh(line)?;
        put("public_key", name, wire::key::to_bytes(key.key_data())?)?;
        put("public_key", &format!("{name}-line"), line)?;
    }
    put("sshsig", "login", seal())
}

fn names() -> Done {
    let fingerprint = Fingerprint::of(b"key").to_string();
    let names = [
        ("identity", "ana@example.com"),
        ("workload", "ci:deploy"),
        ("host", "db1.example.com"),
        ("address", "2001:db8::1"),
        ("label", "env=prod"),
        ("grant", "g17"),
        ("serial", "7"),
        ("session", "00000000000000a7"),
        ("key-id", "ana@example.com/g1/7"),
        ("principal", "app@db1"),
        ("fingerprint", &fingerprint),
    ];
    for (name, text) in names {
        put("identifiers", name, text)?;
    }
    put("octets", "text", "ls -l /tmp")?;
    put("octets", "escape", "\x1b[2J\u{202e}\"")?;
    put("octets", "binary", b"\xff\x00\xfe")?;
    put("octets", "json", r#"{"base64":"//4="}"#)
}

/// As `agent/bpf/session.h` has them.
fn kernel() -> Done {
    let head = |kind: u32| {
        let mut record = Vec::new();
        record.extend(kind.to_ne_bytes());
        record.extend(0_u32.to_ne_bytes());
        for field in [7_u64, 1, 1_500_000_000, 1_230_000_000] {
            record.extend(field.to_ne_bytes());
        }
        for id in [42_u32, 41, 1000, 0] {
            record.extend(id.to_ne_bytes());
        }
        record.extend(padded("bash", 16));
        record
    };
    put("kernel_event", "fork", head(1))?;
    let mut exec = head(2);
    exec.extend(99_u64.to_ne_bytes());
    exec.extend(1234_u64.to_ne_bytes());
    for field in [(8 << 20) | 3, 100, 101, 1000, u32::MAX, 2, 6, 6] {
        exec.extend(field.to_ne_bytes());
    }
    for (text, width) in [("pts0", 64), ("/bin/ls", 256), ("/bin/ls", 256), ("ls\0-l\0", 512)] {
        exec.extend(padded(text, width));
    }
    put("kernel_event", "exec", exec)?;
    let mut exit = head(3);
    exit.extend([0, 3, 0, 0, 0, 0, 0, 0]);
    put("kernel_event", "exit", exit)
}

fn padded(text: &str, width: usize) -> Vec<u8> {
    let mut field = text.as_bytes().to_vec();
    field.resize(width, 0);
    field
}

fn files() -> Done {
    let sample = agent::config::sample("ca.example.com:7443");
    put("agent_config", "sample", &sample)?;
    let settings = agent::config::SETTINGS.iter();
    let lines = settings.map(|setting| {
        format!(
            "{} = {}
",
            setting.key,
            setting.default.unwrap_or("\"ca.example.com:7443\"")
        )
    });
    put("agent_config", "all", lines.collect::<String>())?;
    put("agent_config", "short", "authority = \"ca:7443\"\nwarn_before = [\"5m\", \"10s\"]\n")?;
    put("ca_config", "short", "names = [\"ca.example.com\"]\ncertificate_lifetime = \"15m\"\n")?;
    put(
        "ca_config",
        "listen",
        "listen = \"[::]:7442\"\nbackdate = \"30s\"\nlogin_lifetime = \"1h 30m\"\n",
    )?;
    let role = "[role.deploy]\nmembers = [\"ana@example.com\"]\nlogins = [\"deploy\"]\nhosts = [\"env=prod\"]\nhost_names = [\"db1\"]\ndefault_duration = \"1h\"\nmax_duration = \"4h\"\nabilities = [\"pty\", \"port-forwarding\"]\n";
    let limits = "idle = \"15m\"\ntransfer_idle = \"1h\"\nlongest_session = \"8h\"\nconcurrency = 3\nrecording = { level = \"full\", need = \"required\" }\n[role.deploy.thresholds]\nexecs_per_minute = { alert = 600, kill = 6000 }\nbytes_out = { warn = \"200M\" }\nforbidden = { \"command shutdown -h\" = \"kill\", \"path /etc/ssl/\" = \"alert\" }\n";
    put("roles", "deploy", role)?;
    put("roles", "limits", format!("{role}{limits}"))?;
    put(
        "local_lock",
        "file",
        "identity = \"ana@example.com\"\nreason = \"left\"\nuntil = 2026-05-01T08:00:00Z\n",
    )?;
    put(
        "local_lock",
        "accounts",
        "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/bash\n\nroot:*:19000:0:99999:7:::\napp:!$6$x:19000:0:99999:7::1:\n",
    )?;
    put("limits", "rule", "command shutdown -h")?;
    kills()?;
    put(
        "limits",
        "full",
        "{\"idle_secs\":900,\"recording\":{\"level\":\"full\",\"need\":\"required\"},\"thresholds\":{\"bytes_out\":{\"warn\":209715200},\"forbidden\":{\"path /etc/ssl/\":\"alert\"}}}",
    )?;
    put(
        "login_path",
        "pam",
        "# PAM for sshd\n@include common-auth\naccount required pam_nologin.so\nsession required pam_loginuid.so\n@include common-session\n",
    )?;
    put(
        "login_path",
        "sshd",
        "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\nMatch User x\n  PermitTTY no\n",
    )?;
    put(
        "login_path",
        "effective",
        "trustedusercakeys /etc/ssh/ca.pub\nusepam yes\nOpenSSH_9.2p1\n",
    )?;
    let mut segment = Vec::new();
    for record in records()? {
        serde_json::to_writer(&mut segment, &record)?;
        segment.push(b'\n');
    }
    put("spool", "one", [&[255, 0, 0, 0], segment.as_slice()].concat())?;
    put("spool", "two", [&[200, 3, 0, 1], segment.as_slice()].concat())?;
    let (_, torn) = segment.split_last().ok_or("records are not empty")?;
    put("spool", "torn", [&[255, 2, 0, 0], torn].concat())?;
    sealed()
}

/// A sealed segment, whole and changed.
fn sealed() -> Done {
    let to = OpeningKey::new(&[9; 32])?.public();
    let (mut sealer, cover) = RecordSealer::begin((1, NOTHING), &to)?;
    let mut packer = Packer::new()?;
    let cover = SignedCover { cover, said: None }.encode();
    let mut frames = Vec::new();
    for record in records()? {
        let packed = packer.pack(&serde_json::to_vec(&record)?, record.event.generation())?;
        frames.extend(sealer.seal(packed)?);
    }
    let [low, high] = u16::try_from(cover.len())?.to_le_bytes();
    let whole = [cover, frames].concat();
    let mut changed = whole.clone();
    if let Some(byte) = changed.get_mut(300) {
        *byte ^= 1;
    }
    for (name, bytes) in [("whole", whole), ("changed", changed)] {
        put("sealed", name, [&[0, low, high], bytes.as_slice()].concat())?;
        put("spool", &format!("sealed-{name}"), [&[255, 0, 1, 1], bytes.as_slice()].concat())?;
    }
    Ok(())
}

fn agent_replies() -> Done {
    let blob = key(1).public_key().to_bytes()?;
    let sized = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        [&length.to_be_bytes(), bytes].concat()
    };
    let list = [&[0, 12, 0, 0, 0, 1][..], &sized(&blob), &sized(b"comment")].concat();
    put("ssh_agent", "list", list)?;
    let signature = [sized(b"ssh-ed25519"), sized(&[7; 64])].concat();
    put("ssh_agent", "signed", [&[2, 14][..], &sized(&signature)].concat())?;
    put("ssh_agent", "refused", [0, 5])?;
    put("ssh_agent", "text", STANDARD.encode(&blob))
}

/// Lines of public key files.
const KEYS: [(&str, &str); 7] = [
    (
        "ed25519",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ a comment",
    ),
    (
        "p256",
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU= a comment",
    ),
    (
        "p384",
        "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBKqHyiK+iwU3jrHHHvMgrXRuHTtii6ebmFn3QeCCVCo4VQLyXb9VKWw6VF44cnYKtzYX3kqWJixvXZ6Yv5KS3Cn49B29KJoUfOnaMRO18LjACmCxzh1+gZ16Qx18kOoOXw== a comment",
    ),
    (
        "p521",
        "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBADGhY4GtwQE6c2ePstmI5W0QpxkgTkFP7Uh+CivYGtNPbqhS1537+dZKP4dwSei/6jeM0izwYVqQpv5fn4xwuW9ZgEYOSlqeJo7wARcil+0LH0b2Zj1RElXm0RoF6+9Fyc+ZiyX7nKZXvQmQMVQuQE/rQdhNTxwhqJywkCIvpR2n9FmUA== a comment",
    ),
    (
        "rsa",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQClpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWl a comment",
    ),
    (
        "sk-ed25519",
        "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJAAAABHNzaDo= a comment",
    ),
    (
        "sk-ecdsa",
        "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfUAAAAEc3NoOg== a comment",
    ),
];
