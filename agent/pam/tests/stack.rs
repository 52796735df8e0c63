//! The built module inside a real PAM stack, beside a gate that behaves well or badly. Needs root and pamtester.
#![cfg(feature = "pam-tests")]
#![expect(clippy::disallowed_methods, reason = "tests measure how long was waited")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a whole file of tests")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use wire::frame::{Decoder, encode};
use wire::gate::{Answer, Question};

const CERTIFICATE: &str = "publickey ssh-ed25519-cert-v01@openssh.com AAAA";

#[test]
fn a_permitted_login_is_asked_for_opened_and_closed() {
    let gate = Gate::answering(vec![Answer::Permit, Answer::Permit, Answer::Permit]);
    let tried = gate.stack("").login(CERTIFICATE, &["acct_mgmt", "open_session", "close_session"]);
    assert!(tried.ok, "{tried:?}");
    let asked = gate.asked();
    let [Question::Account(login), Question::Open { login: again, auth_info }, Question::Close] =
        asked.as_slice()
    else {
        panic!("{asked:?}");
    };
    assert_eq!(login, again);
    assert_eq!(login.user.as_bytes(), b"root");
    assert_eq!(login.remote.as_bytes(), b"192.0.2.7");
    assert!(login.service.as_bytes().starts_with(b"curfew-test-"));
    assert_eq!(auth_info.as_bytes(), CERTIFICATE.as_bytes());
}

#[test]
fn a_login_outside_goes_on_and_its_end_is_not_told() {
    let gate = Gate::answering(vec![Answer::Outside, Answer::Outside]);
    let tried = gate.stack("").login("password", &["acct_mgmt", "open_session", "close_session"]);
    assert!(tried.ok, "{tried:?}");
    assert_eq!(gate.asked().len(), 2);
}

#[test]
fn a_refusal_is_shown_and_stops_the_login() {
    for phase in ["acct_mgmt", "open_session"] {
        let line = "Curfew: ana@example.com is locked\x1b[2J".to_owned();
        let gate = Gate::answering(vec![Answer::Refuse(line)]);
        let tried = gate.stack("agent_down=outside").login(CERTIFICATE, &[phase]);
        assert!(!tried.ok, "{phase}: {tried:?}");
        assert!(tried.text.contains("Curfew: ana@example.com is locked [2J"), "{tried:?}");
    }
}

#[test]
fn a_gate_that_misbehaves_is_no_yes() {
    let table: [fn(UnixStream); 5] = [
        |_| {},
        |mut peer| write(&mut peer, b"HTTP/1.1 200 OK\r\n\r\n"),
        |mut peer| write(&mut peer, b"\xff\xff\xff\xff{}"),
        |mut peer| write(&mut peer, b"\0\0\0\x04true"),
        |mut peer| write(&mut peer, &encode(&Answer::Principals(vec![])).unwrap()),
    ];
    for act in table {
        for phase in ["acct_mgmt", "open_session"] {
            let gate = Gate::that(act);
            assert!(!gate.stack("").login("password", &[phase]).ok);
            assert!(!gate.stack("agent_down=refuse").login("password", &[phase]).ok);
            assert!(gate.stack("agent_down=outside").login("password", &[phase]).ok);
        }
        let gate = Gate::that(act);
        assert!(!gate.stack("agent_down=outside").login(CERTIFICATE, &["open_session"]).ok);
    }
}

#[test]
fn a_silent_gate_costs_two_seconds_and_no_more() {
    let gate = Gate::that(|mut peer| {
        // Until the other side leaves.
        peer.read_to_end(&mut Vec::new()).unwrap();
    });
    let tried = gate.stack("").login("password", &["acct_mgmt"]);
    assert!(!tried.ok);
    assert!(tried.took > Duration::from_millis(1_900), "{tried:?}");
    assert!(tried.took < Duration::from_millis(2_700), "{tried:?}");
}

#[test]
fn a_gate_that_root_does_not_hold_is_not_believed() {
    let gate = Gate::held_by_nobody();
    let tried = gate.stack("").login(CERTIFICATE, &["acct_mgmt"]);
    assert!(!tried.ok, "{tried:?}");
}

#[test]
fn an_absent_gate_refuses_unless_the_line_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let gate_path = dir.path().join("absent.sock");
    assert!(!Stack::new("", &gate_path).login("password", &["acct_mgmt"]).ok);
    let open = Stack::new("agent_down=outside", &gate_path);
    assert!(open.login("password", &["acct_mgmt", "open_session", "close_session"]).ok);
    assert!(open.login(CERTIFICATE, &["acct_mgmt"]).ok, "account cannot know; session refuses");
    assert!(!open.login(CERTIFICATE, &["open_session"]).ok);
}

#[test]
fn an_argument_that_is_not_understood_refuses_all() {
    let gate = Gate::answering(vec![Answer::Permit, Answer::Permit]);
    for phase in ["acct_mgmt", "open_session"] {
        assert!(!gate.stack("agent_down=maybe").login(CERTIFICATE, &[phase]).ok);
    }
}

fn write(peer: &mut UnixStream, bytes: &[u8]) {
    peer.write_all(bytes).unwrap();
}

/// A socket where an agent should be.
struct Gate {
    dir: tempfile::TempDir,
    asked: Receiver<Question>,
}

impl Gate {
    /// Answers in turn, one question a connection.
    fn answering(answers: Vec<Answer>) -> Self {
        let mut answers = answers.into_iter();
        Self::that(move |mut peer| {
            let answer = answers.next().unwrap_or_else(|| Answer::Refuse("not planned".to_owned()));
            peer.write_all(&encode(&answer).unwrap()).unwrap();
        })
    }

    /// Hears one question a connection, then does `act`.
    fn that(mut act: impl FnMut(UnixStream) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("gate.sock")).unwrap();
        let (heard, asked) = channel();
        thread::spawn(move || {
            for peer in listener.incoming() {
                let mut peer = peer.unwrap();
                if heard.send(hear(&mut peer)).is_err() {
                    return;
                }
                act(peer);
            }
        });
        Self { dir, asked }
    }

    /// A helpful gate whose listener is not root.
    fn held_by_nobody() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let path = dir.path().join("gate.sock");
        let (_, asked) = channel();
        let (ready, is_ready) = channel();
        thread::spawn(move || {
            // This thread alone: the kernel keeps credentials by task.
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
            let listener = UnixListener::bind(path).unwrap();
            ready.send(()).unwrap();
            for peer in listener.incoming() {
                // The other side may have left already, as it should.
                drop(peer.unwrap().write_all(&encode(&Answer::Permit).unwrap()));
            }
        });
        is_ready.recv().unwrap();
        Self { dir, asked }
    }

    fn stack(&self, arguments: &str) -> Stack {
        Stack::new(arguments, &self.dir.path().join("gate.sock"))
    }

    fn asked(&self) -> Vec<Question> {
        self.asked.try_iter().collect()
    }
}

fn hear(peer: &mut UnixStream) -> Question {
    let mut decoder = Decoder::new(wire::gate::MAX_QUESTION);
    let mut chunk = [0; 4096];
    loop {
        if let Some(question) = decoder.take().unwrap() {
            return question;
        }
        let read = peer.read(&mut chunk).unwrap();
        decoder.push(&chunk[..read]);
    }
}

/// A PAM service of its own with our module in front; removed when dropped.
struct Stack {
    name: String,
}

impl Stack {
    fn new(arguments: &str, gate_path: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("curfew-test-{}-{number}", std::process::id());
        let module =
            format!("{} {arguments} socket={}", module_path().display(), gate_path.display());
        let text = format!(
            "account required {module}\naccount required pam_permit.so\nsession required {module}\nsession required pam_permit.so\n"
        );
        fs::write(Path::new("/etc/pam.d").join(&name), text).unwrap();
        Self { name }
    }

    fn login(&self, auth_info: &str, phases: &[&str]) -> Tried {
        let began = Instant::now();
        let output = Command::new("pamtester")
            .arg(format!("-ESSH_AUTH_INFO_0={auth_info}"))
            .args(["-I", "rhost=192.0.2.7", &self.name, "root"])
            .args(phases)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Tried { ok: output.status.success(), text, took: began.elapsed() }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        fs::remove_file(Path::new("/etc/pam.d").join(&self.name)).unwrap();
    }
}

#[derive(Debug)]
struct Tried {
    ok: bool,
    text: String,
    took: Duration,
}

/// `libpam_curfew.so`, built here: cargo builds no cdylib for tests.
fn module_path() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built =
            Command::new(env!("CARGO")).args(["build", "--quiet", "-p", "curfew-pam"]).status();
        assert!(built.unwrap().success());
        let test_path = std::env::current_exe().unwrap();
        test_path.ancestors().nth(2).unwrap().join("libpam_curfew.so")
    })
}
