//! The host's SSH certificates: which there are, when the next ones are asked for, and whether what comes is theirs.
//! Pure, except for its rooms: the files, and sshd.

use std::time::Duration;

use ssh_key::PublicKey;
use wire::certificate::{Certificate, Kind, fingerprint};
use wire::identifier::{Fingerprint, HostName};
use wire::problem::{Code, Problem};
use wire::renewal::{Standing, Window};
use wire::time::{Timestamp, Uptime};

use crate::clock::Now;

pub mod disk;
pub mod offer;

/// An SSH key of the host, as sshd has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// The name of its file: `ssh_host_ed25519_key`.
    pub name: String,
    /// Its public half.
    pub key: PublicKey,
}

/// A certificate that lies ready for sshd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The name of its key's file.
    pub name: String,
    /// The key that it certifies.
    pub key: Fingerprint,
    /// Its life.
    pub window: Window,
}

/// A certificate that came, for one of the host's keys.
#[derive(Debug, Clone)]
pub struct Fitting {
    /// The name of its key's file.
    pub name: String,
    /// Itself.
    pub certificate: Certificate,
}

/// How it stands with the host's certificates.
#[derive(Debug, Default)]
pub struct Renewal {
    held: Vec<Held>,
    /// The keys that were asked for, and when.
    asked: Option<(Vec<HostKey>, Uptime)>,
    /// No ask before this, after one that failed.
    not_before: Option<Uptime>,
    /// The authority said that what the certificates say has changed.
    urged: bool,
    /// Why the next ones do not come.
    refusal: Option<String>,
    /// Why sshd does not offer those that are there.
    hidden: Option<String>,
}

impl Renewal {
    /// The state of a host with these certificates.
    #[must_use]
    pub fn of(held: Vec<Held>) -> Self {
        Self { held, ..Self::default() }
    }

    /// Whether certificates for `keys` are to be asked for now.
    #[must_use]
    pub fn is_due(&self, keys: &[HostKey], now: Now) -> bool {
        let waits = |at: Uptime| now.up.since(at) < PATIENCE;
        if self.asked.as_ref().is_some_and(|(_, at)| waits(*at)) {
            return false;
        }
        if self.not_before.is_some_and(|before| now.up < before) {
            return false;
        }
        let current = |key: &HostKey| {
            let print = fingerprint(key.key.key_data());
            self.held.iter().any(|held| {
                held.name == key.name && held.key == print && now.at < held.window.due()
            })
        };
        self.urged || !keys.iter().all(current)
    }

    /// An ask for these keys is on its way.
    pub fn asked(&mut self, keys: Vec<HostKey>, up: Uptime) {
        self.asked = Some((keys, up));
        self.urged = false;
    }

    /// Nobody will answer any more: the connection has gone.
    pub fn unanswered(&mut self) {
        if self.asked.take().is_some() {
            self.urged = true;
        }
    }

    /// The authority wants an ask now.
    pub fn urge(&mut self) {
        self.urged = true;
        self.not_before = None;
    }

    /// Whether the certificates that came are for the keys that were asked for, each for its own, by one of
    /// `authorities` where they are known. An answer that nobody waits for is none.
    ///
    /// # Errors
    /// What is wrong with them; nothing of them is used then.
    pub fn fitting(
        &self,
        lines: &[String],
        (host, authorities): (&HostName, &[PublicKey]),
    ) -> Result<Vec<Fitting>, String> {
        let (keys, _) = self.asked.as_ref().ok_or("nobody asked for certificates")?;
        if lines.len() != keys.len() {
            return Err(format!("{} certificates came for {} keys", lines.len(), keys.len()));
        }
        let fit = |(key, line): (&HostKey, &String)| {
            let said = |why: String| format!("the certificate for {}: {why}", key.name);
            let certificate =
                Certificate::from_openssh(line).map_err(|flaw| said(flaw.to_string()))?;
            match flaw(&certificate, &key.key, (host, authorities)) {
                Some(flaw) => Err(said(flaw)),
                None => Ok(Fitting { name: key.name.clone(), certificate }),
            }
        };
        keys.iter().zip(lines).map(fit).collect()
    }

    /// The certificates that came are on the disk.
    pub fn renewed(&mut self, held: Vec<Held>) {
        *self = Self { held, urged: self.urged, hidden: self.hidden.take(), ..Self::default() };
    }

    /// No certificates came, and why.
    pub fn refused(&mut self, problem: &Problem, up: Uptime) {
        self.failed(format!("the authority refused: {problem}"), up);
        if problem.code == Code::Busy {
            // It certified this host a moment ago; what has changed since then must not wait for an hour.
            self.urged = true;
            self.not_before = Some(up.after(SOON));
        }
    }

    /// Asking or keeping failed.
    pub fn failed(&mut self, why: String, up: Uptime) {
        let pause = self.held.iter().map(|held| held.window.pause()).min();
        self.asked = None;
        self.not_before = Some(up.after(pause.unwrap_or(FIRST_PAUSE)));
        self.refusal = Some(why);
    }

    /// sshd offers them all, or why not.
    pub fn offered(&mut self, offered: Result<(), String>) {
        self.hidden = offered.err();
    }

    /// Whether sshd is known not to offer them.
    #[must_use]
    pub const fn is_hidden(&self) -> bool {
        self.hidden.is_some()
    }

    /// The certificates.
    #[must_use]
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// How it stands, for the authority and for whoever asks here.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let until = self.held.iter().map(|held| held.window.until).min();
        let problem = self.refusal.as_ref().or(self.hidden.as_ref()).cloned();
        Standing { until, problem }
    }
}

impl Held {
    /// What is kept of a certificate for the key in the file `name`.
    #[must_use]
    pub fn of(name: String, certificate: &Certificate) -> Self {
        let at = Timestamp::from_secs;
        let window = Window::of(at(certificate.valid_after()), at(certificate.valid_before()));
        Self { name, key: fingerprint(certificate.subject()), window }
    }
}

fn flaw(
    certificate: &Certificate,
    key: &PublicKey,
    (host, authorities): (&HostName, &[PublicKey]),
) -> Option<String> {
    let names_host =
        certificate.principals().iter().any(|name| name.as_bytes() == host.as_str().as_bytes());
    let known = |key: &PublicKey| key.key_data() == certificate.authority();
    if certificate.kind() != Kind::Host {
        Some("it is not a host's".into())
    } else if certificate.subject() != key.key_data() {
        Some("it certifies another key".into())
    } else if !names_host {
        Some(format!("it is not for {host}"))
    } else if !authorities.is_empty() && !authorities.iter().any(known) {
        Some("another authority signed it".into())
    } else {
        certificate.verify_signature().err().map(|flaw| flaw.to_string())
    }
}

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause after the authority was asked too soon.
const SOON: Duration = Duration::from_secs(3);
/// The pause after a failure on a host that has no certificate yet.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::PrivateKey;
    use ssh_key::certificate::{Builder, CertType};
    use ssh_key::private::Ed25519Keypair;

    const ISSUED: u64 = 1_000_000;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn host_key(seed: u8) -> HostKey {
        HostKey { name: "ssh_host_ed25519_key".into(), key: key(seed).public_key().clone() }
    }

    fn line(kind: CertType, seed: u8, name: &str) -> String {
        let public = key(seed).public_key().clone();
        let mut builder = Builder::new([7; 32], public, ISSUED - 3600, ISSUED + 900).unwrap();
        builder.cert_type(kind).unwrap().valid_principal(name).unwrap();
        builder.sign(&key(9)).unwrap().to_openssh().unwrap()
    }

    fn held(seed: u8) -> Vec<Held> {
        let certificate = line(CertType::Host, seed, "db1").parse().unwrap();
        vec![Held::of("ssh_host_ed25519_key".into(), &certificate)]
    }

    fn at(secs: u64) -> Now {
        let up = Uptime::from_nanos(secs.saturating_mul(1_000_000_000));
        Now { at: Timestamp::from_secs(ISSUED.saturating_add(secs)), up }
    }

    #[test]
    fn two_thirds_of_a_life_make_it_due_and_so_does_another_key() {
        let renewal = Renewal::of(held(1));
        assert!(!renewal.is_due(&[host_key(1)], at(599)));
        assert!(renewal.is_due(&[host_key(1)], at(600)));
        assert!(renewal.is_due(&[host_key(2)], at(1)), "the key was replaced");
        let other = HostKey { name: "ssh_host_rsa_key".into(), ..host_key(1) };
        assert!(renewal.is_due(&[host_key(1), other], at(1)), "a key was added");
        assert!(Renewal::default().is_due(&[host_key(1)], at(1)), "there is none");
    }

    #[test]
    fn one_ask_at_a_time_and_a_pause_after_a_refusal() {
        let mut renewal = Renewal::of(held(1));
        let keys = [host_key(1)];
        renewal.asked(keys.to_vec(), at(600).up);
        assert!(!renewal.is_due(&keys, at(629)));
        assert!(renewal.is_due(&keys, at(630)), "nobody answered");
        let no = Problem::new(Code::Denied, "locked");
        renewal.refused(&no, at(630).up);
        assert_eq!(renewal.standing().problem.as_deref(), Some("the authority refused: locked"));
        assert!(!renewal.is_due(&keys, at(638)));
        assert!(renewal.is_due(&keys, at(639)), "a hundredth of its life later");
        renewal.renewed(held(1));
        assert_eq!(renewal.standing().problem, None);
        assert!(!renewal.is_due(&keys, at(1)));
        renewal.urge();
        assert!(renewal.is_due(&keys, at(1)), "the authority wants it");
    }

    #[test]
    fn who_asked_too_soon_asks_again_soon() {
        let mut renewal = Renewal::of(held(1));
        renewal.urge();
        renewal.asked(vec![host_key(1)], at(1).up);
        renewal.refused(&Problem::new(Code::Busy, "a moment ago"), at(1).up);
        assert!(!renewal.is_due(&[host_key(1)], at(3)));
        assert!(renewal.is_due(&[host_key(1)], at(4)));
    }

    #[test]
    fn an_ask_that_a_connection_took_with_it_is_made_again() {
        let mut renewal = Renewal::of(held(1));
        renewal.urge();
        renewal.asked(vec![host_key(1)], at(1).up);
        assert!(!renewal.is_due(&[host_key(1)], at(2)));
        renewal.unanswered();
        assert!(renewal.is_due(&[host_key(1)], at(2)));
    }

    #[test]
    fn only_certificates_for_our_keys_and_our_name_are_kept() {
        let host: HostName = "db1".parse().unwrap();
        let ours = [key(9).public_key().clone()];
        let mut renewal = Renewal::default();
        let good = line(CertType::Host, 1, "db1");
        assert!(renewal.fitting(std::slice::from_ref(&good), (&host, &ours)).is_err(), "unasked");
        renewal.asked(vec![host_key(1)], at(1).up);
        let fits = |line: &str| renewal.fitting(&[line.to_owned()], (&host, &ours));
        assert_eq!(fits(&good).unwrap()[0].name, "ssh_host_ed25519_key");
        for (line, why) in [
            (line(CertType::User, 1, "db1"), "it is not a host's"),
            (line(CertType::Host, 2, "db1"), "another key"),
            (line(CertType::Host, 1, "db2"), "not for db1"),
            ("ssh-ed25519 AAAA".to_owned(), "the certificate for ssh_host_ed25519_key: "),
        ] {
            let said = fits(&line).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        let theirs = [key(8).public_key().clone()];
        assert!(renewal.fitting(std::slice::from_ref(&good), (&host, &theirs)).is_err());
        assert!(renewal.fitting(&[], (&host, &ours)).is_err());
    }
}
