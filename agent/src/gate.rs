//! Who is let in: the decisions of the login path, pure.
//!
//! sshd asks three times (docs/sshd-behaviour.md): `AuthorizedPrincipalsCommand` shows a certificate, without proof
//! that its holder has the key (*seen*); PAM's account phase asks whether the login may go on; PAM's session phase
//! brings the certificate that was really used. The three are joined by sshd's monitor, a process that the kernel
//! names and that a person on the host cannot choose.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ssh_key::PublicKey;
use wire::certificate::{Certificate, Facts, Malformed, Refusal};
use wire::gate::used_certificate;
use wire::hostlink::ProofMode;
use wire::identifier::{Fingerprint, HostName, Login, Principal};
use wire::lock::Lock;
use wire::log::{Attested, EXTENSION};
use wire::octets::Octets;
use wire::record::{Dispute, Event, Incident, Refused, Refuser};
use wire::time::Uptime;

use crate::clock::Now;
use crate::proof::{Proofs, Standing};
use crate::revocation::Revocation;
use crate::session::Monitor;
use crate::witness::{Weight, Witness};

/// What the gate measures logins against.
#[derive(Debug)]
pub struct Rules<'a> {
    /// This host.
    pub host: &'a HostName,
    /// Keys that sign user certificates.
    pub authorities: &'a [PublicKey],
    /// Locks in force.
    pub revocation: &'a Revocation,
    /// What is asked of a certificate's proof.
    pub proofs: &'a Proofs,
    /// What is known of the ledger.
    pub witness: &'a Witness,
    /// Logins that are not under our authority.
    pub others: Others,
}

/// What becomes of logins that are not under our authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They pass, and are recorded.
    Allow,
    /// They are refused.
    Refuse,
}

/// What the gate says. Nothing of a session exists before [`Verdict::Permit`] has been acted upon.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Yes, under our authority.
    Permit(Box<Admission>),
    /// It is none of ours, and host policy lets it pass.
    Outside,
    /// It is none of ours, and host policy lets in only ours.
    Shut,
}

/// Whom the gate lets in.
#[derive(Debug, PartialEq, Eq)]
pub struct Admission {
    /// What the certificate says.
    pub facts: Facts,
    /// The tree in which it stands; it must be remembered before anybody is let in on it.
    pub tree: Option<Box<Attested>>,
    /// What a host would have refused it for that requires proofs.
    pub despite: Option<Box<No>>,
}

/// Whom the gate does not let in, and what must be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct No {
    /// The record of it.
    pub refused: Refused,
    /// Whether it is more than a refusal.
    pub trouble: Trouble,
}

/// What a refusal may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing more.
    None,
    /// Somebody signs with our authority's key what the ledger does not hold.
    Unproved,
    /// The ledger's key signed two trees of which one must be false.
    Fork(Box<Dispute>),
}

impl No {
    /// What is recorded.
    #[must_use]
    pub fn event(self, admitted: bool) -> Event {
        match self.trouble {
            Trouble::Unproved => {
                Event::Incident(Box::new(Incident::Unproved { attempt: self.refused, admitted }))
            }
            Trouble::None | Trouble::Fork(_) => Event::Refused(self.refused),
        }
    }
}

/// A certificate as sshd showed it, before any proof that its holder has the key.
#[derive(Debug, Clone)]
struct Seen {
    bytes: Vec<u8>,
    login: Vec<u8>,
    at: Uptime,
}

/// The certificates that each of sshd's monitors has shown; bounded in number and age.
#[derive(Debug, Default)]
pub struct Book {
    seen: BTreeMap<(i32, u64), Vec<Seen>>,
    /// Monitors of whose connection something has been said: let in, or refused.
    decided: BTreeSet<(i32, u64)>,
}

impl Book {
    /// Answers `AuthorizedPrincipalsCommand`: the principals that open `login` with this certificate, and what
    /// to record when there are none.
    ///
    /// # Errors
    /// Why the certificate opens nothing.
    pub fn show(
        &mut self,
        rules: &Rules<'_>,
        monitor: Monitor,
        shown: &Shown,
        now: Now,
    ) -> Result<Vec<Principal>, Box<No>> {
        let facts = shown.judge(rules, now)?.facts;
        self.tidy(now.up);
        let login = shown.login.as_bytes().to_vec();
        let entry = Seen { bytes: shown.bytes.clone(), login, at: now.up };
        let of_monitor = self.seen.entry((monitor.pid, monitor.start_ticks)).or_default();
        if !of_monitor.iter().any(|seen| seen.bytes == entry.bytes && seen.login == entry.login) {
            if of_monitor.len() >= MAX_CERTIFICATES {
                return Err(shown.refused("too many certificates were offered in one connection"));
            }
            of_monitor.push(entry);
        }
        let principal = Principal::of(&facts.subject.login, &facts.subject.host);
        principal.map(|name| vec![name]).map_err(|error| shown.refused(error))
    }

    /// Answers PAM's account phase. It cannot know yet which method the login used; a certificate that was seen and
    /// opens nothing any more refuses it all the same.
    ///
    /// # Errors
    /// The record of a certificate that opens nothing any more.
    pub fn account(
        &self,
        rules: &Rules<'_>,
        monitor: Monitor,
        (login, remote): (&Octets, &str),
        now: Now,
    ) -> Result<Verdict, Box<No>> {
        let mut refusal = None;
        for seen in self.of(monitor).iter().filter(|seen| seen.login == login.as_bytes()) {
            let shown = Shown::new(login.clone(), seen.bytes.clone(), remote.to_owned());
            match shown.judge(rules, now) {
                Ok(admission) => return Ok(Verdict::Permit(Box::new(admission))),
                Err(refused) => refusal = Some(refused),
            }
        }
        refusal.map_or_else(|| Ok(outside(rules)), Err)
    }

    /// Answers PAM's session phase, from the certificate that sshd says was used. It must be the very one that this
    /// monitor showed: a certificate that was never shown did not come through our gate.
    ///
    /// # Errors
    /// The record of a certificate that opens nothing.
    pub fn open(
        &self,
        rules: &Rules<'_>,
        monitor: Monitor,
        attempt: &Attempt,
        now: Now,
    ) -> Result<Verdict, Box<No>> {
        let Some(bytes) = used_certificate(attempt.auth_info.as_bytes()) else {
            return Ok(outside(rules));
        };
        let shown = Shown::new(attempt.login.clone(), bytes, attempt.remote.clone());
        let ours = shown.certificate.as_ref().is_ok_and(|certificate| {
            rules.authorities.iter().any(|key| key.key_data() == certificate.authority())
        });
        // One that was seen was ours then: a key that ends meanwhile does not make it somebody else's.
        let seen = self.of(monitor).iter().any(|seen| seen.bytes == shown.bytes);
        if !ours && !seen {
            return Ok(outside(rules));
        }
        if !seen {
            return Err(shown.refused("it was not shown to the gate before it was used"));
        }
        shown.judge(rules, now).map(|admission| Verdict::Permit(Box::new(admission)))
    }

    /// Forgets a monitor whose connection is over.
    pub fn forget(&mut self, monitor: Monitor) {
        self.seen.remove(&(monitor.pid, monitor.start_ticks));
        self.decided.remove(&(monitor.pid, monitor.start_ticks));
    }

    fn of(&self, monitor: Monitor) -> &[Seen] {
        self.seen.get(&(monitor.pid, monitor.start_ticks)).map_or(&[], Vec::as_slice)
    }

    /// Drops what no login can need any more, and the oldest monitors beyond the limit.
    fn tidy(&mut self, now: Uptime) {
        self.seen
            .retain(|_, of_monitor| of_monitor.iter().any(|seen| now.since(seen.at) < MAX_AGE));
        while self.seen.len() >= MAX_MONITORS {
            let newest = |of_monitor: &[Seen]| of_monitor.iter().map(|seen| seen.at).max();
            let oldest =
                self.seen.iter().min_by_key(|(_, seen)| newest(seen)).map(|(monitor, _)| *monitor);
            match oldest {
                Some(monitor) => drop(self.seen.remove(&monitor)),
                None => break,
            }
        }
        self.decided.retain(|monitor| self.seen.contains_key(monitor));
    }
}

/// What PAM's session phase brings.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The unix account.
    pub login: Octets,
    /// The client's address.
    pub remote: String,
    /// PAM's `SSH_AUTH_INFO_0`.
    pub auth_info: Octets,
}

/// A certificate that someone offers for a login.
#[derive(Debug)]
pub struct Shown {
    /// The unix account.
    pub login: Octets,
    remote: String,
    bytes: Vec<u8>,
    certificate: Result<Certificate, Malformed>,
}

impl Shown {
    /// The certificate in its binary form, offered for `login`.
    #[must_use]
    pub fn new(login: Octets, bytes: Vec<u8>, remote: String) -> Self {
        let certificate = Certificate::from_bytes(&bytes);
        Self { login, remote, bytes, certificate }
    }

    fn judge(&self, rules: &Rules<'_>, now: Now) -> Result<Admission, Box<No>> {
        let certificate = self
            .certificate
            .as_ref()
            .map_err(|error| self.refused(format!("it cannot be read: {error}")))?;
        let login = std::str::from_utf8(self.login.as_bytes())
            .map_err(|error| self.refused(error))
            .and_then(|text| Login::try_new(text).map_err(|error| self.refused(error)))?;
        let facts =
            wire::certificate::verify(certificate, rules.authorities, &login, rules.host, now.at)
                .map_err(|refusal| self.unfit(certificate, rules, &refusal))?;
        let (tree, despite) = match self.prove(certificate, rules, now) {
            Ok(tree) => (tree, None),
            Err(no) if rules.proofs.mode() == ProofMode::Require => return Err(no),
            Err(no) => (None, Some(no)),
        };
        match rules.revocation.covering(&facts.subject, &self.remote, now.at) {
            None => Ok(Admission { facts, tree, despite }),
            Some(Lock { target, reason, .. }) => {
                Err(self.ours(format!("{target} is locked: {reason}"), Trouble::None))
            }
        }
    }

    /// The tree in which the certificate stands; none where this host cannot know.
    fn prove(
        &self,
        certificate: &Certificate,
        rules: &Rules<'_>,
        now: Now,
    ) -> Result<Option<Box<Attested>>, Box<No>> {
        let tree = match standing(certificate, rules) {
            Standing::Unpinned => return Ok(None),
            Standing::Unproved(why) => return Err(self.ours(why, Trouble::Unproved)),
            Standing::Proved(tree) => tree,
        };
        if rules.witness.given_up(tree.head(), certificate.serial()).is_some() {
            return Err(self.ours(GIVEN_UP, Trouble::None));
        }
        match rules.witness.weigh(&tree, now.at) {
            Weight::Shown | Weight::Waiting | Weight::New => Ok(Some(tree)),
            Weight::Fork(dispute) => Err(self.ours(&dispute, Trouble::Fork(dispute.clone()))),
            Weight::Disputed => Err(self.ours(DISPUTED, Trouble::None)),
            Weight::Full => Err(self.ours(FULL, Trouble::None)),
        }
    }

    /// A refusal by the rules of certificates. One that our authority did sign, and that the ledger does not hold, is more
    /// than that.
    fn unfit(&self, certificate: &Certificate, rules: &Rules<'_>, refusal: &Refusal) -> Box<No> {
        if matches!(refusal, Refusal::Kind | Refusal::Authority(_) | Refusal::Signature) {
            return self.refused(refusal);
        }
        match standing(certificate, rules) {
            Standing::Unproved(why) => {
                self.ours(format!("{refusal}, and {why}"), Trouble::Unproved)
            }
            Standing::Proved(_) | Standing::Unpinned => self.ours(refusal, Trouble::None),
        }
    }

    fn ours(&self, reason: impl ToString, trouble: Trouble) -> Box<No> {
        let mut no = self.refused(reason);
        no.refused.ours = true;
        no.trouble = trouble;
        no
    }

    fn refused(&self, reason: impl ToString) -> Box<No> {
        let certificate = self.certificate.as_ref().ok();
        let key = certificate.map_or_else(
            || Fingerprint::of(&self.bytes),
            |certificate| wire::certificate::fingerprint(certificate.subject()),
        );
        let refused = Refused {
            login: self.login.clone(),
            remote: self.remote.clone(),
            key_id: certificate.map_or_else(Octets::default, |known| known.key_id().clone()),
            serial: certificate.map_or(0, Certificate::serial),
            key,
            reason: reason.to_string(),
            count: 1,
            ours: false,
            by: Refuser::Gate,
        };
        Box::new(No { refused, trouble: Trouble::None })
    }
}

/// What the certificate's proof is worth. The entry commits to everything that is signed but the proof itself.
fn standing(certificate: &Certificate, rules: &Rules<'_>) -> Standing {
    match certificate.extensions().text(EXTENSION) {
        Err(flaw) => Standing::Unproved(format!("its proof of the ledger {flaw}")),
        Ok(evidence) => {
            let stripped = certificate.to_be_signed_without(EXTENSION).unwrap_or_default();
            rules.proofs.judge(evidence, &stripped)
        }
    }
}

const fn outside(rules: &Rules<'_>) -> Verdict {
    match rules.others {
        Others::Allow => Verdict::Outside,
        Others::Refuse => Verdict::Shut,
    }
}

/// How many of our refusals are the same one, so that a stranger cannot fill the spool: the first is written at once,
/// repeated ones are counted and written when [`Refusals::due`].
#[derive(Debug, Default)]
pub struct Refusals {
    counted: BTreeMap<RefusalKey, (No, Uptime)>,
}

/// What makes two refusals the same.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RefusalKey {
    reason: String,
    serial: u64,
    key: String,
    login: Vec<u8>,
}

impl Refusals {
    /// A refusal to be written now, unless it is a repetition, which is only counted.
    pub fn note(&mut self, no: No, now: Uptime) -> Option<No> {
        let refused = &no.refused;
        let key = RefusalKey {
            reason: refused.reason.clone(),
            serial: refused.serial,
            key: refused.key.as_str().to_owned(),
            login: refused.login.as_bytes().to_vec(),
        };
        if let Some((counted, _)) = self.counted.get_mut(&key) {
            counted.refused.count = counted.refused.count.saturating_add(1);
            return None;
        }
        let is_full = self.counted.len() >= MAX_REFUSALS;
        let mut waiting = no.clone();
        waiting.refused.count = 0;
        if is_full {
            // Refusals that show more than themselves are counted apart.
            let key = RefusalKey {
                reason: String::from("other"),
                serial: u64::from(no.trouble == Trouble::None),
                key: String::new(),
                login: Vec::new(),
            };
            waiting.refused.reason = "too many kinds of refusal at once".into();
            let (counted, _) = self.counted.entry(key).or_insert((waiting, now));
            counted.refused.count = counted.refused.count.saturating_add(1);
            return None;
        }
        self.counted.insert(key, (waiting, now));
        Some(no)
    }

    /// The counts whose time has come; those of zero say nothing.
    pub fn due(&mut self, now: Uptime) -> Vec<No> {
        let due: Vec<_> = self
            .counted
            .extract_if(.., |_, (_, since)| now.since(*since) >= COUNT_FOR)
            .map(|(_, (no, _))| no)
            .collect();
        due.into_iter().filter(|no| no.refused.count > 0).collect()
    }

    /// All counts, before the agent stops.
    pub fn flush(&mut self) -> Vec<No> {
        let all = std::mem::take(&mut self.counted).into_values().map(|(no, _)| no);
        all.filter(|no| no.refused.count > 0).collect()
    }

    /// When [`Refusals::due`] is worth asking.
    #[must_use]
    pub fn next_due(&self) -> Option<Uptime> {
        self.counted.values().map(|(_, since)| since.after(COUNT_FOR)).min()
    }
}

/// Why a tree that was never shown to be the ledger's opens nothing while a dispute is open.
const DISPUTED: &str = "this host has seen the ledger contradict itself and believes nothing new of it; root on this host \
    looks with `curfew-agent status` and decides with `curfew-agent settle`";
/// Why nobody is let in on one more tree that the authority has not shown to be its own.
const FULL: &str =
    "too many of the ledger's trees wait to be shown by the authority, which is out of reach";
/// Why a certificate from before a restore opens nothing.
const GIVEN_UP: &str = "it was issued after the backup to which the ledger was put back since: ask for another certificate";
/// Certificates that one connection may show; `ssh` offers as many as its agent holds, sshd stops at six tries.
const MAX_CERTIFICATES: usize = 16;
/// Connections remembered at once; sshd's default `MaxStartups` ends at 100.
const MAX_MONITORS: usize = 4096;
/// Longest time between a certificate's showing and the login; sshd's default `LoginGraceTime` is 120 s.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Different refusals counted at once.
const MAX_REFUSALS: usize = 512;
/// How long repetitions of a refusal are counted before the count is written.
const COUNT_FOR: Duration = Duration::from_secs(10);

pub mod crowd;
mod unfinished;

pub use unfinished::Unfinished;

#[cfg(test)]
mod proved;

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use ssh_key::PrivateKey;
    use ssh_key::certificate::Builder;
    use ssh_key::private::Ed25519Keypair;
    use wire::lock::{Lock, Target};
    use wire::time::Timestamp;

    const MONITOR: Monitor = Monitor { pid: 100, start_ticks: 5 };

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn now() -> Now {
        Now { at: Timestamp::from_secs(1_000), up: Uptime::from_nanos(1) }
    }

    fn certificate(authority: u8) -> Vec<u8> {
        let mut builder = Builder::new([1; 16], key(9).public_key().clone(), 900, 1_900).unwrap();
        builder.serial(7).unwrap().key_id("ana@example.com/g1/7").unwrap();
        builder.valid_principal("app@db1").unwrap();
        builder.extension(wire::certificate::GRANT_UNTIL, "5000").unwrap();
        builder.extension(wire::certificate::ROLE, "deploy").unwrap();
        builder.sign(&key(authority)).unwrap().to_bytes().unwrap()
    }

    fn shown(login: &str, bytes: &[u8]) -> Shown {
        Shown::new(Octets::new(login), bytes.to_vec(), String::new())
    }

    fn attempt(bytes: &[u8]) -> Attempt {
        let key = base64::engine::general_purpose::STANDARD.encode(bytes);
        let auth_info = Octets::new(format!("publickey ssh-ed25519-cert-v01@openssh.com {key}\n"));
        Attempt { login: Octets::new("app"), remote: "10.0.0.1".into(), auth_info }
    }

    struct Host {
        name: HostName,
        authorities: Vec<PublicKey>,
        revocation: Revocation,
        proofs: Proofs,
        witness: Witness,
        others: Others,
    }

    impl Host {
        fn new() -> Self {
            Self {
                name: "db1".parse().unwrap(),
                authorities: vec![key(1).public_key().clone()],
                revocation: Revocation::joined(0, Vec::new()),
                proofs: Proofs::new(true, Vec::new(), (Vec::new(), 0)),
                witness: Witness::resume(crate::witness::Kept::default(), Vec::new()),
                others: Others::Allow,
            }
        }

        fn rules(&self) -> Rules<'_> {
            Rules {
                host: &self.name,
                authorities: &self.authorities,
                revocation: &self.revocation,
                proofs: &self.proofs,
                witness: &self.witness,
                others: self.others,
            }
        }

        fn lock(&mut self) {
            let target = Target::Identity("ana@example.com".parse().unwrap());
            self.revocation =
                Revocation::joined(1, vec![Lock { target, reason: "gone".into(), until: None }]);
        }
    }

    #[test]
    fn a_login_is_let_in_by_the_certificate_it_showed() {
        let (host, mut book) = (Host::new(), Book::default());
        let bytes = certificate(1);
        let names = book.show(&host.rules(), MONITOR, &shown("app", &bytes), now()).unwrap();
        assert_eq!(names[0].as_str(), "app@db1");
        assert!(matches!(
            book.account(&host.rules(), MONITOR, (&Octets::new("app"), "10.0.0.1"), now()),
            Ok(Verdict::Permit(_))
        ));
        let verdict = book.open(&host.rules(), MONITOR, &attempt(&bytes), now()).unwrap();
        assert!(
            matches!(verdict, Verdict::Permit(admission) if admission.facts.subject.serial.number() == 7)
        );
    }

    #[test]
    fn a_certificate_that_was_never_shown_opens_no_session() {
        let (host, mut book) = (Host::new(), Book::default());
        let bytes = certificate(1);
        let refused = book.open(&host.rules(), MONITOR, &attempt(&bytes), now()).unwrap_err();
        assert!(refused.refused.reason.contains("not shown"));
        let other = Monitor { pid: 100, start_ticks: 6 };
        book.show(&host.rules(), other, &shown("app", &bytes), now()).unwrap();
        assert!(book.open(&host.rules(), MONITOR, &attempt(&bytes), now()).is_err());
    }

    #[test]
    fn a_lock_between_the_showing_and_the_session_refuses() {
        let (mut host, mut book) = (Host::new(), Book::default());
        let bytes = certificate(1);
        book.show(&host.rules(), MONITOR, &shown("app", &bytes), now()).unwrap();
        host.lock();
        let app = Octets::new("app");
        let refused = book.account(&host.rules(), MONITOR, (&app, "10.0.0.1"), now()).unwrap_err();
        assert!(refused.refused.reason.contains("locked: gone"));
        assert_eq!(refused.refused.remote, "10.0.0.1");
        assert!(book.open(&host.rules(), MONITOR, &attempt(&bytes), now()).is_err());
        assert!(book.show(&host.rules(), MONITOR, &shown("app", &bytes), now()).is_err());
    }

    #[test]
    fn a_key_that_ends_between_the_showing_and_the_session_refuses() {
        let (mut host, mut book) = (Host::new(), Book::default());
        let bytes = certificate(1);
        book.show(&host.rules(), MONITOR, &shown("app", &bytes), now()).unwrap();
        host.authorities = vec![key(2).public_key().clone()];
        let app = Octets::new("app");
        assert!(book.account(&host.rules(), MONITOR, (&app, "10.0.0.1"), now()).is_err());
        let refused = book.open(&host.rules(), MONITOR, &attempt(&bytes), now()).unwrap_err();
        assert!(refused.refused.reason.contains("does not trust"), "{}", refused.refused.reason);
    }

    #[test]
    fn another_login_another_authority_and_junk_are_refused_with_a_reason() {
        let (host, mut book) = (Host::new(), Book::default());
        let cases = [
            ("root", certificate(1), "for app@db1"),
            ("app", certificate(2), "does not trust"),
            ("app", vec![0; 40], "cannot be read"),
            ("a b", certificate(1), "not allowed"),
        ];
        for (login, bytes, words) in cases {
            let refused =
                book.show(&host.rules(), MONITOR, &shown(login, &bytes), now()).unwrap_err();
            assert!(refused.refused.reason.contains(words), "{}", refused.refused.reason);
        }
    }

    #[test]
    fn a_login_without_our_certificate_follows_the_hosts_policy() {
        let (mut host, book) = (Host::new(), Book::default());
        let password = Attempt { auth_info: Octets::new("password"), ..attempt(&[]) };
        assert_eq!(book.open(&host.rules(), MONITOR, &password, now()).unwrap(), Verdict::Outside);
        let foreign = attempt(&certificate(2));
        assert_eq!(book.open(&host.rules(), MONITOR, &foreign, now()).unwrap(), Verdict::Outside);
        host.others = Others::Refuse;
        let verdict = book.open(&host.rules(), MONITOR, &password, now()).unwrap();
        assert_eq!(verdict, Verdict::Shut);
    }

    #[test]
    fn the_book_is_bounded() {
        let (host, mut book) = (Host::new(), Book::default());
        let bytes = certificate(1);
        for pid in 0..5_000 {
            let seen = Seen { bytes: Vec::new(), login: Vec::new(), at: now().up };
            book.seen.insert((pid, 1), vec![seen]);
        }
        book.show(&host.rules(), MONITOR, &shown("app", &bytes), now()).unwrap();
        assert!(book.seen.len() <= MAX_MONITORS);
        let later = Now { up: Uptime::from_nanos(3_600_000_000_000), ..now() };
        book.show(&host.rules(), MONITOR, &shown("app", &bytes), later).unwrap();
        assert_eq!(book.seen.len(), 1);
    }

    #[test]
    fn repeated_refusals_are_counted_not_repeated() {
        let mut refusals = Refusals::default();
        let refused = *shown("app", &certificate(2)).refused("no");
        assert!(refusals.note(refused.clone(), Uptime::from_nanos(0)).is_some());
        for _ in 0..1_000 {
            assert!(refusals.note(refused.clone(), Uptime::from_nanos(1)).is_none());
        }
        assert!(refusals.due(Uptime::from_nanos(1)).is_empty());
        let due = refusals.due(refusals.next_due().unwrap());
        assert_eq!(due[0].refused.count, 1_000);
    }
}
