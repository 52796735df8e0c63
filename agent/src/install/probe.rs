//! One login through sshd, from the first question to the last, that can never succeed.
//!
//! sshd runs as it is configured now, but for this one login: on a pipe, not on the network, trusting a throw-away
//! authority, and in a mount namespace of its own where the gate is ours. So every part of the login path does its work
//! (the principals command, its user, its rights, PAM's account and session lines, sshd's own text about the
//! certificate), and the agent, which must not let a throw-away certificate in, does not have to. Our gate refuses
//! the session at the end. Then the real agent is asked through the real helper.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use wire::frame::{Decoder, encode};
use wire::gate::{Answer, MAX_QUESTION, Question};
use wire::identifier::Principal;

use super::host::command;

/// Tries it, and says what was seen.
///
/// # Errors
/// Which part of the login path did not do its work, and what sshd said.
pub(super) fn try_login() -> Result<String, String> {
    let work = tempfile::Builder::new().prefix("curfew-probe-").tempdir_in("/run");
    let work = work.map_err(|error| format!("/run: {error}"))?;
    let certificate = make_certificate(work.path())?;
    let gate = Gate::open(&work.path().join("gate"))
        .map_err(|error| format!("the probe's gate: {error}"))?;
    let (ran_command, said) = log_in(work.path())?;
    let asked = gate.close();
    judge(&asked, &certificate, ran_command).map_err(|what| {
        let short = |line: &str| line.chars().take(SAID_CHARACTERS).collect::<String>();
        let mut tail: Vec<String> = said.lines().rev().take(SAID).map(short).collect();
        tail.reverse();
        format!("{what}; sshd said: {}", tail.join(" | "))
    })?;
    ask_the_agent(&certificate)?;
    Ok("seen: principals command, PAM account, PAM session, sshd's certificate text, the agent's answer".to_owned())
}

/// Whether every question came, in order, and said what it must.
fn judge(asked: &[Question], certificate: &Certificate, ran_command: bool) -> Result<(), String> {
    let shown = |question: &Question| matches!(question, Question::Principals { certificate: shown, .. } if shown.as_bytes() == certificate.blob.as_bytes());
    if !asked.iter().any(shown) {
        return Err("sshd did not ask for principals".to_owned());
    }
    if !asked.iter().any(|question| matches!(question, Question::Account(_))) {
        return Err("PAM's account line did not ask".to_owned());
    }
    let opened = asked.iter().find_map(|question| match question {
        Question::Open { auth_info, .. } => Some(auth_info),
        _ => None,
    });
    let Some(auth_info) = opened else {
        return Err("PAM's session line did not ask".to_owned());
    };
    let text = String::from_utf8_lossy(auth_info.as_bytes()).into_owned();
    if !text.contains(&certificate.blob) {
        return Err("sshd did not tell PAM which certificate was used".to_owned());
    }
    if ran_command {
        return Err("sshd ran a command although PAM refused the session".to_owned());
    }
    Ok(())
}

/// A throw-away certificate as sshd's tokens show it.
struct Certificate {
    kind: String,
    blob: String,
}

fn make_certificate(work: &Path) -> Result<Certificate, String> {
    let path = |name: &str| work.join(name).display().to_string();
    let (authority, key) = (path("authority"), path("key"));
    let key_public = path("key.pub");
    for words in [
        vec!["-q", "-t", "ed25519", "-N", "", "-f", &authority],
        vec!["-q", "-t", "ed25519", "-N", "", "-f", &key],
        vec![
            "-q",
            "-s",
            &authority,
            "-I",
            "curfew-probe",
            "-n",
            PRINCIPAL,
            "-V",
            "-5m:+5m",
            &key_public,
        ],
    ] {
        let output = command("ssh-keygen").args(&words).output();
        let output = output.map_err(|error| format!("ssh-keygen: {error}"))?;
        if !output.status.success() {
            return Err(format!("ssh-keygen: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
    }
    let text = fs::read_to_string(work.join("key-cert.pub")).map_err(|error| error.to_string())?;
    let mut words = text.split_whitespace().map(str::to_owned);
    match (words.next(), words.next()) {
        (Some(kind), Some(blob)) => Ok(Certificate { kind, blob }),
        _ => Err("ssh-keygen wrote no certificate".to_owned()),
    }
}

/// Logs in; gives whether the command ran, and what ssh and sshd said.
fn log_in(work: &Path) -> Result<(bool, String), String> {
    let at = |name: &str| work.join(name).display().to_string();
    // Words of a shell: the paths are ours and hold no blanks.
    let sshd = format!(
        "unshare --mount --propagation private sh -c 'mount --bind {} /run/curfew && exec /usr/sbin/sshd -i -e -o TrustedUserCAKeys={} -o AllowUsers=root -o PermitRootLogin=prohibit-password -o AuthenticationMethods=publickey -o LogLevel=VERBOSE'",
        at("gate"),
        at("authority.pub"),
    );
    let output = command("timeout")
        .args(["--kill-after=2", PATIENCE, "ssh", "-F", "/dev/null", "-T"])
        .args(["-o", &format!("ProxyCommand={sshd}")])
        .args(["-o", &format!("CertificateFile={}", at("key-cert.pub")), "-i", &at("key")])
        .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"])
        .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
        .args(["-o", "GlobalKnownHostsFile=/dev/null", "-o", "ControlPath=none"])
        .args(["root@curfew-probe", "echo", RAN])
        .output()
        .map_err(|error| format!("ssh: {error}"))?;
    let ran_command = String::from_utf8_lossy(&output.stdout).contains(RAN);
    Ok((ran_command, String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// The real agent, by the real helper, as the user that sshd would give it. Whatever the agent says, it must answer.
fn ask_the_agent(certificate: &Certificate) -> Result<(), String> {
    let output = command("setpriv")
        .args(["--reuid", "curfew-gate", "--regid", "curfew-gate", "--clear-groups"])
        .args([super::HELPER, "root", &certificate.kind, &certificate.blob])
        .output()
        .map_err(|error| format!("setpriv: {error}"))?;
    match output.status.code() {
        Some(0) if output.stdout.is_empty() => Ok(()),
        Some(0) => {
            Err("the agent lets in a certificate that no authority of ours signed".to_owned())
        }
        Some(1) => Ok(()),
        _ => Err(format!(
            "the agent did not answer: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// The gate that the probe's sshd finds in `/run/curfew`.
struct Gate {
    path: PathBuf,
    closing: Arc<AtomicBool>,
    hearing: thread::JoinHandle<Vec<Question>>,
}

impl Gate {
    fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        let path = folder.join("gate.sock");
        let listener = UnixListener::bind(&path)?;
        // For curfew-gate. Outside the probe's namespace nobody gets as far: the folder above is root's alone.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        let closing = Arc::new(AtomicBool::new(false));
        let closed = Arc::clone(&closing);
        let hearing = thread::spawn(move || {
            let mut asked = Vec::new();
            for peer in listener.incoming() {
                if closed.load(Ordering::SeqCst) {
                    break;
                }
                // Who breaks off is not heard; the judge misses the question.
                if let Some(question) = peer.ok().and_then(|peer| answer(peer).ok()) {
                    asked.push(question);
                }
            }
            asked
        });
        Ok(Self { path, closing, hearing })
    }

    /// Stops, and gives what was asked.
    fn close(self) -> Vec<Question> {
        self.closing.store(true, Ordering::SeqCst);
        // Wakes the listener. If that fails there is no listener to wake.
        drop(UnixStream::connect(&self.path));
        self.hearing.join().unwrap_or_default()
    }
}

/// Hears one question and answers it: yes to everything but the session itself.
fn answer(mut peer: UnixStream) -> io::Result<Question> {
    peer.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut decoder = Decoder::new(MAX_QUESTION);
    let mut chunk = [0; 4096];
    let question = loop {
        if let Some(question) = decoder.take::<Question>().map_err(io::Error::other)? {
            break question;
        }
        match peer.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => decoder.push(chunk.get(..read).unwrap_or_default()),
        }
    };
    let answer = match &question {
        Question::Principals { .. } => {
            Answer::Principals(vec![Principal::try_new(PRINCIPAL).map_err(io::Error::other)?])
        }
        Question::Account(_) | Question::Close => Answer::Permit,
        Question::Open { .. } | Question::Settle { .. } | Question::Explain { .. } => {
            Answer::Refuse("Curfew: this was a probe".to_owned())
        }
    };
    peer.write_all(&encode(&answer).map_err(io::Error::other)?)?;
    Ok(question)
}

const PRINCIPAL: &str = "root@curfew-probe";
/// What the command would print if it ran.
const RAN: &str = "curfew-probe-ran";
/// Seconds for the whole login; sshd alone takes half of one.
const PATIENCE: &str = "20";
/// Lines of sshd's that an error repeats.
const SAID: usize = 6;
/// Characters of each: some of them hold whole certificates.
const SAID_CHARACTERS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use wire::gate::Login;
    use wire::octets::Octets;

    #[test]
    fn each_missing_question_is_named() {
        let certificate = Certificate { kind: "k".to_owned(), blob: "AAAA".to_owned() };
        let login = Login {
            user: Octets::new("root"),
            remote: Octets::new(""),
            service: Octets::new("sshd"),
        };
        let shown = |blob: &str| Question::Principals {
            login: Octets::new("root"),
            key_type: Octets::new("k"),
            certificate: Octets::new(blob),
        };
        let account = Question::Account(login.clone());
        let open =
            |text: &str| Question::Open { login: login.clone(), auth_info: Octets::new(text) };
        let all = [shown("AAAA"), shown("AAAA"), account.clone(), open("publickey k AAAA\n")];
        assert_eq!(judge(&all, &certificate, false), Ok(()));
        let table: [(&[Question], bool, &str); 6] = [
            (&[], false, "did not ask for principals"),
            (&[shown("BBBB")], false, "did not ask for principals"),
            (&[shown("AAAA")], false, "account line did not ask"),
            (&[shown("AAAA"), account.clone()], false, "session line did not ask"),
            (
                &[shown("AAAA"), account.clone(), open("publickey k FORGED")],
                false,
                "did not tell PAM",
            ),
            (&all, true, "ran a command"),
        ];
        for (asked, ran_command, expected) in table {
            let error = judge(asked, &certificate, ran_command).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
