//! Answering the login path.

use std::num::NonZeroU64;
use std::os::fd::AsFd as _;

use wire::certificate::Facts;
use wire::gate::{Answer, Login, Question};
use wire::identifier::SessionId;
use wire::limits::{Level, Need, Recording};
use wire::octets::Octets;
use wire::record::{Event, Outside, SessionBegan};

use super::Host;
use crate::act;
use crate::activity::Activity;
use crate::clock::Now;
use crate::gate::{Admission, Attempt, No, Shown, Trouble, Verdict, crowd};
use crate::peer::{Held, Peer};
use crate::session::{Input, Monitor, Session, State};
use crate::store;
use crate::threshold::Meter;

impl Host {
    /// Answers one question of the login path. Whoever may not ask it, and whatever goes wrong, is refused.
    pub fn answer(&mut self, question: Question, peer: Peer, now: Now) -> Answer {
        match question {
            Question::Principals { login, certificate, .. } => {
                self.principals(&peer, login, &certificate, now)
            }
            _ if peer.uid != 0 => {
                tracing::warn!(
                    uid = peer.uid,
                    "refused a question at the gate that only root may ask"
                );
                Answer::Refuse(String::new())
            }
            Question::Account(login) => self.account(&peer, &login, now),
            Question::Open { login, auth_info } => self.open_session(peer, &login, auth_info, now),
            Question::Settle { accept, reason } => self.settle_dispute(accept, &reason, now),
            Question::Explain { pid } => {
                // Where the kernel does not remember, marks are known from the last look at a session.
                self.look_for_ended(now);
                self.explain(pid)
            }
            Question::Close => {
                self.book.forget(peer.process.name);
                self.look_at_last(&peer, now);
                Answer::Permit
            }
        }
    }

    fn principals(&mut self, peer: &Peer, login: Octets, certificate: &Octets, now: Now) -> Answer {
        use base64::Engine as _;
        let monitor = match peer.parent() {
            Ok(monitor) => monitor.name,
            Err(error) => {
                tracing::warn!(%error, "refused a certificate that nobody shows");
                return Answer::Refuse(String::new());
            }
        };
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(certificate.as_bytes())
            .unwrap_or_default();
        let shown = Shown::new(login, bytes, String::new());
        let mut book = std::mem::take(&mut self.book);
        let verdict = book.show(&self.rules(), monitor, &shown, now);
        self.book = book;
        match verdict {
            Ok(principals) => Answer::Principals(principals),
            Err(refused) => self.refuse(*refused, monitor, now),
        }
    }

    fn account(&mut self, peer: &Peer, login: &Login, now: Now) -> Answer {
        let remote = printable(&login.remote);
        if self.is_breakglass(&login.user) {
            // Which certificate it was is known when the session opens, and nothing else opens the account.
            return Answer::Outside;
        }
        match self.book.account(&self.rules(), peer.process.name, (&login.user, &remote), now) {
            Ok(Verdict::Permit(admission)) => {
                match self.may_enter(&admission.facts, &remote, now) {
                    Ok(()) => Answer::Permit,
                    Err(no) => self.refuse(*no, peer.process.name, now),
                }
            }
            Ok(Verdict::Outside) => Answer::Outside,
            Ok(Verdict::Shut) => {
                self.note_outside(login, (false, None), now);
                Answer::Refuse(SHUT.into())
            }
            Err(refused) => self.refuse(*refused, peer.process.name, now),
        }
    }

    fn open_session(&mut self, peer: Peer, login: &Login, auth_info: Octets, now: Now) -> Answer {
        if self.is_breakglass(&login.user) {
            return self.open_breakglass(peer, (login, &auth_info), now);
        }
        let remote = printable(&login.remote);
        let via = method(&auth_info);
        let attempt = Attempt { login: login.user.clone(), remote: remote.clone(), auth_info };
        let monitor = peer.process.name;
        self.book.decide(monitor);
        match self.book.open(&self.rules(), peer.process.name, &attempt, now) {
            Ok(Verdict::Permit(admission)) => {
                if let Err(no) = self.may_enter(&admission.facts, &remote, now) {
                    return self.refuse(*no, monitor, now);
                }
                match self.admit(*admission, now) {
                    Ok(facts) => self.begin_loudly(peer.process, facts, remote, now),
                    Err(answer) => answer,
                }
            }
            Ok(Verdict::Outside) => {
                self.tag_outsider(&peer.process);
                self.note_outside(login, (true, via), now);
                Answer::Outside
            }
            Ok(Verdict::Shut) => {
                self.note_outside(login, (false, via), now);
                Answer::Refuse(SHUT.into())
            }
            Err(refused) => self.refuse(*refused, monitor, now),
        }
    }

    /// Lets a session begin, and raises every alarm where it is one of break-glass.
    fn begin_loudly(&mut self, process: Held, facts: Facts, remote: String, now: Now) -> Answer {
        let loud = facts.pass.clone().map(|pass| (pass, facts.subject.clone(), process.name));
        let answer = self.begin(process, facts, remote.clone(), now);
        if let (Answer::Permit, Some((pass, subject, monitor))) = (&answer, loud) {
            self.tell_pass((pass, subject), remote, monitor, now);
        }
        answer
    }

    /// Whether somebody may come in now whose certificate is good.
    fn may_enter(&self, facts: &Facts, remote: &str, now: Now) -> Result<(), Box<No>> {
        match self.barred(now).or_else(|| self.unrecordable(facts)) {
            Some(why) => Err(crowd::refused(facts, remote, why)),
            None => self.make_room(facts, remote),
        }
    }

    /// Why somebody may not come in who must be recorded and cannot be.
    fn unrecordable(&self, facts: &Facts) -> Option<String> {
        let Recording { level, need } = facts.limits.meet(&self.ceiling).recording;
        if need != Need::Required {
            return None;
        }
        let why = self.cannot_record(level == Level::Full)?;
        Some(format!("this login must be recorded, and cannot be: {why}"))
    }

    /// Whether one more session of this identity under this role fits. Asked in the step in which the session begins too, so
    /// that of two logins at once only one takes the last place.
    fn make_room(&self, facts: &Facts, remote: &str) -> Result<(), Box<No>> {
        let most = facts.limits.meet(&self.ceiling).concurrency;
        crowd::make_room(facts, remote, most, self.sessions.iter())
    }

    /// Lets a session begin: kept where a restart finds it, then tagged in the kernel, then recorded, and only then is
    /// sshd answered. Nothing of the session exists before its tag.
    pub(super) fn begin(
        &mut self,
        monitor: Held,
        facts: Facts,
        remote: String,
        now: Now,
    ) -> Answer {
        let id = match draw_session() {
            Ok(id) => id,
            Err(error) => {
                tracing::error!(%error, "refused a login: no random number for its tag");
                return Answer::Refuse("curfew: the session cannot be tagged".into());
            }
        };
        let until = self.revocation.end_of(facts.subject.grant, facts.grant_until);
        let left = until.since(now.at);
        let limits = facts.limits.meet(&self.ceiling);
        let session = Session {
            version: wire::VERSION,
            id,
            subject: facts.subject.clone(),
            remote: remote.clone(),
            monitor: monitor.name,
            began: now.at,
            grant_until: until,
            deadline: now.up.after(left),
            state: State::Live { warned: 0 },
            marks: None,
            limits: limits.clone(),
            activity: Activity::new(now.up),
            forced: super::channel::forced(&facts.options),
            meter: Meter::default(),
        };
        let kept =
            store::write(&self.session_path(id), &session).map_err(|error| error.to_string());
        let kept = kept.and_then(|()| self.leave_word(&session));
        let tagged = kept.and_then(|()| {
            self.kernel.begin(act::tag(id), monitor.as_fd()).map_err(|error| error.to_string())
        });
        if let Err(error) = tagged {
            tracing::error!(session = %id, %error, "refused a login: its session could not be tagged");
            if let Err(error) = store::remove(&self.session_path(id)) {
                tracing::error!(session = %id, %error, "a session that never was is still kept");
            }
            self.take_word_back(session.monitor);
            return Answer::Refuse("curfew: the session cannot be tagged".into());
        }
        let began = SessionBegan {
            subject: facts.subject,
            certificate_until: facts.valid_before,
            grant_until: until,
            remote,
            monitor_pid: monitor.name.pid,
            options: facts.options,
            limits,
        };
        tracing::info!(session = %id, identity = %began.subject.identity, login = %began.subject.login,
            cert.serial = %began.subject.serial, "a session begins");
        self.record(Some(id), Event::SessionBegan(Box::new(began)), now);
        self.monitors.insert(id, monitor);
        self.watch_handed(&session, None);
        let actions = self.sessions.step(Input::Began(Box::new(session)), now.up);
        self.perform(actions, now);
        Answer::Permit
    }

    /// Looks at the session of a connection that closes, while its monitor is there to learn from: what outlives a
    /// connection that was short is found by that alone.
    fn look_at_last(&mut self, peer: &Peer, now: Now) {
        let monitor = peer.process.name;
        let session = self.sessions.iter().find(|session| session.monitor == monitor);
        if let Some(id) = session.map(|session| session.id) {
            self.look(id, now);
        }
    }

    /// Remembers the tree on which somebody is let in, durably, before they are; and says what was wrong all the same.
    fn admit(&mut self, admission: Admission, now: Now) -> Result<Facts, Answer> {
        if let Some(tree) = &admission.tree
            && let Err(error) = self.remember(tree, now)
        {
            tracing::error!(%error, "refused a login: the tree that it rests on could not be kept");
            return Err(Answer::Refuse("curfew: what this login rests on cannot be kept".into()));
        }
        if let Some(no) = admission.despite {
            self.say_trouble(&no, now);
            self.record(None, no.event(true), now);
        }
        Ok(admission.facts)
    }

    pub(super) fn refuse(&mut self, no: No, monitor: Monitor, now: Now) -> Answer {
        let answer = Answer::Refuse(format!("curfew: {}", no.refused.reason));
        self.say_trouble(&no, now);
        self.note_refusal(no, Some(monitor), now);
        answer
    }

    fn say_trouble(&mut self, no: &No, now: Now) {
        match &no.trouble {
            Trouble::None => {}
            Trouble::Unproved => tracing::error!(
                key_id = %no.refused.key_id.display(), cert.serial = no.refused.serial, reason = no.refused.reason,
                "INCIDENT: our authority's key signed a certificate that the ledger does not prove"
            ),
            Trouble::Fork(dispute) => self.dispute(dispute, now),
        }
    }

    fn note_outside(&mut self, login: &Login, (allowed, via): (bool, Option<String>), now: Now) {
        let remote = printable(&login.remote);
        let outside = Outside { login: login.user.clone(), remote, allowed, via, ended: false };
        self.say_outside(outside, now);
    }
}

/// The method that sshd says was used: `password`, `publickey`.
fn method(auth_info: &Octets) -> Option<String> {
    let text = auth_info.display();
    let word = text.split([' ', '\n', '\\']).next().unwrap_or_default();
    (!word.is_empty()).then(|| word.chars().take(MAX_METHOD).collect())
}

/// A client's address as sshd gave it, bounded and safe to show.
pub(super) fn printable(remote: &Octets) -> String {
    remote.display().chars().take(MAX_REMOTE).collect()
}

pub(super) fn draw_session() -> Result<SessionId, getrandom::Error> {
    loop {
        if let Some(tag) = NonZeroU64::new(getrandom::u64()?) {
            return Ok(SessionId::new(tag));
        }
    }
}

/// What a login hears that is not under our authority where only ours are let in.
const SHUT: &str = "curfew: this host lets in only logins under its authority";
/// Longest name of a method that is kept.
const MAX_METHOD: usize = 32;
/// Longest client address that is kept; a host name has at most 253 characters.
const MAX_REMOTE: usize = 256;
