//! The connection's next TLS certificate: when the link asks for it, and what becomes of the answer. Pure, but for making
//! a key.

use std::time::Duration;

use wire::renewal::{LinkAnswer, LinkAsk, Window};
use zeroize::Zeroizing;

use super::identity::Identity;
use crate::clock::Now;
use wire::time::Uptime;

/// What the link knows of its own certificate while it is connected.
#[derive(Debug)]
pub(super) struct Watch {
    window: Option<Window>,
    /// Whether the authority renews, which its welcome says.
    can_ask: bool,
    /// The key that waits for its certificate.
    waiting: Option<Zeroizing<String>>,
    not_before: Option<Uptime>,
}

impl Watch {
    /// Watches the certificate with this life.
    pub(super) const fn over(window: Option<Window>) -> Self {
        Self { window, can_ask: false, waiting: None, not_before: None }
    }

    /// The authority has welcomed the host, and said whether it renews.
    pub(super) const fn welcomed(&mut self, can_ask: bool) {
        self.can_ask = can_ask;
    }

    /// How long until [`Watch::ask`] may have something to say. Wall clocks move, so it is looked at again.
    pub(super) fn wait(&self, now: Now) -> Duration {
        if !self.can_ask || self.waiting.is_some() {
            return LONGEST_WAIT;
        }
        let due = self.window.map_or(Duration::ZERO, |window| window.due().since(now.at));
        let pause = self.not_before.map_or(Duration::ZERO, |before| before.since(now.up));
        due.max(pause).min(LONGEST_WAIT)
    }

    /// The ask, when it is time: two thirds of the certificate's life are over, or nobody knows when it ends.
    pub(super) fn ask(&mut self, now: Now) -> Option<LinkAsk> {
        let is_early = self.window.is_some_and(|window| now.at < window.due());
        let pauses = self.not_before.is_some_and(|before| now.up < before);
        if !self.can_ask || self.waiting.is_some() || is_early || pauses {
            return None;
        }
        match Identity::request() {
            Ok((key, csr)) => {
                tracing::info!("asking for the next certificate of this connection");
                self.waiting = Some(key);
                Some(LinkAsk { csr })
            }
            Err(error) => {
                tracing::error!(%error, "no key can be made for the next certificate of this connection");
                self.pause(now);
                None
            }
        }
    }

    /// The next identity, when that is the answer.
    pub(super) fn answered(&mut self, answer: LinkAnswer, now: Now) -> Option<Identity> {
        let key = self.waiting.take()?;
        match answer {
            LinkAnswer::Certified(next) => Some(Identity {
                version: wire::VERSION,
                key,
                certificate: next.certificate,
                window: Some(next.window),
            }),
            LinkAnswer::Refused(problem) => {
                tracing::error!(%problem, "the authority does not renew the certificate of this connection");
                self.pause(now);
                None
            }
        }
    }

    /// No ask for a while.
    pub(super) fn pause(&mut self, now: Now) {
        let pause = self.window.map_or(LONGEST_WAIT, Window::pause);
        self.not_before = Some(now.up.after(pause));
    }
}

const LONGEST_WAIT: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use wire::problem::{Code, Problem};
    use wire::renewal::LinkCertificate;
    use wire::time::Timestamp;

    fn at(secs: u64) -> Now {
        let up = Uptime::from_nanos(secs.saturating_mul(1_000_000_000));
        Now { at: Timestamp::from_secs(secs), up }
    }

    fn window() -> Window {
        Window { from: Timestamp::from_secs(0), until: Timestamp::from_secs(900) }
    }

    #[test]
    fn it_asks_once_when_two_thirds_are_over_and_the_authority_can_renew() {
        let mut watch = Watch::over(Some(window()));
        assert!(watch.ask(at(700)).is_none(), "nobody has welcomed us");
        watch.welcomed(true);
        assert_eq!(watch.wait(at(100)), Duration::from_secs(500));
        assert!(watch.ask(at(599)).is_none());
        assert!(watch.ask(at(600)).unwrap().csr.contains("CERTIFICATE REQUEST"));
        assert!(watch.ask(at(601)).is_none(), "one ask at a time");
        let next = LinkCertificate { certificate: "pem".into(), window: window() };
        let identity = watch.answered(LinkAnswer::Certified(next.clone()), at(602)).unwrap();
        assert!(identity.key.contains("PRIVATE KEY"));
        assert_eq!((identity.certificate.as_str(), identity.window), ("pem", Some(window())));
        assert!(watch.answered(LinkAnswer::Certified(next), at(603)).is_none(), "unasked");
    }

    #[test]
    fn after_a_refusal_it_waits() {
        let mut watch = Watch::over(Some(window()));
        watch.welcomed(true);
        drop(watch.ask(at(600)).unwrap());
        let no = LinkAnswer::Refused(Problem::new(Code::Denied, "no"));
        assert!(watch.answered(no, at(600)).is_none());
        assert!(watch.ask(at(608)).is_none());
        assert_eq!(watch.wait(at(608)), Duration::from_secs(1));
        assert!(watch.ask(at(609)).is_some());
    }

    #[test]
    fn a_certificate_of_unknown_life_is_renewed_at_once_and_by_an_old_authority_never() {
        let mut watch = Watch::over(None);
        watch.welcomed(false);
        assert!(watch.ask(at(1)).is_none());
        watch.welcomed(true);
        assert_eq!(watch.wait(at(1)), Duration::ZERO);
        assert!(watch.ask(at(1)).is_some());
    }
}
